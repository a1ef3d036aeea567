//! Everything about HTTP that is not an answer: connections, limits, state, and the shape of a failure.
//!
//! A request passes these places, outermost first:
//!
//! 1. [`listener`] accepts it, on a connection that may not dawdle (`socket` keeps the pace).
//! 2. [`layers`] number it, keep it to its size and its time, catch its panic and write its line in the log.
//! 3. [`routes`] has found which handler of `rest` or `graphql` it is for; [`extract`] reads what the handler asked
//!    for.
//! 4. Whatever went wrong on the way leaves as a [`HttpError`]: one JSON body for every path and every cause.
//!
//! *Invariant:* this room knows no domain. It imports neither `resolvers` nor `error`; `rest` turns a domain error
//! into a [`HttpError`]. What a route needs to differ in (a larger body, a quieter log line) the route says itself, in
//! its [`Routes`], so that no path is spelled here.

mod chunked_body;
pub mod error;
pub mod extract;
mod header_template;
mod idempotency;
mod middleware;
mod negotiation;
mod options;
mod query_params;
mod routing;
mod server;
mod stream;
#[cfg(test)]
mod tests;

pub use chunked_body::ChunkedBytes;
pub use error::{About, HttpError};
pub use extract::{EXPECTED_ANSWER, JSON_HEAD, Json, JsonText, OptionalJson, PathId, Query, read_part};
pub use header_template::HeaderTemplate;
pub(crate) use idempotency::LONGEST_KEY;
pub use idempotency::{IdempotencyKey, WithIdempotencyKey};
pub use middleware::origin::{self, Origin};
pub(crate) use middleware::request_context::LONGEST_REQUEST_ID;
pub use middleware::request_context::{RequestId, current_request, in_request_context, mark_as_command, note_shed};
pub use middleware::stack::{no_connection_for_what_goes_on, with_middleware};
pub use negotiation::{Accept, EVENT_STREAM, NDJSON};
pub use options::HttpOptions;
pub use query_params::Parameter;
pub(crate) use query_params::{likely, nearest, pairs, without_brackets};
pub use routing::{ErrorBodyWriter, ErrorRenderer, MethodRouter, RouteOptions, Routes, get, post};
pub use server::connection::{current_client, is_kept_for_operators};
pub use server::listener::{ListenerOptions, serve};
pub use stream::streamed;
