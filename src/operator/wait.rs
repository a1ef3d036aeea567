//! `aetherium wait`: until workers are drained, online or offline; and what `aetherium drain` waits by.
//!
//! What is in the way is told whenever it is another thing than before. A wait ends early when its end cannot be reached
//! any more: the drain was ended by somebody, or the worker is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::columns::{DRAINS, Objects, WORKERS};
use super::connection::ConnectionOptions;
use super::event_feed::EventFeed;
use super::failure::{ExitStatus, Failure};
use super::filters::{Parameters, repeated};
use super::output::{Notes, Output, OutputOptions, Row};
use super::watch::{batch, patiently};
use crate::client::{ApiClient, Question};
use crate::config::positive_duration;

/// How often those that are waited for are looked at although no event has come: that a worker has acknowledged a drain
/// is none.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How many workers the change log is filtered by; for more of them it is read whole.
const MOST_FILTERED: usize = 50;

/// How many blockers of one worker are named.
const MOST_BLOCKERS: usize = 3;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// The drain is complete, and the host can be powered off: one that was completed is not safe any more while the worker
    /// is offline, its process was started again, or its policy hook has failed.
    Complete,
    /// The worker is heard from.
    Online,
    /// The worker is not heard from any more.
    Offline,
}

/// `aetherium wait`.
#[derive(Args, Clone, Debug)]
pub struct WaitOptions {
    /// Ids of workers.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,

    /// What to wait for.
    #[arg(long = "for", value_enum, value_name = "GOAL")]
    goal: Goal,

    /// How long to wait at most. With it, a drain that becomes overdue is waited for, too.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

impl WaitOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let objects = self.goal.objects();
        let mut output = Output::new(&self.output, Some(objects))?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let mut feed = EventFeed::open(api, notes, filter_of(&self.ids), None).await?;
        let wait = Wait { api, notes, goal: self.goal, timeout: self.timeout, min_revision: None };
        let outcome = wait.until_reached(&self.ids, &mut feed).await?;
        output.list(objects, &outcome.rows)?;
        output.flush()?;
        outcome.failure.map_or(Ok(()), Err)
    }
}

/// The filter of the change log for events about these workers.
pub fn filter_of(ids: &[String]) -> Parameters {
    if ids.len() > MOST_FILTERED { Vec::new() } else { repeated("worker_id", ids) }
}

/// A wait for workers.
pub struct Wait<'a> {
    /// Whom to ask.
    pub api: &'a ApiClient,
    /// Where progress is told.
    pub notes: &'a Notes,
    /// For what.
    pub goal: Goal,
    /// For how long.
    pub timeout: Option<Duration>,
    /// The revision of the change that is waited for, which another server may not know yet.
    pub min_revision: Option<u64>,
}

/// What came of a wait.
pub struct Outcome {
    /// The workers or drains, as they are now.
    pub rows: Vec<Row>,
    /// Why not all have reached the goal.
    pub failure: Option<Failure>,
}

/// How far one worker has come.
enum Progress {
    Reached,
    /// Not yet, for this reason.
    Behind(String),
    /// The deadline of the drain has passed; still not, for this reason.
    Overdue(String),
    /// It never will, for this reason.
    Hopeless(ExitStatus, String),
}

impl Goal {
    /// What is looked at.
    fn objects(self) -> &'static Objects {
        match self {
            Self::Complete => &DRAINS,
            Self::Online | Self::Offline => &WORKERS,
        }
    }

    fn question(self, id: &str) -> Question {
        match self {
            Self::Complete => Question::get(["workers", id, "drain"]),
            Self::Online | Self::Offline => Question::get(["workers", id]),
        }
    }

    fn progress(self, row: &Row) -> Progress {
        let is_offline = row.text("status") == "offline";
        match self {
            Self::Online if is_offline => Progress::Behind(format!("offline since {}", row.text("last_seen"))),
            Self::Offline if !is_offline => Progress::Behind(format!("last heard at {}", row.text("last_seen"))),
            Self::Online | Self::Offline => Progress::Reached,
            Self::Complete => match row.text("state").to_ascii_lowercase().as_str() {
                "complete" if row.value["safe_to_power_off"] == true => Progress::Reached,
                "complete" => Progress::Behind(format!("complete, but not safe to power off; {}", blockers(row))),
                "canceled" => Progress::Hopeless(ExitStatus::Conflict, ended("was cancelled", row)),
                // Ended after it was complete; the host may have VMs again.
                "ended" => Progress::Hopeless(ExitStatus::Conflict, ended("has ended", row)),
                "overdue" => Progress::Overdue(format!("overdue since {}; {}", row.text("deadline_at"), blockers(row))),
                _ => Progress::Behind(blockers(row)),
            },
        }
    }
}

