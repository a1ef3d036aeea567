//! An error as HTTP clients read it: [`HttpError`], the documented body `{"error": …, "message": …, "code": …}`, and
//! the headers that belong to it: the challenge of a 401, the default `Retry-After` of a 429 or 503.
//!
//! Which domain error becomes which status is not decided here but in `rest::error`, and the `Retry-After` of a command
//! that is shed in `journal::queue::backlog`. The middleware that gives the errors of axum, tower and panics this form,
//! and writes RFC 9457's form for those who ask for it, is [`error_shape`](super::middleware::error_shape).

use std::{borrow::Cow, fmt, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::ser::{Error as _, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The value of `Retry-After` where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest part of a client's own text that an error message repeats, in characters: enough to recognise it.
const LONGEST_ECHO: usize = 300;

/// The error response of a request.
///
/// It serialises as the documented body, so that the response to a batch can contain errors, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    status: StatusCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// What the error is about, for programs. It is boxed because most errors have no subject, and each result carries
    /// the size of its error.
    about: Option<Box<About>>,
}

/// The subject of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The parameter of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// The worker or the VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The present revision, where the client named another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<u64>,
    /// The plan that the client would have to accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<RenderedJson>,
}

/// JSON that was written already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedJson(pub Box<str>);

impl Serialize for RenderedJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl HttpError {
    /// An error with this status and one sentence for the client. 429 and 503 get a `Retry-After`.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let tells_when = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self { status, message: message.into(), retry_after: tells_when.then_some(RETRY_AFTER), about: None }
    }

    /// 400: the request itself is wrong, and sending it again will not help.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: the server does not know who asks.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: the request is understood and not allowed.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404: there is no such object or path.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 404: nothing is answered under this path, or not to programs.
    pub fn no_route(method: &Method, path: &str) -> Self {
        Self::not_found(format!("No route for {method} {}", truncate(path)))
    }

    /// 409: the request does not fit the present state.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 413: the body is larger than this route reads.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The request body is larger than the {} that are read here", Size(limit)),
        )
    }

    /// 415: the body has a media type that is not accepted.
    pub fn unsupported_media_type(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// 429: too many requests; the client may try again after this time.
    pub fn too_many_requests(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(retry_after)
    }

    /// 500: a fault of the server. The cause belongs into the log and never into the response, so that there is no
    /// argument for it.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal error; the server's log tells more under this answer's x-request-id",
        )
    }

    /// 503: the request cannot be answered now, but probably soon.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Sets `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Sets the subject, unless it is empty.
    #[must_use]
    pub fn about(mut self, about: About) -> Self {
        self.about = (about != About::default()).then(|| Box::new(about));
        self
    }

    /// Sets the wrong parameter as the subject.
    #[must_use]
    pub(super) fn of_argument(self, argument: impl Into<String>) -> Self {
        self.about(About { argument: Some(argument.into()), ..About::default() })
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The subject, for programs.
    pub(super) fn subject(&self) -> Option<&About> {
        self.about.as_deref()
    }

    /// The sentence for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The documented body.
    pub(super) fn body(&self) -> Vec<u8> {
        // Three scalars always serialise. An empty body would still carry the status, should that ever change.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Sets the headers that belong to the body: its content type, `Retry-After` and `WWW-Authenticate`.
    pub(super) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            // Rounded up to whole seconds: a client that comes too early is refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.entry(header::RETRY_AFTER).or_insert_with(|| HeaderValue::from(seconds));
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HttpError {}

impl Serialize for HttpError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The subject follows the three keys of the contract. A 404 has none, because the contract shows its whole
        // body.
        let about = self.about.as_deref().filter(|_| self.status != StatusCode::NOT_FOUND);
        let mut body = serializer.serialize_struct("Failure", 3)?;
        body.serialize_field("error", self.status.canonical_reason().unwrap_or("Error"))?;
        body.serialize_field("message", &self.message)?;
        body.serialize_field("code", &self.status.as_u16())?;
        if let Some(About { argument, id, current_revision, plan }) = about {
            argument.iter().try_for_each(|it| body.serialize_field("argument", it))?;
            id.iter().try_for_each(|it| body.serialize_field("id", it))?;
            current_revision.iter().try_for_each(|it| body.serialize_field("current_revision", it))?;
            plan.iter().try_for_each(|it| body.serialize_field("plan", it))?;
        }
        body.end()
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status;
        self.write_headers(response.headers_mut());
        // The error stays with the response, for the middleware that may have to write it in another format.
        response.extensions_mut().insert(self);
        response
    }
}

