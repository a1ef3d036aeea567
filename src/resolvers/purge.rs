//! The purge of many workers: those that a filter matches, as many in one request as one commit takes.
//!
//! The workers are found on a snapshot, away from the writer; the journal compares each with the filter again when it
//! [commits](crate::journal::commands::PurgeWorkers). One worker is purged by its
//! [deregistration](super::Deregistration).

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::checks;
use super::idempotent_request::{IdempotentReply, IdempotentRequest};
use super::offload::steps;
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::cluster::{Cursor, PurgeFilter, View, WorkerFilter};
use crate::error::{Error, Result};
use crate::journal::Committed;
pub use crate::journal::commands::{PurgeRefusalReason, PurgedWorker, RefusedPurge};
use crate::journal::commands::{PurgeWorkers, WorkersPurged, purge_refusal};

/// Most workers that one request purges.
pub(crate) const MAX_PURGED: usize = 1_000;

/// How many workers that cannot be purged an answer names. All are counted.
pub(crate) const MAX_NAMED_REFUSALS: usize = 100;

/// The longest silence that can be asked for.
pub(crate) const MAX_OFFLINE_FOR: Duration = Duration::from_secs(87_600 * 60 * 60);

/// A purge, as asked for.
#[derive(Clone, Debug, Default)]
pub struct PurgeInput {
    /// Workers that match this.
    pub filter: Option<WorkerFilter>,
    /// Workers that are offline and were not heard from for so long, as Go writes durations.
    pub offline_for: Option<String>,
    /// All workers, which has to be said, because a filter that is missing may be a mistake.
    pub all: bool,
    /// Only tells which workers would go.
    pub dry_run: bool,
    /// Also workers on which VMs hold slots.
    pub force: bool,
}

impl PurgeInput {
    fn check(self) -> Result<CheckedPurge> {
        let Self { filter, offline_for, all, dry_run, force } = self;
        let offline_for =
            offline_for.map(|text| checks::duration("offline_for", &text, MAX_OFFLINE_FOR)).transpose()?;
        let filter = PurgeFilter { workers: filter.unwrap_or_default(), offline_for };
        checks::conditions(all, filter.is_for_all())?;
        Ok(CheckedPurge { filter, dry_run, force })
    }
}

struct CheckedPurge {
    filter: PurgeFilter,
    dry_run: bool,
    force: bool,
}

/// What became of the workers that match, or would.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Whether nothing was changed, because only that was asked for.
    pub dry_run: bool,
    /// The workers that were purged, or would be, by id.
    pub purged: Vec<PurgedWorker>,
    /// Those that cannot be, by id, as far as they are named.
    pub refused: Vec<RefusedPurge>,
    /// How many cannot be.
    pub total_refused: usize,
    /// How many more could be purged by the same request, sent again.
    pub remaining: usize,
    /// Where the change log is after this.
    pub cursor: Cursor,
}

impl RefusedPurge {
    /// Why, in a sentence.
    pub fn message(&self) -> String {
        let id = self.worker_id.to_string();
        match self.reason {
            PurgeRefusalReason::HoldsVms => Error::HoldsVms { id, vms: self.vms }.to_string(),
            PurgeRefusalReason::Changed => format!("Worker {id} has changed, and does not match any more"),
        }
    }
}

/// The workers that match, on one snapshot.
#[derive(Clone, Debug, Default)]
struct Plan {
    /// What one commit takes.
    next: Vec<PurgedWorker>,
    refused: Vec<RefusedPurge>,
    total_refused: usize,
    remaining: usize,
}

impl Plan {
    fn of(reading: &Reading, filter: &PurgeFilter, force: bool) -> Self {
        let mut plan = Self::default();
        let mut free = Vec::new();
        for worker in reading.list_workers(&filter.workers).into_iter().filter(|worker| filter.matches(worker)) {
            match purge_refusal(&worker, filter, force) {
                None => free.push(worker),
                Some(refused) => {
                    plan.total_refused += 1;
                    if plan.refused.len() < MAX_NAMED_REFUSALS {
                        plan.refused.push(refused);
                    }
                }
            }
        }
        let ids = free.iter().map(|worker| &worker.worker.id);
        let next = PurgeWorkers::as_many_as_fit(&reading.view.snapshot, ids, MAX_PURGED).len();
        plan.remaining = free.len() - next;
        plan.next = free
            .iter()
            .take(next)
            .map(|worker| PurgedWorker {
                worker_id: worker.worker.id.clone(),
                removed_vms: worker.worker.usage.vms.iter().map(|vm| vm.id.clone()).collect(),
            })
            .collect();
        plan
    }

