//! The handlers of `/vms`: VMs of all workers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::error::Result;
use super::filter_params::{FILTER_NAMES, given, named};
use super::json_lists::{PartialList, VMS};
use super::json_objects::Vm;
use super::paging::{Paging, SORT};
use super::query_response::Read;
use crate::cluster::{VmFilter, VmOrder};
use crate::http::{PathId, Query, current_caller, in_request_context};
use crate::resolvers::filter_input::{self, VmFilterInput};
use crate::resolvers::page::Listing;

#[derive(Deserialize)]
pub(super) struct VmListQuery {
    #[serde(default)]
    status: Vec<String>,
    #[serde(default)]
    zone: Vec<String>,
    has_zone: Option<bool>,
    #[serde(default)]
    worker_id: Vec<String>,
    #[serde(default)]
    id: Vec<String>,
    duplicate: Option<bool>,
    search: Option<String>,
}

/// The order of VMs.
#[derive(Deserialize)]
pub(super) struct VmOrderQuery {
    /// The field to sort by, after a minus in descending order.
    sort: Option<String>,
}

impl VmOrderQuery {
    /// The order, or what is wrong with it.
    pub(super) fn check(self) -> Result<VmOrder> {
        Ok(self.sort.map(|text| filter_input::vm_order(SORT, &text)).transpose()?.unwrap_or_default())
    }
}

impl VmListQuery {
    /// The filter, or what is wrong with it.
    pub(super) fn check(self) -> Result<VmFilter> {
        let Self { status, zone, has_zone, worker_id, id, duplicate, search } = self;
        let (statuses, worker_ids) = (given(status), given(worker_id));
        let (zones, ids) = (named(zone), given(id));
        let filter = VmFilterInput { statuses, zones, has_zone, worker_ids, ids, duplicate, search };
        Ok(filter.check(&FILTER_NAMES)?)
    }
}

/// `GET /api/v1/vms`
pub(super) async fn list(
    State(endpoint): State<Arc<Endpoint>>,
    mut read: Read,
    paging: Paging,
    Query(query): Query<VmListQuery>,
    Query(order): Query<VmOrderQuery>,
) -> Result<Response> {
    let (filter, order) = (query.check()?, order.check()?);
    read.reading = endpoint.resolvers.read_for_page(read.reading, paging.request()).await?;
    let steps = read.reading.steps_to_list_vms(&filter, order, paging.request());
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let lists = endpoint.lists.clone();
    let answer = move || {
        if filter == VmFilter::default() && order == VmOrder::default() && paging.request().is_for_all() {
            return Ok(lists.vms(&read));
        }
        let Listing { nodes, total, next } = read.reading.listing_of_vms(&filter, order, paging.request())?;
        let rows = nodes.into_iter().map(Vm).collect();
        let link = paging.link(next.as_deref());
        let next_cursor = paging.next_cursor(next);
        Ok((link, read.show(PartialList { keys: VMS, rows, total, next_cursor })).into_response())
    };
    endpoint.resolvers.offload().run(steps, in_request_context(answer)).await
}

/// `GET /api/v1/vms/{id}`
pub(super) async fn one(read: Read, PathId(id): PathId) -> Result<Response> {
    Ok(read.show_object(Vm(read.reading.vm(&id)?)))
}
