//! The OpenAPI document: every route of this room in the words of OpenAPI 3.1, for tools and for people.
//!
//! It is made from what the answers are made from: the objects from the field lists, the limits from the constants
//! that input is checked against. What no constant says (what a route is for, how it can fail) is written in
//! [`operations`], and tests hold it against the router and against real answers.

mod answers;
mod bodies;
mod examples;
mod objects;
mod operations;
mod parameters;
mod schema;
mod shapes;

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use utoipa::openapi::info::{Contact, Info, License};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{Components, OpenApi, OpenApiBuilder, Server};

use self::operations::{AGENTS, CLUSTER, EVENTS, SERVER, VMS, WORKERS};

/// What is said of the API as a whole.
const DESCRIPTION: &str = "\
Answers for a cluster of workers and their VMs. Every answer of a question has the revision it was read at in \
`x-revision`; every failure, on every path, has the same body (`Failure`). Keys that are not described here may be \
added to answers; unknown keys and parameters of requests are ignored. The same questions and commands are in GraphQL \
at `/graphql`.";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // Made of strings and numbers only, which always serialise.
    let mut json = made().to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
});

/// The document, as JSON.
pub fn document() -> &'static str {
    &DOCUMENT
}

/// `GET /api/v1/openapi.json`
pub(super) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(answers::JSON))], document())
}

fn made() -> OpenApi {
    let mut info = Info::new("Aetherium", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut contact = Contact::new();
    contact.name = Some("Whoever runs this server".to_owned());
    info.contact = Some(contact);
    let mut license = License::new("All rights reserved");
    license.identifier = Some("LicenseRef-All-Rights-Reserved".to_owned());
    info.license = Some(license);
    let mut server = Server::new("/api/v1");
    server.description = Some("The server that this document comes from.".to_owned());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([server]))
        .paths(operations::paths())
        .components(Some(components()))
        // Nobody is asked who they are: see `--insecure`.
        .security(Some([]))
        .tags(Some(tags()))
        .build()
}

fn components() -> Components {
    let mut components = Components::new();
    for (name, schema) in objects::components().into_iter().chain(bodies::components()) {
        components.schemas.insert(name.to_owned(), schema);
    }
    for (name, response) in answers::components() {
        components.responses.insert(name.to_owned(), response.into());
    }
    components
}

fn tags() -> [Tag; 6] {
    [
        (WORKERS, "What runs VMs: what it is, and what operators want of it."),
        (VMS, "What runs on workers."),
        (CLUSTER, "The whole."),
        (EVENTS, "What happened, and what happens."),
        (AGENTS, "How workers come, tell that they are alive, and go."),
        (SERVER, "The server itself."),
    ]
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
}
