//! From the text of a request to an operation that may be run.
//!
//! [`validation`] reads a text, with [`syntax`], [`limits`], [`overlap`] and [`typed`], and collects what is wrong in
//! [`problems`]; a valid text is a [`document`]. [`document_cache`] keeps documents, [`apq`] (automatic persisted queries)
//! and [`persisted_manifest`] find them by hash or id. A [`request`] is a document with what it is asked with: its
//! [`variables`] are coerced and its [`cost`] is limited. [`request_cache`] keeps requests that come again byte by byte.
//!
//! Nothing is executed here.

pub mod apq;
pub mod cost;
pub mod document;
pub mod document_cache;
pub mod limits;
pub mod overlap;
pub mod persisted_manifest;
pub mod problems;
pub mod request;
pub mod request_cache;
pub mod source;
pub mod syntax;
pub mod typed;
pub mod validation;
pub mod variables;
