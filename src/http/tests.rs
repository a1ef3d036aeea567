//! Tests of the whole room: a small router with one route of each kind, asked through all middleware.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};

use super::authentication::Authenticator;
use super::error::HttpError;
use super::extract::{Json, OptionalJson, PathId};
use super::middleware::request_context::current_request;
use super::middleware::stack::with_middleware;
use super::options::HttpOptions;
use super::request_metrics::RequestMetrics;
use super::routing::{RouteOptions, Routes, get, post};

const KIB: usize = 1024;

fn routes() -> Routes {
    Routes::new()
        .route("/", get(async || "home"))
        .route("/api/v1/workers", get(async || "all of them").post(async |Json(worker): Json<Value>| Json(worker)))
        .route(
            "/api/v1/workers/{id}",
            get(async |PathId(id): PathId| HttpError::not_found(format!("Worker not found: {id}"))),
        )
        .route("/api/v1/workers/{id}/drain", post(async |OptionalJson(reason): OptionalJson<Value>| Json(reason)))
        .route_with(RouteOptions::NOTHING.quiet(), "/api/v1/workers/{id}/heartbeat", post(async || "thanks"))
        .route_with(
            RouteOptions::NOTHING.body(1024 * KIB),
            "/api/v1/heartbeats",
            post(async |Json(heartbeats): Json<Value>| Json(heartbeats)),
        )
        .route("/api/v1/raw", post(async |bytes: Bytes| bytes.len().to_string()))
        .route("/api/v1/deaf", post(async || "I did not listen"))
        .route("/api/v1/panic", get(async || -> String { panic!("the secret of the panic") }))
        .route("/api/v1/slow", get(std::future::pending::<String>))
        .route_with(
            RouteOptions::NOTHING.time(Duration::from_secs(60)),
            "/api/v1/poll",
            get(async || {
                tokio::time::sleep(Duration::from_secs(59)).await;
                "at last"
            })
            .post(std::future::pending::<String>),
        )
        .route("/api/v1/whoami", get(async || current_request().map(|id| id.to_string()).unwrap_or_default()))
        .route("/api/v1/stream", get(slow_stream))
        .route(
            "/api/v1/plain",
            get(async || (StatusCode::FORBIDDEN, [(header::WWW_AUTHENTICATE, "Bearer")], "plain text")),
        )
        .route(
            "/api/v1/problem",
            get(async || (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/problem+json")], "{}")),
        )
}

/// Begins at once and goes on for longer than a response may take to begin.
async fn slow_stream() -> Response {
    let chunks = stream::unfold(0, async |chunk| {
        tokio::time::sleep(Duration::from_secs(6)).await;
        (chunk < 3).then_some((Ok::<_, io::Error>(Bytes::from_static(b"tick ")), chunk + 1))
    });
    Body::from_stream(chunks).into_response()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }

    /// Asserts the documented body of an error, and its content type.
    #[track_caller]
    fn assert_failure(&self, status: u16, reason: &str, message: &str) {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.json(), json!({"error": reason, "message": message, "code": status}));
        assert_eq!(self.status, status);
    }
}

async fn ask_with(options: &HttpOptions, request: Request) -> Answer {
    ask_service(with_middleware(routes(), options, Authenticator::default(), &RequestMetrics::default()), request).await
}

async fn ask_service(
    service: impl Service<Request, Response = Response, Error = std::convert::Infallible>,
    request: Request,
) -> Answer {
    let (head, body) = service.oneshot(request).await.expect("infallible").into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).expect("text"),
    }
}

