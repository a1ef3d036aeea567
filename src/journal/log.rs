//! The change log, read from the database: history is too long for memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use entity::{cluster, event};
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Statement};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::database::Database;
use super::rows::signed;
use super::{Published, rows};
use crate::cluster::{Cursor, Event, EventFilter, EventKind, WorkerId};
use crate::error::{Error, Result};

/// How many may read the log at once. Whoever comes on top waits for its turn, however long that takes: when a server
/// starts again, all that followed it come back together, and must neither fail nor keep the journal from its connection.
const READERS: usize = 2;

/// How many pages of what other servers committed are kept: some seconds of a busy cluster, read once for all who follow.
const SHARED_PAGES: usize = 8;

/// Most entries of such a page.
const SHARED_PAGE: usize = 500;

/// Reads the change log.
#[derive(Clone, Debug)]
pub struct Log {
    database: Database,
    /// The state of the cluster, whose epochs are part of cursors.
    live: Arc<ArcSwap<Published>>,
    turns: Arc<Semaphore>,
    /// What other servers committed lately, latest last.
    shared: Arc<Mutex<VecDeque<SharedPage>>>,
}

/// A page that somebody reads, or has read, for all who ask for the same.
#[derive(Debug)]
struct SharedPage {
    after: Cursor,
    up_to: u64,
    page: Arc<OnceCell<Arc<LogPage>>>,
}

/// From where to where the log goes.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Where it begins: what came before may have been removed.
    pub start: Cursor,
    /// The revision of the database, which may be later than what this server has seen.
    pub revision: u64,
}

/// Part of the log.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// The entries, oldest first.
    pub events: Vec<Arc<Event>>,
    /// Where the log begins.
    pub start: Cursor,
}

impl LogPage {
    /// Whether nothing between a cursor and this page can have been removed.
    pub fn follows(&self, after: &Cursor) -> bool {
        !self.start.is_after(after)
    }
}

impl Log {
    pub(super) fn new(database: Database, live: Arc<ArcSwap<Published>>) -> Self {
        Self { database, live, turns: Arc::new(Semaphore::new(READERS)), shared: Arc::default() }
    }

    /// Up to `limit` entries after a cursor, oldest first, with the place where the log begins, so
    /// that what was removed is noticed and not taken for something that never was.
    pub async fn events_after(&self, after: &Cursor, filter: &EventFilter, limit: u64) -> Result<LogPage> {
        let mut select = event::Entity::after(signed(after.revision), i64::from(after.position));
        if let Some(worker_ids) = &filter.worker_ids {
            // Nobody has an id that is none, and not every database takes every text: PostgreSQL refuses NUL.
            let ids = worker_ids.iter().filter(|id| WorkerId::parse(id).is_ok());
            select = select.filter(event::Entity::about_workers(ids.cloned().collect()));
        }
        if let Some(kinds) = &filter.kinds {
            select = select.filter(event::Entity::of_kinds(kinds.iter().copied().map(EventKind::as_str)));
        }
        let turn = self.turn().await?;
        // First the entries, then the beginning, which is moved before anything is removed.
        let rows = select.limit(limit).all(&*self.database.readers()).await?;
        let Extent { start, .. } = self.look(&turn).await?;
        Ok(LogPage { events: self.read(rows)?, start })
    }

    /// The next entries after a cursor and up to a revision that this server knows, oldest first, and whether those are all.
    /// They are read once, however many ask for the same while they are kept: so who follows pays nothing for what others
    /// commit, beside the first.
    pub async fn shared_events(&self, after: &Cursor, up_to: u64) -> Result<(Arc<LogPage>, bool)> {
        let page = self.shared_page(after, up_to);
        let read = async || {
            let mut page = self.events_after(after, &EventFilter::default(), SHARED_PAGE as u64).await?;
            // The log may know more by now, of which those who come next will ask.
            page.events.retain(|event| event.cursor.revision <= up_to);
            Ok::<_, Error>(Arc::new(page))
        };
        let page = page.get_or_try_init(read).await?.clone();
        let is_all = page.events.len() < SHARED_PAGE;
        Ok((page, is_all))
    }

    fn shared_page(&self, after: &Cursor, up_to: u64) -> Arc<OnceCell<Arc<LogPage>>> {
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

    /// From where to where the log goes.
    pub async fn extent(&self) -> Result<Extent> {
        self.look(&self.turn().await?).await
    }

    /// The revision of the database and the name of its last epoch, which may be later than what this server has seen.
    pub(super) async fn committed(&self) -> Result<(u64, String)> {
        let row = cluster::Entity::find_by_id(cluster::ID).one(&*self.database.readers()).await?;
        Ok(row.map(|row| (unsigned(row.revision), row.epoch)).unwrap_or_default())
    }

    async fn look(&self, _turn: &SemaphorePermit<'_>) -> Result<Extent> {
        let row = cluster::Entity::find_by_id(cluster::ID).one(&*self.database.readers()).await?;
        let (start, revision) = row.map_or((0, 0), |row| (unsigned(row.events_pruned_through), unsigned(row.revision)));
        Ok(Extent { start: self.live.load().snapshot.cursor_after(start), revision })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.map_err(|_| Error::ShuttingDown)
    }

    /// Up to `limit` entries about each of these workers, newest first, before a cursor: one
    /// statement, however many workers.
    pub async fn latest_events(
        &self,
        worker_ids: &[Arc<str>],
        limit: u64,
        before: &Cursor,
    ) -> Result<HashMap<Arc<str>, Vec<Arc<Event>>>> {
        let backend = self.database.backend();
        // Worker by worker, by its index: a window over all of them would number their whole history.
        let by_worker = match backend {
            DbBackend::Sqlite => {
                "json_each(?1) AS wanted CROSS JOIN event ON event.rowid IN ( \
                   SELECT past.rowid FROM event AS past \
                   WHERE past.worker_id = wanted.value AND (past.revision, past.position) < (?2, ?3) \
                   ORDER BY past.revision DESC, past.position DESC LIMIT ?4)"
            }
            _ => {
                "json_array_elements_text($1::json) AS wanted(id) CROSS JOIN LATERAL ( \
                   SELECT past.* FROM event AS past \
                   WHERE past.worker_id = wanted.id AND (past.revision, past.position) < ($2, $3) \
                   ORDER BY past.revision DESC, past.position DESC LIMIT $4) AS event"
            }
        };
        let sql = format!("SELECT event.* FROM {by_worker} ORDER BY event.revision DESC, event.position DESC");
        let ids = serde_json::json!(worker_ids).to_string();
        let (revision, position) = (signed(before.revision), i64::from(before.position));
        let values = [ids.into(), revision.into(), position.into(), signed(limit).into()];
        let _turn = self.turn().await?;
        let rows = self.database.readers().query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        let rows = rows.iter().map(|row| event::Model::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
        let mut by_worker = HashMap::<Arc<str>, Vec<Arc<Event>>>::new();
        for event in self.read(rows)? {
            if let Some(worker_id) = &event.worker_id {
                by_worker.entry(worker_id.shared()).or_default().push(event);
            }
        }
        Ok(by_worker)
    }

    fn read(&self, rows: Vec<event::Model>) -> Result<Vec<Arc<Event>>> {
        let live = self.live.load();
        rows.into_iter().map(|row| Ok(Arc::new(rows::read_event(row, &live.snapshot.epochs)?))).collect()
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
