//! `aetherium drain` and `aetherium activate`: takes workers out of service and brings them back.
//!
//! All workers of a command are changed by one request, in one revision. A drain is an intention that the server keeps:
//! this program only waits for its end, and says so when it is interrupted.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::columns::{CHANGES, DRAINS, WORKERS, cell};
use super::connection::ConnectionOptions;
use super::event_feed::EventFeed;
use super::failure::{ExitStatus, Failure};
use super::filters::{WorkerFilter, refuse_empty, repeated};
use super::output::{Format, Notes, Output, OutputOptions, Row, aligned};
use super::pages::{List, named};
use super::printable::printable;
use super::selection::{Selection, ids_of, some_of};
use super::wait::{Goal, Wait, filter_of};
use crate::client::{ApiClient, ApiError, Question};
use crate::config::positive_duration;

/// How many VMs each list of a plan has that is written as JSON: the most that the API lists.
const MOST_LISTED: u64 = 500;

/// `aetherium drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainOptions {
    #[command(flatten)]
    selection: Selection,

    /// Why, for those who read it later.
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,

    /// After which time it is overdue, such as 2h. Nothing is stopped then: it is an alarm.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    deadline: Option<Duration>,

    /// Do not wait until it is complete.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,

    /// Tell which workers would be drained and where their VMs could go, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Also if no place is found for VMs on them. A single worker that is named is drained in any case.
    #[arg(long)]
    allow_shortfall: bool,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium activate`.
#[derive(Args, Clone, Debug)]
pub struct ActivateOptions {
    #[command(flatten)]
    selection: Selection,

    /// Why, for those who read it later.
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: Option<String>,

    /// Tell which workers would be activated, and change nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

/// `aetherium drains`.
#[derive(Args, Clone, Debug)]
pub struct DrainsOptions {
    /// Id of a worker, for all of its drains, the latest first. Without one, the last drain of each worker.
    #[arg(value_name = "ID", conflicts_with_all = ["states", "zones", "labels"])]
    id: Option<String>,

    /// Only drains in this state: draining, complete, overdue, canceled, ended; repeat it for several.
    #[arg(long = "state", value_name = "STATE", help_heading = "Filter")]
    states: Vec<String>,

    /// Only drains of workers in this zone; repeat it for several.
    #[arg(long = "zone", value_name = "ZONE", help_heading = "Filter")]
    zones: Vec<String>,

    /// Only drains of workers with this label: a key, or key=value. Repeat it for workers that have all of several.
    #[arg(short = 'l', long = "label", value_name = "KEY[=VALUE]", help_heading = "Filter")]
    labels: Vec<String>,

    /// How many at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

impl DrainOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, (!self.dry_run).then_some(&DRAINS))?;
        if self.dry_run {
            output.only(&[Format::Table, Format::Wide, Format::Json, Format::Jsonl, Format::Name])?;
        }
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let workers = self.selection.find(api).await?;
        let ids = ids_of(&workers);
        if self.dry_run {
            return self.tell(api, &ids, &mut output).await;
        }
        self.selection.confirm(api, "drain", &workers).await?;
        // Before it begins, so that none of its events is missed.
        let mut feed = EventFeed::open(api, notes, filter_of(&ids), None).await?;
        let answer = api.ask(Question::post(["drains"], &self.body(&ids, self.is_allowed(&ids)))).await;
        let answer = answer.map_err(|error| self.explain(notes, error))?.value()?;
        let revision = revision_of(&answer, &ids)?;
        if let Some(short) = shortfall(&answer["plan"]).filter(|_| ids.len() > 1) {
            notes.say(&format!("{short}; `aetherium drain … --dry-run` tells which"));
        }
        if self.detach {
            let rows = standing(api, &ids, revision).await?;
            output.list(&DRAINS, &rows)?;
            output.flush()?;
            let drained: Vec<_> = rows.iter().map(|row| row.text("worker_id")).collect();
            return all_found(&ids, &drained);
        }
        let named = some_of(&ids);
        notes.when_interrupted(format!(
            "The drain of {named} goes on without this command. `aetherium wait … --for complete` waits for it, \
             `aetherium activate …` ends it"
        ));
        let wait = Wait { api, notes, goal: Goal::Complete, timeout: None, min_revision: revision };
        let outcome = wait.until_reached(&ids, &mut feed).await?;
        output.list(&DRAINS, &outcome.rows)?;
        output.flush()?;
        outcome.failure.map_or(Ok(()), Err)
    }

    /// Whether the workers are drained whatever the rest of the cluster can hold. One that was named is, as it is over the
    /// API.
    fn is_allowed(&self, ids: &[String]) -> bool {
        self.allow_shortfall || ids.len() == 1 && self.selection.ids.len() == 1
    }

    /// Tells what the drain would do. It fails if the drain would be refused.
    async fn tell(&self, api: &ApiClient, ids: &[String], output: &mut Output) -> Result<(), Failure> {
        let mut body = self.body(ids, true);
        body["dry_run"] = true.into();
        let answer = api.ask(Question::post(["drains"], &body)).await?;
        let told = answer.value()?;
        revision_of(&told, ids)?;
        match output.format {
            Format::Json | Format::Jsonl => output.json_line(&String::from_utf8_lossy(&answer.body))?,
            Format::Name => {
                for id in changed_ids(&told) {
                    output.line(&printable(&id))?;
                }
            }
            Format::Table | Format::Wide | Format::Csv => {
                let (changed, all) = (told["total_changed"].as_u64().unwrap_or_default(), ids.len());
                output.line(&format!("{changed} of {all} workers would begin to drain."))?;
                for line in plan_lines(&told["plan"]) {
                    output.line(&line)?;
                }
            }
        }
        output.flush()?;
        let is_refused = told["total_changed"] != 0 && !self.is_allowed(ids);
        match shortfall(&told["plan"]).filter(|_| is_refused) {
            Some(short) => Err(Failure::new(ExitStatus::Conflict, format!("{short}: the drain would be refused"))),
            None => Ok(()),
        }
    }

    /// Shows the plan of a refusal to people. For programs it is in the error's body.
    fn explain(&self, notes: &Notes, error: ApiError) -> Failure {
        if let ApiError::Refused { body, .. } = &error {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            if body["plan"].is_object() && !self.output.is_json() {
                plan_lines(&body["plan"]).iter().filter(|line| !line.is_empty()).for_each(|line| notes.say(line));
            }
        }
        error.into()
    }

    /// What is asked for.
    fn body(&self, ids: &[String], allow_shortfall: bool) -> Value {
        let mut body = Map::new();
        body.insert("filter".to_owned(), json!({"ids": ids}));
        body.insert("allow_shortfall".to_owned(), allow_shortfall.into());
        if self.output.is_json() {
            body.insert("limit".to_owned(), MOST_LISTED.into());
        }
        body.extend(self.reason.iter().map(|reason| ("reason".to_owned(), json!(reason))));
        // A part of a second is a second: a deadline of nothing would be overdue at once.
        let seconds = self.deadline.map(|deadline| deadline.as_millis().div_ceil(1_000));
        body.extend(
            seconds.map(|seconds| ("deadline_seconds".to_owned(), json!(u64::try_from(seconds).unwrap_or(u64::MAX)))),
        );
        Value::Object(body)
    }
}

impl ActivateOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, _notes: &Notes) -> Result<(), Failure> {
        let objects = if self.dry_run { &CHANGES } else { &WORKERS };
        let mut output = Output::new(&self.output, Some(objects))?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let workers = self.selection.find(api).await?;
        let ids = ids_of(&workers);
        if !self.dry_run {
            self.selection.confirm(api, "activate", &workers).await?;
        }
        let mut body = json!({"filter": {"ids": ids}, "dry_run": self.dry_run});
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        let answer = api.value(Question::post(["activations"], &body)).await?;
        let revision = revision_of(&answer, &ids)?;
        if self.dry_run {
            let rows: Vec<_> = answer["workers"].as_array().into_iter().flatten().cloned().map(Row::of).collect();
            output.list(&CHANGES, &rows)?;
            return output.flush();
        }
        // Another server may answer, which does not know of the change yet.
        let (rows, _) = named(api, &workers_since(revision), &ids).await?;
        output.list(&WORKERS, &rows)?;
        output.flush()?;
        let activated: Vec<_> = rows.iter().map(|row| row.text("id")).collect();
        all_found(&ids, &activated)
    }
}

impl DrainsOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, _notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&DRAINS))?;
        let connection = self.connection.connect()?;
        let mut parameters =
            WorkerFilter { zones: self.zones.clone(), labels: self.labels.clone(), ..WorkerFilter::default() }
                .parameters()?;
        refuse_empty("--state", &self.states)?;
        parameters.extend(repeated("state", &self.states));
        let of_worker = self.id.as_deref().map(|id| ["workers", id, "drains"]);
        let path = of_worker.as_ref().map_or(&["drains"][..], |path| &path[..]);
        let list = List { objects: &DRAINS, path, parameters };
        list.write(&connection.api, self.limit, &mut output).await
    }
}

/// The revision of a change of these workers. It fails if they are gone.
fn revision_of(answer: &Value, ids: &[String]) -> Result<Option<u64>, Failure> {
    if answer["workers"].as_array().is_none_or(Vec::is_empty) {
        let message = format!("Worker not found: {}; nothing was changed", some_of(ids));
        return Err(Failure::new(ExitStatus::NotFound, message));
    }
    Ok(answer["revision"].as_u64())
}

/// Fails if some of the workers were removed meanwhile. What was asked for is done for the others.
fn all_found(ids: &[String], found: &[&str]) -> Result<(), Failure> {
    let found: HashSet<_> = found.iter().copied().collect();
    let missing: Vec<_> = ids.iter().filter(|id| !found.contains(id.as_str())).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("Worker not found: {}; it is done for the others", missing.join(", "));
    Err(Failure::new(ExitStatus::NotFound, message))
}

/// The workers that were not so before.
fn changed_ids(answer: &Value) -> Vec<String> {
    let workers = answer["workers"].as_array().into_iter().flatten();
    let changed = workers.filter(|worker| worker["changed"] == true);
    changed.map(|worker| worker["worker_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// For how many VMs of a plan no place was found, in words; none if each has one.
fn shortfall(plan: &Value) -> Option<String> {
    let [stranded, vms] = ["total_stranded", "vms"].map(|key| plan[key].as_u64().unwrap_or_default());
    (stranded > 0).then(|| format!("no place was found for {stranded} of the {vms} VMs on these workers"))
}

/// A plan for people: where VMs could go, and for which no place was found and why.
fn plan_lines(plan: &Value) -> Vec<String> {
    let number = |key: &str| plan[key].as_u64().unwrap_or_default();
    let list = |key: &str| plan[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| printable(&cell(Some(value))).into_owned();
    let head = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let more = |total: u64, listed: &[Value]| {
        let left = total.saturating_sub(listed.len() as u64);
        (left > 0).then(|| format!("and {left} more"))
    };
    let verb = if number("vms") == 1 { "VM has" } else { "VMs have" };
    let mut lines = vec![format!("{} {verb} to move, of which {} fit elsewhere.", number("vms"), number("placeable"))];
    match number("set_aside_vms") {
        0 => {}
        1 => lines.push("1 VM more was set aside because of its id: the plan has no place for it.".to_owned()),
        more => {
            lines.push(format!("{more} VMs more were set aside because of their ids: the plan has no place for them."))
        }
    }
    let moves = list("moves");
    if !moves.is_empty() {
        let rows =
            moves.iter().map(|it| ["vm_id", "from_worker_id", "to_worker_id"].map(|key| text(&it[key])).to_vec());
        lines.push(String::new());
        lines.extend(aligned(&head(&["VM", "FROM", "TO"]), rows.collect()));
        lines.extend(more(number("placeable"), moves));
    }
    let stranded = list("stranded");
    if !stranded.is_empty() {
        let rows = stranded.iter().map(|it| {
            let reasons = it["refusals_by_reason"].as_array().into_iter().flatten();
            let reasons = reasons.map(|it| format!("{} {}", text(&it["workers"]), text(&it["reason"])));
            let [vm, on] = ["vm_id", "worker_id"].map(|key| text(&it[key]));
            let size = format!("{} CPUs, {} MiB", text(&it["vcpus"]), text(&it["memory_mb"]));
            vec![vm, on, size, reasons.collect::<Vec<_>>().join(", ")]
        });
        lines.push(String::new());
        lines.extend(aligned(&head(&["FITS NOWHERE", "FROM", "SIZE", "WORKERS THAT REFUSE IT"]), rows.collect()));
        lines.extend(more(number("total_stranded"), stranded));
    }
    lines
}

/// The workers, as they are at this revision or later.
fn workers_since(revision: Option<u64>) -> List<'static> {
    let parameters = revision.map(|revision| ("min_revision".to_owned(), revision.to_string())).into_iter().collect();
    List { objects: &WORKERS, path: &["workers"], parameters }
}

/// The drains of these workers, as they are now.
async fn standing(api: &ApiClient, ids: &[String], revision: Option<u64>) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for id in ids {
        let mut question = Question::get(["workers", id, "drain"]);
        if let Some(revision) = revision {
            question = question.with("min_revision", revision.to_string());
        }
        match api.ask(question).await {
            Ok(answer) => rows.push(Row::new(answer.read()?)),
            Err(error) => {
                let failure = Failure::from(error);
                // Somebody else has removed the worker since.
                if !failure.is(ExitStatus::NotFound) {
                    return Err(failure);
                }
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_were_removed_meanwhile_are_named() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        assert!(all_found(&ids, &["c", "b", "a"]).is_ok());
        let failure = all_found(&ids, &["b"]).unwrap_err();
        assert!(failure.is(ExitStatus::NotFound));
        let Failure::Told { message, .. } = failure else { panic!("{failure:?}") };
        assert_eq!(message, "Worker not found: a, c; it is done for the others");
    }

    #[test]
    fn the_plan_says_where_and_why_not() {
        let plan = json!({
            "fits": false, "vms": 4, "placeable": 2, "total_stranded": 2,
            "moves": [{"vm_id": "vm-1", "from_worker_id": "w1", "to_worker_id": "w3"}],
            "stranded": [{"vm_id": "vm-2", "worker_id": "w2", "vcpus": 4, "memory_mb": 2048,
                          "refusals_by_reason": [{"reason": "excluded", "workers": 2}, {"reason": "memory", "workers": 1}]}],
        });
        assert_eq!(
            plan_lines(&plan),
            [
                "4 VMs have to move, of which 2 fit elsewhere.",
                "",
                "VM    FROM  TO",
                "vm-1  w1    w3",
                "and 1 more",
                "",
                "FITS NOWHERE  FROM  SIZE              WORKERS THAT REFUSE IT",
                "vm-2          w2    4 CPUs, 2048 MiB  2 excluded, 1 memory",
                "and 1 more",
            ]
        );
        let set_aside = |vms: u64| plan_lines(&json!({"vms": 0, "placeable": 0, "set_aside_vms": vms}));
        assert_eq!(set_aside(0), ["0 VMs have to move, of which 0 fit elsewhere."]);
        assert_eq!(set_aside(1)[1..], ["1 VM more was set aside because of its id: the plan has no place for it."]);
        assert_eq!(
            set_aside(2)[1..],
            ["2 VMs more were set aside because of their ids: the plan has no place for them."]
        );
        assert_eq!(shortfall(&plan).as_deref(), Some("no place was found for 2 of the 4 VMs on these workers"));
        assert_eq!(shortfall(&json!({"vms": 4, "total_stranded": 0})), None);
    }
}