async fn ask(request: Request) -> Answer {
    ask_with(&HttpOptions::default(), request).await
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).expect("a request")
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn an_unknown_route_is_a_404_that_names_it() {
    let answer = ask(request("GET", "/api/v1/nope?token=secret", &[], "")).await;
    answer.assert_failure(404, "Not Found", "No route for GET /api/v1/nope");
    let answer = ask(request("DELETE", "/", &[], "")).await;
    assert_eq!(answer.status, 405, "a known path is not an unknown route");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let answer = ask(request("PATCH", "/api/v1/workers", &[], "")).await;
    answer.assert_failure(
        405,
        "Method Not Allowed",
        "PATCH is not allowed on /api/v1/workers; allowed: GET, HEAD, POST",
    );
    assert_eq!(answer.header("allow"), Some("GET,HEAD,POST"));
    let answer = ask(request("OPTIONS", "/api/v1/workers", &[], "")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET,HEAD,POST")));
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    for path in ["/", "/api/v1/workers", "/api/v1/workers/w1", "/api/v1/nope", "/api/v1/plain", "/api/v1/panic"] {
        let get = ask(request("GET", path, &[], "")).await;
        let head = ask(request("HEAD", path, &[], "")).await;
        let length = head.header("content-length").and_then(|length| length.parse().ok());
        assert_eq!(head.body, "", "{path}");
        assert_eq!((head.status, head.header("content-type")), (get.status, get.header("content-type")), "{path}");
        // The sentence about an unknown route names the method, which is one letter longer.
        assert_eq!(length, Some(get.body.len() + usize::from(get.body.contains("GET"))), "{path}");
    }
}

#[tokio::test]
async fn a_trailing_slash_makes_no_difference() {
    assert_eq!(ask(request("GET", "/api/v1/workers/", &[], "")).await.body, "all of them");
    assert_eq!(ask(request("GET", "/api/v1/workers/?zone=a", &[], "")).await.body, "all of them");
    assert_eq!(ask(request("GET", "/", &[], "")).await.body, "home");
}

#[tokio::test]
async fn plain_errors_get_the_house_shape_and_keep_their_headers() {
    let answer = ask(request("GET", "/api/v1/plain", &[], "")).await;
    answer.assert_failure(403, "Forbidden", "This is not allowed");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(answer.header("content-length"), None, "the length of the old body is forgotten");
    let answer = ask(request("GET", "/api/v1/workers/w1", &[], "")).await;
    answer.assert_failure(404, "Not Found", "Worker not found: w1");
    let answer = ask(request("GET", "/api/v1/problem", &[], "")).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "{}"), "other JSON errors pass");
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let answer = ask(request("GET", "/api/v1/panic", &[], "")).await;
    let message = "Internal error; the server's log tells more under this answer's x-request-id";
    answer.assert_failure(500, "Internal Server Error", message);
    assert!(answer.header("x-request-id").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_begin_in_time_is_a_503() {
    let answer = ask(request("GET", "/api/v1/slow", &[], "")).await;
    answer.assert_failure(503, "Service Unavailable", "There was no answer within 10s; try again shortly");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_route_may_take_longer_than_others() {
    assert_eq!(ask(request("GET", "/api/v1/poll", &[], "")).await.body, "at last");
    let answer = ask(request("POST", "/api/v1/poll", &[], "")).await;
    answer.assert_failure(503, "Service Unavailable", "There was no answer within 60s; try again shortly");
    let patient = HttpOptions { response_time: Duration::from_secs(90), ..HttpOptions::default() };
    let answer = ask_with(&patient, request("POST", "/api/v1/poll", &[], "")).await;
    answer.assert_failure(503, "Service Unavailable", "There was no answer within 90s; try again shortly");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_a_408() {
    let stalls = Body::from_stream(stream::pending::<io::Result<Bytes>>());
    let answer = ask(request("POST", "/api/v1/workers", &[JSON], stalls)).await;
    answer.assert_failure(408, "Request Timeout", "The request body did not arrive within 10s");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_begun_is_not_cut() {
    assert_eq!(ask(request("GET", "/api/v1/stream", &[], "")).await.body, "tick tick tick ");
}

#[tokio::test]
async fn bodies_are_read_up_to_the_routes_limit() {
    let json_of = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let too_large = |limit| format!("The request body is larger than the {limit} that are read here");
    for (path, bytes, limit) in [
        ("/api/v1/workers", 256 * KIB, None),
        ("/api/v1/workers", 256 * KIB + 1, Some("256 KiB")),
        ("/api/v1/workers/w1/drain", 256 * KIB + 1, Some("256 KiB")),
        ("/api/v1/heartbeats", 256 * KIB + 1, None),
        ("/api/v1/heartbeats", 1024 * KIB, None),
        ("/api/v1/heartbeats", 1024 * KIB + 1, Some("1 MiB")),
        // axum's own extractor reads the same body, and its refusal is reshaped.
        ("/api/v1/raw", 256 * KIB + 1, Some("256 KiB")),
    ] {
        let whole = json_of(bytes);
        let pieces: Vec<_> =
            whole.as_bytes().chunks(10_000).map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece))).collect();
        let chunked = Body::from_stream(stream::iter(pieces));
        for body in [Body::from(whole), chunked] {
            let answer = ask(request("POST", path, &[JSON], body)).await;
            match limit {
                None => assert_eq!((answer.status, answer.body.len()), (200, bytes), "{path}"),
                Some(limit) => answer.assert_failure(413, "Payload Too Large", &too_large(limit)),
            }
        }
    }
}

#[tokio::test]
async fn an_endless_body_ends_at_the_limit() {
    let endless = || Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[b' '; 4096]))));
    let answer = ask(request("POST", "/api/v1/workers", &[JSON], endless())).await;
    assert_eq!(answer.status, 413);
    let answer = ask(request("POST", "/api/v1/deaf", &[], endless())).await;
    assert_eq!(answer.body, "I did not listen", "a body that nobody reads is nobody's concern");
}

