//! Which workers and VMs are wanted, and in what order. Both protocols ask with these.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::status::{VmStatus, WorkerStatus, words};
use super::view::{VmView, WorkerView};
use crate::clock::Timestamp;

/// Which workers are wanted: fields are ANDed, entries of a list ORed. A list that is not there asks for nothing in
/// particular; an empty one matches nothing, because what a client has selected may be nothing, and must not be all then.
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
}

/// Something that many workers may have, and by which they are found without a look at the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerFacet<'a> {
    /// Being in this zone, or in none if the text is empty.
    Zone(&'a str),
    /// Being in this status.
    Status(WorkerStatus),
    /// A label of this key and value.
    Label(&'a str, &'a str),
}

/// A label that has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// Its key.
    pub key: String,
    /// Its value; none asks only that the key is there.
    pub value: Option<String>,
}

impl WorkerFilter {
    /// Workers in this zone, or in any if none is given; the empty text asks for workers without a zone.
    pub fn in_zone(zone: Option<String>) -> Self {
        Self { zones: zone.map(|zone| vec![zone]), ..Self::default() }
    }

    /// Whether the worker is wanted.
    pub fn matches(&self, worker: &WorkerView) -> bool {
        let Self { ids, zones, has_zone, statuses, is_healthy, capabilities, labels, search } = self;
        let identity = worker.identity();
        is_any(ids.as_deref(), worker.worker.id.as_str())
            && is_any(zones.as_deref(), &identity.zone)
            && has_zone.is_none_or(|wanted| identity.zone.is_empty() != wanted)
            && statuses.as_ref().is_none_or(|wanted| wanted.contains(&worker.status()))
            && is_healthy.is_none_or(|wanted| worker.is_healthy() == wanted)
            && capabilities
                .as_deref()
                .is_none_or(|wanted| identity.capabilities.iter().any(|has| is_any(Some(wanted), has)))
            && labels.as_ref().is_none_or(|wanted| {
                let has = |wanted: &LabelFilter| {
                    let value = identity.labels.get(wanted.key.as_str());
                    value.is_some_and(|value| wanted.value.as_deref().is_none_or(|wanted| wanted == &**value))
                };
                // All of nothing would be everything.
                !wanted.is_empty() && wanted.iter().all(has)
            })
            && contains(
                search.as_deref(),
                [worker.worker.id.as_str(), &identity.hostname, &identity.address, &identity.zone],
            )
    }
}

impl WorkerFilter {
    /// The only thing that is asked for beside ids, if it is one that an index answers by itself.
    pub fn only_facet(&self) -> Option<WorkerFacet<'_>> {
        let Self { ids: _, zones, has_zone, statuses, is_healthy, capabilities, labels, search } = self;
        let others = [has_zone.is_some(), capabilities.is_some(), search.is_some()];
        let asked = [zones.is_some(), statuses.is_some(), is_healthy.is_some(), labels.is_some()];
        let labels = labels.as_ref().map_or(0, Vec::len);
        if others.contains(&true) || asked.into_iter().filter(|is_asked| *is_asked).count() != 1 || labels > 1 {
            return None;
        }
        self.facets().next()
    }

    /// What is asked for, as far as indexes answer it: whoever matches has all of these.
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

    /// With how many entries a worker is compared, beside ids.
    pub fn entries(&self) -> usize {
        count(&self.zones)
            + usize::from(self.has_zone.is_some())
            + count(&self.statuses)
            + count(&self.capabilities)
            + count(&self.labels)
            + usize::from(self.search.is_some())
    }
}

fn count<T>(wanted: &Option<Vec<T>>) -> usize {
    wanted.as_ref().map_or(0, Vec::len)
}

/// Which VMs are wanted: fields are ANDed, entries of a list ORed. A list that is not there asks for nothing in
/// particular; an empty one matches nothing.
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
    /// With this text in its id or name, whatever the case.
    pub search: Option<String>,
}

impl VmFilter {
    /// Whether the VM is wanted.
    pub fn matches(&self, vm: &VmView) -> bool {
        let Self { statuses, zones, has_zone, worker_ids, search } = self;
        let (status, zones) = (vm.vm.status, zones.as_deref());
        statuses.as_ref().map_or_else(|| status.holds_slot(), |wanted| wanted.contains(&status))
            && is_any(worker_ids.as_deref(), vm.vm.worker_id.as_str())
            && (zones.is_none() || vm.worker().is_some_and(|worker| is_any(zones, &worker.identity().zone)))
            && has_zone
                .is_none_or(|wanted| vm.worker().is_some_and(|worker| worker.identity().zone.is_empty() != wanted))
            && contains(search.as_deref(), [vm.vm.id.as_str(), &vm.vm.name])
    }
}

