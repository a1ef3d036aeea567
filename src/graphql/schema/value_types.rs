//! The GraphQL type of each field value: conversions from values of the domain, and the small object types and enums.
//!
//! The twin for REST is `rest::json_values`; plans write the same values straight to JSON in
//! `plan::value_writers`.

use std::sync::Arc;
use std::time;

use async_graphql::{Enum, ID, SimpleObject};

use super::scalars;
pub use super::scalars::{Cursor, DateTime, Duration, Int53};
use crate::auth;
use crate::clock::Timestamp;
use crate::cluster::{self, Uptime};
use crate::resolvers;

/// A GraphQL type that is made from a value of the domain.
pub trait FromDomain<V> {
    /// Converts a value.
    fn of(value: V) -> Self;
}

pub type Id = ID;
pub type OptionalId = Option<ID>;
pub type Text = Arc<str>;
pub type OptionalText = Option<Arc<str>>;
pub type OmittedId = OptionalId;
pub type OmittedText = OptionalText;
pub type Zone = Option<Arc<str>>;
pub type TextList = Vec<Arc<str>>;
pub type Int = i32;
pub type OptionalInt = Option<i32>;
pub type EventId = ID;
pub type OptionalActor = Option<EventActor>;
pub type OptionalVmStatus = Option<VmStatus>;
pub type OptionalInt53 = Option<scalars::Int53>;
pub type Percent = f64;
pub type Seconds = f64;
pub type Bool = bool;
pub type Blockers = Vec<DrainBlocker>;
pub type OmittedDateTime = OptionalDateTime;
pub type OptionalDateTime = Option<scalars::DateTime>;
pub type OptionalCursor = Option<scalars::Cursor>;
pub type Labels = Vec<Label>;
pub type Zones = Vec<ZoneStats>;
pub type ZoneCounts = Vec<ZoneCount>;
pub type RejectedVms = Vec<VmSetAside>;
pub type EventKind = ClusterEventKind;

macro_rules! conversions {
    ($($shape:ty: |$value:ident: $from:ty| $to:expr;)+) => { $(
        impl FromDomain<$from> for $shape {
            fn of($value: $from) -> Self {
                $to
            }
        }
    )+ };
}

conversions! {
    Id: |id: &str| ID::from(id);
    OptionalId: |id: Option<&str>| id.map(ID::from);
    Text: |text: &str| text.into();
    OptionalText: |text: Option<&str>| text.map(Into::into);
    // The empty zone, of workers without one, is null.
    Zone: |zone: &str| (!zone.is_empty()).then(|| zone.into());
    TextList: |list: &[Arc<str>]| list.to_vec();
    // What is accepted as input keeps these within range; see `resolvers::checks`.
    Int: |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    Int: |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    Int: |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    Int: |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    Int53: |number: u64| scalars::Int53(i64::try_from(number).unwrap_or(i64::MAX));
    OptionalInt: |number: Option<u64>| number.map(Int::of);
    Blockers: |blockers: Vec<cluster::Blocker>| blockers.into_iter().map(Into::into).collect();
    DrainState: |word: cluster::DrainState| word.into();
    OptionalInt53: |number: Option<u64>| number.map(Int53::of);
    EventId: |cursor: &cluster::Cursor| ID(cluster::event_id(cursor));
    OptionalActor: |actor: Option<cluster::Actor>| actor.map(Into::into);
    OptionalVmStatus: |status: Option<cluster::VmStatus>| status.map(Into::into);
    Percent: |share: f64| share;
    Seconds: |duration: time::Duration| duration.as_millis() as f64 / 1_000.0;
    Bool: |truth: bool| truth;
    DateTime: |time: Timestamp| scalars::DateTime(time);
    OptionalDateTime: |time: Option<Timestamp>| time.map(scalars::DateTime);
    Duration: |uptime: Uptime| scalars::Duration(uptime.to_string());
    Cursor: |cursor: cluster::Cursor| scalars::Cursor(cursor.to_string());
    OptionalCursor: |cursor: Option<cluster::Cursor>| cursor.map(|cursor| scalars::Cursor(cursor.to_string()));
    Labels: |labels: &cluster::Labels| labels.iter().map(Label::from).collect();
    Zones: |zones: &[cluster::ZoneStats]| zones.iter().map(ZoneStats::from).collect();
    ZoneCounts: |zones: &[cluster::ZoneCount]| zones.iter().map(ZoneCount::from).collect();
    RejectedVms: |rejected_vms: Vec<resolvers::RejectedVm>| rejected_vms.into_iter().map(Into::into).collect();
    WorkerStatus: |word: cluster::WorkerStatus| word.into();
    SchedulingPolicy: |word: cluster::SchedulingPolicy| word.into();
    VmStatus: |word: cluster::VmStatus| word.into();
    EventKind: |word: cluster::EventKind| word.into();
    TokenKind: |kind: auth::TokenKind| kind.into();
    TokenRole: |role: auth::Role| role.into();
    TokenState: |state: auth::TokenState| state.into();
    RefusalReason: |reason: cluster::RefusalReason| reason.into();
    ReservationState: |state: cluster::ReservationState| state.into();
}

