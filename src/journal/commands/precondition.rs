//! What has to be true of a worker for a command to be carried out on it: looked at in the batch that carries it out,
//! so that nobody can come in between.

use std::sync::Arc;

use crate::cluster::{Cursor, Epochs, Worker};
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
    /// At one of these places of the change log: neither its registration nor what operators want of it has changed
    /// since. Heartbeats do not count.
    At(Vec<SeenAt>),
}

/// A place of some change log at which a worker was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenAt {
    /// The revision.
    pub revision: u64,
    /// The epoch of the revision. None if the caller names a number alone, which is then taken to be of this
    /// database: one of before a restore is, too, once the database has come as far again.
    pub epoch: Option<Arc<str>>,
}

impl From<Option<u64>> for Precondition {
    /// As it was at this revision, if one is given.
    fn from(revision: Option<u64>) -> Self {
        let at = |revision| Seen::At(vec![SeenAt { revision, epoch: None }]);
        Self { matches: revision.map(at), matches_not: None }
    }
}

impl Precondition {
    /// For a worker that must not be there.
    pub fn is_new() -> Self {
        Self { matches: None, matches_not: Some(Seen::Somehow) }
    }

    /// Refuses if it does not hold for the worker that is known by this id, in the commit that will have this revision
    /// in a database of these epochs. They are those that the commit is decided upon: another server may have begun one
    /// that this one has not heard of when the command arrives.
    pub(super) fn check(&self, id: &str, known: Option<&Worker>, next: u64, epochs: &Epochs) -> Result<()> {
        let Self { matches, matches_not } = self;
        let Some(known) = known else {
            return if matches.is_some() { Err(Error::NothingToMatch(id.to_owned())) } else { Ok(()) };
        };
        let current = known.policy_revision.max(known.registration_revision);
        // The revisions that are of this database. One that is still to come was read from some other, and none is 0.
        let of_this_database = |places: &[SeenAt]| {
            let is_ours = |place: &&SeenAt| {
                let include = |epoch: &Arc<str>| epochs.include(&Cursor::after_revision(epoch.clone(), place.revision));
                (1..next).contains(&place.revision) && place.epoch.as_ref().is_none_or(include)
            };
            places.iter().filter(is_ours).map(|place| place.revision).max()
        };
        match matches {
            None | Some(Seen::Somehow) => {}
            Some(Seen::At(places)) => match of_this_database(places) {
                Some(latest) if latest >= current => {}
                Some(expected) => return Err(Error::StaleRevision { id: id.to_owned(), expected, current }),
                None => return Err(Error::UnknownRevision { id: id.to_owned(), current }),
            },
        }
        match matches_not {
            None => Ok(()),
            Some(Seen::Somehow) => Err(Error::AlreadyRegistered { id: id.to_owned(), current }),
            Some(Seen::At(places)) if of_this_database(places).is_some_and(|latest| latest >= current) => {
                Err(Error::Unchanged { id: id.to_owned(), current })
            }
            Some(Seen::At(_)) => Ok(()),
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
            labels: Labels::new(),
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
            let seen = Seen::At(vec![SeenAt { revision, epoch: epoch.map(Into::into) }]);
            let check = |condition: Precondition| condition.check("w1", Some(&worker()), 13, &epochs);
            let matches = check(Precondition { matches: Some(seen.clone()), matches_not: None });
            let said = matches.map_or_else(|error| error.to_string(), |()| String::new());
            assert!(said.contains(refused) && said.is_empty() == refused.is_empty(), "{place:?}: {said}");
            let matches_not = check(Precondition { matches: None, matches_not: Some(seen) });
            assert_eq!(matches_not.is_err(), refused.is_empty(), "{place:?}");
        }
    }
}
