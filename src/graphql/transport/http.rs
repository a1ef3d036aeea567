//! GraphQL over HTTP, by the specification of that name: POST with a JSON body, GET for queries,
//! and the media type that the client asks for.

use std::convert::Infallible;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

use super::endpoint::Endpoint;
use super::negotiation::StreamPreference;
use super::negotiation::{ResponseMedia, is_conditional, not_by_get, not_conditional};
use super::params::Parameters;
use super::{sse, websocket};
use crate::graphql::operation::request::ParsedRequest;
use crate::http::{HttpError, JsonText};
use crate::pages;

/// `POST /graphql`
pub async fn post(
    State(endpoint): State<Arc<Endpoint>>,
    Negotiated { media, stream, is_conditional }: Negotiated,
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
    let kinds = asked.as_ref().map(ParsedRequest::kinds).unwrap_or_default();
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
pub struct Negotiated {
    media: ResponseMedia,
    stream: StreamPreference,
    /// Whether it is to be done only if something holds.
    is_conditional: bool,
}

impl<S: Sync> FromRequestParts<S> for Negotiated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            media: ResponseMedia::asked_for(&parts.headers),
            stream: StreamPreference::asked_for(&parts.headers),
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
            Err(refused) => {
                HttpError::bad_request(format!("This is no WebSocket handshake: {refused}")).into_response()
            }
        };
    }
    if pages::are_asked_for(&headers) {
        return pages::playground(&headers);
    }
    let media = ResponseMedia::asked_for(&headers);
    let request = Parameters::of_query_string(uri.query().unwrap_or_default()).and_then(Parameters::into_request);
    let request = match request {
        Ok(request) => request,
        Err(refused) => return media.answer(refused),
    };
    let asked = match endpoint.engine.read(request) {
        Ok(asked) => asked,
        Err(refused) if StreamPreference::asked_for(&headers).is_for(&[]) => {
            return sse::answer(&endpoint, Err(refused));
        }
        Err(refused) => return media.answer(refused),
    };
    // A GET must not change anything: links and images are fetched without asking. A stream may follow as well as ask.
    let kinds = asked.kinds();
    if StreamPreference::asked_for(&headers).is_for(&kinds) && !kinds.contains(&OperationType::Mutation) {
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