/// Text by key: free label of a worker, or metadata of a drain.
#[derive(SimpleObject)]
pub struct Label {
    /// What it is about.
    pub key: Arc<str>,
    /// What it says.
    pub value: Arc<str>,
}

impl From<(&Arc<str>, &Arc<str>)> for Label {
    fn from((key, value): (&Arc<str>, &Arc<str>)) -> Self {
        Self { key: key.clone(), value: value.clone() }
    }
}

/// Registered workers of one zone.
#[derive(SimpleObject)]
pub struct ZoneStats {
    /// Id of the zone, for caches of clients: no other object has it.
    pub id: ID,
    /// Name of the zone.
    pub name: Arc<str>,
    /// How many workers stand there.
    pub workers: i32,
}

impl From<&cluster::ZoneStats> for ZoneStats {
    fn from(cluster::ZoneStats { name, workers }: &cluster::ZoneStats) -> Self {
        Self { id: ID(cluster::zone_id(name)), name: name.clone(), workers: Int::of(*workers) }
    }
}

/// One thing that is in the way of powering a host off.
#[derive(SimpleObject)]
pub struct DrainBlocker {
    /// What kind of thing it is.
    pub kind: BlockerKind,
    /// The VM; null if it is none.
    pub vm_id: OptionalId,
    /// Since when it has been in the way of this drain; null if that is not known.
    pub since: OptionalDateTime,
    /// What the worker says of the VM, such as why it could not be moved; null if nothing.
    pub note: Option<Arc<str>>,
    /// What it is, as a sentence.
    pub message: Arc<str>,
}

impl From<cluster::Blocker> for DrainBlocker {
    fn from(cluster::Blocker { kind, vm_id, since, note, message }: cluster::Blocker) -> Self {
        let vm_id = vm_id.map(|id| ID::from(id.as_str()));
        Self { kind: kind.into(), vm_id, since: OptionalDateTime::of(since), note, message: message.into() }
    }
}

/// How many of what is counted are in a zone.
#[derive(SimpleObject)]
pub struct ZoneCount {
    /// Name of the zone.
    pub zone: Arc<str>,
    /// How many.
    pub count: i32,
}

impl From<&cluster::ZoneCount> for ZoneCount {
    fn from(cluster::ZoneCount { zone, count }: &cluster::ZoneCount) -> Self {
        Self { zone: zone.clone(), count: Int::of(*count) }
    }
}

/// VM of a report that was left out.
#[derive(SimpleObject)]
pub struct VmSetAside {
    /// Its id as it was reported.
    id: ID,
    /// Why it was left out.
    reason: String,
}

impl From<resolvers::RejectedVm> for VmSetAside {
    fn from(resolvers::RejectedVm { id, reason }: resolvers::RejectedVm) -> Self {
        Self { id: ID(id), reason }
    }
}

/// What a worker does with new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::WorkerStatus")]
pub enum WorkerStatus {
    /// Takes and runs work.
    Active,
    /// Runs what it has, takes nothing new.
    Draining,
    /// Not heard from for longer than the heartbeat time-out.
    Offline,
}

