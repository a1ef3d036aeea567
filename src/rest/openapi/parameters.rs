//! The parameters of the OpenAPI document: those in paths, query strings and headers, with their descriptions. How a
//! query string is read is not here, but in [`paging`](crate::rest::paging) and
//! [`filter_params`](crate::rest::filter_params).

use serde_json::Value;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{RefOr, Required, Schema};

use super::schema::{any_text, exact, flag, formatted, list_up_to, matching, named, one_of, sized, text, whole};
use super::shapes::{ENTITY_TAGS, ENTITY_TAGS_PATTERN, EVENT_CURSOR, GO_DURATION, PAGE_CURSOR, PAGE_CURSOR_PATTERN};
use crate::cluster::{Actor, MAX_CHARS, SortKey, VmOrderField, WorkerOrderField};
use crate::history::{DEFAULT_POINTS, MAX_POINTS, MAX_RANGE, MIN_POINTS, MIN_RANGE};
use crate::http::LONGEST_KEY;
use crate::resolvers::checks::{
    MAX_CPU_CORES, MAX_FIGURE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, MAX_TEXT, MAX_WANTED,
};
use crate::resolvers::drains::MAX_DRAINS;
use crate::resolvers::page::{DEFAULT_SIZE, Edge, MAX_SIZE};
use crate::resolvers::placement::{DEFAULT_LISTED, MAX_PLACED};
use crate::resolvers::{Component, DEFAULT_EVENTS, MAX_EVENTS};
use crate::rest::drains::{DEFAULT_LIMIT as DRAINS_LIMIT, WAITS};

/// The pattern of an id: one segment of a path, without control characters.
pub(super) const ID: &str = r"^[^/\u0000-\u001f\u007f-\u009f\ufffd]*$";

/// The pattern of an idempotency key: visible ASCII characters.
const KEY: &str = "^[!-~]+$";

/// The id in the path.
pub(super) fn id(of: &str, example: &str) -> Parameter {
    let id = matching(sized(1..=MAX_CHARS), ID);
    parameter("id", ParameterIn::Path, id, of).required(Required::True).example(Some(example.into())).build()
}

/// `min_revision`: the least revision of the state that the query is answered from.
pub(super) fn min_revision() -> Parameter {
    query(
        "min_revision",
        exact(),
        "Answer from a state that is at least at this revision, as another server told it in `x-revision`. 503 if it has not arrived here shortly; 409 if the database does not have it, as after its restore from a backup.",
        1,
    )
}

/// `require`: the components of the server that have to work.
pub(super) fn require() -> Parameter {
    let components = Component::ALL.map(Component::name);
    many(
        "require",
        one_of(components),
        "503 if this part of the server does not work; repeat it for several.",
        "commits",
    )
}

/// `If-None-Match` of queries.
pub(super) fn if_none_match() -> Parameter {
    let description = "The `etag` of an answer that the client has: if it is still right, 304 says so and nothing is sent again. \
                       Several are separated by commas.";
    let example = "W/\"813-4f9c1a2e77d0-5b1a9e0c2d7f4a36\"";
    parameter("if-none-match", ParameterIn::Header, any_text(), description).example(Some(example.into())).build()
}

/// `Idempotency-Key`.
///
/// Each operation has an example of its own: the same key with another request is refused.
pub(super) fn idempotency_key(example: &str) -> Parameter {
    let description = "A new one for each change, such as a UUID. Whoever got no answer sends the same request with the \
                       same key again: it is carried out once, and answered as it was the first time.";
    let key = matching(sized(1..=LONGEST_KEY), KEY);
    parameter("idempotency-key", ParameterIn::Header, key, description).example(Some(example.into())).build()
}

