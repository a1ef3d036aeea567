//! Bad input gets a clear answer and loses nothing: always the documented three keys, never a
//! failure of ours, and the cluster is afterwards what it was before.

use serde_json::{Value, json};

use crate::harness::*;

/// A cluster in which there is something to lose.
async fn furnish(cluster: &TestCluster) {
    let w1 = worker("w1").zone("a").vms([vm("vm-1"), vm("vm-2").status("stopped")]).reports("sequence", 3);
    cluster.add([w1.silent_for(seconds(20)), worker("w2")]).await;
    cluster.rest().post("/api/v1/workers/w2/drain").await;
}

/// A registration with one value replaced, or taken out if it is null.
fn registration(key: &str, value: Value) -> Value {
    let mut registration = worker("w1").registration();
    if value.is_null() {
        registration.as_object_mut().unwrap().remove(key);
    } else {
        registration[key] = value;
    }
    registration
}

on_both_databases! {
    async fn registrations_that_make_no_sense_are_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        let (long, many) = ("x".repeat(256), vec!["x"; 65]);
        let labels: Value = (0..65).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>().into();
        for (key, value, problem) in [
            ("hostname", Value::Null, "`hostname` is missing"),
            ("address", Value::Null, "`address` is missing"),
            ("cpu_cores", Value::Null, "`cpu_cores` is missing"),
            ("memory_mb", Value::Null, "`memory_mb` is missing"),
            ("hostname", json!(""), "hostname must not be empty"),
            ("hostname", json!(7), "hostname: expected a string, got the number 7"),
            ("hostname", json!(long), "hostname must have at most 255 characters, not 256"),
            ("hostname", json!("a\u{0}b"), "hostname must not contain control characters"),
            ("address", json!(["a"]), "address: expected a string, got a list"),
            ("zone", json!("a\nb"), "zone must not contain control characters"),
            ("cpu_cores", json!(0), "cpu_cores must be from 1 to 100000, not 0"),
            ("cpu_cores", json!(-1), "cpu_cores must be from 1 to 100000, not -1"),
            ("cpu_cores", json!(100_001), "cpu_cores must be from 1 to 100000, not 100001"),
            ("cpu_cores", json!(1.5), "cpu_cores: expected a whole number, got the number 1.5"),
            ("cpu_cores", json!("16"), "cpu_cores: expected a whole number, got string \"16\""),
            ("cpu_cores", json!(true), "cpu_cores: expected a whole number, got boolean `true`"),
            ("memory_mb", json!(0), "memory_mb must be from 1 to 2147483647, not 0"),
            ("memory_mb", json!(1_u64 << 31), "memory_mb must be from 1 to 2147483647, not 2147483648"),
            ("memory_mb", json!(u64::MAX), "memory_mb must be from 1 to 2147483647"),
            ("memory_mb", json!(1e30), "memory_mb: expected a whole number"),
            ("disk_gb", json!(-5), "disk_gb must be from 0 to 2147483647, not -5"),
            ("max_vms", json!(-1), "max_vms must be from 0 to 10000, not -1"),
            ("max_vms", json!(10_001), "max_vms must be from 0 to 10000, not 10001"),
            ("labels", json!(["a"]), "labels: expected an object, got a list"),
            ("labels", json!({"a": 1}), "labels.a: expected a string, got the number 1"),
            ("labels", json!({"": "a"}), "labels must not be empty (of label \"\")"),
            ("labels", json!({"env": "a\u{0}b"}), "labels must not contain control characters (of label \"env\")"),
            ("labels", labels, "labels must have at most 64 entries, not 65"),
            ("capabilities", json!("docker"), "capabilities: expected a list, got string \"docker\""),
            ("capabilities", json!([""]), "capabilities must not be empty"),
            ("capabilities", json!(many), "capabilities must have at most 64 entries, not 65"),
            ("boot_id", json!(""), "boot_id must not be empty"),
            ("boot_id", json!(3), "boot_id: expected a string, got the number 3"),
            ("host_boot_id", json!(""), "host_boot_id must not be empty"),
            ("last_incarnation", json!(-1), "last_incarnation must be from 0 to 9007199254740992, not -1"),
        ] {
            for id in ["w1", "new"] {
                let body = registration(key, value.clone());
                let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(body).await;
                answer.assert_house_shape();
                assert!(answer.status == 400 && answer.body.contains(&json_text(problem)), "{key}: {}", answer.body);
            }
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn heartbeats_that_make_no_sense_are_refused_whole(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        let vms =
            |vm: Value| json!({"incarnation": 1, "sequence": 9, "used_cpu_cores": 1, "vms": [{"id": "vm-9"}, vm]});
        for (beat, problem) in [
            (json!({}), "`incarnation` is missing"),
            (json!({"incarnation": null}), "incarnation: expected a whole number, got null"),
            (json!({"incarnation": "1"}), "incarnation: expected a whole number, got string \"1\""),
            (json!({"incarnation": -1}), "incarnation must be from 0 to 9007199254740992, not -1"),
            (json!({"incarnation": u64::MAX}), "incarnation must be from 0 to 9007199254740992"),
            (json!({"incarnation": 1, "sequence": -1}), "sequence must be from 0 to 9007199254740992, not -1"),
            (json!({"incarnation": 1, "used_cpu_cores": -1}), "used_cpu_cores must be from 0 to 2147483647, not -1"),
            (json!({"incarnation": 1, "used_memory_mb": 1_u64 << 40}), "used_memory_mb must be from 0 to 2147483647"),
            (
                json!({"incarnation": 1, "used_disk_gb": 0.5}),
                "used_disk_gb: expected a whole number, got the number 0.5",
            ),
            (json!({"incarnation": 1, "vms": {}}), "vms: expected a list, got an object"),
            (json!({"incarnation": 1, "vms_delta": "none"}), "vms_delta: expected"),
            (json!({"incarnation": 1, "vms_delta": {"remove": [7]}}), "vms_delta.remove[0]: expected a string"),
            (json!({"incarnation": 1, "vms": [], "vms_delta": {}}), "vms_delta cannot be combined with `vms`"),
            (vms(json!({})), "vms[1]: `id` is missing"),
            (vms(json!({"id": 7})), "vms[1].id: expected a string, got the number 7"),
            (vms(json!("vm-10")), "vms[1]: expected"),
            (vms(json!({"id": "vm-10", "vcpus": -1})), "vcpus must be from 0 to 2147483647, not -1 (of VM \"vm-10\")"),
            (vms(json!({"id": "vm-10", "memory_mb": 1_u64 << 33})), "memory_mb must be from 0 to 2147483647"),
            (vms(json!({"id": "vm-10", "name": "a\u{7}"})), "name must not contain control characters"),
            (vms(json!({"id": "vm-10", "status": "paused"})), "status must be one of created, starting"),
            (vms(json!({"id": "vm-10", "status": 1})), "vms[1].status: expected a string, got the number 1"),
        ] {
            let answer = cluster.beat("w1", beat).await;
            answer.assert_house_shape();
            assert!(answer.status == 400 && answer.body.contains(&json_text(problem)), "{problem}: {}", answer.body);
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn bodies_that_are_no_json_are_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        let deep = "[".repeat(100_000);
        let bodies: [(&str, Option<&str>, &[u8], u16); 14] = [
            ("nothing at all", Some("application/json"), b"", 400),
            ("white space", Some("application/json"), b" \n ", 400),
            ("half an object", Some("application/json"), b"{\"hostname\":", 400),
            ("no JSON", Some("application/json"), b"hostname=node1", 400),
            ("a list", Some("application/json"), b"[]", 400),
            ("a number", Some("application/json"), b"7", 400),
            ("null", Some("application/json"), b"null", 400),
            ("something behind", Some("application/json"), b"{\"heartbeats\":[]} x", 400),
            ("no UTF-8", Some("application/json"), b"{\"hostname\":\"\xff\"}", 400),
            ("half a surrogate", Some("application/json"), br#"{"hostname":"\ud800"}"#, 400),
            ("a number beyond numbers", Some("application/json"), br#"{"cpu_cores":1e999}"#, 400),
            ("too deep", Some("application/json"), deep.as_bytes(), 400),
            ("text", Some("text/plain"), b"{}", 415),
            ("of no declared kind", None, b"{}", 415),
        ];
        for (what, content_type, body, status) in bodies {
            for (method, path) in [
                ("PUT", "/api/v1/workers/w1"),
                ("POST", "/api/v1/workers/w1/heartbeat"),
                ("POST", "/api/v1/heartbeats"),
            ] {
                let ask = cluster.rest().ask(method, path).body(body.to_vec());
                let ask = match content_type {
                    Some(content_type) => ask.header("content-type", content_type),
                    None => ask,
                };
                let answer = ask.await;
                assert_eq!(answer.status, status, "{what}: {method} {path}: {}", answer.body);
                answer.assert_house_shape();
            }
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn bodies_that_are_too_large_are_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        const KIB: usize = 1024;
        for (method, path, limit, said) in [
            ("PUT", "/api/v1/workers/w1", 256 * KIB, "256 KiB"),
            ("POST", "/api/v1/workers/w1/drain", 256 * KIB, "256 KiB"),
            ("POST", "/api/v1/workers/w1/heartbeat", 1024 * KIB, "1 MiB"),
            ("POST", "/api/v1/heartbeats", 8 * 1024 * KIB, "8 MiB"),
        ] {
            let body = format!(r#"{{"incarnation":1,"pad":"{}"}}"#, "x".repeat(limit));
            let answer = cluster.rest().ask(method, path).header("content-type", "application/json").body(body).await;
            answer.assert_failure(413, &format!("The request body is larger than the {said} that are read here"));
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn queries_that_make_no_sense_are_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        for (method, path) in [
            ("DELETE", "/api/v1/workers/w1?purge=maybe"),
            ("DELETE", "/api/v1/workers/w1?purge=1"),
            ("DELETE", "/api/v1/workers/w1?purge=true&force=yes"),
            ("DELETE", "/api/v1/workers/w1?purge=true&purge=true"),
            ("GET", "/api/v1/vms?status="),
            ("GET", "/api/v1/workers?limit=1.5"),
            ("GET", "/api/v1/workers?limit=99999999999999999999"),
        ] {
            let answer = cluster.rest().ask(method, path).await;
            assert_eq!(answer.status, 400, "{method} {path}: {}", answer.body);
            answer.assert_house_shape();
        }
        assert_eq!(cluster.everything().await, before);
    }
}

/// The text as it stands inside a JSON text.
fn json_text(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
