//! Subscriptions: the items that they stream ([`item`]), how a resolver hands its stream over ([`stream_handoff`]), and how
//! equal subscriptions share rendered items ([`broadcast`]).
//!
//! [`crate::resolvers::watch`] decides when an item is due, and `transport` delivers it to the client. No subscriber has a
//! queue here: how far one may fall behind is bounded by the [change feed](crate::journal::ChangeReceiver), and one that
//! does not read is closed by its transport.

pub mod broadcast;
pub mod item;
pub mod stream_handoff;
