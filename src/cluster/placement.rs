//! Placement: on which workers VMs fit, which of these are preferred, and why the others are not.
//!
//! A worker has to pass all filters: it is online, active, has reported its inventory, is where and what was asked for,
//! and has room. Among those that pass, [`Preference`] decides, field by field, the id last: so the same question on the
//! same state has the same answer. VMs are placed one after another, each on top of those before it; a heap for each
//! zone finds the next worker, so that a thousand VMs cost little more than one.
//!
//! Nothing is changed or held by a placement. What is held is decided by the [journal](crate::journal), by the same
//! functions on the latest state. The answer to a question, with its lists of candidates and refusals, is made in
//! [`placement_answer`](super::placement_answer).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::free_capacity::{FreeCapacity, VmSize};
use super::held_reservations::ReservedAt;
use super::id::WorkerId;
use super::label_filter::LabelFilter;
use super::status::{Availability, SchedulingPolicy, words};
use super::worker::{Identity, LivenessCutoff, Worker};

words! {
    /// Which of the workers that have room are preferred.
    #[derive(Default)]
    PlacementStrategy as "placement strategy" {
        /// Spread: few VMs of the same request in one zone and on one worker, then the least loaded worker.
        #[default]
        Spread = "spread",
        /// Pack: the most loaded worker, so that others stay empty.
        Pack = "pack",
    }
}

words! {
    /// What no two VMs of one request may share.
    #[derive(Default)]
    Distinct as "kind of place" {
        /// Nothing: they may share a worker.
        #[default]
        None = "none",
        /// The worker.
        Worker = "worker",
        /// The zone. Workers without a zone count as one zone.
        Zone = "zone",
    }
}

words! {
    /// Why a VM is not placed on a worker.
    RefusalReason as "reason of a refusal" {
        /// The request leaves the worker or its zone out.
        Excluded = "excluded",
        /// It is in none of the zones that were asked for.
        Zone = "zone",
        /// It lacks a label that was asked for.
        Labels = "labels",
        /// It lacks a capability that was asked for.
        Capabilities = "capabilities",
        /// It is offline.
        Offline = "offline",
        /// It is draining.
        Draining = "draining",
        /// The present life of its process has not reported its inventory.
        NoInventory = "no_inventory",
        /// Too few CPU cores are free.
        CpuCores = "cpu_cores",
        /// Too little memory is free.
        Memory = "memory",
        /// Too little disk is free.
        Disk = "disk",
        /// No VM slot is free.
        VmSlots = "vm_slots",
        /// Another VM of the request is on the worker or in its zone, and they have to be distinct.
        Distinct = "distinct",
    }
}

/// Where VMs may be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacementConstraints {
    /// In one of these zones; the empty text is for workers without a zone. None is for any.
    pub zones: Option<Vec<String>>,
    /// With all of these labels.
    pub labels: Vec<LabelFilter>,
    /// With all of these capabilities.
    pub capabilities: Vec<String>,
    /// Not on these workers.
    pub without_workers: HashSet<String>,
    /// Not in these zones.
    pub without_zones: HashSet<String>,
}

impl PlacementConstraints {
    /// Everywhere but on these workers.
    pub fn without_workers<'a>(ids: impl IntoIterator<Item = &'a WorkerId>) -> Self {
        let without_workers = ids.into_iter().map(|id| id.as_str().to_owned()).collect();
        Self { without_workers, ..Self::default() }
    }

    /// With how many entries each worker is compared. Those in sets count as one.
    pub fn entries(&self) -> usize {
        self.zones.as_ref().map_or(0, Vec::len) + self.labels.len() + self.capabilities.len() + 2
    }

    fn refusals(&self, id: &WorkerId, identity: &Identity) -> Reasons {
        let Self { zones, labels, capabilities, without_workers, without_zones } = self;
        let mut reasons = Reasons::default();
        let is_excluded = without_workers.contains(id.as_str()) || without_zones.contains(&*identity.zone);
        reasons.add_if(RefusalReason::Excluded, is_excluded);
        let is_in_zones = zones.as_ref().is_none_or(|zones| zones.iter().any(|zone| **zone == *identity.zone));
        reasons.add_if(RefusalReason::Zone, !is_in_zones);
        reasons.add_if(RefusalReason::Labels, !labels.iter().all(|label| label.is_on(&identity.labels)));
        let has = |wanted: &String| identity.capabilities.iter().any(|has| **has == **wanted);
        reasons.add_if(RefusalReason::Capabilities, !capabilities.iter().all(has));
        reasons
    }
}

