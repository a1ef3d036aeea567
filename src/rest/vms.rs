//! `/vms`: VMs whatever worker they are on.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Result;
use super::filter::{FILTER_NAMES, given, named};
use super::list::{Lists, Part, VMS};
use super::object::Vm;
use super::paging::Paging;
use super::read::Read;
use crate::cluster::VmFilter;
use crate::http::{Id, Query};
use crate::resolvers::filter::VmFilterInput;
use crate::resolvers::page::Listing;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    has_zone: Option<bool>,
    #[serde(default)]
    worker_id: Vec<String>,
    search: Option<String>,
}

/// `GET /api/v1/vms`
pub(super) async fn list(
    State(lists): State<Lists>,
    read: Read,
    paging: Paging,
    Query(ListQuery { status, zone, has_zone, worker_id, search }): Query<ListQuery>,
) -> Result<Response> {
    let filter =
        VmFilterInput { statuses: given(status), zones: named(zone), has_zone, worker_ids: given(worker_id), search };
    let filter = filter.check(&FILTER_NAMES)?;
    if filter == VmFilter::default() && paging.request().is_for_all() {
        return Ok(lists.vms(&read));
    }
    let Listing { nodes, total, next } = read.reading.listing_of_vms(&filter, paging.request())?;
    let rows = nodes.into_iter().map(Vm).collect();
    Ok((paging.link(next.as_deref()), read.show(Part { keys: VMS, rows, total })).into_response())
}

/// `GET /api/v1/vms/{id}`
pub(super) async fn one(read: Read, Id(id): Id) -> Result<Response> {
    Ok(read.show_object(Vm(read.reading.vm(&id)?)))
}
