//! Queries about drains: that of one worker, those of all workers, and the history of each. Draining itself is an
//! operation on [workers](super::workers); streams of progress are in [`drain_watch`](super::drain_watch).

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::offload::steps;
use super::page::{Edge, FilteredList, ListById, Listing, Page, PageOrder, PageRequest};
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::cluster::{DrainFilter, DrainView, SortKey, WorkerView};
use crate::error::{Error, Result};
use crate::journal::Closed;

/// Most drains of a worker in one answer.
pub(crate) const MAX_DRAINS: u64 = 500;

/// The key of a data loader for the drains of workers: keys that differ in the worker only are loaded together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerDrainsKey {
    /// The worker.
    pub worker_id: Arc<str>,
    /// How many at most.
    pub limit: u64,
    /// Only those with a lower number.
    pub before: Option<u64>,
}

/// A part of a worker's drains.
#[derive(Clone, Debug)]
pub struct DrainHistory {
    /// The drains, the latest first.
    pub nodes: Vec<DrainView>,
    /// The number to go on before, if there are more.
    pub next: Option<u64>,
}

impl Reading {
    /// The drain of a worker that stands, or else its last one.
    pub fn last_drain(&self, worker_id: &str) -> Result<DrainView> {
        self.worker(worker_id)?.last_drain().ok_or_else(|| Error::NeverDrained(worker_id.to_owned()))
    }

    /// The steps of finding the drains that match.
    pub fn steps_to_list_drains(&self, filter: &DrainFilter, request: &PageRequest) -> u64 {
        let snapshot = &self.view.snapshot;
        let rows = if filter.is_for_standing() { snapshot.draining_count() } else { snapshot.worker_count() };
        // Of those on the page, each VM of the worker may be a blocker.
        let vms = request.most_rows(rows).saturating_mul(snapshot.vm_count().div_ceil(snapshot.worker_count().max(1)));
        steps(rows, filter.workers.entries() + 1).saturating_add(steps(vms, 0))
    }

    /// The last drains of workers, as far as they match, by the ids of the workers: all of them, or the page that is
    /// asked for.
    pub fn listing_of_drains(&self, filter: &DrainFilter, request: &PageRequest) -> Result<Listing<DrainView>> {
        if !request.is_for_all() {
            return Ok(self.page_of_drains(filter, request)?.into());
        }
        let list = FilteredList { view: &self.view, filter };
        let drains = list.range(Bound::Unbounded, Bound::Unbounded).collect();
        Listing::of(drains, edge, PageOrder::BY_ID, request, &self.view.snapshot)
    }

    /// One page of the last drains of workers, as far as they match, by the ids of the workers.
    pub fn page_of_drains(&self, filter: &DrainFilter, request: &PageRequest) -> Result<Page<DrainView>> {
        Page::by_id(&FilteredList { view: &self.view, filter }, false, request)
    }
}

impl ListById for FilteredList<'_, DrainFilter> {
    type Node = DrainView;

    fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = DrainView> + 'a {
        let workers: Box<dyn DoubleEndedIterator<Item = _> + 'a> = match self.filter.is_for_standing() {
            true => Box::new(self.view.workers_among(self.view.snapshot.draining_ids(), lower, upper)),
            false => Box::new(self.view.workers_in(lower, upper)),
        };
        workers.filter_map(|worker| worker.last_drain()).filter(|drain| self.filter.matches(drain))
    }

    fn total(&self) -> usize {
        self.range(Bound::Unbounded, Bound::Unbounded).count()
    }

    fn edge(&self, drain: DrainView) -> Edge<DrainView> {
        edge(drain)
    }
}

fn edge(drain: DrainView) -> Edge<DrainView> {
    let id = drain.worker_id().shared();
    Edge::new(SortKey::Id(id.clone()), id, 0, drain)
}

impl Resolvers {
    /// The drains of a worker, the latest first, before a number.
    pub async fn drain_history(
        &self,
        caller: &Caller,
        reading: &Reading,
        worker_id: &str,
        limit: u64,
        before: Option<u64>,
    ) -> Result<DrainHistory> {
        let worker = reading.worker(worker_id)?;
        let key = WorkerDrainsKey { worker_id: worker.worker.id.shared(), limit: limit + 1, before };
        let mut nodes = self
            .load_worker_drains(caller, reading, std::slice::from_ref(&key))
            .await?
            .remove(&key)
            .unwrap_or_default();
        let length = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_next = nodes.len() > length;
        nodes.truncate(length);
        let next = nodes.last().filter(|_| has_next).map(|drain| drain.drain.number.into());
        Ok(DrainHistory { nodes, next: next.or(before.filter(|_| has_next)) })
    }

