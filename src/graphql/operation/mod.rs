//! Operations: from the text of a request to an operation that may be run.
//!
//! - Parsing and validation: [`validation`] runs [`syntax`], [`limits`], the rules of `apollo-compiler`, [`overlap`]
//!   and [`typed`], and collects [`validation_errors`] with positions in the [`source`]. The result is a [`document`].
//! - Caches: [`document_cache`] has documents by their text, [`request_cache`] prepared operations by the bytes of
//!   their requests. [`apq`] (automatic persisted queries) finds a text by its hash, [`persisted_manifest`] a trusted
//!   document by its id.
//! - For each [`request`]: [`variables`] are coerced, and the operation's [`cost`] is checked against its limit.
//!
//! Nothing is executed here; see `execution`.

pub mod apq;
pub mod cost;
pub mod document;
pub mod document_cache;
pub mod limits;
pub mod overlap;
pub mod persisted_manifest;

pub mod request;
pub mod request_cache;
pub mod source;
pub mod syntax;
pub mod typed;
pub mod validation;
pub mod validation_errors;
pub mod variables;
