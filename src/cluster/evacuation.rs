//! Evacuation plans: where the VMs of workers that are to be emptied could go, and for which of them no place was found.
//!
//! The VMs are placed by the rules of [`placement`](super::placement), on none of the workers that are to be emptied. A
//! VM that holds a slot on another worker, too, which is online and takes VMs, is about to arrive there, and needs no
//! further room; nor does a VM for which a reservation that names it holds a slot on such a worker, whatever its size:
//! that room is taken from what is free there already. The VMs of other workers that drain have to move as well: they are given room first, so that two drains
//! that fit by themselves, and not together, are not both told that they fit.
//!
//! VMs are spread, and if some are left over, packed instead, if fewer are left over then. A plan in which all fit is one way
//! to move them. One in which some are left over is no proof that there is no way: to find the best packing takes longer
//! than anybody waits.
//!
//! A plan moves nothing and holds nothing. The [journal](crate::journal) makes it of the latest state before it drains
//! many workers at once; [`resolvers`](crate::resolvers) make it of a snapshot for those who only ask.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::free_capacity::VmSize;
use super::held_reservations::ReservedAt;
use super::id::{VmId, WorkerId};
use super::placement::{Distinct, MAX_LOOKS, PlacementConstraints, PlacementStrategy, Placer};
use super::placement_answer::{WorkersRefused, refusals_by_reason};
use super::status::{Availability, SchedulingPolicy};
use super::view::View;
use super::vm::Vm;
use super::worker::{LivenessCutoff, Worker};

/// How many sizes of VMs are told apart at first. For each size all workers are looked at, and the journal makes plans, too:
/// if there are more, sizes are rounded up until there are no more than this.
const MAX_SIZES: usize = 256;

/// To which parts of the power of two below it a number is rounded up: to the finest with which there are few sizes.
const ROUNDINGS: [u32; 4] = [8, 4, 2, 1];

/// Where the VMs of some workers could go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvacuationPlan {
    /// How many workers are to be emptied.
    pub workers: usize,
    /// How many VMs hold a slot on them and would have to move.
    pub vms: usize,
    /// For how many of them a place was found.
    pub placeable: usize,
    /// Where these could go, by their worker and id, as far as they are listed.
    pub moves: Vec<EvacuationMove>,
    /// Those for which none was found, by their worker and id, as far as they are listed.
    pub stranded: Vec<StrandedVm>,
    /// How many of the VMs have CPUs or memory that are not known: these are taken to need a slot and no more.
    pub unsized_vms: usize,
    /// How many VMs more hold a slot on these workers, and were set aside because of their ids: they have no place in the
    /// plan, and something runs there all the same.
    pub set_aside_vms: usize,
    /// How many VMs of other workers that drain were given room before them.
    pub vms_of_other_drains: usize,
    /// Revision of the state that it was made of.
    pub revision: u64,
}

/// A VM that could move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvacuationMove {
    /// The VM.
    pub vm_id: VmId,
    /// The worker that it is on.
    pub from_worker: WorkerId,
    /// The worker that has room for it.
    pub to_worker: WorkerId,
}

/// A VM for which no other worker has room left, once all others have moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrandedVm {
    /// The VM.
    pub vm_id: VmId,
    /// The worker that it is on.
    pub worker_id: WorkerId,
    /// Its size.
    pub size: VmSize,
    /// How many workers refuse it for each reason, after all others have moved; the most frequent first.
    pub refusals_by_reason: Vec<WorkersRefused>,
}

/// The workers of one state, of which plans are made.
pub struct Fleet<'a, H, R> {
    /// All of them.
    pub workers: Vec<&'a Arc<Worker>>,
    /// Which of them are online.
    pub cutoff: LivenessCutoff,
    /// What is held on each.
    pub reserved: ReservedAt,
    /// The workers on which a VM holds a slot. Of one that is on its own worker only, there may be none.
    pub holders: H,
    /// The worker on which a reservation that names the VM holds a slot for it, if there is one.
    pub reserved_place: R,
    /// The state's revision.
    pub revision: u64,
}

impl EvacuationPlan {
    /// Whether a place was found for all VMs.
    pub fn fits(&self) -> bool {
        self.placeable == self.vms
    }

    /// For how many VMs no place was found.
    pub fn total_stranded(&self) -> usize {
        self.vms - self.placeable
    }

