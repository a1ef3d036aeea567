//! The request context: what the middleware knows about one request such as its id, shared with its handler.
//!
//! The outermost middleware opens a [`RequestContext`], and handlers ask it through the task that runs them. It is a
//! task-local and not in the request's extensions, because hardly any request has extensions otherwise, and they take
//! three allocations.
//!
//! The log line of a request is not written here, but in [`stack`](super::stack); the names of the headers that carry a
//! request id are in [`header_template`](crate::http::header_template).

use std::{
    cell::RefCell,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, header},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::Instant;
use uuid::Uuid;

use super::compression::AcceptEncoding;
use super::origin::{self, Sender};
use crate::auth::{Caller, NoCredential, Principal, RequestDetails};
use crate::http::authentication::Authenticator;
use crate::http::error::HttpError;
use crate::http::forwarded_client::forwarded_client;
use crate::http::header_template::{TRACEPARENT, X_REQUEST_ID};
use crate::http::negotiation::ErrorFormat;
use crate::http::options::HttpOptions;
use crate::http::routing::Router;
use crate::http::routing::{ErrorBodyWriter, Route, RouteMatch};
use crate::http::server::connection::{current_peer, is_encrypted};
use crate::http::session_cookie;
use crate::trace::{self, Span, SpanKind, TraceContext};

/// The longest request id that a client may choose: several times a UUID or a W3C trace id.
pub(crate) const LONGEST_REQUEST_ID: usize = 128;

/// The request id, which links a request, its response and its log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Chosen by the client.
    Client(HeaderValue),
    /// Made by the server; formatted only when it is read.
    Server(Uuid),
}

