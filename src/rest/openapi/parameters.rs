//! What can be said in the path, the query and the headers of a request.

use serde_json::Value;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{RefOr, Required, Schema};

use super::schema::{exact, flag, formatted, list_up_to, named, text, whole};
use super::shapes::{EVENT_CURSOR, GO_DURATION, PAGE_CURSOR};
use crate::cluster::MAX_CHARS;
use crate::resolvers::MAX_EVENTS;
use crate::resolvers::input::{MAX_TEXT, MAX_WANTED};
use crate::resolvers::page::{DEFAULT_SIZE, MAX_SIZE};
use crate::rest::events::DEFAULT_LIMIT;

/// What an id may be: one segment of a path, in characters that people can read.
const ID: &str = r"^[^/\u0000-\u001f\u007f-\u009f\ufffd]*$";

/// The id of the path.
pub(super) fn id(of: &str, example: &str) -> Parameter {
    let mut id = text(1..=MAX_CHARS);
    id.pattern = Some(ID.to_owned());
    let id = parameter("id", ParameterIn::Path, id, of, example);
    id.required(Required::True).build()
}

/// Which state is asked of.
pub(super) fn min_revision() -> Parameter {
    query(
        "min_revision",
        exact(),
        "Answer from a state that is at least at this revision, as another server told it in `x-revision`. 503 if it has not arrived here shortly.",
        1,
    )
}

/// Which part of a list is wanted.
pub(super) fn page() -> [Parameter; 2] {
    let most = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
    [
        query(
            "limit",
            whole(0..=most),
            &format!(
                "How many at most. With neither this nor `cursor` the answer is the whole list; with `cursor` alone, {DEFAULT_SIZE}."
            ),
            100,
        ),
        query(
            "cursor",
            formatted(PAGE_CURSOR),
            "Where to go on: opaque, from the `Link` of the page before.",
            "eyJrZXkiOnsiSWQiOiJ3b3JrZXItMDEifSwiaWQiOiJ3b3JrZXItMDEifQ",
        ),
    ]
}

/// Workers of some zones.
pub(super) fn zone() -> Parameter {
    many("zone", text(0..=MAX_TEXT), "Only workers in this zone; repeat it for several.", "us-west-1a")
}

/// VMs of some statuses.
pub(super) fn vm_status(otherwise: &str) -> Parameter {
    many(
        "status",
        named("VmStatus"),
        &format!("Only VMs in this status; repeat it for several. {otherwise}"),
        "running",
    )
}

/// To wait for a change.
pub(super) fn long_poll() -> [Parameter; 2] {
    [
        query(
            "wait",
            formatted(GO_DURATION),
            "Wait for up to this long, at most `60s`, until the cluster is past `after_revision`; then answer as it is. A length of time as Go writes it, such as `30s` or `1m0s`.",
            "1s",
        ),
        query(
            "after_revision",
            exact(),
            "The revision that the client has seen; the present one if left out. Means something with `wait` only.",
            812,
        ),
    ]
}

/// Which part of the change log is wanted.
pub(super) fn events() -> [Parameter; 4] {
    let most = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
    [
        query(
            "after",
            formatted(EVENT_CURSOR),
            "Only what happened after this cursor: one that came with an event, unchanged. A list begins at the beginning without it, a stream with the present.",
            EVENT_CURSOR_EXAMPLE,
        ),
        query(
            "limit",
            whole(0..=most),
            &format!("How many at most; {DEFAULT_LIMIT} if left out. Means nothing to a stream."),
            DEFAULT_LIMIT,
        ),
        many("worker_id", text(0..=MAX_CHARS), "Only events about this worker; repeat it for several.", "worker-01"),
        parameter(
            "last-event-id",
            ParameterIn::Header,
            formatted(EVENT_CURSOR),
            "As `after`, which it takes precedence over. A browser's `EventSource` sends it by itself when it connects again.",
            EVENT_CURSOR_EXAMPLE,
        )
        .build(),
    ]
}

/// A place in the change log, as the examples have it.
pub(super) const EVENT_CURSOR_EXAMPLE: &str = "4f9c1a2e-813-0";

/// How a worker leaves.
pub(super) fn goodbye() -> [Parameter; 2] {
    [
        query(
            "purge",
            flag(),
            "Remove the worker with its VMs, instead of keeping it as offline until it comes back.",
            true,
        ),
        query("force", flag(), "With `purge`: even though VMs hold slots on it.", false),
    ]
}

/// A parameter of the query that may be given once.
fn query(name: &str, schema: impl Into<RefOr<Schema>>, description: &str, example: impl Into<Value>) -> Parameter {
    parameter(name, ParameterIn::Query, schema, description, example).build()
}

/// A parameter of the query that may be repeated.
fn many(name: &str, schema: impl Into<RefOr<Schema>>, description: &str, example: &str) -> Parameter {
    let list = list_up_to(MAX_WANTED, schema);
    parameter(name, ParameterIn::Query, list, description, Value::from(vec![example])).explode(Some(true)).build()
}

fn parameter(
    name: &str,
    place: ParameterIn,
    schema: impl Into<RefOr<Schema>>,
    description: &str,
    example: impl Into<Value>,
) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .description(Some(description))
        .required(Required::False)
        .schema(Some(schema))
        .example(Some(example.into()))
}
