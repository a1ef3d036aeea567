//! Tokens for tests. They are made as `aetherium token create` makes them, by the server itself; from then on the server
//! asks everybody for one.

use aetherium::auth::Caller;
use aetherium::client::WorkerToken;
use aetherium::resolvers::tokens::{TokenCreated, TokenInput};

use serde_json::{Value, json};

use super::{Answer, Rest, TestCluster};

/// A token, with its text.
#[derive(Clone, Debug)]
pub struct TestToken {
    /// The public id.
    pub id: String,
    /// The text.
    pub text: String,
}

impl TestToken {
    /// The value of `authorization` that sends it.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.text)
    }

    /// What nobody but its holder may know.
    pub fn secret(&self) -> &str {
        &self.text["aex_".len() + self.id.len()..]
    }
}

/// What a token of a role other than `worker` is created with.
pub fn role_token(role: &str) -> TokenInput {
    TokenInput { name: format!("the {role}"), role: role.to_owned(), ..TokenInput::default() }
}

/// What the token of a worker is created with.
pub fn worker_token(id: &str) -> TokenInput {
    TokenInput { name: format!("token of {id}"), worker_id: Some(id.to_owned()), ..role_token("worker") }
}

/// What the token of a gateway is created with.
pub fn gateway_token(max_workers: i64) -> TokenInput {
    TokenInput { name: format!("gateway of {max_workers}"), max_workers: Some(max_workers), ..role_token("worker") }
}

/// What a join token is created with: for one worker, or for new ones.
pub fn join_token(worker_id: Option<&str>, max_uses: i64) -> TokenInput {
    let (worker_id, max_uses) = (worker_id.map(str::to_owned), Some(max_uses));
    TokenInput { name: "the join token".to_owned(), worker_id, max_uses, ..role_token("join") }
}

/// A token that a worker makes for itself, and what it joins with.
pub fn own_token() -> (TestToken, Value) {
    let token = WorkerToken::generate();
    let request = token.join_request();
    let body = json!({"token_id": request.token_id, "token_sha256": request.token_sha256});
    (TestToken { id: request.token_id, text: token.into() }, body)
}

impl TestCluster {
    /// Lets a worker join with a token that it makes for itself.
    pub async fn join(&self, join_token: &TestToken, worker_id: &str) -> (TestToken, Answer) {
        let (own, body) = own_token();
        let answer = self.holder(join_token).post(&format!("/api/v1/workers/{worker_id}/join")).json(body).await;
        (own, answer)
    }

    /// Creates a token.
    pub async fn token(&self, input: TokenInput) -> TestToken {
        let created = self.server().resolvers().create_token(&Caller::server(), input).await;
        let TokenCreated { text, token } = created.expect("the token should be created");
        TestToken { id: token.token.id.to_string(), text: text.expose().to_owned() }
    }

    /// A client of the REST API that sends a token.
    pub fn holder(&self, token: &TestToken) -> Rest {
        self.rest().bearer(&token.text)
    }
}