/// `If-Match` of commands.
pub(super) fn if_match() -> Parameter {
    let description = "The `etag` of the worker as it was read, or its `revision` in quotes: 412 if its registration, or what \
                       operators want of it, has changed since. Heartbeats do not count. After the database was \
                       restored from a backup, use an `etag`, which is never taken for one of after the restore, or \
                       read the worker again: a `revision` alone may be, once the database has come as far again.";
    let tags = matching(formatted(ENTITY_TAGS), ENTITY_TAGS_PATTERN);
    parameter("if-match", ParameterIn::Header, tags, description).example(Some("*".into())).build()
}

/// `If-None-Match` of commands.
pub(super) fn unless_match() -> Parameter {
    let description = "`*`: only if there is no such worker yet. The `etag` of the worker as it was read: only if its \
                       registration, or what operators want of it, has changed since. Else 412.";
    let tags = matching(formatted(ENTITY_TAGS), ENTITY_TAGS_PATTERN);
    parameter("if-none-match", ParameterIn::Header, tags, description).example(Some("\"0\"".into())).build()
}

/// `limit` and `cursor`. The example of a cursor is after the element with this id in the order by id, whether or not
/// it exists.
pub(super) fn page(after: &str) -> [Parameter; 2] {
    let most = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
    let place = Edge::new(SortKey::Id(after.into()), after.into(), 0, ());
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
            matching(formatted(PAGE_CURSOR), PAGE_CURSOR_PATTERN),
            "Where to go on: opaque, from the `Link` of the page before. What may have changed its place in the order since the first page comes behind all others, by id: what is there throughout is on a page, and on two if it moved after it was on one.",
            place.cursor(),
        ),
    ]
}

/// The pattern of a label in a query string.
fn label_pattern() -> String {
    format!("^[^=!]([^=]{{0,{}}}[^=!])?(=([^=][\\s\\S]{{0,{}}})?)?$", MAX_LABEL_KEY - 2, MAX_LABEL_VALUE - 1)
}

/// The order of workers.
pub(super) fn worker_order() -> Parameter {
    sort(
        WorkerOrderField::ALL.iter(),
        "In which order, with a `-` before it for the largest first; by id if left out. A `cursor` is of one order: none of another goes with it. \
             All workers lie in the orders by `id`, `hostname` and `zone`: a page of those costs the same however many there are, while for the others all are looked at.",
    )
}

/// The order of VMs.
pub(super) fn vm_order() -> Parameter {
    sort(
        VmOrderField::ALL.iter(),
        "In which order, with a `-` before it for the largest first; by id if left out. `status` is in the order in which a VM goes through them, \
             from `created` to `failed`; VMs that have not been running come first by `started_at`, and VMs on workers without a zone by `zone`. \
             A `cursor` is of one order: none of another goes with it. A page by `id` costs the same however many VMs there are, while for the others every VM that matches is looked at.",
    )
}

/// The order of the VMs of a worker.
pub(super) fn worker_vm_order() -> Parameter {
    sort(
        VmOrderField::ALL.iter(),
        "In which order, with a `-` before it for the largest first; by id if left out. `status` is in the order in which a VM goes through them, \
             from `created` to `failed`; VMs that have not been running come first by `started_at`.",
    )
}

fn sort<K: ToString>(keys: impl Iterator<Item = K>, description: &str) -> Parameter {
    let orders = keys.map(|key| key.to_string()).flat_map(|key| [key.clone(), format!("-{key}")]);
    let orders: Vec<_> = orders.collect();
    query("sort", one_of(orders.iter().map(String::as_str)), description, "id")
}

