//! An index: the ids of objects by a text that several of them share, such as a zone or a hostname. Cheap to copy.
//!
//! The texts are sorted, and so are the ids under each text: an index also is the list of all ids in the order by text,
//! and any part of it is found by search. Only what registrations, operators and changes of VM sets write has an index.
//! What every heartbeat changes, such as the share of CPU cores in use, has none, since each heartbeat would have to
//! move its worker in it (ADR 0056). Which indexes there are is in the [`snapshot`](super::Snapshot).

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use super::sorted_list::{Keyed, SortedList};

/// Ids by text.
#[derive(Clone, Debug)]
pub struct Index<I> {
    groups: SortedList<Group<I>>,
    /// How many ids there are under all texts.
    len: usize,
}

/// A text and the ids of the objects that share it.
#[derive(Clone, Debug)]
pub struct Group<I> {
    text: Arc<str>,
    ids: Ids<I>,
}

/// A set of ids, in ascending order.
#[derive(Clone, Debug)]
pub enum Ids<I> {
    /// A single id, as under nearly all hostnames: a list would take several times the memory.
    One(I),
    /// Any number.
    Several(SortedList<I>),
}

impl<I> Default for Index<I> {
    fn default() -> Self {
        Self { groups: SortedList::default(), len: 0 }
    }
}

impl<I> Default for Ids<I> {
    fn default() -> Self {
        Self::Several(SortedList::default())
    }
}

impl<I> Keyed for Group<I> {
    fn key(&self) -> &str {
        &self.text
    }
}

impl<I> Group<I> {
    /// The text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The ids, at least one.
    pub fn ids(&self) -> &Ids<I> {
        &self.ids
    }
}

impl<I: Keyed + Clone> Index<I> {
    /// An index of pairs in any order: much faster than to insert one after the other.
    pub(super) fn of(entries: impl Iterator<Item = (Arc<str>, I)>) -> Self {
        let mut groups = HashMap::<Arc<str>, Vec<I>>::new();
        entries.for_each(|(text, id)| groups.entry(text).or_default().push(id));
        Self::of_groups(groups)
    }

    /// An index of groups, whose ids may be in any order and repeated.
    pub(super) fn of_groups(groups: HashMap<Arc<str>, Vec<I>>) -> Self {
        let groups = groups.into_iter().filter(|(_, ids)| !ids.is_empty());
        let mut groups: Vec<_> = groups.map(|(text, ids)| Group { text, ids: Ids::of(ids) }).collect();
        groups.sort_unstable_by(|one, other| one.text.cmp(&other.text));
        let len = groups.iter().map(|group| group.ids.count()).sum();
        Self { groups: SortedList::from_sorted(groups.into_iter()), len }
    }

    /// How many ids there are under all texts.
    pub fn count(&self) -> usize {
        self.len
    }

    /// The ids under a text.
    pub fn ids(&self, text: &str) -> Option<&Ids<I>> {
        self.groups.search(text).map(Group::ids)
    }

    /// The groups of the texts between two, in ascending order.
    pub fn groups<'a>(
        &'a self,
        lower: Bound<&'a str>,
        upper: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Group<I>> {
        self.groups.range(lower, upper)
    }

    /// The groups of the texts after one, in ascending order.
    pub fn groups_after<'a>(&'a self, text: &str) -> impl Iterator<Item = &'a Group<I>> + use<'a, I> {
        self.groups.after(text)
    }

    /// Inserts an id under a text, if it is not there.
    pub(super) fn insert(&mut self, text: &Arc<str>, id: I) {
        let is_new = match self.groups.get_mut(text) {
            Some(group) => group.ids.insert(id),
            None => {
                self.groups.insert(Group { text: text.clone(), ids: Ids::One(id) });
                true
            }
        };
        self.len += usize::from(is_new);
    }

    /// Removes an id from under a text.
    pub(super) fn remove(&mut self, text: &str, id: &str) {
        let Some(group) = self.groups.get_mut(text) else { return };
        let before = group.ids.count();
        group.ids.remove(id);
        let after = group.ids.count();
        self.len -= before - after;
        if after == 0 {
            self.groups.remove(text);
        }
    }
}

impl<I: Keyed + Clone> Ids<I> {
    /// The set of ids that may be in any order and repeated.
    pub(super) fn of(mut ids: Vec<I>) -> Self {
        // A stable sort, which is fast where ids come in sorted runs, as they mostly do.
        ids.sort_by(|one, other| one.key().cmp(other.key()));
        ids.dedup_by(|one, other| one.key() == other.key());
        match ids.as_slice() {
            [only] => Self::One(only.clone()),
            _ => Self::Several(SortedList::from_sorted(ids.into_iter())),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(ids) => ids.len(),
        }
    }

