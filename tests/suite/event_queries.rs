//! Questions about the change log: what an event says in fields, and its pages in either order, by every filter.

use serde_json::{Value, json};

use crate::harness::*;

/// Whether an event is one that a question asks for.
type Matches = Box<dyn Fn(&Value) -> bool>;

/// Some of everything: two zones, VMs that end in each way there is, a minute apart.
async fn with_history(cluster: &TestCluster) {
    let beat = async |id: &str, vms: Value| {
        cluster.advance(minutes(1));
        let answer = cluster.beat(id, json!({"incarnation": 1, "vms": vms})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    cluster.add([worker("w1").zone("a"), worker("w2").zone("b"), worker("w3")]).await;
    let vms = |status: &str| json!([{"id": "vm-1", "name": "db", "status": status}, {"id": "vm-2"}, {"id": "vm-3"}]);
    beat("w1", vms("running")).await;
    beat("w1", vms("failed")).await;
    beat("w2", json!([{"id": "vm-2"}])).await;
    beat("w1", json!([{"id": "vm-1", "status": "failed"}, {"id": "vm-3", "status": "stopped"}])).await;
    beat("w3", json!([{"id": "vm-4"}, {"id": "vm-5"}])).await;
    beat("w3", json!([{"id": "vm-4"}])).await;
    let described_anew =
        worker("w3").registers("labels", json!({"rack": "7"})).registers("boot_id", "b").registration();
    for registration in [worker("w3").registers("boot_id", "b").registration(), described_anew] {
        cluster.rest().put("/api/v1/workers/w3").json(registration).await;
    }
    cluster.advance(minutes(1));
    cluster.rest().delete("/api/v1/workers/w3?purge=true&force=true").await;
    cluster.rest().delete("/api/v1/workers/w2").await;
}

/// All events, oldest first.
async fn all(cluster: &TestCluster) -> Vec<Value> {
    cluster.rest().get("/api/v1/events?limit=500").await.json()["events"].as_array().unwrap().clone()
}

/// All pages of a question, by following `next_cursor`, which `Link` repeats.
async fn by_rest(cluster: &TestCluster, question: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = cluster.rest().get(&format!("/api/v1/events?{question}&limit={limit}&cursor={cursor}")).await;
        let body = page.json();
        let events = body["events"].as_array().unwrap_or_else(|| panic!("{question}: {body}"));
        assert!(events.len() <= limit, "{body}");
        found.extend(events.iter().cloned());
        assert_eq!(body["has_next_page"], !body["next_cursor"].is_null());
        let Some(next) = body["next_cursor"].as_str() else {
            assert_eq!(page.header("link"), None);
            return found;
        };
        assert!(
            page.header("link").unwrap().contains(&format!("cursor={next}>; rel=\"next\"")),
            "{:?}",
            page.header("link")
        );
        cursor = next.to_owned();
    }
}

/// The cursors of all pages of a question, walked from the front or from the end.
async fn by_graphql(cluster: &TestCluster, arguments: &str, size: &str, count: usize) -> Vec<Value> {
    let (place, info) = if size == "first" { ("after", "end") } else { ("before", "start") };
    let query = format!(
        "query($at: Cursor) {{ events({size}: {count}, {place}: $at, {arguments}) {{
            nodes {{ cursor }} edges {{ cursor node {{ id }} }} pageInfo {{ {info}Cursor hasNextPage hasPreviousPage }} }} }}"
    );
    let (mut found, mut at) = (Vec::new(), Value::Null);
    loop {
        let answer = cluster.graphql_answer(&query, json!({"at": at})).await;
        let page = &answer["data"]["events"];
        let cursors = pick(&page["nodes"], ["cursor"]).concat();
        assert_eq!(pick(&page["edges"], ["cursor"]).concat(), cursors, "{answer}");
        let has_more = if size == "first" {
            found.extend(cursors);
            &page["pageInfo"]["hasNextPage"]
        } else {
            found.splice(0..0, cursors);
            &page["pageInfo"]["hasPreviousPage"]
        };
        if *has_more == false {
            return found;
        }
        at = page["pageInfo"][format!("{info}Cursor")].clone();
    }
}

