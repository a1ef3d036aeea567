//! How the values of fields are written as JSON; the twin of [`shape`], which makes values of
//! them. That both say the same is tested with documents made at random.

use std::io::Write as _;
use std::sync::Arc;
use std::time;

use async_graphql::resolver_utils::EnumType;
use serde::Serialize;

use crate::clock::{Rfc3339, Timestamp};
use crate::cluster::{self, Uptime};
use crate::graphql::shape::{self, Int, Int53, Seconds, Shape};

/// A shape that is written at once.
pub(super) trait Write<V> {
    /// Writes a value in this shape.
    fn write(value: V, out: &mut Vec<u8>);
}

/// Anything that looks in JSON as it is in the program.
pub(super) fn json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    // Writing to memory does not fail, and neither does any of these values.
    let _ = serde_json::to_writer(out, value);
}

/// What has nothing in it that JSON would have to escape.
pub(super) fn plain(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn displayed(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    let _ = write!(out, "\"{value}\"");
}

fn word<W: EnumType>(word: W, out: &mut Vec<u8>) {
    if let Some(item) = W::items().iter().find(|item| item.value == word) {
        plain(item.name, out);
    }
}

macro_rules! writes {
    ($($shape:ty: |$value:ident: $from:ty, $out:ident| $write:expr;)+) => { $(
        impl Write<$from> for $shape {
            fn write($value: $from, $out: &mut Vec<u8>) {
                $write
            }
        }
    )+ };
}

writes! {
    shape::Id: |id: &str, out| json(id, out);
    shape::OptionalId: |id: Option<&str>, out| json(&id, out);
    shape::Text: |text: &str, out| json(text, out);
    shape::OptionalText: |text: Option<&str>, out| json(&text, out);
    shape::Zone: |zone: &str, out| json(&(!zone.is_empty()).then_some(zone), out);
    shape::TextList: |list: &[Arc<str>], out| json(list, out);
    Int: |number: i32, out| json(&number, out);
    Int: |number: u32, out| json(&<Int as Shape<_>>::of(number), out);
    Int: |number: u64, out| json(&<Int as Shape<_>>::of(number), out);
    Int: |number: usize, out| json(&<Int as Shape<_>>::of(number), out);
    Int53: |number: u64, out| json(&<Int53 as Shape<_>>::of(number).0, out);
    shape::Percent: |share: f64, out| json(&share, out);
    Seconds: |duration: time::Duration, out| json(&<Seconds as Shape<_>>::of(duration), out);
    shape::Bool: |truth: bool, out| out.extend_from_slice(if truth { b"true" } else { b"false" });
    shape::DateTime: |time: Timestamp, out| plain(Rfc3339::of(time).as_str(), out);
    shape::Duration: |uptime: Uptime, out| displayed(uptime, out);
    shape::Cursor: |cursor: cluster::Cursor, out| displayed(cursor, out);
    shape::OptionalCursor: |cursor: Option<cluster::Cursor>, out| match cursor {
        Some(cursor) => displayed(cursor, out),
        None => out.extend_from_slice(b"null"),
    };
    shape::WorkerStatus: |status: cluster::WorkerStatus, out| word(Self::from(status), out);
    shape::SchedulingPolicy: |policy: cluster::SchedulingPolicy, out| word(Self::from(policy), out);
    shape::VmStatus: |status: cluster::VmStatus, out| word(Self::from(status), out);
    shape::EventKind: |kind: cluster::EventKind, out| word(Self::from(kind), out);
}
