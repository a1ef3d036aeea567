//! One line in the log for each change between a Consul that does what it is asked, one that is away, and one that refuses.

use tokio::sync::watch;
use tracing::warn;

use super::consul::CallError;

/// Whether Consul did what one task asked of it last, so that only changes are logged.
#[derive(Debug)]
pub(super) struct OutageLog {
    purpose: Purpose,
    state: Option<State>,
    /// For whoever shows it.
    healthy: Option<watch::Sender<bool>>,
}

/// What is done with Consul's help.
#[derive(Debug)]
pub(super) struct Purpose {
    /// What is the case while Consul does not help: `service aetherium-… is not announced`.
    pub(super) undone: String,
    /// What the token has to allow.
    pub(super) rule: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy,
    Away,
    Forbidden,
}

impl OutageLog {
    pub(super) fn new(purpose: Purpose, healthy: Option<watch::Sender<bool>>) -> Self {
        Self { purpose, state: None, healthy }
    }

    /// Consul did what it was asked. Answers whether this is a change, which is for the caller to log: it knows what
    /// came of it.
    pub(super) fn succeeded(&mut self) -> bool {
        self.enter(State::Healthy)
    }

    /// Consul did not.
    pub(super) fn failed(&mut self, error: &CallError) {
        let state = match error {
            CallError::Forbidden { .. } => State::Forbidden,
            CallError::Unknown { .. } | CallError::Unavailable { .. } => State::Away,
        };
        if !self.enter(state) {
            return;
        }
        let Purpose { undone, rule } = &self.purpose;
        match state {
            State::Forbidden => warn!(%error, "Consul refuses, and {undone}: its token needs {rule}"),
            State::Away | State::Healthy => warn!(%error, "Consul cannot be used, and {undone}: {error}"),
        }
    }

    /// Whether this is a change.
    fn enter(&mut self, state: State) -> bool {
        if let Some(healthy) = &self.healthy {
            healthy.send_replace(state == State::Healthy);
        }
        self.state.replace(state) != Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_told() {
        let mut log = OutageLog::new(Purpose { undone: String::new(), rule: String::new() }, None);
        for (state, is_change) in [
            (State::Away, true),
            (State::Away, false),
            (State::Forbidden, true),
            (State::Healthy, true),
            (State::Healthy, false),
            (State::Away, true),
        ] {
            assert_eq!(log.enter(state), is_change, "{state:?}");
        }
    }
}
