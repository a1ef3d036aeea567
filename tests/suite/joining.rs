//! Joining: a join token gives a worker a token of its own, once for each use. Who may use one at all is in
//! `access_matrix`, what the worker's own token may is in `tokens_of_workers`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use aetherium::resolvers::tokens::TokenInput;

use crate::harness::*;
use crate::log_lines::listen_at;

const USED_UP: &str = "The join token is used up: it lets workers join once. An admin creates another one";

fn known(id: &str) -> String {
    format!(
        "Worker {id} is known already, and this join token is for new workers. Choose another id; or, for this worker to \
         join anew, an admin creates a join token for it: `aetherium token create --join --worker {id}`"
    )
}

fn not_its(id: &str) -> String {
    format!("The token does not speak for worker {id}: a worker is spoken for by the token that registered it")
}

async fn register(cluster: &TestCluster, token: &TestToken, id: &str) -> Answer {
    cluster.holder(token).put(&format!("/api/v1/workers/{id}")).json(worker(id).registration()).await
}

async fn beat(cluster: &TestCluster, token: &TestToken, id: &str, incarnation: u64) -> Answer {
    let body = json!({"incarnation": incarnation});
    cluster.holder(token).post(&format!("/api/v1/workers/{id}/heartbeat")).json(body).await
}

/// A request to join, which can be sent again.
async fn ask(cluster: &TestCluster, join_token: &TestToken, id: &str, body: &Value) -> Answer {
    cluster.holder(join_token).post(&format!("/api/v1/workers/{id}/join")).json(body.clone()).await
}

async fn revoke(cluster: &TestCluster, admin: &TestToken, token: &TestToken) {
    assert_eq!(cluster.holder(admin).delete(&format!("/api/v1/tokens/{}", token.id)).await.status, 204);
}

/// A token as the list shows it.
async fn listed(cluster: &TestCluster, admin: &TestToken, id: &str) -> Value {
    let mut list = cluster.holder(admin).get("/api/v1/tokens").await.json();
    let tokens = list["tokens"].as_array_mut().unwrap();
    tokens.iter_mut().find(|token| token["id"] == id).unwrap_or_else(|| panic!("there is no {id}")).take()
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses
}

