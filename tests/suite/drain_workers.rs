//! Many workers are drained, and activated, at once: in one revision, so that none of them takes another's VMs, and not if
//! what has to move fits nowhere else. The plan is compared with a look at all workers at the foot of
//! `src/cluster/evacuation.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

async fn drain(cluster: &TestCluster, body: Value) -> Answer {
    cluster.rest().post("/api/v1/drains").json(body).await
}

async fn activate(cluster: &TestCluster, body: Value) -> Answer {
    cluster.rest().post("/api/v1/activations").json(body).await
}

async fn plan(cluster: &TestCluster, query: &str) -> Value {
    let answer = cluster.rest().get(&format!("/api/v1/evacuation-plan?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    answer.json()
}

/// What everybody sees of the cluster, its drains and its change log.
async fn state(cluster: &TestCluster) -> (Value, Value, Vec<String>, u64) {
    let drains = cluster.rest().get("/api/v1/drains").await.json();
    (cluster.everything().await, drains, cluster.history().await, cluster.revision())
}

/// Who was drained or activated, and who was so before.
fn changed(answer: &Value) -> Vec<(String, bool)> {
    let pairs = pick(&answer["workers"], ["worker_id", "changed"]);
    pairs.into_iter().map(|[id, changed]| (id.as_str().unwrap().to_owned(), changed == true)).collect()
}

fn owned(pairs: &[(&str, bool)]) -> Vec<(String, bool)> {
    pairs.iter().map(|(id, changed)| ((*id).to_owned(), *changed)).collect()
}

/// Two workers in zone `a` with VMs on them, and two in zone `b`, of which one has room for two VMs and the other for one.
async fn furnish(cluster: &TestCluster) {
    cluster
        .add([
            worker("a1").zone("a").vms([vm("vm-1"), vm("vm-2").size(1, 1_024), vm("over").status("stopped")]),
            worker("a2").zone("a").vms([vm("vm-3").size(2, 4_096)]),
            worker("b1").zone("b").max_vms(2),
            worker("b2").zone("b").max_vms(1),
        ])
        .await;
}

on_both_databases! {
    async fn all_that_match_are_drained_in_one_revision_and_none_gets_anothers_vms(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.revision();
        let body = json!({
            "filter": {"zones": ["a"]}, "reason": "new switches", "deadline_seconds": 7_200, "metadata": {"ticket": "OPS-1"},
        });
        let answer = drain(&cluster, body).await;
        answer.assert_json(200, json!({
            "dry_run": false,
            "workers": [{"worker_id": "a1", "changed": true}, {"worker_id": "a2", "changed": true}],
            "total_changed": 2,
            "plan": {
                "fits": true, "workers": 2, "vms": 3, "placeable": 3,
                "moves": [
                    {"vm_id": "vm-1", "from_worker_id": "a1", "to_worker_id": "b2"},
                    {"vm_id": "vm-2", "from_worker_id": "a1", "to_worker_id": "b1"},
                    {"vm_id": "vm-3", "from_worker_id": "a2", "to_worker_id": "b1"},
                ],
                "stranded": [], "total_stranded": 0, "unsized_vms": 0, "set_aside_vms": 0, "vms_of_other_drains": 0, "revision": before,
            },
            "revision": before + 1,
        }));
        assert_eq!(cluster.revision(), before + 1, "all of them drain in one commit");
        let events = cluster.rest().get("/api/v1/events?kind=worker_drain_started").await.json();
        assert_eq!(pick(&events["events"], ["worker_id", "revision", "actor", "reason"]), ["a1", "a2"].map(|id| {
            [json!(id), json!(before + 1), json!("operator"), json!("new switches")]
        }));
        let drains = cluster.rest().get("/api/v1/drains").await.json();
        let expected = |id: &str, vms: u64| {
            [json!(id), json!("draining"), json!("2025-11-02T12:00:00Z"), json!({"ticket": "OPS-1"}), json!(vms)]
        };
        assert_eq!(
            pick(&drains["drains"], ["worker_id", "state", "deadline_at", "metadata", "initial_vms"]),
            [expected("a1", 2), expected("a2", 1)],
        );
        let restarted = cluster.restart().await;
        assert_eq!(restarted.rest().get("/api/v1/drains").await.json()["total"], 2);
    }

    async fn nothing_is_drained_if_the_rest_cannot_hold_what_has_to_move(cluster: TestCluster) {
        furnish(&cluster).await;
        cluster.add([worker("c1").zone("c").vms([vm("large").size(9, 1_024)]), worker("c2").zone("c").cpu(8).vms([vm("small").size(1, 1)])]).await;
        cluster.rest().post("/api/v1/workers/c2/drain").await;
        let before = state(&cluster).await;
        let body = json!({"filter": {"zones": ["a", "c"]}, "limit": 1});
        let refused = drain(&cluster, body.clone()).await;
        let message = "Nothing was drained: no place was found for 2 of the 5 VMs on these workers. The plan in this answer \
                       tells which, and why; drain fewer workers, or allow the shortfall.";
        refused.assert_failure(409, message);
        let short = refused.json()["plan"].take();
        assert_eq!(short, plan(&cluster, "zone=a&zone=c&limit=1").await, "the question has the same answer");
        assert_eq!(
            ["fits", "workers", "vms", "placeable", "total_stranded"].map(|key| &short[key]),
            [&json!(false), &json!(4), &json!(5), &json!(3), &json!(2)],
        );
        assert_eq!(["moves", "stranded"].map(|list| short[list].as_array().unwrap().len()), [1, 1], "as many as the limit says");
        let dry = drain(&cluster, json!({"filter": {"zones": ["a", "c"]}, "limit": 1, "dry_run": true})).await;
        assert_eq!((dry.status, dry.json()), (409, refused.json()), "a dry run is refused as the drain is");

        let problem = cluster.rest().post("/api/v1/drains").header("accept", "application/problem+json").json(body).await;
        assert_eq!((problem.status, &problem.json()["plan"]), (409, &short));
        let mutation = r#"mutation { drainWorkers(input: {filter: {zones: ["a", "c"]}, limit: 500}) { totalChanged } }"#;
        let twin = cluster.graphql_answer(mutation, json!({})).await;
        assert_eq!(twin["data"], json!({"drainWorkers": null}));
        let [error] = twin["errors"].as_array().unwrap().as_slice() else { panic!("{twin}") };
        assert_eq!((&error["message"], &error["extensions"]["code"]), (&json!(message), &json!("CONFLICT")));
        let fields = "fits workers vms placeable moves { vmId fromWorkerId toWorkerId }
            stranded { vmId workerId vcpus memoryMb refusalsByReason { reason workers } }
            totalStranded unsizedVms setAsideVms vmsOfOtherDrains revision";
        let asked = cluster.graphql(&format!(r#"{{ evacuationPlan(filter: {{zones: ["a", "c"]}}, limit: 500) {{ {fields} }} }}"#)).await;
        assert_eq!(error["extensions"]["plan"], asked["evacuationPlan"]);
        // Each of the two that are left over: b1 and b2 are full, and the four others are left out; c2 is also too small.
        let stranded = &asked["evacuationPlan"]["stranded"];
        assert_eq!(stranded.as_array().unwrap().len(), 2);
        for vm in stranded.as_array().unwrap() {
            let reasons = pick(&vm["refusalsByReason"], ["reason", "workers"]);
            assert!(reasons.contains(&[json!("EXCLUDED"), json!(4)]) && reasons.contains(&[json!("VM_SLOTS"), json!(2)]), "{vm}");
        }
        assert_eq!(state(&cluster).await, before, "nothing was changed");

        cluster.rest().post("/api/v1/workers/c1/drain").await.assert_json(200, json!({
            "worker_id": "c1", "status": "draining", "message": "Worker marked as draining. It will stop accepting new tasks.",
        }));
        let allowed = drain(&cluster, json!({"filter": {"zones": ["a", "c"]}, "allow_shortfall": true})).await;
        assert_eq!(allowed.status, 200, "{}", allowed.body);
        assert_eq!(changed(&allowed.json()), owned(&[("a1", true), ("a2", true), ("c1", false), ("c2", false)]));
        assert_eq!(allowed.json()["plan"]["total_stranded"], 2);
    }

    async fn a_dry_run_tells_what_then_happens(cluster: TestCluster) {
        furnish(&cluster).await;
        cluster.rest().post("/api/v1/workers/a2/drain").await;
        for (path, body) in [
            ("/api/v1/drains", json!({"filter": {"zones": ["a"]}, "reason": "r"})),
            ("/api/v1/activations", json!({"filter": {"search": "a"}, "reason": "r"})),
        ] {
            let mut dry = body.clone();
            dry["dry_run"] = true.into();
            let before = state(&cluster).await;
            let told = cluster.rest().post(path).json(dry).await;
            assert_eq!((told.status, &told.json()["dry_run"]), (200, &json!(true)), "{}", told.body);
            assert_eq!(told.json()["revision"], before.3);
            assert_eq!(state(&cluster).await, before, "it changes nothing");
            let done = cluster.rest().post(path).json(body).await;
            assert_eq!(done.json(), with(told.json(), json!({"dry_run": false, "revision": before.3 + 1})));
            assert_eq!(cluster.revision(), before.3 + 1);
        }
        let zone_a = ["a1", "a2"].map(|id| format!("worker_activated {id}"));
        assert!(cluster.history().await.ends_with(&zone_a), "who did not drain is not activated");
    }

    async fn asked_again_nothing_changes(cluster: TestCluster) {
        furnish(&cluster).await;
        let body = json!({"filter": {"zones": ["a"]}, "reason": "r"});
        assert_eq!(drain(&cluster, body.clone()).await.json()["total_changed"], 2);
        // The room that there was is gone, which is no reason to refuse what is so already.
        assert_eq!(cluster.rest().post("/api/v1/reservations").json(json!({"vcpus": 1, "memory_mb": 1, "count": 3})).await.status, 201);
        let before = state(&cluster).await;
        let again = drain(&cluster, body).await;
        assert_eq!(changed(&again.json()), owned(&[("a1", false), ("a2", false)]));
        let told = [&again.json()["total_changed"], &again.json()["revision"], &again.json()["plan"]["total_stranded"]].map(Value::clone);
        assert_eq!(told, [json!(0), json!(before.3), json!(3)]);
        assert_eq!(state(&cluster).await, before);

        let amended = drain(&cluster, json!({"filter": {"zones": ["a"]}, "reason": "another"})).await;
        assert_eq!(changed(&amended.json()), owned(&[("a1", false), ("a2", false)]), "the policy is the same");
        assert_eq!(cluster.history().await[before.2.len()..], ["worker_drain_changed a1", "worker_drain_changed a2"]);

        let first = activate(&cluster, json!({"filter": {"zones": ["a", "b"]}})).await;
        assert_eq!(changed(&first.json()), owned(&[("a1", true), ("a2", true), ("b1", false), ("b2", false)]));
        let after = state(&cluster).await;
        let again = activate(&cluster, json!({"filter": {"zones": ["a", "b"]}})).await.json();
        assert_eq!((&again["total_changed"], again["plan"].is_null()), (&json!(0), true));
        assert_eq!(state(&cluster).await, after);
    }

    async fn everything_is_drained_only_if_that_is_said(cluster: TestCluster) {
        furnish(&cluster).await;
        let nothing_said = "filter must say which workers, unless `all` says that every worker is meant";
        for path in ["/api/v1/drains", "/api/v1/activations"] {
            let ask = |body: Value| cluster.rest().post(path).json(body).into_future();
            for nothing in [
                json!({}), json!({"filter": {}}), json!({"filter": null, "reason": "r"}), json!({"filter": {"search": ""}}),
                json!({"filter": {"min_free_vm_slots": 0}}),
            ] {
                ask(nothing).await.assert_failure(400, nothing_said);
            }
            let both = json!({"all": true, "filter": {"ids": ["a1"]}});
            ask(both).await.assert_failure(400, "all must not be given together with conditions");
            assert_eq!(ask(json!({"filter": {"zone": ["a"]}})).await.status, 400, "a condition that is misspelled is none");
            for nobody in [json!({"filter": {"ids": []}}), json!({"filter": {"ids": ["w9"]}}), json!({"filter": {"zones": ["z"]}})] {
                let before = cluster.revision();
                let answer = ask(nobody).await;
                let told = [answer.json()["workers"].clone(), answer.json()["total_changed"].clone(), answer.json()["revision"].clone()];
                assert_eq!((answer.status, told), (200, [json!([]), json!(0), json!(before)]));
                assert_eq!(cluster.revision(), before);
            }
        }
        for (field, nothing) in [("drainWorkers", "{}"), ("activateWorkers", "{filter: {search: \"\"}}")] {
            let answer = cluster.graphql_answer(&format!("mutation {{ {field}(input: {nothing}) {{ totalChanged }} }}"), json!({})).await;
            assert_eq!(answer["errors"][0]["message"], nothing_said);
        }
        drain(&cluster, json!({"filter": {"ids": ["a1"]}, "limit": 501})).await
            .assert_failure(400, "limit must be from 0 to 500, not 501");
        drain(&cluster, json!({"filter": {"ids": ["a1"]}, "deadline_seconds": 0})).await
            .assert_failure(400, "deadline_seconds must be from 1 to 31536000, not 0");
        assert_eq!(drain(&cluster, json!({"all": true})).await.status, 409, "the VMs have nowhere to go");
        let all = drain(&cluster, json!({"all": true, "allow_shortfall": true})).await.json();
        assert_eq!((&all["total_changed"], &all["plan"]["placeable"], &all["plan"]["total_stranded"]), (&json!(4), &json!(0), &json!(3)));
        assert_eq!(activate(&cluster, json!({"all": true})).await.json()["total_changed"], 4);
    }

    async fn room_that_is_reserved_meanwhile_is_not_there(cluster: TestCluster) {
        furnish(&cluster).await;
        let fitting = plan(&cluster, "zone=a").await;
        assert_eq!(fitting["fits"], true);
        let last = cluster.rest().post("/api/v1/reservations").json(json!({"vcpus": 1, "memory_mb": 1, "zones": ["b"]})).await;
        assert_eq!(last.status, 201);
        let refused = drain(&cluster, json!({"filter": {"zones": ["a"]}})).await;
        assert_eq!((refused.status, &refused.json()["plan"]["total_stranded"]), (409, &json!(1)));
        let id = last.json()["id"].as_str().unwrap().to_owned();
        cluster.rest().delete(&format!("/api/v1/reservations/{id}")).await;

        // Both wait in one batch. Whichever is first, the drain is not told that there is room which is held for another.
        let (drained, reserved) = tokio::join!(
            drain(&cluster, json!({"filter": {"zones": ["a"]}})),
            cluster.rest().post("/api/v1/reservations").json(json!({"vcpus": 1, "memory_mb": 1, "zones": ["b"]})).into_future(),
        );
        assert_eq!(reserved.status, 201, "{}", reserved.body);
        let history = cluster.history().await;
        let place = |event: &str| history.iter().rposition(|line| line.starts_with(event));
        match drained.status {
            200 => assert!(place("worker_drain_started") < place("reservation_held"), "{history:?}"),
            status => assert_eq!((status, place("worker_drain_started")), (409, None), "{history:?}"),
        }
    }

    async fn two_drains_do_not_count_on_the_same_room(cluster: TestCluster) {
        cluster.add([
            worker("a1").vms([vm("vm-1")]), worker("a2").vms([vm("vm-2")]), worker("b1").max_vms(1),
            worker("gone").vms([vm("vm-3")]),
        ]).await;
        let only = |id: &str| json!({"filter": {"ids": [id]}});
        // a1 and a2 take VMs, too, as long as they do not drain.
        cluster.add([worker("full").max_vms(0)]).await;
        let (one, other) = tokio::join!(
            drain(&cluster, json!({"filter": {"ids": ["a1", "gone"]}})), drain(&cluster, json!({"filter": {"ids": ["a2", "gone"]}})),
        );
        assert_eq!([one.status, other.status].into_iter().filter(|status| *status == 200).count(), 1, "{} {}", one.body, other.body);
        let left = if one.status == 200 { "a2" } else { "a1" };
        let refused = drain(&cluster, only(left)).await;
        assert_eq!(refused.status, 409);
        let short = &refused.json()["plan"];
        assert_eq!(["vms", "vms_of_other_drains", "total_stranded"].map(|key| &short[key]), [&json!(1), &json!(2), &json!(1)]);
    }

    async fn a_vm_that_has_arrived_elsewhere_needs_no_further_room(cluster: TestCluster) {
        cluster.add([
            worker("a1").vms([vm("vm-1"), vm("vm-2").size(0, 0)]), worker("a2").vms([vm("vm-1"), vm("vm-3").status("stopped")]),
            worker("b1").max_vms(2),
        ]).await;
        let told = |plan: &Value| ["vms", "placeable", "unsized_vms"].map(|key| plan[key].as_u64().unwrap());
        let of_a1 = plan(&cluster, "id=a1").await;
        assert_eq!((told(&of_a1), &of_a1["moves"][0]["vm_id"]), ([1, 1, 1], &json!("vm-2")), "vm-1 stays on a2");
        assert_eq!(told(&plan(&cluster, "id=a1&id=a2").await), [2, 2, 1], "it moves once");
        cluster.rest().post("/api/v1/workers/a2/drain").await;
        let of_a1 = plan(&cluster, "id=a1").await;
        assert_eq!((told(&of_a1), &of_a1["vms_of_other_drains"]), ([2, 2, 1], &json!(0)), "a2 drains, too");
    }

    async fn vms_are_packed_if_they_do_not_fit_spread(cluster: TestCluster) {
        // Spread, each worker gets 3 + 2, and neither has room for another 2.
        let sizes = [3, 3, 2, 2, 2];
        let vms = sizes.iter().enumerate().map(|(at, cores)| vm(&format!("vm-{at}")).size(*cores, 1));
        let to = |id| worker(id).cpu(6).max_vms(5);
        cluster.add([worker("a1").cpu(12).vms(vms), to("b1"), to("b2")]).await;
        let drained = drain(&cluster, json!({"filter": {"ids": ["a1"]}})).await;
        assert_eq!(drained.status, 200, "{}", drained.body);
        let places = pick(&drained.json()["plan"]["moves"], ["to_worker_id"]);
        assert_eq!(places, ["b1", "b1", "b2", "b2", "b2"].map(|id| [json!(id)]));
    }

    async fn a_plan_says_how_many_vms_were_set_aside(cluster: TestCluster) {
        cluster.add([worker("a1").vms([vm("vm-1")]), worker("b1").max_vms(1)]).await;
        let vms = ["vm-1", "a/b", "c/d"].map(|id| Value::from(vm(id)));
        cluster.beat("a1", json!({"incarnation": 1, "vms": vms})).await;
        let told = plan(&cluster, "id=a1").await;
        assert_eq!(["fits", "vms", "set_aside_vms"].map(|key| &told[key]), [&json!(true), &json!(1), &json!(2)]);
        let asked = cluster.graphql(r#"{ evacuationPlan(filter: {ids: ["a1"]}) { fits vms setAsideVms } }"#).await;
        assert_eq!(asked["evacuationPlan"], json!({"fits": true, "vms": 1, "setAsideVms": 2}));
        assert_eq!(plan(&cluster, "id=b1").await["set_aside_vms"], 0);
    }

    async fn a_vm_whose_new_place_is_reserved_needs_no_second_one(cluster: TestCluster) {
        cluster.add([worker("a1").vms([vm("vm-1"), vm("vm-2")]), worker("b1").max_vms(2)]).await;
        let told = |plan: &Value| ["vms", "placeable"].map(|key| plan[key].as_u64().unwrap());
        let hold = |vms: Value, expires_in: &str| {
            let count = vms.as_array().unwrap().len();
            let body = json!({"vcpus": 1, "memory_mb": 1, "count": count, "vm_ids": vms, "expires_in": expires_in});
            cluster.rest().post("/api/v1/reservations").json(body).into_future()
        };
        let held = hold(json!(["vm-1"]), "1m").await;
        assert_eq!((held.status, &held.json()["slots"][0]["worker_id"]), (201, &json!("b1")), "{}", held.body);
        let before = plan(&cluster, "id=a1").await;
        assert_eq!((told(&before), &before["moves"][0]["vm_id"]), ([1, 1], &json!("vm-2")), "{before}");
        assert_eq!(told(&plan(&cluster, "id=a1&id=b1").await), [2, 0], "b1 is to be emptied, too");
        let drained = drain(&cluster, json!({"filter": {"ids": ["a1"]}})).await;
        assert_eq!((drained.status, told(&drained.json()["plan"])), (200, [1, 1]), "{}", drained.body);

        // Half of the drain is moved, and the rest has its place.
        cluster.beat("b1", json!({"incarnation": 1, "vms": [Value::from(vm("vm-1"))]})).await;
        activate(&cluster, json!({"filter": {"ids": ["a1"]}})).await;
        assert_eq!(hold(json!(["vm-2"]), "20s").await.status, 201);
        let again = drain(&cluster, json!({"filter": {"ids": ["a1"]}})).await;
        assert_eq!((again.status, told(&again.json()["plan"])), (200, [0, 0]), "{}", again.body);

        // Once its time is over, the reservation holds nothing, whether that is announced or not.
        cluster.advance(Duration::from_secs(21));
        assert_eq!(told(&plan(&cluster, "id=a1").await), [1, 1]);
    }

    async fn a_drain_that_is_sent_again_drains_nothing_else(cluster: TestCluster) {
        furnish(&cluster).await;
        let send = |path: &'static str, body: &Value| {
            cluster.rest().post(path).header("idempotency-key", path).json(body.clone()).into_future()
        };
        for path in ["/api/v1/drains", "/api/v1/activations"] {
            let dry = json!({"filter": {"search": "a1"}, "dry_run": true});
            for _ in 0..2 {
                let answer = send(path, &dry).await;
                assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, None), "it may look again");
            }
            let body = json!({"filter": {"search": "a1"}});
            let first = send(path, &body).await;
            assert_eq!(changed(&first.json()), owned(&[("a1", true)]));
            let before = cluster.revision();
            let again = send(path, &body).await;
            assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &first.body));
            assert_eq!(send(path, &json!({"all": true})).await.status, 422, "another request with the key");
            assert_eq!(cluster.revision(), before);
        }
        // What was refused is decided anew.
        let all = json!({"all": true});
        let send = || cluster.rest().post("/api/v1/drains").header("idempotency-key", "all").json(all.clone()).into_future();
        assert_eq!(send().await.status, 409);
        cluster.beat("a1", json!({"incarnation": 1, "vms": []})).await;
        cluster.beat("a2", json!({"incarnation": 1, "vms": []})).await;
        assert_eq!(send().await.json()["total_changed"], 4);
    }

    async fn filters_are_of_the_moment_at_which_the_drain_is_decided(cluster: TestCluster) {
        furnish(&cluster).await;
        cluster.rest().post("/api/v1/workers/a2/drain").await;
        let active = drain(&cluster, json!({"filter": {"statuses": ["active"], "zones": ["a"]}})).await.json();
        assert_eq!(changed(&active), owned(&[("a1", true)]));
        assert_eq!(active["plan"]["vms_of_other_drains"], 1);
        let draining = activate(&cluster, json!({"filter": {"statuses": ["draining"]}})).await.json();
        assert_eq!(changed(&draining), owned(&[("a1", true), ("a2", true)]));
        let payload = cluster.graphql(r#"mutation { drainWorkers(input: {filter: {zones: ["a"]}, reason: "r", deadline: "2h"}) {
            dryRun totalChanged workers { changed worker { id status drain { reason deadlineAt } } } plan { fits } cursor revision
        } }"#).await["drainWorkers"].take();
        let worker = |id: &str| json!({"changed": true, "worker": {
            "id": id, "status": "DRAINING", "drain": {"reason": "r", "deadlineAt": "2025-11-02T12:00:00Z"},
        }});
        assert_eq!(payload, json!({
            "dryRun": false, "totalChanged": 2, "workers": [worker("a1"), worker("a2")], "plan": {"fits": true},
            "cursor": payload["cursor"], "revision": cluster.revision(),
        }));
        let activated = cluster.graphql("mutation { activateWorkers(input: {all: true}) { totalChanged workers { changed } } }").await;
        let changed = [true, true, false, false].map(|changed| json!({"changed": changed}));
        assert_eq!(activated["activateWorkers"], json!({"totalChanged": 2, "workers": changed}));
    }
}