impl VmFilter {
    /// The only zone that is wanted of VMs that hold a slot, whatever else is asked for.
    pub fn zone(&self) -> Option<&str> {
        match (self.zones.as_deref(), &self.statuses) {
            (Some([zone]), None) => Some(zone),
            (Some([zone]), Some(statuses)) if statuses.iter().all(|status| status.holds_slot()) => Some(zone),
            _ => None,
        }
    }

    /// Whether nothing is asked for beside zones.
    pub fn is_for_zones_only(&self) -> bool {
        *self == Self { zones: self.zones.clone(), ..Self::default() }
    }

    /// With how many entries a VM is compared, beside the ids of workers.
    pub fn entries(&self) -> usize {
        let texts = usize::from(self.has_zone.is_some()) + usize::from(self.search.is_some());
        count(&self.statuses) + count(&self.zones) + texts
    }
}

fn is_any(wanted: Option<&[String]>, value: &str) -> bool {
    wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == value))
}

fn contains<const N: usize>(search: Option<&str>, places: [&str; N]) -> bool {
    search.is_none_or(|search| places.iter().any(|place| contains_text(place, search)))
}

/// Whether there is this text somewhere, whatever the case.
fn contains_text(place: &str, text: &str) -> bool {
    // Nearly all names are plain: those are compared where they are, without a copy in lower case.
    if place.is_ascii() && text.is_ascii() {
        let (place, text) = (place.as_bytes(), text.as_bytes());
        return text.is_empty() || place.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
    }
    place.to_lowercase().contains(&text.to_lowercase())
}

words! {
    /// By what workers can be sorted.
    #[derive(Default)]
    WorkerOrderField as "sort key of workers" {
        /// Id.
        #[default]
        Id = "id",
        /// Hostname.
        Hostname = "hostname",
        /// Zone.
        Zone = "zone",
        /// Share of CPU cores in use.
        CpuUsage = "cpu_usage",
        /// Share of memory in use.
        MemoryUsage = "memory_usage",
        /// Number of VMs.
        VmCount = "vm_count",
        /// Time of the last heartbeat.
        LastSeen = "last_seen",
    }
}

/// An order of workers. Equal ones are sorted by id, so that every order is total and repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerOrder {
    /// By what.
    pub field: WorkerOrderField,
    /// Largest first.
    pub descending: bool,
}

/// A worker's place in an order; also what a cursor of that order remembers. Each order has its
/// own kind, so that a cursor of another one is noticed even if both are texts.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerSortKey {
    /// In the order by id, which VMs have too.
    Id(String),
    /// In the order by hostname.
    Hostname(String),
    /// In the order by zone.
    Zone(String),
    /// In the order by share of CPU cores.
    Cpu(f64),
    /// In the order by share of memory.
    Memory(f64),
    /// In the order by number of VMs.
    Vms(usize),
    /// In the order by last heartbeat.
    Seen(Timestamp),
}

impl WorkerSortKey {
    /// The place of a worker.
    pub fn of(worker: &WorkerView, field: WorkerOrderField) -> Self {
        match field {
            WorkerOrderField::Id => Self::Id(worker.worker.id.as_str().to_owned()),
            WorkerOrderField::Hostname => Self::Hostname(worker.identity().hostname.as_ref().to_owned()),
            WorkerOrderField::Zone => Self::Zone(worker.identity().zone.as_ref().to_owned()),
            WorkerOrderField::CpuUsage => Self::Cpu(worker.cpu_usage_percent()),
            WorkerOrderField::MemoryUsage => Self::Memory(worker.memory_usage_percent()),
            WorkerOrderField::VmCount => Self::Vms(worker.vm_count()),
            WorkerOrderField::LastSeen => Self::Seen(worker.worker.usage.last_seen),
        }
    }

    /// Compares two places of one order; none if they are of different orders.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Id(one), Self::Id(other))
            | (Self::Hostname(one), Self::Hostname(other))
            | (Self::Zone(one), Self::Zone(other)) => Some(one.cmp(other)),
            (Self::Cpu(one), Self::Cpu(other)) | (Self::Memory(one), Self::Memory(other)) => Some(one.total_cmp(other)),
            (Self::Vms(one), Self::Vms(other)) => Some(one.cmp(other)),
            (Self::Seen(one), Self::Seen(other)) => Some(one.cmp(other)),
            (
                Self::Id(_)
                | Self::Hostname(_)
                | Self::Zone(_)
                | Self::Cpu(_)
                | Self::Memory(_)
                | Self::Vms(_)
                | Self::Seen(_),
                _,
            ) => None,
        }
    }
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
