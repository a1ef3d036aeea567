//! GraphQL over HTTP, by the specification of that name: POST with a JSON body, GET for queries,
//! and the media type that the client asks for.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::OperationType;
use async_graphql::{Name, Request, Response as Refusal, Value, Variables};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answer::Answer;
use super::documents::{Asked, DOCUMENT_ID};
use super::error::request_error;
use super::over_sse::AsStream;
use super::{Endpoint, over_sse, over_websocket, persisted};
use crate::http::{Accept, Failure, Head, JsonText, Query};
use crate::pages;

/// The media type of the specification: with it, the status tells whether the request was understood.
pub(super) const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// The one from before it.
pub(super) const JSON: &str = "application/json";

/// What a client may send, in a body or in a query string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a JSON object with `query`")]
pub(super) struct Parameters {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<Value>,
    extensions: Option<Value>,
}

/// The same, as a query string has it: maps are JSON in text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryString {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

/// `POST /graphql`
pub(super) async fn post(
    State(endpoint): State<Arc<Endpoint>>,
    Wanted { media, stream }: Wanted,
    body: JsonText,
) -> Response {
    let Endpoint { engine, repeated, .. } = &*endpoint;
    if !stream.is_for(&[OperationType::Query])
        && let Some(ready) = repeated.find(body.as_bytes())
    {
        return media.answer(engine.run_ready(&ready).await);
    }
    let parameters = match body.read::<Parameters>() {
        Ok(parameters) => parameters,
        Err(failure) => return failure.into_response(),
    };
    let request = match parameters.into_request() {
        Ok(request) => request,
        Err(refused) => return media.answer(refused),
    };
    let asked = engine.read(request);
    let kinds = asked.as_ref().map(Asked::kinds).unwrap_or_default();
    if stream.is_for(&kinds) {
        return over_sse::answer(&endpoint, asked);
    }
    let ready = match asked {
        Ok(asked) => engine.check(asked).map(Arc::new),
        Err(refused) => Err(refused),
    };
    media.answer(match ready {
        Ok(ready) => {
            let answer = engine.run_ready(&ready).await;
            repeated.keep(body.as_bytes(), ready);
            answer
        }
        Err(refused) => refused.into(),
    })
}

/// In what form a client wants its answer, read without a copy of its headers.
pub(super) struct Wanted {
    media: Media,
    stream: AsStream,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self { media: Media::asked_for(&parts.headers), stream: AsStream::asked_for(&parts.headers) })
    }
}

/// `GET /graphql`: a query, or the beginning of a WebSocket; for a person with a browser, the playground.
pub(super) async fn get(
    State(endpoint): State<Arc<Endpoint>>,
    uri: Uri,
    headers: HeaderMap,
    Query(parameters): Query<QueryString>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    if wants_upgrade(&headers) {
        return match upgrade {
            Ok(upgrade) => over_websocket::open(&endpoint, &uri, &headers, upgrade),
            Err(refused) => Failure::bad_request(format!("This is no WebSocket handshake: {refused}")).into_response(),
        };
    }
    if pages::are_asked_for(&headers) {
        return pages::playground(&headers);
    }
    let media = Media::asked_for(&headers);
    let request = parameters.parsed().and_then(Parameters::into_request);
    let request = match request {
        Ok(request) => request,
        Err(refused) => return media.answer(refused),
    };
    let asked = match endpoint.engine.read(request) {
        Ok(asked) => asked,
        Err(refused) if AsStream::asked_for(&headers).is_for(&[]) => return over_sse::answer(&endpoint, Err(refused)),
        Err(refused) => return media.answer(refused),
    };
    // A GET must not change anything: links and images are fetched without asking. A stream may follow as well as ask.
    let kinds = asked.kinds();
    if AsStream::asked_for(&headers).is_for(&kinds) && !kinds.contains(&OperationType::Mutation) {
        over_sse::answer(&endpoint, Ok(asked))
    } else if kinds.iter().all(|kind| *kind == OperationType::Query) {
        media.answer(endpoint.engine.run(asked).await)
    } else {
        not_by_get(media)
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

pub(super) fn not_by_get(media: Media) -> Response {
    let error =
        request_error("BAD_REQUEST", "A GET can only ask: send mutations by POST, subscriptions over WebSocket");
    let mut response = media.answer(Refusal::from_errors(vec![error]));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

impl QueryString {
    fn parsed(self) -> Result<Parameters, Refusal> {
        let json = |name, text: Option<String>| match text
            .filter(|text| !text.is_empty())
            .map(|text| serde_json::from_str(&text))
        {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(bad_request(format!("`{name}` is not JSON"))),
        };
        Ok(Parameters {
            query: self.query,
            document_id: self.document_id.filter(|id| !id.is_empty()),
            operation_name: self.operation_name,
            variables: json("variables", self.variables)?,
            extensions: json("extensions", self.extensions)?,
        })
    }
}

impl Parameters {
    fn into_request(self) -> Result<Request, Refusal> {
        let Self { query, document_id, operation_name, variables, extensions } = self;
        let query = query.filter(|query| !query.trim().is_empty());
        let extensions = map("extensions", extensions)?;
        let is_named =
            document_id.is_some() || extensions.get(persisted::EXTENSION).is_some_and(|it| *it != Value::Null);
        if query.is_none() && !is_named {
            return Err(bad_request("`query` is missing: send the document in it".to_owned()));
        }
        let variables = Variables::from_value(Value::Object(map("variables", variables)?));
        let mut request = Request::new(query.unwrap_or_default()).variables(variables);
        for (name, value) in extensions {
            request.extensions.insert(name.to_string(), value);
        }
        if let Some(id) = document_id {
            request.extensions.insert(DOCUMENT_ID.to_owned(), Value::from(id));
        }
        request.operation_name = operation_name;
        Ok(request)
    }
}

fn map(name: &str, value: Option<Value>) -> Result<IndexMap<Name, Value>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(IndexMap::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(bad_request(format!("`{name}` must be a JSON object"))),
    }
}

fn bad_request(message: String) -> Refusal {
    Refusal::from_errors(vec![request_error("BAD_REQUEST", message)])
}

/// How the client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// The specification's own type.
    GraphqlResponse,
    /// Plain JSON, with which everything that could be read at all is 200.
    Json,
}

static GRAPHQL_HEAD: LazyLock<Head> = LazyLock::new(|| head(GRAPHQL_RESPONSE));

static PLAIN_HEAD: LazyLock<Head> = LazyLock::new(|| head(JSON));

fn head(media_type: &'static str) -> Head {
    Head::of([
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

impl Media {
    /// Plain JSON unless the other is named: that is what clients from before it expect.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        if Accept::of(headers).names(GRAPHQL_RESPONSE) { Self::GraphqlResponse } else { Self::Json }
    }

    pub(super) fn answer(self, answer: impl Into<Answer>) -> Response {
        let answer = answer.into();
        let refused = answer.was_refused();
        let (head, status) = match (self, refused) {
            (Self::GraphqlResponse, true) => (&GRAPHQL_HEAD, StatusCode::BAD_REQUEST),
            (Self::GraphqlResponse, false) => (&GRAPHQL_HEAD, StatusCode::OK),
            (Self::Json, true) if answer.was_unreadable() => (&PLAIN_HEAD, StatusCode::BAD_REQUEST),
            (Self::Json, _) => (&PLAIN_HEAD, StatusCode::OK),
        };
        let Some(body) = answer.into_body() else { return Failure::internal().into_response() };
        let mut response = head.answer(body);
        *response.status_mut() = status;
        response
    }
}