    /// Whether an id is in the set.
    pub fn contains(&self, id: &str) -> bool {
        match self {
            Self::One(only) => only.key() == id,
            Self::Several(ids) => ids.search(id).is_some(),
        }
    }

    /// Those between two ids, in ascending order.
    pub fn range<'a>(&'a self, lower: Bound<&'a str>, upper: Bound<&'a str>) -> impl DoubleEndedIterator<Item = &'a I> {
        let (one, several) = match self {
            Self::One(id) => (Some(id), None),
            Self::Several(ids) => (None, Some(ids.range(lower, upper))),
        };
        let is_between = move |id: &&I| {
            let key = id.key();
            let is_above = match lower {
                Bound::Included(lower) => lower <= key,
                Bound::Excluded(lower) => lower < key,
                Bound::Unbounded => true,
            };
            is_above
                && match upper {
                    Bound::Included(upper) => key <= upper,
                    Bound::Excluded(upper) => key < upper,
                    Bound::Unbounded => true,
                }
        };
        one.into_iter().filter(is_between).chain(several.into_iter().flatten())
    }

    /// Inserts an id, and answers whether it was not there before.
    pub(super) fn insert(&mut self, id: I) -> bool {
        match self {
            Self::One(only) if only.key() == id.key() => false,
            Self::One(only) => {
                *self = Self::of(vec![only.clone(), id]);
                true
            }
            Self::Several(ids) => ids.insert(id).is_none(),
        }
    }

    pub(super) fn remove(&mut self, id: &str) {
        match self {
            Self::One(only) if only.key() == id => *self = Self::default(),
            Self::One(_) => {}
            Self::Several(ids) => _ = ids.remove(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::WorkerId;

    fn entries<'a>(groups: impl Iterator<Item = &'a Group<WorkerId>>) -> Vec<(String, String)> {
        let ids = |group: &'a Group<WorkerId>| group.ids().range(Bound::Unbounded, Bound::Unbounded);
        groups.flat_map(|group| ids(group).map(|id| (group.text().to_string(), id.to_string()))).collect()
    }

    proptest! {
        #[test]
        fn an_index_is_a_set_of_texts_with_ids_and_copies_do_not_change(
            steps in prop::collection::vec((any::<bool>(), 0_u8..6, 0_u16..400), 0..1_500),
            (one, other, lower, upper) in (0_u8..7, 0_u8..7, 0_u16..400, 0_u16..400),
        ) {
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            let mut copy = (Index::default(), BTreeSet::new());
            let steps_before_copy = steps.len() / 2;
            for (number, (insert, text, id)) in steps.into_iter().enumerate() {
                let (text, id) = (format!("t{text}"), format!("{id:03}"));
                if insert {
                    index.insert(&text.as_str().into(), WorkerId::parse(&id).unwrap());
                    model.insert((text, id));
                } else {
                    index.remove(&text, &id);
                    model.remove(&(text, id));
                }
                if number == steps_before_copy {
                    copy = (index.clone(), model.clone());
                }
            }
            let shuffled = model.iter().rev().map(|(text, id)| (text.as_str().into(), WorkerId::parse(id).unwrap()));
            for (index, model) in [(Index::of(shuffled), model.clone()), (index, model), copy] {
                prop_assert_eq!(index.count(), model.len());
                let all: Vec<_> = model.iter().cloned().collect();
                prop_assert_eq!(entries(index.groups(Bound::Unbounded, Bound::Unbounded)), all);
                let (one, other) = (format!("t{one}"), format!("t{other}"));
                let between = index.groups(Bound::Excluded(&one), Bound::Included(&other));
                let expected: Vec<_> = model.iter().filter(|(text, _)| *text > one && *text <= other).cloned().collect();
                prop_assert_eq!(entries(between), expected);
                let (lower, upper) = (format!("{lower:03}"), format!("{upper:03}"));
                let expected =
                    model.iter().filter(|(text, id)| *text == one && *id >= lower && *id < upper).map(|(_, id)| id.as_str());
                let found = index.ids(&one).into_iter();
                let found = found.flat_map(|ids| ids.range(Bound::Included(&lower), Bound::Excluded(&upper)));
                prop_assert_eq!(found.map(WorkerId::as_str).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                let count = model.iter().filter(|(text, _)| *text == one).count();
                prop_assert_eq!(index.ids(&one).map_or(0, Ids::count), count);
                prop_assert!(index.ids(&one).is_none_or(|ids| ids.contains(&lower) == model.contains(&(one.clone(), lower.clone()))));
            }
        }
    }
}
