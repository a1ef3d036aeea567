//! Sessions of browsers: how they are opened and closed, for whom the cookie counts, what ends with them, and sign-in
//! codes. Who may do what with one is in `access_matrix`; what a real browser makes of it, in
//! `tests/conformance/browser/sessions.test.mjs`.

use aetherium::auth::Caller;
use aetherium::http::ListenerOptions;
use aetherium::resolvers::tokens::TokenInput;
use aetherium::tls::{ServerTls, self_signed};
use futures_util::future::join_all;
use reqwest::Certificate;
use serde_json::{Value, json};

use crate::harness::*;
use crate::log_lines::listen_at;
use crate::tokens::Open;

const SESSION: &str = "/api/v1/session";
const WORKERS: &str = "/api/v1/workers";
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

const ENDED: &str = "The session has ended: sign in again";
const CROSS_SITE: &str = "The session's cookie counts only for requests of this server's own pages";
const UNKNOWN_CODE: &str = "The sign-in link is not known here, or not yet: try it once more, or ask for another one";
const SPENT: &str = "The sign-in link was used before, or its ten minutes are over: ask for another one";
const MALFORMED: &str =
    "The token cannot be read, its form or its checksum is wrong: it is sent as `Authorization: Bearer <token>`";

/// The response to a sign-in with a token or a code.
async fn sign_in(rest: &Rest, by: &str, text: &str) -> Answer {
    rest.post(SESSION).json(json!({by: text})).await
}

/// Holds it that a session is accepted, or refused with this sentence, by both protocols.
async fn assert_is(cluster: &TestCluster, session: &TestSession, refusal: Option<&str>) {
    let page = cluster.page_of(session);
    let (rest, graphql) =
        (page.get(WORKERS).await, page.post("/graphql").json(json!({"query": "{ workers { id } }"})).await);
    match refusal {
        None => assert_eq!((rest.status, graphql.status), (200, 200), "{} {}", rest.body, graphql.body),
        Some(message) => {
            rest.assert_failure(401, message);
            assert_eq!((graphql.status, &graphql.json()["errors"][0]["message"]), (401, &json!(message)));
            page.get(SESSION).await.assert_failure(401, message);
        }
    }
}

/// The state of a token in the list, and whether it is there.
async fn state(cluster: &TestCluster, admin: &TestToken, id: &str) -> Option<Value> {
    let list = cluster.holder(admin).get("/api/v1/tokens").await.json();
    let mut tokens = list["tokens"].as_array().unwrap().iter();
    tokens.find(|token| token["id"] == id).map(|token| token["state"].clone())
}

async fn revoke(cluster: &TestCluster, id: &str) {
    cluster.server().resolvers().revoke_token(&Caller::server(), id).await.unwrap();
}

