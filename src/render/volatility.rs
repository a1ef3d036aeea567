//! What makes a field look different although its object has not changed, and so for how long its text can be reused.
//!
//! A worker changes with each heartbeat, and its rendered text is dropped then. But its `uptime` counts seconds, its
//! status becomes offline when heartbeats stop, and whether a VM is a duplicate follows from the reports of other
//! workers. The field lists declare the volatility of each field. How long a volatile text is valid is not decided
//! here, but where the objects are known.

/// What makes the text of an object change although the object itself does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volatility {
    silence: bool,
    seconds: bool,
    duplicates: bool,
    others: bool,
}

impl Volatility {
    /// Nothing: the text is the same until the object changes.
    pub const STABLE: Self = Self { silence: false, seconds: false, duplicates: false, others: false };
    /// The text shows whether a worker has been silent for too long.
    pub const SILENCE: Self = Self { silence: true, ..Self::STABLE };
    /// The text counts seconds, until the worker has been silent for too long.
    pub const SECONDS: Self = Self { seconds: true, ..Self::SILENCE };
    /// The text shows whether other workers report the same VM.
    pub const DUPLICATES: Self = Self { duplicates: true, ..Self::STABLE };
    /// The text shows other objects, which change by themselves.
    pub const OTHER_OBJECTS: Self = Self { others: true, ..Self::STABLE };

    /// The volatility of two fields together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            silence: self.silence || other.silence,
            seconds: self.seconds || other.seconds,
            duplicates: self.duplicates || other.duplicates,
            others: self.others || other.others,
        }
    }

    /// Whether it can be told for how long the text is valid. If not, the text is not kept.
    pub const fn is_cacheable(self) -> bool {
        !self.others
    }

    /// Whether the text changes when a worker has been silent for too long.
    pub const fn shows_silence(self) -> bool {
        self.silence
    }

    /// Whether the text changes with each second.
    pub const fn shows_seconds(self) -> bool {
        self.seconds
    }

    /// Whether the text changes when another worker begins or ceases to report a VM.
    pub const fn shows_duplicates(self) -> bool {
        self.duplicates
    }
}

/// The [`Volatility`] of a field, by the word that stands in its declaration.
macro_rules! volatility {
    () => {
        $crate::render::Volatility::STABLE
    };
    (silence) => {
        $crate::render::Volatility::SILENCE
    };
    (seconds) => {
        $crate::render::Volatility::SECONDS
    };
    (duplicates) => {
        $crate::render::Volatility::DUPLICATES
    };
}
pub(crate) use volatility;
