//! Draining and activating many workers at once: those that a filter matches, in one commit; and the question where their
//! VMs could go.
//!
//! What a command changes, and whether it is refused because the rest of the cluster cannot hold what has to move, is
//! decided by the [`journal`](crate::journal) on the latest state. A dry run, and the question, are answered from a
//! snapshot by the same rules. One worker is drained by [`workers`](super::workers).

use std::collections::HashSet;
use std::sync::Arc;

use super::checks::{self, Whole};
use super::drain_input::DrainInput;
use super::idempotent_request::{IdempotentReply, IdempotentRequest};
use super::offload::steps;
use super::page::MAX_SIZE;
use super::placement::DEFAULT_LISTED;
use super::workers::{PolicyChanged, log_policies};
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::cluster::{Cursor, DrainRequest, EvacuationPlan, Snapshot, View, Worker, WorkerFilter, WorkerView};
use crate::error::Result;
use crate::journal::Committed;
use crate::journal::commands::{ActivateWorkers, DrainWorkers, PolicySet, WorkersDrained, check_count};

/// A drain of many workers, as asked for.
#[derive(Clone, Debug, Default)]
pub struct DrainWorkersInput {
    /// Workers that match this.
    pub filter: Option<WorkerFilter>,
    /// All workers, which has to be said, because a filter that is missing may be a mistake.
    pub all: bool,
    /// What is said of their drains.
    pub drain: DrainInput,
    /// Only tells which workers would be drained, and where their VMs could go.
    pub dry_run: bool,
    /// Also if no place is found for VMs on them.
    pub allow_shortfall: bool,
    /// How many VMs each list of the plan has at most.
    pub limit: Option<Whole>,
}

/// An activation of many workers, as asked for.
#[derive(Clone, Debug, Default)]
pub struct ActivateWorkersInput {
    /// Workers that match this.
    pub filter: Option<WorkerFilter>,
    /// All workers, which has to be said.
    pub all: bool,
    /// Why.
    pub reason: Option<String>,
    /// Only tells which workers would be activated.
    pub dry_run: bool,
}

/// Workers that are draining, or would be.
#[derive(Clone, Debug)]
pub struct DrainOfWorkers {
    /// Which workers, and which of them were not draining before.
    pub change: ChangeOfWorkers,
    /// Where their VMs could go.
    pub plan: EvacuationPlan,
}

/// Workers whose policy is as wanted, or would be.
#[derive(Clone, Debug)]
pub struct ChangeOfWorkers {
    /// Whether nothing was changed, because only that was asked for.
    pub dry_run: bool,
    /// The workers, by id: as they are after it, or as they are now if it was only asked for.
    pub workers: Vec<PolicyChanged>,
    /// The revision after it.
    pub revision: u64,
    /// Where the change log is after it.
    pub cursor: Cursor,
}

impl ChangeOfWorkers {
    /// How many workers had another policy before.
    pub fn total_changed(&self) -> usize {
        self.workers.iter().filter(|worker| worker.changed).count()
    }

    fn carried_out(sets: &[PolicySet], view: &Arc<View>) -> Self {
        let changed = |set: &PolicySet| PolicyChanged {
            worker: WorkerView { worker: set.worker.clone(), view: view.clone() },
            changed: set.changed,
        };
        Self { workers: sets.iter().map(changed).collect(), ..Self::of(false, view) }
    }

    fn told(chosen: &Chosen, is_changed: impl Fn(&WorkerView) -> bool) -> Self {
        let changed = |worker: &WorkerView| PolicyChanged { changed: is_changed(worker), worker: worker.clone() };
        Self { workers: chosen.workers.iter().map(changed).collect(), ..Self::of(true, chosen.reading.view()) }
    }

    fn of(dry_run: bool, view: &View) -> Self {
        let snapshot = &view.snapshot;
        Self { dry_run, workers: Vec::new(), revision: snapshot.revision, cursor: snapshot.cursor() }
    }
}

/// The workers that match, on one snapshot.
struct Chosen {
    reading: Reading,
    workers: Vec<WorkerView>,
    /// How many workers and VMs are looked at for a plan; 0 if none is made.
    looks: usize,
}

impl Chosen {
    fn plan(&self, listed: usize) -> EvacuationPlan {
        let ids: HashSet<_> = self.workers.iter().map(|worker| &worker.worker.id).collect();
        EvacuationPlan::of_view(self.reading.view(), &ids, listed)
    }

    /// The steps of making a plan.
    fn steps_to_plan(&self) -> u64 {
        steps(self.looks, 1)
    }
}

