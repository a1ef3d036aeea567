//! The names of filters in the query string, and in bodies. Filters are checked in
//! [`resolvers::filter_input`](crate::resolvers::filter_input).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::cluster::{LabelFilter, WorkerFilter};
use crate::error::Result;
use crate::resolvers::checks::Whole;
use crate::resolvers::filter_input::{FilterNames, WorkerFilterInput};

/// In the singular: a parameter with several values is repeated.
pub(super) const FILTER_NAMES: FilterNames = FilterNames {
    ids: "id",
    zones: "zone",
    statuses: "status",
    capabilities: "capability",
    labels: "label",
    worker_ids: "worker_id",
    vm_ids: "vm_id",
    kinds: "kind",
    actors: "actor",
    actor_token_ids: "actor_token_id",
    search: "search",
    min_free_cpu_cores: "min_free_cpu_cores",
    min_free_memory_mb: "min_free_memory_mb",
    min_free_vm_slots: "min_free_vm_slots",
};

/// The values of a repeated parameter, or none if it is missing: a query string cannot express an empty list.
pub(super) fn given<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

/// The zones without empty names: the contract defines `?zone=` as no filter. Workers without a zone are found with
/// `?has_zone=false`.
pub(super) fn named(zones: Vec<String>) -> Option<Vec<String>> {
    given(zones.into_iter().filter(|zone| !zone.is_empty()).collect())
}

/// Which workers a body is about.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with conditions, such as `zones` or `statuses`")]
pub(super) struct WorkerFilterBody {
    pub(super) ids: Option<Vec<String>>,
    pub(super) zones: Option<Vec<String>>,
    pub(super) has_zone: Option<bool>,
    pub(super) statuses: Option<Vec<String>>,
    pub(super) is_healthy: Option<bool>,
    pub(super) capabilities: Option<Vec<String>>,
    pub(super) labels: Option<BTreeMap<String, Option<String>>>,
    pub(super) search: Option<String>,
    pub(super) min_free_cpu_cores: Option<Whole>,
    pub(super) min_free_memory_mb: Option<Whole>,
    pub(super) min_free_vm_slots: Option<Whole>,
}

impl WorkerFilterBody {
    /// The filter, or what is wrong with it.
    pub(super) fn check(self) -> Result<WorkerFilter> {
        let Self { ids, zones, has_zone, statuses, is_healthy, capabilities, labels, search, .. } = self;
        let Self { min_free_cpu_cores, min_free_memory_mb, min_free_vm_slots, .. } = self;
        let number = |least: Option<Whole>| least.map(|Whole(number)| number);
        let labels = labels.map(|labels| labels.into_iter().map(|(key, value)| LabelFilter { key, value }).collect());
        let filter = WorkerFilterInput {
            ids,
            zones,
            has_zone,
            statuses,
            is_healthy,
            capabilities,
            labels,
            search,
            min_free_cpu_cores: number(min_free_cpu_cores),
            min_free_memory_mb: number(min_free_memory_mb),
            min_free_vm_slots: number(min_free_vm_slots),
        };
        filter.check(&FilterNames::PLURAL)
    }
}
