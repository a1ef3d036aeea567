//! The JSON objects of the contract, generated from the field lists: the names of fields are the keys, in the order of
//! the lists. How a value looks is in [`json_values`](super::json_values).

use std::io::Write as _;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json_values::WriteValue;
use crate::auth::TokenId;
use crate::cluster::fields::{
    capacity_fields, evacuation_move_fields, evacuation_plan_fields, placement_assignment_fields,
    placement_candidate_fields, placement_fields, placement_refusal_fields, refusal_detail_fields, reservation_fields,
    reserved_slot_fields, stranded_vm_fields, workers_refused_fields, zone_capacity_fields,
};
use crate::cluster::fields::{
    cluster_stats_fields, drain_fields, event_fields, heartbeat_reply_fields, registered_fields, token_fields,
    vm_counts_fields, vm_fields, worker_counts_fields, worker_distribution_fields, worker_fields, zone_fields,
};
use crate::cluster::{self, DrainView, ReservationView, VmId, VmView, WorkerId, WorkerView};
use crate::http::EXPECTED_ANSWER;
use crate::render::{Template, Volatility, volatility};
use crate::resolvers::tokens::TokenView;
use crate::resolvers::{EventView, HeartbeatRecorded, Registered};

/// The types of fields by the names that the field lists give them: those of [`json_values`](super::json_values), and
/// objects.
pub(super) mod field_types {
    use serde::ser::SerializeMap as _;
    use serde::{Serialize, Serializer};

    use super::WriteJson as _;
    use crate::cluster::{self, DrainView, VmView, WorkerView};
    use crate::json;
    pub(in crate::rest) use crate::rest::json_values::*;

    /// VMs inside another object.
    pub(in crate::rest) struct Vms<'a>(&'a [VmView]);

    impl<'a> From<&'a [VmView]> for Vms<'a> {
        fn from(vms: &'a [VmView]) -> Self {
            Self(vms)
        }
    }

    impl Serialize for Vms<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.0.iter().cloned().map(super::ListedVm))
        }
    }

    impl WriteValue for Vms<'_> {
        fn write(&self, out: &mut Vec<u8>) {
            json::list(self.0, out, |vm, out| super::ListedVm(vm.clone()).write_text(out));
        }
    }

    /// Declares shapes of lists of objects.
    macro_rules! lists {
        ($($shape:ident of $object:ident($view:ty);)+) => { $(
            pub(in crate::rest) struct $shape<'a>(&'a [$view]);

            impl<'a> From<&'a [$view]> for $shape<'a> {
                fn from(list: &'a [$view]) -> Self {
                    Self(list)
                }
            }

            impl Serialize for $shape<'_> {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_seq(self.0.iter().cloned().map(super::$object))
                }
            }

            impl WriteValue for $shape<'_> {
                fn write(&self, out: &mut Vec<u8>) {
                    json::list(self.0, out, |entry, out| super::$object(entry.clone()).write_text(out));
                }
            }
        )+ };
    }

    lists! {
        PlacementAssignments of PlacementAssignment(cluster::PlacementAssignment);
        PlacementCandidates of PlacementCandidate(cluster::PlacementCandidate);
        PlacementRefusals of PlacementRefusal(cluster::PlacementRefusal);
        RefusalDetails of RefusalDetail(cluster::RefusalDetail);
        WorkersRefusedList of WorkersRefused(cluster::WorkersRefused);
        ZoneCapacities of ZoneCapacity(cluster::ZoneCapacity);
        ReservedSlots of ReservedSlot(cluster::ReservedSlot);
        EvacuationMoves of EvacuationMove(cluster::EvacuationMove);
        StrandedVms of StrandedVm(cluster::StrandedVm);
    }

    /// A worker inside another object.
    #[derive(Serialize)]
    #[serde(transparent)]
    pub(in crate::rest) struct Worker(super::Worker);

    impl From<WorkerView> for Worker {
        fn from(worker: WorkerView) -> Self {
            Self(super::Worker(worker))
        }
    }

    /// A drain inside a worker, without its blockers.
    pub(in crate::rest) struct Drain(DrainView);

    impl From<DrainView> for Drain {
        fn from(drain: DrainView) -> Self {
            Self(drain)
        }
    }

    impl Serialize for Drain {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            super::Drain::write(&self.0, false, &mut map)?;
            map.end()
        }
    }

    impl WriteValue for Drain {
        fn write(&self, out: &mut Vec<u8>) {
            super::Drain::begin_text(&self.0, false, out);
            out.push(b'}');
        }
    }

    impl WriteValue for Worker {
        fn write(&self, out: &mut Vec<u8>) {
            json::value(self, out);
        }
    }
}

/// An object whose text may change although the object does not.
pub(super) trait HasVolatility {
    /// What makes it change, over all its fields.
    const VOLATILITY: Volatility;
}

/// An object that writes its JSON straight to bytes, without serde. A test compares both.
pub(super) trait WriteJson {
    /// Writes the JSON.
    fn write_text(&self, out: &mut Vec<u8>);

