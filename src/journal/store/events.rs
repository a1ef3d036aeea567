//! The event log, read from the database: history is too long for memory.
//!
//! Events are written with the batch that made them ([`write_batch`](super::write_batch)), and removed by
//! [`pruning`](super::pruning): those that operators caused later than others, so that the log begins at one of two
//! places, by what is [asked for](EventClass). The words of SQL are in `entity/src/event.rs`, and what an event means in
//! [`cluster::event`](crate::cluster::Event). Streams of events as they happen come from the [feed](crate::journal::feed).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use entity::{cluster, event};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Statement};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::database::Database;
use super::rows;
use super::rows::signed;
use crate::auth::TokenId;
use crate::clock::Timestamp;
use crate::cluster::{Actor, Cursor, Event, EventClass, EventFilter, EventKind, VmId, WorkerId};
use crate::error::{Error, Result};
use crate::journal::published::Published;

/// How many queries may read the log at once. Others wait for their turn, however long that takes: when a server starts
/// again, all clients that followed it come back together, and must neither fail nor take all connections.
const READERS: usize = 2;

/// How many pages of events that other servers committed are kept: some seconds of a busy cluster, each read once for
/// all followers.
const SHARED_PAGES: usize = 8;

/// Most events of such a page.
const SHARED_PAGE: usize = 500;

/// Reads the event log.
#[derive(Clone, Debug)]
pub struct EventLog {
    database: Database,
    /// The state of the cluster, whose epochs are part of cursors.
    published: Arc<ArcSwap<Published>>,
    permits: Arc<Semaphore>,
    /// Pages of what other servers committed lately, the latest last.
    shared: Arc<Mutex<VecDeque<SharedPage>>>,
}

/// A page that is being read, or was, for all who ask for the same.
#[derive(Debug)]
struct SharedPage {
    after: Cursor,
    up_to: u64,
    page: Arc<OnceCell<Arc<EventLogPage>>>,
}

/// Where the log begins and ends.
#[derive(Clone, Debug)]
pub struct LogRange {
    /// Where it begins, for what is asked for: of that, what came before may have been pruned.
    pub start: Cursor,
    /// The revision of the database, which may be later than what this server has seen.
    pub revision: u64,
}

/// What the history is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventSubject {
    /// A worker.
    Worker,
    /// A VM.
    Vm,
}

/// A part of the event log, and from which end it is read.
#[derive(Clone, Debug, Default)]
pub struct EventSpan {
    /// Only events after this place.
    pub after: Option<Cursor>,
    /// Only events before this place, without the one at it.
    pub before: Option<Cursor>,
    /// Only events of this time or later.
    pub since: Option<Timestamp>,
    /// Only events from before this time.
    pub until: Option<Timestamp>,
    /// Whether the newest come first.
    pub newest_first: bool,
}

/// A page of the event log.
#[derive(Clone, Debug)]
pub struct EventLogPage {
    /// The events, in the order of their span.
    pub events: Vec<Arc<Event>>,
    /// Where the log begins, for what was asked for.
    pub start: Cursor,
}

impl EventLogPage {
    /// Whether nothing between a cursor and this page can have been pruned.
    pub fn follows(&self, after: &Cursor) -> bool {
        !self.start.is_after(after)
    }
}

impl EventLog {
    /// Reads the log of this database. The published state has the epochs, which are part of cursors.
    pub fn new(database: Database, published: Arc<ArcSwap<Published>>) -> Self {
        Self { database, published, permits: Arc::new(Semaphore::new(READERS)), shared: Arc::default() }
    }

    /// Up to `limit` events after a cursor, oldest first, with the beginning of the log: so a caller notices that events
    /// were pruned, and does not take them for events that never were.
    pub async fn events_after(&self, after: &Cursor, filter: &EventFilter, limit: u64) -> Result<EventLogPage> {
        self.events_in(&EventSpan { after: Some(after.clone()), ..EventSpan::default() }, filter, limit).await
    }

