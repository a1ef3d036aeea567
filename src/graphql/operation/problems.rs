//! What is wrong with a document: collected in the order of the text, and told as one refusal.

use async_graphql::{Pos, Response, ServerError};

use super::source::Source;
use crate::graphql::error;

/// The longest sentence about a document, in characters. It quotes what was sent, which may be longer.
const LONGEST_MESSAGE: usize = 500;

/// Errors that one refusal tells. A document of a thousand unknown fields is not answered by a thousand sentences.
const MAX_ERRORS: usize = 10;

/// What is wrong with a document: of all problems those that are told, which are the first by where they are.
pub struct ValidationErrors<'a> {
    source: &'a Source<'a>,
    /// In the order of their places.
    found: Vec<(Vec<Pos>, String)>,
}

impl<'a> ValidationErrors<'a> {
    pub fn new(source: &'a Source<'a>) -> Self {
        Self { source, found: Vec::new() }
    }

    /// Adds one, and where it is, unless there are enough before it. A problem that is not told is not put into words:
    /// a short document may have tens of thousands.
    pub fn add(
        &mut self,
        locations: impl IntoIterator<Item = apollo_compiler::parser::SourceSpan>,
        message: impl FnOnce() -> String,
    ) {
        let locations: Vec<_> = locations.into_iter().map(|location| self.source.pos(location.offset())).collect();
        let place = self.found.partition_point(|(known, _)| *known <= locations);
        if place < MAX_ERRORS {
            self.found.truncate(MAX_ERRORS - 1);
            self.found.insert(place, (locations, message()));
        }
    }

    pub fn none(&mut self) -> Result<(), Response> {
        if self.found.is_empty() {
            return Ok(());
        }
        Err(refused("GRAPHQL_VALIDATION_FAILED", std::mem::take(&mut self.found)))
    }
}

pub fn refused(code: &str, problems: Vec<(Vec<Pos>, String)>) -> Response {
    let error = |(locations, message): (_, String)| ServerError { locations, ..error::request_error(code, message) };
    Response::from_errors(problems.into_iter().map(error).collect())
}

pub fn short(message: &str) -> String {
    message.chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use apollo_compiler::ast;
    use apollo_compiler::parser::Parser;

    use super::*;

    /// How many of the problems of a document are put into words, and which are told.
    fn told(
        text: &str,
        of: impl FnOnce(&ast::Document) -> Vec<apollo_compiler::parser::SourceSpan>,
    ) -> (u32, Vec<String>) {
        let parsed = Parser::new().parse_ast(text, "").unwrap();
        let source = Source::of(text);
        let (mut problems, worded) = (ValidationErrors::new(&source), Cell::new(0));
        for location in of(&parsed) {
            problems.add([location], || {
                worded.set(worded.get() + 1);
                location.offset().to_string()
            });
        }
        let refused = problems.none().unwrap_err();
        (worded.get(), refused.errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn only_problems_that_are_told_are_put_into_words() {
        let text = "{a}".repeat(1_000);
        let places =
            |parsed: &ast::Document| parsed.definitions.iter().filter_map(|it| it.location()).collect::<Vec<_>>();
        let first: Vec<_> = (0..MAX_ERRORS).map(|n| (3 * n).to_string()).collect();
        assert_eq!(told(&text, places), (10, first.clone()));
        // As the same fragment has it in one operation after the other.
        let (worded, _) = told(&text, |parsed| vec![places(parsed); 100].concat());
        assert!(worded < 50, "{worded}");
        let (_, backwards) = told(&text, |parsed| places(parsed).into_iter().rev().collect());
        assert_eq!(backwards, first);
    }
}
