//! Where the resolver of a subscription leaves its stream of items for whoever delivers them.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Result;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};

use super::item::StreamItem;
use crate::error::Error;

/// What a watch tells, until it fails.
pub type ItemStream = BoxStream<'static, Result<StreamItem, Error>>;

/// Where a subscription's resolver leaves its watch.
#[derive(Clone, Default)]
pub struct StreamHandoff(Arc<Mutex<Option<ItemStream>>>);

impl StreamHandoff {
    /// Leaves it.
    pub fn with(&self, items: impl Stream<Item = Result<StreamItem, Error>> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(items.boxed());
    }

    /// Takes it.
    pub fn take(&self) -> Option<ItemStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
