//! Pages for people with a browser: the dashboard, the GraphQL playground, the reference of the REST API.
//!
//! All three are scripts, built from `src/web` by `build.rs`, which says why they may be missing; then plain pages take
//! their place, of which the one at `/` says what is missing. What is plain, and how the playground and the reference
//! sign in (`session.js`), is in `plain/`. What a page may do is in [`content_security_policy`], how a file is sent in
//! [`mod@file`].
//!
//! **Invariant:** a page asks this server and nobody else. Nothing here knows the cluster: pages use the API.

mod content_security_policy;
mod file;

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use self::content_security_policy::Policy;
use self::file::{Compressed, File, Lifetime};
use crate::http::{Accept, EVENT_STREAM, HttpError, PathId, RouteOptions, Routes, get};

/// What `build.rs` has built.
struct Bundle {
    /// The dashboard, for addresses with one segment.
    dashboard: Asset,
    /// The same, for addresses with two.
    below: Asset,
    playground: Asset,
    docs: Asset,
    assets: &'static [Asset],
}

/// A file that is named after its content, compressed.
struct Asset {
    name: &'static str,
    content: Compressed,
}

const BUNDLE: Option<Bundle> = include!(concat!(env!("OUT_DIR"), "/bundle.rs"));

/// What is there without Node, and what pages of both ways share.
const PLAIN: &[(&str, &str)] = &[
    ("plain.css", include_str!("plain/plain.css")),
    ("plain.js", include_str!("plain/plain.js")),
    ("icon.svg", include_str!("plain/icon.svg")),
    ("session.css", include_str!("plain/session.css")),
    ("session.js", include_str!("plain/session.js")),
];

/// Addresses of the dashboard with one segment. Its script shows the page that goes with the address.
const DASHBOARD: [&str; 9] =
    ["/fleet", "/workers", "/drains", "/vms", "/capacity", "/events", "/access", "/api", "/health"];

/// Addresses of the dashboard with two segments.
const BELOW: [&str; 2] = ["/workers/{id}", "/vms/{id}"];

/// Pages have nothing in them that is not in this program.
const PUBLIC: RouteOptions = RouteOptions::NOTHING.public();

/// The dashboard, `/docs` and what pages load. The playground is not here but where it is asked for, on `/graphql`.
pub fn routes() -> Routes {
    let routes = Routes::new()
        .route_with(PUBLIC, "/", get(front))
        .route_with(PUBLIC, "/docs", get(docs))
        .route_with(PUBLIC, "/assets/{name}", get(asset))
        // Pages name what they load relative to themselves, and to a browser, `/docs/` is a folder.
        .route_with(PUBLIC, "/docs/assets/{name}", get(asset))
        .route_with(PUBLIC, "/graphql/assets/{name}", get(asset))
        .route_with(PUBLIC, "/{folder}/assets/{id}", get(asset_above));
    let routes = DASHBOARD.iter().fold(routes, |routes, path| routes.route_with(PUBLIC, path, get(dashboard)));
    BELOW.iter().fold(routes, |routes, path| routes.route_with(PUBLIC, path, get(below)))
}

/// Whether it is a person who asks: browsers name HTML when they open a page, and scripts do not when they fetch.
pub fn are_asked_for(headers: &HeaderMap) -> bool {
    let accept = Accept::of(headers);
    let by_a_program = ["application/json", "application/graphql-response+json", EVENT_STREAM];
    accept.names("text/html") && !by_a_program.into_iter().any(|media| accept.names(media))
}

/// The GraphQL playground.
pub fn playground(headers: &HeaderMap) -> Response {
    playground_of(BUNDLE.as_ref()).answer(headers)
}

fn playground_of(bundle: Option<&Bundle>) -> File {
    match bundle {
        Some(bundle) => page(&bundle.playground, Policy::PLAYGROUND),
        None => plain("playground.html", include_str!("plain/playground.html")),
    }
}

/// `GET /docs`
async fn docs(headers: HeaderMap) -> Response {
    docs_of(BUNDLE.as_ref()).answer(&headers)
}

fn docs_of(bundle: Option<&Bundle>) -> File {
    match bundle {
        Some(bundle) => page(&bundle.docs, Policy::DOCS),
        None => plain("docs.html", include_str!("plain/docs.html")),
    }
}

/// `GET /`: there is nothing for programs here, and they are told so.
async fn front(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    for_people(&method, &uri, &headers, || front_of(BUNDLE.as_ref()).answer(&headers))
}

