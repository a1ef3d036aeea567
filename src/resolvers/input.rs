//! What callers send, checked. Limits are those of any reasonable cluster; they keep every figure
//! within what both protocols can carry exactly, and totals within 64 bits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use go_duration::GoDuration;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::cluster::{Identity, MAX_EXACT, VmStatus, WorkerId};
use crate::error::{Error, Result};
use crate::journal::commands::{HeartbeatReport, Inventory, Precondition, Register, VmReport};

/// Largest figure of one worker or VM: what GraphQL's `Int` can carry.
pub(crate) const MAX_FIGURE: i64 = i32::MAX as i64;
/// Most CPU cores of one machine.
pub(crate) const MAX_CPU_CORES: i64 = 100_000;
/// Most VMs of one worker; 200,000 workers of this size still add up within GraphQL's `Int`.
pub(crate) const MAX_VMS: i64 = 10_000;
/// How many VMs a worker may hold if it does not say.
pub(crate) const DEFAULT_MAX_VMS: i64 = 100;
/// Longest text of a worker's or VM's description, in characters.
pub(crate) const MAX_TEXT: usize = 255;
/// Longest reason, in characters.
pub(crate) const MAX_REASON: usize = 1_024;
/// Largest incarnation that a registration may count on from: there is room for as many lives again.
pub(crate) const MAX_LAST_INCARNATION: i64 = MAX_EXACT / 2;
/// How much of what was sent is worth repeating, in characters.
const LONGEST_ECHO: usize = 60;
/// Most entries of a list that says what is wanted: each is compared with everything there is.
pub(crate) const MAX_WANTED: usize = 1_000;
/// Most labels, and most capabilities, of one worker.
pub(crate) const MAX_LABELS: usize = 64;
/// Longest key of a label, in characters.
pub(crate) const MAX_LABEL_KEY: usize = 63;
/// Longest value of a label, in characters.
pub(crate) const MAX_LABEL_VALUE: usize = 256;

/// A whole number as it came, to be checked against its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole(pub i64);

/// Written out for its words: the derived refusal would name a type of this program.
impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
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

            /// `16.0` is a whole number to JSON Schema, and to clients whose language has one kind of number; where
            /// such numbers are not exact any more, nobody can tell.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 && number.abs() <= MAX_EXACT as f64 {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_type(Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_i64(Words)
    }
}

/// Reads a struct from a JSON object only: left to itself, serde also takes a list for one, its
/// entries for the fields in order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Words<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Words(PhantomData))
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(object)| object))
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
    /// Where it stands; none means nobody said.
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
    /// The whole inventory of VMs.
    #[serde(default, deserialize_with = "objects")]
    pub vms: Option<Vec<VmInput>>,
    /// What changed in the inventory.
    #[serde(default, deserialize_with = "object")]
    pub vms_delta: Option<VmDeltaInput>,
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
            // Not checked: an odd one is just another than the one that was registered.
            boot_id: self.boot_id,
            sequence: self.sequence.map(|sequence| exact("sequence", sequence)).transpose()?,
            used_cpu_cores: used("used_cpu_cores", self.used_cpu_cores)?,
            used_memory_mb: used("used_memory_mb", self.used_memory_mb)?,
            used_disk_gb: used("used_disk_gb", self.used_disk_gb)?,
            inventory,
        })
    }
}

/// What a start of a host is called.
pub fn host_boot_id(host_boot_id: String) -> Result<Arc<str>> {
    text("host_boot_id", host_boot_id, 1..=MAX_TEXT)
}

/// The incarnation that is spoken of.
pub fn incarnation(number: i64) -> Result<u64> {
    exact("incarnation", Whole(number))
}

fn last_incarnation(number: Whole) -> Result<u64> {
    match exact("last_incarnation", number) {
        Ok(number) if number > MAX_LAST_INCARNATION.unsigned_abs() => {
            Err(Error::invalid("last_incarnation", format!("must be from 0 to {MAX_LAST_INCARNATION}, not {number}")))
        }
        checked => checked,
    }
}

