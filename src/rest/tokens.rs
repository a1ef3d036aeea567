//! The handlers of `/tokens`: the list, creation and revocation. Who may call them is decided by `resolvers::tokens`.

use std::hash::{Hash, Hasher};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::etag::Versioned;
use super::json_objects::Token;
use super::query_response::Read;
use crate::http::{Json, PathId, current_caller};
use crate::resolvers::Resolvers;
use crate::resolvers::checks::Whole;
use crate::resolvers::tokens::{TokenCreated, TokenInput};

#[derive(Serialize)]
struct TokenList {
    tokens: Vec<Token>,
    total: usize,
}

impl Versioned for TokenList {
    fn version<H: Hasher>(&self, hasher: &mut H) {
        self.total.hash(hasher);
        self.tokens.version(hasher);
    }
}

/// `GET /api/v1/tokens`
pub(super) async fn list(State(resolvers): State<Resolvers>, read: Read) -> Result<Response> {
    let tokens: Vec<_> = resolvers.list_tokens(&current_caller(), &read.reading)?.into_iter().map(Token).collect();
    Ok(read.show(TokenList { total: tokens.len(), tokens }))
}

/// The body of a creation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with `name` and `role`")]
pub(super) struct TokenBody {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) expires_in: Option<String>,
    pub(super) worker_id: Option<String>,
    pub(super) max_workers: Option<Whole>,
    pub(super) max_uses: Option<Whole>,
}

/// A created token: its text, which is shown once, and what the list shows.
#[derive(Serialize)]
struct Created {
    secret: String,
    token: Token,
}

/// `POST /api/v1/tokens`
pub(super) async fn create(
    State(resolvers): State<Resolvers>,
    Json(TokenBody { name, role, expires_in, worker_id, max_workers, max_uses }): Json<TokenBody>,
) -> Result<impl IntoResponse> {
    let [max_workers, max_uses] = [max_workers, max_uses].map(|number| number.map(|Whole(number)| number));
    let input = TokenInput { name, role, expires_in, worker_id, max_workers, max_uses };
    let TokenCreated { text, token } = resolvers.create_token(&current_caller(), input).await?;
    let created = Created { secret: text.expose().to_owned(), token: Token(token) };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(created)))
}

/// `DELETE /api/v1/tokens/{id}`
pub(super) async fn revoke(State(resolvers): State<Resolvers>, PathId(id): PathId) -> Result<StatusCode> {
    resolvers.revoke_token(&current_caller(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
