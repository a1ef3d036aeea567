//! The limit: axum with nothing behind it. It answers questions with constant bodies, and heartbeats with a reply like ours
//! without having done anything about them. It is a process of its own, as everybody else is: this program, started again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{any, post};
use axum::{Json, Router, extract};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

use crate::support::{Core, Program};

/// Given to this program, with a folder, it is the limit, and answers with what is in the folder's files.
pub const SERVE: &str = "--serve-limit";

/// Given besides, the limit has tokio's runtime for one thread, and not the usual one with one thread.
const ON_ONE_THREAD: &str = "on-one-thread";

/// Starts it as axum comes.
pub async fn start(bodies: &Path) -> Result<Program> {
    Program::that_tells_its_address(command(bodies)?).await
}

/// Starts it on the runtime for one thread, which ours has on one core.
pub async fn start_on_one_thread(bodies: &Path) -> Result<Program> {
    let mut command = command(bodies)?;
    command.arg(ON_ONE_THREAD);
    Program::that_tells_its_address(command).await
}

fn command(bodies: &Path) -> Result<Command> {
    let mut command = Core::Measured.command(std::env::current_exe()?);
    command.arg(SERVE).arg(bodies);
    Ok(command)
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
pub fn serve(bodies: PathBuf, more: &[String]) -> Result<()> {
    let mut router = Router::new().route("/api/v1/workers/{id}/heartbeat", post(heartbeat));
    for entry in fs::read_dir(bodies)? {
        let entry = entry?;
        let body = Bytes::from(fs::read(entry.path())?);
        let answer = any(async move || ([(CONTENT_TYPE, "application/json")], body));
        router = router.route(&path(&entry.file_name().to_string_lossy()), answer);
    }
    let mut runtime = if more.iter().any(|word| word == ON_ONE_THREAD) {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    runtime.spawn(axum::serve(listener, router).into_future());
    let _ = runtime.block_on(end);
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
