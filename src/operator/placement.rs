//! `aetherium fits`, `reserve`, `release` and `reservations`: where VMs have room, why not elsewhere, and room that is held.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::columns::{RESERVATIONS, cell};
use super::connection::ConnectionOptions;
use super::failure::{ExitStatus, Failure};
use super::filters::{Parameters, repeated};
use super::output::{Format, Notes, Output, OutputOptions, Row, aligned};
use super::pages::List;
use super::printable::printable;
use crate::client::Question;
use crate::config::positive_duration;

/// How many refusals are shown in a table.
const MOST_REFUSALS: usize = 10;

/// What is to be placed.
#[derive(Args, Clone, Debug)]
struct Request {
    /// Virtual CPUs of each VM.
    #[arg(long, value_name = "N")]
    vcpus: u32,

    /// Memory of each VM, such as 8GiB or 512MiB.
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    memory: u64,

    /// Disk of each VM, such as 20GB.
    #[arg(long, value_name = "SIZE", value_parser = gigabytes)]
    disk: Option<u64>,

    /// How many VMs.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    count: u32,

    /// Only workers in this zone; repeat it for several.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,

    /// Not on workers in this zone, as if it were lost; repeat it for several.
    #[arg(long = "without-zone", value_name = "ZONE")]
    without_zones: Vec<String>,

    /// Not on this worker, as if it were lost; repeat it for several.
    #[arg(long = "without-worker", value_name = "ID")]
    without_workers: Vec<String>,

    /// Only workers with this label: a key, or key=value. Repeat it for workers that have all of several.
    #[arg(short = 'l', long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<String>,

    /// Only workers that can do this, such as qemu; repeat it for workers that can do one of several.
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,

    /// Whether to fill workers up, or to leave each as empty as can be; spread, if left out.
    #[arg(long, value_enum, value_name = "STRATEGY")]
    strategy: Option<Strategy>,

