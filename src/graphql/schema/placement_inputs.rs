//! The input types of placements and reservations. They are converted here and checked in
//! [`crate::resolvers::placement`] and [`crate::resolvers::reservations`], as REST's are.

use async_graphql::{Enum, ID, InputObject};

use super::inputs::{LabelFilter, texts, whole};
use super::scalars::Duration;
use super::value_types;
use crate::cluster;
use crate::error::Error;
use crate::resolvers::placement::{ConstraintsInput, PlacementInput, PlacementNames};
use crate::resolvers::reservations::{ReservationFilterInput, ReservationInput};

/// Which of the workers that have room are preferred.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "cluster::PlacementStrategy")]
pub enum PlacementStrategy {
    /// Few VMs of the same request in one zone and on one worker, then the least loaded worker.
    Spread,
    /// The most loaded worker, so that others stay empty.
    Pack,
}

/// What no two VMs of one request may share.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(remote = "cluster::Distinct")]
pub enum PlacementDistinct {
    /// Nothing: they may share a worker.
    None,
    /// The worker.
    Worker,
    /// The zone. Workers without a zone count as one zone.
    Zone,
}

/// VMs of one size, and where they may be placed. A field that is left out, or null, asks for nothing in particular.
#[derive(InputObject)]
pub struct PlacementRequest {
    /// Virtual CPUs of each VM, at least 1.
    vcpus: i32,
    /// Memory of each VM, in MiB, at least 1.
    memory_mb: i32,
    /// Disk of each VM, in GB; 0 if left out.
    disk_gb: Option<i32>,
    /// How many VMs, up to 1,000; one if left out.
    count: Option<i32>,
    /// In one of these zones; the empty text is for workers without a zone.
    zones: Option<Vec<String>>,
    /// On workers with all of these labels.
    labels: Option<Vec<LabelFilter>>,
    /// On workers with all of these capabilities.
    capabilities: Option<Vec<String>>,
    /// Which workers are preferred; `SPREAD` if left out.
    strategy: Option<PlacementStrategy>,
    /// What no two of the VMs may share; `NONE` if left out.
    distinct: Option<PlacementDistinct>,
    /// Not on these workers, as if they were lost.
    without_workers: Option<Vec<ID>>,
    /// Not in these zones, as if they were lost.
    without_zones: Option<Vec<String>>,
    /// How many candidates, and how many refusals, are listed, up to 500; 20 if left out.
    limit: Option<i32>,
}

impl TryFrom<PlacementRequest> for cluster::PlacementRequest {
    type Error = Error;

    fn try_from(request: PlacementRequest) -> Result<Self, Error> {
        let input = PlacementInput {
            constraints: ConstraintsInput {
                vcpus: Some(whole(request.vcpus)),
                memory_mb: Some(whole(request.memory_mb)),
                disk_gb: request.disk_gb.map(whole),
                zones: request.zones,
                labels: labels(request.labels),
                capabilities: request.capabilities,
                without_workers: request.without_workers.map(texts),
                without_zones: request.without_zones,
            },
            count: request.count.map(whole),
            strategy: request.strategy.map(strategy_word),
            distinct: request.distinct.map(distinct_word),
            limit: request.limit.map(whole),
        };
        input.check(&PlacementNames::PLURAL)
    }
}

/// Size of VMs, and where they may be placed. A field that is left out, or null, asks for nothing in particular.
#[derive(InputObject)]
pub struct CapacityRequest {
    /// Virtual CPUs of each VM, at least 1.
    vcpus: i32,
    /// Memory of each VM, in MiB, at least 1.
    memory_mb: i32,
    /// Disk of each VM, in GB; 0 if left out.
    disk_gb: Option<i32>,
    /// In one of these zones; the empty text is for workers without a zone.
    zones: Option<Vec<String>>,
    /// On workers with all of these labels.
    labels: Option<Vec<LabelFilter>>,
    /// On workers with all of these capabilities.
    capabilities: Option<Vec<String>>,
    /// Not on these workers, as if they were lost.
    without_workers: Option<Vec<ID>>,
    /// Not in these zones, as if they were lost.
    without_zones: Option<Vec<String>>,
}

impl TryFrom<CapacityRequest> for (cluster::VmSize, cluster::PlacementConstraints) {
    type Error = Error;

