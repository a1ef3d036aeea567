//! Queries of the change log, as lists. Streams of events are in [`watch`](super::watch); the log itself is kept by the
//! [`journal`](crate::journal).

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::checks::truncate;
use super::{Reading, Resolvers};
use crate::auth::{Action, Caller};
use crate::clock::Timestamp;
use crate::cluster::{Audit, Cursor, Event, EventFilter, Snapshot, View, VmView, WorkerView};
use crate::error::{Error, Result};
pub use crate::journal::EventSubject;
use crate::journal::{EventLogPage, EventSpan};

/// Most events in one answer.
pub(crate) const MAX_EVENTS: u64 = 500;

/// The default length of a page.
pub(crate) const DEFAULT_EVENTS: u64 = 100;

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

    /// Its place in its commit; none for a notice, which has no place of its own.
    pub fn position(&self) -> Option<u32> {
        Some(self.event.cursor.position).filter(|_| !self.event.kind.is_notice())
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

/// Which part of the change log is asked for, and in which order. A cursor is a place in the log; what comes after it, and
/// what before, is said in the order that is asked for.
#[derive(Clone, Debug)]
pub struct EventPageRequest {
    /// How many.
    pub limit: u64,
    /// Whether these are counted from the end of the order.
    pub from_the_end: bool,
    /// Only what comes after this cursor.
    pub after: Option<String>,
    /// Only what comes before this cursor.
    pub before: Option<String>,
    /// Whether the newest come first.
    pub newest_first: bool,
    /// Only events of this time or later.
    pub since: Option<Timestamp>,
    /// Only events from before this time.
    pub until: Option<Timestamp>,
    /// What the protocol calls `after` and `before`, for refusals.
    pub names: [&'static str; 2],
}

impl Default for EventPageRequest {
    fn default() -> Self {
        Self {
            limit: MAX_EVENTS,
            from_the_end: false,
            after: None,
            before: None,
            newest_first: false,
            since: None,
            until: None,
            names: ["after", "before"],
        }
    }
}

/// A page of the change log.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in the order that was asked for.
    pub nodes: Vec<EventView>,
    /// The cursor to follow the log from: after all that was read, or after the last event if later ones were left for the
    /// next page.
    pub end_cursor: Cursor,
    /// Whether there is more.
    pub has_next_page: bool,
    /// Whether something comes before, as far as that is known without looking: there is at least what a cursor was of.
    pub has_previous_page: bool,
}

/// The key of a data loader for the events of workers or VMs: keys that differ in the id only are loaded together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventsKey {
    /// Whether the id is of a worker or of a VM.
    pub about: EventSubject,
    /// The worker or the VM.
    pub id: Arc<str>,
    /// How many at most.
    pub limit: u64,
    /// Only those that come after this cursor, in its text.
    pub after: Option<String>,
    /// Whether the newest come first.
    pub newest_first: bool,
}

