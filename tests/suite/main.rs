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

mod access_matrix;
mod announcements;
mod architecture;
mod bad_input;
mod contract;
mod database_failures;
mod deregistration;
mod distribution;
mod drain;
mod drain_progress;
mod drain_workers;
mod error_codes;
mod etags;
mod event_queries;
mod filters;
mod foreign_responses;
mod graphql;
mod graphql_documents;
mod graphql_http;
mod health;
mod heartbeats;
mod history;
mod hostile_documents;
mod http;
mod idempotency;
mod import_cycles;
mod joining;
mod journal;
mod lifecycle;
mod limits_of_callers;
mod liveness;
mod log_lines;
mod long_polls;
mod long_queries;
mod metrics;
mod migrations;
mod negotiation;
mod nul_and_unicode;
mod numbers;
mod openapi;
mod openapi_clients;
mod operator_events;
mod oracle;
mod overload;
mod pages;
mod pagination_under_change;
mod parameters;
mod parity;
mod persisted_queries;
mod placement;
mod playground;
mod preconditions;
mod probes;
mod purges;
mod registration;
mod relay;
mod replicas;
mod request_errors;
mod reservations;
mod response_memory;
mod restore;
mod retention;
mod schema;
mod service_discovery;
mod sessions;
mod statement_counts;
mod stats;
mod streams;
mod subscription_sharing;
mod subscriptions;
mod time_driven_changes;
mod token_retention;
mod tokens;
mod tokens_audit;
mod tokens_of_workers;
mod trusted_documents;
mod typed_client;
mod vm_order;
mod vm_times;
mod vms;
mod workers;
