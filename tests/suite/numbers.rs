//! Every number that somebody may want to change (a time-out, a limit, a period, a retention) is on `docs/numbers.md`,
//! with its file, and with the value that the source has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Constants that look like such a number and are none, each with the reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("src/agent/inventory/cloud_hypervisor.rs", "DEFAULT_MEMORY_MIB", "the hypervisor decides"),
    ("src/agent/inventory/cloud_hypervisor.rs", "DEFAULT_VCPUS", "the hypervisor decides"),
    ("src/agent/inventory/firecracker.rs", "DEFAULT_MEMORY_MIB", "the hypervisor decides"),
    ("src/agent/inventory/firecracker.rs", "DEFAULT_VCPUS", "the hypervisor decides"),
    ("src/agent/inventory/qemu/mod.rs", "DEFAULT_MEMORY_MIB", "the hypervisor decides"),
    ("src/agent/inventory/qemu/mod.rs", "DEFAULT_VCPUS", "the hypervisor decides"),
    ("src/cluster/mod.rs", "MAX_EXACT", "what JSON's numbers hold exactly"),
    ("src/cluster/sorted_list.rs", "MAX_CHUNK", "the shape of a data structure"),
    ("src/graphql/operation/syntax.rs", "MAX_LENGTH", "the grammar of GraphQL"),
    ("src/journal/store/postgres.rs", "MOST", "it follows from the connections of the writer"),
    ("src/rest/etag.rs", "LONGEST", "the length of a text that is written here"),
];

/// A constant of one of these types is a number of the page, whatever its name.
const TIMES: [&str; 3] = ["Duration", "TimeDelta", "(Duration, Duration)"];

const INTEGERS: &str = "u8 u16 u32 u64 usize i8 i16 i32 i64 isize";

/// A constant of an integer type is a number of the page if its name has one of these words.
const WORDS: &str = "MAX MOST LONGEST LARGEST SHORTEST MIN DEFAULT TIMEOUT RETENTION PERIOD INTERVAL LIMIT RETRY";

#[test]
fn every_number_is_on_the_page_with_its_file() {
    let rows: BTreeSet<_> = rows().into_iter().map(|row| (row.file, row.name)).collect();
    let (mut missing, mut found) = (Vec::new(), 0);
    for (file, code) in sources() {
        for constant in constants(&code) {
            let is_integer = INTEGERS.split(' ').any(|integer| integer == constant.ty);
            let is_number = TIMES.contains(&constant.ty)
                || is_integer && constant.name.split('_').any(|word| WORDS.split(' ').any(|known| known == word));
            let is_left_out = LEFT_OUT.iter().any(|(at, name, _)| *at == file && *name == constant.name);
            found += usize::from(is_number);
            if is_number && !is_left_out && !rows.contains(&(file.clone(), constant.name.to_owned())) {
                missing.push(format!("docs/numbers.md has no row of {} in {file}", constant.name));
            }
        }
    }
    assert!(found > 150, "they were not found: {found}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_row_of_the_page_has_the_value_of_its_source() {
    let sources = sources();
    let mut wrong = Vec::new();
    for Row { name, value, flag, file } in rows() {
        let code = sources.get(&file).map_or("", String::as_str);
        let declared: Vec<_> = match name.split_once("::") {
            Some((of, field)) => default_of(code, of, field).into_iter().collect(),
            None => constants(code).filter(|it| it.name == name).map(|it| it.value).collect(),
        };
        if declared.is_empty() {
            wrong.push(format!("{file} has no {name}"));
        } else if !declared.iter().any(|source| is_same(&value, source)) {
            wrong.push(format!("{name} of {file} is {declared:?}, and on the page {value}"));
        }
        let field = format!("{}: ", flag.trim_start_matches("--").replace('-', "_"));
        if !flag.is_empty() && !sources.values().any(|code| code.contains(&field)) {
            wrong.push(format!("there is no flag {flag}"));
        }
    }
    assert!(wrong.is_empty(), "docs/numbers.md:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_left_out_exists() {
    let sources = sources();
    for (file, name, _) in LEFT_OUT {
        assert!(constants(&sources[*file]).any(|constant| constant.name == *name), "{file} has no {name}");
    }
}

/// A row of the page.
struct Row {
    name: String,
    value: String,
    flag: String,
    file: String,
}

/// The rows of all tables of the page: what is limited, constant, value, flag, file.
fn rows() -> Vec<Row> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/numbers.md")).unwrap();
    let cells = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [_, name, value, flag, file] =
            <[&str; 5]>::try_from(cells).unwrap_or_else(|_| panic!("five cells: {line}"));
        let bare = |cell: &str| cell.trim_matches('`').to_owned();
        (file != "file").then(|| Row { name: bare(name), value: value.to_owned(), flag: bare(flag), file: bare(file) })
    });
    cells.collect()
}