/// A set of [`RefusalReason`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u16);

impl Reasons {
    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a reason is in it.
    pub fn contains(self, reason: RefusalReason) -> bool {
        self.0 & 1 << reason as u16 != 0
    }

    /// Its reasons, in the order of their declaration.
    pub fn iter(self) -> impl Iterator<Item = RefusalReason> {
        RefusalReason::ALL.iter().copied().filter(move |reason| self.contains(*reason))
    }

    /// How many reasons are in it.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    fn add_if(&mut self, reason: RefusalReason, is_refused: bool) {
        self.0 |= u16::from(is_refused) << reason as u16;
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How far a worker comes in the order of preference: the least is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Preference<'a> {
    /// VMs of the request in its zone; 0 if VMs are packed.
    in_zone: u32,
    /// VMs of the request on it; 0 if VMs are packed.
    on_worker: u32,
    /// Its load, or what is missing to a full load if VMs are packed.
    load: u64,
    /// Last, so that the answer repeats.
    id: &'a WorkerId,
}

/// A full load.
const FULL_LOAD: u64 = 1_000_000;

/// How often workers are looked at, at most, to place VMs one by one whose sizes were rounded: some tenths of a second.
pub(super) const MAX_LOOKS: usize = 10_000_000;

/// A worker as a bin of the packing: with what is free on it while VMs are placed.
#[derive(Clone, Debug)]
pub struct Bin<'a> {
    /// The worker.
    pub worker: &'a Arc<Worker>,
    /// What is free on it, after the VMs that were placed.
    pub free: FreeCapacity,
    /// How many VMs were placed on it.
    pub placed: u32,
    /// Why it takes no VM of any size.
    unfit: Reasons,
    zone: usize,
}

impl<'a> Bin<'a> {
    /// The largest share of its CPU cores, memory and VM slots that is not free, in millionths.
    fn load(&self) -> u64 {
        let identity = &self.worker.identity;
        let share = |free: u64, total: u32| {
            let total = u64::from(total);
            (total.saturating_sub(free) * FULL_LOAD).checked_div(total).unwrap_or(FULL_LOAD)
        };
        let cpu_cores = share(self.free.cpu_cores, identity.cpu_cores);
        let memory = share(self.free.memory_mb, identity.memory_mb);
        cpu_cores.max(memory).max(share(self.free.vm_slots, identity.max_vms))
    }

    fn preference(&self, strategy: PlacementStrategy, in_zone: u32) -> Preference<'a> {
        let (load, id) = (self.load(), &self.worker.id);
        match strategy {
            PlacementStrategy::Spread => Preference { in_zone, on_worker: self.placed, load, id },
            PlacementStrategy::Pack => {
                Preference { in_zone: 0, on_worker: 0, load: FULL_LOAD.saturating_sub(load), id }
            }
        }
    }

    fn size_refusals(&self, size: VmSize) -> Reasons {
        let free = &self.free;
        let mut reasons = Reasons::default();
        reasons.add_if(RefusalReason::CpuCores, free.cpu_cores < size.vcpus.into());
        reasons.add_if(RefusalReason::Memory, free.memory_mb < size.memory_mb.into());
        reasons.add_if(RefusalReason::Disk, free.disk_gb < size.disk_gb.into());
        reasons.add_if(RefusalReason::VmSlots, free.vm_slots == 0);
        reasons
    }
}

/// Places VMs on workers, one after another.
#[derive(Debug)]
pub struct Placer<'a> {
    bins: Vec<Bin<'a>>,
    /// VMs that were placed in each zone.
    in_zones: Vec<u32>,
    strategy: PlacementStrategy,
    distinct: Distinct,
}