    /// The plan for the workers with these ids, with at most so many VMs in each list.
    pub fn of<'a, H, R>(fleet: &Fleet<'a, H, R>, ids: &HashSet<&WorkerId>, listed: usize) -> Self
    where
        H: Fn(&Vm) -> Vec<&'a Arc<Worker>>,
        R: Fn(&Vm) -> Option<&'a Arc<Worker>>,
    {
        let Fleet { workers, cutoff, reserved, holders, reserved_place, revision } = fleet;
        let is_emptied = |worker: &Worker| ids.contains(&worker.id);
        let takes_vms = |worker: &Worker| {
            worker.policy == SchedulingPolicy::Active && worker.availability(*cutoff) == Availability::Online
        };
        // A VM that holds slots on several workers moves once.
        let mut moving = HashSet::new();
        let mut leaving = |worker: &'a Arc<Worker>| -> Vec<&'a Arc<Vm>> {
            let leaves = |vm: &&Arc<Vm>| {
                let holders = holders(vm);
                let has_place = |other: &Worker| other.id != vm.worker_id && !is_emptied(other) && takes_vms(other);
                let stays =
                    holders.iter().any(|other| has_place(other)) || reserved_place(vm).is_some_and(|it| has_place(it));
                !stays && (holders.is_empty() || moving.insert(vm.id.clone()))
            };
            worker.slot_holders().filter(leaves).collect()
        };
        let sorted = |is_wanted: &dyn Fn(&Worker) -> bool| {
            let mut wanted: Vec<_> = workers.iter().copied().filter(|worker| is_wanted(worker)).collect();
            wanted.sort_unstable_by(|one, other| one.id.cmp(&other.id));
            wanted
        };
        let emptied = sorted(&is_emptied);
        let vms: Vec<_> = emptied.iter().flat_map(|worker| leaving(worker)).collect();
        let other_drains = sorted(&|worker| worker.policy == SchedulingPolicy::Draining && !is_emptied(worker));
        let earlier: Vec<_> = other_drains.into_iter().flat_map(leaving).collect();

        let sizes_of = |vms: &[&Arc<Vm>]| vms.iter().map(|vm| VmSize::of(vm)).collect::<Vec<_>>();
        let (sizes, earlier_sizes) = (sizes_of(&vms), sizes_of(&earlier));
        let rounding = Rounding::of(sizes.iter().chain(&earlier_sizes));
        let [rounded, earlier_rounded] = [&sizes, &earlier_sizes].map(|sizes| rounding.all(sizes));
        let constraints = PlacementConstraints::without_workers(ids.iter().copied());
        let attempt = |strategy| {
            let preferred = (strategy, Distinct::None);
            let mut placer = Placer::new(workers.iter().copied(), *cutoff, &constraints, preferred, reserved);
            placer.place_each_as(&earlier_sizes, &earlier_rounded);
            let places = placer.place_each_as(&sizes, &rounded);
            let stranded = places.iter().filter(|place| place.is_none()).count();
            (stranded, placer, places)
        };
        // Spread leaves a little room everywhere, where packed VMs leave enough for a large one.
        let spread = attempt(PlacementStrategy::Spread);
        let packed = (spread.0 > 0).then(|| attempt(PlacementStrategy::Pack));
        let (_, placer, places) = packed.filter(|packed| packed.0 < spread.0).unwrap_or(spread);

        let mut plan = Self {
            workers: emptied.len(),
            vms: vms.len(),
            unsized_vms: vms.iter().filter(|vm| vm.vcpus == 0 || vm.memory_mb == 0).count(),
            set_aside_vms: emptied.iter().map(|worker| worker.usage.set_aside_vms as usize).sum(),
            vms_of_other_drains: earlier.len(),
            revision: *revision,
            ..Self::default()
        };
        let mut refusals = HashMap::new();
        for ((vm, place), size) in vms.iter().zip(places).zip(sizes) {
            match place {
                Some(to) => {
                    plan.placeable += 1;
                    if plan.moves.len() < listed {
                        let (vm_id, from_worker, to_worker) = (vm.id.clone(), vm.worker_id.clone(), to.id.clone());
                        plan.moves.push(EvacuationMove { vm_id, from_worker, to_worker });
                    }
                }
                None if plan.stranded.len() < listed => {
                    let reasons = refusals.entry(size).or_insert_with(|| refusals_by_reason(&placer, size));
                    plan.stranded.push(StrandedVm {
                        vm_id: vm.id.clone(),
                        worker_id: vm.worker_id.clone(),
                        size: VmSize::of(vm),
                        refusals_by_reason: reasons.clone(),
                    });
                }
                None => {}
            }
        }
        plan
    }

    /// The plan for workers of what the view shows.
    pub fn of_view(view: &View, ids: &HashSet<&WorkerId>, listed: usize) -> Self {
        let snapshot = &view.snapshot;
        let holders = |vm: &Vm| {
            let reports = snapshot.find_vm(vm.id.as_str()).filter(|_| snapshot.is_duplicate(vm.id.as_str()));
            let workers = reports.into_iter().flat_map(|reports| reports.workers());
            let workers = workers.filter_map(|id| snapshot.find_worker(id.as_str()));
            workers.filter(|worker| worker.vm(vm.id.as_str()).is_some_and(|vm| vm.status.holds_slot())).collect()
        };
        let reserved_place = |vm: &Vm| {
            let reservation = snapshot.reservation(snapshot.reservation_for_vm(vm.id.as_str())?.as_str())?;
            let slot = reservation.held_slot_for(&vm.id).filter(|_| reservation.is_held_at(view.now))?;
            snapshot.find_worker(slot.worker_id.as_str())
        };
        let fleet = Fleet {
            workers: snapshot.workers().collect(),
            cutoff: view.cutoff(),
            reserved: snapshot.reserved_at(view.now),
            holders,
            reserved_place,
            revision: snapshot.revision,
        };
        Self::of(&fleet, ids, listed)
    }

    /// How many workers and VMs are looked at for a plan, about: of so many workers, with these VMs on those that are to be
    /// emptied and on others that drain, and so many VMs in each list.
    pub fn looks<'a>(workers: usize, vms: impl Iterator<Item = &'a Arc<Vm>>, listed: usize) -> usize {
        let (mut count, mut sizes) = (0_usize, HashSet::new());
        for vm in vms {
            count += 1;
            sizes.insert(VmSize::of(vm));
        }
        // Each size is a look at all workers for each strategy, and one more to tell why its VMs have no place.
        let placed = sizes.len().min(MAX_SIZES).saturating_mul(STRATEGIES);
        let told = sizes.len().min(listed);
        let left_over = sizes.len().saturating_sub(MAX_SIZES).saturating_mul(workers).min(MAX_LOOKS);
        let of_workers = workers.saturating_mul(1 + STRATEGIES + placed + told);
        of_workers.saturating_add(left_over.saturating_add(count).saturating_mul(STRATEGIES))
    }
}

