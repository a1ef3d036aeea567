//! Every operation: what it is for, its parameters and body, and its responses.
//!
//! A test holds this against the routes. To document a route, add it to [`paths`]; what it takes is in
//! [`parameters`] and [`bodies`](super::bodies), what it answers in [`object_schemas`](super::object_schemas).

use serde_json::{Value, json};
use utoipa::openapi::link::Link;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, PathItem, Paths, PathsBuilder};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Required, ResponseBuilder};

use super::answers::{Headers, JSON, content, failure, json_of, not_modified, not_stored, nothing, session_cookie};
use super::schema::{any_text, described, named};
use super::{examples, parameters};
use crate::http::{EVENT_STREAM, NDJSON};

/// The tags by which operations are grouped.
pub(super) const WORKERS: &str = "Workers";
pub(super) const VMS: &str = "VMs";
pub(super) const CLUSTER: &str = "Cluster";
pub(super) const PLACEMENT: &str = "Placement";
pub(super) const EVENTS: &str = "Events";
pub(super) const AGENTS: &str = "Agents";
pub(super) const TOKENS: &str = "Tokens";
pub(super) const SERVER: &str = "Server";

/// Every path, in the order in which readers look for them.
pub(super) fn paths() -> Paths {
    let get = |operation: OperationBuilder| PathItem::new(HttpMethod::Get, operation);
    let post = |operation: OperationBuilder| PathItem::new(HttpMethod::Post, operation);
    let mut worker = get(show_worker());
    worker.put = Some(register_worker());
    worker.delete = Some(deregister_worker());
    let mut reservations = get(list_reservations());
    reservations.post = Some(create_reservation());
    let mut reservation = get(show_reservation());
    reservation.delete = Some(release_reservation().build());
    let mut drain = get(show_drain());
    drain.post = Some(drain_worker().build());
    let mut drains = get(list_drains());
    drains.post = Some(drain_workers().build());
    let mut tokens = get(list_tokens());
    tokens.post = Some(create_token());
    let mut session = get(show_session());
    session.post = Some(open_session());
    session.delete = Some(close_session().build());
    PathsBuilder::new()
        .path("/workers", get(list_workers()))
        .path("/workers/{id}", worker)
        .path("/workers/{id}/vms", get(list_worker_vms()))
        .path("/workers/{id}/drain", drain)
        .path("/workers/{id}/drains", get(list_worker_drains()))
        .path("/workers/{id}/history", get(worker_history()))
        .path("/drains", drains)
        .path("/activations", post(activate_workers()))
        .path("/evacuation-plan", get(show_evacuation_plan()))
        .path("/workers/{id}/activate", post(activate_worker()))
        .path("/purges", post(purge_workers()))
        .path("/vms", get(list_vms()))
        .path("/vms/{id}", get(show_vm()))
        .path("/cluster/stats", get(cluster_stats()))
        .path("/cluster/zones", get(list_zones()))
        .path("/cluster/worker-counts", get(count_workers()))
        .path("/cluster/vm-counts", get(count_vms()))
        .path("/cluster/distribution", get(cluster_distribution()))
        .path("/cluster/history", get(cluster_history()))
        .path("/zones/{zone}/history", get(zone_history()))
        .path("/placement", get(show_placement()))
        .path("/capacity", get(show_capacity()))
        .path("/reservations", reservations)
        .path("/reservations/{id}", reservation)
        .path("/events", get(list_events()))
        .path("/sd/prometheus", get(discover_targets()))
        .path("/workers/{id}/join", post(join_worker()))
        .path("/workers/{id}/heartbeat", post(record_heartbeat()))
        .path("/heartbeats", post(record_heartbeats()))
        .path("/tokens", tokens)
        .path("/tokens/{id}", PathItem::new(HttpMethod::Delete, revoke_token()))
        .path("/session", session)
        .path("/health", get(health()))
        .path("/openapi.json", get(openapi()))
        .build()
}

fn list_workers() -> OperationBuilder {
    let workers = json_of("The workers.", "WorkerList", examples::workers()).of_a_revision().of_a_list();
    operation("listWorkers", WORKERS, "List workers")
        .description(Some(
            "All workers, or a page of them. With `wait` it answers as soon as the answer is another one.",
        ))
        .takes(parameters::workers())
        .parameter(parameters::worker_order())
        .takes(parameters::page("worker-00"))
        .takes(parameters::long_poll())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", workers.link("worker", to("showWorker", "The first of them.", ("id", FIRST_WORKER))))
        .fails(QUESTION)
        .fails([409])
}

