//! Everything about HTTP that is not an answer: connections, limits, manners, and the shape of a failure.
//!
//! A request passes these places, outermost first:
//!
//! 1. [`listener`] accepts it, on a connection that may not dawdle (`socket` keeps the pace).
//! 2. [`layers`] number it, keep it to its size and its time, catch its panic and write its line in the log.
//! 3. [`routes`] has found which handler of `rest` or `graphql` it is for; [`extract`] reads what the handler asked
//!    for.
//! 4. Whatever went wrong on the way leaves as a [`Failure`]: one JSON body for every path and every cause.
//!
//! *Invariant:* this room knows no domain. It imports neither `resolvers` nor `error`; `rest` turns a domain error
//! into a [`Failure`]. What a route needs to differ in (a larger body, a quieter log line) the route says itself, in
//! its [`Routes`], so that no path is spelled here.

mod accept;
mod body;
mod compression;
mod connection;
mod exchange;
pub mod extract;
pub mod failure;
mod head;
mod host;
mod idempotency;
pub mod layers;
pub mod listener;
pub mod origin;
mod parameters;
mod pieces;
mod routes;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

pub use accept::{Accept, EVENT_STREAM};
pub use connection::{current_client, is_kept_for_operators};
pub(crate) use exchange::LONGEST_REQUEST_ID;
pub use exchange::{RequestId, as_part_of_the_request, current_request, note_command, note_shed};
pub use extract::{EXPECTED_ANSWER, Id, JSON_HEAD, Json, JsonText, OptionalJson, Query, read_part};
pub use failure::{About, Failure};
pub use head::Head;
pub(crate) use idempotency::LONGEST_KEY;
pub use idempotency::{IdempotencyKey, Keyed};
pub use layers::{HttpOptions, with_manners};
pub use listener::{ListenerOptions, serve};
pub use origin::Origin;
pub use parameters::Parameter;
pub(crate) use parameters::{likely, nearest, pairs, without_brackets};
pub use pieces::Pieces;
pub use routes::{FailureFormat, FailureWriter, Methods, Routes, Wants, get, post};
pub use stream::streamed;
