//! The JSON of field values in REST, one type for each shape of the field lists; the twin of
//! `graphql::schema::value_types`.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::auth;
use crate::clock::{Rfc3339, Timestamp};
use crate::cluster::{self, Uptime, ZoneCount, ZoneStats};
use crate::json;
use crate::resolvers;

/// A value that is written straight to bytes, without serde.
pub(super) trait WriteValue {
    /// Writes it.
    fn write(&self, out: &mut Vec<u8>);
}

/// Declares shapes of values that are written as they are.
macro_rules! plain {
    ($($name:ident($value:ty) from $($from:ty),+; $write:expr;)+) => { $(
        #[derive(Serialize)]
        #[serde(transparent)]
        pub(super) struct $name($value);

        $(impl From<$from> for $name {
            fn from(value: $from) -> Self {
                Self(value as $value)
            }
        })+

        impl WriteValue for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $write(self.0, out);
            }
        }
    )+ };
}

/// Declares shapes of borrowed values that are written as they are.
macro_rules! borrowed {
    ($($name:ident($value:ty); $write:expr;)+) => { $(
        #[derive(Serialize)]
        #[serde(transparent)]
        pub(super) struct $name<'a>($value);

        impl<'a> From<$value> for $name<'a> {
            fn from(value: $value) -> Self {
                Self(value)
            }
        }

        impl WriteValue for $name<'_> {
            fn write(&self, out: &mut Vec<u8>) {
                $write(self.0, out);
            }
        }
    )+ };
}

