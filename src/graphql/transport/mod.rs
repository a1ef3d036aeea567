//! How requests come in and answers go out: over [`http`], as server-sent events ([`sse`]), over a [`websocket`], and by
//! the address of a trusted document ([`stored_operation`]). [`params`] reads the parameters of a request, [`negotiation`]
//! decides on the form of the answer, and [`endpoint`] is what all of them share.

pub mod endpoint;
pub mod http;
pub mod negotiation;
pub mod params;
pub mod sse;
pub mod stored_operation;
pub mod websocket;