/// A drain whose input was checked.
struct CheckedDrain {
    filter: WorkerFilter,
    request: DrainRequest,
    dry_run: bool,
    allow_shortfall: bool,
    listed: usize,
}

impl DrainWorkersInput {
    fn check(self) -> Result<CheckedDrain> {
        let Self { filter, all, drain, dry_run, allow_shortfall, limit } = self;
        let filter = filter.unwrap_or_default();
        checks::conditions(all, filter.is_for_all())?;
        Ok(CheckedDrain { filter, request: drain.check()?, dry_run, allow_shortfall, listed: listed(limit)? })
    }
}

impl CheckedDrain {
    fn command(self, chosen: &Chosen, resolvers: &Resolvers) -> DrainWorkers {
        let Self { filter, request, dry_run: _, allow_shortfall, listed } = self;
        let (expected, looks) = (chosen.workers.len(), chosen.looks);
        let offline_after = resolvers.timing.offline_after;
        DrainWorkers { filter, request, allow_shortfall, listed, expected, looks, offline_after }
    }
}

impl Resolvers {
    /// Drains the workers that match, all of them or none, or tells what that would do.
    pub async fn drain_workers(&self, caller: &Caller, input: DrainWorkersInput) -> Result<DrainOfWorkers> {
        let permit = self.authorize(caller, Action::SetSchedulingPolicy)?;
        let checked = input.check()?;
        let chosen = self.choose(caller, self.present(), &checked.filter, Some(checked.listed)).await?;
        if checked.dry_run {
            return self.told_drain(caller, chosen, &checked).await;
        }
        self.spend_more(caller, chosen.steps_to_plan());
        let command = checked.command(&chosen, self);
        let reason = command.request.reason.clone();
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        log_policies(&reply.workers, reason.as_deref());
        let change = ChangeOfWorkers::carried_out(&reply.workers, self.reading(snapshot).view());
        Ok(DrainOfWorkers { change, plan: reply.plan })
    }

    /// The same, once for its idempotency key. A key of a dry run, which changes nothing, is not recorded.
    pub async fn drain_workers_idempotent(
        &self,
        caller: &Caller,
        input: DrainWorkersInput,
        request: IdempotentRequest<DrainOfWorkers>,
    ) -> Result<IdempotentReply> {
        let permit = self.authorize(caller, Action::SetSchedulingPolicy)?;
        let checked = input.check()?;
        let chosen = self.choose(caller, self.present(), &checked.filter, Some(checked.listed)).await?;
        if checked.dry_run {
            let told = self.told_drain(caller, chosen, &checked).await?;
            return Ok(IdempotentReply { answer: (request.render)(told), is_replay: false });
        }
        self.spend_more(caller, chosen.steps_to_plan());
        let command = checked.command(&chosen, self);
        let reason = command.request.reason.clone();
        let show = |reply: &WorkersDrained, view: Arc<View>| DrainOfWorkers {
            change: ChangeOfWorkers::carried_out(&reply.workers, &view),
            plan: reply.plan.clone(),
        };
        let (answered, reply) = self.commit_idempotent(permit, caller, command, request, show).await?;
        reply.iter().for_each(|reply| log_policies(&reply.workers, reason.as_deref()));
        Ok(answered)
    }

    /// Activates the workers that match, or tells which that would be.
    pub async fn activate_workers(&self, caller: &Caller, input: ActivateWorkersInput) -> Result<ChangeOfWorkers> {
        let permit = self.authorize(caller, Action::SetSchedulingPolicy)?;
        let (chosen, command, dry_run) = self.activation(caller, input).await?;
        if dry_run {
            return Ok(told_activation(&chosen));
        }
        let reason = command.reason.clone();
        let Committed { reply, snapshot } = self.journal.with(permit).commit_for(command, caller).await?;
        log_policies(&reply, reason.as_deref());
        Ok(ChangeOfWorkers::carried_out(&reply, self.reading(snapshot).view()))
    }

    /// The same, once for its idempotency key. A key of a dry run is not recorded.
    pub async fn activate_workers_idempotent(
        &self,
        caller: &Caller,
        input: ActivateWorkersInput,
        request: IdempotentRequest<ChangeOfWorkers>,
    ) -> Result<IdempotentReply> {
        let permit = self.authorize(caller, Action::SetSchedulingPolicy)?;
        let (chosen, command, dry_run) = self.activation(caller, input).await?;
        if dry_run {
            let answer = (request.render)(told_activation(&chosen));
            return Ok(IdempotentReply { answer, is_replay: false });
        }
        let reason = command.reason.clone();
        let show = |reply: &Vec<PolicySet>, view: Arc<View>| ChangeOfWorkers::carried_out(reply, &view);
        let (answered, reply) = self.commit_idempotent(permit, caller, command, request, show).await?;
        reply.iter().for_each(|sets| log_policies(sets, reason.as_deref()));
        Ok(answered)
    }

