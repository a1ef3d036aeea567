//! Tokens: how they are made, what of them is shown and kept, and what ends with them. Who may do what with one is in
//! `access_matrix`, tokens for workers are in `tokens_of_workers`.

use aetherium::auth::Caller;
use aetherium::resolvers::tokens::TokenInput;
use axum::body::Body;
use chrono::TimeDelta;
use futures_util::future::join_all;
use futures_util::poll;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::harness::*;
use crate::log_lines::listen_at;

const SSE: (&str, &str) = ("accept", "text/event-stream");
const NDJSON: (&str, &str) = ("accept", "application/x-ndjson");
const STATS: &str = "subscription { clusterStats { totalWorkers } }";

const MISSING: &str = "This server asks for a token: send it as `Authorization: Bearer <token>`";
const MALFORMED: &str =
    "The token cannot be read, its form or its checksum is wrong: it is sent as `Authorization: Bearer <token>`";
const UNKNOWN: &str = "The token is not one of this server";
const EXPIRED: &str = "The token has expired";
const REVOKED: &str = "The token has been revoked";

fn expiring(role: &str, expires_in: &str) -> TokenInput {
    TokenInput { expires_in: Some(expires_in.to_owned()), ..role_token(role) }
}

/// Revokes a token as the server does it for `aetherium token revoke`.
async fn revoke(cluster: &TestCluster, token: &TestToken) {
    cluster.server().resolvers().revoke_token(&Caller::server(), &token.id).await.unwrap();
}

