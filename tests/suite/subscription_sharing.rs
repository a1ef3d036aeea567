//! Equal subscriptions share their work, and it does not show: each is told what a query would be answered, at the
//! moment that it is told of.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::*;

async fn drain(cluster: &TestCluster, id: &str) {
    assert_eq!(cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).await.status, 200);
}

async fn activate(cluster: &TestCluster, id: &str) {
    assert_eq!(cluster.rest().post(&format!("/api/v1/workers/{id}/activate")).await.status, 200);
}

async fn clients(port: &Port, count: usize) -> Vec<Socket> {
    join_all((0..count).map(|_| port.client())).await
}

/// A subscription with everything a request may have.
async fn subscribe(socket: &mut Socket, id: &str, payload: Value) {
    socket.say(json!({"id": id, "type": "subscribe", "payload": payload})).await;
}

/// The answer of a query, errors included.
async fn asked(cluster: &TestCluster, query: &str, variables: Value) -> Value {
    cluster.graphql_answer(query, variables).await
}

/// Names of a type's fields that need neither arguments nor a selection.
async fn plain_fields(cluster: &TestCluster, name: &str) -> Vec<String> {
    let query = "query($name: String!) { __type(name: $name) {
        fields { name args { name } type { kind ofType { kind ofType { kind ofType { kind } } } } }
    } }";
    let described = asked(cluster, query, json!({"name": name})).await["data"]["__type"]["fields"].take();
    let is_plain = |field: &&Value| {
        let mut of = &field["type"];
        while of["ofType"].is_object() {
            of = &of["ofType"];
        }
        (of["kind"] == "SCALAR" || of["kind"] == "ENUM") && field["args"] == json!([])
    };
    let fields: Vec<_> = described.as_array().unwrap().iter().filter(is_plain).collect();
    assert!(fields.len() >= 5, "{name}: {described}");
    fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
}

const EVENT_WITH_HISTORY: &str = "subscription {
    clusterEvents { kind revision worker { id status events(first: 3) { kind at } vms { id worker { id } } } }
}";

