//! Request bodies, with the limits that they are checked against.
//!
//! Each struct that a body is parsed into is destructured here, so that the compiler asks for the description of a new
//! field.

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, Array, Object};
use utoipa::openapi::{RefOr, Schema};

use super::parameters::ID;
use super::schema::{
    any_text, described, exact, flag, formatted, list, list_up_to, map, matching, named, number, object,
    object_or_null, or_null, sized, text, whole, with_keyword, with_optional,
};
use super::shapes::GO_DURATION;
use crate::cluster::MAX_CHARS;
use crate::resolvers::checks::{
    DEFAULT_MAX_VMS, LONGEST_DEADLINE, MAX_CPU_CORES, MAX_FIGURE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS,
    MAX_LAST_INCARNATION, MAX_NOTE, MAX_POLICY_ERROR, MAX_REASON, MAX_TEXT, MAX_VMS, MAX_WANTED,
};
use crate::resolvers::join::JoinInput;
use crate::resolvers::page::MAX_SIZE;
use crate::resolvers::placement::{DEFAULT_LISTED, MAX_PLACED};
use crate::resolvers::tokens::{MAX_USES, MAX_WORKERS};
use crate::resolvers::worker_input::{
    HeartbeatInput, MAX_REPORTED_VMS, MeasuredInput, RegistrationInput, VmDeltaInput, VmInput,
};
use crate::rest::drain_workers::{ActivateWorkersBody, DrainWorkersBody};
use crate::rest::filter_params::WorkerFilterBody;
use crate::rest::heartbeats::MAX_HEARTBEATS;
use crate::rest::purges::PurgeBody;
use crate::rest::reservations::{ReleaseBody, ReservationBody};
use crate::rest::sessions::SignInBody;
use crate::rest::tokens::TokenBody;
use crate::rest::workers::{DrainBody, PolicyBody};

/// Generates the schema of a request body. `needed` fields are required; `optional` ones may be left out or `null`,
/// which means the same; `absent` ones may only be left out.
macro_rules! body {
    ($name:literal = $input:ident, $description:literal {
        $($field:ident: $need:ident $schema:expr, $field_description:expr;)+
    }) => {{
        // Never called: it only has to name all fields.
        let _ = |input: $input| {
            let $input { $($field: _),+ } = input;
        };
        let body = object($description, []);
        $(let body = $need(body, stringify!($field), $schema, $field_description);)+
        ($name, body)
    }};
}

fn needed(mut body: Object, name: &str, schema: impl Into<RefOr<Schema>>, description: &str) -> Object {
    body.required.push(name.to_owned());
    with_optional(body, name, described(schema, description))
}

fn optional(body: Object, name: &str, schema: impl Into<RefOr<Schema>>, description: &str) -> Object {
    with_optional(body, name, described(or_null(schema), description))
}

