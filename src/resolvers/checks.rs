//! Checks of single values in requests, with their limits: texts, figures, revisions, words, durations.
//!
//! Both protocols and the typed inputs ([`worker_input`](super::worker_input), [`filter_input`](super::filter_input))
//! call these, so that both accept and refuse the same. The limits keep every figure within what both protocols carry
//! exactly, and totals within 64 bits. How a request is parsed is not decided here.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use go_duration::GoDuration;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::cluster::{Actor, EventKind, MAX_EXACT, VmStatus};
use crate::error::{Error, Result};

/// Largest figure of one worker or VM: what GraphQL's `Int` can carry.
pub(crate) const MAX_FIGURE: i64 = i32::MAX as i64;
/// Most CPU cores of one machine.
pub(crate) const MAX_CPU_CORES: i64 = 100_000;
/// Most seconds that CPU cores of one host were busy since it was started, all of them together: beyond it, floats are not
/// exact to the second. The largest machine needs 2,800 years for it.
pub(crate) const MAX_BUSY_SECONDS: f64 = MAX_EXACT as f64;
/// Largest load average. In thousandths, those of all workers at one moment add up within 64 bits.
pub(crate) const MAX_LOAD: f64 = 1e9;
/// Most VMs of one worker; 200,000 workers of this size still add up within GraphQL's `Int`.
pub(crate) const MAX_VMS: i64 = 10_000;
/// How many VMs a worker may hold if it does not say.
pub(crate) const DEFAULT_MAX_VMS: i64 = 100;
/// Longest text of a worker's or VM's description, in characters.
pub(crate) const MAX_TEXT: usize = 255;
/// Longest reason, in characters.
pub(crate) const MAX_REASON: usize = 1_024;
/// Longest text of a policy hook's failure, in characters.
pub(crate) const MAX_POLICY_ERROR: usize = 500;
/// Longest time that a drain is given: a year. One that nobody waits for has no deadline.
pub(crate) const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Longest time between two messages of a stream that a client may ask for.
pub(crate) const LONGEST_PERIOD: Duration = Duration::from_secs(60 * 60);
/// Most entries of a drain's metadata. Their keys and values are as long as those of labels.
pub(crate) const MAX_METADATA: usize = 64;
/// The longest note on a VM, in characters. It is a sentence in a table, and there may be one for each VM.
pub(crate) const MAX_NOTE: usize = 200;
/// Largest `last_incarnation` of a registration: as many further incarnations still fit into an exact number.
pub(crate) const MAX_LAST_INCARNATION: i64 = MAX_EXACT / 2;
/// How much of a refused value is repeated in the refusal, in characters.
const MAX_REPEATED: usize = 60;
/// Most entries of a list in a filter: each row is compared with every entry.
pub(crate) const MAX_WANTED: usize = 1_000;
/// Most labels, and most capabilities, of one worker.
pub(crate) const MAX_LABELS: usize = 64;
/// Longest key of a label, in characters.
pub(crate) const MAX_LABEL_KEY: usize = 63;
/// Longest value of a label, in characters.
pub(crate) const MAX_LABEL_VALUE: usize = 256;

/// A whole number as it was sent, not checked against its range yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole(pub i64);

/// Not derived, for the text of its refusal: the derived one would name a type of this program.
impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            /// `16.0` is a whole number to JSON Schema, and to clients whose language has one type of number. Beyond
            /// 2^53, where floats are not exact, it is refused.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64 {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_type(Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_i64(WholeVisitor)
    }
}

/// The boot id of a host, in a registration or a deregistration.
pub fn host_boot_id(host_boot_id: String) -> Result<Arc<str>> {
    text("host_boot_id", host_boot_id, 1..=MAX_TEXT)
}

/// The incarnation that a request names.
pub fn incarnation(number: i64) -> Result<u64> {
    exact("incarnation", Whole(number))
}

pub(super) fn last_incarnation(number: Whole) -> Result<u64> {
    match exact("last_incarnation", number) {
        Ok(number) if number > MAX_LAST_INCARNATION.unsigned_abs() => {
            Err(Error::invalid("last_incarnation", format!("must be from 0 to {MAX_LAST_INCARNATION}, not {number}")))
        }
        checked => checked,
    }
}

/// A VM's status, by its word.
pub fn vm_status(field: &'static str, text: &str) -> Result<VmStatus> {
    word(field, text, VmStatus::ALL, VmStatus::as_str)
}

/// Who causes events.
pub fn actor(field: &'static str, text: &str) -> Result<Actor> {
    word(field, text, Actor::ALL, Actor::as_str)
}

