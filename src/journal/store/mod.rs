//! The database: connections, tables, and the statements that read and write them.
//!
//! Everything that knows SQL is here. It writes a [batch](super::batch) that was decided, and reads rows as values of
//! the cluster; it decides nothing, and knows nothing of the queue or of who waits for a commit.

pub mod applied_migrations;
pub mod bulk_statements;
pub mod cluster_row;
pub mod connections;
pub mod database;
pub mod database_url;
pub mod dedicated_thread;
pub mod drains;
pub mod events;
pub mod heartbeat_rows;
pub mod history;
pub mod migrate;
pub mod open_error;
pub mod outage;
pub mod postgres;
pub mod pruning;
pub mod reachability;
pub mod rows;
pub mod schema_shape;
pub mod sqlite;
pub mod sqlite_files;
pub mod statement_meter;
pub mod statement_progress;
pub mod tokens;
pub mod write_batch;
