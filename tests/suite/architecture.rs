//! Who may import whom: the table of the house, held against the `use crate::` lines of the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each room with the rooms it may see. A room that is not here may not see, or be seen by, anybody.
const MAY_SEE: &[(&str, &[&str])] = &[
    ("agent", &["client", "discovery", "tls"]),
    ("auth", &["clock", "trace"]),
    (
        "cli",
        &[
            "agent",
            "auth",
            "clock",
            "config",
            "discovery",
            "graphql",
            "http",
            "journal",
            "operator",
            "rest",
            "server",
            "simulate",
            "telemetry",
            "timing",
            "tls",
            "trace",
        ],
    ),
    ("client", &["tls", "trace"]),
    ("clock", &[]),
    ("cluster", &["auth", "clock", "render"]),
    ("config", &[]),
    ("discovery", &["client", "config"]),
    ("error", &["auth", "cluster"]),
    (
        "graphql",
        &["auth", "clock", "cluster", "error", "history", "http", "json", "metrics", "pages", "render", "resolvers"],
    ),
    ("history", &["clock", "cluster", "error", "journal"]),
    ("http", &["auth", "metrics", "tls", "trace"]),
    ("json", &[]),
    ("journal", &["auth", "clock", "cluster", "error", "metrics", "trace"]),
    ("liveness_sweeper", &["auth", "clock", "cluster", "error", "journal", "timing"]),
    ("metrics", &[]),
    ("monitoring", &["cluster", "http", "metrics", "resolvers"]),
    ("operator", &["client", "cluster", "config", "tls", "trace"]),
    ("pages", &["http"]),
    ("render", &["clock"]),
    ("resolvers", &["auth", "clock", "cluster", "error", "history", "journal", "metrics", "render", "timing"]),
    ("rest", &["auth", "clock", "cluster", "error", "history", "http", "json", "render", "resolvers"]),
    (
        "server",
        &[
            "auth",
            "clock",
            "discovery",
            "error",
            "graphql",
            "history",
            "http",
            "journal",
            "liveness_sweeper",
            "metrics",
            "monitoring",
            "pages",
            "resolvers",
            "rest",
            "timing",
            "tls",
        ],
    ),
    ("simulate", &["client", "config"]),
    ("telemetry", &["http"]),
    ("timing", &[]),
    ("tls", &["clock"]),
    ("trace", &[]),
];

/// Crates that only some rooms may know.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("async_graphql", &["graphql"]),
    ("async_graphql_axum", &[]),
    ("async_graphql_value", &["graphql"]),
    ("axum", &["graphql", "http", "monitoring", "pages", "rest", "server"]),
    ("entity", &["journal"]),
    ("migration", &["cli", "journal"]),
    ("opentelemetry", &["trace"]),
    ("opentelemetry_http", &["trace"]),
    ("opentelemetry_otlp", &["trace"]),
    ("opentelemetry_sdk", &["trace"]),
    ("prometheus_client", &["metrics"]),
    ("rcgen", &["tls"]),
    ("reqwest", &["client", "discovery", "trace"]),
    ("sea_orm", &["cli", "error", "journal", "server"]),
    ("tokio_rustls", &["http"]),
    ("utoipa", &["rest"]),
];

#[test]
fn every_room_sees_only_what_the_table_allows() {
    let mut offences = Vec::new();
    for (room, imports) in imports_by_room(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let Some((_, allowed)) = MAY_SEE.iter().find(|(name, _)| *name == room) else {
            offences.push(format!("the room `{room}` is not in the table"));
            continue;
        };
        for import in &imports {
            let foreign = import != &room && MAY_SEE.iter().any(|(name, _)| name == import);
            if foreign && !allowed.contains(&import.as_str()) {
                offences.push(format!("`{room}` imports `{import}`"));
            }
            if let Some((krate, rooms)) = ONLY_IN.iter().find(|(krate, _)| krate == import)
                && !rooms.contains(&room.as_str())
            {
                offences.push(format!("`{room}` knows the crate `{krate}`"));
            }
        }
    }
    assert!(offences.is_empty(), "the house has doors that are not on its plan:\n{}", offences.join("\n"));
}

#[test]
fn no_room_has_two_public_types_of_one_name() {
    let mut types = BTreeMap::<(String, String), usize>::new();
    for (room, source) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None) {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        // One file may say a name twice, in an inline module that has names for a macro.
        let declared: BTreeSet<_> = code.lines().filter_map(declared_type).collect();
        for name in declared {
            *types.entry((room.clone(), name.to_owned())).or_default() += 1;
        }
    }
    let homonyms: Vec<_> = types.into_iter().filter(|(_, files)| *files > 1).map(|(name, _)| name).collect();
    assert!(homonyms.is_empty(), "one name for two things: {homonyms:?}");
}

/// The public type that a line begins to declare.
fn declared_type(line: &str) -> Option<&str> {
    let line = line.trim_start().strip_prefix("pub")?;
    let line = if line.starts_with('(') { line.split_once(')')?.1 } else { line }.trim_start();
    let (keyword, rest) = line.split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "type", "union"].contains(&keyword);
    let name = rest.split(|at: char| !at.is_alphanumeric() && at != '_').next()?;
    // A macro gives other types their names.
    (is_type && !name.is_empty()).then_some(name)
}

/// For each room, the rooms and crates that its sources name. Tests at the foot of a file are not looked at.
fn imports_by_room(src: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms = BTreeMap::<String, BTreeSet<String>>::new();
    for (room, source) in sources(src, None) {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
        let imports = rooms.entry(room).or_default();
        imports.extend(words_after(&code, "crate::"));
        for (krate, _) in ONLY_IN {
            if code.contains(&format!("{krate}::")) {
                imports.insert((*krate).to_owned());
            }
        }
    }
    rooms
}

/// Every source file with its room: the first folder or file below `src`.
fn sources(folder: &Path, room: Option<&str>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let room = room.unwrap_or(&name);
        if path.is_dir() {
            found.extend(sources(&path, Some(room)));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["lib", "main", "tests"].contains(&&*name)
        {
            found.push((room.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// The words that follow a prefix, also in groups: `crate::{a::B, c}` names `a` and `c`.
fn words_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for rest in code.split(prefix).skip(1) {
        let mut depth = 0;
        let mut word = String::new();
        for letter in rest.chars() {
            match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => word.push(letter),
                '{' if word.is_empty() => depth += 1,
                _ => {
                    if !word.is_empty() && depth <= 1 {
                        words.insert(std::mem::take(&mut word));
                    }
                    word.clear();
                    match letter {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    // Past the first name, only a group has more of them, each after a comma at its top.
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    words
}
