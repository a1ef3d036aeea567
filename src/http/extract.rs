//! Extractors: JSON bodies, query strings and ids in paths, with errors in the documented form.
//!
//! axum's extractors do the same work, but their errors are plain text and name types of Rust ("expected u32"). These
//! return an [`HttpError`] that names the field, its place, and what would be right. [`PathId`] never fails: no object
//! has an odd id, which the lookup finds out.

use std::{borrow::Cow, error::Error, future::ready, sync::LazyLock};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, future::Either};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{error::Category, value::RawValue};
use tracing::error;

use super::error::{HttpError, is_json, truncate};
use super::header_template::HeaderTemplate;
use super::middleware::request_context::RequestContext;
use super::options::BODY_LIMIT;
use super::query_params::nearest;

/// The buffer of a response about one object, in bytes: large enough that the usual ones are written without growing
/// it.
pub const EXPECTED_ANSWER: usize = 1_024;

/// A required JSON body; as a response, a JSON body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = HttpError;

    fn from_request(request: Request, state: &S) -> impl Future<Output = Result<Self, HttpError>> + Send {
        JsonText::from_request(request, state).map(|text| text?.read().map(Self))
    }
}

/// A required JSON body that is not parsed yet.
#[derive(Clone, Debug)]
pub struct JsonText(Bytes);

impl JsonText {
    /// Its bytes, which need not be JSON.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parses it; an error says what is wrong and where.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        parse(&self.0)
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonText {
    type Rejection = HttpError;

    fn from_request(request: Request, _: &S) -> impl Future<Output = Result<Self, HttpError>> + Send {
        let reading = match declared_type(request.headers()) {
            Some(other) if !is_json(other) => Err(not_json(Some(other))),
            declared => Ok((declared.is_some(), read(request))),
        };
        async move {
            let (is_declared, body) = reading?;
            let body = body.await?;
            if is_blank(&body) {
                return Err(HttpError::bad_request("A JSON body is needed, and the request has none"));
            }
            if is_declared { Ok(Self(body)) } else { Err(not_json(None)) }
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        // Not by `axum::Json`, whose buffer begins with 128 bytes and doubles.
        let mut body = Vec::with_capacity(EXPECTED_ANSWER);
        if let Err(error) = serde_json::to_writer(&mut body, &self.0) {
            error!("An answer cannot be written as JSON: {error}");
            return HttpError::internal().into_response();
        }
        JSON_HEAD.answer(body)
    }
}

/// The headers of a JSON response that needs no others.
pub static JSON_HEAD: LazyLock<HeaderTemplate> =
    LazyLock::new(|| HeaderTemplate::of([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]));

/// An optional JSON body. Its content type is not checked, so that `curl -d '{"reason": "disk"}'`, which declares a
/// form, is accepted. (Browsers allow pages to post forms across origins without a preflight; the middleware refuses
/// such requests before.)
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionalJson<T>(pub Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = HttpError;

    fn from_request(request: Request, _: &S) -> impl Future<Output = Result<Self, HttpError>> + Send {
        read(request).map(|body| {
            let body = body?;
            if is_blank(&body) { Ok(Self(None)) } else { parse(&body).map(Self) }
        })
    }
}

/// The query string. A repeated parameter is a list (`?zone=a&zone=b` for a `Vec`). A parameter without a field is
/// ignored here, since several extractors may read one query string; the route refuses parameters that none of them
/// takes (see [`query_params`](super::query_params)).
///
/// Every field needs `#[serde(default)]` or `Option`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let query = parts.uri.query().unwrap_or_default();
        // Parsed again with places only if it fails, as bodies are.
        if let Ok(value) = serde_html_form::from_str(query) {
            return Ok(Self(value));
        }
        let query = serde_html_form::Deserializer::from_bytes(query.as_bytes());
        serde_path_to_error::deserialize(query).map(Self).map_err(|error| {
            let (parameter, problem) = (error.path().to_string(), error.inner().to_string());
            let problem = in_plain_words(&problem);
            match parameter.as_str() {
                "." => HttpError::bad_request(format!("Query parameter {problem}")),
                parameter => {
                    // The standard library's errors about numbers do not repeat the text.
                    let sent = value_of(parts.uri.query().unwrap_or_default(), parameter);
                    let sent = sent.filter(|_| problem.starts_with("expected ") && !problem.contains(", got "));
                    let sent = sent.map(|sent| format!(", got {:?}", truncate(&sent))).unwrap_or_default();
                    let refusal = format!("Query parameter `{}`: {problem}{sent}", truncate(parameter));
                    HttpError::bad_request(refusal).of_argument(truncate(parameter))
                }
            }
        })
    }
}