/// Who ended a drain.
fn ended(how: &str, row: &Row) -> String {
    let by = match row.text("ended_by_name") {
        "" => row.text("ended_by"),
        name => name,
    };
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    format!("its drain {how}{by} at {}", row.text("ended_at"))
}

/// What is in the way of a drain.
fn blockers(row: &Row) -> String {
    let blockers = row.value["blockers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let said = blockers.iter().take(MOST_BLOCKERS).map(|blocker| {
        let text = |field: &str| blocker[field].as_str().unwrap_or_default();
        match text("message") {
            "" => [text("kind"), text("vm_id")].join(" ").trim().to_owned(),
            message => message.trim_end_matches('.').to_owned(),
        }
    });
    let mut said: Vec<_> = said.collect();
    if blockers.len() > MOST_BLOCKERS {
        said.push(format!("and {} more", blockers.len() - MOST_BLOCKERS));
    }
    let left = match row.value["remaining_vms"].as_u64() {
        Some(1) => "1 VM left".to_owned(),
        Some(left) => format!("{left} VMs left"),
        None => "draining".to_owned(),
    };
    if said.is_empty() { left } else { format!("{left}: {}", said.join("; ")) }
}

impl Wait<'_> {
    /// Waits until all of these have reached the goal, or no further one can. The feed is one that was opened before
    /// whatever is waited for was begun.
    pub async fn until_reached(&self, ids: &[String], feed: &mut EventFeed<'_>) -> Result<Outcome, Failure> {
        let end = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut left: BTreeSet<&String> = ids.iter().collect();
        let mut rows = BTreeMap::<&String, Row>::new();
        let mut told = BTreeMap::<&String, String>::new();
        let (mut hopeless, mut worst, mut overdue) = (Vec::new(), None, BTreeSet::<&String>::new());
        // All of them at first.
        let mut touched: BTreeSet<&String> = left.clone();
        loop {
            for id in touched.iter().copied().filter(|id| left.contains(*id)).collect::<Vec<_>>() {
                let looking = patiently(self.notes, async || self.look(id).await);
                let looked = match end {
                    Some(end) => match timeout_at(end, looking).await {
                        Ok(looked) => looked,
                        // The server is away, or slow, for longer than there is time.
                        Err(_) => break,
                    },
                    None => looking.await,
                };
                let progress = match looked {
                    Ok(row) => {
                        let progress = self.goal.progress(&row);
                        rows.insert(id, row);
                        progress
                    }
                    Err(Failure::Told { status: ExitStatus::NotFound, message, .. }) => {
                        Progress::Hopeless(ExitStatus::NotFound, message)
                    }
                    Err(failure) => return Err(failure),
                };
                overdue.remove(id);
                match progress {
                    Progress::Reached => {
                        left.remove(id);
                        self.say(&mut told, id, self.goal.reached());
                    }
                    Progress::Behind(reason) => self.say(&mut told, id, &reason),
                    Progress::Overdue(reason) => {
                        overdue.insert(id);
                        self.say(&mut told, id, &reason);
                    }
                    Progress::Hopeless(status, reason) => {
                        left.remove(id);
                        hopeless.push(format!("{id}: {reason}"));
                        worst = worst.or(Some(status));
                    }
                }
            }
            let is_over = left.is_empty() || (end.is_none() && left.iter().all(|id| overdue.contains(*id)));
            if is_over || self.wait_for_news(end, &left, feed, ids, &mut touched).await? {
                let reason = |id| told.get(id).map_or("the server has not answered in time", String::as_str);
                let behind = left.iter().map(|id| format!("{id}: {}", reason(*id)));
                let failure = (!left.is_empty()).then_some(ExitStatus::Overdue).or(worst).map(|status| {
                    let all: Vec<_> = hopeless.into_iter().chain(behind).collect();
                    Failure::new(status, format!("Not {}: {}", self.goal.reached(), all.join("; ")))
                });
                let mut in_order = Vec::new();
                for id in ids {
                    in_order.extend(rows.remove(id));
                }
                return Ok(Outcome { rows: in_order, failure });
            }
        }
    }

    /// Waits for events about some of them, or for the time to look at all; says whether the time to wait is over.
    async fn wait_for_news<'i>(
        &self,
        end: Option<Instant>,
        left: &BTreeSet<&'i String>,
        feed: &mut EventFeed<'_>,
        ids: &'i [String],
        touched: &mut BTreeSet<&'i String>,
    ) -> Result<bool, Failure> {
        let look = Instant::now() + LOOK_INTERVAL;
        let until = end.map_or(look, |end| end.min(look));
        touched.clear();
        while touched.is_empty() {
            match timeout_at(until, batch(feed)).await {
                Ok(events) => {
                    let events = events?;
                    if events.iter().any(|event| event.text("kind") == "resync") {
                        touched.extend(ids);
                    }
                    let about: BTreeSet<_> = events.iter().map(|event| event.text("worker_id")).collect();
                    touched.extend(left.iter().filter(|id| about.contains(id.as_str())));
                }
                Err(_) => {
                    sleep_until(until).await;
                    touched.extend(left);
                    break;
                }
            }
        }
        Ok(end.is_some_and(|end| Instant::now() >= end))
    }

    async fn look(&self, id: &str) -> Result<Row, Failure> {
        // No URL can hold such an id, so nothing has it.
        if matches!(id, "" | "." | "..") {
            return Err(Failure::new(ExitStatus::NotFound, format!("Worker not found: {id}")));
        }
        let mut question = self.goal.question(id);
        if let Some(revision) = self.min_revision {
            question = question.with("min_revision", revision.to_string());
        }
        let answer = self.api.ask(question).await?;
        Ok(Row::new(answer.read()?))
    }

    /// Tells how far a worker has come, if that is another thing than before.
    fn say<'i>(&self, told: &mut BTreeMap<&'i String, String>, id: &'i String, line: &str) {
        if told.get(id).is_none_or(|before| before != line) {
            self.notes.say(&format!("{id}: {line}"));
            told.insert(id, line.to_owned());
        }
    }
}