/// Every schema that requests refer to by name.
pub(super) fn components() -> Vec<(&'static str, RefOr<Schema>)> {
    let figure = || whole(0..=MAX_FIGURE);
    let most_listed = i64::try_from(MAX_SIZE).unwrap_or(i64::MAX);
    let registration = body!("Registration" = RegistrationInput, "What a worker says of itself." {
        hostname: needed text(1..=MAX_TEXT), "Name of the machine.";
        address: needed text(1..=MAX_TEXT), "Host and port the worker listens on.";
        zone: optional text(0..=MAX_TEXT), "Where the worker stands, such as an availability zone; empty or left out if nobody said.";
        labels: optional labels(), "Free labels.";
        capabilities: optional list_up_to(MAX_LABELS, text(1..=MAX_TEXT)), "What the worker can do, such as hypervisors it offers.";
        cpu_cores: needed whole(1..=MAX_CPU_CORES), "CPU cores of the machine.";
        memory_mb: needed whole(1..=MAX_FIGURE), "Memory of the machine, in MiB.";
        disk_gb: optional figure(), "Disk of the machine, in GB; 0 if left out.";
        max_vms: optional whole(0..=MAX_VMS), &format!("How many VMs the worker may hold; {DEFAULT_MAX_VMS} if left out.");
        boot_id: optional text(1..=MAX_TEXT), "New for each start of the worker's process, which begins a new incarnation. Without one, every registration is a new start. One that is over, since another one has registered or it said goodbye, is refused.";
        host_boot_id: optional text(1..=MAX_TEXT), "New for each start of the host, such as the kernel's boot id. With another one than before, what the host ran is gone at once; else it is kept until the new process has told its inventory.";
        last_incarnation: optional whole(0..=MAX_LAST_INCARNATION), "The last incarnation that the process knows of: a new one is above it, even if the database was set back to a backup.";
    });
    let (name, heartbeat) = body!("Heartbeat" = HeartbeatInput, "A worker is alive, and what runs on it: the whole inventory in `vms`, or what changed in `vms_delta`, but not both." {
        incarnation: needed exact(), "The life of the worker's process, as the registration numbered it.";
        boot_id: optional any_text(), "What the process called its start when it registered: 409 if that incarnation is another process, as it may be after the database was set back to a backup.";
        sequence: optional exact(), "Number of the heartbeat in that life, above that of the one before. One that comes late, after a later one, is a sign of life, and no more.";
        used_cpu_cores: optional figure(), "CPU cores allocated to VMs; added up from the VMs if left out.";
        used_memory_mb: optional figure(), "Memory allocated to VMs, in MiB; added up from the VMs if left out.";
        used_disk_gb: optional figure(), "Disk allocated to VMs, in GB.";
        vms: optional list_up_to(MAX_REPORTED_VMS, named("VmReport")), "The whole inventory of VMs. Left out, it is as it was.";
        vms_delta: optional named("VmChanges"), "What changed in the inventory, instead of the whole of it.";
        policy_revision: optional exact(), "The policy revision that the worker has heard of last, as a reply told it. It says that the worker knows of each drain up to that revision; without it, the second heartbeat after a drain does.";
        policy_error: optional text(0..=MAX_POLICY_ERROR), "That the agent's policy hook failed, and how; `null` says that it works. Left out, it is as before. It holds until the policy changes.";
        measured: optional named("MeasuredLoad"), "What the host measured of its load, for curves: nothing else is made of it.";
    });
    let measured = body!("MeasuredLoad" = MeasuredInput, "What a host measured of its load, each figure only if it is known. One that is negative or too large counts as left out." {
        cpu_busy_seconds: optional number(), "For how many seconds CPU cores were busy, all of them together, since the host was started: a counter, up to 2^53. How many were busy in a minute is computed of two of its values; one that is lower than the one before begins anew.";
        memory_used_mb: optional whole(i64::MIN..=i64::MAX), "Memory in use, in MiB, up to 2,147,483,647.";
        load1: optional number(), "Load average of one minute, up to 1,000,000,000.";
    });
    let heartbeat = (name, with_one_inventory(heartbeat));
    let workers_heartbeat = ("WorkersHeartbeat", workers_heartbeat(&heartbeat.1));
    let changes = body!("VmChanges" = VmDeltaInput, "What changed in an inventory of VMs." {
        upsert: optional list_up_to(MAX_REPORTED_VMS, named("VmReport")), "New or changed VMs.";
        remove: absent list(any_text()), "Ids of VMs that are gone.";
    });
    let vm = body!("VmReport" = VmInput, "A VM of an inventory. One that cannot be kept, such as for its id, is set aside, and the rest of the heartbeat counts." {
        id: needed any_text(), "Identity of the VM; no worker has the same.";
        name: optional text(0..=MAX_TEXT), "Name given by whoever created the VM; its id if left out.";
        status: optional named("VmStatus"), "What the VM is doing; `running` if left out.";
        vcpus: optional figure(), "Virtual CPUs; 0 if left out.";
        memory_mb: optional figure(), "Memory, in MiB; 0 if left out.";
        note: optional text(0..=MAX_NOTE), "What the worker says of it, such as why it could not be moved; nothing if left out.";
        reservation_id: optional text(0..=MAX_TEXT), "The reservation that it takes; none if left out.";
    });
    let (name, mut reason) = body!("Reason" = PolicyBody, "Why an operator wants it so; `null` is the same as no reason." {
        reason: optional text(0..=MAX_REASON), "Kept with the event.";
    });
    let (name_of_drain, mut drain) = body!("DrainRequest" = DrainBody, "What an operator says of a drain; `null` is the same as nothing. What is left out of a drain that stands is as it was." {
        reason: optional text(0..=MAX_REASON), "Why; kept with the event, and with the drain.";
        deadline_seconds: optional whole(1..=LONGEST_DEADLINE.as_secs() as i64), "In what time the drain shall be complete. When it has passed, that is announced: nothing is stopped. Given for a drain that stands, another one counts from now.";
        metadata: optional labels(), "Texts of your own. Given for a drain that stands, they replace what there was.";
    });
    drain.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let drain = (name_of_drain, object_or_null(drain));
    let (name_of_token, mut token) = body!("TokenRequest" = TokenBody, "What a token is created with." {
        name: needed text(1..=MAX_TEXT), "Name for lists and for the audit trail.";
        role: needed named("TokenRole"), "What its holder may do.";
        expires_in: optional formatted(GO_DURATION), "After which time it expires, from `1ms` to `87600h`; never if left out. For the role `join`, up to `720h`, and `1h` if left out.";
        worker_id: optional text(1..=MAX_CHARS), "The only worker that its holder speaks for; for the role `worker`. For the role `join`, the only one that it lets join, also if it is known: its token of before is revoked then. Without this, it lets new workers join.";
        max_workers: optional whole(1..=MAX_WORKERS), "How many workers its holder may speak for, whichever it registers first; for the role `worker`, and instead of `worker_id`.";
        max_uses: optional whole(1..=MAX_USES), "How many workers it lets join; for the role `join`, one if left out.";
    });
    let (name_of_reservation, mut reservation) = body!("ReservationRequest" = ReservationBody, "VMs for which room is to be held, where they may be, and for how long. What is left out asks for nothing in particular." {
        vcpus: needed whole(1..=MAX_CPU_CORES), "Virtual CPUs of each VM.";
        memory_mb: needed whole(1..=MAX_FIGURE), "Memory of each VM, in MiB.";
        disk_gb: optional figure(), "Disk of each VM, in GB; 0 if left out.";
        count: optional whole(1..=MAX_PLACED), "How many VMs; if left out, as many as `vm_ids` names, or one.";
        zones: optional at_least_one(list_up_to(MAX_WANTED, sized(0..=MAX_TEXT))), "In one of these zones; the empty text is for workers without a zone.";
        labels: optional wanted_labels(), "On workers with all of these labels; `null` asks only that there is one with the key.";
        capabilities: optional list_up_to(MAX_LABELS, sized(1..=MAX_TEXT)), "On workers with all of these capabilities.";
        strategy: optional named("PlacementStrategy"), "Which workers are preferred; `spread` if left out.";
        distinct: optional named("PlacementDistinct"), "What no two of the VMs may share; `none` if left out.";
        without_workers: optional list_up_to(MAX_WANTED, sized(1..=MAX_TEXT)), "Not on these workers.";
        without_zones: optional list_up_to(MAX_WANTED, sized(0..=MAX_TEXT)), "Not in these zones.";
        expires_in: optional formatted(GO_DURATION), "For how long, from `1s` to `1h0m0s`; `2m0s` if left out.";
        vm_ids: optional without_repetition(list_up_to(MAX_PLACED as usize, matching(sized(1..=MAX_CHARS), ID))), "Ids of the VMs, as many as `count` says, if they have some already: each takes its slot when its worker reports it, and no worker is chosen that has one of them already. 409 if another reservation holds a slot for one of them.";
        reason: optional text(0..=MAX_REASON), "Kept with the reservation and in the change log.";
    });
    reservation.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let reservation = (name_of_reservation, reservation);
    let least = || whole(0..=MAX_FIGURE);
    let texts = |shortest| list_up_to(MAX_WANTED, sized(shortest..=MAX_TEXT));
    let (name_of_filter, mut filter) = body!("WorkerFilter" = WorkerFilterBody, "Which workers are meant: all that is given has to hold, and of a list one entry; of `labels`, each. What is left out, or `null`, asks for nothing; an empty list matches no worker." {
        ids: optional texts(1), "With one of these ids.";
        zones: optional texts(0), "In one of these zones; the empty text is for workers without a zone.";
        has_zone: optional flag(), "In a zone, or in none.";
        statuses: optional list_up_to(MAX_WANTED, named("WorkerStatus")), "In one of these statuses.";
        is_healthy: optional flag(), "Healthy, or not.";
        capabilities: optional texts(1), "With one of these capabilities.";
        labels: optional wanted_labels(), "With all of these labels; `null` asks only that there is one with the key.";
        search: optional sized(0..=MAX_TEXT), "With this text in the id, hostname, address or zone, whatever the case.";
        min_free_cpu_cores: optional least(), "With at least so many CPU cores that are neither allocated nor reserved.";
        min_free_memory_mb: optional least(), "With at least so much memory that is neither allocated nor reserved, in MiB.";
        min_free_vm_slots: optional least(), "With at least so many VM slots that are neither held nor reserved.";
    });
    filter.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let filter = (name_of_filter, filter);
    let (name_of_purge, mut purge) = body!("PurgeRequest" = PurgeBody, "Which workers are removed. `filter` or `offline_for` has to ask for something, unless `all` says that every worker is meant." {
        filter: optional named("WorkerFilter"), "Workers that match this. With `offline_for`, both have to hold.";
        offline_for: optional formatted(GO_DURATION), "Workers that are offline, and have not been heard from for so long, up to `87600h`.";
        all: absent flag(), "Every worker. Not together with conditions.";
        dry_run: absent flag(), "Only answer which workers would go, and which not, and why.";
        force: absent flag(), "Also workers on which VMs hold slots.";
    });
    purge.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let purge = (name_of_purge, with_one_choice(purge));
    let (name_of_drains, mut drains) = body!("DrainWorkersRequest" = DrainWorkersBody, "Which workers are drained at once, and what an operator says of it. `filter` has to ask for something, unless `all` says that every worker is meant. What is left out of a drain that stands is as it was." {
        filter: optional named("WorkerFilter"), "Workers that match this.";
        all: absent flag(), "Every worker. Not together with conditions.";
        reason: optional text(0..=MAX_REASON), "Why; kept with the events, and with the drains.";
        deadline_seconds: optional whole(1..=LONGEST_DEADLINE.as_secs() as i64), "In what time the drains shall be complete. When it has passed, that is announced: nothing is stopped.";
        metadata: optional labels(), "Texts of your own. Given for a drain that stands, they replace what there was.";
        dry_run: absent flag(), "Only answer which workers would be drained, and where their VMs could go.";
        allow_shortfall: absent flag(), "Even though no place is found for VMs on them.";
        limit: optional whole(0..=most_listed), &format!("How many VMs each list of the plan has at most; {DEFAULT_LISTED} if left out.");
    });
    drains.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let drains = (name_of_drains, with_one_choice(drains));
    let (name_of_activations, mut activations) = body!("ActivateWorkersRequest" = ActivateWorkersBody, "Which workers are activated at once. `filter` has to ask for something, unless `all` says that every worker is meant." {
        filter: optional named("WorkerFilter"), "Workers that match this.";
        all: absent flag(), "Every worker. Not together with conditions.";
        reason: optional text(0..=MAX_REASON), "Why; kept with the events, and with the drains that end.";
        dry_run: absent flag(), "Only answer which workers would be activated.";
    });
    activations.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let activations = (name_of_activations, with_one_choice(activations));
    let (name_of_release, mut release) = body!("ReleaseRequest" = ReleaseBody, "Why a reservation is released; `null` is the same as no reason." {
        reason: optional text(0..=MAX_REASON), "Kept with the event.";
    });
    release.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let release = (name_of_release, object_or_null(release));
    let join = body!("JoinRequest" = JoinInput, "The token that a worker made for itself: `aew_`, 12 letters and digits that are its id, 43 random ones, and a checksum." {
        token_id: needed matching(any_text(), "^[0-9A-Za-z]{12}$"), "Id of the token: its 12 characters after the first `_`.";
        token_sha256: needed matching(any_text(), "^[0-9A-Fa-f]{64}$"), "SHA-256 of the token's text, in hexadecimal digits. The text itself is sent with later requests only.";
    });
    token.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let token = (name_of_token, token);
    let (name_of_sign_in, mut sign_in) = body!("SignIn" = SignInBody, "What a session is opened with: one of the two." {
        token: absent any_text(), "A token that may ask questions.";
        code: absent any_text(), "The code of a sign-in link: what follows `#code=`.";
    });
    sign_in.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    (sign_in.min_properties, sign_in.max_properties) = (Some(1), Some(1));
    let sign_in = (name_of_sign_in, sign_in);
    // Unknown keys are refused in commands, and ignored in what workers send.
    reason.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    let reason = (name, object_or_null(reason));
    let heartbeats = ("Heartbeats", heartbeats());
    let bodies = [
        registration,
        heartbeat,
        workers_heartbeat,
        measured,
        heartbeats,
        changes,
        vm,
        reason,
        drain,
        token,
        join,
        sign_in,
        reservation,
        release,
        filter,
        purge,
        drains,
        activations,
    ];
    bodies.into_iter().map(|(name, body)| (name, body.into())).collect()
}

