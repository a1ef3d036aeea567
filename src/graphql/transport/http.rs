//! GraphQL over HTTP, by the specification of that name: the handlers of `POST /graphql` with a JSON body and of `GET
//! /graphql` with a query string.
//!
//! The media type of the response is chosen in [`negotiation`](super::negotiation).

use std::convert::Infallible;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

use super::endpoint::Endpoint;
use super::negotiation::{
    ResponseMedia, StreamPreference, conditional_not_supported, is_conditional, method_not_allowed,
};
use super::params::Parameters;
use super::{sse, websocket};
use crate::graphql::operation::request::ParsedRequest;
use crate::http::{HttpError, JsonText, current_caller, unauthenticated};
use crate::pages;

/// `POST /graphql`
pub async fn post(
    State(endpoint): State<Arc<Endpoint>>,
    Negotiated { media, stream, is_conditional }: Negotiated,
    body: JsonText,
) -> Response {
    let Endpoint { executor, request_cache, .. } = &*endpoint;
    if !is_conditional
        && !stream.is_for(&[OperationType::Query])
        && let Some(prepared) = request_cache.get(body.as_bytes())
    {
        return media.respond(executor.run_prepared(&prepared, &current_caller()).await);
    }
    let parameters = match body.read::<Parameters>() {
        Ok(parameters) => parameters,
        Err(failure) => return failure.into_response(),
    };
    let request = match parameters.into_request() {
        Ok(request) => request,
        Err(error_response) => return media.respond(error_response),
    };
    let parsed = executor.parse_request(request);
    let operation_types = parsed.as_ref().map(ParsedRequest::operation_types).unwrap_or_default();
    if is_conditional && operation_types.contains(&OperationType::Mutation) {
        return media.respond(conditional_not_supported());
    }
    if stream.is_for(&operation_types) {
        return sse::respond(&endpoint, parsed, current_caller());
    }
    let prepared = match parsed {
        Ok(parsed) => executor.prepare(parsed).map(Arc::new),
        Err(error_response) => Err(error_response),
    };
    media.respond(match prepared {
        Ok(prepared) => {
            let response = executor.run_prepared(&prepared, &current_caller()).await;
            request_cache.insert(body.as_bytes(), prepared);
            response
        }
        Err(error_response) => error_response.into(),
    })
}

/// The outcome of content negotiation, extracted without a copy of the headers.
pub struct Negotiated {
    media: ResponseMedia,
    stream: StreamPreference,
    /// Whether the request has a precondition.
    is_conditional: bool,
}

impl<S: Sync> FromRequestParts<S> for Negotiated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            media: ResponseMedia::from_headers(&parts.headers),
            stream: StreamPreference::from_headers(&parts.headers),
            is_conditional: is_conditional(&parts.headers),
        })
    }
}

/// `GET /graphql`: runs a query, streams an operation, upgrades to a WebSocket, or serves the playground to a browser.
pub async fn get(
    State(endpoint): State<Arc<Endpoint>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    if wants_upgrade(&headers) {
        return match upgrade {
            Ok(upgrade) => websocket::open(&endpoint, &uri, &headers, upgrade),
            Err(rejection) => {
                HttpError::bad_request(format!("This is no WebSocket handshake: {rejection}")).into_response()
            }
        };
    }
    if pages::are_asked_for(&headers) {
        return pages::playground(&headers);
    }
    let caller = current_caller();
    if let Some(why) = caller.principal().missing() {
        return unauthenticated(why).into_response();
    }
    let media = ResponseMedia::from_headers(&headers);
    let request = Parameters::of_query_string(uri.query().unwrap_or_default()).and_then(Parameters::into_request);
    let request = match request {
        Ok(request) => request,
        Err(error_response) => return media.respond(error_response),
    };
    let parsed = match endpoint.executor.parse_request(request) {
        Ok(parsed) => parsed,
        Err(error_response) if StreamPreference::from_headers(&headers).is_for(&[]) => {
            return sse::respond(&endpoint, Err(error_response), caller);
        }
        Err(error_response) => return media.respond(error_response),
    };
    // A GET must not change anything, because browsers fetch links and images on their own: mutations are refused.
    // Subscriptions are allowed as a stream.
    let operation_types = parsed.operation_types();
    if StreamPreference::from_headers(&headers).is_for(&operation_types)
        && !operation_types.contains(&OperationType::Mutation)
    {
        sse::respond(&endpoint, Ok(parsed), caller)
    } else if operation_types.iter().all(|ty| *ty == OperationType::Query) {
        media.respond(endpoint.executor.run(parsed, &caller).await)
    } else {
        method_not_allowed(media)
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