fn show_worker() -> OperationBuilder {
    let worker = json_of("The worker.", "Worker", examples::worker()).of_a_revision();
    operation("showWorker", WORKERS, "Show a worker")
        .description(Some("One worker: what it is, what it holds, and how it is."))
        .parameter(worker_id())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", worker.link("vms", to("listWorkerVms", "The VMs on it.", ("id", "$response.body#/id"))))
        .fails(QUESTION)
        .fails([404, 409])
}

fn list_worker_vms() -> OperationBuilder {
    let vms = json_of("The VMs.", "WorkerVms", examples::worker_vms()).of_a_revision();
    operation("listWorkerVms", WORKERS, "List the VMs of a worker")
        .description(Some("The VMs that one worker reports, those that hold a slot unless others are asked for."))
        .parameter(worker_id())
        .parameter(parameters::vm_status())
        .parameter(parameters::worker_vm_order())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", vms.link("vm", to("showVm", "The first of them.", ("id", "$response.body#/vms/0/id"))))
        .fails(QUESTION)
        .fails([404, 409])
}

fn drain_worker() -> OperationBuilder {
    operation("drainWorker", WORKERS, "Drain a worker")
        .description(Some(
            "Asks that nothing new lands on a worker. It stops and moves nothing. It survives restarts of the worker and \
             of the server, and ends only with `activate`. Asked again it changes nothing, but for another reason, deadline \
             or metadata.",
        ))
        .parameter(worker_id())
        .parameter(parameters::if_match())
        .parameter(parameters::unless_match())
        .parameter(parameters::idempotency_key("drain-worker-01-b8f6c1de"))
        .request_body(Some(drain_request()))
        .response("200", changed("The worker is to be drained.", examples::draining()).monitored())
        .fails(CHANGE)
        .fails([404, 412, 422])
}

fn show_drain() -> OperationBuilder {
    let drain = json_of("The drain.", "Drain", examples::drain()).of_a_revision();
    operation("showDrain", WORKERS, "Show the drain of a worker")
        .description(Some(
            "The drain that stands, or else the last one: how far it has come, and what is in the way of powering the host \
             off. With `wait` it answers as soon as the drain is as wanted, or cannot become so any more. 404: the worker \
             has never been drained.",
        ))
        .parameter(worker_id())
        .takes(parameters::wait_for_drain())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", drain.link("worker", to("showWorker", "The worker.", ("id", "$request.path.id"))))
        .fails(QUESTION)
        .fails([404, 409])
}

fn list_worker_drains() -> OperationBuilder {
    let drains = json_of("The drains.", "WorkerDrains", examples::worker_drains()).of_a_revision().of_a_list();
    operation("listWorkerDrains", WORKERS, "List the drains of a worker")
        .description(Some("The drains of one worker, the latest first, as far back as they are kept."))
        .parameter(worker_id())
        .takes(parameters::history_of_drains())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", drains.link("worker", to("showWorker", "The worker.", ("id", "$request.path.id"))))
        .fails(QUESTION)
        .fails([404, 409])
}

/// What is common to all operations of history: which points are asked for, and the curves.
fn of_history(subject: OperationBuilder, curves: ResponseBuilder) -> OperationBuilder {
    subject
        .takes(parameters::history())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", curves)
        .fails(QUESTION)
}

fn curves() -> ResponseBuilder {
    json_of("The curves.", "History", examples::history()).of_a_revision()
}

fn worker_history() -> OperationBuilder {
    let worker = operation("showWorkerHistory", WORKERS, "Show how figures of a worker went")
        .description(Some(
            "What the worker had and what was allocated there, minute by minute, and the load that its agent measured, if it \
             sends that. It has no values while the worker was offline. A worker that registers with the id of one that was \
             removed goes on with its curves.",
        ))
        .parameter(worker_id());
    let link = to("showWorker", "The worker.", ("id", "$request.path.id"));
    of_history(worker, curves().link("worker", link)).fails([404, 409])
}

