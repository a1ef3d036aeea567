//! Stored operations: trusted documents as routes, `GET /api/v1/q/{documentId}?variable=…`.
//!
//! The parameters of the query string are the operation's variables, parsed by their declared types; the response is
//! that of GraphQL over HTTP. A mutation must be a POST. The documents come from the
//! [persisted query manifest](crate::graphql::operation::persisted_manifest).

use std::sync::Arc;

use async_graphql::parser::types::{BaseType, OperationDefinition, OperationType, Type};
use async_graphql::{Name, Request, Value};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde_json::Map;

use super::endpoint::Endpoint;
use super::negotiation::{
    ResponseMedia, StreamPreference, conditional_not_supported, is_conditional, method_not_allowed,
};
use super::params::normalize_numbers;
use super::sse;
use crate::graphql::error::request_error;
use crate::graphql::operation::request::ParsedRequest;
use crate::graphql::schema::index::{IndexedType, SchemaIndex};
use crate::http::{OptionalJson, PathId, current_caller, nearest, pairs, without_brackets};
use crate::resolvers::checks::truncate;

/// The custom scalars that are numbers; the others are texts.
const NUMBER_SCALARS: [&str; 1] = ["Int53"];

/// `GET /api/v1/q/{id}`: a query, or a subscription as server-sent events.
pub async fn get(
    State(endpoint): State<Arc<Endpoint>>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    respond(&endpoint, &Method::GET, &id, query.as_deref(), Map::new(), &headers).await
}

/// `POST /api/v1/q/{id}`: an operation of any kind. Variables may also come as a JSON object in the body.
pub async fn post(
    State(endpoint): State<Arc<Endpoint>>,
    PathId(id): PathId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    OptionalJson(body): OptionalJson<Map<String, serde_json::Value>>,
) -> Response {
    respond(&endpoint, &Method::POST, &id, query.as_deref(), body.unwrap_or_default(), &headers).await
}

async fn respond(
    endpoint: &Endpoint,
    method: &Method,
    id: &str,
    query: Option<&str>,
    body: Map<String, serde_json::Value>,
    headers: &HeaderMap,
) -> Response {
    let media = ResponseMedia::from_headers(headers);
    let document = match endpoint.executor.document_cache().trusted_documents().document(id) {
        Ok(document) => document.clone(),
        Err(error_response) => return with_status(media.respond(error_response), StatusCode::NOT_FOUND),
    };
    if headers.contains_key("idempotency-key") {
        let problem = "Idempotency-Key is not taken here: send the command to its own address below /api/v1/workers";
        return with_status(media.respond(bad_user_input(problem.to_owned())), StatusCode::BAD_REQUEST);
    }
    let mut request = Request::new("");
    let Some(operation) = document.operation(None) else {
        return with_status(
            media.respond(bad_user_input("The document has no operation".to_owned())),
            StatusCode::NOT_FOUND,
        );
    };
    let is_stream = StreamPreference::from_headers(headers).is_for(&[operation.ty]);
    match operation.ty {
        OperationType::Mutation if method == Method::GET => return method_not_allowed(media),
        OperationType::Mutation if is_conditional(headers) => return media.respond(conditional_not_supported()),
        OperationType::Subscription if !is_stream => {
            let problem = "This operation is a subscription: ask for it with `Accept: text/event-stream`".to_owned();
            return with_status(media.respond(bad_user_input(problem)), StatusCode::NOT_ACCEPTABLE);
        }
        OperationType::Query | OperationType::Mutation | OperationType::Subscription => {}
    }
    for (name, value) in body {
        if let Err(error_response) = declared(operation, &name) {
            return with_status(media.respond(error_response), StatusCode::BAD_REQUEST);
        }
        request.variables.insert(Name::new(name), Value::from_json(value).unwrap_or_default());
    }
    match variables_of(operation, query.unwrap_or_default(), endpoint.executor.document_cache().schema_index()) {
        Ok(variables) => request.variables.extend(variables),
        Err(error_response) => return with_status(media.respond(error_response), StatusCode::BAD_REQUEST),
    }
    request.variables = normalize_numbers(request.variables);
    let parsed = ParsedRequest::new(document, request);
    if is_stream {
        return sse::respond(endpoint, Ok(parsed), current_caller());
    }
    let response = endpoint.executor.run(parsed, &current_caller()).await;
    let status = if response.is_request_error() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    with_status(media.respond(response), status)
}