fn absent(body: Object, name: &str, schema: impl Into<RefOr<Schema>>, description: &str) -> Object {
    with_optional(body, name, described(schema, description))
}

/// A list that is not empty.
fn at_least_one(mut list: Array) -> Array {
    list.min_items = Some(1);
    list
}

/// A list in which nothing is twice.
fn without_repetition(mut list: Array) -> Array {
    list.unique_items = true;
    list
}

/// Labels that are asked for. One with control characters is found nowhere, and may be asked for.
fn wanted_labels() -> Object {
    let mut labels = map(or_null(sized(0..=MAX_LABEL_VALUE)));
    labels.property_names = Some(Box::new(sized(1..=MAX_LABEL_KEY).into()));
    labels.max_properties = Some(MAX_LABELS);
    labels
}

fn labels() -> Object {
    let mut labels = map(text(0..=MAX_LABEL_VALUE));
    labels.property_names = Some(Box::new(text(1..=MAX_LABEL_KEY).into()));
    labels.max_properties = Some(MAX_LABELS);
    labels
}

/// A heartbeat, in which `vms` and `vms_delta` exclude each other: it is not one in which both are more than `null`.
///
/// An `anyOf` beside the fields would say the same, but generators of code make types of its branches. They also make
/// types of fields directly below `not`; what is below an `if` there, which only `else` makes relevant, they ignore.
fn with_one_inventory(heartbeat: Object) -> Object {
    let both = json!({
        "required": ["vms", "vms_delta"],
        "properties": {"vms": {"type": "array", "items": {}}, "vms_delta": {"type": "object"}},
    });
    let nothing = json!({"not": {}});
    with_keyword(heartbeat, "not", json!({"if": both, "else": nothing}))
}