fn zone_history() -> OperationBuilder {
    let zone = operation("showZoneHistory", CLUSTER, "Show how figures of a zone went")
        .description(Some("The sums over the workers of the zone. 404: no worker is in it."))
        .parameter(parameters::zone_in_path());
    of_history(zone, curves()).fails([404, 409])
}

fn cluster_history() -> OperationBuilder {
    let cluster = operation("showClusterHistory", CLUSTER, "Show how figures of the cluster went")
        .description(Some("The sums over all workers, as `/cluster/stats` had them."));
    of_history(cluster, curves()).fails([409])
}

fn list_drains() -> OperationBuilder {
    let drains = json_of("The drains.", "DrainList", examples::drains()).of_a_revision().of_a_list();
    let stream = described(
        any_text(),
        "Server-sent events without end: `data` is an object as JSON, with a `Drain` in `drain`, and in `is_last` whether no \
         message about it follows unless it comes back; `event` is `progress`, or `last` if `is_last` is true. A quiet \
         stream sends comments.",
    );
    let lines = described(
        any_text(),
        "One object as JSON a line, without end: a `Drain` in `drain`, and in `is_last` whether no message about it follows \
         unless it comes back.",
    );
    operation("listDrains", WORKERS, "List or follow drains")
        .description(Some(
            "The drain of each worker that stands, or else its last one, sorted by worker. With `Accept: \
             text/event-stream` or `Accept: application/x-ndjson`, and without `application/json`, the progress of those \
             that stand: each as it is, and again when it shows something else. One that ends or leaves the filter is told \
             once more. Whoever connects again begins with the present state.",
        ))
        .takes(parameters::drains())
        .takes(parameters::page("worker-00"))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response(
            "200",
            drains
                .content(EVENT_STREAM, content(stream, examples::drain_stream().into()))
                .content(NDJSON, content(lines, examples::drain_lines().into()))
                .link("drain", to("showDrain", "The first of them.", ("id", "$response.body#/drains/0/worker_id"))),
        )
        .fails(QUESTION)
        .fails([409])
}

fn activate_worker() -> OperationBuilder {
    operation("activateWorker", WORKERS, "Activate a worker")
        .description(Some("Opens a worker for new work again."))
        .parameter(worker_id())
        .parameter(parameters::if_match())
        .parameter(parameters::unless_match())
        .parameter(parameters::idempotency_key("activate-worker-01-5a577d3c"))
        .request_body(Some(reason()))
        .response("200", changed("The worker may take new work.", examples::active()))
        .fails(CHANGE)
        .fails([404, 412, 422])
}

/// The optional body of a drain.
fn drain_request() -> RequestBody {
    RequestBodyBuilder::new()
        .description(Some("Why, and in what time."))
        .content(JSON, content(named("DrainRequest"), examples::drain_request()))
        .build()
}

/// The optional body of an activation.
fn reason() -> RequestBody {
    RequestBodyBuilder::new()
        .description(Some("Why, for those who read the events."))
        .content(JSON, content(named("Reason"), examples::reason()))
        .build()
}

fn changed(description: &str, example: Value) -> ResponseBuilder {
    let worker = to("showWorker", "The worker, as it is now.", ("id", "$request.path.id"));
    json_of(description, "PolicyChange", example)
        .repeatable()
        .tagged("The revision of what operators want of the worker, for `if-match`.", "\"813-4f9c1a2e77d0\"")
        .link("worker", worker)
}

fn list_vms() -> OperationBuilder {
    let vms = json_of("The VMs.", "VmList", examples::vms()).of_a_revision().of_a_list();
    operation("listVms", VMS, "List VMs")
        .description(Some("VMs whatever worker they are on, or a page of them."))
        .takes(parameters::vms())
        .parameter(parameters::vm_order())
        .takes(parameters::page("vm-100"))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", vms.link("vm", to("showVm", "The first of them.", ("id", "$response.body#/vms/0/id"))))
        .fails(QUESTION)
        .fails([409])
}

fn show_vm() -> OperationBuilder {
    let vm = json_of("The VM.", "Vm", examples::vm()).of_a_revision();
    operation("showVm", VMS, "Show a VM")
        .description(Some("One VM, whatever its status."))
        .parameter(parameters::id("The VM.", "vm-123"))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response(
            "200",
            vm.link("worker", to("showWorker", "The worker it is on.", ("id", "$response.body#/worker_id"))),
        )
        .fails(QUESTION)
        .fails([404, 409])
}

