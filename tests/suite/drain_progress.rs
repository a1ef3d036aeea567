//! Following drains: one by itself, with what is waited for; their history; and those of all workers, as lists and as
//! streams.

use aetherium::auth::Caller;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::harness::*;

const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");
const SSE: (&str, &str) = ("accept", "text/event-stream");

/// Lets whoever waits take its turn.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

impl TestCluster {
    async fn drain(&self, id: &str, body: Value) {
        let answer = self.rest().post(&format!("/api/v1/workers/{id}/drain")).json(body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn activate(&self, id: &str) {
        self.rest().post(&format!("/api/v1/workers/{id}/activate")).json(json!({"reason": "done"})).await;
    }

    /// A heartbeat of the first life of a worker, with these VMs.
    async fn reports(&self, id: &str, vms: &[&str]) {
        let vms: Value = vms.iter().map(|id| json!({"id": id})).collect();
        assert_eq!(self.beat(id, json!({"incarnation": 1, "vms": vms})).await.status, 200);
    }
}

on_both_databases! {
    async fn a_drain_is_shown_by_itself_while_it_stands_and_after(cluster: TestCluster) {
        cluster.add([worker("w+1").vms([vm("a").name("web")])]).await;
        let path = "/api/v1/workers/w+1/drain";
        cluster.rest().get("/api/v1/workers/w9/drain").await.assert_failure(404, "Worker not found: w9");
        cluster.rest().get(path).await.assert_failure(404, "Worker w+1 has never been drained");
        let said = json!({"reason": "disk", "deadline_seconds": 60, "metadata": {"ticket": "7"}});
        let begun = cluster.rest().post(path).json(said).await;
        assert_eq!(begun.header("link"), Some("</api/v1/workers/w%2B1/drain>; rel=\"monitor\""));
        let shown = cluster.rest().get(path).await;
        let expected = json!({
            "reason": "disk", "started_by": "operator", "started_at": START, "is_empty": false, "id": "w+1/1",
            "worker_id": "w+1", "number": 1, "state": "draining", "safe_to_power_off": false,
            "metadata": {"ticket": "7"}, "deadline_at": "2025-11-02T10:01:00Z", "acknowledged_at": null,
            "completed_at": null, "overdue_at": null, "ended_at": null, "ended_by": null, "end_reason": null,
            "initial_vms": 1, "remaining_vms": 1, "revision": 3,
            "blockers": [
                {"kind": "not_acknowledged", "vm_id": null, "since": START, "note": null,
                 "message": "Worker w+1 has not acknowledged the drain: it may still take a VM"},
                {"kind": "vm_running", "vm_id": "a", "since": START, "note": null, "message": "VM a (web) is running"},
            ],
        });
        shown.assert_json(200, expected.clone());
        let same = cluster.rest().get(path).header("if-none-match", shown.header("etag").unwrap()).await;
        assert_eq!(same.status, 304);
        cluster.advance(seconds(5));
        cluster.beat("w+1", json!({"incarnation": 1, "used_cpu_cores": 3})).await;
        cluster.beat("w+1", json!({"incarnation": 1, "used_cpu_cores": 3})).await;
        let later = cluster.rest().get(path).await;
        assert_ne!(later.header("etag"), shown.header("etag"), "it is acknowledged");
        cluster.beat("w+1", json!({"incarnation": 1, "used_cpu_cores": 4})).await;
        assert_eq!(cluster.rest().get(path).await.header("etag"), later.header("etag"), "a heartbeat shows nothing new");
        cluster.rest().post("/api/v1/workers/w+1/activate").json(json!({"reason": "later"})).await;
        let ended = with(expected, json!({
            "state": "canceled", "acknowledged_at": "2025-11-02T10:00:05Z", "ended_at": "2025-11-02T10:00:05Z",
            "ended_by": "operator", "end_reason": "later", "remaining_vms": null, "blockers": [], "revision": 7,
        }));
        cluster.rest().get(path).await.assert_json(200, ended.clone());
        let cluster = cluster.restart().await;
        cluster.rest().get(path).await.assert_json(200, ended);
    }

    async fn a_note_on_a_vm_is_told_as_what_is_in_the_way(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.drain("w1", json!({})).await;
        let vms = json!([{"id": "a", "note": "live migration refused: pinned"}]);
        cluster.beat("w1", json!({"incarnation": 1, "vms": vms})).await;
        let drain = cluster.rest().get("/api/v1/workers/w1/drain").await.json();
        let note = "live migration refused: pinned";
        assert_eq!(drain["blockers"][1]["message"], format!("VM a is running: {note}"));
        assert_eq!(drain["blockers"][1]["note"], note);
        let told = cluster.graphql("{ worker(id: \"w1\") { drain { blockers { vmId note } } } }").await;
        let blockers = json!([{"vmId": null, "note": null}, {"vmId": "a", "note": note}]);
        assert_eq!(told["worker"]["drain"]["blockers"], blockers);
    }

    async fn a_wait_ends_when_the_drain_is_as_wanted_and_not_before(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a")]), worker("w2")]).await;
        cluster.drain("w1", json!({"deadline_seconds": 30})).await;
        cluster.reports("w1", &["a"]).await;
        cluster.reports("w1", &["a"]).await;
        let wait = |what: &str| {
            let path = format!("/api/v1/workers/w1/drain?wait=60s&for={what}");
            tokio::spawn(cluster.rest().get(&path).into_future())
        };
        let (complete, change, overdue, ended) = (wait("complete"), wait("change"), wait("overdue"), wait("ended"));
        settle().await;
        for _ in 0..3 {
            cluster.reports("w2", &[]).await;
            cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 1})).await;
            settle().await;
        }
        assert!(![&complete, &change, &overdue, &ended].iter().any(|wait| wait.is_finished()), "nothing has changed");
        cluster.advance(seconds(30));
        cluster.sweep().await;
        for waited in [overdue, change] {
            assert_eq!(in_time(waited).await.unwrap().json()["state"], "overdue");
        }
        cluster.reports("w1", &[]).await;
        let complete = in_time(complete).await.unwrap().json();
        assert_eq!([&complete["state"], &complete["safe_to_power_off"]], [&json!("complete"), &json!(true)]);
        let another = wait("complete");
        assert_eq!(in_time(another).await.unwrap().json()["state"], "complete", "it is already");
        settle().await;
        assert!(!ended.is_finished());
        cluster.activate("w1").await;
        assert_eq!(in_time(ended).await.unwrap().json()["state"], "ended");
        let gone = wait("change");
        settle().await;
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        in_time(gone).await.unwrap().assert_failure(404, "Worker not found: w1");
        let refused = cluster.rest().get("/api/v1/workers/w2/drain?for=ever").await;
        refused.assert_failure(400, "for must be one of complete, safe, overdue, ended, change, not \"ever\"");
    }

    async fn a_wait_for_safety_goes_on_while_a_drain_that_is_complete_is_not_safe(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        cluster.drain("w1", json!({})).await;
        cluster.reports("w1", &[]).await;
        cluster.reports("w1", &[]).await;
        let wait = |what: &str| {
            let path = format!("/api/v1/workers/w1/drain?wait=60s&for={what}");
            tokio::spawn(cluster.rest().get(&path).into_future())
        };
        assert_eq!(in_time(wait("safe")).await.unwrap().json()["safe_to_power_off"], true, "it is already");
        // Another process of the worker, which has not acknowledged the drain yet.
        let register = || cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).into_future();
        register().await;
        let complete = in_time(wait("complete")).await.unwrap().json();
        assert_eq!([&complete["state"], &complete["safe_to_power_off"]], [&json!("complete"), &json!(false)]);
        let safe = wait("safe");
        settle().await;
        assert!(!safe.is_finished());
        for _ in 0..2 {
            assert_eq!(cluster.beat("w1", json!({"incarnation": 2, "vms": []})).await.status, 200);
        }
        assert_eq!(in_time(safe).await.unwrap().json()["safe_to_power_off"], true);
        register().await;
        let ended = wait("safe");
        settle().await;
        cluster.activate("w1").await;
        assert_eq!(in_time(ended).await.unwrap().json()["state"], "ended");
    }

    async fn a_wait_for_completion_ends_with_a_drain_that_is_canceled(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a")])]).await;
        cluster.drain("w1", json!({})).await;
        let path = "/api/v1/workers/w1/drain?wait=60s&for=complete";
        let waiting = tokio::spawn(cluster.rest().get(path).into_future());
        settle().await;
        cluster.activate("w1").await;
        assert_eq!(in_time(waiting).await.unwrap().json()["state"], "canceled");
    }

    async fn the_history_of_a_worker_is_told_newest_first_in_both_protocols(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        for round in 1..=5 {
            cluster.drain("w1", json!({"reason": round.to_string()})).await;
            if round < 5 {
                cluster.activate("w1").await;
            }
        }
        let page = async |question: &str| {
            let page = cluster.rest().get(&format!("/api/v1/workers/w1/drains?limit=2{question}")).await.json();
            let told: Vec<_> = page["drains"].as_array().unwrap().iter().map(|it| it["reason"].clone()).collect();
            (told, page["next_cursor"].clone())
        };
        assert_eq!(page("").await, (vec![json!("5"), json!("4")], json!("4")));
        assert_eq!(page("&cursor=4").await, (vec![json!("3"), json!("2")], json!("2")));
        assert_eq!(page("&cursor=2").await, (vec![json!("1")], Value::Null));
        cluster.rest().get("/api/v1/workers/w9/drains").await.assert_failure(404, "Worker not found: w9");
        let none = cluster.rest().get("/api/v1/workers/w2/drains").await;
        none.assert_json(200, json!({"worker_id": "w2", "drains": [], "next_cursor": null}));
        let question = "{ workers { id drains(first: 2, after: 5) { number state reason blockers { kind } } } }";
        let told = cluster.graphql(question).await;
        assert_eq!(told["workers"], json!([
            {"id": "w1", "drains": [
                {"number": 4, "state": "CANCELED", "reason": "4", "blockers": []},
                {"number": 3, "state": "CANCELED", "reason": "3", "blockers": []},
            ]},
            {"id": "w2", "drains": []},
        ]));
        let before = cluster.statements_sent();
        cluster.graphql("{ workers { drains { number } } }").await;
        assert!(cluster.statements_sent() - before <= 2, "one statement, however many workers");
        let cluster = cluster.restart().await;
        assert_eq!(cluster.graphql(question).await, told);
    }

    async fn drains_that_began_after_the_reading_take_no_place_of_older_ones(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let again = async |count: usize| {
            for _ in 0..count {
                cluster.drain("w1", json!({})).await;
                cluster.activate("w1").await;
            }
        };
        again(4).await;
        let resolvers = cluster.server().resolvers();
        let reading = resolvers.present();
        again(3).await;
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = resolvers.drain_history(&Caller::unrestricted(), &reading, "w1", 2, before).await.unwrap();
            pages.push(page.nodes.iter().map(|drain| drain.drain.number).collect::<Vec<_>>());
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(pages, [[4, 3], [2, 1]]);
        let never = resolvers.drain_history(&Caller::unrestricted(), &reading, "w2", 2, None).await.unwrap();
        assert_eq!((never.nodes.len(), never.next), (0, None));
    }

    async fn drains_are_listed_the_same_in_both_protocols(cluster: TestCluster) {
        let workers = (1..=6).map(|n| worker(&format!("w{n}")).zone(if n % 2 == 0 { "a" } else { "b" }));
        cluster.add(workers).await;
        for n in 1..=4 {
            cluster.drain(&format!("w{n}"), json!({"deadline_seconds": if n == 1 { 5 } else { 500 }})).await;
        }
        for _ in 0..2 {
            cluster.beat("w2", json!({"incarnation": 1, "vms": []})).await;
        }
        cluster.activate("w4").await;
        cluster.advance(seconds(5));
        for (rest, graphql, expected) in [
            ("", "", "w1 overdue, w2 complete, w3 draining, w4 canceled"),
            ("state=overdue", "states: [OVERDUE]", "w1 overdue"),
            ("state=draining&state=complete", "states: [DRAINING, COMPLETE]", "w2 complete, w3 draining"),
            ("zone=a", "zones: [\"a\"]", "w2 complete, w4 canceled"),
            ("zone=a&state=complete", "zones: [\"a\"], states: [COMPLETE]", "w2 complete"),
            ("worker_id=w3&worker_id=w6", "workerIds: [\"w3\", \"w6\"]", "w3 draining"),
            ("has_zone=false", "hasZone: false", ""),
            ("search=W4", "search: \"W4\"", "w4 canceled"),
        ] {
            let list = cluster.rest().get(&format!("/api/v1/drains?{rest}")).await.json();
            let shown = list["drains"].as_array().unwrap().iter();
            let shown = shown.map(|it| format!("{} {}", it["worker_id"].as_str().unwrap(), it["state"].as_str().unwrap()));
            assert_eq!(shown.collect::<Vec<_>>().join(", "), expected, "{rest}");
            let fields = "totalCount nodes { workerId state } edges { node { id } }";
            let twin = cluster.graphql(&format!("{{ drains(filter: {{{graphql}}}) {{ {fields} }} }}")).await;
            let twins = twin["drains"]["nodes"].as_array().unwrap().iter();
            let twins = twins.map(|it| {
                format!("{} {}", it["workerId"].as_str().unwrap(), it["state"].as_str().unwrap().to_lowercase())
            });
            assert_eq!(twins.collect::<Vec<_>>().join(", "), expected, "{graphql}");
            assert_eq!(twin["drains"]["totalCount"], list["total"]);
        }
        let first = cluster.graphql("{ drains(first: 2) { pageInfo { hasNextPage endCursor } nodes { id } } }").await;
        assert_eq!(first["drains"]["nodes"], json!([{"id": "w1/1"}, {"id": "w2/1"}]));
        let after = first["drains"]["pageInfo"]["endCursor"].as_str().unwrap();
        let page = cluster.rest().get(&format!("/api/v1/drains?limit=2&cursor={after}")).await.json();
        let ids: Vec<_> = page["drains"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
        assert_eq!((ids, &page["total"]), (vec![json!("w3/1"), json!("w4/1")], &json!(4)));
        let refused = cluster.rest().get("/api/v1/drains?state=done").await;
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains("state must be one of draining, overdue, complete, canceled, ended"), "{}", refused.body);
        assert_eq!(cluster.rest().get("/api/v1/drains?stat=done").await.status, 400, "a typo is not everything");
    }

    async fn a_subscription_tells_the_present_state_and_then_what_is_new(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a")]), worker("w2"), worker("w3")]).await;
        cluster.drain("w1", json!({"deadline_seconds": 20})).await;
        cluster.drain("w3", json!({})).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        let query = "subscription($filter: DrainFilter) { drainProgress(filter: $filter) { isLast drain { id state remainingVms worker { id } } } }";
        socket.subscribe("1", query, json!({"filter": {"workerIds": ["w1", "w2"]}})).await;
        let next = async |socket: &mut Socket| {
            let told = socket.next("1").await["drainProgress"].take();
            let drain = &told["drain"];
            let last = if told["isLast"] == true { " last" } else { "" };
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            format!("{} {} {}{last}", text(&drain["id"]), text(&drain["state"]), drain["remainingVms"])
        };
        assert_eq!(next(&mut socket).await, "w1/1 DRAINING 1");
        cluster.reports("w1", &["a"]).await;
        assert_eq!(next(&mut socket).await, "w1/1 DRAINING 1", "the worker was told");
        cluster.reports("w1", &["a"]).await;
        assert_eq!(next(&mut socket).await, "w1/1 DRAINING 1", "it has acknowledged");
        // Neither of these shows anything of what is followed.
        cluster.reports("w1", &["a"]).await;
        cluster.reports("w3", &["z"]).await;
        cluster.reports("w2", &["b"]).await;
        cluster.drain("w2", json!({})).await;
        assert_eq!(next(&mut socket).await, "w2/1 DRAINING 1");
        cluster.advance(seconds(20));
        cluster.sweep().await;
        assert_eq!(next(&mut socket).await, "w1/1 OVERDUE 1");
        cluster.reports("w1", &[]).await;
        assert_eq!(next(&mut socket).await, "w1/1 COMPLETE 0");
        cluster.activate("w1").await;
        assert_eq!(next(&mut socket).await, "w1/1 ENDED null last");
        cluster.drain("w1", json!({})).await;
        assert_eq!(next(&mut socket).await, "w1/2 DRAINING 0");
        cluster.rest().delete("/api/v1/workers/w2?purge=true&force=true").await;
        assert_eq!(next(&mut socket).await, "w2/1 DRAINING 1 last");
        // Whoever connects again begins with the present state.
        let mut again = port.client().await;
        again.subscribe("1", query, json!({"filter": {"states": ["DRAINING"]}})).await;
        assert_eq!(next(&mut again).await, "w1/2 DRAINING 0");
        assert_eq!(next(&mut again).await, "w3/1 DRAINING 1");
        cluster.reports("w1", &[]).await;
        assert_eq!(next(&mut again).await, "w1/2 DRAINING 0");
        cluster.reports("w1", &[]).await;
        assert_eq!(next(&mut again).await, "w1/2 COMPLETE 0 last", "it has left the filter");
    }

    async fn progress_is_streamed_as_lines_and_as_server_sent_events(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("a")])]).await;
        cluster.drain("w1", json!({"reason": "disk"})).await;
        let port = Port::of(&cluster).await;
        let mut lines = HttpStream::get(&port.authority(), "/api/v1/drains?worker_id=w1", &[NDJSON]).await;
        let mut events = HttpStream::get(&port.authority(), "/api/v1/drains", &[SSE]).await;
        assert_eq!((lines.status, events.status), (200, 200));
        let shown = cluster.rest().get("/api/v1/workers/w1/drain").await.json();
        assert_eq!(lines.line().await, json!({"drain": shown, "is_last": false}));
        let message = events.message().await;
        assert_eq!((message.event.as_str(), message.json()), ("progress", json!({"drain": shown, "is_last": false})));
        cluster.activate("w1").await;
        let shown = cluster.rest().get("/api/v1/workers/w1/drain").await.json();
        assert_eq!(lines.line().await, json!({"drain": shown, "is_last": true}));
        assert_eq!(events.message().await.event, "last");
        let refused = cluster.rest().get("/api/v1/drains?every=1ms").header("accept", NDJSON.1).await;
        refused.assert_failure(400, "every must be from 50ms to 1h");
    }

    async fn drains_that_ended_long_ago_are_removed_except_for_the_last_one(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        for id in ["w1", "w1", "w2"] {
            cluster.drain(id, json!({})).await;
            cluster.activate(id).await;
        }
        cluster.drain("w2", json!({})).await;
        cluster.advance(minutes(365 * 24 * 60 + 1));
        cluster.server().retention_pruner().prune().await.unwrap();
        let numbers = async |cluster: &TestCluster| {
            let told = cluster.graphql("{ workers { drains { number } } }").await;
            told["workers"].as_array().unwrap().iter().map(|it| it["drains"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&cluster).await, [json!([{"number": 2}]), json!([{"number": 2}])]);
        let cluster = cluster.restart().await;
        assert_eq!(numbers(&cluster).await, [json!([{"number": 2}]), json!([{"number": 2}])]);
        cluster.drain("w1", json!({})).await;
        assert_eq!(numbers(&cluster).await[0], json!([{"number": 3}, {"number": 2}]));
    }

    async fn what_one_server_does_of_a_drain_another_one_shows(cluster: TestCluster) {
        if !cluster.takes_several_servers() {
            return;
        }
        let other = cluster.another_server().await;
        cluster.add([worker("w1").vms([vm("a")])]).await;
        cluster.drain("w1", json!({"reason": "disk", "metadata": {"a": "b"}})).await;
        let path = |cluster: &TestCluster| format!("/api/v1/workers/w1/drain?min_revision={}", cluster.revision());
        for vms in [&["a"][..], &["a"], &[]] {
            other.rest().get(&path(&cluster)).await;
            other.reports("w1", vms).await;
            let shown = join_all([&cluster, &other].map(|it| it.rest().get(&path(&other)).into_future())).await;
            assert_eq!(shown[0].json(), shown[1].json());
        }
        assert_eq!(cluster.rest().get(&path(&other)).await.json()["state"], "complete");
    }
}