    /// Whether each VM has to be on another worker, or in another zone.
    #[arg(long, value_enum, value_name = "WHAT")]
    distinct: Option<Distinct>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Strategy {
    Spread,
    Pack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Distinct {
    None,
    Worker,
    Zone,
}

/// `aetherium fits`.
#[derive(Args, Clone, Debug)]
pub struct FitsOptions {
    #[command(flatten)]
    request: Request,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium reserve`.
#[derive(Args, Clone, Debug)]
pub struct ReserveOptions {
    #[command(flatten)]
    request: Request,

    /// After which time what was not taken is released, such as 10m; 2m, if left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = positive_duration)]
    expires_in: Option<Duration>,

    /// Id of a VM that it is for; repeat it, once for each VM.
    #[arg(long = "vm", value_name = "ID")]
    vms: Vec<String>,

    /// Why, for those who read it later.
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium release`.
#[derive(Args, Clone, Debug)]
pub struct ReleaseOptions {
    /// Id of the reservation.
    #[arg(value_name = "ID")]
    id: String,

    /// Why, for those who read it later.
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium reservations`.
#[derive(Args, Clone, Debug)]
pub struct ReservationsOptions {
    /// Id of a reservation, to show everything that is known of it.
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Only reservations in this state: held, taken, released, expired; repeat it for several.
    #[arg(long = "state", value_name = "STATE", help_heading = "Filter")]
    states: Vec<String>,

    /// Only reservations of room on this worker; repeat it for several.
    #[arg(long = "worker", value_name = "ID", help_heading = "Filter")]
    workers: Vec<String>,

    /// How many at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

impl Request {
    /// What the capacity depends on: the size of a VM, and which workers may have it.
    fn constraints(&self) -> Parameters {
        let mut parameters =
            vec![("vcpus".to_owned(), self.vcpus.to_string()), ("memory_mb".to_owned(), self.memory.to_string())];
        parameters.extend(self.disk.map(|disk| ("disk_gb".to_owned(), disk.to_string())));
        parameters.extend(repeated("zone", &self.zones));
        parameters.extend(repeated("without_zone", &self.without_zones));
        parameters.extend(repeated("without_worker", &self.without_workers));
        parameters.extend(repeated("label", &self.labels));
        parameters.extend(repeated("capability", &self.capabilities));
        parameters
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = self.constraints();
        parameters.push(("count".to_owned(), self.count.to_string()));
        parameters.extend(self.strategy.map(|it| ("strategy".to_owned(), word(it))));
        parameters.extend(self.distinct.map(|it| ("distinct".to_owned(), word(it))));
        parameters
    }

    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
        put("vcpus", self.vcpus.into());
        put("memory_mb", self.memory.into());
        put("count", self.count.into());
        if let Some(disk) = self.disk {
            put("disk_gb", disk.into());
        }
        for (key, values) in [
            ("zones", &self.zones),
            ("without_zones", &self.without_zones),
            ("without_workers", &self.without_workers),
            ("capabilities", &self.capabilities),
        ] {
            if !values.is_empty() {
                put(key, json!(values));
            }
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|label| match label.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.into()),
                None => (label.clone(), Value::Null),
            });
            put("labels", labels.collect::<Map<_, _>>().into());
        }
        if let Some(strategy) = self.strategy {
            put("strategy", word(strategy).into());
        }
        if let Some(distinct) = self.distinct {
            put("distinct", word(distinct).into());
        }
        body
    }

    /// Refuses `--zone ""`, which would be no filter.
    fn check(&self) -> Result<(), Failure> {
        if self.zones.iter().chain(&self.without_zones).any(String::is_empty) {
            return Err(Failure::usage("--zone and --without-zone need the name of a zone"));
        }
        Ok(())
    }
}

/// A value of an option, in the word that it is written with.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl FitsOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, _notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, None)?;
        output.only(&[Format::Table, Format::Json, Format::Jsonl, Format::Name])?;
        self.request.check()?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let answer = api.ask(Question::get(["placement"]).with_all(&self.request.parameters())).await?;
        let placement = answer.value()?;
        match output.format {
            Format::Json | Format::Jsonl => output.json_line(&String::from_utf8_lossy(&answer.body))?,
            Format::Name => {
                for assignment in placement["assignments"].as_array().into_iter().flatten() {
                    output.line(&printable(assignment["worker_id"].as_str().unwrap_or_default()))?;
                }
            }
            Format::Table | Format::Wide | Format::Csv => {
                let capacity = api.value(Question::get(["capacity"]).with_all(&self.request.constraints())).await?;
                for line in lines(&placement, &capacity) {
                    output.line(&line)?;
                }
            }
        }
        output.flush()?;
        if placement["fits"] == true {
            return Ok(());
        }
        let (placeable, count) = (&placement["placeable"], &placement["count"]);
        Err(Failure::new(ExitStatus::Conflict, format!("{placeable} of {count} VMs fit")))
    }
}

/// Where VMs fit, and why not elsewhere, for people.
fn lines(placement: &Value, capacity: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let text = |value: &Value| printable(&cell(Some(value))).into_owned();
    let (placeable, count) = (number(&placement["placeable"]), number(&placement["count"]));
    let mut lines = vec![format!("{placeable} of {count} {} now.", if count == 1 { "VM fits" } else { "VMs fit" })];
    if !capacity["largest_worker_id"].is_null() {
        let zone = match capacity["largest_zone"].as_str() {
            Some("") | None => "no zone".to_owned(),
            Some(zone) => format!("zone {}", printable(zone)),
        };
        lines.push(format!(
            "{} such VMs in all; {} without {}, the largest worker; {} without all in {zone}.",
            number(&capacity["vms"]),
            number(&capacity["vms_without_largest_worker"]),
            text(&capacity["largest_worker_id"]),
            number(&capacity["vms_without_largest_zone"]),
        ));
    }
    let head = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let assignments = placement["assignments"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !assignments.is_empty() {
        let rows = assignments.iter().map(|it| vec![text(&it["worker_id"]), text(&it["zone"]), text(&it["vms"])]);
        lines.push(String::new());
        lines.extend(aligned(&head(&["WORKER", "ZONE", "VMS"]), rows.collect()));
    }
    let refusals = placement["refusals"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !refusals.is_empty() {
        let rows = refusals.iter().take(MOST_REFUSALS).map(|it| {
            let reasons = it["reasons"].as_array().into_iter().flatten().map(|reason| text(&reason["message"]));
            vec![text(&it["worker_id"]), text(&it["zone"]), reasons.collect::<Vec<_>>().join("; ")]
        });
        lines.push(String::new());
        lines.extend(aligned(&head(&["NOT ON", "ZONE", "BECAUSE"]), rows.collect()));
        let total = number(&placement["total_refusals"]);
        let shown = refusals.len().min(MOST_REFUSALS) as u64;
        if total > shown {
            let reasons = placement["refusals_by_reason"].as_array().into_iter().flatten();
            let reasons = reasons.map(|it| format!("{} {}", number(&it["workers"]), text(&it["reason"])));
            lines.push(format!("and {} more; in all: {}", total - shown, reasons.collect::<Vec<_>>().join(", ")));
        }
    }
    lines
}

impl ReserveOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, _notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&RESERVATIONS))?;
        self.request.check()?;
        let mut body = self.request.body();
        // Each VM that is named is one to hold room for.
        if !self.vms.is_empty() {
            body.insert("vm_ids".to_owned(), json!(self.vms));
            body.insert("count".to_owned(), self.vms.len().into());
        }
        body.extend(self.expires_in.map(|time| ("expires_in".to_owned(), format!("{}ms", time.as_millis()).into())));
        body.extend(self.reason.iter().map(|reason| ("reason".to_owned(), json!(reason))));
        let connection = self.connection.connect()?;
        let answer = connection.api.ask(Question::post(["reservations"], &Value::Object(body))).await?;
        output.details(&RESERVATIONS, &Row::new(answer.read()?))?;
        output.flush()
    }
}

impl ReleaseOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, _notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&RESERVATIONS))?;
        let connection = self.connection.connect()?;
        let mut question = Question::delete(["reservations", &self.id]);
        if let Some(reason) = &self.reason {
            question = question.with_body(json!({"reason": reason}).to_string().into_bytes());
        }
        let answer = connection.api.ask(question).await?;
        output.details(&RESERVATIONS, &Row::new(answer.read()?))?;
        output.flush()
    }
}

impl ReservationsOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, _notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&RESERVATIONS))?;
        let connection = self.connection.connect()?;
        if let Some(id) = &self.id {
            let answer = connection.api.ask(Question::get(["reservations", id])).await?;
            output.details(&RESERVATIONS, &Row::new(answer.read()?))?;
            return output.flush();
        }
        let mut parameters = repeated("state", &self.states);
        parameters.extend(repeated("worker_id", &self.workers));
        let list = List { objects: &RESERVATIONS, path: &["reservations"], parameters };
        list.write(&connection.api, self.limit, &mut output).await
    }
}

/// Reads a size in MiB. The units are those of the API: a thousand bytes are none of them.
fn mebibytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] =
        &[("mib", 1), ("mi", 1), ("gib", 1 << 10), ("gi", 1 << 10), ("tib", 1 << 20), ("ti", 1 << 20)];
    in_units(text, UNITS).ok_or_else(|| "memory looks like 8GiB, 1.5GiB or 512MiB".to_owned())
}

/// Reads a size in GB, as the API has disks.
fn gigabytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[("gb", 1), ("g", 1), ("tb", 1_000), ("t", 1_000), ("", 1)];
    in_units(text, UNITS).ok_or_else(|| "a disk looks like 20GB or 1TB".to_owned())
}

/// A number with one of these units, as a whole number of the first of them.
fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| unit.trim().eq_ignore_ascii_case(name))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let parts = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let parts = parts.checked_add(if fraction.is_empty() { 0 } else { fraction.parse().ok()? })?;
    let scaled = parts.checked_mul(*factor)?;
    scaled.is_multiple_of(scale).then_some(scaled / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, expected) in [
            ("8GiB", Some(8192)),
            ("8gi", Some(8192)),
            ("1.5GiB", Some(1536)),
            ("512MiB", Some(512)),
            ("1 TiB", Some(1 << 20)),
            ("0.3GiB", None),
            ("8", None),
            ("8GB", None),
            ("8G", None),
            ("GiB", None),
            ("-1GiB", None),
            ("1.2.3GiB", None),
            ("99999999999999999999TiB", None),
            ("18446744073709551615TiB", None),
        ] {
            assert_eq!(mebibytes(text).ok(), expected, "{text}");
        }
        for (text, expected) in
            [("20", Some(20)), ("20GB", Some(20)), ("1.5TB", Some(1500)), ("20GiB", None), ("", None)]
        {
            assert_eq!(gigabytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_answer_says_where_and_why_not() {
        let placement = json!({
            "fits": false, "count": 3, "placeable": 2, "total_refusals": 12,
            "assignments": [{"worker_id": "w1", "zone": "a", "vms": 2}],
            "refusals": [{"worker_id": "w2", "zone": "a", "reasons": [{"reason": "cpu", "message": "4 cores are needed and 2 free"}]}],
            "refusals_by_reason": [{"reason": "cpu", "workers": 12}],
        });
        let capacity = json!({"vms": 2, "largest_worker_id": "w1", "vms_without_largest_worker": 0, "largest_zone": "a",
                              "vms_without_largest_zone": 0});
        assert_eq!(
            lines(&placement, &capacity),
            [
                "2 of 3 VMs fit now.",
                "2 such VMs in all; 0 without w1, the largest worker; 0 without all in zone a.",
                "",
                "WORKER  ZONE  VMS",
                "w1      a       2",
                "",
                "NOT ON  ZONE  BECAUSE",
                "w2      a     4 cores are needed and 2 free",
                "and 11 more; in all: 12 cpu",
            ]
        );
    }
}
