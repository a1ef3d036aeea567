//! `consul-stub`: runs until its standard input ends, so that it does not outlive the test that started it.
//!
//! The one line on its standard output is an object: `consul` has the base URL of what it stands for, and `control` has
//! that of the routes of [`consul_stub::control`].

use std::io::{self, Write};
use std::sync::Arc;

use consul_stub::Stub;
use consul_stub::control::Control;
use serde_json::json;

#[tokio::main]
async fn main() -> io::Result<()> {
    let stub = Arc::new(Stub::start().await);
    let control = Control::of(Arc::clone(&stub)).await;
    writeln!(io::stdout(), "{}", json!({"consul": stub.url(), "control": control.url()}))?;
    // A thread that hangs in a read is no hindrance to the end of a process.
    let ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    ended.await.map_err(io::Error::other)?.map(drop)
}
