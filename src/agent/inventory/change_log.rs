//! Logs which VMs appeared on this host and which are gone. What is sent to the server is not decided here.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::FoundVm;

/// How many VMs a log line names at most.
const NAMED: usize = 10;

/// Logs what changed from one reading of the inventory to the next.
#[derive(Debug, Default)]
pub(in crate::agent) struct InventoryChanges {
    /// The VMs of the last reading by id; none before the first.
    known: Option<BTreeMap<String, FoundVm>>,
}

impl InventoryChanges {
    /// Logs what is different since the last reading; of the first one, how many VMs of which kind there are.
    pub(in crate::agent) fn note(&mut self, worker_id: &str, vms: &[FoundVm]) {
        let present: BTreeMap<_, _> = vms.iter().map(|vm| (vm.report.id.clone(), vm.clone())).collect();
        let Some(known) = self.known.replace(present) else {
            info!(worker.id = %worker_id, vms = vms.len(), "Worker {worker_id} runs {}", count_by_kind(vms));
            note_unknown_sizes(worker_id, vms.iter());
            return;
        };
        let present = self.known.iter().flatten();
        let appeared: Vec<_> = present.filter(|(id, _)| !known.contains_key(*id)).map(|(_, vm)| vm).collect();
        for FoundVm { report, kind } in &appeared {
            let (id, name) = (&report.id, &report.name);
            info!(worker.id = %worker_id, vm.id = %id, vm.name = %name, vm.kind = kind, vm.vcpus = report.vcpus, vm.memory_mb = report.memory_mb, "VM {id} ({name}, {kind}) appeared on worker {worker_id}");
        }
        note_unknown_sizes(worker_id, appeared.into_iter());
        let gone = known.values().filter(|vm| self.known.as_ref().is_some_and(|it| !it.contains_key(&vm.report.id)));
        for FoundVm { report, kind } in gone {
            let (id, name) = (&report.id, &report.name);
            info!(worker.id = %worker_id, vm.id = %id, vm.name = %name, vm.kind = kind, "VM {id} ({name}, {kind}) is gone from worker {worker_id}");
        }
    }
}

fn note_unknown_sizes<'a>(worker_id: &str, vms: impl Iterator<Item = &'a FoundVm>) {
    let unknown: Vec<_> =
        vms.map(|vm| &vm.report).filter(|vm| vm.vcpus == 0 || vm.memory_mb == 0).map(|vm| vm.id.as_str()).collect();
    if !unknown.is_empty() {
        let (count, first) = (unknown.len(), unknown[..unknown.len().min(NAMED)].join(", "));
        let more = if count > NAMED { ", …" } else { "" };
        warn!(worker.id = %worker_id, vms = count, "The size of {count} VMs of worker {worker_id} cannot be found out, so what it uses is more than it reports: {first}{more}");
    }
}

/// Such as `5 VMs: 3 qemu, 2 firecracker`.
fn count_by_kind(vms: &[FoundVm]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for vm in vms {
        *counts.entry(vm.kind).or_default() += 1;
    }
    let kinds: Vec<_> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    match vms.len() {
        0 => "no VMs".to_owned(),
        1 => format!("1 VM: {}", kinds.join(", ")),
        count => format!("{count} VMs: {}", kinds.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{VmReport, VmStatus};

    #[test]
    fn vms_are_counted_by_kind() {
        let vm = |kind| {
            let (id, status, note, reservation_id) = ("a".to_owned(), VmStatus::Running, None, None);
            let report = VmReport { name: id.clone(), id, status, vcpus: 1, memory_mb: 1, note, reservation_id };
            FoundVm { report, kind }
        };
        assert_eq!(count_by_kind(&[]), "no VMs");
        assert_eq!(count_by_kind(&[vm("qemu")]), "1 VM: 1 qemu");
        assert_eq!(count_by_kind(&[vm("qemu"), vm("firecracker"), vm("qemu")]), "3 VMs: 1 firecracker, 2 qemu");
    }
}
