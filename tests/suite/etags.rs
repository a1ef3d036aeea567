//! Questions whose answer the client has already, and commands that are tied to what was seen.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::*;

/// Every question whose answer has a tag.
const QUESTIONS: [&str; 10] = [
    "/api/v1/workers",
    "/api/v1/workers?zone=a&sort=-vm_count&limit=1",
    "/api/v1/workers/w1",
    "/api/v1/workers/w3",
    "/api/v1/workers/w1/vms",
    "/api/v1/cluster/stats",
    "/api/v1/cluster/distribution",
    "/api/v1/vms",
    "/api/v1/vms/vm-1",
    "/api/v1/events",
];

async fn furnish(cluster: &TestCluster) {
    cluster
        .add([
            worker("w1").zone("a").vms([vm("vm-1"), vm("vm-2").status("stopped")]),
            worker("w2").zone("a").vms([vm("vm-1"), vm("vm-3")]),
            worker("w3").silent_for(minutes(2)),
        ])
        .await;
}

async fn tag(cluster: &TestCluster, path: &str) -> String {
    let answer = cluster.rest().get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.header("etag").unwrap_or_else(|| panic!("{path} has no tag")).to_owned()
}

/// A command of an operator, tied to what this tag stands for.
async fn command(cluster: &TestCluster, command: &str, if_match: &str) -> Answer {
    cluster.rest().post(&format!("/api/v1/workers/w1/{command}")).header("if-match", if_match).await
}