impl<'a> Placer<'a> {
    /// A placer over all workers, none of which has a VM of the request yet. `reserved` says what is
    /// held on each.
    pub fn new(
        workers: impl Iterator<Item = &'a Arc<Worker>>,
        cutoff: LivenessCutoff,
        constraints: &PlacementConstraints,
        (strategy, distinct): (PlacementStrategy, Distinct),
        reserved: &ReservedAt,
    ) -> Self {
        let mut zones = HashMap::<&str, usize>::new();
        let bins = workers.map(|worker| {
            let mut unfit = constraints.refusals(&worker.id, &worker.identity);
            unfit.add_if(RefusalReason::Offline, worker.availability(cutoff) == Availability::Offline);
            unfit.add_if(RefusalReason::Draining, worker.policy == SchedulingPolicy::Draining);
            unfit.add_if(RefusalReason::NoInventory, !worker.knows_inventory());
            let next = zones.len();
            let zone = *zones.entry(&worker.identity.zone).or_insert(next);
            Bin { worker, free: worker.free_beside(&reserved.on(worker)), placed: 0, unfit, zone }
        });
        let bins: Vec<_> = bins.collect();
        Self { in_zones: vec![0; zones.len()], bins, strategy, distinct }
    }

    /// All workers as they are after the VMs that were placed, in the order in which they came.
    pub fn bins(&self) -> &[Bin<'a>] {
        &self.bins
    }

    /// Why a VM of this size is not placed on a worker; empty if it could be.
    pub fn refusals(&self, bin: &Bin<'a>, size: VmSize) -> Reasons {
        let mut reasons = bin.unfit.and(bin.size_refusals(size));
        let is_taken = match self.distinct {
            Distinct::None => false,
            Distinct::Worker => bin.placed > 0,
            Distinct::Zone => self.in_zone(bin) > 0,
        };
        reasons.add_if(RefusalReason::Distinct, is_taken);
        reasons
    }

    /// The workers that could take a VM of this size next, as places in [`bins`](Self::bins), the preferred ones
    /// first; no more than so many of them, and how many there are.
    pub fn candidates(&self, size: VmSize, most: usize) -> (Vec<usize>, usize) {
        let fitting = (0..).zip(&self.bins).filter(|(_, bin)| self.refusals(bin, size).is_empty());
        let preference = |bin: &Bin<'a>| bin.preference(self.strategy, self.in_zone(bin));
        first_of(fitting.map(|(at, bin)| (preference(bin), at)).collect(), most)
    }

