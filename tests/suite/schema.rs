//! `schema.graphql` is what the program says it is.

use std::fs;
use std::path::Path;

#[test]
fn schema_graphql_is_what_the_binary_prints() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql");
    let committed = fs::read_to_string(&file).unwrap();
    assert!(
        committed == aetherium::graphql::sdl(),
        "schema.graphql is not what the program prints. If the change is meant, run: cargo run -- schema > schema.graphql"
    );
}

#[test]
fn everything_in_the_schema_is_described() {
    let sdl = aetherium::graphql::sdl();
    let mut lines = sdl.lines().map(str::trim).peekable();
    let mut undescribed = Vec::new();
    let mut described = false;
    while let Some(line) = lines.next() {
        if line == "\"\"\"" {
            for line in lines.by_ref() {
                if line == "\"\"\"" {
                    break;
                }
            }
            described = true;
            continue;
        }
        let closes_arguments = line.starts_with(')');
        let names_something = (line.contains(':') && !closes_arguments)
            || line.ends_with('(')
            || ["type ", "input ", "enum ", "scalar ", "interface "].iter().any(|word| line.starts_with(word))
            || (!line.is_empty() && line.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_'));
        if line.starts_with('"') {
            described = true;
        } else {
            if names_something
                && !described
                && !line.starts_with('#')
                && !line.starts_with("directive ")
                && !is_root(line)
            {
                undescribed.push(line.to_owned());
            }
            described = false;
        }
    }
    assert!(undescribed.is_empty(), "no description: {undescribed:#?}");
}

/// The `schema { query: … }` block names the roots, which are described where they are.
fn is_root(line: &str) -> bool {
    ["query: ", "mutation: ", "subscription: "].iter().any(|root| line.starts_with(root))
}
