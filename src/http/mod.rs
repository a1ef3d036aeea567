//! HTTP apart from the answers: connections, middleware, routing, extractors, and the form of an error.
//!
//! A request passes these places, outermost first:
//!
//! 1. [`server`] accepts its connection and holds the client to its time-outs.
//! 2. [`middleware`] gives the request its id, limits its size and its time, catches a panic and writes the log line.
//! 3. [`routing`] has found the handler of `rest` or `graphql` for its path; [`extract`] reads what the handler takes.
//! 4. Whatever goes wrong leaves as an [`HttpError`]: one JSON body for every path and every cause.
//!
//! *Invariant:* this room knows no domain. It imports neither `resolvers` nor [`crate::error`]; `rest::error` turns a
//! domain error into an [`HttpError`]. What a route needs to differ in (a larger body, a quieter log line) the route says
//! itself, by its [`RouteOptions`], so that no path is spelled here.

mod authentication;
mod chunked_body;
pub mod error;
pub mod extract;
mod failed_authentications;
mod forwarded_client;
mod header_template;
mod idempotency_key;
mod middleware;
mod negotiation;
mod options;
mod query_params;
mod request_address;
mod request_metrics;
mod routing;
mod server;
pub mod session_cookie;
mod stream;
#[cfg(test)]
mod tests;

pub use authentication::Authenticator;
pub use chunked_body::ChunkedBytes;
pub use error::{About, HttpError, RenderedJson};
pub use extract::{EXPECTED_ANSWER, JSON_HEAD, Json, JsonText, OptionalJson, PathId, Query, read_part};
pub use failed_authentications::FailedAuthentications;
pub use header_template::HeaderTemplate;
pub(crate) use idempotency_key::LONGEST_KEY;
pub use idempotency_key::{IdempotencyKey, WithIdempotencyKey};
pub use middleware::origin::{self, Origin};
pub(crate) use middleware::request_context::LONGEST_REQUEST_ID;
pub use middleware::request_context::{
    RequestId, current_caller, current_client, current_request, current_trace, in_request_context, mark_as_command,
    note_shed, unauthenticated,
};
pub use middleware::stack::{no_connection_for_what_goes_on, with_middleware};
pub use negotiation::{Accept, EVENT_STREAM, NDJSON};
pub use options::HttpOptions;
pub use query_params::Parameter;
pub(crate) use query_params::{likely, nearest, pairs, without_brackets};
pub use request_address::current_address;
pub use request_metrics::RequestMetrics;
pub use routing::{ErrorBodyWriter, ErrorRenderer, MethodRouter, RouteOptions, Routes, delete, get, post};
pub use server::connection::{is_encrypted, is_kept_for_operators};
pub use server::listener::{ListenerOptions, serve};
pub use stream::{SSE_KEEP_ALIVE, streamed};
