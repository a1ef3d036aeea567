//! What the query string calls the parts of a filter. What they mean is decided in
//! [`resolvers::filter`](crate::resolvers::filter).

use crate::resolvers::filter::FilterNames;

/// One entry each: a parameter that may have several values is repeated.
pub(super) const FILTER_NAMES: FilterNames = FilterNames {
    ids: "id",
    zones: "zone",
    statuses: "status",
    capabilities: "capability",
    labels: "label",
    worker_ids: "worker_id",
    search: "search",
};

/// The zones that have a name: the contract reads `?zone=` as asking for no zone in particular.
pub(super) fn named(zones: Vec<String>) -> Vec<String> {
    zones.into_iter().filter(|zone| !zone.is_empty()).collect()
}
