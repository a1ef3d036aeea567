//! Validation errors of a document: collected in the order of the text, and returned as one error response. Their
//! words, and `Did you mean`, are in [`validation`](super::validation).

use async_graphql::{Pos, Response, ServerError};

use super::positions::Source;
use crate::graphql::error;

/// The longest error message, in characters. Messages quote the document, which may be longer.
const MAX_MESSAGE_LENGTH: usize = 500;

/// Most errors of one response: a document with a thousand unknown fields does not get a thousand errors.
const MAX_ERRORS: usize = 10;

/// The validation errors of a document: the first [`MAX_ERRORS`] by their positions.
pub struct ValidationErrors<'a> {
    source: &'a Source<'a>,
    /// In the order of their positions.
    errors: Vec<(Vec<Pos>, String)>,
}

impl<'a> ValidationErrors<'a> {
    pub fn new(source: &'a Source<'a>) -> Self {
        Self { source, errors: Vec::new() }
    }

    /// Adds an error with its positions, unless there are [`MAX_ERRORS`] before it. The message is formatted only if
    /// the error is added, because a short document may have tens of thousands of errors.
    pub fn add(
        &mut self,
        locations: impl IntoIterator<Item = apollo_compiler::parser::SourceSpan>,
        message: impl FnOnce() -> String,
    ) {
        let locations: Vec<_> = locations.into_iter().map(|location| self.source.pos(location.offset())).collect();
        let index = self.errors.partition_point(|(reported, _)| *reported <= locations);
        if index < MAX_ERRORS {
            self.errors.truncate(MAX_ERRORS - 1);
            self.errors.insert(index, (locations, message()));
        }
    }

    /// Returns the errors as an error response, if there are any.
    pub fn check(&mut self) -> Result<(), Response> {
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(error_response("GRAPHQL_VALIDATION_FAILED", std::mem::take(&mut self.errors)))
    }
}

/// An error response of errors with this code, each with its positions and message.
pub fn error_response(code: &str, problems: Vec<(Vec<Pos>, String)>) -> Response {
    let error = |(locations, message): (_, String)| ServerError { locations, ..error::request_error(code, message) };
    Response::from_errors(problems.into_iter().map(error).collect())
}

/// A message, cut to [`MAX_MESSAGE_LENGTH`].
pub fn truncated(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use apollo_compiler::ast;
    use apollo_compiler::parser::Parser;

    use super::*;

    /// How many messages are formatted, and which errors are returned.
    fn reported(
        text: &str,
        of: impl FnOnce(&ast::Document) -> Vec<apollo_compiler::parser::SourceSpan>,
    ) -> (u32, Vec<String>) {
        let parsed = Parser::new().parse_ast(text, "").unwrap();
        let source = Source::new(text);
        let (mut problems, formatted) = (ValidationErrors::new(&source), Cell::new(0));
        for location in of(&parsed) {
            problems.add([location], || {
                formatted.set(formatted.get() + 1);
                location.offset().to_string()
            });
        }
        let error_response = problems.check().unwrap_err();
        (formatted.get(), error_response.errors.into_iter().map(|error| error.message).collect())
    }

    #[test]
    fn only_returned_errors_are_formatted() {
        let text = "{a}".repeat(1_000);
        let places =
            |parsed: &ast::Document| parsed.definitions.iter().filter_map(|it| it.location()).collect::<Vec<_>>();
        let first: Vec<_> = (0..MAX_ERRORS).map(|n| (3 * n).to_string()).collect();
        assert_eq!(reported(&text, places), (10, first.clone()));
        // As with a fragment that several operations spread.
        let (formatted, _) = reported(&text, |parsed| vec![places(parsed); 100].concat());
        assert!(formatted < 50, "{formatted}");
        let (_, backwards) = reported(&text, |parsed| places(parsed).into_iter().rev().collect());
        assert_eq!(backwards, first);
    }
}
