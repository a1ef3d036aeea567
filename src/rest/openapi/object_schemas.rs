//! The schemas of responses: the objects of the field lists, and what wraps them.
//!
//! The lists of [`cluster::fields`](crate::cluster::fields), which make the JSON in
//! [`json_objects`](mod@crate::rest::json_objects) and the GraphQL types, are expanded once more here. So a field is in the
//! document because it is in the response, with the description that GraphQL has.

use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::schema::{AnyOfBuilder, Object, OneOfBuilder};
use utoipa::openapi::{RefOr, Schema};

use super::answers::failures;
use super::schema::{
    any_text, described, exact, flag, formatted, list, list_up_to, map, measure, named, number, object, one_of,
    or_null, whole, whole_of, with_keyword, with_optional,
};
use super::shapes::PAGE_CURSOR;
use crate::auth::{Role, TokenKind, TokenState};
use crate::cluster::fields::{
    capacity_fields, evacuation_move_fields, evacuation_plan_fields, placement_assignment_fields,
    placement_candidate_fields, placement_fields, placement_refusal_fields, refusal_detail_fields, reservation_fields,
    reserved_slot_fields, stranded_vm_fields, workers_refused_fields, zone_capacity_fields,
};
use crate::cluster::fields::{
    cluster_stats_fields, drain_fields, event_fields, heartbeat_reply_fields, registered_fields, token_fields,
    vm_counts_fields, vm_fields, worker_counts_fields, worker_distribution_fields, worker_fields, zone_fields,
};
use crate::cluster::{
    Actor, BlockerKind, Distinct, DrainState, EventKind, PlacementStrategy, RefusalReason, ReservationState,
    SchedulingPolicy, VmStatus, WorkerStatus,
};
use crate::history::{Figure, Tier};
use crate::resolvers::purge::PurgeRefusalReason;
use crate::rest::history;
use crate::rest::json_objects::field_types;
use crate::rest::json_objects::{self, is_optional, is_shown_everywhere};
use crate::rest::json_values;

/// An object that a field list declares.
trait Declared {
    /// Its name, in GraphQL too.
    const NAME: &'static str;
    /// Its doc comment, line by line.
    const DESCRIPTION: &'static [&'static str];

    fn fields() -> Vec<Field>;
}

/// One of its fields.
struct Field {
    name: &'static str,
    description: &'static [&'static str],
    schema: RefOr<Schema>,
    /// Whether it is shown inside other objects, too.
    is_everywhere: bool,
    /// Whether it is left out while it has no value.
    is_optional: bool,
}