/// How often the VMs of a plan are placed: spread, and packed if some are left over.
const STRATEGIES: usize = 2;

/// How sizes are rounded up, so that few of them are different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rounding {
    /// The parts of the power of two below a number to which it is rounded up; none if it stays as it is.
    parts: Option<u32>,
}

impl Rounding {
    /// The finest with which these are no more than [`MAX_SIZES`], or else the coarsest.
    fn of<'a>(sizes: impl Iterator<Item = &'a VmSize>) -> Self {
        let mut rounding = Self { parts: None };
        let mut different: HashSet<VmSize> = sizes.copied().collect();
        for parts in ROUNDINGS {
            if different.len() <= MAX_SIZES {
                break;
            }
            rounding = Self { parts: Some(parts) };
            different = different.into_iter().map(|size| rounding.size(size)).collect();
        }
        rounding
    }

    fn all(self, sizes: &[VmSize]) -> Vec<VmSize> {
        sizes.iter().map(|size| self.size(*size)).collect()
    }

    fn size(self, VmSize { vcpus, memory_mb, disk_gb }: VmSize) -> VmSize {
        VmSize { vcpus: self.number(vcpus), memory_mb: self.number(memory_mb), disk_gb: self.number(disk_gb) }
    }

    fn number(self, number: u32) -> u32 {
        match (self.parts, number.checked_ilog2()) {
            (Some(parts), Some(power)) => {
                let step = ((1 << power) / parts).max(1);
                number.checked_next_multiple_of(step).unwrap_or(number)
            }
            (None, _) | (_, None) => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::cluster::placement::tests::{Made, Model, made, worker};
    use crate::cluster::{Identity, RefusalReason, VmStatus};

    /// VMs of a worker: the number of each in its id, which other workers may report, too, its size, and whether it runs.
    type MadeVms = Vec<(u8, (u32, u32), bool)>;

    fn made_vms() -> impl Strategy<Value = MadeVms> {
        prop::collection::vec((0_u8..24, (0_u32..4, 0_u32..4), prop::bool::weighted(0.8)), 0..5)
    }

    fn worker_with(at: usize, made: &Made, vms: &MadeVms) -> Arc<Worker> {
        let mut worker = Worker::clone(&worker(at, made));
        let vms = vms.iter().map(|(number, (vcpus, memory_mb), runs)| {
            Arc::new(Vm {
                id: VmId::parse(&format!("v{number:02}")).unwrap(),
                worker_id: worker.id.clone(),
                name: "vm".into(),
                status: if *runs { VmStatus::Running } else { VmStatus::Stopped },
                vcpus: *vcpus,
                memory_mb: *memory_mb,
                created_at: Timestamp::UNIX_EPOCH.into(),
                started_at: None,
                status_since: Timestamp::UNIX_EPOCH.into(),
                extras: None,
                revision: 1,
            })
        });
        let mut vms: Vec<_> = vms.collect();
        vms.sort_by(|one, other| one.id.cmp(&other.id));
        vms.dedup_by(|one, other| one.id == other.id);
        worker.usage.vms = vms.into();
        Arc::new(worker)
    }

    /// The VMs that leave workers, as a look at all workers for each finds them.
    fn leaving<'a>(
        workers: &'a [Arc<Worker>],
        from: &dyn Fn(&Worker) -> bool,
        is_emptied: &dyn Fn(&Worker) -> bool,
        reserved: &[(VmId, usize)],
        known: &mut Vec<VmId>,
    ) -> Vec<&'a Arc<Vm>> {
        let mut leaving = Vec::new();
        for worker in workers.iter().filter(|worker| from(worker)) {
            for vm in worker.usage.vms.iter().filter(|vm| vm.status == VmStatus::Running) {
                let has_arrived = workers.iter().any(|other| {
                    other.id != worker.id
                        && !is_emptied(other)
                        && other.policy == SchedulingPolicy::Active
                        && other.life.deregistered_at.is_none()
                        && (other.usage.vms.iter().any(|it| it.id == vm.id && it.status == VmStatus::Running)
                            || reserved.iter().any(|(id, at)| *id == vm.id && workers[*at].id == other.id))
                });
                if !has_arrived && !known.contains(&vm.id) {
                    known.push(vm.id.clone());
                    leaving.push(vm);
                }
            }
        }
        leaving
    }

    proptest! {
        #[test]
        fn a_plan_is_what_a_look_at_all_workers_for_each_vm_finds(
            made in prop::collection::vec((made(), made_vms()), 0..14),
            chosen in prop::collection::hash_set(0_usize..14, 0..5),
            reserved in prop::collection::btree_map(0_u8..24, 0_usize..14, 0..6),
            listed in 0_usize..30,
        ) {
            let workers: Vec<_> = made.iter().enumerate().map(|(at, (made, vms))| worker_with(at, made, vms)).collect();
            let ids: HashSet<_> = chosen.iter().filter_map(|at| workers.get(*at)).map(|worker| &worker.id).collect();
            let holders = |vm: &Vm| -> Vec<&Arc<Worker>> {
                let holds = |worker: &&Arc<Worker>| worker.slot_holders().any(|it| it.id == vm.id);
                let holders: Vec<_> = workers.iter().filter(holds).collect();
                if holders.len() > 1 { holders } else { Vec::new() }
            };
            let reserved = reserved.iter().map(|(number, at)| (VmId::parse(&format!("v{number:02}")).unwrap(), *at));
            let reserved: Vec<_> = reserved.filter(|(_, at)| *at < workers.len()).collect();
            let reserved_place = |vm: &Vm| reserved.iter().find(|(id, _)| *id == vm.id).map(|(_, at)| &workers[*at]);
            let fleet = Fleet {
                workers: workers.iter().rev().collect(),
                cutoff: LivenessCutoff::of(Timestamp::UNIX_EPOCH, Duration::from_secs(60)),
                reserved: ReservedAt::default(),
                holders,
                reserved_place,
                revision: 7,
            };
            let plan = EvacuationPlan::of(&fleet, &ids, listed);

            let is_emptied = |worker: &Worker| ids.contains(&worker.id);
            let drains = |worker: &Worker| !is_emptied(worker) && worker.policy == SchedulingPolicy::Draining;
            let mut known = Vec::new();
            let vms = leaving(&workers, &is_emptied, &is_emptied, &reserved, &mut known);
            let earlier = leaving(&workers, &drains, &is_emptied, &reserved, &mut known);
            let constraints = PlacementConstraints::without_workers(ids.iter().copied());
            let attempt = |strategy| {
                let mut model =
                    Model { workers: &workers, constraints: &constraints, reserved: 0, placed: vec![Vec::new(); workers.len()] };
                let mut places = vec![None; vms.len()];
                for vms in [&earlier, &vms] {
                    let mut order: Vec<_> = (0..vms.len()).collect();
                    order.sort_by_key(|&at| Reverse((vms[at].memory_mb, vms[at].vcpus)));
                    places = vec![None; vms.len()];
                    for at in order {
                        places[at] = model.place(VmSize::of(vms[at]), strategy, Distinct::None);
                    }
                }
                (places.iter().filter(|place| place.is_none()).count(), model, places)
            };
            let (spread, packed) = (attempt(PlacementStrategy::Spread), attempt(PlacementStrategy::Pack));
            let (_, model, places) = if packed.0 < spread.0 { packed } else { spread };
            let (mut moves, mut stranded) = (Vec::new(), Vec::new());
            for (vm, place) in vms.iter().zip(&places) {
                match place {
                    Some(at) => moves.push((vm.id.clone(), vm.worker_id.clone(), workers[*at].id.clone())),
                    None => {
                        let refused = |reason: RefusalReason| {
                            let refuses = |at: &usize| model.reasons(*at, VmSize::of(vm), Distinct::None).contains(&reason);
                            (0..workers.len()).filter(refuses).count()
                        };
                        let counts = RefusalReason::ALL.iter().map(|reason| (refused(*reason), *reason));
                        let counts: HashSet<_> = counts.filter(|(count, _)| *count > 0).map(|(count, reason)| (reason.as_str(), count)).collect();
                        stranded.push((vm.id.clone(), vm.worker_id.clone(), counts));
                    }
                }
            }
            prop_assert_eq!([plan.workers, plan.vms, plan.placeable, plan.total_stranded()], [ids.len(), vms.len(), moves.len(), stranded.len()]);
            prop_assert_eq!([plan.fits(), plan.revision == 7], [stranded.is_empty(), true]);
            prop_assert_eq!(plan.vms_of_other_drains, earlier.len());
            prop_assert_eq!(plan.unsized_vms, vms.iter().filter(|vm| vm.vcpus == 0 || vm.memory_mb == 0).count());
            moves.truncate(listed);
            stranded.truncate(listed);
            let told = plan.moves.into_iter().map(|it| (it.vm_id, it.from_worker, it.to_worker));
            prop_assert_eq!(told.collect::<Vec<_>>(), moves);
            let told = plan.stranded.into_iter().map(|it| {
                let counts = it.refusals_by_reason.iter().map(|it| (it.reason.as_str(), it.workers)).collect::<HashSet<_>>();
                (it.vm_id, it.worker_id, counts)
            });
            prop_assert_eq!(told.collect::<Vec<_>>(), stranded);
        }
    }

    #[test]
    fn the_work_of_a_plan_is_counted_by_its_workers_its_sizes_and_its_vms() {
        let vms = |sizes: u32, of_each: usize| -> Vec<Arc<Vm>> {
            let vms = (0..sizes).flat_map(|memory_mb| {
                let made = worker_with(0, &(0, (8, 8, 0, 4), (0, 0, 0, 0), 0), &vec![(0, (1, memory_mb), true)]);
                vec![made.usage.vms.first().unwrap().clone(); of_each]
            });
            vms.collect()
        };
        let looks = |vms: &[Arc<Vm>], listed| EvacuationPlan::looks(1_000, vms.iter(), listed);
        assert_eq!(looks(&[], 20), 3 * 1_000);
        assert_eq!(looks(&vms(1, 1), 0), (3 + 2) * 1_000 + 2);
        assert_eq!(looks(&vms(1, 500), 0), (3 + 2) * 1_000 + 2 * 500, "each VM is looked at");
        assert_eq!(looks(&vms(4, 10), 2), (3 + 2 * 4 + 2) * 1_000 + 2 * 40, "so is the size of each VM that is listed");
        assert_eq!(looks(&vms(300, 1), 0), (3 + 2 * 256) * 1_000 + 2 * (44 * 1_000 + 300));
    }

    #[test]
    fn sizes_are_rounded_as_little_as_makes_them_few() {
        let sizes = |count: u32| (0..count).map(|more| VmSize { vcpus: 3, memory_mb: 1_025 + more, disk_gb: 0 });
        let rounding = |sizes: &[VmSize]| Rounding::of(sizes.iter());
        let few: Vec<_> = sizes(MAX_SIZES as u32).collect();
        assert_eq!(rounding(&few).all(&few), few);
        let many: Vec<_> = sizes(MAX_SIZES as u32 + 1).collect();
        let rounded = rounding(&many).all(&many);
        assert_eq!([0, 127, 128, 256].map(|at| rounded[at].memory_mb), [1_152, 1_152, 1_280, 1_408]);
        assert!(rounded.iter().all(|size| size.vcpus == 3), "small numbers stay as they are");
        // Eighths of so many powers of two are still too many.
        let grid: Vec<_> = (4..12)
            .flat_map(|power| (0..16).map(move |part| (1 << power) + part * (1 << power) / 16))
            .flat_map(|memory_mb| (1..=64).map(move |vcpus| VmSize { vcpus, memory_mb, disk_gb: 0 }))
            .collect();
        let rounding = rounding(&grid);
        let rounded = rounding.all(&grid);
        assert_eq!(rounding, Rounding { parts: Some(2) });
        assert!(rounded.iter().collect::<HashSet<_>>().len() <= MAX_SIZES);
        assert!(
            rounded
                .iter()
                .zip(&grid)
                .all(|(up, size)| size.memory_mb <= up.memory_mb && up.memory_mb < size.memory_mb * 3 / 2 + 1)
        );
        let coarsest = Rounding { parts: Some(1) };
        assert_eq!([0, 1, 3, 4, 5, u32::MAX].map(|number| coarsest.number(number)), [0, 1, 4, 4, 8, u32::MAX]);
    }

    #[test]
    fn no_vm_is_left_over_only_because_its_size_was_rounded() {
        let count = MAX_SIZES as u32 + 40;
        let sizes = || (0..count).map(|more| 1_025 + more);
        let all: u32 = sizes().sum();
        let plan = |memory_mb: u32| {
            let mut from = Worker::clone(&worker(0, &(0, (8, 8, 0, 4), (0, 0, 0, 0), 0)));
            let vms = sizes().enumerate().map(|(at, memory_mb)| {
                let made = worker_with(0, &(0, (8, 8, 0, 4), (0, 0, 0, 0), 0), &vec![(0, (1, memory_mb), true)]);
                Arc::new(Vm {
                    id: VmId::parse(&format!("v{at:03}")).unwrap(),
                    ..Vm::clone(made.usage.vms.first().unwrap())
                })
            });
            from.usage.vms = vms.collect::<Vec<_>>().into();
            let mut to = Worker::clone(&worker(1, &(0, (8, 8, 0, 4), (0, 0, 0, 0), 0)));
            to.identity =
                Identity { cpu_cores: count, memory_mb, max_vms: count, ..Identity::clone(&to.identity) }.into();
            let workers = [Arc::new(from), Arc::new(to)];
            let fleet = Fleet {
                workers: workers.iter().collect(),
                cutoff: LivenessCutoff::of(Timestamp::UNIX_EPOCH, Duration::from_secs(60)),
                reserved: ReservedAt::default(),
                holders: |_: &Vm| Vec::new(),
                reserved_place: |_: &Vm| None,
                revision: 1,
            };
            EvacuationPlan::of(&fleet, &HashSet::from([&workers[0].id]), 1)
        };
        assert!(plan(all).fits(), "all of them are as large as the room");
        let short = plan(all - 1);
        assert_eq!(short.total_stranded(), 1);
        let memory =
            short.stranded[0].refusals_by_reason.iter().find(|refused| refused.reason == RefusalReason::Memory);
        assert_eq!(
            memory.map(|refused| refused.workers),
            Some(2),
            "of the exact size, also on the host that is emptied"
        );
    }
}
