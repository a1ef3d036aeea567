//! Caches of rendered bytes: what a protocol has written of an object or of a list, kept until it would be written
//! otherwise.
//!
//! * [`Volatility`] says of a field, and so of an object, what makes it look different although the object itself has
//!   not changed: the clock, or other objects.
//! * A [`Template`] is an object's text with a gap for each volatile field. The [`RenderCache`] of an object holds its
//!   templates; it goes with the object when that changes.
//! * A [`ListCache`] holds the rows of whole lists and renders only those that have changed.
//!
//! **Invariant:** nothing here knows what a worker or a VM is, or how JSON looks: the protocols hand in functions that
//! write, `cluster` says which fields are volatile, and `resolvers` says which rows there are.

mod list_cache;
mod template;
mod volatility;

pub use list_cache::{CacheableRow, ListCache, ListKey, RenderedRow, RenderedRows};
pub use template::{RenderCache, Template};
pub use volatility::Volatility;
pub(crate) use volatility::volatility;
