//! Following other servers on the same PostgreSQL: how this server comes to know what is committed, at its start, by
//! its own commits and by theirs.
//!
//! What is read becomes the [known state](known_state); a [notification](notify) of another server has the next poll
//! made at once. The polls themselves are not here: the [writer](super::commit::writer) makes them, at its
//! `POLL_PERIOD`. Nothing here decides what is committed.

pub mod known_state;
pub mod notify;
