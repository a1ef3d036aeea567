//! Requests to the router of a server, without a port, and responses with the assertions that tests need.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::IntoFuture;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// The server's router with all its middleware.
pub type Service = BoxCloneSyncService<Request, Response, Infallible>;

/// A client of the REST API.
pub struct Rest {
    service: Service,
    /// What each request has as `authorization`.
    authorization: Option<HeaderValue>,
    /// What each request has as `cookie`, as one of a page of the server itself.
    cookie: Option<HeaderValue>,
}

impl Rest {
    pub(super) fn of(service: Service) -> Self {
        Self { service, authorization: None, cookie: None }
    }

    /// The same client with a token.
    pub fn bearer(self, token: &str) -> Self {
        let authorization = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        Self { authorization: Some(authorization), ..self }
    }

    /// The same client as a page of the server in a browser that has this cookie.
    pub fn cookie(self, cookie: &str) -> Self {
        Self { cookie: Some(HeaderValue::from_str(cookie).unwrap()), ..self }
    }

    /// `GET`
    pub fn get(&self, path: &str) -> Ask {
        self.ask("GET", path)
    }

    /// `HEAD`
    pub fn head(&self, path: &str) -> Ask {
        self.ask("HEAD", path)
    }

    /// `POST`, without a body until one is added.
    pub fn post(&self, path: &str) -> Ask {
        self.ask("POST", path)
    }

    /// `PUT`, without a body until one is added.
    pub fn put(&self, path: &str) -> Ask {
        self.ask("PUT", path)
    }

    /// `DELETE`
    pub fn delete(&self, path: &str) -> Ask {
        self.ask("DELETE", path)
    }

    /// Any method.
    pub fn ask(&self, method: &str, path: &str) -> Ask {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = path.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(COOKIE, cookie.clone());
            request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        }
        Ask { service: self.service.clone(), request }
    }
}

/// A request that is sent when it is awaited.
pub struct Ask {
    service: Service,
    request: Request,
}

impl Ask {
    /// Adds a JSON body.
    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Adds a body without a content type.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.request.headers_mut().insert(HeaderName::from_static(name), value);
        self
    }
}

impl IntoFuture for Ask {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (head, body) = self.service.oneshot(self.request).await.expect("infallible").into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let bytes = body.to_vec();
            let body = String::from_utf8_lossy(&bytes).into_owned();
            Answer { status: head.status.as_u16(), headers: head.headers, body, bytes }
        })
    }
}

/// Keys that an error may have beside the documented ones.
const ABOUT: [&str; 4] = ["argument", "id", "current_revision", "plan"];

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as text, in which the order of keys shows.
    pub body: String,
    /// The body as bytes.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a readable header"))
    }

    /// Asserts the status and the whole body.
    #[track_caller]
    pub fn assert_json(&self, status: u16, expected: Value) {
        let found = self.json();
        assert!(self.status == status && found == expected, "{}", difference(self.status, &found, status, &expected));
    }

    /// Asserts the documented error: this status, the three keys in their order, this sentence, and JSON as the media
    /// type. Keys about the subject of the error may follow.
    #[track_caller]
    pub fn assert_failure(&self, status: u16, message: &str) {
        let (mut found, expected) = (self.json(), failure(status, message));
        if let Value::Object(keys) = &mut found {
            keys.retain(|key, _| !ABOUT.contains(&key.as_str()));
        }
        assert!(self.status == status && found == expected, "{}", difference(self.status, &found, status, &expected));
        self.assert_house_shape();
    }

    /// Asserts that GraphQL does not know who asks.
    #[track_caller]
    pub fn assert_unauthenticated(&self) {
        let code = self.json()["errors"][0]["extensions"]["code"].take();
        assert_eq!((self.status, code), (401, json!("UNAUTHENTICATED")), "{}", self.body);
    }

    /// Asserts an error of the documented shape, with any sentence.
    #[track_caller]
    pub fn assert_house_shape(&self) {
        let Value::String(message) = self.json()["message"].take() else { panic!("no message: {}", self.body) };
        let reason = StatusCode::from_u16(self.status).unwrap().canonical_reason().unwrap();
        let (message_json, code) = (json!(message), self.status);
        let documented = format!(r#"{{"error":"{reason}","message":{message_json},"code":{code}"#);
        let more = self.body.strip_prefix(&documented).unwrap_or_else(|| panic!("{} begins otherwise", self.body));
        // The contract shows the whole body of a 404.
        assert!(more == "}" || self.status != 404 && more.starts_with(','), "{}", self.body);
        let keys: Vec<_> = self.json().as_object().unwrap().keys().cloned().collect();
        let others = keys.iter().filter(|key| !["error", "message", "code"].contains(&key.as_str()));
        others.for_each(|key| assert!(ABOUT.contains(&key.as_str()), "{key}: {}", self.body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        for leak in ["SQL", "sql", "::", "src/", "struct ", "panicked", "UPDATE", "relation "] {
            assert!(!message.contains(leak), "{leak:?} leaks: {message}");
        }
    }
}

/// The documented body of an error.
pub fn failure(status: u16, message: &str) -> Value {
    let reason = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
    json!({"error": reason, "message": message, "code": status})
}

/// Both texts, line by line, with a mark on lines that differ.
fn difference(found_status: u16, found: &Value, expected_status: u16, expected: &Value) -> String {
    let lines = |status: u16, value: &Value| {
        let text = serde_json::to_string_pretty(value).unwrap();
        std::iter::once(status.to_string()).chain(text.lines().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (found, expected) = (lines(found_status, found), lines(expected_status, expected));
    let mut text = String::from("the answer (+) is not the expected one (-)\n");
    for at in 0..found.len().max(expected.len()) {
        match (expected.get(at), found.get(at)) {
            (Some(expected), Some(found)) if expected == found => writeln!(text, "  {found}").unwrap(),
            (expected, found) => {
                for (mark, line) in [('-', expected), ('+', found)] {
                    if let Some(line) = line {
                        writeln!(text, "{mark} {line}").unwrap();
                    }
                }
            }
        }
    }
    text
}
