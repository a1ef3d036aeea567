//! The limits on requests, and the check of a parsed document against them, before validation.
//!
//! A rule that walks a fragment again for each of its spreads takes exponential time: a document of 750 bytes in which
//! each fragment spreads the next one twice keeps a core busy for twenty seconds (measured). Here each fragment is
//! measured once and its size stored, which takes time linear in the document. Tokens and selections as they are
//! written are counted earlier, before the parser, which is slow (see [`syntax`](super::syntax)); the query cost is
//! checked later, with the variables (see [`cost`](super::cost)).

use std::collections::HashMap;

use apollo_compiler::Name;
use apollo_compiler::ast::{Definition, Document, Field, FragmentDefinition, Selection};
use async_graphql::{Response, SchemaBuilder, Value, Variables};

use crate::graphql::error::request_error;

/// Most operations of one document. An editor with a file of several operations sends all of them to run one. The rules
/// visit each fragment again for every operation that spreads it.
const MAX_OPERATIONS: usize = 20;

/// The limits on a request. An error about a limit names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's body.
    pub body: usize,
    /// Most bytes of a document.
    pub document: usize,
    /// Most tokens of a document.
    pub tokens: usize,
    /// Most entries in all lists of the variables.
    pub entries: usize,
    /// Most selections of a document with all fragments written out.
    pub selections: usize,
    /// Most levels of fields.
    pub depth: usize,
    /// Most aliases of a document with all fragments written out.
    pub aliases: usize,
    /// Most fields at the root of one operation.
    pub root_fields: usize,
    /// Most directives of one field, fragment or operation.
    pub directives: usize,
    /// Highest query cost: fields of the largest response, and rows scanned for it; see [`cost`](super::cost).
    pub cost: u64,
}

impl Default for Limits {
    /// Several times what playgrounds, code generators and dashboards send. The longest of these is introspection, with
    /// 13 levels, 90 selections and 280 tokens.
    fn default() -> Self {
        Self {
            body: 256 * 1024,
            document: 64 * 1024,
            // More tokens would take longer to parse than a refusal may take.
            tokens: 4_000,
            // More VMs than a heartbeat in the largest body can report; all other lists are shorter.
            entries: 15_000,
            selections: 1_000,
            depth: 15,
            aliases: 100,
            root_fields: 100,
            directives: 20,
            // Ten times the largest realistic page, and half of the time that a response may take.
            cost: 10_000_000,
        }
    }
}

impl Limits {
    /// Most levels of selection sets, those of fragments included: as many again for fragments as for fields.
    fn nesting(&self) -> usize {
        self.depth.saturating_mul(2).saturating_add(2)
    }

    /// Most levels of braces and brackets for the parser, those of values included.
    pub fn recursion(&self) -> usize {
        self.nesting().saturating_add(64)
    }

    /// Sets the engine's own limit, which is never reached before these.
    pub fn apply_to<Q, M, S>(&self, schema: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S> {
        schema.limit_recursive_depth(self.nesting())
    }
}

/// Refuses a document that exceeds a limit or has a fragment that spreads itself. Returns the number of its selections
/// with all fragments written out.
pub fn check_parsed(document: &Document, limits: &Limits) -> Result<usize, Response> {
    let operations = document.definitions.iter().filter(|it| matches!(it, Definition::OperationDefinition(_))).count();
    check_limit("operations", operations, MAX_OPERATIONS)?;
    let size = DocumentMeasurer::new(document).measure().map_err(|Cycle(fragment)| {
        let problem = format!("The fragment \"{fragment}\" spreads itself, directly or through others");
        error_response("GRAPHQL_VALIDATION_FAILED", problem)
    })?;
    check_limit("selections with its fragments written out", size.selections, limits.selections)?;
    check_limit("levels of fields", size.depth, limits.depth)?;
    check_limit("levels of fields and fragments", size.nesting, limits.nesting())?;
    check_limit("aliases with its fragments written out", size.aliases, limits.aliases)?;
    check_limit("fields at the root of an operation", size.root_fields, limits.root_fields)?;
    check_limit("directives in one place", size.directives, limits.directives)?;
    Ok(size.selections)
}

/// Refuses variables with more entries in their lists than the limit.
pub fn check_variables(variables: &Variables, limits: &Limits) -> Result<(), Response> {
    let entries = variables.values().map(count_entries).sum::<usize>();
    if entries <= limits.entries {
        return Ok(());
    }
    let message = format!("The variables have {entries} entries in lists; at most {} are allowed", limits.entries);
    Err(error_response("QUERY_TOO_COMPLEX", message))
}

/// The number of entries in all lists of a value. (The JSON parser bounds its depth.)
fn count_entries(value: &Value) -> usize {
    match value {
        Value::List(entries) => entries.len() + entries.iter().map(count_entries).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count_entries).sum(),
        _ => 0,
    }
}

