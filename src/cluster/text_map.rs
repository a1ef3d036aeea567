//! A map of texts that is made once, such as the labels of a worker, in as little memory as there can be.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Texts by key. It is a sorted list, which takes no more memory than its entries: the smallest map of the standard
/// library has room for eleven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMap(Box<[(Arc<str>, Arc<str>)]>);

impl TextMap {
    /// The text with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.0.get(at).map(|(_, text)| text)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, text)| (key, text))
    }
}

impl FromIterator<(Arc<str>, Arc<str>)> for TextMap {
    /// Of several texts of one key, the last counts.
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Arc<str>)>>(texts: I) -> Self {
        let mut texts: Vec<_> = texts.into_iter().collect();
        // The last comes first: the sort is stable, and what follows an equal key is dropped.
        texts.reverse();
        texts.sort_by(|(one, _), (other, _)| one.cmp(other));
        texts.dedup_by(|(one, _), (other, _)| one == other);
        Self(texts.into())
    }
}

impl<const N: usize> From<[(Arc<str>, Arc<str>); N]> for TextMap {
    fn from(texts: [(Arc<str>, Arc<str>); N]) -> Self {
        texts.into_iter().collect()
    }
}

impl Serialize for TextMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_map_of_texts_is_a_map(texts in prop::collection::vec(("[a-d]{0,2}", "[a-d]{0,2}"), 0..12), key in "[a-d]{0,2}") {
            let model: BTreeMap<_, _> = texts.iter().cloned().collect();
            let texts: TextMap =
                texts.iter().map(|(key, text)| (key.as_str().into(), text.as_str().into())).collect();
            prop_assert!(texts.iter().map(|(key, text)| (&**key, &**text)).eq(model.iter().map(|(key, text)| (&**key, &**text))));
            prop_assert_eq!(texts.get(&key).map(|text| &**text), model.get(&key).map(String::as_str));
            prop_assert_eq!(serde_json::to_value(&texts).unwrap(), serde_json::to_value(&model).unwrap());
        }
    }
}
