//! Filters: which workers and VMs a request is about.
//!
//! Both protocols ask with these. How a filter is written in a request, and what is refused, is in
//! [`resolvers::filter_input`](crate::resolvers::filter_input); by which index its rows are found, in
//! [`resolvers`](crate::resolvers), too; the order of rows is in [`worker_order`](super::worker_order).

use std::time::Duration;

use super::drain::DrainState;
use super::drain_view::DrainView;
use super::free_capacity::FreeCapacity;
use super::label_filter::LabelFilter;
use super::status::{Availability, VmStatus, WorkerStatus};
use super::view::{VmView, WorkerView};

/// Which workers match: fields are ANDed, entries of a list ORed. A list that is none matches every worker; an empty
/// list matches none, because a client that has selected nothing must not be shown everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerFilter {
    /// One of these ids.
    pub ids: Option<Vec<String>>,
    /// In one of these zones; the empty text asks for workers without a zone.
    pub zones: Option<Vec<String>>,
    /// In a zone, or in none.
    pub has_zone: Option<bool>,
    /// In one of these statuses.
    pub statuses: Option<Vec<WorkerStatus>>,
    /// Healthy, or not.
    pub is_healthy: Option<bool>,
    /// With one of these capabilities.
    pub capabilities: Option<Vec<String>>,
    /// With all of these labels.
    pub labels: Option<Vec<LabelFilter>>,
    /// With this text in its id, hostname, address or zone, whatever the case.
    pub search: Option<String>,
    /// With at least so much free.
    pub min_free: MinFree,
}

/// What has to be free on a worker at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinFree {
    /// CPU cores.
    pub cpu_cores: Option<u32>,
    /// Memory, in MiB.
    pub memory_mb: Option<u32>,
    /// VM slots.
    pub vm_slots: Option<u32>,
}

impl MinFree {
    /// Whether so much is free.
    fn is_met_by(self, free: &FreeCapacity) -> bool {
        let Self { cpu_cores, memory_mb, vm_slots } = self;
        cpu_cores.is_none_or(|least| free.cpu_cores >= least.into())
            && memory_mb.is_none_or(|least| free.memory_mb >= least.into())
            && vm_slots.is_none_or(|least| free.vm_slots >= least.into())
    }
}

/// A property for which the snapshot has an index: the workers that have it are found without looking at the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerFacet<'a> {
    /// Being in this zone, or in none if the text is empty.
    Zone(&'a str),
    /// Being in this status.
    Status(WorkerStatus),
    /// A label of this key and value.
    Label(&'a str, &'a str),
}

impl WorkerFilter {
    /// Workers in this zone, or in any if none is given; the empty text asks for workers without a zone.
    pub fn in_zone(zone: Option<String>) -> Self {
        Self { zones: zone.map(|zone| vec![zone]), ..Self::default() }
    }

    /// Whether the worker matches.
    pub fn matches(&self, worker: &WorkerView) -> bool {
        let Self { ids, zones, has_zone, statuses, is_healthy, capabilities, labels, search, min_free } = self;
        let identity = worker.identity();
        is_any(ids.as_deref(), worker.worker.id.as_str())
            && is_any(zones.as_deref(), &identity.zone)
            && has_zone.is_none_or(|wanted| identity.zone.is_empty() != wanted)
            && (*min_free == MinFree::default() || min_free.is_met_by(&worker.worker.free()))
            && statuses.as_ref().is_none_or(|wanted| wanted.contains(&worker.status()))
            && is_healthy.is_none_or(|wanted| worker.is_healthy() == wanted)
            && capabilities
                .as_deref()
                .is_none_or(|wanted| identity.capabilities.iter().any(|has| is_any(Some(wanted), has)))
            && labels.as_ref().is_none_or(|wanted| {
                // `all` of an empty list would be true.
                !wanted.is_empty() && wanted.iter().all(|label| label.is_on(&identity.labels))
            })
            && contains(
                search.as_deref(),
                [worker.worker.id.as_str(), &identity.hostname, &identity.address, &identity.zone],
            )
    }
}