fn cluster_stats() -> OperationBuilder {
    operation("showClusterStats", CLUSTER, "Show totals")
        .description(Some(
            "Totals of the cluster. `available_*` counts every registered worker, `schedulable_*` only those that are \
             active and online: what can really be placed now.",
        ))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("The totals.", "ClusterStats", examples::stats()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn list_zones() -> OperationBuilder {
    operation("listZones", CLUSTER, "List zones")
        .description(Some(
            "Zones that have workers, each with the sums over its workers: how many are in which status, what they have, \
             what is in use, and what can really be placed there now.",
        ))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("The zones.", "ZoneList", examples::zones()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn count_workers() -> OperationBuilder {
    operation("countWorkers", CLUSTER, "Count workers")
        .description(Some("How many workers match a filter, by status and by zone."))
        .takes(parameters::workers())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("The counts.", "WorkerCounts", examples::worker_counts()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn discover_targets() -> OperationBuilder {
    let targets = json_of("The targets.", "TargetGroups", examples::target_groups()).of_a_revision();
    operation("discoverTargets", SERVER, "List scrape targets for Prometheus")
        .description(Some(
            "Workers as Prometheus' HTTP service discovery reads them (`http_sd_configs`): what is known of each is in \
             labels that begin with `__meta_aetherium_`, for relabelling. The target is the address of the worker, with \
             another port if one is asked for.",
        ))
        .takes(parameters::workers())
        .parameter(parameters::target_port())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", targets)
        .fails(QUESTION)
        .fails([409])
}

fn count_vms() -> OperationBuilder {
    operation("countVms", CLUSTER, "Count VMs")
        .description(Some(
            "How many VMs match a filter, by status and by zone, each counted once. Without `status`, those that hold no \
             slot are counted, too.",
        ))
        .takes(parameters::vms())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("The counts.", "VmCounts", examples::vm_counts()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn cluster_distribution() -> OperationBuilder {
    operation("showDistribution", CLUSTER, "Show which VMs are where")
        .description(Some("Every worker with its VMs that hold a slot."))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response(
            "200",
            json_of("The workers, each with its VMs.", "Distribution", examples::distribution()).of_a_revision(),
        )
        .fails(QUESTION)
        .fails([409])
}

fn show_placement() -> OperationBuilder {
    operation("showPlacement", PLACEMENT, "Find out where VMs fit")
        .description(Some(
            "On which workers VMs of one size would be placed now, which others could take one, and every reason of those \
             that could not. Nothing is held by it: `POST /reservations` does that. With `without_zone`, the answer to what \
             would fit if that zone were lost.",
        ))
        .takes(parameters::constraints())
        .takes(parameters::placement())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("Where they fit, and where not.", "Placement", examples::placement()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn show_capacity() -> OperationBuilder {
    operation("showCapacity", PLACEMENT, "Count how many VMs fit")
        .description(Some(
            "How many VMs of one size fit now, by zone, and how many would without the worker, or the zone, that has the \
             most room for them.",
        ))
        .takes(parameters::constraints())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("How many fit.", "Capacity", examples::capacity()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn list_reservations() -> OperationBuilder {
    let reservations = json_of("The reservations.", "ReservationList", examples::reservations());
    let first = ("id", "$response.body#/reservations/0/id");
    operation("listReservations", PLACEMENT, "List reservations")
        .description(Some(
            "Reservations, the latest first, page by page: those that ended, too, for a day. A page has 100 unless `limit` \
             says otherwise.",
        ))
        .takes(parameters::reservations())
        .takes(parameters::page("019ac9f2-5c1e-7d43-9d3e-2a53a6a2b7ce"))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response(
            "200",
            reservations
                .of_a_revision()
                .of_a_list()
                .link("reservation", to("showReservation", "The first of them.", first)),
        )
        .fails(QUESTION)
        .fails([409])
}

fn create_reservation() -> Operation {
    let reserved = json_of("Room is held for all of the VMs.", "Reservation", examples::reservation()).repeatable();
    let id = ("id", "$response.body#/id");
    operation("createReservation", PLACEMENT, "Hold room for VMs")
        .description(Some(
            "Holds room for VMs that are not there yet, for all of them or for none (409): nobody else gets it until each \
             VM takes its slot, or the reservation is released, or it expires. A VM takes a slot when its worker reports it \
             with the `reservation_id`, or reports one of `vm_ids`. For the role `operator`.",
        ))
        .parameter(parameters::idempotency_key("reserve-web-7-9f0b6f1c"))
        .request_body(Some(sent("The VMs, and where they may be.", "ReservationRequest", examples::new_reservation())))
        .response(
            "201",
            reserved
                .link("reservation", to("showReservation", "The reservation, as it is now.", id))
                .link("release", to("releaseReservation", "Give it back.", id)),
        )
        .fails(CHANGE)
        .fails([409, 412, 422])
        .build()
}

fn show_reservation() -> OperationBuilder {
    operation("showReservation", PLACEMENT, "Show a reservation")
        .description(Some("One reservation: what is held, and what has become of each slot."))
        .parameter(parameters::id("The reservation.", RESERVATION))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("The reservation.", "Reservation", examples::reservation()).of_a_revision())
        .fails(QUESTION)
        .fails([404, 409])
}

fn release_reservation() -> OperationBuilder {
    let body = RequestBodyBuilder::new()
        .description(Some("Why, for those who read the events."))
        .content(JSON, content(named("ReleaseRequest"), examples::reason()))
        .build();
    operation("releaseReservation", PLACEMENT, "Release a reservation")
        .description(Some(
            "Gives back what the reservation still holds. One that was released before, or has expired, is answered as it \
             is; 409 if VMs have all of it. For the role `operator`.",
        ))
        .parameter(parameters::id("The reservation.", RESERVATION))
        .request_body(Some(body))
        .response("200", json_of("Nothing is held any more.", "Reservation", examples::released()))
        .fails(CHANGE)
        .fails([404, 409])
}

fn list_events() -> OperationBuilder {
    let events = json_of("What happened.", "EventList", examples::events()).of_a_revision();
    let stream = described(
        any_text(),
        "Server-sent events without end: `id` is the cursor, `event` the kind, `data` a `ClusterEvent` as JSON. A \
         quiet stream sends comments.",
    );
    let lines = described(any_text(), "One `ClusterEvent` as JSON a line, without end.");
    let next = to("listEvents", "What happened after that.", ("after", "$response.body#/end_cursor"));
    operation("listEvents", EVENTS, "List or follow events")
        .description(Some(
            "What happened, from the change log, oldest first unless asked otherwise. With `Accept: text/event-stream` or `Accept: \
             application/x-ndjson`, and without `application/json`, what happens: a stream that begins after the cursor given, or with the present, \
             and tells everything in order, nothing missing and nothing twice. A `synced` event says that all has been \
             told up to its cursor; a `resync` event says that the log no longer reaches back that far, or that the cursor \
             is of what the database was before it was restored from a backup.",
        ))
        .takes(parameters::events())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response(
            "200",
            events
                .content(EVENT_STREAM, content(stream, examples::event_stream().into()))
                .content(NDJSON, content(lines, examples::event_lines().into()))
                .link("next", next),
        )
        .fails(QUESTION)
        .fails([409])
}

fn register_worker() -> Operation {
    let registered = |description, created| {
        let id = "$request.path.id";
        // In words and not as the link's body, which generators read as one text.
        let heartbeat = "The first heartbeat of this life of the worker, with the `incarnation` of this answer.";
        json_of(description, "RegisterWorkerPayload", examples::registered(created))
            .link("worker", to("showWorker", "The worker, as it is now.", ("id", id)))
            .link("vms", to("listWorkerVms", "The VMs on it.", ("id", id)))
            .link("heartbeat", to("recordHeartbeat", heartbeat, ("id", id)))
            .link("drain", to("drainWorker", "Let nothing new land on it.", ("id", id)))
            .link("activate", to("activateWorker", "Open it for new work.", ("id", id)))
            .link("goodbye", to("deregisterWorker", "The worker leaves.", ("id", id)))
    };
    operation("registerWorker", AGENTS, "Register a worker")
        .description(Some(
            "A worker says what it is: a new one, one whose process has started again, or the same once more. The \
             answer has the number of this life of its process, which every heartbeat carries.",
        ))
        .parameter(worker_id())
        .parameter(parameters::if_match())
        .parameter(parameters::unless_match())
        .request_body(Some(sent("What the worker is.", "Registration", examples::registration())))
        .response("200", registered("A known worker has registered.", false))
        .response("201", registered("A new worker has registered.", true))
        .fails(CHANGE)
        .fails([409, 412])
        .build()
}

fn join_worker() -> OperationBuilder {
    let joined = json_of(
        "The worker has joined, by this request or by the same one before.",
        "JoinedWorker",
        examples::joined(),
    );
    let register = "The worker registers, with its own token.";
    operation("joinWorker", AGENTS, "Join with a join token")
        .description(Some(
            "A worker that has no token of its own makes one, and sends its id and hash with a join token. From then on its \
             own token speaks for it, and is what it registers with. The same request again has the same answer and is no \
             further use of the join token. 409: the join token is used up; or it is for new workers, and this one is \
             known. For the role `join`.",
        ))
        .parameter(worker_id())
        .request_body(Some(sent("The worker's own token.", "JoinRequest", examples::join())))
        .response("200", joined.link("register", to("registerWorker", register, ("id", "$request.path.id"))))
        .fails(CHANGE)
        .fails([409])
}

fn deregister_worker() -> Operation {
    operation("deregisterWorker", AGENTS, "Say goodbye")
        .description(Some(
            "A worker leaves. It is kept as offline, with what operators asked for, unless it is purged.",
        ))
        .parameter(worker_id())
        .takes(parameters::goodbye())
        .parameter(parameters::if_match())
        .parameter(parameters::unless_match())
        .response("204", nothing("The worker has left."))
        .fails(QUESTION)
        .fails([404, 409, 412])
        .build()
}

fn drain_workers() -> OperationBuilder {
    let drained = json_of("The workers are to be drained, or would be.", "WorkersDrain", examples::workers_drain());
    operation("drainWorkers", WORKERS, "Drain many workers")
        .description(Some(
            "Drains the workers that match, all in one revision, so that none of them takes another's VMs. Refused (409) if the \
             rest of the cluster cannot hold the VMs on them, with the plan in the answer, and nothing is changed; unless \
             `allow_shortfall` says so, or all of them drain already. Whether it can is decided on the latest state. At most \
             10,000 workers at once. `dry_run` answers the same and changes nothing. For the role `operator`.",
        ))
        .parameter(parameters::idempotency_key("drain-zone-a-7c1e4f0b"))
        .request_body(Some(sent("Which workers, and why.", "DrainWorkersRequest", examples::new_workers_drain())))
        .response("200", drained.repeatable())
        .fails(CHANGE)
        .fails([409, 412, 422])
}

fn activate_workers() -> OperationBuilder {
    let activated =
        json_of("The workers are active, or would be.", "WorkersActivation", examples::workers_activation());
    operation("activateWorkers", WORKERS, "Activate many workers")
        .description(Some(
            "Opens the workers that match for new VMs again, all in one revision; at most 10,000 at once. `dry_run` answers the \
             same and changes nothing. For the role `operator`.",
        ))
        .parameter(parameters::idempotency_key("activate-zone-a-2b9d5e31"))
        .request_body(Some(sent("Which workers, and why.", "ActivateWorkersRequest", examples::new_activation())))
        .response("200", activated.repeatable())
        .fails(CHANGE)
        .fails([412, 422])
}

fn show_evacuation_plan() -> OperationBuilder {
    let plan = json_of("Where they could go.", "EvacuationPlan", examples::evacuation_plan()).of_a_revision();
    operation("showEvacuationPlan", PLACEMENT, "Find out where VMs could go")
        .description(Some(
            "Where the VMs of the workers that match could go, if these were drained, and for which of them no place was found and why. \
             It looks at sizes and free room as `GET /placement` does; what else a VM needs of its host is not known here. \
             Nothing is moved or held by it.",
        ))
        .takes(parameters::workers())
        .parameter(parameters::listed_vms())
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", plan)
        .fails(QUESTION)
        .fails([409])
}

fn purge_workers() -> OperationBuilder {
    let purged = json_of("The workers were removed, or would be.", "Purge", examples::purge()).repeatable();
    operation("purgeWorkers", WORKERS, "Remove many workers")
        .description(Some(
            "Removes the workers that match, with their VMs, as many of them as one commit takes, 1,000 at most: while \
             `remaining` is not 0, the same request again removes more. A worker on which VMs hold slots is not removed \
             unless `force` says so. `dry_run` answers the same and changes nothing. For the role `admin`.",
        ))
        .parameter(parameters::idempotency_key("purge-simulated-3f7d2c88"))
        .request_body(Some(sent("Which workers.", "PurgeRequest", examples::new_purge())))
        .response("200", purged)
        .fails(CHANGE)
        .fails([409, 412, 422])
}

fn record_heartbeat() -> OperationBuilder {
    let recorded = json_of("The heartbeat is recorded.", "RecordHeartbeatPayload", examples::recorded()).repeatable();
    operation("recordHeartbeat", AGENTS, "Send a heartbeat")
        .description(Some(
            "A worker is alive, and tells what runs on it. Without one for 60 s, it is offline. 404: register again, then go \
             on. 409: the process that says so is over, and would be refused if it registered again.",
        ))
        .parameter(worker_id())
        .parameter(parameters::idempotency_key("heartbeat-worker-01-1-4a43b1f0"))
        .request_body(Some(sent("What runs on the worker.", "Heartbeat", examples::heartbeat())))
        .response(
            "200",
            recorded.link("worker", to("showWorker", "The worker, as it is now.", ("id", "$request.path.id"))),
        )
        .fails(CHANGE)
        .fails([404, 409, 412, 422])
}

fn record_heartbeats() -> OperationBuilder {
    operation("recordHeartbeats", AGENTS, "Send heartbeats of many workers")
        .description(Some("For gateways in front of many workers. Each heartbeat is answered by itself."))
        .parameter(parameters::idempotency_key("heartbeats-gateway-01-c5c6e1f6"))
        .request_body(Some(sent("The heartbeats.", "Heartbeats", examples::heartbeats())))
        .response("200", json_of("What became of each.", "HeartbeatResults", examples::results()).repeatable())
        .fails(CHANGE)
        .fails([412, 422])
}

fn list_tokens() -> OperationBuilder {
    operation("listTokens", TOKENS, "List tokens")
        .description(Some("Every token, without its secret: those that ended, too. For the role `admin`."))
        .parameter(parameters::min_revision())
        .parameter(parameters::if_none_match())
        .response("304", not_modified())
        .response("200", json_of("The tokens.", "TokenList", examples::tokens()).of_a_revision())
        .fails(QUESTION)
        .fails([409])
}

fn create_token() -> Operation {
    let created = json_of("The token is created.", "CreatedToken", examples::created_token());
    let created = created.header("cache-control", not_stored());
    operation("createToken", TOKENS, "Create a token")
        .description(Some(
            "Gives somebody, or a program, a role. The secret is in this answer and nowhere else: of a token that is lost, \
             another one is created. One of the role `join` lets workers join, and is what `aetherium agent join \
             --join-token-file -` reads on a host. For the role `admin`.",
        ))
        .request_body(Some(sent("What it is for.", "TokenRequest", examples::new_token())))
        .response("201", created)
        .fails(CHANGE)
        .build()
}

fn revoke_token() -> OperationBuilder {
    operation("revokeToken", TOKENS, "Revoke a token")
        .description(Some(
            "The token is not accepted any more, and streams, sockets and long polls that were begun with it end within \
             a second, on every server of the cluster. For the role `admin`.",
        ))
        .parameter(parameters::id("The token.", "4fT9sQ2mXw0a"))
        .response("204", nothing("The token is revoked, or was revoked before."))
        .fails(QUESTION)
        .fails([404])
}

/// What needs no token.
fn for_everybody() -> Option<[SecurityRequirement; 1]> {
    Some([SecurityRequirement::default()])
}

fn show_session() -> OperationBuilder {
    let session = json_of("Who asks.", "Session", examples::session()).header("cache-control", not_stored());
    operation("showSession", TOKENS, "Show who asks")
        .description(Some(
            "Which session or token the request came with, with its role and its end; or that it came with none, which is \
             no error here. With one that is not accepted, or not any more, it is 401.",
        ))
        .response("200", session)
        .fails([400, 401, 408, 421, 429, 431, 500, 503])
}

fn open_session() -> Operation {
    let session = json_of("The session is open.", "Session", examples::session());
    let session = session.header("cache-control", not_stored()).header("set-cookie", session_cookie());
    operation("openSession", TOKENS, "Sign in")
        .description(Some(
            "For browsers: opens a session with a token, or with the code of a sign-in link, which counts once. The secret of \
             the session is in the cookie and nowhere else. The session ends after 12 hours, or with its token. A token of \
             the role `worker` opens none. Only the server's own pages may ask for it.",
        ))
        .securities(for_everybody())
        .request_body(Some(sent("The token or the code.", "SignIn", examples::sign_in())))
        .response("201", session)
        .fails(CHANGE)
        .fails([409])
        .build()
}

fn close_session() -> OperationBuilder {
    let closed = nothing("The session is closed, or there was none.");
    operation("closeSession", TOKENS, "Sign out")
        .description(Some(
            "Closes the session whose cookie the request has, and has the browser forget the cookie. Streams and sockets that \
             were begun with it end. It is no error if there is no session. A request with a token is refused, since that \
             is not closed by it.",
        ))
        .response("204", closed.header("cache-control", not_stored()).header("set-cookie", session_cookie()))
        .fails(QUESTION)
        .fails([409])
}

fn health() -> OperationBuilder {
    let degraded = json_of(
        "A part of the server that is needed does not work: the journal, or what `require` names.",
        "DegradedHealth",
        examples::health(false),
    );
    operation("showHealth", SERVER, "Show how the server is")
        .description(Some(
            "Whether the server and its database are well. Without a database, questions are still answered from memory and \
             commands are refused: that is 200 and `degraded`, so that a load balancer keeps the servers that can answer. \
             One that sends commands to some of them asks with `require=commits`.",
        ))
        .securities(for_everybody())
        .parameter(parameters::require())
        .response("200", json_of("Questions are answered; `status` says whether all is well.", "Health", examples::health(true)))
        .response("503", degraded)
        .fails([400, 421, 431, 500])
}

fn openapi() -> OperationBuilder {
    let document = described(Object::with_type(Type::Object), "A document as OpenAPI 3.1 has it.");
    let example = json!({"openapi": "3.1.0", "info": {"title": "Aetherium", "version": "0.1.0"}, "paths": {}});
    operation("showOpenapi", SERVER, "Show this document")
        .description(Some("This document, for tools."))
        .securities(for_everybody())
        .response("200", nothing("The document.").content(JSON, content(document, example)))
        .fails([400, 421, 431, 500, 503])
}

/// The error statuses that every query may have.
const QUESTION: [u16; 8] = [400, 401, 403, 421, 429, 431, 500, 503];

/// The error statuses that every command with a body may have.
const CHANGE: [u16; 11] = [400, 401, 403, 408, 413, 415, 421, 429, 431, 500, 503];

/// A reservation in the examples.
const RESERVATION: &str = "019ac9f2-5c1e-7d43-9d3e-2a53a6a2b7ce";

/// The id of the first worker of a list.
const FIRST_WORKER: &str = "$response.body#/workers/0/id";

fn worker_id() -> Parameter {
    parameters::id("The worker.", "worker-01")
}

fn operation(id: &str, tag: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary))
}

fn sent(description: &str, schema: &str, example: Value) -> RequestBody {
    RequestBodyBuilder::new()
        .description(Some(description))
        .required(Some(Required::True))
        .content(JSON, content(named(schema), example))
        .build()
}

/// A link to another operation, with one parameter from the response.
fn to(operation: &str, description: &str, (parameter, expression): (&str, &str)) -> Link {
    let mut link = Link::default();
    link.operation_id = operation.to_owned();
    link.description = description.to_owned();
    link.parameters.insert(parameter.to_owned(), expression.into());
    link
}

/// Builder methods that several operations need.
trait More {
    fn takes(self, parameters: impl IntoIterator<Item = Parameter>) -> Self;
    fn fails(self, statuses: impl IntoIterator<Item = u16>) -> Self;
}

impl More for OperationBuilder {
    fn takes(self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        parameters.into_iter().fold(self, Self::parameter)
    }

    fn fails(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        let failures = statuses.into_iter().filter_map(failure);
        failures.fold(self, |operation, (status, failure)| operation.response(status, failure))
    }
}
