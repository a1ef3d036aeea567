//! Refuses documents that would cost too much, before they are validated.
//!
//! Rules and limits that walk every spread of a fragment again are exponential: a document of 750 bytes in
//! which each fragment spreads the next one twice keeps a core busy for twenty seconds (measured).
//! Here each fragment is measured once and its size remembered, which is linear in the document. What is written out is
//! counted before the parser, which takes its time, sees it (see [`syntax`](super::syntax)).

use std::collections::HashMap;

use apollo_compiler::Name;
use apollo_compiler::ast::{Definition, Document, Field, FragmentDefinition, Selection};
use async_graphql::{Response, SchemaBuilder, Value, Variables};

use crate::graphql::error::request_error;

/// Operations of one document: a file of them as people keep it open in an editor, which sends all to run one. The
/// rules look at each fragment again for every operation that spreads it.
const MAX_OPERATIONS: usize = 20;

/// How large a request may be. Everything that is over a limit is refused in words that name the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Bytes of a document.
    pub document: usize,
    /// Words and signs of a document.
    pub tokens: usize,
    /// Entries of the lists in the variables.
    pub entries: usize,
    /// Selections of a document with all its fragments written out.
    pub selections: usize,
    /// Nesting of fields.
    pub depth: usize,
    /// Aliases of a document with all its fragments written out.
    pub aliases: usize,
    /// Fields at the root of one operation.
    pub root_fields: usize,
    /// Directives of one field, fragment or operation.
    pub directives: usize,
    /// Fields of the largest answer to an operation, and rows that are looked at for it; see [`cost`](super::cost).
    pub cost: u64,
}

impl Default for Limits {
    /// Several times what playgrounds, code generators and dashboards ask for; the longest of these is introspection,
    /// with 13 levels, 90 selections and 280 tokens.
    fn default() -> Self {
        Self {
            body: 256 * 1024,
            document: 64 * 1024,
            // To parse more takes longer than a refusal may.
            tokens: 4_000,
            // More VMs than a report in the largest body can name; all other lists are shorter.
            entries: 15_000,
            selections: 1_000,
            depth: 15,
            aliases: 100,
            root_fields: 100,
            directives: 20,
            // Ten times the largest page that is asked for in earnest, and half of the time that an answer may take.
            cost: 10_000_000,
        }
    }
}

impl Limits {
    /// Nesting of selections, for which a fragment counts as a field does: room for as many fragments as fields.
    fn nesting(&self) -> usize {
        self.depth.saturating_mul(2).saturating_add(2)
    }

    /// Nesting of braces and brackets for the parser, which values have too.
    pub fn recursion(&self) -> usize {
        self.nesting().saturating_add(64)
    }

    /// Tells the engine, whose own limits are never reached before these.
    pub fn tell<Q, M, S>(&self, schema: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S> {
        schema.limit_recursive_depth(self.nesting())
    }
}

/// Refuses a document that is too large in any way, or in which a fragment spreads itself. Answers with how many
/// selections it has with its fragments written out.
pub fn check_parsed(document: &Document, limits: &Limits) -> Result<usize, Response> {
    let operations = document.definitions.iter().filter(|it| matches!(it, Definition::OperationDefinition(_))).count();
    within("operations", operations, MAX_OPERATIONS)?;
    let size = DocumentMeasure::new(document).measure().map_err(|Cycle(fragment)| {
        let problem = format!("The fragment \"{fragment}\" spreads itself, directly or through others");
        refused("GRAPHQL_VALIDATION_FAILED", problem)
    })?;
    within("selections with its fragments written out", size.selections, limits.selections)?;
    within("levels of fields", size.depth, limits.depth)?;
    within("levels of fields and fragments", size.nesting, limits.nesting())?;
    within("aliases with its fragments written out", size.aliases, limits.aliases)?;
    within("fields at the root of an operation", size.root_fields, limits.root_fields)?;
    within("directives in one place", size.directives, limits.directives)?;
    Ok(size.selections)
}

/// Refuses variables with longer lists than anything could be asked with.
pub fn check_variables(variables: &Variables, limits: &Limits) -> Result<(), Response> {
    let entries = variables.values().map(count_entries).sum::<usize>();
    if entries <= limits.entries {
        return Ok(());
    }
    let problem = format!("The variables have {entries} entries in lists; at most {} are allowed", limits.entries);
    Err(refused("QUERY_TOO_COMPLEX", problem))
}

/// How many entries there are in the lists of a value. (What it was read by bounds how deep it is.)
fn count_entries(value: &Value) -> usize {
    match value {
        Value::List(entries) => entries.len() + entries.iter().map(count_entries).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count_entries).sum(),
        _ => 0,
    }
}

/// Refuses a document that has more of something than is allowed.
pub fn within(what: &str, asked: usize, limit: usize) -> Result<(), Response> {
    if asked <= limit {
        return Ok(());
    }
    /// Above it a number of nested fragments tells nobody anything, and may have stopped counting.
    const COUNTABLE: usize = 1_000_000_000;
    let asked = if asked > COUNTABLE { format!("more than {COUNTABLE}") } else { asked.to_string() };
    Err(refused("QUERY_TOO_COMPLEX", format!("The document has {asked} {what}; at most {limit} are allowed")))
}

