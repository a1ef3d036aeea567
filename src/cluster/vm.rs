//! One worker's report of a VM. Which of several reports of one VM is authoritative is decided in the
//! [`snapshot`](super::Snapshot::authoritative_report).

use std::sync::Arc;

use super::id::{VmId, WorkerId};
use super::sorted_list::Keyed;
use super::status::VmStatus;

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
    /// Revision of the last change to this report.
    pub revision: u64,
}

impl Vm {
    /// Whether two reports are equal in everything but the revision at which they were made.
    pub fn equals_but_for_revision(&self, other: &Self) -> bool {
        let Self { id, worker_id, name, status, vcpus, memory_mb, revision: _ } = self;
        *id == other.id
            && *worker_id == other.worker_id
            && *name == other.name
            && *status == other.status
            && *vcpus == other.vcpus
            && *memory_mb == other.memory_mb
    }
}

impl Keyed for Vm {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}
