//! GraphQL: the same operations as REST, for people in a playground and for dashboards.
//!
//! Object types are generated from [`cluster::fields`](crate::cluster::fields) in [`object`],
//! value by value in [`shape`]; roots are in `query`, `mutation` and `subscription`; each method is
//! one resolver call. `documents` reads documents and keeps them, with `guard`, which refuses what is
//! too large, and `validation`; [`engine`] runs them, on one reading of the cluster, and codes their
//! errors; `budget` ends answers that grow too large; `over_http`, `over_sse` and `over_websocket`
//! carry documents in and answers out.
//!
//! **Invariant:** the types of async-graphql stay in this room.

mod budget;
mod connection;
mod documents;
mod engine;
mod error;
mod guard;
mod input;
mod live;
mod loader;
mod mutation;
mod object;
mod over_http;
mod over_sse;
mod over_websocket;
mod overlap;
mod query;
mod scalar;
mod shape;
mod subscription;
mod types;
mod validation;

use async_graphql::{SDLExportOptions, Schema, SchemaBuilder};
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::documents::{Documents, DocumentsRead};
use self::engine::Engine;
pub use self::guard::Limits;
use self::mutation::Mutation;
use self::query::Query;
use self::subscription::Subscription;
use crate::http::{Origin, routine};
use crate::resolvers::Resolvers;

/// What transports need.
#[derive(Clone)]
struct Endpoint {
    engine: Engine,
    /// Pages of other origins that may open a WebSocket.
    origins: Vec<Origin>,
    /// Open sockets, for whoever has to wait until they are closed.
    sockets: TaskTracker,
    /// Tells sockets to close.
    closing: CancellationToken,
}

/// `/graphql`: queries and mutations over HTTP, everything over WebSocket.
pub fn router(
    documents: Documents,
    resolvers: Resolvers,
    origins: &[Origin],
    sockets: TaskTracker,
    closing: CancellationToken,
) -> Router {
    let engine = Engine::new(documents, resolvers);
    let endpoint = Endpoint { engine, origins: origins.to_vec(), sockets, closing };
    Router::new()
        .route("/graphql", get(over_http::get).post(over_http::post).layer(routine()))
        .route("/graphql/schema.graphql", get(schema_file))
        .with_state(endpoint)
}

/// `GET /graphql/schema.graphql`: as plain text, which a browser shows instead of saving it.
async fn schema_file() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sdl())
}

/// The schema as text; what `schema.graphql` at the top of the project holds.
pub fn sdl() -> String {
    let options = SDLExportOptions::new()
        .include_specified_by()
        .prefer_single_line_descriptions()
        .use_space_ident()
        .indent_width(2);
    let sdl = schema().finish().sdl_with_options(options);
    format!("# Written by `aetherium schema`; do not edit. The descriptions come from the code.\n\n{}\n", sdl.trim())
}

fn schema() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription)
}