impl WorkerFilter {
    /// Whether nothing is asked for, so that every worker matches. A text to search for that is empty, and a least of
    /// nothing, ask for nothing, either.
    pub fn is_for_all(&self) -> bool {
        let MinFree { cpu_cores, memory_mb, vm_slots } = self.min_free;
        let asks = |least: Option<u32>| least.filter(|least| *least > 0);
        let asking = Self {
            search: self.search.clone().filter(|text| !text.is_empty()),
            min_free: MinFree { cpu_cores: asks(cpu_cores), memory_mb: asks(memory_mb), vm_slots: asks(vm_slots) },
            ..self.clone()
        };
        asking == Self::default()
    }

    /// The only condition beside ids, if an index alone answers it.
    pub fn only_facet(&self) -> Option<WorkerFacet<'_>> {
        let Self { ids: _, zones, has_zone, statuses, is_healthy, capabilities, labels, search, min_free } = self;
        let asks_for_room = *min_free != MinFree::default();
        let others = [has_zone.is_some(), capabilities.is_some(), search.is_some(), asks_for_room];
        let asked = [zones.is_some(), statuses.is_some(), is_healthy.is_some(), labels.is_some()];
        let labels = labels.as_ref().map_or(0, Vec::len);
        if others.contains(&true) || asked.into_iter().filter(|is_asked| *is_asked).count() != 1 || labels > 1 {
            return None;
        }
        self.facets().next()
    }

    /// The conditions that indexes answer: each worker that matches fulfils all of them.
    pub fn facets(&self) -> impl Iterator<Item = WorkerFacet<'_>> {
        let zone = match self.zones.as_deref() {
            Some([zone]) => Some(WorkerFacet::Zone(zone)),
            _ => None,
        };
        let status = match (self.statuses.as_deref(), self.is_healthy) {
            (Some([status]), _) => Some(WorkerFacet::Status(*status)),
            (_, Some(false)) => Some(WorkerFacet::Status(WorkerStatus::Offline)),
            _ => None,
        };
        let labels = self.labels.iter().flatten();
        let labels = labels.filter_map(|label| Some(WorkerFacet::Label(&label.key, label.value.as_deref()?)));
        zone.into_iter().chain(status).chain(labels)
    }

    /// With how many entries each worker is compared, beside ids.
    pub fn entries(&self) -> usize {
        count(&self.zones)
            + usize::from(self.has_zone.is_some())
            + count(&self.statuses)
            + count(&self.capabilities)
            + count(&self.labels)
            + usize::from(self.search.is_some())
            + usize::from(self.min_free != MinFree::default())
    }
}

fn count<T>(wanted: &Option<Vec<T>>) -> usize {
    wanted.as_ref().map_or(0, Vec::len)
}

/// Which VMs match: fields are ANDed, entries of a list ORed. A list that is none matches every VM; an empty list
/// matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmFilter {
    /// In one of these statuses; none given means those that hold a slot.
    pub statuses: Option<Vec<VmStatus>>,
    /// On a worker in one of these zones; the empty text asks for workers without a zone.
    pub zones: Option<Vec<String>>,
    /// On a worker in a zone, or in none.
    pub has_zone: Option<bool>,
    /// Reported by one of these workers.
    pub worker_ids: Option<Vec<String>>,
    /// With one of these ids.
    pub ids: Option<Vec<String>>,
    /// Holding a slot on more than one worker, or not.
    pub duplicate: Option<bool>,
    /// With this text in its id or name, whatever the case.
    pub search: Option<String>,
}

impl VmFilter {
    /// Whether the VM matches.
    pub fn matches(&self, vm: &VmView) -> bool {
        let Self { statuses, zones, has_zone, worker_ids, ids, duplicate, search } = self;
        let (status, zones) = (vm.vm.status, zones.as_deref());
        statuses.as_ref().map_or_else(|| status.holds_slot(), |wanted| wanted.contains(&status))
            && is_any(worker_ids.as_deref(), vm.vm.worker_id.as_str())
            && (zones.is_none() || vm.worker().is_some_and(|worker| is_any(zones, &worker.identity().zone)))
            && has_zone
                .is_none_or(|wanted| vm.worker().is_some_and(|worker| worker.identity().zone.is_empty() != wanted))
            && is_any(ids.as_deref(), vm.vm.id.as_str())
            && duplicate.is_none_or(|wanted| vm.is_duplicate() == wanted)
            && contains(search.as_deref(), [vm.vm.id.as_str(), &vm.vm.name])
    }
}

