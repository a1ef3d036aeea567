//! A span: one operation of a trace, from when it begins until it is dropped.

use super::context::TraceContext;
#[cfg(feature = "otlp")]
use super::otlp::Recording;

/// What a span is in relation to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The work for a request that came in.
    Server,
    /// A call of another program.
    Client,
    /// Work inside of this program.
    Internal,
}

/// The value of an attribute of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u16> for AttributeValue {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for AttributeValue {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

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