    /// Up to `limit` events of a span, in its order, with the beginning of the log, where a span begins that has no
    /// beginning of its own.
    pub async fn events_in(&self, span: &EventSpan, filter: &EventFilter, limit: u64) -> Result<EventLogPage> {
        let class = self.class(filter);
        let EventSpan { after, before, since, until, newest_first } = span;
        let mut select = if *newest_first { event::Entity::newest_first() } else { event::Entity::oldest_first() };
        select = select.filter(match after {
            Some(after) => event::Entity::is_after(signed(after.revision), i64::from(after.position)),
            None => event::Entity::is_after_pruned(match class {
                EventClass::All => cluster::Column::EventsPrunedThrough,
                EventClass::ByOperators => cluster::Column::OperatorEventsPrunedThrough,
            }),
        });
        if let Some(before) = before {
            select = select.filter(event::Entity::is_before(signed(before.revision), i64::from(before.position)));
        }
        if let Some(since) = since {
            select = select.filter(event::Entity::is_since(*since));
        }
        if let Some(until) = until {
            select = select.filter(event::Entity::is_until(*until));
        }
        if class == EventClass::ByOperators {
            // The filter says so already, but not in the words of the indexes.
            select = select.filter(event::Entity::by_operators());
        }
        let EventFilter { worker_ids, vm_ids, zones, kinds, actors, actor_token_ids } = filter;
        // What no worker, VM, zone or token can be called is not asked for, since not every database takes every text:
        // PostgreSQL refuses NUL.
        let that = |texts: &[String], can_be: fn(&str) -> bool| {
            texts.iter().filter(|text| can_be(text)).cloned().collect::<Vec<_>>()
        };
        if let Some(ids) = worker_ids {
            select = select.filter(event::Entity::about_workers(that(ids, |id| WorkerId::parse(id).is_ok())));
        }
        if let Some(ids) = vm_ids {
            select = select.filter(event::Entity::about_vms(that(ids, |id| VmId::parse(id).is_ok())));
        }
        if let Some(zones) = zones {
            select = select.filter(event::Entity::in_zones(that(zones, |zone| !zone.contains('\0'))));
        }
        // Also without a filter: a newer server beside this one may record what this one has no word for.
        let kinds = kinds.as_deref().unwrap_or(EventKind::ALL);
        select = select.filter(event::Entity::of_kinds(kinds.iter().copied().map(EventKind::as_str)));
        if let Some(actors) = actors {
            select = select.filter(event::Entity::by_actors(actors.iter().copied().map(Actor::as_str)));
        }
        if let Some(ids) = actor_token_ids {
            select = select.filter(event::Entity::by_tokens(that(ids, |id| TokenId::parse(id).is_some())));
        }
        let permit = self.acquire_permit().await?;
        // The events are read before the beginning, which is moved before events are removed.
        let rows = select.limit(limit).all(&*self.database.readers()).await?;
        let LogRange { start, .. } = self.read_range(&permit, class).await?;
        Ok(EventLogPage { events: self.read(rows)?, start })
    }

    /// The next events after a cursor and up to a revision that this server knows, oldest first, and whether those are
    /// all. They are read once, however many followers ask for the same while they are kept.
    pub async fn shared_events(&self, after: &Cursor, up_to: u64) -> Result<(Arc<EventLogPage>, bool)> {
        let page = self.shared_page(after, up_to);
        let read = async || {
            let mut page = self.events_after(after, &EventFilter::default(), SHARED_PAGE as u64).await?;
            // The log may have later events by now, which are asked for with a later revision.
            page.events.retain(|event| event.cursor.revision <= up_to);
            Ok::<_, Error>(Arc::new(page))
        };
        let page = page.get_or_try_init(read).await?.clone();
        let is_all = page.events.len() < SHARED_PAGE;
        Ok((page, is_all))
    }

