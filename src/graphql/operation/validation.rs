//! Reads documents and decides whether the schema can answer them, by the rules of the GraphQL specification.
//!
//! The parser and most rules are those of `apollo-compiler`, which holds the schema in its own form, read once from our
//! schema file. A document passes these steps, in this order: its [`syntax`](super::syntax) with the limits that need
//! no parser, the parser, the limits of what was parsed ([`guard`]), the rules, and the rules that `apollo-compiler`
//! lacks ([`overlap`], [`typed`]). What has passed is handed to the engine as [`typed`] writes it; the engine neither
//! parses nor validates. The verdict depends on the text alone: variables are coerced with each request
//! ([`variables`](super::variables)).

use std::sync::LazyLock;

use apollo_compiler::diagnostic::ToCliReport as _;
use apollo_compiler::executable::ExecutableDocument as Valid;
use apollo_compiler::parser::Parser;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::{self, DiagnosticList};
use apollo_compiler::{Schema, ast};
use async_graphql::{Pos, Response};

use super::limits::{self, Limits};
use super::overlap;
use super::problems::{ValidationErrors, refused, short};
use super::source::Source;
use super::syntax::{SyntaxError, Tokens};
use super::typed::{self, Typed};
use crate::graphql::schema::sdl;

/// Rules of `apollo-compiler` that we have our own for. It takes lists for the same of which one begins as the other
/// does, and refuses a subscription in which the same field is selected twice.
const REPLACED: [&str; 6] = [
    "ConflictingFieldArgument",
    "ConflictingFieldName",
    "ConflictingFieldType",
    "SubscriptionUsesConditionalSelection",
    "SubscriptionUsesIntrospection",
    "SubscriptionUsesMultipleFields",
];

/// The schema as `apollo-compiler` holds it. What the engine writes of it is valid: were it not, no document would be,
/// and no test would pass.
fn schema() -> &'static validation::Valid<Schema> {
    static SCHEMA: LazyLock<validation::Valid<Schema>> = LazyLock::new(|| {
        // The crate knows introspection as it was before input objects could be `@oneOf`.
        let newer = "extend type __Type { isOneOf: Boolean }";
        let schema = Schema::builder().parse(sdl::sdl(), "schema.graphql").parse(newer, "introspection.graphql");
        let mut schema = schema.build().unwrap_or_else(|wrong| wrong.partial);
        as_the_engine_has_it(&mut schema);
        schema.validate().unwrap_or_else(|wrong| validation::Valid::assume_valid(wrong.partial))
    });
    &SCHEMA
}