on_both_databases! {
    async fn an_answer_that_the_client_has_is_not_sent_again(cluster: TestCluster) {
        furnish(&cluster).await;
        for path in QUESTIONS {
            let answer = cluster.rest().get(path).await;
            let tag = answer.header("etag").unwrap().to_owned();
            assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{path}: {tag}");
            for if_none_match in [tag.clone(), format!("\"other\", {tag}"), tag[2..].to_owned(), "*".to_owned()] {
                for method in ["GET", "HEAD"] {
                    let again = cluster.rest().ask(method, path).header("if-none-match", &if_none_match).await;
                    assert_eq!((again.status, again.body.as_str()), (304, ""), "{method} {path}, {if_none_match}");
                    for header in ["etag", "cache-control", "vary", "x-revision", "link"] {
                        assert_eq!(again.header(header), answer.header(header), "{path}: {header}");
                    }
                    assert_eq!(again.header("content-type"), None, "there is no content");
                }
            }
            assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
            assert_eq!(answer.header("vary"), Some("accept, accept-encoding, authorization, cookie"), "{path}");
            for other in ["\"other\"", "W/\"0000000000000000\"", "nonsense", ""] {
                let fresh = cluster.rest().get(path).header("if-none-match", other).await;
                assert_eq!((fresh.status, &fresh.body), (200, &answer.body), "{path}, {other}");
            }
            let head = cluster.rest().head(path).await;
            assert_eq!((head.status, head.header("etag")), (200, Some(&*tag)), "{path}");
        }
        for path in ["/api/v1/health", "/api/v1/workers/w1/drain"] {
            assert_eq!(cluster.rest().get(path).header("if-none-match", "*").await.header("etag"), None, "{path}");
        }
    }

    async fn what_is_not_there_is_not_unchanged(cluster: TestCluster) {
        furnish(&cluster).await;
        let missing = cluster.rest().get("/api/v1/workers/worker-99").header("if-none-match", "*").await;
        missing.assert_failure(404, "Worker not found: worker-99");
        assert_eq!(missing.header("etag"), None);
        let refused = cluster.rest().get("/api/v1/workers?limit=-1").header("if-none-match", "*").await;
        assert_eq!(refused.status, 400);
    }

    async fn a_tag_never_stands_for_two_answers(cluster: TestCluster) {
        furnish(&cluster).await;
        let mut seen = HashMap::<(&str, String), String>::new();
        let mut look = async || {
            for path in QUESTIONS {
                let answer = cluster.rest().get(path).await;
                let tag = answer.header("etag").map(str::to_owned).unwrap_or_default();
                let before = seen.entry((path, tag)).or_insert_with(|| answer.body.clone());
                assert_eq!(*before, answer.body, "{path}: the body has changed, the tag has not");
            }
        };
        let same = json!({"incarnation": 1});
        let with_vms = |vms: Value| json!({"incarnation": 1, "vms": vms});
        look().await;
        for by in [0, 1, 999, 1, 30_000, 28_998, 1, 1, 1, 3_600_000] {
            cluster.advance(std::time::Duration::from_millis(by));
            look().await;
        }
        for (id, beat) in [
            ("w1", same.clone()),
            ("w1", with_vms(json!([{"id": "vm-1"}, {"id": "vm-2", "status": "stopped"}]))),
            ("w2", with_vms(json!([{"id": "vm-3"}]))),
            ("w2", with_vms(json!([{"id": "vm-3", "name": "other"}]))),
            ("w2", with_vms(json!([{"id": "vm-3", "name": "other", "vcpus": 1}]))),
            ("w3", with_vms(json!([{"id": "vm-1"}]))),
            ("w1", with_vms(json!([{"id": "vm-1"}]))),
            ("w3", with_vms(json!([{"id": "vm-1"}]))),
        ] {
            assert_eq!(cluster.beat(id, beat).await.status, 200);
            look().await;
        }
        for (method, path) in [
            ("POST", "/api/v1/workers/w1/drain"),
            ("POST", "/api/v1/workers/w1/activate"),
            ("DELETE", "/api/v1/workers/w2"),
            ("DELETE", "/api/v1/workers/w2?purge=true&force=true"),
        ] {
            cluster.rest().ask(method, path).await;
            look().await;
        }
        cluster.rest().put("/api/v1/workers/w1").json(worker("w1").zone("b").registration()).await;
        look().await;
    }

    async fn tags_last_as_long_as_what_they_are_of(cluster: TestCluster) {
        furnish(&cluster).await;
        let mut lasting = HashMap::new();
        for path in ["/api/v1/vms", "/api/v1/vms/vm-3", "/api/v1/workers/w2/vms", "/api/v1/cluster/distribution", "/api/v1/workers/w3"] {
            lasting.insert(path, tag(&cluster, path).await);
        }
        cluster.advance(seconds(5));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        cluster.rest().post("/api/v1/workers/w2/drain").await;
        for (path, before) in &lasting {
            assert_eq!(tag(&cluster, path).await, *before, "{path} is what it was");
        }
        let twin = cluster.restart().await;
        for (path, before) in lasting {
            assert_eq!(tag(&twin, path).await, before, "{path}: servers agree");
        }
    }

    async fn a_command_can_be_tied_to_what_was_seen(cluster: TestCluster) {
        furnish(&cluster).await;
        let seen = tag(&cluster, "/api/v1/workers/w1").await;

        // Neither heartbeats, nor time, nor a retried registration, nor commands for others are in the way.
        cluster.advance(seconds(30));
        cluster.beat("w1", json!({"incarnation": 1, "vms": []})).await;
        cluster.rest().post("/api/v1/workers/w2/drain").await;
        let drained = command(&cluster, "drain", &seen).await;
        assert_eq!(drained.status, 200, "{}", drained.body);

        let revision = cluster.revision();
        let stale = format!(
            "Worker w1 is not what it was at revision {}: its registration, or what operators want of it, is of \
             revision {revision}. Read it again, then decide.",
            &seen[3..].split('-').next().unwrap()
        );
        command(&cluster, "activate", &seen).await.assert_failure(412, &stale);
        assert_eq!(cluster.worker("w1").await["status"], "draining", "somebody else had decided");

        // The answer to a command leads to the next one.
        let decided = drained.header("etag").unwrap();
        let epoch = seen.split('-').nth(1).unwrap();
        assert_eq!(decided, format!("\"{revision}-{epoch}\""));
        assert_eq!(command(&cluster, "activate", decided).await.status, 200);
        assert_eq!(command(&cluster, "activate", &format!("\"1\", {}", tag(&cluster, "/api/v1/workers/w1").await)).await.status, 200);
        assert_eq!(command(&cluster, "drain", "*").await.status, 200);
        assert_eq!(cluster.revision(), revision + 2);
    }

    async fn a_command_that_is_tied_to_something_else_is_refused(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        for (if_match, status) in [
            ("\"nonsense\"", 412),
            ("\"\"", 412),
            ("\"0\"", 412),
            ("\"9007199254740992\"", 412),
            ("\"99999999999999999999\"", 412),
            ("W/\"0-0000000000000000\"", 412),
            ("", 400),
            (" , ", 400),
            ("3", 400),
            ("\"3", 400),
        ] {
            for name in ["drain", "activate"] {
                let answer = command(&cluster, name, if_match).await;
                assert_eq!(answer.status, status, "{name} {if_match}: {}", answer.body);
                answer.assert_house_shape();
            }
        }
        command(&cluster, "drain", "3").await.assert_failure(
            400,
            "If-Match must be *, or tags in quotes such as \"812\": the ETag of the worker, or its `revision`, not 3",
        );
        let many = |count: usize| vec!["\"1\""; count].join(", ");
        command(&cluster, "drain", &many(101)).await.assert_failure(400, "If-Match must have at most 100 tags, not 101");
        assert_eq!(command(&cluster, "drain", &many(100)).await.status, 412);
        for if_match in ["*", "\"1\""] {
            let nobody = cluster.rest().post("/api/v1/workers/worker-99/drain").header("if-match", if_match).await;
            nobody.assert_failure(404, "Worker not found: worker-99");
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn who_decided_upon_another_machine_is_told(cluster: TestCluster) {
        furnish(&cluster).await;
        let booted = |boot_id: &str, zone: &str| worker("w1").zone(zone).registers("boot_id", boot_id).registration();
        let register = async |registration: Value| {
            let answer = cluster.rest().put("/api/v1/workers/w1").json(registration).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        };
        register(booted("one", "a")).await;
        let seen = tag(&cluster, "/api/v1/workers/w1").await;
        register(booted("one", "a")).await;
        assert_eq!(command(&cluster, "drain", &seen).await.status, 200, "a retry is no news");

        let seen = tag(&cluster, "/api/v1/workers/w1").await;
        register(booted("one", "b")).await;
        assert_eq!(command(&cluster, "activate", &seen).await.status, 412, "it stands elsewhere");

        let seen = tag(&cluster, "/api/v1/workers/w1").await;
        register(booted("two", "b")).await;
        assert_eq!(command(&cluster, "activate", &seen).await.status, 412, "it has restarted");
        assert_eq!(command(&cluster, "activate", &tag(&cluster, "/api/v1/workers/w1").await).await.status, 200);
    }

    async fn both_protocols_tie_commands_to_the_same(cluster: TestCluster) {
        furnish(&cluster).await;
        let revision = async || cluster.worker("w1").await["revision"].clone();
        let graphql = async |field: &str, seen: &Value| {
            let query = format!(
                "mutation($seen: Int53) {{ {field}(input: {{workerId: \"w1\", ifRevision: $seen}}) {{ changed }} }}"
            );
            cluster.graphql_answer(&query, json!({"seen": seen})).await
        };
        let seen = revision().await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(graphql("drainWorker", &seen).await["data"]["drainWorker"], json!({"changed": true}));
        let refused = graphql("activateWorker", &seen).await["errors"][0].take();
        let rest = command(&cluster, "activate", &format!("\"{seen}\"")).await;
        assert_eq!((rest.status, &refused["extensions"]["code"]), (412, &json!("CONFLICT")));
        assert_eq!(refused["message"], rest.json()["message"]);
        assert_eq!(graphql("activateWorker", &revision().await).await["data"]["activateWorker"]["changed"], true);
    }

    async fn what_was_decided_when_survives_restarts(cluster: TestCluster) {
        furnish(&cluster).await;
        let seen = tag(&cluster, "/api/v1/workers/w1").await;
        command(&cluster, "drain", &seen).await;
        let decided = tag(&cluster, "/api/v1/workers/w1").await;
        let cluster = cluster.restart().await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(command(&cluster, "activate", &seen).await.status, 412);
        assert_eq!(command(&cluster.restart().await, "activate", &decided).await.status, 200);
    }
}
