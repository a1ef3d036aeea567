//! Parsing and validation: a text becomes a document that the schema can answer, by the rules of the GraphQL
//! specification.
//!
//! The parser and most rules are those of `apollo-compiler`, which has the schema in its own form, built once from our
//! SDL. A text passes these steps, in this order: the [`syntax`](super::syntax) with the limits that need no parser,
//! the parser, the [`limits`] of the parsed document, the rules, and the rules that `apollo-compiler` lacks ([`typed_document`],
//! [`fields_can_merge`]). The engine gets the document in the form into which [`typed_document`] converts it, and neither
//! parses nor validates.
//!
//! The result depends on the text alone: variables are coerced with each request ([`variables`](super::variables)).

use std::sync::LazyLock;

use apollo_compiler::diagnostic::ToCliReport as _;
use apollo_compiler::executable;
use apollo_compiler::parser::Parser;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::{self, DiagnosticList};
use apollo_compiler::{Schema, ast};
use async_graphql::{Pos, Response};

use super::fields_can_merge;
use super::limits::{self, Limits};
use super::positions::Source;
use super::syntax::{SyntaxError, Tokens};
use super::typed_document::{self, TypedDocument};
use super::validation_errors::{ValidationErrors, error_response, truncated};
use crate::graphql::schema::sdl;

/// Rules of `apollo-compiler` that rules of ours replace. It takes two lists for equal if one begins with the other,
/// and refuses a subscription that selects one field twice.
const REPLACED_RULES: [&str; 6] = [
    "ConflictingFieldArgument",
    "ConflictingFieldName",
    "ConflictingFieldType",
    "SubscriptionUsesConditionalSelection",
    "SubscriptionUsesIntrospection",
    "SubscriptionUsesMultipleFields",
];

/// The schema as `apollo-compiler` has it. The SDL that the engine exports is valid: with an invalid one no document
/// would be valid, and no test would pass.
fn schema() -> &'static validation::Valid<Schema> {
    static SCHEMA: LazyLock<validation::Valid<Schema>> = LazyLock::new(|| {
        // The crate has introspection as it was before `@oneOf` input objects.
        let extension = "extend type __Type { isOneOf: Boolean }";
        let schema = Schema::builder().parse(sdl::sdl(), "schema.graphql").parse(extension, "introspection.graphql");
        let mut schema = schema.build().unwrap_or_else(|error| error.partial);
        match_engine_introspection(&mut schema);
        schema.validate().unwrap_or_else(|error| validation::Valid::assume_valid(error.partial))
    });
    &SCHEMA
}

/// Gives `includeDeprecated` the type that it has in the engine's introspection: no null.
fn match_engine_introspection(schema: &mut Schema) {
    for (name, ty) in &mut schema.types {
        let ExtendedType::Object(object) = ty else { continue };
        if !name.starts_with("__") {
            continue;
        }
        for field in object.make_mut().fields.values_mut() {
            for argument in &mut field.make_mut().arguments {
                if argument.name == "includeDeprecated" {
                    let flag = argument.ty.as_ref().clone().non_null();
                    argument.make_mut().ty = flag.into();
                }
            }
        }
    }
}

/// Parses and validates a document, and counts its selections with all fragments written out. A document that is
/// invalid or exceeds a limit is refused with an error response.
pub fn parse_and_validate(text: &str, limits: &Limits) -> Result<(TypedDocument, usize), Response> {
    limits::check_limit("bytes", text.len(), limits.document)?;
    let tokens = Tokens::of(text, limits.tokens);
    limits::check_limit("tokens", tokens.count, limits.tokens)?;
    let source = Source::new(text);
    let syntax = tokens.recognize(limits.recursion()).map_err(|error| match error {
        SyntaxError::Syntax { offset, problem } => parse_error(source.pos(offset), &problem),
        SyntaxError::TooDeep { offset } => {
            let (pos, deepest) = (source.pos(offset), limits.recursion());
            let message = format!("The document has more than {deepest} levels at {pos}, of whatever kind");
            error_response("QUERY_TOO_COMPLEX", vec![(vec![pos], message)])
        }
    })?;
    limits::check_limit("selections in one operation or fragment", syntax.selections, limits.selections)?;
    let parsed = parse(&syntax.normalized, limits, &source)?;
    let selections = limits::check_parsed(&parsed, limits)?;
    let document = validate(&parsed, &source)?;
    Ok((document, selections))
}

fn parse(normalized: &str, limits: &Limits, source: &Source<'_>) -> Result<ast::Document, Response> {
    // The parser counts white space between tokens, and the end, as tokens. A level of ours may be two of its levels.
    let (tokens, levels) = (2 * limits.tokens + 3, 2 * limits.recursion() + 2);
    let mut parser = Parser::new().token_limit(tokens).recursion_limit(levels);
    parser.parse_ast(normalized, "").map_err(|error| {
        // Only definitions of types have errors here: everything else has passed our own syntax check.
        let first = error.errors.iter().map(|problem| (problem.error.location(), problem.error.to_string()));
        let first = first.min_by_key(|(location, _)| location.map_or(usize::MAX, |location| location.offset()));
        let (location, message) = first.unwrap_or_default();
        let pos = source.pos(location.map_or(normalized.len(), |location| location.offset()));
        parse_error(pos, message.strip_prefix("syntax error: ").unwrap_or(&message))
    })
}

