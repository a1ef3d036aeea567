//! Trusted documents as routes: `GET /api/v1/q/{documentId}?variable=…`, so that an operation of one's
//! own is as easy to ask as any other path.
//!
//! Variables are the parameters of the query string, read as what the operation declares them to be;
//! the answer is GraphQL's. What changes something wants a POST.

use std::sync::Arc;

use async_graphql::parser::types::{BaseType, OperationDefinition, OperationType, Type};
use async_graphql::{Name, Request, Value};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde_json::Map;

use super::endpoint::Endpoint;
use super::negotiation::StreamPreference;
use super::negotiation::{ResponseMedia, is_conditional, not_by_get, not_conditional};
use super::params::whole_numbers;
use super::sse;
use crate::graphql::error::request_error;
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::schema::index::{IndexedType, SchemaIndex};
use crate::http::{OptionalJson, PathId, nearest, pairs, without_brackets};
use crate::resolvers::input::echo;

/// Our own scalars that are numbers; the others are texts.
const NUMBERS: [&str; 1] = ["Int53"];

/// `GET /api/v1/q/{id}`: a query, or a subscription as server-sent events.
pub async fn get(
    State(endpoint): State<Arc<Endpoint>>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    answer(&endpoint, &Method::GET, &id, query.as_deref(), Map::new(), &headers).await
}

/// `POST /api/v1/q/{id}`: an operation of any kind. Variables may also come as a JSON object in the body.
pub async fn post(
    State(endpoint): State<Arc<Endpoint>>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson<Map<String, serde_json::Value>>,
) -> Response {
    answer(&endpoint, &Method::POST, &id, query.as_deref(), body.unwrap_or_default(), &headers).await
}

async fn answer(
    endpoint: &Endpoint,
    method: &Method,
    id: &str,
    query: Option<&str>,
    body: Map<String, serde_json::Value>,
    headers: &HeaderMap,
) -> Response {
    let media = ResponseMedia::asked_for(headers);
    let document = match endpoint.engine.documents().trusted().document(id) {
        Ok(document) => document.clone(),
        Err(refused) => return with_status(media.answer(refused), StatusCode::NOT_FOUND),
    };
    if headers.contains_key("idempotency-key") {
        let problem = "Idempotency-Key is not taken here: send the command to its own address below /api/v1/workers";
        return with_status(media.answer(wrong(problem.to_owned())), StatusCode::BAD_REQUEST);
    }
    let mut request = Request::new("");
    let Some(operation) = document.operation(None) else {
        return with_status(media.answer(wrong("The document has no operation".to_owned())), StatusCode::NOT_FOUND);
    };
    let is_stream = StreamPreference::asked_for(headers).is_for(&[operation.ty]);
    match operation.ty {
        OperationType::Mutation if method == Method::GET => return not_by_get(media),
        OperationType::Mutation if is_conditional(headers) => return media.answer(not_conditional()),
        OperationType::Subscription if !is_stream => {
            let problem = "This operation is a subscription: ask for it with `Accept: text/event-stream`".to_owned();
            return with_status(media.answer(wrong(problem)), StatusCode::NOT_ACCEPTABLE);
        }
        OperationType::Query | OperationType::Mutation | OperationType::Subscription => {}
    }
    for (name, value) in body {
        if let Err(refused) = declared(operation, &name) {
            return with_status(media.answer(refused), StatusCode::BAD_REQUEST);
        }
        request.variables.insert(Name::new(name), Value::from_json(value).unwrap_or_default());
    }
    match variables(operation, query.unwrap_or_default(), endpoint.engine.documents().types()) {
        Ok(variables) => request.variables.extend(variables),
        Err(refused) => return with_status(media.answer(refused), StatusCode::BAD_REQUEST),
    }
    request.variables = whole_numbers(request.variables);
    let asked = ParsedRequest::new(document, request);
    if is_stream {
        return sse::answer(endpoint, Ok(asked));
    }
    let answer = endpoint.engine.run(asked).await;
    let status = if answer.was_refused() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    with_status(media.answer(answer), status)
}

fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}

fn wrong(problem: String) -> async_graphql::Response {
    async_graphql::Response::from_errors(vec![request_error("BAD_USER_INPUT", problem)])
}

