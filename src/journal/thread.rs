//! A thread for who must not wait behind others.

use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread with a runtime of its own, for as long as this is kept.
#[derive(Debug)]
pub(super) struct OwnThread {
    handle: Handle,
    _end: DropGuard,
}

impl OwnThread {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let ended = end.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(ended.cancelled()))?;
        Ok(Self { handle, _end: end.drop_guard() })
    }

    /// Runs a future there. A panic in it goes on here.
    pub(super) async fn run<F: Future<Output: Send> + Send + 'static>(&self, future: F) -> F::Output {
        match self.handle.spawn(future).await {
            Ok(output) => output,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}
