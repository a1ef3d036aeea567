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

/// A session of a browser.
#[derive(Clone, Debug)]
pub struct TestSession {
    /// The public id.
    pub id: String,
    /// The text in the cookie.
    pub text: String,
}

impl TestSession {
    /// The session that an answer opens.
    pub fn of(opened: &Answer) -> Self {
        assert_eq!(opened.status, 201, "{}", opened.body);
        let cookie = opened.header("set-cookie").expect("a cookie");
        let (name, text) = cookie.split_once(';').unwrap().0.split_once('=').unwrap();
        assert_eq!(name, "aetherium");
        let id = opened.json()["token"]["id"].as_str().unwrap().to_owned();
        Self { id, text: text.to_owned() }
    }

    /// The value of `cookie` that sends it.
    pub fn cookie(&self) -> String {
        format!("aetherium={}", self.text)
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

    /// Opens a session with a token.
    pub async fn session(&self, token: &TestToken) -> TestSession {
        TestSession::of(&self.rest().post("/api/v1/session").json(json!({"token": token.text})).await)
    }

    /// Makes a sign-in code, as `aetherium token sign-in` does.
    pub async fn sign_in_code(&self, role: &str) -> TestToken {
        let code = self.server().resolvers().create_sign_in_code(&Caller::server(), role, "the link").await.unwrap();
        TestToken { id: code.expose()["aec_".len()..][..12].to_owned(), text: code.expose().to_owned() }
    }

    /// A page in the browser that has a session.
    pub fn page_of(&self, session: &TestSession) -> Rest {
        self.rest().cookie(&session.cookie())
    }

    /// A client of the REST API that sends a token.
    pub fn holder(&self, token: &TestToken) -> Rest {
        self.rest().bearer(&token.text)
    }
}
