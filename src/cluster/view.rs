//! A view: one snapshot, read at one moment. Everything that one answer shows is read from one view: statuses, percentages
//! of a worker, uptimes. Sums over all workers are in [`stats`](super::stats).
//!
//! Whether a worker is online depends on the moment, so that is decided here and not in the snapshot. Which rows an
//! answer has, and in what order, is for [`resolvers`](crate::resolvers) to say.

use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::id::{VmId, WorkerId};
use super::index::Ids;
use super::snapshot::{Snapshot, VmReports};
use super::status::{Availability, VmStatus, WorkerStatus};
use super::totals::OnlineTotals;
use super::uptime::Uptime;
use super::vm::Vm;
use super::worker::{Identity, LivenessCutoff, Usage, Worker};
use crate::clock::Timestamp;
use crate::render::{RenderCache, Volatility};

/// A snapshot and the moment it is read at, stamped once per answer.
#[derive(Clone, Debug)]
pub struct View {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The moment it is read at.
    pub now: Timestamp,
    /// For how long a worker may be silent before it counts as offline.
    pub offline_after: Duration,
    /// Follows from the moment and the time-out.
    cutoff: LivenessCutoff,
}

impl View {
    /// The snapshot at this moment.
    pub fn new(snapshot: Arc<Snapshot>, now: Timestamp, offline_after: Duration) -> Self {
        Self { snapshot, now, offline_after, cutoff: LivenessCutoff::of(now, offline_after) }
    }

    /// The worker with this id.
    pub fn find_worker(self: &Arc<Self>, id: &str) -> Option<WorkerView> {
        self.snapshot.find_worker(id).map(|worker| self.worker(worker))
    }

    /// All workers, by id.
    pub fn workers(self: &Arc<Self>) -> impl DoubleEndedIterator<Item = WorkerView> {
        self.snapshot.workers().map(|worker| self.worker(worker))
    }

    /// The workers between two ids, by id.
    pub fn workers_in<'a>(
        self: &'a Arc<Self>,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = WorkerView> {
        self.snapshot.workers_in(lower, upper).map(|worker| self.worker(worker))
    }

    /// The workers with these ids, as far as they are between two ids, by id.
    pub fn workers_among<'a>(
        self: &'a Arc<Self>,
        ids: &'a Ids<WorkerId>,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = WorkerView> {
        ids.range(lower, upper).filter_map(|id| self.find_worker(id.as_str()))
    }

    /// The VMs with these ids, as far as they are between two ids, by id, each by its authoritative report.
    pub fn vms_among<'a>(
        self: &'a Arc<Self>,
        ids: &'a Ids<VmId>,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = VmView> {
        ids.range(lower, upper).filter_map(|id| self.find_vm(id.as_str()))
    }

    /// How many workers have a status.
    pub fn count_workers(&self, status: WorkerStatus) -> usize {
        let OnlineTotals { active, draining, .. } = self.online();
        let (active, draining) = (active as usize, draining as usize);
        match status {
            WorkerStatus::Active => active,
            WorkerStatus::Draining => draining,
            WorkerStatus::Offline => self.snapshot.worker_count().saturating_sub(active + draining),
        }
    }

    /// A set of ids in which those of all workers with a status are. None if there is no such set but all workers: for
    /// the offline ones, while a worker that has been silent for too long is not announced yet.
    pub fn candidates(&self, status: WorkerStatus) -> Option<&Ids<WorkerId>> {
        let is_known = status != WorkerStatus::Offline || self.has_announced_all_silent();
        is_known.then(|| self.snapshot.workers_announced(status))
    }

    /// Whether all workers that have been silent for too long are announced.
    pub fn has_announced_all_silent(&self) -> bool {
        self.snapshot.totals().all_were_heard(self.cutoff)
    }

    /// The VM with this id, by its authoritative report.
    pub fn find_vm(self: &Arc<Self>, id: &str) -> Option<VmView> {
        self.snapshot.find_vm(id).and_then(|reports| self.authoritative_report(reports))
    }

    /// All VMs, by id, each once.
    pub fn vms(self: &Arc<Self>) -> impl DoubleEndedIterator<Item = VmView> {
        self.snapshot.vms().filter_map(|reports| self.authoritative_report(reports))
    }

    /// The VMs between two ids, by id, each once.
    pub fn vms_in<'a>(
        self: &'a Arc<Self>,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = VmView> {
        self.snapshot.vms_in(lower, upper).filter_map(|reports| self.authoritative_report(reports))
    }

    /// The first moment at which a worker that is online now will be offline, if no heartbeat arrives before.
    pub fn next_silence(self: &Arc<Self>) -> Option<Timestamp> {
        self.workers().filter_map(|worker| worker.valid_until(Volatility::SILENCE)).min()
    }

    /// The earliest last heartbeat among the workers that have been silent for too long and are not announced offline.
    /// None if there are no such workers.
    pub fn longest_unannounced_silence(&self) -> Option<Timestamp> {
        let silent = self.snapshot.workers().filter(|worker| {
            worker.last_announced_availability == Availability::Online
                && worker.availability(self.cutoff) == Availability::Offline
        });
        silent.map(|worker| worker.usage.last_seen).min()
    }

    /// Sums over the workers that are online now.
    pub(super) fn online(&self) -> OnlineTotals {
        let totals = self.snapshot.totals();
        totals.online(self.cutoff).unwrap_or_else(|| {
            let mut online = OnlineTotals::default();
            let workers = self.snapshot.workers();
            let workers = workers.filter(|worker| worker.availability(self.cutoff) == Availability::Online);
            workers.for_each(|worker| online.add(&OnlineTotals::of(worker)));
            online
        })
    }

    /// The earliest last heartbeat with which a worker is online.
    pub(super) fn cutoff(&self) -> LivenessCutoff {
        self.cutoff
    }

    pub(super) fn worker(self: &Arc<Self>, worker: &Arc<Worker>) -> WorkerView {
        WorkerView { worker: worker.clone(), view: self.clone() }
    }

    /// The VM of these reports, by the authoritative one.
    pub fn authoritative_report(self: &Arc<Self>, reports: &VmReports) -> Option<VmView> {
        let vm = self.snapshot.authoritative_report(reports)?;
        Some(VmView { vm: vm.clone(), view: self.clone() })
    }
}