#[tokio::test]
async fn bad_json_is_refused_in_the_house_shape() {
    let answer = ask(request("POST", "/api/v1/workers", &[JSON], "{")).await;
    answer.assert_failure(
        400,
        "Bad Request",
        "The body is not valid JSON: EOF while parsing an object at line 1 column 1",
    );
    let answer = ask(request("POST", "/api/v1/workers", &[("content-type", "text/csv")], "a,b")).await;
    answer.assert_failure(415, "Unsupported Media Type", "The body has to be application/json, not text/csv");
}

#[tokio::test]
async fn a_clients_request_id_comes_back_and_a_missing_one_is_made() {
    let answer = ask(request("GET", "/", &[("x-request-id", "deploy-42")], "")).await;
    assert_eq!(answer.header("x-request-id"), Some("deploy-42"));
    let answer = ask(request("GET", "/api/v1/nope", &[], "")).await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
}

#[tokio::test]
async fn headers_that_are_repeated_are_all_heard_and_of_ids_the_first() {
    for (ids, expected) in [(["one", "two"], Some("one")), (["not one", "two"], None)] {
        let answer = ask(request("GET", "/", &ids.map(|id| ("x-request-id", id)), "")).await;
        let id = answer.header("x-request-id").expect("an id");
        assert_eq!((id == "two", expected.is_none_or(|expected| expected == id)), (false, true), "{ids:?}: {id}");
    }
    for (accepted, media) in [
        (["text/html", "application/problem+json"], "application/problem+json"),
        (["application/problem+json", "application/json"], "application/json"),
        (["application/json", "application/problem+json"], "application/json"),
    ] {
        let answer = ask(request("GET", "/nowhere", &accepted.map(|media| ("accept", media)), "")).await;
        assert_eq!(answer.header("content-type"), Some(media), "{accepted:?}");
    }
    let text = json!("x".repeat(2 * KIB)).to_string();
    for (known, encoding) in
        [(["gzip;q=0", "gzip"], Some("gzip")), (["*;q=0", "GZIP"], Some("gzip")), (["*;q=0", "deflate"], None)]
    {
        let headers = [JSON, ("accept-encoding", known[0]), ("accept-encoding", known[1])];
        let service =
            with_middleware(routes(), &HttpOptions::default(), Authenticator::default(), &RequestMetrics::default());
        let request = request("POST", "/api/v1/heartbeats", &headers, text.clone());
        let answer = service.oneshot(request).await.expect("infallible");
        let found = answer.headers().get("content-encoding").map(|found| found.to_str().expect("text"));
        assert_eq!((answer.status().as_u16(), found), (200, encoding), "{known:?}");
    }
}

#[tokio::test]
async fn a_handler_knows_which_request_it_answers() {
    let answer = ask(request("GET", "/api/v1/whoami", &[("x-request-id", "deploy-42")], "")).await;
    assert_eq!(answer.body, "deploy-42");
    let answer = ask(request("GET", "/api/v1/whoami", &[], "")).await;
    assert_eq!(Some(&*answer.body), answer.header("x-request-id"));
    assert_eq!(current_request(), None, "nobody asks here");
}

#[tokio::test]
async fn no_answer_is_to_be_sniffed() {
    for path in ["/", "/api/v1/nope", "/api/v1/panic"] {
        assert_eq!(ask(request("GET", path, &[], "")).await.header("x-content-type-options"), Some("nosniff"));
    }
}

fn with_dashboard() -> HttpOptions {
    HttpOptions { cors_origins: vec!["https://ops.example.com".parse().expect("an origin")], ..HttpOptions::default() }
}

#[tokio::test]
async fn without_origins_no_header_allows_anything() {
    let preflight = [("origin", "https://ops.example.com"), ("access-control-request-method", "POST")];
    for method in ["GET", "OPTIONS"] {
        let answer = ask(request(method, "/api/v1/workers", &preflight, "")).await;
        let allowing: Vec<_> =
            answer.headers.keys().filter(|name| name.as_str().starts_with("access-control")).collect();
        assert!(allowing.is_empty(), "{method}: {allowing:?}");
    }
}

