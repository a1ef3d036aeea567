//! Queries of VMs. VMs are reported by their workers and never changed here; there are no commands on them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Reading;
use super::offload::steps;
use super::page::{Edge, FilteredList, ListById, Listing, Page, PageRequest};
use crate::cluster::{Ids, VmFilter, VmId, VmOrder, VmOrderField, VmView, WorkerView};
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
        match &filter.worker_ids {
            None => self.view.vms().filter(|vm| filter.matches(vm)).collect(),
            Some(worker_ids) => self.list_vms_of_workers(worker_ids, filter),
        }
    }

    /// The VMs that match among the reports of some workers, by id. Each VM is shown as its worker reports it, even
    /// while the authoritative report is another worker's; if several of the workers report it, by the report with the
    /// highest precedence among theirs.
    fn list_vms_of_workers(&self, worker_ids: &[String], filter: &VmFilter) -> Vec<VmView> {
        let snapshot = &self.view.snapshot;
        let wanted: BTreeSet<&str> = worker_ids.iter().map(String::as_str).collect();
        let mut found: BTreeMap<VmId, VmView> = BTreeMap::new();
        for worker in wanted.into_iter().filter_map(|id| snapshot.find_worker(id)) {
            for vm in worker.usage.vms.iter() {
                let vm = VmView { vm: vm.clone(), view: self.view.clone() };
                if !filter.matches(&vm) {
                    continue;
                }
                match found.entry(vm.vm.id.clone()) {
                    Entry::Vacant(place) => _ = place.insert(vm),
                    Entry::Occupied(mut other) => {
                        if snapshot.precedence(&vm.vm) > snapshot.precedence(&other.get().vm) {
                            other.insert(vm);
                        }
                    }
                }
            }
        }
        found.into_values().collect()
    }

    /// The steps of finding the VMs that match, and of writing the requested page of them.
    pub fn steps_to_list_vms(&self, filter: &VmFilter, order: VmOrder, request: &PageRequest) -> u64 {
        let snapshot = &self.view.snapshot;
        let rows = match &filter.worker_ids {
            None if order.field != VmOrderField::Id => {
                // Each is looked up, and compared with those of the page.
                let all = self.vms_of_zone(filter).map_or(snapshot.vm_count(), |ids| ids.map_or(0, Ids::count));
                all.saturating_mul(2)
            }
            None if *filter == VmFilter::default() => {
                // VMs without a slot are skipped, and may all come before the page.
                let holding = snapshot.vms_holding_slots();
                request.most_rows(holding).saturating_add(snapshot.vm_count() - holding)
            }
            None => match self.vms_of_zone(filter) {
                Some(ids) if filter.has_only_zones() => {
                    // Each VM that several workers report is looked at.
                    request.most_rows(ids.map_or(0, Ids::count)).saturating_add(snapshot.duplicates().len())
                }
                Some(ids) => ids.map_or(0, Ids::count),
                None => snapshot.vm_count(),
            },
            Some(ids) => ids.len().saturating_mul(snapshot.vm_count().div_ceil(snapshot.worker_count().max(1))),
        };
        steps(rows, filter.entries())
    }

    /// The VMs of the filter's zone, by the index, if it has only one; none inside if no VM is there.
    fn vms_of_zone(&self, filter: &VmFilter) -> Option<Option<&Ids<VmId>>> {
        filter.zone().map(|zone| self.view.snapshot.vms_of_zone(zone))
    }

    /// One page of the VMs that match, in the order asked for. By id it costs its own length and what the filter has to
    /// skip; for any other order every VM that matches is looked at.
    pub fn page_of_vms(&self, filter: &VmFilter, order: VmOrder, request: &PageRequest) -> Result<Page<VmView>> {
        let snapshot = &self.view.snapshot;
        let matching = FilteredList { view: &self.view, filter };
        match (&filter.worker_ids, order.field) {
            (None, VmOrderField::Id) => Page::by_id(&matching, order.descending, request),
            (None, _) => {
                let vms = matching.range(Bound::Unbounded, Bound::Unbounded);
                Page::of(vms.map(|vm| edge_of_vm(vm, order)), order, request, snapshot)
            }
            (Some(_), _) => {
                let vms = self.list_vms(filter).into_iter();
                Page::of(vms.map(|vm| edge_of_vm(vm, order)), order, request, snapshot)
            }
        }
    }

    /// The VMs that match, in the order asked for: all of them, or the page that is asked for.
    pub fn listing_of_vms(&self, filter: &VmFilter, order: VmOrder, request: &PageRequest) -> Result<Listing<VmView>> {
        if !request.is_for_all() {
            return Ok(self.page_of_vms(filter, order, request)?.into());
        }
        Listing::of(self.list_vms(filter), |vm| edge_of_vm(vm, order), order, request, &self.view.snapshot)
    }
}

impl ListById for FilteredList<'_, VmFilter> {
    type Node = VmView;

    fn range<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = VmView> + 'a {
        let snapshot = &self.view.snapshot;
        let vms: Box<dyn DoubleEndedIterator<Item = VmView> + 'a> = match self.filter.zone() {
            None => Box::new(self.view.vms_in(lower, upper)),
            Some(zone) => match snapshot.vms_of_zone(zone) {
                Some(ids) => Box::new(self.view.vms_among(ids, lower, upper)),
                None => Box::new(std::iter::empty()),
            },
        };
        vms.filter(|vm| self.filter.matches(vm))
    }

    fn total(&self) -> usize {
        let snapshot = &self.view.snapshot;
        if *self.filter == VmFilter::default() {
            return snapshot.vms_holding_slots();
        }
        if let Some(zone) = self.filter.zone().filter(|_| self.filter.has_only_zones()) {
            let Some(ids) = snapshot.vms_of_zone(zone) else { return 0 };
            // A VM that several workers report is in the index of each zone, and shown in one.
            let is_elsewhere = |id: &&VmId| {
                ids.contains(id.as_str()) && !self.view.find_vm(id.as_str()).is_some_and(|vm| self.filter.matches(&vm))
            };
            return ids.count() - snapshot.duplicates().iter().filter(is_elsewhere).count();
        }
        self.range(Bound::Unbounded, Bound::Unbounded).count()
    }

    fn edge(&self, vm: VmView) -> Edge<VmView> {
        edge_of_vm(vm, VmOrder::default())
    }
}

/// One page of the VMs of a worker that match, in the order asked for.
pub fn page_of_worker_vms(
    worker: &WorkerView,
    filter: &VmFilter,
    order: VmOrder,
    request: &PageRequest,
) -> Result<Page<VmView>> {
    let vms = worker.vms_in(filter.statuses.as_deref()).filter(|vm| filter.matches(vm));
    Page::of(vms.map(|vm| edge_of_vm(vm, order)), order, request, &worker.view.snapshot)
}

/// The edge of a VM in an order.
pub(super) fn edge_of_vm(vm: VmView, order: VmOrder) -> Edge<VmView> {
    let (key, key_revision) = order.field.key(&vm);
    Edge::new(key, vm.vm.id.shared(), key_revision, vm)
}
