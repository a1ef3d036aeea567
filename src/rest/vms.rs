//! `/vms`: VMs whatever worker they are on.

use std::hash::{Hash, Hasher};

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Result;
use super::etag::Versioned;
use super::filter::{FILTER_NAMES, named};
use super::object::Vm;
use super::paging::Paging;
use super::read::Read;
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

impl Versioned for VmList {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.total.hash(hasher);
        self.vms.version(hasher);
    }
}

/// `GET /api/v1/vms`
pub(super) async fn list(
    read: Read,
    paging: Paging,
    Query(ListQuery { status, zone, worker_id, search }): Query<ListQuery>,
) -> Result<impl IntoResponse> {
    let filter = VmFilterInput { statuses: status, zones: named(zone), worker_ids: worker_id, search };
    let filter = filter.check(&FILTER_NAMES)?;
    let Listing { nodes, total, next } = read.reading.listing_of_vms(&filter, paging.request())?;
    let vms = nodes.into_iter().map(Vm).collect();
    Ok((paging.link(next.as_deref()), read.show(VmList { vms, total })))
}

/// `GET /api/v1/vms/{id}`
pub(super) async fn one(read: Read, Id(id): Id) -> Result<Response> {
    Ok(read.show(Vm(read.reading.vm(&id)?)))
}