/// One of these words; the refusal of another one lists them all.
pub(super) fn word<T: FromStr + Copy>(
    field: &'static str,
    text: &str,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<T> {
    text.parse().map_err(|_| {
        let words: Vec<_> = all.iter().copied().map(as_str).collect();
        // People who know other APIs try commas.
        let hint = if text.contains(',') { "; for several, repeat the parameter" } else { "" };
        Error::invalid(field, format!("must be one of {}, not {:?}{hint}", words.join(", "), truncate(text)))
    })
}

/// Refuses a command about many objects that says neither which nor that all are meant, or both.
pub fn conditions(all: bool, is_for_all: bool) -> Result<()> {
    match (all, is_for_all) {
        (false, true) => {
            let problem = "must say which workers, unless `all` says that every worker is meant";
            Err(Error::invalid("filter", problem))
        }
        (true, false) => Err(Error::invalid("all", "must not be given together with conditions")),
        (true, true) | (false, false) => Ok(()),
    }
}

/// The reason for a command.
pub fn reason(reason: Option<String>) -> Result<Option<Arc<str>>> {
    reason.map(|reason| text("reason", reason, 0..=MAX_REASON)).transpose()
}

/// A revision that a request names.
pub fn revision(field: &'static str, number: i64) -> Result<u64> {
    exact(field, Whole(number))
}

/// A kind of event, by its word.
pub fn event_kind(field: &'static str, text: &str) -> Result<EventKind> {
    word(field, text, EventKind::ALL, EventKind::as_str)
}

/// A moment as RFC 3339 writes it.
pub fn moment(field: &'static str, text: &str) -> Result<Timestamp> {
    let moment = chrono::DateTime::parse_from_rfc3339(text);
    moment.map(Into::into).map_err(|_| {
        let form = "as RFC 3339 has it, such as 2025-11-02T12:30:45Z";
        Error::invalid(field, format!("must be a time {form}, not {:?}", truncate(text)))
    })
}

/// A length of time as Go writes it, such as `30s`.
pub fn duration(field: &'static str, text: &str, longest: Duration) -> Result<Duration> {
    let nanoseconds = text.parse::<GoDuration>().ok().and_then(|duration| u64::try_from(duration.nanoseconds()).ok());
    match nanoseconds.map(Duration::from_nanos) {
        Some(duration) if duration <= longest => Ok(duration),
        _ => Err(Error::invalid(
            field,
            format!("must be a length of time up to {}s, such as 30s, not {:?}", longest.as_secs(), truncate(text)),
        )),
    }
}

pub(super) fn text(field: &'static str, text: String, chars: RangeInclusive<usize>) -> Result<Arc<str>> {
    let count = text.chars().count();
    if count < *chars.start() {
        Err(Error::invalid(field, "must not be empty"))
    } else if count > *chars.end() {
        Err(Error::invalid(field, format!("must have at most {} characters, not {count}", chars.end())))
    } else if text.chars().any(char::is_control) {
        Err(Error::invalid(field, "must not contain control characters"))
    } else {
        Ok(text.into())
    }
}

pub(super) fn figure(field: &'static str, Whole(number): Whole, least: i64, most: i64) -> Result<u32> {
    match u32::try_from(number) {
        Ok(figure) if (least..=most).contains(&number) => Ok(figure),
        _ => Err(Error::invalid(field, format!("must be from {least} to {most}, not {number}"))),
    }
}

pub(super) fn exact(field: &'static str, Whole(number): Whole) -> Result<u64> {
    match u64::try_from(number) {
        Ok(exact) if number <= MAX_EXACT => Ok(exact),
        _ => Err(Error::invalid(field, format!("must be from 0 to {MAX_EXACT}, not {number}"))),
    }
}

/// A list in a filter, in the parameter that the protocol calls `field`.
pub fn wanted<T>(field: &'static str, list: Vec<T>) -> Result<Vec<T>> {
    at_most(field, list.len(), MAX_WANTED)?;
    Ok(list)
}

/// The beginning of a refused value, to be repeated in the refusal.
pub fn truncate(sent: &str) -> Cow<'_, str> {
    match sent.char_indices().nth(MAX_REPEATED) {
        Some((cut, _)) => format!("{}…", &sent[..cut]).into(),
        None => sent.into(),
    }
}

pub(super) fn at_most(field: &'static str, count: usize, most: usize) -> Result<()> {
    if count > most {
        Err(Error::invalid(field, format!("must have at most {most} entries, not {count}")))
    } else {
        Ok(())
    }
}