impl Goal {
    /// The word for a worker that has come there.
    fn reached(self) -> &'static str {
        match self {
            Self::Complete => "drained",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn words(goal: Goal, row: Value) -> String {
        match goal.progress(&Row::of(row)) {
            Progress::Reached => "reached".to_owned(),
            Progress::Behind(reason) => reason,
            Progress::Overdue(reason) => format!("late: {reason}"),
            Progress::Hopeless(status, reason) => format!("{status:?}: {reason}"),
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let blocker = |id: &str| json!({"kind": "VM_RUNNING", "vm_id": id, "message": format!("VM {id} is running.")});
        for (row, expected) in [
            (json!({"state": "complete", "safe_to_power_off": true}), "reached"),
            (json!({"state": "COMPLETE", "safe_to_power_off": true}), "reached"),
            (
                json!({"state": "complete", "safe_to_power_off": false, "remaining_vms": 0, "blockers": [{"kind": "worker_offline", "message": "Worker w1 has left"}]}),
                "complete, but not safe to power off; 0 VMs left: Worker w1 has left",
            ),
            (
                json!({"state": "draining", "remaining_vms": 1, "blockers": [blocker("a")]}),
                "1 VM left: VM a is running",
            ),
            (
                json!({"state": "draining", "remaining_vms": 5, "blockers": [blocker("a"), blocker("b"), blocker("c"), blocker("d"), blocker("e")]}),
                "5 VMs left: VM a is running; VM b is running; VM c is running; and 2 more",
            ),
            (
                json!({"state": "overdue", "deadline_at": "T", "remaining_vms": 0, "blockers": [{"kind": "NOT_ACKNOWLEDGED"}]}),
                "late: overdue since T; 0 VMs left: NOT_ACKNOWLEDGED",
            ),
            (
                json!({"state": "canceled", "ended_by": "operator", "ended_by_name": "bob", "ended_at": "T"}),
                "Conflict: its drain was cancelled by bob at T",
            ),
            (json!({"state": "ended", "ended_at": "T"}), "Conflict: its drain has ended at T"),
        ] {
            assert_eq!(words(Goal::Complete, row), expected);
        }
        let worker = |status: &str| json!({"status": status, "last_seen": "T"});
        assert_eq!(words(Goal::Online, worker("offline")), "offline since T");
        assert_eq!(words(Goal::Offline, worker("draining")), "last heard at T");
        assert_eq!(words(Goal::Online, worker("draining")), "reached");
        assert_eq!(words(Goal::Offline, worker("offline")), "reached");
    }
}
