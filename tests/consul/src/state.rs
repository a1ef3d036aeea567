//! What all requests share: the catalogue, the rules, and the modes in which the stub misbehaves (`Mode`). The routes that
//! follow them are in `api`; a test sets them by `control`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::acl::Acl;
use crate::catalog::Catalog;

/// How requests are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As Consul does.
    #[default]
    Answer,
    /// Not at all, while connections are accepted: a process that is stopped. Requests that came meanwhile are answered
    /// when this is over, unless their clients have gone.
    Hang,
    /// 500, as while there is no leader.
    Fail,
    /// 403, whatever is asked for. An [`Acl`] refuses changes only, and leaves out of lists what may not be read.
    Refuse,
}

/// How a check that nobody registered is answered, which differs by Consul's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCheck {
    /// 404 `Unknown check ID "…". Ensure that the check ID is passed, not the check name.`, as today.
    #[default]
    NotFound,
    /// 500 `Unknown check "…"`, as older ones with ACLs.
    UnknownCheck,
    /// 500 `CheckID "…" does not have associated TTL`, as older ones without.
    NoTtl,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// `GET`, `PUT`
    pub method: String,
    /// Without the parameters.
    pub path: String,
    /// The parameters, as they were sent.
    pub query: String,
    /// The trace that it belongs to: the header `traceparent`.
    pub traceparent: Option<String>,
}

/// Everything there is to know of a stub.
#[derive(Clone, Debug)]
pub struct State {
    /// What is registered.
    pub catalog: Catalog,
    /// Who may do what.
    pub acl: Acl,
    /// How requests are answered.
    pub mode: Mode,
    /// How updates of unknown checks are answered.
    pub unknown_check: UnknownCheck,
    /// Updates of checks that are yet to be lost: answered with 500, and not heard.
    pub lost_updates: usize,
    /// All requests, in order.
    pub requests: Vec<Received>,
}

/// The state, and who waits for it to change.
#[derive(Debug)]
pub struct Shared(watch::Sender<State>);

impl Shared {
    pub(crate) fn new(deregister_minimum: Duration) -> Self {
        Self(watch::Sender::new(State {
            catalog: Catalog::new(deregister_minimum),
            acl: Acl::default(),
            mode: Mode::default(),
            unknown_check: UnknownCheck::default(),
            lost_updates: 0,
            requests: Vec::new(),
        }))
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.borrow())
    }

    pub(crate) fn set(&self, set: impl FnOnce(&mut State)) {
        self.0.send_modify(set);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Changes the catalogue, after what has passed by now.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Catalog, Instant) -> T) -> T {
        let now = Instant::now();
        let mut outcome = None;
        self.0.send_modify(|state| {
            state.catalog.pass_time(now);
            outcome = Some(change(&mut state.catalog, now));
        });
        outcome.expect("it was called")
    }

    /// Remembers a request; `true` if it is one of the updates that are to be lost.
    pub(crate) fn note_request(&self, request: &Request) -> bool {
        let uri = request.uri();
        let received = Received {
            at: Instant::now(),
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            traceparent: request
                .headers()
                .get("traceparent")
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
        };
        let mut lost = false;
        self.0.send_modify(|state| {
            lost = state.lost_updates > 0 && received.path.starts_with("/v1/agent/check/");
            state.lost_updates -= usize::from(lost);
            state.requests.push(received);
        });
        lost
    }

    /// Waits until requests are answered.
    pub(crate) async fn answers_again(&self) {
        self.until(|state| state.mode != Mode::Hang).await;
    }

    pub(crate) async fn until_mode(&self, mode: Mode) {
        self.until(|state| state.mode == mode).await;
    }

    async fn until(&self, is_so: impl FnMut(&State) -> bool) {
        // The sender is this.
        let _ = self.changes().wait_for(is_so).await;
    }

    /// Lets TTLs run out, and instances that are critical for too long go.
    pub(crate) async fn pass_time(self: Arc<Self>) {
        let mut changes = self.changes();
        loop {
            let deadline = changes.borrow_and_update().catalog.next_deadline();
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.change(|_, _| ());
                }
            }
        }
    }
}
