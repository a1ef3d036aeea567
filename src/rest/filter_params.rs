//! The names of filters in the query string. Filters are checked in
//! [`resolvers::filter_input`](crate::resolvers::filter_input).

use crate::resolvers::filter_input::FilterNames;

/// In the singular: a parameter with several values is repeated.
pub(super) const FILTER_NAMES: FilterNames = FilterNames {
    ids: "id",
    zones: "zone",
    statuses: "status",
    capabilities: "capability",
    labels: "label",
    worker_ids: "worker_id",
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
