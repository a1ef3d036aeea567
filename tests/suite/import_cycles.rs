//! No file of the crate needs itself by way of others: who reads one can read what it is made of first.
//!
//! A file needs another if it names anything of it: in a `use`, with `super::` or `crate::`, or by a path in its code. A
//! `pub use` needs nothing, it only passes on; who imports what was passed on needs the file where it is defined. Tests at
//! the foot of a file are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file by its module path below the crate, such as `["journal", "queue"]`.
type Module = Vec<String>;

#[test]
fn no_file_needs_itself_by_way_of_others() {
    let mut needs = Sources::read().needs();
    // Whoever needs nobody that is left is in no circle.
    loop {
        let left: BTreeSet<Module> = needs.keys().cloned().collect();
        needs.values_mut().for_each(|needed| needed.retain(|module| left.contains(module)));
        let before = needs.len();
        needs.retain(|_, needed| !needed.is_empty());
        if needs.len() == before {
            break;
        }
    }
    let in_circles: Vec<String> = needs
        .iter()
        .flat_map(|(module, needed)| needed.iter().map(move |other| format!("{} → {}", show(module), show(other))))
        .collect();
    assert!(in_circles.is_empty(), "files need each other, or lead to those that do:\n{}", in_circles.join("\n"));
}

fn show(module: &Module) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("/") }
}

/// The files of the crate, as far as this test looks at them.
struct Sources {
    code: BTreeMap<Module, String>,
    /// What each file passes on, by the name under which it does.
    passed_on: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Sources {
    fn read() -> Self {
        let mut code = BTreeMap::new();
        read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut code);
        let mut sources = Self { code, passed_on: BTreeMap::new() };
        for (module, code) in &sources.code {
            let passed_on = imports(code).into_iter().filter(|(is_public, _)| *is_public).filter_map(|(_, path)| {
                let target = sources.resolve(&path, module)?;
                Some((target.last()?.clone(), target))
            });
            let passed_on = passed_on.collect();
            sources.passed_on.insert(module.clone(), passed_on);
        }
        sources
    }

    /// For each file those that it needs.
    fn needs(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let needed_by = |(module, code): (&Module, &String)| {
            let imported = imports(code).into_iter().filter(|(is_public, _)| !is_public).map(|(_, path)| path);
            let paths: Vec<_> = imported.chain(inline_paths(code)).collect();
            let needed = paths.iter().filter_map(|path| Some(self.home_of(self.resolve(path, module)?)));
            (module.clone(), needed.filter(|needed| needed != module).collect())
        };
        self.code.iter().map(needed_by).collect()
    }

    /// A path as it is from the crate's root; none if it leads out of the crate.
    fn resolve(&self, path: &[String], module: &Module) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let target = match first.as_str() {
            "crate" => rest.to_vec(),
            "self" => [module, rest].concat(),
            "super" => {
                let up = path.iter().take_while(|word| *word == "super").count();
                [module.get(..module.len().checked_sub(up)?)?, path.get(up..)?].concat()
            }
            _ => {
                let child = [module.as_slice(), std::slice::from_ref(first)].concat();
                self.code.contains_key(&child).then(|| [module.as_slice(), path].concat())?
            }
        };
        Some(target.into_iter().filter(|word| word != "self").collect())
    }

    /// The file in which what a path leads to is defined.
    fn home_of(&self, mut target: Vec<String>) -> Module {
        for _ in 0..8 {
            let file = (0..=target.len()).rev().find_map(|len| {
                let file = target.get(..len)?.to_vec();
                self.code.contains_key(&file).then_some(file)
            });
            let file = file.unwrap_or_default();
            let name = target.get(file.len());
            let Some(passed_on) = name.and_then(|name| self.passed_on.get(&file)?.get(name)) else { return file };
            target = [passed_on.as_slice(), target.get(file.len() + 1..).unwrap_or_default()].concat();
        }
        panic!("passed on in a circle: {target:?}");
    }
}

fn read_folder(folder: &Path, module: &[String], code: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            read_folder(&path, &[module, &[name]].concat(), code);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !["main", "tests"].contains(&&*name) {
            let module = if ["mod", "lib"].contains(&&*name) { module.to_vec() } else { [module, &[name]].concat() };
            let source = fs::read_to_string(&path).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
            code.insert(module, without_inline_modules(&lines.collect::<Vec<_>>().join("\n")));
        }
    }
}

/// In a module that is written out in a file, `super` is that file.
fn without_inline_modules(code: &str) -> String {
    let mut in_module = false;
    let lines = code.lines().map(|line| {
        match line {
            "}" => in_module = false,
            _ if line.contains("mod ") && line.ends_with('{') && !line.starts_with(' ') => in_module = true,
            _ => {}
        }
        if in_module { line.replace("super::", "self::") } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The import statements of a file, and the rest of its code.
fn split_imports(code: &str) -> (Vec<String>, String) {
    let (mut statements, mut statement, mut rest) = (Vec::new(), String::new(), String::new());
    for line in code.lines() {
        let trimmed = line.trim();
        let begins = trimmed.starts_with("use ") || (trimmed.starts_with("pub") && trimmed.contains(" use "));
        if statement.is_empty() && !begins {
            rest.push_str(line);
            rest.push('\n');
            continue;
        }
        statement.push_str(trimmed);
        statement.push(' ');
        if trimmed.ends_with(';') {
            statements.push(std::mem::take(&mut statement));
        }
    }
    (statements, rest)
}

/// Each path that is imported, with whether it is passed on to others.
fn imports(code: &str) -> Vec<(bool, Vec<String>)> {
    let (statements, _) = split_imports(code);
    let paths = statements.iter().flat_map(|statement| {
        let tree = statement.split_once("use ").map_or("", |(_, tree)| tree).trim_end().trim_end_matches(';');
        expand(tree, &[]).into_iter().map(|path| (statement.starts_with("pub"), path))
    });
    paths.collect()
}

/// The paths of a tree such as `super::{a::B, c::{self, D}}`.
fn expand(tree: &str, prefix: &[String]) -> Vec<Vec<String>> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in tree.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match (letter, depth) {
            (',', 0) => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    let words = |path: &str| path.split("::").map(|word| word.trim().to_owned()).collect::<Vec<_>>();
    let expanded = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).flat_map(|part| {
        match part.split_once("::{") {
            Some((outer, inner)) => expand(inner.strip_suffix('}').unwrap_or(inner), &[prefix, &words(outer)].concat()),
            None => vec![[prefix, &words(part.split(" as ").next().unwrap_or(part))].concat()],
        }
    });
    expanded.collect()
}

/// Paths that stand in the code itself: `super::limits::check(…)`, `cost::of(…)`.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':' || letter == '$';
    let (_, code) = split_imports(code);
    let lines = code.lines().filter(|line| !line.contains("pub(in "));
    let paths = lines.flat_map(|line| line.split(|letter| !is_word(letter)));
    let paths = paths.filter(|path| path.contains("::") && !path.starts_with(':') && !path.contains('$'));
    paths.map(|path| path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect()).collect()
}
