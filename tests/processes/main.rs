//! The program as its users run it: the real binary, its arguments, its signals, its exit status.
//!
//! What the server answers is checked in `tests/suite`, where a test costs milliseconds. Here is only what needs a
//! process: starting, stopping, being killed, several of them talking to each other, and the commands that the
//! documents tell people to type. Every program listens on a port that the system chose and works in a folder of its
//! own, so all of these run side by side.
//!
//! Nothing sleeps to let something else happen. A test waits for what it can see ([`harness::eventually`]), with a
//! deadline that only a failure ever reaches.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic with its place is the report that is wanted")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tables, and the last words of a program, are for who runs it"
)]

#[path = "../suite/harness/database.rs"]
#[macro_use]
#[allow(dead_code, reason = "shared with tests/suite, which needs more of it")]
mod database;
mod harness;

mod agent;
mod agent_restarts;
mod build_script;
mod captive_portal;
mod command_line;
mod concurrent_migrations;
mod consul_outages;
mod crash;
mod dev;
mod discovery;
mod disk;
mod documentation;
mod durability;
mod faults;
mod graceful_shutdown;
mod installation;
mod joining;
mod maintenance;
mod mass_restart;
mod migrate_command;
mod overload;
mod paused;
mod qemu;
mod reservations;
mod restore;
mod simulate;
mod sqlite_lock;
mod startup_errors;
mod stream_delivery;
mod subscribers;
mod tls;
mod token_command;
mod tracing;
