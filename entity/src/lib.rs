//! The rows of Aetherium's database.
//!
//! One module a table, each with its SeaORM model and the query words that go with it. Rows are
//! how facts are kept, not how they are shown: the live state is built from them when the server
//! starts, and answers are given from that. Words such as a VM's status are kept as text and read
//! by the crate that defines them.
//!
//! **Invariant:** every row that answers "what changed since?" carries the revision of its last
//! change, and [`cluster`] holds the revision of the last commit.

pub mod cluster;
pub mod drain;
pub mod epoch;
pub mod event;
pub mod history;
pub mod idempotency_record;
pub mod reservation;
pub mod token;
pub mod vm;
pub mod worker;
pub mod worker_tombstone;