/// A purge that has either conditions or `all`, expressed as in [`with_one_inventory`]: it is not one without conditions
/// that is not for all, nor one with conditions that is. A text to search for that is empty, and a least of nothing, are
/// no conditions.
fn with_one_choice(purge: Object) -> Object {
    let least = json!({"enum": [null, 0]});
    let no_filter = json!({
        "properties": {
            "search": {"enum": [null, ""]},
            "min_free_cpu_cores": least,
            "min_free_memory_mb": least,
            "min_free_vm_slots": least,
        },
        "additionalProperties": {"type": "null"},
    });
    let no_condition = json!({"properties": {"filter": no_filter, "offline_for": {"enum": [null]}}});
    let all = json!({"required": ["all"], "properties": {"all": {"const": true}}});
    let nothing = json!({"not": {}});
    let not_all = json!({"if": all, "then": nothing});
    let all = json!({"if": all, "else": nothing});
    with_keyword(purge, "not", json!({"if": no_condition, "then": not_all, "else": all}))
}

/// A heartbeat with one more field, written out: every generator reads an `allOf` of the two differently.
fn workers_heartbeat(heartbeat: &Object) -> Object {
    let whose = object("A heartbeat, and whose it is.", [("worker_id", described(any_text(), "The worker."))]);
    let mut workers_heartbeat = heartbeat.clone();
    workers_heartbeat.description = whose.description;
    workers_heartbeat.required.splice(0..0, whose.required);
    workers_heartbeat.properties = whose.properties.into_iter().chain(workers_heartbeat.properties).collect();
    workers_heartbeat
}

fn heartbeats() -> Object {
    let heartbeats = list_up_to(MAX_HEARTBEATS, named("WorkersHeartbeat"));
    let description = "Each is answered by itself: one that is refused does not spoil the others.";
    object("Heartbeats of many workers.", [("heartbeats", described(heartbeats, description))])
}