    fn shared_page(&self, after: &Cursor, up_to: u64) -> Arc<OnceCell<Arc<EventLogPage>>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.iter().find(|known| known.up_to == up_to && known.after == *after) {
            return known.page.clone();
        }
        if shared.len() == SHARED_PAGES {
            shared.pop_front();
        }
        let page = Arc::<OnceCell<_>>::default();
        shared.push_back(SharedPage { after: after.clone(), up_to, page: page.clone() });
        page
    }

    /// Where the log begins and ends for whoever asks with a filter.
    pub async fn range(&self, filter: &EventFilter) -> Result<LogRange> {
        self.read_range(&self.acquire_permit().await?, self.class(filter)).await
    }

    fn class(&self, filter: &EventFilter) -> EventClass {
        let published = self.published.load();
        filter.class(|id| published.snapshot.token(id).map(|token| token.role))
    }

    /// The revision of the database and the name of its last epoch, which may be later than what this server has seen.
    pub async fn latest_commit(&self) -> Result<(u64, String)> {
        let row = cluster::Entity::find_by_id(cluster::ID).one(&*self.database.readers()).await?;
        Ok(row.map(|row| (unsigned(row.revision), row.epoch)).unwrap_or_default())
    }

    async fn read_range(&self, _permit: &SemaphorePermit<'_>, class: EventClass) -> Result<LogRange> {
        let row = cluster::Entity::find_by_id(cluster::ID).one(&*self.database.readers()).await?;
        let pruned_through = |row: &cluster::Model| match class {
            EventClass::All => row.events_pruned_through,
            EventClass::ByOperators => row.operator_events_pruned_through,
        };
        let (start, revision) = row.map_or((0, 0), |row| (unsigned(pruned_through(&row)), unsigned(row.revision)));
        Ok(LogRange { start: self.published.load().snapshot.cursor_after(start), revision })
    }

    async fn acquire_permit(&self) -> Result<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.permits.acquire().await.map_err(|_| Error::ShuttingDown)
    }

    /// Up to `limit` events about each of these workers or VMs, in the order of a span without times: one statement, however
    /// many they are. They begin where the log of all events does: what operators did before that would be taken for all
    /// that happened.
    pub async fn events_about(
        &self,
        about: EventSubject,
        ids: &[Arc<str>],
        span: &EventSpan,
        limit: u64,
    ) -> Result<HashMap<Arc<str>, Vec<Arc<Event>>>> {
        let backend = self.database.backend();
        let subject = match about {
            EventSubject::Worker => "worker_id",
            EventSubject::Vm => "vm_id",
        };
        let kinds = EventKind::ALL.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
        let direction = if span.newest_first { "DESC" } else { "ASC" };
        // An index lookup for each of them: a window function over all of them would number their whole history.
        let by_subject = match backend {
            DbBackend::Sqlite => format!(
                "json_each(?1) AS wanted CROSS JOIN event ON event.rowid IN ( \
                   SELECT past.rowid FROM event AS past \
                   WHERE past.{subject} = wanted.value AND (past.revision, past.position) > (?2, ?3) \
                   AND (past.revision, past.position) < (?4, ?5) \
                   AND past.revision > (SELECT events_pruned_through FROM cluster WHERE id = 1) \
                   AND past.kind IN ({kinds}) \
                   ORDER BY past.revision {direction}, past.position {direction} LIMIT ?6)"
            ),
            _ => format!(
                "json_array_elements_text($1::json) AS wanted(id) CROSS JOIN LATERAL ( \
                   SELECT past.* FROM event AS past \
                   WHERE past.{subject} = wanted.id AND (past.revision, past.position) > ($2, $3) \
                   AND (past.revision, past.position) < ($4, $5) \
                   AND past.revision > (SELECT events_pruned_through FROM cluster WHERE id = 1) \
                   AND past.kind IN ({kinds}) \
                   ORDER BY past.revision {direction}, past.position {direction} LIMIT $6) AS event"
            ),
        };
        let sql =
            format!("SELECT event.* FROM {by_subject} ORDER BY event.revision {direction}, event.position {direction}");
        let ids = serde_json::json!(ids).to_string();
        let place = |cursor: &Cursor| (signed(cursor.revision), i64::from(cursor.position));
        let lower = span.after.as_ref().map_or((0, -1), place);
        let upper = span.before.as_ref().map_or((i64::MAX, i64::MAX), place);
        let values = [ids.into(), lower.0.into(), lower.1.into(), upper.0.into(), upper.1.into(), signed(limit).into()];
        let _permit = self.acquire_permit().await?;
        let rows = self.database.readers().query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        let rows = rows.iter().map(|row| event::Model::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
        let mut by_subject = HashMap::<Arc<str>, Vec<Arc<Event>>>::new();
        for event in self.read(rows)? {
            let id = match about {
                EventSubject::Worker => event.worker_id.as_ref().map(WorkerId::shared),
                EventSubject::Vm => event.vm_id.as_ref().map(VmId::shared),
            };
            if let Some(id) = id {
                by_subject.entry(id).or_default().push(event);
            }
        }
        Ok(by_subject)
    }

    fn read(&self, rows: Vec<event::Model>) -> Result<Vec<Arc<Event>>> {
        let published = self.published.load();
        rows.into_iter().map(|row| Ok(Arc::new(rows::read_event(row, &published.snapshot.epochs)?))).collect()
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
