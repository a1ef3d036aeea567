//! `aetherium drain` and `aetherium activate`: takes workers out of service and brings them back.
//!
//! A drain is an intention that the server keeps: this program only waits for its end, and says so when it is
//! interrupted.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::columns::{DRAINS, WORKERS};
use super::connection::ConnectionOptions;
use super::event_feed::EventFeed;
use super::failure::{ExitStatus, Failure};
use super::filters::{WorkerFilter, refuse_empty, repeated};
use super::output::{Notes, Output, OutputOptions, Row};
use super::pages::{List, named};
use super::printable::printable;
use super::selection::{Selection, ids_of, some_of};
use super::wait::{Goal, Wait, filter_of};
use crate::client::{ApiClient, Question};
use crate::config::positive_duration;

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
    #[arg(long)]
    detach: bool,

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
        let mut output = Output::new(&self.output, Some(&DRAINS))?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let workers = self.selection.find(api).await?;
        let ids = ids_of(&workers);
        self.selection.confirm(api, "drain", &workers).await?;
        // Before it begins, so that none of its events is missed.
        let mut feed = EventFeed::open(api, notes, filter_of(&ids), None).await?;
        let revision = change_each(api, notes, &ids, "drain", &self.body()).await?;
        if self.detach {
            let rows = standing(api, &ids, revision).await?;
            output.list(&DRAINS, &rows)?;
            return output.flush();
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

    /// What is asked for.
    fn body(&self) -> Value {
        let mut body = Map::new();
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
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&WORKERS))?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let workers = self.selection.find(api).await?;
        let ids = ids_of(&workers);
        self.selection.confirm(api, "activate", &workers).await?;
        let mut body = Map::new();
        body.extend(self.reason.iter().map(|reason| ("reason".to_owned(), json!(reason))));
        let revision = change_each(api, notes, &ids, "activate", &Value::Object(body)).await?;
        // Another server may answer, which does not know of the change yet.
        let (rows, _) = named(api, &workers_since(revision), &ids).await?;
        output.list(&WORKERS, &rows)?;
        output.flush()
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

/// Drains or activates one worker after another. Answers the revision of the last change. If one is refused, those before
/// it stay as they were asked to be, and it is said how many these are.
async fn change_each(
    api: &ApiClient,
    notes: &Notes,
    ids: &[String],
    action: &str,
    body: &Value,
) -> Result<Option<u64>, Failure> {
    let mut revision = None;
    for (done, id) in ids.iter().enumerate() {
        match api.ask(Question::post(["workers", id, action], body)).await {
            Ok(answer) => revision = answer.revision.max(revision),
            Err(error) => {
                if ids.len() > 1 {
                    notes.say(&format!("Stopped at worker {}, after {done} of {} workers", printable(id), ids.len()));
                }
                return Err(error.into());
            }
        }
    }
    Ok(revision)
}
