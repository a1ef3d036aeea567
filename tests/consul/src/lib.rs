//! The part of Consul's HTTP API that discovery talks to, for tests: one agent of a cluster of one node, in memory.
//!
//! What is here behaves as Consul does, down to the sentences that it refuses with: TTL checks that expire, services
//! that are deregistered after they were critical for long, queries that block until what they ask for has changed,
//! tokens, the limits of metadata. What is not here is refused with 501, so that nobody takes it for tested. What is
//! deliberately stricter: a field of a registration that Consul does not know, which it would overlook, is refused.
//!
//! What is not here at all: the service `consul` that server agents are registered as, checks that the agent does by
//! itself, filters, namespaces, further datacenters, caching, and everything that discovery has no use for.
//!
//! Time is tokio's, so that a test may pause and move it, and a test of whole programs waits for events
//! ([`Stub::until`]) instead of for moments.

#![allow(clippy::panic, reason = "in a test, a panic with its place is the report that is wanted")]

mod acl;
mod answer;
mod api;
mod catalog;
pub mod control;
mod listener;
mod registration;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use tokio::runtime::{self, Handle};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::acl::{Acl, NODE, Rules, Token};
pub use self::catalog::{Catalog, Check, Event, EventKind, Service, Status};
use self::listener::Listener;
use self::state::Shared;
pub use self::state::{Mode, Received, State, UnknownCheck};

/// How long a test waits for what must come. Nothing takes that long, even on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Consul has for the least time that an instance is critical for before it is deregistered.
pub const DEREGISTER_MINIMUM: Duration = Duration::from_secs(60);

/// A stub that runs, on a port of the loopback interface that the system chose; all of it ends with this.
#[derive(Debug)]
pub struct Stub {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: Mutex<Option<Listener>>,
    time: JoinHandle<()>,
    runtime: Handle,
    /// The thread of its own, if it has one, ends when this is dropped.
    _thread: Option<oneshot::Sender<()>>,
}

impl Stub {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start() -> Self {
        Self::start_with(DEREGISTER_MINIMUM).await
    }

    /// Starts one with another least time that an instance is critical for before it is deregistered.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start_with(deregister_minimum: Duration) -> Self {
        let shared = Arc::new(Shared::new(deregister_minimum));
        let listener = Listener::open(SocketAddr::from(([127, 0, 0, 1], 0)), api::router(Arc::clone(&shared))).await;
        let time = tokio::spawn(Arc::clone(&shared).pass_time());
        let (address, listener) = (listener.address(), Mutex::new(Some(listener)));
        Self { shared, address, listener, time, runtime: Handle::current(), _thread: None }
    }

    /// Starts one on a thread and a runtime of its own: it answers also while the test's thread is busy. Time is that of
    /// its own runtime, so no test moves it.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    pub async fn start_apart() -> Self {
        let (started, stub) = oneshot::channel::<Self>();
        let (thread, dropped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                _ = started.send(Self::start().await);
                _ = dropped.await;
            });
        });
        let mut stub = stub.await.expect("it can listen");
        stub._thread = Some(thread);
        stub
    }

    /// Its base URL, as `CONSUL_HTTP_ADDR` takes it; the same when it was away.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers in this way from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.set(|state| state.mode = mode);
    }

    /// Permits this from now on.
    pub fn set_acl(&self, acl: Acl) {
        self.shared.set(|state| state.acl = acl);
    }

    /// Answers updates of unknown checks as another version of Consul.
    pub fn set_unknown_check(&self, answer: UnknownCheck) {
        self.shared.set(|state| state.unknown_check = answer);
    }

    /// Loses this many of the next updates of checks: they are answered with 500.
    pub fn lose_updates(&self, number: usize) {
        self.shared.set(|state| state.lost_updates = number);
    }

    /// Lets the TTLs of an instance's checks run out now, as if they had not been updated for that long.
    pub fn expire(&self, id: &str) {
        self.shared.change(|catalog, now| catalog.expire(id, now));
    }

    /// Knows nothing any more, as an agent that keeps nothing and was started again.
    pub fn forget(&self) {
        self.shared.change(|catalog, _| catalog.forget());
    }

    /// Counts its indexes from the start again, as a cluster that was restored from a snapshot.
    pub fn reset_index(&self) {
        self.shared.change(|catalog, _| catalog.reset_index());
    }

    /// Closes its port and cuts all connections; time passes for what is registered.
    pub async fn go_away(&self) {
        if let Some(listener) = self.listener.lock().await.take() {
            listener.close().await;
        }
    }

    /// Listens where it did.
    ///
    /// # Panics
    ///
    /// If it cannot, because somebody else took the port.
    pub async fn come_back(&self) {
        let mut listener = self.listener.lock().await;
        if listener.is_none() {
            let opening = self.runtime.spawn(Listener::open(self.address, api::router(Arc::clone(&self.shared))));
            *listener = Some(opening.await.expect("the port is free"));
        }
    }

    /// Reads what there is at this moment.
    pub fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        self.shared.read(read)
    }

    /// Waits until `find` finds something, and returns it. The state is looked at after each change. Changes in quick
    /// succession may be looked at as one, so what was true only between them may be missed: it is in the
    /// [history](Catalog::history).
    ///
    /// # Panics
    ///
    /// If it is not there after a minute.
    pub async fn until<T>(&self, what: &str, mut find: impl FnMut(&State) -> Option<T>) -> T {
        let mut found = None;
        let mut changes = self.shared.changes();
        let waited = timeout(
            PATIENCE,
            changes.wait_for(|state| {
                found = find(state);
                found.is_some()
            }),
        );
        if waited.await.is_err() {
            let checks: Vec<_> = self.read(|state| {
                state
                    .catalog
                    .checks()
                    .map(|check| format!("{}: {} ({})", check.id, check.status.word(), check.output))
                    .collect()
            });
            panic!("waited {PATIENCE:?} in vain: {what}; checks: {checks:#?}");
        }
        found.expect("it was waited for")
    }

    /// The routes that change this stub, for whoever is not of this process.
    fn control(self: &Arc<Self>) -> Router {
        control::router(Arc::clone(self))
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.time.abort();
    }
}
