//! One worker's report of a VM. Which of several reports of one VM is authoritative is decided in the
//! [`snapshot`](super::Snapshot::authoritative_report).

use std::sync::Arc;

use super::id::{VmId, WorkerId};
use super::sorted_list::Keyed;
use super::status::VmStatus;
use crate::clock::Timestamp;

/// One worker's report of one VM. During a migration two workers may report the same VM; then there are two reports.
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
    pub created_at: Timestamp,
    /// When it began to run for the last time; none if it has not been running since the server first heard of it.
    pub started_at: Option<Timestamp>,
    /// Since when it has its status.
    pub status_since: Timestamp,
    /// What its worker says of it, such as why it could not be moved.
    pub note: Option<Arc<str>>,
    /// The reservation that it takes.
    pub reservation_id: Option<Arc<str>>,
    /// Revision of the last change to this report.
    pub revision: u64,
}

impl Vm {
    /// Whether another report says the same: it is equal in everything but its revision and in what the server itself
    /// finds out.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { id, worker_id, name, status, vcpus, memory_mb, note, reservation_id, .. } = self;
        let Self { created_at: _, started_at: _, status_since: _, revision: _, .. } = self;
        *id == other.id
            && *worker_id == other.worker_id
            && *name == other.name
            && *status == other.status
            && *vcpus == other.vcpus
            && *memory_mb == other.memory_mb
            && *note == other.note
            && *reservation_id == other.reservation_id
    }

    /// The latest of all times that are stored of it.
    pub(super) fn latest_time(&self) -> Timestamp {
        let observed = self.created_at.max(self.status_since);
        self.started_at.map_or(observed, |started_at| started_at.max(observed))
    }

    /// The same with times that are after `now` set to it.
    pub(super) fn with_clamped_times(&self, now: Timestamp, revision: u64) -> Self {
        let clamp = |time: Timestamp| time.min(now);
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
