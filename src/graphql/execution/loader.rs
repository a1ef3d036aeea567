//! Loads what is not in memory, for many objects of a list at once.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use async_graphql::runtime::{Timer, TokioSpawner};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::error::Error;
use crate::resolvers::{EventView, Reading, Resolvers, WorkerEventsKey};

/// Loads the events of workers: one statement for a whole list of them.
pub struct WorkerEvents {
    resolvers: Resolvers,
    /// What events are shown with; none takes the present each time, as commands need.
    reading: Option<Reading>,
}

impl WorkerEvents {
    /// A loader for one request. It keeps nothing: the next request may know more.
    pub fn loader(resolvers: Resolvers, reading: Option<Reading>) -> DataLoader<Self> {
        DataLoader::new(Self { resolvers, reading }, TokioSpawner::current(), Yield)
    }
}

impl Loader<WorkerEventsKey> for WorkerEvents {
    type Value = Vec<EventView>;
    type Error = Error;

    async fn load(&self, keys: &[WorkerEventsKey]) -> Result<HashMap<WorkerEventsKey, Self::Value>, Error> {
        let reading = self.reading.clone().unwrap_or_else(|| self.resolvers.read());
        self.resolvers.load_worker_events(&reading, keys).await
    }
}

/// Waits for the other fields of a list to ask too, by letting them run; the timer that comes with
/// the runtime would round any wait up to a whole millisecond.
struct Yield;

impl Timer for Yield {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        tokio::task::yield_now().boxed()
    }
}