    /// The drains of workers, the latest first: one statement for all keys that differ in the worker only.
    pub async fn load_worker_drains(
        &self,
        caller: &Caller,
        reading: &Reading,
        keys: &[WorkerDrainsKey],
    ) -> Result<HashMap<WorkerDrainsKey, Vec<DrainView>>> {
        let _ = self.authorize(caller, Action::Read)?;
        let mut questions = HashMap::<(u64, Option<u64>), Vec<Arc<str>>>::new();
        for key in keys {
            questions.entry((key.limit, key.before)).or_default().push(key.worker_id.clone());
        }
        let mut answers = HashMap::with_capacity(keys.len());
        for ((limit, before), workers) in questions {
            // The database may be ahead of the reading: drains that began after it are not read, so that they take no place
            // of those that are asked for.
            let last = |worker: &WorkerView| worker.worker.drain.as_ref().map(|drain| u64::from(drain.number));
            let up_to = |id: &Arc<str>| {
                let last = reading.find_worker(id).as_ref().and_then(last)?;
                Some((id.clone(), before.unwrap_or(u64::MAX).min(last + 1)))
            };
            let bounded: Vec<_> = workers.iter().filter_map(up_to).collect();
            let found = self.journal.for_server().latest_drains(&bounded, limit).await;
            let mut found = found.inspect_err(|error| {
                warn!(error = %error.chain(), "The history of drains cannot be read");
            })?;
            for worker_id in workers {
                let mut drains = Vec::new();
                if let Some(worker) = reading.find_worker(&worker_id) {
                    let last = worker.worker.drain.clone();
                    for drain in found.remove(&worker_id).unwrap_or_default() {
                        // The last one is shown as it is in the reading, which the database may be ahead of.
                        let drain = match &last {
                            Some(last) if last.number == drain.number => last.clone(),
                            Some(_) | None => drain,
                        };
                        drains.push(DrainView { drain, worker: worker.clone() });
                    }
                }
                answers.insert(WorkerDrainsKey { worker_id, limit, before }, drains);
            }
        }
        Ok(answers)
    }

    /// Waits until the drain of a worker is as wanted, at most for `wait`, and reads the cluster then. It wakes when
    /// something is committed of this worker, or when silence or a deadline changes what is shown.
    pub async fn read_when_drain(
        &self,
        caller: &Caller,
        worker_id: &str,
        wait: Duration,
        is_as_wanted: impl Fn(&DrainView) -> bool,
    ) -> Result<Reading> {
        let reached = async {
            tokio::select! {
                biased;
                why = self.denied_later(caller.principal()) => Err(why),
                reached = self.drain_reached(worker_id, is_as_wanted) => reached,
            }
        };
        // When the time is over, the answer is the drain as it is.
        if let Ok(reached) = timeout(wait, reached).await {
            reached?;
        }
        self.read(caller)
    }

    async fn drain_reached(&self, worker_id: &str, is_as_wanted: impl Fn(&DrainView) -> bool) -> Result<()> {
        // The feed is subscribed before the state is read: what is committed in between comes by the feed.
        let mut feed = self.journal.for_server().subscribe();
        loop {
            if is_as_wanted(&self.present().last_drain(worker_id)?) {
                return Ok(());
            }
            let no_silence_during = self.no_silence_during();
            loop {
                tokio::select! {
                    heard = feed.recv() => match heard {
                        Ok(Ok(change)) => {
                            let is_about = change.workers.iter().any(|id| id.as_str() == worker_id);
                            if is_about || change.removed > 0 || change.starts_over {
                                break;
                            }
                        }
                        Ok(Err(_)) => break,
                        Err(Closed) => return Ok(()),
                    },
                    () = self.clock.left(no_silence_during.clone()) => break,
                }
            }
        }
    }
}

/// The size of a page of a worker's drains, in the parameter that the protocol calls `field`.
pub fn drain_limit(field: &'static str, number: i64) -> Result<u64> {
    match u64::try_from(number) {
        Ok(limit) if limit <= MAX_DRAINS => Ok(limit),
        _ => Err(Error::invalid(field, format!("must be from 0 to {MAX_DRAINS}, not {number}"))),
    }
}

/// The number of a drain, in the parameter that the protocol calls `field`.
pub fn drain_number(field: &'static str, number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Error::invalid(field, format!("must be the number of a drain, not {number}")))
}