/// What operators asked for; kept while a worker is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::SchedulingPolicy")]
pub enum SchedulingPolicy {
    /// New work may be placed there.
    Active,
    /// No new work is placed there; what runs keeps running.
    Draining,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::DrainState")]
pub enum DrainState {
    /// It stands, and is not complete.
    Draining,
    /// It stands, is not complete, and its deadline has passed. It may still become complete.
    Overdue,
    /// The worker has acknowledged it and told that no VM holds a slot, and no slot is reserved.
    Complete,
    /// The worker was activated before the drain was complete.
    Canceled,
    /// The worker was activated after the drain was complete.
    Ended,
}

/// What kind of thing is in the way of powering a host off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::BlockerKind")]
pub enum BlockerKind {
    /// The worker is not heard from: what runs there is not known.
    WorkerOffline,
    /// The process of the worker may not know of the drain yet, and take another VM.
    NotAcknowledged,
    /// The process of the worker has not told its whole inventory since it started.
    NoInventory,
    /// The worker reported VMs that hold a slot and were set aside, because of their ids: what becomes of them is not known.
    VmsSetAside,
    /// What operators have the agent run on a change of the policy has failed.
    PolicyHookFailed,
    /// A reservation holds slots on the worker: their VMs may be on their way.
    Reserved,
    /// A VM holds a slot, and is not on its way out.
    VmRunning,
    /// A VM holds a slot, and is shutting down.
    VmStopping,
}

/// What a VM is doing. The first four hold a slot on the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::VmStatus")]
pub enum VmStatus {
    /// Accepted, nothing started yet.
    Created,
    /// Booting.
    Starting,
    /// Up.
    Running,
    /// Shutting down.
    Stopping,
    /// Down; can be started again.
    Stopped,
    /// Ended by an error.
    Failed,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::EventKind")]
pub enum ClusterEventKind {
    /// A join token let a worker in, which has a token of its own from then on.
    WorkerJoined,
    /// A worker came that was not known before.
    WorkerRegistered,
    /// A known worker described itself anew, such as with other labels.
    WorkerUpdated,
    /// A known worker's process started again.
    WorkerRestarted,
    /// A worker fell silent for longer than the heartbeat time-out.
    WorkerOffline,
    /// A worker that was announced offline is heard again.
    WorkerOnline,
    /// An operator asked that no new work be placed there: a drain began.
    WorkerDrainStarted,
    /// An operator gave another reason, deadline or metadata for a drain that stands.
    WorkerDrainChanged,
    /// The deadline of a drain passed before the drain was complete. Nothing is stopped.
    WorkerDrainOverdue,
    /// A worker that is drained has acknowledged it, and told that no VM holds a slot.
    WorkerDrainComplete,
    /// A VM appeared on a worker whose drain was complete.
    WorkerDrainReopened,
    /// An operator opened it for new work again.
    WorkerActivated,
    /// A worker said goodbye, or an operator took it out of service; it is still registered.
    WorkerLeft,
    /// A worker was removed with all that was known of it.
    WorkerPurged,
    /// A VM began to hold a slot on a worker.
    VmStarted,
    /// A VM's description or status changed.
    VmChanged,
    /// A VM was shut down: it is listed on its worker still, and holds no slot there.
    VmStopped,
    /// A VM ended by an error.
    VmFailed,
    /// A VM is gone from a worker while another worker reports that it holds a slot there.
    VmMoved,
    /// A VM is gone from what its worker reports, without having stopped or failed before.
    VmVanished,
    /// A VM was lost with its worker, whose host was started anew, or which was removed.
    VmLost,
    /// A token was created.
    TokenCreated,
    /// A token was revoked.
    TokenRevoked,
    /// Requests came with tokens that are not accepted.
    AuthenticationFailed,
    /// A browser signed in, which opened a session.
    SignedIn,
    /// A browser signed out, which closed its session.
    SignedOut,
    /// Room was reserved for VMs that are not there yet.
    ReservationHeld,
    /// A VM took a slot that was held for it.
    ReservationTaken,
    /// Slots that were held were given back.
    ReservationReleased,
    /// The time of a reservation was over before a VM took each of its slots.
    ReservationExpired,
    /// Nothing happened: everything up to this cursor has been told. In streams only.
    Synced,
    /// The cursor given cannot be resumed: read the present state, then go on from this event's cursor. In streams
    /// only.
    Resync,
}

/// Kind of a token: where its secret counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "auth::TokenKind")]
pub enum TokenKind {
    /// Sent with each request, in `Authorization`.
    Bearer,
    /// A browser's, sent in its cookie.
    Session,
    /// Part of a sign-in link: opens one session, and is sent for nothing else.
    SignInCode,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "auth::Role")]
pub enum TokenRole {
    /// Asks every question and follows every stream, except about tokens.
    Viewer,
    /// May also drain and activate workers, and take them out of service.
    Operator,
    /// May also purge workers, and create, list and revoke tokens.
    Admin,
    /// Registers workers, sends their heartbeats and deregisters them, each of its own; reads nothing.
    Worker,
    /// Lets workers join, which then have tokens of their own; nothing else.
    Join,
}

/// Whether a token is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "auth::TokenState")]
pub enum TokenState {
    /// It is.
    Live,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// Why a VM does not fit on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::RefusalReason")]
pub enum RefusalReason {
    /// The request leaves the worker or its zone out.
    Excluded,
    /// It is in none of the zones that were asked for.
    Zone,
    /// It lacks a label that was asked for.
    Labels,
    /// It lacks a capability that was asked for.
    Capabilities,
    /// It is offline.
    Offline,
    /// It is draining.
    Draining,
    /// The present life of its process has not reported its inventory.
    NoInventory,
    /// Too few CPU cores are free.
    CpuCores,
    /// Too little memory is free.
    Memory,
    /// Too little disk is free.
    Disk,
    /// No VM slot is free.
    VmSlots,
    /// Another VM of the request is on the worker or in its zone, and they have to be distinct.
    Distinct,
}

/// Why a worker was not removed with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "resolvers::purge::PurgeRefusalReason")]
pub enum PurgeRefusalReason {
    /// VMs hold slots on it, and it was not forced.
    HoldsVms,
    /// It has changed since the workers were looked for, and does not match any more.
    Changed,
}

/// What has become of a reservation, and of each of its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::ReservationState")]
pub enum ReservationState {
    /// Room is held. Of a reservation: for at least one slot.
    Held,
    /// VMs are there. Of a reservation: one in each slot that was not released before.
    Taken,
    /// The room was given back: by a request, or because the worker was removed.
    Released,
    /// The time was over before a VM came. Of a reservation: for at least one slot.
    Expired,
}

/// Who causes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "cluster::Actor")]
pub enum EventActor {
    /// A worker, or a program that speaks for it.
    Worker,
    /// An operator.
    Operator,
    /// The server, which found it out.
    Server,
}
