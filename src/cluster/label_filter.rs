//! The condition that a worker has a label: a part of filters of workers, and of the search for places.

use super::worker::Labels;

/// A label that a worker has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    /// Its key.
    pub key: String,
    /// Its value; none asks only that the key is there.
    pub value: Option<String>,
}

impl LabelFilter {
    /// Whether it is among these labels.
    pub fn is_on(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        value.is_some_and(|value| self.value.as_deref().is_none_or(|wanted| wanted == &**value))
    }
}