/// The message of an error of which only the status is known.
pub(super) fn general_message(status: StatusCode) -> Cow<'static, str> {
    let message = match status {
        StatusCode::BAD_REQUEST => "The request is not well formed",
        StatusCode::UNAUTHORIZED => "This needs a valid token",
        StatusCode::FORBIDDEN => "This is not allowed",
        StatusCode::REQUEST_TIMEOUT => "The request did not arrive in time",
        StatusCode::PAYLOAD_TOO_LARGE => "The request body is larger than what is read here",
        StatusCode::URI_TOO_LONG => "The URL is longer than what is read here",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body's content type is not understood here; send application/json",
        StatusCode::UNPROCESSABLE_ENTITY => "The request is well formed, but makes no sense here",
        StatusCode::UPGRADE_REQUIRED => "This path speaks WebSocket only",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests; slow down",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "The request's headers are more or larger than what is read here"
        }
        StatusCode::SERVICE_UNAVAILABLE => "The server cannot answer this now; try again shortly",
        StatusCode::GATEWAY_TIMEOUT => "The answer did not come in time; try again shortly",
        other => return format!("The request failed: {}", other.canonical_reason().unwrap_or("unknown reason")).into(),
    };
    message.into()
}

/// Cuts a client's text to the length that an error message repeats.
pub(super) fn truncate(sent: &str) -> Cow<'_, str> {
    match sent.char_indices().nth(LONGEST_ECHO) {
        Some((cut, _)) => format!("{}…", &sent[..cut]).into(),
        None => sent.into(),
    }
}

/// Whether a content type is `application/json` or one of its many children, such as `application/problem+json`.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return true;
    }
    let essence = essence.to_ascii_lowercase();
    essence.starts_with("application/") && essence.ends_with("+json")
}

/// A number of bytes in KiB or MiB, where it is a whole number of them.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        match self.0 {
            bytes if bytes >= MIB && bytes % MIB == 0 => write!(f, "{} MiB", bytes / MIB),
            bytes if bytes >= KIB && bytes % KIB == 0 => write!(f, "{} KiB", bytes / KIB),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

/// A whole HTTP/1.1 response as bytes, for connections over the cap and requests that hyper could not parse. `kept` are
/// header lines to carry over, each with its line end.
pub(super) fn on_the_wire(failure: &HttpError, kept: &[u8]) -> Bytes {
    let mut headers = HeaderMap::new();
    failure.write_headers(&mut headers);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let body = failure.body();
    let reason = failure.status.canonical_reason().unwrap_or("Error");
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", failure.status.as_u16()).into_bytes();
    text.extend_from_slice(kept);
    for (name, value) in &headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(&body);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_three_keys_in_the_documented_order() {
        let failure = HttpError::not_found("Worker not found: worker-99");
        let body = String::from_utf8(failure.body()).expect("JSON is UTF-8");
        assert_eq!(body, r#"{"error":"Not Found","message":"Worker not found: worker-99","code":404}"#);
    }

    #[test]
    fn only_busy_answers_say_when_to_come_again_unless_told() {
        let retry_after = |failure: HttpError| failure.into_response().headers().get(header::RETRY_AFTER).cloned();
        assert_eq!(retry_after(HttpError::not_found("no")), None);
        assert_eq!(retry_after(HttpError::unavailable("no")), Some(HeaderValue::from_static("1")));
        assert_eq!(
            retry_after(HttpError::too_many_requests("no", Duration::from_millis(2_500))),
            Some(HeaderValue::from_static("3"))
        );
    }

    #[test]
    fn json_and_its_children_are_recognised() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/graphql-response+json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "text/json+xml", "application/jsonp", "application/x-www-form-urlencoded"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!(Size(256 * 1024).to_string(), "256 KiB");
        assert_eq!(Size(8 * 1024 * 1024).to_string(), "8 MiB");
        assert_eq!(Size(1_000).to_string(), "1000 bytes");
    }

    #[test]
    fn an_echo_is_cut_between_characters() {
        let sent = "ä".repeat(LONGEST_ECHO + 1);
        assert_eq!(truncate(&sent).chars().count(), LONGEST_ECHO + 1, "the cut text and its ellipsis");
        assert_eq!(truncate("short"), "short");
    }
}
