//! Operations on VMs.

use super::Reading;
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
        self.view.vms().filter(|vm| filter.matches(vm)).collect()
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
    let mut vms = worker.vms(filter.statuses.as_deref());
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
