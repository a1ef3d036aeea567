//! The limit: axum with nothing behind it. It answers questions with constant bodies, and heartbeats with a reply like ours
//! without having done anything about them. It is a process of its own, as everybody else is: this program, started again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{any, post};
use axum::{Json, Router, extract};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::support::{Core, Program};

/// Given to this program, with a folder, it is the limit, and answers with what is in the folder's files.
pub const SERVE: &str = "--serve-limit";

/// Starts it.
pub async fn start(bodies: &Path) -> Result<Program> {
    let mut command = Core::Measured.command(std::env::current_exe()?);
    command.arg(SERVE).arg(bodies);
    Program::that_tells_its_address(command).await
}

/// Under which path the body of a file is.
pub fn path(name: &str) -> String {
    format!("/{name}")
}

/// What a heartbeat says.
#[derive(Deserialize)]
struct Beat {
    incarnation: u64,
    #[serde(rename = "used_cpu_cores")]
    _used_cpu_cores: u32,
    #[serde(rename = "used_memory_mb")]
    _used_memory_mb: u32,
    #[serde(rename = "used_disk_gb")]
    _used_disk_gb: u32,
}

/// What a heartbeat is answered.
#[derive(Serialize)]
struct Reply {
    worker_id: String,
    policy: &'static str,
    next_heartbeat_seconds: f64,
    revision: u64,
    resync: bool,
    set_aside: Vec<String>,
}

/// Serves until whoever started it closes its standard input.
pub fn serve(bodies: PathBuf) -> Result<()> {
    let mut router = Router::new().route("/api/v1/workers/{id}/heartbeat", post(heartbeat));
    for entry in fs::read_dir(bodies)? {
        let entry = entry?;
        let body = Bytes::from(fs::read(entry.path())?);
        let answer = any(async move || ([(CONTENT_TYPE, "application/json")], body));
        router = router.route(&path(&entry.file_name().to_string_lossy()), answer);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    runtime.spawn(axum::serve(listener, router).into_future());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

async fn heartbeat(extract::Path(worker_id): extract::Path<String>, Json(beat): Json<Beat>) -> Json<Reply> {
    Json(Reply {
        worker_id,
        policy: "active",
        next_heartbeat_seconds: 10.25,
        revision: beat.incarnation,
        resync: false,
        set_aside: Vec::new(),
    })
}