    fn try_from(request: CapacityRequest) -> Result<Self, Error> {
        let input = ConstraintsInput {
            vcpus: Some(whole(request.vcpus)),
            memory_mb: Some(whole(request.memory_mb)),
            disk_gb: request.disk_gb.map(whole),
            zones: request.zones,
            labels: labels(request.labels),
            capabilities: request.capabilities,
            without_workers: request.without_workers.map(texts),
            without_zones: request.without_zones,
        };
        input.check(&PlacementNames::PLURAL)
    }
}

/// VMs for which room is to be held, and for how long.
#[derive(InputObject)]
pub struct ReserveInput {
    /// Virtual CPUs of each VM, at least 1.
    vcpus: i32,
    /// Memory of each VM, in MiB, at least 1.
    memory_mb: i32,
    /// Disk of each VM, in GB; 0 if left out.
    disk_gb: Option<i32>,
    /// How many VMs, up to 1,000; if left out, as many as `vmIds` names, or one.
    count: Option<i32>,
    /// In one of these zones; the empty text is for workers without a zone.
    zones: Option<Vec<String>>,
    /// On workers with all of these labels.
    labels: Option<Vec<LabelFilter>>,
    /// On workers with all of these capabilities.
    capabilities: Option<Vec<String>>,
    /// Which workers are preferred; `SPREAD` if left out.
    strategy: Option<PlacementStrategy>,
    /// What no two of the VMs may share; `NONE` if left out.
    distinct: Option<PlacementDistinct>,
    /// Not on these workers.
    without_workers: Option<Vec<ID>>,
    /// Not in these zones.
    without_zones: Option<Vec<String>>,
    /// For how long, up to `1h0m0s`; `2m0s` if left out.
    expires_in: Option<Duration>,
    /// Ids of the VMs, if they have some already: each takes its slot when its worker reports it, and no worker is chosen
    /// that has one of them already. A conflict if another reservation holds a slot for one of them.
    vm_ids: Option<Vec<ID>>,
    /// Why; kept with the reservation and in the change log.
    reason: Option<String>,
}

impl From<ReserveInput> for ReservationInput {
    fn from(input: ReserveInput) -> Self {
        Self {
            constraints: ConstraintsInput {
                vcpus: Some(whole(input.vcpus)),
                memory_mb: Some(whole(input.memory_mb)),
                disk_gb: input.disk_gb.map(whole),
                zones: input.zones,
                labels: labels(input.labels),
                capabilities: input.capabilities,
                without_workers: input.without_workers.map(texts),
                without_zones: input.without_zones,
            },
            count: input.count.map(whole),
            strategy: input.strategy.map(strategy_word),
            distinct: input.distinct.map(distinct_word),
            expires_in: input.expires_in.map(|duration| duration.0),
            vm_ids: input.vm_ids.map(texts),
            reason: input.reason,
        }
    }
}

/// Which reservation is not needed any more.
#[derive(InputObject)]
pub struct ReleaseReservationInput {
    /// The reservation.
    pub reservation_id: ID,
    /// Why; kept in the change log.
    pub reason: Option<String>,
}

/// Which reservations are wanted. Fields are ANDed, entries of a list ORed. A field that is left out, or null, asks for
/// nothing in particular; an empty list matches nothing.
#[derive(Default, InputObject)]
pub struct ReservationFilter {
    /// In one of these states.
    states: Option<Vec<value_types::ReservationState>>,
    /// With a slot on one of these workers.
    worker_ids: Option<Vec<ID>>,
}

impl TryFrom<ReservationFilter> for cluster::ReservationFilter {
    type Error = Error;

    fn try_from(ReservationFilter { states, worker_ids }: ReservationFilter) -> Result<Self, Error> {
        let word = |state| cluster::ReservationState::from(state).as_str().to_owned();
        let filter = ReservationFilterInput {
            states: states.map(|states| states.into_iter().map(word).collect()),
            worker_ids: worker_ids.map(texts),
        };
        filter.check("filter.states", "filter.worker_ids")
    }
}

fn labels(labels: Option<Vec<LabelFilter>>) -> Option<Vec<cluster::LabelFilter>> {
    labels.map(|labels| labels.into_iter().map(Into::into).collect())
}

fn strategy_word(strategy: PlacementStrategy) -> String {
    cluster::PlacementStrategy::from(strategy).as_str().to_owned()
}

fn distinct_word(distinct: PlacementDistinct) -> String {
    cluster::Distinct::from(distinct).as_str().to_owned()
}
