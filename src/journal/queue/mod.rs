//! Commands on their way to a commit: the queue, who is let into it, and what commits cost.
//!
//! Nothing here touches the database or knows what a command does, beyond how many rows it writes.

pub mod backlog;
pub mod command_queue;
pub mod commit_cost;
pub mod pending_command;
