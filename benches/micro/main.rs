//! Single steps inside one process: what a change, an answer and a commit cost without a network between.
//!
//! A question goes through the whole router, as it does in production, because what is behind it may be arranged anew; a
//! figure that gets worse says which benchmark to look into, not which function.
//!
//! `cargo bench --bench micro`, or some of it: `cargo bench --bench micro -- q2`. Criterion compares with the run before.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark stops at the first oddity; its macros make functions"
)]

mod house;
#[path = "../support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use aetherium::auth::Caller;
use aetherium::cluster::{
    Capacity, Changes, Placement, PlacementConstraints, PlacementRequest, View, VmSize, Worker, WorkerStatus,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use serde_json::json;

use self::house::{House, workers_at_rest};
use self::support::documents::{FIELDS, bomb, q1, q2, q3};
use self::support::{Fleet, beat};

/// What one publication brings along when 2,000 beats a second are committed every 20 ms.
const CHANGES: usize = 40;

/// Beats in one commit.
const BATCH: usize = 128;

fn state(criterion: &mut Criterion) {
    let snapshot = workers_at_rest(10_000);
    let changed: Vec<_> = snapshot.workers().step_by(snapshot.worker_count() / CHANGES).cloned().collect();
    let changes = || Changes { workers: changed.clone(), ..Changes::default() };
    criterion.bench_function("state/publish 40 changes of 10,000 workers", |bencher| {
        bencher.iter(|| snapshot.apply(black_box(changes()), 2));
    });

    let now = snapshot.workers().next().unwrap().usage.last_seen;
    let view = Arc::new(View::new(Arc::new(snapshot), now, Duration::from_secs(60)));
    criterion.bench_function("state/status of 10,000 workers", |bencher| {
        bencher.iter(|| view.workers().filter(|worker| worker.status() == WorkerStatus::Active).count());
    });
}

/// The whole answer, with its lists of candidates and refusals: it is to take 10 ms at most.
fn placements(criterion: &mut Criterion) {
    let snapshot = workers_at_rest(10_000);
    let with_inventory = snapshot.workers().map(|worker| {
        let mut worker = Worker::clone(worker);
        worker.usage.inventory_revision = Some(1);
        Arc::new(worker)
    });
    let changes = Changes { workers: with_inventory.collect(), ..Changes::default() };
    let snapshot = snapshot.apply(changes, 2);
    let now = snapshot.workers().next().unwrap().usage.last_seen;
    let view = Arc::new(View::new(Arc::new(snapshot), now, Duration::from_secs(60)));
    let request = |vcpus, count| PlacementRequest {
        size: VmSize { vcpus, memory_mb: 512, disk_gb: 1 },
        count,
        limit: 20,
        ..PlacementRequest::default()
    };
    for (name, request) in
        [("one VM", request(1, 1)), ("1,000 VMs", request(1, 1_000)), ("one VM that fits nowhere", request(90_000, 1))]
    {
        criterion.bench_function(&format!("placement/{name} on 10,000 workers"), |bencher| {
            bencher.iter(|| Placement::of(&view, black_box(&request)).placeable);
        });
    }
    criterion.bench_function("placement/capacity of 10,000 workers", |bencher| {
        bencher.iter(|| Capacity::of(&view, black_box(request(1, 1).size), &PlacementConstraints::default()).vms);
    });
}

fn answers(criterion: &mut Criterion) {
    let house = House::with(Fleet::A);
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group
        .bench_function("REST, one worker", |bencher| house.get(bencher, &format!("/api/v1/workers/{}", Fleet::one())));
    group.bench_function("REST, 1,000 workers", |bencher| house.get(bencher, "/api/v1/workers"));
    for (name, question) in [("q1", q1()), ("q2", q2()), ("q3", q3())] {
        group.bench_function(format!("GraphQL, {name}"), |bencher| house.ask(bencher, || question.clone()));
    }
}

/// A worker that does not exist has no fields to resolve: what is left is the document.
fn documents(criterion: &mut Criterion) {
    let house = House::with(Fleet { workers: 0, vms: 0 });
    let question = |name: u64| json!({"query": format!("query Q{name} {{ worker(id: \"none\") {{ {FIELDS} }} }}")});
    let mut group = criterion.benchmark_group("document");
    let mut name = 0;
    group.bench_function("never seen", |bencher| {
        house.ask(bencher, || {
            name += 1;
            question(name)
        });
    });
    assert!(house.answer(&question(0)).get("errors").is_none(), "it can be answered");
    group.bench_function("kept", |bencher| house.ask(bencher, || question(0)));
    assert!(house.answer(&bomb()).get("data").is_none(), "it is refused");
    group.bench_function("2^30 fields, refused", |bencher| house.ask(bencher, bomb));
}

fn commits(criterion: &mut Criterion) {
    let house = House::with(Fleet::A);
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    let mut round = 0;
    group.bench_function("128 beats, SQLite", |bencher| {
        bencher.to_async(&house.runtime).iter(|| {
            round += 1;
            let beats =
                (0..BATCH).map(|worker| {
                    let input = serde_json::from_value(beat(worker, round)).unwrap();
                    let resolvers = house.resolvers.clone();
                    async move {
                        resolvers.record_heartbeat(&Caller::unrestricted(), &Fleet::id(worker), input).await.unwrap()
                    }
                });
            join_all(beats)
        });
    });
}

criterion_group!(micro, state, placements, answers, documents, commits);
criterion_main!(micro);
