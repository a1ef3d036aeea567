//! One worker's report of a VM. Which of several reports of one VM is authoritative is decided in the
//! [`snapshot`](super::Snapshot::authoritative_report).

use std::sync::Arc;

use super::id::{VmId, WorkerId};
use super::sorted_list::Keyed;
use super::status::VmStatus;
use crate::clock::{CompactTimestamp, Timestamp};

/// One worker's report of one VM. During a migration two workers may report the same VM; then there are two reports.
///
/// There are millions of these, and their size is most of what a server needs (ADR 0079): what few VMs have is in a box,
/// and times are compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// The VM's id.
    pub id: VmId,
    /// The worker that reports it.
    pub worker_id: WorkerId,
    /// The name that was given to it when it was created.
    pub name: Arc<str>,
    /// Its status.
    pub status: VmStatus,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// Its memory, in MiB.
    pub memory_mb: u32,
    /// When the server first heard of the VM. Another worker that reports it takes this over.
    pub created_at: CompactTimestamp,
    /// When it began to run for the last time; none if it has not been running since the server first heard of it.
    pub started_at: Option<CompactTimestamp>,
    /// Since when it has its status.
    pub status_since: CompactTimestamp,
    /// What few VMs have; none if it has nothing of it, which [`VmExtras::of`] sees to.
    pub extras: Option<Box<VmExtras>>,
    /// Revision of the last change to this report.
    pub revision: u64,
}

/// What few VMs have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmExtras {
    /// See [`Vm::note`].
    pub note: Option<Arc<str>>,
    /// See [`Vm::reservation_id`].
    pub reservation_id: Option<Arc<str>>,
}

impl VmExtras {
    /// The extras of a VM; none if it has nothing of it.
    pub fn of(note: Option<Arc<str>>, reservation_id: Option<Arc<str>>) -> Option<Box<Self>> {
        (note.is_some() || reservation_id.is_some()).then(|| Box::new(Self { note, reservation_id }))
    }
}

impl Vm {
    /// What its worker says of it, such as why it could not be moved.
    pub fn note(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.note.as_ref()
    }

    /// The reservation that it takes.
    pub fn reservation_id(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.reservation_id.as_ref()
    }

    /// Whether another report says the same: it is equal in everything but its revision and in what the server itself
    /// finds out.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { id, worker_id, name, status, vcpus, memory_mb, extras, .. } = self;
        let Self { created_at: _, started_at: _, status_since: _, revision: _, .. } = self;
        *id == other.id
            && *worker_id == other.worker_id
            && *name == other.name
            && *status == other.status
            && *vcpus == other.vcpus
            && *memory_mb == other.memory_mb
            && *extras == other.extras
    }

    /// The latest of all times that are stored of it.
    pub(super) fn latest_time(&self) -> Timestamp {
        let observed = self.created_at.max(self.status_since);
        self.started_at.map_or(observed, |started_at| started_at.max(observed)).get()
    }

    /// The same with times that are after `now` set to it.
    pub(super) fn with_clamped_times(&self, now: Timestamp, revision: u64) -> Self {
        let now = CompactTimestamp::from(now);
        let clamp = |time: CompactTimestamp| time.min(now);
        Self {
            created_at: clamp(self.created_at),
            started_at: self.started_at.map(clamp),
            status_since: clamp(self.status_since),
            revision,
            ..self.clone()
        }
    }

    /// The same report with the times that follow from the report before it: that of the same worker, or of another one
    /// from which the VM has moved. The VM is as old as it was there, and what has not changed since then is not told
    /// as new.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        self.created_at = before.created_at.min(self.created_at);
        if before.status == self.status {
            self.status_since = before.status_since.min(self.status_since);
        }
        let has_begun_to_run = self.status == VmStatus::Running && before.status != VmStatus::Running;
        if !has_begun_to_run {
            self.started_at = before.started_at.or(self.started_at);
        }
        self
    }
}

impl Keyed for Vm {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_with_the_counts_of_its_references_takes_112_bytes() {
        assert_eq!(size_of::<Vm>() + 2 * size_of::<usize>(), 112);
    }
}