/// Holds it that a token is accepted, or refused with this sentence, by both protocols.
async fn assert_is(cluster: &TestCluster, token: &TestToken, refusal: Option<&str>) {
    let answer = cluster.holder(token).get("/api/v1/workers").await;
    let query = json!({"query": "{ workers { id } }"});
    let graphql = cluster.holder(token).post("/graphql").json(query).await;
    match refusal {
        None => assert_eq!((answer.status, graphql.status), (200, 200), "{} {}", answer.body, graphql.body),
        Some(message) => {
            answer.assert_failure(401, message);
            assert_eq!(graphql.status, 401);
            assert_eq!(graphql.json()["errors"][0]["message"], message);
            assert_eq!(graphql.json()["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        }
    }
}

/// One of each that outlives its request.
pub struct Open {
    socket: Socket,
    graphql: HttpStream,
    sse: HttpStream,
    lines: HttpStream,
    poll: HttpStream,
}

impl Open {
    /// Begins them with a token, or without; each has had its first item, except for the long poll.
    async fn begin(cluster: &TestCluster, token: Option<&TestToken>) -> Self {
        let bearer = token.map(TestToken::bearer);
        let headers: Vec<_> = bearer.as_deref().map(|bearer| ("authorization", bearer)).into_iter().collect();
        Self::begin_with(cluster, &headers).await
    }

    /// The same with these headers.
    pub async fn begin_with(cluster: &TestCluster, own: &[(&str, &str)]) -> Self {
        let port = Port::of(cluster).await;
        let authority = port.authority();
        let headers =
            |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> { own.iter().chain(more).copied().collect() };
        let handshake = port.handshake().protocol(TRANSPORT_WS);
        let handshake = own.iter().fold(handshake, |handshake, (name, value)| handshake.header(name, value));
        let mut socket = Socket::open(handshake).await.expect("the handshake should succeed");
        socket.begin().await;
        socket.subscribe("1", STATS, json!({})).await;
        socket.next("1").await;
        let mut graphql = HttpStream::post(&authority, "/graphql", &headers(&[SSE]), &json!({"query": STATS})).await;
        assert!(graphql.message().await.json()["data"].is_object());
        let mut sse = HttpStream::get(&authority, "/api/v1/events", &headers(&[SSE])).await;
        assert_eq!(sse.message().await.event, "synced");
        let mut lines = HttpStream::get(&authority, "/api/v1/events", &headers(&[NDJSON])).await;
        assert_eq!(lines.line().await["kind"], "synced");
        // It waits before it answers; that it has begun is not seen from outside, and makes no difference.
        let poll = HttpStream::begin(&authority, "/api/v1/workers?wait=60s", &headers(&[])).await;
        // Dropping the port closes it only for new connections.
        std::mem::forget(port);
        Self { socket, graphql, sse, lines, poll }
    }

    /// All of them end, and those that can say why.
    pub async fn assert_ended(mut self, why: &str) {
        assert_eq!(self.socket.closed().await, (4403, format!("Forbidden: {why}")[..].chars().take(123).collect()));
        // What it says last is the error; there may have been statistics before, of the change that ended it.
        let error = in_time(async {
            loop {
                let message = self.graphql.message().await;
                if message.event != "next" || message.json().get("errors").is_some() {
                    break message.json();
                }
            }
        })
        .await;
        assert_eq!(error["errors"][0]["message"], why);
        assert_eq!(error["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        self.graphql.ended().await;
        self.sse.ended().await;
        self.lines.ended().await;
        let poll = self.poll.answered().await;
        assert_eq!((poll.0, &poll.1["message"], &poll.1["code"]), (401, &json!(why), &json!(401)));
    }

    /// All of them go on: they tell of a worker that comes now.
    async fn assert_go_on(mut self, cluster: &TestCluster, registrar: &Rest, id: &str) {
        let known = cluster.server().journal().snapshot().worker_count();
        let registered = registrar.put(&format!("/api/v1/workers/{id}")).json(worker(id).registration()).await;
        assert_eq!(registered.status, 201, "{}", registered.body);
        while self.socket.next("1").await["clusterStats"]["totalWorkers"] != known + 1 {}
        while self.graphql.message().await.json()["data"]["clusterStats"]["totalWorkers"] != known + 1 {}
        while self.sse.message().await.json()["worker_id"] != id {}
        while self.lines.line().await["worker_id"] != id {}
        let poll = self.poll.answered().await;
        assert_eq!((poll.0, &poll.1["total"]), (200, &json!(known + 1)));
    }
}

/// The text of a token with the right checksum.
fn forged(kind: char, id: &str, secret: &str) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let body = format!("ae{kind}_{id}{secret}");
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut checksum = [b'0'; 6];
    for place in checksum.iter_mut().rev() {
        *place = ALPHABET[rest % 62];
        rest /= 62;
    }
    body + str::from_utf8(&checksum).unwrap()
}

on_both_databases! {
    async fn a_server_is_open_until_it_has_a_token(cluster: TestCluster) {
        // Whatever is sent, which may be for a proxy in front of it.
        for value in ["Bearer aea_x", "Bearer", "Basic YTpi"] {
            assert_eq!(cluster.rest().get("/api/v1/workers").header("authorization", value).await.status, 200, "{value}");
        }
        cluster.rest().get("/api/v1/tokens").await.assert_json(200, json!({"total": 0, "tokens": []}));
        // But whoever made the first one over the network would have the server to themselves.
        let first = "The first token is made where the database is: `aetherium token create --role admin --name me`";
        let body = json!({"name": "root", "role": "admin"});
        cluster.rest().post("/api/v1/tokens").json(body.clone()).await.assert_failure(403, first);
        let query = r#"mutation { createToken(input: {name: "root", role: ADMIN}) { secret } }"#;
        let answer = cluster.graphql_answer(query, json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!((&error["message"], &error["extensions"]["code"]), (&json!(first), &json!("FORBIDDEN")));
        assert_eq!(cluster.rest().get("/api/v1/tokens").await.json()["total"], 0);

        let admin = cluster.token(role_token("admin")).await;
        cluster.rest().get("/api/v1/workers").await.assert_failure(401, MISSING);
        cluster.rest().post("/api/v1/tokens").json(body.clone()).await.assert_failure(401, MISSING);
        cluster.advance(minutes(2));
        let created = cluster.holder(&admin).post("/api/v1/tokens").json(body).await;
        assert_eq!((created.status, created.header("cache-control")), (201, Some("no-store")), "{}", created.body);
        let (created, revision) = (created.json(), cluster.revision());
        let (id, secret) = (created["token"]["id"].as_str().unwrap(), created["secret"].as_str().unwrap());
        assert_eq!(created["token"], json!({
            "id": id, "name": "root", "kind": "bearer", "role": "admin", "state": "live", "created_by": admin.id,
            "created_at": "2025-11-02T10:02:00Z", "expires_at": null, "revoked_at": null, "last_used_at": null,
            "revision": revision,
        }));
        assert!(secret.starts_with(&format!("aea_{id}")), "{secret}");
        // The word before it in any case, and any number of spaces.
        for value in [format!("bearer {secret}"), format!("BEARER   {secret}  ")] {
            assert_eq!(cluster.rest().get("/api/v1/tokens").header("authorization", &value).await.status, 200, "{value}");
        }
    }

    async fn both_protocols_make_show_and_revoke_the_same_tokens(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let rest = || cluster.holder(&admin);
        let graphql = async |query: &str| {
            let mut answer = rest().post("/graphql").json(json!({"query": query})).await.json();
            assert_eq!(answer.get("errors"), None, "{query}");
            answer["data"].take()
        };
        let created = graphql(
            r#"mutation { createToken(input: {name: "g", role: WORKER, maxWorkers: 2, expiresIn: "1h"}) {
                secret token { id name role state workerId maxWorkers createdBy createdAt expiresAt revokedAt } } }"#,
        ).await["createToken"].take();
        let id = created["token"]["id"].as_str().unwrap();
        assert_eq!(created["token"], json!({
            "id": id, "name": "g", "role": "WORKER", "state": "LIVE", "workerId": null, "maxWorkers": 2,
            "createdBy": admin.id, "createdAt": START, "expiresAt": "2025-11-02T11:00:00Z", "revokedAt": null,
        }));
        let shown = async || {
            let listed = rest().get("/api/v1/tokens").await.json();
            let tokens = listed["tokens"].as_array().unwrap();
            assert_eq!(listed["total"], 2);
            let ids: Vec<_> = tokens.iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect();
            assert!(ids.is_sorted());
            let again = graphql("{ tokens { id state revokedAt } }").await;
            for (rest, graphql) in tokens.iter().zip(again["tokens"].as_array().unwrap()) {
                assert_eq!((&rest["id"], &rest["revoked_at"]), (&graphql["id"], &graphql["revokedAt"]));
                assert_eq!(rest["state"].as_str().unwrap().to_uppercase(), graphql["state"].as_str().unwrap());
            }
            tokens.iter().find(|token| token["id"] == id).unwrap().clone()
        };
        let expected = json!({
            "id": id, "name": "g", "kind": "bearer", "role": "worker", "state": "live", "max_workers": 2, "created_by": admin.id,
            "created_at": START, "expires_at": "2025-11-02T11:00:00Z", "revoked_at": null, "last_used_at": null,
            "revision": cluster.revision(),
        });
        assert_eq!(shown().await, expected);
        cluster.advance(minutes(60));
        assert_eq!(shown().await, with(expected.clone(), json!({"state": "expired"})));
        cluster.advance(seconds(5));
        let revoked = graphql(&format!(r#"mutation {{ revokeToken(input: {{tokenId: "{id}"}}) {{ token {{ state revokedAt }} }} }}"#)).await;
        assert_eq!(revoked["revokeToken"]["token"], json!({"state": "REVOKED", "revokedAt": "2025-11-02T11:00:05Z"}));
        let changes = json!({"state": "revoked", "revoked_at": "2025-11-02T11:00:05Z", "revision": cluster.revision()});
        assert_eq!(shown().await, with(expected, changes));
    }

    // By the clock alone: that the administrator asks again within the minute is no use that would be noted.
    async fn the_list_has_another_tag_when_a_token_expires(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        cluster.token(expiring("viewer", "30s")).await;
        let ask = || cluster.holder(&admin).get("/api/v1/tokens");
        ask().await;
        let tag = ask().await.header("etag").unwrap().to_owned();
        cluster.advance(seconds(29));
        assert_eq!(ask().header("if-none-match", &tag).await.status, 304);
        cluster.advance(seconds(1));
        let answer = ask().header("if-none-match", &tag).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(r#""state":"expired""#), "{}", answer.body);
    }

    async fn bad_input_is_told_by_its_argument_and_changes_nothing(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (before, list) = (cluster.revision(), cluster.holder(&admin).get("/api/v1/tokens").await.body);
        for (body, argument) in [
            (json!({"name": "n", "role": "root"}), "role"),
            (json!({"name": "n", "role": "Admin"}), "role"),
            (json!({"name": "n", "role": ""}), "role"),
            (json!({"name": "", "role": "viewer"}), "name"),
            (json!({"name": "n\nn", "role": "viewer"}), "name"),
            (json!({"name": "n".repeat(100_000), "role": "viewer"}), "name"),
            (json!({"name": "n", "role": "viewer", "worker_id": "w1"}), "worker_id"),
            (json!({"name": "n", "role": "operator", "max_workers": 1}), "max_workers"),
            (json!({"name": "n", "role": "admin", "worker_id": "w1", "max_workers": 1}), "worker_id"),
            (json!({"name": "n", "role": "worker"}), "worker_id"),
            (json!({"name": "n", "role": "worker", "worker_id": ""}), "worker_id"),
            (json!({"name": "n", "role": "worker", "worker_id": "a b\n"}), "worker_id"),
            (json!({"name": "n", "role": "worker", "worker_id": "w1", "max_workers": 1}), "max_workers"),
            (json!({"name": "n", "role": "worker", "max_workers": 0}), "max_workers"),
            (json!({"name": "n", "role": "worker", "max_workers": -1}), "max_workers"),
            (json!({"name": "n", "role": "worker", "max_workers": 1_000_001}), "max_workers"),
            (json!({"name": "n", "role": "viewer", "expires_in": "x"}), "expires_in"),
            (json!({"name": "n", "role": "viewer", "expires_in": "-1h"}), "expires_in"),
            (json!({"name": "n", "role": "viewer", "expires_in": "0s"}), "expires_in"),
            (json!({"name": "n", "role": "viewer", "expires_in": "87601h"}), "expires_in"),
            (json!({"name": "n", "role": "viewer", "expires_in": ""}), "expires_in"),
        ] {
            let answer = cluster.holder(&admin).post("/api/v1/tokens").json(body.clone()).await;
            assert_eq!((answer.status, &answer.json()["argument"]), (400, &json!(argument)), "{body}: {}", answer.body);
            answer.assert_house_shape();
        }
        for body in [
            json!({"name": "n", "role": "viewer", "expiry": "1h"}),
            json!({"name": "n", "role": "viewer", "created_by": "x"}),
            json!({"name": "n"}),
            json!({"role": "viewer"}),
            json!({"name": 1, "role": "viewer"}),
            json!({"name": "n", "role": "viewer", "max_workers": 1.5}),
            json!([]),
        ] {
            let answer = cluster.holder(&admin).post("/api/v1/tokens").json(body.clone()).await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.body);
            answer.assert_house_shape();
        }
        for (input, code) in [
            (r#"name: "", role: VIEWER"#, "INVALID_ARGUMENT"),
            (r#"name: "n", role: VIEWER, workerId: "w1""#, "INVALID_ARGUMENT"),
            (r#"name: "n", role: WORKER, maxWorkers: 0"#, "INVALID_ARGUMENT"),
            (r#"name: "n", role: WORKER"#, "INVALID_ARGUMENT"),
        ] {
            let query = format!("mutation {{ createToken(input: {{{input}}}) {{ secret }} }}");
            let answer = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.json();
            assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
        }
        assert_eq!(cluster.revision(), before);
        assert_eq!(cluster.holder(&admin).get("/api/v1/tokens").await.body, list);
    }

    async fn a_secret_is_shown_once_and_kept_nowhere(db: TestDatabase) {
        let (lines, _guard, _second) = listen_at(tracing::Level::TRACE);
        let cluster = TestCluster::on(&db).await;
        let admin = cluster.token(role_token("admin")).await;
        let mut tokens = vec![admin.clone(), cluster.token(worker_token("w1")).await];
        for role in ["viewer", "operator"] {
            let body = json!({"name": role, "role": role});
            let ask = cluster.holder(&admin).post("/api/v1/tokens").header("idempotency-key", role).json(body);
            let created = ask.await.json();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            tokens.push(TestToken { id: text(&created["token"]["id"]), text: text(&created["secret"]) });
        }
        let query = r#"mutation { createToken(input: {name: "g", role: ADMIN}) { secret token { id } } }"#;
        let created = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.json();
        let created = &created["data"]["createToken"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        tokens.push(TestToken { id: text(&created["token"]["id"]), text: text(&created["secret"]) });

        // They are used, and answers to requests with them are kept.
        let registration = worker("w1").registration();
        assert_eq!(cluster.holder(&tokens[1]).put("/api/v1/workers/w1").json(registration).await.status, 201);
        let drain = cluster.holder(&tokens[3]).post("/api/v1/workers/w1/drain").header("idempotency-key", "k1").await;
        assert_eq!(drain.status, 200);
        let beat = json!({"incarnation": 1});
        let beat = cluster.holder(&tokens[1]).post("/api/v1/workers/w1/heartbeat").header("idempotency-key", "k2").json(beat);
        assert_eq!(beat.await.status, 200);
        let port = Port::of(&cluster).await;
        for token in &tokens {
            cluster.holder(token).get("/api/v1/workers").await;
            let mut socket = port.socket().await;
            socket.say(json!({"type": "connection_init", "payload": {"authorization": token.bearer()}})).await;
            assert_eq!(socket.hear().await["type"], "connection_ack");
            // A typo is no reason to write it down either.
            let typo = format!("{}x", token.text);
            assert_eq!(cluster.rest().bearer(&typo).get("/api/v1/workers").await.status, 401);
        }
        let mut seen = String::new();
        for path in ["/api/v1/tokens", "/api/v1/events?limit=500", "/api/v1/workers", "/api/v1/health"] {
            let answer = cluster.holder(&admin).get(path).await;
            assert_eq!(answer.status, 200);
            seen += &format!("{} {:?}", answer.body, answer.headers);
        }
        let query = "{ tokens { id name role state workerId maxWorkers createdBy } events(first: 500) { nodes { message reason actorTokenId actorName } } }";
        let answer = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.body;
        assert!(answer.contains("was created"), "{answer}");
        seen += &answer;
        let again = cluster.holder(&tokens[3]).post("/api/v1/workers/w1/drain").header("idempotency-key", "k1").await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        seen += &again.body;
        revoke(&cluster, &tokens[2]).await;
        assert_is(&cluster, &tokens[2], Some(REVOKED)).await;
        cluster.into_server().stop().await;

        let logged = lines.take_text();
        assert!(logged.contains(r#""level":"DEBUG""#) && logged.contains(&format!("Token {}", admin.id)), "it was captured");
        let mut stored = db.dump().await;
        assert!(tokens.iter().all(|token| stored.contains(&token.id)) && stored.contains("k1"), "it is everything: {stored}");
        if let sea_orm::DbBackend::Sqlite = db.backend() {
            let file = std::fs::read(db.file()).unwrap();
            stored += &String::from_utf8_lossy(&file);
        }
        for token in &tokens {
            let hex: String = token.secret().bytes().map(|byte| format!("{byte:02x}")).collect();
            for (place, text) in [("answers", &seen), ("log", &logged), ("database", &stored)] {
                assert!(!text.contains(&token.secret()[..16]), "{place}: the secret of {}", token.id);
                assert!(!text.to_lowercase().contains(&hex), "{place}: the secret of {} in hexadecimal digits", token.id);
            }
        }
    }

    async fn a_stolen_database_opens_nothing(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let (admin, other) = (cluster.token(role_token("admin")).await, cluster.token(role_token("admin")).await);
        let dump = db.dump().await;
        let row = dump.lines().find(|line| line.starts_with("token ") && line.contains(&admin.id)).unwrap();
        let words = row.split(|letter: char| !letter.is_ascii_alphanumeric());
        let hash = words.into_iter().find(|word| word.len() == 64).expect("a hash").to_owned();
        for text in [
            hash.clone(),
            format!("aea_{}{hash}", admin.id),
            admin.id.clone(),
            admin.secret().to_owned(),
            // Also not in the form of a token, by whatever secret can be made of what is there.
            forged('a', &admin.id, &hash[..43]),
            forged('a', &admin.id, &other.secret()[..43]),
            // The right secret as another token, or under another kind.
            forged('a', &other.id, &admin.secret()[..43]),
            forged('o', &admin.id, &admin.secret()[..43]),
        ] {
            let refused = cluster.rest().bearer(&text).get("/api/v1/tokens").await;
            let message = if text.starts_with("ae") && text.len() == admin.text.len() { UNKNOWN } else { MALFORMED };
            refused.assert_failure(401, message);
        }
        // What is forged is forged well: of the right parts, it is the token.
        assert_eq!(forged('a', &admin.id, &admin.secret()[..43]), admin.text);
        assert_is(&cluster, &admin, None).await;
    }

    async fn a_token_that_ended_is_refused_and_told_how(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (short, long) = (cluster.token(expiring("viewer", "30s")).await, cluster.token(expiring("viewer", "1h30m")).await);
        for token in [&admin, &short, &long] {
            assert_is(&cluster, token, None).await;
        }
        cluster.advance(seconds(29));
        assert_is(&cluster, &short, None).await;
        cluster.advance(seconds(1));
        assert_is(&cluster, &short, Some(EXPIRED)).await;
        assert_is(&cluster, &long, None).await;
        let revoked = cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", long.id)).await;
        assert_eq!((revoked.status, revoked.body.as_str()), (204, ""));
        assert_is(&cluster, &long, Some(REVOKED)).await;
        // That it would have expired meanwhile is of no interest.
        cluster.advance(minutes(120));
        assert_is(&cluster, &long, Some(REVOKED)).await;
        assert_is(&cluster, &admin, None).await;
    }

    // Over HTTP/1 with a real connection, on which the server remembers whom it authenticated last.
    async fn each_request_of_a_connection_is_asked_for_its_token(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (one, other) = (cluster.token(role_token("viewer")).await, cluster.token(expiring("viewer", "1h")).await);
        let port = Port::of(&cluster).await;
        let mut connection = port.connection().await;
        let mut status = async |token: Option<&str>, path: &str| connection.get(path, token).await;
        const ALL: &str = "/api/v1/workers";
        const TOKENS: &str = "/api/v1/tokens";
        let typo = |token: &TestToken| {
            let kept = token.text.len() - 1;
            format!("{}{}", &token.text[..kept], if token.text.ends_with('x') { 'y' } else { 'x' })
        };
        for _ in 0..3 {
            assert_eq!(status(Some(&one.text), ALL).await, 200);
        }
        assert_eq!(status(None, ALL).await, 401, "nothing is sent");
        assert_eq!(status(Some(&typo(&one)), ALL).await, 401, "another text of the same length is sent");
        assert_eq!(status(Some(&one.text[..64]), ALL).await, 401, "the beginning is sent");
        assert_eq!((status(Some(&one.text), TOKENS).await, status(Some(&admin.text), TOKENS).await), (403, 200));
        assert_eq!((status(Some(&one.text), TOKENS).await, status(Some(&one.text), TOKENS).await), (403, 403));
        // That it is used is noted each time, and committing that leaves it as it was.
        cluster.advance(minutes(2));
        assert_eq!(status(Some(&one.text), ALL).await, 200);
        cluster.server().retention_pruner().prune().await.unwrap();
        let listed = cluster.holder(&admin).get(TOKENS).await.json();
        let listed = listed["tokens"].as_array().unwrap().iter().find(|token| token["id"] == one.id).unwrap();
        assert_eq!(listed["last_used_at"], "2025-11-02T10:02:00Z");
        assert_eq!(status(Some(&one.text), ALL).await, 200);
        revoke(&cluster, &one).await;
        assert_eq!((status(Some(&one.text), ALL).await, status(Some(&one.text), ALL).await), (401, 401));

        assert_eq!((status(Some(&other.text), ALL).await, status(Some(&other.text), ALL).await), (200, 200));
        cluster.advance(minutes(60));
        assert_eq!((status(Some(&other.text), ALL).await, status(Some(&other.text), ALL).await), (401, 401));
        assert_eq!(status(Some(&admin.text), ALL).await, 200);
    }

    async fn to_revoke_a_token_again_changes_nothing(cluster: TestCluster) {
        let (admin, viewer) = (cluster.token(role_token("admin")).await, cluster.token(role_token("viewer")).await);
        let path = format!("/api/v1/tokens/{}", viewer.id);
        assert_eq!(cluster.holder(&admin).delete(&path).await.status, 204);
        cluster.advance(seconds(10));
        let before = (cluster.revision(), cluster.history().await, cluster.holder(&admin).get("/api/v1/tokens").await.body);
        assert_eq!(cluster.holder(&admin).delete(&path).await.status, 204);
        let query = format!(r#"mutation {{ revokeToken(input: {{tokenId: "{}"}}) {{ token {{ state }} }} }}"#, viewer.id);
        let answer = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.json();
        assert_eq!(answer, json!({"data": {"revokeToken": {"token": {"state": "REVOKED"}}}}));
        // A whole token is pasted where it has leaked.
        assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", viewer.text)).await.status, 204);
        let answer = cluster.holder(&admin).delete("/api/v1/tokens/000000000000").await;
        answer.assert_failure(404, "Token not found: 000000000000");
        // What is no id is not repeated, since it may be most of a token.
        for odd in ["nobody", &viewer.text[1..], &format!("{}x", viewer.text), "a%2Fb"] {
            let answer = cluster.holder(&admin).delete(&format!("/api/v1/tokens/{odd}")).await;
            answer.assert_failure(404, "Token not found: the id of a token has 12 letters and digits");
        }
        let query = r#"mutation { revokeToken(input: {tokenId: "000000000000"}) { token { state } } }"#;
        let answer = cluster.holder(&admin).post("/graphql").json(json!({"query": query})).await.json();
        assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND");
        let after = (cluster.revision(), cluster.history().await, cluster.holder(&admin).get("/api/v1/tokens").await.body);
        assert_eq!(after, before);
        // An administrator may revoke its own, and then has none.
        assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", admin.id)).await.status, 204);
        assert_is(&cluster, &admin, Some(REVOKED)).await;
    }

    async fn what_was_begun_with_a_token_ends_when_it_is_revoked(cluster: TestCluster) {
        let (admin, registrar) = (cluster.token(role_token("admin")).await, cluster.token(gateway_token(9)).await);
        let (lost, kept) = (cluster.token(role_token("viewer")).await, cluster.token(role_token("viewer")).await);
        // Both follow the same, and share what is rendered for it.
        let (of_lost, of_kept) = (Open::begin(&cluster, Some(&lost)).await, Open::begin(&cluster, Some(&kept)).await);
        assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", lost.id)).await.status, 204);
        of_lost.assert_ended(REVOKED).await;
        of_kept.assert_go_on(&cluster, &cluster.holder(&registrar), "w1").await;
    }

    async fn what_was_begun_with_a_token_ends_when_it_expires(cluster: TestCluster) {
        let registrar = cluster.token(gateway_token(9)).await;
        let (lost, kept) = (cluster.token(expiring("viewer", "20s")).await, cluster.token(expiring("viewer", "21s")).await);
        let (of_lost, of_kept) = (Open::begin(&cluster, Some(&lost)).await, Open::begin(&cluster, Some(&kept)).await);
        cluster.advance(seconds(20));
        of_lost.assert_ended(EXPIRED).await;
        of_kept.assert_go_on(&cluster, &cluster.holder(&registrar), "w1").await;
    }

    async fn what_was_begun_without_a_token_ends_with_the_first_one(cluster: TestCluster) {
        let open = Open::begin(&cluster, None).await;
        open.assert_go_on(&cluster, &cluster.rest(), "w1").await;
        let open = Open::begin(&cluster, None).await;
        let port = Port::of(&cluster).await;
        let mut early = port.socket().await;
        cluster.token(role_token("viewer")).await;
        open.assert_ended(MISSING).await;
        // A session that begins now does so without a token, too, though its handshake came before. It may be welcomed,
        // and is told before it is answered anything.
        early.say(json!({"type": "connection_init"})).await;
        early.subscribe("1", "{ workers { id } }", json!({})).await;
        let mut told = Vec::new();
        let (code, _) = early.closed_after(&mut told).await;
        assert_eq!(code, 4403);
        assert!(told.iter().all(|message| message["type"] == "connection_ack"), "{told:?}");
    }

    async fn a_server_does_not_become_open_when_its_last_token_expires(cluster: TestCluster) {
        let admin = cluster.token(expiring("admin", "1h")).await;
        cluster.advance(minutes(60));
        assert_is(&cluster, &admin, Some(EXPIRED)).await;
        cluster.rest().get("/api/v1/workers").await.assert_failure(401, MISSING);
        let cluster = cluster.restart().await;
        cluster.rest().get("/api/v1/workers").await.assert_failure(401, MISSING);
        // The way back in.
        let admin = cluster.token(role_token("admin")).await;
        assert_is(&cluster, &admin, None).await;
    }

    async fn a_server_does_not_become_open_when_its_last_token_is_revoked(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        revoke(&cluster, &admin).await;
        cluster.rest().get("/api/v1/workers").await.assert_failure(401, MISSING);
        cluster.rest().post("/graphql").json(json!({"query": "{ workers { id } }"})).await.assert_unauthenticated();
        let cluster = cluster.restart().await;
        cluster.rest().get("/api/v1/workers").await.assert_failure(401, MISSING);
        assert_is(&cluster, &admin, Some(REVOKED)).await;
    }

    async fn tokens_are_the_same_after_a_restart(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let gateway = cluster.token(gateway_token(3)).await;
        let (w1, revoked) = (cluster.token(worker_token("w1")).await, cluster.token(role_token("operator")).await);
        let short = cluster.token(expiring("viewer", "1m")).await;
        revoke(&cluster, &revoked).await;
        let registration = worker("w1").registration();
        assert_eq!(cluster.holder(&w1).put("/api/v1/workers/w1").json(registration).await.status, 201);
        let list = async |cluster: &TestCluster| {
            let list = cluster.holder(&admin).get("/api/v1/tokens").await.json();
            // When it was last used is stored once in a while.
            pick(&list["tokens"], ["id", "name", "role", "state", "worker_id", "max_workers", "created_by", "created_at",
                "expires_at", "revoked_at", "revision"])
        };
        let before = list(&cluster).await;
        assert_eq!(before.len(), 5);
        let cluster = cluster.restart().await;
        assert_eq!(list(&cluster).await, before);
        assert_is(&cluster, &revoked, Some(REVOKED)).await;
        assert_is(&cluster, &short, None).await;
        // Whose worker it is, is known as well.
        let beat = json!({"incarnation": 1});
        assert_eq!(cluster.holder(&w1).post("/api/v1/workers/w1/heartbeat").json(beat.clone()).await.status, 200);
        assert_eq!(cluster.holder(&gateway).post("/api/v1/workers/w1/heartbeat").json(beat).await.status, 403);
        cluster.advance(minutes(1));
        assert_is(&cluster, &short, Some(EXPIRED)).await;
    }

    async fn after_a_restore_there_are_the_tokens_of_the_backup(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let (kept, revoked) = (cluster.token(role_token("admin")).await, cluster.token(role_token("viewer")).await);
        let (backup, cluster) = cluster.back_up().await;
        let lost = cluster.token(role_token("admin")).await;
        revoke(&cluster, &revoked).await;
        assert_is(&cluster, &lost, None).await;
        let cluster = cluster.restore(&backup).await;
        assert_is(&cluster, &lost, Some(UNKNOWN)).await;
        assert_is(&cluster, &kept, None).await;
        // A revocation is lost with what else was done since the backup, as the list says.
        assert_is(&cluster, &revoked, None).await;
        cluster.rest().get("/api/v1/workers").await.assert_failure(401, MISSING);
    }

    // Also while the server runs, which notices it by what it commits next.
    async fn a_token_that_a_restore_has_removed_ends_what_was_begun_with_it(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let (kept, gateway) = (cluster.token(role_token("operator")).await, cluster.token(gateway_token(9)).await);
        let registration = worker("w0").registration();
        assert_eq!(cluster.holder(&gateway).put("/api/v1/workers/w0").json(registration).await.status, 201);
        db.keep_tables().await;
        let lost = cluster.token(role_token("viewer")).await;
        let port = Port::of(&cluster).await;
        let (mut of_lost, mut of_kept) = (port.client_of(&lost).await, port.client_of(&kept).await);
        for socket in [&mut of_lost, &mut of_kept] {
            socket.subscribe("1", STATS, json!({})).await;
            socket.next("1").await;
        }
        db.put_tables_back().await;
        assert_eq!(cluster.holder(&kept).post("/api/v1/workers/w0/drain").await.status, 200);
        assert_eq!(of_lost.closed().await, (4403, format!("Forbidden: {UNKNOWN}")));
        assert_is(&cluster, &lost, Some(UNKNOWN)).await;
        assert_is(&cluster, &kept, None).await;
        let registration = worker("w1").registration();
        assert_eq!(cluster.holder(&gateway).put("/api/v1/workers/w1").json(registration).await.status, 201);
        while of_kept.next("1").await["clusterStats"]["totalWorkers"] != 2 {}
    }

    // By the clock as it is read at the moment, and by nothing that it said before: an excursion of an hour neither ends a
    // token whose time has not come, nor does it bring one back whose time is over.
    async fn a_clock_that_is_set_forward_and_back_decides_nothing_for_good(cluster: TestCluster) {
        let registrar = cluster.token(gateway_token(9)).await;
        let gone = cluster.token(expiring("viewer", "1m")).await;
        let revoked = cluster.token(role_token("viewer")).await;
        cluster.advance(minutes(2));
        let (soon, late) = (cluster.token(expiring("viewer", "30m")).await, cluster.token(expiring("viewer", "2h")).await);
        let (of_soon, of_late) = (Open::begin(&cluster, Some(&soon)).await, Open::begin(&cluster, Some(&late)).await);
        let before = cluster.clock().now();
        cluster.clock().set(before + TimeDelta::hours(1));
        of_soon.assert_ended(EXPIRED).await;
        assert_is(&cluster, &soon, Some(EXPIRED)).await;
        assert_is(&cluster, &late, None).await;
        revoke(&cluster, &revoked).await;
        // Made an hour ahead, for a time that is over before the clock is set right.
        let ahead = cluster.token(expiring("viewer", "1m")).await;
        assert_is(&cluster, &ahead, None).await;

        cluster.clock().set(before);
        assert_is(&cluster, &gone, Some(EXPIRED)).await;
        assert_is(&cluster, &revoked, Some(REVOKED)).await;
        for token in [&soon, &late, &ahead] {
            assert_is(&cluster, token, None).await;
        }
        of_late.assert_go_on(&cluster, &cluster.holder(&registrar), "w1").await;
        cluster.clock().set(before + TimeDelta::minutes(30));
        assert_is(&cluster, &soon, Some(EXPIRED)).await;
        cluster.clock().set(before + TimeDelta::minutes(61));
        assert_is(&cluster, &ahead, Some(EXPIRED)).await;
        cluster.clock().set(before + TimeDelta::hours(2));
        assert_is(&cluster, &late, Some(EXPIRED)).await;
    }

    // Whoever comes first, stays: there is always one who can make others.
    async fn of_two_administrators_who_revoke_each_other_one_stays(cluster: TestCluster) {
        for round in 0..10 {
            let (a, b) = (cluster.token(role_token("admin")).await, cluster.token(role_token("admin")).await);
            let revoke = |by: &TestToken, whom: &TestToken| {
                cluster.holder(by).delete(&format!("/api/v1/tokens/{}", whom.id)).into_future()
            };
            let mut answers = in_time(join_all([revoke(&a, &b), revoke(&b, &a)])).await;
            let mut live = 0;
            for token in [&a, &b] {
                live += usize::from(cluster.holder(token).get("/api/v1/tokens").await.status == 200);
            }
            assert_eq!(live, 1, "round {round}");
            answers.sort_by_key(|answer| answer.status);
            assert_eq!(answers[0].status, 204);
            answers[1].assert_failure(401, REVOKED);
        }
    }

    // The caller is known by the head of a request, and its body may be a long time on the way.
    async fn a_request_is_decided_by_what_its_token_is_then(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let (mut stranger, go_on) = slow(cluster.rest().post("/api/v1/workers/w1/drain"), json!({"reason": "mine"}));
        assert!(poll!(&mut stranger).is_pending());
        let admin = cluster.token(role_token("admin")).await;
        go_on.send(()).unwrap();
        in_time(stranger).await.assert_failure(401, MISSING);

        let (revoked, short) = (cluster.token(role_token("admin")).await, cluster.token(expiring("admin", "1m")).await);
        let body = json!({"name": "mine", "role": "admin"});
        let query = r#"mutation { createToken(input: {name: "mine", role: ADMIN}) { secret } }"#;
        for (token, message) in [(&revoked, REVOKED), (&short, EXPIRED)] {
            let (mut rest, rest_goes_on) = slow(cluster.holder(token).post("/api/v1/tokens"), body.clone());
            let (mut graphql, graphql_goes_on) = slow(cluster.holder(token).post("/graphql"), json!({"query": query}));
            assert!(poll!(&mut rest).is_pending() && poll!(&mut graphql).is_pending());
            if message == REVOKED {
                revoke(&cluster, token).await;
            } else {
                cluster.advance(minutes(1));
            }
            rest_goes_on.send(()).unwrap();
            graphql_goes_on.send(()).unwrap();
            in_time(rest).await.assert_failure(401, message);
            let answer = in_time(graphql).await.json();
            assert_eq!(answer["errors"][0]["message"], message);
            assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
        }
        let names = cluster.holder(&admin).get("/api/v1/tokens").await.json();
        assert!(pick(&names["tokens"], ["name"]).iter().all(|[name]| name == "the admin"), "{names}");
    }
}

/// A request whose body ends when it is told to.
fn slow(ask: Ask, body: Value) -> (std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>, oneshot::Sender<()>) {
    let (go_on, waits) = oneshot::channel::<()>();
    let mut text = body.to_string();
    let rest = text.split_off(text.len() / 2);
    let begin = stream::once(async move { Ok::<_, std::io::Error>(text) });
    let end = stream::once(async move {
        waits.await.unwrap();
        Ok(rest)
    });
    let ask = ask.header("content-type", "application/json").body(Body::from_stream(begin.chain(end)));
    (ask.into_future(), go_on)
}

/// On PostgreSQL: what happens to tokens at one server is known at all.
#[tokio::test]
async fn a_token_is_created_and_revoked_at_every_server_at_once() {
    TestDatabase::postgres()
        .await
        .run(async |one: TestCluster| {
            let two = one.another_server().await;
            let without = Open::begin(&two, None).await;
            let admin = one.token(role_token("admin")).await;
            without.assert_ended(MISSING).await;
            assert_is(&two, &admin, None).await;

            let (lost, kept) = (one.token(role_token("viewer")).await, one.token(role_token("viewer")).await);
            let gateway = two.token(gateway_token(9)).await;
            // The other server has it when it has told of it.
            let revision = two.revision();
            let read = format!("/api/v1/workers?min_revision={revision}");
            assert_eq!(one.holder(&admin).get(&read).await.status, 200);
            let (of_lost, of_kept) = (Open::begin(&two, Some(&lost)).await, Open::begin(&two, Some(&kept)).await);
            assert_eq!(one.holder(&admin).delete(&format!("/api/v1/tokens/{}", lost.id)).await.status, 204);
            of_lost.assert_ended(REVOKED).await;
            assert_is(&two, &lost, Some(REVOKED)).await;
            assert_is(&one, &lost, Some(REVOKED)).await;
            of_kept.assert_go_on(&two, &one.holder(&gateway), "w1").await;

            // By the token that registered it, at any server.
            let beat = json!({"incarnation": 1});
            let answer = two.holder(&gateway).post("/api/v1/workers/w1/heartbeat").json(beat).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        })
        .await;
}

/// Two who revoke each other at different servers; neither is told of a fault.
#[tokio::test]
async fn of_two_administrators_at_two_servers_one_stays() {
    TestDatabase::postgres()
        .await
        .run(async |one: TestCluster| {
            let two = one.another_server().await;
            for round in 0..10 {
                let (a, b) = (one.token(role_token("admin")).await, two.token(role_token("admin")).await);
                for cluster in [&one, &two] {
                    let revision = one.revision().max(two.revision());
                    let resolvers = cluster.server().resolvers();
                    resolvers.read_at_least(&Caller::server(), Some(revision)).await.unwrap();
                }
                let by_a = one.holder(&a).delete(&format!("/api/v1/tokens/{}", b.id)).into_future();
                let by_b = two.holder(&b).delete(&format!("/api/v1/tokens/{}", a.id)).into_future();
                let mut statuses: Vec<_> = join_all([by_a, by_b]).await.iter().map(|answer| answer.status).collect();
                statuses.sort_unstable();
                assert_eq!(statuses, [204, 401], "round {round}");
            }
        })
        .await;
}
