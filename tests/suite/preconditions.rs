//! A condition that comes with a request is looked at by every route that writes, and by its twin in GraphQL; a host is
//! named once; numbers mean the same in both protocols; what is kept for fleets displaces nothing of operators.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::*;

/// Every way in REST to change a worker.
const COMMANDS: [(&str, &str); 5] =
    [("POST", "/drain"), ("POST", "/activate"), ("PUT", ""), ("DELETE", ""), ("DELETE", "?purge=true")];

/// Such a command, with a condition.
async fn command(
    cluster: &TestCluster,
    (method, path): (&str, &str),
    id: &str,
    header: &'static str,
    tag: &str,
) -> Answer {
    let ask = cluster.rest().ask(method, &format!("/api/v1/workers/{id}{path}")).header(header, tag);
    if method == "PUT" { ask.json(worker(id).zone("new").registration()).await } else { ask.await }
}

/// A worker that was registered, drained and heard of: its tag as it is, its tag before the drain, and the revision of
/// it.
async fn decided(cluster: &TestCluster) -> (String, String, Value) {
    let tag = async || cluster.rest().get("/api/v1/workers/w1").await.header("etag").unwrap().to_owned();
    cluster.add([worker("w1").zone("a")]).await;
    let before = tag().await;
    cluster.rest().post("/api/v1/workers/w1/drain").await;
    let revision = json!(cluster.revision());
    cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm-1", "status": "stopped"}]})).await;
    (tag().await, before, revision)
}

