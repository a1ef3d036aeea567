//! The dataloader: batches the reads of the past that the objects of a list need. Everything else is in memory.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::{Timer, TokioSpawner};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

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
    /// A loader for one request. It caches nothing between requests, because the log grows.
    pub fn loader(resolvers: Resolvers, reading: Option<Reading>, caller: Caller) -> DataLoader<Self> {
        DataLoader::new(Self { resolvers, reading, caller }, TokioSpawner::current(), Yield)
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

/// Delays a batch by one turn of the scheduler, in which the other fields of the list add their keys. The runtime's own
/// timer would round any delay up to a whole millisecond.
struct Yield;

impl Timer for Yield {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        tokio::task::yield_now().boxed()
    }
}
