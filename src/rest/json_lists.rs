//! The JSON of lists: `{"workers": […], "total": 1000}`.
//!
//! The whole lists, which are asked for most, are joined from cached rows (see
//! [`row_cache`](crate::resolvers::row_cache)): a row is written when it has changed. Parts of a list are written for
//! each request.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::etag::{Versioned, version_of};
use super::json_objects::{HasVolatility as _, Vm, Worker, WorkerDistribution, WriteJson};
use super::query_response::Read;
use crate::cluster::{self, VmReports};
use crate::http::ChunkedBytes;
use crate::render::{ListKey, RenderedRow, RenderedRows};
use crate::resolvers::row_cache::RowCache;

/// The keys of a list's two entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListKeys {
    pub(super) rows: &'static str,
    pub(super) total: &'static str,
}

/// `GET /api/v1/workers`
pub(super) const WORKERS: ListKeys = ListKeys { rows: "workers", total: "total" };

/// `GET /api/v1/vms`
pub(super) const VMS: ListKeys = ListKeys { rows: "vms", total: "total" };

/// `GET /api/v1/cluster/zones`
pub(super) const ZONES: ListKeys = ListKeys { rows: "zones", total: "total" };

/// `GET /api/v1/cluster/distribution`
const DISTRIBUTION: ListKeys = ListKeys { rows: "distribution", total: "total_workers" };

/// A page of a list, or a list with a filter or another order: rendered for each request.
pub(super) struct PartialList<T> {
    pub(super) keys: ListKeys,
    pub(super) rows: Vec<T>,
    /// How many there are in the whole list.
    pub(super) total: usize,
    /// The cursor of the next page, of which there may be none; not said if no page is asked for.
    pub(super) next_cursor: Option<Option<String>>,
}

impl<T: Serialize> Serialize for PartialList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { keys, rows, total, next_cursor } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(keys.rows, rows)?;
        map.serialize_entry(keys.total, total)?;
        if let Some(next) = next_cursor {
            map.serialize_entry("next_cursor", next)?;
        }
        map.end()
    }
}

impl<T: Versioned> Versioned for PartialList<T> {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.total.hash(hasher);
        self.rows.version(hasher);
        if let Some(next) = &self.next_cursor {
            next.hash(hasher);
        }
    }
}

/// A whole list, rendered.
struct WholeList {
    keys: ListKeys,
    rows: RenderedRows,
}

impl Versioned for WholeList {
    /// The same as of a page that contains the whole list.
    fn version<H: Hasher>(&self, hasher: &mut H) {
        (self.rows.total, self.rows.total, self.rows.version).hash(hasher);
    }
}

impl From<WholeList> for Body {
    fn from(whole: WholeList) -> Self {
        let WholeList { keys, rows } = whole;
        let mut body = ChunkedBytes::default();
        body.push(format!("{{\"{}\":[", keys.rows).into());
        rows.chunks.into_iter().for_each(|chunk| body.push(chunk));
        let mut end = String::from("]");
        let _ = write!(end, ",\"{}\":{}}}", keys.total, rows.total);
        body.push(end.into());
        body.into()
    }
}

/// Writes the whole lists. Cheap to clone; clones share the row cache.
#[derive(Clone)]
pub(super) struct ListRenderer(Arc<Inner>);

struct Inner {
    row_cache: RowCache,
    workers: ListKey<Arc<cluster::Worker>>,
    distribution: ListKey<Arc<cluster::Worker>>,
    vms: ListKey<VmReports>,
}

impl Default for ListRenderer {
    fn default() -> Self {
        Self(Arc::new(Inner {
            row_cache: RowCache::default(),
            workers: ListKey::named(WORKERS.rows, Worker::VOLATILITY),
            distribution: ListKey::named(DISTRIBUTION.rows, WorkerDistribution::VOLATILITY.and(Vm::VOLATILITY)),
            vms: ListKey::named(VMS.rows, Vm::VOLATILITY),
        }))
    }
}

impl ListRenderer {
    /// All workers.
    pub(super) fn workers(&self, read: &Read) -> Response {
        let Inner { row_cache, workers, .. } = &*self.0;
        let rows = read.reading.write_workers(row_cache, workers, |worker, bytes| row(&Worker(worker.clone()), bytes));
        read.respond(WholeList { keys: WORKERS, rows }, Body::from)
    }

    /// All VMs that hold a slot.
    pub(super) fn vms(&self, read: &Read) -> Response {
        let Inner { row_cache, vms, .. } = &*self.0;
        let rows = read.reading.write_vms(row_cache, vms, |vm, bytes| row(&Vm(vm.clone()), bytes));
        read.respond(WholeList { keys: VMS, rows }, Body::from)
    }

    /// The VMs of each worker.
    pub(super) fn distribution(&self, read: &Read) -> Response {
        let Inner { row_cache, distribution, .. } = &*self.0;
        let rows = read.reading.write_workers(row_cache, distribution, |worker, bytes| {
            row(&WorkerDistribution(cluster::WorkerDistribution::of(worker.clone())), bytes)
        });
        read.respond(WholeList { keys: DISTRIBUTION, rows }, Body::from)
    }
}

fn row(object: &(impl WriteJson + Versioned), bytes: &mut Vec<u8>) -> RenderedRow {
    object.write_text(bytes);
    RenderedRow { objects: 0, is_complete: true, version: version_of(object) }
}