/// Filters of workers.
pub(super) fn workers() -> [Parameter; 11] {
    let label = matching(any_text(), label_pattern());
    [
        zone("Only workers in this zone; repeat it for several. Without a value it asks for nothing in particular."),
        has_zone("Only workers that are in a zone, or only those that are in none."),
        many("status", named("WorkerStatus"), "Only workers in this status; repeat it for several.", "active"),
        query("is_healthy", flag(), "Only workers that are healthy, or only those that are not.", true),
        many(
            "label",
            label,
            "Only workers with this label: a key, or a key and its value as `env=production`. Repeat it for workers that \
             have all of several. `==`, `!=` and `!` are no operators here, and are refused.",
            "env=production",
        ),
        many(
            "capability",
            sized(1..=MAX_TEXT),
            "Only workers that can do this; repeat it for workers that can do one of several.",
            "firecracker",
        ),
        many("id", sized(1..=MAX_TEXT), "Only the worker with this id; repeat it for several.", "worker-01"),
        query(
            "search",
            sized(0..=MAX_TEXT),
            "Only workers with this text in the id, hostname, address or zone.",
            "node1",
        ),
        query(
            "min_free_cpu_cores",
            whole(0..=MAX_FIGURE),
            "Only workers with at least so many CPU cores that are neither allocated nor reserved.",
            4,
        ),
        query(
            "min_free_memory_mb",
            whole(0..=MAX_FIGURE),
            "Only workers with at least so much memory that is neither allocated nor reserved, in MiB.",
            8192,
        ),
        query(
            "min_free_vm_slots",
            whole(0..=MAX_FIGURE),
            "Only workers with at least so many VM slots that are neither held nor reserved.",
            1,
        ),
    ]
}

/// `wait` and `for` of a long poll of one drain.
pub(super) fn wait_for_drain() -> [Parameter; 2] {
    [
        query(
            "wait",
            formatted(GO_DURATION),
            "Wait for up to this long, at most `60s`, until the drain is as wanted or cannot become so any more; then answer as it is. A length of time as Go writes it, such as `30s` or `1m0s`.",
            "1s",
        ),
        query(
            "for",
            one_of(WAITS),
            "What to wait for: that it is `complete`; that the host is `safe` to power off, which a drain that is complete need not be; that it is `overdue`, or complete before that; that it has `ended`; or, if left out, a `change` of what is shown: from the answers whose tags are in `if-none-match`, or else from the present one. Means something with `wait` only.",
            "change",
        ),
    ]
}

/// The page of a worker's drains.
pub(super) fn history_of_drains() -> [Parameter; 2] {
    let most = i64::try_from(MAX_DRAINS).unwrap_or(i64::MAX);
    [
        query("limit", whole(0..=most), &format!("How many at most; {DRAINS_LIMIT} if left out."), 20),
        query("cursor", exact(), "Only older drains: `next_cursor` of the page before.", 3),
    ]
}

/// The zone in the path.
pub(super) fn zone_in_path() -> Parameter {
    let zone = matching(sized(1..=MAX_TEXT), ID);
    let zone = parameter("zone", ParameterIn::Path, zone, "The zone.");
    zone.required(Required::True).example(Some("us-west-1a".into())).build()
}

/// The range of a history.
pub(super) fn history() -> [Parameter; 4] {
    [
        query(
            "since",
            formatted("date-time"),
            "The first moment; `until` less `range_seconds` if left out. What is not kept any more is left out.",
            "2025-11-02T00:00:00Z",
        ),
        query(
            "until",
            formatted("date-time"),
            "The moment before which it ends; now if left out or later than now.",
            "2035-11-03T00:00:00Z",
        ),
        query(
            "range_seconds",
            whole(MIN_RANGE..=MAX_RANGE),
            "How many seconds before `until` it begins; an hour if neither this nor `since` is given. Means something without `since` only.",
            3_600,
        ),
        query(
            "max_points",
            whole(MIN_POINTS..=MAX_POINTS),
            &format!(
                "How many points each curve has at most; {DEFAULT_POINTS} if left out. The step is the shortest with which there are not more."
            ),
            120,
        ),
    ]
}