/// The variables that a query string gives. Its parameters are read as those of REST are: `x[]` is `x`, a name that
/// begins with `_` and is no variable is passed over, and what cannot be read, or says nothing, is refused.
fn variables(
    operation: &OperationDefinition,
    query: &str,
    types: &SchemaIndex,
) -> Result<Vec<(Name, Value)>, async_graphql::Response> {
    let mut given: Vec<(String, Vec<String>)> = Vec::new();
    for (name, text) in pairs(query).map_err(|refused| wrong(refused.message().to_owned()))? {
        let name = without_brackets(&name);
        if name.starts_with('_') && declared(operation, name).is_err() {
            continue;
        }
        match given.iter_mut().find(|(known, _)| *known == name) {
            Some((_, texts)) => texts.push(text.into_owned()),
            None => given.push((name.to_owned(), vec![text.into_owned()])),
        }
    }
    let mut variables = Vec::with_capacity(given.len());
    for (name, texts) in given {
        let ty = declared(operation, &name)?;
        let value = read(ty, &texts, types).map_err(|problem| wrong(format!("${name}: {problem}")))?;
        variables.push((Name::new(name), value));
    }
    Ok(variables)
}

/// The type of a variable of this name, or what there is instead.
fn declared<'a>(operation: &'a OperationDefinition, name: &str) -> Result<&'a Type, async_graphql::Response> {
    let variables = operation.variable_definitions.iter().map(|definition| &definition.node);
    variables.clone().find(|variable| variable.name.node == name).map(|it| &it.var_type.node).ok_or_else(|| {
        let meant = nearest(name, variables.clone().map(|it| it.name.node.as_str()));
        let meant = meant.map(|meant| format!(" Did you mean ${meant}?")).unwrap_or_default();
        let known: Vec<_> = variables.map(|it| format!("${}: {}", it.name.node, it.var_type.node)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        wrong(format!("Unknown variable ${}: this operation takes {known}.{meant}", echo(name)))
    })
}

/// A parameter, given once or several times, as a value of a type.
fn read(ty: &Type, texts: &[String], types: &SchemaIndex) -> Result<Value, String> {
    match (&ty.base, texts) {
        (BaseType::List(of), texts) => {
            texts.iter().map(|text| read_one(of, text, types)).collect::<Result<_, _>>().map(Value::List)
        }
        (BaseType::Named(_), [text]) => read_one(ty, text, types),
        (BaseType::Named(_), texts) => Err(format!("takes one value, and is given {} times", texts.len())),
    }
}

fn read_one(ty: &Type, text: &str, types: &SchemaIndex) -> Result<Value, String> {
    let BaseType::Named(name) = &ty.base else { return json(ty, text) };
    if matches!(name.as_str(), "String" | "ID") {
        return Ok(Value::String(text.to_owned()));
    }
    // As elsewhere in query strings: `?first=` says nothing, and must not be taken for "as many as there are".
    if text.is_empty() {
        return Err("a value is missing; leave it out to say nothing".to_owned());
    }
    let expected = |what: &str| format!("must be {what}, not {:?}", echo(text));
    match (types.get(name), name.as_str()) {
        (None, "Int") => {
            text.parse::<i32>().map(Value::from).map_err(|_| expected("a whole number from -2147483648 to 2147483647"))
        }
        (Some(_), name) if NUMBERS.contains(&name) => {
            text.parse::<i64>().map(Value::from).map_err(|_| expected("a whole number"))
        }
        (None, "Float") => text.parse::<f64>().map(Value::from).map_err(|_| expected("a number")),
        (None, "Boolean") => text.parse::<bool>().map(Value::from).map_err(|_| expected("true or false")),
        (Some(IndexedType::Enum(words)), _) if words.contains(text) => Ok(Value::Enum(Name::new(text))),
        (Some(IndexedType::Enum(words)), _) => {
            let mut words: Vec<_> = words.iter().map(String::as_str).collect();
            words.sort_unstable();
            Err(expected(&format!("one of {}", words.join(", "))))
        }
        (Some(IndexedType::Input(_)), _) => json(ty, text),
        (Some(IndexedType::Scalar | IndexedType::Object(_) | IndexedType::Interface(_)) | None, _) => {
            Ok(Value::String(text.to_owned()))
        }
    }
}

fn json(ty: &Type, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("must be a {ty} written as JSON, not {:?}: {error}", echo(text)))
}