on_both_databases! {
    async fn equal_subscriptions_are_told_the_same_bytes(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
        let port = Port::of(&cluster).await;
        let mut sockets = clients(&port, 30).await;
        for socket in &mut sockets {
            socket.subscribe("1", EVENT_WITH_HISTORY, json!({})).await;
        }
        for socket in &mut sockets {
            assert_eq!(socket.next("1").await["clusterEvents"]["kind"], "SYNCED");
        }
        for round in 0..4 {
            if round % 2 == 0 {
                drain(&cluster, "w1").await
            } else {
                activate(&cluster, "w1").await
            }
            let texts: BTreeSet<_> = join_all(sockets.iter_mut().map(Socket::hear_text)).await.into_iter().collect();
            assert_eq!(texts.len(), 1, "{texts:?}");
            let told: Value = serde_json::from_str(texts.first().unwrap()).unwrap();
            let told = &told["payload"]["data"]["clusterEvents"];
            let (kind, status) =
                if round % 2 == 0 { ("WORKER_DRAIN_STARTED", "DRAINING") } else { ("WORKER_ACTIVATED", "ACTIVE") };
            assert_eq!(
                [&told["kind"], &told["worker"]["status"], &told["worker"]["events"][0]["kind"]],
                [kind, status, kind]
            );
            assert_eq!(told["worker"]["vms"], json!([{"id": "vm-1", "worker": {"id": "w1"}}]));
        }
    }

    async fn different_variables_are_told_different_things(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let port = Port::of(&cluster).await;
        let mut sockets = clients(&port, 6).await;
        let query = "subscription($n: Int!, $wanted: [ID!]) {
            clusterEvents(filter: {workerIds: $wanted}) { workerId worker { events(first: $n) { kind } } }
        }";
        let wanted = [json!(null), json!(["w1"]), json!(["w2"])];
        for (place, socket) in sockets.iter_mut().enumerate() {
            let variables = json!({"n": 1 + place % 2, "wanted": wanted[place / 2]});
            socket.subscribe("1", query, variables).await;
            socket.next("1").await;
        }
        drain(&cluster, "w1").await;
        drain(&cluster, "w2").await;
        for (place, socket) in sockets.iter_mut().enumerate() {
            let expected = [&["w1", "w2"][..], &["w1"], &["w2"]][place / 2];
            for worker in expected {
                let told = socket.next("1").await["clusterEvents"].take();
                assert_eq!(told["workerId"], *worker, "{place}");
                let history = told["worker"]["events"].as_array().unwrap();
                assert_eq!(history.len(), 1 + place % 2, "{place}: {told}");
                assert_eq!(history[0]["kind"], "WORKER_DRAIN_STARTED");
            }
        }
    }

    async fn different_documents_and_operations_are_told_different_things(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let document = "
            subscription A($short: Boolean = true) {
                clusterEvents { ...Short @include(if: $short) message @skip(if: $short) }
            }
            subscription B { changes: clusterEvents { ...Short worker { ...Seen } } }
            query C { workers { ...Seen } }
            fragment Short on ClusterEvent { kind }
            fragment Seen on Worker { id status }";
        let mut socket = port.client().await;
        for (id, name, variables) in
            [("a", "A", json!({})), ("long", "A", json!({"short": false})), ("b", "B", json!({}))]
        {
            subscribe(&mut socket, id, json!({"query": document, "operationName": name, "variables": variables})).await;
            socket.hear().await;
        }
        subscribe(&mut socket, "c", json!({"query": document, "operationName": "C"})).await;
        assert_eq!(socket.next("c").await, json!({"workers": [{"id": "w1", "status": "ACTIVE"}]}));
        assert_eq!(socket.hear().await, json!({"id": "c", "type": "complete"}));
        for name in [Value::Null, json!("D")] {
            subscribe(&mut socket, "d", json!({"query": document, "operationName": name})).await;
            let refused = socket.hear().await;
            assert_eq!([&refused["type"], &refused["id"]], [&json!("error"), &json!("d")], "{refused}");
        }
        drain(&cluster, "w1").await;
        let mut told = std::collections::BTreeMap::new();
        for _ in 0..3 {
            let mut answer = socket.hear().await;
            told.insert(answer["id"].as_str().unwrap().to_owned(), answer["payload"].take());
        }
        assert_eq!(told["a"], json!({"data": {"clusterEvents": {"kind": "WORKER_DRAIN_STARTED"}}}));
        // A query has the same defaults.
        let query = "query($yes: Boolean = true) { workers { id @include(if: $yes) status @skip(if: $yes) } }";
        for (variables, expected) in
            [(json!({}), json!({"id": "w1"})), (json!({"yes": false}), json!({"status": "DRAINING"}))]
        {
            assert_eq!(asked(&cluster, query, variables).await, json!({"data": {"workers": [expected]}}));
        }
        let message = told["long"]["data"]["clusterEvents"]["message"].as_str().unwrap();
        assert_eq!(told["long"], json!({"data": {"clusterEvents": {"message": message}}}));
        let seen = json!({"kind": "WORKER_DRAIN_STARTED", "worker": {"id": "w1", "status": "DRAINING"}});
        assert_eq!(told["b"], json!({"data": {"changes": seen}}));
    }

    async fn who_joins_late_is_told_the_present(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let port = Port::of(&cluster).await;
        let beats =
            "subscription { workerHeartbeats { worker { id status isHealthy uptime usedCpuCores revision } } }";
        let stats = "subscription { clusterStats { totalWorkers offlineWorkers usedCpuCores revision } }";
        let present = async |socket: &mut Socket, id: &str| {
            socket.subscribe(id, beats, json!({})).await;
            [socket.next(id).await, socket.next(id).await].map(|mut told| told["workerHeartbeats"]["worker"].take())
        };
        let truth = async || {
            let query = "{ workers { id status isHealthy uptime usedCpuCores revision } }";
            asked(&cluster, query, json!({})).await["data"]["workers"].take()
        };
        let mut early = port.client().await;
        assert_eq!(json!(present(&mut early, "1").await), truth().await);
        early.subscribe("stats", stats, json!({})).await;
        assert_eq!(early.next("stats").await["clusterStats"]["offlineWorkers"], 0);
        for round in 1..=3 {
            cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": round})).await;
        }
        // Nobody said anything since: only time has passed.
        cluster.advance(seconds(61));
        let mut late = port.client().await;
        let told = json!(present(&mut late, "1").await);
        assert_eq!(told, truth().await);
        assert_eq!(
            pick(&told, ["status", "usedCpuCores"]),
            [[json!("OFFLINE"), json!(3)], [json!("OFFLINE"), json!(0)]]
        );
        late.subscribe("stats", stats, json!({})).await;
        assert_eq!(late.next("stats").await["clusterStats"]["offlineWorkers"], 2);
        // And so is who joins for events in the middle of them.
        let mut events = port.client().await;
        events.subscribe("1", EVENT_WITH_HISTORY, json!({})).await;
        events.next("1").await;
        drain(&cluster, "w2").await;
        let query =
            "subscription($after: Cursor) { clusterEvents(after: $after) { kind worker { status isHealthy } } }";
        let mut latest = port.client().await;
        latest.subscribe("1", query, json!({"after": cluster.first_cursor()})).await;
        let worker = json!({"status": "OFFLINE", "isHealthy": false});
        let expected = json!({"clusterEvents": {"kind": "WORKER_REGISTERED", "worker": worker}});
        for _ in 0..2 {
            assert_eq!(latest.next("1").await, expected, "an old event, with its worker as it is now");
        }
        assert_eq!(latest.next("1").await["clusterEvents"]["kind"], "WORKER_DRAIN_STARTED");
    }

    // The second schema, by which items are written out, must not differ from the first in anything.
    async fn what_is_told_of_a_worker_is_what_a_query_answers(cluster: TestCluster) {
        cluster
            .add([
                worker("w1").zone("a").registers("labels", json!({"env": "x", "b": "\u{fc}\""})).vms([
                    vm("vm-1"),
                    vm("vm-2").status("stopped"),
                    vm("both"),
                ]),
                worker("w2").vms([vm("both")]),
            ])
            .await;
        let of_worker = plain_fields(&cluster, "Worker").await.join(" ");
        let of_vm = plain_fields(&cluster, "Vm").await.join(" ");
        let selections = [
            format!("{{ {of_worker} }}"),
            format!("{{ vms {{ {of_vm} worker {{ {of_worker} }} }} }}"),
            format!("{{ __typename ...Deep all: vms(status: $statuses) {{ {of_vm} }} }}"),
            "{ labels { key value } ... on Worker { zone } ... { hostname } ...OfNode }".to_owned(),
            "{ id @include(if: $yes) zone @skip(if: $yes) ... @skip(if: $yes) { hostname } ...Deep @include(if: $yes) }"
                .to_owned(),
            "{ events(first: $n) { cursor kind at worker { id events(first: 1) { kind } } vm { id ...OfNode } }
                more: events { kind } }"
                .to_owned(),
            "{ vmsConnection(first: $n) { totalCount edges { cursor node { id worker { ... on Node { id } } } }
                pageInfo { hasNextPage endCursor } } }"
                .to_owned(),
        ];
        let fragments = "
            fragment Deep on Worker { first: id second: id ...Deeper }
            fragment Deeper on Worker { vms { ...OfNode name status } }
            fragment OfNode on Node { __typename id ... on Worker { zone } ... on Vm { vcpus memoryMb } }";
        let variables = json!({"yes": true, "n": 1, "statuses": ["STOPPED"]});
        let port = Port::of(&cluster).await;
        for selection in &selections {
            // Only what is used may be declared.
            let declared: Vec<_> = [("$yes", "Boolean!"), ("$n", "Int = 7"), ("$statuses", "[VmStatus!]")]
                .iter()
                .filter(|(name, _)| selection.contains(name))
                .map(|(name, of)| format!("{name}: {of}"))
                .collect();
            let uses = |fragment: &str| selection.contains(&format!("...{fragment}"));
            let fragments = match (uses("Deep"), uses("OfNode")) {
                (true, _) => fragments,
                (false, true) => &fragments[fragments.find("fragment OfNode").unwrap()..],
                (false, false) => "",
            };
            let head = if declared.is_empty() { String::new() } else { format!("({})", declared.join(", ")) };
            let query = format!("query{head} {{ worker(id: \"w1\") {selection} }} {fragments}");
            let expected = asked(&cluster, &query, variables.clone()).await;
            assert_eq!(expected.get("errors"), None, "{query}: {expected}");

            let mut socket = port.client().await;
            let followed = format!(
                "subscription{head} {{
                    beat: workerHeartbeats(filter: {{zones: [\"a\"]}}) {{ who: worker {selection} }}
                }} {fragments}"
            );
            socket.subscribe("1", &followed, variables.clone()).await;
            assert_eq!(socket.next("1").await, json!({"beat": {"who": expected["data"]["worker"]}}), "{followed}");

            let followed = format!("subscription{head} {{ clusterEvents {{ kind worker {selection} }} }} {fragments}");
            socket.subscribe("2", &followed, variables.clone()).await;
            assert_eq!(
                socket.next("2").await,
                json!({"clusterEvents": {"kind": "SYNCED", "worker": null}}),
                "{followed}"
            );
            drain(&cluster, "w1").await;
            let expected = asked(&cluster, &query, variables.clone()).await;
            let mut told = [Value::Null, Value::Null];
            for _ in 0..2 {
                let mut answer = socket.hear().await;
                let place = usize::from(answer["id"] == "2");
                told[place] = answer["payload"].take();
            }
            assert_eq!(told[0]["data"]["beat"]["who"], expected["data"]["worker"], "{followed}");
            assert_eq!(
                told[1],
                json!({"data": {"clusterEvents": {"kind": "WORKER_DRAIN_STARTED", "worker": expected["data"]["worker"]}}})
            );
            activate(&cluster, "w1").await;
        }
    }

    async fn what_is_told_of_statistics_is_what_a_query_answers(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1")]), worker("w2").silent_for(seconds(90))]).await;
        let fields = plain_fields(&cluster, "ClusterStats").await.join(" ");
        let expected =
            asked(&cluster, &format!("{{ clusterStats {{ {fields} zones {{ name workers }} }} }}"), json!({})).await;
        assert_eq!(expected.get("errors"), None, "{expected}");
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let all = format!("fragment All on ClusterStats {{ {fields} zones {{ name workers }} }}");
        let followed = format!("subscription {{ clusterStats {{ ...All }} }} {all}");
        socket.subscribe("1", &followed, json!({})).await;
        assert_eq!(socket.next("1").await, expected["data"]);
    }

    async fn what_fails_inside_is_told_as_a_query_tells_it_and_the_stream_goes_on(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut sockets = clients(&port, 2).await;
        let query = "query($n: Int!) { worker(id: \"w1\") { id events(first: $n) { kind } } }";
        let expected = asked(&cluster, query, json!({"n": 501})).await;
        assert_eq!(expected["errors"][0]["extensions"]["code"], "INVALID_ARGUMENT", "{expected}");
        for socket in &mut sockets {
            let query = "subscription($n: Int!) { clusterEvents { kind worker { id events(first: $n) { kind } } } }";
            socket.subscribe("1", query, json!({"n": 501})).await;
            assert_eq!(socket.next("1").await, json!({"clusterEvents": {"kind": "SYNCED", "worker": null}}));
        }
        for kind in ["WORKER_DRAIN_STARTED", "WORKER_ACTIVATED"] {
            if kind == "WORKER_DRAIN_STARTED" {
                drain(&cluster, "w1").await
            } else {
                activate(&cluster, "w1").await
            }
            for socket in &mut sockets {
                let told = socket.hear().await;
                assert_eq!([&told["type"], &told["id"]], [&json!("next"), &json!("1")], "{told}");
                let error = &told["payload"]["errors"][0];
                assert_eq!(error["message"], expected["errors"][0]["message"], "{told}");
                assert_eq!(error["extensions"], expected["errors"][0]["extensions"]);
                assert_eq!(error["path"], json!(["clusterEvents", "worker", "events"]));
                assert_eq!(told["payload"]["data"], json!({"clusterEvents": {"kind": kind, "worker": null}}), "{told}");
            }
        }
    }

    async fn a_field_with_a_condition_is_nothing_to_follow(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let skipped = "subscription($no: Boolean!) { clusterEvents @skip(if: $no) { kind } }";
        let perhaps = "subscription($no: Boolean!) { ... @skip(if: $no) { clusterEvents { kind } } }";
        for (query, no) in [(skipped, true), (skipped, false), (perhaps, true), (perhaps, false)] {
            socket.subscribe("1", query, json!({"no": no})).await;
            let refused = socket.hear().await;
            assert_eq!([&refused["type"], &refused["id"]], [&json!("error"), &json!("1")], "{query}: {refused}");
        }
    }

    async fn a_field_in_a_fragment_is_followed_as_if_it_were_written_there(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        for query in [
            "subscription { ... on Subscription { clusterEvents { kind workerId } } }",
            "subscription { ...F } fragment F on Subscription { ...G } fragment G on Subscription { clusterEvents { kind workerId } }",
            "subscription { clusterEvents { kind } ...F } fragment F on Subscription { clusterEvents { workerId } }",
        ] {
            let mut socket = port.client().await;
            socket.subscribe("1", query, json!({})).await;
            assert_eq!(socket.next("1").await, json!({"clusterEvents": {"kind": "SYNCED", "workerId": null}}), "{query}");
            drain(&cluster, "w1").await;
            let told = json!({"clusterEvents": {"kind": "WORKER_DRAIN_STARTED", "workerId": "w1"}});
            assert_eq!(socket.next("1").await, told, "{query}");
            cluster.rest().post("/api/v1/workers/w1/activate").await;
        }
    }
}

