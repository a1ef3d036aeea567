//! The answer to the question where VMs fit: on which workers they would be placed, which others could take one, and
//! why the rest could not.
//!
//! The rules are in [`placement`](super::placement); here its outcome is told, in lists of a limited length with the
//! numbers of all.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::free_capacity::{FreeCapacity, VmSize};
use super::placement::{
    Bin, Distinct, PlacementConstraints, PlacementStrategy, Placer, Reasons, RefusalReason, first_of,
};
use super::view::{View, WorkerView};

/// The question where VMs of one size fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementRequest {
    /// The size of each VM.
    pub size: VmSize,
    /// How many VMs.
    pub count: usize,
    /// Where they may be placed.
    pub constraints: PlacementConstraints,
    /// Which workers are preferred.
    pub strategy: PlacementStrategy,
    /// What no two of them may share.
    pub distinct: Distinct,
    /// How many candidates, and how many refusals, are listed.
    pub limit: usize,
}

/// Where VMs would be placed now. Nothing is held by it.
#[derive(Clone, Debug)]
pub struct Placement {
    /// How many VMs were asked for.
    pub count: usize,
    /// How many of them fit.
    pub placeable: usize,
    /// Where these are placed: the workers, in the order in which they got their first VM.
    pub assignments: Vec<PlacementAssignment>,
    /// Workers that could take one of the VMs, before any is placed: the preferred ones first.
    pub candidates: Vec<PlacementCandidate>,
    /// How many such workers there are.
    pub total_candidates: usize,
    /// Workers that could not take one of the VMs: before any is placed, if all fit, and else after those that fit. The
    /// nearest misses come first.
    pub refusals: Vec<PlacementRefusal>,
    /// How many such workers there are.
    pub total_refusals: usize,
    /// How many workers are refused for each reason. One that is refused for several counts for each of them.
    pub refusals_by_reason: Vec<WorkersRefused>,
    /// Revision that all of this was read at.
    pub revision: u64,
}

/// VMs that are placed on one worker.
#[derive(Clone, Debug)]
pub struct PlacementAssignment {
    /// The worker.
    pub worker: WorkerView,
    /// How many of the VMs.
    pub vms: usize,
}

/// A worker that could take one of the VMs.
#[derive(Clone, Debug)]
pub struct PlacementCandidate {
    /// The worker.
    pub worker: WorkerView,
    /// How many such VMs it has room for.
    pub vms: u64,
    /// What is free on it.
    pub free: FreeCapacity,
}

/// A worker that could not take one of the VMs.
#[derive(Clone, Debug)]
pub struct PlacementRefusal {
    /// The worker.
    pub worker: WorkerView,
    /// Every reason.
    pub reasons: Vec<RefusalDetail>,
}

/// A reason, with the amounts if it is about an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalDetail {
    /// The reason.
    pub reason: RefusalReason,
    /// What one VM needs, what is free, and what is missing.
    pub amounts: Option<(u64, u64, u64)>,
    /// The same as a sentence.
    pub message: String,
}

/// How many workers are refused for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkersRefused {
    /// The reason.
    pub reason: RefusalReason,
    /// How many workers.
    pub workers: usize,
}

/// How far a worker is from taking a VM: the least is the nearest miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Miss<'a> {
    /// Reasons that more room would not remove.
    other_than_size: u32,
    /// Reasons in all.
    reasons: u32,
    /// The largest share of what one VM needs that is missing, in millionths.
    missing: u64,
    id: &'a str,
}

impl View {
    /// A placer of VMs over all workers.
    pub fn placer(&self, constraints: &PlacementConstraints, preferred: (PlacementStrategy, Distinct)) -> Placer<'_> {
        let reserved = self.snapshot.reserved_at(self.now);
        Placer::new(self.snapshot.workers(), self.cutoff(), constraints, preferred, &reserved)
    }
}

impl Placement {
    /// The answer to a question on what the view shows.
    pub fn of(view: &Arc<View>, request: &PlacementRequest) -> Self {
        let PlacementRequest { size, count, constraints, strategy, distinct, limit } = request;
        let mut placer = view.placer(constraints, (*strategy, *distinct));
        let (preferred, total_candidates) = placer.candidates(*size, *limit);
        let candidates = preferred.into_iter().map(|at| {
            let Bin { worker, free, .. } = &placer.bins()[at];
            PlacementCandidate { worker: view.worker(worker), vms: free.count(*size), free: *free }
        });
        let candidates = candidates.collect();
        let before = Refusals::of(&placer, *size, view, *limit);
        let placed = placer.place(*size, *count);
        let fits = placed.len() == *count;
        let refusals = if fits { before } else { Refusals::of(&placer, *size, view, *limit) };
        let mut assignments = Vec::<PlacementAssignment>::new();
        // Workers come again and again; where each is in the list is found by its id.
        let mut places = HashMap::new();
        for worker in &placed {
            let at = *places.entry(&worker.id).or_insert_with(|| {
                assignments.push(PlacementAssignment { worker: view.worker(worker), vms: 0 });
                assignments.len() - 1
            });
            assignments[at].vms += 1;
        }
        Self {
            count: *count,
            placeable: placed.len(),
            assignments,
            candidates,
            total_candidates,
            refusals: refusals.nearest,
            total_refusals: refusals.total,
            refusals_by_reason: refusals.by_reason,
            revision: view.snapshot.revision,
        }
    }