on_both_databases! {
    async fn a_worker_joins_and_speaks_for_itself_from_then_on(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let join = cluster.token(join_token(None, 2)).await;
        cluster.advance(seconds(5));
        let (own, answer) = cluster.join(&join, "w1").await;
        answer.assert_json(200, json!({"worker_id": "w1", "token_id": own.id, "joined_at": "2025-11-02T10:00:05Z"}));
        // It is not registered by that, and its token is one of its own.
        assert_eq!(cluster.holder(&admin).get("/api/v1/workers/w1").await.status, 404);
        assert_eq!(listed(&cluster, &admin, &own.id).await, json!({
            "id": own.id, "kind": "bearer", "name": "w1", "role": "worker", "state": "live", "worker_id": "w1", "created_by": join.id,
            "created_at": "2025-11-02T10:00:05Z", "expires_at": null, "revoked_at": null, "last_used_at": null,
            "revision": cluster.revision(),
        }));
        assert_eq!(register(&cluster, &own, "w1").await.status, 201);
        assert_eq!(beat(&cluster, &own, "w1", 1).await.status, 200);
        register(&cluster, &own, "w2").await.assert_failure(403, &not_its("w2"));

        // The same by GraphQL.
        let (second, body) = own_token();
        let query = "mutation($input: JoinWorkerInput!) { joinWorker(input: $input) { workerId tokenId joinedAt } }";
        let input = json!({"workerId": "w2", "tokenId": body["token_id"], "tokenSha256": body["token_sha256"]});
        let body = json!({"query": query, "variables": {"input": input}});
        for _ in 0..2 {
            let answer = cluster.holder(&join).post("/graphql").json(body.clone()).await.json();
            let joined = json!({"workerId": "w2", "tokenId": second.id, "joinedAt": "2025-11-02T10:00:05Z"});
            assert_eq!(answer["data"]["joinWorker"], joined, "{answer}");
        }
        assert_eq!(register(&cluster, &second, "w2").await.status, 201);
        let used = listed(&cluster, &admin, &join.id).await;
        assert_eq!(
            [&used["role"], &used["max_uses"], &used["uses"], &used["expires_at"], &used["state"]],
            [&json!("join"), &json!(2), &json!(2), &json!("2025-11-02T11:00:00Z"), &json!("live")]
        );
        assert_eq!(used.get("worker_id"), None);
        let query = json!({"query": "{ tokens { id maxUses uses } }"});
        let tokens = cluster.holder(&admin).post("/graphql").json(query).await.json();
        let counts = pick(&tokens["data"]["tokens"], ["id", "maxUses", "uses"]);
        assert!(counts.contains(&[json!(join.id), json!(2), json!(2)]), "{counts:?}");
        assert!(counts.contains(&[json!(own.id), Value::Null, Value::Null]), "{counts:?}");

        // The join token's end is not that of whom it let in.
        revoke(&cluster, &admin, &join).await;
        let cluster = cluster.restart().await;
        assert_eq!(beat(&cluster, &own, "w1", 1).await.status, 200);
        assert_eq!(beat(&cluster, &second, "w2", 1).await.status, 200);
        cluster.advance(minutes(61));
        assert_eq!(beat(&cluster, &own, "w1", 1).await.status, 200);
    }

    async fn a_lost_answer_is_given_again_at_no_further_use(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (join, other) = (cluster.token(join_token(None, 1)).await, cluster.token(join_token(None, 9)).await);
        let (own, body) = own_token();
        let first = ask(&cluster, &join, "w1", &body).await;
        assert_eq!(first.status, 200, "{}", first.body);
        let revision = cluster.revision();
        cluster.advance(seconds(30));
        // Whatever has become of the worker since: also at once, and many times.
        let again = join_all((0..5).map(|_| ask(&cluster, &join, "w1", &body))).await;
        assert!(again.iter().all(|answer| (answer.status, &answer.body) == (200, &first.body)));
        assert_eq!(cluster.revision(), revision);
        assert_eq!(register(&cluster, &own, "w1").await.status, 201);
        let cluster = cluster.restart().await;
        let again = ask(&cluster, &join, "w1", &body).await;
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert_eq!(listed(&cluster, &admin, &join.id).await["uses"], 1);

        // Anything else is another request, and the token is used up for that; whoever is known or not.
        let before = cluster.revision();
        for id in ["w1", "w2"] {
            cluster.join(&join, id).await.1.assert_failure(409, USED_UP);
        }
        // The token has been taken: for another worker, by another join token, or with another hash.
        let taken = format!("There is another token with the id {}. Join with a new one", own.id);
        let forged = with(body.clone(), json!({"token_sha256": own_token().1["token_sha256"]}));
        for (token, id, body) in [(&join, "w2", &body), (&other, "w1", &body), (&other, "w2", &body), (&join, "w1", &forged)] {
            ask(&cluster, token, id, body).await.assert_failure(409, &taken);
        }
        let of_admin = with(body.clone(), json!({"token_id": admin.id}));
        let taken = taken.replace(&own.id, &admin.id);
        ask(&cluster, &other, "w2", &of_admin).await.assert_failure(409, &taken);
        assert_eq!(cluster.revision(), before);

        // It is not let in again with a token that was taken back from it.
        revoke(&cluster, &admin, &own).await;
        let ended = "Worker w1 has joined with this token of its own before, which was revoked since. Join with a new one";
        ask(&cluster, &join, "w1", &body).await.assert_failure(409, ended);
        // Nor by a join token that has ended.
        let (_, body) = own_token();
        assert_eq!(ask(&cluster, &other, "w3", &body).await.status, 200);
        revoke(&cluster, &admin, &other).await;
        ask(&cluster, &other, "w3", &body).await.assert_failure(401, "The token has been revoked");
        cluster.advance(minutes(60));
        ask(&cluster, &join, "w1", &body).await.assert_failure(401, "The token has expired");
    }

    async fn a_token_lets_in_as_many_as_it_may_also_at_once(cluster: TestCluster) {
        let join = cluster.token(join_token(None, 3)).await;
        let joined = join_all((0..8).map(|number| {
            let (cluster, join) = (&cluster, &join);
            async move { cluster.join(join, &format!("w{number}")).await.1 }
        }))
        .await;
        assert_eq!(statuses(&joined), [200, 200, 200, 409, 409, 409, 409, 409]);
        let full = USED_UP.replace("once", "3 times");
        joined.iter().filter(|answer| answer.status == 409).for_each(|answer| answer.assert_failure(409, &full));
        let cluster = cluster.restart().await;
        cluster.join(&join, "w9").await.1.assert_failure(409, &full);
    }

    async fn of_those_who_join_as_one_worker_at_once_one_is_let_in(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        for round in 0..5 {
            // Each with a join token of its own, or all with one of many uses.
            let id = format!("w{round}");
            let all = cluster.token(join_token(None, 6)).await;
            let mut tokens = vec![all.clone(); 3];
            for _ in 0..3 {
                tokens.push(cluster.token(join_token(None, 1)).await);
            }
            let joined = join_all(tokens.iter().map(|token| cluster.join(token, &id))).await;
            let (winners, losers): (Vec<_>, Vec<_>) = joined.iter().partition(|(_, answer)| answer.status == 200);
            assert_eq!(winners.len(), 1);
            losers.iter().for_each(|(_, answer)| answer.assert_failure(409, &known(&id)));
            assert_eq!(register(&cluster, &winners[0].0, &id).await.status, 201);
            for (token, _) in losers {
                register(&cluster, token, &id).await.assert_failure(401, "The token is not one of this server");
            }
            let mut uses = 0;
            for token in tokens.iter().skip(2) {
                uses += listed(&cluster, &admin, &token.id).await["uses"].as_u64().unwrap();
            }
            assert_eq!(uses, 1, "a refusal is no use");
        }
    }

    async fn who_is_known_does_not_join_as_somebody_new(cluster: TestCluster) {
        // From before there were tokens.
        cluster.add([worker("open")]).await;
        let admin = cluster.token(role_token("admin")).await;
        let join = cluster.token(join_token(None, 9)).await;
        let gateway = cluster.token(gateway_token(1)).await;
        assert_eq!(register(&cluster, &gateway, "owned").await.status, 201);
        let (of_left, _) = cluster.join(&join, "left").await;
        assert_eq!(register(&cluster, &of_left, "left").await.status, 201);
        assert_eq!(cluster.holder(&of_left).delete("/api/v1/workers/left").await.status, 204);
        let (waiting, _) = cluster.join(&join, "waiting").await;
        let by_hand = cluster.token(worker_token("by hand")).await;
        let before = cluster.revision();
        for (id, path) in [("open", "open"), ("owned", "owned"), ("left", "left"), ("waiting", "waiting"), ("by hand", "by%20hand")] {
            cluster.join(&join, path).await.1.assert_failure(409, &known(id));
        }
        assert_eq!((cluster.revision(), &listed(&cluster, &admin, &join.id).await["uses"]), (before, &json!(2)));

        // Purged, and without a token that would be accepted, it is nobody. A token for it is enough to be somebody.
        assert_eq!(cluster.holder(&admin).delete("/api/v1/workers/left?purge=true").await.status, 204);
        cluster.join(&join, "left").await.1.assert_failure(409, &known("left"));
        for (token, id) in [(&of_left, "left"), (&waiting, "waiting"), (&by_hand, "by%20hand")] {
            revoke(&cluster, &admin, token).await;
            assert_eq!(cluster.join(&join, id).await.1.status, 200, "{id}");
        }
        let short = TokenInput { expires_in: Some("1m".into()), ..worker_token("short") };
        cluster.token(short).await;
        cluster.join(&join, "short").await.1.assert_failure(409, &known("short"));
        cluster.advance(minutes(1));
        assert_eq!(cluster.join(&join, "short").await.1.status, 200);
    }

    async fn a_join_token_for_a_worker_replaces_what_spoke_for_it(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (by_hand, gateway) = (cluster.token(worker_token("w1")).await, cluster.token(gateway_token(1)).await);
        assert_eq!(register(&cluster, &gateway, "w1").await.status, 201);
        assert_eq!(cluster.holder(&admin).post("/api/v1/workers/w1/drain").await.status, 200);
        let shown = async |cluster: &TestCluster| {
            let mut shown = cluster.holder(&admin).get("/api/v1/workers/w1").await.json();
            shown["revision"].take();
            shown
        };
        let before = shown(&cluster).await;
        let port = Port::of(&cluster).await;
        let mut watching = port.client_of(&by_hand).await;

        let join = cluster.token(join_token(Some("w1"), 2)).await;
        cluster.join(&join, "w2").await.1.assert_failure(403, "The join token is for one worker, which is not w2");
        let (own, answer) = cluster.join(&join, "w1").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        // What the worker is, and what operators want of it, stays.
        assert_eq!(shown(&cluster).await, before);
        // The tokens that name it have ended, with what was begun with them; the gateway is left with its others.
        assert_eq!(watching.closed().await, (4403, "Forbidden: The token has been revoked".to_owned()));
        register(&cluster, &by_hand, "w1").await.assert_failure(401, "The token has been revoked");
        beat(&cluster, &gateway, "w1", 1).await.assert_failure(403, &not_its("w1"));
        assert_eq!(register(&cluster, &gateway, "w1").await.status, 409);
        assert_eq!(register(&cluster, &gateway, "w9").await.status, 201, "it has room for another one");
        // The new one speaks for it at once.
        assert_eq!(beat(&cluster, &own, "w1", 1).await.status, 200);
        let cluster = cluster.restart().await;
        assert_eq!(beat(&cluster, &own, "w1", 1).await.status, 200);

        // And is replaced in turn. Its own request, sent late, does not take the worker back.
        let (second, body) = own_token();
        assert_eq!(ask(&cluster, &join, "w1", &body).await.status, 200);
        beat(&cluster, &own, "w1", 1).await.assert_failure(401, "The token has been revoked");
        assert_eq!(beat(&cluster, &second, "w1", 1).await.status, 200);
        assert_eq!(ask(&cluster, &join, "w1", &body).await.status, 200);
        cluster.join(&join, "w1").await.1.assert_failure(409, &USED_UP.replace("once", "2 times"));

        // It may be for a worker that is still to come.
        let join = cluster.token(join_token(Some("new"), 1)).await;
        let (own, _) = cluster.join(&join, "new").await;
        assert_eq!(register(&cluster, &own, "new").await.status, 201);
    }

    async fn that_a_worker_was_let_in_is_an_event(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let before = cluster.token(worker_token("w1")).await;
        let join = cluster.token(join_token(Some("w1"), 1)).await;
        let cursor = cluster.holder(&admin).get("/api/v1/events").await.json()["end_cursor"].as_str().unwrap().to_owned();
        let (own, answer) = cluster.join(&join, "w1").await;
        let request = answer.header("x-request-id").unwrap();
        let events = cluster.holder(&admin).get(&format!("/api/v1/events?after={cursor}")).await.json();
        let keys = ["kind", "worker_id", "actor", "actor_token_id", "actor_name", "request_id", "message"];
        let by = |kind: &str, message: String| {
            [json!(kind), json!("w1"), json!("operator"), json!(join.id), json!("the join token"), json!(request), json!(message)]
        };
        assert_eq!(pick(&events["events"], keys), [
            by("token_revoked", format!("Token {} (token of w1) was revoked: worker w1 joins anew", before.id)),
            by("worker_joined", format!("Worker w1 joined with token {} (the join token), its own is {}", join.id, own.id)),
        ]);
        // The worker is not there yet, for those who ask by way of the event.
        let query = "{ events(first: 9, filter: {kinds: [WORKER_JOINED]}) { nodes { kind workerId worker { id } } } }";
        let told = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.json();
        assert_eq!(
            told["data"]["events"]["nodes"],
            json!([{"kind": "WORKER_JOINED", "workerId": "w1", "worker": null}]),
            "{told}"
        );
    }

    async fn what_is_no_request_to_join_is_told_and_not_repeated(cluster: TestCluster) {
        // Nobody makes a token over the network while the server is open: it would be closed by that.
        let first = "The first token is made where the database is: `aetherium token create --role admin --name me`";
        let (own, body) = own_token();
        cluster.rest().post("/api/v1/workers/w1/join").json(body.clone()).await.assert_failure(403, first);
        let join = cluster.token(join_token(None, 1)).await;
        let before = cluster.revision();
        let (id, hash) = (body["token_id"].as_str().unwrap(), body["token_sha256"].as_str().unwrap());
        for (token_id, token_sha256, argument) in [
            ("", hash, "token_id"),
            (&id[1..], hash, "token_id"),
            ("0123456789a-", hash, "token_id"),
            (&own.text, hash, "token_id"),
            (id, "", "token_sha256"),
            (id, &hash[1..], "token_sha256"),
            (id, &format!("{hash}0"), "token_sha256"),
            (id, &format!("+{}", &hash[1..]), "token_sha256"),
            (id, &"ä".repeat(32), "token_sha256"),
            (id, &own.text[..64], "token_sha256"),
        ] {
            let answer = ask(&cluster, &join, "w1", &json!({"token_id": token_id, "token_sha256": token_sha256})).await;
            assert_eq!((answer.status, &answer.json()["argument"]), (400, &json!(argument)), "{}", answer.body);
            assert!(!answer.body.contains(&own.secret()[..16]), "{}", answer.body);
        }
        for body in [json!({}), json!([]), json!({"token_id": id}), json!({"token_id": 5, "token_sha256": hash}), json!(null)] {
            ask(&cluster, &join, "w1", &body).await.assert_house_shape();
            assert_eq!(ask(&cluster, &join, "w1", &body).await.status, 400, "{body}");
        }
        for path in ["%0A", &"x".repeat(256)] {
            assert_eq!(ask(&cluster, &join, path, &body).await.status, 400, "{path}");
        }
        assert_eq!(cluster.revision(), before);
        // In capital letters it is the same hash, and what is not known is ignored, as in all that workers send.
        let shouted = json!({"token_id": id, "token_sha256": hash.to_uppercase(), "more": 1});
        assert_eq!(ask(&cluster, &join, "w1", &shouted).await.status, 200);
        assert_eq!(register(&cluster, &own, "w1").await.status, 201);
    }

    async fn what_a_join_token_cannot_be_is_told(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let before = cluster.revision();
        for (more, argument) in [
            (json!({"max_uses": 0}), "max_uses"),
            (json!({"max_uses": -1}), "max_uses"),
            (json!({"max_uses": 10_001}), "max_uses"),
            (json!({"max_uses": 1_u64 << 53}), "max_uses"),
            (json!({"max_workers": 1}), "max_workers"),
            (json!({"worker_id": "w1", "max_workers": 1}), "max_workers"),
            (json!({"worker_id": "a/b"}), "worker_id"),
            (json!({"expires_in": "721h"}), "expires_in"),
            (json!({"expires_in": "0s"}), "expires_in"),
            (json!({"role": "viewer", "max_uses": 1}), "max_uses"),
            (json!({"role": "worker", "worker_id": "w1", "max_uses": 1}), "max_uses"),
        ] {
            let mut body = json!({"name": "n", "role": "join"});
            more.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
            let answer = cluster.holder(&admin).post("/api/v1/tokens").json(body.clone()).await;
            assert_eq!((answer.status, &answer.json()["argument"]), (400, &json!(argument)), "{body}: {}", answer.body);
        }
        assert_eq!(cluster.revision(), before);
        let body = json!({"name": "n", "role": "join", "max_uses": 10_000, "worker_id": "w1", "expires_in": "720h"});
        let created = cluster.holder(&admin).post("/api/v1/tokens").json(body).await.json();
        assert!(created["secret"].as_str().unwrap().starts_with("aej_"), "{created}");
        assert_eq!(
            pick(&json!([created["token"]]), ["role", "worker_id", "max_uses", "uses", "expires_at"]),
            [[json!("join"), json!("w1"), json!(10_000), json!(0), json!("2025-12-02T10:00:00Z")]]
        );
        let query = r#"mutation { createToken(input: {name: "n", role: JOIN, maxUses: 2}) {
            secret token { role workerId maxUses uses expiresAt } } }"#;
        let created = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.json();
        let token = json!({"role": "JOIN", "workerId": null, "maxUses": 2, "uses": 0, "expiresAt": "2025-11-02T11:00:00Z"});
        assert_eq!(created["data"]["createToken"]["token"], token);
    }

    async fn neither_the_join_token_nor_the_workers_own_is_written_anywhere(db: TestDatabase) {
        let (lines, _guard, _second) = listen_at(tracing::Level::TRACE);
        let cluster = TestCluster::on(&db).await;
        let admin = cluster.token(role_token("admin")).await;
        let join = cluster.token(join_token(None, 2)).await;
        let (own, body) = own_token();
        let mut seen = String::new();
        for (id, body) in [("w1", &body), ("w1", &body), ("w2", &body), ("w1", &own_token().1), ("w3", &json!({"token_id": own.text}))] {
            seen += &ask(&cluster, &join, id, body).await.body;
        }
        assert_eq!(register(&cluster, &own, "w1").await.status, 201);
        for path in ["/api/v1/tokens", "/api/v1/events?limit=500", "/api/v1/workers"] {
            seen += &cluster.holder(&admin).get(path).await.body;
        }
        cluster.into_server().stop().await;
        let logged = lines.take_text();
        assert!(logged.contains("Worker w1 joined, its token is"), "it was captured");
        let stored = db.dump().await;
        assert!(stored.contains(&own.id) && stored.contains("worker_joined"), "it is everything: {stored}");
        for token in [&join, &own] {
            for (place, text) in [("answers", &seen), ("log", &logged), ("database", &stored)] {
                assert!(!text.contains(&token.secret()[..16]), "{place}: the secret of {}", token.id);
            }
        }
    }
}

