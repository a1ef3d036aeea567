//! `aetherium status`: the cluster in one sentence, its zones, its drains, and what needs somebody.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::columns::{VMS, WORKERS, cell};
use super::connection::ConnectionOptions;
use super::event_feed::EventFeed;
use super::failure::{ExitStatus, Failure};
use super::output::{Format, Notes, Output, OutputOptions, Row, aligned};
use super::pages::List;
use super::printable::printable;
use super::watch;
use crate::client::{ApiClient, Question};

/// How many of one kind are named; of the rest, the number is told.
const MOST_NAMED: usize = 20;

/// `aetherium status`.
#[derive(Args, Clone, Debug)]
pub struct StatusOptions {
    /// Go on: what is shown is drawn anew whenever something changes; into a pipe, one JSON object is written for each change.
    #[arg(short = 'w', long)]
    watch: bool,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Status {
    /// The cluster in one sentence.
    summary: String,
    /// The totals, as the API has them.
    stats: Box<RawValue>,
    zones: Vec<Zone>,
    /// The drains that stand, each with its worker.
    drains: Vec<Drain>,
    attention: Vec<Attention>,
}

/// What is in one zone.
#[derive(Clone, Debug, Default, Serialize)]
struct Zone {
    zone: String,
    workers: u64,
    active: u64,
    draining: u64,
    offline: u64,
    vms: u64,
    cpu_cores: u64,
    used_cpu_cores: u64,
    cpu_usage_percent: f64,
    memory_mb: u64,
    used_memory_mb: u64,
    memory_usage_percent: f64,
}

/// A drain, with what the API says of it.
#[derive(Debug, Serialize)]
struct Drain {
    worker_id: String,
    status: String,
    vm_count: u64,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// Something that somebody should look at.
#[derive(Debug, Serialize)]
struct Attention {
    kind: &'static str,
    id: Option<String>,
    message: String,
}

impl StatusOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, None)?;
        output.only(&[Format::Table, Format::Json, Format::Jsonl])?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        if !self.watch {
            let status = Status::read(api).await?;
            if output.is_json() {
                output.json_line(&status.json()?)?;
            } else {
                for line in status.lines(&output) {
                    output.line(&line)?;
                }
            }
            return output.flush();
        }
        let mut feed = EventFeed::open(api, notes, Vec::new(), None).await?;
        if watch::is_drawn(&output) {
            return watch::drawn(&mut output, &mut feed, async |output| Ok(Status::read(api).await?.lines(output)))
                .await;
        }
        let mut before = String::new();
        loop {
            let now = watch::patiently(notes, async || Status::read(api).await).await?;
            let state = now.without_revision()?;
            if state != before {
                output.json_line(&now.json()?)?;
                output.flush()?;
                before = state;
            }
            watch::after_changes(&mut feed).await?;
        }
    }
}

impl Status {
    async fn read(api: &ApiClient) -> Result<Self, Failure> {
        let answer = api.ask(Question::get(["cluster", "stats"])).await?;
        let health = api.value(Question::get(["health"])).await?;
        let workers = List { objects: &WORKERS, path: &["workers"], parameters: Vec::new() }.all(api).await?;
        let failed = [("status".to_owned(), "failed".to_owned())].to_vec();
        let failed = List { objects: &VMS, path: &["vms"], parameters: failed }.all(api).await?;

        let mut zones = BTreeMap::<&str, Zone>::new();
        for worker in &workers {
            zones.entry(worker.text("zone")).or_default().add(worker);
        }
        let drains = workers.iter().filter_map(Drain::of).collect();
        let summary = summary(&answer.value()?);
        let attention = attention(&workers, &failed, &health);
        Ok(Self { summary, stats: answer.read()?, zones: zones.into_values().collect(), drains, attention })
    }

    fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| Failure::new(ExitStatus::Error, error.to_string()))
    }

    /// What tells two states apart: the revision counts on with every heartbeat.
    fn without_revision(&self) -> Result<String, Failure> {
        let mut state: Value = serde_json::from_str(&self.json()?).unwrap_or_default();
        state["stats"]["revision"].take();
        Ok(state.to_string())
    }

    fn lines(&self, output: &Output) -> Vec<String> {
        let mut lines = vec![self.summary.clone()];
        let strings = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        if !self.zones.is_empty() {
            let head = strings(&["ZONE", "WORKERS", "ACTIVE", "DRAINING", "OFFLINE", "VMS", "CPU%", "MEMORY%"]);
            let rows = self.zones.iter().map(Zone::cells);
            lines.push(String::new());
            lines.extend(aligned(&head, rows.collect()));
        }
        if !self.drains.is_empty() {
            let head = strings(&["DRAINING", "STATE", "VMS", "SINCE", "BY", "REASON"]);
            let rows = self.drains.iter().take(MOST_NAMED).map(|drain| {
                let text = |field: &str| cell(drain.fields.get(field));
                vec![
                    output.shown("id", &drain.worker_id),
                    output.shown("state", drain_state(&drain.fields)),
                    drain.vm_count.to_string(),
                    text("started_at"),
                    output.shown("by", &text("started_by")),
                    output.shown("reason", &text("reason")),
                ]
            });
            lines.push(String::new());
            lines.extend(aligned(&head, rows.collect()));
            if self.drains.len() > MOST_NAMED {
                lines.push(format!("and {} more: aetherium workers --status draining", self.drains.len() - MOST_NAMED));
            }
        }
        if !self.attention.is_empty() {
            lines.extend([String::new(), "What needs you:".to_owned()]);
            lines.extend(self.attention.iter().map(|it| format!("  {}", printable(&it.message))));
        }
        lines
    }
}

