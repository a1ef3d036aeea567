//! The JSON of lists: `{"workers": […], "total": 1000}`.
//!
//! The lists of everything, which is what is asked for most, are one fixed plan each over rows that are kept (see
//! [`kept`](crate::resolvers::kept)): a row is written when it has changed. Parts of a list are written for each
//! request.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::etag::{Versioned, version_of};
use super::objects::{DependsOn as _, Vm, Worker, WorkerDistribution, WriteJson};
use super::read::Read;
use crate::cluster::{self, VmReports};
use crate::http::ChunkedBytes;
use crate::resolvers::kept::{Kept, List, Row, Rows};

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

/// `GET /api/v1/cluster/distribution`
const DISTRIBUTION: ListKeys = ListKeys { rows: "distribution", total: "total_workers" };

/// A page of a list, or a list with a filter or another order: rendered for each request.
pub(super) struct PartialList<T> {
    pub(super) keys: ListKeys,
    pub(super) rows: Vec<T>,
    /// How many there are in the whole list.
    pub(super) total: usize,
}

impl<T: Serialize> Serialize for PartialList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { keys, rows, total } = self;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(keys.rows, rows)?;
        map.serialize_entry(keys.total, total)?;
        map.end()
    }
}

impl<T: Versioned> Versioned for PartialList<T> {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.total.hash(hasher);
        self.rows.version(hasher);
    }
}

/// A whole list, rendered.
struct WholeList {
    keys: ListKeys,
    rows: Rows,
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
        rows.pieces.into_iter().for_each(|piece| body.push(piece));
        let mut end = String::from("]");
        let _ = write!(end, ",\"{}\":{}}}", keys.total, rows.total);
        body.push(end.into());
        body.into()
    }
}

/// Renders the lists of everything from cached rows.
#[derive(Clone)]
pub(super) struct ListRenderer(Arc<Inner>);

struct Inner {
    kept: Kept,
    workers: List<Arc<cluster::Worker>>,
    distribution: List<Arc<cluster::Worker>>,
    vms: List<VmReports>,
}

impl Default for ListRenderer {
    fn default() -> Self {
        Self(Arc::new(Inner {
            kept: Kept::default(),
            workers: List::named(WORKERS.rows, Worker::DEPENDS),
            distribution: List::named(DISTRIBUTION.rows, WorkerDistribution::DEPENDS.and(Vm::DEPENDS)),
            vms: List::named(VMS.rows, Vm::DEPENDS),
        }))
    }
}

impl ListRenderer {
    /// All workers.
    pub(super) fn workers(&self, read: &Read) -> Response {
        let Inner { kept, workers, .. } = &*self.0;
        let rows = read.reading.write_workers(kept, workers, |worker, bytes| row(&Worker(worker.clone()), bytes));
        read.respond(WholeList { keys: WORKERS, rows }, Body::from)
    }

    /// All VMs that hold a slot.
    pub(super) fn vms(&self, read: &Read) -> Response {
        let Inner { kept, vms, .. } = &*self.0;
        let rows = read.reading.write_vms(kept, vms, |vm, bytes| row(&Vm(vm.clone()), bytes));
        read.respond(WholeList { keys: VMS, rows }, Body::from)
    }

    /// The VMs of each worker.
    pub(super) fn distribution(&self, read: &Read) -> Response {
        let Inner { kept, distribution, .. } = &*self.0;
        let rows = read.reading.write_workers(kept, distribution, |worker, bytes| {
            row(&WorkerDistribution(cluster::WorkerDistribution::of(worker.clone())), bytes)
        });
        read.respond(WholeList { keys: DISTRIBUTION, rows }, Body::from)
    }
}

fn row(object: &(impl WriteJson + Versioned), bytes: &mut Vec<u8>) -> Row {
    object.write_text(bytes);
    Row { objects: 0, is_whole: true, version: version_of(object) }
}