    /// Places VMs of one size, as many of them as fit. Answers the worker of each.
    pub fn place(&mut self, size: VmSize, count: usize) -> Vec<&'a Arc<Worker>> {
        self.place_in_bins(size, count).into_iter().map(|at| self.bins[at].worker).collect()
    }

    /// The same, answering the places in [`bins`](Self::bins).
    fn place_in_bins(&mut self, size: VmSize, count: usize) -> Vec<usize> {
        let mut zones = vec![Vec::new(); self.in_zones.len()];
        for (at, bin) in (0..).zip(&self.bins) {
            if self.refusals(bin, size).is_empty() {
                zones[bin.zone].push(Reverse((bin.preference(self.strategy, 0), at)));
            }
        }
        // The workers of a zone share its number of VMs, so their order among each other does not depend on it.
        let mut zones: Vec<_> = zones.into_iter().map(BinaryHeap::from).collect();
        let best_of = |zones: &[BinaryHeap<Reverse<(Preference<'a>, usize)>>], in_zones: &[u32], zone: usize| {
            let Reverse((best, _)) = zones.get(zone)?.peek()?;
            let in_zone = match self.strategy {
                PlacementStrategy::Spread => in_zones[zone],
                PlacementStrategy::Pack => 0,
            };
            Some(Reverse((Preference { in_zone, ..*best }, zone)))
        };
        let mut next: BinaryHeap<_> =
            (0..zones.len()).filter_map(|zone| best_of(&zones, &self.in_zones, zone)).collect();
        let mut placed = Vec::with_capacity(count.min(self.bins.len()));
        while placed.len() < count {
            let Some(Reverse((_, zone))) = next.pop() else { break };
            let Some(Reverse((_, at))) = zones[zone].pop() else { continue };
            let bin = &mut self.bins[at];
            bin.free.take(size);
            bin.placed += 1;
            self.in_zones[zone] += 1;
            placed.push(at);
            let may_take_another = match self.distinct {
                Distinct::None => bin.size_refusals(size).is_empty(),
                Distinct::Worker => false,
                Distinct::Zone => continue,
            };
            if may_take_another {
                zones[zone].push(Reverse((bin.preference(self.strategy, 0), at)));
            }
            next.extend(best_of(&zones, &self.in_zones, zone));
        }
        placed
    }

    /// Places VMs of several sizes: the largest first, since small ones still fit where large ones do not. Answers the
    /// worker of each, in the order of the sizes; none for a VM that fits nowhere.
    pub fn place_each(&mut self, sizes: &[VmSize]) -> Vec<Option<&'a Arc<Worker>>> {
        self.place_each_as(sizes, sizes)
    }

    /// The same for very many sizes: a place is looked for as if each VM were as large as its entry of `rounded`, of which
    /// there are fewer. What is rounded off is free for the VMs after it, and those that are left over are placed one by one,
    /// as large as they are.
    pub fn place_each_as(&mut self, sizes: &[VmSize], rounded: &[VmSize]) -> Vec<Option<&'a Arc<Worker>>> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        // The sort is stable, so that equal VMs keep their order.
        order.sort_by_key(|&at| largest_first(rounded[at]));
        let mut places = vec![None; sizes.len()];
        for equal in order.chunk_by(|&one, &other| rounded[one] == rounded[other]) {
            let Some(&first) = equal.first() else { continue };
            let size = rounded[first];
            for (&at, bin) in equal.iter().zip(self.place_in_bins(size, equal.len())) {
                self.bins[bin].free.give_back(size, sizes[at]);
                places[at] = Some(self.bins[bin].worker);
            }
        }
        if sizes != rounded {
            self.place_one_by_one(sizes, &mut places);
        }
        places
    }

    /// Places VMs that have no place yet, the largest first, until workers were looked at [`MAX_LOOKS`] times.
    fn place_one_by_one(&mut self, sizes: &[VmSize], places: &mut [Option<&'a Arc<Worker>>]) {
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&at| places[at].is_none()).collect();
        order.sort_by_key(|&at| largest_first(sizes[at]));
        let least = |of: fn(&VmSize) -> u32| order.iter().map(|&at| of(&sizes[at])).min().unwrap_or_default();
        let least = VmSize {
            vcpus: least(|size| size.vcpus),
            memory_mb: least(|size| size.memory_mb),
            disk_gb: least(|size| size.disk_gb),
        };
        // The others take none of these VMs: not now, and not with less room.
        let mut open: Vec<usize> =
            (0..self.bins.len()).filter(|&at| self.refusals(&self.bins[at], least).is_empty()).collect();
        let (mut looks, mut refused) = (0, None);
        for at in order {
            let size = sizes[at];
            if refused == Some(size) {
                continue;
            }
            looks += open.len();
            if looks > MAX_LOOKS {
                break;
            }
            let fitting = (0..open.len()).filter(|&it| self.refusals(&self.bins[open[it]], size).is_empty());
            let best = fitting.min_by_key(|&it| {
                let bin = &self.bins[open[it]];
                bin.preference(self.strategy, self.in_zone(bin))
            });
            let Some(best) = best else {
                refused = Some(size);
                continue;
            };
            let bin = &mut self.bins[open[best]];
            bin.free.take(size);
            bin.placed += 1;
            self.in_zones[bin.zone] += 1;
            places[at] = Some(bin.worker);
            if !self.refusals(&self.bins[open[best]], least).is_empty() {
                open.swap_remove(best);
            }
        }
    }

    fn in_zone(&self, bin: &Bin<'a>) -> u32 {
        self.in_zones[bin.zone]
    }
}

/// Sorts the largest VMs first. Memory is what hosts run out of first.
fn largest_first(size: VmSize) -> Reverse<(u32, u32, u32)> {
    Reverse((size.memory_mb, size.vcpus, size.disk_gb))
}

