//! Pages of all workers in an order that has an index: found by search in the index, without sorting.
//!
//! Only a registration moves a worker in these orders. As in every walk (see [`page`](super::page)), the workers that
//! have registered since the walk began come behind all others, by id; the others have not moved. So a page is read
//! from the index, skipping the workers that have moved, and then from those: it costs its own length and the number of
//! moved workers. Pages by id, and pages of filtered lists in these orders, are not read here.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::page::{CursorPosition, Edge, Page, PageRequest, Seek, cursor_of_another_order, walk_start};
use crate::cluster::{
    Cursor, Group, Index, IndexedOrder, SortKey, View, WorkerId, WorkerOrder, WorkerOrderField, WorkerView,
};
use crate::error::Result;

/// The index for an order of workers, if it has one.
pub(super) fn indexed_order(order: WorkerOrder) -> Option<IndexedOrder> {
    match order.field {
        WorkerOrderField::Hostname => Some(IndexedOrder::Hostname),
        WorkerOrderField::Zone => Some(IndexedOrder::Zone),
        WorkerOrderField::Id
        | WorkerOrderField::CpuUsage
        | WorkerOrderField::MemoryUsage
        | WorkerOrderField::VmCount
        | WorkerOrderField::LastSeen
        | WorkerOrderField::FreeCpuCores
        | WorkerOrderField::FreeMemory
        | WorkerOrderField::FreeVmSlots => None,
    }
}

/// One page of all workers in an order that has an index; `edge` makes a worker's edge in that order.
pub(super) fn page(
    view: &Arc<View>,
    indexed: IndexedOrder,
    order: WorkerOrder,
    request: &PageRequest,
    edge: impl Fn(WorkerView) -> Edge<WorkerView>,
) -> Result<Page<WorkerView>> {
    let PageRequest { after, before, names, .. } = request;
    let parse = |text: &Option<String>, field| {
        let Some(text) = text else { return Ok(None) };
        let place = CursorPosition::parse(text, field)?;
        match (indexed, &place.key) {
            (IndexedOrder::Hostname, SortKey::Hostname(_)) | (IndexedOrder::Zone, SortKey::Zone(_)) => Ok(Some(place)),
            _ => Err(cursor_of_another_order(field, names)),
        }
    };
    let size = request.size()?;
    let (after, before) = (parse(after, names.after)?, parse(before, "before")?);
    let since = walk_start(&after, &before, names.after, &view.snapshot)?;
    let mut moved: Vec<_> = view.snapshot.registered_after(since.revision).cloned().collect();
    moved.sort_unstable();
    let (_, from_the_end) = size;
    let index = view.snapshot.ordered(indexed);
    let walk = IndexedWalk { view, index, descending: order.descending, since, from_the_end, moved, edge };
    Ok(Page::sought(&walk, after.as_ref(), before.as_ref(), size))
}

/// All workers, in the order in which a walk meets them.
struct IndexedWalk<'v, E> {
    view: &'v Arc<View>,
    index: &'v Index<WorkerId>,
    descending: bool,
    since: Cursor,
    from_the_end: bool,
    /// The workers that may have moved since the walk began, by id.
    moved: Vec<WorkerId>,
    edge: E,
}

