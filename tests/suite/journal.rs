//! What is acknowledged is kept, whole, through a restart.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::*;

on_both_databases! {
    async fn everything_is_after_a_restart_as_it_was_before(cluster: TestCluster) {
        let odd = "\u{fc}\"\\ 'x'; \u{1f600}";
        cluster
            .add([
                worker("active")
                    .zone("a")
                    .registers("labels", json!({"env": "production", odd: odd}))
                    .registers("capabilities", json!(["firecracker", odd]))
                    .vms([vm("vm-1").name(odd), vm("vm-2").status("failed")]),
                worker("draining")
                    .zone("a")
                    .reports("used_cpu_cores", 7)
                    .reports("sequence", 5)
                    .vms([vm("vm-1"), vm("vm-3")]),
                worker("silent").zone(odd).vms([vm("vm-4")]).silent_for(minutes(2)),
                worker("left").vms([vm("vm-5")]),
                worker("restarted").vms([vm("vm-6")]),
                worker("purged"),
                worker("unheard").without_heartbeat(),
            ])
            .await;
        cluster.rest().post("/api/v1/workers/draining/drain").json(json!({"reason": odd})).await;
        cluster.rest().delete("/api/v1/workers/left").await;
        cluster.rest().put("/api/v1/workers/restarted").json(worker("restarted").registration()).await;
        cluster.rest().delete("/api/v1/workers/purged?purge=true").await;
        let before = (cluster.everything().await, cluster.history().await);

        let cluster = cluster.restart().await;
        assert_eq!((cluster.everything().await, cluster.history().await), before);

        // What does not show is there too.
        let late = cluster.beat("draining", json!({"incarnation": 1, "sequence": 5, "vms": []})).await.json();
        assert_eq!([&late["resync"], &late["policy"]], [&json!(false), &json!("draining")]);
        assert_eq!(cluster.beat("restarted", json!({"incarnation": 1})).await.status, 409);
        assert_eq!(cluster.beat("restarted", json!({"incarnation": 2})).await.json()["resync"], true);
        assert_eq!(cluster.beat("left", json!({"incarnation": 1})).await.status, 404);
    }

    async fn every_change_has_the_next_revision_and_what_changes_nothing_has_none(cluster: TestCluster) {
        cluster.add([worker("w1").reports("sequence", 1)]).await;
        assert_eq!(cluster.revision(), 2);
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        // Repeated, it is a sign of life once.
        for _ in 0..3 {
            cluster.beat("w1", json!({"incarnation": 1, "sequence": 1})).await;
        }
        cluster.beat("w1", json!({"incarnation": 9})).await;
        cluster.rest().post("/api/v1/workers/nobody/drain").await;
        cluster.rest().put("/api/v1/workers/w1").json(json!({})).await;
        assert_eq!(cluster.revision(), 4);
        cluster.beat("w1", json!({"incarnation": 1, "sequence": 2})).await;
        assert_eq!(cluster.revision(), 5);
        let cluster = cluster.restart().await;
        assert_eq!(cluster.revision(), 5);
    }

    async fn a_storm_of_registrations_is_all_there_after_a_restart(cluster: TestCluster) {
        let registrations = (0..500).map(|n| {
            let worker = worker(&format!("w{n}")).zone(&format!("z{}", n % 7));
            cluster.rest().put(&format!("/api/v1/workers/w{n}")).json(worker.registration()).into_future()
        });
        let answers = join_all(registrations).await;
        assert!(answers.iter().all(|answer| answer.status == 201));
        let before = cluster.everything().await;
        let cluster = cluster.restart().await;
        assert_eq!(cluster.everything().await, before);
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(cluster.worker(&format!("w{n}")).await, answer.json()["worker"]);
        }
    }

    async fn commands_of_every_kind_at_once_leave_what_a_restart_finds(cluster: TestCluster) {
        cluster.add((0..20).map(|n| worker(&format!("w{n}")).vms([vm(&format!("vm-{n}"))]))).await;
        for round in 0..5 {
            let commands = (0..100).map(|n| {
                let (rest, id) = (cluster.rest(), (n * 7 + round) % 20);
                let path = |rest: &str| format!("/api/v1/workers/w{id}{rest}");
                match (n + round) % 6 {
                    0 => rest.post(&path("/drain")),
                    1 => rest.post(&path("/activate")),
                    2 => rest.put(&path("")).json(worker(&format!("w{id}")).zone(&format!("z{n}")).registration()),
                    3 => rest.delete(&path(if n % 2 == 0 { "?purge=true&force=true" } else { "" })),
                    4 => rest.post(&path("/heartbeat")).json(json!({
                        "incarnation": 1 + n % 3,
                        "vms": [{"id": format!("vm-{}", n % 30)}, {"id": format!("vm-{}", n % 11)}],
                    })),
                    _ => rest.post(&path("/heartbeat")).json(json!({
                        "incarnation": 1 + n % 2,
                        "vms_delta": {"upsert": [{"id": format!("vm-{n}")}], "remove": [format!("vm-{id}")]},
                    })),
                }
                .into_future()
            });
            let statuses: Vec<u16> = join_all(commands).await.iter().map(|answer| answer.status).collect();
            assert!(statuses.iter().all(|status| [200, 201, 204, 404, 409].contains(status)), "{statuses:?}");
        }
        let before = (cluster.everything().await, cluster.history().await);
        let cluster = cluster.restart().await;
        assert_eq!((cluster.everything().await, cluster.history().await), before);
    }
}
