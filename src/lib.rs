//! Aetherium answers for a cluster of workers and their VMs, over REST and GraphQL, from one set of
//! resolvers.
//!
//! # The map
//!
//! Calls go down, values come back, changes come back up one road. A test holds this table; `docs/architecture.md` has
//! it in more words, with the caches and what to touch to add something.
//!
//! | room | what lives there |
//! |---|---|
//! | [`http`] | connections, middleware, routing, the form of errors: everything about HTTP that is not an answer |
//! | [`rest`], [`graphql`] | a protocol's words in, one resolver call, its shape out; neither knows the other |
//! | [`metrics`], [`monitoring`] | what is counted, and its text; the addresses that monitoring asks: metrics, probes, the version |
//! | [`pages`] | what a browser is shown: the playground, the API's reference; they use the API |
//! | [`resolvers`] | one typed function per operation; checking of input, paging, streams |
//! | [`cluster`] | the live state: immutable snapshots and pure rules; what every object shows |
//! | [`render`] | caches of rendered rows and templates; it knows bytes and no object |
//! | [`journal`] | the only writer: decides commands, commits them in batches, tells the feed; the database |
//! | [`history`] | curves: samples each minute, sums them up, reads them |
//! | [`liveness_sweeper`] | announces workers that fell silent |
//! | [`server`] | puts it all together, and takes it apart in order |
//! | [`agent`], [`simulate`] | the other side of the API: a worker's agent, and synthetic fleets; they know [`client`] and nothing of the server |
//! | [`operator`] | what operators do from a terminal, over [`client`]; of the server it knows the names of fields |
//! | [`discovery`] | servers and workers in Consul; agents find servers there; nothing else reads or waits for it |
//! | [`clock`], [`timing`], [`error`], [`config`] | the one source of time; the intervals and time-outs that depend on each other; what can go wrong; how settings are written |
//! | [`tls`] | certificates and their fingerprints, for the listener and for clients |
//! | [`trace`] | the trace context of requests, and spans for an OpenTelemetry collector |
//! | [`json`] | how answers are written, for those who write many |
//!
//! # One request's journey
//!
//! `POST /api/v1/workers/worker-01/drain` arrives at [`http`], gets its number and its time limit, and
//! is routed to a handler in [`rest`], which calls
//! [`Resolvers::drain_worker`](resolvers::Resolvers::drain_worker); the GraphQL mutation of that name
//! calls the same. The resolver checks the reason and hands a
//! [`SetPolicy`](journal::commands::SetPolicy) command to the [`journal`]. There it waits with whatever
//! else came in, is decided on the latest state, committed with one revision, published as a new
//! [`Snapshot`](cluster::Snapshot), told to the feed, and answered, in this order. The handler shows
//! the worker as that snapshot has it.
//!
//! `GET /api/v1/workers` is shorter: the handler takes a [`Reading`](resolvers::Reading), which is one
//! snapshot at one moment, asks it for the list, and writes it out. No question waits for the database,
//! except those about history.

pub mod agent;
pub mod auth;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod discovery;
pub mod error;
pub mod graphql;
pub mod history;
pub mod http;
pub mod journal;
pub mod json;
pub mod liveness_sweeper;
pub mod metrics;
pub mod monitoring;
pub mod operator;
pub mod pages;
pub mod render;
pub mod resolvers;
pub mod rest;
pub mod server;
pub mod simulate;
pub mod timing;
pub mod tls;
pub mod trace;
