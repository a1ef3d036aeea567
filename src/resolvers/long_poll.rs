//! Long polls: a query of workers is answered as soon as its answer differs from the one that the client has.
//!
//! A fleet commits heartbeats all the time, and most polls ask for a part of it. So a poll looks at which workers a
//! commit has changed, and reads its answer again only if one of them is, was or may become part of it. A worker that
//! becomes offline by the clock wakes the poll, too; a counting `uptime` does not. How long a client may ask to wait is
//! decided by the protocol: `rest::endpoint`.

use std::cmp::Ordering;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::page::{Edge, Page, PageRequest};
use super::workers::edge;
use super::{Reading, Resolvers};
use crate::auth::Caller;
use crate::cluster::{Change, View, WorkerFilter, WorkerOrder, WorkerView};
use crate::error::{Error, Result};
use crate::journal::{ChangeReceiver, Closed, Lagged};
use crate::timing::MISSED_SILENCE_WAIT;

/// A query of workers: filter, order and page.
#[derive(Clone, Copy, Debug)]
pub struct WorkersQuery<'a> {
    /// The filter.
    pub filter: &'a WorkerFilter,
    /// The order.
    pub order: WorkerOrder,
    /// The page; see [`PageRequest::is_for_all`].
    pub request: &'a PageRequest,
}

impl Resolvers {
    /// Waits until the answer to a query differs from that at a revision, or without one from the present one, at most
    /// for `wait`, and reads the cluster then.
    ///
    /// It returns early where the server cannot tell what has changed since the revision, and for a revision that the
    /// database does not have. It returns up to [`MISSED_SILENCE_WAIT`] late if the only change is that a worker became
    /// offline before the poll began.
    pub async fn read_when_changed(
        &self,
        caller: &Caller,
        query: WorkersQuery<'_>,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Reading> {
        let changed = async {
            tokio::select! {
                biased;
                why = self.denied_later(caller.principal()) => Err(why),
                changed = self.changed(query, after) => changed,
            }
        };
        // When the time is over, the answer is the cluster as it is.
        if let Ok(changed) = timeout(wait, changed).await {
            changed?;
        }
        self.read(caller)
    }

    async fn changed(&self, query: WorkersQuery<'_>, after: Option<u64>) -> Result<()> {
        let feed = match after {
            None => Some(self.journal.for_server().subscribe()),
            Some(after) => self.feed_after(after).await?,
        };
        let Some(mut feed) = feed else { return Ok(()) };
        let base = self.present();
        let announced = after.and_then(|_| self.as_announced(&base)).unwrap_or_else(|| base.clone());
        let mut poll = LongPoll { query, after: after.unwrap_or(base.revision()), base, announced, page: None };
        let may_have_missed_silence = !poll.shows_the_same(&poll.base)?;
        let mut missed_silence = pin!(sleep(MISSED_SILENCE_WAIT));
        let mut no_silence_during = self.no_silence_during();
        loop {
            tokio::select! {
                () = &mut missed_silence, if may_have_missed_silence => return Ok(()),
                heard = feed.recv() => match heard {
                    Ok(Ok(change)) if poll.is_about(&change, self)? => return Ok(()),
                    Ok(Ok(_)) => {}
                    Ok(Err(Lagged)) | Err(Closed) => return Ok(()),
                },
                () = self.clock.left(no_silence_during.clone()) => {
                    if !poll.shows_the_same(&self.present())? {
                        return Ok(());
                    }
                    no_silence_during = self.no_silence_during();
                }
            }
        }
    }

    /// The feed of what was committed after a revision; none if the feed does not reach back to it.
    async fn feed_after(&self, after: u64) -> Result<Option<ChangeReceiver>> {
        if self.journal.for_server().snapshot().revision < after {
            // The client has seen it at another server, which is ahead, or in this database before it was restored.
            if !self.journal.for_server().is_committed(after).await? {
                return Ok(None);
            }
            let mut feed = self.journal.for_server().subscribe();
            while self.journal.for_server().snapshot().revision < after {
                if let Err(Closed) = feed.recv().await {
                    return Ok(None);
                }
            }
        }
        Ok(self.journal.for_server().subscribe_after(after))
    }