    /// Where the VMs of the workers that match could go.
    pub async fn evacuation_plan(
        &self,
        caller: &Caller,
        reading: Reading,
        filter: WorkerFilter,
        limit: Option<Whole>,
    ) -> Result<EvacuationPlan> {
        let listed = listed(limit)?;
        let chosen = self.choose(caller, reading, &filter, Some(listed)).await?;
        Ok(self.plan(caller, chosen, listed).await.1)
    }

    async fn activation(
        &self,
        caller: &Caller,
        input: ActivateWorkersInput,
    ) -> Result<(Chosen, ActivateWorkers, bool)> {
        let ActivateWorkersInput { filter, all, reason, dry_run } = input;
        let filter = filter.unwrap_or_default();
        checks::conditions(all, filter.is_for_all())?;
        let reason = checks::reason(reason)?;
        let chosen = self.choose(caller, self.present(), &filter, None).await?;
        let (expected, offline_after) = (chosen.workers.len(), self.timing.offline_after);
        Ok((chosen, ActivateWorkers { filter, reason, expected, offline_after }, dry_run))
    }

    async fn told_drain(&self, caller: &Caller, chosen: Chosen, checked: &CheckedDrain) -> Result<DrainOfWorkers> {
        let (chosen, plan) = self.plan(caller, chosen, checked.listed).await;
        let begins = |worker: &WorkerView| worker.worker.standing_drain().is_none();
        let change = ChangeOfWorkers::told(&chosen, begins);
        DrainWorkers::check_room(change.total_changed() > 0, &plan, checked.allow_shortfall)?;
        Ok(DrainOfWorkers { change, plan })
    }

    async fn plan(&self, caller: &Caller, chosen: Chosen, listed: usize) -> (Chosen, EvacuationPlan) {
        let steps = chosen.steps_to_plan();
        self.spend_more(caller, steps);
        let plan = move || {
            let plan = chosen.plan(listed);
            (chosen, plan)
        };
        self.offload().run(steps, plan).await
    }

    /// The workers that match, and what a plan with so many VMs in each list takes, if one is made.
    async fn choose(
        &self,
        caller: &Caller,
        reading: Reading,
        filter: &WorkerFilter,
        listed: Option<usize>,
    ) -> Result<Chosen> {
        let snapshot = &reading.view().snapshot;
        let rows = filter.ids.as_ref().map_or_else(|| snapshot.worker_count(), Vec::len);
        let vms = listed.map_or(0, |_| vms_to_look_at(snapshot, filter));
        let steps = steps(rows, filter.entries() + 1).saturating_add(vms as u64);
        self.spend_more(caller, steps);
        let filter = filter.clone();
        let choose = move || {
            let workers = reading.list_workers(&filter);
            let looks = listed.map_or(0, |listed| looks_of_plan(&reading.view().snapshot, &workers, listed));
            Chosen { looks, workers, reading }
        };
        let chosen = self.offload().run(steps, choose).await;
        check_count(chosen.workers.len())?;
        Ok(chosen)
    }
}

/// How many VMs are on workers that may be chosen, and on those that drain.
fn vms_to_look_at(snapshot: &Snapshot, filter: &WorkerFilter) -> usize {
    let count = |worker: &Arc<Worker>| worker.usage.vms.count_slot_holders();
    match &filter.ids {
        Some(ids) => {
            let named = ids.iter().filter_map(|id| snapshot.find_worker(id));
            named.chain(snapshot.draining_workers()).map(count).sum()
        }
        None => snapshot.vm_count(),
    }
}

fn looks_of_plan(snapshot: &Snapshot, chosen: &[WorkerView], listed: usize) -> usize {
    let ids: HashSet<_> = chosen.iter().map(|worker| &worker.worker.id).collect();
    let draining = snapshot.draining_workers().filter(|worker| !ids.contains(&worker.id));
    let vms = chosen.iter().map(|worker| &worker.worker).chain(draining).flat_map(|worker| worker.slot_holders());
    EvacuationPlan::looks(snapshot.worker_count(), vms, listed)
}

fn told_activation(chosen: &Chosen) -> ChangeOfWorkers {
    ChangeOfWorkers::told(chosen, |worker| worker.worker.standing_drain().is_some())
}

fn listed(limit: Option<Whole>) -> Result<usize> {
    let most = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
    Ok(checks::figure("limit", limit.unwrap_or(Whole(DEFAULT_LISTED)), 0, most)? as usize)
}
