//! A sample: the figures of each worker, each zone and the cluster at one moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::figure::Figure;
use super::measured::MeasuredLoads;
use super::subject::Subject;
use super::windows::Windows;
use crate::cluster::{ClusterStats, View, WorkerView};

/// For how many workers the windows are locked at a time: queries of the latest points wait that long.
const WORKERS_PER_STEP: usize = 500;

/// The sums of a zone or of the cluster, by figure; none of a figure that is known of no worker.
pub(super) type Sums = [Option<i64>; Figure::COUNT];

/// The sums over no workers: measured load of nobody is not 0 but not known.
pub(super) fn no_workers() -> Sums {
    Figure::ALL.map(|figure| (!Figure::MEASURED.contains(&figure)).then_some(0))
}

/// Takes the sample of a minute. It takes some microseconds for each worker, and belongs on a thread where nobody waits.
///
/// The sums are those of `zones` and `clusterStats`: allocations of workers that are offline are in them. Such a worker
/// itself has no sample, since nothing is known of it then.
pub fn take(view: &Arc<View>, loads: &MeasuredLoads, now: Duration, minute: i64, windows: &Windows) {
    let mut cluster = no_workers();
    let mut zones = HashMap::<Arc<str>, Sums>::new();
    let mut samples = Vec::with_capacity(WORKERS_PER_STEP);
    for worker in view.workers() {
        let is_online = worker.is_healthy();
        let measured = if is_online { loads.take(worker.worker.id.as_str(), now) } else { Vec::new() };
        let mut figures = figures_of(&worker);
        add_to_sums(&mut cluster, &mut zones, &worker, is_online, &figures, &measured);
        if is_online {
            figures.extend(measured);
            samples.push((Subject::Worker(worker.worker.id.shared()), figures));
        }
        if samples.len() == WORKERS_PER_STEP {
            windows.record(minute, std::mem::take(&mut samples));
        }
    }
    // Each VM counts once, whichever workers report it.
    cluster[Figure::VmCount.index()] = i64::try_from(ClusterStats::of(view).total_vms).ok();
    samples.push((Subject::Cluster, known(&cluster)));
    samples.extend(zones.into_iter().map(|(zone, sums)| (Subject::Zone(zone), known(&sums))));
    windows.record(minute, samples);
    loads.forget_old(now);
}

/// Adds the figures of a worker to those of the cluster and of its zone.
pub(super) fn add_to_sums(
    cluster: &mut Sums,
    zones: &mut HashMap<Arc<str>, Sums>,
    worker: &WorkerView,
    is_online: bool,
    figures: &[(Figure, i64)],
    measured: &[(Figure, i64)],
) {
    let totals = [
        (Figure::Workers, 1),
        (Figure::OnlineWorkers, i64::from(is_online)),
        (Figure::MeasuredWorkers, i64::from(!measured.is_empty())),
    ];
    let all = || figures.iter().chain(measured).chain(&totals);
    add(cluster, all());
    let zone = &worker.identity().zone;
    if !zone.is_empty() {
        add(zones.entry(zone.clone()).or_insert_with(no_workers), all());
    }
}

/// The figures of a worker that are known of each, whatever its agent measures.
pub(super) fn figures_of(worker: &WorkerView) -> Vec<(Figure, i64)> {
    let (identity, usage) = (worker.identity(), &worker.worker.usage);
    vec![
        (Figure::CpuCores, identity.cpu_cores.into()),
        (Figure::MemoryMb, identity.memory_mb.into()),
        (Figure::DiskGb, identity.disk_gb.into()),
        (Figure::MaxVms, identity.max_vms.into()),
        (Figure::UsedCpuCores, usage.used_cpu_cores.into()),
        (Figure::UsedMemoryMb, usage.used_memory_mb.into()),
        (Figure::UsedDiskGb, usage.used_disk_gb.into()),
        (Figure::VmCount, i64::try_from(worker.vm_count()).unwrap_or(i64::MAX)),
    ]
}

fn add<'a>(sums: &mut Sums, figures: impl Iterator<Item = &'a (Figure, i64)>) {
    for (figure, value) in figures {
        let sum = &mut sums[figure.index()];
        *sum = Some(sum.unwrap_or_default().saturating_add(*value));
    }
}

/// The sums that are known, with their figures.
pub(super) fn known(sums: &Sums) -> Vec<(Figure, i64)> {
    Figure::ALL.into_iter().filter_map(|figure| Some((figure, sums[figure.index()]?))).collect()
}
