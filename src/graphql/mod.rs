//! The GraphQL API: its routes, and the room of everything between a request's text and its response.
//!
//! - [`transport`] takes requests in and sends responses out: over HTTP, server-sent events and WebSocket, and by the
//!   address of a stored operation.
//! - [`operation`] makes an operation that may be run of a request: parsing, validation, limits, variable coercion,
//!   query cost, persisted queries and the caches.
//! - [`execution`] runs it: by a plan from [`plan`], which writes JSON without resolvers, or by async-graphql's engine,
//!   field by field; on one reading of the cluster, within a budget of objects.
//! - [`subscriptions`] shares each rendered item among equal subscriptions.
//! - [`schema`] has the types and resolvers; object types are generated from
//!   [`cluster::fields`](crate::cluster::fields), and each method of a root calls one resolver of [`crate::resolvers`].
//! - [`error`] gives errors their `extensions.code`.
//!
//! **Invariant:** the types of async-graphql stay in this room. "Engine" in this room's comments is async-graphql's.

mod error;
mod execution;
mod operation;
mod options;
mod plan;
mod schema;
mod subscriptions;
mod transport;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::execution::executor::Executor;
use self::operation::request_cache::RequestCache;
use self::transport::endpoint::Endpoint;
use self::transport::{http, negotiation, stored_operation};
use crate::http::{Authenticator, HttpError, Origin, RouteOptions, Routes, current_caller, get};
use crate::resolvers::Resolvers;

pub use self::operation::document_cache::{DocumentCache, DocumentCacheStats};
pub use self::operation::limits::Limits;
pub use self::operation::persisted_manifest::{ManifestError, TrustedMode};
pub use self::options::GraphqlOptions;
pub use self::schema::sdl::sdl;

/// The routes: `/graphql` (queries and mutations over HTTP, operations of any kind over WebSocket and server-sent
/// events), the schema as a file, and the trusted documents below `/api/v1/q/`.
pub fn routes(
    documents: DocumentCache,
    resolvers: Resolvers,
    authenticator: Authenticator,
    origins: &[Origin],
    sockets: TaskTracker,
    closing: CancellationToken,
) -> Routes {
    let wants =
        RouteOptions::NOTHING.body(documents.limits().body).quiet().questions().failures(negotiation::ERROR_FORMAT);
    let executor = Executor::new(documents, resolvers);
    let endpoint = Arc::new(Endpoint {
        executor,
        authenticator,
        request_cache: RequestCache::default(),
        origins: origins.to_vec(),
        sockets,
        closing,
    });
    Routes::new()
        .route_with(wants.public(), "/graphql", get(http::get).post(http::post))
        .route("/graphql/schema.graphql", get(schema_file))
        .route_with(wants, "/api/v1/q/{id}", get(stored_operation::get).post(stored_operation::post))
        .with_state(endpoint)
}

/// `GET /graphql/schema.graphql`: the schema as plain text, which a browser shows instead of saving it. Like
/// introspection it is for those who may ask questions.
async fn schema_file(State(endpoint): State<Arc<Endpoint>>) -> Response {
    match endpoint.executor.check_reader(&current_caller()) {
        Ok(()) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], sdl()).into_response(),
        Err(denied) => HttpError::forbidden(denied.to_string()).into_response(),
    }
}
