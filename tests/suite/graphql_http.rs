//! How GraphQL travels over HTTP: methods, media types, status codes, and what an answer without data looks like.

use serde_json::{Value, json};

use crate::harness::*;

/// The media type with which the status tells whether a request was understood.
const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// A document in a query string.
fn by_get(query: &str) -> String {
    format!("/graphql?query={}", escape(query))
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What is sent when nothing was executed: errors with a code, and no `data` at all.
#[track_caller]
fn assert_refused(answer: &Answer, code: &str) {
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["errors"], "{}", answer.body);
    for error in body["errors"].as_array().unwrap() {
        assert_eq!(error["extensions"]["code"], code, "{}", answer.body);
        let message = error["message"].as_str().unwrap();
        assert!(!message.is_empty() && error.get("path").is_none(), "{}", answer.body);
        for leak in ["::", "src/", "serde", "panicked", "async_graphql", "Sql"] {
            assert!(!message.contains(leak), "{leak:?} leaks: {message}");
        }
    }
}

on_both_databases! {
    async fn questions_are_answered_by_post_and_by_get(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let expected = json!({"data": {"worker": {"id": "w1"}}});
        let post = cluster.rest().post("/graphql").json(json!({"query": "{ worker(id: \"w1\") { id } }"})).await;
        post.assert_json(200, expected.clone());
        let get = cluster.rest().get(&by_get("{ worker(id: \"w1\") { id } }")).await;
        get.assert_json(200, expected.clone());
        for answer in [&post, &get] {
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert!(answer.header("x-request-id").is_some());
        }
        let slash = cluster.rest().post("/graphql/").json(json!({"query": "{ worker(id: \"w1\") { id } }"})).await;
        slash.assert_json(200, expected);
        let head = cluster.rest().head(&by_get("{ workers { id } }")).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }

    async fn keys_come_in_the_order_they_are_asked_for(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a").vms([vm("vm-1")])]).await;
        let query = "{ clusterStats { revision totalWorkers } workers { zone id b: id events(first: 1) { kind workerId } a: hostname } }";
        assert_eq!(
            cluster.rest().post("/graphql").json(json!({"query": query})).await.body,
            concat!(
                r#"{"data":{"clusterStats":{"revision":2,"totalWorkers":1},"workers":[{"zone":"a","id":"w1","b":"w1","#,
                r#""events":[{"kind":"VM_STARTED","workerId":"w1"}],"a":"w1.example.com"}]}}"#
            )
        );
    }

    async fn variables_and_the_operation_are_chosen_in_both_ways(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2")]).await;
        let query = "query A($id: ID!) { worker(id: $id) { id } } query B { workers { id } }";
        let variables = json!({"id": "w2"});
        let expected = json!({"data": {"worker": {"id": "w2"}}});
        let body =
            json!({"query": query, "operationName": "A", "variables": variables, "extensions": {"x": 1}, "more": 1});
        cluster.rest().post("/graphql").json(body).await.assert_json(200, expected.clone());
        let path = format!(
            "{}&operationName=A&variables={}&extensions=%7B%7D&more=1",
            by_get(query),
            escape(&variables.to_string())
        );
        cluster.rest().get(&path).await.assert_json(200, expected);
        for nothing in ["&operationName=&variables=&extensions=", "&variables=null", ""] {
            let answer = cluster.rest().get(&(by_get("{ worker(id: \"w1\") { id } }") + nothing)).await;
            answer.assert_json(200, json!({"data": {"worker": {"id": "w1"}}}));
        }
        for nothing in [json!({"operationName": null, "variables": null, "extensions": null}), json!({})] {
            let body = with(
                json!({"query": "{ workers { id } }", "operationName": 0, "variables": 0, "extensions": 0}),
                nothing.clone(),
            );
            let body = if nothing == json!({}) { json!({"query": "{ workers { id } }"}) } else { body };
            assert_eq!(cluster.rest().post("/graphql").json(body).await.status, 200);
        }
    }

    async fn an_operation_that_cannot_be_chosen_is_refused(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let two = "query A { workers { id } } query B { vms { id } }";
        for (body, code) in [
            (json!({"query": two, "operationName": "C"}), "BAD_USER_INPUT"),
            (json!({"query": "{ workers { id } }", "operationName": "C"}), "BAD_USER_INPUT"),
            (json!({"query": "query A { workers { id } }", "operationName": "a"}), "BAD_USER_INPUT"),
            (json!({"query": two}), "BAD_USER_INPUT"),
            (json!({"query": "fragment F on Worker { id }"}), "GRAPHQL_VALIDATION_FAILED"),
        ] {
            let answer = cluster.rest().post("/graphql").header("accept", GRAPHQL_RESPONSE).json(body.clone()).await;
            assert_eq!(answer.status, 400, "{body}: {}", answer.body);
            assert_refused(&answer, code);
        }
    }

    async fn a_get_changes_nothing(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        let drain = r#"mutation M { drainWorker(input: {workerId: "w1"}) { changed } }"#;
        for path in [
            by_get(drain),
            by_get(&format!("{drain} query Q {{ workers {{ id }} }}")) + "&operationName=M",
            by_get(&format!("{drain} query Q {{ workers {{ id }} }}")),
            by_get("subscription { clusterStats { revision } }"),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = cluster.rest().ask(method, &path).await;
                assert_eq!(
                    (answer.status, answer.header("allow")),
                    (405, Some("POST")),
                    "{method} {path}: {}",
                    answer.body
                );
                if method == "GET" {
                    assert_refused(&answer, "BAD_REQUEST");
                }
            }
        }
        let answer = cluster
            .rest()
            .get(&(by_get(&format!("{drain} query Q {{ workers {{ id }} }}")) + "&operationName=Q"))
            .await;
        answer.assert_json(200, json!({"data": {"workers": [{"id": "w1"}]}}));
        assert_eq!(cluster.everything().await, before);
    }

    async fn only_json_is_read(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let before = cluster.everything().await;
        let body = json!({"query": r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#}).to_string();
        for content_type in [
            None,
            Some(""),
            Some("text/plain"),
            Some("text/plain; charset=application/json"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/graphql"),
            Some("application/jsonp"),
        ] {
            let ask = cluster.rest().post("/graphql").body(body.clone());
            let answer = match content_type {
                Some(content_type) => ask.header("content-type", content_type).await,
                None => ask.await,
            };
            assert_eq!(answer.status, 415, "{content_type:?}: {}", answer.body);
            assert_refused(&answer, "BAD_REQUEST");
        }
        assert_eq!(cluster.everything().await, before);
        for content_type in
            ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=\"UTF-8\""]
        {
            let body = json!({"query": "{ workers { id } }"}).to_string();
            let answer = cluster.rest().post("/graphql").header("content-type", content_type).body(body).await;
            assert_eq!(answer.status, 200, "{content_type}: {}", answer.body);
        }
    }

    async fn bodies_that_are_no_request_are_refused(cluster: TestCluster) {
        let batch = json!([{"query": "{ workers { id } }"}, {"query": "{ vms { id } }"}]).to_string();
        for (body, what) in [
            ("", "nothing"),
            ("{", "half of JSON"),
            ("query { workers { id } }", "no JSON"),
            ("7", "a number"),
            ("null", "null"),
            (&batch, "a batch"),
            (r#"{"query": 7}"#, "a query that is no text"),
            (r#"{"query": {"a": 1}}"#, "a query that is an object"),
            (r#"{"query": "{ workers { id } }", "operationName": 7}"#, "a name that is no text"),
        ] {
            for accept in ["*/*", GRAPHQL_RESPONSE] {
                let answer = cluster
                    .rest()
                    .post("/graphql")
                    .header("content-type", "application/json")
                    .header("accept", accept)
                    .body(body.to_owned())
                    .await;
                assert_eq!(answer.status, 400, "{what}: {}", answer.body);
                assert_refused(&answer, "BAD_REQUEST");
            }
        }
        for (body, what) in [
            (json!({}), "`query` is missing"),
            (json!({"query": null}), "`query` is missing"),
            (json!({"query": ""}), "`query` is missing"),
            (json!({"query": " \n"}), "`query` is missing"),
            (json!({"query": "{ workers { id } }", "variables": []}), "`variables` must be a JSON object"),
            (json!({"query": "{ workers { id } }", "variables": "{}"}), "`variables` must be a JSON object"),
            (json!({"query": "{ workers { id } }", "extensions": 7}), "`extensions` must be a JSON object"),
        ] {
            for accept in ["*/*", "application/json", GRAPHQL_RESPONSE] {
                let answer = cluster.rest().post("/graphql").header("accept", accept).json(body.clone()).await;
                assert_eq!(answer.status, 400, "{body}: {}", answer.body);
                assert_refused(&answer, "BAD_REQUEST");
                assert!(answer.body.contains(what), "{body}: {}", answer.body);
            }
        }
        for path in [
            "/graphql".to_owned(),
            "/graphql?query=".into(),
            by_get("{ workers { id } }") + "&variables=x",
            by_get("{ workers { id } }") + "&variables=%5B%5D",
            by_get("{ workers { id } }") + "&extensions=1",
        ] {
            let answer = cluster.rest().get(&path).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            assert_refused(&answer, "BAD_REQUEST");
        }
    }

    async fn the_media_type_is_the_one_that_is_asked_for(cluster: TestCluster) {
        for (accept, expected) in [
            (None, "application/json"),
            (Some("*/*"), "application/json"),
            (Some("application/json"), "application/json"),
            (Some("text/html"), "application/json"),
            (Some(GRAPHQL_RESPONSE), GRAPHQL_RESPONSE),
            (Some("Application/GraphQL-Response+JSON; charset=utf-8"), GRAPHQL_RESPONSE),
            (Some("application/graphql-response+json; q=0.9, application/json; q=0.5"), GRAPHQL_RESPONSE),
            (Some("application/json;q=0.9, application/graphql-response+json"), GRAPHQL_RESPONSE),
            // What clients send that know both but do not say which they like more: the specification's own type.
            (Some("application/json, application/graphql-response+json"), GRAPHQL_RESPONSE),
        ] {
            let ask = cluster.rest().post("/graphql").json(json!({"query": "{ workers { id } }"}));
            let answer = match accept {
                Some(accept) => ask.header("accept", accept).await,
                None => ask.await,
            };
            answer.assert_json(200, json!({"data": {"workers": []}}));
            let media = answer.header("content-type").unwrap();
            assert_eq!(media.split(';').next().unwrap(), expected, "{accept:?}");
        }
    }

    async fn what_was_not_executed_has_no_data_and_a_code(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let cases = [
            ("{", json!({}), "GRAPHQL_PARSE_FAILED"),
            ("{ workers { id }", json!({}), "GRAPHQL_PARSE_FAILED"),
            ("query A { workers { id } } query A { workers { id } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ nope }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ workers }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ workers { id { x } } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ worker { id } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ worker(id: null) { id } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ worker(id: \"w1\", zone: 1) { id } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ workers { ...F } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ workersConnection(first: \"x\") { totalCount } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ workersConnection(orderBy: {field: NOPE}) { totalCount } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("{ workersConnection(filter: {nope: 1}) { totalCount } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
            ("query($id: ID!) { worker(id: $id) { id } }", json!({}), "BAD_USER_INPUT"),
            ("query($id: ID!) { worker(id: $id) { id } }", json!({"id": null}), "BAD_USER_INPUT"),
            (
                "query($first: Int) { workersConnection(first: $first) { totalCount } }",
                json!({"first": "x"}),
                "BAD_USER_INPUT",
            ),
            ("subscription { clusterStats { revision } }", json!({}), "GRAPHQL_VALIDATION_FAILED"),
        ];
        for (query, variables, code) in cases {
            let body = json!({"query": query, "variables": variables});
            let answer = cluster.rest().post("/graphql").header("accept", GRAPHQL_RESPONSE).json(body.clone()).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (400, Some(GRAPHQL_RESPONSE)),
                "{body}: {}",
                answer.body
            );
            assert_refused(&answer, code);
            // Clients from before that media type see a success, as they always have.
            let answer = cluster.rest().post("/graphql").header("accept", "application/json").json(body.clone()).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some("application/json")),
                "{body}: {}",
                answer.body
            );
            assert_refused(&answer, code);
            let path = format!("{}&variables={}", by_get(query), escape(&variables.to_string()));
            if code != "GRAPHQL_VALIDATION_FAILED" || !query.starts_with("subscription") {
                let answer = cluster.rest().get(&path).header("accept", GRAPHQL_RESPONSE).await;
                assert_eq!(answer.status, 400, "{path}: {}", answer.body);
                assert_refused(&answer, code);
            }
        }
    }

    async fn numbers_that_are_too_large_are_named(cluster: TestCluster) {
        let query = "query($first: Int) { workersConnection(first: $first) { totalCount } }";
        for first in [1_i64 << 31, -(1_i64 << 31) - 1, i64::MAX] {
            let answer = cluster.graphql_answer(query, json!({"first": first})).await;
            let error = &answer["errors"][0];
            assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{answer}");
            assert!(error["message"].as_str().unwrap().contains("from -2147483648 to 2147483647"), "{answer}");
        }
    }

    async fn texts_that_are_no_cursor_are_named(cluster: TestCluster) {
        let query = "query($after: Cursor) { variable: events(after: $after) { hasNextPage } }";
        let variable = cluster.graphql_answer(query, json!({"after": "nonsense"})).await;
        let literal =
            cluster.graphql_answer("{ literal: events(after: \"nonsense\") { hasNextPage } }", json!({})).await;
        for (answer, code) in [(variable, "BAD_USER_INPUT"), (literal, "GRAPHQL_VALIDATION_FAILED")] {
            let error = &answer["errors"][0];
            assert_eq!((answer.get("data"), &error["extensions"]["code"]), (None, &json!(code)), "{answer}");
            assert!(
                error["message"].as_str().unwrap().contains("\"nonsense\" is not a cursor of this API"),
                "{answer}"
            );
        }
    }

    async fn what_failed_while_it_was_executed_is_a_success_with_errors(cluster: TestCluster) {
        for accept in ["application/json", GRAPHQL_RESPONSE] {
            let query = "{ workersConnection(first: -1) { totalCount } }";
            let answer = cluster.rest().post("/graphql").header("accept", accept).json(json!({"query": query})).await;
            assert_eq!(answer.status, 200);
            let body = answer.json();
            assert!(body.as_object().unwrap().contains_key("data"), "{}", answer.body);
            assert_eq!(
                [&body["data"], &body["errors"][0]["extensions"]["code"]],
                [&Value::Null, &json!("INVALID_ARGUMENT")]
            );
        }
    }

    async fn bodies_and_documents_that_are_too_large_are_refused(cluster: TestCluster) {
        let document = format!("{{ workers {{ id }} }}{}", " ".repeat(64 * 1024));
        let answer =
            cluster.rest().post("/graphql").header("accept", GRAPHQL_RESPONSE).json(json!({"query": document})).await;
        assert_eq!(answer.status, 400);
        assert_refused(&answer, "QUERY_TOO_COMPLEX");
        let body = json!({"query": "{ workers { id } }", "variables": {"x": "y".repeat(256 * 1024)}});
        let answer = cluster.rest().post("/graphql").json(body).await;
        assert_eq!(answer.status, 413);
        assert_refused(&answer, "BAD_REQUEST");
        assert!(answer.body.contains("The request body is larger than the 256 KiB that are read here"), "{}", answer.body);
    }

    async fn other_methods_are_refused(cluster: TestCluster) {
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = cluster.rest().ask(method, "/graphql").await;
            assert_eq!(answer.status, 405, "{method}: {}", answer.body);
            assert_refused(&answer, "BAD_REQUEST");
            let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').collect();
            allowed.sort_unstable();
            assert_eq!(allowed, ["GET", "HEAD", "POST"]);
        }
    }

    async fn pages_of_other_origins_change_nothing(database: TestDatabase) {
        let origin = "https://dashboard.example.com";
        let cluster =
            TestCluster::configured(&database, |options| options.http.cors_origins = vec![origin.parse().unwrap()])
                .await;
        cluster.add([worker("w1")]).await;
        let drain = json!({"query": r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#});
        for foreign in ["https://evil.example.com", "null"] {
            let answer = cluster
                .rest()
                .post("/graphql")
                .header("host", "localhost")
                .header("origin", foreign)
                .json(drain.clone())
                .await;
            assert_eq!(answer.status, 403, "{foreign}: {}", answer.body);
            assert_refused(&answer, "FORBIDDEN");
        }
        assert_eq!(cluster.worker("w1").await["status"], "active");
        let answer =
            cluster.rest().post("/graphql").header("host", "localhost").header("origin", origin).json(drain).await;
        answer.assert_json(200, json!({"data": {"drainWorker": {"changed": true}}}));
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    }
}

// A database that is away is said to be away, and what is in memory is still told.
#[tokio::test]
async fn a_database_that_is_away_is_unavailable_and_questions_of_the_present_are_answered() {
    TestDatabase::postgres()
        .await
        .run(async |database: TestDatabase| {
            let cluster = TestCluster::on(&database).await;
            cluster.add([worker("w1")]).await;
            database.cut_off().await;
            let query = r#"{ worker(id: "w1") { id } other: worker(id: "w1") { events { kind } } }"#;
            let answer = in_time(cluster.graphql_answer(query, json!({}))).await;
            assert_eq!(answer["data"], json!({"worker": {"id": "w1"}, "other": null}));
            let error = &answer["errors"][0];
            assert_eq!(
                [&error["path"], &error["extensions"]["code"]],
                [&json!(["other", "events"]), &json!("UNAVAILABLE")]
            );
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("The database is not available."), "{message}");
            let drain = r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#;
            let answer = in_time(cluster.graphql_answer(drain, json!({}))).await;
            assert_eq!(answer["data"], json!({"drainWorker": null}));
            assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAVAILABLE");
            database.let_in().await;
        })
        .await;
}