/// Makes the arguments of introspection what the engine takes, and says of itself to take: no null for a flag.
fn as_the_engine_has_it(schema: &mut Schema) {
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

/// Reads a document that is valid and within the limits, or says why it is not. Answers also with how many selections
/// it has with its fragments written out.
pub fn read(text: &str, limits: &Limits) -> Result<(Typed, usize), Response> {
    limits::within("bytes", text.len(), limits.document)?;
    let tokens = Tokens::of(text, limits.tokens);
    limits::within("tokens", tokens.count, limits.tokens)?;
    let source = Source::of(text);
    let recognized = tokens.recognize(limits.recursion()).map_err(|wrong| match wrong {
        SyntaxError::Syntax { offset, problem } => unreadable(source.pos(offset), &problem),
        SyntaxError::TooDeep { offset } => {
            let (pos, deepest) = (source.pos(offset), limits.recursion());
            let message = format!("The document has more than {deepest} levels at {pos}, of whatever kind");
            refused("QUERY_TOO_COMPLEX", vec![(vec![pos], message)])
        }
    })?;
    limits::within("selections in one operation or fragment", recognized.selections, limits.selections)?;
    let parsed = parse(&recognized.plain, limits, &source)?;
    let selections = limits::check_parsed(&parsed, limits)?;
    let document = validate(&parsed, &source)?;
    Ok((document, selections))
}

fn parse(plain: &str, limits: &Limits, source: &Source<'_>) -> Result<ast::Document, Response> {
    // Between two tokens there may be one more, of white space, and there is one at the end. A level of ours may be
    // two.
    let (tokens, levels) = (2 * limits.tokens + 3, 2 * limits.recursion() + 2);
    let mut parser = Parser::new().token_limit(tokens).recursion_limit(levels);
    parser.parse_ast(plain, "").map_err(|wrong| {
        // Only of definitions of types, which nobody has looked at before.
        let first = wrong.errors.iter().map(|problem| (problem.error.location(), problem.error.to_string()));
        let first = first.min_by_key(|(location, _)| location.map_or(usize::MAX, |location| location.offset()));
        let (location, message) = first.unwrap_or_default();
        let pos = source.pos(location.map_or(plain.len(), |location| location.offset()));
        unreadable(pos, message.strip_prefix("syntax error: ").unwrap_or(&message))
    })
}

fn unreadable(pos: Pos, problem: &str) -> Response {
    let message = short(&format!("The document cannot be parsed at {pos}: {problem}"));
    refused("GRAPHQL_PARSE_FAILED", vec![(vec![pos], message)])
}

/// Adds what `apollo-compiler` found, except for the rules that we have our own for.
fn add_all(problems: &mut ValidationErrors<'_>, diagnostics: &DiagnosticList) {
    for problem in diagnostics.iter().map(|diagnostic| diagnostic.error) {
        if !problem.unstable_error_name().is_some_and(|name| REPLACED.contains(&name)) {
            problems.add(problem.location(), || {
                // In the words of the reference implementation, which clients know; there are none for a few.
                let message = problem.unstable_compat_message().unwrap_or_else(|| problem.to_string());
                // Values that it quotes are printed over several lines.
                let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
                short(&message) + &suggestion(&message)
            });
        }
    }
}

fn validate(parsed: &ast::Document, source: &Source<'_>) -> Result<Typed, Response> {
    let mut problems = ValidationErrors::new(source);
    let document = parsed.to_executable(schema()).unwrap_or_else(|wrong| {
        add_all(&mut problems, &wrong.errors);
        wrong.partial
    });
    // What is not known is not part of it, so that nothing that misses it would be true.
    problems.none()?;
    let document = document.validate(schema()).map_or_else(
        |wrong| {
            add_all(&mut problems, &wrong.errors);
            wrong.partial
        },
        validation::Valid::into_inner,
    );
    problems.none()?;
    check_introspection(&document, source)?;
    // From here on all that the document names exists.
    let typed = typed::write(&document, schema(), source, &mut problems);
    // Objects with a field twice are refused before objects are compared: those that are left have few fields.
    problems.none()?;
    overlap::find(&document, schema(), &mut problems);
    problems.none()?;
    Ok(typed)
}

/// Questions about the schema may not go round in circles in it: the answer would be many times as long as the schema.
fn check_introspection(document: &Valid, source: &Source<'_>) -> Result<(), Response> {
    let document = validation::Valid::assume_valid_ref(document);
    for operation in document.operations.iter() {
        if let Err(deep) = apollo_compiler::introspection::check_max_depth(document, operation) {
            let pos = source.pos(deep.location().map(|location| location.offset()).unwrap_or_default());
            let message = "The document asks for lists in lists in lists of the schema; at most two levels are allowed";
            return Err(refused("QUERY_TOO_COMPLEX", vec![(vec![pos], message.to_owned())]));
        }
    }
    Ok(())
}

/// What may have been meant by a name that there is not, as a sentence to be put behind the one that says so.
fn suggestion(message: &str) -> String {
    const OF_NAMES: [&str; 5] =
        ["Cannot query field ", "Unknown argument ", "Unknown type ", "Unknown directive ", "Value "];
    let is_of_name =
        OF_NAMES.iter().any(|begin| message.starts_with(begin)) || message.contains(" is not defined by type ");
    let mut words = message.split('"').skip(1).step_by(2).filter(|_| is_of_name);
    let (Some(wrong), place) = (words.next(), words.next()) else { return String::new() };
    let names: Vec<&str> = match place {
        None if message.starts_with("Unknown type ") => schema().types.keys().map(|name| name.as_str()).collect(),
        None if message.starts_with("Unknown directive ") => {
            schema().directive_definitions.keys().map(|name| name.as_str()).collect()
        }
        Some(place) => names_in(place),
        None => Vec::new(),
    };
    let wrong = wrong.trim_start_matches('@');
    let distance = |name: &str| strsim::osa_distance(&name.to_lowercase(), &wrong.to_lowercase());
    // Names that are longer than any of ours are not compared.
    let alike = names.into_iter().filter(|_| wrong.len() <= 64).map(|name| (distance(name), name));
    let mut alike: Vec<_> = alike.filter(|(distance, _)| *distance <= (wrong.len() / 3).max(1)).collect();
    alike.sort_unstable();
    alike.truncate(3);
    let alike: Vec<_> = alike.into_iter().map(|(_, name)| format!("\"{name}\"")).collect();
    if alike.is_empty() { String::new() } else { format!(" Did you mean {}?", alike.join(" or ")) }
}

/// The names that there are in a type, in a field (`Query.worker`) or in a directive (`@skip`).
fn names_in(place: &str) -> Vec<&'static str> {
    if let Some(directive) = place.strip_prefix('@') {
        let definition = schema().directive_definitions.get(directive);
        return definition.iter().flat_map(|it| &it.arguments).map(|argument| argument.name.as_str()).collect();
    }
    if let Some((ty, field)) = place.split_once('.') {
        let definition = schema().type_field(ty, field).ok();
        return definition.iter().flat_map(|it| &it.arguments).map(|argument| argument.name.as_str()).collect();
    }
    match schema().types.get(place) {
        Some(ExtendedType::Object(object)) => object.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::Interface(interface)) => interface.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::InputObject(input)) => input.fields.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::Enum(words)) => words.values.keys().map(|name| name.as_str()).collect(),
        Some(ExtendedType::Scalar(_) | ExtendedType::Union(_)) | None => Vec::new(),
    }
}
