//! What somebody has made of an object, kept with it.
//!
//! Most of what a row shows changes only when the object does; the clock makes something else of the rest, each second.
//! So who writes rows by the thousand, or one very often, writes the most part of each once.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// Room with an object for what was made of it. It goes when the object changes: a copy is made to be changed, and has none.
#[derive(Default)]
pub struct Prepared {
    whole: OnceLock<Box<Gapped>>,
    part: OnceLock<(Arc<str>, Box<Gapped>)>,
}

/// Bytes with gaps, for what depends on the moment.
#[derive(Debug, Default)]
pub struct Gapped {
    bytes: Vec<u8>,
    gaps: Vec<usize>,
    /// How many entries there are in the lists in it.
    pub entries: usize,
}

impl Prepared {
    /// All of the object, made now if nobody asked before. It is always made in the same way.
    pub fn whole(&self, make: impl FnOnce() -> Gapped) -> &Gapped {
        self.whole.get_or_init(|| Box::new(make().shrunk()))
    }

    /// The part that has this name, which says all about how it is made; made now if nobody asked for any part before.
    /// None if there was room for another one only, or it cannot be made.
    pub fn part(&self, name: &Arc<str>, make: impl FnOnce() -> Option<Gapped>) -> Option<&Gapped> {
        if self.part.get().is_none() {
            let made = Box::new(make()?.shrunk());
            // Somebody else may have been quicker.
            let _ = self.part.set((name.clone(), made));
        }
        let (kept, part) = self.part.get()?;
        (Arc::ptr_eq(kept, name) || kept == name).then_some(part)
    }
}

impl Clone for Prepared {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It says nothing of the object that the object does not.
impl PartialEq for Prepared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Gapped {
    fn shrunk(mut self) -> Self {
        self.bytes.shrink_to_fit();
        self.gaps.shrink_to_fit();
        self
    }

    /// To write what comes next.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Leaves a gap behind what is there.
    pub fn leave_gap(&mut self) {
        self.gaps.push(self.bytes.len());
    }

    /// What is before the first gap, between each and the next, and behind the last.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.gaps.iter().copied());
        let ends = self.gaps.iter().copied().chain([self.bytes.len()]);
        begins.zip(ends).map(|(begin, end)| self.bytes.get(begin..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_gaps_divide() {
        let mut text = Gapped::default();
        assert_eq!(text.pieces().collect::<Vec<_>>(), [b""]);
        text.bytes().extend(b"one");
        text.leave_gap();
        text.leave_gap();
        text.bytes().extend(b"two");
        text.leave_gap();
        assert_eq!(text.pieces().collect::<Vec<_>>(), [&b"one"[..], b"", b"two", b""]);
    }

    #[test]
    fn what_was_made_stays_until_a_copy_is_changed() {
        let made = |text: &[u8]| Gapped { bytes: text.to_vec(), ..Gapped::default() };
        let prepared = Prepared::default();
        assert_eq!(prepared.whole(|| made(b"first")).bytes, b"first");
        assert_eq!(prepared.whole(|| made(b"second")).bytes, b"first");
        assert_eq!(prepared.clone().whole(|| made(b"second")).bytes, b"second");
    }

    #[test]
    fn there_is_room_for_one_part() {
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        let made = |text: &[u8]| Some(Gapped { bytes: text.to_vec(), ..Gapped::default() });
        let bytes = |part: Option<&Gapped>| part.map(|part| part.bytes.clone());
        let prepared = Prepared::default();
        assert_eq!(bytes(prepared.part(&one, || None)), None);
        assert_eq!(bytes(prepared.part(&one, || made(b"1"))), Some(b"1".to_vec()));
        assert_eq!(bytes(prepared.part(&Arc::from("one"), || made(b"2"))), Some(b"1".to_vec()));
        assert_eq!(bytes(prepared.part(&other, || made(b"2"))), None);
        assert_eq!(bytes(prepared.clone().part(&other, || made(b"2"))), Some(b"2".to_vec()));
    }
}
