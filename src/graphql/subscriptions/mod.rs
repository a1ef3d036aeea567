//! Subscriptions: what they tell ([`item`]), how a resolver hands its stream over ([`handoff`]), and how equal
//! subscriptions share what is written ([`broadcast`]).
//!
//! When an item is due is decided by [`crate::resolvers::watch`]; how it reaches a client, by `transport`.

pub mod broadcast;
pub mod handoff;
pub mod item;