fn refused(code: &str, message: impl Into<String>) -> Response {
    Response::from_errors(vec![request_error(code, message)])
}

/// How large a document is, or a part of it, with its fragments written out.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    selections: usize,
    aliases: usize,
    /// Levels of fields.
    depth: usize,
    /// Levels of fields and fragments.
    nesting: usize,
    /// Fields that are not in others.
    root_fields: usize,
    /// The most that are in one place.
    directives: usize,
}

impl Size {
    /// Of one thing beside another.
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

    /// Of a field with this inside.
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

    /// Of a fragment with this inside. It counts as well as what it holds: of fragments without any field, 2^30 are as
    /// slow to walk.
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
struct DocumentMeasure<'a> {
    document: &'a Document,
    fragments: HashMap<&'a Name, &'a FragmentDefinition>,
    measured: HashMap<&'a Name, MeasureState>,
}

#[derive(Clone, Copy)]
enum MeasureState {
    NotYet,
    OperationInfo(Size),
}

/// A fragment that contains itself.
struct Cycle(Name);

impl<'a> DocumentMeasure<'a> {
    fn new(document: &'a Document) -> Self {
        let mut fragments = HashMap::new();
        for definition in &document.definitions {
            if let Definition::FragmentDefinition(fragment) = definition {
                // If there are two of one name, the validation says so, and looks into the first.
                fragments.entry(&fragment.name).or_insert(&**fragment);
            }
        }
        Self { document, fragments, measured: HashMap::new() }
    }

    fn measure(mut self) -> Result<Size, Cycle> {
        let document = self.document;
        let mut total = Size::default();
        let mut root_fields = 0;
        for definition in &document.definitions {
            let Definition::OperationDefinition(operation) = definition else { continue };
            let size = self.size_of(&operation.selection_set)?;
            root_fields = root_fields.max(size.root_fields);
            total = total.beside(size);
            let variables = operation.variables.iter().map(|variable| variable.directives.len());
            total.directives = variables.chain([operation.directives.len()]).fold(total.directives, usize::max);
        }
        // Fragments nobody spreads are validated too.
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

    fn size_of(&mut self, set: &'a [Selection]) -> Result<Size, Cycle> {
        let mut size = Size::default();
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

    fn size_of_fragment(&mut self, name: &'a Name) -> Result<Size, Cycle> {
        match self.measured.get(name) {
            Some(MeasureState::OperationInfo(size)) => return Ok(*size),
            Some(MeasureState::NotYet) => return Err(Cycle(name.clone())),
            None => {}
        }
        // An unknown fragment is the validation's to name.
        let Some(fragment) = self.fragments.get(name).copied() else { return Ok(Size::default()) };
        self.measured.insert(name, MeasureState::NotYet);
        let mut size = self.size_of(&fragment.selection_set)?;
        size.directives = size.directives.max(fragment.directives.len());
        self.measured.insert(name, MeasureState::OperationInfo(size));
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

    fn refusal(query: &str) -> Option<String> {
        // Some of these are longer than they may be: here it is about what they unfold to.
        let response = read(query, &Limits { tokens: 10_000, ..Limits::default() }).err()?;
        Some(response.errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn exponential_fragments_are_refused_without_being_written_out() {
        let mut query = "{ workers { ...F0 } }".to_owned();
        for level in 0..60 {
            query += &format!("fragment F{level} on Worker {{ {} }}", format!("...F{} ", level + 1).repeat(40));
        }
        query += "fragment F60 on Worker { id }";
        assert_eq!(
            refusal(&query).unwrap(),
            "The document has more than 1000000000 selections with its fragments written out; at most 1000 are allowed"
        );
    }

    #[test]
    fn exponential_fragments_of_nothing_are_refused_too() {
        let mut query = "{ ...F0 }".to_owned();
        for level in 0..30 {
            query += &format!("fragment F{level} on Query {{ ...F{next} ...F{next} }}", next = level + 1);
        }
        assert!(refusal(&query).is_some_and(|message| message.contains("at most 1000 are allowed")));
    }

    #[test]
    fn cycles_are_refused_and_ordinary_documents_pass() {
        let cycle = "{ workers { ...A } } fragment A on Worker { ...B } fragment B on Worker { ...A }";
        assert!(refusal(cycle).is_some_and(|message| message.ends_with("spreads itself, directly or through others")));
        assert_eq!(refusal("{ workers { id ...A } } fragment A on Worker { hostname vms { id } }"), None);
    }

    #[test]
    fn each_limit_says_what_it_is_and_how_much_was_asked() {
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
        assert_eq!(refusal(&with_fragment(MAX_OPERATIONS)), None);
        assert_eq!(
            refusal(&with_fragment(MAX_OPERATIONS + 1)).unwrap(),
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