/// The dashboard. Without it, a page that says what is missing, and leads to the rest.
fn front_of(bundle: Option<&Bundle>) -> File {
    match bundle {
        Some(bundle) => page(&bundle.dashboard, Policy::DASHBOARD),
        None => plain("front.html", include_str!("plain/front.html")),
    }
}

/// `GET /workers` and its neighbours. Without the dashboard, the front page says what is missing.
async fn dashboard(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    for_people(&method, &uri, &headers, || dashboard_of(BUNDLE.as_ref(), &headers))
}

fn dashboard_of(bundle: Option<&Bundle>, headers: &HeaderMap) -> Response {
    match bundle {
        Some(bundle) => page(&bundle.dashboard, Policy::DASHBOARD).answer(headers),
        None => to("./"),
    }
}

/// `GET /workers/{id}`
async fn below(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    for_people(&method, &uri, &headers, || below_of(BUNDLE.as_ref(), &headers))
}

fn below_of(bundle: Option<&Bundle>, headers: &HeaderMap) -> Response {
    match bundle {
        Some(bundle) => page(&bundle.below, Policy::DASHBOARD).answer(headers),
        None => to("../"),
    }
}

/// What a person is shown; a program gets the answer of an address that there is not.
fn for_people(method: &Method, uri: &Uri, headers: &HeaderMap, shown: impl FnOnce() -> Response) -> Response {
    if are_asked_for(headers) { shown() } else { HttpError::no_route(method, uri.path()).into_response() }
}

/// `GET /assets/{name}`
async fn asset(PathId(name): PathId, headers: HeaderMap) -> Response {
    let bundled = BUNDLE.iter().flat_map(|bundle| bundle.assets).find(|asset| asset.name == name);
    let bundled = bundled.map(|asset| File::compressed(asset.name, asset.content, Policy::ASSET, Lifetime::ForEver));
    let plain = || PLAIN.iter().find(|(plain, _)| *plain == name);
    let plain = || plain().map(|(name, text)| File::text(name, text, Policy::ASSET, Lifetime::WhileUnchanged));
    match bundled.or_else(plain) {
        Some(file) => file.answer(&headers),
        None => HttpError::not_found(format!("Asset not found: {name}")).into_response(),
    }
}

/// `GET /fleet/assets/{name}`: the dashboard was asked for as a folder, with a slash at its end. A script knows where it
/// was loaded from, and so where the server is: that has to be the one place of the assets.
async fn asset_above(uri: Uri) -> Response {
    match uri.path().rsplit_once('/') {
        Some((_, name)) => to(&format!("../../assets/{name}")),
        None => HttpError::no_route(&Method::GET, uri.path()).into_response(),
    }
}

/// Leads to another address, relative to the one that was asked for: a proxy may have put both below a path.
fn to(address: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, address)]).into_response()
}

fn page(asset: &Asset, policy: Policy) -> File {
    File::compressed(asset.name, asset.content, policy, Lifetime::WhileUnchanged)
}

fn plain(name: &'static str, text: &'static str) -> File {
    File::text(name, text, Policy::PLAIN, Lifetime::WhileUnchanged)
}

/// What is there without Node. Where this is compiled there may be Node, and then nobody sees it.
#[cfg(test)]
mod tests {
    use super::*;

    async fn text(file: File) -> String {
        let body = file.answer(&HeaderMap::new()).into_body();
        String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn without_the_dashboard_the_front_page_says_why_and_the_other_addresses_lead_to_it() {
        let front = text(front_of(None)).await;
        assert!(front.contains("The dashboard is not part of this program, because there was no Node.js"), "{front}");
        for (response, place) in
            [(dashboard_of(None, &HeaderMap::new()), "./"), (below_of(None, &HeaderMap::new()), "../")]
        {
            assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
            assert_eq!(response.headers()[header::LOCATION], place);
        }
    }

    #[tokio::test]
    async fn plain_pages_load_nothing_that_has_to_be_built() {
        for page in [front_of(None), playground_of(None), docs_of(None)] {
            let page = text(page).await;
            let loaded: Vec<_> = page.split("assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert!(loaded.contains(&"plain.css"), "{page}");
            for name in loaded {
                assert!(PLAIN.iter().any(|(plain, _)| *plain == name), "{name} is not there without Node");
            }
        }
    }
}
