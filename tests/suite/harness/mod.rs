//! A whole server inside of a test: real migrations, a database of its own, and the real router with all its
//! middleware. It has no port, and its clock stands still until the test moves it.

#[macro_use]
mod database;
mod ask;
pub mod openapi;
mod socket;
mod stream;
mod token;
mod worker;

use std::time::Duration;

pub use aetherium::clock::Clock;
use aetherium::cluster::{EventFilter, EventKind};
use aetherium::history::HistorySampler;
use aetherium::liveness_sweeper::LivenessSweeper;
use aetherium::server::{Server, ServerOptions};
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tokio::sync::{Mutex, oneshot};

pub use self::ask::{Answer, Ask, Rest, Service, failure};
pub use self::database::{Backup, EmptyDatabase, FromDatabase, TestDatabase};
pub use self::socket::{Port, Socket, TRANSPORT_WS, in_time, listener_options};
pub use self::stream::{HttpStream, Message};
pub use self::token::{TestSession, TestToken, gateway_token, join_token, own_token, role_token, worker_token};
pub use self::worker::{TestVm, TestWorker, vm, worker};

/// The time at which every test begins: when the example worker of the contract was started.
pub const START: &str = "2025-11-02T10:00:00Z";

/// One server on one database, with a clock that the test moves.
pub struct TestCluster {
    database: TestDatabase,
    options: ServerOptions,
    clock: Clock,
    server: Server,
    service: Service,
    sweeper: Mutex<LivenessSweeper>,
    sampler: HistorySampler,
}

/// Holds the commits of a server back until it is released or dropped.
pub struct HeldCommits(oneshot::Sender<()>);

impl HeldCommits {
    pub fn release(self) {
        self.0.send(()).expect("the server should be there");
    }
}

impl FromDatabase for TestCluster {
    async fn from(database: TestDatabase) -> Self {
        Self::on(&database).await
    }
}

impl TestCluster {
    /// An empty cluster.
    pub async fn on(database: &TestDatabase) -> Self {
        Self::configured(database, |_| ()).await
    }

    /// An empty cluster whose server has other options than the defaults.
    pub async fn configured(database: &TestDatabase, configure: impl FnOnce(&mut ServerOptions)) -> Self {
        Self::with(database, Clock::manual(START.parse().unwrap()), configure).await
    }

    /// An empty cluster whose server has this clock.
    pub async fn by_clock(database: &TestDatabase, clock: Clock) -> Self {
        Self::with(database, clock, |_| ()).await
    }

    async fn with(database: &TestDatabase, clock: Clock, configure: impl FnOnce(&mut ServerOptions)) -> Self {
        let mut options = ServerOptions::new(database.url().to_owned());
        // The requests of a test have no address, so that all of them are one client, which fails on purpose.
        options.http.failed_authentications_per_minute = u32::MAX;
        configure(&mut options);
        Self::start(database.clone(), options, clock).await
    }

    async fn start(database: TestDatabase, options: ServerOptions, clock: Clock) -> Self {
        let server = Server::start(options.clone(), clock.clone()).await.expect("the server should start");
        Self::of(server, database, options, clock)
    }

    fn of(server: Server, database: TestDatabase, options: ServerOptions, clock: Clock) -> Self {
        let service = Service::new(server.service());
        let sweeper = Mutex::new(server.liveness_sweeper());
        let sampler = server.history_sampler();
        Self { database, options, clock, server, service, sweeper, sampler }
    }

    /// Whether several servers can share its database.
    pub fn takes_several_servers(&self) -> bool {
        self.database.backend() == DbBackend::Postgres
    }

    /// A second server on the same database, with the same clock; PostgreSQL only.
    pub async fn another_server(&self) -> Self {
        Self::start(self.database.clone(), self.options.clone(), self.clock.clone()).await
    }

    /// The same cluster after a restart of its server.
    pub async fn restart(self) -> Self {
        self.restart_after(async |_: &TestDatabase| ()).await
    }

    /// The same, with a change of the database while no server runs.
    pub async fn restart_after(self, happens: impl AsyncFnOnce(&TestDatabase)) -> Self {
        self.server.stop().await;
        happens(&self.database).await;
        Self::start(self.database, self.options, self.clock).await
    }

    /// The same, with a server that commits nothing until it is released.
    pub async fn restart_without_commits(self) -> (HeldCommits, Self) {
        self.server.stop().await;
        let (release, released) = oneshot::channel();
        let begin = Box::pin(async { _ = released.await });
        let server = Server::start_without_commits(self.options.clone(), self.clock.clone(), begin).await;
        let cluster = Self::of(server.expect("the server should start"), self.database, self.options, self.clock);
        (HeldCommits(release), cluster)
    }

    /// A backup of the database, taken during a restart of the server, and the cluster after it.
    pub async fn back_up(self) -> (Backup, Self) {
        let mut backup = None;
        let cluster = self.restart_after(async |database: &TestDatabase| backup = Some(database.back_up().await)).await;
        (backup.unwrap(), cluster)
    }

    /// The cluster after a restore: its server was stopped, the database replaced by a backup, and a server started.
    pub async fn restore(self, backup: &Backup) -> Self {
        self.restart_after(async |database: &TestDatabase| database.restore(backup).await).await
    }