fn parse_error(pos: Pos, problem: &str) -> Response {
    let message = truncated(&format!("The document cannot be parsed at {pos}: {problem}"));
    error_response("GRAPHQL_PARSE_FAILED", vec![(vec![pos], message)])
}

/// Adds the errors of `apollo-compiler`, except those of replaced rules.
fn add_diagnostics(problems: &mut ValidationErrors<'_>, diagnostics: &DiagnosticList) {
    for problem in diagnostics.iter().map(|diagnostic| diagnostic.error) {
        if !problem.unstable_error_name().is_some_and(|name| REPLACED_RULES.contains(&name)) {
            problems.add(problem.location(), || {
                // The message of the reference implementation, which clients know, where there is one.
                let message = problem.unstable_compat_message().unwrap_or_else(|| problem.to_string());
                // Quoted values are printed over several lines.
                let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
                truncated(&message) + &suggestion(&message)
            });
        }
    }
}

fn validate(parsed: &ast::Document, source: &Source<'_>) -> Result<TypedDocument, Response> {
    let mut problems = ValidationErrors::new(source);
    let document = parsed.to_executable(schema()).unwrap_or_else(|error| {
        add_diagnostics(&mut problems, &error.errors);
        error.partial
    });
    // Unknown fields and types are left out of the document, so that further errors about it might be wrong.
    problems.check()?;
    let document = document.validate(schema()).map_or_else(
        |error| {
            add_diagnostics(&mut problems, &error.errors);
            error.partial
        },
        validation::Valid::into_inner,
    );
    problems.check()?;
    check_introspection(&document, source)?;
    // From here on everything that the document names exists.
    let typed = typed_document::convert(&document, schema(), source, &mut problems);
    // Objects that have a field twice have been refused before objects are compared, which bounds their fields.
    problems.check()?;
    fields_can_merge::check_fields_merge(&document, schema(), &mut problems);
    problems.check()?;
    Ok(typed)
}

/// Refuses introspection that follows the schema in circles: its response would be many times as long as the schema.
fn check_introspection(document: &executable::ExecutableDocument, source: &Source<'_>) -> Result<(), Response> {
    let document = validation::Valid::assume_valid_ref(document);
    for operation in document.operations.iter() {
        if let Err(deep) = apollo_compiler::introspection::check_max_depth(document, operation) {
            let pos = source.pos(deep.location().map(|location| location.offset()).unwrap_or_default());
            let message = "The document asks for lists in lists in lists of the schema; at most two levels are allowed";
            return Err(error_response("QUERY_TOO_COMPLEX", vec![(vec![pos], message.to_owned())]));
        }
    }
    Ok(())
}

/// A sentence with the similar names that exist, to be appended to the error about an unknown name.
fn suggestion(message: &str) -> String {
    const NAME_ERRORS: [&str; 5] =
        ["Cannot query field ", "Unknown argument ", "Unknown type ", "Unknown directive ", "Value "];
    let is_name_error =
        NAME_ERRORS.iter().any(|begin| message.starts_with(begin)) || message.contains(" is not defined by type ");
    let mut words = message.split('"').skip(1).step_by(2).filter(|_| is_name_error);
    let (Some(misspelt), container) = (words.next(), words.next()) else { return String::new() };
    let names: Vec<&str> = match container {
        None if message.starts_with("Unknown type ") => schema().types.keys().map(|name| name.as_str()).collect(),
        None if message.starts_with("Unknown directive ") => {
            schema().directive_definitions.keys().map(|name| name.as_str()).collect()
        }
        Some(container) => names_of(container),
        None => Vec::new(),
    };
    let misspelt = misspelt.trim_start_matches('@');
    let distance = |name: &str| strsim::osa_distance(&name.to_lowercase(), &misspelt.to_lowercase());
    // A name that is longer than any in the schema is not compared.
    let candidates = names.into_iter().filter(|_| misspelt.len() <= 64).map(|name| (distance(name), name));
    let mut candidates: Vec<_> = candidates.filter(|(distance, _)| *distance <= (misspelt.len() / 3).max(1)).collect();
    candidates.sort_unstable();
    candidates.truncate(3);
    let candidates: Vec<_> = candidates.into_iter().map(|(_, name)| format!("\"{name}\"")).collect();
    if candidates.is_empty() { String::new() } else { format!(" Did you mean {}?", candidates.join(" or ")) }
}

