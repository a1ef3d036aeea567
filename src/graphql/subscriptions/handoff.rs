//! Where the resolver of a subscription leaves its stream of items for whoever delivers them.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Result;
use futures_util::stream::{BoxStream, Stream, StreamExt as _};

use super::item::Item;
use crate::error::Error;

/// What a watch tells, until it fails.
pub type Items = BoxStream<'static, Result<Item, Error>>;

/// Where a subscription's resolver leaves its watch.
#[derive(Clone, Default)]
pub struct Begun(Arc<Mutex<Option<Items>>>);

impl Begun {
    /// Leaves it.
    pub fn with(&self, items: impl Stream<Item = Result<Item, Error>> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(items.boxed());
    }

    /// Takes it.
    pub fn take(&self) -> Option<Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
