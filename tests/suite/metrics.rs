//! What is scraped: that it is written as Prometheus reads it, agrees with what REST tells, and does not grow with the fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::*;

const METRICS: &str = "/metrics";
const WORKERS: &str = "/metrics/workers";

/// What `Accept` of a Prometheus says.
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// The samples of a scrape, each with its labels as they are written.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(cluster: &TestCluster) -> Self {
        Self::at(cluster, METRICS).await
    }

    async fn at(cluster: &TestCluster, path: &str) -> Self {
        let answer = cluster.rest().get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self::read(&answer.body)
    }

    fn read(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(samples.insert(sample.to_owned(), value), None, "twice: {line}");
        }
        Self(samples)
    }

    /// One sample; 0 if there is none.
    fn value(&self, sample: &str) -> f64 {
        self.0.get(sample).copied().unwrap_or_default()
    }

    /// The sum of the samples of a name that have this label.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let samples = self.0.iter().filter(|(sample, _)| sample.starts_with(&format!("{name}{{")));
        samples.filter(|(sample, _)| sample.contains(label)).map(|(_, value)| value).sum()
    }
}

/// A cluster with something of everything in it.
async fn populate(cluster: &TestCluster) {
    cluster
        .add([
            worker("gone").zone("a").vms([vm("vm-g")]).silent_for(minutes(5)),
            worker("w1").zone("a").vms([vm("vm-1"), vm("vm-2").status("stopped"), vm("vm-3").status("failed")]),
            worker("w2")
                .zone("b \"quoted\"\\")
                .cpu(8)
                .memory_mb(4_096)
                .vms([vm("vm-4"), vm("vm-1").status("starting")]),
            worker("w3").cpu(4).max_vms(3),
        ])
        .await;
    let rest = cluster.rest();
    assert_eq!(rest.post("/api/v1/workers/w2/drain").json(json!({"deadline_seconds": 60})).await.status, 200);
    assert_eq!(rest.post("/api/v1/reservations").json(json!({"vcpus": 1, "memory_mb": 1})).await.status, 201);
}

