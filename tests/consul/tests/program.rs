//! The stub as strangers meet it: a process, ports, and a client that knows nothing of it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic with its place is the report that is wanted")]

use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_says_where_it_listens_and_ends_with_whoever_started_it() {
    let mut program = Program::start().await;
    let leader = program.http.get(format!("{}/v1/status/leader", program.consul)).send().await.unwrap();
    assert_eq!(leader.json::<Value>().await.unwrap(), json!("127.0.0.1:8300"));
    drop(program.child.stdin.take());
    let status = timeout(PATIENCE, program.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn it_is_away_until_it_is_back_at_the_same_address_with_what_it_knew() {
    let program = Program::start().await;
    let web = json!({"Name": "web", "Check": {"TTL": "1h", "Status": "passing"}});
    let register = program.http.put(format!("{}/v1/agent/service/register", program.consul)).json(&web);
    assert_eq!(register.send().await.unwrap().status(), StatusCode::OK);
    let watch = format!("{}/v1/health/service/web?index=999999&wait=10m", program.consul);
    let watching = tokio::spawn(program.http.get(watch).send());

    // One that waits is cut off, and nobody is let in.
    program.control("away", &Value::Null).await;
    assert!(timeout(PATIENCE, watching).await.unwrap().unwrap().is_err());
    let services = || program.http.get(format!("{}/v1/catalog/services", program.consul)).send();
    assert!(services().await.unwrap_err().is_connect());
    program.control("back", &Value::Null).await;
    assert_eq!(services().await.unwrap().json::<Value>().await.unwrap(), json!({"web": []}));
    program.control("forget", &Value::Null).await;
    assert_eq!(services().await.unwrap().json::<Value>().await.unwrap(), json!({}));

    for (mode, status) in [("fail", StatusCode::INTERNAL_SERVER_ERROR), ("refuse", StatusCode::FORBIDDEN)] {
        program.control("mode", &json!(mode)).await;
        assert_eq!(services().await.unwrap().status(), status);
    }
    program.control("mode", &json!("hang")).await;
    let hanging = tokio::spawn(services());
    program.control("mode", &json!("answer")).await;
    assert_eq!(timeout(PATIENCE, hanging).await.unwrap().unwrap().unwrap().status(), StatusCode::OK);
}

/// The program; it does not outlive the test.
struct Program {
    child: Child,
    consul: String,
    control: String,
    http: Client,
}

impl Program {
    async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_consul-stub"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = |key: &str| said[key].as_str().unwrap().to_owned();
        // There already if another test was quicker.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { child, consul: url("consul"), control: url("control"), http }
    }

    async fn control(&self, what: &str, body: &Value) {
        let response = self.http.put(format!("{}/{what}", self.control)).json(body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{what}");
    }
}
