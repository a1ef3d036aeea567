//! The middleware stack around all routes: request id, log line, CORS, refusals, body limit, time-out, panics, compression
//! and the form of errors, in the order in which [`with_middleware`] puts them together.
//!
//! What a single route needs differently is in its [`RouteOptions`](crate::http::routing::RouteOptions), the form of an
//! error in [`error`](crate::http::error), the rule about web pages in [`origin`](super::origin).

use std::{
    any::Any,
    cell::LazyCell,
    convert::Infallible,
    future::{poll_fn, ready},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, future::Either};
use tokio::time::sleep_until;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::{cors::CorsLayer, normalize_path::NormalizePath};
use tracing::{debug, error, info, info_span, warn};

use super::body_limit::LimitedBody;
use super::error_shape::shape;
use super::host::foreign_name;
use super::origin::{cors, is_foreign_page};
use super::request_context::RequestContext;
use super::request_context::SharedState;
use crate::auth::CostLimitState;
use crate::http::authentication::Authenticator;
use crate::http::error::{HttpError, truncate};
use crate::http::header_template::HeaderTemplate;
use crate::http::negotiation::{Accept, EVENT_STREAM, NDJSON};
use crate::http::options::HttpOptions;
use crate::http::request_metrics::RequestMetrics;
use crate::http::routing::{ResponseFuture, Router, Routes};
use crate::http::server::connection::{has_room_for, is_encrypted, is_kept_for_operators};

/// The points of the [cost limit](crate::auth::CostLimit) that may be spent at once.
const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");

/// How many of them are left.
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// In how many seconds all of them are there again.
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The routes with the middleware around them, which counts their requests.
pub fn with_middleware(
    routes: Routes,
    options: &HttpOptions,
    authenticator: Authenticator,
    metrics: &RequestMetrics,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static + use<>
{
    let routes = Router::new(routes, metrics);
    let state = Arc::new(SharedState { options: options.clone(), authenticator, routes });
    let cors = cors(&options.cors_origins);
    // The outermost middleware of ours: every response gets its id and its log line. It is no
    // `axum::middleware::from_fn`, which boxes its future and a copy of everything inside for each request.
    let observed = service_fn(move |request| observe(&state, cors.as_ref(), request));
    // Outside of the route look-up, which would not find `/workers/`.
    NormalizePath::trim_trailing_slash(observed)
}

/// Gives the request its id and its log line, and the response the headers that every response has.
///
/// Neither this nor what it calls is an `async fn`, which would keep the request in its future: each passes the request
/// on at once and returns a future that waits for the response.
fn observe(
    state: &Arc<SharedState>,
    cors: Option<&CorsLayer>,
    request: Request,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
    let (context, mut span) = RequestContext::open(&request, state);
    let answer = Arc::clone(&context).current(shared(&context, cors, request));
    async move {
        let mut response = answer.await?;
        let headers = response.headers_mut();
        HeaderTemplate::complete(headers, context.id.header_value());
        tell_cost_limit(&context, headers);
        debug_assert!(headers.values().all(|value| !value.is_empty()), "nobody has said what: {headers:?}");
        context.count(response.status());
        write_line(&context, response.status());
        let status = response.status();
        span.set("http.response.status_code", || status.as_u16());
        if status.is_server_error() {
            span.fail(|| status.to_string());
        }
        Ok(response)
    }
}

/// Tells the holder of a token how many points are left, once half of them are spent: most responses have no such
/// header, and cost nothing for it.
fn tell_cost_limit(context: &RequestContext, headers: &mut HeaderMap) {
    let state = context.state.authenticator.cost_limit_state(&context.principal);
    if let Some(CostLimitState { limit, remaining, reset }) = state {
        headers.insert(RATELIMIT_LIMIT, limit.into());
        headers.insert(RATELIMIT_REMAINING, remaining.into());
        headers.insert(RATELIMIT_RESET, (reset.as_secs() + u64::from(reset.subsec_nanos() > 0)).into());
    }
}

/// Applies CORS, to errors too: then a page of an allowed origin can read why its request failed.
fn shared(
    context: &Arc<RequestContext>,
    cors: Option<&CorsLayer>,
    request: Request,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
    match cors {
        None => Either::Left(answer(context, request)),
        Some(cors) => {
            let context = Arc::clone(context);
            let answers = cors.layer(service_fn(move |request| answer(&context, request)));
            // Boxed, so that requests without CORS do not have the size of this future.
            Either::Right(Box::pin(answers.oneshot(request)))
        }
    }
}

/// The response of the handler, or an error in the form that the client wants.
fn answer(
    context: &Arc<RequestContext>,
    request: Request,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
    let context = Arc::clone(context);
    let answer = match refusal(&context, &request) {
        Some(refusal) => Err(refusal),
        None => Ok(match context.matched() {
            Some(route) => route.answer(LimitedBody::wrap(request, &context)),
            None => Box::pin(ready(StatusCode::NOT_FOUND.into_response())),
        }),
    };
    async move {
        let answer = match answer {
            Ok(answer) => in_time(&context, answer).await,
            Err(refusal) => Err(refusal),
        };
        let mut answer = answer.unwrap_or_else(HttpError::into_response);
        // Before the form of errors, which may write the body anew.
        if context.encodings.are_worth_it(&mut answer) {
            answer = context.encodings.compress(answer).await;
        }
        // The body of a response to HEAD is dropped, and takes no room.
        if context.method != Method::HEAD && !has_room_for(&answer) {
            answer = no_room(&context, answer.status()).into_response();
        }
        Ok(shape(&context, answer))
    }
}

/// The error instead of a response for which there is no room in memory. A command has been carried out by then, so
/// that its client must not be invited to send it again.
fn no_room(context: &RequestContext, status: StatusCode) -> HttpError {
    if context.is_command() && status.is_success() {
        return HttpError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "This was carried out, but too much is waiting for clients that do not take it, and so its answer is not \
             sent. Look at what has changed instead of sending it again",
        );
    }
    HttpError::unavailable("Too much is waiting for clients that do not take it; try again shortly")
}

