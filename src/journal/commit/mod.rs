//! The commit loop, on top of everything else in the journal, and imported by nobody but the journal's handle.
//!
//! It takes what waits in the [queue](super::queue), has it decided on a [batch](super::batch), has the
//! [store](super::store) write it, and publishes the new state.

pub mod failure;
pub mod health;
mod watchdog;
pub mod writer;
