//! The handlers of `/placement` and `/capacity`: where VMs fit, and how many.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

use super::endpoint::Endpoint;
use super::error::Result;
use super::etag::Versioned;
use super::filter_params::{FILTER_NAMES, given, named};
use super::json_objects::{Capacity, Placement, WriteJson};
use super::query_response::Read;
use crate::http::{Query, current_caller, in_request_context};
use crate::resolvers::checks::Whole;
use crate::resolvers::filter_input;
use crate::resolvers::placement::{ConstraintsInput, PlacementInput, PlacementNames};

/// In the singular: a parameter with several values is repeated.
const NAMES: PlacementNames = PlacementNames {
    zones: "zone",
    labels: "label",
    capabilities: "capability",
    without_workers: "without_worker",
    without_zones: "without_zone",
};

#[derive(Deserialize)]
pub(super) struct ConstraintsQuery {
    vcpus: Option<i64>,
    memory_mb: Option<i64>,
    disk_gb: Option<i64>,
    #[serde(default)]
    zone: Vec<String>,
    #[serde(default)]
    label: Vec<String>,
    #[serde(default)]
    capability: Vec<String>,
    #[serde(default)]
    without_worker: Vec<String>,
    #[serde(default)]
    without_zone: Vec<String>,
}

impl ConstraintsQuery {
    fn into_input(self) -> Result<ConstraintsInput> {
        let Self { vcpus, memory_mb, disk_gb, zone, label, capability, without_worker, without_zone } = self;
        let labels = label.iter().map(|text| filter_input::label(FILTER_NAMES.labels, text));
        Ok(ConstraintsInput {
            vcpus: vcpus.map(Whole),
            memory_mb: memory_mb.map(Whole),
            disk_gb: disk_gb.map(Whole),
            zones: named(zone),
            labels: given(labels.collect::<Result<_, _>>()?),
            capabilities: given(capability),
            without_workers: given(without_worker),
            without_zones: given(without_zone),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct PlacementQuery {
    count: Option<i64>,
    strategy: Option<String>,
    distinct: Option<String>,
    limit: Option<i64>,
}

/// An answer that is written to find out whether the client has it: it is short, and made anew for each request.
pub(super) struct Written(Vec<u8>);

impl Written {
    pub(super) fn of(object: &impl WriteJson) -> Self {
        Self(object.text())
    }
}

impl Versioned for Written {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl From<Written> for Body {
    fn from(Written(text): Written) -> Self {
        text.into()
    }
}

/// `GET /api/v1/placement`
pub(super) async fn placement(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(constraints): Query<ConstraintsQuery>,
    Query(PlacementQuery { count, strategy, distinct, limit }): Query<PlacementQuery>,
) -> Result<Response> {
    let (constraints, count, limit) = (constraints.into_input()?, count.map(Whole), limit.map(Whole));
    let request = PlacementInput { constraints, count, strategy, distinct, limit }.check(&NAMES)?;
    let steps = read.reading.steps_to_place(&request);
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || {
        let placement = Placement(read.reading.placement(&request));
        read.respond(Written::of(&placement), Body::from)
    };
    Ok(endpoint.resolvers.offload().run(steps, in_request_context(answer)).await)
}

/// `GET /api/v1/capacity`
pub(super) async fn capacity(
    State(endpoint): State<Arc<Endpoint>>,
    read: Read,
    Query(constraints): Query<ConstraintsQuery>,
) -> Result<Response> {
    let (size, constraints) = constraints.into_input()?.check(&NAMES)?;
    let steps = read.reading.steps_to_count_capacity(&constraints);
    endpoint.resolvers.spend_more(&current_caller(), steps);
    let answer = move || {
        let capacity = Capacity(read.reading.capacity(size, &constraints));
        read.respond(Written::of(&capacity), Body::from)
    };
    Ok(endpoint.resolvers.offload().run(steps, in_request_context(answer)).await)
}
