//! `aetherium serve`, and questions to it over HTTP. How its process is started, stopped and killed is in `program`.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::{Exit, Program, TOLD, Told, eventually};
use crate::database::TestDatabase;

/// A server that runs.
pub struct Server {
    /// The process.
    pub program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its base URL.
    pub url: String,
    /// The revision that it found in its database.
    pub revision: u64,
    http: Client,
    /// Its files stay as long as it may need them.
    _database: TestDatabase,
}

impl Server {
    /// Starts one on this database. Workers may be silent for long: tests that kill servers are not about time.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &["--offline-after", "1h"]).await
    }

    /// Starts one with further arguments.
    pub async fn start_with(database: &TestDatabase, further: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", database, further).await
    }

    /// Starts one at this address.
    pub async fn start_at(listen: &str, database: &TestDatabase, further: &[&str]) -> Self {
        Self::launch(listen, database.url(), database, further, &[]).await
    }

    /// Starts one of another build. Workers may be silent for long.
    pub async fn start_build(program: &Path, database: &TestDatabase) -> Self {
        let further = ["--listen", "127.0.0.1:0", "--offline-after", "1h"];
        let arguments = [&["serve", "--database-url", database.url()][..], &further].concat();
        Self::ready(Program::start_build(program, &arguments, &[]), database).await
    }

    /// Starts one with these variables in its environment.
    pub async fn start_in(variables: &[(&str, &str)], database: &TestDatabase, further: &[&str]) -> Self {
        Self::launch("127.0.0.1:0", database.url(), database, further, variables).await
    }

    /// Starts one that calls its database by another URL, with another user perhaps.
    pub async fn start_on(url: &str, database: &TestDatabase, further: &[&str]) -> Self {
        Self::launch("127.0.0.1:0", url, database, further, &[]).await
    }

    async fn launch(
        listen: &str,
        url: &str,
        database: &TestDatabase,
        further: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut arguments = vec!["serve", "--listen", listen, "--database-url", url];
        arguments.extend(further);
        Self::ready(Program::start_with(&arguments, variables), database).await
    }

    /// Waits until it listens.
    async fn ready(mut program: Program, database: &TestDatabase) -> Self {
        let ready = program.logged("the address it listens on", |line| line["listen.address"].is_string()).await;
        let address: SocketAddr = ready["listen.address"].as_str().unwrap().parse().unwrap();
        let revision = ready["cluster.revision"].as_u64().unwrap();
        Self { program, address, url: format!("http://{address}"), revision, http: http(), _database: database.clone() }
    }

    /// By which it is known in Consul.
    pub fn service_id(&self) -> String {
        let hostname = sysinfo::System::host_name().unwrap();
        format!("aetherium-server-{hostname}-{}-{}", self.address.ip(), self.address.port())
    }

    /// Waits until it knows of tokens that were made on its database.
    pub async fn asks_for_tokens(&self) {
        eventually("the server to ask for tokens", async || {
            (self.ask("/workers").await.0 == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
    }

    /// Waits until its health is `ok`: on SQLite it is `degraded` for as long as a question to the database takes more than
    /// a second.
    pub async fn is_well(&self) {
        eventually("the server to be well", async || (self.get("/health").await["status"] == "ok").then_some(())).await;
    }

    /// What is under this path of the API.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Status and body of what is under this path of the API.
    pub async fn ask(&self, path: &str) -> (StatusCode, Value) {
        let response = self.http.get(format!("{}/api/v1{path}", self.url)).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// What is under this path of the API, and the revision that it was read at.
    pub async fn read(&self, path: &str) -> (u64, Value) {
        let response = self.http.get(format!("{}/api/v1{path}", self.url)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let revision = response.headers()["x-revision"].to_str().unwrap().parse().unwrap();
        (revision, response.json().await.unwrap())
    }

    /// The data that a GraphQL query answers, at this revision or later.
    pub async fn query(&self, query: &str, variables: &Value, min_revision: u64) -> Value {
        let body = json!({"query": query, "variables": variables, "extensions": {"minRevision": min_revision}});
        let response = self.http.post(format!("{}/graphql", self.url)).json(&body).send().await.unwrap();
        let mut answer: Value = response.json().await.unwrap();
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].take()
    }

    /// The whole change log, page by page, as it is at this revision or later.
    pub async fn log(&self, min_revision: u64) -> Vec<Told> {
        let query = format!(
            "query ($after: Cursor) {{ events(first: 500, after: $after) {{ nodes {{ {TOLD} }} endCursor hasNextPage }} }}"
        );
        let (mut log, mut after) = (Vec::new(), Value::Null);
        loop {
            let mut page = self.query(&query, &json!({"after": after}), min_revision).await["events"].take();
            let nodes = page["nodes"].as_array_mut().unwrap();
            log.extend(nodes.drain(..).map(Told::from_json));
            after = page["endCursor"].take();
            if page["hasNextPage"] == json!(false) {
                return log;
            }
        }
    }

    /// Sends a body to a path of the API.
    pub async fn put(&self, path: &str, body: &Value) -> Value {
        let response = self.http.put(format!("{}/api/v1{path}", self.url)).json(body).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {response:?}");
        response.json().await.unwrap()
    }

    /// Status and body of the answer to a change: a body is sent if there is one.
    pub async fn change(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        let request = if let Some(body) = body { request.json(body) } else { request };
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Kills it and waits until it is dead.
    pub async fn kill(mut self) {
        self.program.kill();
        assert_eq!(self.program.exit().await.code, None);
    }

    /// Asks it to end, and expects that it does so in order.
    pub async fn stop(self) -> Exit {
        self.program.signal("TERM");
        let exit = self.program.exit().await;
        assert_eq!(exit.code, Some(0), "{}", exit.err);
        assert!(exit.err.lines().all(|line| line.starts_with('{')), "nothing but log lines: {}", exit.err);
        exit
    }
}

/// A client as a test needs it: no proxies and no certificates, whatever this machine has.
pub fn http() -> Client {
    // There already if another test was quicker.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}
