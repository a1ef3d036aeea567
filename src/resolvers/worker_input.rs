//! Registrations and heartbeats as they are sent, and their checks.
//!
//! The protocols deserialize or convert into these types; `check` makes the journal's command of them, or a refusal
//! that names the field. Checks of single values and their limits are in [`checks`](super::checks), filters in
//! [`filter_input`](super::filter_input).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, Visitor};

use super::checks::{
    DEFAULT_MAX_VMS, MAX_BUSY_SECONDS, MAX_CPU_CORES, MAX_FIGURE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS, MAX_LOAD,
    MAX_NOTE, MAX_POLICY_ERROR, MAX_TEXT, MAX_VMS, Whole, at_most, exact, figure, host_boot_id, last_incarnation, text,
    truncate, vm_status,
};
use crate::cluster::{Identity, MeasuredLoad, VmStatus, WorkerId};
use crate::error::{Error, Result};
use crate::journal::commands::{HeartbeatReport, Inventory, Precondition, Register, VmReport};

/// Most VMs of one heartbeat, whatever the worker's own limit.
pub(crate) const MAX_REPORTED_VMS: usize = 20_000;

/// Reads a struct from a JSON object only: left to itself, serde also takes a list for one, its
/// entries for the fields in order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(object)| object))
}

/// A value that is there, be it null: so that it differs from one that is left out.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    let objects = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(objects.map(|objects| objects.into_iter().map(|Object(object)| object).collect()))
}

fn some_objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(objects(deserializer)?.unwrap_or_default())
}

/// A worker's description of itself, as sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a JSON object that describes the worker")]
pub struct RegistrationInput {
    /// Name of the machine.
    pub hostname: String,
    /// Host and port it listens on.
    pub address: String,
    /// Its zone, if it has one.
    pub zone: Option<String>,
    /// Free labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// What it can do.
    pub capabilities: Option<Vec<String>>,
    /// CPU cores.
    pub cpu_cores: Whole,
    /// Memory in MiB.
    pub memory_mb: Whole,
    /// Disk in GB; 0 if left out.
    pub disk_gb: Option<Whole>,
    /// How many VMs it may hold; 100 if left out.
    pub max_vms: Option<Whole>,
    /// New for each start of the process; without one, every registration is a new start.
    pub boot_id: Option<String>,
    /// New for each start of the host; what it ran goes with another one.
    pub host_boot_id: Option<String>,
    /// The last incarnation that the process knows of.
    pub last_incarnation: Option<Whole>,
}

impl RegistrationInput {
    /// The registration, or what is wrong with it.
    pub fn check(self, id: &str) -> Result<Register> {
        let id = WorkerId::parse(id).map_err(|problem| Error::invalid("id", format!("{problem}")))?;
        let labels = self.labels.unwrap_or_default();
        at_most("labels", labels.len(), MAX_LABELS)?;
        let labels = labels
            .into_iter()
            .map(|(key, value)| {
                let value = text("labels", value, 0..=MAX_LABEL_VALUE).map_err(|error| part(error, "label", &key))?;
                Ok((text("labels", key, 1..=MAX_LABEL_KEY).map_err(|error| part(error, "label", ""))?, value))
            })
            .collect::<Result<_>>()?;
        let capabilities = self.capabilities.unwrap_or_default();
        at_most("capabilities", capabilities.len(), MAX_LABELS)?;
        let capabilities = capabilities
            .into_iter()
            .map(|capability| text("capabilities", capability, 1..=MAX_TEXT))
            .collect::<Result<_>>()?;
        let identity = Identity {
            hostname: text("hostname", self.hostname, 1..=MAX_TEXT)?,
            address: text("address", self.address, 1..=MAX_TEXT)?,
            zone: text("zone", self.zone.unwrap_or_default(), 0..=MAX_TEXT)?,
            labels,
            capabilities,
            cpu_cores: figure("cpu_cores", self.cpu_cores, 1, MAX_CPU_CORES)?,
            memory_mb: figure("memory_mb", self.memory_mb, 1, MAX_FIGURE)?,
            disk_gb: figure("disk_gb", self.disk_gb.unwrap_or(Whole(0)), 0, MAX_FIGURE)?,
            max_vms: figure("max_vms", self.max_vms.unwrap_or(Whole(DEFAULT_MAX_VMS)), 0, MAX_VMS)?,
        };
        let boot_id = self.boot_id.map(|boot_id| text("boot_id", boot_id, 1..=MAX_TEXT)).transpose()?;
        let host_boot_id = self.host_boot_id.map(host_boot_id).transpose()?;
        let last_incarnation = self.last_incarnation.map(last_incarnation).transpose()?;
        let condition = Precondition::default();
        Ok(Register { id, identity, boot_id, host_boot_id, last_incarnation, condition })
    }
}