on_both_databases! {
    async fn gauges_of_the_cluster_are_what_rest_tells(cluster: TestCluster) {
        populate(&cluster).await;
        let (scrape, rest) = (Scrape::of(&cluster).await, cluster.rest());
        let stats = rest.get("/api/v1/cluster/stats").await.json();
        let vms = rest.get("/api/v1/cluster/vm-counts").await.json();
        const MIB: f64 = 1_048_576.0;
        let figure = |value: &Value| value.as_f64().unwrap();
        for (status, key) in [("active", "active_workers"), ("draining", "draining_workers"), ("offline", "offline_workers")] {
            let counted = scrape.sum("aetherium_workers", &format!("status=\"{status}\""));
            assert_eq!(counted, figure(&stats[key]), "{key}");
        }
        for (name, unit, total, used, schedulable) in [
            ("aetherium_cpu_cores", 1.0, "total_cpu_cores", "used_cpu_cores", "schedulable_cpu_cores"),
            ("aetherium_memory_bytes", MIB, "total_memory_mb", "used_memory_mb", "schedulable_memory_mb"),
        ] {
            for (kind, key) in [("total", total), ("used", used), ("schedulable", schedulable)] {
                let counted = scrape.sum(name, &format!("kind=\"{kind}\""));
                assert_eq!(counted, figure(&stats[key]) * unit, "{name} {kind}");
            }
        }
        assert_eq!(scrape.sum("aetherium_vm_slots", "kind=\"total\""), figure(&stats["max_vms"]));
        assert_eq!(scrape.sum("aetherium_vm_slots", "kind=\"schedulable\""), figure(&stats["schedulable_vm_slots"]));
        for status in ["created", "starting", "running", "stopping", "stopped", "failed"] {
            let counted = scrape.value(&format!("aetherium_vms{{status=\"{status}\"}}"));
            assert_eq!(counted, figure(&vms[status]), "{status}");
        }
        let zones = rest.get("/api/v1/cluster/zones").await.json();
        for zone in zones["zones"].as_array().unwrap() {
            let name = zone["name"].as_str().unwrap().replace('\\', "\\\\").replace('"', "\\\"");
            let counted = scrape.value(&format!("aetherium_cpu_cores{{zone=\"{name}\",kind=\"total\"}}"));
            assert_eq!(counted, figure(&zone["cpu_cores"]), "{zone}");
        }
        assert_eq!(scrape.value("aetherium_revision"), figure(&stats["revision"]));
        assert_eq!(scrape.value("aetherium_duplicate_vms"), 1.0);
        assert_eq!(scrape.value("aetherium_reservations"), 1.0);
        assert_eq!(scrape.value("aetherium_drains{state=\"draining\"}"), 1.0);
        cluster.advance(minutes(2));
        let later = Scrape::of(&cluster).await;
        assert_eq!(later.value("aetherium_drains{state=\"overdue\"}"), 1.0);
        assert_eq!(later.sum("aetherium_workers", "status=\"offline\""), 4.0);
    }

    async fn both_formats_have_the_same_samples(cluster: TestCluster) {
        populate(&cluster).await;
        for path in [METRICS, WORKERS] {
            let plain = cluster.rest().get(path).await;
            let open = cluster.rest().get(path).header("accept", OPEN_METRICS).await;
            assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
            assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
            assert!(open.body.ends_with("\n# EOF\n") && !plain.body.contains("# EOF"), "{path}");
            let names = |text: &str| Scrape::read(text).0.into_keys().collect::<BTreeSet<_>>();
            // The second is a request more, whose route the first has not been told of.
            // Of buckets, `le` is the first label in one format and the last in the other.
            let own = |sample: &String| !sample.contains("route=\"/metrics") && !sample.contains("_bucket{");
            let (plain, open) = (names(&plain.body), names(&open.body));
            assert_eq!(plain.iter().filter(|it| own(it)).collect::<Vec<_>>(), open.iter().filter(|it| own(it)).collect::<Vec<_>>());
        }
        // In OpenMetrics, a family of counters is called without what its samples end with.
        let open = cluster.rest().get(METRICS).header("accept", OPEN_METRICS).await.body;
        let plain = cluster.rest().get(METRICS).await.body;
        assert!(open.contains("\n# TYPE aetherium_heartbeats counter\n"), "{open}");
        assert!(plain.contains("\n# TYPE aetherium_heartbeats_total counter\n"), "{plain}");
    }

    async fn requests_are_counted_by_their_route_whatever_is_in_their_path(cluster: TestCluster) {
        populate(&cluster).await;
        let rest = cluster.rest();
        for id in 0..50 {
            assert_eq!(rest.get(&format!("/api/v1/workers/nobody-{id}")).await.status, 404);
            assert_eq!(rest.get(&format!("/nowhere/{id}")).await.status, 404);
        }
        assert_eq!(rest.get("/api/v1/workers/w1").await.status, 200);
        assert_eq!(rest.ask("BREW", "/api/v1/workers/w1").await.status, 405);
        let scrape = Scrape::of(&cluster).await;
        let requests = |labels: &str| scrape.value(&format!("aetherium_http_requests_total{{{labels}}}"));
        assert_eq!(requests(r#"route="/api/v1/workers/{id}",method="GET",code="404""#), 50.0);
        assert_eq!(requests(r#"route="/api/v1/workers/{id}",method="GET",code="200""#), 1.0);
        assert_eq!(requests(r#"route="/api/v1/workers/{id}",method="other",code="405""#), 1.0);
        assert_eq!(requests(r#"route="unknown",method="GET",code="404""#), 50.0);
        let count = r#"aetherium_http_request_duration_seconds_count{route="/api/v1/workers/{id}",method="GET"}"#;
        assert_eq!(scrape.value(count), 51.0);
        let text = cluster.rest().get(METRICS).await.body;
        assert!(!text.contains("nobody-") && !text.contains("nowhere"), "{text}");
    }

    async fn what_became_of_heartbeats_is_counted(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let beat = |incarnation: u64, sequence: u64| json!({"incarnation": incarnation, "sequence": sequence});
        for (id, beat, status) in [
            ("w1", beat(1, 7), 200), ("w1", beat(1, 3), 200), ("w1", beat(2, 8), 404), ("w9", beat(1, 1), 404),
            ("w1", json!({"incarnation": 1, "sequence": -1}), 400),
        ] {
            let answer = cluster.beat(id, beat).await;
            assert_eq!(answer.status, status, "{}", answer.body);
        }
        let heartbeats = json!({"heartbeats": [
            {"worker_id": "w1", "incarnation": 1, "sequence": 9}, {"worker_id": "w9", "incarnation": 1},
        ]});
        for _ in 0..2 {
            let many = cluster.rest().post("/api/v1/heartbeats").header("idempotency-key", "k").json(heartbeats.clone()).await;
            assert_eq!(many.status, 200, "{}", many.body);
        }
        let scrape = Scrape::of(&cluster).await;
        for (result, count) in [
            ("recorded", 3.0), ("late", 1.0), ("conflict", 3.0), ("invalid", 1.0), ("replayed", 2.0), ("shed", 0.0), ("unavailable", 0.0),
        ] {
            let counted = scrape.value(&format!("aetherium_heartbeats_total{{result=\"{result}\"}}"));
            assert_eq!(counted, count, "{result}");
        }
        assert_eq!(scrape.value("aetherium_journal_queue_length{lane=\"workers\"}"), 0.0);
        let commits = scrape.value("aetherium_journal_commit_duration_seconds_count");
        assert_eq!(commits, scrape.value("aetherium_journal_batch_size_count"));
        assert!(commits >= 4.0, "{commits}");
    }

    async fn denied_heartbeats_are_counted_in_both_protocols(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let (viewer, other) = (cluster.token(role_token("viewer")).await, cluster.token(worker_token("w2")).await);
        let denied = async || {
            let scrape = Scrape::read(&cluster.holder(&viewer).get(METRICS).await.body);
            scrape.value("aetherium_heartbeats_total{result=\"denied\"}")
        };
        assert_eq!(denied().await, 0.0);
        let mutation = r#"mutation { recordHeartbeat(input: {workerId: "w1", incarnation: 1}) { revision } }"#;
        let one = json!({"incarnation": 1});
        let many = json!({"heartbeats": [{"worker_id": "w1", "incarnation": 1}]});
        let mut expected = 0.0;
        for token in [&viewer, &other] {
            let rest = cluster.holder(token);
            for (path, key, body) in [
                ("/api/v1/workers/w1/heartbeat", None, &one),
                ("/api/v1/workers/w1/heartbeat", Some("k1"), &one),
                ("/api/v1/heartbeats", None, &many),
                ("/api/v1/heartbeats", Some("k2"), &many),
                ("/graphql", None, &json!({"query": mutation})),
            ] {
                let ask = key.into_iter().fold(rest.post(path), |ask, key| ask.header("idempotency-key", key));
                let answer = ask.json(body.clone()).await;
                let is_refused = answer.status == 403 || answer.body.contains("FORBIDDEN") || answer.body.contains("403");
                assert!(is_refused, "{path}: {}", answer.body);
                expected += 1.0;
                assert_eq!(denied().await, expected, "{path} {key:?}: {}", answer.body);
            }
        }
    }

    async fn heartbeats_that_are_refused_for_load_are_counted(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let (held, cluster) = cluster.restart_without_commits().await;
        let mut waiting = Vec::new();
        let shed = async {
            loop {
                let beats: Vec<_> = (0..1_000).map(|_| json!({"worker_id": "w1", "incarnation": 1})).collect();
                let sent = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": beats})).into_future();
                waiting.push(tokio::spawn(sent));
                tokio::task::yield_now().await;
                if Scrape::of(&cluster).await.value("aetherium_heartbeats_total{result=\"shed\"}") > 0.0 {
                    break;
                }
            }
        };
        in_time(shed).await;
        held.release();
        for answer in waiting {
            assert!([200, 503].contains(&in_time(answer).await.unwrap().status));
        }
    }

    async fn refused_documents_are_counted_by_why(cluster: TestCluster) {
        for query in [
            json!({"query": "{ workers {"}), json!({"query": "{ nothing }"}), json!({"query": "query A { vms { id } }", "operationName": "B"}),
            json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0".repeat(64)}}}),
            json!({"query": format!("{{ {} }}", (0..1_000).map(|n| format!("a{n}: health {{ status }} ")).collect::<String>())}),
            json!({"query": "{ health { status } }"}),
        ] {
            cluster.rest().post("/graphql").json(query).await;
        }
        let scrape = Scrape::of(&cluster).await;
        for (reason, count) in [
            ("parse", 1.0), ("validation", 1.0), ("variables", 1.0), ("persisted_query_not_found", 1.0), ("too_complex", 1.0), ("other", 0.0),
        ] {
            let counted = scrape.value(&format!("aetherium_graphql_rejected_total{{reason=\"{reason}\"}}"));
            assert_eq!(counted, count, "{reason}");
        }
    }

    async fn streams_are_counted_while_they_are_open(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let open = async |count: f64| {
            let counted = async {
                while Scrape::of(&cluster).await.value("aetherium_subscriptions") != count {
                    tokio::task::yield_now().await;
                }
            };
            in_time(counted).await;
        };
        open(0.0).await;
        let accept = [("accept", "application/x-ndjson")];
        let mut events = HttpStream::get(&port.authority(), "/api/v1/events", &accept).await;
        assert!(events.next_line().await.unwrap().is_some());
        open(1.0).await;
        let after = [("accept", "application/x-ndjson"), ("last-event-id", "odd")];
        let odd = HttpStream::get(&port.authority(), "/api/v1/events", &after).await;
        assert_eq!(odd.status, 400);
        open(1.0).await;
        drop(events);
        open(0.0).await;
    }

    async fn refused_callers_are_counted_by_why(cluster: TestCluster) {
        let token = cluster.token(role_token("viewer")).await;
        for (authorization, status) in [
            (None, 401), (Some("Bearer x"), 401), (Some("Bearer x"), 401), (Some(token.bearer().as_str()), 200),
        ] {
            let ask = cluster.rest().get(METRICS);
            let ask = authorization.into_iter().fold(ask, |ask, value| ask.header("authorization", value));
            assert_eq!(ask.await.status, status, "{authorization:?}");
        }
        let scrape = Scrape::read(&cluster.holder(&token).get(METRICS).await.body);
        for (reason, count) in [("missing", 1.0), ("malformed", 2.0), ("expired", 0.0)] {
            let counted = scrape.value(&format!("aetherium_auth_failures_total{{reason=\"{reason}\"}}"));
            assert_eq!(counted, count, "{reason}");
        }
    }

    async fn an_outage_is_seen(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        assert_eq!(Scrape::of(&cluster).await.value("aetherium_commits_up"), 1.0);
        db.execute("ALTER TABLE worker RENAME TO mislaid").await;
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 503);
        let scrape = Scrape::of(&cluster).await;
        assert_eq!(scrape.0.get("aetherium_commits_up"), Some(&0.0));
        assert_eq!(scrape.0.get("aetherium_database_up"), Some(&1.0));
        assert!(scrape.value("aetherium_journal_commit_failures_total") > 0.0);
        assert_eq!(scrape.sum("aetherium_workers", "status=\"active\""), 1.0);
        db.execute("ALTER TABLE mislaid RENAME TO worker").await;
    }

    async fn the_rows_of_the_change_log_are_told_once_they_are_counted(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        assert_eq!(Scrape::of(&cluster).await.0.get("aetherium_event_log_rows"), None);
        let pruner = cluster.server().retention_pruner();
        let counted = async || Scrape::of(&cluster).await.value("aetherium_event_log_rows");
        pruner.prune().await.unwrap();
        let rows = cluster.history().await.len() as f64;
        assert_eq!(counted().await, rows);
        // To count is to read an index of all of them: not with each pruning.
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let more = cluster.history().await.len() as f64;
        assert!(more > rows);
        for (passed, expected) in [(minutes(1), rows), (minutes(13), rows), (minutes(1), more)] {
            cluster.advance(passed);
            pruner.prune().await.unwrap();
            assert_eq!(counted().await, expected);
        }
    }

    async fn a_suspected_partition_is_told(cluster: TestCluster) {
        cluster.add((0..12).map(|number| worker(&format!("w{number:02}")))).await;
        let braked = async || Scrape::of(&cluster).await.value("aetherium_announcements_braked");
        assert_eq!(braked().await, 0.0);
        // Past the grace of the start; then all are silent at once.
        cluster.advance(seconds(61));
        assert_eq!(cluster.sweep().await, 0);
        assert_eq!(braked().await, 1.0);
        assert_eq!(cluster.beat("w00", json!({"incarnation": 1})).await.status, 200);
        cluster.sweep().await;
        assert_eq!(braked().await, 0.0);
    }

    async fn series_of_workers_are_what_rest_tells(cluster: TestCluster) {
        populate(&cluster).await;
        let scrape = Scrape::at(&cluster, WORKERS).await;
        let workers = cluster.rest().get("/api/v1/workers").await.json();
        for worker in workers["workers"].as_array().unwrap() {
            let figure = |key: &str| worker[key].as_f64().unwrap();
            let escaped = |key: &str| worker[key].as_str().unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"");
            let labels = format!("worker=\"{}\",zone=\"{}\"", escaped("id"), escaped("zone"));
            let value = |name: &str, more: &str| scrape.0.get(&format!("aetherium_worker_{name}{{{labels}{more}}}")).copied();
            assert_eq!(value("up", ""), Some(f64::from(u8::from(worker["is_healthy"] == true))), "{worker}");
            assert_eq!(value("cpu_cores", ",kind=\"total\""), Some(figure("cpu_cores")));
            assert_eq!(value("memory_bytes", ",kind=\"used\""), Some(figure("used_memory_mb") * 1_048_576.0));
            assert_eq!(value("vm_slots", ",kind=\"used\""), Some(figure("vm_count")));
            let info = format!(",hostname=\"{}\",address=\"{}\"", escaped("hostname"), escaped("address"));
            assert_eq!(value("info", &info), Some(1.0), "{worker}");
        }
        assert_eq!(scrape.value("aetherium_worker_draining{worker=\"w2\",zone=\"b \\\"quoted\\\"\\\\\"}"), 1.0);
    }
}

/// More workers than one chunk has, and a number that the chunks divide.
#[tokio::test]
async fn every_worker_has_its_series_however_many_there_are() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    for count in [0, 500, 1_000, 1_001] {
        let known = cluster.rest().get("/api/v1/cluster/stats").await.json()["total_workers"].as_u64().unwrap();
        cluster.add((known..count).map(|number| worker(&format!("w{number:04}")).without_heartbeat())).await;
        let body = cluster.rest().get(WORKERS).await.body;
        let scrape = Scrape::read(&body);
        for name in ["info", "up", "draining", "last_heartbeat_timestamp_seconds", "disk_bytes"] {
            let series = scrape.0.keys().filter(|sample| sample.starts_with(&format!("aetherium_worker_{name}{{")));
            assert_eq!(series.count() as u64, count, "{name}");
            assert_eq!(body.matches(&format!("# TYPE aetherium_worker_{name} gauge\n")).count(), 1, "{name}");
        }
        let of_server = Scrape::of(&cluster).await.0.len();
        assert!(of_server < 400, "{of_server} series, whatever the fleet");
    }
}
