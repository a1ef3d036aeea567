//! Subscriptions: the items that they stream ([`item`]), how a resolver hands its stream over ([`stream_handoff`]), and how
//! equal subscriptions share rendered items ([`broadcast`]).
//!
//! [`crate::resolvers::watch`] decides when an item is due, and `transport` delivers it to the client.

pub mod broadcast;
pub mod item;
pub mod stream_handoff;