on_both_databases! {
    async fn every_command_looks_at_its_condition(database: TestDatabase) {
        for what in COMMANDS {
            for (header, tag, status) in [
                ("if-match", "present", 200),
                ("if-match", "*", 200),
                ("if-match", "\"1\", present", 200),
                ("if-match", "past", 412),
                ("if-match", "\"stale\"", 412),
                ("if-match", "\"1\"", 412),
                ("if-match", "W/\"0-00\"", 412),
                ("if-match", "\"99999\"", 412),
                ("if-match", "stale", 400),
                ("if-match", "", 400),
                ("if-none-match", "past", 200),
                ("if-none-match", "\"stale\"", 200),
                ("if-none-match", "present", 412),
                ("if-none-match", "past, present", 412),
                ("if-none-match", "*", 412),
                ("if-none-match", "stale", 400),
            ] {
                let cluster = TestCluster::on(&database).await;
                let (present, past, revision) = decided(&cluster).await;
                let before = cluster.everything().await;
                let tag = tag.replace("present", &present).replace("past", &past);
                let answer = command(&cluster, what, "w1", header, &tag).await;
                if status == 200 {
                    assert!((200..300).contains(&answer.status), "{what:?} {header}: {tag}: {}", answer.body);
                } else {
                    assert_eq!(answer.status, status, "{what:?} {header}: {tag}: {}", answer.body);
                    answer.assert_house_shape();
                    assert_eq!(cluster.everything().await, before, "{what:?} {header}: {tag}");
                    if status == 412 {
                        let about = answer.json();
                        assert_eq!((&about["id"], &about["current_revision"]), (&json!("w1"), &revision), "{about}");
                    }
                }
                cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await;
                cluster.into_server().stop().await;
                database.execute("DELETE FROM event").await;
                database.execute("DELETE FROM worker").await;
                database.execute("DELETE FROM worker_tombstone").await;
                database.execute("UPDATE cluster SET revision = 0, events_pruned_through = 0").await;
            }
        }
    }

    async fn a_worker_that_is_not_there_matches_nothing(cluster: TestCluster) {
        for what in COMMANDS.into_iter().filter(|(method, _)| *method != "PUT") {
            for header in ["if-match", "if-none-match"] {
                let answer = command(&cluster, what, "w1", header, "*").await;
                answer.assert_failure(404, "Worker not found: w1");
            }
        }
        for tag in ["*", "\"1\""] {
            let answer = command(&cluster, ("PUT", ""), "w1", "if-match", tag).await;
            answer.assert_failure(412, "Worker w1 is not registered, and only a worker that is was to be changed.");
        }
        assert_eq!(cluster.rest().get("/api/v1/workers").await.json()["total"], 0);
        assert_eq!(command(&cluster, ("PUT", ""), "w1", "if-none-match", "*").await.status, 201);
        let again = command(&cluster, ("PUT", ""), "w1", "if-none-match", "*").await;
        let message = "Worker w1 is registered already, and only one that is not was to be registered or changed.";
        again.assert_failure(412, message);
    }

    async fn of_many_who_want_to_be_the_first_one_is(cluster: TestCluster) {
        let twin = if cluster.takes_several_servers() { Some(cluster.another_server().await) } else { None };
        let asks = (0..20).map(|n| {
            let cluster = if n % 2 == 0 { &cluster } else { twin.as_ref().unwrap_or(&cluster) };
            command(cluster, ("PUT", ""), "w1", "if-none-match", "*")
        });
        let statuses: Vec<_> = join_all(asks).await.into_iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19, "{statuses:?}");
        assert_eq!(cluster.worker("w1").await["revision"], 1);
    }

    async fn graphql_ties_its_commands_to_the_same(cluster: TestCluster) {
        let (_, _, revision) = decided(&cluster).await;
        let about = r#"workerId: "w1", hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1"#;
        let commands = [
            r#"drainWorker(input: {workerId: "w1", ifRevision: N}) { changed }"#.to_owned(),
            r#"activateWorker(input: {workerId: "w1", ifRevision: N}) { changed }"#.to_owned(),
            format!("registerWorker(input: {{{about}, ifRevision: N}}) {{ incarnation }}"),
            r#"deregisterWorker(input: {workerId: "w1", ifRevision: N}) { workerId }"#.to_owned(),
            r#"deregisterWorker(input: {workerId: "w1", purge: true, ifRevision: N}) { workerId }"#.to_owned(),
        ];
        let before = cluster.everything().await;
        for command in &commands {
            for stale in ["0", "1", "9007199254740992"] {
                let answer = cluster.graphql_answer(&format!("mutation {{ {} }}", command.replace('N', stale)), json!({})).await;
                let extensions = &answer["errors"][0]["extensions"];
                assert_eq!(extensions["code"], "CONFLICT", "{command}: {answer}");
                assert_eq!((&extensions["id"], &extensions["currentRevision"]), (&json!("w1"), &revision), "{answer}");
            }
        }
        assert_eq!(cluster.everything().await, before);
        let drain = json!({"query": "mutation { drainWorker(input: {workerId: \"w1\"}) { changed } }"});
        for (header, tag) in [("if-match", "\"1\""), ("if-match", "*"), ("if-none-match", "\"1\""), ("if-none-match", "*")] {
            for accept in ["application/json", "application/graphql-response+json"] {
                let ask = cluster.rest().post("/graphql").header(header, tag).header("accept", accept);
                let answer = ask.json(drain.clone()).await.json();
                assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{header}: {answer}");
                assert!(answer["errors"][0]["message"].as_str().unwrap().contains("ifRevision"), "{header}: {answer}");
            }
            // Twice, since a question that came before is answered without another look at it.
            for _ in 0..2 {
                let question = json!({"query": "{ workers { id } }"});
                let answer = cluster.rest().post("/graphql").header(header, tag).json(question).await;
                answer.assert_json(200, json!({"data": {"workers": [{"id": "w1"}]}}));
            }
        }
        assert_eq!(cluster.everything().await, before);
        for command in &commands {
            let present = cluster.worker("w1").await["revision"].to_string();
            let answer = cluster.graphql_answer(&format!("mutation {{ {} }}", command.replace('N', &present)), json!({})).await;
            assert_eq!(answer.get("errors"), None, "{command}: {answer}");
        }
        let new = commands[2].replace('N', "0");
        assert_eq!(cluster.graphql(&format!("mutation {{ {new} }}")).await["registerWorker"]["incarnation"], 3);
        let again = cluster.graphql_answer(&format!("mutation {{ {new} }}"), json!({})).await;
        assert_eq!(again["errors"][0]["extensions"]["code"], "CONFLICT", "{again}");
    }

    async fn heartbeats_are_not_tied_to_tags(cluster: TestCluster) {
        let (present, ..) = decided(&cluster).await;
        let before = cluster.everything().await;
        let beat = json!({"incarnation": 1, "used_cpu_cores": 3});
        let beats = json!({"heartbeats": [{"worker_id": "w1", "incarnation": 1, "used_cpu_cores": 3}]});
        for (path, body) in [("/api/v1/workers/w1/heartbeat", &beat), ("/api/v1/heartbeats", &beats)] {
            for header in ["if-match", "if-none-match"] {
                for tag in ["*", &present, "\"stale\""] {
                    let answer = cluster.rest().post(path).header(header, tag).json(body.clone()).await;
                    assert_eq!(answer.status, 412, "{path} {header}: {tag}: {}", answer.body);
                    answer.assert_house_shape();
                }
            }
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn the_keys_of_a_fleet_do_not_displace_those_of_operators(database: TestDatabase) {
        let cluster = TestCluster::on(&database).await;
        cluster.add([worker("w1")]).await;
        let pruner = cluster.server().retention_pruner();
        let drain = async || cluster.rest().post("/api/v1/workers/w1/drain").header("idempotency-key", "k1").await;
        let beat = async |path: &str, key: &str, body: Value| {
            let answer = cluster.rest().post(path).header("idempotency-key", key).json(body).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer
        };
        let one = json!({"incarnation": 1});
        let many = json!({"heartbeats": [{"worker_id": "w1", "incarnation": 1}]});
        let first = drain().await;
        beat("/api/v1/workers/w1/heartbeat", "one", one.clone()).await;
        beat("/api/v1/heartbeats", "many", many).await;
        // As many again of each kind as are kept at most, and all of them newer.
        for kind in ["one", "many"] {
            let flood = format!(
                "INSERT INTO idempotency_record (key, fingerprint, response_body, response_etag, created_at) \
                 WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100100) \
                 SELECT 'z-{kind}-' || n, fingerprint, response_body, response_etag, created_at \
                 FROM number, idempotency_record WHERE key = '{kind}'"
            );
            database.execute(&flood).await;
        }
        pruner.prune().await.unwrap();
        let again = drain().await;
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "the operator's answer is still there");

        // Those of workers are of use for as long as they may try again, and that is not a day.
        cluster.advance(seconds(1));
        beat("/api/v1/workers/w1/heartbeat", "last", one.clone()).await;
        cluster.advance(minutes(60));
        pruner.prune().await.unwrap();
        let replayed = beat("/api/v1/workers/w1/heartbeat", "last", one.clone()).await;
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
        cluster.advance(seconds(1));
        pruner.prune().await.unwrap();
        let replayed = beat("/api/v1/workers/w1/heartbeat", "last", one).await;
        assert_eq!(replayed.header("idempotency-replayed"), None, "it is forgotten");
        assert_eq!(drain().await.header("idempotency-replayed"), Some("true"));
    }

    async fn a_number_is_whole_or_not_in_both_protocols(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        // As it stands in JSON: one kind of number.
        let numbers = [
            "0", "1", "16", "16.0", "1.6e1", "1E1", "0.0", "-0", "-0.0", "-1", "-1.0", "16.5", "0.1e1", "1e-1", "2147483647",
            "2147483648", "2147483647.0", "1e9", "1e30", "9007199254740992", "9007199254740992.0", "9007199254740994",
            "1e16", "99999999999999999999", "\"16\"", "true", "[]", "{}",
        ];
        let is_refused = |answer: &Answer, path: &str| {
            if path == "/graphql" {
                let body = answer.json();
                let code = body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned();
                ["BAD_USER_INPUT", "INVALID_ARGUMENT", "GRAPHQL_VALIDATION_FAILED"].contains(&code.as_str())
            } else {
                answer.status == 400
            }
        };
        let register = "mutation($i: RegisterWorkerInput!) { registerWorker(input: $i) { created } }";
        let record = "mutation($i: RecordHeartbeatInput!) { recordHeartbeat(input: $i) { policy } }";
        let registration = r#""hostname": "h", "address": "a:1", "cpu_cores": 1, "memory_mb": 1, "boot_id": "b""#;
        let heartbeat = r#""incarnation": 1"#;
        let vm = |key: &str| format!(r#""vms": [{{"id": "vm-1", "{key}": N}}]"#);
        let plain = |key: &str| format!(r#""{key}": N"#);
        let fields = [
            ("PUT", "/api/v1/workers/w1", registration, register, plain("cpu_cores")),
            ("PUT", "/api/v1/workers/w1", registration, register, plain("memory_mb")),
            ("PUT", "/api/v1/workers/w1", registration, register, plain("disk_gb")),
            ("PUT", "/api/v1/workers/w1", registration, register, plain("max_vms")),
            ("POST", "/api/v1/workers/w1/heartbeat", heartbeat, record, plain("incarnation")),
            ("POST", "/api/v1/workers/w1/heartbeat", heartbeat, record, plain("sequence")),
            ("POST", "/api/v1/workers/w1/heartbeat", heartbeat, record, plain("used_cpu_cores")),
            ("POST", "/api/v1/workers/w1/heartbeat", heartbeat, record, plain("used_disk_gb")),
            ("POST", "/api/v1/workers/w1/heartbeat", heartbeat, record, vm("vcpus")),
            ("POST", "/api/v1/workers/w1/heartbeat", heartbeat, record, vm("memory_mb")),
        ];
        let camel = |text: &str| {
            let mut words = text.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            words.fold(first, |text, word| text + &word[..1].to_uppercase() + &word[1..])
        };
        for (method, path, others, mutation, field) in &fields {
            let own = field.split('"').nth(1).unwrap();
            let others: Vec<_> = others.split(", ").filter(|other| !other.starts_with(&format!("\"{own}\""))).collect();
            for number in numbers {
                let fields = others.iter().map(|other| (*other).to_owned()).chain([field.replace('N', number)]);
                let fields = fields.collect::<Vec<_>>().join(", ");
                let ask = cluster.rest().ask(method, path).header("content-type", "application/json");
                let rest = ask.body(format!("{{{fields}}}")).await;
                let body = format!(
                    r#"{{"query": {}, "variables": {{"i": {{"workerId": "w1", {}}}}}}}"#,
                    json!(mutation),
                    camel(&fields)
                );
                let ask = cluster.rest().post("/graphql").header("content-type", "application/json");
                let graphql = ask.body(body.clone()).await;
                assert_eq!(
                    is_refused(&rest, path),
                    is_refused(&graphql, "/graphql"),
                    "{field} {number}\n{}\n{body}\n{}",
                    rest.body,
                    graphql.body
                );
            }
        }
        // The same where numbers come as text.
        for (number, is_good) in [("16", true), ("-0", true), ("16.0", false), ("1e1", false), ("0x10", false), ("", false)] {
            let rest = cluster.rest().get(&format!("/api/v1/workers?limit={number}")).await;
            assert_eq!(rest.status == 200, is_good, "{number}: {}", rest.body);
        }
    }

    async fn an_error_says_what_it_is_about_for_programs(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let register = |input: &str| {
            format!(r#"mutation {{ registerWorker(input: {{hostname: "h", address: "a:1", cpuCores: 1, memoryMb: 1, {input}}}) {{ created }} }}"#)
        };
        for (query, about) in [
            ("{ workersConnection(first: 501) { totalCount } }".to_owned(), json!({"argument": "first"})),
            ("{ workersConnection(filter: {ids: [\"\"]}) { totalCount } }".to_owned(), json!({"argument": "filter.ids"})),
            ("{ vmsConnection(filter: {workerIds: [\"\"]}) { totalCount } }".to_owned(), json!({"argument": "filter.workerIds"})),
            (register("workerId: \"w2\", maxVms: -1"), json!({"argument": "maxVms"})),
            ("mutation { drainWorker(input: {workerId: \"w9\"}) { changed } }".to_owned(), json!({"id": "w9"})),
            (
                "mutation { drainWorker(input: {workerId: \"w1\", ifRevision: 0}) { changed } }".to_owned(),
                json!({"id": "w1", "currentRevision": 1}),
            ),
            ("mutation { deregisterWorker(input: {workerId: \"w1\", purge: true}) { workerId } }".to_owned(), json!({"id": "w1"})),
        ] {
            let answer = cluster.graphql_answer(&query, json!({})).await;
            let mut extensions = answer["errors"][0]["extensions"].clone();
            assert!(extensions.as_object_mut().unwrap().remove("code").is_some(), "{answer}");
            assert_eq!(extensions, about, "{query}");
        }
        let get = |path: &str| cluster.rest().get(&format!("/api/v1/{path}"));
        for (ask, about) in [
            (get("workers?limit=501"), json!({"argument": "limit"})),
            (get("workers?limit=x"), json!({"argument": "limit"})),
            (get("workers?limit="), json!({"argument": "limit"})),
            (get("workers?zones=a"), json!({"argument": "zones"})),
            (get("workers?id="), json!({"argument": "id"})),
            (get("workers?zone=%ff"), json!({"argument": "zone"})),
            (cluster.rest().put("/api/v1/workers/w2").json(json!({"hostname": 7})), json!({"argument": "hostname"})),
            (cluster.rest().put("/api/v1/workers/w2").json(worker("w2").cpu(0).registration()), json!({"argument": "cpu_cores"})),
            (cluster.rest().delete("/api/v1/workers/w1?purge=true"), json!({"id": "w1"})),
            (
                cluster.rest().post("/api/v1/workers/w1/drain").header("if-match", "\"0\""),
                json!({"id": "w1", "current_revision": 1}),
            ),
            // Of what is not there, the contract shows the whole body.
            (get("workers/w9"), json!({})),
            (get("nowhere"), json!({})),
        ] {
            let answer = ask.await;
            answer.assert_house_shape();
            let mut body = answer.json();
            for key in ["error", "message", "code"] {
                body.as_object_mut().unwrap().remove(key);
            }
            assert_eq!(body, about, "{}", answer.body);
        }
        let problem = get("workers/w9").header("accept", "application/problem+json").await.json();
        assert_eq!(problem["id"], "w9", "{problem}");
    }

    async fn what_fails_before_it_is_graphql_fails_as_graphql_clients_read_it(cluster: TestCluster) {
        const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";
        let post = || cluster.rest().post("/graphql").header("content-type", "application/json");
        let big = format!(r#"{{"query": "{}"}}"#, " ".repeat(300_000));
        for accept in [None, Some("*/*"), Some("application/json"), Some(GRAPHQL_RESPONSE), Some("application/problem+json")] {
            let asks = [
                (post().body("{"), 400),
                (post().body("[]"), 400),
                (post().body(r#"[{"query": "{ workers { id } }"}]"#), 400),
                (post().body("7"), 400),
                (post().body(""), 400),
                (post().body(r#"{"query": 7}"#), 400),
                (post().body(&b"{\"query\": \"\xff\"}"[..]), 400),
                (post().body(big.clone()), 413),
                (cluster.rest().post("/graphql").header("content-type", "text/plain").body("{}"), 415),
                (cluster.rest().post("/graphql").body("{}"), 415),
                (cluster.rest().ask("PUT", "/graphql"), 405),
                (cluster.rest().ask("PATCH", "/graphql"), 405),
                (cluster.rest().ask("DELETE", "/graphql"), 405),
                (cluster.rest().ask("PUT", "/api/v1/q/nope"), 405),
                (cluster.rest().post("/graphql").header("origin", "http://evil.example"), 403),
                (cluster.rest().get("/graphql").header("upgrade", "websocket"), 400),
            ];
            for (ask, status) in asks {
                let ask = if let Some(accept) = accept { ask.header("accept", accept) } else { ask };
                let answer = ask.await;
                assert_eq!(answer.status, status, "{accept:?}: {}", answer.body);
                let body = answer.json();
                assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"], "{}", answer.body);
                let error = &body["errors"][0];
                assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", answer.body);
                let code = if status == 403 { "FORBIDDEN" } else { "BAD_REQUEST" };
                assert_eq!(error["extensions"]["code"], code, "{}", answer.body);
                let media = if accept == Some(GRAPHQL_RESPONSE) { GRAPHQL_RESPONSE } else { "application/json" };
                assert_eq!(answer.header("content-type"), Some(media));
                assert_eq!(answer.header("allow").is_some(), status == 405);
            }
        }
        let answer = cluster.graphql_answer("subscription { clusterStats { revision } }", json!({})).await;
        let message = answer["errors"][0]["message"].as_str().unwrap();
        for way in ["text/event-stream", "WebSocket", "graphql-transport-ws"] {
            assert!(message.contains(way), "{message}");
        }
    }

    async fn a_request_names_one_host(cluster: TestCluster) {
        let port = Port::of(&cluster).await;
        for (head, status) in [
            ("GET /api/v1/health HTTP/1.1\r\nhost: a\r\n", 200),
            ("GET /api/v1/health HTTP/1.1\r\nHOST: a.example:8080\r\n", 200),
            ("GET /api/v1/health HTTP/1.0\r\n", 200),
            ("GET http://a/api/v1/health HTTP/1.1\r\nhost: a\r\n", 200),
            ("GET /api/v1/health HTTP/1.1\r\n", 400),
            ("GET /api/v1/health HTTP/1.1\r\nhost:\r\n", 400),
            ("GET /api/v1/health HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
            ("GET /api/v1/health HTTP/1.1\r\nhost: a\r\nhost: b\r\n", 400),
            ("GET /api/v1/health HTTP/1.1\r\nhost: a b\r\n", 400),
            ("GET /api/v1/health HTTP/1.1\r\nhost: me@a\r\n", 400),
            ("GET /api/v1/health HTTP/1.0\r\nhost: a\r\nhost: b\r\n", 400),
            ("GET /nowhere HTTP/1.1\r\n", 400),
            ("POST /api/v1/workers/w1/drain HTTP/1.1\r\n", 400),
            ("PUT /graphql HTTP/1.1\r\n", 400),
        ] {
            let mut stream = TcpStream::connect(port.authority()).await.unwrap();
            stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let line = answer.lines().next().unwrap_or_default().to_owned();
            assert_eq!(line.split(' ').nth(1), Some(&*status.to_string()), "{head}{answer}");
            assert!(answer.contains("x-request-id"), "it is answered where all are: {answer}");
        }
    }
}