/// The first value of a parameter in a query string.
fn value_of(query: &str, parameter: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == parameter).map(|(_, value)| value.into_owned())
}

/// The id in the path, percent-decoded: the parameter `{id}` of the route, or its only one.
///
/// Bytes that are not UTF-8 become `�`, which no id contains, so that the lookup answers 404 as for any other odd id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let id = RequestContext::ask(|context| context.id_in_path().map(percent_decoded)).flatten();
        id.map(Self).ok_or_else(|| {
            error!("An id was asked for on a route that has none: {}", truncate(parts.uri.path()));
            HttpError::internal()
        })
    }
}

fn percent_decoded(segment: &str) -> String {
    if !segment.as_bytes().contains(&b'%') {
        return segment.to_owned();
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The content type as the client wrote it, if there is one.
fn declared_type(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("(unreadable)"))
}

fn not_json(declared: Option<&str>) -> HttpError {
    HttpError::unsupported_media_type(match declared {
        Some(declared) => format!("The body has to be application/json, not {}", truncate(declared)),
        None => "The body has to be declared with content-type: application/json".to_owned(),
    })
}

/// Reads the whole body, up to the route's limit.
///
/// Neither this nor its callers are `async fn`s: each would keep the request in its future while the body arrives,
/// which makes a handler's future too large for the allocator's fast path.
fn read(request: Request) -> impl Future<Output = Result<Bytes, HttpError>> + Send + use<> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if let Some(encoding) = encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let refusal = format!("Request bodies are read uncompressed only; this one is {}", truncate(&encoding));
        return Either::Left(ready(Err(HttpError::unsupported_media_type(refusal))));
    }
    Either::Right(collect(request.into_body()))
}

/// Reads the bytes of a body, up to the route's limit.
pub(super) async fn collect(mut body: Body) -> Result<Bytes, HttpError> {
    let limit = RequestContext::ask(RequestContext::body_limit).unwrap_or_else(|| {
        // Without a request context, as in unit tests of handlers, no middleware has limited the body.
        body = Body::new(Limited::new(std::mem::take(&mut body), BODY_LIMIT));
        BODY_LIMIT
    });
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match is_over_limit(&error) {
            true => HttpError::too_large(limit),
            false => HttpError::bad_request("The request body broke off before its end"),
        })?;
        // Trailers are ignored.
        let Ok(piece) = frame.into_data() else { continue };
        // Nearly every body arrives in one chunk, which is not copied.
        if first.is_empty() {
            first = piece;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&piece);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

fn is_over_limit(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<LengthLimitError>())
}

fn is_blank(body: &[u8]) -> bool {
    body.iter().all(u8::is_ascii_whitespace)
}

/// Parses JSON; an error says what is wrong and where.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        HttpError::bad_request(format!("The body is not UTF-8: byte {} is wrong", error.valid_up_to() + 1))
    })?;
    // Some editors and shells begin a text with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('[') {
        return Err(list_for_an_object());
    }
    // Places in the body cost an allocation each and are needed for errors only, so that the body is parsed a second
    // time if it is refused.
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        refused(Some(&field).filter(|field| *field != "."), &error.into_inner())
    })?;
    json.end().map_err(|error| refused(None, &error))?;
    Ok(value)
}

/// Parses a part of a body, such as one entry of a list, so that an error in it does not concern the other entries.
pub fn read_part<T: DeserializeOwned>(part: &RawValue) -> Result<T, HttpError> {
    if part.get().starts_with('[') {
        return Err(list_for_an_object());
    }
    if let Ok(value) = serde_json::from_str(part.get()) {
        return Ok(value);
    }
    // The value is parsed first, without places: a line and a column within the entry would not be those in the body.
    let part: serde_json::Value = serde_json::from_str(part.get()).map_err(|error| {
        let problem = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let problem = problem.strip_suffix(&place).unwrap_or(&problem);
        HttpError::bad_request(format!("The entry is not valid JSON: {problem}"))
    })?;
    serde_path_to_error::deserialize(part).map_err(|error| {
        let field = error.path().to_string();
        refused(Some(&field).filter(|field| *field != "."), &error.into_inner())
    })
}

