//! Execution: the [`executor`] runs a prepared operation by its plan, or lets the engine resolve it field by field
//! within a [`budget`] of objects; [`response`] is the result and its serialization.
//!
//! Before the engine runs a document, [`merge`] does the field collection that the engine lacks. [`loader`] batches
//! reads of the change log. Whether an operation may be run at all is decided before, in `operation`; plans are
//! compiled in `plan`.

pub mod budget;
pub mod executor;
pub mod loader;
pub mod merge;
pub mod response;