on_both_databases! {
    async fn a_session_is_opened_shown_used_and_closed(cluster: TestCluster) {
        let nobody = cluster.rest().get(SESSION).await;
        nobody.assert_json(200, json!({"asks_for_tokens": false, "token": null}));
        let operator = cluster.token(role_token("operator")).await;
        let nobody = cluster.rest().get(SESSION).await;
        nobody.assert_json(200, json!({"asks_for_tokens": true, "token": null}));
        assert_eq!(nobody.header("cache-control"), Some("no-store"));

        let opened = sign_in(&cluster.rest(), "token", &operator.text).await;
        let session = TestSession::of(&opened);
        assert_eq!(
            opened.header("set-cookie").unwrap(),
            format!("aetherium={}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", session.text)
        );
        assert_eq!(opened.header("cache-control"), Some("no-store"));
        assert!(session.text.starts_with("aes_") && !opened.body.contains(&session.text), "{}", opened.body);
        let page = cluster.page_of(&session);
        let shown = page.get(SESSION).await.json();
        let fields = ["id", "kind", "role", "name", "state", "parent", "created_by"];
        assert_eq!(
            pick(&json!([shown["token"]]), fields),
            [[json!(session.id), json!("session"), json!("operator"), json!("the operator"), json!("live"), json!(operator.id), json!(operator.id)]]
        );
        let query = "{ session { asksForTokens token { id kind role name parent expiresAt } } }";
        let twin = page.post("/graphql").json(json!({"query": query})).await.json();
        let token = &shown["token"];
        assert_eq!(
            twin["data"]["session"],
            json!({"asksForTokens": true, "token": {
                "id": session.id, "kind": "SESSION", "role": "OPERATOR", "name": "the operator", "parent": operator.id,
                "expiresAt": token["expires_at"],
            }})
        );
        // It is the caller, whoever that is.
        let of_token = cluster.holder(&operator).get(SESSION).await.json();
        assert_eq!((&of_token["token"]["id"], &of_token["token"]["kind"]), (&json!(operator.id), &json!("bearer")));

        assert_is(&cluster, &session, None).await;
        assert_eq!(page.get("/api/v1/tokens").await.status, 403);
        assert_eq!(page.post("/api/v1/workers/nobody/drain").await.status, 404, "that needs an operator");

        for _ in 0..2 {
            let closed = page.delete(SESSION).await;
            assert_eq!((closed.status, closed.body.as_str()), (204, ""));
            assert_eq!(closed.header("set-cookie"), Some("aetherium=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"));
            assert_is(&cluster, &session, Some(ENDED)).await;
        }
        assert_eq!(cluster.rest().delete(SESSION).await.status, 204, "without any cookie");
        assert_eq!(cluster.holder(&operator).get(WORKERS).await.status, 200, "the token is as good as before");
        cluster.holder(&operator).delete(SESSION).await.assert_failure(
            409,
            "This request came with a token and not with a session. A token is revoked by `DELETE /api/v1/tokens/{id}`",
        );
    }

    async fn an_open_server_has_nothing_to_sign_in_to(cluster: TestCluster) {
        let nothing = "This server asks for no token, so there is nothing to sign in to";
        for by in ["token", "code"] {
            sign_in(&cluster.rest(), by, "whatever").await.assert_failure(409, nothing);
        }
        assert_eq!(cluster.rest().delete(SESSION).await.status, 204);
        // A code does not close the server to everybody: it could not be opened again.
        let code = cluster.server().resolvers().create_sign_in_code(&Caller::server(), "admin", "n").await;
        assert_eq!(code.unwrap_err().to_string(), nothing);
        assert_eq!(cluster.rest().get(WORKERS).await.status, 200);
    }

    async fn what_the_browser_sends_is_never_taken_over(cluster: TestCluster) {
        let (alice, bob) = (cluster.token(role_token("admin")).await, cluster.token(role_token("viewer")).await);
        let planted = TestSession { id: String::new(), text: format!("aes_{}", "x".repeat(61)) };
        let fresh = TestSession::of(&sign_in(&cluster.page_of(&planted), "token", &alice.text).await);
        assert_ne!(fresh.text, planted.text);
        assert_is(&cluster, &planted, Some(ENDED)).await;

        // Somebody has signed in before with the same browser: theirs is another one, and is over.
        let theirs = cluster.session(&bob).await;
        let own = TestSession::of(&sign_in(&cluster.page_of(&theirs), "token", &alice.text).await);
        assert!(own.text != theirs.text && own.id != theirs.id);
        assert_is(&cluster, &theirs, Some(ENDED)).await;
        assert_is(&cluster, &own, None).await;
        assert_is(&cluster, &fresh, None).await;
    }

    async fn each_secret_counts_in_its_own_place(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let worker = cluster.token(worker_token("w1")).await;
        let (session, code) = (cluster.session(&admin).await, cluster.sign_in_code("admin").await);
        let misplaced = "This is a secret of another kind: tokens are sent as `Authorization: Bearer <token>`, a session's \
                         secret only in its cookie, a sign-in code only to open a session";
        for (by, text) in [("token", &session.text), ("token", &code.text), ("code", &session.text), ("code", &admin.text)] {
            sign_in(&cluster.rest(), by, text).await.assert_failure(401, misplaced);
        }
        for text in [&session.text, &code.text] {
            cluster.rest().bearer(text).get(WORKERS).await.assert_failure(401, misplaced);
        }
        for text in [&admin.text, &code.text] {
            cluster.rest().cookie(&format!("aetherium={text}")).get(WORKERS).await.assert_failure(401, misplaced);
        }
        // Over a WebSocket, the payload is `Authorization`.
        let port = Port::of(&cluster).await;
        let mut socket = port.socket().await;
        socket.say(json!({"type": "connection_init", "payload": {"authorization": session.text}})).await;
        assert_eq!(socket.closed().await.0, 4403);
        sign_in(&cluster.rest(), "token", &worker.text)
            .await
            .assert_failure(403, "This needs the role viewer, and the token has the role worker");
        // Who sends a token means it.
        let both = cluster.page_of(&session).bearer("aea_x");
        both.get(WORKERS).await.assert_failure(401, MALFORMED);
        let both = cluster.page_of(&session).bearer(&worker.text);
        assert_eq!(both.get(WORKERS).await.status, 403);
        // Nothing of that has spent the code.
        TestSession::of(&sign_in(&cluster.rest(), "code", &code.text).await);
    }

    async fn sign_ins_that_cannot_be_read_are_refused_without_repeating_them(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let refusal = "A JSON object is needed with either `token` or `code`, a text, and nothing else";
        let text = &admin.text;
        for body in [
            json!({}),
            json!({"token": text, "code": text}),
            json!({"token": text, "remember": true}),
            json!({"tokn": text}),
            json!({"token": [text]}),
            json!({"token": 5}),
            json!({"token": null}),
            json!(text),
            json!([text]),
        ] {
            cluster.rest().post(SESSION).json(body).await.assert_failure(400, refusal);
        }
        let broken = cluster.rest().post(SESSION).header("content-type", "application/json");
        broken.body(format!("{{\"token\": \"{text}\"")).await.assert_failure(400, refusal);
        for (media, status) in [("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("multipart/form-data", 415)] {
            let ask = cluster.rest().post(SESSION).header("content-type", media);
            let answer = ask.body(json!({"token": text}).to_string()).await;
            assert_eq!(answer.status, status, "{media}: {}", answer.body);
            assert!(!answer.body.contains(text));
        }
        let answer = cluster.rest().post(SESSION).body(json!({"token": text}).to_string()).await;
        assert_eq!(answer.status, 415, "{}", answer.body);
        let long = cluster.rest().post(SESSION).json(json!({"token": "x".repeat(5_000)})).await;
        assert_eq!(long.status, 413);
        for text in ["", "aea_", "ä", "aec_QxV3u7Lr2NpW"] {
            sign_in(&cluster.rest(), "code", text).await.assert_failure(401, UNKNOWN_CODE);
        }
        assert_eq!(cluster.holder(&admin).get("/api/v1/tokens").await.json()["total"], 1, "no session was opened");
    }

    async fn a_session_ends_after_twelve_hours_or_with_its_token(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let short = cluster.token(TokenInput { expires_in: Some("1h".to_owned()), ..role_token("viewer") }).await;
        cluster.advance(minutes(30));
        let opened = sign_in(&cluster.rest(), "token", &short.text).await;
        assert!(opened.header("set-cookie").unwrap().contains("Max-Age=1800;"), "{:?}", opened.headers);
        let (of_short, of_admin) = (TestSession::of(&opened), cluster.session(&admin).await);
        cluster.advance(minutes(30) - seconds(1));
        assert_is(&cluster, &of_short, None).await;
        cluster.advance(seconds(1));
        assert_is(&cluster, &of_short, Some(ENDED)).await;
        cluster.advance(minutes(11 * 60 + 30) - seconds(1));
        assert_is(&cluster, &of_admin, None).await;
        cluster.advance(seconds(1));
        assert_is(&cluster, &of_admin, Some(ENDED)).await;
    }

    async fn a_session_dies_with_its_token_and_so_does_what_it_follows(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        for how in ["revoked", "revoked itself", "closed", "expired"] {
            let expires_in = (how == "expired").then(|| "1h".to_owned());
            let parent = cluster.token(TokenInput { expires_in, ..role_token("viewer") }).await;
            let (session, another) = (cluster.session(&parent).await, cluster.session(&parent).await);
            let cookie = session.cookie();
            let open = Open::begin_with(&cluster, &[("cookie", &cookie), SAME_ORIGIN]).await;
            match how {
                "revoked" => revoke(&cluster, &parent.id).await,
                "revoked itself" => revoke(&cluster, &session.id).await,
                "closed" => assert_eq!(cluster.page_of(&session).delete(SESSION).await.status, 204),
                _ => cluster.advance(minutes(60)),
            }
            open.assert_ended(ENDED).await;
            assert_is(&cluster, &session, Some(ENDED)).await;
            let ended = if how == "expired" { "expired" } else { "revoked" };
            assert_eq!(state(&cluster, &admin, &session.id).await.unwrap(), ended, "{how}");
            // The other one of the same token ends only if that does.
            let dies_too = ["revoked", "expired"].contains(&how);
            assert_is(&cluster, &another, dies_too.then_some(ENDED)).await;
        }
    }

    async fn a_session_whose_token_is_gone_is_gone(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let (admin, viewer) = (cluster.token(role_token("admin")).await, cluster.token(role_token("viewer")).await);
        let (of_admin, of_viewer) = (cluster.session(&admin).await, cluster.session(&viewer).await);
        let remove = format!("DELETE FROM token WHERE id = '{}'", viewer.id);
        let cluster = cluster.restart_after(async |db: &TestDatabase| db.execute(&remove).await).await;
        assert_is(&cluster, &of_viewer, Some(ENDED)).await;
        // Others are kept over a restart.
        assert_is(&cluster, &of_admin, None).await;
    }

    async fn a_code_opens_one_session_within_ten_minutes(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let (code, late) = (cluster.sign_in_code("operator").await, cluster.sign_in_code("operator").await);
        cluster.advance(minutes(10) - seconds(1));
        let opened = sign_in(&cluster.rest(), "code", &code.text).await;
        let session = TestSession::of(&opened);
        let token = &opened.json()["token"];
        assert_eq!((&token["role"], &token["name"], token.get("parent")), (&json!("operator"), &json!("the link"), None));
        assert_eq!(token["created_by"], json!(code.id));
        sign_in(&cluster.rest(), "code", &code.text).await.assert_failure(401, SPENT);
        assert_eq!(state(&cluster, &admin, &code.id).await.unwrap(), "revoked");
        cluster.advance(seconds(1));
        sign_in(&cluster.rest(), "code", &late.text).await.assert_failure(401, SPENT);
        assert_eq!(state(&cluster, &admin, &late.id).await.unwrap(), "expired");
        // The session does not end with the code.
        assert_is(&cluster, &session, None).await;
        cluster.advance(minutes(12 * 60));
        assert_is(&cluster, &session, Some(ENDED)).await;

        // One may take it back, as any token.
        let code = cluster.sign_in_code("viewer").await;
        assert_eq!(cluster.holder(&admin).delete(&format!("/api/v1/tokens/{}", code.id)).await.status, 204);
        sign_in(&cluster.rest(), "code", &code.text).await.assert_failure(401, SPENT);
        let refused = cluster.server().resolvers().create_sign_in_code(&Caller::server(), "worker", "n").await.unwrap_err();
        assert_eq!(refused.to_string(), "role must be one of viewer, operator, admin: no other role reads anything");
    }

    async fn a_code_that_is_sent_many_times_at_once_opens_one_session(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let code = cluster.sign_in_code("viewer").await;
        let rest = cluster.rest();
        let asks = (0..20).map(|_| rest.post(SESSION).json(json!({"code": code.text})).into_future());
        let answers = join_all(asks).await;
        let opened = answers.iter().filter(|answer| answer.status == 201).count();
        assert!(opened == 1 && answers.iter().all(|answer| [201, 401].contains(&answer.status)));
        let list = cluster.holder(&admin).get("/api/v1/tokens").await.json();
        let sessions = list["tokens"].as_array().unwrap().iter().filter(|token| token["kind"] == "session").count();
        assert_eq!(sessions, 1);
    }

    async fn the_cookie_counts_for_own_pages_only(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let session = cluster.session(&admin).await;
        cluster.holder(&cluster.token(worker_token("w1")).await).put("/api/v1/workers/w1").json(worker("w1").registration()).await;
        let other_page = "Pages of other origins may not change anything here, unless the server is told to allow them (--cors-origin)";
        // Of a question: accepted or 401. Of a command: accepted, 401, or refused as that of another page.
        for (headers, question, command) in [
            (&[("sec-fetch-site", "same-origin")][..], 200, 200),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://public.name")], 200, 200),
            (&[("origin", "http://node1:8080")], 200, 200),
            (&[], 200, 401),
            (&[("sec-fetch-site", "none")], 200, 401),
            (&[("sec-fetch-site", "none"), ("origin", "http://node1:8080")], 401, 401),
            (&[("sec-fetch-site", "same-site")], 401, 403),
            (&[("sec-fetch-site", "cross-site")], 401, 403),
            (&[("sec-fetch-site", "")], 401, 403),
            (&[("origin", "http://node1:9090")], 401, 403),
            (&[("origin", "http://localhost:8080")], 401, 403),
            (&[("origin", "null")], 401, 403),
            (&[("origin", "")], 401, 403),
        ] {
            let with = |ask: Ask| {
                let ask = ask.header("host", "node1:8080").header("cookie", &session.cookie());
                headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
            };
            let rest = cluster.rest();
            for path in [WORKERS, "/graphql?query=%7Bworkers%7Bid%7D%7D", "/api/v1/openapi.json"] {
                let answer = with(rest.get(path)).await;
                let expected = if path.ends_with("openapi.json") { 200 } else { question };
                assert_eq!(answer.status, expected, "{path} {headers:?}: {}", answer.body);
                assert_eq!(answer.body.contains(CROSS_SITE), expected == 401);
                let head = with(rest.head(path)).await;
                assert_eq!(head.status, expected);
            }
            let before = cluster.revision();
            let drained = with(rest.post("/api/v1/workers/w1/drain")).await;
            assert_eq!(drained.status, command, "{headers:?}: {}", drained.body);
            let query = json!({"query": "mutation { activateWorker(input: {workerId: \"w1\"}) { changed } }"});
            let activated = with(rest.post("/graphql").json(query)).await;
            assert_eq!(activated.status, command, "{headers:?}: {}", activated.body);
            assert_eq!(cluster.revision() > before, command == 200, "{headers:?}");
            if command == 403 {
                drained.assert_failure(403, other_page);
            }
            // Nobody else signs in or out for somebody.
            if question == 401 {
                let refused = [with(rest.post(SESSION).json(json!({"token": admin.text}))).await, with(rest.delete(SESSION)).await];
                for answer in refused {
                    assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{headers:?}");
                }
            }
            assert_is(&cluster, &session, None).await;
        }
    }

    async fn sockets_take_the_cookie_of_own_pages_only(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let session = cluster.session(&admin).await;
        let port = Port::of(&cluster).await;
        let own = format!("http://{}", port.authority());
        for (headers, is_accepted) in [
            (&[("origin", own.as_str())][..], true),
            (&[("origin", own.as_str()), SAME_ORIGIN], true),
            (&[], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "http://127.0.0.1:1")], false),
            (&[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", own.as_str()), ("sec-fetch-site", "same-site")], false),
        ] {
            let handshake = port.handshake().protocol(TRANSPORT_WS).header("cookie", &session.cookie());
            let handshake = headers.iter().fold(handshake, |handshake, (name, value)| handshake.header(name, value));
            let mut socket = Socket::open(handshake).await.unwrap();
            socket.say(json!({"type": "connection_init"})).await;
            if is_accepted {
                assert_eq!(socket.hear().await["type"], "connection_ack", "{headers:?}");
            } else {
                assert_eq!(socket.closed().await.0, 4403, "{headers:?}");
            }
        }
    }

    async fn hostile_cookies_are_nobodys(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let session = cluster.session(&admin).await;
        let own = session.cookie();
        let flood = "a=b; ".repeat(2_000);
        for (cookie, status) in [
            (format!("theme=dark; {own}; other"), 200),
            (format!("{own}; {own}"), 200),
            (format!("{flood}{own}"), 200),
            (format!(" {own} "), 200),
            (format!("__Host-aetherium={}", session.text), 200),
            (format!("{own}; __Host-aetherium={}", session.text), 200),
            (format!("{own}; aetherium=x"), 401),
            (format!("aetherium=x; {own}"), 401),
            (format!("{own}; __Host-aetherium=x"), 401),
            (format!("aetherium={}x", session.text), 401),
            (format!("aetherium=\"{}\"", session.text), 401),
            (format!("AETHERIUM={}", session.text), 401),
            (format!("aetherium {}", session.text), 401),
            (format!("x{own}"), 401),
            (format!("aetherium==; =; ;;; {}", "=".repeat(100)), 401),
            ("aetherium".to_owned(), 401),
            ("aetherium=".to_owned(), 401),
            (";".repeat(5_000), 401),
            (format!("aetherium={}", "y".repeat(8_000)), 401),
        ] {
            let answer = cluster.rest().cookie(&cookie).get(WORKERS).await;
            assert_eq!(answer.status, status, "{:.200}: {}", cookie, answer.body);
        }
    }

    async fn a_token_has_so_many_sessions_at_once(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let other = cluster.session(&cluster.token(role_token("viewer")).await).await;
        let mut sessions = Vec::new();
        for _ in 0..33 {
            cluster.advance(seconds(1));
            sessions.push(cluster.session(&admin).await);
        }
        assert_is(&cluster, &sessions[0], Some(ENDED)).await;
        let told = format!("; session {}, the oldest of 32, was closed for it", sessions[0].id);
        assert!(cluster.holder(&admin).get("/api/v1/events").await.body.contains(&told));
        for session in &sessions[1..] {
            assert_is(&cluster, session, None).await;
        }
        // One that is closed makes room.
        assert_eq!(cluster.page_of(&sessions[5]).delete(SESSION).await.status, 204);
        cluster.session(&admin).await;
        assert_is(&cluster, &sessions[1], None).await;
        assert_is(&cluster, &other, None).await;
    }

    async fn what_comes_and_goes_is_removed_a_day_after_its_end(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let admin = cluster.token(role_token("admin")).await;
        let lost = cluster.token(role_token("viewer")).await;
        let (open, closed, of_lost) = (cluster.session(&admin).await, cluster.session(&admin).await, cluster.session(&lost).await);
        let (used, unused) = (cluster.sign_in_code("viewer").await, cluster.sign_in_code("viewer").await);
        let of_code = TestSession::of(&sign_in(&cluster.rest(), "code", &used.text).await);
        assert_eq!(cluster.page_of(&closed).delete(SESSION).await.status, 204);
        revoke(&cluster, &lost.id).await;
        let pruner = cluster.server().retention_pruner();
        let listed = async || {
            pruner.prune().await.unwrap();
            let list = cluster.holder(&admin).get("/api/v1/tokens").await.json();
            let mut ids: Vec<_> = pick(&list["tokens"], ["id"]).into_iter().map(|[id]| id.as_str().unwrap().to_owned()).collect();
            ids.sort_unstable();
            ids
        };
        let sorted = |ids: &[&str]| {
            let mut ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
            ids.sort_unstable();
            ids
        };
        let all = [&admin.id, &lost.id, &open.id, &closed.id, &of_lost.id, &used.id, &unused.id, &of_code.id].map(String::as_str);
        cluster.advance(minutes(24 * 60));
        assert_eq!(listed().await, sorted(&all));
        cluster.advance(minutes(1));
        let ended_later = [&admin.id, &lost.id, &open.id, &unused.id, &of_code.id].map(String::as_str);
        assert_eq!(listed().await, sorted(&ended_later));
        assert_is(&cluster, &closed, Some(ENDED)).await;
        cluster.advance(minutes(12 * 60));
        assert_eq!(listed().await, sorted(&[&admin.id, &lost.id]), "other tokens stay, though one has ended");
        // The list was asked for with a token, whose use is recorded once.
        listed().await;
        let before = cluster.revision();
        assert_eq!(listed().await.len(), 2);
        assert_eq!(cluster.revision(), before, "there is nothing more to prune");
        let dump = db.dump().await;
        assert_eq!(dump.lines().filter(|line| line.starts_with("token ")).count(), 2, "{dump}");
        // The change log has them still.
        assert!(cluster.holder(&admin).get("/api/v1/events").await.body.contains(&of_code.id));
    }

    async fn what_a_session_does_is_told_as_done_with_its_token(cluster: TestCluster) {
        let admin = cluster.token(role_token("admin")).await;
        let opened = cluster.rest().post(SESSION).header("x-request-id", "in").json(json!({"token": admin.text})).await;
        let session = TestSession::of(&opened);
        let page = cluster.page_of(&session);
        let body = json!({"name": "made", "role": "viewer"});
        let made = page.post("/api/v1/tokens").header("x-request-id", "make").json(body).await;
        // The session will be gone, the token that it was begun with will not.
        assert_eq!(made.json()["token"]["created_by"], json!(admin.id));
        assert_eq!(page.delete(SESSION).header("x-request-id", "out").await.status, 204);
        // Failures are no events.
        for text in ["aea_x", &session.text] {
            assert_eq!(sign_in(&cluster.rest(), "token", text).await.status, 401);
        }
        let events = cluster.holder(&admin).get("/api/v1/events").await.json();
        let told = pick(&events["events"], ["kind", "actor_token_id", "actor_name", "request_id", "message"]);
        let made_id = made.json()["token"]["id"].as_str().unwrap().to_owned();
        let told_so = |kind: &str, id: &str, request: &str, message: String| {
            [json!(kind), json!(id), json!("the admin"), json!(request), json!(message)]
        };
        assert_eq!(
            told[1..],
            [
                told_so("signed_in", &admin.id, "in", format!("Session {} was opened with token {} (the admin): admin", session.id, admin.id)),
                told_so("token_created", &admin.id, "make", format!("Token {made_id} (made) was created: viewer")),
                told_so("signed_out", &admin.id, "out", format!("Session {} (the admin) was closed", session.id)),
            ]
        );
    }

    async fn no_secret_of_a_session_or_a_code_is_anywhere(db: TestDatabase) {
        let (lines, _guard, _second) = listen_at(tracing::Level::TRACE);
        let cluster = TestCluster::on(&db).await;
        let admin = cluster.token(role_token("admin")).await;
        let (session, code) = (cluster.session(&admin).await, cluster.sign_in_code("admin").await);
        let of_code = TestSession::of(&sign_in(&cluster.rest(), "code", &code.text).await);
        let mut seen = String::new();
        for page in [cluster.page_of(&session), cluster.page_of(&of_code)] {
            for path in [SESSION, "/api/v1/tokens", "/api/v1/events?limit=500", "/api/v1/health"] {
                let answer = page.get(path).await;
                assert_eq!(answer.status, 200);
                seen += &format!("{} {:?}", answer.body, answer.headers);
            }
        }
        for (by, text) in [("token", &session.text), ("code", &code.text), ("code", &format!("{}x", code.text))] {
            let refused = sign_in(&cluster.rest(), by, text).await;
            assert_eq!(refused.status, 401);
            seen += &format!("{} {:?}", refused.body, refused.headers);
        }
        // What the browser is told once is marked, so that nobody prints it by accident.
        let opened = sign_in(&cluster.rest(), "token", &admin.text).await;
        seen += &format!("{} {:?}", opened.body, opened.headers);
        let last = TestSession::of(&opened);
        assert_eq!(cluster.page_of(&session).delete(SESSION).await.status, 204);
        revoke(&cluster, &of_code.id).await;
        cluster.into_server().stop().await;
        let logged = lines.take_text();
        assert!(logged.contains(&session.id), "it was captured");
        let stored = db.dump().await;
        assert!(stored.contains(&session.id) && stored.contains(&code.id));
        for text in [&session.text, &code.text, &of_code.text, &last.text] {
            for (place, where_) in [("answers", &seen), ("log", &logged), ("database", &stored)] {
                assert!(!where_.contains(&text[16..40]), "{place} has a secret");
            }
        }
    }
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_no_other_counts() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let admin = cluster.token(role_token("admin")).await;
    let folder = tempfile::tempdir().unwrap();
    let files = self_signed(folder.path(), &["localhost".to_owned()]).unwrap();
    let certificate = Certificate::from_pem(&std::fs::read(&files.certificate).unwrap()).unwrap();
    let options = ListenerOptions { tls: Some(ServerTls::load(files).unwrap()), ..listener_options() };
    let port = Port::with_options(&cluster, options).await;
    // Whoever was first has set it for all tests.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
    let url = |path: &str| format!("https://localhost:{}{path}", port.authority().rsplit(':').next().unwrap());
    let set_cookie = |answer: &reqwest::Response| answer.headers()["set-cookie"].to_str().unwrap().to_owned();

    let opened = client.post(url(SESSION)).json(&json!({"token": admin.text})).send().await.unwrap();
    assert_eq!(opened.status(), 201);
    let cookie = set_cookie(&opened);
    assert!(
        cookie.starts_with("__Host-aetherium=aes_") && cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    let text = cookie.split(['=', ';']).nth(1).unwrap();
    let status = async |cookie: String, headers: &[(&str, &str)]| {
        let ask = client.get(url(WORKERS)).header("cookie", cookie);
        let ask = headers.iter().fold(ask, |ask, (name, value)| ask.header(*name, *value));
        ask.send().await.unwrap().status().as_u16()
    };
    let own_page = [("sec-fetch-site", "same-origin")];
    assert_eq!(status(format!("__Host-aetherium={text}"), &own_page).await, 200);
    assert_eq!(status(format!("__Host-aetherium={text}; aetherium=x"), &own_page).await, 200);
    assert_eq!(status(format!("aetherium={text}"), &own_page).await, 401);
    // A page in clear text is not one of the server's own.
    let (https, http) = (url(""), url("").replace("https", "http"));
    for (origin, expected) in [(&https, 200), (&http, 401)] {
        assert_eq!(status(format!("__Host-aetherium={text}"), &[("origin", origin)]).await, expected, "{origin}");
    }
    let close =
        client.delete(url(SESSION)).header("cookie", format!("__Host-aetherium={text}")).header("origin", &https);
    assert_eq!(
        set_cookie(&close.send().await.unwrap()),
        "__Host-aetherium=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"
    );
}

#[tokio::test]
async fn behind_a_proxy_with_tls_the_cookie_is_secure() {
    let cluster = TestCluster::on(&TestDatabase::sqlite()).await;
    let admin = cluster.token(role_token("admin")).await;
    let ask =
        cluster.rest().post(SESSION).header("origin", "https://cluster.example").header("host", "cluster.example");
    let opened = ask.json(json!({"token": admin.text})).await;
    assert!(opened.header("set-cookie").unwrap().starts_with("__Host-aetherium="), "{:?}", opened.headers);
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_has_no_use_of_the_cookie() {
    let origin = "https://dashboard.example.com";
    let cluster = TestCluster::configured(&TestDatabase::sqlite(), |options| {
        options.http.cors_origins = vec![origin.parse().unwrap()];
    })
    .await;
    let admin = cluster.token(role_token("admin")).await;
    let session = cluster.session(&admin).await;
    let asks = [cluster.rest().get(WORKERS), cluster.rest().post("/api/v1/workers/w1/drain")];
    for ask in asks {
        let answer = ask.header("origin", origin).header("cookie", &session.cookie()).await;
        answer.assert_failure(401, CROSS_SITE);
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    for ask in [cluster.rest().post(SESSION).json(json!({"token": admin.text})), cluster.rest().delete(SESSION)] {
        let answer = ask.header("origin", origin).await;
        answer.assert_failure(403, "Only this server's own pages sign in and out");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let preflight = cluster.rest().ask("OPTIONS", SESSION).header("origin", origin);
    let preflight = preflight.header("access-control-request-method", "POST").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-credentials")), (200, None));
}

#[tokio::test]
async fn sessions_are_the_same_at_every_server() {
    TestDatabase::postgres()
        .await
        .run(async |one: TestCluster| {
            let two = one.another_server().await;
            let catch_up = async || {
                let revision = one.revision().max(two.revision());
                for cluster in [&one, &two] {
                    cluster.server().resolvers().read_at_least(&Caller::server(), Some(revision)).await.unwrap();
                }
            };
            let (admin, viewer) = (one.token(role_token("admin")).await, one.token(role_token("viewer")).await);
            catch_up().await;
            let (session, closed) = (one.session(&viewer).await, two.session(&viewer).await);
            catch_up().await;
            assert_is(&two, &session, None).await;
            let (cookie, of_closed) = (session.cookie(), closed.cookie());
            let open = Open::begin_with(&two, &[("cookie", &cookie), SAME_ORIGIN]).await;
            let other = Open::begin_with(&two, &[("cookie", &of_closed), SAME_ORIGIN]).await;
            assert_eq!(one.page_of(&closed).delete(SESSION).await.status, 204);
            other.assert_ended(ENDED).await;
            assert_eq!(one.holder(&admin).delete(&format!("/api/v1/tokens/{}", viewer.id)).await.status, 204);
            open.assert_ended(ENDED).await;
            assert_is(&two, &session, Some(ENDED)).await;

            for round in 0..10 {
                let code = one.sign_in_code("viewer").await;
                catch_up().await;
                let [at_one, at_two] = [&one, &two]
                    .map(|cluster| cluster.rest().post(SESSION).json(json!({"code": code.text})).into_future());
                let answers = join_all([at_one, at_two]).await;
                let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
                statuses.sort_unstable();
                assert_eq!(statuses, [201, 401], "round {round}");
            }

            // Each removes what has ended long ago from its own memory, and from the table whoever is first.
            one.advance(minutes(3 * 24 * 60));
            for cluster in [&one, &two] {
                cluster.server().retention_pruner().prune().await.unwrap();
                assert_eq!(cluster.holder(&admin).get("/api/v1/tokens").await.json()["total"], 2);
            }
        })
        .await;
}