/// The first so many of these by their keys, in order, and how many there are. Only the first are sorted.
pub(super) fn first_of<K: Ord>(mut keyed: Vec<(K, usize)>, most: usize) -> (Vec<usize>, usize) {
    let count = keyed.len();
    if most == 0 {
        return (Vec::new(), count);
    }
    if most < count {
        keyed.select_nth_unstable(most - 1);
        keyed.truncate(most);
    }
    keyed.sort_unstable();
    (keyed.into_iter().map(|(_, at)| at).collect(), count)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::cluster::{Labels, Life, Reserved, Vm, VmId, VmStatus};

    /// What a test makes a worker of: zone, capacity, usage, and a number whose bits say what is wrong with it.
    pub(in crate::cluster) type Made = (u8, (u32, u32, u32, u32), (u32, u32, u32, u8), u8);

    pub(in crate::cluster) fn made() -> impl Strategy<Value = Made> {
        let capacity = (0_u32..12, 0_u32..12, 0_u32..12, 0_u32..5);
        let usage = (0_u32..9, 0_u32..9, 0_u32..9, 0_u8..3);
        (0_u8..4, capacity, usage, prop_oneof![4 => Just(0), 1 => any::<u8>()])
    }

    pub(in crate::cluster) fn worker(at: usize, (zone, capacity, usage, wrong): &Made) -> Arc<Worker> {
        let id = WorkerId::parse(&format!("w{at:02}")).unwrap();
        let has = |bit: u8| wrong & 1 << bit != 0;
        let label = |value: &str| Labels::from([("env".into(), value.into())]);
        let identity = Identity {
            hostname: "node".into(),
            address: "10.0.0.1:1".into(),
            zone: ["", "a", "b", "c"][usize::from(*zone)].into(),
            labels: label(if has(0) { "test" } else { "prod" }),
            capabilities: if has(1) { Vec::new() } else { vec!["kvm".into()] },
            cpu_cores: capacity.0,
            memory_mb: capacity.1,
            disk_gb: capacity.2,
            max_vms: capacity.3,
        };
        let mut worker = Worker::first_life(id.clone(), identity, Life::first(Timestamp::UNIX_EPOCH, 1));
        worker.usage.used_cpu_cores = usage.0;
        worker.usage.used_memory_mb = usage.1;
        worker.usage.used_disk_gb = usage.2;
        let vms = (0..usage.3).map(|vm| {
            let (name, status) = ("vm".into(), VmStatus::Running);
            let vm_id = VmId::parse(&format!("{id}-{vm}")).unwrap();
            let at = Timestamp::UNIX_EPOCH.into();
            Arc::new(Vm {
                id: vm_id,
                worker_id: id.clone(),
                name,
                status,
                vcpus: 1,
                memory_mb: 1,
                created_at: at,
                started_at: None,
                status_since: at,
                extras: None,
                revision: 1,
            })
        });
        worker.usage.vms = vms.collect::<Vec<_>>().into();
        worker.usage.inventory_revision = (!has(2)).then_some(1);
        worker.policy = if has(3) { SchedulingPolicy::Draining } else { SchedulingPolicy::Active };
        worker.life.deregistered_at = has(4).then_some(Timestamp::UNIX_EPOCH);
        Arc::new(worker)
    }

    fn constraints() -> impl Strategy<Value = PlacementConstraints> {
        let zone = || prop::sample::select(vec!["", "a", "b", "c", "d"]).prop_map(str::to_owned);
        let env = LabelFilter { key: "env".to_owned(), value: Some("prod".to_owned()) };
        (
            prop::option::weighted(0.3, prop::collection::vec(zone(), 1..4)),
            prop::bool::weighted(0.3),
            prop::bool::weighted(0.3),
            prop::collection::hash_set((0_u8..20).prop_map(|at| format!("w{at:02}")), 0..3),
            prop::collection::hash_set(zone(), 0..2),
        )
            .prop_map(move |(zones, labels, capabilities, without_workers, without_zones)| {
                PlacementConstraints {
                    zones,
                    labels: if labels { vec![env.clone()] } else { Vec::new() },
                    capabilities: if capabilities { vec!["kvm".to_owned()] } else { Vec::new() },
                    without_workers,
                    without_zones,
                }
            })
    }

    /// The model: what is free is counted by subtracting one VM after the other, and each place is looked for among all
    /// workers.
    pub(in crate::cluster) struct Model<'a> {
        pub(in crate::cluster) workers: &'a [Arc<Worker>],
        pub(in crate::cluster) constraints: &'a PlacementConstraints,
        pub(in crate::cluster) reserved: u32,
        pub(in crate::cluster) placed: Vec<Vec<VmSize>>,
    }

    impl Model<'_> {
        fn free(&self, at: usize) -> [i64; 4] {
            let Worker { identity, usage, .. } = &*self.workers[at];
            let total = [identity.cpu_cores, identity.memory_mb, identity.disk_gb, identity.max_vms];
            let vms = u32::try_from(usage.vms.iter().filter(|vm| vm.status.holds_slot()).count()).unwrap();
            let used = [usage.used_cpu_cores, usage.used_memory_mb, usage.used_disk_gb, vms];
            let mut free = [0; 4];
            for resource in 0..4 {
                free[resource] = (i64::from(total[resource]) - i64::from(used[resource] + self.reserved)).max(0);
            }
            for size in &self.placed[at] {
                let taken = [size.vcpus, size.memory_mb, size.disk_gb, 1];
                (0..4).for_each(|resource| free[resource] -= i64::from(taken[resource]));
            }
            free
        }

        fn placed_in_zone_of(&self, at: usize) -> usize {
            let zone = |at: usize| &self.workers[at].identity.zone;
            (0..self.workers.len()).filter(|&other| zone(other) == zone(at)).map(|at| self.placed[at].len()).sum()
        }

        pub(in crate::cluster) fn reasons(&self, at: usize, size: VmSize, distinct: Distinct) -> Vec<RefusalReason> {
            use RefusalReason as Reason;
            let (worker, wanted, free) = (&self.workers[at], self.constraints, self.free(at));
            let zone = worker.identity.zone.to_string();
            let shares = match distinct {
                Distinct::None => false,
                Distinct::Worker => !self.placed[at].is_empty(),
                Distinct::Zone => self.placed_in_zone_of(at) > 0,
            };
            let rules = [
                (
                    Reason::Excluded,
                    wanted.without_workers.contains(worker.id.as_str()) || wanted.without_zones.contains(&zone),
                ),
                (Reason::Zone, wanted.zones.as_ref().is_some_and(|zones| !zones.contains(&zone))),
                (
                    Reason::Labels,
                    !wanted.labels.is_empty() && worker.identity.labels.get("env").is_none_or(|env| &**env != "prod"),
                ),
                (Reason::Capabilities, !wanted.capabilities.is_empty() && worker.identity.capabilities.is_empty()),
                (Reason::Offline, worker.life.deregistered_at.is_some()),
                (Reason::Draining, worker.policy == SchedulingPolicy::Draining),
                (Reason::NoInventory, worker.usage.inventory_revision.is_none()),
                (Reason::CpuCores, free[0] < i64::from(size.vcpus)),
                (Reason::Memory, free[1] < i64::from(size.memory_mb)),
                (Reason::Disk, free[2] < i64::from(size.disk_gb)),
                (Reason::VmSlots, free[3] < 1),
                (Reason::Distinct, shares),
            ];
            rules.into_iter().filter(|(_, is_refused)| *is_refused).map(|(reason, _)| reason).collect()
        }

        fn load(&self, at: usize) -> u64 {
            let identity = &self.workers[at].identity;
            let free = self.free(at);
            let shares = [(identity.cpu_cores, free[0]), (identity.memory_mb, free[1]), (identity.max_vms, free[3])];
            let share = |(total, free): (u32, i64)| match u64::from(total) {
                0 => FULL_LOAD,
                total => (total - free.unsigned_abs()) * FULL_LOAD / total,
            };
            shares.into_iter().map(share).max().unwrap()
        }

        /// The place of one more VM.
        pub(in crate::cluster) fn place(
            &mut self,
            size: VmSize,
            strategy: PlacementStrategy,
            distinct: Distinct,
        ) -> Option<usize> {
            let fitting = (0..self.workers.len()).filter(|&at| self.reasons(at, size, distinct).is_empty());
            let at = fitting.min_by_key(|&at| match strategy {
                PlacementStrategy::Spread => (self.placed_in_zone_of(at), self.placed[at].len(), self.load(at), at),
                PlacementStrategy::Pack => (0, 0, FULL_LOAD - self.load(at), at),
            })?;
            self.placed[at].push(size);
            Some(at)
        }
    }

    fn sizes() -> impl Strategy<Value = VmSize> {
        (0_u32..4, 0_u32..4, 0_u32..3).prop_map(|(vcpus, memory_mb, disk_gb)| VmSize { vcpus, memory_mb, disk_gb })
    }

    proptest! {
        #[test]
        fn each_vm_gets_the_worker_that_a_look_at_all_of_them_finds(
            made in prop::collection::vec(made(), 0..20),
            constraints in constraints(),
            sizes in prop::collection::vec((sizes(), 0_usize..12), 1..4),
            strategy in prop::sample::select(PlacementStrategy::ALL.to_vec()),
            distinct in prop::sample::select(Distinct::ALL.to_vec()),
            reserved in 0_u32..3,
        ) {
            let held = u64::from(reserved);
            let held = Reserved { cpu_cores: held, memory_mb: held, disk_gb: held, vm_slots: held };
            let workers = made.iter().enumerate().map(|(at, made)| {
                Arc::new(Worker { reserved: held, ..Worker::clone(&worker(at, made)) })
            });
            let workers: Vec<_> = workers.collect();
            let cutoff = LivenessCutoff::of(Timestamp::UNIX_EPOCH, Duration::from_secs(60));
            let preferred = (strategy, distinct);
            let mut placer = Placer::new(workers.iter(), cutoff, &constraints, preferred, &ReservedAt::default());
            let placed = vec![Vec::new(); workers.len()];
            let mut model = Model { workers: &workers, constraints: &constraints, reserved, placed };
            for (size, count) in sizes {
                for at in 0..workers.len() {
                    let reasons: Vec<_> = placer.refusals(&placer.bins()[at], size).iter().collect();
                    prop_assert_eq!(reasons, model.reasons(at, size, distinct));
                    let [cpu_cores, memory_mb, disk_gb, vm_slots] = model.free(at).map(i64::unsigned_abs);
                    let free = FreeCapacity { cpu_cores, memory_mb, disk_gb, vm_slots };
                    prop_assert_eq!(placer.bins()[at].free, free);
                }
                let (preferred, fitting) = placer.candidates(size, usize::MAX);
                prop_assert_eq!(preferred.len(), fitting);
                prop_assert_eq!(placer.candidates(size, 2).0, preferred.iter().copied().take(2).collect::<Vec<_>>());
                let expected: Vec<_> = (0..count).map_while(|_| model.place(size, strategy, distinct)).collect();
                prop_assert_eq!(preferred.first().filter(|_| count > 0), expected.first());
                let places: Vec<_> = placer.place(size, count).into_iter().map(|worker| &worker.id).collect();
                prop_assert_eq!(places, expected.iter().map(|&at| &workers[at].id).collect::<Vec<_>>());
            }
        }

        #[test]
        fn vms_of_many_sizes_are_placed_as_if_they_came_one_by_one_with_the_largest_first(
            made in prop::collection::vec(made(), 0..12),
            sizes in prop::collection::vec(sizes(), 0..20),
        ) {
            let workers: Vec<_> = made.iter().enumerate().map(|(at, made)| worker(at, made)).collect();
            let cutoff = LivenessCutoff::of(Timestamp::UNIX_EPOCH, Duration::from_secs(60));
            let constraints = PlacementConstraints::without_workers(workers.iter().map(|worker| &worker.id).take(1));
            let (strategy, distinct) = (PlacementStrategy::Spread, Distinct::None);
            let preferred = (strategy, distinct);
            let mut placer = Placer::new(workers.iter(), cutoff, &constraints, preferred, &ReservedAt::default());
            let placed = vec![Vec::new(); workers.len()];
            let mut model = Model { workers: &workers, constraints: &constraints, reserved: 0, placed };
            let places = placer.place_each(&sizes);
            let mut order: Vec<_> = (0..sizes.len()).collect();
            order.sort_by_key(|&at| Reverse((sizes[at].memory_mb, sizes[at].vcpus, sizes[at].disk_gb)));
            for at in order {
                let expected = model.place(sizes[at], strategy, distinct).map(|at| &workers[at].id);
                prop_assert_eq!(places[at].map(|worker| &worker.id), expected);
            }
        }
    }
}
