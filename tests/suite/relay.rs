//! Connections, as Relay's specification has them and its clients walk them: forwards and backwards, in every order,
//! filtered, while rows come and go.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::*;

/// Which list, and how it is asked for.
struct List {
    field: &'static str,
    filter: &'static str,
    order: &'static str,
}

impl List {
    /// One page: the ids, and what the page says of itself.
    async fn page(&self, cluster: &TestCluster, arguments: &str) -> (Vec<String>, Value) {
        let Self { field, filter, order } = self;
        let query = format!(
            "{{ {field}({arguments}{filter}{order}) {{ edges {{ cursor node {{ id }} }} nodes {{ id }} totalCount
                pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
        );
        let mut page = cluster.graphql(&query).await[field].take();
        let ids = |list: &Value, inside: Option<&str>| -> Vec<String> {
            let entries = list.as_array().unwrap().iter();
            entries.map(|it| inside.map_or(it, |key| &it[key])["id"].as_str().unwrap().to_owned()).collect()
        };
        let nodes = ids(&page["nodes"], None);
        assert_eq!(ids(&page["edges"], Some("node")), nodes, "edges and nodes are the same: {query}");
        let cursor = |edge: Option<&Value>| edge.map_or(Value::Null, |edge| edge["cursor"].clone());
        let edges = page["edges"].as_array().unwrap();
        assert_eq!(page["pageInfo"]["startCursor"], cursor(edges.first()), "{query}");
        assert_eq!(page["pageInfo"]["endCursor"], cursor(edges.last()), "{query}");
        page["pageInfo"]["totalCount"] = page["totalCount"].take();
        (nodes, page["pageInfo"].take())
    }

    /// The whole list, page by page from one end, and what happens between one page and the next.
    async fn walk(&self, cluster: &TestCluster, size: &str, count: usize, between: impl AsyncFn(usize)) -> Vec<String> {
        let (more, from, cursor) = match size {
            "first" => ("hasNextPage", "after", "endCursor"),
            _ => ("hasPreviousPage", "before", "startCursor"),
        };
        let (mut all, mut place) = (Vec::new(), String::new());
        for page in 0.. {
            let (mut ids, info) = self.page(cluster, &format!("{size}: {count}{place}")).await;
            assert!(ids.len() <= count);
            if size == "last" {
                ids.reverse();
            }
            all.extend(ids);
            if info[more] == json!(false) {
                break;
            }
            place = format!(", {from}: {}", info[cursor]);
            between(page).await;
        }
        all
    }
}

const WORKERS: List = List { field: "workersConnection", filter: "", order: "" };
const VMS: List = List { field: "vmsConnection", filter: "", order: "" };

/// Workers of which many are alike, each with VMs.
async fn furnish(cluster: &TestCluster) {
    let machine = |n: usize| {
        worker(&format!("w{n:02}"))
            .zone(["a", "b", ""][n % 3])
            .registers("hostname", format!("host-{}", n % 4))
            .cpu(3 + u32::try_from(n % 5).unwrap())
            .reports("used_cpu_cores", n % 4)
            .reports("used_memory_mb", 1_000 * (n % 3))
            .vms((0..n % 4).map(move |vms| vm(&format!("vm-{n:02}-{vms}"))))
    };
    cluster.add((0..14).map(machine)).await;
}