/// How many statements one event costs, with so many sockets that follow, each with its document.
async fn statements_for(sockets: usize, document: impl Fn(usize) -> String) -> u64 {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let port = Port::of(&cluster).await;
    let mut sockets = clients(&port, sockets).await;
    for (place, socket) in sockets.iter_mut().enumerate() {
        socket.subscribe("1", &document(place), json!({})).await;
        socket.next("1").await;
    }
    let before = cluster.statements_sent();
    drain(&cluster, "w1").await;
    for socket in &mut sockets {
        let told = socket.next("1").await["clusterEvents"].take();
        assert_eq!(told["worker"]["events"][0]["kind"], "WORKER_DRAIN_STARTED");
    }
    cluster.statements_sent() - before
}

// An event's worker's history is one statement each time that it is looked up.
#[tokio::test]
async fn an_event_is_resolved_once_however_many_equal_sockets_follow() {
    let alone = statements_for(1, |_| EVENT_WITH_HISTORY.to_owned()).await;
    assert_eq!(statements_for(40, |_| EVENT_WITH_HISTORY.to_owned()).await, alone);
    let different = statements_for(40, |n| format!("{EVENT_WITH_HISTORY} # {n}")).await;
    assert_eq!(different, alone + 39, "and what is not equal is not shared");
}

