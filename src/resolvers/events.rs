//! Queries of the change log, as lists. Streams of events are in [`watch`](super::watch); the log itself is kept by the
//! [`journal`](crate::journal).

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::checks::truncate;
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::cluster::{Audit, Cursor, Event, EventFilter, Snapshot, View, VmView, WorkerView};
use crate::error::{Error, Result};
use crate::journal::EventLogPage;

/// Most events in one answer.
pub(crate) const MAX_EVENTS: u64 = 500;

/// An event, with the present cluster, in which the objects that it is about are looked up.
#[derive(Clone, Debug)]
pub struct EventView {
    /// The event.
    pub event: Arc<Event>,
    /// The present cluster.
    pub view: Arc<View>,
}

impl EventView {
    /// What the event says of the request that caused it.
    pub fn audit(&self, text: impl FnOnce(&Audit) -> &Option<Arc<str>>) -> Option<&str> {
        text(self.event.audit.as_deref()?).as_deref()
    }

    /// The worker that it is about, as it is now; none if it was removed.
    pub fn worker(&self) -> Option<WorkerView> {
        self.view.find_worker(self.event.worker_id.as_ref()?.as_str())
    }

    /// The VM that it is about, as it is now; none if it was removed.
    pub fn vm(&self) -> Option<VmView> {
        self.view.find_vm(self.event.vm_id.as_ref()?.as_str())
    }
}

/// A page of the change log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, oldest first.
    pub nodes: Vec<EventView>,
    /// The cursor to go on from: after the last event, or after everything that was read if there are no more.
    pub end_cursor: Cursor,
    /// Whether there is more.
    pub has_next_page: bool,
}

/// The key of a data loader for the events of workers: keys that differ in the worker only are loaded together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerEventsKey {
    /// The worker.
    pub worker_id: Arc<str>,
    /// How many at most.
    pub limit: u64,
    /// Only those before this cursor, in its text.
    pub after: Option<String>,
}

impl Resolvers {
    /// The change log after a cursor, oldest first; from its beginning without one. Where it begins depends on the filter:
    /// what operators did is kept for longer than other events.
    pub async fn list_events(
        &self,
        reading: &Reading,
        limit: u64,
        after: Option<&str>,
        filter: &EventFilter,
    ) -> Result<EventPage> {
        let (after, known) = match after {
            Some(text) => {
                let (after, snapshot) = self.own_cursor(text).await?;
                (Some(after), Some(snapshot))
            }
            None => (None, None),
        };
        // A cursor from another server may be ahead of this server, though not for long.
        let is_ahead = after.as_ref().is_some_and(|after| after.revision > reading.revision());
        let later = known.filter(|_| is_ahead).map(|snapshot| self.reading(snapshot));
        let reading = later.as_ref().unwrap_or(reading);
        let page = self
            .journal
            .for_server()
            .event_log()
            .events_after(after.as_ref(), filter, limit + 1)
            .await
            .inspect_err(log_unreadable)?;
        if let Some(after) = after.as_ref().filter(|after| !page.follows(after)) {
            let problem =
                "is too old, events after it have left the change log: read the present state, then go on from";
            return Err(Error::invalid("after", format!("\"{after}\" {problem} \"{}\" or later", page.start)));
        }
        let EventLogPage { mut events, start: beginning } = page;
        // The log is read after the snapshot, and may have more: that is for the next page.
        events.retain(|event| event.cursor.revision <= reading.revision());
        let has_next_page = events.len() as u64 > limit;
        events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let end_cursor = if has_next_page {
            events.last().map(|event| event.cursor.clone()).or(after).unwrap_or(beginning)
        } else {
            // After events that the filter left out, too, so that the next query does not read them again.
            let end = reading.view.snapshot.cursor();
            after.filter(|after| after.is_after(&end)).unwrap_or(end)
        };
        let nodes = events.into_iter().map(|event| reading.event(event)).collect();
        Ok(EventPage { nodes, end_cursor, has_next_page })
    }

    /// The latest events of workers, newest first, as far back as all events are kept: one statement for all keys that differ
    /// in the worker only.
    pub async fn load_worker_events(
        &self,
        caller: &Caller,
        reading: &Reading,
        keys: &[WorkerEventsKey],
    ) -> Result<HashMap<WorkerEventsKey, Vec<EventView>>> {
        let _ = self.authorize(caller, Action::Read)?;
        let mut questions = HashMap::<(u64, Option<String>), Vec<Arc<str>>>::new();
        for key in keys {
            questions.entry((key.limit, key.after.clone())).or_default().push(key.worker_id.clone());
        }
        let mut answers = HashMap::with_capacity(keys.len());
        for ((limit, after), workers) in questions {
            let mut before = reading.view.snapshot.cursor();
            if let Some(text) = &after {
                let (after, _) = self.own_cursor(text).await?;
                if before.is_after(&after) {
                    before = after;
                }
            }
            let found = self.journal.for_server().event_log().latest_events(&workers, limit, &before).await;
            let mut found = found.inspect_err(log_unreadable)?;
            for worker_id in workers {
                let events = found.remove(&worker_id).unwrap_or_default();
                let events = events.into_iter().map(|event| reading.event(event)).collect();
                answers.insert(WorkerEventsKey { worker_id, limit, after: after.clone() }, events);
            }
        }
        Ok(answers)
    }
}

impl Resolvers {
    /// A cursor of this database's log, with a snapshot that is not older than the cursor.
    async fn own_cursor(&self, text: &str) -> Result<(Cursor, Arc<Snapshot>)> {
        let cursor = parse_cursor(text)?;
        let snapshot = self.journal.for_server().snapshot_at_cursor(&cursor).await?;
        let snapshot = snapshot.ok_or_else(|| {
            let problem = "is a cursor of another database, or of what this one was before it was restored from a backup: \
                           read the present state, and start without one";
            Error::invalid("after", format!("{:?} {problem}", truncate(text)))
        })?;
        Ok((cursor, snapshot))
    }
}

impl Reading {
    /// An event with the cluster of this reading.
    pub fn event(&self, event: Arc<Event>) -> EventView {
        EventView { event, view: self.view.clone() }
    }
}

/// Logs the cause: the client is told only that the database is not available.
fn log_unreadable(error: &Error) {
    warn!(error = %error.chain(), "The change log cannot be read");
}

/// The size of a page of events, in the parameter that the protocol calls `field`.
pub fn event_limit(field: &'static str, number: i64) -> Result<u64> {
    match u64::try_from(number) {
        Ok(limit) if limit <= MAX_EVENTS => Ok(limit),
        _ => Err(Error::invalid(field, format!("must be from 0 to {MAX_EVENTS}, not {number}"))),
    }
}

/// Parses a cursor, of whichever database.
pub(super) fn parse_cursor(text: &str) -> Result<Cursor> {
    text.parse().map_err(|problem| Error::invalid("after", format!("{:?} {problem}", truncate(text))))
}
