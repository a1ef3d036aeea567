//! Templates: an object's text with gaps for its volatile fields, kept with the object.
//!
//! Most fields of a row change only when its object does; the clock changes the others with every second. So a protocol
//! writes the stable part of a row once, and only the volatile fields each time. Which fields are volatile, and how the
//! text looks, is not known here.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// The templates of one object: one of the whole object, and one of a selection of its fields. A changed object is a
/// changed copy, and a copy starts with an empty cache, so nothing has to be invalidated.
#[derive(Default)]
pub struct RenderCache {
    full_object: OnceLock<Box<Template>>,
    selection: OnceLock<(Arc<str>, Box<Template>)>,
}

/// Bytes with gaps, for what has to be written anew each time.
#[derive(Debug, Default)]
pub struct Template {
    bytes: Vec<u8>,
    /// Before which bytes the gaps are, in ascending order.
    gaps: Vec<usize>,
    /// How many objects there are in the lists inside of it.
    pub objects: usize,
}

impl RenderCache {
    /// The template of the whole object; `render` makes it for the first caller. Every caller has to pass the same
    /// function.
    pub fn full_object(&self, render: impl FnOnce() -> Template) -> &Template {
        self.full_object.get_or_init(|| Box::new(render().shrunk()))
    }

    /// The template of the selection with this key, which determines how it is rendered; `render` makes it for the
    /// first caller. None if the template of another selection is in the cache, or `render` cannot make one.
    pub fn selection(&self, key: &Arc<str>, render: impl FnOnce() -> Option<Template>) -> Option<&Template> {
        if self.selection.get().is_none() {
            let rendered = Box::new(render()?.shrunk());
            // Another thread may have been quicker; then its template is the one in the cache.
            let _ = self.selection.set((key.clone(), rendered));
        }
        let (cached_key, template) = self.selection.get()?;
        (Arc::ptr_eq(cached_key, key) || cached_key == key).then_some(template)
    }
}

/// An empty cache: the copy is about to be changed.
impl Clone for RenderCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Always equal: the templates follow from the object, which is compared itself.
impl PartialEq for RenderCache {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for RenderCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderCache").finish_non_exhaustive()
    }
}

impl Template {
    fn shrunk(mut self) -> Self {
        self.bytes.shrink_to_fit();
        self.gaps.shrink_to_fit();
        self
    }

    /// The bytes so far, to append to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds a gap behind the bytes so far.
    pub fn add_gap(&mut self) {
        self.gaps.push(self.bytes.len());
    }

    /// The bytes before the first gap, between each gap and the next, and behind the last.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.gaps.iter().copied());
        let ends = self.gaps.iter().copied().chain([self.bytes.len()]);
        begins.zip(ends).map(|(begin, end)| self.bytes.get(begin..end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_what_gaps_divide() {
        let mut text = Template::default();
        assert_eq!(text.segments().collect::<Vec<_>>(), [b""]);
        text.bytes().extend(b"one");
        text.add_gap();
        text.add_gap();
        text.bytes().extend(b"two");
        text.add_gap();
        assert_eq!(text.segments().collect::<Vec<_>>(), [&b"one"[..], b"", b"two", b""]);
    }

    #[test]
    fn a_template_stays_until_a_copy_is_changed() {
        let template = |text: &[u8]| Template { bytes: text.to_vec(), ..Template::default() };
        let cache = RenderCache::default();
        assert_eq!(cache.full_object(|| template(b"first")).bytes, b"first");
        assert_eq!(cache.full_object(|| template(b"second")).bytes, b"first");
        assert_eq!(cache.clone().full_object(|| template(b"second")).bytes, b"second");
    }

    #[test]
    fn there_is_room_for_one_selection() {
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        let template = |text: &[u8]| Some(Template { bytes: text.to_vec(), ..Template::default() });
        let bytes = |found: Option<&Template>| found.map(|found| found.bytes.clone());
        let cache = RenderCache::default();
        assert_eq!(bytes(cache.selection(&one, || None)), None);
        assert_eq!(bytes(cache.selection(&one, || template(b"1"))), Some(b"1".to_vec()));
        assert_eq!(bytes(cache.selection(&Arc::from("one"), || template(b"2"))), Some(b"1".to_vec()));
        assert_eq!(bytes(cache.selection(&other, || template(b"2"))), None);
        assert_eq!(bytes(cache.clone().selection(&other, || template(b"2"))), Some(b"2".to_vec()));
    }
}