/// The code of every file below `src`, by its path, without the tests at its foot.
fn sources() -> BTreeMap<String, String> {
    fn read(root: &Path, folder: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                read(root, &path, into);
            } else if path.ends_with(".rs") && !path.ends_with("/tests.rs") {
                let source = fs::read_to_string(root.join(&path)).unwrap();
                into.insert(path, source.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned());
            }
        }
    }
    let mut found = BTreeMap::new();
    read(Path::new(env!("CARGO_MANIFEST_DIR")), "src", &mut found);
    found
}

/// `const name: ty = value;`
struct Constant<'a> {
    name: &'a str,
    ty: &'a str,
    value: &'a str,
}

fn constants(code: &str) -> impl Iterator<Item = Constant<'_>> {
    code.split("const ").skip(1).filter_map(|rest| {
        let (declared, value) = rest.split_once(';')?.0.split_once(" = ")?;
        let (name, ty) = declared.split_once(": ")?;
        name.chars()
            .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
            .then(|| Constant { name, ty: ty.trim_start_matches("std::time::"), value: value.trim() })
    })
}

/// What the `Default` of a type gives a field.
fn default_of<'a>(code: &'a str, ty: &str, field: &str) -> Option<&'a str> {
    let default = code.split_once(&format!("impl Default for {ty} {{"))?.1;
    let value = default.split_once(&format!(" {field}: "))?.1;
    value.split([',', '}']).next().map(str::trim)
}

/// Whether a cell, such as `8 s`, `256 KiB` or `50 ms to 1 h`, says what an expression of a source comes to. A cell may
/// also repeat the expression itself, between backticks.
fn is_same(cell: &str, expression: &str) -> bool {
    if let Some(repeated) = cell.strip_prefix('`') {
        return repeated.strip_suffix('`') == Some(expression);
    }
    let pair = expression.strip_prefix('(').and_then(|pair| pair.strip_suffix(')')?.split_once(", "));
    match (cell.split_once(" to "), pair.or_else(|| expression.split_once(".."))) {
        (Some(cells), Some(values)) => is_same(cells.0, values.0) && is_same(cells.1, values.1),
        (None, None) => said(cell).zip(computed(expression)).is_some_and(|(a, b)| (a - b).abs() <= b.abs() * 1e-9),
        _ => false,
    }
}

/// A number with its unit. Times are in milliseconds.
fn said(cell: &str) -> Option<f64> {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let scale = match unit {
        "" | "ms" => 1.0,
        "s" => 1e3,
        "min" => 60e3,
        "h" => 3_600e3,
        "days" => 86_400e3,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "%" => 0.01,
        _ => return None,
    };
    Some(number.replace(',', "").parse::<f64>().ok()? * scale)
}

/// A product of numbers, or a call with one that makes a time of it. Times are in milliseconds.
fn computed(expression: &str) -> Option<f64> {
    let (call, product) = expression.strip_suffix(')').and_then(|it| it.split_once('(')).unwrap_or(("", expression));
    let scale = match call {
        "" | "Duration::from_millis" | "SizeAbove::new" => 1.0,
        "Duration::from_secs" | "TimeDelta::seconds" => 1e3,
        "TimeDelta::days" => 86_400e3,
        _ => return None,
    };
    let factors = product.split('*').map(|factor| factor.trim().replace('_', "").parse::<f64>().ok());
    Some(factors.product::<Option<f64>>()? * scale)
}