on_both_databases! {
    async fn pages_put_together_are_the_list_in_every_order_at_every_size_from_both_ends(cluster: TestCluster) {
        furnish(&cluster).await;
        for order in [
            "", ", orderBy: {field: HOSTNAME}", ", orderBy: {field: ZONE, direction: DESC}", ", orderBy: {field: CPU_USAGE}",
            ", orderBy: {field: MEMORY_USAGE, direction: DESC}", ", orderBy: {field: VM_COUNT}", ", orderBy: {field: LAST_SEEN, direction: DESC}",
        ] {
            for filter in ["", ", filter: {zones: [\"a\", \"b\"]}", ", filter: {search: \"host-1\"}"] {
                let list = List { order, filter, ..WORKERS };
                let (whole, info) = list.page(&cluster, "first: 500").await;
                assert_eq!(info["totalCount"], json!(whole.len()), "the filtered list is what is counted: {filter}");
                assert_eq!([&info["hasNextPage"], &info["hasPreviousPage"]], [&json!(false), &json!(false)]);
                for count in [1, 3, 5] {
                    assert_eq!(list.walk(&cluster, "first", count, async |_| ()).await, whole, "{order} {filter} {count}");
                    let mut backwards = list.walk(&cluster, "last", count, async |_| ()).await;
                    backwards.reverse();
                    assert_eq!(backwards, whole, "{order} {filter} {count} backwards");
                }
            }
        }
    }

    async fn vms_are_paged_as_workers_are(cluster: TestCluster) {
        furnish(&cluster).await;
        for filter in ["", ", filter: {zones: \"b\"}", ", filter: {search: \"-1\"}", ", filter: {workerIds: [\"w03\", \"w07\"]}"] {
            let list = List { filter, ..VMS };
            let (whole, info) = list.page(&cluster, "first: 500").await;
            assert_eq!(info["totalCount"], json!(whole.len()));
            assert!(!whole.is_empty() && whole.is_sorted(), "{whole:?}");
            assert_eq!(list.walk(&cluster, "first", 2, async |_| ()).await, whole, "{filter}");
            let mut backwards = list.walk(&cluster, "last", 2, async |_| ()).await;
            backwards.reverse();
            assert_eq!(backwards, whole, "{filter}");
        }
        let query = "query($after: String) { worker(id: \"w03\") { vmsConnection(first: 2, after: $after) { totalCount nodes { id } pageInfo { endCursor hasNextPage } } } }";
        let page = async |after: Value| {
            cluster.graphql_answer(query, json!({"after": after})).await["data"]["worker"]["vmsConnection"].take()
        };
        let first = page(Value::Null).await;
        assert_eq!((&first["totalCount"], first["nodes"].as_array().unwrap().len()), (&json!(3), 2));
        let second = page(first["pageInfo"]["endCursor"].clone()).await;
        assert_eq!(second["nodes"], json!([{"id": "vm-03-2"}]));
        assert_eq!(second["pageInfo"]["hasNextPage"], false);
    }

    async fn a_walk_sees_all_that_stays_once_whatever_comes_and_goes(cluster: TestCluster) {
        furnish(&cluster).await;
        for (order, size) in [("", "first"), ("", "last"), (", orderBy: {field: HOSTNAME}", "first"), (", orderBy: {field: HOSTNAME, direction: DESC}", "last")] {
            let list = List { order, ..WORKERS };
            let (whole, _) = list.page(&cluster, "first: 500").await;
            // Between two pages one goes that may be the one of the cursor, and others come everywhere.
            let gone = ["w04", "w09", "w01", "w12"];
            let change = async |page: usize| {
                if let Some(id) = gone.get(page) {
                    let answer = cluster.rest().delete(&format!("/api/v1/workers/{id}?purge=true&force=true")).await;
                    assert_eq!(answer.status, 204, "{}", answer.body);
                    let newcomer = worker(&format!("{id}-new")).registers("hostname", format!("host-{page}x"));
                    cluster.add([newcomer]).await;
                }
            };
            let walked = list.walk(&cluster, size, 3, change).await;
            let seen: BTreeSet<_> = walked.iter().collect();
            assert_eq!(seen.len(), walked.len(), "none twice: {walked:?}");
            for id in whole.iter().filter(|id| !gone.contains(&id.as_str())) {
                assert!(seen.contains(id), "{id} was there all the time: {walked:?} {order} {size}");
            }
            for id in gone {
                cluster.rest().delete(&format!("/api/v1/workers/{id}-new?purge=true&force=true")).await;
                cluster.add([worker(id).registers("hostname", "host-2")]).await;
            }
        }
    }

    // One that moves within the order between two pages may be seen twice or not at all, and no other because of it.
    async fn what_moves_within_the_order_leaves_the_others_where_they_are(cluster: TestCluster) {
        furnish(&cluster).await;
        let list = List { order: ", orderBy: {field: VM_COUNT}", ..WORKERS };
        let (whole, _) = list.page(&cluster, "first: 500").await;
        let walked = list
            .walk(&cluster, "first", 4, async |page| {
                let vms: Vec<_> = (0..20).map(|n| json!({"id": format!("vm-m{page}-{n}")})).collect();
                let id = ["w00", "w13", "w06"][page % 3];
                let answer = cluster.beat(id, json!({"incarnation": 1, "vms": if page % 2 == 0 { vms } else { vec![] }})).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            })
            .await;
        let others = |ids: &[String]| -> Vec<String> {
            ids.iter().filter(|id| !["w00", "w13", "w06"].contains(&id.as_str())).cloned().collect()
        };
        assert_eq!(others(&walked), others(&whole));
    }

    async fn nodes_come_in_the_order_of_their_ids_with_null_for_what_is_not_there(cluster: TestCluster) {
        furnish(&cluster).await;
        let query = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Worker { zone } ... on Vm { workerId } } }";
        let answer = cluster.graphql_answer(query, json!({"ids": ["vm-03-1", "nope", "w04", "w04", ""]})).await;
        let worker = json!({"__typename": "Worker", "id": "w04", "zone": "b"});
        let vm = json!({"__typename": "Vm", "id": "vm-03-1", "workerId": "w03"});
        assert_eq!(answer, json!({"data": {"nodes": [vm, null, worker, worker, null]}}));
        assert_eq!(cluster.graphql_answer(query, json!({"ids": []})).await, json!({"data": {"nodes": []}}));
    }
}