/// Generates the description of a field list.
macro_rules! declare {
    ({ } $(#[doc = $doc:literal])* $object:ident($this:ident: $view:ty) {
        $($(#[doc = $field_doc:literal])* $field:ident: $shape:ident [$where:ident $($volatility:ident)?] = $value:expr;)+
    }) => {
        impl Declared for json_objects::$object {
            const NAME: &'static str = stringify!($object);
            const DESCRIPTION: &'static [&'static str] = &[$($doc),*];

            fn fields() -> Vec<Field> {
                vec![$(Field {
                    name: stringify!($field),
                    description: &[$($field_doc),*],
                    schema: field_types::$shape::schema(),
                    is_everywhere: is_shown_everywhere!($where),
                    is_optional: is_optional!($where),
                }),+]
            }
        }
    };
}

worker_fields!(declare);
drain_fields!(declare);
vm_fields!(declare);
cluster_stats_fields!(declare);
worker_distribution_fields!(declare);
zone_fields!(declare);
worker_counts_fields!(declare);
vm_counts_fields!(declare);
event_fields!(declare);
registered_fields!(declare);
heartbeat_reply_fields!(declare);
token_fields!(declare);
placement_fields!(declare);
placement_assignment_fields!(declare);
placement_candidate_fields!(declare);
placement_refusal_fields!(declare);
refusal_detail_fields!(declare);
workers_refused_fields!(declare);
capacity_fields!(declare);
zone_capacity_fields!(declare);
reservation_fields!(declare);
reserved_slot_fields!(declare);
evacuation_plan_fields!(declare);
evacuation_move_fields!(declare);
stranded_vm_fields!(declare);

/// An object with all fields, as it is shown by itself.
fn whole_object<T: Declared>() -> (&'static str, Object) {
    (T::NAME, object_of::<T>(|_| true))
}

fn object_of<T: Declared>(is_shown: impl Fn(&Field) -> bool) -> Object {
    let mut object = object(&prose(T::DESCRIPTION), []);
    for Field { name, description, schema, is_optional, .. } in T::fields().into_iter().filter(is_shown) {
        if !is_optional {
            object.required.push(name.to_owned());
        }
        object = with_optional(object, name, described(schema, prose(description)));
    }
    object
}

/// A doc comment as a text.
fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Every schema that responses refer to by name.
pub(super) fn components() -> Vec<(&'static str, RefOr<Schema>)> {
    let (vm, mut whole_vm) = whole_object::<json_objects::Vm>();
    let vcpu_count =
        described(whole(0..=i64::from(i32::MAX)), "The same as `vcpus`, for clients from before the contract.");
    whole_vm.required.push("vcpu_count".to_owned());
    whole_vm.properties.insert("vcpu_count".to_owned(), vcpu_count);
    let declared = [
        whole_object::<json_objects::Worker>(),
        whole_object::<json_objects::Drain>(),
        ("WorkerDrain", worker_drain()),
        ("DrainList", page_of("Drains, sorted by worker.", "drains", named("Drain"))),
        ("WorkerDrains", worker_drains()),
        ("DrainBlocker", drain_blocker()),
        ("History", curves()),
        ("HistoryCurve", history_curve()),
        ("HistoryTier", history_tiers()),
        ("DrainState", drain_states()),
        ("BlockerKind", blocker_kinds()),
        (vm, whole_vm),
        ("ListedVm", listed_vm()),
        whole_object::<json_objects::ClusterStats>(),
        whole_object::<json_objects::WorkerDistribution>(),
        whole_object::<json_objects::Zone>(),
        whole_object::<json_objects::WorkerCounts>(),
        whole_object::<json_objects::VmCounts>(),
        whole_object::<json_objects::ClusterEvent>(),
        whole_object::<json_objects::RegisterWorkerPayload>(),
        whole_object::<json_objects::RecordHeartbeatPayload>(),
        whole_object::<json_objects::Token>(),
        (
            "TokenKind",
            words(
                &TokenKind::ALL,
                TokenKind::as_str,
                "Where the secret of a token counts: `bearer`, in `Authorization` of each request; `session`, in the cookie of the browser that signed in; `sign_in_code`, part of a sign-in link, to open one session and for nothing else.",
            ),
        ),
        ("Session", session()),
        (
            "TokenRole",
            words(
                &Role::ALL,
                Role::as_str,
                "What the holder of a token may do: `viewer` asks every question and follows every stream, except about tokens; `operator` may also drain and activate workers and take them out of service; `admin` may also purge workers and create, list and revoke tokens; `worker` registers workers, sends their heartbeats and deregisters them, each of its own, and reads nothing; `join` lets workers join, which then have tokens of their own, and nothing else.",
            ),
        ),
        (
            "TokenState",
            words(
                &TokenState::ALL,
                TokenState::as_str,
                "Whether a token is accepted: it is while it is `live`, and not any more when it is `expired` or `revoked`.",
            ),
        ),
        whole_object::<json_objects::Placement>(),
        whole_object::<json_objects::PlacementAssignment>(),
        whole_object::<json_objects::PlacementCandidate>(),
        whole_object::<json_objects::PlacementRefusal>(),
        whole_object::<json_objects::EvacuationPlan>(),
        whole_object::<json_objects::EvacuationMove>(),
        whole_object::<json_objects::StrandedVm>(),
        whole_object::<json_objects::RefusalDetail>(),
        whole_object::<json_objects::WorkersRefused>(),
        whole_object::<json_objects::Capacity>(),
        whole_object::<json_objects::ZoneCapacity>(),
        whole_object::<json_objects::Reservation>(),
        whole_object::<json_objects::ReservedSlot>(),
        ("RefusalReason", refusal_reasons()),
        (
            "PlacementStrategy",
            words(
                PlacementStrategy::ALL,
                PlacementStrategy::as_str,
                "Which of the workers that have room are preferred: `spread` puts few VMs of a request into one zone and on one worker, then takes the least loaded worker; `pack` takes the most loaded one, so that others stay empty.",
            ),
        ),
        ("PlacementDistinct", distinct()),
        ("ReservationState", reservation_states()),
        ("ReservationList", page_of("Reservations, the latest first.", "reservations", named("Reservation"))),
        ("TokenList", token_list()),
        ("CreatedToken", created_token()),
        ("JoinedWorker", joined_worker()),
        (
            "WorkerStatus",
            words(
                WorkerStatus::ALL,
                WorkerStatus::as_str,
                "What a worker does with new work: `active` takes it, `draining` runs what it has and takes nothing new, `offline` has not been heard from for longer than the heartbeat time-out.",
            ),
        ),
        ("SchedulingPolicy", policies()),
        (
            "VmStatus",
            words(
                VmStatus::ALL,
                VmStatus::as_str,
                "What a VM is doing, as its worker reports it. All but `stopped` and `failed` hold a slot of the worker.",
            ),
        ),
        (
            "EventKind",
            words(
                EventKind::ALL,
                EventKind::as_str,
                "What kind of thing happened. `synced` and `resync` are sent in streams only: everything up to the cursor has been told; the cursor given cannot be resumed, so read the present state and go on from this one.",
            ),
        ),
        ("EventActor", actors()),
        ("WorkerList", page_of("Workers, in the order asked for.", "workers", named("Worker"))),
        ("VmList", page_of("VMs, sorted by id unless asked otherwise.", "vms", named("Vm"))),
        (
            "ZoneList",
            object(
                "Zones that have workers.",
                [
                    ("zones", described(list(named("Zone")), "The zones, sorted by name.")),
                    ("total", described(count(), "How many there are.")),
                ],
            ),
        ),
        ("WorkerVms", worker_vms()),
        ("Distribution", distribution()),
        ("EventList", event_list()),
        ("PolicyChange", policy_change()),
        ("WorkersDrain", workers_drain()),
        ("WorkersActivation", workers_activation()),
        ("WorkerChange", worker_change()),
        ("Purge", purge()),
        ("PurgedWorker", purged_worker()),
        ("RefusedPurge", refused_purge()),
        (
            "PurgeRefusalReason",
            words(
                PurgeRefusalReason::ALL,
                PurgeRefusalReason::as_str,
                "Why a worker was not removed with the others: VMs hold slots on it, and it was not forced; or it has changed since the workers were looked for, and does not match any more.",
            ),
        ),
        ("HeartbeatResults", heartbeat_results()),
        ("RecordedHeartbeat", recorded_heartbeat()),
        ("RefusedHeartbeat", refused_heartbeat()),
        ("TargetGroup", target_group()),
        ("Health", health()),
        ("ComponentStatus", component_status()),
        ("Failure", failure()),
        ("Problem", problem()),
    ];
    let mut components: Vec<_> = declared.into_iter().map(|(name, object)| (name, object.into())).collect();
    components.push(("HeartbeatResult", heartbeat_result()));
    components.push(("DegradedHealth", degraded_health()));
    let groups = described(list(named("TargetGroup")), "One group for each worker that matches, by id.");
    components.push(("TargetGroups", groups));
    components
}

/// The schema of an enum.
fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str, description: &str) -> Object {
    let mut words = one_of(all.iter().map(|value| word(*value)));
    words.description = Some(description.to_owned());
    words
}