#[tokio::test]
async fn a_named_origin_is_allowed_by_name_and_no_other_is() {
    let options = with_dashboard();
    let preflight = |origin| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,authorization"),
        ];
        request("OPTIONS", "/api/v1/workers/w1/drain", &headers, "")
    };
    let answer = ask_with(&options, preflight("https://ops.example.com")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://ops.example.com"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type,authorization"));
    assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));

    let answer = ask_with(&options, preflight("https://evil.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);

    // A page must be able to read why it got no answer.
    for path in ["/api/v1/workers", "/api/v1/nope", "/api/v1/panic"] {
        let answer = ask_with(&options, request("GET", path, &[("origin", "https://ops.example.com")], "")).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://ops.example.com"), "{path}");
        assert_eq!(answer.header("access-control-expose-headers"), Some("*"), "`link` and `x-revision` among them");
        assert!(
            answer.headers.get_all("vary").iter().any(|vary| vary.to_str().is_ok_and(|vary| vary.contains("origin")))
        );
    }
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let from = |origin| [("origin", origin), ("sec-fetch-site", "cross-site"), ("content-type", "text/plain")];
    let drain = |origin| request("POST", "/api/v1/workers/w1/drain", &from(origin), "");
    let answer = ask_with(&with_dashboard(), drain("https://evil.example")).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("Forbidden")));
    assert_eq!(ask_with(&with_dashboard(), drain("https://ops.example.com")).await.status, 200);
    assert_eq!(ask(request("POST", "/api/v1/workers/w1/drain", &[], "")).await.status, 200, "curl is no page");
}

/// Collects what is logged while it lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn take(&self) -> Vec<Value> {
        let text = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&text).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

#[tokio::test]
async fn each_request_has_one_line_and_failures_are_louder() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    // While there is just one subscriber, tracing asks the thread that meets a span first whether anybody wants it, and
    // remembers the answer for all: a test beside this one, which has no subscriber, would say no. With two, it asks
    // both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());

    for (method, path, level, status, route) in [
        ("GET", "/api/v1/workers?zone=secret", "DEBUG", 200, Some("/api/v1/workers")),
        ("POST", "/api/v1/workers/w1/drain", "INFO", 200, Some("/api/v1/workers/{id}/drain")),
        ("POST", "/api/v1/workers/w1/heartbeat", "DEBUG", 200, Some("/api/v1/workers/{id}/heartbeat")),
        ("GET", "/api/v1/workers/w1", "INFO", 404, Some("/api/v1/workers/{id}")),
        ("GET", "/api/v1/nope", "INFO", 404, None),
        ("PUT", "/api/v1/workers", "INFO", 405, Some("/api/v1/workers")),
    ] {
        ask(request(method, path, &[("x-request-id", "r-1")], "")).await;
        let lines = log.take();
        let [line] = lines.as_slice() else { panic!("{method} {path} wrote {lines:?}") };
        let fields = &line["fields"];
        assert_eq!(line["level"], level, "{line}");
        assert_eq!(fields["http.method"], method);
        assert_eq!(fields["http.status"], status);
        assert_eq!(fields["http.route"].as_str(), route, "{line}");
        assert_eq!(fields["request.id"], "r-1");
        assert!(fields["latency_ms"].is_number());
        let sentence = format!("{method} {} answered {status} in ", path.trim_end_matches("?zone=secret"));
        assert!(fields["message"].as_str().is_some_and(|message| message.starts_with(&sentence)), "{line}");
    }

    ask(request("GET", "/api/v1/panic", &[("x-request-id", "r-2")], "")).await;
    let lines = log.take();
    let [panic, line] = lines.as_slice() else { panic!("two lines are expected: {lines:?}") };
    assert_eq!((&panic["level"], &panic["fields"]["panic"]), (&json!("ERROR"), &json!("the secret of the panic")));
    assert_eq!(panic["span"]["request.id"], "r-2", "the log tells more under the request's id");
    assert_eq!((&line["level"], &line["fields"]["http.status"]), (&json!("ERROR"), &json!(500)));
}

#[tokio::test]
async fn every_method_is_answered_in_the_house_shape() {
    for method in ["GET", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = ask(request(method.as_str(), "/api/v1/raw", &[], "")).await;
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (405, Some(405)), "{method}");
    }
}
