//! What the query string calls the parts of a filter. What they mean is decided in
//! [`resolvers::filter_input`](crate::resolvers::filter_input).

use crate::resolvers::filter_input::FilterNames;

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

/// The values of a parameter that may be repeated, if it is there: no query string has an empty list.
pub(super) fn given<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

/// The zones that have a name: the contract reads `?zone=` as asking for no zone in particular. Workers without a zone
/// are asked for with `?has_zone=false`.
pub(super) fn named(zones: Vec<String>) -> Option<Vec<String>> {
    given(zones.into_iter().filter(|zone| !zone.is_empty()).collect())
}