/// The error for a list. No body of this API is one, but serde would read a list as an object, its entries as the
/// fields in order.
fn list_for_an_object() -> HttpError {
    HttpError::bad_request("A JSON object is needed here, not a list")
}

fn refused(field: Option<&String>, error: &serde_json::Error) -> HttpError {
    // A part of a body has no line.
    let place = match error.line() {
        0 => String::new(),
        line => format!(" at line {line} column {}", error.column()),
    };
    let problem = error.to_string();
    let problem = problem.strip_suffix(&place).unwrap_or(&problem);
    let refusal = match (error.classify(), field) {
        (Category::Data, Some(field)) => format!("Wrong body: {}: {}{place}", truncate(field), in_plain_words(problem)),
        (Category::Data, None) => format!("Wrong body: {}{place}", in_plain_words(problem)),
        (Category::Syntax | Category::Eof | Category::Io, _) => format!("The body is not valid JSON: {problem}{place}"),
    };
    let refusal = HttpError::bad_request(refusal);
    match field.filter(|_| error.classify() == Category::Data) {
        Some(field) => refusal.of_argument(truncate(field)),
        None => refusal,
    }
}

/// The error for an unknown key, from serde's message: `reasn`, expected one of …
fn unknown_key(problem: &str) -> String {
    // Searched from the end: the key itself may contain these words.
    let Some((key, known)) = problem.rsplit_once("`, expected ") else {
        let key = problem.rsplit_once("`, there are no fields").map_or(problem, |(key, _)| key);
        return format!("unknown key `{}`: none is known here", truncate(key));
    };
    let nearest = nearest(key, known.split('`').skip(1).step_by(2)).unwrap_or_default();
    format!("unknown key `{}`: did you mean `{nearest}`?", truncate(key))
}

/// Rewords serde's message for readers who do not know Rust: "expected a whole number from 0 to 255" instead of
/// "expected u8".
fn in_plain_words(problem: &str) -> Cow<'_, str> {
    if let Some(field) = problem.strip_prefix("missing field ") {
        return format!("{field} is missing").into();
    }
    if let Some(unknown) = problem.strip_prefix("unknown field `") {
        return unknown_key(unknown).into();
    }
    let mismatch = problem.strip_prefix("invalid type: ").or_else(|| problem.strip_prefix("invalid value: "));
    // Searched from the end: the client's text itself may contain the word.
    if let Some((came, wanted)) = mismatch.and_then(|mismatch| mismatch.rsplit_once(", expected ")) {
        return format!("expected {}, got {}", wanted_in_plain_words(wanted), came_in_plain_words(came)).into();
    }
    // serde reads a list as an object, its entries as the fields, and complains about the length only.
    if problem.starts_with("invalid length ") && problem.contains(", expected struct ") {
        return "expected an object, got a list".into();
    }
    match problem {
        // Messages of the standard library's number parsers.
        "invalid digit found in string" => "expected a whole number, not negative".into(),
        "invalid float literal" => "expected a number".into(),
        "number too large to fit in target type" => "the number is too large".into(),
        "cannot parse integer from empty string" => "a value is missing".into(),
        other => truncate(other),
    }
}

fn wanted_in_plain_words(wanted: &str) -> Cow<'_, str> {
    let up_to = |most: u64| Cow::Owned(format!("a whole number from 0 to {most}"));
    match wanted {
        "u8" => up_to(u8::MAX.into()),
        "u16" => up_to(u16::MAX.into()),
        "u32" => up_to(u32::MAX.into()),
        "u64" | "usize" => "a whole number, not negative".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" | "\"true\", \"on\" or \"false\"" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "an object".into(),
        _ if wanted.starts_with("struct ") || wanted.starts_with("internally tagged enum ") => "an object".into(),
        _ => wanted.into(),
    }
}

