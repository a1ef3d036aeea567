//! The manners every route shares: a number, a line in the log, a size, a time, and a failure instead of a panic.
//!
//! [`with_manners`] puts them around the finished router, in an order that matters and is written down there. What a
//! single route wants to have different it says with [`allow_body`] or [`routine`]. What a failure looks like is in
//! [`failure`](super::failure); which pages may ask is in [`origin`](super::origin).

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tower::{Service, ServiceBuilder, util::MapRequestLayer};
use tower_http::normalize_path::NormalizePathLayer;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::{
    body::LimitedBody,
    compression::{compression, spare_the_strict},
    exchange::{Exchange, RequestId, X_REQUEST_ID},
    failure::{Failure, echo, house_shape},
    host::foreign_name,
    origin::{Origin, cors, is_foreign_page},
};

/// Read of a body unless its route says otherwise. A registration with all its labels is a tenth of it.
pub(super) const BODY_LIMIT: usize = 256 * 1024;

/// Longer than any question or commit should take, shorter than a client's patience.
const RESPONSE_TIME: Duration = Duration::from_secs(10);

/// What an operator may set about the layers.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The origins whose pages may read our answers and ask for changes. None: no CORS header is ever sent.
    pub cors_origins: Vec<Origin>,
    /// The port, if only this machine can reach the server: then a page of the internet may pretend to be ours, and
    /// names that are not this machine's are refused. [`allowed_hosts`](Self::allowed_hosts) are not.
    pub loopback_port: Option<u16>,
    /// Names by which this machine is asked, beside addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// The most bytes read of a request body, where the route does not [`allow_body`] more.
    pub body_limit: usize,
    /// How long a request may take until its answer *begins*. Streams and WebSockets last as long as they like.
    pub response_time: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            loopback_port: None,
            allowed_hosts: Vec::new(),
            body_limit: BODY_LIMIT,
            response_time: RESPONSE_TIME,
        }
    }
}

/// The finished router with everything around it that is the same for all routes.
///
/// Add nothing to the router afterwards: it would stand outside and answer without manners.
pub fn with_manners(
    router: Router,
    options: &HttpOptions,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static + use<>
{
    let router = router
        .layer(MapRequestLayer::new(note_route))
        // Its 2 MiB would come before a route's own larger limit, and `LimitedBody` holds every reader to one anyway.
        .layer(DefaultBodyLimit::disable());
    ServiceBuilder::new()
        // Outside the router, which would already have looked up `/workers/` and found nothing.
        .layer(NormalizePathLayer::trim_trailing_slash())
        // Sees everything that leaves, so each answer has its number and its line.
        .layer(middleware::from_fn_with_state(options.body_limit, observe))
        // Outside of failures: a page that may ask may also read why it got no answer.
        .option_layer(cors(&options.cors_origins))
        .layer(middleware::from_fn(house_shape))
        // Inside of failures, which may yet be written anew.
        .layer(MapRequestLayer::new(spare_the_strict))
        .layer(compression())
        .layer(middleware::from_fn_with_state(Arc::new(options.clone()), guard))
        .service(router)
}

/// Lets a route read bodies of up to this many bytes: `post(record_batch).layer(allow_body(8 * 1024 * 1024))`.
pub fn allow_body(bytes: usize) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + Send + Sync + 'static> {
    MapRequestLayer::new(move |request: Request| {
        if let Some(exchange) = Exchange::of(request.extensions()) {
            exchange.set_body_limit(bytes);
        }
        request
    })
}

/// Lets a route take up to this long until its answer begins: `get(long_poll).layer(allow_time(one_minute))`.
pub fn allow_time(time: Duration) -> MapRequestLayer<impl Fn(Request) -> Request + Clone + Send + Sync + 'static> {
    MapRequestLayer::new(move |request: Request| {
        if let Some(exchange) = Exchange::of(request.extensions()) {
            exchange.set_response_time(time);
        }
        request
    })
}

/// Marks a route whose successes are too many and too alike to be told, such as heartbeats: they are logged at debug.
pub fn routine() -> MapRequestLayer<impl Fn(Request) -> Request + Clone + Send + Sync + 'static> {
    MapRequestLayer::new(|request: Request| {
        if let Some(exchange) = Exchange::of(request.extensions()) {
            exchange.note_routine();
        }
        request
    })
}

