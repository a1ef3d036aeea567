//! Running an operation: [`executor`] runs it by plan or resolves it field by field, within a [`budget`] of objects, and
//! [`response`] is what comes of it. [`merge`] puts together beforehand what a document asks for in several places.
//!
//! Whether an operation may be run at all is decided before, in `operation`.

pub mod budget;
pub mod executor;
pub mod loader;
pub mod merge;
pub mod response;
