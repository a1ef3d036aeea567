//! The form of the state of a service's health check in Consul, as the announcer updates it.
//!
//! Which states there are, and what they say, is declared by whoever is announced: `server`, `agent`. How a check is
//! registered, and how long after its last update Consul deregisters the service, is in `consul`.

/// The state of a service's check, and of its maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckState {
    /// Whether the service works.
    pub status: CheckStatus,
    /// Why, for those who look into Consul.
    pub output: &'static str,
    /// Whether it is to be given nothing new; nothing if that is not known, or not a question.
    pub is_draining: Option<bool>,
}

/// The status of a check; Consul makes it critical by itself if nobody updates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// It works.
    Passing,
    /// It is there, and cannot do what it is for. Finders that ask for what is passing do not see it.
    Warning,
}

impl CheckStatus {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
        }
    }
}
