//! A span: one operation of a trace, from when it begins until it is dropped.

use super::attribute::{AttributeValue, SpanKind};
use super::context::TraceContext;
#[cfg(feature = "otlp")]
use super::otlp::Recording;

/// An operation of a trace, which ends when it is dropped. Where no spans are exported it is nothing, and what would be
/// said of it is not even computed.
#[derive(Debug, Default)]
pub struct Span {
    #[cfg(feature = "otlp")]
    recording: Option<Box<Recording>>,
}

impl Span {
    /// Begins a span in the trace of `parent`, or else in one of its own. Whether it is recorded, the sampler decides.
    /// Names are few: an id in one would make each operation one of its own.
    pub fn begin(kind: SpanKind, parent: Option<&TraceContext>, name: impl FnOnce() -> String) -> Self {
        #[cfg(feature = "otlp")]
        {
            Self { recording: Recording::begin(kind, parent, name).map(Box::new) }
        }
        #[cfg(not(feature = "otlp"))]
        {
            _ = (kind, parent, name);
            Self {}
        }
    }

    /// The context that this span gives on; none if no spans are exported.
    pub fn context(&self) -> Option<TraceContext> {
        #[cfg(feature = "otlp")]
        {
            self.recording.as_ref()?.context()
        }
        #[cfg(not(feature = "otlp"))]
        {
            None
        }
    }

    /// Says something of it, by a name of OpenTelemetry's semantic conventions if there is one.
    pub fn set<V: Into<AttributeValue>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        #[cfg(feature = "otlp")]
        if let Some(recording) = self.recording.as_mut().filter(|recording| recording.is_sampled()) {
            recording.set(name, value().into());
        }
        #[cfg(not(feature = "otlp"))]
        {
            _ = (name, value);
        }
    }

    /// Says that it has failed, and how.
    pub fn fail(&mut self, how: impl FnOnce() -> String) {
        #[cfg(feature = "otlp")]
        if let Some(recording) = self.recording.as_mut().filter(|recording| recording.is_sampled()) {
            recording.fail(how());
        }
        #[cfg(not(feature = "otlp"))]
        {
            _ = how;
        }
    }
}