/// The names defined in a type, in a field (`Query.worker`) or in a directive (`@skip`).
fn names_of(container: &str) -> Vec<&'static str> {
    if let Some(directive) = container.strip_prefix('@') {
        let definition = schema().directive_definitions.get(directive);
        return definition.iter().flat_map(|it| &it.arguments).map(|argument| argument.name.as_str()).collect();
    }
    if let Some((ty, field)) = container.split_once('.') {
        let definition = schema().type_field(ty, field).ok();
        return definition.iter().flat_map(|it| &it.arguments).map(|argument| argument.name.as_str()).collect();
    }
    match schema().types.get(container) {
        Some(ExtendedType::Object(object)) => object.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::Interface(interface)) => interface.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::InputObject(input)) => input.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::Enum(words)) => words.values.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::Scalar(_) | ExtendedType::Union(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::graphql::operation::document::DocumentParser;

    /// The messages of the errors about a document.
    fn problems(document: &str) -> Vec<String> {
        let response = DocumentParser::new(Limits::default()).parse(document).err();
        let response = response.unwrap_or_else(|| panic!("{document} is valid"));
        response.errors.into_iter().map(|error| error.message).collect()
    }

    /// The errors that `apollo-compiler` has for a document are told from each other by the beginnings of their
    /// messages: one of each kind is here.
    #[test]
    fn what_is_misspelt_is_told_with_what_is_meant() {
        for (document, begin, meant) in [
            ("{ workers { hostnam } }", "Cannot query field \"hostnam\" on type \"Worker\".", "hostname"),
            ("{ node(id: 1) { idd } }", "Cannot query field \"idd\" on type \"Node\".", "id"),
            ("{ workers(zon: \"a\") { id } }", "Unknown argument \"zon\" on field \"Query.workers\".", "zone"),
            ("{ workers { id @skip(if: true, iff: true) } }", "Unknown argument \"iff\" on field \"@skip\".", "if"),
            ("{ node(id: 1) { ... on Workr { id } } }", "Unknown type \"Workr\".", "Worker"),
            ("{ node(id: 1) { ...F } } fragment F on Workr { id }", "Unknown type \"Workr\".", "Worker"),
            ("{ workers { id @skp(if: true) } }", "Unknown directive \"@skp\".", "skip"),
            (
                "{ workersConnection(filter: {statuses: [ACTVE]}) { totalCount } }",
                "Value \"ACTVE\" does not exist in \"WorkerStatus\" enum.",
                "ACTIVE",
            ),
            (
                "{ workersConnection(filter: {zoness: \"a\"}) { totalCount } }",
                "Field \"zoness\" is not defined by type \"WorkerFilter\".",
                "zones",
            ),
        ] {
            let problems = problems(document);
            let [problem] = problems.as_slice() else { panic!("{document}: {problems:?}") };
            assert!(problem.starts_with(begin), "{document}: {problem}");
            assert!(problem.contains(&format!(" Did you mean \"{meant}\"")), "{document}: {problem}");
        }
    }

    /// The error of a rule that is not known by its name any more would stand in the place of ours.
    #[test]
    fn the_rules_that_are_replaced_are_known_by_their_names() {
        let mut found = BTreeSet::new();
        for (document, ours) in [
            ("{ nodes(ids: [1]) { id } nodes(ids: [2]) { id } }", "they have differing arguments"),
            ("{ workers { x: id } workers { x: hostname } }", "are different fields"),
            ("{ node(id: 1) { ... on Worker { x: cpuCores } ... on Vm { x: name } } }", "return conflicting types"),
            ("subscription { clusterStats @skip(if: true) { revision } }", "no condition there"),
            ("subscription { __typename }", "exactly one field"),
            ("subscription { a: clusterStats { revision } b: clusterStats { revision } }", "exactly one field"),
        ] {
            let parsed = Parser::new().parse_ast(document, "").expect(document);
            let errors = match parsed.to_executable(schema()) {
                Ok(document) => document.validate(schema()).err().map(|error| error.errors),
                Err(error) => Some(error.errors),
            };
            let errors = errors.unwrap_or_else(|| panic!("{document} is valid"));
            found.extend(errors.iter().filter_map(|diagnostic| diagnostic.error.unstable_error_name()));
            let problems = problems(document);
            assert!(problems.len() == 1 && problems[0].contains(ours), "{document}: {problems:?}");
        }
        assert_eq!(found, BTreeSet::from(REPLACED_RULES));
    }

    #[test]
    fn the_parser_is_quoted_without_its_prefix() {
        let errors = Parser::new().parse_ast("type {", "").expect_err("a definition without a name").errors;
        for diagnostic in errors.iter() {
            let said = diagnostic.error.to_string();
            assert!(said.starts_with("syntax error: "), "{said}");
        }
        let problems = problems("type {");
        assert!(problems[0].starts_with("The document cannot be parsed at 1:6: expected a "), "{problems:?}");
    }
}
