//! The middleware that gives every error response the documented form.
//!
//! An [`HttpError`] passes as it is; errors of axum and tower, which are plain text or empty, and panics are replaced.
//! A client that asks for `application/problem+json` and not for JSON gets RFC 9457's form. GraphQL's own errors, in
//! its media type, pass unchanged; all other errors on its routes are written as its clients read them.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use serde::Serialize;

use super::request_context::RequestContext;
use crate::http::{
    error::{About, HttpError, general_message, is_json, truncate},
    negotiation::PROBLEM,
};

/// An error in RFC 9457's form.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    about: Option<&'a About>,
}

/// Gives an error response the form that the client asked for.
///
/// It is applied to every response: of handlers, of the router (404, 405) and of other middleware.
pub fn shape(context: &RequestContext, mut response: Response) -> Response {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let ours = response.extensions_mut().remove::<HttpError>();
    let response = match ours {
        _ if failed && context.failures.is_some() && (ours.is_some() || !speaks_json(response.headers())) => {
            reshape(context, response, ours)
        }
        Some(failure) if context.asked.only_for_problem() => reshape(context, response, Some(failure)),
        None if failed && !speaks_json(response.headers()) => reshape(context, response, None),
        Some(_) | None => response,
    };
    if context.method == Method::HEAD { without_body(response) } else { response }
}

/// Writes the error anew. Headers that do not describe the old body are kept: `Allow`, `Retry-After`, CORS.
fn reshape(context: &RequestContext, response: Response, known: Option<HttpError>) -> Response {
    let (mut head, _) = response.into_parts();
    let failure = known.unwrap_or_else(|| explained(context, head.status, &head.headers));
    for about_the_body in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::ETAG] {
        head.headers.remove(about_the_body);
    }
    failure.write_headers(&mut head.headers);
    if let Some((media_type, body)) = context.failures {
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        return Response::from_parts(head, Body::from(body(&failure)));
    }
    if !context.asked.only_for_problem() {
        return Response::from_parts(head, Body::from(failure.body()));
    }
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    head.headers.append(header::VARY, HeaderValue::from_static("accept"));
    let problem = Problem {
        r#type: "about:blank",
        title: failure.status().canonical_reason().unwrap_or("Error"),
        status: failure.status().as_u16(),
        detail: failure.message(),
        about: failure.subject(),
    };
    Response::from_parts(head, Body::from(serde_json::to_vec(&problem).unwrap_or_default()))
}

/// The message of an error that was not made as an [`HttpError`].
fn explained(context: &RequestContext, status: StatusCode, headers: &HeaderMap) -> HttpError {
    let RequestContext { method, uri, .. } = context;
    let path = truncate(uri.path());
    let message = match status {
        StatusCode::NOT_FOUND if context.route().is_some() => format!("Not found: {path}").into(),
        StatusCode::NOT_FOUND => return HttpError::no_route(method, uri.path()),
        StatusCode::METHOD_NOT_ALLOWED => match headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()) {
            Some(allow) => {
                let allowed: Vec<_> = allow.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
                format!("{method} is not allowed on {path}; allowed: {}", allowed.join(", ")).into()
            }
            None => format!("{method} is not allowed on {path}").into(),
        },
        StatusCode::PAYLOAD_TOO_LARGE => return HttpError::too_large(context.body_limit()),
        StatusCode::INTERNAL_SERVER_ERROR => return HttpError::internal(),
        _ => general_message(status),
    };
    HttpError::new(status, message)
}

/// Whether the response is JSON already.
fn speaks_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json)
}

/// Removes the body and keeps the headers, its length included: the response to HEAD.
fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
    response
}
