//! Connections: the [`listener`] accepts a bounded number of them, [`socket`] holds each to its [`timeouts`], and
//! [`connection`] is what the handler of a request may know of the one it came by.

pub mod connection;
pub mod listener;
pub mod socket;
pub mod timeouts;
