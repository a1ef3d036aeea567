//! The questions where VMs fit, and how many: the checking of their input, and their answers.
//!
//! The rules of placement are in [`cluster`](crate::cluster). Nothing is held by a question: that is done by
//! [`reservations`](super::reservations), which are asked for with the same input.

use super::Reading;
use super::checks::{self, MAX_CPU_CORES, MAX_FIGURE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, Whole};
use super::filter_input::{of_length, texts};
use super::offload::steps;
use super::page::MAX_SIZE;
use crate::cluster::{
    Capacity, Distinct, LabelFilter, Placement, PlacementConstraints, PlacementRequest, PlacementStrategy, VmSize,
};
use crate::error::{Error, Result};

/// Most VMs that are placed by one request.
pub(crate) const MAX_PLACED: i64 = 1_000;

/// How many candidates, and how many refusals, are listed unless the request says so.
pub(crate) const DEFAULT_LISTED: i64 = 20;

/// How often each worker is looked at for a placement: as a candidate, as a refusal, and to place VMs on it.
const LOOKS: usize = 3;

/// What a protocol calls the parts of a request, for refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementNames {
    /// Zones.
    pub zones: &'static str,
    /// Labels.
    pub labels: &'static str,
    /// Capabilities.
    pub capabilities: &'static str,
    /// Workers that are left out.
    pub without_workers: &'static str,
    /// Zones that are left out.
    pub without_zones: &'static str,
}

impl PlacementNames {
    /// In the plural, as in bodies and in GraphQL.
    pub const PLURAL: Self = Self {
        zones: "zones",
        labels: "labels",
        capabilities: "capabilities",
        without_workers: "without_workers",
        without_zones: "without_zones",
    };
}

/// Where VMs of one size may be placed, as sent.
#[derive(Clone, Debug, Default)]
pub struct ConstraintsInput {
    /// Virtual CPUs of each VM; needed.
    pub vcpus: Option<Whole>,
    /// Memory of each VM, in MiB; needed.
    pub memory_mb: Option<Whole>,
    /// Disk of each VM, in GB; 0 if left out.
    pub disk_gb: Option<Whole>,
    /// In one of these zones; the empty text is for workers without a zone.
    pub zones: Option<Vec<String>>,
    /// With all of these labels.
    pub labels: Option<Vec<LabelFilter>>,
    /// With all of these capabilities.
    pub capabilities: Option<Vec<String>>,
    /// Not on these workers.
    pub without_workers: Option<Vec<String>>,
    /// Not in these zones.
    pub without_zones: Option<Vec<String>>,
}

impl ConstraintsInput {
    /// The size of each VM and where they may be placed, or what is wrong with it.
    pub fn check(self, names: &PlacementNames) -> Result<(VmSize, PlacementConstraints)> {
        let Self { vcpus, memory_mb, disk_gb, zones, labels, capabilities, without_workers, without_zones } = self;
        let needed = |field, number: Option<Whole>, most| {
            checks::figure(field, number.ok_or_else(|| Error::invalid(field, "is needed"))?, 1, most)
        };
        let size = VmSize {
            vcpus: needed("vcpus", vcpus, MAX_CPU_CORES)?,
            memory_mb: needed("memory_mb", memory_mb, MAX_FIGURE)?,
            disk_gb: checks::figure("disk_gb", disk_gb.unwrap_or(Whole(0)), 0, MAX_FIGURE)?,
        };
        let zones = texts(names.zones, zones, 0)?;
        if zones.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid(names.zones, "must not be empty: leave it out for all zones"));
        }
        let labels = labels.unwrap_or_default();
        checks::at_most(names.labels, labels.len(), MAX_LABELS)?;
        for LabelFilter { key, value } in &labels {
            of_length(names.labels, key, 1, MAX_LABEL_KEY)?;
            of_length(names.labels, value.as_deref().unwrap_or_default(), 0, MAX_LABEL_VALUE)?;
        }
        let capabilities = texts(names.capabilities, capabilities, 1)?.unwrap_or_default();
        checks::at_most(names.capabilities, capabilities.len(), MAX_LABELS)?;
        let without_workers = texts(names.without_workers, without_workers, 1)?.unwrap_or_default();
        let without_zones = texts(names.without_zones, without_zones, 0)?.unwrap_or_default();
        let constraints = PlacementConstraints {
            zones,
            labels,
            capabilities,
            without_workers: without_workers.into_iter().collect(),
            without_zones: without_zones.into_iter().collect(),
        };
        Ok((size, constraints))
    }
}

/// A question where VMs fit, as sent.
#[derive(Clone, Debug, Default)]
pub struct PlacementInput {
    /// Their size, and where they may be placed.
    pub constraints: ConstraintsInput,
    /// How many VMs; one if left out.
    pub count: Option<Whole>,
    /// The word for which workers are preferred.
    pub strategy: Option<String>,
    /// The word for what no two of them may share.
    pub distinct: Option<String>,
    /// How many candidates, and how many refusals, are listed.
    pub limit: Option<Whole>,
}

impl PlacementInput {
    /// The question, or what is wrong with it.
    pub fn check(self, names: &PlacementNames) -> Result<PlacementRequest> {
        let Self { constraints, count, strategy, distinct, limit } = self;
        let (size, constraints) = constraints.check(names)?;
        let most_listed = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
        let limit = checks::figure("limit", limit.unwrap_or(Whole(DEFAULT_LISTED)), 0, most_listed)?;
        Ok(PlacementRequest {
            size,
            count: check_count(count.unwrap_or(Whole(1)))?,
            constraints,
            strategy: check_strategy(strategy)?,
            distinct: check_distinct(distinct)?,
            limit: limit as usize,
        })
    }
}

pub(super) fn check_count(count: Whole) -> Result<usize> {
    Ok(checks::figure("count", count, 1, MAX_PLACED)? as usize)
}

pub(super) fn check_strategy(strategy: Option<String>) -> Result<PlacementStrategy> {
    let word = |text: String| checks::word("strategy", &text, PlacementStrategy::ALL, PlacementStrategy::as_str);
    Ok(strategy.map(word).transpose()?.unwrap_or_default())
}

pub(super) fn check_distinct(distinct: Option<String>) -> Result<Distinct> {
    let word = |text: String| checks::word("distinct", &text, Distinct::ALL, Distinct::as_str);
    Ok(distinct.map(word).transpose()?.unwrap_or_default())
}

impl Reading {
    /// The steps of finding out where VMs fit.
    pub fn steps_to_place(&self, request: &PlacementRequest) -> u64 {
        let rows = self.view.snapshot.worker_count().saturating_mul(LOOKS).saturating_add(request.count);
        steps(rows, request.constraints.entries())
    }

    /// Where VMs would be placed now, and why not elsewhere.
    pub fn placement(&self, request: &PlacementRequest) -> Placement {
        Placement::of(&self.view, request)
    }

    /// The steps of finding out how many VMs fit.
    pub fn steps_to_count_capacity(&self, constraints: &PlacementConstraints) -> u64 {
        steps(self.view.snapshot.worker_count(), constraints.entries())
    }

    /// How many VMs of a size fit now.
    pub fn capacity(&self, size: VmSize, constraints: &PlacementConstraints) -> Capacity {
        Capacity::of(&self.view, size, constraints)
    }
}