/// A heartbeat, as sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a JSON object that describes the heartbeat")]
pub struct HeartbeatInput {
    /// The life of the process that sends it.
    pub incarnation: Whole,
    /// What the process called its start when it registered.
    pub boot_id: Option<String>,
    /// Its number in that life.
    pub sequence: Option<Whole>,
    /// CPU cores allocated to VMs.
    pub used_cpu_cores: Option<Whole>,
    /// Memory allocated to VMs, in MiB.
    pub used_memory_mb: Option<Whole>,
    /// Disk allocated to VMs, in GB.
    pub used_disk_gb: Option<Whole>,
    /// The policy revision that the process has heard of.
    pub policy_revision: Option<Whole>,
    /// That the agent's policy hook failed, or by null that it works; as before if left out.
    #[serde(default, deserialize_with = "present")]
    pub policy_error: Option<Option<String>>,
    /// What the host measured of its load.
    #[serde(default, deserialize_with = "object")]
    pub measured: Option<MeasuredInput>,
    /// The whole inventory of VMs.
    #[serde(default, deserialize_with = "objects")]
    pub vms: Option<Vec<VmInput>>,
    /// What changed in the inventory.
    #[serde(default, deserialize_with = "object")]
    pub vms_delta: Option<VmDeltaInput>,
}

/// What a host measured of its load, as sent: each figure only if it is known. No figure is refused for its size.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(expecting = "a JSON object with what the host measured")]
pub struct MeasuredInput {
    /// For how many seconds CPU cores were busy, all of them together, since the host was started.
    pub cpu_busy_seconds: Option<f64>,
    /// Memory in use, in MiB.
    pub memory_used_mb: Option<Whole>,
    /// Load average of one minute.
    pub load1: Option<f64>,
}

impl MeasuredInput {
    /// The load that it says. A figure out of its range counts as not sent: what hosts measure is for curves only, and no
    /// worker becomes offline because a counter of its host has grown, or a sensor is wrong.
    fn load(self) -> MeasuredLoad {
        let within = |most: f64| move |number: &f64| (0.0..=most).contains(number);
        MeasuredLoad {
            cpu_busy_seconds: self.cpu_busy_seconds.filter(within(MAX_BUSY_SECONDS)),
            memory_used_mb: self.memory_used_mb.and_then(|memory| figure("memory_used_mb", memory, 0, MAX_FIGURE).ok()),
            load1: self.load1.filter(within(MAX_LOAD)),
        }
    }
}