    fn command(&self, filter: PurgeFilter, force: bool, offline_after: Duration) -> PurgeWorkers {
        let worker_ids = self.next.iter().map(|worker| worker.worker_id.clone()).collect();
        PurgeWorkers { worker_ids, filter, force, offline_after }
    }

    /// The answer, if this became of the workers that were next.
    fn carried_out(self, reply: &WorkersPurged, cursor: Cursor) -> Purge {
        let Self { mut refused, total_refused, remaining, .. } = self;
        let total_refused = total_refused + reply.refused.len();
        refused.extend(reply.refused.iter().cloned());
        refused.sort_by(|one, other| one.worker_id.cmp(&other.worker_id));
        refused.truncate(MAX_NAMED_REFUSALS);
        Purge { dry_run: false, purged: reply.purged.clone(), refused, total_refused, remaining, cursor }
    }

    /// The answer, if nothing is done.
    fn told(self, cursor: Cursor) -> Purge {
        let Self { next, refused, total_refused, remaining } = self;
        Purge { dry_run: true, purged: next, refused, total_refused, remaining, cursor }
    }
}

impl Resolvers {
    /// Purges the workers that match, or tells which would go.
    pub async fn purge_workers(&self, caller: &Caller, input: PurgeInput) -> Result<Purge> {
        let permit = self.authorize(caller, Action::Purge)?;
        let CheckedPurge { filter, dry_run, force } = input.check()?;
        let (plan, reading) = self.plan_purge(caller, &filter, force).await;
        if dry_run {
            return Ok(plan.told(reading.view.snapshot.cursor()));
        }
        if plan.next.is_empty() {
            return Ok(plan.carried_out(&WorkersPurged::default(), reading.view.snapshot.cursor()));
        }
        let command = plan.command(filter, force, self.timing.offline_after);
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        log_purged(&reply);
        Ok(plan.carried_out(&reply, snapshot.cursor()))
    }

    /// The same, once for its idempotency key. A key of a dry run, which changes nothing, is not recorded.
    pub async fn purge_workers_idempotent(
        &self,
        caller: &Caller,
        input: PurgeInput,
        request: IdempotentRequest<Purge>,
    ) -> Result<IdempotentReply> {
        let permit = self.authorize(caller, Action::Purge)?;
        let CheckedPurge { filter, dry_run, force } = input.check()?;
        let (plan, reading) = self.plan_purge(caller, &filter, force).await;
        if dry_run {
            let answer = (request.render)(plan.told(reading.view.snapshot.cursor()));
            return Ok(IdempotentReply { answer, is_replay: false });
        }
        // Also if no worker is to go: the same request again is then answered as this one, although some may match later.
        let command = plan.command(filter, force, self.timing.offline_after);
        let show =
            move |reply: &WorkersPurged, view: Arc<View>| plan.clone().carried_out(reply, view.snapshot.cursor());
        let (answered, reply) = self.commit_idempotent(permit, caller, command, request, show).await?;
        reply.iter().for_each(log_purged);
        Ok(answered)
    }

    async fn plan_purge(&self, caller: &Caller, filter: &PurgeFilter, force: bool) -> (Plan, Reading) {
        let reading = self.present();
        let rows = filter.workers.ids.as_ref().map_or_else(|| reading.view.snapshot.worker_count(), Vec::len);
        let steps = steps(rows, filter.workers.entries() + 1);
        self.spend_more(caller, steps);
        let filter = filter.clone();
        let plan = move || (Plan::of(&reading, &filter, force), reading);
        self.offload().run(steps, plan).await
    }
}

fn log_purged(reply: &WorkersPurged) {
    for PurgedWorker { worker_id: id, .. } in &reply.purged {
        info!(worker.id = %id, "Worker {id} was removed");
    }
}
