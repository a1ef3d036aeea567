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
    let mut rows = [0; 3];
    for (tier, rows) in rows.iter_mut().enumerate() {
        *rows = count(cluster, &format!("tier = {tier}")).await;
    }
    rows
}

/// How many rows of history meet a condition.
async fn count(cluster: &TestCluster, condition: &str) -> i64 {
    use sea_orm::{ConnectionTrait as _, Statement};
    let database = cluster.server().journal().database();
    let sql = format!("SELECT count(*) AS count FROM history WHERE {condition}");
    let row = database.readers().query_one_raw(Statement::from_string(database.backend(), sql)).await.unwrap();
    row.unwrap().try_get("", "count").unwrap()
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

    async fn a_wrong_argument_spoils_no_curve_beside_it(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        minute(&cluster, 3).await;
        let both = r#"{ a: worker(id: "w1") { history(rangeSeconds: 60, maxPoints: 2) { usedCpuCores { values } } }
            b: worker(id: "w2") { history(maxPoints: 1) { length } } }"#;
        let answer = cluster.graphql_answer(both, json!({})).await;
        assert_eq!(answer["data"]["a"]["history"]["usedCpuCores"]["values"][0], 3.0, "{answer}");
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{answer}");
        assert_eq!([&errors[0]["path"][0], &errors[0]["extensions"]["code"]], ["b", "INVALID_ARGUMENT"]);
    }

    async fn curves_are_those_that_are_selected_however_that_is_written(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let measured = json!({"load1": 0.5});
        cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 4, "measured": measured})).await;
        cluster.sample().await;
        cluster.advance(minutes(1));
        let told = cluster
            .graphql(
                r#"query { worker(id: "w1") {
                    history(rangeSeconds: 60, maxPoints: 2) { load: measuredLoad1 { values } ... { cpuCores { values } } }
                    history(rangeSeconds: 60, maxPoints: 2) { ...F diskGb @include(if: true) { __typename } }
                } } fragment F on History { usedCpuCores { values } workers { values } }"#,
            )
            .await;
        let first = |curve: &str| told["worker"]["history"][curve]["values"][0].clone();
        assert_eq!(["load", "cpuCores", "usedCpuCores"].map(first), [0.5, 16.0, 4.0], "{told}");
        assert_eq!(told["worker"]["history"]["diskGb"]["__typename"], "HistoryCurve");
        assert_eq!(told["worker"]["history"]["workers"], Value::Null);
    }

    async fn the_queries_of_the_pages_fit_the_limits(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        minute(&cluster, 3).await;
        let rows = "{ workersConnection(first: 500) { nodes { id history(rangeSeconds: 21600, maxPoints: 36) {
            cpuCores { values } usedCpuCores { values } measuredCpuCores { values } } } } }";
        let rows = cluster.graphql(rows).await;
        let used = &rows["workersConnection"]["nodes"][0]["history"]["usedCpuCores"]["values"];
        assert_eq!(present(used), [3.0]);
    }

    async fn a_worker_that_nobody_could_hear_yet_is_not_sampled_as_offline(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a"), worker("w2").zone("a")]).await;
        minute(&cluster, 3).await;
        cluster.advance(minutes(10));
        let cluster = cluster.restart().await;
        cluster.sample().await;
        cluster.advance(seconds(20));
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 200);
        cluster.sample().await;
        let online = async || {
            let of_cluster = cluster.rest().get("/api/v1/cluster/history?range_seconds=900").await.json();
            present(&of_cluster["online_workers"]["values"])
        };
        assert_eq!(online().await, [2.0], "of before");
        // The time in which they may be heard is over.
        cluster.advance(seconds(45));
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 200);
        cluster.sample().await;
        cluster.advance(minutes(1));
        assert_eq!(online().await, [2.0, 1.0]);
    }

    async fn rows_of_a_newer_version_stay_as_they_are(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for used in 1..=7 {
            minute(&cluster, used).await;
        }
        let is_postgres = cluster.takes_several_servers();
        let newer = if is_postgres { r"'\xfe0102'" } else { "x'fe0102'" };
        let mark = format!("UPDATE history SET points = {newer} WHERE subject = 'w:w1'");
        // With the rest of the window, this server has points of its own for that row.
        let cluster = cluster.restart_after(async |database: &TestDatabase| database.execute(&mark).await).await;
        for used in 8..=20 {
            minute(&cluster, used).await;
        }
        assert_eq!(used(&cluster).await, [16.0, 17.0, 18.0, 19.0, 20.0]);
        assert_eq!(count(&cluster, &format!("points = {newer}")).await, 1);
        // Nor is its day marked as summed up, or the row removed with those that are.
        for _ in 0..2 {
            cluster.advance(minutes(DAY));
            minute(&cluster, 1).await;
        }
        assert_eq!([count(&cluster, "tier = 1 AND start < 1762128000").await, count(&cluster, &format!("points = {newer}")).await], [0, 1]);
        // A newer server has summed it up, or somebody has removed it.
        cluster.database().execute(&format!("DELETE FROM history WHERE points = {newer}")).await;
        cluster.advance(minutes(15));
        minute(&cluster, 1).await;
        assert_eq!(count(&cluster, "tier = 1 AND start < 1762128000").await, 2, "of the worker and the cluster");
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
        // A load that is not sent any more is not known any more.
        cluster.advance(minutes(3));
        minute(&cluster, 1).await;
        assert_eq!(of_w1(&cluster, "?range_seconds=60").await["measured_load1"], Value::Null);
    }

    async fn a_measured_figure_out_of_its_range_is_not_known_and_the_heartbeat_counts(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        // Of 256 cores for half a year, and then what no host has.
        let leap = 256.0 * 4_000_000.0;
        for (busy, memory, load) in [
            (json!(leap), json!(1_000), json!(1.0)),
            (json!(leap + 60.0), json!(-1), json!(-1)),
            (json!(1e16), json!(i64::MAX), json!(1e300)),
            (json!(-1), json!(2_000), json!(2.0)),
        ] {
            let measured = json!({"cpu_busy_seconds": busy, "memory_used_mb": memory, "load1": load});
            let heard = cluster.beat("w1", json!({"incarnation": 1, "measured": measured})).await;
            assert_eq!(heard.status, 200, "{measured}: {}", heard.body);
            cluster.sample().await;
            cluster.advance(minutes(1));
        }
        let history = of_w1(&cluster, "?range_seconds=240").await;
        assert_eq!(history["measured_cpu_cores"]["values"], json!([null, 1.0, null, null]));
        assert_eq!(history["measured_memory_mb"]["values"], json!([1000.0, null, null, 2000.0]));
        assert_eq!(history["measured_load1"]["values"], json!([1.0, null, null, 2.0]));
        let beat = r#"mutation { recordHeartbeat(input: {workerId: "w1", incarnation: 1, measured: {cpuBusySeconds: -1, load1: 1e300}}) { policy } }"#;
        assert_eq!(cluster.graphql(beat).await["recordHeartbeat"]["policy"], "ACTIVE");
        let no_number = cluster.beat("w1", json!({"incarnation": 1, "measured": {"load1": "much"}})).await;
        assert_eq!(no_number.status, 400, "{}", no_number.body);
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

/// On PostgreSQL, from which a server may be cut off while others go on.
#[tokio::test]
async fn a_server_that_is_cut_off_samples_nothing() {
    TestDatabase::postgres()
        .await
        .run(async |db: TestDatabase| {
            let cluster = TestCluster::on(&db).await;
            cluster.add([worker("w1")]).await;
            minute(&cluster, 3).await;
            db.cut_off().await;
            let replication =
                async || cluster.rest().get("/api/v1/health").await.json()["components"]["replication"].take();
            let is = async |expected: &str| {
                while replication().await != expected {
                    tokio::task::yield_now().await;
                }
            };
            in_time(is("unavailable")).await;
            // Nobody has heard of w1 here for longer than it takes to count as offline.
            cluster.advance(minutes(2));
            cluster.sample().await;
            db.let_in().await;
            in_time(is("ok")).await;
            minute(&cluster, 4).await;
            let history = cluster.rest().get("/api/v1/cluster/history").await.json();
            assert_eq!(present(&history["online_workers"]["values"]), [1.0, 1.0]);
            assert_eq!(used(&cluster).await, [3.0, 4.0]);
        })
        .await;
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
            // The last window is written within a minute of its end, long before its day is summed up.
            cluster.advance(minutes(15));
            tokio::join!(cluster.write_history(), second.write_history(), third.write_history());
            // All sum up the day at once.
            cluster.advance(minutes(DAY - 15));
            tokio::join!(cluster.sample(), second.sample(), third.sample());
            let summed = of_w1(&third, "?since=2025-11-02T00:00:00Z&until=2025-11-03T00:00:00Z&max_points=1500").await;
            assert_eq!(present(&summed["used_cpu_cores"]["values"]), [7.0, 22.0, 34.5], "{}", summed["tier"]);
            assert_eq!(present(&summed["used_cpu_cores"]["max"]), [14.0, 29.0, 39.0]);
            assert_eq!(rows(&cluster).await[1], 3);
        })
        .await;
}
