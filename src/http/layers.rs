//! The manners every route shares: a number, a line in the log, a size, a time, and a failure instead of a panic.
//!
//! [`with_manners`] puts them around the finished router, in an order that matters and is written down there. What a
//! single route wants to have different it says with [`allow_body`] or [`routine`]. What a failure looks like is in
//! [`failure`](super::failure); which pages may ask is in [`origin`](super::origin).

use std::{
    any::Any, cell::LazyCell, convert::Infallible, future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc,
    task::Poll, time::Duration,
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::sleep_until;
use tower::{Service, ServiceBuilder, service_fn, util::MapRequestLayer};
use tower_http::normalize_path::NormalizePath;
use tracing::{debug, error, info, info_span, warn};

use super::{
    body::LimitedBody,
    compression::Encodings,
    exchange::{Exchange, X_REQUEST_ID},
    failure::{Asked, Failure, echo},
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
    let router = router.layer(MapRequestLayer::new(note_route));
    let options = Arc::new(options.clone());
    let body_limit = options.body_limit;
    let cors = cors(&options.cors_origins);
    // Not `axum::middleware::from_fn`: each of its layers boxes its future, and a copy of everything inside, for each
    // request. And few layers: each moves the request, and what is inside of it, once or twice more.
    let answers = service_fn(move |request| answer(Arc::clone(&options), router.clone(), request));
    // Outside of failures: a page that may ask may also read why it got no answer.
    let open = ServiceBuilder::new().option_layer(cors).service(answers);
    // Sees everything that leaves, so each answer has its number and its line.
    let observed = service_fn(move |request| observe(body_limit, open.clone(), request));
    // Outside the router, which would already have looked up `/workers/` and found nothing.
    NormalizePath::trim_trailing_slash(observed)
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
async fn observe<S>(body_limit: usize, mut service: S, mut request: Request) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let exchange = Exchange::open(&mut request, body_limit);
    // Whatever is inside is ready at any time.
    let mut response = Arc::clone(&exchange).current(service.call(request)).await?;

    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, exchange.id.header_value());
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    write_line(&exchange, response.status());
    Ok(response)
}

/// The router's answer, or a failure, in the shape that the client wants.
async fn answer(options: Arc<HttpOptions>, router: Router, mut request: Request) -> Result<Response, Infallible> {
    // Here for every request that comes through `observe`.
    let exchange = Exchange::of(request.extensions());
    let exchange = exchange.unwrap_or_else(|| Exchange::open(&mut request, options.body_limit));
    let asked = Asked::of(Arc::clone(&exchange), request.headers());
    let encodings = Encodings::of(request.headers_mut());
    let answer = match refusal(&options, &request) {
        Some(refusal) => refusal.into_response(),
        None => {
            let request = LimitedBody::wrap(request, &exchange);
            in_time(&exchange, options.response_time, router, request).await.unwrap_or_else(Failure::into_response)
        }
    };
    // Compressed inside of failures, which may yet be written anew.
    Ok(asked.shape(encodings.compress(answer).await))
}

/// Why a page may not ask this, if it may not.
fn refusal(options: &HttpOptions, request: &Request) -> Option<Failure> {
    let (uri, headers) = (request.uri(), request.headers());
    let foreign = options.loopback_port.and_then(|port| foreign_name(uri, headers, port, &options.allowed_hosts));
    if let Some(name) = foreign {
        return Some(Failure::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "This server answers to addresses and localhost, not to {:?}; if that is a name of this machine, \
                 allow it with --allowed-host",
                echo(&name)
            ),
        ));
    }
    let is_foreign = !request.method().is_safe() && is_foreign_page(uri, headers, &options.cors_origins);
    is_foreign.then(|| {
        Failure::forbidden(
            "Pages of other origins may not change anything here, unless the server is told to allow them (--cors-origin)",
        )
    })
}

/// The router's answer, if it begins in time and without a panic.
async fn in_time(
    exchange: &Exchange,
    allowed: Duration,
    mut router: Router,
    request: Request,
) -> Result<Response, Failure> {
    // Nothing of a request outlives its panic but what locks and channels guard, so crossing the boundary is safe.
    let mut answer = pin!(AssertUnwindSafe(router.call(request)).catch_unwind());
    let mut alarm = None;
    poll_fn(|cx| {
        match answer.as_mut().poll(cx) {
            Poll::Ready(Ok(Ok(response))) => return Poll::Ready(Ok(response)),
            Poll::Ready(Ok(Err(never))) => match never {},
            Poll::Ready(Err(panic)) => {
                note_panic(exchange, &*panic);
                return Poll::Ready(Err(Failure::internal()));
            }
            Poll::Pending => {}
        }
        // Most answers are there at once, and want no alarm.
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(exchange.began + allowed)));
        while alarm.as_mut().poll(cx).is_ready() {
            // Which route it is, and that it may take longer, is known only by now.
            let deadline = exchange.began + exchange.response_time();
            if deadline <= alarm.deadline() {
                return Poll::Ready(Err(too_late(exchange, alarm.deadline() - exchange.began)));
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

/// Whose fault was it? 408 says the client was slow and closes the connection; 503 says that we were, and that trying
/// again may help. Clients such as agents retry the second without a second thought.
fn too_late(exchange: &Exchange, time: Duration) -> Failure {
    if exchange.body_is_awaited() {
        Failure::new(StatusCode::REQUEST_TIMEOUT, format!("The request body did not arrive within {time:?}"))
    } else {
        Failure::unavailable(format!("There was no answer within {time:?}; try again shortly"))
    }
}

/// Says in the log what a panic said: in a span that has the request's id, for a subscriber that knows nothing of
/// [`current_request`](super::current_request).
fn note_panic(exchange: &Exchange, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(not a text)");
    let span = info_span!("request", request.id = %exchange.id);
    span.in_scope(|| error!(panic = text, "A handler panicked, its client gets a 500"));
}

/// One line for each request, loud in proportion: our failures wake somebody, a client's failures and changes are
/// told, and what only looked is there for those who ask.
///
/// The query is left out: it may carry what is nobody's business.
fn write_line(exchange: &Exchange, status: StatusCode) {
    let Exchange { method, uri, began, .. } = exchange;
    // Only for a line that is written, which most are not.
    let latency = LazyCell::new(|| began.elapsed());
    // The level of a line must be known at compile time, hence a macro and not a function.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                http.method = %method,
                http.route = exchange.route(),
                http.status = status.as_u16(),
                request.id = %exchange.id,
                latency_ms = latency.as_secs_f64() * 1e3,
                "{method} {} answered {} in {:.1?}",
                echo(uri.path()),
                status.as_u16(),
                *latency,
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
