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

mod answer;
mod budget;
mod by_id;
mod connection;
mod cost;
mod documents;
mod engine;
mod error;
mod guard;
mod input;
mod live;
mod loader;
mod merge;
mod mutation;
mod object;
mod options;
mod over_http;
mod over_sse;
mod over_websocket;
mod overlap;
mod persisted;
mod plan;
mod query;
mod repeated;
mod scalar;
mod shape;
mod source;
mod subscription;
mod syntax;
mod trusted;
mod typed;
mod types;
mod validation;
mod variables;

use std::sync::Arc;

use async_graphql::{SDLExportOptions, Schema, SchemaBuilder};
use axum::http::header;
use axum::response::IntoResponse;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::operation::document_cache::{Documents, DocumentsRead};
use self::execution::executor::Engine;
pub use self::operation::limits::Limits;
use self::schema::mutation::Mutation;
pub use self::options::GraphqlOptions;
use self::schema::query::Query;
use self::operation::request_cache::Repeated;
use self::schema::subscription::Subscription;
pub use self::operation::persisted_manifest::{ManifestError, TrustedMode};
use crate::http::{Origin, Routes, Wants, get};
use crate::resolvers::Resolvers;

/// What transports need.
struct Endpoint {
    engine: Engine,
    /// Requests that came before.
    repeated: Repeated,
    /// Pages of other origins that may open a WebSocket.
    origins: Vec<Origin>,
    /// Open sockets, for whoever has to wait until they are closed.
    sockets: TaskTracker,
    /// Tells sockets to close.
    closing: CancellationToken,
}

/// `/graphql`: queries and mutations over HTTP, everything over WebSocket. And `/api/v1/q/…`: trusted documents.
pub fn routes(
    documents: Documents,
    resolvers: Resolvers,
    origins: &[Origin],
    sockets: TaskTracker,
    closing: CancellationToken,
) -> Routes {
    let wants = Wants::NOTHING.body(documents.limits().body).routine().questions().failures(error::FAILURES);
    let engine = Engine::new(documents, resolvers);
    let endpoint =
        Arc::new(Endpoint { engine, repeated: Repeated::default(), origins: origins.to_vec(), sockets, closing });
    Routes::new()
        .route_with(wants, "/graphql", get(over_http::get).post(over_http::post))
        .route("/graphql/schema.graphql", get(schema_file))
        .route_with(wants, "/api/v1/q/{id}", get(by_id::get).post(by_id::post))
        .with_state(endpoint)
}

/// `GET /graphql/schema.graphql`: as plain text, which a browser shows instead of saving it.
async fn schema_file() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sdl())
}
