//! Questions of any kind to the REST API, whose answers are handed on as they came: what people type and scripts read is
//! not taken apart into types first, so that what a newer server says is shown by an older client, too.
//!
//! A failed question is an [`ApiError`]: the server's own error body, or the reason why there is none. What to tell and
//! which exit status to end with is for the caller to say.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;

use super::token::ClientToken;
use super::trust::Trust;
use super::{ClientError, ErrorBody, api_url, header, http_client, is_json, media_type, read_body, send_traced};

/// The longest wait for an answer, beyond what the question itself asks the server to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream that has been silent for this long is cut off: the server sends a sign of life three times as often.
const STREAM_SILENCE: Duration = Duration::from_secs(45);

/// The longest line of a stream.
const LARGEST_LINE: usize = 16 * 1024 * 1024;

/// The media type of one JSON object a line.
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// The REST API of one server. Clones share connections.
#[derive(Clone, Debug)]
pub struct ApiClient {
    http: reqwest::Client,
    base: Url,
    token: Option<ClientToken>,
}

/// What is asked: a path below `/api/v1`, and what goes with it.
#[derive(Clone, Debug, Default)]
pub struct Question {
    method: Method,
    segments: Vec<String>,
    /// Whether the path is below the server's root, and not below `/api/v1`.
    is_below_root: bool,
    query: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    headers: HeaderMap,
    waits: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct ApiAnswer {
    /// Its body, which is JSON or empty, unless any media type was asked for.
    pub body: Vec<u8>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
    /// At which revision of the cluster it was read.
    pub revision: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server says so itself.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its sentence.
        message: String,
        /// Its whole error body, JSON.
        body: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// It was not reached, or whoever answered is not the server.
    #[error("The server is unavailable: {message}")]
    Unavailable {
        /// The cause.
        message: String,
        /// How long to wait, if whoever answered said so.
        retry_after: Option<Duration>,
    },
    /// The question cannot be put.
    #[error("{0}")]
    Url(String),
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unavailable { message, retry_after, source: _ } => Self::Unavailable { message, retry_after },
            error @ ClientError::Url { .. } => Self::Url(error.to_string()),
            // The others are about workers, of which nothing is asked in here.
            ClientError::Unknown { message }
            | ClientError::Superseded { message }
            | ClientError::Refused { status: _, message } => Self::Unavailable { message, retry_after: None },
        }
    }
}

impl ApiError {
    /// Whether the same question may be answered later, without that anybody mends it.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Unavailable { .. } => true,
            Self::Url(_) => false,
        }
    }

    /// How long to wait before the next question, if the server said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Url(_) => None,
        }
    }
}

impl Question {
    /// Reads what is under this path below `/api/v1`, one segment each, which may hold any characters.
    pub fn get<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Method::GET, segments)
    }

    fn new<'a>(method: Method, segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self { method, segments: segments.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    /// A question with the method of this name; none if that is no name of a method.
    pub fn with_method<'a>(method: &str, segments: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        Some(Self::new(Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?, segments))
    }

    /// Sends a body to this path.
    pub fn post<'a>(segments: impl IntoIterator<Item = &'a str>, body: &Value) -> Self {
        Self::new(Method::POST, segments).with_body(body.to_string().into_bytes())
    }

    /// Removes what is under this path.
    pub fn delete<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// The same path below the server's root in place of `/api/v1`, where its probes and metrics are.
    #[must_use]
    pub fn below_root(self) -> Self {
        Self { is_below_root: true, ..self }
    }

    /// With a parameter more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// With these parameters, too.
    #[must_use]
    pub fn with_all(mut self, parameters: &[(String, String)]) -> Self {
        self.query.extend_from_slice(parameters);
        self
    }

    /// With a body, JSON.
    #[must_use]
    pub fn with_body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self
    }

    /// With a header, which replaces another of its name; none if it cannot be sent.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Option<Self> {
        let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        self.headers.insert(name, value);
        Some(self)
    }

    /// For which the server may wait this long before it answers.
    #[must_use]
    pub fn waiting(mut self, time: Duration) -> Self {
        self.waits = time;
        self
    }
}

impl ApiClient {
    /// Prepares questions to the server at a base URL. Nothing is sent yet.
    pub fn new(server: &str, trust: &Trust, token: Option<ClientToken>) -> Result<Self, ApiError> {
        let base = api_url(server, &[])?;
        let http = http_client(server, &base, trust)?;
        Ok(Self { http, base, token })
    }