fn with_status(mut response: Response, status: StatusCode) -> Response {
    *response.status_mut() = status;
    response
}

fn bad_user_input(problem: String) -> async_graphql::Response {
    async_graphql::Response::from_errors(vec![request_error("BAD_USER_INPUT", problem)])
}

/// The variables in a query string, by REST's rules for parameters: `x[]` is `x`; a name that begins with `_` and is no
/// variable is ignored; a value that does not parse or is empty is refused.
fn variables_of(
    operation: &OperationDefinition,
    query: &str,
    types: &SchemaIndex,
) -> Result<Vec<(Name, Value)>, async_graphql::Response> {
    let mut by_name: Vec<(String, Vec<String>)> = Vec::new();
    for (name, text) in pairs(query).map_err(|error| bad_user_input(error.message().to_owned()))? {
        let name = without_brackets(&name);
        if name.starts_with('_') && declared(operation, name).is_err() {
            continue;
        }
        match by_name.iter_mut().find(|(known, _)| *known == name) {
            Some((_, texts)) => texts.push(text.into_owned()),
            None => by_name.push((name.to_owned(), vec![text.into_owned()])),
        }
    }
    let mut variables = Vec::with_capacity(by_name.len());
    for (name, texts) in by_name {
        let ty = declared(operation, &name)?;
        let value = parse(ty, &texts, types).map_err(|problem| bad_user_input(format!("${name}: {problem}")))?;
        variables.push((Name::new(name), value));
    }
    Ok(variables)
}

/// The declared type of a variable, or the error response that lists the variables there are.
fn declared<'a>(operation: &'a OperationDefinition, name: &str) -> Result<&'a Type, async_graphql::Response> {
    let variables = operation.variable_definitions.iter().map(|definition| &definition.node);
    variables.clone().find(|variable| variable.name.node == name).map(|it| &it.var_type.node).ok_or_else(|| {
        let meant = nearest(name, variables.clone().map(|it| it.name.node.as_str()));
        let meant = meant.map(|meant| format!(" Did you mean ${meant}?")).unwrap_or_default();
        let known: Vec<_> = variables.map(|it| format!("${}: {}", it.name.node, it.var_type.node)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bad_user_input(format!("Unknown variable ${}: this operation takes {known}.{meant}", truncate(name)))
    })
}

/// Parses a parameter, which may be repeated for a list, as a value of this type.
fn parse(ty: &Type, texts: &[String], types: &SchemaIndex) -> Result<Value, String> {
    match (&ty.base, texts) {
        (BaseType::List(of), texts) => {
            texts.iter().map(|text| parse_one(of, text, types)).collect::<Result<_, _>>().map(Value::List)
        }
        (BaseType::Named(_), [text]) => parse_one(ty, text, types),
        (BaseType::Named(_), texts) => Err(format!("takes one value, and is given {} times", texts.len())),
    }
}

fn parse_one(ty: &Type, text: &str, types: &SchemaIndex) -> Result<Value, String> {
    let BaseType::Named(name) = &ty.base else { return parse_json(ty, text) };
    if matches!(name.as_str(), "String" | "ID") {
        return Ok(Value::String(text.to_owned()));
    }
    // As in REST: an empty value such as `?first=` is refused, or it could be taken for "no limit".
    if text.is_empty() {
        return Err("a value is missing; leave it out to say nothing".to_owned());
    }
    let expected = |what: &str| format!("must be {what}, not {:?}", truncate(text));
    match (types.get(name), name.as_str()) {
        (None, "Int") => {
            text.parse::<i32>().map(Value::from).map_err(|_| expected("a whole number from -2147483648 to 2147483647"))
        }
        (Some(_), name) if NUMBER_SCALARS.contains(&name) => {
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
        (Some(IndexedType::Input(_)), _) => parse_json(ty, text),
        (Some(IndexedType::Scalar | IndexedType::Object(_) | IndexedType::Interface(_)) | None, _) => {
            Ok(Value::String(text.to_owned()))
        }
    }
}

fn parse_json(ty: &Type, text: &str) -> Result<Value, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("must be a {ty} written as JSON, not {:?}: {error}", truncate(text)))
}