/// Most VMs one heartbeat may speak of, whatever the worker's own limit.
pub(crate) const MAX_REPORTED_VMS: usize = 20_000;

fn reports(vms: Vec<VmInput>) -> Result<Vec<VmReport>> {
    at_most("vms", vms.len(), MAX_REPORTED_VMS)?;
    vms.into_iter().map(VmInput::check).collect()
}

impl VmInput {
    fn check(self) -> Result<VmReport> {
        let Self { id, name, status, vcpus, memory_mb } = self;
        let of_this = |error| part(error, "VM", &id);
        let name = match name {
            Some(name) => text("name", name, 0..=MAX_TEXT).map_err(of_this)?,
            // Not checked: an id that cannot be kept sets this VM aside, and does not spoil the rest of the report.
            None => id.as_str().into(),
        };
        let status = match status {
            None => VmStatus::Running,
            Some(word) => vm_status("status", &word).map_err(of_this)?,
        };
        Ok(VmReport {
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
        Error::Invalid { field, problem } => Error::invalid(field, format!("{problem} (of {kind} {:?})", echo(name))),
        other => other,
    }
}

/// A VM's status by its word.
pub fn vm_status(field: &'static str, text: &str) -> Result<VmStatus> {
    word(field, text, VmStatus::ALL, VmStatus::as_str)
}

/// One of these words.
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
        Error::invalid(field, format!("must be one of {}, not {:?}{hint}", words.join(", "), echo(text)))
    })
}

/// The reason for a command.
pub fn reason(reason: Option<String>) -> Result<Option<Arc<str>>> {
    reason.map(|reason| text("reason", reason, 0..=MAX_REASON)).transpose()
}

/// A revision to compare with.
pub fn revision(field: &'static str, number: i64) -> Result<u64> {
    exact(field, Whole(number))
}

/// A length of time as Go writes it, such as `30s`.
pub fn duration(field: &'static str, text: &str, longest: Duration) -> Result<Duration> {
    let nanoseconds = text.parse::<GoDuration>().ok().and_then(|duration| u64::try_from(duration.nanoseconds()).ok());
    match nanoseconds.map(Duration::from_nanos) {
        Some(duration) if duration <= longest => Ok(duration),
        _ => Err(Error::invalid(
            field,
            format!("must be a length of time up to {}s, such as 30s, not {:?}", longest.as_secs(), echo(text)),
        )),
    }
}

fn text(field: &'static str, text: String, chars: std::ops::RangeInclusive<usize>) -> Result<Arc<str>> {
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

fn figure(field: &'static str, Whole(number): Whole, least: i64, most: i64) -> Result<u32> {
    match u32::try_from(number) {
        Ok(figure) if (least..=most).contains(&number) => Ok(figure),
        _ => Err(Error::invalid(field, format!("must be from {least} to {most}, not {number}"))),
    }
}

fn exact(field: &'static str, Whole(number): Whole) -> Result<u64> {
    match u64::try_from(number) {
        Ok(exact) if number <= MAX_EXACT => Ok(exact),
        _ => Err(Error::invalid(field, format!("must be from 0 to {MAX_EXACT}, not {number}"))),
    }
}

/// A list that says what is wanted, with a parameter that each protocol names as it likes.
pub fn wanted<T>(field: &'static str, list: Vec<T>) -> Result<Vec<T>> {
    at_most(field, list.len(), MAX_WANTED)?;
    Ok(list)
}

/// What was sent, as far as it is worth repeating.
pub fn echo(sent: &str) -> Cow<'_, str> {
    match sent.char_indices().nth(LONGEST_ECHO) {
        Some((cut, _)) => format!("{}…", &sent[..cut]).into(),
        None => sent.into(),
    }
}

fn at_most(field: &'static str, count: usize, most: usize) -> Result<()> {
    if count > most {
        Err(Error::invalid(field, format!("must have at most {most} entries, not {count}")))
    } else {
        Ok(())
    }
}