/// Refuses a document that has more of `what` than the limit.
pub fn check_limit(what: &str, actual: usize, limit: usize) -> Result<(), Response> {
    if actual <= limit {
        return Ok(());
    }
    /// The largest count in an error message. Higher ones say nothing more, and may be saturated.
    const COUNTABLE: usize = 1_000_000_000;
    let actual = if actual > COUNTABLE { format!("more than {COUNTABLE}") } else { actual.to_string() };
    Err(error_response("QUERY_TOO_COMPLEX", format!("The document has {actual} {what}; at most {limit} are allowed")))
}

fn error_response(code: &str, message: impl Into<String>) -> Response {
    Response::from_errors(vec![request_error(code, message)])
}

/// The size of a document or of a part of it, with all fragments written out.
#[derive(Clone, Copy, Debug, Default)]
struct DocumentSize {
    selections: usize,
    aliases: usize,
    /// Levels of fields.
    depth: usize,
    /// Levels of fields and fragments.
    nesting: usize,
    /// Fields at the root of this part.
    root_fields: usize,
    /// Most directives in one place.
    directives: usize,
}

impl DocumentSize {
    /// The size of two parts side by side.
    fn beside(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            depth: self.depth.max(other.depth),
            nesting: self.nesting.max(other.nesting),
            root_fields: self.root_fields.saturating_add(other.root_fields),
            directives: self.directives.max(other.directives),
        }
    }

    /// The size of a field around this part.
    fn in_field(self, field: &Field) -> Self {
        Self {
            selections: self.selections.saturating_add(1),
            aliases: self.aliases.saturating_add(usize::from(field.alias.is_some())),
            depth: self.depth + 1,
            nesting: if field.selection_set.is_empty() { 0 } else { self.nesting + 1 },
            root_fields: 1,
            directives: self.directives.max(field.directives.len()),
        }
    }

    /// The size of a fragment around this part. The fragment itself counts as a selection, too: 2^30 fragments without
    /// any field are as slow to walk as fields.
    fn in_fragment(self, directives: usize) -> Self {
        Self {
            selections: self.selections.saturating_add(1),
            nesting: self.nesting + 1,
            directives: self.directives.max(directives),
            ..self
        }
    }
}

/// Measures a document, each fragment once.
struct DocumentMeasurer<'a> {
    document: &'a Document,
    fragments: HashMap<&'a Name, &'a FragmentDefinition>,
    measured: HashMap<&'a Name, MeasureState>,
}

/// How far the measurement of a fragment is.
#[derive(Clone, Copy)]
enum MeasureState {
    InProgress,
    Measured(DocumentSize),
}

/// A fragment that contains itself.
struct Cycle(Name);

impl<'a> DocumentMeasurer<'a> {
    fn new(document: &'a Document) -> Self {
        let mut fragments = HashMap::new();
        for definition in &document.definitions {
            if let Definition::FragmentDefinition(fragment) = definition {
                // Validation refuses two fragments of one name, and visits the first.
                fragments.entry(&fragment.name).or_insert(&**fragment);
            }
        }
        Self { document, fragments, measured: HashMap::new() }
    }

    fn measure(mut self) -> Result<DocumentSize, Cycle> {
        let document = self.document;
        let mut total = DocumentSize::default();
        let mut root_fields = 0;
        for definition in &document.definitions {
            let Definition::OperationDefinition(operation) = definition else { continue };
            let size = self.size_of(&operation.selection_set)?;
            root_fields = root_fields.max(size.root_fields);
            total = total.beside(size);
            let variables = operation.variables.iter().map(|variable| variable.directives.len());
            total.directives = variables.chain([operation.directives.len()]).fold(total.directives, usize::max);
        }
        // Unused fragments are validated too.
        for definition in &document.definitions {
            let Definition::FragmentDefinition(fragment) = definition else { continue };
            let size = self.size_of_fragment(&fragment.name)?;
            total.selections = total.selections.max(size.selections);
            total.aliases = total.aliases.max(size.aliases);
            total.depth = total.depth.max(size.depth);
            total.nesting = total.nesting.max(size.nesting);
            total.directives = total.directives.max(size.directives);
        }
        total.root_fields = root_fields;
        Ok(total)
    }

    fn size_of(&mut self, set: &'a [Selection]) -> Result<DocumentSize, Cycle> {
        let mut size = DocumentSize::default();
        for selection in set {
            size = size.beside(match selection {
                Selection::Field(field) => self.size_of(&field.selection_set)?.in_field(field),
                Selection::InlineFragment(inline) => {
                    self.size_of(&inline.selection_set)?.in_fragment(inline.directives.len())
                }
                Selection::FragmentSpread(spread) => {
                    self.size_of_fragment(&spread.fragment_name)?.in_fragment(spread.directives.len())
                }
            });
        }
        Ok(size)
    }

