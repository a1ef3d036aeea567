//! Refuses documents that would cost too much, before the engine looks at them.
//!
//! The engine's own limits walk every spread of a fragment again, so a document of 750 bytes in
//! which each fragment spreads the next one twice keeps a core busy for twenty seconds (measured).
//! Here each fragment is counted once and its size remembered, which is linear in the document.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, OperationType, Selection, SelectionSet};
use async_graphql::{Name, Request, Response, SchemaBuilder};

use super::error::request_error;

/// Longest document, in bytes.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Most selections of a document with all its fragments written out.
const MAX_SELECTIONS: usize = 1_000;
/// Deepest nesting of selections.
const MAX_DEPTH: usize = 15;
/// Most aliases of a document.
const MAX_ALIASES: usize = 100;
/// Most directives of one field.
const MAX_DIRECTIVES: usize = 20;

/// Limits that the engine keeps itself.
pub(super) fn limit<Q, M, S>(schema: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S> {
    schema.limit_depth(MAX_DEPTH).limit_directives(MAX_DIRECTIVES).limit_aliases(MAX_ALIASES)
}

/// Parses the document, and refuses it if it is too large in any way.
pub(super) fn check(request: &mut Request) -> Result<(), Response> {
    let length = request.query.len();
    if length > MAX_DOCUMENT {
        return Err(too_complex(format!("The document has {length} bytes; at most {MAX_DOCUMENT} are read")));
    }
    let document = request.parsed_query().map_err(|mut error| {
        error.message = format!("The document cannot be parsed: {}", in_short(&error.message));
        let mut response = Response::from_errors(vec![error]);
        for error in &mut response.errors {
            error.extensions.get_or_insert_default().set("code", "GRAPHQL_PARSE_FAILED");
        }
        response
    })?;
    match Counter::new(document).count() {
        Counted::Within if !is_one_stream_each(document) => Err(Response::from_errors(vec![request_error(
            "GRAPHQL_VALIDATION_FAILED",
            "A subscription has exactly one field at its root, written there and not in a fragment",
        )])),
        Counted::Within => Ok(()),
        Counted::Over => Err(too_complex(format!(
            "The document selects too much: with its fragments written out it has more than {MAX_SELECTIONS} selections"
        ))),
        // The engine's validation names the fragments.
        Counted::Cyclic => Err(Response::from_errors(vec![request_error(
            "GRAPHQL_VALIDATION_FAILED",
            "A fragment of the document spreads itself, directly or through others",
        )])),
    }
}

/// The parser's words with the line that they are about, or without it if that is too long to be of help.
fn in_short(message: &str) -> String {
    const READABLE: usize = 1_000;
    let message = message.trim();
    let (place, rest) = message.split_once('\n').unwrap_or((message, ""));
    let problem = rest.rsplit('\n').next().unwrap_or_default().trim();
    match message.len() {
        ..=READABLE => message.to_owned(),
        _ => format!("{place} {problem}").chars().take(READABLE).collect(),
    }
}

/// Whether each subscription of the document is of one field, as the language wants it. The engine would run several,
/// and none of a fragment, without a word.
fn is_one_stream_each(document: &ExecutableDocument) -> bool {
    let mut subscriptions = document
        .operations
        .iter()
        .map(|(_, operation)| &operation.node)
        .filter(|it| it.ty == OperationType::Subscription);
    subscriptions.all(|subscription| match &subscription.selection_set.node.items[..] {
        [only] => matches!(&only.node, Selection::Field(field) if !field.node.name.node.starts_with("__")),
        _ => false,
    })
}

fn too_complex(message: String) -> Response {
    Response::from_errors(vec![request_error("QUERY_TOO_COMPLEX", message)])
}

/// Counts selections, each fragment once.
struct Counter<'a> {
    document: &'a ExecutableDocument,
    sizes: HashMap<&'a Name, Size>,
}

#[derive(Clone, Copy)]
enum Size {
    BeingCounted,
    Known(usize),
}

enum Counted {
    Within,
    Over,
    Cyclic,
}

struct Cycle;

impl<'a> Counter<'a> {
    fn new(document: &'a ExecutableDocument) -> Self {
        Self { document, sizes: HashMap::new() }
    }

    fn count(mut self) -> Counted {
        let mut total = 0_usize;
        let document = self.document;
        for (_, operation) in document.operations.iter() {
            match self.size_of(&operation.node.selection_set.node) {
                Ok(size) => total = total.saturating_add(size),
                Err(Cycle) => return Counted::Cyclic,
            }
        }
        // Fragments nobody spreads are validated too.
        for name in document.fragments.keys() {
            match self.size_of_fragment(name) {
                Ok(size) => total = total.max(size),
                Err(Cycle) => return Counted::Cyclic,
            }
        }
        if total > MAX_SELECTIONS { Counted::Over } else { Counted::Within }
    }

    fn size_of(&mut self, set: &'a SelectionSet) -> Result<usize, Cycle> {
        let mut size = 0_usize;
        for selection in &set.items {
            // A spread counts as well as what it spreads: of fragments without any field, 2^30 are as slow to walk.
            size = size.saturating_add(1).saturating_add(match &selection.node {
                Selection::Field(field) => self.size_of(&field.node.selection_set.node)?,
                Selection::InlineFragment(inline) => self.size_of(&inline.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.size_of_fragment(&spread.node.fragment_name.node)?,
            });
        }
        Ok(size)
    }

    fn size_of_fragment(&mut self, name: &'a Name) -> Result<usize, Cycle> {
        match self.sizes.get(name) {
            Some(Size::Known(size)) => return Ok(*size),
            Some(Size::BeingCounted) => return Err(Cycle),
            None => {}
        }
        // An unknown fragment is the validation's to name.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(0) };
        self.sizes.insert(name, Size::BeingCounted);
        let size = self.size_of(&fragment.node.selection_set.node)?;
        self.sizes.insert(name, Size::Known(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> Option<String> {
        let response = check(&mut Request::new(query)).err()?;
        Some(response.errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn exponential_fragments_are_refused_without_being_written_out() {
        let mut query = "{ workers { ...F0 } }".to_owned();
        for level in 0..60 {
            query += &format!("fragment F{level} on Worker {{ {} }}", format!("...F{} ", level + 1).repeat(40));
        }
        query += "fragment F60 on Worker { id }";
        assert!(refusal(&query).is_some_and(|message| message.contains("more than 1000 selections")));
    }

    #[test]
    fn exponential_fragments_of_nothing_are_refused_too() {
        let mut query = "{ ...F0 }".to_owned();
        for level in 0..30 {
            query += &format!("fragment F{level} on Query {{ ...F{next} ...F{next} }}", next = level + 1);
        }
        assert!(refusal(&query).is_some_and(|message| message.contains("more than 1000 selections")));
    }

    #[test]
    fn cycles_are_refused_and_ordinary_documents_pass() {
        let cycle = "{ workers { ...A } } fragment A on Worker { ...B } fragment B on Worker { ...A }";
        assert!(refusal(cycle).is_some_and(|message| message.contains("spreads itself")));
        assert_eq!(refusal("{ workers { id ...A } } fragment A on Worker { hostname vms { id } }"), None);
    }
}
