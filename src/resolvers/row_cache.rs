//! The lists of all workers and of all VMs, from cached rows.
//!
//! How rows are recognised, kept and joined is the business of [`render`](crate::render). Here is which rows there are:
//! the workers and the VMs of a snapshot, in its chunks, with what each shows beside its own object. How much is kept is
//! bounded there, too.

use std::any::Any;
use std::sync::{Arc, Weak};

use super::Reading;
use crate::cluster::{Chunk, Vm, VmId, VmReports, VmView, Worker, WorkerId, WorkerView};
use crate::render::{CacheableRow, ListCache, ListKey, RenderedRow, RenderedRows, Volatility};

/// Rendered lists of workers and of VMs. Cheap to clone; clones share their lists.
#[derive(Clone, Debug, Default)]
pub struct RowCache {
    workers: Arc<ListCache<Arc<Worker>>>,
    vms: Arc<ListCache<VmReports>>,
}

impl CacheableRow for Arc<Worker> {
    type Identity = (WorkerId, Weak<Worker>);
    type Chunk = Chunk<Self>;

    const LEFT_BEHIND: usize = size_of::<Worker>();

    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn identity(&self) -> Self::Identity {
        (self.id.clone(), Arc::downgrade(self))
    }

    fn key_of((id, _): &Self::Identity) -> &str {
        id.as_str()
    }

    fn is(&self, (_, worker): &Self::Identity) -> bool {
        std::ptr::eq(worker.as_ptr(), Arc::as_ptr(self))
    }
}

impl CacheableRow for VmReports {
    /// None if several workers report the VM: which report is authoritative depends on those workers, so such a row is
    /// never recognised.
    type Identity = (VmId, Option<Weak<Vm>>);
    type Chunk = Chunk<Self>;

    const LEFT_BEHIND: usize = size_of::<Vm>();

    fn key(&self) -> &str {
        self.id().as_str()
    }

    fn identity(&self) -> Self::Identity {
        (self.id().clone(), self.only().map(Arc::downgrade))
    }

    fn key_of((id, _): &Self::Identity) -> &str {
        id.as_str()
    }

    fn is(&self, (_, report): &Self::Identity) -> bool {
        match (self.only(), report) {
            (Some(only), Some(report)) => std::ptr::eq(report.as_ptr(), Arc::as_ptr(only)),
            _ => false,
        }
    }
}

impl Reading {
    /// All workers by id, each as `write` writes it.
    pub fn write_workers(
        &self,
        cache: &RowCache,
        list: &ListKey<Arc<Worker>>,
        mut write: impl FnMut(&WorkerView, &mut Vec<u8>) -> RenderedRow,
    ) -> RenderedRows {
        let mut write_row = |worker: &Arc<Worker>, bytes: &mut Vec<u8>| {
            let worker = WorkerView { worker: worker.clone(), view: self.view.clone() };
            Some((write(&worker, bytes), worker.valid_until(list.volatility())))
        };
        let (rows, duplicates) = (self.view.snapshot.worker_chunks(), self.duplicates(list.volatility()));
        cache.workers.render(list, rows, self.view.now, duplicates, &mut write_row)
    }

    /// All VMs that hold a slot, by id, each as `write` writes it.
    pub fn write_vms(
        &self,
        cache: &RowCache,
        list: &ListKey<VmReports>,
        mut write: impl FnMut(&VmView, &mut Vec<u8>) -> RenderedRow,
    ) -> RenderedRows {
        let mut write_row = |reports: &VmReports, bytes: &mut Vec<u8>| {
            let vm = self.view.authoritative_report(reports).filter(|vm| vm.vm.status.holds_slot())?;
            // Which of several reports is authoritative depends on their workers: it has to be looked up each time.
            Some((write(&vm, bytes), reports.only().is_none().then_some(self.view.now)))
        };
        let (rows, duplicates) = (self.view.snapshot.vm_chunks(), self.duplicates(list.volatility()));
        cache.vms.render(list, rows, self.view.now, duplicates, &mut write_row)
    }

    /// The set of VMs that several workers report, if rows of this volatility show which these are.
    fn duplicates(&self, volatility: Volatility) -> Option<Arc<dyn Any + Send + Sync>> {
        volatility.shows_duplicates().then(|| self.view.snapshot.duplicates().clone() as Arc<dyn Any + Send + Sync>)
    }
}
