//! A Rust client whose types are held against `schema.graphql` when this is compiled: cynic.

use cynic::{
    Enum, GraphQlResponse, InlineFragments, InputObject, MutationBuilder as _, Operation, QueryBuilder as _,
    QueryFragment, QueryVariables, Scalar, SubscriptionBuilder as _,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::harness::*;

#[allow(missing_docs, clippy::all, reason = "it is generated")]
mod schema {
    cynic::use_schema!("schema.graphql");
}

#[derive(Scalar, Clone, Debug, PartialEq)]
struct Cursor(String);

#[derive(Scalar, Clone, Debug, PartialEq)]
struct Duration(String);

#[derive(Scalar, Clone, Debug, PartialEq)]
struct Int53(u64);

#[derive(Enum, Clone, Copy, Debug, PartialEq)]
#[cynic(schema_path = "schema.graphql")]
enum WorkerStatus {
    Active,
    Draining,
    Offline,
}

#[derive(Enum, Clone, Copy, Debug, PartialEq)]
#[cynic(schema_path = "schema.graphql", non_exhaustive)]
enum ClusterEventKind {
    WorkerDrainStarted,
    Synced,
    #[cynic(fallback)]
    Another,
}

#[derive(QueryFragment, Debug, PartialEq)]
#[cynic(schema_path = "schema.graphql")]
struct Worker {
    id: cynic::Id,
    status: WorkerStatus,
    zone: Option<String>,
    uptime: Duration,
}

#[derive(QueryFragment, Debug, PartialEq)]
#[cynic(schema_path = "schema.graphql")]
struct Vm {
    id: cynic::Id,
    vcpus: i32,
}

#[derive(InlineFragments, Debug, PartialEq)]
#[cynic(schema_path = "schema.graphql")]
enum Node {
    Worker(Worker),
    Vm(Vm),
    #[cynic(fallback)]
    Another,
}

#[derive(InputObject, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct WorkerFilter {
    #[cynic(skip_serializing_if = "Option::is_none")]
    zones: Option<Vec<String>>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    statuses: Option<Vec<WorkerStatus>>,
}

#[derive(QueryVariables, Debug)]
struct PageVariables {
    after: Option<String>,
    filter: Option<WorkerFilter>,
    id: cynic::Id,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql", graphql_type = "Query", variables = "PageVariables")]
struct Page {
    #[arguments(first: 2, after: $after, filter: $filter)]
    workers_connection: WorkerConnection,
    #[arguments(id: $id)]
    node: Option<Node>,
    cluster_stats: ClusterStats,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct WorkerConnection {
    nodes: Vec<Worker>,
    page_info: PageInfo,
    total_count: i32,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct PageInfo {
    has_next_page: bool,
    end_cursor: Option<String>,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct ClusterStats {
    total_cpu_cores: Int53,
    cluster_cpu_usage_percent: f64,
}

#[derive(InputObject, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct DrainWorkerInput {
    worker_id: cynic::Id,
    if_revision: Option<Int53>,
}

#[derive(QueryVariables, Debug)]
struct DrainVariables {
    input: DrainWorkerInput,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql", graphql_type = "Mutation", variables = "DrainVariables")]
struct Drain {
    #[arguments(input: $input)]
    drain_worker: Option<DrainWorkerPayload>,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct DrainWorkerPayload {
    changed: bool,
    worker: Worker,
}

#[derive(QueryVariables, Debug)]
struct EventsVariables {
    after: Option<Cursor>,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql", graphql_type = "Subscription", variables = "EventsVariables")]
struct Events {
    #[arguments(after: $after)]
    cluster_events: ClusterEvent,
}

#[derive(QueryFragment, Debug)]
#[cynic(schema_path = "schema.graphql")]
struct ClusterEvent {
    cursor: Cursor,
    kind: ClusterEventKind,
}

/// Sends an operation as cynic writes it, and reads the answer as cynic does.
async fn ask<T: DeserializeOwned, V: Serialize>(cluster: &TestCluster, operation: Operation<T, V>) -> T {
    let answer = cluster.rest().post("/graphql").json(serde_json::to_value(&operation).unwrap()).await;
    let read: GraphQlResponse<T> = serde_json::from_str(&answer.body).unwrap();
    assert!(read.errors.is_none(), "{}", answer.body);
    read.data.unwrap()
}

on_both_databases! {
    async fn a_typed_rust_client_asks_commands_and_follows(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a"), worker("w2").zone("a"), worker("w3").zone("a"), worker("w4")]).await;

        let page = |after| {
            let filter = WorkerFilter { zones: Some(vec!["a".into()]), statuses: Some(vec![WorkerStatus::Active]) };
            ask(&cluster, Page::build(PageVariables { after, filter: Some(filter), id: "w4".into() }))
        };
        let first: Page = page(None).await;
        let ids = |page: &Page| page.workers_connection.nodes.iter().map(|worker| worker.id.clone()).collect::<Vec<_>>();
        assert_eq!((ids(&first), first.workers_connection.total_count), (vec!["w1".into(), "w2".into()], 3));
        assert!(first.workers_connection.page_info.has_next_page);
        assert!(matches!(&first.node, Some(Node::Worker(worker)) if worker.zone.is_none()), "{first:?}");
        assert!(first.cluster_stats.total_cpu_cores.0 > 0 && first.cluster_stats.cluster_cpu_usage_percent >= 0.0);
        let second: Page = page(first.workers_connection.page_info.end_cursor).await;
        assert_eq!(ids(&second), ["w3".into()]);

        let input = DrainWorkerInput { worker_id: "w1".into(), if_revision: None };
        let drained: Drain = ask(&cluster, Drain::build(DrainVariables { input })).await;
        let drained = drained.drain_worker.unwrap();
        assert_eq!((drained.changed, drained.worker.status), (true, WorkerStatus::Draining));

        let port = Port::of(&cluster).await;
        let after = Some(Cursor(cluster.first_cursor()));
        let events = serde_json::to_value(Events::build(EventsVariables { after })).unwrap();
        let mut stream = HttpStream::post(&port.authority(), "/graphql", &[("accept", "text/event-stream")], &events).await;
        loop {
            let next: GraphQlResponse<Events> = serde_json::from_value(stream.message().await.json()).unwrap();
            let ClusterEvent { cursor, kind } = next.data.unwrap().cluster_events;
            assert_ne!(cursor, Cursor(String::new()));
            match kind {
                ClusterEventKind::WorkerDrainStarted => break,
                ClusterEventKind::Another => {}
                ClusterEventKind::Synced => panic!("the drain was not told"),
            }
        }
    }
}