/// Filters of drains.
pub(super) fn drains() -> [Parameter; 8] {
    let every =
        "Of a stream: the shortest time between two messages about one drain, from `50ms` to `1h`; none if left out.";
    [
        many("state", named("DrainState"), "Only drains in this state; repeat it for several.", "overdue"),
        many("worker_id", sized(1..=MAX_TEXT), "Only the drain of this worker; repeat it for several.", "worker-01"),
        zone(
            "Only drains of workers in this zone; repeat it for several. Without a value it asks for nothing in particular.",
        ),
        has_zone("Only drains of workers that are in a zone, or only of those that are in none."),
        many(
            "label",
            matching(any_text(), label_pattern()),
            "Only drains of workers with this label: a key, or a key and its value as `env=production`. Repeat it for workers \
             that have all of several. `==`, `!=` and `!` are no operators here, and are refused.",
            "env=production",
        ),
        many(
            "capability",
            sized(1..=MAX_TEXT),
            "Only drains of workers that can do this; repeat it for one of several.",
            "firecracker",
        ),
        query(
            "search",
            sized(0..=MAX_TEXT),
            "Only drains of workers with this text in the id, hostname, address or zone.",
            "node1",
        ),
        query("every", formatted(GO_DURATION), every, "1s"),
    ]
}

/// Filters of VMs.
pub(super) fn vms() -> [Parameter; 7] {
    [
        vm_status(),
        zone(
            "Only VMs on workers in this zone; repeat it for several. Without a value it asks for nothing in particular.",
        ),
        has_zone("Only VMs on workers that are in a zone, or only those on workers that are in none."),
        many(
            "worker_id",
            sized(1..=MAX_TEXT),
            "Only VMs on this worker, as it reports them itself, also while another worker reports the same VM; repeat it for several.",
            "worker-01",
        ),
        many("id", sized(1..=MAX_TEXT), "Only the VM with this id; repeat it for several.", "vm-123"),
        query(
            "duplicate",
            flag(),
            "Only VMs that more than one worker says to hold a slot there, or only those of which that is not so.",
            false,
        ),
        query("search", sized(0..=MAX_TEXT), "Only VMs with this text in the id or name.", "dev-vm"),
    ]
}

/// The filter of VMs by status.
pub(super) fn vm_status() -> Parameter {
    let description = "Only VMs in this status; repeat it for several. Those that hold a slot if left out.";
    many("status", named("VmStatus"), description, "running")
}

fn zone(description: &str) -> Parameter {
    many("zone", sized(0..=MAX_TEXT), description, "us-west-1a")
}

fn has_zone(description: &str) -> Parameter {
    query("has_zone", flag(), description, false)
}

/// The size of VMs and where they may be placed.
pub(super) fn constraints() -> [Parameter; 8] {
    let label = matching(any_text(), label_pattern());
    [
        needed("vcpus", whole(1..=MAX_CPU_CORES), "Virtual CPUs of each VM.", 4),
        needed("memory_mb", whole(1..=MAX_FIGURE), "Memory of each VM, in MiB.", 8192),
        query("disk_gb", whole(0..=MAX_FIGURE), "Disk of each VM, in GB; 0 if left out.", 20),
        zone("Only in this zone; repeat it for several. Without a value it asks for nothing in particular."),
        many_up_to(
            MAX_LABELS,
            "label",
            label,
            "Only on workers with this label: a key, or a key and its value; repeat it for workers that have all of several.",
            "env=production",
        ),
        many_up_to(
            MAX_LABELS,
            "capability",
            sized(1..=MAX_TEXT),
            "Only on workers that can do this; repeat it for workers that can do all of several.",
            "firecracker",
        ),
        many(
            "without_worker",
            sized(1..=MAX_TEXT),
            "Not on this worker, as if it were lost; repeat it for several.",
            "worker-09",
        ),
        many(
            "without_zone",
            sized(0..=MAX_TEXT),
            "Not in this zone, as if it were lost; repeat it for several.",
            "us-west-1b",
        ),
    ]
}

/// What else a placement is asked with.
pub(super) fn placement() -> [Parameter; 4] {
    let most = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
    [
        query("count", whole(1..=MAX_PLACED), "How many VMs; one if left out.", 3),
        query("strategy", named("PlacementStrategy"), "Which workers are preferred; `spread` if left out.", "spread"),
        query(
            "distinct",
            named("PlacementDistinct"),
            "What no two of the VMs may share; `none` if left out.",
            "worker",
        ),
        query(
            "limit",
            whole(0..=most),
            &format!("How many candidates, and how many refusals, are listed at most; {DEFAULT_LISTED} if left out."),
            20,
        ),
    ]
}

