//! What has to be true of a worker for a command to be carried out on it: looked at in the batch that carries it out, so
//! that nobody can come in between.

use crate::cluster::Worker;
use crate::error::{Error, Result};

/// What the caller has seen, or has not. Without any, a command is carried out on whatever there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The worker has to be there, as it was seen.
    pub matches: Option<Seen>,
    /// It must not be there as it was seen.
    pub matches_not: Option<Seen>,
}

/// How a worker was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In whatever state.
    Somehow,
    /// At one of these revisions: neither its registration nor what operators want of it has changed since. Heartbeats do
    /// not count.
    At(Vec<u64>),
}

impl From<Option<u64>> for Precondition {
    /// As it was at this revision, if one is given.
    fn from(revision: Option<u64>) -> Self {
        Self { matches: revision.map(|revision| Seen::At(vec![revision])), matches_not: None }
    }
}

impl Precondition {
    /// For a worker that must not be there.
    pub fn is_new() -> Self {
        Self { matches: None, matches_not: Some(Seen::Somehow) }
    }

    /// Refuses if it does not hold for the worker that is known by this id, in the commit that will have this revision.
    pub(super) fn check(&self, id: &str, known: Option<&Worker>, next: u64) -> Result<()> {
        let Self { matches, matches_not } = self;
        let Some(known) = known else {
            return if matches.is_some() { Err(Error::NothingToMatch(id.to_owned())) } else { Ok(()) };
        };
        let current = known.policy_revision.max(known.registration_revision);
        // A revision that is still to come was read from some other database.
        let is_seen = |revision: &u64| (current..next).contains(revision);
        match matches {
            None | Some(Seen::Somehow) => {}
            Some(Seen::At(revisions)) => {
                if !revisions.iter().any(is_seen) {
                    let expected = revisions.iter().copied().max().unwrap_or(0);
                    return Err(Error::StaleRevision { id: id.to_owned(), expected, current });
                }
            }
        }
        match matches_not {
            None => Ok(()),
            Some(Seen::Somehow) => Err(Error::AlreadyRegistered { id: id.to_owned(), current }),
            Some(Seen::At(revisions)) if revisions.iter().any(is_seen) => {
                Err(Error::Unchanged { id: id.to_owned(), current })
            }
            Some(Seen::At(_)) => Ok(()),
        }
    }
}