/// The schema of drain states, some of which have the words of statuses of workers.
fn drain_states() -> Object {
    let states = words(
        DrainState::ALL,
        DrainState::as_str,
        "How far a drain has come: `draining`, and `overdue` once its deadline has passed; `complete` when the worker has acknowledged it and told that no VM holds a slot; `canceled` if the worker was activated before that, `ended` if after.",
    );
    let name = |state: &DrainState| match state {
        DrainState::Draining => "DrainDraining",
        DrainState::Overdue => "DrainOverdue",
        DrainState::Complete => "DrainComplete",
        DrainState::Canceled => "DrainCanceled",
        DrainState::Ended => "DrainEnded",
    };
    with_keyword(states, "x-enum-varnames", json!(DrainState::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// The schema of kinds of blockers, some of which have the words of events.
fn blocker_kinds() -> Object {
    let kinds = words(
        BlockerKind::ALL,
        BlockerKind::as_str,
        "What is in the way of powering a host off: the worker is not heard from; its process may not know of the drain; it has not told its inventory since it started; what the agent runs on a change of the policy has failed; a reservation holds slots there; a VM holds a slot, or is on its way out.",
    );
    let name = |kind: &BlockerKind| match kind {
        BlockerKind::WorkerOffline => "BlockerWorkerOffline",
        BlockerKind::NotAcknowledged => "BlockerNotAcknowledged",
        BlockerKind::NoInventory => "BlockerNoInventory",
        BlockerKind::VmsSetAside => "BlockerVmsSetAside",
        BlockerKind::PolicyHookFailed => "BlockerPolicyHookFailed",
        BlockerKind::Reserved => "BlockerReserved",
        BlockerKind::VmRunning => "BlockerVmRunning",
        BlockerKind::VmStopping => "BlockerVmStopping",
    };
    with_keyword(kinds, "x-enum-varnames", json!(BlockerKind::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// The schema of scheduling policies. The names of its constants are given because generators for Go put those of all
/// enums into one package, in which a status of workers has the same words.
fn policies() -> Object {
    let policies = words(
        SchedulingPolicy::ALL,
        SchedulingPolicy::as_str,
        "What operators asked for. Kept while a worker is offline, and through its restarts.",
    );
    // Exhaustive, so that the compiler asks for the name of a new policy.
    let name = |policy: &SchedulingPolicy| match policy {
        SchedulingPolicy::Active => "PolicyActive",
        SchedulingPolicy::Draining => "PolicyDraining",
    };
    with_keyword(policies, "x-enum-varnames", json!(SchedulingPolicy::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// The schema of states of reservations, with names of its constants as for [`policies`].
fn reservation_states() -> Object {
    let states = words(
        ReservationState::ALL,
        ReservationState::as_str,
        "What has become of a reservation, and of each of its slots: `held` until a VM comes, then `taken`; else `released` or `expired`.",
    );
    // Exhaustive, so that the compiler asks for the name of a new one.
    let name = |state: &ReservationState| match state {
        ReservationState::Held => "RoomHeld",
        ReservationState::Taken => "RoomTaken",
        ReservationState::Released => "RoomReleased",
        ReservationState::Expired => "RoomExpired",
    };
    with_keyword(states, "x-enum-varnames", json!(ReservationState::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// The schema of reasons of refusals, with names of its constants as for [`policies`].
fn refusal_reasons() -> Object {
    let reasons = words(
        RefusalReason::ALL,
        RefusalReason::as_str,
        "Why a VM does not fit on a worker. `excluded`: the request leaves the worker or its zone out. `no_inventory`: the worker's process has not reported its VMs since it started. `distinct`: another VM of the request is there.",
    );
    // Exhaustive, so that the compiler asks for the name of a new one.
    let name = |reason: &RefusalReason| match reason {
        RefusalReason::Excluded => "RefusedExcluded",
        RefusalReason::Zone => "RefusedZone",
        RefusalReason::Labels => "RefusedLabels",
        RefusalReason::Capabilities => "RefusedCapabilities",
        RefusalReason::Offline => "RefusedOffline",
        RefusalReason::Draining => "RefusedDraining",
        RefusalReason::NoInventory => "RefusedNoInventory",
        RefusalReason::CpuCores => "RefusedCpuCores",
        RefusalReason::Memory => "RefusedMemory",
        RefusalReason::Disk => "RefusedDisk",
        RefusalReason::VmSlots => "RefusedVmSlots",
        RefusalReason::Distinct => "RefusedDistinct",
    };
    with_keyword(reasons, "x-enum-varnames", json!(RefusalReason::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// The schema of what VMs may not share, with names of its constants as for [`policies`].
fn distinct() -> Object {
    let distinct = words(
        Distinct::ALL,
        Distinct::as_str,
        "What no two VMs of one request may share. Workers without a zone count as one zone.",
    );
    // Exhaustive, so that the compiler asks for the name of a new one.
    let name = |distinct: &Distinct| match distinct {
        Distinct::None => "DistinctNone",
        Distinct::Worker => "DistinctWorker",
        Distinct::Zone => "DistinctZone",
    };
    with_keyword(distinct, "x-enum-varnames", json!(Distinct::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// The schema of actors, with names of its constants as for [`policies`].
fn actors() -> Object {
    let actors = words(
        Actor::ALL,
        Actor::as_str,
        "Who causes events: a worker or a program that speaks for it, an operator, or the server, which found it out.",
    );
    // Some of the words are those of roles, too, and generators want one name for each.
    let name = |actor: &Actor| match actor {
        Actor::Worker => "ActorWorker",
        Actor::Operator => "ActorOperator",
        Actor::Server => "ActorServer",
    };
    with_keyword(actors, "x-enum-varnames", json!(Actor::ALL.iter().map(name).collect::<Vec<_>>()))
}

/// A VM inside another object.
fn listed_vm() -> Object {
    let mut vm = object_of::<json_objects::Vm>(|field| field.is_everywhere);
    vm.description = Some("Virtual machine on the worker that is spoken of.".to_owned());
    with_optional(
        vm,
        "duplicate",
        described(flag(), "True if more than one worker says that the VM holds a slot there; left out if not."),
    )
}

/// A drain inside a worker.
fn worker_drain() -> Object {
    let mut drain = object_of::<json_objects::Drain>(|field| field.is_everywhere);
    drain.description = Some("Drain that stands on the worker that is spoken of.".to_owned());
    drain
}

fn worker_drains() -> Object {
    object(
        "Drains of one worker.",
        [
            ("worker_id", described(any_text(), "The worker.")),
            ("drains", described(list(named("Drain")), "Its drains, the latest first.")),
            (
                "next_cursor",
                described(or_null(any_text()), "Where to go on: pass it back as `cursor`; `null` at the end."),
            ),
        ],
    )
}

fn curves() -> Object {
    let mut history = object(
        "How figures went, as curves with the same points: point `i` of each is about the `step_seconds` from `start` plus `i` times `step_seconds` on. A curve without any sample is `null`.",
        [
            (
                "start",
                described(
                    formatted("date-time"),
                    "When the first point begins: a multiple of the step since 1970, so that points stay where they are.",
                ),
            ),
            ("end", described(formatted("date-time"), "When the last point ends. It may not be over yet.")),
            ("step_seconds", described(count(), "How many seconds a point stands for.")),
            (
                "tier",
                described(
                    named("HistoryTier"),
                    "What the points are made of: the finest tier that reaches back to the start.",
                ),
            ),
            ("length", described(count(), "How many points each curve has.")),
        ],
    );
    for figure in Figure::ALL {
        let description = match figure {
            Figure::CpuCores => "CPU cores.",
            Figure::MemoryMb => "Memory, in MiB.",
            Figure::DiskGb => "Disk, in GB.",
            Figure::MaxVms => "How many VMs there may be.",
            Figure::UsedCpuCores => "CPU cores allocated to VMs.",
            Figure::UsedMemoryMb => "Memory allocated to VMs, in MiB.",
            Figure::UsedDiskGb => "Disk allocated to VMs, in GB.",
            Figure::VmCount => "VMs that hold a slot.",
            Figure::MeasuredCpuCores => {
                "CPU cores that were busy, as hosts measured it. Only agents that send it have it."
            }
            Figure::MeasuredMemoryMb => "Memory in use on hosts, in MiB, as they measured it.",
            Figure::MeasuredLoad1 => "Load average of one minute, as hosts measured it; of many hosts, the sum.",
            Figure::Workers => "Registered workers; `null` for the history of a worker.",
            Figure::OnlineWorkers => "Workers of them that are online; `null` for the history of a worker.",
            Figure::MeasuredWorkers => {
                "Workers whose measured load is in the measured curves; `null` for the history of a worker. With several servers, those that the one of them heard that heard most."
            }
        };
        let name = figure.name();
        history.required.push(name.to_owned());
        history.properties.insert(name.to_owned(), described(or_null(named("HistoryCurve")), description));
    }
    history
}

fn history_curve() -> Object {
    let values = || list(or_null(number()));
    object(
        "How one figure went.",
        [
            (
                "values",
                described(
                    values(),
                    "The mean of the samples of each point; `null` where there is none, which is not 0.",
                ),
            ),
            (
                "min",
                described(
                    or_null(values()),
                    "The smallest sample of each point; `null` as a whole if the step is a minute, since each point is one sample then.",
                ),
            ),
            (
                "max",
                described(
                    or_null(values()),
                    "The largest sample of each point: a spike of a minute is here however long a point is. `null` as a whole as `min` is.",
                ),
            ),
        ],
    )
}

fn history_tiers() -> Object {
    words(
        &[Tier::Minute, Tier::QuarterHour, Tier::SixHours],
        history::tier_word,
        "How finely history is kept: a sample each minute, for 26 hours; count, sum, smallest and largest sample of each quarter of an hour, for 35 days; the same of each six hours, for 397 days.",
    )
}

fn drain_blocker() -> Object {
    object(
        "One thing that is in the way of powering a host off.",
        [
            ("kind", described(named("BlockerKind"), "What kind of thing it is.")),
            ("vm_id", described(or_null(any_text()), "The VM; `null` if it is none.")),
            (
                "since",
                described(
                    json_values::OptionalDateTime::schema(),
                    "Since when it has been in the way of this drain; `null` if that is not known.",
                ),
            ),
            (
                "note",
                described(
                    or_null(any_text()),
                    "What the worker says of the VM, such as why it could not be moved; `null` if nothing.",
                ),
            ),
            ("message", described(any_text(), "What it is, as a sentence.")),
        ],
    )
}

/// A page or a whole list, with the total.
fn page_of(description: &str, key: &str, item: impl Into<RefOr<Schema>>) -> Object {
    let page = object(
        description,
        [
            (key, described(list(item), "Those of this page, or all of them if no page was asked for.")),
            ("total", described(count(), "How many there are in the whole list.")),
        ],
    );
    let next = described(
        or_null(formatted(PAGE_CURSOR)),
        "The `cursor` of the next page, as in `Link`; `null` if this is the last. Left out if no page was asked for.",
    );
    with_optional(page, "next_cursor", next)
}

fn worker_vms() -> Object {
    object(
        "VMs of one worker.",
        [
            ("worker_id", described(any_text(), "The worker.")),
            ("vms", described(list(named("ListedVm")), "Its VMs, sorted by id unless asked otherwise.")),
            ("total", described(count(), "How many there are.")),
        ],
    )
}

fn distribution() -> Object {
    object(
        "Which VMs are where.",
        [
            ("distribution", described(list(named("WorkerDistribution")), "The workers, sorted by id.")),
            ("total_workers", described(count(), "How many there are.")),
        ],
    )
}

fn event_list() -> Object {
    object(
        "Part of the change log.",
        [
            ("events", described(list(named("ClusterEvent")), "What happened, in the order that was asked for.")),
            (
                "end_cursor",
                described(
                    json_values::Cursor::schema(),
                    "Where to go on in time: pass it back as `after`, to a list or to a stream.",
                ),
            ),
            ("has_next_page", described(flag(), "Whether there is more by now.")),
            (
                "next_cursor",
                described(
                    json_values::OptionalCursor::schema(),
                    "The `cursor` of the next page in the order that was asked for, as in `Link`; `null` if this is the last.",
                ),
            ),
        ],
    )
}

fn token_list() -> Object {
    object(
        "All tokens.",
        [
            ("tokens", described(list(named("Token")), "The tokens, sorted by id: those that ended, too.")),
            ("total", described(count(), "How many there are.")),
        ],
    )
}

fn session() -> Object {
    object(
        "Who asks, as the server knows it.",
        [
            (
                "asks_for_tokens",
                described(flag(), "Whether the server asks for tokens. If not, whoever reaches it may do everything."),
            ),
            (
                "token",
                described(
                    or_null(named("Token")),
                    "The session or the token of who asks. `null` if nobody is known, or the server asks for none.",
                ),
            ),
        ],
    )
}

fn created_token() -> Object {
    object(
        "A token that was created.",
        [
            (
                "secret",
                described(any_text(), "Its text, which is shown this once: send it as `Authorization: Bearer`."),
            ),
            ("token", named("Token").into()),
        ],
    )
}

fn joined_worker() -> Object {
    object(
        "A worker that has joined.",
        [
            ("worker_id", described(any_text(), "The worker, which registers with its own token next.")),
            ("token_id", described(any_text(), "Id of its own token.")),
            ("joined_at", described(json_values::DateTime::schema(), "When it joined, by the server's clock.")),
        ],
    )
}

fn policy_change() -> Object {
    object(
        "What an operator asked for is in force.",
        [
            ("worker_id", described(any_text(), "The worker.")),
            (
                "status",
                described(
                    named("SchedulingPolicy"),
                    "What was asked for, which the status of an offline worker would hide.",
                ),
            ),
            ("message", described(any_text(), "What happened, as a sentence.")),
        ],
    )
}

fn workers_drain() -> Object {
    let plan = described(
        named("EvacuationPlan"),
        "Where the VMs on them could go, as the rest of the cluster was right before.",
    );
    let mut drain = workers_activation();
    drain.description = Some("What became of draining the workers that match, or would.".to_owned());
    drain.required.push("plan".to_owned());
    with_optional(drain, "plan", plan)
}

fn workers_activation() -> Object {
    object(
        "What became of activating the workers that match, or would.",
        [
            ("dry_run", described(flag(), "Whether nothing was changed, because that was asked for.")),
            ("workers", described(list(named("WorkerChange")), "The workers that match, by id.")),
            ("total_changed", described(count(), "How many of them were in the other policy before.")),
            ("revision", described(exact(), "Revision of the cluster after it: all changes are of one revision.")),
        ],
    )
}

fn worker_change() -> Object {
    object(
        "A worker that was to be drained or activated.",
        [
            ("worker_id", described(any_text(), "The worker.")),
            ("changed", described(flag(), "Whether it was in the other policy before.")),
        ],
    )
}

fn purge() -> Object {
    object(
        "What became of the workers that match, or would.",
        [
            ("dry_run", described(flag(), "Whether nothing was changed, because that was asked for.")),
            ("purged", described(list(named("PurgedWorker")), "The workers that were removed, or would be, by id.")),
            (
                "refused",
                described(
                    list(named("RefusedPurge")),
                    "Those that match and were not, or would not be, by id; at most 100 are named.",
                ),
            ),
            ("total_refused", described(count(), "How many were not, or would not be.")),
            ("remaining", described(count(), "How many more the same request removes when it is sent again.")),
        ],
    )
}

fn purged_worker() -> Object {
    object(
        "A worker that was removed, or would be.",
        [
            ("worker_id", described(any_text(), "The worker.")),
            ("removed_vm_ids", described(list(any_text()), "Ids of the VMs that go with it, whatever their status.")),
        ],
    )
}

fn refused_purge() -> Object {
    object(
        "A worker that was not removed with the others.",
        [
            ("worker_id", described(any_text(), "The worker.")),
            ("reason", described(named("PurgeRefusalReason"), "Why.")),
            ("message", described(any_text(), "The same in a sentence.")),
        ],
    )
}

fn heartbeat_results() -> Object {
    object(
        "What became of each heartbeat.",
        [("results", described(list(named("HeartbeatResult")), "One for each heartbeat, in their order."))],
    )
}

/// One of two objects, which differ in the allowed statuses, too: a generated client for Java ignores keys that it does
/// not know, and chooses by the type of a value only.
fn heartbeat_result() -> RefOr<Schema> {
    let result = OneOfBuilder::new().item(named("RecordedHeartbeat")).item(named("RefusedHeartbeat"));
    described(
        result,
        "What became of one heartbeat of many: the status that it would have had by itself, and the answer to it.",
    )
}

fn recorded_heartbeat() -> Object {
    let status = described(whole_of([200]), "Always 200.");
    let mut recorded = object("A heartbeat that was recorded.", [("status", status)]);
    let (_, payload) = whole_object::<json_objects::RecordHeartbeatPayload>();
    recorded.required.extend(payload.required);
    recorded.properties.extend(payload.properties);
    recorded
}

fn refused_heartbeat() -> Object {
    object(
        "A heartbeat that was refused. The others are not affected.",
        [
            ("worker_id", described(or_null(any_text()), "Whose it was; null if that could not be read.")),
            ("status", described(whole_of(failures()), "The status that it would have had by itself.")),
            ("error", named("Failure").into()),
        ],
    )
}

fn health() -> Object {
    object(
        "How this server is.",
        [
            (
                "status",
                described(one_of(["ok", "degraded"]), "`ok` if all components are, whatever becomes of `consul`."),
            ),
            (
                "components",
                described(
                    map(named("ComponentStatus")),
                    "The parts of the server, by name: `database` answers questions about history, `journal` goes on, \
                     `commits` are being made, and `replication` brings what other servers commit. `consul`, on servers that are announced there, does as it is asked; nothing \
                     of the server depends on it. Others may be added.",
                ),
            ),
            (
                "staleness_seconds",
                described(
                    measure(),
                    "How old what this server answers may be at most, in seconds: how long ago it last saw that it knew \
                     everything that was committed. 0 where no other server commits.",
                ),
            ),
            ("timestamp", described(json_values::DateTime::schema(), "When this was found.")),
        ],
    )
}

/// It is a component because generators for Rust take enums that are written within a map for its keys.
fn component_status() -> Object {
    let mut status = one_of(["ok", "unavailable"]);
    status.description = Some("How a part of the server is.".to_owned());
    status
}

/// Scrape targets of Prometheus with their labels.
fn target_group() -> Object {
    object(
        "A worker as Prometheus' HTTP service discovery reads it.",
        [
            ("targets", described(list_up_to(1, any_text()), "Host and port that are to be scraped.")),
            (
                "labels",
                described(
                    map(any_text()),
                    "What is known of the worker: `__meta_aetherium_worker_id`, `_hostname`, `_address`, `_zone`, `_status`, \
                     `_capabilities` between commas, and of each label `_label_<key>` and `_labelpresent_<key>`, whose key \
                     has underscores for whatever is no letter, digit or underscore. What is empty is left out.",
                ),
            ),
        ],
    )
}

/// The body of a 503 from the health route: its components, or the general error of a server that cannot tell.
fn degraded_health() -> RefOr<Schema> {
    let health = AnyOfBuilder::new().item(named("Health")).item(named("Failure"));
    described(health, "How a server is that is not well, or why it cannot tell.")
}

fn failure() -> Object {
    let failure = object(
        "Every failure, on every path, has these three keys. Some say in others what they are about.",
        [
            ("error", described(any_text(), "Name of the status.")),
            ("message", described(any_text(), "What is wrong, and what would be right.")),
            ("code", described(whole(400..=599), "The status.")),
        ],
    );
    about(failure)
}

/// Adds the subject of an error.
fn about(failure: Object) -> Object {
    let argument = described(any_text(), "The parameter of the request that is wrong, if it is one.");
    let id = described(any_text(), "The worker or the VM that it is about, if it is about one.");
    let revision = described(exact(), "The revision that there is, if the request named another one.");
    let plan = described(
        named("EvacuationPlan"),
        "Where the VMs could go, and for which of them no place was found, if that is why workers were not drained.",
    );
    let failure = with_optional(failure, "argument", argument);
    let failure = with_optional(with_optional(failure, "id", id), "current_revision", revision);
    with_optional(failure, "plan", plan)
}

fn problem() -> Object {
    let problem = object(
        "The same failure as RFC 9457 has it, for those who ask for it by `Accept` and not for `application/json`.",
        [
            ("type", described(any_text(), "`about:blank`: the status says which kind of failure it is.")),
            ("title", described(any_text(), "Name of the status.")),
            ("status", described(whole(400..=599), "The status.")),
            ("detail", described(any_text(), "What is wrong, and what would be right.")),
        ],
    );
    about(problem)
}

fn count() -> Object {
    whole(0..=i64::from(i32::MAX))
}