/// How long the lists of an evacuation plan are.
pub(super) fn listed_vms() -> Parameter {
    let most = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
    let description = format!("How many VMs each list of the plan has at most; {DEFAULT_LISTED} if left out.");
    query("limit", whole(0..=most), &description, 20)
}

/// Filters of reservations.
pub(super) fn reservations() -> [Parameter; 2] {
    [
        many("state", named("ReservationState"), "Only reservations in this state; repeat it for several.", "held"),
        many(
            "worker_id",
            sized(1..=MAX_TEXT),
            "Only reservations with a slot on this worker; repeat it for several.",
            "worker-01",
        ),
    ]
}

/// `wait` and `after_revision` of a long poll.
pub(super) fn long_poll() -> [Parameter; 2] {
    [
        query(
            "wait",
            formatted(GO_DURATION),
            "Wait for up to this long, at most `60s`, until the answer is another one than it was at `after_revision`; then answer as it is. That `uptime` counts on is not waited for. A length of time as Go writes it, such as `30s` or `1m0s`.",
            "1s",
        ),
        query(
            "after_revision",
            exact(),
            "The revision that the client has seen, from `x-revision`; the present one if left out. One that the database does not have is answered at once. Means something with `wait` only.",
            812,
        ),
    ]
}

/// Parameters of a page of the change log.
pub(super) fn events() -> [Parameter; 13] {
    let most = i64::try_from(MAX_EVENTS).unwrap_or(i64::MAX);
    [
        opaque(
            "after",
            ParameterIn::Query,
            EVENT_CURSOR,
            "Only what happened after this cursor: one that came with an event, unchanged. A list begins at the beginning of what is asked for without it, a stream with the present. Empty is the same as left out.",
            NO_CURSOR,
        ),
        query(
            "limit",
            whole(0..=most),
            &format!("How many at most; {DEFAULT_EVENTS} if left out. Means nothing to a stream."),
            DEFAULT_EVENTS,
        ),
        many("worker_id", sized(1..=MAX_TEXT), "Only events about this worker; repeat it for several.", "worker-01"),
        many(
            "actor",
            one_of(Actor::ALL.iter().copied().map(Actor::as_str)),
            "Only events that this kind of actor caused; repeat it for several. What operators did is kept for longer than other events, so that `operator` alone reaches further back.",
            "operator",
        ),
        many(
            "actor_token_id",
            sized(1..=MAX_TEXT),
            "Only events that somebody caused with this token, by its public id; repeat it for several.",
            "4fT9sQ2mXw0a",
        ),
        opaque(
            "last-event-id",
            ParameterIn::Header,
            EVENT_CURSOR,
            "As `after`, which it takes precedence over. A browser's `EventSource` sends it by itself when it connects again. Empty is the same as left out.",
            NO_CURSOR,
        ),
        opaque(
            "cursor",
            ParameterIn::Query,
            EVENT_CURSOR,
            "Where to go on in the order asked for: `next_cursor` of the page before, or from its `Link`. Of lists only. Empty is the same as left out.",
            NO_CURSOR,
        ),
        query(
            "order",
            one_of(["asc", "desc"]),
            "Oldest first (`asc`, if left out) or newest first (`desc`). `after` is about time in both. Of lists only.",
            "asc",
        ),
        query(
            "since",
            formatted("date-time"),
            "Only events of this time or later. Of lists only.",
            "2025-11-02T00:00:00Z",
        ),
        query(
            "until",
            formatted("date-time"),
            "Only events from before this time. Of lists only.",
            "2035-11-03T00:00:00Z",
        ),
        many("kind", named("EventKind"), "Only events of this kind; repeat it for several.", "worker_offline"),
        many(
            "vm_id",
            sized(1..=MAX_TEXT),
            "Only events about this VM, on whichever worker; repeat it for several.",
            "vm-123",
        ),
        zone(
            "Only events about a worker that was in this zone then, or about its VMs; repeat it for several. Without a value it asks for nothing in particular.",
        ),
    ]
}

