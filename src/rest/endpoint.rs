//! The state that all REST handlers share, the reading that each query begins with, and the longest wait of a long
//! poll.
//!
//! The routes are not here, but in [`rest`](super); when a long poll is answered is decided in `resolvers::long_poll`.
//! The state of the GraphQL handlers is in `graphql::transport::endpoint`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use tokio_util::sync::CancellationToken;

use super::json_lists::ListRenderer;
use super::query_response::{MinRevisionQuery, Read};
use crate::http::{HttpError, Query, current_caller};
use crate::resolvers::{Resolvers, checks};

/// The longest that a long poll may wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a query costs, in points of the [cost limit](crate::auth::CostLimit): the fields of one object. Lists cost their
/// steps besides.
const COST_OF_QUERY: u64 = 10;

/// The state of all handlers.
pub(super) struct Endpoint {
    pub(super) resolvers: Resolvers,
    pub(super) lists: ListRenderer,
    /// Cancelled when the server shuts down: streams and long polls end.
    pub(super) closing: CancellationToken,
}

impl FromRef<Arc<Endpoint>> for Resolvers {
    fn from_ref(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.resolvers.clone()
    }
}

impl FromRequestParts<Arc<Endpoint>> for Read {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, endpoint: &Arc<Endpoint>) -> Result<Self, HttpError> {
        // Most queries have no query string to parse.
        let min_revision = match parts.uri.query() {
            Some(_) => {
                let Query(MinRevisionQuery { min_revision }) = Query::from_request_parts(parts, endpoint).await?;
                min_revision.map(|number| checks::revision("min_revision", number)).transpose()?
            }
            None => None,
        };
        let caller = current_caller();
        let reading = endpoint.resolvers.read_at_least(&caller, min_revision).await?;
        endpoint.resolvers.spend(&caller, COST_OF_QUERY)?;
        // Most requests do not have the header. To walk the few headers that there are is faster than a look-up by
        // name.
        let known = parts.headers.iter().filter(|(name, _)| *name == header::IF_NONE_MATCH);
        let known = known.map(|(_, value)| value.clone()).collect();
        Ok(Self { reading, known })
    }
}