/// Tells the layers outside which route was matched: the template is known to those inside the router only.
fn note_route(request: Request) -> Request {
    let extensions = request.extensions();
    if let (Some(exchange), Some(route)) = (Exchange::of(extensions), extensions.get::<MatchedPath>()) {
        exchange.note_route(route.clone());
    }
    request
}

/// Gives the request its number and its line in the log, and the answer the headers that every answer has.
async fn observe(State(body_limit): State<usize>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let asked = (request.method().clone(), request.uri().clone());
    let id = RequestId::of(request.headers());
    let exchange = Arc::new(Exchange::new(id.clone(), body_limit));
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(Arc::clone(&exchange));

    let span = info_span!("request", request.id = %id);
    let mut response = next.run(request).instrument(span).await;

    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.header_value());
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    let (method, uri) = asked;
    write_line(&exchange, &method, uri.path(), response.status(), began.elapsed());
    response
}

/// Keeps a request to its size and its time, and to pages that may ask.
async fn guard(State(options): State<Arc<HttpOptions>>, request: Request, next: Next) -> Response {
    if let Some(name) = options
        .loopback_port
        .and_then(|port| foreign_name(request.uri(), request.headers(), port, &options.allowed_hosts))
    {
        return Failure::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "This server answers to addresses and localhost, not to {:?}; if that is a name of this machine, \
                 allow it with --allowed-host",
                echo(&name)
            ),
        )
        .into_response();
    }
    if !request.method().is_safe() && is_foreign_page(request.uri(), request.headers(), &options.cors_origins) {
        return Failure::forbidden(
            "Pages of other origins may not change anything here, unless the server is told to allow them (--cors-origin)",
        )
        .into_response();
    }
    let exchange = Exchange::of(request.extensions());
    let request = match &exchange {
        Some(exchange) => request.map(|body| LimitedBody::wrap(body, exchange)),
        None => request,
    };
    // Nothing of a request outlives its panic but what locks and channels guard, so crossing the boundary is safe.
    let mut answer = pin!(AssertUnwindSafe(next.run(request)).catch_unwind());
    let began = tokio::time::Instant::now();
    let mut allowed = options.response_time;
    loop {
        match tokio::time::timeout_at(began + allowed, &mut answer).await {
            Ok(Ok(response)) => return response,
            Ok(Err(panic)) => {
                error!(panic = panic_text(&*panic), "A handler panicked, its client gets a 500");
                return Failure::internal().into_response();
            }
            // Which route it is, and that it may take longer, is known only by now.
            Err(_) => match exchange.as_deref().map(Exchange::response_time) {
                Some(longer) if longer > allowed => allowed = longer,
                _ => return too_late(exchange.as_deref(), allowed).into_response(),
            },
        }
    }
}

/// Whose fault was it? 408 says the client was slow and closes the connection; 503 says that we were, and that trying
/// again may help. Clients such as agents retry the second without a second thought.
fn too_late(exchange: Option<&Exchange>, time: Duration) -> Failure {
    if exchange.is_some_and(Exchange::body_is_awaited) {
        Failure::new(StatusCode::REQUEST_TIMEOUT, format!("The request body did not arrive within {time:?}"))
    } else {
        Failure::unavailable(format!("There was no answer within {time:?}; try again shortly"))
    }
}

/// What a panic said, for the log only.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(not a text)")
}

/// One line for each request, loud in proportion: our failures wake somebody, a client's failures and changes are
/// told, and what only looked is there for those who ask.
///
/// The query is left out: it may carry what is nobody's business.
fn write_line(exchange: &Exchange, method: &Method, path: &str, status: StatusCode, latency: Duration) {
    // The level of a line must be known at compile time, hence a macro and not a function.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                http.method = %method,
                http.route = exchange.route(),
                http.status = status.as_u16(),
                request.id = %exchange.id,
                latency_ms = latency.as_secs_f64() * 1e3,
                "{method} {} answered {} in {latency:.1?}",
                echo(path),
                status.as_u16(),
            )
        };
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE => line!(warn),
        _ if status.is_server_error() => line!(error),
        _ if status.is_client_error() => line!(info),
        _ if method.is_safe() || exchange.is_routine() => line!(debug),
        _ => line!(info),
    }
}
