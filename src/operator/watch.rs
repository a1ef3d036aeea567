//! `--watch`: what a command shows, kept up to date.
//!
//! The change log says that something has changed, and the list is asked what it is now; so an answer of the API is shown,
//! never a model of it that was computed here. On a terminal the table is drawn anew. Into a pipe each event becomes one
//! JSON object with the state that was read after it: none is missing and none is there twice, whatever happens to the
//! connection, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::columns::{Objects, VMS};
use super::event_feed::{EventFeed, is_notice};
use super::failure::{ExitStatus, Failure};
use super::filters::repeated;
use super::output::{Notes, Output, Row};
use super::pages::{List, Pages};
use crate::client::ApiClient;

/// How often a table is read again although no event has come: heartbeats change numbers without one.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time from one drawing of a table to the next, and from one reading of everything to the next.
const SHORTEST_REDRAW: Duration = Duration::from_millis(250);

/// The wait before a question is repeated that a server could not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How many events are looked up at once.
const LARGEST_BATCH: usize = 500;

/// How many workers are named in one question.
const WORKERS_PER_QUESTION: usize = 50;

/// Keeps a list up to date until it is interrupted.
pub async fn list(api: &ApiClient, list: &List<'_>, output: &mut Output, notes: &Notes) -> Result<(), Failure> {
    // The log is followed before the list is read: what is committed in between comes as an event.
    let mut feed = EventFeed::open(api, notes, Vec::new(), None).await?;
    if is_drawn(output) {
        return drawn(output, &mut feed, async |output| {
            let rows = output.size().0.saturating_sub(1).max(1);
            let mut pages = Pages::new(list.clone(), Some(rows));
            let rows = pages.next(api).await?.unwrap_or_default();
            Ok(output.table(list.objects, &rows))
        })
        .await;
    }
    let mut known = Known { api, list, notes, rows: BTreeMap::new() };
    for row in known.read_all().await? {
        output.json_line(&known.object("present", None, Some(&row)))?;
        known.insert(&row);
    }
    loop {
        output.flush()?;
        let events = batch(&mut feed).await?;
        let touched: BTreeSet<_> = events.iter().map(|event| event.text("worker_id").to_owned()).collect();
        let revision = events.iter().filter_map(|event| event.value["revision"].as_u64()).max().unwrap_or_default();
        let touched: Vec<_> = touched.into_iter().filter(|id| !id.is_empty()).collect();
        let now = known.read(&touched, revision).await?;
        for event in &events {
            if event.text("kind") == "resync" {
                known.start_anew(event, output).await?;
            } else if !is_notice(&event.value) {
                known.tell(event, &now, output)?;
            }
        }
    }
}

/// Whether a table is drawn anew, instead of changes being written.
pub fn is_drawn(output: &Output) -> bool {
    output.is_terminal && output.is_text()
}

/// Draws what is read, whenever there are events, and now and then without.
pub async fn drawn(
    output: &mut Output,
    feed: &mut EventFeed<'_>,
    read: impl AsyncFn(&Output) -> Result<Vec<String>, Failure>,
) -> Result<(), Failure> {
    loop {
        match read(output).await {
            Ok(lines) => output.redraw(&lines)?,
            // The feed says so, and the table stays as it was until the server is back.
            Err(failure) if failure.is(ExitStatus::Unavailable) => {}
            Err(failure) => return Err(failure),
        }
        sleep(SHORTEST_REDRAW).await;
        if let Ok(event) = timeout(REFRESH_INTERVAL, feed.next()).await {
            event?;
            while feed.has_more() {
                feed.next().await?;
            }
        }
    }
}

/// Waits until something has changed, and it is time to read everything again: events that come one after another are
/// answered by one reading.
pub async fn after_changes(feed: &mut EventFeed<'_>) -> Result<(), Failure> {
    sleep(SHORTEST_REDRAW).await;
    feed.next().await?;
    while feed.has_more() {
        feed.next().await?;
    }
    Ok(())
}

/// The next event, and those that are there already.
pub async fn batch(feed: &mut EventFeed<'_>) -> Result<Vec<Row>, Failure> {
    let mut events = vec![feed.next().await?];
    while feed.has_more() && events.len() < LARGEST_BATCH {
        events.push(feed.next().await?);
    }
    Ok(events)
}

