//! Answers to one client of a server at rest: pages, places in the middle of lists, sums, where VMs fit.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Cluster;
use super::figures::{Column, Figure};
use super::support::load::{Connection, Request};
use super::support::{Fleet, Program, registration};

/// What is wanted of a placement with 100,000 workers, in milliseconds.
const PLACEMENT: f64 = 50.0;

/// Asks everything, over one connection.
pub async fn measure(cluster: &Cluster, server: &Program, column: &mut Column) -> Result<()> {
    let connection = &mut Connection::open(&server.address).await?;
    let middle = cluster.middle();
    let cursor = Cursors::of(connection, middle).await?;
    let zone = registration(middle).zone;
    for (name, path) in [
        ("one worker", format!("/api/v1/workers/{}", Fleet::id(middle))),
        ("page of workers, first", "/api/v1/workers?limit=50".to_owned()),
        ("page of workers, middle", format!("/api/v1/workers?limit=50&cursor={}", cursor.worker)),
        ("page of workers, sorted", "/api/v1/workers?limit=50&sort=-hostname".to_owned()),
        ("page of sorted workers, second", format!("/api/v1/workers?limit=50&sort=-hostname&cursor={}", cursor.sorted)),
        ("page of workers, in a zone", format!("/api/v1/workers?limit=50&zone={zone}")),
        ("page of a zone, middle", format!("/api/v1/workers?limit=50&zone={zone}&cursor={}", cursor.worker)),
        ("page of workers, by label", "/api/v1/workers?limit=50&label=env=production".to_owned()),
        ("page of workers, by status", "/api/v1/workers?limit=50&status=active".to_owned()),
        ("page of VMs, first", "/api/v1/vms?limit=50".to_owned()),
        ("page of VMs, middle", format!("/api/v1/vms?limit=50&cursor={}", cursor.vm)),
        ("page of VMs, in a zone", format!("/api/v1/vms?limit=50&zone={zone}")),
        ("page of events, first", "/api/v1/events?limit=50".to_owned()),
        ("page of events, middle", format!("/api/v1/events?limit=50&after={}", cursor.event)),
        ("statistics", "/api/v1/cluster/stats".to_owned()),
    ] {
        column.time(Figure::steady(name, "ms"), connection, |_| Request::get(&path)).await?;
    }
    column.time(Figure::informational("all workers", "ms"), connection, |_| Request::get("/api/v1/workers")).await?;

    // Another size, or another worker, each turn: no answer can be one of before.
    let size = |turn: usize| format!("vcpus=4&memory_mb={}", 8_192 + turn);
    let placement = |turn| Request::get(&format!("/api/v1/placement?{}&count=3&distinct=worker", size(turn)));
    column.time(Figure::at_most(PLACEMENT, "placement", "ms"), connection, placement).await?;
    let capacity = |turn| Request::get(&format!("/api/v1/capacity?{}", size(turn)));
    column.time(Figure::informational("capacity", "ms"), connection, capacity).await?;
    let worker = |turn| Fleet::id((middle + turn) % cluster.fleet.workers);
    let plan = |turn| Request::get(&format!("/api/v1/evacuation-plan?id={}", worker(turn)));
    column.time(Figure::informational("evacuation plan of a worker", "ms"), connection, plan).await
}

/// Places in the middle of lists.
struct Cursors {
    worker: String,
    sorted: String,
    vm: String,
    event: String,
}

impl Cursors {
    /// Those after the worker of this number, and after what happened to it.
    async fn of(connection: &mut Connection, worker: usize) -> Result<Self> {
        let id = Fleet::id(worker);
        let document = "query ($id: ID!, $vm: String!) {
            workersConnection(filter: {ids: [$id]}, first: 1) { pageInfo { endCursor } }
            sorted: workersConnection(first: 50, orderBy: {field: HOSTNAME, direction: DESC}) { pageInfo { endCursor } }
            vmsConnection(filter: {workerIds: [$id], search: $vm}, first: 1) { pageInfo { endCursor } }
            events(filter: {workerIds: [$id]}, first: 1) { nodes { cursor } }
        }";
        let question = json!({"query": document, "variables": {"id": id, "vm": format!("vm-{worker:05}-10")}});
        let answer = connection.ask(&Request::post("/graphql", &question.to_string())).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let text = |path| answer.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let cursor = |path| text(path).with_context(|| format!("no {path} in {answer}"));
        Ok(Self {
            worker: cursor("/data/workersConnection/pageInfo/endCursor")?,
            sorted: cursor("/data/sorted/pageInfo/endCursor")?,
            vm: cursor("/data/vmsConnection/pageInfo/endCursor")?,
            event: cursor("/data/events/nodes/0/cursor")?,
        })
    }
}