    /// Asks, and reads the whole answer, which has to be JSON if it is not empty.
    pub async fn ask(&self, question: Question) -> Result<ApiAnswer, ApiError> {
        let response = self.send(question, None).await?;
        if response.status() != 204 && !is_json(&response) {
            let message = format!("{} came with {}, not with JSON", response.status(), media_type(&response));
            return Err(ApiError::Unavailable { message, retry_after: None });
        }
        read_answer(response).await
    }

    /// Asks, and reads JSON.
    pub async fn value(&self, question: Question) -> Result<Value, ApiError> {
        self.ask(question).await?.value()
    }

    /// Asks, and reads the whole answer, whatever its media type is.
    pub async fn ask_for_anything(&self, question: Question) -> Result<ApiAnswer, ApiError> {
        read_answer(self.send(question, None).await?).await
    }

    /// Sends a request to the GraphQL API of the same server. Its answer has `errors` if it failed, whatever its status is.
    pub async fn graphql(&self, request: &Value) -> Result<ApiAnswer, ApiError> {
        let mut url = self.base.clone();
        // It is beside `/api/v1`.
        url.path_segments_mut().map_err(|()| no_path())?.pop().pop().push("graphql");
        let mut call = self.http.post(url).timeout(ANSWER_TIMEOUT).header(ACCEPT, "application/json").json(request);
        if let Some(token) = &self.token {
            call = call.header(AUTHORIZATION, token.header_value());
        }
        let response = send_traced(call, "/graphql").await.map_err(ClientError::network)?;
        if response.status().is_success() || !is_json(&response) {
            return read_answer(accept(response).await?).await;
        }
        let (status, retry_after) = (response.status(), retry_after(&response));
        let answer = read_answer(response).await?;
        let body: Value = answer.value()?;
        if body["errors"].is_array() {
            return Ok(answer);
        }
        Err(refusal(status, answer.body, retry_after, None))
    }

    /// The answer to a question as a stream of lines.
    pub async fn lines(&self, question: Question, last_event_id: Option<&str>) -> Result<Lines, ApiError> {
        let response = self.send(question, Some(last_event_id)).await?;
        let media = media_type(&response);
        if !media.starts_with("application/x-ndjson") {
            let message = format!("{} came with {media}, not as a stream", response.status());
            return Err(ApiError::Unavailable { message, retry_after: None });
        }
        Ok(Lines { response, waiting: BytesMut::new() })
    }

    /// Sends a question; as a stream goes on for any time, only the wait for its head is limited.
    async fn send(&self, question: Question, stream: Option<Option<&str>>) -> Result<Response, ApiError> {
        let Question { method, segments, is_below_root, query, body, headers, waits } = question;
        let mut url = self.base.clone();
        // URLs give these a meaning of their own that percent-encoding does not take away.
        if segments.iter().any(|segment| matches!(&**segment, "." | ".." | "")) {
            return Err(ApiError::Url(format!("A URL cannot hold the path {:?}", segments.join("/"))));
        }
        let mut path = url.path_segments_mut().map_err(|()| no_path())?;
        if is_below_root {
            path.pop().pop();
        }
        path.extend(segments);
        drop(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let limit = ANSWER_TIMEOUT.saturating_add(waits);
        let mut request = self.http.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.header_value());
        }
        let sent = match stream {
            None => send_traced(request.timeout(limit), "").await,
            Some(last_event_id) => {
                request = request.header(ACCEPT, NDJSON);
                if let Some(id) = last_event_id {
                    request = request.header("last-event-id", id);
                }
                match tokio::time::timeout(limit, send_traced(request, "")).await {
                    Ok(sent) => sent,
                    Err(_) => return Err(silent()),
                }
            }
        };
        accept(sent.map_err(ClientError::network)?).await
    }
}

impl ApiAnswer {
    /// The body, read.
    pub fn value(&self) -> Result<Value, ApiError> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        self.read()
    }

    /// The body, read into a type.
    pub fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| ApiError::Unavailable {
            message: format!("its answer could not be read: {error}"),
            retry_after: None,
        })
    }
}

/// Lines of an answer that goes on.
#[derive(Debug)]
pub struct Lines {
    response: Response,
    waiting: BytesMut,
}

