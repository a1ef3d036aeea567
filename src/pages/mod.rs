//! Pages for people with a browser: the front page, the GraphQL playground, the reference of the REST API.
//!
//! The playground and the reference are scripts, built from `src/web` by `build.rs`, which says why they may be
//! missing; then plain pages take their place. The front page, what is plain, and how all of them sign in
//! (`session.js`) is in `plain/`. What a page may do is
//! in [`content_security_policy`], how a file is sent in [`mod@file`].
//!
//! **Invariant:** a page asks this server and nobody else. Nothing here knows the cluster: pages use the API.

mod content_security_policy;
mod file;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use self::content_security_policy::Policy;
use self::file::{File, Lifetime};
use crate::http::{Accept, EVENT_STREAM, HttpError, PathId, RouteOptions, Routes, get};

/// What `build.rs` has built.
struct Bundle {
    playground: Asset,
    docs: Asset,
    assets: &'static [Asset],
}

/// A file that is named after its content, compressed.
struct Asset {
    name: &'static str,
    gzip: &'static [u8],
}

const BUNDLE: Option<Bundle> = include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// What is there without Node, and what pages of both ways share.
const PLAIN: &[(&str, &str)] = &[
    ("plain.css", include_str!("plain/plain.css")),
    ("icon.svg", include_str!("plain/icon.svg")),
    ("session.css", include_str!("plain/session.css")),
    ("session.js", include_str!("plain/session.js")),
];

/// Pages have nothing in them that is not in this program.
const PUBLIC: RouteOptions = RouteOptions::NOTHING.public();

/// `/`, `/docs` and what pages load. The playground is not here but where it is asked for, on `/graphql`.
pub fn routes() -> Routes {
    Routes::new()
        .route_with(PUBLIC, "/", get(front))
        .route_with(PUBLIC, "/docs", get(docs))
        .route_with(PUBLIC, "/assets/{name}", get(asset))
        // Pages name what they load relative to themselves, and to a browser, `/docs/` is a folder.
        .route_with(PUBLIC, "/docs/assets/{name}", get(asset))
        .route_with(PUBLIC, "/graphql/assets/{name}", get(asset))
}

/// Whether it is a person who asks: browsers name HTML when they open a page, and scripts do not when they fetch.
pub fn are_asked_for(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    let by_a_program = ["application/json", "application/graphql-response+json", EVENT_STREAM];
    accept.names("text/html") && !by_a_program.into_iter().any(|media| accept.names(media))
}

/// The GraphQL playground.
pub fn playground(headers: &HeaderMap) -> Response {
    let file = match &BUNDLE {
        Some(bundle) => page(&bundle.playground, Policy::PLAYGROUND),
        None => plain("playground.html", include_str!("plain/playground.html")),
    };
    file.answer(headers)
}

/// `GET /docs`
async fn docs(headers: HeaderMap) -> Response {
    let file = match &BUNDLE {
        Some(bundle) => page(&bundle.docs, Policy::DOCS),
        None => plain("docs.html", include_str!("plain/docs.html")),
    };
    file.answer(&headers)
}

/// `GET /`: there is nothing for programs here, and they are told so.
async fn front(headers: HeaderMap) -> Response {
    if are_asked_for(&headers) {
        plain("front.html", include_str!("plain/front.html")).answer(&headers)
    } else {
        HttpError::not_found("No route for GET /").into_response()
    }
}

/// `GET /assets/{name}`
async fn asset(PathId(name): PathId, headers: HeaderMap) -> Response {
    let bundled = BUNDLE.iter().flat_map(|bundle| bundle.assets).find(|asset| asset.name == name);
    let bundled = bundled.map(|asset| File::compressed(asset.name, asset.gzip, Policy::ASSET, Lifetime::ForEver));
    let plain = || PLAIN.iter().find(|(plain, _)| *plain == name);
    let plain = || plain().map(|(name, text)| File::text(name, text, Policy::ASSET, Lifetime::WhileUnchanged));
    match bundled.or_else(plain) {
        Some(file) => file.answer(&headers),
        None => HttpError::not_found(format!("Asset not found: {name}")).into_response(),
    }
}

fn page(asset: &Asset, policy: Policy) -> File {
    File::compressed(asset.name, asset.gzip, policy, Lifetime::WhileUnchanged)
}

fn plain(name: &'static str, text: &'static str) -> File {
    File::text(name, text, Policy::PLAIN, Lifetime::WhileUnchanged)
}
