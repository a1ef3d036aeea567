//! Which HTTP status a domain error has; the twin of `graphql::error`. The kinds of errors and their sentences are in
//! `crate::error`; the statuses that the OpenAPI document names are in `rest::openapi::answers`.

use axum::http::StatusCode;
use tracing::error;

use super::json_objects::{EvacuationPlan, WriteJson};
use crate::error::{Error, Kind, Subject};
use crate::http::{About, HttpError, RenderedJson};

/// The result of a handler.
pub(super) type Result<T, E = HttpError> = std::result::Result<T, E>;

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::InvalidArgument => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Stale => StatusCode::PRECONDITION_FAILED,
            Kind::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Kind::Overloaded | Kind::RevisionNotReached | Kind::ShuttingDown | Kind::StorageUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Kind::Internal => {
                error!(error = %error.chain(), "a request failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let Subject { argument, id, current_revision } = error.subject();
        let (argument, id) = (argument.map(str::to_owned), id.map(str::to_owned));
        let plan = match &error {
            Error::Shortfall(plan) => Some(rendered(&EvacuationPlan((**plan).clone()))),
            _ => None,
        };
        let failure = Self::new(status, error.to_string()).about(About { argument, id, current_revision, plan });
        match error.retry_after() {
            Some(wait) => failure.retry_after(wait),
            None => failure,
        }
    }
}

fn rendered(object: &impl WriteJson) -> RenderedJson {
    RenderedJson(String::from_utf8(object.text()).unwrap_or_default().into())
}