impl Drain {
    /// The drain of a worker, if it has one.
    fn of(worker: &Row) -> Option<Self> {
        Some(Self {
            worker_id: worker.text("id").to_owned(),
            status: worker.text("status").to_owned(),
            vm_count: worker.value["vm_count"].as_u64().unwrap_or_default(),
            fields: worker.value["drain"].as_object()?.clone(),
        })
    }
}

/// Where a drain is: the state that the API names, or what follows from the answer of an older server.
fn drain_state(drain: &Map<String, Value>) -> &str {
    let field = |name: &str| drain.get(name).unwrap_or(&Value::Null);
    match (field("state").as_str(), field("is_empty").as_bool()) {
        (Some(state), _) => state,
        (None, Some(true)) => "complete",
        (None, _) => "draining",
    }
}

/// One sentence about the cluster.
fn summary(stats: &Value) -> String {
    let number = |field: &str| stats[field].as_u64().unwrap_or_default();
    let workers = number("total_workers");
    if workers == 0 {
        return "There are no workers.".to_owned();
    }
    let states = [("active", "active_workers"), ("draining", "draining_workers"), ("offline", "offline_workers")];
    let states = states.iter().filter(|(_, field)| number(field) > 0);
    let states: Vec<_> = states.map(|(word, field)| format!("{} {word}", number(field))).collect();
    let (vms, room) = (number("total_vms"), number("schedulable_vm_slots"));
    format!("{}: {}; {}, and room for {room} more.", counted(workers, "worker"), states.join(", "), counted(vms, "VM"),)
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What somebody should look at, most urgent first.
fn attention(workers: &[Row], failed: &[Row], health: &Value) -> Vec<Attention> {
    let mut found = Vec::new();
    for (component, state) in health["components"].as_object().into_iter().flatten() {
        if state.as_str().is_some_and(|state| !matches!(state, "ok" | "healthy" | "up")) {
            let state = cell(Some(state));
            found.push(Attention {
                kind: "server_unwell",
                id: None,
                message: format!("The server's {component} is {state}."),
            });
        }
    }
    let count = |row: &Row| row.value["vm_count"].as_u64().unwrap_or_default();
    let with_status = |status: &'static str| workers.iter().filter(move |row| row.text("status") == status);
    let lost: Vec<_> = with_status("offline").filter(|row| count(row) > 0).collect();
    found.extend(some(&lost, "worker_offline", |row| {
        let (id, since) = (row.text("id"), row.text("last_seen"));
        format!("{id} is offline since {since}, with {}.", counted(count(row), "VM"))
    }));
    let is_in = |row: &Row, state: &str| {
        row.value["drain"].as_object().is_some_and(|drain| drain_state(drain).eq_ignore_ascii_case(state))
    };
    let overdue: Vec<_> = workers.iter().filter(|row| is_in(row, "overdue")).collect();
    found.extend(some(&overdue, "drain_overdue", |row| {
        format!("The drain of {} is overdue, with {} left.", row.text("id"), counted(count(row), "VM"))
    }));
    let is_safe = |row: &Row| row.value["drain"]["safe_to_power_off"] == true;
    let complete = with_status("draining").filter(|row| is_in(row, "complete"));
    // An offline worker is told as that.
    let (done, unsafe_yet): (Vec<_>, Vec<_>) = complete.partition(|row| is_safe(row));
    found.extend(some(&unsafe_yet, "drain_unsafe", |row| {
        let id = row.text("id");
        format!("{id} was drained, but is not safe to power off now: aetherium wait {id} --for complete tells why.")
    }));
    found.extend(some(&done, "drain_complete", |row| {
        format!("{} is drained: it can be powered off, or activated.", row.text("id"))
    }));
    let failed: Vec<_> = failed.iter().collect();
    found.extend(some(&failed, "vm_failed", |row| {
        format!("The VM {} ({}) on {} has failed.", row.text("name"), row.text("id"), row.text("worker_id"))
    }));
    let gone: Vec<_> = with_status("offline").filter(|row| count(row) == 0).collect();
    found.extend(some(&gone, "worker_offline", |row| {
        format!("{} is offline since {}, without VMs.", row.text("id"), row.text("last_seen"))
    }));
    found
}

/// Names the first of these, and counts the rest.
fn some<'a>(
    rows: &'a [&'a Row],
    kind: &'static str,
    words: impl Fn(&Row) -> String + 'a,
) -> impl Iterator<Item = Attention> + 'a {
    let named = rows.iter().take(MOST_NAMED);
    let named = named.map(move |row| Attention { kind, id: Some(row.text("id").to_owned()), message: words(row) });
    let rest = rows.len().saturating_sub(MOST_NAMED);
    let rest = (rest > 0).then(|| Attention { kind, id: None, message: format!("The same goes for {rest} more.") });
    named.chain(rest)
}

