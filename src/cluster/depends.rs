//! What an object shows beside what is its own, and so for how long it shows the same.
//!
//! A worker changes when it is heard, and its row with it. But its `uptime` counts seconds, its status falls when it has
//! been silent for too long, and whether a VM is a duplicate is for others to say. Which field is of which kind is
//! declared with the field, in [`fields`](super::fields).

/// What makes an object look different although it has not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depends {
    pub(super) silence: bool,
    pub(super) seconds: bool,
    duplicates: bool,
    others: bool,
}

impl Depends {
    /// Nothing: it looks the same until it changes.
    pub const ON_ITSELF: Self = Self { silence: false, seconds: false, duplicates: false, others: false };
    /// It shows whether a worker has been silent for too long.
    pub const ON_SILENCE: Self = Self { silence: true, ..Self::ON_ITSELF };
    /// It counts seconds, until the worker is silent for too long.
    pub const ON_SECONDS: Self = Self { seconds: true, ..Self::ON_SILENCE };
    /// It shows whether a VM is reported by others too.
    pub const ON_DUPLICATES: Self = Self { duplicates: true, ..Self::ON_ITSELF };
    /// It shows other objects, which change by themselves.
    pub const ON_OTHERS: Self = Self { others: true, ..Self::ON_ITSELF };

    /// What two fields of one object depend on.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            silence: self.silence || other.silence,
            seconds: self.seconds || other.seconds,
            duplicates: self.duplicates || other.duplicates,
            others: self.others || other.others,
        }
    }

    /// Whether it can be told for how long the object looks the same.
    pub const fn can_be_kept(self) -> bool {
        !self.others
    }

    /// Whether it shows which VMs are reported twice.
    pub const fn on_duplicates(self) -> bool {
        self.duplicates
    }
}

/// The [`Depends`] of a field, as its declaration says it.
macro_rules! depends {
    () => {
        $crate::cluster::Depends::ON_ITSELF
    };
    (silence) => {
        $crate::cluster::Depends::ON_SILENCE
    };
    (seconds) => {
        $crate::cluster::Depends::ON_SECONDS
    };
    (duplicates) => {
        $crate::cluster::Depends::ON_DUPLICATES
    };
}
pub(crate) use depends;