/// On PostgreSQL: uses are counted for all servers, and one id is one worker's at all of them.
#[tokio::test]
async fn a_token_lets_in_as_many_as_it_may_through_several_servers_at_once() {
    TestDatabase::postgres()
        .await
        .run(async |one: TestCluster| {
            let two = one.another_server().await;
            for round in 0..5 {
                let (join, others) = (one.token(join_token(None, 2)).await, two.token(join_token(None, 9)).await);
                let revision = one.revision().max(two.revision());
                for cluster in [&one, &two] {
                    let resolvers = cluster.server().resolvers();
                    let caller = aetherium::auth::Caller::server();
                    resolvers.read_at_least(&caller, Some(revision)).await.unwrap();
                }
                let servers = [&one, &two, &one, &two, &one, &two];
                let joined = join_all(servers.iter().enumerate().map(|(number, cluster)| {
                    let join = &join;
                    async move { cluster.join(join, &format!("r{round}-{number}")).await.1 }
                }))
                .await;
                assert_eq!(statuses(&joined), [200, 200, 409, 409, 409, 409], "round {round}");

                let id = format!("r{round}-same");
                let joined = join_all(servers.map(|cluster| cluster.join(&others, &id))).await;
                let answers: Vec<_> = joined.into_iter().map(|(_, answer)| answer).collect();
                assert_eq!(statuses(&answers), [200, 409, 409, 409, 409, 409], "round {round}");

                // One request that both servers get, as from a client whose first server did not answer in time.
                let (own, body) = own_token();
                let id = format!("r{round}-twice");
                let same = join_all([&one, &two].map(|cluster| ask(cluster, &others, &id, &body))).await;
                assert_eq!((same[0].status, &same[0].body), (200, &same[1].body), "round {round}");
                assert_eq!(register(&two, &own, &id).await.status, 201);
            }
        })
        .await;
}
