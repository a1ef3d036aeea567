//! The dataloader: batches the reads of the past that the objects of a list need. Everything else is in memory.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::{Timer, TokioSpawner};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::auth::Caller;
use crate::cluster::DrainView;
use crate::error::Error;
use crate::history::Curves;
use crate::resolvers::drains::WorkerDrainsKey;
use crate::resolvers::history::CurvesKey;
use crate::resolvers::{EventView, EventsKey, Reading, Resolvers};

/// Loads the events of workers and VMs, the drains of workers, and curves: one statement for all workers or VMs of a list.
pub struct HistoryLoader {
    resolvers: Resolvers,
    /// The reading that events are shown with. None for a mutation: each batch then takes the present, which is newer
    /// than what the request began with.
    reading: Option<Reading>,
    /// Who asks: whoever sends a mutation may not read the change log for that.
    caller: Caller,
}

impl HistoryLoader {
    /// A loader for one request. It caches nothing between requests, because the log grows. The request has to be executed by
    /// [`BatchGate::run`] of the gate.
    pub fn loader(resolvers: Resolvers, reading: Option<Reading>, caller: Caller, gate: BatchGate) -> DataLoader<Self> {
        DataLoader::new(Self { resolvers, reading, caller }, TokioSpawner::current(), gate)
    }
}

impl Loader<EventsKey> for HistoryLoader {
    type Value = Vec<EventView>;
    type Error = Error;

    async fn load(&self, keys: &[EventsKey]) -> Result<HashMap<EventsKey, Self::Value>, Error> {
        let reading = self.reading.clone().unwrap_or_else(|| self.resolvers.present());
        self.resolvers.load_events(&self.caller, &reading, keys).await
    }
}

impl Loader<WorkerDrainsKey> for HistoryLoader {
    type Value = Vec<DrainView>;
    type Error = Error;

    async fn load(&self, keys: &[WorkerDrainsKey]) -> Result<HashMap<WorkerDrainsKey, Self::Value>, Error> {
        let reading = self.reading.clone().unwrap_or_else(|| self.resolvers.present());
        self.resolvers.load_worker_drains(&self.caller, &reading, keys).await
    }
}

impl Loader<CurvesKey> for HistoryLoader {
    type Value = Curves;
    type Error = Error;

    async fn load(&self, keys: &[CurvesKey]) -> Result<HashMap<CurvesKey, Self::Value>, Error> {
        self.resolvers.load_curves(&self.caller, keys).await
    }
}

/// Delays a batch while its request is being polled: a poll goes on until all fields of a list have added their keys and wait.
/// A delay by time, or by turns of the scheduler, would split lists, since a batch is a task of its own, which another
/// thread may run beside the request.
#[derive(Clone, Debug)]
pub struct BatchGate {
    is_polled: Arc<watch::Sender<bool>>,
}

impl Default for BatchGate {
    fn default() -> Self {
        Self { is_polled: Arc::new(watch::Sender::new(false)) }
    }
}

impl BatchGate {
    /// Executes a request, whose batches begin between its polls.
    pub async fn run<T>(&self, execution: impl Future<Output = T>) -> T {
        let mut execution = pin!(execution);
        poll_fn(|context| {
            let _polled = Polled::begin(&self.is_polled);
            execution.as_mut().poll(context)
        })
        .await
    }
}

impl Timer for BatchGate {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        let mut is_polled = self.is_polled.subscribe();
        // Without a sender the request is gone, and nobody adds keys any more.
        async move { _ = is_polled.wait_for(|is_polled| !is_polled).await }.boxed()
    }
}

/// A poll of a request, which ends even if it panics.
struct Polled<'a>(&'a watch::Sender<bool>);

impl<'a> Polled<'a> {
    fn begin(is_polled: &'a watch::Sender<bool>) -> Self {
        is_polled.send_replace(true);
        Self(is_polled)
    }
}

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn a_batch_waits_for_the_end_of_a_poll() {
        let gate = BatchGate::default();
        let mut batch = gate.delay(Duration::ZERO);
        let mut execution = Box::pin(gate.run(async {
            assert!(poll!(&mut batch).is_pending());
            yield_now().await;
            assert!(poll!(&mut batch).is_pending(), "polled again");
        }));
        assert!(poll!(&mut execution).is_pending());
        gate.delay(Duration::ZERO).await;
        execution.await;
        batch.await;
    }
}
