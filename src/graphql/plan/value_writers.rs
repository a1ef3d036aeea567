//! Leaf values as JSON: writes the value of a field in the form of its GraphQL type.
//!
//! Its twin [`schema::value_types`](crate::graphql::schema::value_types) makes the engine's values of the same types.
//! That both agree is tested with random documents (`tests`).

use std::sync::Arc;
use std::time;

use async_graphql::resolver_utils::EnumType;

use crate::clock::{Rfc3339, Timestamp};
use crate::cluster::{self, Uptime};
use crate::graphql::schema::value_types::{self, FromDomain, Int, Int53, Seconds};
use crate::json;

/// A GraphQL type whose values are written straight to JSON.
pub(super) trait WriteJson<V> {
    /// Writes a value of the domain as this type.
    fn write(value: V, out: &mut Vec<u8>);
}

fn word<W: EnumType>(word: W, out: &mut Vec<u8>) {
    if let Some(item) = W::items().iter().find(|item| item.value == word) {
        json::plain(item.name, out);
    }
}

fn optional_word<W: EnumType>(value: Option<impl Into<W>>, out: &mut Vec<u8>) {
    match value {
        Some(value) => word::<W>(value.into(), out),
        None => out.extend_from_slice(b"null"),
    }
}

macro_rules! writes {
    ($($shape:ty: |$value:ident: $from:ty, $out:ident| $write:expr;)+) => { $(
        impl WriteJson<$from> for $shape {
            fn write($value: $from, $out: &mut Vec<u8>) {
                $write
            }
        }
    )+ };
}

writes! {
    value_types::Id: |id: &str, out| json::text(id, out);
    value_types::OptionalId: |id: Option<&str>, out| json::optional(id, out);
    value_types::Text: |value: &str, out| json::text(value, out);
    value_types::OptionalText: |value: Option<&str>, out| json::optional(value, out);
    value_types::Zone: |zone: &str, out| json::optional((!zone.is_empty()).then_some(zone), out);
    value_types::TextList: |texts: &[Arc<str>], out| json::list(texts, out, |entry, out| json::text(entry, out));
    Int: |number: i32, out| json::value(&number, out);
    Int: |number: u32, out| json::value(&<Int as FromDomain<_>>::of(number), out);
    Int: |number: u64, out| json::value(&<Int as FromDomain<_>>::of(number), out);
    Int: |number: usize, out| json::value(&<Int as FromDomain<_>>::of(number), out);
    Int53: |number: u64, out| json::value(&<Int53 as FromDomain<_>>::of(number).0, out);
    value_types::Percent: |share: f64, out| json::hundredths(share, out);
    Seconds: |duration: time::Duration, out| json::value(&<Seconds as FromDomain<_>>::of(duration), out);
    value_types::Bool: |truth: bool, out| json::truth(truth, out);
    value_types::DateTime: |time: Timestamp, out| json::plain(Rfc3339::of(time), out);
    value_types::OptionalDateTime: |time: Option<Timestamp>, out| match time {
        Some(time) => json::plain(Rfc3339::of(time), out),
        None => out.extend_from_slice(b"null"),
    };
    value_types::Duration: |uptime: Uptime, out| json::plain(uptime.text(), out);
    value_types::Cursor: |cursor: cluster::Cursor, out| json::displayed(cursor, out);
    value_types::OptionalCursor: |cursor: Option<cluster::Cursor>, out| match cursor {
        Some(cursor) => json::displayed(cursor, out),
        None => out.extend_from_slice(b"null"),
    };
    value_types::OptionalInt: |number: Option<u64>, out| match number {
        Some(number) => <Int as WriteJson<u64>>::write(number, out),
        None => out.extend_from_slice(b"null"),
    };
    value_types::DrainState: |state: cluster::DrainState, out| word(Self::from(state), out);
    value_types::BlockerKind: |kind: value_types::BlockerKind, out| word(kind, out);
    value_types::EventId: |cursor: &cluster::Cursor, out| json::plain(cluster::event_id(cursor), out);
    value_types::OptionalActor: |actor: Option<cluster::Actor>, out| optional_word::<value_types::EventActor>(actor, out);
    value_types::OptionalVmStatus: |status: Option<cluster::VmStatus>, out| {
        optional_word::<value_types::VmStatus>(status, out)
    };
    value_types::WorkerStatus: |status: cluster::WorkerStatus, out| word(Self::from(status), out);
    value_types::SchedulingPolicy: |policy: cluster::SchedulingPolicy, out| word(Self::from(policy), out);
    value_types::VmStatus: |status: cluster::VmStatus, out| word(Self::from(status), out);
    value_types::EventKind: |kind: cluster::EventKind, out| word(Self::from(kind), out);
}
