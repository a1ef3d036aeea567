//! What every question has in common: which state it is asked of, and telling which one answered.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::http::{Failure, Json, Query};
use crate::resolvers::{Reading, Resolvers, input};

/// Tells the revision that an answer was read at, to be passed back as `min_revision` or `after_revision`.
const X_REVISION: HeaderName = HeaderName::from_static("x-revision");

/// The cluster, at least at the revision that `?min_revision=` names.
pub(super) struct Read(pub(super) Reading);

#[derive(Deserialize)]
pub(super) struct AtLeast {
    min_revision: Option<i64>,
}

impl<S> FromRequestParts<S> for Read
where
    S: Send + Sync,
    Resolvers: axum::extract::FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(AtLeast { min_revision }) = Query::from_request_parts(parts, state).await?;
        let min_revision = min_revision.map(|number| input::revision("min_revision", number)).transpose()?;
        let State(resolvers) = match State::<Resolvers>::from_request_parts(parts, state).await {
            Ok(resolvers) => resolvers,
            Err(never) => match never {},
        };
        Ok(Self(resolvers.read_at_least(min_revision).await?))
    }
}

/// An answer in JSON, with the revision it was read at.
pub(super) struct Shown<T>(pub(super) u64, pub(super) T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let Self(revision, answer) = self;
        ([(X_REVISION, HeaderValue::from(revision))], Json(answer)).into_response()
    }
}