    /// The JSON.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(EXPECTED_ANSWER);
        self.write_text(&mut text);
        text
    }
}

/// Generates from a field list an object that serialises by serde, and that writes the same JSON straight to bytes.
///
/// An object that is listed by the thousand is `templated`: its stable fields are written once, into a template in the
/// render cache of its view, and each text fills in the volatile ones.
macro_rules! object {
    ({ templated } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) {
        $($(#[$field_doc:meta])* $field:ident: $shape:ident [$where:ident $($volatility:ident)?] = $value:expr;)+
    }) => {
        object! { { map_and_volatility } $(#[$doc])* $object($this: $view) {
            $($(#[$field_doc])* $field: $shape [$where $($volatility)?] = $value;)+
        } }

        impl $object {
            /// The template: an object without its braces, with gaps for volatile fields.
            fn template($this: &$view) -> Template {
                let mut text = Template::default();
                $(
                    if volatility!($($volatility)?) == Volatility::STABLE {
                        write_field!($where, text.bytes(), $field, $shape, $value);
                    } else {
                        write_volatile_key!($where, text.bytes(), $field);
                        text.add_gap();
                    }
                )+
                text
            }
        }

        impl WriteJson for $object {
            fn write_text(&self, out: &mut Vec<u8>) {
                let $this = &self.0;
                let template = $this.render_cache().full_object(|| Self::template($this));
                let mut segments = template.segments();
                let begin = out.len();
                out.extend_from_slice(segments.next().unwrap_or_default());
                $(if volatility!($($volatility)?) != Volatility::STABLE {
                    write_volatile!($where, out, $field, $shape, $value);
                    out.extend_from_slice(segments.next().unwrap_or_default());
                })+
                // In place of the first comma.
                out[begin] = b'{';
                out.push(b'}');
            }
        }
    };
    ({ } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) {
        $($(#[$field_doc:meta])* $field:ident: $shape:ident [$where:ident $($volatility:ident)?] = $value:expr;)+
    }) => {
        object! { { map_and_volatility } $(#[$doc])* $object($this: $view) {
            $($(#[$field_doc])* $field: $shape [$where $($volatility)?] = $value;)+
        } }

        impl $object {
            /// The same at once: an object without its closing brace.
            fn begin_text($this: &$view, in_detail: bool, out: &mut Vec<u8>) {
                let begin = out.len();
                $(if in_detail || is_shown_everywhere!($where) {
                    write_field!($where, out, $field, $shape, $value);
                })+
                // In place of the first comma.
                out[begin] = b'{';
            }
        }

        impl WriteJson for $object {
            fn write_text(&self, out: &mut Vec<u8>) {
                Self::begin_text(&self.0, true, out);
                self.write_text_of_aliases(out);
                out.push(b'}');
            }
        }
    };
    ({ map_and_volatility } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) {
        $($(#[$field_doc:meta])* $field:ident: $shape:ident [$where:ident $($volatility:ident)?] = $value:expr;)+
    }) => {
        $(#[$doc])*
        pub(super) struct $object(pub(super) $view);

        impl $object {
            /// Serialises the fields; with `in_detail` also those that lists inside other objects leave out.
            fn write<M: SerializeMap>($this: &$view, in_detail: bool, map: &mut M) -> Result<(), M::Error> {
                $(if in_detail || is_shown_everywhere!($where) {
                    serialize_field!($where, map, $field, $shape, $value);
                })+
                Ok(())
            }
        }

        impl HasVolatility for $object {
            const VOLATILITY: Volatility = Volatility::STABLE$(.and(volatility!($($volatility)?)))+;
        }

        impl Serialize for $object {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                Self::write(&self.0, true, &mut map)?;
                self.write_aliases(&mut map)?;
                map.end()
            }
        }
    };
}

macro_rules! write_key {
    ($out:expr, $field:ident) => {
        $out.extend_from_slice(concat!(",\"", stringify!($field), "\":").as_bytes())
    };
}

/// Writes the key of a volatile field into a template. That of an optional field is written with its value, if it has
/// one.
macro_rules! write_volatile_key {
    (optional, $out:expr, $field:ident) => {};
    ($where:ident, $out:expr, $field:ident) => {
        write_key!($out, $field)
    };
}

/// Writes a volatile field into the gap of a template.
macro_rules! write_volatile {
    (optional, $out:expr, $field:ident, $shape:ident, $value:expr) => {
        write_field!(optional, $out, $field, $shape, $value);
    };
    ($where:ident, $out:expr, $field:ident, $shape:ident, $value:expr) => {
        write_value!($where, $out, $shape, $value);
    };
}

/// Writes the value of a field that always has one.
macro_rules! write_value {
    ($where:ident, $out:expr, $shape:ident, $value:expr) => {
        WriteValue::write(&field_types::$shape::from($value), $out)
    };
}

macro_rules! write_field {
    (optional, $out:expr, $field:ident, $shape:ident, $value:expr) => {
        if let Some(value) = $value {
            write_key!($out, $field);
            WriteValue::write(&field_types::$shape::from(value), $out);
        }
    };
    ($where:ident, $out:expr, $field:ident, $shape:ident, $value:expr) => {
        write_key!($out, $field);
        write_value!($where, $out, $shape, $value);
    };
}

macro_rules! serialize_field {
    (optional, $map:ident, $field:ident, $shape:ident, $value:expr) => {
        if let Some(value) = $value {
            $map.serialize_entry(stringify!($field), &field_types::$shape::from(value))?;
        }
    };
    ($where:ident, $map:ident, $field:ident, $shape:ident, $value:expr) => {
        $map.serialize_entry(stringify!($field), &field_types::$shape::from($value))?;
    };
}

macro_rules! is_shown_everywhere {
    (everywhere) => {
        true
    };
    (optional) => {
        true
    };
    (detail) => {
        false
    };
}
pub(super) use is_shown_everywhere;

macro_rules! is_optional {
    (optional) => {
        true
    };
    ($where:ident) => {
        false
    };
}
pub(super) use is_optional;

worker_fields!(object templated);
drain_fields!(object);
vm_fields!(object);
cluster_stats_fields!(object);
worker_distribution_fields!(object);
zone_fields!(object);
worker_counts_fields!(object);
vm_counts_fields!(object);
event_fields!(object);
registered_fields!(object);
heartbeat_reply_fields!(object);
token_fields!(object);
placement_fields!(object);
placement_assignment_fields!(object);
placement_candidate_fields!(object);
placement_refusal_fields!(object);
refusal_detail_fields!(object);
workers_refused_fields!(object);
capacity_fields!(object);
zone_capacity_fields!(object);
reservation_fields!(object);
reserved_slot_fields!(object);
evacuation_plan_fields!(object);
evacuation_move_fields!(object);
stranded_vm_fields!(object);

/// Keys besides the declared ones, for clients that are older than the contract.
trait Aliases {
    fn write_aliases<M: SerializeMap>(&self, _map: &mut M) -> Result<(), M::Error> {
        Ok(())
    }

    fn write_text_of_aliases(&self, _out: &mut Vec<u8>) {}
}

impl Aliases for Worker {}
impl Aliases for Drain {}
impl Aliases for ClusterStats {}
impl Aliases for WorkerDistribution {}
impl Aliases for Zone {}
impl Aliases for WorkerCounts {}
impl Aliases for VmCounts {}
impl Aliases for ClusterEvent {}
impl Aliases for RegisterWorkerPayload {}
impl Aliases for RecordHeartbeatPayload {}
impl Aliases for Token {}
impl Aliases for Placement {}
impl Aliases for PlacementAssignment {}
impl Aliases for PlacementCandidate {}
impl Aliases for PlacementRefusal {}
impl Aliases for RefusalDetail {}
impl Aliases for WorkersRefused {}
impl Aliases for Capacity {}
impl Aliases for ZoneCapacity {}
impl Aliases for Reservation {}
impl Aliases for ReservedSlot {}
impl Aliases for EvacuationPlan {}
impl Aliases for EvacuationMove {}
impl Aliases for StrandedVm {}

impl Aliases for Vm {
    fn write_aliases<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("vcpu_count", &self.0.vm.vcpus)
    }

    fn write_text_of_aliases(&self, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(out, ",\"vcpu_count\":{}", self.0.vm.vcpus);
    }
}

/// The result of one heartbeat of a batch: the payload of a single heartbeat, with a status after the id.
pub(super) struct RecordedInBatch {
    pub(super) reply: HeartbeatRecorded,
    pub(super) status: u16,
}

impl Serialize for RecordedInBatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = WithStatus { map: serializer.serialize_map(None)?, status: Some(self.status) };
        RecordHeartbeatPayload::write(&self.reply, true, &mut map)?;
        map.end()
    }
}

/// Inserts a status after the first entry of a map.
struct WithStatus<M> {
    map: M,
    status: Option<u16>,
}

impl<M: SerializeMap> SerializeMap for WithStatus<M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), M::Error> {
        self.map.serialize_key(key)
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), M::Error> {
        self.map.serialize_value(value)?;
        match self.status.take() {
            Some(status) => self.map.serialize_entry("status", &status),
            None => Ok(()),
        }
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}

/// A VM inside another object: the fields that the contract shows there, and `duplicate` if it is true.
pub(super) struct ListedVm(pub(super) VmView);

impl Serialize for ListedVm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        Vm::write(&self.0, false, &mut map)?;
        if self.0.is_duplicate() {
            map.serialize_entry("duplicate", &true)?;
        }
        map.end()
    }
}

impl WriteJson for ListedVm {
    fn write_text(&self, out: &mut Vec<u8>) {
        Vm::begin_text(&self.0, false, out);
        out.extend_from_slice(if self.0.is_duplicate() { b",\"duplicate\":true}" } else { b"}" });
    }
}