// What is shared does not depend on the protocol by which it is asked for.
#[tokio::test]
async fn every_protocol_tells_the_same() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    cluster.add([worker("w1")]).await;
    let port = Port::of(&cluster).await;
    let mut present = port.client().await;
    present.subscribe("\"1\\", EVENT_WITH_HISTORY, json!({})).await;
    present.next("\"1\\").await;
    let mut legacy = Socket::open(port.handshake().protocol("graphql-ws")).await.unwrap();
    legacy.say(json!({"type": "connection_init"})).await;
    // The acknowledgement, and that it will be kept alive.
    legacy.hear().await;
    legacy.hear().await;
    legacy.say(json!({"id": "1", "type": "start", "payload": {"query": EVENT_WITH_HISTORY}})).await;
    legacy.hear().await;
    let body = json!({"query": EVENT_WITH_HISTORY});
    let mut sse = HttpStream::post(&port.authority(), "/graphql", &[("accept", "text/event-stream")], &body).await;
    sse.message().await;
    drain(&cluster, "w1").await;
    let told = present.next("\"1\\").await;
    assert_eq!(told["clusterEvents"]["kind"], "WORKER_DRAIN_STARTED");
    assert_eq!(legacy.hear().await["payload"]["data"], told);
    assert_eq!(sse.message().await.json()["data"], told);
}