impl<E> IndexedWalk<'_, E> {
    fn has_moved(&self, worker: &WorkerView) -> bool {
        worker.worker.registration_revision > self.since.revision
    }

    /// Whether a position is in the second part of the list: moved workers are, unless the walk goes from the end.
    fn is_in_second(&self, place: &CursorPosition) -> bool {
        place.has_moved != self.from_the_end
    }

    /// The bounds, limited to the part of the workers that have moved or have not. None if no position of that part is
    /// between them.
    fn within<'a>(
        &self,
        have_moved: bool,
        lower: Bound<&'a CursorPosition>,
        upper: Bound<&'a CursorPosition>,
    ) -> Option<(Bound<&'a CursorPosition>, Bound<&'a CursorPosition>)> {
        let part = have_moved != self.from_the_end;
        let place = |bound| match bound {
            Bound::Included(place) | Bound::Excluded(place) => Some(self.is_in_second(place)),
            Bound::Unbounded => None,
        };
        let lower = match place(lower).map(|of| of.cmp(&part)) {
            None | Some(Ordering::Less) => Bound::Unbounded,
            Some(Ordering::Equal) => lower,
            Some(Ordering::Greater) => return None,
        };
        let upper = match place(upper).map(|of| of.cmp(&part)) {
            None | Some(Ordering::Greater) => Bound::Unbounded,
            Some(Ordering::Equal) => upper,
            Some(Ordering::Less) => return None,
        };
        Some((lower, upper))
    }

    /// The workers that have not moved, between two positions.
    fn unmoved<'a>(
        &'a self,
        lower: Bound<&'a CursorPosition>,
        upper: Bound<&'a CursorPosition>,
    ) -> impl DoubleEndedIterator<Item = WorkerView> + 'a {
        let (first, last) = (lower.map(text), upper.map(text));
        // Under the texts of the bounds themselves, the ids are limited below.
        let included = |bound| match bound {
            Bound::Included(text) | Bound::Excluded(text) => Bound::Included(text),
            Bound::Unbounded => Bound::Unbounded,
        };
        let groups: Box<dyn DoubleEndedIterator<Item = &'a Group<WorkerId>> + 'a> = if self.descending {
            Box::new(self.index.groups(included(last), included(first)).rev())
        } else {
            Box::new(self.index.groups(included(first), included(last)))
        };
        let ids = groups.flat_map(move |group| {
            let limit = |bound: Bound<&'a CursorPosition>| match bound {
                Bound::Included(place) if text(place) == &**group.text() => Bound::Included(&*place.id),
                Bound::Excluded(place) if text(place) == &**group.text() => Bound::Excluded(&*place.id),
                _ => Bound::Unbounded,
            };
            // Under one text, ids ascend in either direction.
            group.ids().range(limit(lower), limit(upper))
        });
        ids.filter_map(|id| self.view.find_worker(id.as_str())).filter(|worker| !self.has_moved(worker))
    }

    /// The workers that have moved, between two positions.
    fn moved<'a>(
        &'a self,
        lower: Bound<&'a CursorPosition>,
        upper: Bound<&'a CursorPosition>,
    ) -> impl DoubleEndedIterator<Item = WorkerView> + 'a {
        let start = match lower {
            Bound::Included(place) => self.moved.partition_point(|id| id.as_str() < &*place.id),
            Bound::Excluded(place) => self.moved.partition_point(|id| id.as_str() <= &*place.id),
            Bound::Unbounded => 0,
        };
        let end = match upper {
            Bound::Included(place) => self.moved.partition_point(|id| id.as_str() <= &*place.id),
            Bound::Excluded(place) => self.moved.partition_point(|id| id.as_str() < &*place.id),
            Bound::Unbounded => self.moved.len(),
        };
        let ids = self.moved.get(start..end).unwrap_or_default().iter();
        ids.filter_map(|id| self.view.find_worker(id.as_str()))
    }
}

impl<E: Fn(WorkerView) -> Edge<WorkerView>> Seek for IndexedWalk<'_, E> {
    type Node = WorkerView;
    type Position = CursorPosition;

    fn between<'a>(
        &'a self,
        lower: Bound<&'a CursorPosition>,
        upper: Bound<&'a CursorPosition>,
    ) -> Box<dyn DoubleEndedIterator<Item = WorkerView> + 'a> {
        let unmoved = self.within(false, lower, upper).into_iter();
        let unmoved = unmoved.flat_map(|(lower, upper)| self.unmoved(lower, upper));
        let moved = self.within(true, lower, upper).into_iter();
        let moved = moved.flat_map(|(lower, upper)| self.moved(lower, upper));
        if self.from_the_end { Box::new(moved.chain(unmoved)) } else { Box::new(unmoved.chain(moved)) }
    }

    fn compare(&self, one: &CursorPosition, other: &CursorPosition) -> Ordering {
        let by_part = self.is_in_second(one).cmp(&self.is_in_second(other));
        let by_text = if one.has_moved { Ordering::Equal } else { text(one).cmp(text(other)) };
        let by_text = if self.descending { by_text.reverse() } else { by_text };
        by_part.then(by_text).then_with(|| one.id.cmp(&other.id))
    }

    fn total(&self) -> usize {
        self.index.count()
    }

    fn edge(&self, worker: WorkerView) -> Edge<WorkerView> {
        (self.edge)(worker).in_walk(&self.since)
    }
}