    /// The same snapshot at an earlier moment, at which only workers that are announced offline were offline. None if
    /// that is so now. The client may have read its revision at that moment: the revision does not tell.
    fn as_announced(&self, reading: &Reading) -> Option<Reading> {
        let last_seen = self.forecast.longest_unannounced(reading.view())?;
        let View { snapshot, offline_after, .. } = &**reading.view();
        Some(Reading::of(Arc::new(View::new(snapshot.clone(), last_seen, *offline_after))))
    }
}

struct LongPoll<'a> {
    query: WorkersQuery<'a>,
    /// The revision of the answer that the client has.
    after: u64,
    /// The cluster when the poll began. While the poll waits, it keeps the old states of workers that change alive.
    base: Reading,
    /// The same snapshot at the earliest moment at which the client may have read it: see [`Resolvers::as_announced`].
    announced: Reading,
    /// The page that was asked for, as of then; read when it is needed.
    page: Option<Page<WorkerView>>,
}

impl LongPoll<'_> {
    /// Whether a change concerns the answer, or may concern it.
    fn is_about(&mut self, change: &Change, resolvers: &Resolvers) -> Result<bool> {
        let change_is_known = change.revision <= self.base.revision() && !change.starts_over;
        if change.starts_over {
            return Ok(true);
        }
        if change_is_known {
            // The client's answer is from before the change, and is not known here.
            return Ok(change.removed > 0 || change.workers.iter().any(|id| self.may_have_shown(id.as_str(), change)));
        }
        let now = resolvers.present();
        for id in &change.workers {
            if self.shows_another(id.as_str(), &now)? {
                return Ok(true);
            }
        }
        Ok(change.removed > 0 && !self.shows_the_same(&now)?)
    }

    /// Whether a worker is among the ids of the filter: a cheap check that ends most of the work for most heartbeats.
    fn may_be_asked_for(&self, id: &str) -> bool {
        self.query.filter.ids.as_ref().is_none_or(|ids| ids.iter().any(|wanted| wanted == id))
    }

    /// Whether a worker that has changed since is, or may be, in the answer that the client has, or in the present one.
    fn may_have_shown(&self, id: &str, change: &Change) -> bool {
        let filter = self.query.filter;
        if !self.may_be_asked_for(id) {
            return false;
        }
        let Some(worker) = self.base.find_worker(id) else { return true };
        let has_returned = change.ended_silence.to_std().is_ok_and(|silence| silence > worker.view.offline_after);
        let by_status = filter.statuses.is_some() || filter.is_healthy.is_some();
        filter.matches(&worker)
            || worker.worker.registration_revision > self.after
            || by_status && (worker.worker.policy_revision > self.after || has_returned || !worker.is_healthy())
    }

    /// Whether the change of one worker changes the answer.
    fn shows_another(&mut self, id: &str, now: &Reading) -> Result<bool> {
        let WorkersQuery { filter, order, request } = self.query;
        if !self.may_be_asked_for(id) {
            return Ok(false);
        }
        let matching = |reading: &Reading| reading.find_worker(id).filter(|worker| filter.matches(worker));
        let (before, after) = (matching(&self.announced), matching(now));
        let (_, Some(after)) = (&before, after) else { return Ok(before.is_some()) };
        if before.is_none() || request.is_for_all() {
            return Ok(true);
        }
        let page = match self.page.take() {
            Some(page) => page,
            None => self.announced.page_of_workers(filter, order, request)?,
        };
        let page = self.page.insert(page);
        if page.edges.iter().any(|edge| &*edge.id == id) {
            return Ok(true);
        }
        // A worker behind the end of the page does not change it.
        let is_behind =
            |last: &Edge<WorkerView>| last.compare(&edge(after.clone(), order), order.into()) == Ordering::Less;
        if request.starts_at_the_front() && page.has_next && page.edges.last().is_none_or(is_behind) {
            return Ok(false);
        }
        Ok(!self.shows_the_same(now)?)
    }

    /// Whether the answer is the same as the one that the client has, apart from counting seconds.
    fn shows_the_same(&self, now: &Reading) -> Result<bool> {
        let WorkersQuery { filter, order, request } = self.query;
        let shown = |reading: &Reading| {
            let listing = reading.listing_of_workers(filter, order, request)?;
            let rows = listing.nodes.into_iter().map(|row| (row.worker.id.clone(), row.worker.revision, row.status()));
            Ok::<_, Error>((listing.total, rows.collect::<Vec<_>>()))
        };
        Ok(Arc::ptr_eq(self.announced.view(), now.view()) || shown(&self.announced)? == shown(now)?)
    }
}
