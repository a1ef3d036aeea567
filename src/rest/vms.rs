//! `/vms`: VMs whatever worker they are on.

use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::Result;
use super::filter::{FILTER_NAMES, named};
use super::object::Vm;
use super::paging::Paging;
use super::read::{Read, Shown};
use crate::http::{Id, Query};
use crate::resolvers::filter::VmFilterInput;
use crate::resolvers::page::Listing;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    #[serde(default)]
    worker_id: Vec<String>,
    search: Option<String>,
}

#[derive(Serialize)]
struct VmList {
    vms: Vec<Vm>,
    total: usize,
}

/// `GET /api/v1/vms`
pub(super) async fn list(
    Read(reading): Read,
    paging: Paging,
    Query(ListQuery { status, zone, worker_id, search }): Query<ListQuery>,
) -> Result<impl IntoResponse> {
    let filter = VmFilterInput { statuses: status, zones: named(zone), worker_ids: worker_id, search };
    let filter = filter.check(&FILTER_NAMES)?;
    let Listing { nodes, total, next } = reading.listing_of_vms(&filter, paging.request())?;
    let vms = nodes.into_iter().map(Vm).collect();
    Ok((paging.link(next.as_deref()), Shown(reading.revision(), VmList { vms, total })))
}

/// `GET /api/v1/vms/{id}`
pub(super) async fn one(Read(reading): Read, Id(id): Id) -> Result<Shown<Vm>> {
    Ok(Shown(reading.revision(), Vm(reading.vm(&id)?)))
}
