//! What one caller may take: failed authentications of an address, the cost of the queries of a token, and which address a
//! request counts as.

use aetherium::auth::{Caller, CostLimit};
use aetherium::server::ServerOptions;
use serde_json::{Value, json};

use crate::harness::*;

const WORKERS: &str = "/api/v1/workers";

/// A server whose tokens may spend 1,000 points at once, and 100 per second.
fn frugal(options: &mut ServerOptions) {
    options.cost_limit = CostLimit { per_second: 100 };
}

/// Asks for a worker with ten fields and six labels at most, over GraphQL.
async fn ask_graphql(holder: Rest, accept: &str) -> Answer {
    holder.post("/graphql").header("accept", accept).json(json!({"query": "{ workers { id } }"})).await
}

/// The three headers about what is left.
fn told(answer: &Answer) -> [Option<u64>; 3] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]
        .map(|name| answer.header(name).map(|value| value.parse().unwrap()))
}

on_both_databases! {
    async fn an_address_that_fails_too_often_is_answered_429(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            options.http.failed_authentications_per_minute = 3;
        }).await;
        let viewer = cluster.token(role_token("viewer")).await;
        let bad = || cluster.rest().bearer("aev_nonsense");
        for _ in 0..3 {
            bad().get(WORKERS).await.assert_failure(401, "The token cannot be read, its form or its checksum is wrong: it is sent as `Authorization: Bearer <token>`");
        }
        let message = "Too many requests of this address came with a token that is not accepted; one with a token that is \
                       accepted is answered at any time";
        for answer in [bad().get(WORKERS).await, bad().post("/api/v1/workers/w1/drain").await] {
            answer.assert_failure(429, message);
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=20).contains(&wait), "{wait}");
            assert_eq!(answer.header("www-authenticate"), None);
        }
        for path in ["/graphql", "/api/v1/q/unknown"] {
            let answer = bad().post(path).json(json!({"query": "{ workers { id } }"})).await;
            let error = &answer.json()["errors"][0];
            assert_eq!((answer.status, &error["message"], &error["extensions"]["code"]), (429, &json!(message), &json!("RATE_LIMITED")), "{path}");
        }
        // Who has a token, and who sends none, is answered as ever.
        assert_eq!(cluster.holder(&viewer).get(WORKERS).await.status, 200);
        assert_eq!(cluster.rest().get(WORKERS).await.status, 401);
        // Another address has failures of its own.
        let port = Port::of(&cluster).await;
        let mut connection = port.connection().await;
        assert_eq!(connection.get(WORKERS, Some("aev_nonsense")).await, 401);
        for _ in 0..3 {
            connection.get(WORKERS, Some("aev_nonsense")).await;
        }
        assert_eq!(connection.get(WORKERS, Some("aev_nonsense")).await, 429);
        assert_eq!(connection.get(WORKERS, Some(&viewer.text)).await, 200);
        let mut socket = port.socket().await;
        socket.say(json!({"type": "connection_init", "payload": {"authorization": "aev_nonsense"}})).await;
        assert_eq!(socket.closed().await.0, 4403);
    }

    async fn a_token_that_asks_too_much_waits_and_others_do_not(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, frugal).await;
        cluster.add([worker("w1")]).await;
        let (one, other) = (cluster.token(role_token("operator")).await, cluster.token(role_token("viewer")).await);
        let host = cluster.token(worker_token("w1")).await;
        let incarnation = cluster.holder(&host).put("/api/v1/workers/w1").json(worker("w1").registration()).await.json()["incarnation"].take();
        // A query for one object costs ten points. Nothing is told before half of them are spent.
        for _ in 0..49 {
            let answer = cluster.holder(&one).get("/api/v1/workers/w1").await;
            assert_eq!((answer.status, told(&answer)), (200, [None; 3]));
        }
        let half = cluster.holder(&one).get("/api/v1/workers/w1").await;
        assert_eq!((half.status, told(&half)), (200, [Some(1_000), Some(500), Some(5)]));
        for _ in 0..50 {
            assert_eq!(cluster.holder(&one).get("/api/v1/workers/w1").await.status, 200);
        }
        let message = "The queries of this token cost more than it may spend: its limit is 1000 points at once, and 100 per \
                       second. Try again in 1 s; ask for less at a time, or follow changes instead of asking again.";
        for path in [WORKERS, "/api/v1/workers/w1", "/api/v1/vms", "/api/v1/cluster/stats", "/api/v1/events"] {
            let refused = cluster.holder(&one).get(path).await;
            refused.assert_failure(429, message);
            assert_eq!((refused.header("retry-after"), told(&refused)), (Some("1"), [Some(1_000), Some(0), Some(10)]), "{path}");
        }
        // Both protocols share what is left, whatever the media type.
        for accept in ["application/json", "application/graphql-response+json"] {
            let refused = ask_graphql(cluster.holder(&one), accept).await;
            let expected = json!({"errors": [{"message": message, "extensions": {"code": "RATE_LIMITED", "retryAfterSeconds": 1}}]});
            assert_eq!((refused.status, refused.json(), refused.header("retry-after")), (429, expected, Some("1")), "{accept}");
        }
        let port = Port::of(&cluster).await;
        let mut socket = port.client_of(&one).await;
        socket.subscribe("1", "subscription { clusterStats { totalWorkers } }", json!({})).await;
        let refused = socket.hear().await;
        assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("RATE_LIMITED")));
        // Commands, workers and everybody else go on.
        assert_eq!(cluster.holder(&one).post("/api/v1/workers/w1/drain").await.status, 200);
        let drain = json!({"query": r#"mutation { activateWorker(input: {workerId: "w1"}) { worker { id } } }"#});
        let answer = cluster.holder(&one).post("/graphql").json(drain).await.json();
        assert_eq!(answer["data"]["activateWorker"]["worker"]["id"], "w1", "{answer}");
        let beat = cluster.holder(&host).post("/api/v1/workers/w1/heartbeat").json(json!({"incarnation": incarnation})).await;
        assert_eq!(beat.status, 200, "{}", beat.body);
        assert_eq!(cluster.holder(&other).get("/api/v1/workers/w1").await.status, 200);
        assert_eq!(cluster.rest().get("/api/v1/health").await.status, 200);
        // It is paid for with time, also after what was committed since.
        cluster.advance(seconds(1));
        for _ in 0..11 {
            cluster.holder(&one).get("/api/v1/workers/w1").await;
        }
        assert_eq!(cluster.holder(&one).get("/api/v1/workers/w1").await.status, 429);
        cluster.server().retention_pruner().prune().await.unwrap();
        assert_eq!(cluster.holder(&one).get("/api/v1/workers/w1").await.status, 429);
        cluster.advance(minutes(1));
        let answer = cluster.holder(&one).get("/api/v1/workers/w1").await;
        assert_eq!((answer.status, told(&answer)), (200, [None; 3]));
    }

    async fn sign_ins_that_fail_count_and_sessions_spend_the_points_of_their_token(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            frugal(options);
            options.http.failed_authentications_per_minute = 3;
        }).await;
        let (one, other) = (cluster.token(role_token("viewer")).await, cluster.token(role_token("viewer")).await);
        let session = cluster.session(&one).await;
        // To sign in costs more than the token had, so that neither can ask now.
        for answer in [cluster.holder(&one).get(WORKERS).await, cluster.page_of(&session).get(WORKERS).await] {
            assert_eq!(answer.status, 429, "{}", answer.body);
        }
        let again = cluster.rest().post("/api/v1/session").json(json!({"token": one.text})).await;
        assert_eq!(again.status, 429, "{}", again.body);
        let opened = cluster.rest().post("/api/v1/session").json(json!({"token": other.text})).await;
        assert_eq!(opened.status, 201, "{}", opened.body);

        let statuses = async |body: Value| {
            let mut statuses = Vec::new();
            for _ in 0..2 {
                statuses.push(cluster.rest().post("/api/v1/session").json(body.clone()).await.status);
            }
            statuses
        };
        assert_eq!(statuses(json!({"token": "aev_nonsense"})).await, [401, 401]);
        assert_eq!(statuses(json!({"code": "aec_nonsense"})).await, [401, 429]);
        assert_eq!(cluster.rest().bearer("aev_nonsense").get("/api/v1/session").await.status, 429);
        // A page has to learn that its session has ended, however often it asks.
        cluster.server().resolvers().revoke_token(&Caller::server(), &session.id).await.unwrap();
        for _ in 0..5 {
            assert_eq!(cluster.page_of(&session).get("/api/v1/session").await.status, 401);
        }
    }

    async fn a_query_costs_what_it_reads(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, frugal).await;
        cluster.add((0..200).map(|number| worker(&format!("w{number}")))).await;
        for (path, at_least) in [(WORKERS, 210), ("/api/v1/cluster/distribution", 210), ("/api/v1/events?limit=300", 310), ("/api/v1/workers?search=none", 210)] {
            let viewer = cluster.token(role_token("viewer")).await;
            let mut answered = 0;
            while cluster.holder(&viewer).get(path).await.status == 200 {
                answered += 1;
            }
            assert!((1..=1_000 / at_least + 1).contains(&answered), "{path}: {answered}");
        }
        // An operation says what it costs, and that is what it spends.
        let viewer = cluster.token(role_token("viewer")).await;
        let query = json!({"query": "{ workersConnection(first: 50) { nodes { id } } }", "extensions": {"cost": true}});
        let ask = || cluster.holder(&viewer).post("/graphql").json(query.clone());
        let cost = ask().await.json()["extensions"]["cost"]["requested"].as_u64().unwrap();
        let mut answered = 1;
        while ask().await.status == 200 {
            answered += 1;
        }
        assert_eq!(answered, 1_000_u64.div_ceil(cost));
    }

    async fn behind_trusted_proxies_a_client_has_its_own_address(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add(["w0", "w1", "w2"].map(worker)).await;
        cluster.into_server().stop().await;
        for (number, (trusted, address)) in
            [(None, "127.0.0.1"), (Some("127.0.0.0/8"), "192.0.2.7"), (Some("10.0.0.0/8"), "127.0.0.1")].into_iter().enumerate()
        {
            let cluster = TestCluster::configured(&db, |options| {
                options.http.trusted_proxies = trusted.into_iter().map(|network| network.parse().unwrap()).collect();
            }).await;
            let operator = cluster.token(role_token("operator")).await;
            let port = Port::of(&cluster).await;
            let forwarded = [("authorization", &*operator.bearer()), ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 127.0.0.9")];
            let forwarded = if trusted == Some("127.0.0.0/8") { forwarded } else { [forwarded[0], ("x-forwarded-for", "192.0.2.7")] };
            let path = format!("/api/v1/workers/w{number}/drain");
            assert_eq!(HttpStream::post(&port.authority(), &path, &forwarded, &json!({})).await.status, 200);
            let events = cluster.holder(&operator).get("/api/v1/events?actor=operator&limit=500").await.json();
            let drained: Vec<_> = events["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "worker_drain_started").collect();
            assert_eq!(drained.last().unwrap()["address"], address, "{trusted:?}");
            cluster.into_server().stop().await;
        }
    }
}
