//! The transports of GraphQL: over [`http`], as server-sent events ([`sse`]), over a [`websocket`], and by the address
//! of a trusted document ([`stored_operation`]). [`params`] parses the parameters of a request, [`negotiation`] is
//! content negotiation, and [`endpoint`] is the state that all handlers share.
//!
//! Nothing is parsed as GraphQL or executed here; handlers pass requests to the executor.

pub mod endpoint;
pub mod http;
pub mod negotiation;
pub mod params;
pub mod sse;
pub mod stored_operation;
pub mod websocket;