/// What changed in an inventory, as sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a JSON object with `upsert` and `remove`")]
pub struct VmDeltaInput {
    /// New or changed VMs.
    #[serde(default, deserialize_with = "some_objects")]
    pub upsert: Vec<VmInput>,
    /// Ids of VMs that are gone.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A VM of an inventory, as sent. Only the id is required: an agent that does not know a VM's size
/// can still report it.
#[derive(Clone, Debug, Deserialize)]
#[serde(expecting = "a JSON object that describes a VM")]
pub struct VmInput {
    /// The VM.
    pub id: String,
    /// Its name; its id if left out.
    pub name: Option<String>,
    /// What it is doing; running if left out.
    pub status: Option<String>,
    /// Virtual CPUs; 0 if left out.
    pub vcpus: Option<Whole>,
    /// Memory in MiB; 0 if left out.
    pub memory_mb: Option<Whole>,
    /// What the worker says of it; nothing if left out or empty.
    pub note: Option<String>,
    /// The reservation that it takes; none if left out or empty.
    pub reservation_id: Option<String>,
}

impl HeartbeatInput {
    /// The heartbeat, or what is wrong with it.
    pub fn check(self) -> Result<HeartbeatReport> {
        let inventory = match (self.vms, self.vms_delta) {
            (Some(_), Some(_)) => {
                let problem = "cannot be combined with `vms`: send the whole inventory or what changed in it";
                return Err(Error::invalid("vms_delta", problem));
            }
            (Some(vms), None) => Inventory::Whole(reports(vms)?),
            (None, Some(delta)) => Inventory::Delta { upsert: reports(delta.upsert)?, remove: delta.remove },
            (None, None) => Inventory::Unchanged,
        };
        let used = |field, number: Option<Whole>| number.map(|number| figure(field, number, 0, MAX_FIGURE)).transpose();
        Ok(HeartbeatReport {
            incarnation: exact("incarnation", self.incarnation)?,
            // Not checked: an odd text is just not the boot id that was registered.
            boot_id: self.boot_id,
            sequence: self.sequence.map(|sequence| exact("sequence", sequence)).transpose()?,
            used_cpu_cores: used("used_cpu_cores", self.used_cpu_cores)?,
            used_memory_mb: used("used_memory_mb", self.used_memory_mb)?,
            used_disk_gb: used("used_disk_gb", self.used_disk_gb)?,
            policy_revision: self.policy_revision.map(|number| exact("policy_revision", number)).transpose()?,
            policy_error: self.policy_error.map(|error| error.map(policy_error).transpose()).transpose()?,
            measured: self.measured.map(MeasuredInput::load),
            inventory,
        })
    }
}

/// What an agent says of its policy hook, in one line: it may be what a command printed.
fn policy_error(error: String) -> Result<Arc<str>> {
    let line: String = error.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    text("policy_error", line.trim().to_owned(), 0..=MAX_POLICY_ERROR)
}

fn reports(vms: Vec<VmInput>) -> Result<Vec<VmReport>> {
    at_most("vms", vms.len(), MAX_REPORTED_VMS)?;
    vms.into_iter().map(VmInput::check).collect()
}

impl VmInput {
    fn check(self) -> Result<VmReport> {
        let Self { id, name, status, vcpus, memory_mb, note, reservation_id } = self;
        let of_this = |error| part(error, "VM", &id);
        let name = match name {
            Some(name) => text("name", name, 0..=MAX_TEXT).map_err(of_this)?,
            // Not checked here: an invalid id rejects this VM only, and not the whole report.
            None => id.as_str().into(),
        };
        let status = match status {
            None => VmStatus::Running,
            Some(word) => vm_status("status", &word).map_err(of_this)?,
        };
        let said = |field, said: Option<String>, most| {
            let said = said.filter(|said| !said.is_empty());
            said.map(|said| text(field, said, 1..=most)).transpose().map_err(of_this)
        };
        Ok(VmReport {
            note: said("note", note, MAX_NOTE)?,
            reservation_id: said("reservation_id", reservation_id, MAX_TEXT)?,
            name,
            status,
            vcpus: figure("vcpus", vcpus.unwrap_or(Whole(0)), 0, MAX_FIGURE).map_err(of_this)?,
            memory_mb: figure("memory_mb", memory_mb.unwrap_or(Whole(0)), 0, MAX_FIGURE).map_err(of_this)?,
            id,
        })
    }
}

/// The same refusal, with the name of the part that it is about, where there may be many.
fn part(error: Error, kind: &str, name: &str) -> Error {
    match error {
        Error::Invalid { field, problem } => {
            Error::invalid(field, format!("{problem} (of {kind} {:?})", truncate(name)))
        }
        other => other,
    }
}
