//! The responses of the OpenAPI document: statuses, headers and errors, with their descriptions. The bodies of
//! successful ones are in [`bodies`](super::bodies); which error has which status is decided in
//! [`error`](crate::rest::error).

use serde_json::{Value, json};
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::schema::{any_text, exact, named, one_of, text, whole};
use crate::http::LONGEST_REQUEST_ID;

/// The media type of nearly all bodies.
pub(super) const JSON: &str = "application/json";

/// The media type of errors by RFC 9457.
const PROBLEM: &str = "application/problem+json";

/// A response without a body.
pub(super) fn nothing(description: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(description).header("x-request-id", request_id())
}

/// A JSON response, with an example.
pub(super) fn json_of(description: &str, schema: &str, example: Value) -> ResponseBuilder {
    nothing(description).content(JSON, content(named(schema), example))
}

/// The header of a response that nobody may store.
pub(super) fn not_stored() -> Header {
    header(any_text(), "It must not be stored.", json!("no-store"))
}

/// The header that sets or clears the cookie of a session.
pub(super) fn session_cookie() -> Header {
    let cookie = "aetherium=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";
    header(any_text(), "The cookie `aetherium`; over TLS, `__Host-aetherium`, which is `Secure`.", json!(cookie))
}

/// A body with an example.
pub(super) fn content(schema: impl Into<RefOr<Schema>>, example: Value) -> Content {
    ContentBuilder::new().schema(Some(schema.into())).example(Some(example)).build()
}

/// The response 304.
pub(super) fn not_modified() -> ResponseBuilder {
    nothing("The client has the answer already: one of the tags in `if-none-match` is still right.").of_a_revision()
}

/// Headers that some responses have.
pub(super) trait Headers {
    /// Those of a query: the revision, and the tag for conditional requests.
    fn of_a_revision(self) -> Self;
    /// The tag, with its own description.
    fn tagged(self, description: &str, example: &str) -> Self;
    /// Those of a list: the link to the next page.
    fn of_a_list(self) -> Self;
    /// The link to where what was begun is followed.
    fn monitored(self) -> Self;
    /// Those of a command with an idempotency key.
    fn repeatable(self) -> Self;
}

impl Headers for ResponseBuilder {
    fn of_a_revision(self) -> Self {
        let revision = header(
            exact(),
            "Revision that the answer was read at. Pass it back as `min_revision` or `after_revision`.",
            json!(813),
        );
        let cached =
            header(any_text(), "It may be kept, if it is asked each time whether it still holds.", json!("no-cache"));
        let varies = header(
            any_text(),
            "What the answer depends on beside its address.",
            json!("accept, accept-encoding, authorization, cookie"),
        );
        self.header("x-revision", revision)
            .tagged(
                "Changes whenever the body does. Pass it back in `if-none-match`.",
                "W/\"813-4f9c1a2e77d0-5b1a9e0c2d7f4a36\"",
            )
            .header("cache-control", cached)
            .header("vary", varies)
    }

    fn tagged(self, description: &str, example: &str) -> Self {
        self.header("etag", header(any_text(), description, json!(example)))
    }

    fn of_a_list(self) -> Self {
        let next = header(
            any_text(),
            "Where the list goes on, as a reference relative to this page. Left out if it does not.",
            json!("<?limit=100&cursor=eyJrZXkiOnsiSWQiOiJ3b3JrZXItMDEifSwiaWQiOiJ3b3JrZXItMDEifQ>; rel=\"next\""),
        );
        self.header("link", next)
    }

    fn monitored(self) -> Self {
        let monitor = header(
            any_text(),
            "Where the drain is followed.",
            json!("</api/v1/workers/worker-01/drain>; rel=\"monitor\""),
        );
        self.header("link", monitor)
    }

    fn repeatable(self) -> Self {
        self.header("idempotency-replayed", repeated())
    }
}

fn repeated() -> Header {
    let description = "`true` if this is the answer that was given to the same `idempotency-key` before; nothing was done \
                       now. Left out if it is not.";
    header(one_of(["true"]), description, json!("true"))
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

/// An error response that many routes share.
struct Shared {
    status: u16,
    /// Its name among the components.
    name: &'static str,
    error: &'static str,
    description: &'static str,
    /// An example of its message.
    message: &'static str,
}

const SHARED: [Shared; 15] = [
    Shared {
        status: 400,
        name: "BadRequest",
        error: "Bad Request",
        description: "The request has to be mended; the message names the field and what would be right.",
        message: "limit must be from 0 to 500, not 501",
    },
    Shared {
        status: 401,
        name: "Unauthenticated",
        error: "Unauthorized",
        description: "The server asks for a token, and the request has none that it accepts.",
        message: "This server asks for a token: send it as `Authorization: Bearer <token>`",
    },
    Shared {
        status: 403,
        name: "Forbidden",
        error: "Forbidden",
        description: "The role of the token does not allow it, or the token does not speak for the worker. Or a page of another origin sent it, which may not change anything here, unless the server is told to allow it.",
        message: "This needs the role operator, and the token has the role viewer",
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
        status: 412,
        name: "PreconditionFailed",
        error: "Precondition Failed",
        description: "It is not as `if-match` says, or it is as `if-none-match` says that it must not be.",
        message: "Worker worker-01 is not what it was at revision 812: its registration, or what operators want of it, is of revision 813. Read it again, then decide.",
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
        status: 421,
        name: "Misdirected",
        error: "Misdirected Request",
        description: "A server that only this machine can reach was asked by a name that is not this machine's.",
        message: "This server answers to addresses and localhost, not to \"evil.example\"; if that is a name of this machine, allow it with --allowed-host",
    },
    Shared {
        status: 422,
        name: "KeyReused",
        error: "Unprocessable Entity",
        description: "The `idempotency-key` came with another request before.",
        message: "The Idempotency-Key \"b8f6\" came with another request before. A new request needs a new key.",
    },
    Shared {
        status: 429,
        name: "RateLimited",
        error: "Too Many Requests",
        description: "The queries of the token cost more than it may spend, or too many requests of this address came with a token that is not accepted: try again after `Retry-After`.",
        message: "The queries of this token cost more than it may spend: its limit is 40000000 points at once, and 4000000 per second. Try again in 1 s; ask for less at a time, or follow changes instead of asking again.",
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
        let problem = json!({"type": "about:blank", "title": error, "status": status, "detail": message});
        let response = json_of(self.description, "Failure", body).content(PROBLEM, content(named("Problem"), problem));
        let response = if *status == 401 { response.header("www-authenticate", authenticate()) } else { response };
        let response =
            if matches!(status, 429 | 503) { response.header("retry-after", retry_after()) } else { response };
        response.build()
    }
}

/// Error responses as components, by name.
pub(super) fn components() -> Vec<(&'static str, Response)> {
    SHARED.iter().map(|failure| (failure.name, failure.response())).collect()
}

/// The statuses of all error responses.
pub(super) fn failures() -> [u16; SHARED.len()] {
    SHARED.each_ref().map(|failure| failure.status)
}

/// The component of the error response with this status.
pub(super) fn failure(status: u16) -> Option<(String, Ref)> {
    let shared = SHARED.iter().find(|shared| shared.status == status)?;
    Some((status.to_string(), Ref::from_response_name(shared.name)))
}

fn authenticate() -> Header {
    header(any_text(), "How to say who asks.", json!("Bearer"))
}

fn retry_after() -> Header {
    header(whole(0..=i64::from(i32::MAX)), "How many seconds to wait before trying again.", json!(1))
}
