//! GraphQL: the same operations as REST, for people in a playground and for dashboards.
//!
//! Object types are generated from [`cluster::fields`](crate::cluster::fields) in [`object`],
//! value by value in [`shape`]; roots are in `query`, `mutation` and `subscription`; each method is
//! one resolver call. `documents` reads documents and keeps them, with `guard` and `cost`, which refuse what is
//! too large, `syntax`, `validation` with `overlap` and `typed`, `variables`, `persisted` and `trusted`; `plan`
//! compiles queries into what writes them; [`engine`] runs them, by plan or field by field, on one reading of the
//! cluster, and codes their errors; `merge` puts together for it what stands in several places; `answer` is what comes
//! of it; `budget` ends answers that grow too large; `over_http`, `over_sse`, `over_websocket` and `by_id` carry
//! documents in and answers out; `repeated` keeps what an equal request came to before.
//!
//! **Invariant:** the types of async-graphql stay in this room.

mod error;
mod execution;
mod operation;
mod options;
mod plan;
mod schema;
mod subscriptions;
mod transport;

use std::sync::Arc;

use axum::http::header;
use axum::response::IntoResponse;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::execution::executor::Executor;
use self::operation::request_cache::RequestCache;
use self::transport::endpoint::Endpoint;
use self::transport::{http, negotiation, stored_operation};
use crate::http::{Origin, RouteOptions, Routes, get};
use crate::resolvers::Resolvers;

pub use self::operation::document_cache::{DocumentCache, DocumentCacheStats};
pub use self::operation::limits::Limits;
pub use self::operation::persisted_manifest::{ManifestError, TrustedMode};
pub use self::options::GraphqlOptions;
pub use self::schema::sdl::sdl;

/// `/graphql`: queries and mutations over HTTP, everything over WebSocket. And `/api/v1/q/…`: trusted documents.
pub fn routes(
    documents: DocumentCache,
    resolvers: Resolvers,
    origins: &[Origin],
    sockets: TaskTracker,
    closing: CancellationToken,
) -> Routes {
    let wants =
        RouteOptions::NOTHING.body(documents.limits().body).quiet().questions().failures(negotiation::ERROR_FORMAT);
    let engine = Executor::new(documents, resolvers);
    let endpoint =
        Arc::new(Endpoint { engine, repeated: RequestCache::default(), origins: origins.to_vec(), sockets, closing });
    Routes::new()
        .route_with(wants, "/graphql", get(http::get).post(http::post))
        .route("/graphql/schema.graphql", get(schema_file))
        .route_with(wants, "/api/v1/q/{id}", get(stored_operation::get).post(stored_operation::post))
        .with_state(endpoint)
}

/// `GET /graphql/schema.graphql`: as plain text, which a browser shows instead of saving it.
async fn schema_file() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sdl())
}
