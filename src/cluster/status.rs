//! Statuses of workers and VMs, their words, and the rule by which a worker's status follows from its availability and
//! its policy.
//!
//! When a worker is available is decided with the [worker](super::Worker::availability), not here.

use std::fmt;
use std::str::FromStr;

/// A stored text that is none of the words of its column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a {of}")]
pub struct UnknownWord {
    /// The text.
    pub word: String,
    /// What kind of word was expected.
    pub of: &'static str,
}

/// Declares an enum together with its lower-case words, which the REST API and the database share.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident as $of:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = $crate::cluster::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::cluster::UnknownWord { word: word.to_owned(), of: $of }),
                }
            }
        }
    };
}
pub(super) use words;

words! {
    /// The status of a worker that clients see.
    WorkerStatus as "worker status" {
        /// New VMs may be placed on it.
        Active = "active",
        /// No new VMs are placed on it; those on it keep running.
        Draining = "draining",
        /// Its last heartbeat is older than the time-out, or it has deregistered.
        Offline = "offline",
    }
}

words! {
    /// What operators asked for. Kept while a worker is offline, and through its restarts.
    SchedulingPolicy as "scheduling policy" {
        /// New work may be placed there.
        Active = "active",
        /// No new work is placed there; what runs keeps running.
        Draining = "draining",
    }
}

words! {
    /// Whether heartbeats of a worker arrive. Never stored: derived from the time of the last one.
    Availability as "availability" {
        /// They arrive.
        Online = "online",
        /// They have stopped.
        Offline = "offline",
    }
}

words! {
    /// What a VM is doing, as its worker reports it.
    VmStatus as "VM status" {
        /// Accepted, nothing started yet.
        Created = "created",
        /// Booting.
        Starting = "starting",
        /// Up.
        Running = "running",
        /// Shutting down.
        Stopping = "stopping",
        /// Down; can be started again.
        Stopped = "stopped",
        /// Ended by an error.
        Failed = "failed",
    }
}

impl WorkerStatus {
    /// The status that follows from what is observed of a worker and what operators asked for. An offline worker is
    /// offline whatever its policy; the policy is kept, and shows again when heartbeats return.
    pub fn of(availability: Availability, policy: SchedulingPolicy) -> Self {
        match (availability, policy) {
            (Availability::Offline, SchedulingPolicy::Active | SchedulingPolicy::Draining) => Self::Offline,
            (Availability::Online, SchedulingPolicy::Draining) => Self::Draining,
            (Availability::Online, SchedulingPolicy::Active) => Self::Active,
        }
    }
}

impl VmStatus {
    /// Whether a VM in this status holds a slot of its worker, and a share of the worker's CPU and memory.
    pub fn holds_slot(self) -> bool {
        match self {
            Self::Created | Self::Starting | Self::Running | Self::Stopping => true,
            Self::Stopped | Self::Failed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_wins_else_the_policy_shows() {
        use Availability::{Offline, Online};
        for (availability, policy, status) in [
            (Online, SchedulingPolicy::Active, WorkerStatus::Active),
            (Online, SchedulingPolicy::Draining, WorkerStatus::Draining),
            (Offline, SchedulingPolicy::Active, WorkerStatus::Offline),
            (Offline, SchedulingPolicy::Draining, WorkerStatus::Offline),
        ] {
            assert_eq!(WorkerStatus::of(availability, policy), status);
        }
    }

    #[test]
    fn every_word_reads_back_as_what_it_was() {
        for status in VmStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        assert_eq!("RUNNING".parse::<VmStatus>(), Err(UnknownWord { word: "RUNNING".into(), of: "VM status" }));
    }
}
