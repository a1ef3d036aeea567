//! How the values of fields look in REST JSON; the twin of `graphql::shape`.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::object;
use crate::clock::Timestamp;
use crate::cluster::{self, Uptime, VmView, WorkerView, ZoneStats};
use crate::resolvers;

/// Declares shapes that show a value as it is.
macro_rules! plain {
    ($($name:ident($value:ty) from $($from:ty),+;)+) => { $(
        #[derive(Serialize)]
        #[serde(transparent)]
        pub(super) struct $name($value);

        $(impl From<$from> for $name {
            fn from(value: $from) -> Self {
                Self(value as $value)
            }
        })+
    )+ };
}

plain! {
    Id(Arc<str>) from Arc<str>;
    OptionalId(Option<Arc<str>>) from Option<Arc<str>>;
    Text(Arc<str>) from Arc<str>;
    OptionalText(Option<Arc<str>>) from Option<Arc<str>>;
    // A zone that nobody named is the empty text.
    Zone(Arc<str>) from Arc<str>;
    Labels(cluster::Labels) from cluster::Labels;
    TextList(Vec<Arc<str>>) from Vec<Arc<str>>;
    Int(u64) from u32, u64, usize;
    Int53(u64) from u64;
    Percent(f64) from f64;
    Bool(bool) from bool;
}

/// Declares shapes that show a value by its word.
macro_rules! words {
    ($($name:ident)+) => { $(
        pub(super) struct $name(cluster::$name);

        impl From<cluster::$name> for $name {
            fn from(word: cluster::$name) -> Self {
                Self(word)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }
    )+ };
}

words! { WorkerStatus SchedulingPolicy VmStatus EventKind }

/// Declares shapes that show a value as text.
macro_rules! texts {
    ($($name:ident($value:ty) as $text:expr;)+) => { $(
        pub(super) struct $name($value);

        impl From<$value> for $name {
            fn from(value: $value) -> Self {
                Self(value)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let text: fn(&$value) -> String = $text;
                serializer.serialize_str(&text(&self.0))
            }
        }
    )+ };
}

texts! {
    // RFC 3339 in UTC, with a fraction only if it is not zero.
    DateTime(Timestamp) as |time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    Duration(Uptime) as |uptime| uptime.to_string();
    Cursor(cluster::Cursor) as |cursor| cursor.to_string();
}

impl Hash for Cursor {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

/// A cursor, if there is one.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct OptionalCursor(Option<Cursor>);

impl From<Option<cluster::Cursor>> for OptionalCursor {
    fn from(cursor: Option<cluster::Cursor>) -> Self {
        Self(cursor.map(Cursor))
    }
}

/// Seconds, whole where they are whole.
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
pub(super) struct Zones(Vec<ZoneStats>);

impl From<Vec<ZoneStats>> for Zones {
    fn from(zones: Vec<ZoneStats>) -> Self {
        Self(zones)
    }
}

impl Serialize for Zones {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for ZoneStats { name, workers } in &self.0 {
            map.serialize_entry(name, workers)?;
        }
        map.end()
    }
}

/// VMs inside another object.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Vms(Vec<object::ListedVm>);

impl From<Vec<VmView>> for Vms {
    fn from(vms: Vec<VmView>) -> Self {
        Self(vms.into_iter().map(object::ListedVm).collect())
    }
}

/// A worker inside another object.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Worker(object::Worker);

impl From<WorkerView> for Worker {
    fn from(worker: WorkerView) -> Self {
        Self(object::Worker(worker))
    }
}

/// VMs of a report that were left out; the reasons by id.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct SetAside(BTreeMap<String, String>);

impl From<Vec<resolvers::SetAside>> for SetAside {
    fn from(set_aside: Vec<resolvers::SetAside>) -> Self {
        Self(set_aside.into_iter().map(|resolvers::SetAside { id, reason }| (id, reason)).collect())
    }
}