/// The text of a position, by which the index groups.
fn text(place: &CursorPosition) -> &str {
    match &place.key {
        SortKey::Hostname(text) | SortKey::Zone(text) => text,
        SortKey::Id(_)
        | SortKey::Cpu(_)
        | SortKey::Memory(_)
        | SortKey::Vms(_)
        | SortKey::Seen(_)
        | SortKey::FreeCpu(_)
        | SortKey::FreeMemory(_)
        | SortKey::FreeSlots(_)
        | SortKey::VmName(_)
        | SortKey::VmStatus(_)
        | SortKey::VmWorker(_)
        | SortKey::VmZone(_)
        | SortKey::VmCpus(_)
        | SortKey::VmMemory(_)
        | SortKey::VmCreated(_)
        | SortKey::VmStarted(_)
        | SortKey::VmStatusSince(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use proptest::prelude::*;
    use proptest::sample;

    use super::*;
    use crate::clock::Timestamp;
    use crate::cluster::{
        Availability, Changes, Drain, Identity, LabelFilter, Life, SchedulingPolicy, Snapshot, Vm, VmFilter, VmId,
        VmOrder, VmOrderField, VmStatus, VmView, Worker, WorkerFilter, WorkerStatus,
    };
    use crate::resolvers::Reading;
    use crate::resolvers::page::PageNames;
    use crate::resolvers::vms::edge_of_vm;
    use crate::resolvers::workers::edge;

    const IDS: u8 = 12;

    /// What becomes of a worker: it registers, or sends a heartbeat with these VMs, or is another one by what is
    /// announced of it or wanted of it, or is purged.
    #[derive(Clone, Debug)]
    enum Step {
        Register { hostname: u8, zone: u8, label: u8 },
        Heartbeat(Vec<(u8, u8)>),
        Stand { draining: bool, offline: bool },
        Purge,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u8..4, 0_u8..3, 0_u8..4).prop_map(|(hostname, zone, label)| Step::Register { hostname, zone, label }),
            3 => prop::collection::vec((0_u8..16, 0_u8..3), 0..5).prop_map(Step::Heartbeat),
            1 => (any::<bool>(), any::<bool>()).prop_map(|(draining, offline)| Step::Stand { draining, offline }),
            1 => Just(Step::Purge),
        ]
    }

    fn worker_filter() -> impl Strategy<Value = WorkerFilter> {
        let status = prop_oneof![Just(WorkerStatus::Active), Just(WorkerStatus::Draining), Just(WorkerStatus::Offline)];
        let zones = prop::collection::vec(0_u8..4, 1..3).prop_map(|zones| zones.into_iter().map(zone).collect());
        let labels = prop::collection::vec((0_u8..3, prop::option::weighted(0.8, 0_u8..3)), 1..3);
        let labels = labels.prop_map(|labels| {
            let label =
                |(key, value): (u8, Option<u8>)| LabelFilter { key: label_key(key), value: value.map(label_value) };
            labels.into_iter().map(label).collect()
        });
        (
            prop::option::weighted(0.4, zones),
            prop::option::weighted(0.3, prop::collection::vec(status, 1..3)),
            prop::option::weighted(0.2, any::<bool>()),
            prop::option::weighted(0.4, labels),
        )
            .prop_map(|(zones, statuses, is_healthy, labels)| WorkerFilter {
                zones,
                statuses,
                is_healthy,
                labels,
                ..WorkerFilter::default()
            })
    }

    fn vm_filter() -> impl Strategy<Value = VmFilter> {
        let status = prop_oneof![Just(VmStatus::Running), Just(VmStatus::Stopped), Just(VmStatus::Created)];
        let zones = prop::collection::vec(0_u8..4, 1..3).prop_map(|zones| zones.into_iter().map(zone).collect());
        (prop::option::weighted(0.7, zones), prop::option::weighted(0.3, prop::collection::vec(status, 1..3)))
            .prop_map(|(zones, statuses)| VmFilter { zones, statuses, ..VmFilter::default() })
    }

    fn field() -> impl Strategy<Value = WorkerOrderField> {
        prop_oneof![
            1 => Just(WorkerOrderField::Id),
            3 => Just(WorkerOrderField::Hostname),
            3 => Just(WorkerOrderField::Zone),
            1 => Just(WorkerOrderField::VmCount),
        ]
    }

    fn zone(number: u8) -> String {
        ["", "a", "b", "nowhere"][usize::from(number)].to_owned()
    }

    /// Keys and values that come to the same when they are simply put together.
    fn label_key(number: u8) -> String {
        ["e", "en", "other"][usize::from(number)].to_owned()
    }

    fn label_value(number: u8) -> String {
        ["nv", "v", ""][usize::from(number)].to_owned()
    }

    fn identity(hostname: u8, zone_number: u8, labels: u8) -> Identity {
        let label = |key: u8, value: u8| (label_key(key).as_str().into(), label_value(value).as_str().into());
        let all = [label(0, 0), label(1, 1), label(2, 2)];
        Identity {
            hostname: format!("host{hostname}").into(),
            address: "10.0.0.1:1".into(),
            zone: zone(zone_number).as_str().into(),
            labels: all.into_iter().take(usize::from(labels)).collect(),
            capabilities: Vec::new(),
            cpu_cores: 4,
            memory_mb: 1_000,
            disk_gb: 0,
            max_vms: 3,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(i64::try_from(seconds).unwrap())
    }

    fn purge(worker: &Worker, revision: u64, changes: &mut Changes) {
        changes.purged.push(Arc::new(worker.tombstone(false, at(revision), revision)));
    }

    /// A step of one worker: what changes with it.
    fn change(snapshot: &Snapshot, id: u8, step: Step, revision: u64, changes: &mut Changes) {
        let id = WorkerId::parse(&format!("w{id:02}")).unwrap();
        let before = snapshot.find_worker(id.as_str());
        let mut worker = match (before, &step) {
            (Some(before), _) => Worker::clone(before),
            (None, Step::Register { hostname, zone, label }) => {
                let life = Life::first(at(revision), revision);
                Worker::first_life(id.clone(), identity(*hostname, *zone, *label), life)
            }
            (None, _) => return,
        };
        match step {
            Step::Register { hostname, zone, label } => {
                worker.reregister(identity(hostname, zone, label), None, at(revision), revision);
                worker.last_announced_availability = Availability::Online;
            }
            Step::Heartbeat(vms) => {
                let mut vms: Vec<_> = vms
                    .into_iter()
                    .map(|(vm, status)| {
                        let id = VmId::parse(&format!("vm{vm:02}")).unwrap();
                        let status = [VmStatus::Running, VmStatus::Stopped, VmStatus::Created][usize::from(status)];
                        let (name, worker_id) = (id.shared(), worker.id.clone());
                        let started_at = (status == VmStatus::Running).then(|| at(revision).into());
                        let (created_at, status_since) = (at(revision).into(), at(revision).into());
                        Arc::new(Vm {
                            id,
                            worker_id,
                            name,
                            status,
                            vcpus: u32::from(vm % 3),
                            memory_mb: u32::from(vm % 2),
                            created_at,
                            started_at,
                            status_since,
                            extras: None,
                            revision,
                        })
                    })
                    .collect();
                vms.sort_by(|one, other| one.id.cmp(&other.id));
                vms.dedup_by(|one, other| one.id == other.id);
                worker.usage.vms = vms.into();
                worker.usage.inventory_revision = Some(revision);
                worker.usage.vms_revision = revision;
                worker.usage.last_seen = at(revision);
                worker.last_announced_availability = Availability::Online;
            }
            Step::Stand { draining, offline } => {
                worker.policy = if draining { SchedulingPolicy::Draining } else { SchedulingPolicy::Active };
                worker.drain = draining.then(|| Arc::new(Drain::default()));
                worker.last_announced_availability = if offline { Availability::Offline } else { Availability::Online };
            }
            Step::Purge => return purge(&worker, revision, changes),
        }
        worker.revision = revision;
        changes.workers.push(Arc::new(worker));
    }

    /// What is compared of a page: its ids, the total, whether there is more, and the cursors.
    type Shown = (Vec<String>, usize, bool, bool, Vec<String>);

    fn shown<T>(page: &Page<T>) -> Shown {
        let ids = page.edges.iter().map(|edge| edge.id.to_string()).collect();
        (ids, page.total, page.has_next, page.has_previous, page.edges.iter().map(Edge::cursor).collect())
    }

    /// VMs by what clients are shown.
    fn plain_order(one: &VmView, other: &VmView, field: VmOrderField) -> Ordering {
        let zone = |vm: &VmView| vm.worker().map(|worker| worker.identity().zone.clone());
        let (vm, with) = (&one.vm, &other.vm);
        match field {
            VmOrderField::Id => vm.id.cmp(&with.id),
            VmOrderField::Name => vm.name.cmp(&with.name),
            VmOrderField::Status => vm.status.cmp(&with.status),
            VmOrderField::WorkerId => vm.worker_id.cmp(&with.worker_id),
            VmOrderField::Zone => zone(one).cmp(&zone(other)),
            VmOrderField::Vcpus => vm.vcpus.cmp(&with.vcpus),
            VmOrderField::Memory => vm.memory_mb.cmp(&with.memory_mb),
            VmOrderField::CreatedAt => vm.created_at.cmp(&with.created_at),
            VmOrderField::StartedAt => vm.started_at.cmp(&with.started_at),
            VmOrderField::StatusSince => vm.status_since.cmp(&with.status_since),
        }
    }

    fn vm_edge(vm: VmView) -> Edge<VmView> {
        Edge::new(SortKey::Id(vm.vm.id.shared()), vm.vm.id.shared(), 0, vm)
    }

    /// A query that is made after each step, with cursors of pages that were read before.
    #[derive(Clone, Debug)]
    struct Asked {
        field: WorkerOrderField,
        vm_field: VmOrderField,
        descending: bool,
        filter: Option<WorkerFilter>,
        vms: VmFilter,
        size: i64,
        from_the_end: bool,
        after: Option<sample::Index>,
        before: Option<sample::Index>,
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let place = || prop::option::weighted(0.6, any::<sample::Index>());
        let filter = prop::option::weighted(0.4, worker_filter());
        let fields = (field(), sample::select(VmOrderField::ALL));
        (fields, any::<bool>(), filter, vm_filter(), 0_i64..6, any::<bool>(), place(), place()).prop_map(
            |((field, vm_field), descending, filter, vms, size, from_the_end, after, before)| Asked {
                field,
                vm_field,
                descending,
                filter,
                vms,
                size,
                from_the_end,
                after,
                // Few ask between two places.
                before: before.filter(|before| before.index(3) == 0),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// After any history, each page is the part that is cut out of the whole, sorted list, with
        /// the same places to go on from; also in a state that is read at once, as at a start.
        #[test]
        fn pages_by_an_index_are_those_of_whoever_looks_at_everything(
            steps in prop::collection::vec((prop::collection::vec((0..IDS, step()), 1..5), asked()), 1..30),
            offline_after in 1_u64..30,
        ) {
            let mut snapshot = Snapshot::empty("test".into());
            let mut places: Vec<(WorkerOrderField, String)> = Vec::new();
            let mut vm_places: Vec<(VmOrderField, String)> = Vec::new();
            for (revision, (changed, asked)) in (1..).zip(steps) {
                let mut changes = Changes::default();
                for (id, step) in changed {
                    if changes.workers.iter().all(|worker| worker.id.as_str() != format!("w{id:02}")) {
                        change(&snapshot, id, step, revision, &mut changes);
                    }
                }
                snapshot = snapshot.apply(changes, revision);
                let at_once = Changes { workers: snapshot.workers().cloned().collect(), ..Changes::default() };
                let at_once = Snapshot::empty("test".into()).apply(at_once, revision);
                let Asked { field, vm_field, descending, filter, vms, size, from_the_end, after, before } = asked;
                let (order, filter) = (WorkerOrder { field, descending }, filter.unwrap_or_default());
                let of_order: Vec<_> = places.iter().filter(|(of, _)| *of == field).map(|(_, place)| place).collect();
                let place = |pick: Option<sample::Index>| {
                    pick.filter(|_| !of_order.is_empty()).map(|pick| of_order[pick.index(of_order.len())].clone())
                };
                let request = PageRequest {
                    first: (!from_the_end).then_some(size),
                    last: from_the_end.then_some(size),
                    after: place(after),
                    before: place(before),
                    names: PageNames::default(),
                };
                // Half a second later, so that some last heartbeats are within the second of the cutoff.
                let now = at(revision) + TimeDelta::milliseconds(500);
                for snapshot in [&snapshot, &at_once] {
                    let view = View::new(Arc::new(snapshot.clone()), now, Duration::from_secs(offline_after));
                    let reading = Reading::of(Arc::new(view));
                    let view = reading.view();
                    let all = view.workers().filter(|worker| filter.matches(worker));
                    let all = all.map(|worker| edge(worker, order)).collect();
                    let all = Page::cut_out(all, order, &request, snapshot);
                    let found = reading.page_of_workers(&filter, order, &request);
                    // For an empty list it cannot be checked which order a cursor is of.
                    if let (Ok(all), Ok(found)) = (&all, &found) {
                        prop_assert_eq!(shown(found), shown(all), "{:?} {:?} {:?}", &filter, order, &request);
                        places.extend(all.edges.iter().map(|edge| (field, edge.cursor())));
                    } else {
                        prop_assert!(all.is_err() == found.is_err(), "{:?} {:?}", all, found);
                    }
                    let listed: Vec<_> = reading.list_workers(&filter).iter().map(|it| it.worker.id.clone()).collect();
                    let matching = view.workers().filter(|worker| filter.matches(worker));
                    prop_assert_eq!(listed, matching.map(|it| it.worker.id.clone()).collect::<Vec<_>>());

                    let request = PageRequest { after: None, before: None, ..request.clone() };
                    let matching = view.vms().filter(|vm| vms.matches(vm)).map(vm_edge).collect();
                    let all = Page::cut_out(matching, VmOrder::default(), &request, snapshot).unwrap();
                    let found = reading.page_of_vms(&vms, VmOrder::default(), &request).unwrap();
                    prop_assert_eq!(shown(&found), shown(&all), "{:?}", &vms);
                    if let Some(middle) = all.edges.get(all.edges.len() / 2) {
                        let request = PageRequest { after: Some(middle.cursor()), ..request };
                        let matching = view.vms().filter(|vm| vms.matches(vm)).map(vm_edge).collect();
                        let all = Page::cut_out(matching, VmOrder::default(), &request, snapshot).unwrap();
                        let found = reading.page_of_vms(&vms, VmOrder::default(), &request).unwrap();
                        prop_assert_eq!(shown(&found), shown(&all), "{:?}", &vms);
                    }
                    let order = VmOrder { field: vm_field, descending };
                    let of_order: Vec<_> = vm_places.iter().filter(|(of, _)| *of == vm_field).collect();
                    let place = |pick: Option<sample::Index>| {
                        pick.filter(|_| !of_order.is_empty()).map(|pick| of_order[pick.index(of_order.len())].1.clone())
                    };
                    let request = PageRequest { after: place(after), before: place(before), ..request };
                    let matching = view.vms().filter(|vm| vms.matches(vm)).map(|vm| edge_of_vm(vm, order)).collect();
                    let all = Page::cut_out(matching, order, &request, snapshot);
                    let found = reading.page_of_vms(&vms, order, &request);
                    if let (Ok(all), Ok(found)) = (&all, &found) {
                        prop_assert_eq!(shown(found), shown(all), "{:?} {:?} {:?}", &vms, order, &request);
                        vm_places.extend(all.edges.iter().map(|edge| (vm_field, edge.cursor())));
                    } else {
                        prop_assert!(all.is_err() == found.is_err(), "{:?} {:?}", all, found);
                    }
                    let mut plainly: Vec<_> = view.vms().filter(|vm| vms.matches(vm)).collect();
                    plainly.sort_by(|one, other| {
                        let by_key = plain_order(one, other, vm_field);
                        let by_key = if descending { by_key.reverse() } else { by_key };
                        by_key.then_with(|| one.vm.id.cmp(&other.vm.id))
                    });
                    let listed = reading.listing_of_vms(&vms, order, &PageRequest::default()).unwrap();
                    let ids = |vms: &[VmView]| vms.iter().map(|vm| vm.vm.id.clone()).collect::<Vec<_>>();
                    prop_assert_eq!(ids(&listed.nodes), ids(&plainly));
                }
                // Both ways to the same state lead to the same sums.
                let stats = |snapshot: &Snapshot| {
                    let view = View::new(Arc::new(snapshot.clone()), now, Duration::from_secs(offline_after));
                    Reading::of(Arc::new(view)).cluster_stats()
                };
                prop_assert_eq!(stats(&snapshot), stats(&at_once));
                prop_assert_eq!(snapshot.duplicates(), at_once.duplicates());
                let moved = |snapshot: &Snapshot| snapshot.registered_after(revision / 2).cloned().collect::<Vec<_>>();
                prop_assert_eq!(moved(&snapshot), moved(&at_once));
                prop_assert_eq!(snapshot.count_registered_after(revision / 2), moved(&snapshot).len());
            }
        }
    }
}
