//! The handlers of `/session`: a browser signs in, asks who it is, and signs out. What a session is decides
//! `resolvers::sessions`; the cookie is written in `http::session_cookie`.
//!
//! There is no twin for signing in and out in GraphQL: a cookie is HTTP's.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::json_objects::Token;
use crate::auth::{Credential, Denied, TokenKind};
use crate::error::Error;
use crate::http::origin::{self, Sender};
use crate::http::{HttpError, Json, JsonText, current_caller, is_encrypted, session_cookie, unauthenticated};
use crate::resolvers::Resolvers;
use crate::resolvers::sessions::{SessionOpened, SessionView};

/// What it takes to say a token or a code, with room to spare.
pub(super) const LONGEST_BODY: usize = 4 * 1024;

/// The body of a sign-in; `Debug` is left out on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignInBody {
    pub(super) token: Option<String>,
    pub(super) code: Option<String>,
}

/// Who asks.
#[derive(Serialize)]
struct Session {
    asks_for_tokens: bool,
    token: Option<Token>,
}

impl From<SessionView> for Session {
    fn from(SessionView { asks_for_tokens, token }: SessionView) -> Self {
        Self { asks_for_tokens, token: token.map(Token) }
    }
}

/// `GET /api/v1/session`
pub(super) async fn show(State(resolvers): State<Resolvers>) -> Result<Response> {
    let caller = current_caller();
    let session = resolvers.session(&caller, &resolvers.present()).map_err(counted)?;
    Ok(([NOT_STORED], Json(Session::from(session))).into_response())
}

/// `POST /api/v1/session`
pub(super) async fn open(
    State(resolvers): State<Resolvers>,
    uri: Uri,
    headers: HeaderMap,
    body: JsonText,
) -> Result<Response> {
    refuse_other_pages(&uri, &headers)?;
    let caller = current_caller();
    let opened = {
        let SignInBody { token, code } = read(&body)?;
        let credential = match (&token, &code) {
            (Some(text), None) => Credential::Token(text),
            (None, Some(text)) => Credential::SignInCode(text),
            (Some(_), Some(_)) | (None, None) => return Err(malformed()),
        };
        resolvers.open_session(&caller, credential).await.map_err(counted)?
    };
    // The one before is left behind: the browser has one cookie. If it cannot be closed, it ends by its time.
    if caller.principal().token().is_some_and(|token| token.kind == TokenKind::Session) {
        let _ = resolvers.close_session(&caller).await;
    }
    let cookie = session_cookie::set(&headers, is_encrypted(), opened.secret.expose(), opened.lifetime());
    let SessionOpened { session, .. } = opened;
    let session = Session { asks_for_tokens: true, token: Some(Token(session)) };
    Ok((StatusCode::CREATED, [NOT_STORED, (header::SET_COOKIE, cookie)], Json(session)).into_response())
}

/// `DELETE /api/v1/session`
pub(super) async fn close(State(resolvers): State<Resolvers>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    refuse_other_pages(&uri, &headers)?;
    resolvers.close_session(&current_caller()).await.map_err(counted)?;
    let cookie = session_cookie::clear(&headers, is_encrypted());
    Ok((StatusCode::NO_CONTENT, [NOT_STORED, (header::SET_COOKIE, cookie)]).into_response())
}

/// The error of an operation here. What is not accepted counts as a failure of the address, which the middleware has left to
/// these routes.
fn counted(error: Error) -> HttpError {
    match error {
        Error::Denied(Denied::Unauthenticated(why)) => unauthenticated(why),
        error => error.into(),
    }
}

/// Nobody may keep who somebody was.
const NOT_STORED: (header::HeaderName, header::HeaderValue) =
    (header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));

/// Another page must not sign anybody in or out: not under its own token either, under whose name they would go on.
fn refuse_other_pages(uri: &Uri, headers: &HeaderMap) -> Result<()> {
    if origin::sender(uri, headers, is_encrypted()) == Sender::OtherPage {
        return Err(HttpError::forbidden("Only this server's own pages sign in and out"));
    }
    Ok(())
}

/// Reads the body. Its errors do not repeat anything of it, which may be a secret.
fn read(body: &JsonText) -> Result<SignInBody> {
    serde_json::from_slice(body.as_bytes()).map_err(|_| malformed())
}

fn malformed() -> HttpError {
    HttpError::bad_request(r#"A JSON object is needed with either `token` or `code`, a text, and nothing else"#)
}
