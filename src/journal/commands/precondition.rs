//! Preconditions of commands: in which state a worker has to be, as `If-Match` and `If-None-Match` say it.
//!
//! They are checked in the batch that decides the command, so that no other command can come in between. How they are
//! written in a request is the protocol's.

use std::sync::Arc;

use crate::cluster::{Cursor, Epochs, Worker};
use crate::error::{Error, Result};

/// In which state the caller expects a worker, or does not. Without either, a command is decided on whatever there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The worker has to be there, in this state.
    pub if_match: Option<ExpectedState>,
    /// It must not be there in this state.
    pub if_none_match: Option<ExpectedState>,
}

/// A state of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedState {
    /// Whatever state it is in.
    Any,
    /// The state at one of these revisions: neither its registration nor its policy has changed since. Heartbeats do
    /// not count.
    OneOf(Vec<ExpectedRevision>),
}

/// A revision at which the caller has seen a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedRevision {
    /// The revision.
    pub revision: u64,
    /// The epoch of the revision. A number without one is taken to be of this database. That is wrong for a number from
    /// before a restore, once the database has come as far again.
    pub epoch: Option<Arc<str>>,
}

impl From<Option<u64>> for Precondition {
    /// The state at this revision, if one is given.
    fn from(revision: Option<u64>) -> Self {
        let at = |revision| ExpectedState::OneOf(vec![ExpectedRevision { revision, epoch: None }]);
        Self { if_match: revision.map(at), if_none_match: None }
    }
}

impl Precondition {
    /// For a worker that must not be there.
    pub fn is_new() -> Self {
        Self { if_match: None, if_none_match: Some(ExpectedState::Any) }
    }

    /// Refuses if it does not hold for the worker that is known by this id, in the commit that will have the revision
    /// `next` in a database of these epochs. The epochs are those that the batch is decided upon: when the command
    /// arrives, another server may have begun one that this server does not know yet.
    pub(super) fn check(&self, id: &str, known: Option<&Worker>, next: u64, epochs: &Epochs) -> Result<()> {
        let Self { if_match, if_none_match } = self;
        let Some(known) = known else {
            return if if_match.is_some() { Err(Error::NothingToMatch(id.to_owned())) } else { Ok(()) };
        };
        let current = known.policy_revision.max(known.registration_revision);
        // The latest revision that is of this database. One that is still to come was read from some other, and none is
        // 0.
        let of_this_database = |revisions: &[ExpectedRevision]| {
            let is_ours = |expected: &&ExpectedRevision| {
                let include =
                    |epoch: &Arc<str>| epochs.include(&Cursor::after_revision(epoch.clone(), expected.revision));
                (1..next).contains(&expected.revision) && expected.epoch.as_ref().is_none_or(include)
            };
            revisions.iter().filter(is_ours).map(|expected| expected.revision).max()
        };
        match if_match {
            None | Some(ExpectedState::Any) => {}
            Some(ExpectedState::OneOf(revisions)) => match of_this_database(revisions) {
                Some(latest) if latest >= current => {}
                Some(expected) => return Err(Error::StaleRevision { id: id.to_owned(), expected, current }),
                None => return Err(Error::UnknownRevision { id: id.to_owned(), current }),
            },
        }
        match if_none_match {
            None => Ok(()),
            Some(ExpectedState::Any) => Err(Error::AlreadyRegistered { id: id.to_owned(), current }),
            Some(ExpectedState::OneOf(revisions))
                if of_this_database(revisions).is_some_and(|latest| latest >= current) =>
            {
                Err(Error::Unchanged { id: id.to_owned(), current })
            }
            Some(ExpectedState::OneOf(_)) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::cluster::{Epoch, Identity, Labels, Life, WorkerId};

    /// A worker that was decided upon in the eighth commit.
    fn worker() -> Worker {
        let identity = Identity {
            hostname: "h".into(),
            address: "a:1".into(),
            zone: "".into(),
            labels: Labels::default(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 0,
            max_vms: 1,
        };
        let life = Life::first(Timestamp::UNIX_EPOCH, 3);
        let mut worker = Worker::first_life(WorkerId::parse("w1").unwrap(), identity, life);
        worker.policy_revision = 8;
        worker
    }

    #[test]
    fn a_place_counts_if_it_is_of_the_database_that_is_committed_to() {
        // Restored after the ninth commit of `a`, and then on its way to the 13th.
        let epoch = |name: &str, start| Epoch { name: name.into(), start };
        let epochs = Epochs::of_database(vec![epoch("a", 0), epoch("b", 9)]).unwrap();
        for (place, refused) in [
            ((8, None), ""),
            ((12, None), ""),
            ((7, None), "not what it was at revision 7"),
            ((13, None), "names no revision"),
            ((0, None), "names no revision"),
            ((8, Some("a")), ""),
            ((9, Some("a")), ""),
            ((10, Some("a")), "names no revision"),
            ((10, Some("b")), ""),
            ((7, Some("b")), "not what it was at revision 7"),
            ((13, Some("b")), "names no revision"),
            ((8, Some("c")), "names no revision"),
        ] {
            let (revision, epoch) = place;
            let seen = ExpectedState::OneOf(vec![ExpectedRevision { revision, epoch: epoch.map(Into::into) }]);
            let check = |condition: Precondition| condition.check("w1", Some(&worker()), 13, &epochs);
            let if_match = check(Precondition { if_match: Some(seen.clone()), if_none_match: None });
            let said = if_match.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(said.contains(refused) && said.is_empty() == refused.is_empty(), "{place:?}: {said}");
            let if_none_match = check(Precondition { if_match: None, if_none_match: Some(seen) });
            assert_eq!(if_none_match.is_err(), refused.is_empty(), "{place:?}");
        }
    }
}