/// The only cursor of events that every server accepts, since others contain the epoch of one database.
const NO_CURSOR: &str = "";

/// The cursor of an event in the examples.
pub(super) const EVENT_CURSOR_EXAMPLE: &str = "4f9c1a2e-813-0";

/// The boot id of the process in the examples.
pub(super) const BOOT_ID_EXAMPLE: &str = "5c6d0a4e-33e8-4c0e-8e0b-6a3a3d0f7d52";

/// The boot id of its host.
pub(super) const HOST_BOOT_ID_EXAMPLE: &str = "0f9d5a0b-6a50-4d0c-9b4f-3b3a0a6b7f11";

/// Parameters of a deregistration.
pub(super) fn goodbye() -> [Parameter; 5] {
    [
        query(
            "incarnation",
            exact(),
            "The life of the worker's process that leaves: 409 if another one has registered since. Without this, \
             `boot_id` and `host_boot_id`, it is an operator who takes the worker out of service, whatever its life.",
            1,
        ),
        query(
            "boot_id",
            text(1..=MAX_TEXT),
            "What the process that leaves called its start when it registered: 409 if the present life is another process, \
             as one with the same `incarnation` may be after the database was set back to a backup.",
            BOOT_ID_EXAMPLE,
        ),
        query(
            "host_boot_id",
            text(1..=MAX_TEXT),
            "The start of its host that the worker's process lives on, as it registered: 409 if the present one has \
             registered from elsewhere, or did not say from where.",
            HOST_BOOT_ID_EXAMPLE,
        ),
        query(
            "purge",
            flag(),
            "Remove the worker with its VMs, instead of keeping it as offline until it comes back.",
            false,
        ),
        query("force", flag(), "With `purge`: even though VMs hold slots on it.", false),
    ]
}

/// The port of scrape targets.
pub(super) fn target_port() -> Parameter {
    let description = "The port of the targets, such as that of an exporter on the workers' hosts. Without it, the address \
                       of a worker is taken as it is.";
    query("port", whole(1..=65_535), description, 9100)
}

/// A query parameter that may be given once.
fn query(name: &str, schema: impl Into<RefOr<Schema>>, description: &str, example: impl Into<Value>) -> Parameter {
    parameter(name, ParameterIn::Query, schema, description).example(Some(example.into())).build()
}

/// A query parameter that has to be given.
fn needed(name: &str, schema: impl Into<RefOr<Schema>>, description: &str, example: impl Into<Value>) -> Parameter {
    let parameter = parameter(name, ParameterIn::Query, schema, description).example(Some(example.into()));
    parameter.required(Required::True).build()
}

/// A query parameter that may be repeated.
fn many(name: &str, schema: impl Into<RefOr<Schema>>, description: &str, example: &str) -> Parameter {
    many_up_to(MAX_WANTED, name, schema, description, example)
}

/// A query parameter that may be repeated so many times.
fn many_up_to(
    most: usize,
    name: &str,
    schema: impl Into<RefOr<Schema>>,
    description: &str,
    example: &str,
) -> Parameter {
    let list = list_up_to(most, schema);
    let parameter = parameter(name, ParameterIn::Query, list, description).example(Some(vec![example].into()));
    parameter.explode(Some(true)).build()
}

/// A parameter whose value comes from a response.
fn opaque(name: &str, place: ParameterIn, format: &str, description: &str, example: &str) -> Parameter {
    parameter(name, place, formatted(format), description).example(Some(example.into())).build()
}

fn parameter(name: &str, place: ParameterIn, schema: impl Into<RefOr<Schema>>, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .description(Some(description))
        .required(Required::False)
        .schema(Some(schema))
}
