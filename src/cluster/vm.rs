//! A VM, as one worker reports it.

use std::sync::Arc;

use super::id::{VmId, WorkerId};
use super::sorted_list::Keyed;
use super::status::VmStatus;

/// One worker's report of one VM. During a migration two workers may report the same VM; then
/// there are two of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// The VM's id.
    pub id: VmId,
    /// Who reports it.
    pub worker_id: WorkerId,
    /// Name given by whoever created it.
    pub name: Arc<str>,
    /// What it is doing.
    pub status: VmStatus,
    /// How many virtual CPUs it has.
    pub vcpus: u32,
    /// How much memory it has, in MiB.
    pub memory_mb: u32,
    /// Revision of the last change to this report.
    pub revision: u64,
}

impl Vm {
    /// Whether both say the same of the same VM, whenever they said it.
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
