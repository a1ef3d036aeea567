//! Operations: from the text of a request to an operation that may be run.
//!
//! - Parsing and validation: [`validation`] runs [`syntax`], [`limits`], the rules of `apollo-compiler`, [`fields_can_merge`]
//!   and [`typed_document`], and collects [`validation_errors`] with positions in the [`positions`]. The result is a [`document`].
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
pub mod fields_can_merge;
pub mod limits;
pub mod persisted_manifest;

pub mod positions;
mod rejections;
pub mod request;
pub mod request_cache;
pub mod syntax;
pub mod typed_document;
pub mod validation;
pub mod validation_errors;
pub mod variables;