    /// Whether all VMs fit.
    pub fn fits(&self) -> bool {
        self.placeable == self.count
    }
}

/// The workers that take no VM of a size.
struct Refusals {
    nearest: Vec<PlacementRefusal>,
    total: usize,
    by_reason: Vec<WorkersRefused>,
}

impl Refusals {
    fn of(placer: &Placer<'_>, size: VmSize, view: &Arc<View>, limit: usize) -> Self {
        let mut reasons_of_all = ReasonCounts::default();
        let mut misses = Vec::new();
        for (at, bin) in placer.bins().iter().enumerate() {
            let reasons = placer.refusals(bin, size);
            if !reasons.is_empty() {
                reasons_of_all.add(reasons);
                misses.push((miss(bin, size, reasons), at));
            }
        }
        let (nearest, total) = first_of(misses, limit);
        let nearest = nearest.into_iter().map(|at| {
            let bin = &placer.bins()[at];
            let reasons = placer.refusals(bin, size);
            let reasons = reasons.iter().map(|reason| RefusalDetail::of(reason, bin, size)).collect();
            PlacementRefusal { worker: view.worker(bin.worker), reasons }
        });
        Self { nearest: nearest.collect(), total, by_reason: reasons_of_all.most_frequent_first() }
    }
}

/// How many workers are refused for each reason.
#[derive(Default)]
struct ReasonCounts([usize; RefusalReason::ALL.len()]);

impl ReasonCounts {
    fn add(&mut self, reasons: Reasons) {
        reasons.iter().for_each(|reason| self.0[reason as usize] += 1);
    }

    fn most_frequent_first(&self) -> Vec<WorkersRefused> {
        let counts =
            RefusalReason::ALL.iter().map(|&reason| WorkersRefused { reason, workers: self.0[reason as usize] });
        let mut counts: Vec<_> = counts.filter(|refused| refused.workers > 0).collect();
        counts.sort_by_key(|refused| Reverse(refused.workers));
        counts
    }
}

/// How many workers refuse a VM of this size for each reason, the most frequent first.
pub(super) fn refusals_by_reason(placer: &Placer<'_>, size: VmSize) -> Vec<WorkersRefused> {
    let mut reasons_of_all = ReasonCounts::default();
    placer.bins().iter().for_each(|bin| reasons_of_all.add(placer.refusals(bin, size)));
    reasons_of_all.most_frequent_first()
}

fn miss<'a>(bin: &Bin<'a>, size: VmSize, reasons: Reasons) -> Miss<'a> {
    let (mut of_size, mut missing) = (0, 0);
    for reason in reasons.iter() {
        if let Some((needed, free)) = amounts(reason, &bin.free, size) {
            of_size += 1;
            missing = missing.max((needed - free) * 1_000_000 / needed);
        }
    }
    Miss { other_than_size: reasons.len() - of_size, reasons: reasons.len(), missing, id: bin.worker.id.as_str() }
}

/// What one VM needs of what is short, and what is free of it; none if the reason is not about an amount.
fn amounts(reason: RefusalReason, free: &FreeCapacity, size: VmSize) -> Option<(u64, u64)> {
    match reason {
        RefusalReason::CpuCores => Some((size.vcpus.into(), free.cpu_cores)),
        RefusalReason::Memory => Some((size.memory_mb.into(), free.memory_mb)),
        RefusalReason::Disk => Some((size.disk_gb.into(), free.disk_gb)),
        RefusalReason::VmSlots => Some((1, free.vm_slots)),
        RefusalReason::Excluded
        | RefusalReason::Zone
        | RefusalReason::Labels
        | RefusalReason::Capabilities
        | RefusalReason::Offline
        | RefusalReason::Draining
        | RefusalReason::NoInventory
        | RefusalReason::Distinct => None,
    }
}

impl RefusalDetail {
    fn of(reason: RefusalReason, bin: &Bin<'_>, size: VmSize) -> Self {
        let amounts = amounts(reason, &bin.free, size).map(|(needed, free)| (needed, free, needed - free));
        let short = |what: &str| {
            let (needed, free, missing) = amounts.unwrap_or_default();
            let be = |amount| if amount == 1 { "is" } else { "are" };
            format!("needs {needed} {what}, of which {free} {} free: {missing} {} missing", be(free), be(missing))
        };
        let message = match reason {
            RefusalReason::Excluded => "the request leaves it or its zone out".to_owned(),
            RefusalReason::Zone => "is in none of the zones that were asked for".to_owned(),
            RefusalReason::Labels => "lacks a label that was asked for".to_owned(),
            RefusalReason::Capabilities => "lacks a capability that was asked for".to_owned(),
            RefusalReason::Offline => "is offline".to_owned(),
            RefusalReason::Draining => "is draining".to_owned(),
            RefusalReason::NoInventory => "has not reported its VMs since its process started".to_owned(),
            RefusalReason::CpuCores => short("CPU cores"),
            RefusalReason::Memory => short("MiB of memory"),
            RefusalReason::Disk => short("GB of disk"),
            RefusalReason::VmSlots => "has no free VM slot".to_owned(),
            RefusalReason::Distinct => "another VM of the request is on it, or in its zone".to_owned(),
        };
        Self { reason, amounts, message }
    }
}
