//! The manners of HTTP: methods, slashes, pages of other origins. Semantics 23 and 24.

use aetherium::server::ServerOptions;

use crate::harness::*;

/// Every route of the contract, with what it answers besides HEAD.
const ROUTES: [(&str, &str); 26] = [
    ("/api/v1/workers", "GET"),
    ("/api/v1/workers/w1", "DELETE,GET,PUT"),
    ("/api/v1/workers/w1/vms", "GET"),
    ("/api/v1/workers/w1/drain", "GET,POST"),
    ("/api/v1/workers/w1/drains", "GET"),
    ("/api/v1/workers/w1/history", "GET"),
    ("/api/v1/zones/a/history", "GET"),
    ("/api/v1/cluster/history", "GET"),
    ("/api/v1/workers/w1/activate", "POST"),
    ("/api/v1/workers/w1/heartbeat", "POST"),
    ("/api/v1/heartbeats", "POST"),
    ("/api/v1/cluster/stats", "GET"),
    ("/api/v1/cluster/distribution", "GET"),
    ("/api/v1/cluster/zones", "GET"),
    ("/api/v1/cluster/worker-counts", "GET"),
    ("/api/v1/cluster/vm-counts", "GET"),
    ("/api/v1/drains", "GET,POST"),
    ("/api/v1/activations", "POST"),
    ("/api/v1/evacuation-plan", "GET"),
    ("/api/v1/sd/prometheus", "GET"),
    ("/api/v1/placement", "GET"),
    ("/api/v1/reservations", "GET,POST"),
    ("/api/v1/reservations/r1", "DELETE,GET"),
    ("/api/v1/vms", "GET"),
    ("/api/v1/vms/vm-1", "GET"),
    ("/api/v1/health", "GET"),
];

/// Says how old answers may be, which is another time at each look.
const HEALTH: &str = "/api/v1/health";

on_both_databases! {
    async fn a_wrong_method_is_told_the_right_ones(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let before = cluster.everything().await;
        for (path, allowed) in ROUTES {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                if allowed.split(',').any(|right| right == method) {
                    continue;
                }
                let answer = cluster.rest().ask(method, path).await;
                assert_eq!(answer.status, 405, "{method} {path}: {}", answer.body);
                answer.assert_house_shape();
                let mut told: Vec<_> =
                    answer.header("allow").unwrap().split(',').filter(|name| *name != "HEAD").collect();
                told.sort_unstable();
                assert_eq!(told.join(","), allowed, "{method} {path}");
            }
        }
        assert_eq!(cluster.everything().await, before);
    }

    async fn head_answers_as_get_does_without_the_body(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let questions = ROUTES.iter().filter(|(_, allowed)| allowed.contains("GET")).map(|(path, _)| *path);
        for path in questions.chain(["/api/v1/workers/worker-99", "/api/v1/vms?status=odd"]) {
            let (get, head) = (cluster.rest().get(path).await, cluster.rest().head(path).await);
            assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
            assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
            if path != HEALTH {
                assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
            }
        }
    }

    async fn a_slash_at_the_end_makes_no_difference(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1")])]).await;
        for (path, allowed) in ROUTES {
            if allowed.contains("GET") {
                let (without, with) = (cluster.rest().get(path).await, cluster.rest().get(&format!("{path}/")).await);
                assert_eq!(without.status, with.status, "{path}");
                if path != HEALTH {
                    assert_eq!(without.body, with.body, "{path}");
                }
            }
        }
        let filtered = cluster.rest().get("/api/v1/workers/?zone=b").await;
        assert_eq!(filtered.json()["total"], 0, "the query is still read");
        assert_eq!(cluster.rest().post("/api/v1/workers/w1/drain/").await.status, 200);
    }

    // regression: unknown routes answered plain text that JSON clients choked on
    async fn unknown_routes_are_refused_in_json(cluster: TestCluster) {
        for (method, path) in [
            ("GET", "/nope"),
            ("GET", "/api"),
            ("GET", "/api/v1"),
            ("GET", "/api/v2/workers"),
            ("POST", "/api/v1/nope"),
            ("PUT", "/api/v1/workers/a/b"),
            ("DELETE", "/api/v1/workers/w1/vms/vm-1"),
            ("GET", "/api/v1/workers/w1/nope"),
            ("GET", "/API/V1/workers"),
        ] {
            let answer = cluster.rest().ask(method, path).await;
            answer.assert_failure(404, &format!("No route for {method} {path}"));
        }
    }

    async fn named_origins_may_ask_from_a_browser_and_others_may_not(db: TestDatabase) {
        let name = |options: &mut ServerOptions| options.http.cors_origins = vec!["https://ops.example.com".parse().unwrap()];
        let cluster = TestCluster::configured(&db, name).await;
        cluster.add([worker("w1")]).await;
        let preflight = |origin: &'static str| {
            let ask = cluster.rest().ask("OPTIONS", "/api/v1/workers/w1/drain").header("origin", origin);
            ask.header("access-control-request-method", "POST").header("access-control-request-headers", "content-type")
        };
        let welcome = preflight("https://ops.example.com").await;
        assert_eq!((welcome.status, welcome.body.as_str()), (200, ""));
        assert_eq!(welcome.header("access-control-allow-origin"), Some("https://ops.example.com"));
        assert_eq!(welcome.header("access-control-allow-headers"), Some("content-type"));
        assert!(welcome.header("access-control-allow-methods").unwrap().contains("POST"));
        let stranger = preflight("https://evil.example").await;
        assert_eq!(stranger.header("access-control-allow-origin"), None);

        let drain = |origin: &'static str| {
            cluster
                .rest()
                .post("/api/v1/workers/w1/drain")
                .header("origin", origin)
                .header("sec-fetch-site", "cross-site")
        };
        let refused = drain("https://evil.example").await;
        assert_eq!(refused.status, 403);
        refused.assert_house_shape();
        assert_eq!(cluster.worker("w1").await["status"], "active");
        let allowed = drain("https://ops.example.com").await;
        assert_eq!(
            (allowed.status, allowed.header("access-control-allow-origin")),
            (200, Some("https://ops.example.com"))
        );
        let failed = cluster.rest().get("/api/v1/workers/w9").header("origin", "https://ops.example.com").await;
        assert_eq!(
            failed.header("access-control-allow-origin"),
            Some("https://ops.example.com"),
            "failures can be read too"
        );
    }
}
