//! Why a command did not do what was asked: the exit status, and the body that tells it, which is the server's own where
//! the server has refused.

use std::io;

use serde_json::json;

use crate::client::{ApiError, TokenFileError, TrustError};

/// What a command ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It was not done, for none of the reasons below.
    Error = 1,
    /// The question is wrong: an option, an argument, a value in it.
    Usage = 2,
    /// What it is about does not exist.
    NotFound = 3,
    /// There is no token that is accepted, or its role is not enough.
    NotAllowed = 4,
    /// What it is about is not in the state for it.
    Conflict = 5,
    /// The deadline of a drain, or the time to wait, has passed.
    Overdue = 6,
    /// The server was not reached, or cannot answer now.
    Unavailable = 7,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
    /// Somebody asked it to end.
    Terminated = 143,
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// It failed.
    Told {
        /// What it ends with.
        status: ExitStatus,
        /// The sentence for people.
        message: String,
        /// The JSON object for programs: `error`, `message`, `code`.
        body: String,
    },
    /// Whoever read its output has enough of it, as `head` has. That is no error.
    OutputClosed,
}

impl ExitStatus {
    /// The status of the kind of answer that a refusal of the server is.
    fn of_http(status: u16) -> Self {
        match status {
            400 | 405 | 406 | 413 | 415 | 422 => Self::Usage,
            401 | 403 => Self::NotAllowed,
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            408 | 421 | 429 | 502..=504 => Self::Unavailable,
            _ => Self::Error,
        }
    }

    /// How the same is called in the body of an error.
    fn in_http(self) -> (u16, &'static str) {
        match self {
            Self::Error => (500, "Internal Server Error"),
            Self::Usage => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::NotAllowed => (403, "Forbidden"),
            Self::Conflict => (409, "Conflict"),
            Self::Overdue => (408, "Request Timeout"),
            Self::Unavailable => (503, "Service Unavailable"),
            Self::Interrupted | Self::Terminated => (499, "Client Closed Request"),
        }
    }
}

impl Failure {
    /// A failure that this program has noticed.
    pub fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        let (code, error) = status.in_http();
        let message = message.into();
        // In the order of the API.
        let body = format!(r#"{{"error":{},"message":{},"code":{code}}}"#, json!(error), json!(message));
        Self::Told { status, message, body }
    }

    /// A question that is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message)
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Told { status, .. } => *status as u8,
            Self::OutputClosed => 0,
        }
    }

    /// Whether it is of this kind.
    pub fn is(&self, expected: ExitStatus) -> bool {
        matches!(self, Self::Told { status, .. } if *status == expected)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { status, message, body, retry_after: _ } => {
                Self::Told { status: ExitStatus::of_http(status), message, body }
            }
            error @ ApiError::Unavailable { .. } => Self::new(ExitStatus::Unavailable, error.to_string()),
            ApiError::Url(message) => Self::usage(message),
        }
    }
}

impl From<io::Error> for Failure {
    /// Of writing to standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::new(ExitStatus::Error, format!("The output cannot be written: {error}")),
        }
    }
}

impl From<TokenFileError> for Failure {
    fn from(error: TokenFileError) -> Self {
        let reason = std::error::Error::source(&error).map(|reason| format!(": {reason}")).unwrap_or_default();
        Self::usage(format!("{error}{reason}"))
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_the_server_has_its_exit_status() {
        for (http, exit) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 3),
            (405, 2),
            (408, 7),
            (409, 5),
            (412, 5),
            (413, 2),
            (415, 2),
            (421, 7),
            (422, 2),
            (429, 7),
            (500, 1),
            (503, 7),
        ] {
            let body = r#"{"error": "…", "message": "no", "code": 0, "argument": "zone"}"#.to_owned();
            let refused =
                ApiError::Refused { status: http, message: "no".to_owned(), body: body.clone(), retry_after: None };
            let failure = Failure::from(refused);
            assert_eq!(failure.exit_code(), exit, "{http}");
            assert!(matches!(failure, Failure::Told { body: told, .. } if told == body), "it is handed on as it came");
        }
    }
}