    /// Registers workers and sends a heartbeat of each, so that all of them have been silent for as long as they are
    /// described to be when this returns.
    pub async fn add(&self, workers: impl IntoIterator<Item = TestWorker>) {
        let mut workers: Vec<_> = workers.into_iter().collect();
        workers.sort_by_key(|worker| std::cmp::Reverse(worker.silence()));
        let mut ahead = workers.first().map(TestWorker::silence).unwrap_or_default();
        for worker in workers {
            self.advance(ahead - worker.silence());
            ahead = worker.silence();
            worker.join(self).await;
        }
        self.advance(ahead);
    }

    /// A client of the REST API: `cluster.rest().get("/api/v1/workers").await`.
    pub fn rest(&self) -> Rest {
        Rest::of(self.service.clone())
    }

    /// The `data` of a GraphQL response, which has to be without errors.
    pub async fn graphql(&self, query: &str) -> Value {
        let mut answer = self.graphql_answer(query, json!({})).await;
        assert_eq!(answer.get("errors"), None, "{query}");
        answer["data"].take()
    }

    /// A whole GraphQL response, with its errors.
    pub async fn graphql_answer(&self, query: &str, variables: Value) -> Value {
        self.rest().post("/graphql").json(json!({"query": query, "variables": variables})).await.json()
    }

    /// One worker, as REST shows it.
    pub async fn worker(&self, id: &str) -> Value {
        let answer = self.rest().get(&format!("/api/v1/workers/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Sends a heartbeat of a worker.
    pub async fn beat(&self, id: &str, beat: Value) -> Answer {
        self.rest().post(&format!("/api/v1/workers/{id}/heartbeat")).json(beat).await
    }

    /// Everything that REST shows of the cluster, with its revision, to compare it with an earlier state.
    pub async fn everything(&self) -> Value {
        let mut everything = serde_json::Map::new();
        for path in [
            "/api/v1/workers",
            "/api/v1/vms?status=created&status=starting&status=running&status=stopping&status=stopped&status=failed",
            "/api/v1/cluster/stats",
            "/api/v1/cluster/distribution",
        ] {
            everything.insert(path.to_owned(), self.rest().get(path).await.json());
        }
        everything.into()
    }

    /// The change log, one line an event: `worker_drain_started w1`, `vm_started w1 vm-1`.
    pub async fn history(&self) -> Vec<String> {
        let resolvers = self.server.resolvers();
        let page =
            resolvers.list_events(&resolvers.present(), &Default::default(), &EventFilter::default()).await.unwrap();
        let line = |kind: EventKind, worker: &str, vm: &str| format!("{kind} {worker} {vm}").trim_end().to_owned();
        let ids = page.nodes.iter().map(|node| {
            let event = &node.event;
            let worker = event.worker_id.as_ref().map_or("", |id| id.as_str());
            line(event.kind, worker, event.vm_id.as_ref().map_or("", |id| id.as_str()))
        });
        ids.collect()
    }

    /// The revision of the last commit.
    pub fn revision(&self) -> u64 {
        self.server.journal().snapshot().revision
    }

    /// The database of the server.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// The clock of the server.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Sweeps for silent workers once, as the server does every second. Answers how many were announced.
    pub async fn sweep(&self) -> usize {
        self.sweeper.lock().await.sweep().await.unwrap()
    }

    /// Sweeps for reservations whose time is over once, as the server does every second. Answers how many have expired.
    pub async fn sweep_reservations(&self) -> usize {
        self.server.reservation_sweeper().sweep().await.unwrap().len()
    }

    /// Samples for history once, as the server does every minute.
    pub async fn sample(&self) {
        self.sampler.sample().await;
        self.sampler.write().await.unwrap();
    }

    /// Writes the history that is due, as the server does every minute, without a sample.
    pub async fn write_history(&self) {
        self.sampler.write().await.unwrap();
    }

    /// How many statements the server has sent to its database so far.
    pub fn statements_sent(&self) -> u64 {
        self.server.journal().database().statements_sent()
    }

    /// The cursor before everything that has happened.
    pub fn first_cursor(&self) -> String {
        self.server.journal().snapshot().cursor_after(0).to_string()
    }

    /// The server, to be run by the test.
    pub fn into_server(self) -> Server {
        self.server
    }

    /// The options of its server.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// The server itself.
    pub fn server(&self) -> &Server {
        &self.server
    }
}

/// A duration in seconds.
pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A duration in minutes.
pub const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// A JSON object with some of its values replaced, to expect that an object has changed in these only.
pub fn with(mut object: Value, changes: Value) -> Value {
    let (Value::Object(fields), Value::Object(changes)) = (&mut object, changes) else { panic!("two objects needed") };
    for (key, value) in changes {
        assert!(fields.insert(key.clone(), value).is_some(), "there was no {key} to replace");
    }
    object
}

/// These fields of each object of a list: `pick(&answer["workers"], ["id", "status"])`.
pub fn pick<const N: usize>(list: &Value, fields: [&str; N]) -> Vec<[Value; N]> {
    let objects = list.as_array().unwrap_or_else(|| panic!("a list, not {list}"));
    objects.iter().map(|object| fields.map(|field| object[field].clone())).collect()
}
