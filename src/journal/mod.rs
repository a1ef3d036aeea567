//! The journal: the only writer of the cluster.
//!
//! A command waits in the [queue]. The [writer](commit) takes what waits, decides it on the latest state, has the
//! [store] write it as one [batch] with one revision, publishes the new snapshot, appends to the [feed], and only then
//! sends the reply: when a client has its answer, the change is on disk and in memory. While one batch commits, the
//! next one collects; no timer is needed.
//!
//! **How a batch is right also with several servers.** Its transaction first raises the revision in the `cluster` row.
//! On PostgreSQL that row's lock makes the writing transactions of all servers wait for each other. If the revision is
//! not the next one that this server knows, it first reads what changed, inside the same transaction. So decisions are
//! made on a state that is certainly the latest, by plain functions ([`commands`]), and there is no leader. A batch of
//! plain heartbeats is decided on the state that this server knows, and written by a statement that changes rows only
//! if that state is the latest; if not, it is committed as any other batch. By the same check a server finds out about
//! a commit whose outcome was lost with the connection: the next batch does.
//!
//! **Which file needs which**, from the bottom up: [`batch`] is pure; [`commands`] decide on it; [`queue`] holds
//! commands; [`store`] writes a batch and reads rows; [`follow`] keeps up with other servers; [`commit`] is the loop on
//! top; [`handle`] is what everybody else holds.
//!
//! **Invariant:** nobody else writes to the tables of the cluster, except that [`RetentionPruner`] removes old events
//! and idempotency records beside the writer. Old tombstones, which are part of the state, it removes by a command.

mod batch;
pub mod commands;
mod commit;
mod feed;
mod follow;
mod handle;
mod idempotency_record;
mod incarnation;
mod liveness_signs;
mod metrics;
mod published;
mod queue;
mod reservation_sweeper;
mod reserved_slots;
mod retention;
mod store;

pub use self::commands::Command;
pub use self::commit::failure::JournalEnded;
pub use self::commit::writer::Writer;
pub use self::feed::{ChangeReceiver, Closed, Lagged};
pub use self::handle::{Journal, Submitted};
pub use self::idempotency_record::{StoredResponse, heartbeat_fingerprint};
pub use self::liveness_signs::{LivenessSign, LivenessSigns, NotedSign};
pub use self::published::{Committed, Published};
pub use self::reservation_sweeper::ReservationSweeper;
pub use self::retention::{Retention, RetentionPruner};
pub use self::store::applied_migrations::{MigrationState, MigrationStatus, TablesContracted};
pub use self::store::database::Database;
pub use self::store::database_url::{database_file, without_password};
pub use self::store::events::{EventLog, EventLogPage, EventSpan, EventSubject, LogRange};
pub use self::store::history::{HistoryRow, HistoryStore};
pub use self::store::open_error::OpenError;
pub use self::store::schema_shape::Loss;
pub use self::store::sqlite_files::FileMoved;
pub use self::store::tokens::tokens_exist;
