//! The request context: what the middleware knows about one request, shared with its handler.
//!
//! The outermost layer opens a [`RequestContext`]; whoever needs to know something about the request asks it. It belongs to
//! the task and not to the request's extensions, which otherwise hardly any request has: they are three allocations.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderValue, Method, Uri, header},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::time::Instant;
use uuid::Uuid;

use super::compression::AcceptEncoding;
use crate::http::header_template::X_REQUEST_ID;
use crate::http::negotiation::ErrorFormat;
use crate::http::options::HttpOptions;
use crate::http::routing::Router;
use crate::http::routing::{ErrorBodyWriter, Route, RouteMatch};

/// Longest id a client may choose: a UUID, a W3C trace id and most things in between fit several times.
pub(crate) const LONGEST_REQUEST_ID: usize = 128;

/// What links a request, its answer and its lines in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// Chosen by the client.
    Client(HeaderValue),
    /// Made here; it becomes text when somebody reads it.
    Server(Uuid),
}

impl RequestId {
    /// The client's own id if it has one that is fit for a log line, else a fresh one.
    fn of(theirs: Option<&HeaderValue>) -> Self {
        let sane = |id: &&HeaderValue| {
            (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match theirs.filter(sane) {
            Some(theirs) => Self(Source::Client(theirs.clone())),
            // Not by `Uuid::new_v4`, which asks the kernel for randomness: once a thread is enough.
            None => {
                let random = RANDOM.with_borrow_mut(|random| random.random());
                Self(Source::Server(uuid::Builder::from_random_bytes(random).into_uuid()))
            }
        }
    }

    /// The id as a header value, for the answer.
    pub fn header_value(&self) -> HeaderValue {
        match &self.0 {
            Source::Client(theirs) => theirs.clone(),
            Source::Server(ours) => {
                let mut text = Uuid::encode_buffer();
                let text: &str = ours.hyphenated().encode_lower(&mut text);
                // Hexadecimal digits and hyphens always make a header value.
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

thread_local! {
    /// For ids, which have to be different and may be foreseen: not the kind for secrets, which makes 256 bytes at a
    /// time.
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

tokio::task_local! {
    /// The request that the task is answering.
    static CURRENT: Arc<RequestContext>;
}

/// The id of the request that is being answered here, for lines in the log. A span would say it too, but a span for
/// each request cost as much as finding and reading a worker, and hardly a request has a line to say it in.
pub fn current_request() -> Option<RequestId> {
    RequestContext::ask(|context| context.id.clone())
}

/// Notes that the request which is being answered here carries out a command, on a route where it [may only
/// ask](crate::http::routing::RouteOptions::questions).
pub fn mark_as_command() {
    RequestContext::ask(|context| context.is_said_to_be_command.store(true, Relaxed));
}

/// Notes that the request which is being answered here is refused because there are too many: of these, a line for each
/// would be a flood of its own.
pub fn note_shed() {
    RequestContext::ask(|context| context.is_shed.store(true, Relaxed));
}

/// Work that is still part of answering this request, wherever it is done.
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
    pub began: Instant,
    /// What was asked for, by what method and by which address.
    pub method: Method,
    pub uri: Uri,
    /// In what shape the client wants a failure.
    pub asked: ErrorFormat,
    /// The compressions that it knows.
    pub encodings: AcceptEncoding,
    /// What is the same for all requests.
    pub state: Arc<SharedState>,
    /// Where its path leads.
    found: Option<RouteMatch>,
    /// How its route writes failures, if not as the others do: in what media type, and how.
    pub failures: Option<(&'static str, ErrorBodyWriter)>,
    body_is_awaited: AtomicBool,
    /// Whether a handler has said that it carries out a command.
    is_said_to_be_command: AtomicBool,
    /// Whether a handler has said that it refuses it for load.
    is_shed: AtomicBool,
}

impl RequestContext {
    /// Opens the context of a request.
    pub fn open(request: &Request, state: &Arc<SharedState>) -> Arc<Self> {
        let (mut id, mut asked, mut encodings) = (None, ErrorFormat::default(), AcceptEncoding::default());
        // All at once: to look for each by its name takes longer than to walk by the few that most requests have (ADR
        // 0036).
        for (name, value) in request.headers() {
            if name == header::ACCEPT {
                asked.add(value);
            } else if name == header::ACCEPT_ENCODING {
                encodings.add(value);
            } else if name == X_REQUEST_ID {
                id = id.or(Some(value));
            }
        }
        let found = state.routes.find(request.uri().path());
        let format = found.as_ref().and_then(|found| state.routes.route(found)?.wants.failures);
        Arc::new(Self {
            failures: format.map(|format| ((format.media_type)(request.headers()), format.body)),
            id: RequestId::of(id),
            began: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            asked,
            encodings,
            state: Arc::clone(state),
            found,
            body_is_awaited: AtomicBool::new(false),
            is_said_to_be_command: AtomicBool::new(false),
            is_shed: AtomicBool::new(false),
        })
    }

    /// Runs a future as part of answering this request.
    pub fn current<F: Future>(self: Arc<Self>, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Asks the context that the task is part of, if there is one (a handler's unit test may do without).
    pub fn ask<T>(question: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(|context| question(context)).ok()
    }

    /// Where its path leads, if anywhere.
    pub fn matched(&self) -> Option<&Route> {
        self.state.routes.route(self.found.as_ref()?)
    }

    /// The template of the matched route, such as `/api/v1/workers/{id}`.
    pub fn route(&self) -> Option<&'static str> {
        self.matched().map(|route| route.path)
    }

    /// The id in its path, as it is spelled there.
    pub fn id_in_path(&self) -> Option<&str> {
        self.found.as_ref()?.id(self.uri.path())
    }

    /// Whether a success here is too usual to be told.
    pub fn is_quiet(&self) -> bool {
        self.matched().is_some_and(|route| route.wants.is_quiet)
    }

    /// Whether it is refused because there are too many.
    pub(super) fn is_shed(&self) -> bool {
        self.is_shed.load(Relaxed)
    }

    /// The most bytes that are read of this request's body.
    pub fn body_limit(&self) -> usize {
        self.matched().and_then(|route| route.wants.body).unwrap_or(self.state.options.body_limit)
    }

    /// How long it may take until the answer begins.
    pub fn response_time(&self) -> Duration {
        let usual = self.state.options.response_time;
        self.matched().and_then(|route| route.wants.time).map_or(usual, |time| time.max(usual))
    }

    /// Whether it changes something, or may: told by its method, or where a POST may only ask, by its handler.
    pub fn is_command(&self) -> bool {
        let may_only_ask = self.matched().is_some_and(|route| route.wants.may_only_ask);
        !self.method.is_safe() && (!may_only_ask || self.is_said_to_be_command.load(Relaxed))
    }

    /// Whether somebody is waiting for the client to send more of the body.
    pub fn body_is_awaited(&self) -> bool {
        self.body_is_awaited.load(Relaxed)
    }

    pub fn note_body_awaited(&self, awaited: bool) {
        self.body_is_awaited.store(awaited, Relaxed);
    }
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
