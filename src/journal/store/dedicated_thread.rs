//! A thread with a runtime of its own, for a task that must not wait in line behind others.

use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The thread, which ends when this is dropped.
#[derive(Debug)]
pub struct DedicatedThread {
    handle: Handle,
    _end: DropGuard,
}

impl DedicatedThread {
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let ended = end.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(ended.cancelled()))?;
        Ok(Self { handle, _end: end.drop_guard() })
    }

    /// Runs a future on the thread. A panic in it is resumed here.
    pub async fn run<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> F::Output {
        match self.handle.spawn(future).await {
            Ok(output) => output,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}