impl VmFilter {
    /// The zone, if the filter has one only, and only VMs that hold a slot match.
    pub fn zone(&self) -> Option<&str> {
        match (self.zones.as_deref(), &self.statuses) {
            (Some([zone]), None) => Some(zone),
            (Some([zone]), Some(statuses)) if statuses.iter().all(|status| status.holds_slot()) => Some(zone),
            _ => None,
        }
    }

    /// Whether zones are the only condition.
    pub fn has_only_zones(&self) -> bool {
        *self == Self { zones: self.zones.clone(), ..Self::default() }
    }

    /// With how many entries each VM is compared, beside the ids of workers.
    pub fn entries(&self) -> usize {
        let others = [self.has_zone.is_some(), self.duplicate.is_some(), self.search.is_some()];
        let others = others.into_iter().filter(|is_given| *is_given).count();
        count(&self.statuses) + count(&self.zones) + count(&self.ids) + others
    }
}

/// Which drains match, of those that stand and the last ones that have ended: fields are ANDed, entries of a list ORed. A
/// list that is none matches every drain; an empty list matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainFilter {
    /// Of workers that match.
    pub workers: WorkerFilter,
    /// In one of these states.
    pub states: Option<Vec<DrainState>>,
}

impl DrainFilter {
    /// Whether the drain matches.
    pub fn matches(&self, drain: &DrainView) -> bool {
        let Self { workers, states } = self;
        states.as_ref().is_none_or(|wanted| wanted.contains(&drain.state())) && workers.matches(&drain.worker)
    }

    /// Whether only drains match that stand.
    pub fn is_for_standing(&self) -> bool {
        self.states.as_ref().is_some_and(|states| states.iter().all(|state| state.is_standing()))
    }
}

/// Which workers are purged together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeFilter {
    /// Those that match this.
    pub workers: WorkerFilter,
    /// Those that are offline, and have not been heard from for so long.
    pub offline_for: Option<Duration>,
}

impl PurgeFilter {
    /// Whether the worker matches.
    pub fn matches(&self, worker: &WorkerView) -> bool {
        let Self { workers, offline_for } = self;
        let is_silent_for = |least: Duration| {
            // A last sign of life in the future, as after the clock was set back, is none of long ago.
            let silence = (worker.view.now - worker.worker.usage.last_seen).to_std().unwrap_or_default();
            worker.availability() == Availability::Offline && silence >= least
        };
        workers.matches(worker) && offline_for.is_none_or(is_silent_for)
    }

    /// Whether nothing is asked for, so that every worker matches.
    pub fn is_for_all(&self) -> bool {
        self.workers.is_for_all() && self.offline_for.is_none()
    }
}

fn is_any(wanted: Option<&[String]>, value: &str) -> bool {
    wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == value))
}

fn contains<const N: usize>(search: Option<&str>, places: [&str; N]) -> bool {
    search.is_none_or(|search| places.iter().any(|place| contains_text(place, search)))
}

/// Whether the text occurs in the place, whatever the case.
fn contains_text(place: &str, text: &str) -> bool {
    // Nearly all names are ASCII: those are compared in place, without a copy in lower case.
    if place.is_ascii() && text.is_ascii() {
        let (place, text) = (place.as_bytes(), text.as_bytes());
        return text.is_empty() || place.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
    }
    place.to_lowercase().contains(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::contains_text;

    proptest! {
        #[test]
        fn texts_are_found_whatever_the_case(place in "[aAkKéÉßİ\u{212a} ]{0,8}", text in "[aAkKéÉßİ\u{212a} ]{0,3}") {
            prop_assert_eq!(contains_text(&place, &text), place.to_lowercase().contains(&text.to_lowercase()));
        }
    }
}
