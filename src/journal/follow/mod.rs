//! How this server comes to know what is committed: at its start, by its own commits, and by those of other servers on
//! the same PostgreSQL.
//!
//! Other servers are found by polling, twice a second; a notification only has the poll made at once. Nothing here
//! decides what is committed.

pub mod known_state;
pub mod notify;