impl RequestId {
    /// The client's id if it has one that is fit for a log line, else a new one.
    fn of(theirs: Option<&HeaderValue>) -> Self {
        let sane = |id: &&HeaderValue| {
            (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match theirs.filter(sane) {
            Some(theirs) => Self(Source::Client(theirs.clone())),
            // Not by `Uuid::new_v4`, which asks the kernel for randomness each time: here the generator is seeded once
            // a thread.
            None => {
                let random = RANDOM.with_borrow_mut(|random| random.random());
                Self(Source::Server(uuid::Builder::from_random_bytes(random).into_uuid()))
            }
        }
    }

    /// The id as a header value, for the response.
    pub fn header_value(&self) -> HeaderValue {
        match &self.0 {
            Source::Client(theirs) => theirs.clone(),
            Source::Server(ours) => {
                let mut text = Uuid::encode_buffer();
                let text: &str = ours.hyphenated().encode_lower(&mut text);
                // Hexadecimal digits and hyphens are always a valid header value.
                HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"))
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Client(theirs) => f.write_str(theirs.to_str().unwrap_or_default()),
            Source::Server(ours) => ours.hyphenated().fmt(f),
        }
    }
}

/// Stands for several values of `Authorization`, and is none that is accepted.
static SEVERAL: HeaderValue = HeaderValue::from_static("several");

thread_local! {
    /// The generator of ids, which have to differ and may be guessed. A generator for secrets makes 256 bytes at a
    /// time, which is slower.
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

tokio::task_local! {
    /// The context of the request that the task answers.
    static CURRENT: Arc<RequestContext>;
}

/// The id of the request that the task answers, for log lines. A tracing span would carry it too, but a span for each
/// request costs as much as finding and reading a worker, and hardly any request writes a line.
pub fn current_request() -> Option<RequestId> {
    RequestContext::ask(|context| context.id.clone())
}

/// The address of the client whose request the task answers, for log lines: with its port, unless a trusted proxy has
/// told the address.
pub fn current_client() -> Option<String> {
    let peer = current_peer()?;
    let told = RequestContext::ask(|context| context.client).flatten();
    Some(
        told.filter(|told| *told != peer.ip().to_canonical()).map_or_else(|| peer.to_string(), |told| told.to_string()),
    )
}

/// The id of the trace that the request that the task answers belongs to, for log lines, and that of its span if spans are
/// exported: 32 and 16 hexadecimal digits.
pub fn current_trace() -> Option<(String, Option<String>)> {
    RequestContext::ask(|context| {
        let trace = context.trace.as_deref()?;
        let span_id = trace::is_exporting().then(|| format!("{:016x}", trace.span_id()));
        Some((format!("{:032x}", trace.trace_id()), span_id))
    })
    .flatten()
}

/// The caller of the request that the task answers; without one, as in unit tests, nobody.
pub fn current_caller() -> Caller {
    CURRENT
        .try_with(|context| Caller::of_request(context.principal.clone(), context.clone()))
        .unwrap_or_else(|_| Caller::new(Principal::Anonymous(NoCredential::Missing)))
}

impl RequestDetails for RequestContext {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn address(&self) -> Option<IpAddr> {
        self.client
    }

    fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }
}

/// Notes that the request that the task answers is a command, on a route whose POSTs [may be
/// queries](crate::http::routing::RouteOptions::questions).
pub fn mark_as_command() {
    RequestContext::ask(|context| context.is_said_to_be_command.store(true, Relaxed));
}

/// Notes that the request that the task answers is shed for load, so that its log line is written at debug level only.
pub fn note_shed() {
    RequestContext::ask(|context| context.is_shed.store(true, Relaxed));
}

/// The error for a request of nobody, for the handler of a route that lets it in.
pub fn unauthenticated(why: NoCredential) -> HttpError {
    let refusal = |context: &RequestContext| context.state.authenticator.refusal(why, context.client);
    RequestContext::ask(refusal).unwrap_or_else(|| HttpError::unauthorized(why.message()))
}

/// Wraps work that is done on another thread, so that it runs in the context of this request.
pub fn in_request_context<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let current = CURRENT.try_with(Arc::clone).ok();
    move || match current {
        Some(context) => CURRENT.sync_scope(context, work),
        None => work(),
    }
}

/// What is the same for all requests.
pub struct SharedState {
    pub options: HttpOptions,
    pub authenticator: Authenticator,
    pub routes: Router,
}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedState").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The context of one request.
#[derive(Debug)]
pub struct RequestContext {
    /// The id, decided before anything else.
    pub id: RequestId,
    /// The trace that it belongs to, and its span in it; of a program that exports no spans, what its client sent. Hardly
    /// any request has one, hence the box.
    pub trace: Option<Box<TraceContext>>,
    pub began: Instant,
    /// Who sends it.
    pub principal: Principal,
    /// The address of the client, or of a proxy in front of it that is not trusted.
    pub client: Option<IpAddr>,
    /// The method and the address.
    pub method: Method,
    pub uri: Uri,
    /// The format in which the client wants errors.
    pub asked: ErrorFormat,
    /// The compressions that the client knows.
    pub encodings: AcceptEncoding,
    /// What is the same for all requests.
    pub state: Arc<SharedState>,
    /// The match of its path, if there is one.
    found: Option<RouteMatch>,
    /// The media type and the writer of errors, if its route has its own.
    pub failures: Option<(&'static str, ErrorBodyWriter)>,
    body_is_awaited: AtomicBool,
    /// Whether the handler has marked it as a command.
    is_said_to_be_command: AtomicBool,
    /// Whether the handler has marked it as shed.
    is_shed: AtomicBool,
}

impl RequestContext {
    /// Opens the context of a request, and begins its span.
    pub fn open(request: &Request, state: &Arc<SharedState>) -> (Arc<Self>, Span) {
        let (mut id, mut asked, mut encodings) = (None, ErrorFormat::default(), AcceptEncoding::default());
        let (mut authorization, mut has_cookies) = (None, false);
        let (mut traceparent, mut traceparents) = (None, 0);
        // All headers in one walk: a look-up by name for each takes longer than walking the few that most requests have
        // (ADR 0036).
        for (name, value) in request.headers() {
            if name == header::ACCEPT {
                asked.add(value);
            } else if name == header::ACCEPT_ENCODING {
                encodings.add(value);
            } else if name == X_REQUEST_ID {
                id = id.or(Some(value));
            } else if name == TRACEPARENT {
                traceparent = Some(value);
                traceparents += 1;
            } else if name == header::AUTHORIZATION {
                // Of two, nobody can tell which is meant.
                authorization = Some(if authorization.is_none() { value } else { &SEVERAL });
            } else if name == header::COOKIE {
                has_cookies = true;
            }
        }
        let found = state.routes.find(request.uri().path());
        // Of two, nobody can tell which is meant.
        let sent = traceparent.filter(|_| traceparents == 1).and_then(|value| trace_of(value, request));
        let span = span_of(request, sent.as_ref(), found.as_ref().and_then(|found| state.routes.route(found)));
        let trace = span.context().or(sent).map(Box::new);
        let format = found.as_ref().and_then(|found| state.routes.route(found)?.wants.failures);
        let context = Arc::new(Self {
            trace,
            failures: format.map(|format| ((format.media_type)(request.headers()), format.body)),
            id: RequestId::of(id),
            began: Instant::now(),
            // Who sends a token means it, whatever cookies the browser has added.
            principal: match authorization {
                None if has_cookies => principal_of_cookies(request, state),
                _ => state.authenticator.principal(authorization),
            },
            client: current_peer().map(|peer| match &*state.options.trusted_proxies {
                [] => peer.ip().to_canonical(),
                trusted => forwarded_client(peer.ip().to_canonical(), request.headers(), trusted),
            }),
            method: request.method().clone(),
            uri: request.uri().clone(),
            asked,
            encodings,
            state: Arc::clone(state),
            found,
            body_is_awaited: AtomicBool::new(false),
            is_said_to_be_command: AtomicBool::new(false),
            is_shed: AtomicBool::new(false),
        });
        (context, span)
    }

    /// Runs a future in this context.
    pub fn current<F: Future>(self: Arc<Self>, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Reads the context of the task, if there is one (unit tests of handlers may have none).
    pub fn ask<T>(question: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(|context| question(context)).ok()
    }

    /// The matched route, if there is one.
    pub fn matched(&self) -> Option<&Route> {
        self.state.routes.route(self.found.as_ref()?)
    }

    /// The template of the matched route, such as `/api/v1/workers/{id}`.
    pub fn route(&self) -> Option<&'static str> {
        self.matched().map(|route| route.path)
    }

    /// Counts the request, whose response begins now.
    pub(super) fn count(&self, status: StatusCode) {
        self.state.routes.metrics(self.found.as_ref()).observe(&self.method, status, self.began.elapsed());
    }

    /// The id in its path, not decoded.
    pub fn id_in_path(&self) -> Option<&str> {
        self.found.as_ref()?.id(self.uri.path())
    }

    /// Whether a success is logged at debug level only.
    pub fn is_quiet(&self) -> bool {
        self.matched().is_some_and(|route| route.wants.is_quiet)
    }

    /// Whether it was shed for load.
    pub(super) fn is_shed(&self) -> bool {
        self.is_shed.load(Relaxed)
    }

    /// The longest body that is read.
    pub fn body_limit(&self) -> usize {
        self.matched().and_then(|route| route.wants.body).unwrap_or(self.state.options.body_limit)
    }

    /// How long the response may take to begin.
    pub fn response_time(&self) -> Duration {
        let usual = self.state.options.response_time;
        self.matched().and_then(|route| route.wants.time).map_or(usual, |time| time.max(usual))
    }

    /// Whether it is a command: by its method, or on a route whose POSTs may be queries, by its handler's mark.
    pub fn is_command(&self) -> bool {
        let may_only_ask = self.matched().is_some_and(|route| route.wants.may_only_ask);
        !self.method.is_safe() && (!may_only_ask || self.is_said_to_be_command.load(Relaxed))
    }

    /// Whether a reader of the body is waiting for the client.
    pub fn body_is_awaited(&self) -> bool {
        self.body_is_awaited.load(Relaxed)
    }

    pub fn note_body_awaited(&self, awaited: bool) {
        self.body_is_awaited.store(awaited, Relaxed);
    }
}

/// The trace that a client says its request belongs to.
fn trace_of(traceparent: &HeaderValue, request: &Request) -> Option<TraceContext> {
    let states = request.headers().get_all(trace::TRACESTATE);
    TraceContext::parse(traceparent.as_bytes(), states.iter().map(HeaderValue::as_bytes))
}

/// The methods that spans are named by. Any other is a word of the client's, and names of spans are grouped by: for it, they
/// and `http.request.method` have the words of OpenTelemetry's conventions.
const KNOWN_METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

/// Begins the span of a request. Without an exporter, nothing is asked or written for it.
fn span_of(request: &Request, parent: Option<&TraceContext>, route: Option<&Route>) -> Span {
    let (method, uri) = (request.method(), request.uri());
    let known = KNOWN_METHODS.contains(method).then(|| method.as_str());
    let name = || {
        let verb = known.unwrap_or("HTTP");
        route.map_or_else(|| verb.to_owned(), |route| format!("{verb} {}", route.path))
    };
    let mut span = Span::begin(SpanKind::Server, parent, name);
    span.set("http.request.method", || known.unwrap_or("_OTHER"));
    if known.is_none() {
        span.set("http.request.method_original", || method.as_str());
    }
    span.set("url.scheme", || if is_encrypted() { "https" } else { "http" });
    match route {
        Some(route) => {
            span.set("http.route", || route.path);
            span.set("url.path", || if route.wants.hides_path { route.path } else { uri.path() });
        }
        None => span.set("url.path", || uri.path()),
    }
    span
}

/// Who sends a request with cookies. That of a session counts only if the request is of a page of this server: of a
/// command and of a WebSocket the browser has to say so, while somebody may open an address by hand.
fn principal_of_cookies(request: &Request, state: &SharedState) -> Principal {
    let (headers, is_encrypted) = (request.headers(), is_encrypted());
    let counts = || match origin::sender(request.uri(), headers, is_encrypted) {
        Sender::OwnPage => true,
        Sender::NotSaid => request.method().is_safe() && !headers.contains_key(header::UPGRADE),
        Sender::OtherPage => false,
    };
    state.authenticator.principal_of_cookie(session_cookie::find(headers, is_encrypted), counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let id_for = |sent: &[u8]| {
            RequestId::of(Some(&HeaderValue::from_bytes(sent).expect("a legal header value"))).to_string()
        };
        assert_eq!(id_for(b"deploy-42/retry.1"), "deploy-42/retry.1");
        assert_eq!(id_for(&[b'a'; 128]), "a".repeat(128));
        for odd in [&b""[..], &[b'a'; 129], b"two words", b"tab\there", "größe".as_bytes()] {
            assert!(Uuid::parse_str(&id_for(odd)).is_ok(), "{odd:?}");
        }
    }

    #[test]
    fn a_request_without_an_id_gets_a_new_one_each_time() {
        assert_ne!(RequestId::of(None), RequestId::of(None));
    }
}
