//! GraphQL over HTTP, by the specification of that name: POST with a JSON body, GET for queries,
//! and the media type that the client asks for.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
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
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::graphql::execution::response::Answer;
use crate::graphql::operation::document_cache::{Asked, DOCUMENT_ID};
use crate::graphql::error::request_error;
use super::sse::AsStream;
use crate::graphql::Endpoint;
use super::{sse, websocket};
use crate::graphql::operation::apq;
use crate::cluster::MAX_EXACT;
use crate::http::{Accept, Failure, Head, JsonText, likely, pairs};
use crate::pages;
use crate::resolvers::input::echo;

/// The media type of the specification: with it, the status tells whether the request was understood.
pub const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

/// The one from before it.
pub const JSON: &str = "application/json";

/// What a client may send, in a body or in a query string.
#[derive(Default)]
pub struct Parameters {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<Value>,
    extensions: Option<Value>,
    /// A name that is none of these, and probably meant to be one.
    misspelt: Option<(String, &'static str)>,
}

/// How they are called.
const PARAMETERS: [&str; 5] = ["query", "documentId", "operationName", "variables", "extensions"];

/// A name that is no parameter. Clients may send what this server knows nothing of; but what is a parameter misspelt
/// must not be passed over, since a document may mean everything without its variables.
pub fn misspelt(name: &str) -> Option<(String, &'static str)> {
    likely(name, PARAMETERS).map(|meant| (echo(name).into_owned(), meant))
}

/// The refusal of such a name.
pub fn is_meant_otherwise(name: &str, meant: &str) -> Refusal {
    bad_request(format!("Unknown parameter `{name}`: did you mean `{meant}`?"))
}

/// Written out to see the names that are no fields.
impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object with `query`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut parameters = Parameters::default();
                let mut seen = [false; PARAMETERS.len()];
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    let place = PARAMETERS.iter().position(|known| *known == name);
                    if let Some((seen, name)) =
                        place.and_then(|place| Some((seen.get_mut(place)?, PARAMETERS.get(place)?)))
                        && std::mem::replace(seen, true)
                    {
                        return Err(A::Error::duplicate_field(name));
                    }
                    match &*name {
                        "query" => parameters.query = map.next_value()?,
                        "documentId" => parameters.document_id = map.next_value()?,
                        "operationName" => parameters.operation_name = map.next_value()?,
                        "variables" => parameters.variables = map.next_value()?,
                        "extensions" => parameters.extensions = map.next_value()?,
                        other => {
                            parameters.misspelt = parameters.misspelt.or_else(|| misspelt(other));
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(parameters)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// `POST /graphql`
pub async fn post(
    State(endpoint): State<Arc<Endpoint>>,
    Wanted { media, stream, is_conditional }: Wanted,
    body: JsonText,
) -> Response {
    let Endpoint { engine, repeated, .. } = &*endpoint;
    if !is_conditional
        && !stream.is_for(&[OperationType::Query])
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
    if is_conditional && kinds.contains(&OperationType::Mutation) {
        return media.answer(not_conditional());
    }
    if stream.is_for(&kinds) {
        return sse::answer(&endpoint, asked);
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
pub struct Wanted {
    media: Media,
    stream: AsStream,
    /// Whether it is to be done only if something holds.
    is_conditional: bool,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            media: Media::asked_for(&parts.headers),
            stream: AsStream::asked_for(&parts.headers),
            is_conditional: is_conditional(&parts.headers),
        })
    }
}

/// `GET /graphql`: a query, or the beginning of a WebSocket; for a person with a browser, the playground.
pub async fn get(
    State(endpoint): State<Arc<Endpoint>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    if wants_upgrade(&headers) {
        return match upgrade {
            Ok(upgrade) => websocket::open(&endpoint, &uri, &headers, upgrade),
            Err(refused) => Failure::bad_request(format!("This is no WebSocket handshake: {refused}")).into_response(),
        };
    }
    if pages::are_asked_for(&headers) {
        return pages::playground(&headers);
    }
    let media = Media::asked_for(&headers);
    let request = Parameters::of_query_string(uri.query().unwrap_or_default()).and_then(Parameters::into_request);
    let request = match request {
        Ok(request) => request,
        Err(refused) => return media.answer(refused),
    };
    let asked = match endpoint.engine.read(request) {
        Ok(asked) => asked,
        Err(refused) if AsStream::asked_for(&headers).is_for(&[]) => return sse::answer(&endpoint, Err(refused)),
        Err(refused) => return media.answer(refused),
    };
    // A GET must not change anything: links and images are fetched without asking. A stream may follow as well as ask.
    let kinds = asked.kinds();
    if AsStream::asked_for(&headers).is_for(&kinds) && !kinds.contains(&OperationType::Mutation) {
        sse::answer(&endpoint, Ok(asked))
    } else if kinds.iter().all(|kind| *kind == OperationType::Query) {
        media.answer(endpoint.engine.run(asked).await)
    } else {
        not_by_get(media)
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether a request is to be carried out only if something holds, or does not. Of a question that asks nothing: its
/// answer has no tag.
pub fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH)
}

/// A document may have several commands, which one header cannot tie to the worker of each.
pub fn not_conditional() -> Refusal {
    let problem = "If-Match and If-None-Match are not taken here: pass `ifRevision` in the input of the mutation";
    bad_request(problem.to_owned())
}

pub fn not_by_get(media: Media) -> Response {
    let error =
        request_error("BAD_REQUEST", "A GET can only ask: send mutations by POST, subscriptions over WebSocket");
    let mut response = media.answer(Refusal::from_errors(vec![error]));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

impl Parameters {
    /// The same, as a query string has it: maps are JSON in text, and what is empty is not there.
    fn of_query_string(query: &str) -> Result<Self, Refusal> {
        let mut texts: [Option<Cow<'_, str>>; PARAMETERS.len()] = Default::default();
        let mut misspelt = None;
        for (name, text) in pairs(query).map_err(|refused| bad_request(refused.message().to_owned()))? {
            let place = PARAMETERS.iter().position(|known| *known == name);
            match place.and_then(|place| texts.get_mut(place)) {
                Some(Some(_)) => return Err(bad_request(format!("`{name}` is given more than once"))),
                Some(place) => *place = Some(text),
                None => misspelt = misspelt.or_else(|| super::http::misspelt(&name)),
            }
        }
        let [query, document_id, operation_name, variables, extensions] =
            texts.map(|text| text.filter(|it| !it.is_empty()));
        let json = |name, text: Option<Cow<'_, str>>| match text.map(|text| serde_json::from_str(&text)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(bad_request(format!("`{name}` is not JSON"))),
        };
        Ok(Self {
            query: query.map(Into::into),
            document_id: document_id.map(Into::into),
            operation_name: operation_name.map(Into::into),
            variables: json("variables", variables)?,
            extensions: json("extensions", extensions)?,
            misspelt,
        })
    }

    fn into_request(self) -> Result<Request, Refusal> {
        let Self { query, document_id, operation_name, variables, extensions, misspelt } = self;
        if let Some((name, meant)) = misspelt {
            return Err(is_meant_otherwise(&name, meant));
        }
        let query = query.filter(|query| !query.trim().is_empty());
        let extensions = map("extensions", extensions)?;
        let is_named =
            document_id.is_some() || extensions.get(apq::EXTENSION).is_some_and(|it| *it != Value::Null);
        if query.is_none() && !is_named {
            return Err(bad_request("`query` is missing: send the document in it".to_owned()));
        }
        let variables = whole_numbers(Variables::from_value(Value::Object(map("variables", variables)?)));
        let mut request = Request::new(query.unwrap_or_default()).variables(variables);
        for (name, mut value) in extensions {
            make_whole(&mut value);
            request.extensions.insert(name.to_string(), value);
        }
        if let Some(id) = document_id {
            request.extensions.insert(DOCUMENT_ID.to_owned(), Value::from(id));
        }
        request.operation_name = named(operation_name);
        Ok(request)
    }
}

/// Variables as JSON means them: `16.0` and `1e3` are whole numbers there, and to clients whose language has one kind
/// of number. REST reads them so, too; beyond what is exact, nobody can tell.
pub fn whole_numbers(mut variables: Variables) -> Variables {
    variables.values_mut().for_each(make_whole);
    variables
}

fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64);
            if let Some(whole) = whole {
                *number = (whole as i64).into();
            }
        }
        Value::List(list) => list.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Boolean(_) | Value::Binary(_) | Value::Enum(_) => {}
    }
}

/// The operation that is named. An empty text is no name, in a query string as elsewhere: there it is all that can be
/// sent for null, and no operation can have it.
pub fn named(operation_name: Option<String>) -> Option<String> {
    operation_name.filter(|name| !name.is_empty())
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
pub enum Media {
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
    pub fn asked_for(headers: &HeaderMap) -> Self {
        if Accept::of(headers).names(GRAPHQL_RESPONSE) { Self::GraphqlResponse } else { Self::Json }
    }

    pub fn answer(self, answer: impl Into<Answer>) -> Response {
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
