//! What the server does, seen from outside: one binary of tests, each on SQLite and on PostgreSQL.
//!
//! Every test runs a whole server in its own process (see [`harness`]), asks it over HTTP without a
//! port, and moves its clock by hand. Files are named by topic. `// semantics 5` points to a decision
//! about what the words of the API mean; `regression:` names a mistake that earlier systems of this
//! kind have made.
//!
//! `tests/run` runs them all; `tests/run drain` those with "drain" in their name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a panic with its place is the report that is wanted")]

#[macro_use]
mod harness;

mod announcements;
mod architecture;
mod bad_input;
mod circles;
mod codes;
mod conditional;
mod contract;
mod distribution;
mod documents;
mod drain;
mod filters;
mod goodbye;
mod graphql;
mod graphql_http;
mod guard;
mod health;
mod heartbeats;
mod http;
mod idempotency;
mod journal;
mod lifecycle;
mod liveness;
mod log_lines;
mod long_polls;
mod long_questions;
mod migrations;
mod negotiation;
mod no_room;
mod not_the_server;
mod odd_texts;
mod openapi;
mod openapi_clients;
mod oracle;
mod overload;
mod pages;
mod parameters;
mod parity;
mod passing_time;
mod persisted_queries;
mod playground;
mod preconditions;
mod registration;
mod relay;
mod replicas;
mod request_errors;
mod restore;
mod retention;
mod schema;
mod sharing;
mod statements;
mod stats;
mod storage;
mod streams;
mod subscriptions;
mod trusted_documents;
mod typed_client;
mod vms;
mod walks;
mod workers;