impl Zone {
    fn add(&mut self, worker: &Row) {
        let number = |field: &str| worker.value[field].as_u64().unwrap_or_default();
        worker.text("zone").clone_into(&mut self.zone);
        self.workers += 1;
        match worker.text("status") {
            "active" => self.active += 1,
            "draining" => self.draining += 1,
            _ => self.offline += 1,
        }
        self.vms += number("vm_count");
        self.used_cpu_cores += number("used_cpu_cores");
        self.cpu_cores += number("cpu_cores");
        self.used_memory_mb += number("used_memory_mb");
        self.memory_mb += number("memory_mb");
        self.cpu_usage_percent = percent(self.used_cpu_cores, self.cpu_cores);
        self.memory_usage_percent = percent(self.used_memory_mb, self.memory_mb);
    }

    fn cells(&self) -> Vec<String> {
        let name = if self.zone.is_empty() { "(none)".into() } else { printable(&self.zone) };
        let counts = [self.workers, self.active, self.draining, self.offline, self.vms].map(|count| count.to_string());
        let shares = [self.cpu_usage_percent, self.memory_usage_percent].map(|share| share.to_string());
        std::iter::once(name.into_owned()).chain(counts).chain(shares).collect()
    }
}

/// A share in percent with two decimals, as the API counts it.
fn percent(used: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    // Cores and MiB of a cluster are exact in 53 bits.
    let hundredths = (u128::from(used) * 1_000_000 / u128::from(total) + 50) / 100;
    u32::try_from(hundredths).map_or(f64::MAX, f64::from) / 100.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sentence_names_what_there_is() {
        let stats = json!({"total_workers": 5, "active_workers": 4, "draining_workers": 1, "offline_workers": 0,
                           "total_vms": 1, "schedulable_vm_slots": 485});
        assert_eq!(summary(&stats), "5 workers: 4 active, 1 draining; 1 VM, and room for 485 more.");
        assert_eq!(summary(&json!({"total_workers": 0})), "There are no workers.");
    }

    #[test]
    fn what_needs_somebody_is_named_up_to_a_number_and_counted_beyond() {
        let worker = |id: usize| {
            Row::of(
                json!({"id": format!("w{id}"), "status": "offline", "vm_count": 2, "last_seen": "2026-01-01T00:00:00Z"}),
            )
        };
        let workers: Vec<_> = (0..25).map(worker).collect();
        let found = attention(&workers, &[], &json!({"components": {"database": "down", "commits": "ok"}}));
        assert_eq!(found.len(), 1 + MOST_NAMED + 1);
        assert_eq!(found[0].message, "The server's database is down.");
        assert_eq!(found[1].message, "w0 is offline since 2026-01-01T00:00:00Z, with 2 VMs.");
        assert_eq!(found[21].message, "The same goes for 5 more.");
    }

    #[test]
    fn only_a_host_that_is_safe_to_power_off_is_called_so() {
        let worker = |status: &str, is_safe: bool| {
            let drain = json!({"state": "complete", "safe_to_power_off": is_safe});
            Row::of(json!({"id": "w1", "status": status, "vm_count": 0, "last_seen": "T", "drain": drain}))
        };
        for (status, is_safe, expected) in [
            ("draining", true, "w1 is drained: it can be powered off, or activated."),
            (
                "draining",
                false,
                "w1 was drained, but is not safe to power off now: aetherium wait w1 --for complete tells why.",
            ),
            ("offline", false, "w1 is offline since T, without VMs."),
        ] {
            let found = attention(&[worker(status, is_safe)], &[], &json!({}));
            assert_eq!(found.iter().map(|it| it.message.as_str()).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn shares_have_two_decimals() {
        for (used, total, expected) in [(0, 0, 0.0), (1, 3, 33.33), (2, 3, 66.67), (5, 4, 125.0), (1, 1, 100.0)] {
            assert_eq!(percent(used, total).to_string(), f64::to_string(&expected));
        }
    }
}
