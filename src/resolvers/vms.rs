//! Operations on VMs.

use super::Reading;
use super::offload::steps;
use super::page::{Edge, Listing, Page, PageRequest};
use crate::cluster::{VmFilter, VmView, WorkerOrder, WorkerSortKey, WorkerView};
use crate::error::{Error, Result};

impl Reading {
    /// The VM with this id, whatever its status.
    pub fn vm(&self, id: &str) -> Result<VmView> {
        self.find_vm(id).ok_or_else(|| Error::VmNotFound(id.to_owned()))
    }

    /// The VM with this id, if there is one.
    pub fn find_vm(&self, id: &str) -> Option<VmView> {
        self.view.find_vm(id)
    }

    /// All VMs that match, by id.
    pub fn list_vms(&self, filter: &VmFilter) -> Vec<VmView> {
        match &*filter.worker_ids {
            [] => self.view.vms().filter(|vm| filter.matches(vm)).collect(),
            ids => self.list_vms_on(ids, filter),
        }
    }

    /// The same, looked for where they are.
    fn list_vms_on(&self, worker_ids: &[String], filter: &VmFilter) -> Vec<VmView> {
        let mut worker_ids: Vec<_> = worker_ids.iter().map(String::as_str).collect();
        worker_ids.sort_unstable();
        worker_ids.dedup();
        let workers = worker_ids.into_iter().filter_map(|id| self.view.snapshot.find_worker(id));
        let reported = workers.flat_map(|worker| worker.usage.vms.iter());
        // Of what several workers report, one report is shown, which may be of none of these.
        let shown = reported.filter_map(|report| {
            self.find_vm(report.id.as_str()).filter(|vm| vm.vm.worker_id == report.worker_id && filter.matches(vm))
        });
        let mut vms: Vec<_> = shown.collect();
        vms.sort_unstable_by(|one, other| one.vm.id.as_str().cmp(other.vm.id.as_str()));
        vms
    }

    /// How many steps it takes to list the VMs that match, and to write them.
    pub fn steps_to_list_vms(&self, filter: &VmFilter) -> u64 {
        let snapshot = &self.view.snapshot;
        let rows = match filter.worker_ids.len() {
            0 => snapshot.vm_count(),
            workers => workers.saturating_mul(snapshot.vm_count().div_ceil(snapshot.worker_count().max(1))),
        };
        steps(rows, filter.entries())
    }

    /// One page of the VMs that match, by id.
    pub fn page_of_vms(&self, filter: &VmFilter, request: &PageRequest) -> Result<Page<VmView>> {
        page_by_id(self.list_vms(filter), request)
    }

    /// The VMs that match, by id: all of them, or the page that is asked for.
    pub fn listing_of_vms(&self, filter: &VmFilter, request: &PageRequest) -> Result<Listing<VmView>> {
        Listing::of(self.list_vms(filter), edge_by_id, WorkerOrder::default(), request)
    }
}

/// One page of a worker's own VMs that match, by id.
pub fn page_of_worker_vms(worker: &WorkerView, filter: &VmFilter, request: &PageRequest) -> Result<Page<VmView>> {
    let mut vms = worker.vms(&filter.statuses);
    vms.retain(|vm| filter.matches(vm));
    page_by_id(vms, request)
}

fn page_by_id(vms: Vec<VmView>, request: &PageRequest) -> Result<Page<VmView>> {
    Page::of(vms.into_iter().map(edge_by_id).collect(), WorkerOrder::default(), request)
}

/// A VM with its place in the order by id.
fn edge_by_id(vm: VmView) -> Edge<VmView> {
    Edge { key: WorkerSortKey::Id(vm.vm.id.as_str().to_owned()), id: vm.vm.id.shared(), node: vm }
}