on_both_databases! {
    async fn an_event_says_in_fields_what_happened_to_which_vm_and_where(cluster: TestCluster) {
        with_history(&cluster).await;
        let told = all(&cluster).await;
        let of_vms = told.iter().filter(|event| !event["vm_id"].is_null()).map(|event| {
            ["kind", "worker_id", "vm_id", "vm_name", "previous_status", "vm_status", "zone"]
                .map(|key| event[key].as_str().unwrap_or("-").to_owned())
                .join(" ")
        });
        assert_eq!(of_vms.collect::<Vec<_>>(), [
            "vm_started w1 vm-1 db - running a",
            "vm_started w1 vm-2 vm-2 - running a",
            "vm_started w1 vm-3 vm-3 - running a",
            "vm_failed w1 vm-1 db running failed a",
            "vm_started w2 vm-2 vm-2 - running b",
            "vm_moved w1 vm-2 vm-2 running - a",
            "vm_changed w1 vm-1 vm-1 failed failed a",
            "vm_stopped w1 vm-3 vm-3 running stopped a",
            "vm_started w3 vm-4 vm-4 - running -",
            "vm_started w3 vm-5 vm-5 - running -",
            "vm_vanished w3 vm-5 vm-5 running - -",
            "vm_lost w3 vm-4 vm-4 running - -",
        ]);
        let of_workers = told.iter().filter(|event| event["vm_id"].is_null());
        let of_workers = of_workers.map(|event| format!("{} {} {}", event["kind"], event["worker_id"], event["zone"]).replace('"', ""));
        assert_eq!(of_workers.collect::<Vec<_>>(), [
            "worker_registered w1 a",
            "worker_registered w2 b",
            "worker_registered w3 null",
            "worker_restarted w3 null",
            "worker_updated w3 null",
            "worker_purged w3 null",
            "worker_left w2 b",
        ]);
        // They are in one order, and each has a name of its own that is nobody else's.
        let places: Vec<_> = told.iter().map(|event| (event["revision"].as_u64().unwrap(), event["position"].as_u64().unwrap())).collect();
        assert!(places.is_sorted_by(|one, other| one < other), "{places:?}");
        for event in &told {
            assert_eq!(event["id"], format!("events/{}", event["cursor"].as_str().unwrap()));
        }
        let after_a_restart = all(&cluster.restart().await).await;
        assert_eq!(after_a_restart, told);
    }

    async fn every_page_of_every_question_is_what_the_filter_leaves_in_either_order(cluster: TestCluster) {
        with_history(&cluster).await;
        let told = all(&cluster).await;
        let at = |event: &Value| event["at"].as_str().unwrap().to_owned();
        let (early, late) = ("2025-11-02T10:02:00Z", "2025-11-02T10:05:00Z");
        let is = |key: &'static str, wanted: &'static [&str]| {
            move |event: &Value| event[key].as_str().is_some_and(|text| wanted.contains(&text))
        };
        let questions: [(&str, String, Matches); 12] = [
            ("", String::new(), Box::new(|_| true)),
            ("kind=vm_started&kind=vm_lost", "filter: {kinds: [VM_STARTED, VM_LOST]}".into(), Box::new(is("kind", &["vm_started", "vm_lost"]))),
            ("vm_id=vm-2", "filter: {vmIds: [\"vm-2\"]}".into(), Box::new(is("vm_id", &["vm-2"]))),
            ("zone=b", "filter: {zones: [\"b\"]}".into(), Box::new(is("zone", &["b"]))),
            ("zone=b&zone=a&vm_id=vm-1", "filter: {zones: [\"b\", \"a\"], vmIds: [\"vm-1\"]}".into(), Box::new(is("vm_id", &["vm-1"]))),
            ("worker_id=w3", "filter: {workerIds: [\"w3\"]}".into(), Box::new(is("worker_id", &["w3"]))),
            ("actor=operator", "filter: {actors: [OPERATOR]}".into(), Box::new(is("actor", &["operator"]))),
            ("since=2025-11-02T10:02:00Z", format!("since: \"{early}\""), Box::new(move |event| at(event).as_str() >= early)),
            ("until=2025-11-02T11:02:00%2B01:00", format!("until: \"{early}\""), Box::new(move |event| at(event).as_str() < early)),
            (
                "since=2025-11-02T10:02:00Z&until=2025-11-02T10:05:00Z&kind=vm_failed&kind=vm_stopped",
                format!("since: \"{early}\", until: \"{late}\", filter: {{kinds: [VM_FAILED, VM_STOPPED]}}"),
                Box::new(move |event| (early..late).contains(&at(event).as_str()) && is("kind", &["vm_failed", "vm_stopped"])(event)),
            ),
            ("since=2035-01-01T00:00:00Z", "since: \"2035-01-01T00:00:00Z\"".into(), Box::new(|_| false)),
            ("vm_id=%00&kind=vm_started", "filter: {vmIds: [\"\\u0000\"], kinds: [VM_STARTED]}".into(), Box::new(|_| false)),
        ];
        for (rest, graphql, matches) in questions {
            let mut expected: Vec<_> = told.iter().filter(|event| matches(event)).cloned().collect();
            for order in ["asc", "desc"] {
                for limit in [1, 3, 100] {
                    assert_eq!(by_rest(&cluster, &format!("{rest}&order={order}"), limit).await, expected, "{rest} {order} {limit}");
                    let cursors: Vec<_> = expected.iter().map(|event| event["cursor"].clone()).collect();
                    let arguments = format!("order: {}, {graphql}", order.to_uppercase());
                    for size in ["first", "last"] {
                        assert_eq!(by_graphql(&cluster, &arguments, size, limit).await, cursors, "{arguments} {size} {limit}");
                    }
                }
                expected.reverse();
            }
        }
    }

    async fn after_is_about_time_in_rest_and_about_the_order_in_graphql(cluster: TestCluster) {
        with_history(&cluster).await;
        let told = all(&cluster).await;
        let middle = told[9]["cursor"].as_str().unwrap();
        let newer = cluster.rest().get(&format!("/api/v1/events?order=desc&after={middle}&limit=3")).await.json();
        let expected: Vec<_> = told.iter().rev().take(3).cloned().collect();
        assert_eq!(newer["events"], json!(expected), "the newest, as far back as the cursor");
        let query = format!("{{ newer: events(first: 2, after: \"{middle}\") {{ nodes {{ cursor }} }}
            older: events(first: 2, after: \"{middle}\", order: DESC) {{ nodes {{ cursor }} }}
            between: events(last: 1, after: \"{middle}\", before: \"{}\") {{ nodes {{ cursor }} endCursor }} }}", told[12]["cursor"].as_str().unwrap());
        let answer = cluster.graphql(&query).await;
        let cursors = |places: &[usize]| json!(places.iter().map(|at| json!({"cursor": told[*at]["cursor"]})).collect::<Vec<_>>());
        assert_eq!([&answer["newer"]["nodes"], &answer["older"]["nodes"], &answer["between"]["nodes"]], [
            &cursors(&[10, 11]), &cursors(&[8, 7]), &cursors(&[11]),
        ]);

        // Of a worker and of a VM, `after` goes on in the order that was asked for, too.
        let of_objects = "{ w1: worker(id: \"w1\") { latest: events(first: 1) { kind } first: events(first: 2, order: ASC) { cursor kind } }
            vm(id: \"vm-2\") { zone events(order: ASC) { kind workerId } latest: events(first: 1) { kind } } }";
        let answer = cluster.graphql(of_objects).await;
        assert_eq!(answer["w1"]["latest"], json!([{"kind": "VM_STOPPED"}]));
        assert_eq!(pick(&answer["w1"]["first"], ["kind"]).concat(), ["WORKER_REGISTERED", "VM_STARTED"]);
        assert_eq!(pick(&answer["vm"]["events"], ["kind", "workerId"]), [["VM_STARTED", "w1"], ["VM_STARTED", "w2"], ["VM_MOVED", "w1"]]);
        assert_eq!([&answer["vm"]["zone"], &answer["vm"]["latest"]], [&json!("b"), &json!([{"kind": "VM_MOVED"}])]);
        let after = answer["w1"]["first"][1]["cursor"].as_str().unwrap();
        let on = format!("{{ worker(id: \"w1\") {{ events(first: 1, order: ASC, after: \"{after}\") {{ vmId }} }} }}");
        assert_eq!(cluster.graphql(&on).await["worker"]["events"], json!([{"vmId": "vm-2"}]));
    }

    async fn what_makes_no_sense_is_refused_by_its_name(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (query, problem) in [
            ("order=up", "order must be asc (oldest first) or desc (newest first), not \"up\""),
            ("since=yesterday", "since must be a time as RFC 3339 has it, such as 2025-11-02T12:30:45Z, not \"yesterday\""),
            ("cursor=x", "cursor \"x\" is not a cursor of this API: pass back one that came with an event, unchanged"),
            ("order=desc&after=x", "after \"x\" is not a cursor of this API: pass back one that came with an event, unchanged"),
        ] {
            cluster.rest().get(&format!("/api/v1/events?{query}")).await.assert_failure(400, problem);
        }
        let kind = cluster.rest().get("/api/v1/events?kind=vm_exploded").await;
        assert!(kind.status == 400 && kind.body.contains("vm_vanished"), "{}", kind.body);
        let problem = "since is for lists: a stream begins after `after`, goes on in the order of the log, and does not end";
        let stream = cluster.rest().get("/api/v1/events?since=2025-11-02T10:00:00Z").header("accept", "text/event-stream").await;
        stream.assert_failure(400, problem);
        let both = cluster.graphql_answer("{ events(first: 1, last: 1) { endCursor } }", json!({})).await;
        assert_eq!(both["errors"][0]["message"], "last cannot be combined with `first`: ask for one of them", "{both}");
    }

    // Kinds that stood for several things are told apart in rows from before, too, and are as before for a program of before.
    async fn rows_from_before_the_fields_are_told_apart_by_their_sentences(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        with_history(&cluster).await;
        let (told, clock) = (all(&cluster).await, cluster.clock());
        cluster.into_server().stop().await;
        // As those programs wrote it.
        db.execute("UPDATE event SET message = 'VM ' || vm_id || ' is gone from worker ' || worker_id WHERE kind = 'vm_vanished'").await;
        let database = aetherium::journal::Database::connect(db.url()).await.unwrap();
        let migrations = <migration::Migrator as migration::MigratorTrait>::migrations();
        let place = migrations.iter().position(|one| one.name().ends_with("event_fields")).unwrap();
        database.migrate_back(u32::try_from(migrations.len() - place).unwrap()).await.unwrap();
        let before = db.dump().await;
        for new in ["worker_updated", "worker_purged", "vm_failed", "vm_moved", "vm_vanished", "vm_lost"] {
            assert!(!before.contains(new), "{new}");
        }
        database.migrate().await.unwrap();
        database.close().await.unwrap();
        let again = all(&TestCluster::by_clock(&db, clock).await).await;
        // Whether a VM had moved was not told then.
        let kinds = |events: &[Value]| pick(&json!(events), ["kind"]).concat();
        let expected: Vec<_> = kinds(&told).into_iter().map(|kind| if kind == "vm_moved" { json!("vm_stopped") } else { kind }).collect();
        assert_eq!(kinds(&again), expected);
        assert!(again.iter().all(|event| event["zone"].is_null() && event["vm_name"].is_null()));
    }
}