impl Lines {
    /// The next line; none at the end. To give up in the middle loses nothing.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        let mut searched = 0;
        loop {
            let end = self.waiting[searched..].iter().position(|byte| *byte == b'\n').map(|at| at + searched);
            if let Some(end) = end {
                let line = self.waiting.split_to(end);
                self.waiting.advance(1);
                return Ok(Some(line.to_vec()));
            }
            searched = self.waiting.len();
            if searched > LARGEST_LINE {
                let message = "a line of its stream does not end".to_owned();
                return Err(ApiError::Unavailable { message, retry_after: None });
            }
            let Ok(chunk) = tokio::time::timeout(STREAM_SILENCE, self.response.chunk()).await else {
                return Err(silent());
            };
            match chunk.map_err(ClientError::network)? {
                Some(chunk) => self.waiting.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// Whether a line is there already.
    pub fn has_line(&self) -> bool {
        self.waiting.contains(&b'\n')
    }
}

fn silent() -> ApiError {
    ApiError::Unavailable { message: "it did not answer in time".to_owned(), retry_after: None }
}

/// Lets successes through. Any other answer counts as the server's word only with its error body.
async fn accept(response: Response) -> Result<Response, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let (retry_after, location) = (retry_after(&response), header(&response, LOCATION.as_str()));
    let body = if is_json(&response) { read_body(response).await? } else { Vec::new() };
    Err(refusal(status, body, retry_after, location))
}

/// The error that an answer is.
fn refusal(status: StatusCode, body: Vec<u8>, retry_after: Option<Duration>, location: Option<String>) -> ApiError {
    let message = serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|it| it.message_for(status.as_u16()));
    match (message, String::from_utf8(body), location) {
        (Some(message), Ok(body), _) => ApiError::Refused { status: status.as_u16(), message, body, retry_after },
        (_, _, Some(location)) => {
            ApiError::Unavailable { message: format!("{status}, it moved to {location}"), retry_after }
        }
        (_, _, None) => {
            ApiError::Unavailable { message: format!("{status} without an error body of this API"), retry_after }
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    header(response, RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs)
}

/// Whether what is sent to a server can be read on the way: it is not on this machine, and has no TLS.
pub fn is_clear_text(server: &str) -> bool {
    Url::parse(server).is_ok_and(|url| url.scheme() == "http" && !super::is_loopback(&url))
}

fn no_path() -> ApiError {
    ApiError::Url("the URL of the server cannot have a path".to_owned())
}

async fn read_answer(response: Response) -> Result<ApiAnswer, ApiError> {
    let next_cursor = next_cursor(response.url(), response.headers());
    let revision = header(&response, "x-revision").and_then(|text| text.parse().ok());
    let body = read_body(response).await?;
    Ok(ApiAnswer { body, next_cursor, revision })
}

/// The cursor in the `Link` to the next page. The rest of the link is not followed: a proxy that says a wrong address
/// would get the token.
fn next_cursor(asked: &Url, headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|links| links.to_str().ok());
    let next = links.flat_map(|links| links.split(", <")).find(|link| link.contains("rel=\"next\""))?;
    let target = next.trim_start_matches('<').split('>').next()?;
    let url = asked.join(target).ok()?;
    url.query_pairs().find(|(name, _)| name == "cursor").map(|(_, cursor)| cursor.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_the_next_page_is_taken_from_any_form_of_its_address() {
        let asked = Url::parse("https://proxy.example/cluster/api/v1/workers?limit=2").unwrap();
        for (link, expected) in [
            ("<?limit=2&cursor=a%2Bb>; rel=\"next\"", Some("a+b")),
            ("<http://elsewhere/api/v1/workers?cursor=c>; rel=\"next\"", Some("c")),
            ("<?cursor=first>; rel=\"first\", <?cursor=c>; rel=\"next\"", Some("c")),
            ("<?cursor=first>; rel=\"first\"", None),
            ("<?limit=2>; rel=\"next\"", None),
            ("nonsense", None),
        ] {
            let headers = [(LINK, HeaderValue::from_static(link))].into_iter().collect();
            assert_eq!(next_cursor(&asked, &headers).as_deref(), expected, "{link}");
        }
        assert_eq!(next_cursor(&asked, &HeaderMap::new()), None);
    }
}