    fn size_of_fragment(&mut self, name: &'a Name) -> Result<DocumentSize, Cycle> {
        match self.measured.get(name) {
            Some(MeasureState::Measured(size)) => return Ok(*size),
            Some(MeasureState::InProgress) => return Err(Cycle(name.clone())),
            None => {}
        }
        // Validation refuses an unknown fragment.
        let Some(fragment) = self.fragments.get(name).copied() else { return Ok(DocumentSize::default()) };
        self.measured.insert(name, MeasureState::InProgress);
        let mut size = self.size_of(&fragment.selection_set)?;
        size.directives = size.directives.max(fragment.directives.len());
        self.measured.insert(name, MeasureState::Measured(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use apollo_compiler::parser::Parser;
    use serde_json::json;

    use super::*;

    fn read(text: &str, limits: &Limits) -> Result<usize, Response> {
        let parsed = Parser::new().parse_ast(text, "").unwrap();
        check_parsed(&parsed, limits)
    }

    fn error_message(query: &str) -> Option<String> {
        // Some of these documents have too many tokens; here only their written-out size matters.
        let response = read(query, &Limits { tokens: 10_000, ..Limits::default() }).err()?;
        Some(response.errors.into_iter().map(|error_response| error_response.message).collect())
    }

    #[test]
    fn exponential_fragments_are_refused_without_being_written_out() {
        let mut query = "{ workers { ...F0 } }".to_owned();
        for level in 0..60 {
            query += &format!("fragment F{level} on Worker {{ {} }}", format!("...F{} ", level + 1).repeat(40));
        }
        query += "fragment F60 on Worker { id }";
        assert_eq!(
            error_message(&query).unwrap(),
            "The document has more than 1000000000 selections with its fragments written out; at most 1000 are allowed"
        );
    }

    #[test]
    fn exponential_fragments_of_nothing_are_refused_too() {
        let mut query = "{ ...F0 }".to_owned();
        for level in 0..30 {
            query += &format!("fragment F{level} on Query {{ ...F{next} ...F{next} }}", next = level + 1);
        }
        assert!(error_message(&query).is_some_and(|message| message.contains("at most 1000 are allowed")));
    }

    #[test]
    fn cycles_are_refused_and_ordinary_documents_pass() {
        let cycle = "{ workers { ...A } } fragment A on Worker { ...B } fragment B on Worker { ...A }";
        assert!(
            error_message(cycle).is_some_and(|message| message.ends_with("spreads itself, directly or through others"))
        );
        assert_eq!(error_message("{ workers { id ...A } } fragment A on Worker { hostname vms { id } }"), None);
    }

    #[test]
    fn each_limit_is_named_with_the_actual_number() {
        let tight = Limits {
            body: 0,
            document: 200,
            tokens: 40,
            entries: 0,
            selections: 12,
            depth: 4,
            aliases: 2,
            root_fields: 3,
            directives: 1,
            cost: 0,
        };
        let deep = |levels: usize| format!("{}id{}", "{vms".repeat(levels - 1) + "{", "}".repeat(levels));
        for (document, expected) in [
            (
                format!("{{...F b}} fragment F on Query {{{}}}", "id ".repeat(11)),
                "13 selections with its fragments written out; at most 12",
            ),
            (deep(5), "5 levels of fields; at most 4"),
            (format!("{}id{}", "{...".repeat(11), "}".repeat(11)), "11 levels of fields and fragments; at most 10"),
            ("{a{x:id y:id z:id}}".to_owned(), "3 aliases with its fragments written out; at most 2"),
            ("{a b ...{c d}}".to_owned(), "4 fields at the root of an operation; at most 3"),
            ("{a @x @y}".to_owned(), "2 directives in one place; at most 1"),
            ("query($a:Int @x @y){a}".to_owned(), "2 directives in one place; at most 1"),
            ("query @x @y {a}".to_owned(), "2 directives in one place; at most 1"),
        ] {
            let response = read(&document, &tight).expect_err(&document);
            assert_eq!(response.errors[0].message, format!("The document has {expected} are allowed"), "{document}");
        }
        for document in [deep(4), "{a b c} query B {x y z}".replace("{a", "query A {a"), "{a{x:id y:id}}".to_owned()] {
            assert!(read(&document, &tight).is_ok(), "{document}");
        }
    }

    #[test]
    fn a_document_is_no_collection_of_operations() {
        let queries = |count| (0..count).map(|n| format!("query Q{n} {{ ...F }}")).collect::<String>();
        let with_fragment = |count| queries(count) + "fragment F on Query { workers { id } }";
        assert_eq!(error_message(&with_fragment(MAX_OPERATIONS)), None);
        assert_eq!(
            error_message(&with_fragment(MAX_OPERATIONS + 1)).unwrap(),
            "The document has 21 operations; at most 20 are allowed"
        );
    }

    #[test]
    fn the_entries_of_all_lists_in_variables_are_counted() {
        for (variables, entries) in [
            (json!({}), 0),
            (json!({"a": {"b": "c"}}), 0),
            (json!({"a": [], "b": [1]}), 1),
            (json!({"a": {"b": [1, {"c": [2, 3], "d": 4}]}}), 4),
        ] {
            let variables = Variables::from_json(variables);
            let check = |entries| check_variables(&variables, &Limits { entries, ..Limits::default() });
            assert!(check(entries).is_ok(), "{variables}");
            assert!(entries == 0 || check(entries - 1).is_err(), "{variables}");
        }
    }
}
