//! History: what is sampled each minute, for how long and how finely it is kept, and how it is asked for.

use serde_json::{Value, json};

use crate::harness::*;

/// A day, and the time from the start of a test to the month after it.
const DAY: u64 = 24 * 60;
const TO_NEXT_MONTH: u64 = 29 * DAY;

/// Reports CPU cores in use, samples, and lets a minute pass.
async fn minute(cluster: &TestCluster, used: u32) {
    assert_eq!(cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": used})).await.status, 200);
    cluster.sample().await;
    cluster.advance(minutes(1));
}

/// The history of w1.
async fn of_w1(cluster: &TestCluster, query: &str) -> Value {
    let answer = cluster.rest().get(&format!("/api/v1/workers/w1/history{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The samples of w1's allocated cores that there are, of the last hours.
async fn used(cluster: &TestCluster) -> Vec<f64> {
    present(&of_w1(cluster, "?range_seconds=18000&max_points=1500").await["used_cpu_cores"]["values"])
}

fn present(values: &Value) -> Vec<f64> {
    values.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// How many rows of history the database has, by tier.
async fn rows(cluster: &TestCluster) -> [i64; 3] {
    use sea_orm::{ConnectionTrait as _, Statement};
    let database = cluster.server().journal().database();
    let mut rows = [0; 3];
    for (tier, count) in rows.iter_mut().enumerate() {
        let sql = format!("SELECT count(*) AS count FROM history WHERE tier = {tier}");
        let row = database.readers().query_one_raw(Statement::from_string(database.backend(), sql)).await.unwrap();
        *count = row.unwrap().try_get("", "count").unwrap();
    }
    rows
}

on_both_databases! {
    async fn a_curve_reaches_up_to_the_last_minute_and_has_gaps_where_nothing_is_known(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1"), vm("vm-2")])]).await;
        let nothing = of_w1(&cluster, "").await;
        assert_eq!([&nothing["used_cpu_cores"], &nothing["tier"]], [&Value::Null, &json!("minute")]);
        for used in [0, 4] {
            minute(&cluster, used).await;
        }
        // Silent for two samples.
        cluster.advance(seconds(1));
        for _ in 0..2 {
            cluster.sample().await;
            cluster.advance(minutes(1));
        }
        minute(&cluster, 6).await;
        let range = "?since=2025-11-02T10:01:00Z&until=2025-11-02T10:05:00Z";
        let history = of_w1(&cluster, range).await;
        assert_eq!(history["start"], "2025-11-02T10:01:00Z");
        assert_eq!(history["end"], "2025-11-02T10:05:00Z");
        assert_eq!([&history["step_seconds"], &history["length"]], [60, 4]);
        assert_eq!(history["used_cpu_cores"], json!({"values": [4.0, null, null, 6.0], "min": null, "max": null}));
        assert_eq!(history["vm_count"]["values"], json!([2.0, null, null, 2.0]));
        assert_eq!(history["memory_mb"]["values"], json!([32768.0, null, null, 32768.0]));
        assert_eq!(history["measured_cpu_cores"], Value::Null);
        assert_eq!(used(&cluster).await, [0.0, 4.0, 6.0], "absent is not 0");
        let of_zone = cluster.rest().get(&format!("/api/v1/zones/a/history{range}")).await.json();
        assert_eq!(of_zone["used_cpu_cores"]["values"], json!([4.0, 4.0, 4.0, 6.0]), "as `zones` has it");
        assert_eq!(of_zone["online_workers"]["values"], json!([1.0, 0.0, 0.0, 1.0]));
        let of_cluster = cluster.rest().get(&format!("/api/v1/cluster/history{range}")).await.json();
        assert_eq!(of_cluster["used_cpu_cores"], of_zone["used_cpu_cores"]);
        assert_eq!(of_cluster["workers"]["values"], json!([1.0, 1.0, 1.0, 1.0]));
    }

    async fn a_spike_of_one_minute_is_still_there_after_a_year(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a")]).await;
        for used in [2, 2, 14, 2] {
            minute(&cluster, used).await;
        }
        // Together they are points of a few minutes.
        let few = of_w1(&cluster, "?range_seconds=600&max_points=3").await;
        assert_eq!([&few["tier"], &few["step_seconds"]], [&json!("minute"), &json!(300)]);
        assert_eq!(few["used_cpu_cores"], json!({"values": [null, null, 5.0], "min": [null, null, 2.0], "max": [null, null, 14.0]}));
        // Not summed up yet: quarters of an hour are made of the samples, and so are six hours.
        for (days, tier) in [(2, "quarter_hour"), (300, "six_hours")] {
            let seconds = days * DAY * 60;
            let history = of_w1(&cluster, &format!("?range_seconds={seconds}&max_points=1500")).await;
            assert_eq!(history["tier"], tier);
            assert_eq!(present(&history["used_cpu_cores"]["max"]), [14.0]);
            assert_eq!(present(&history["used_cpu_cores"]["min"]), [2.0]);
            assert_eq!(present(&history["used_cpu_cores"]["values"]), [5.0]);
        }
        let mut passed = 0;
        for (until, tier) in [(DAY, "minute"), (3 * DAY, "quarter_hour"), (TO_NEXT_MONTH + DAY, "quarter_hour"), (380 * DAY, "six_hours")] {
            cluster.advance(minutes(until - passed));
            passed = until;
            cluster.sample().await;
            for subject in ["workers/w1", "zones/a", "cluster"] {
                let path = format!("/api/v1/{subject}/history?since=2025-11-02T09:30:00Z&until=2025-11-02T11:00:00Z&max_points=1500");
                let history = cluster.rest().get(&path).await.json();
                assert_eq!(history["tier"], tier, "{subject} after {until} minutes");
                let used = &history["used_cpu_cores"];
                let of_points = if tier == "minute" { "values" } else { "max" };
                assert_eq!(present(&used[of_points]).into_iter().fold(0.0, f64::max), 14.0, "{subject} {until}: {used}");
                if tier != "minute" {
                    assert_eq!([&used["values"], &used["min"]].map(present), [vec![5.0], vec![2.0]]);
                }
            }
        }
        let [minutes_left, quarters_left, six_hours] = rows(&cluster).await;
        assert_eq!([minutes_left, quarters_left], [0, 0], "what is summed up and old is removed");
        assert!(six_hours > 0);
        cluster.advance(minutes(60 * DAY));
        cluster.sample().await;
        let gone = cluster.rest().get("/api/v1/workers/w1/history?until=2025-11-02T11:00:00Z").await;
        gone.assert_failure(400, "until is before all that is kept, which is 397 days");
        let all = of_w1(&cluster, "?range_seconds=34300800").await;
        assert_eq!(all["used_cpu_cores"], Value::Null, "nothing else was sampled while the worker was offline");
    }

    async fn a_restart_goes_on_with_the_window_and_loses_nothing(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for used in 1..=7 {
            minute(&cluster, used).await;
        }
        let cluster = cluster.restart().await;
        assert_eq!(used(&cluster).await, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        for used in 8..=20 {
            minute(&cluster, used).await;
        }
        let expected: Vec<_> = (1..=20).map(f64::from).collect();
        assert_eq!(used(&cluster).await, expected);
        let cluster = cluster.restart().await;
        cluster.sample().await;
        assert_eq!(used(&cluster).await, expected);
    }

    async fn a_crash_loses_at_most_a_quarter_of_an_hour(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for used in 1..=29 {
            minute(&cluster, used).await;
        }
        // Whatever the server has in memory only is not in the copy, or known to the other server.
        let after = if cluster.takes_several_servers() {
            cluster.another_server().await
        } else {
            let database = cluster.database();
            let copy = database.copy_of(&database.back_up().await).await;
            TestCluster::by_clock(&copy, cluster.clock()).await
        };
        assert_eq!(used(&after).await, (1..=15).map(f64::from).collect::<Vec<_>>());
        minute(&after, 30).await;
        assert_eq!(used(&after).await, (1..=15).chain([30]).map(f64::from).collect::<Vec<_>>());
    }

    async fn what_is_asked_wrongly_is_refused_and_named(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a")]).await;
        for (query, arguments, sentence) in [
            ("max_points=0", "maxPoints: 0", "max_points must be from 2 to 1500, not 0"),
            ("max_points=100000", "maxPoints: 100000", "max_points must be from 2 to 1500, not 100000"),
            ("max_points=-5", "maxPoints: -5", "max_points must be from 2 to 1500, not -5"),
            ("range_seconds=59", "rangeSeconds: 59", "range_seconds must be from 60 to 34300800, not 59"),
            ("range_seconds=34300801", "rangeSeconds: 34300801", "range_seconds must be from 60 to 34300800, not 34300801"),
            (
                "since=2025-11-02T09:00:00Z&until=2025-11-02T08:00:00Z",
                r#"since: "2025-11-02T09:00:00Z", until: "2025-11-02T08:00:00Z""#,
                "since must be before `until`, and in the past",
            ),
            ("since=2031-01-01T00:00:00Z", r#"since: "2031-01-01T00:00:00Z""#, "since must be before `until`, and in the past"),
        ] {
            for subject in ["workers/w1", "zones/a", "cluster"] {
                let refused = cluster.rest().get(&format!("/api/v1/{subject}/history?{query}")).await;
                refused.assert_failure(400, sentence);
            }
            for question in [
                format!("{{ worker(id: \"w1\") {{ history({arguments}) {{ length }} }} }}"),
                format!("{{ zones {{ history({arguments}) {{ length }} }} }}"),
                format!("{{ clusterHistory({arguments}) {{ length }} }}"),
            ] {
                let error = &cluster.graphql_answer(&question, json!({})).await["errors"][0];
                assert_eq!(error["extensions"]["code"], "INVALID_ARGUMENT", "{question}: {error}");
            }
        }
        cluster.rest().get("/api/v1/workers/w9/history").await.assert_failure(404, "Worker not found: w9");
        cluster.rest().get("/api/v1/zones/b/history").await.assert_failure(404, "Zone not found: b");
        assert_eq!(cluster.graphql("{ zoneHistory(zone: \"b\") { length } }").await["zoneHistory"], Value::Null);
        assert_eq!(cluster.rest().get("/api/v1/cluster/history?range=60").await.status, 400, "a typo is not an hour");
    }

    async fn a_worker_that_was_purged_has_no_history_until_its_id_registers_again(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        minute(&cluster, 3).await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await.status, 204);
        cluster.sample().await;
        cluster.advance(minutes(1));
        cluster.rest().get("/api/v1/workers/w1/history").await.assert_failure(404, "Worker not found: w1");
        let registered = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        let beat = json!({"incarnation": registered.json()["incarnation"], "used_cpu_cores": 5});
        assert_eq!(cluster.beat("w1", beat).await.status, 200);
        cluster.sample().await;
        let values = &of_w1(&cluster, "?range_seconds=120").await["used_cpu_cores"]["values"];
        assert_eq!(*values, json!([3.0, null]));
        cluster.advance(minutes(1));
        assert_eq!(used(&cluster).await, [3.0, 5.0], "as its events, with a gap");
    }

    async fn measured_load_becomes_curves_and_nothing_else(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a"), worker("w2").zone("a")]).await;
        let before = cluster.worker("w1").await;
        // 1.5 cores, then the host starts anew, then 3 cores.
        for (busy, memory, load) in [(100.0, 1_000, 0.5), (190.0, 2_000, 1.25), (2.0, 2_000, 0.0), (182.0, 900, 2.5)] {
            let measured = json!({"cpu_busy_seconds": busy, "memory_used_mb": memory, "load1": load});
            assert_eq!(cluster.beat("w1", json!({"incarnation": 1, "measured": measured})).await.status, 200);
            cluster.sample().await;
            cluster.advance(minutes(1));
        }
        let history = of_w1(&cluster, "?range_seconds=240").await;
        assert_eq!(history["measured_cpu_cores"]["values"], json!([null, 1.5, null, 3.0]));
        assert_eq!(history["measured_memory_mb"]["values"], json!([1000.0, 2000.0, 2000.0, 900.0]));
        assert_eq!(history["measured_load1"]["values"], json!([0.5, 1.25, 0.0, 2.5]), "0 is not absent");
        let of_zone = cluster.rest().get("/api/v1/zones/a/history?range_seconds=240").await.json();
        assert_eq!(of_zone["measured_workers"]["values"], json!([1.0, 1.0, 1.0, 1.0]));
        assert_eq!(of_zone["measured_memory_mb"], history["measured_memory_mb"]);
        let after = cluster.worker("w1").await;
        let keys = |worker: &Value| worker.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&after), keys(&before));
        for (measured, sentence) in [
            (json!({"load1": -1}), "load1 must be from 0 to 1000000000, not -1"),
            (json!({"cpu_busy_seconds": 1e10}), "cpu_busy_seconds must be from 0 to 1000000000, not 10000000000"),
            (json!({"memory_used_mb": -1}), "memory_used_mb must be from 0 to 2147483647, not -1"),
        ] {
            let refused = cluster.beat("w1", json!({"incarnation": 1, "measured": measured})).await;
            refused.assert_failure(400, sentence);
        }
        // A load that is not sent any more is not known any more.
        cluster.advance(minutes(3));
        minute(&cluster, 1).await;
        assert_eq!(of_w1(&cluster, "?range_seconds=60").await["measured_load1"], Value::Null);
    }

    async fn answers_have_tags_and_move_on_by_the_minute(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        minute(&cluster, 3).await;
        let first = cluster.rest().get("/api/v1/workers/w1/history").await;
        let again = cluster.rest().get("/api/v1/workers/w1/history").header("if-none-match", first.header("etag").unwrap()).await;
        assert_eq!(again.status, 304);
        minute(&cluster, 3).await;
        let later = cluster.rest().get("/api/v1/workers/w1/history").header("if-none-match", first.header("etag").unwrap()).await;
        assert_eq!(later.status, 200);
    }
}

/// On PostgreSQL, which several servers may share.
#[tokio::test]
async fn three_servers_write_one_history() {
    TestDatabase::postgres()
        .await
        .run(async |cluster: TestCluster| {
            cluster.add([worker("w1").zone("a")]).await;
            let second = cluster.another_server().await;
            let third = cluster.another_server().await;
            let beat =
                |measured: Value, used: u64| json!({"incarnation": 1, "used_cpu_cores": used, "measured": measured});
            for number in 0..40_u64 {
                // The balancer sends heartbeats to each by turns: only that one knows what was measured.
                let servers = [&cluster, &second, &third];
                let hears = servers[(number % 3) as usize];
                let measured = json!({"load1": 2.0, "memory_used_mb": 100 + number});
                assert_eq!(hears.beat("w1", beat(measured, number)).await.status, 200);
                for server in servers {
                    server.rest().get(&format!("/api/v1/workers?min_revision={}", hears.revision())).await;
                }
                // The third is started in the middle of a window; the second ends in the middle of one.
                cluster.sample().await;
                if number < 22 {
                    second.sample().await;
                }
                if number > 5 {
                    third.sample().await;
                }
                cluster.advance(minutes(1));
            }
            let expected: Vec<_> = (0..40).map(f64::from).collect();
            for server in [&cluster, &second, &third] {
                // A window that is written is the same for all.
                let until = "?since=2025-11-02T10:00:00Z&until=2025-11-02T10:30:00Z";
                let history = of_w1(server, until).await;
                assert_eq!(present(&history["used_cpu_cores"]["values"]), expected[..30]);
                let measured = present(&history["measured_load1"]["values"]);
                assert!(measured.iter().all(|load| *load == 2.0), "nothing is added up: {measured:?}");
                let known = |key: &str| present(&history[key]["values"]);
                assert_eq!(known("used_cpu_cores").len(), 30);
                assert_eq!(present(&history["measured_load1"]["values"]).len(), 30, "each server knew some of it");
                let of_zone = server.rest().get(&format!("/api/v1/zones/a/history{until}")).await.json();
                assert_eq!(present(&of_zone["workers"]["values"]), [1.0; 30]);
            }
            assert_eq!(
                rows(&cluster).await,
                [2 * 3, 0, 0],
                "a row of each window of the worker, the zone and the cluster"
            );
            let quarter = of_w1(&cluster, "?range_seconds=172800&max_points=1500").await;
            assert_eq!(quarter["tier"], "quarter_hour");
            assert_eq!(present(&quarter["used_cpu_cores"]["values"]), [7.0, 22.0, 34.5], "the means, of nothing twice");
            // All sum up the day at once.
            cluster.advance(minutes(DAY));
            tokio::join!(cluster.sample(), second.sample(), third.sample());
            let summed = of_w1(&third, "?since=2025-11-02T00:00:00Z&until=2025-11-03T00:00:00Z&max_points=1500").await;
            assert_eq!(present(&summed["used_cpu_cores"]["values"]), [7.0, 22.0, 34.5], "{}", summed["tier"]);
            assert_eq!(present(&summed["used_cpu_cores"]["max"]), [14.0, 29.0, 39.0]);
            assert_eq!(rows(&cluster).await[1], 3);
        })
        .await;
}
