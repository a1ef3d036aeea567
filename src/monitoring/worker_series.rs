//! `GET /metrics/workers`: series of each worker, for those who have room for them. Whoever does not scrape this address does
//! not have them.
//!
//! The response is written while it is sent, a chunk of workers at a time and from one snapshot, so that it takes the memory
//! of a chunk and not of a fleet. In both formats gauges are written alike; only the end differs.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use super::endpoint::Monitoring;
use super::scrape::{MIB, answer, format_for};
use crate::cluster::{Availability, SchedulingPolicy, View, WorkerId, WorkerView};
use crate::http::{HttpError, current_caller};
use crate::metrics::{Format, escaped};

/// Workers of a chunk: some 100 KB of text, and a fraction of a millisecond.
const WORKERS_PER_CHUNK: usize = 500;

/// Takes a sample of a worker: labels beside those that say which worker it is, and the value.
type AddSample<'a> = dyn FnMut(&[(&str, &str)], f64) + 'a;

/// The series of one name.
#[derive(Clone, Copy)]
struct Gauge {
    name: &'static str,
    help: &'static str,
    /// Gives the samples of a worker.
    samples: fn(&WorkerView, &mut AddSample<'_>),
}

const GAUGES: [Gauge; 8] = [
    Gauge {
        name: "aetherium_worker_info",
        help: "What a worker is. The value is always 1.",
        samples: |worker, add| {
            add(&[("hostname", &worker.identity().hostname), ("address", &worker.identity().address)], 1.0)
        },
    },
    Gauge {
        name: "aetherium_worker_up",
        help: "Whether heartbeats of the worker arrive.",
        samples: |worker, add| add(&[], flag(worker.availability() == Availability::Online)),
    },
    Gauge {
        name: "aetherium_worker_draining",
        help: "Whether operators want nothing new on the worker.",
        samples: |worker, add| add(&[], flag(worker.worker.policy == SchedulingPolicy::Draining)),
    },
    Gauge {
        name: "aetherium_worker_last_heartbeat_timestamp_seconds",
        help: "When the worker was last heard, in seconds since 1970.",
        samples: |worker, add| add(&[], worker.worker.usage.last_seen.timestamp_millis() as f64 / 1e3),
    },
    Gauge {
        name: "aetherium_worker_cpu_cores",
        help: "CPU cores of the worker: all, and those that VMs hold.",
        samples: |worker, add| {
            add(&[("kind", "total")], worker.identity().cpu_cores.into());
            add(&[("kind", "used")], worker.worker.usage.used_cpu_cores.into());
        },
    },
    Gauge {
        name: "aetherium_worker_memory_bytes",
        help: "Memory of the worker in bytes: all, and what VMs hold.",
        samples: |worker, add| {
            add(&[("kind", "total")], f64::from(worker.identity().memory_mb) * MIB);
            add(&[("kind", "used")], f64::from(worker.worker.usage.used_memory_mb) * MIB);
        },
    },
    Gauge {
        name: "aetherium_worker_vm_slots",
        help: "VM slots of the worker: all, and those that VMs hold.",
        samples: |worker, add| {
            add(&[("kind", "total")], worker.identity().max_vms.into());
            add(&[("kind", "used")], worker.vm_count() as f64);
        },
    },
    Gauge {
        name: "aetherium_worker_disk_bytes",
        help: "Disk of the worker, in bytes.",
        samples: |worker, add| add(&[], f64::from(worker.identity().disk_gb) * 1_024.0 * MIB),
    },
];

/// `GET /metrics/workers`
pub(super) async fn workers(
    State(monitoring): State<Arc<Monitoring>>,
    headers: HeaderMap,
) -> Result<Response, HttpError> {
    let caller = current_caller();
    let resolvers = &monitoring.resolvers;
    let reading = resolvers.read(&caller)?;
    resolvers.spend_more(&caller, reading.steps_to_write_worker_series());
    let format = format_for(&headers);
    let series = Series { view: reading.view().clone(), format, left: GAUGES.into(), after: None, has_ended: false };
    let chunks = stream::unfold(series, |mut series| async move {
        let chunk = series.next_chunk()?;
        Some((Ok::<_, Infallible>(chunk), series))
    });
    // Compression asks again after the end.
    Ok(answer(format, Body::from_stream(chunks.fuse())))
}

/// What is left to be written.
struct Series {
    view: Arc<View>,
    format: Format,
    left: VecDeque<Gauge>,
    /// The last worker that was written of the first of these.
    after: Option<WorkerId>,
    has_ended: bool,
}

impl Series {
    /// The next chunk of text; none when all is written.
    fn next_chunk(&mut self) -> Option<Bytes> {
        let Some(gauge) = self.left.front().copied() else {
            let is_end = !std::mem::replace(&mut self.has_ended, true) && !self.format.end().is_empty();
            return is_end.then(|| Bytes::from_static(self.format.end().as_bytes()));
        };
        let mut text = String::new();
        if self.after.is_none() {
            // Writing into a text does not fail.
            _ = writeln!(text, "# HELP {} {}\n# TYPE {0} gauge", gauge.name, gauge.help);
        }
        let lower = self.after.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(id.as_str()));
        let mut workers = self.view.workers_in(lower, Bound::Unbounded);
        let mut last = None;
        for worker in workers.by_ref().take(WORKERS_PER_CHUNK) {
            (gauge.samples)(&worker, &mut |labels, value| write_sample(&mut text, gauge.name, &worker, labels, value));
            last = Some(worker.worker.id.clone());
        }
        let is_last = workers.next().is_none();
        drop(workers);
        self.after = last.filter(|_| !is_last);
        if is_last {
            self.left.pop_front();
        }
        Some(text.into())
    }
}

fn write_sample(text: &mut String, name: &str, worker: &WorkerView, labels: &[(&str, &str)], value: f64) {
    let (id, zone) = (escaped(worker.worker.id.as_str()), escaped(&worker.identity().zone));
    _ = write!(text, "{name}{{worker=\"{id}\",zone=\"{zone}\"");
    for (name, value) in labels {
        _ = write!(text, ",{name}=\"{}\"", escaped(value));
    }
    _ = writeln!(text, "}} {value}");
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}
