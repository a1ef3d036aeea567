//! Epochs: random names that tell the history of one database from that of a copy restored from a backup.
//!
//! A restored database counts its revisions again from where the backup was taken, so that a revision alone does not
//! identify a commit: the same number may stand for two commits, one of which is not in the log any more. Each server
//! therefore opens an *epoch* with a random name at its first commit, and the database stores at which revision each
//! epoch began. A cursor carries the name of its epoch. A restored copy does not have the epochs that began after the
//! backup, and its first commit opens a new one: so a cursor with an unknown epoch, or with a revision after the end of
//! its epoch, is of a history that this database does not have (ADR 0043). When epochs are opened and stored is the
//! journal's business.

use std::sync::Arc;

use super::event::Cursor;

/// One epoch of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Random: only copies of one database have epochs of the same name.
    pub name: Arc<str>,
    /// The revision of the database when the epoch began; the commits of the epoch have higher ones.
    pub start: u64,
}

/// The epochs that a database has stored, oldest first; at least one. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs(Arc<[Epoch]>);

impl Epochs {
    /// The epochs that a database has stored, oldest first. None if there are none, which is so in no database.
    pub fn of_database(epochs: Vec<Epoch>) -> Option<Self> {
        (!epochs.is_empty()).then(|| Self(epochs.into()))
    }

    /// Name of the last epoch.
    pub fn latest(&self) -> &Arc<str> {
        &self.0[self.0.len() - 1].name
    }

    /// Name of the epoch in which a revision was committed. For revisions before all stored epochs it is the first
    /// stored one, since databases that share that epoch share all history before it.
    pub fn of(&self, revision: u64) -> &Arc<str> {
        // Searched from the end: nearly always it is the last one.
        let began_before = |epoch: &&Epoch| epoch.start < revision.max(1);
        &self.0.iter().rev().find(began_before).unwrap_or(&self.0[0]).name
    }

    /// Whether the history up to a cursor is the history of this database, or may become it: the cursor's epoch is
    /// stored, and its revision is not after the end of that epoch.
    pub fn include(&self, place: &Cursor) -> bool {
        let Some(at) = self.0.iter().rposition(|epoch| epoch.name == place.epoch) else { return false };
        // The start of the epoch is not compared: all databases that have the epoch share the history before it.
        self.0.get(at + 1).is_none_or(|next| place.revision <= next.start)
    }
}

/// The epochs of a database that has had only one.
impl From<&str> for Epochs {
    fn from(name: &str) -> Self {
        Self([Epoch { name: name.into(), start: 0 }].into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(epoch: &str, revision: u64) -> Cursor {
        Cursor::after_revision(epoch.into(), revision)
    }

    /// A database: what each revision was committed as, and its epochs. Commits are told apart by a number.
    #[derive(Clone, Debug)]
    struct Toy {
        commits: Vec<u64>,
        epochs: Vec<Epoch>,
    }

    /// What happens to it, with any of the copies that were taken of it.
    #[derive(Clone, Debug)]
    enum Step {
        Start,
        Commit(usize),
        Copy,
        Restore(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Start),
            (1_usize..4).prop_map(Step::Commit),
            Just(Step::Copy),
            (0_usize..8).prop_map(Step::Restore)
        ]
    }

    proptest! {
        /// However often a database is copied and restored: a place is believed exactly if what was committed up to
        /// there is what the database has.
        #[test]
        fn a_place_is_believed_if_its_history_is_the_databases(steps in prop::collection::vec(step(), 1..60)) {
            let mut next = 0;
            let mut fresh = || { next += 1; next };
            let mut toy = Toy { commits: Vec::new(), epochs: vec![Epoch { name: "0".into(), start: 0 }] };
            let (mut copies, mut kept, mut is_open) = (vec![toy.clone()], Vec::new(), false);
            for step in steps {
                match step {
                    Step::Start => is_open = false,
                    Step::Copy => copies.push(toy.clone()),
                    // Which is done while no server runs, or noticed by the one that does.
                    Step::Restore(at) => (toy, is_open) = (copies[at % copies.len()].clone(), false),
                    Step::Commit(count) => for _ in 0..count {
                        if !is_open {
                            toy.epochs.push(Epoch { name: fresh().to_string().into(), start: toy.commits.len() as u64 });
                            is_open = true;
                        }
                        toy.commits.push(fresh());
                    },
                }
                let epochs = Epochs::of_database(toy.epochs.clone()).unwrap();
                let now = toy.commits.len() as u64;
                // Cursors of the present and of the past are kept.
                for revision in [now, now / 2] {
                    let place = place(epochs.of(revision), revision);
                    kept.push((place, toy.commits[..usize::try_from(revision).unwrap()].to_vec()));
                }
                for (place, history) in &kept {
                    let believed = epochs.include(place) && place.revision <= now;
                    let is_right = toy.commits.starts_with(history);
                    // The empty history, at revision 0, is that of every database.
                    prop_assert!(believed == is_right || place.revision == 0, "{} in {:?}", place, epochs);
                }
            }
        }
    }

    #[test]
    fn what_has_been_forgotten_is_told_by_the_first_that_is_remembered() {
        let epochs = [("b", 10), ("c", 10), ("d", 20)].map(|(name, start)| Epoch { name: name.into(), start });
        let epochs = Epochs::of_database(epochs.into()).unwrap();
        assert_eq!([0, 5, 10, 11, 20, 21].map(|revision| &**epochs.of(revision)), ["b", "b", "b", "c", "c", "d"]);
        for (name, revision, included) in [
            ("b", 5, true),
            ("b", 10, true),
            ("b", 11, false),
            ("c", 5, true),
            ("c", 20, true),
            ("c", 21, false),
            ("d", 99, true),
            ("a", 5, false),
        ] {
            assert_eq!(epochs.include(&place(name, revision)), included, "{name}-{revision}");
        }
    }
}
