//! Distributed traces: the W3C trace context of requests, and spans for an OpenTelemetry collector.
//!
//! [`context`] reads and writes `traceparent` and `tracestate`, in every build. A [`Span`] is one timed operation of a
//! trace. Spans are recorded only by a program that was built with the feature `otlp` and is told of a collector
//! ([`otlp`]); in any other, a span is nothing and costs nothing.
//!
//! **Invariants:** a program that records no spans begins no trace, but gives on the one that it was given (ADR 0076).
//! This room knows no protocol: `http` begins the spans of requests, `journal` those of commits, `client` and
//! `discovery` those of calls.

mod attribute;
mod context;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "no_otlp.rs"]
mod otlp;
mod settings;
mod span;

use std::env;
use std::sync::OnceLock;

pub use self::attribute::{AttributeValue, SpanKind};
pub use self::context::{MAX_TRACESTATE_MEMBERS, TRACEPARENT, TRACESTATE, TraceContext};
#[cfg(feature = "otlp")]
pub use self::otlp::Exporter;
#[cfg(not(feature = "otlp"))]
pub use self::otlp::NoExporter;
pub use self::otlp::{is_exporting, start_exporter};
pub use self::span::Span;

/// The trace that the calls of this process belong to.
static PARENT_OF_CALLS: OnceLock<TraceContext> = OnceLock::new();

/// The trace that whoever started this process is in: the variables `TRACEPARENT` and `TRACESTATE`.
pub fn of_environment() -> Option<TraceContext> {
    let (traceparent, tracestate) = (env::var("TRACEPARENT").ok()?, env::var("TRACESTATE").ok());
    TraceContext::parse(traceparent.as_bytes(), tracestate.iter().map(|state| state.as_bytes()))
}

/// Says which trace the calls of this process belong to from now on: of a command, which does one thing and ends. A second
/// call changes nothing.
pub fn set_parent_of_calls(parent: TraceContext) {
    let _ = PARENT_OF_CALLS.set(parent);
}

/// The trace that the calls of this process belong to; without one, each call is a trace of its own.
pub fn parent_of_calls() -> Option<&'static TraceContext> {
    PARENT_OF_CALLS.get()
}