impl Resolvers {
    /// A page of the change log. Where the log begins depends on the filter: what operators did is kept for longer than
    /// other events.
    pub async fn list_events(
        &self,
        reading: &Reading,
        request: &EventPageRequest,
        filter: &EventFilter,
    ) -> Result<EventPage> {
        let EventPageRequest { limit, from_the_end, after, before, newest_first, since, until, names } = request;
        let after = self.own_cursor(names[0], after.as_deref()).await?;
        let before = self.own_cursor(names[1], before.as_deref()).await?;
        // A cursor from another server may be ahead of this server, though not for long.
        let known = [&after, &before].into_iter().flatten().max_by_key(|(cursor, _)| cursor.revision);
        let is_ahead = |(cursor, _): &&(Cursor, Arc<Snapshot>)| cursor.revision > reading.revision();
        let later = known.filter(is_ahead).map(|(_, snapshot)| self.reading(snapshot.clone()));
        let reading = later.as_ref().unwrap_or(reading);
        let (has_after, has_before) = (after.is_some(), before.is_some());
        let [after, before] = [after, before].map(|place| place.map(|(cursor, _)| cursor));
        let (lower, upper) = if *newest_first { (before, after) } else { (after, before) };
        let lower_name = if *newest_first { names[1] } else { names[0] };
        // The log is read after the snapshot, and may have more: that is for the next page.
        let end = reading.view.snapshot.cursor();
        let upper = upper.filter(|upper| end.is_after(upper));
        let span = EventSpan {
            after: lower.clone(),
            before: Some(upper.clone().unwrap_or_else(|| end.clone())),
            since: *since,
            until: *until,
            newest_first: newest_first != from_the_end,
        };
        let log = self.journal.for_server();
        let page = log.event_log().events_in(&span, filter, limit + 1).await.inspect_err(log_unreadable)?;
        if let Some(lower) = lower.as_ref().filter(|lower| !page.follows(lower)) {
            let problem =
                "is too old, events after it have left the change log: read the present state, then go on from";
            return Err(Error::invalid(lower_name, format!("\"{lower}\" {problem} \"{}\" or later", page.start)));
        }
        let EventLogPage { mut events, start: beginning } = page;
        let has_more = events.len() as u64 > *limit;
        events.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
        if *from_the_end {
            events.reverse();
        }
        let leaves_out_later = !newest_first && !from_the_end && has_more || until.is_some();
        let end_cursor = if leaves_out_later {
            let latest = if *newest_first { events.first() } else { events.last() };
            latest.map(|event| event.cursor.clone()).or(lower).unwrap_or(beginning)
        } else {
            // After events that the filter left out, too, so that the next query does not read them again.
            let end = upper.unwrap_or(end);
            lower.filter(|lower| lower.is_after(&end)).unwrap_or(end)
        };
        let (has_next_page, has_previous_page) =
            if *from_the_end { (has_before, has_more) } else { (has_more, has_after) };
        let nodes = events.into_iter().map(|event| reading.event(event)).collect();
        Ok(EventPage { nodes, end_cursor, has_next_page, has_previous_page })
    }

    /// The events of workers and VMs, as far back as all events are kept: one statement for all keys that differ in the id
    /// only.
    pub async fn load_events(
        &self,
        caller: &Caller,
        reading: &Reading,
        keys: &[EventsKey],
    ) -> Result<HashMap<EventsKey, Vec<EventView>>> {
        let _ = self.authorize(caller, Action::Read)?;
        let mut questions = HashMap::<EventsKey, Vec<Arc<str>>>::new();
        for key in keys {
            questions.entry(EventsKey { id: Arc::default(), ..key.clone() }).or_default().push(key.id.clone());
        }
        let end = reading.view.snapshot.cursor();
        let mut answers = HashMap::with_capacity(keys.len());
        for (question, ids) in questions {
            let EventsKey { about, id: _, limit, after, newest_first } = &question;
            let after = self.own_cursor("after", after.as_deref()).await?.map(|(cursor, _)| cursor);
            let (lower, upper) = if *newest_first { (None, after) } else { (after, None) };
            let upper = upper.filter(|upper| end.is_after(upper)).unwrap_or_else(|| end.clone());
            let span =
                EventSpan { after: lower, before: Some(upper), newest_first: *newest_first, ..EventSpan::default() };
            let found = self.journal.for_server().event_log().events_about(*about, &ids, &span, *limit).await;
            let mut found = found.inspect_err(log_unreadable)?;
            for id in ids {
                let events = found.remove(&id).unwrap_or_default();
                let events = events.into_iter().map(|event| reading.event(event)).collect();
                answers.insert(EventsKey { id, ..question.clone() }, events);
            }
        }
        Ok(answers)
    }
}

impl Resolvers {
    /// A cursor of this database's log, with a snapshot that is not older than the cursor.
    async fn own_cursor(&self, field: &'static str, text: Option<&str>) -> Result<Option<(Cursor, Arc<Snapshot>)>> {
        let Some(text) = text else { return Ok(None) };
        let cursor = parse_cursor(field, text)?;
        let snapshot = self.journal.for_server().snapshot_at_cursor(&cursor).await?;
        let snapshot = snapshot.ok_or_else(|| {
            let problem = "is a cursor of another database, or of what this one was before it was restored from a backup: \
                           read the present state, and start without one";
            Error::invalid(field, format!("{:?} {problem}", truncate(text)))
        })?;
        Ok(Some((cursor, snapshot)))
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
pub(super) fn parse_cursor(field: &'static str, text: &str) -> Result<Cursor> {
    text.parse().map_err(|problem| Error::invalid(field, format!("{:?} {problem}", truncate(text))))
}
