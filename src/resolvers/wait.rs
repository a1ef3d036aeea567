//! Long polls: an answer as soon as it is another one than the client has.
//!
//! A fleet commits heartbeats all the time, and most polls ask for a part of it. So a poll looks at which workers a
//! commit has changed, and asks again for what it shows only if one of them is, or was, or comes to be a part of that.
//! What the clock alone changes, that a worker is offline, wakes it too; that `uptime` counts on does not.

use std::cmp::Ordering;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::page::{Edge, Page, PageRequest};
use super::workers::edge;
use super::{Reading, Resolvers};
use crate::cluster::{Change, View, WorkerFilter, WorkerOrder, WorkerView};
use crate::error::{Error, Result};
use crate::journal::{ChangeReceiver, Closed, Lagged};

/// How long a poll waits that may have missed a silence. The silence is announced within a second, usually, which
/// answers the poll; where it is not, because many are silent at once, a client that asks again and again is held to
/// this pace.
const PAUSE: Duration = Duration::from_secs(1);

/// Which workers are asked for, in what order, and which part of them.
#[derive(Clone, Copy, Debug)]
pub struct WorkersQuestion<'a> {
    /// Which of them.
    pub filter: &'a WorkerFilter,
    /// In what order.
    pub order: WorkerOrder,
    /// Which part; see [`PageRequest::is_for_all`].
    pub request: &'a PageRequest,
}

impl Resolvers {
    /// The cluster as soon as the answer to a question is another one than it was at this revision, or is now without
    /// one; as it is after this long if it stays the same.
    ///
    /// It may come early: where the server cannot tell any more what has changed since the revision, and for a revision
    /// that the database does not have. It comes up to a second late if all that has changed is that somebody has
    /// fallen silent, before the poll began.
    pub async fn read_when_changed(
        &self,
        question: WorkersQuestion<'_>,
        after: Option<u64>,
        wait: Duration,
    ) -> Result<Reading> {
        // Out of time is an answer too: the cluster as it is.
        if let Ok(changed) = timeout(wait, self.changed(question, after)).await {
            changed?;
        }
        Ok(self.read())
    }

    async fn changed(&self, question: WorkersQuestion<'_>, after: Option<u64>) -> Result<()> {
        let feed = match after {
            None => Some(self.journal.subscribe()),
            Some(after) => self.feed_after(after).await?,
        };
        let Some(mut feed) = feed else { return Ok(()) };
        let base = self.read();
        let announced = after.and_then(|_| self.as_announced(&base)).unwrap_or_else(|| base.clone());
        let mut poll = Poll { question, after: after.unwrap_or(base.revision()), base, announced, page: None };
        let may_have_missed_silence = !poll.shows_the_same(&poll.base)?;
        let mut pause = pin!(sleep(PAUSE));
        let mut silence = self.silence();
        loop {
            tokio::select! {
                () = &mut pause, if may_have_missed_silence => return Ok(()),
                heard = feed.recv() => match heard {
                    Ok(Ok(change)) if poll.is_about(&change, self)? => return Ok(()),
                    Ok(Ok(_)) => {}
                    Ok(Err(Lagged)) | Err(Closed) => return Ok(()),
                },
                () = self.clock.left(silence.clone()) => {
                    if !poll.shows_the_same(&self.read())? {
                        return Ok(());
                    }
                    silence = self.silence();
                }
            }
        }
    }

    /// What was committed after a revision, as far as that can be told.
    async fn feed_after(&self, after: u64) -> Result<Option<ChangeReceiver>> {
        if self.journal.snapshot().revision < after {
            // Told by another server, which is ahead; or of what this database was before it was restored.
            if !self.journal.is_committed(after).await? {
                return Ok(None);
            }
            let mut feed = self.journal.subscribe();
            while self.journal.snapshot().revision < after {
                if let Err(Closed) = feed.recv().await {
                    return Ok(None);
                }
            }
        }
        Ok(self.journal.subscribe_after(after))
    }

    /// The cluster at an earlier moment, at which nobody was silent for too long but who is announced offline. None if
    /// that is so now. A revision does not tell whether its reader has seen a silence that nobody has committed yet.
    fn as_announced(&self, reading: &Reading) -> Option<Reading> {
        let last_seen = self.silence.longest_unannounced(reading.view())?;
        let View { snapshot, offline_after, .. } = &**reading.view();
        Some(Reading::of(Arc::new(View::new(snapshot.clone(), last_seen, *offline_after))))
    }
}

struct Poll<'a> {
    question: WorkersQuestion<'a>,
    /// The revision of what the client has.
    after: u64,
    /// The cluster when the poll began. It is kept alive for as long as the poll waits, of workers that have changed
    /// since.
    base: Reading,
    /// The same as the client may have seen it: without silences that may have begun since it did.
    announced: Reading,
    /// The part of the list that was asked for, as of then; made when it is needed.
    page: Option<Page<WorkerView>>,
}

impl Poll<'_> {
    /// Whether a change is one of the answer, or may be.
    fn is_about(&mut self, change: &Change, resolvers: &Resolvers) -> Result<bool> {
        let change_is_known = change.revision <= self.base.revision() && !change.starts_over;
        if change.starts_over {
            return Ok(true);
        }
        if change_is_known {
            // The client's answer is from before it, and what was shown then is not known any more.
            return Ok(change.removed > 0 || change.workers.iter().any(|id| self.may_have_shown(id.as_str(), change)));
        }
        let now = resolvers.read();
        for id in &change.workers {
            if self.shows_another(id.as_str(), &now)? {
                return Ok(true);
            }
        }
        Ok(change.removed > 0 && !self.shows_the_same(&now)?)
    }

    /// What most polls that ask for a part can tell of most heartbeats, before anything is looked up.
    fn may_be_asked_for(&self, id: &str) -> bool {
        self.question.filter.ids.as_ref().is_none_or(|ids| ids.iter().any(|wanted| wanted == id))
    }

    /// Whether the answer that the client has may show a worker that has changed since, or the present one does.
    fn may_have_shown(&self, id: &str, change: &Change) -> bool {
        let filter = self.question.filter;
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

    /// Whether the answer is another one for what has become of a worker.
    fn shows_another(&mut self, id: &str, now: &Reading) -> Result<bool> {
        let WorkersQuestion { filter, order, request } = self.question;
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
        // Behind the end of the page it changes nothing.
        let is_behind = |last: &Edge<WorkerView>| last.compare(&edge(after.clone(), order), order) == Ordering::Less;
        if request.starts_at_the_front() && page.has_next && page.edges.last().is_none_or(is_behind) {
            return Ok(false);
        }
        Ok(!self.shows_the_same(now)?)
    }

    /// Whether the answer is what it was for the client, but for what counts on with every second.
    fn shows_the_same(&self, now: &Reading) -> Result<bool> {
        let WorkersQuestion { filter, order, request } = self.question;
        let shown = |reading: &Reading| {
            let listing = reading.listing_of_workers(filter, order, request)?;
            let rows = listing.nodes.into_iter().map(|row| (row.worker.id.clone(), row.worker.revision, row.status()));
            Ok::<_, Error>((listing.total, rows.collect::<Vec<_>>()))
        };
        Ok(Arc::ptr_eq(self.announced.view(), now.view()) || shown(&self.announced)? == shown(now)?)
    }
}