/// Asks until the server can answer.
pub async fn patiently<T>(notes: &Notes, ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut is_told = false;
    loop {
        match ask().await {
            Err(failure) if failure.is(ExitStatus::Unavailable) => {
                if let (false, Failure::Told { message, .. }) = (is_told, &failure) {
                    notes.say(&format!("{message}; reconnecting"));
                }
                is_told = true;
                sleep(RETRY_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// What was told of the list so far.
struct Known<'a> {
    api: &'a ApiClient,
    list: &'a List<'a>,
    notes: &'a Notes,
    /// For each object the worker that it is on, and its JSON.
    rows: BTreeMap<String, (String, Row)>,
}

impl Known<'_> {
    fn objects(&self) -> &'static Objects {
        self.list.objects
    }

    fn insert(&mut self, row: &Row) {
        let worker = if self.is_of_vms() { row.text("worker_id") } else { row.text("id") };
        self.rows.insert(row.text("id").to_owned(), (worker.to_owned(), row.clone()));
    }

    fn is_of_vms(&self) -> bool {
        self.objects().key == VMS.key
    }

    /// Whether what is on this worker is asked for, as far as the filter names workers.
    fn is_asked_for(&self, worker: &str) -> bool {
        let mut asked = self.list.parameters.iter().filter(|(name, _)| name == "worker_id").peekable();
        asked.peek().is_none() || asked.any(|(_, id)| id == worker)
    }

    async fn read_all(&self) -> Result<Vec<Row>, Failure> {
        patiently(self.notes, async || self.list.all(self.api).await).await
    }

    /// What is listed of these workers now, at this revision or later.
    async fn read(&self, workers: &[String], revision: u64) -> Result<BTreeMap<String, Row>, Failure> {
        let name = if self.is_of_vms() { "worker_id" } else { "id" };
        let mut found = BTreeMap::new();
        for workers in workers.chunks(WORKERS_PER_QUESTION) {
            let asked: Vec<_> = self.list.parameters.iter().filter(|(key, _)| key == name).cloned().collect();
            let mut list = self.list.clone();
            list.parameters.retain(|(key, _)| key != name);
            // Of two values of the same filter either would match: those that were asked for are left.
            let wanted = workers.iter().filter(|id| asked.is_empty() || asked.iter().any(|(_, other)| other == *id));
            let wanted: Vec<_> = wanted.cloned().collect();
            if wanted.is_empty() {
                continue;
            }
            list.parameters.extend(repeated(name, &wanted));
            let mut at_least = list.clone();
            at_least.parameters.push(("min_revision".to_owned(), revision.to_string()));
            let rows = patiently(self.notes, async || match at_least.all(self.api).await {
                // The database was restored from a backup, and does not have that revision any more.
                Err(failure) if failure.is(ExitStatus::Conflict) => list.all(self.api).await,
                rows => rows,
            });
            found.extend(rows.await?.into_iter().map(|row| (row.text("id").to_owned(), row)));
        }
        Ok(found)
    }

    /// Writes the change that an event is, if it is about an object of the list.
    fn tell(&mut self, event: &Row, now: &BTreeMap<String, Row>, output: &mut Output) -> Result<(), Failure> {
        let worker = event.text("worker_id");
        let id = if self.is_of_vms() { event.text("vm_id") } else { worker };
        if id.is_empty() {
            return Ok(());
        }
        let before = self.rows.get(id);
        let (change, row) = match (before, now.get(id)) {
            // It came and went before it was looked at. Whether it was as the filter wants it, nobody knows any more.
            (None, None) if self.has_filter_beside_workers() => return Ok(()),
            (None, None) if !self.is_asked_for(worker) => return Ok(()),
            (None, None) => ("removed", None),
            (None, Some(row)) => ("added", Some(row.clone())),
            (Some(_), Some(row)) => ("changed", Some(row.clone())),
            // A VM that has left this worker, and is on another one by now.
            (Some((on, row)), None) if on != worker => ("changed", Some(row.clone())),
            (Some(_), None) => ("removed", None),
        };
        output.json_line(&self.object(change, Some(event), row.as_ref()))?;
        match row {
            Some(row) => self.insert(&row),
            None => drop(self.rows.remove(id)),
        }
        Ok(())
    }

    /// After a gap: reads everything, and writes what is another than before.
    async fn start_anew(&mut self, event: &Row, output: &mut Output) -> Result<(), Failure> {
        output.json_line(&self.object("resync", Some(event), None))?;
        let rows = self.read_all().await?;
        let mut before = std::mem::take(&mut self.rows);
        for row in &rows {
            let change = match before.remove(row.text("id")) {
                None => Some("added"),
                Some((_, old)) => (old.value != row.value).then_some("changed"),
            };
            if let Some(change) = change {
                output.json_line(&self.object(change, None, Some(row)))?;
            }
            self.insert(row);
        }
        for id in before.into_keys() {
            let gone = Row::of(json!({"id": id}));
            output.json_line(&self.object("removed", None, Some(&gone)))?;
        }
        Ok(())
    }

    /// Whether the list has a filter other than one of workers. An order is none.
    fn has_filter_beside_workers(&self) -> bool {
        self.list.parameters.iter().any(|(name, _)| !["worker_id", "sort"].contains(&name.as_str()))
    }

    /// One change.
    fn object(&self, change: &str, event: Option<&Row>, row: Option<&Row>) -> String {
        let noun = if self.is_of_vms() { "vm" } else { "worker" };
        let json = |row: Option<&Row>| row.map_or_else(|| "null".to_owned(), |row| row.json(&[]));
        format!("{{\"change\":{},\"event\":{},\"{noun}\":{}}}", Value::from(change), json(event), json(row))
    }
}