fn came_in_plain_words(came: &str) -> Cow<'_, str> {
    match (came, came.strip_prefix("integer ").or_else(|| came.strip_prefix("floating point "))) {
        ("sequence", _) => "a list".into(),
        ("map", _) => "an object".into(),
        (_, Some(number)) => format!("the number {}", number.trim_matches('`')).into(),
        (other, None) => truncate(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::Body;
    use serde::Deserialize;
    use tower::ServiceExt;

    use super::*;
    use crate::http::authentication::Authenticator;
    use crate::http::middleware::stack::with_middleware;
    use crate::http::options::HttpOptions;
    use crate::http::request_metrics::RequestMetrics;
    use crate::http::routing::{Routes, get};

    #[derive(Debug, Deserialize, PartialEq)]
    struct Report {
        incarnation: u32,
        #[serde(default)]
        vms: Vec<Vm>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Vm {
        id: String,
        memory_mb: u64,
    }

    fn post(content_type: Option<&str>, body: impl Into<Body>) -> Request {
        let mut request = Request::post("/").body(body.into()).expect("a request");
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().expect("a header value"));
        }
        request
    }

    async fn refusal(request: Request) -> (u16, String) {
        let failure = Json::<Report>::from_request(request, &()).await.expect_err("this should be refused");
        (failure.status().as_u16(), failure.message().to_owned())
    }

    #[tokio::test]
    async fn a_good_body_is_read_whatever_kind_of_json_it_says_to_be() {
        for content_type in ["application/json", "application/json; charset=utf-8", "application/vnd.agent+json"] {
            let body = "\u{feff}{\"incarnation\": 3, \"vms\": [{\"id\": \"vm-1\", \"memory_mb\": 512}]}";
            let Json(report) =
                Json::<Report>::from_request(post(Some(content_type), body), &()).await.expect(content_type);
            assert_eq!((report.incarnation, report.vms.len()), (3, 1));
        }
    }

    #[tokio::test]
    async fn a_bad_body_is_refused_with_the_place_and_the_remedy() {
        let json = Some("application/json");
        for (content_type, body, status, message) in [
            (Some("text/plain"), "{}", 415, "The body has to be application/json, not text/plain"),
            (None, "{}", 415, "The body has to be declared with content-type: application/json"),
            (json, "", 400, "A JSON body is needed, and the request has none"),
            (None, " \n", 400, "A JSON body is needed, and the request has none"),
            (
                json,
                "{\n  \"incarnation\": 3,\n",
                400,
                "The body is not valid JSON: EOF while parsing a value at line 3 column 0",
            ),
            (json, "{} trailing", 400, "Wrong body: `incarnation` is missing at line 1 column 2"),
            (json, "{\"incarnation\":3}]", 400, "The body is not valid JSON: trailing characters at line 1 column 18"),
            (json, "[]", 400, "A JSON object is needed here, not a list"),
            (json, "7", 400, "Wrong body: expected an object, got the number 7 at line 1 column 1"),
            (
                json,
                r#"{"incarnation": -1}"#,
                400,
                "Wrong body: incarnation: expected a whole number from 0 to 4294967295, got the number -1 at line 1 column 18",
            ),
            (
                json,
                r#"{"incarnation": 1, "vms": [{"id": "a", "memory_mb": "lots"}]}"#,
                400,
                "Wrong body: vms[0].memory_mb: expected a whole number, not negative, got string \"lots\" at line 1 column 58",
            ),
            (
                json,
                r#"{"incarnation": 1, "labels": 5}"#,
                400,
                "Wrong body: labels: expected an object, got the number 5 at line 1 column 30",
            ),
        ] {
            assert_eq!(refusal(post(content_type, body)).await, (status, message.to_owned()), "{body}");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_refused_by_their_place() {
        let body = b"{\"incarnation\": \xff}".to_vec();
        assert_eq!(
            refusal(post(Some("application/json"), body)).await,
            (400, "The body is not UTF-8: byte 17 is wrong".to_owned())
        );
    }

    #[tokio::test]
    async fn a_compressed_body_is_refused_rather_than_misread() {
        let mut request = post(Some("application/json"), "\u{1f}");
        request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().expect("a header value"));
        let (status, message) = refusal(request).await;
        assert_eq!((status, message.as_str()), (415, "Request bodies are read uncompressed only; this one is gzip"));
    }

    #[tokio::test]
    async fn what_is_repeated_of_a_body_is_short() {
        let body = format!(r#"{{"incarnation": "{}"}}"#, "x".repeat(10_000));
        let (_, message) = refusal(post(Some("application/json"), body)).await;
        assert!(message.len() < 500, "{message}");
    }

    #[tokio::test]
    async fn an_optional_body_may_be_missing_and_may_say_what_it_likes_to_be() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Reason {
            reason: Option<String>,
        }
        let read = |content_type, body: &'static str| async move {
            OptionalJson::<Reason>::from_request(post(content_type, body), &()).await.map(|OptionalJson(reason)| reason)
        };
        assert_eq!(read(None, "").await, Ok(None));
        assert_eq!(read(Some("text/plain"), "\r\n").await, Ok(None));
        assert_eq!(read(None, "null").await, Ok(None));
        let disk = Reason { reason: Some("disk".to_owned()) };
        assert_eq!(read(Some("application/x-www-form-urlencoded"), r#"{"reason": "disk"}"#).await, Ok(Some(disk)));
        assert_eq!(read(None, "{}").await, Ok(Some(Reason { reason: None })));
        assert_eq!(read(None, "reason=disk").await.map_err(|failure| failure.status().as_u16()), Err(400));
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Filter {
        zone: Vec<String>,
        limit: Option<u32>,
        healthy: Option<bool>,
    }

    async fn query(query: &str) -> Result<Filter, String> {
        let (mut parts, _) = Request::get(format!("/workers?{query}")).body(()).expect("a request").into_parts();
        let filter = Query::<Filter>::from_request_parts(&mut parts, &()).await;
        filter.map(|Query(filter)| filter).map_err(|failure| failure.message().to_owned())
    }

    #[tokio::test]
    async fn queries_repeat_decode_and_ignore_what_is_unknown() {
        let zones = |zones: &[&str]| zones.iter().map(|zone| (*zone).to_owned()).collect::<Vec<_>>();
        assert_eq!(query("").await, Ok(Filter::default()));
        let both = Filter { zone: zones(&["us west", "b/c"]), ..Filter::default() };
        assert_eq!(query("zone=us+west&zone=b%2Fc&colour=red").await, Ok(both));
        assert_eq!(query("limit=").await, Ok(Filter::default()));
        assert_eq!(query("zone=%ff").await, Ok(Filter { zone: zones(&["�"]), ..Filter::default() }));
    }

    #[tokio::test]
    async fn a_wrong_query_parameter_is_named() {
        for odd in ["ten", "-1"] {
            let refused = format!("Query parameter `limit`: expected a whole number, not negative, got {odd:?}");
            assert_eq!(query(&format!("limit={odd}")).await, Err(refused));
        }
        assert_eq!(
            query("healthy=maybe").await,
            Err("Query parameter `healthy`: expected true or false, got string \"maybe\"".to_owned())
        );
        let twice = query("limit=1&limit=2").await.expect_err("one number, two values");
        assert!(twice.starts_with("Query parameter `limit`: "), "{twice}");
    }

    #[tokio::test]
    async fn any_id_reaches_the_lookup() {
        let routes = Routes::new()
            .route("/workers/{id}/vms", get(|PathId(id): PathId| async { id }))
            .route("/assets/{name}", get(|PathId(name): PathId| async { name }));
        let service =
            with_middleware(routes, &HttpOptions::default(), Authenticator::default(), &RequestMetrics::default());
        for (path, id) in [
            ("/workers/worker-01/vms", "worker-01"),
            ("/workers/a%2Fb/vms", "a/b"),
            ("/workers/%C3%BC/vms", "ü"),
            ("/workers/%00/vms", "\0"),
            ("/workers/a%FFb/vms", "a�b"),
            ("/assets/%ff%41", "�A"),
            ("/workers/100%/vms", "100%"),
            ("/workers/%zz%f/vms", "%zz%f"),
        ] {
            let response = service.clone().oneshot(Request::get(path).body(Body::empty()).expect("a request")).await;
            let body = response.expect("infallible").into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(String::from_utf8_lossy(&body), id, "{path}");
        }
    }
}