/// The error for streams and long polls on a connection that is [reserved for operators](is_kept_for_operators).
pub fn no_connection_for_what_goes_on() -> HttpError {
    HttpError::unavailable("All connections for streams are taken; try again shortly")
}

/// What is wrong with a request, found before the middleware.
#[derive(Clone, Copy, Debug)]
pub struct Malformed(pub &'static str);

/// The error for a request that is not passed on to its handler.
fn refusal(context: &RequestContext, request: &Request) -> Option<HttpError> {
    let options = &context.state.options;
    if let Some(Malformed(problem)) = request.extensions().get() {
        return Some(HttpError::bad_request(*problem));
    }
    let (uri, headers) = (request.uri(), request.headers());
    // A stream would occupy one of the few reserved connections.
    let goes_on = || {
        let accept = Accept::of(headers);
        headers.contains_key(header::UPGRADE) || accept.names(EVENT_STREAM) || accept.names(NDJSON)
    };
    if is_kept_for_operators() && goes_on() {
        return Some(no_connection_for_what_goes_on());
    }
    let foreign =
        options.loopback_port.and_then(|port| foreign_name(uri, headers, port, is_encrypted(), &options.allowed_hosts));
    if let Some(name) = foreign {
        return Some(HttpError::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "This server answers to addresses and localhost, not to {:?}; if that is a name of this machine, \
                 allow it with --allowed-host",
                truncate(&name)
            ),
        ));
    }
    let is_foreign =
        !request.method().is_safe() && is_foreign_page(uri, headers, is_encrypted(), &options.cors_origins);
    if is_foreign {
        return Some(HttpError::forbidden(
            "Pages of other origins may not change anything here, unless the server is told to allow them (--cors-origin)",
        ));
    }
    // Before the body is read: nobody may have the server read one.
    let is_let_in = || {
        let wants = context.matched().map(|route| &route.wants);
        wants.is_some_and(|wants| wants.takes_credentials || wants.is_public && request.method().is_safe())
    };
    let missing = context.principal.missing().filter(|_| !is_let_in());
    missing.map(|why| context.state.authenticator.refusal(why, context.client))
}

/// The handler's response, if it begins in time and without a panic.
async fn in_time(context: &RequestContext, answer: ResponseFuture) -> Result<Response, HttpError> {
    // After a panic, only what locks and channels guard is used again, so that crossing the unwind boundary is safe.
    let mut answer = pin!(AssertUnwindSafe(answer).catch_unwind());
    let mut alarm = None;
    poll_fn(|cx| {
        match answer.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
            Poll::Ready(Err(panic)) => {
                note_panic(context, &*panic);
                return Poll::Ready(Err(HttpError::internal()));
            }
            Poll::Pending => {}
        }
        // Most responses are ready at once, and no timer is created for them.
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(context.began + context.response_time())));
        alarm.as_mut().poll(cx).map(|()| Err(too_late(context)))
    })
    .await
}

/// 408 if the client was slow with its body, after which the connection is closed; 503 if the server was slow. Clients
/// such as agents repeat a request after 503.
fn too_late(context: &RequestContext) -> HttpError {
    let time = context.response_time();
    if context.body_is_awaited() {
        HttpError::new(StatusCode::REQUEST_TIMEOUT, format!("The request body did not arrive within {time:?}"))
    } else {
        HttpError::unavailable(format!("There was no answer within {time:?}; try again shortly"))
    }
}

/// Logs the panic, in a span with the request id, for subscribers that do not use
/// [`current_request`](super::request_context::current_request).
fn note_panic(context: &RequestContext, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(not a text)");
    let span = info_span!("request", request.id = %context.id);
    span.in_scope(|| error!(panic = text, "A handler panicked, its client gets a 500"));
}

/// Writes the log line of a request: errors of the server at error or warn level, errors of clients and commands at
/// info, queries at debug.
///
/// The query string is left out, because it may contain what does not belong into a log.
fn write_line(context: &RequestContext, status: StatusCode) {
    let RequestContext { method, uri, began, .. } = context;
    // Both are evaluated only if the line is written.
    let path = LazyCell::new(|| match context.matched() {
        Some(route) if route.wants.hides_path => route.path.into(),
        Some(_) | None => truncate(uri.path()),
    });
    let latency = LazyCell::new(|| began.elapsed());
    // The level has to be known at compile time, hence a macro.
    macro_rules! line {
        ($level:ident) => {
            $level!(
                http.method = %method,
                http.route = context.route(),
                http.status = status.as_u16(),
                request.id = %context.id,
                trace_id = context.trace.as_ref().map(|trace| display(format!("{:032x}", trace.trace_id()))),
                latency_ms = latency.as_secs_f64() * 1e3,
                "{method} {} answered {} in {:.1?}",
                *path,
                status.as_u16(),
                *latency,
            )
        };
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE if context.is_shed() => line!(debug),
        // Of a client that does not stop, and its log lines must not be the rest of what it costs.
        StatusCode::TOO_MANY_REQUESTS => line!(debug),
        StatusCode::SERVICE_UNAVAILABLE => line!(warn),
        _ if status.is_server_error() => line!(error),
        _ if status.is_client_error() => line!(info),
        _ if method.is_safe() || context.is_quiet() => line!(debug),
        _ => line!(info),
    }
}
