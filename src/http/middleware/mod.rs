//! What stands around every handler: the [`stack`] of layers, outermost first, and the layers that need room of their own.
//!
//! [`request_context`] is what the layers know about one request; [`body_limit`], [`compression`], [`host`] (names the
//! server answers to), [`origin`] (CORS and cross-site requests) and [`error_shape`] are the layers.

pub mod body_limit;
pub mod compression;
pub mod error_shape;
pub mod host;
pub mod origin;
pub mod request_context;
pub mod stack;
