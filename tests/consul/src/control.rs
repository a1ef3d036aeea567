//! What a test in another process does to a stub: routes on a port of their own, which answer whatever its mode is.
//! Which modes there are is in `state`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::put;
use axum::{Json, Router};

use crate::listener::Listener;
use crate::{Acl, Mode, Stub, UnknownCheck};

/// The port where a stub is told what to do.
#[derive(Debug)]
pub struct Control(Listener);

impl Control {
    /// Begins to listen, on a port of the loopback interface that the system chose.
    ///
    /// # Panics
    ///
    /// If it cannot.
    pub async fn of(stub: Arc<Stub>) -> Self {
        Self(Listener::open(SocketAddr::from(([127, 0, 0, 1], 0)), stub.control()).await)
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }
}

pub(crate) fn router(stub: Arc<Stub>) -> Router {
    Router::new()
        .route("/mode", put(set_mode))
        .route("/acl", put(set_acl))
        .route("/unknown-check", put(set_unknown_check))
        .route("/lost-updates", put(lose_updates))
        .route("/forget", put(forget))
        .route("/reset-index", put(reset_index))
        .route("/away", put(go_away))
        .route("/back", put(come_back))
        .with_state(stub)
}

async fn set_mode(State(stub): State<Arc<Stub>>, Json(mode): Json<Mode>) -> StatusCode {
    stub.set_mode(mode);
    StatusCode::NO_CONTENT
}

async fn set_acl(State(stub): State<Arc<Stub>>, Json(acl): Json<Acl>) -> StatusCode {
    stub.set_acl(acl);
    StatusCode::NO_CONTENT
}

async fn set_unknown_check(State(stub): State<Arc<Stub>>, Json(answer): Json<UnknownCheck>) -> StatusCode {
    stub.set_unknown_check(answer);
    StatusCode::NO_CONTENT
}

async fn lose_updates(State(stub): State<Arc<Stub>>, Json(number): Json<usize>) -> StatusCode {
    stub.lose_updates(number);
    StatusCode::NO_CONTENT
}

async fn forget(State(stub): State<Arc<Stub>>) -> StatusCode {
    stub.forget();
    StatusCode::NO_CONTENT
}

async fn reset_index(State(stub): State<Arc<Stub>>) -> StatusCode {
    stub.reset_index();
    StatusCode::NO_CONTENT
}

async fn go_away(State(stub): State<Arc<Stub>>) -> StatusCode {
    stub.go_away().await;
    StatusCode::NO_CONTENT
}

async fn come_back(State(stub): State<Arc<Stub>>) -> StatusCode {
    stub.come_back().await;
    StatusCode::NO_CONTENT
}