/// One worker in an answer.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// The worker.
    pub worker: Arc<Worker>,
    /// The view it is read from.
    pub view: Arc<View>,
}

impl WorkerView {
    /// The templates of the worker's text.
    pub fn render_cache(&self) -> &RenderCache {
        &self.worker.render_cache
    }

    /// Who it is and how large.
    pub fn identity(&self) -> &Identity {
        &self.worker.identity
    }

    /// Whether its heartbeats arrive.
    pub fn availability(&self) -> Availability {
        self.worker.availability(self.view.cutoff)
    }

    /// The status that clients see.
    pub fn status(&self) -> WorkerStatus {
        WorkerStatus::of(self.availability(), self.worker.policy)
    }

    /// Whether its last heartbeat is recent enough: false exactly while the status is offline.
    pub fn is_healthy(&self) -> bool {
        self.availability() == Availability::Online
    }

    /// How long it has been up; while it is offline, up to its last heartbeat.
    pub fn uptime(&self) -> Uptime {
        let until = match self.availability() {
            Availability::Online => self.view.now,
            Availability::Offline => self.worker.usage.last_seen,
        };
        Uptime::between(self.worker.life.started_at, until)
    }

    /// Share of its CPU cores that VMs hold, in percent.
    pub fn cpu_usage_percent(&self) -> f64 {
        percent(self.worker.usage.used_cpu_cores.into(), self.identity().cpu_cores.into())
    }

    /// Share of its memory that VMs hold, in percent.
    pub fn memory_usage_percent(&self) -> f64 {
        percent(self.worker.usage.used_memory_mb.into(), self.identity().memory_mb.into())
    }

    /// How many VMs hold a slot on it: the length of [`vms`](Self::vms) without statuses.
    pub fn vm_count(&self) -> usize {
        self.worker.usage.vms.count_slot_holders()
    }

    /// Hashes everything that is shown of it but what every heartbeat changes: when it was heard, how long it has been
    /// up, its revision. A heartbeat that says the same as the one before leaves the hash as it is.
    pub fn hash_shown<H: Hasher>(&self, hasher: &mut H) {
        let Worker { id, identity: _, registration_revision, life, owner: _, usage, policy, .. } = &*self.worker;
        let Worker { drain: _, policy_revision, last_announced_availability: _, reserved, .. } = &*self.worker;
        let Usage { used_cpu_cores, used_memory_mb, used_disk_gb, vms_revision, .. } = usage;
        (id.as_str(), life.incarnation, life.started_at, self.status(), policy, reserved).hash(hasher);
        (used_cpu_cores, used_memory_mb, used_disk_gb).hash(hasher);
        // What was read of a revision before the database was set back may not be what is there now.
        let epochs = &self.view.snapshot.epochs;
        for revision in [*registration_revision, *vms_revision, *policy_revision] {
            (revision, epochs.of(revision)).hash(hasher);
        }
        if let Some(drain) = self.drain() {
            drain.hash_shown(hasher);
        }
    }

    /// Its VMs, by id: those in one of these statuses, or without statuses those that hold a slot.
    pub fn vms(&self, statuses: Option<&[VmStatus]>) -> Vec<VmView> {
        self.vms_in(statuses).collect()
    }

    /// The same, one by one.
    pub fn vms_in(&self, statuses: Option<&[VmStatus]>) -> impl Iterator<Item = VmView> {
        let wanted =
            move |status: VmStatus| statuses.map_or_else(|| status.holds_slot(), |wanted| wanted.contains(&status));
        let vms = self.worker.usage.vms.iter().filter(move |vm| wanted(vm.status));
        vms.map(|vm| VmView { vm: vm.clone(), view: self.view.clone() })
    }
}

/// One VM in an answer.
#[derive(Clone, Debug)]
pub struct VmView {
    /// The report that is shown.
    pub vm: Arc<Vm>,
    /// The view it is read from.
    pub view: Arc<View>,
}

impl VmView {
    /// The worker whose report this is.
    pub fn worker(&self) -> Option<WorkerView> {
        self.view.find_worker(self.vm.worker_id.as_str())
    }

    /// Whether the VM holds a slot on more than one worker.
    pub fn is_duplicate(&self) -> bool {
        self.view.snapshot.is_duplicate(self.vm.id.as_str())
    }
}

/// `used` as a share of `total` in percent, rounded to two decimals; 0 of nothing is 0.
pub(super) fn percent(used: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    // Rounded to whole hundredths before the division, so that the result is the double nearest to two decimals.
    (used as f64 * 10_000.0 / total as f64).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percentages_have_two_decimals_and_are_never_nan() {
        for (used, total, expected) in
            [(0, 0, 0.0), (5, 0, 0.0), (4, 16, 25.0), (1, 3, 33.33), (2, 3, 66.67), (20, 16, 125.0)]
        {
            assert_eq!(percent(used, total), expected, "{used} of {total}");
        }
    }
}
