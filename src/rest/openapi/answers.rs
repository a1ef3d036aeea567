//! What comes back: statuses, headers, and failures in their one shape.

use serde_json::{Value, json};
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::schema::{any_text, exact, named, text, whole};
use crate::http::LONGEST_REQUEST_ID;

/// Media type of nearly everything.
pub(super) const JSON: &str = "application/json";

/// An answer without a body.
pub(super) fn nothing(description: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(description).header("x-request-id", request_id())
}

/// An answer in JSON, with an example.
pub(super) fn json_of(description: &str, schema: &str, example: Value) -> ResponseBuilder {
    nothing(description).content(JSON, content(named(schema), example))
}

/// A body with an example.
pub(super) fn content(schema: impl Into<RefOr<Schema>>, example: Value) -> Content {
    ContentBuilder::new().schema(Some(schema.into())).example(Some(example)).build()
}

/// Headers that some answers have.
pub(super) trait Headers {
    /// Of a state of the cluster, which has a revision.
    fn of_a_revision(self) -> Self;
    /// Of a list, which may go on.
    fn of_a_list(self) -> Self;
}

impl Headers for ResponseBuilder {
    fn of_a_revision(self) -> Self {
        let revision = header(
            exact(),
            "Revision that the answer was read at. Pass it back as `min_revision` or `after_revision`.",
            json!(813),
        );
        self.header("x-revision", revision)
    }

    fn of_a_list(self) -> Self {
        let next = header(
            any_text(),
            "Where the list goes on, as a reference relative to this page. Left out if it does not.",
            json!("<?limit=100&cursor=eyJrZXkiOnsiSWQiOiJ3b3JrZXItMDEifSwiaWQiOiJ3b3JrZXItMDEifQ>; rel=\"next\""),
        );
        self.header("link", next)
    }
}

fn request_id() -> Header {
    header(
        text(1..=LONGEST_REQUEST_ID),
        "Number of the request, which the server's log has too: the client's own `x-request-id`, or else a new one.",
        json!("0b5d4c1e-6f0a-4f43-9d3e-2a53a6a2b7ce"),
    )
}

fn header(schema: impl Into<RefOr<Schema>>, description: &str, example: Value) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).example(Some(example)).build()
}

/// A failure that many routes share.
struct Shared {
    status: u16,
    /// Its name among the components.
    name: &'static str,
    error: &'static str,
    description: &'static str,
    /// An example of what it says.
    message: &'static str,
}

const SHARED: [Shared; 10] = [
    Shared {
        status: 400,
        name: "BadRequest",
        error: "Bad Request",
        description: "The request has to be mended; the message names the field and what would be right.",
        message: "limit must be from 0 to 500, not 501",
    },
    Shared {
        status: 403,
        name: "Forbidden",
        error: "Forbidden",
        description: "A page of another origin may not change anything here, unless the server is told to allow it.",
        message: "Pages of other origins may not change anything here, unless the server is told to allow them (--cors-origin)",
    },
    Shared {
        status: 404,
        name: "NotFound",
        error: "Not Found",
        description: "There is no such thing.",
        message: "Worker not found: worker-99",
    },
    Shared {
        status: 408,
        name: "RequestTimeout",
        error: "Request Timeout",
        description: "The body did not arrive in time.",
        message: "The request body did not arrive within 10s",
    },
    Shared {
        status: 409,
        name: "Conflict",
        error: "Conflict",
        description: "It is not in the state that the request takes it to be in.",
        message: "Incarnation 1 of worker worker-01 is over: incarnation 2 has registered since. Two processes may be using this id.",
    },
    Shared {
        status: 413,
        name: "TooLarge",
        error: "Payload Too Large",
        description: "The body is larger than what is read here.",
        message: "The request body is larger than the 256 KiB that are read here",
    },
    Shared {
        status: 415,
        name: "UnsupportedMediaType",
        error: "Unsupported Media Type",
        description: "The body is not JSON, or is compressed.",
        message: "The body has to be application/json, not text/plain",
    },
    Shared {
        status: 431,
        name: "HeadersTooLarge",
        error: "Request Header Fields Too Large",
        description: "The address, or the headers, are longer than what is read here.",
        message: "The request's headers are more or larger than what is read here",
    },
    Shared {
        status: 500,
        name: "InternalError",
        error: "Internal Server Error",
        description: "Our fault. The server's log tells more, under this answer's `x-request-id`.",
        message: "Internal error; the server's log tells more under this answer's x-request-id",
    },
    Shared {
        status: 503,
        name: "Unavailable",
        error: "Service Unavailable",
        description: "Cannot be answered now, probably can be soon: try again after `Retry-After`.",
        message: "The database is not available. Nothing was changed as far as the server knows; try again shortly.",
    },
];

impl Shared {
    fn response(&self) -> Response {
        let Self { status, error, message, .. } = self;
        let body = json!({"error": error, "message": message, "code": status});
        let response = json_of(self.description, "Failure", body);
        let response =
            if matches!(status, 429 | 503) { response.header("retry-after", retry_after()) } else { response };
        response.build()
    }
}

/// Failures as components, by name.
pub(super) fn components() -> Vec<(&'static str, Response)> {
    SHARED.iter().map(|failure| (failure.name, failure.response())).collect()
}

/// The answer of this status, as the components have it.
pub(super) fn failure(status: u16) -> Option<(String, Ref)> {
    let shared = SHARED.iter().find(|shared| shared.status == status)?;
    Some((status.to_string(), Ref::from_response_name(shared.name)))
}

fn retry_after() -> Header {
    header(whole(0..=i64::from(i32::MAX)), "How many seconds to wait before trying again.", json!(1))
}
