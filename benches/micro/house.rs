//! A server inside this process, asked through its router; only its fleet moves in over a port.

use std::convert::Infallible;
use std::time::Duration;

use aetherium::auth::CostLimit;
use aetherium::client::Client;
use aetherium::clock::Clock;
use aetherium::cluster::{Changes, Identity, Life, Snapshot, Worker, WorkerId};
use aetherium::graphql::GraphqlOptions;
use aetherium::http::HttpOptions;
use aetherium::journal::Retention;
use aetherium::resolvers::Resolvers;
use aetherium::server::{Server, ServerOptions};
use aetherium::timing::Timing;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use criterion::{BatchSize, Bencher};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::support::{Fleet, registration};

/// A server with a fleet in it, on SQLite.
pub struct House {
    pub runtime: Runtime,
    pub resolvers: Resolvers,
    service: BoxCloneSyncService<Request, Response, Infallible>,
    _folder: TempDir,
}

impl House {
    /// Starts it, and lets the fleet move in. Nobody beats, and nobody is missed.
    pub fn with(fleet: Fleet) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = ServerOptions {
            database_url: format!("sqlite://{}", folder.path().join("cluster.db").display()),
            migrate: true,
            is_beside: false,
            timing: Timing { offline_after: Duration::from_secs(24 * 60 * 60), ..Timing::default() },
            retention: Retention::default(),
            cost_limit: CostLimit::default(),
            http: HttpOptions::default(),
            graphql: GraphqlOptions::default(),
        };
        let (resolvers, service) = runtime.block_on(async {
            let server = Server::start(options, Clock::system()).await.unwrap();
            let (resolvers, service) = (server.resolvers().clone(), server.service());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
            tokio::spawn(server.serve(listener, CancellationToken::new()));
            fleet.join(&client).await;
            (resolvers, service)
        });
        Self { runtime, resolvers, service, _folder: folder }
    }

    /// Measures a question put to REST.
    pub fn get(&self, bencher: &mut Bencher<'_>, path: &str) {
        self.measure(bencher, || Request::get(path).body(Body::empty()).unwrap());
    }

    /// Measures questions put to GraphQL.
    pub fn ask(&self, bencher: &mut Bencher<'_>, mut question: impl FnMut() -> Value) {
        self.measure(bencher, || {
            let body = Body::from(question().to_string());
            Request::post("/graphql").header(CONTENT_TYPE, "application/json").body(body).unwrap()
        });
    }

    /// What is answered to a question put to GraphQL.
    pub fn answer(&self, question: &Value) -> Value {
        let request = Request::post("/graphql").header(CONTENT_TYPE, "application/json");
        let answer = self.respond(request.body(Body::from(question.to_string())).unwrap());
        serde_json::from_slice(&self.runtime.block_on(answer)).unwrap()
    }

    fn measure(&self, bencher: &mut Bencher<'_>, request: impl FnMut() -> Request) {
        bencher.to_async(&self.runtime).iter_batched(request, |request| self.respond(request), BatchSize::SmallInput);
    }

    fn respond(&self, request: Request) -> impl Future<Output = Bytes> + use<> {
        let service = self.service.clone();
        async { service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes() }
    }
}

/// The state of a cluster of so many workers that have registered and said nothing since.
pub fn workers_at_rest(workers: usize) -> Snapshot {
    let now = Clock::system().now();
    let worker = |worker: usize| {
        let told = registration(worker);
        let identity = Identity {
            hostname: told.hostname.into(),
            address: told.address.into(),
            zone: told.zone.into(),
            labels: told.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            capabilities: told.capabilities.into_iter().map(Into::into).collect(),
            cpu_cores: told.cpu_cores,
            memory_mb: told.memory_mb,
            disk_gb: told.disk_gb,
            max_vms: told.max_vms,
        };
        Worker::first_life(WorkerId::parse(&Fleet::id(worker)).unwrap(), identity, Life::first(now, 1)).into()
    };
    let changes = Changes { workers: (0..workers).map(worker).collect(), ..Changes::default() };
    Snapshot::empty("bench".into()).apply(changes, 1)
}