borrowed! {
    Id(&'a str); json::text;
    OptionalId(Option<&'a str>); json::optional;
    Text(&'a str); json::text;
    OptionalText(Option<&'a str>); json::optional;
    // For optional fields, whose key is left out while they have no value.
    OmittedId(&'a str); json::text;
    OmittedText(&'a str); json::text;
    // A worker without a zone has the empty text.
    Zone(&'a str); json::text;
    Labels(&'a cluster::Labels); write_labels;
    TextList(&'a [Arc<str>]); |texts, out| json::list(texts, out, |text: &Arc<str>, out| json::text(text, out));
}

plain! {
    Int(u64) from u32, u64, usize; |number, out: &mut Vec<u8>| json::value(&number, out);
    Int53(u64) from u64; |number, out: &mut Vec<u8>| json::value(&number, out);
    // For optional fields, whose key is left out while they have no value.
    OptionalInt53(u64) from u64; |number, out: &mut Vec<u8>| json::value(&number, out);
    Percent(f64) from f64; json::hundredths;
    Bool(bool) from bool; json::truth;
}

fn write_labels(labels: &cluster::Labels, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (key, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::text(key, out);
        out.push(b':');
        json::text(value, out);
    }
    out.push(b'}');
}

/// Declares shapes of enums, which are written as words.
macro_rules! words {
    ($($name:ident($word:ty))+) => { $(
        pub(super) struct $name($word);

        impl From<$word> for $name {
            fn from(word: $word) -> Self {
                Self(word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl WriteValue for $name {
            fn write(&self, out: &mut Vec<u8>) {
                json::plain(self.0.as_str(), out);
            }
        }
    )+ };
}

words! {
    WorkerStatus(cluster::WorkerStatus)
    SchedulingPolicy(cluster::SchedulingPolicy)
    VmStatus(cluster::VmStatus)
    EventKind(cluster::EventKind)
    TokenKind(auth::TokenKind)
    TokenRole(auth::Role)
    TokenState(auth::TokenState)
    DrainState(cluster::DrainState)
    RefusalReason(cluster::RefusalReason)
    ReservationState(cluster::ReservationState)
}

/// Declares shapes that are written as text.
macro_rules! texts {
    ($($name:ident($value:ty) as |$this:ident| $text:expr; $write:expr;)+) => { $(
        pub(super) struct $name($value);

        impl From<$value> for $name {
            fn from(value: $value) -> Self {
                Self(value)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $this = &self.0;
                serializer.collect_str(&$text)
            }
        }

        impl WriteValue for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $write(&self.0, out);
            }
        }
    )+ };
}

texts! {
    Duration(Uptime) as |uptime| uptime; |uptime: &Uptime, out| json::plain(uptime.text(), out);
    Cursor(cluster::Cursor) as |cursor| cursor; json::displayed;
}

/// The id of an event.
pub(super) struct EventId(String);

impl From<&cluster::Cursor> for EventId {
    fn from(cursor: &cluster::Cursor) -> Self {
        Self(cluster::event_id(cursor))
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Declares shapes of enums that may be missing: words, or null.
macro_rules! optional_words {
    ($($name:ident($word:ty))+) => { $(
        pub(super) struct $name(Option<$word>);

        impl From<Option<$word>> for $name {
            fn from(word: Option<$word>) -> Self {
                Self(word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.map(|word| word.as_str()).serialize(serializer)
            }
        }
    )+ };
}

optional_words! {
    OptionalActor(cluster::Actor)
    OptionalVmStatus(cluster::VmStatus)
}

/// A moment in RFC 3339.
pub(super) struct DateTime(Timestamp);

impl From<Timestamp> for DateTime {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Rfc3339::of(self.0).as_str())
    }
}

impl WriteValue for DateTime {
    fn write(&self, out: &mut Vec<u8>) {
        json::plain(Rfc3339::of(self.0), out);
    }
}

/// A moment, or null.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct OptionalDateTime(Option<DateTime>);

impl From<Option<Timestamp>> for OptionalDateTime {
    fn from(time: Option<Timestamp>) -> Self {
        Self(time.map(DateTime))
    }
}

/// A moment, for optional fields, whose key is left out while they have no value.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct OmittedDateTime(DateTime);

impl From<Timestamp> for OmittedDateTime {
    fn from(time: Timestamp) -> Self {
        Self(DateTime(time))
    }
}

/// A number, or null.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct OptionalInt(Option<u64>);

impl From<Option<u64>> for OptionalInt {
    fn from(number: Option<u64>) -> Self {
        Self(number)
    }
}

/// What is in the way of powering a host off.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Blockers(Vec<Blocker>);

#[derive(Serialize)]
struct Blocker {
    kind: &'static str,
    vm_id: Option<String>,
    since: OptionalDateTime,
    note: Option<Arc<str>>,
    message: String,
}

impl From<Vec<cluster::Blocker>> for Blockers {
    fn from(blockers: Vec<cluster::Blocker>) -> Self {
        let blocker = |cluster::Blocker { kind, vm_id, since, note, message }| Blocker {
            kind: cluster::BlockerKind::as_str(kind),
            vm_id: vm_id.map(|id: cluster::VmId| id.to_string()),
            since: since.into(),
            note,
            message,
        };
        Self(blockers.into_iter().map(blocker).collect())
    }
}

impl Hash for Cursor {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

/// A cursor, or null.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct OptionalCursor(Option<Cursor>);

impl From<Option<cluster::Cursor>> for OptionalCursor {
    fn from(cursor: Option<cluster::Cursor>) -> Self {
        Self(cursor.map(Cursor))
    }
}

/// Seconds, without a fraction if it is zero.
pub(super) struct Seconds(time::Duration);

impl From<time::Duration> for Seconds {
    fn from(duration: time::Duration) -> Self {
        Self(duration)
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_millis() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_millis() as f64 / 1_000.0)
        }
    }
}

/// Workers by zone, as an object.
pub(super) struct Zones<'a>(&'a [ZoneStats]);

impl<'a> From<&'a [ZoneStats]> for Zones<'a> {
    fn from(zones: &'a [ZoneStats]) -> Self {
        Self(zones)
    }
}

impl Serialize for Zones<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for ZoneStats { name, workers } in self.0 {
            map.serialize_entry(name, workers)?;
        }
        map.end()
    }
}

/// Counts by zone, as an object.
pub(super) struct ZoneCounts<'a>(&'a [ZoneCount]);

impl<'a> From<&'a [ZoneCount]> for ZoneCounts<'a> {
    fn from(zones: &'a [ZoneCount]) -> Self {
        Self(zones)
    }
}

impl Serialize for ZoneCounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|ZoneCount { zone, count }| (zone, count)))
    }
}

/// VMs of a report that were rejected: the reasons by id.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct RejectedVms(BTreeMap<String, String>);

impl From<Vec<resolvers::RejectedVm>> for RejectedVms {
    fn from(rejected_vms: Vec<resolvers::RejectedVm>) -> Self {
        Self(rejected_vms.into_iter().map(|resolvers::RejectedVm { id, reason }| (id, reason)).collect())
    }
}

/// Shapes that are rare, and are written by serde.
macro_rules! by_serde {
    ($($shape:ty),+) => { $(
        impl WriteValue for $shape {
            fn write(&self, out: &mut Vec<u8>) {
                json::value(self, out);
            }
        }
    )+ };
}

by_serde!(
    Blockers,
    EventId,
    OmittedDateTime,
    OptionalActor,
    OptionalCursor,
    OptionalDateTime,
    OptionalInt,
    OptionalVmStatus,
    Seconds,
    ZoneCounts<'_>,
    Zones<'_>,
    RejectedVms
);
