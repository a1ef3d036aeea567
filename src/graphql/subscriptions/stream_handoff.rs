//! The handoff of a subscription's item stream: the resolver puts it here, and the executor takes it.
//!
//! The stream does not pass through the engine, which would resolve each item once for every subscriber.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Result;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};

use super::item::StreamItem;
use crate::error::Error;

/// The items of a watch, up to its first error.
pub type ItemStream = BoxStream<'static, Result<StreamItem, Error>>;

/// A slot for the item stream of one subscription. Clones share the slot.
#[derive(Clone, Default)]
pub struct StreamHandoff(Arc<Mutex<Option<ItemStream>>>);

impl StreamHandoff {
    /// Puts the stream into the slot.
    pub fn put(&self, items: impl Stream<Item = Result<StreamItem, Error>> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(items.boxed());
    }

    /// Takes the stream out of the slot; none if no resolver has put one in.
    pub fn take(&self) -> Option<ItemStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
