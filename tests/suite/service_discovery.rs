//! Workers as Prometheus' HTTP service discovery reads them.

use serde_json::json;

use crate::harness::*;

const TARGETS: &str = "/api/v1/sd/prometheus";

on_both_databases! {
    async fn a_worker_is_a_target_with_its_labels(cluster: TestCluster) {
        let labels = json!({"env": "production", "kubernetes.io/role": "db", "kubernetes-io/role": "other", "empty": ""});
        cluster
            .add([
                worker("w1").zone("us-west-1a").registers("labels", labels).registers("capabilities", json!(["docker", "kvm"])),
                worker("w2").registers("address", "[2001:db8::1]:8081"),
            ])
            .await;
        let answer = cluster.rest().get(TARGETS).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), json!([
            {
                "targets": ["192.168.1.10:8081"],
                "labels": {
                    "__meta_aetherium_address": "192.168.1.10:8081",
                    "__meta_aetherium_capabilities": ",docker,kvm,",
                    "__meta_aetherium_hostname": "w1.example.com",
                    "__meta_aetherium_label_env": "production",
                    // Of two keys that become one name, the first counts.
                    "__meta_aetherium_label_kubernetes_io_role": "other",
                    "__meta_aetherium_labelpresent_empty": "true",
                    "__meta_aetherium_labelpresent_env": "true",
                    "__meta_aetherium_labelpresent_kubernetes_io_role": "true",
                    "__meta_aetherium_status": "active",
                    "__meta_aetherium_worker_id": "w1",
                    "__meta_aetherium_zone": "us-west-1a",
                },
            },
            {
                "targets": ["[2001:db8::1]:8081"],
                "labels": {
                    "__meta_aetherium_address": "[2001:db8::1]:8081",
                    "__meta_aetherium_hostname": "w2.example.com",
                    "__meta_aetherium_status": "active",
                    "__meta_aetherium_worker_id": "w2",
                },
            },
        ]));
    }

    async fn the_port_of_all_targets_can_be_another_one(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2").registers("address", "[2001:db8::1]:8081")]).await;
        let targets = cluster.rest().get(&format!("{TARGETS}?port=9100")).await.json();
        assert_eq!(targets[0]["targets"], json!(["192.168.1.10:9100"]));
        assert_eq!(targets[1]["targets"], json!(["[2001:db8::1]:9100"]));
        assert_eq!(targets[1]["labels"]["__meta_aetherium_address"], "[2001:db8::1]:8081");
        for port in ["0", "65536", "-1"] {
            let refused = cluster.rest().get(&format!("{TARGETS}?port={port}")).await;
            assert_eq!((refused.status, &refused.json()["argument"]), (400, &json!("port")), "{port}");
        }
    }

    async fn only_workers_that_match_are_targets(cluster: TestCluster) {
        cluster
            .add([
                worker("gone").zone("a").silent_for(minutes(5)),
                worker("w1").zone("a"),
                worker("w2").zone("b").registers("labels", json!({"env": "production"})),
            ])
            .await;
        for (filter, expected) in [
            ("", &["gone", "w1", "w2"][..]), ("zone=a", &["gone", "w1"]), ("status=offline", &["gone"]),
            ("label=env", &["w2"]), ("zone=a&is_healthy=true", &["w1"]), ("id=w2&id=w1", &["w1", "w2"]), ("zone=c", &[]),
        ] {
            let targets = cluster.rest().get(&format!("{TARGETS}?{filter}")).await.json();
            let ids: Vec<_> = targets.as_array().unwrap().iter().map(|it| &it["labels"]["__meta_aetherium_worker_id"]).collect();
            assert_eq!(ids, expected, "{filter}");
            let listed = cluster.rest().get(&format!("/api/v1/workers?{filter}")).await.json();
            assert_eq!(listed["workers"].as_array().unwrap().len(), ids.len(), "{filter}");
        }
    }

    async fn a_client_that_has_the_targets_is_not_sent_them_again(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let first = cluster.rest().get(TARGETS).await;
        let tag = first.header("etag").unwrap().to_owned();
        // Its uptime and its last heartbeat are not told.
        cluster.advance(seconds(5));
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1})).await.status, 200);
        assert_eq!(cluster.rest().get(TARGETS).header("if-none-match", &tag).await.status, 304);
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain").await.status, 200);
        assert_eq!(cluster.rest().get(TARGETS).header("if-none-match", &tag).await.status, 200);
    }
}
