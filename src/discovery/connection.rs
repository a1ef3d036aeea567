//! How it goes with Consul, and the one line in the log for each change of that.

use tokio::sync::watch;
use tracing::{info, warn};

use super::consul::CallError;

/// What one task uses Consul for, and whether that goes well.
#[derive(Debug)]
pub(super) struct Connection {
    purpose: Purpose,
    state: Option<State>,
    /// For whoever shows it.
    is_well: Option<watch::Sender<bool>>,
}

/// What is done with Consul's help.
#[derive(Debug)]
pub(super) struct Purpose {
    /// What is the case when it goes well: `service aetherium-… is announced`.
    pub(super) done: String,
    /// What is the case when it does not.
    pub(super) undone: String,
    /// What the token has to allow.
    pub(super) rule: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    Away,
    Forbidden,
}

impl Connection {
    pub(super) fn new(purpose: Purpose, is_well: Option<watch::Sender<bool>>) -> Self {
        Self { purpose, state: None, is_well }
    }

    /// Consul did what it was asked.
    pub(super) fn succeeded(&mut self) {
        if self.enter(State::Well) {
            info!("Consul answers: {}", self.purpose.done);
        }
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
        let Purpose { undone, rule, .. } = &self.purpose;
        match state {
            State::Forbidden => warn!(%error, "Consul refuses, and {undone}: its token needs {rule}"),
            State::Away | State::Well => warn!(%error, "Consul cannot be used, and {undone}: {error}"),
        }
    }

    /// Whether this is a change.
    fn enter(&mut self, state: State) -> bool {
        if let Some(is_well) = &self.is_well {
            is_well.send_replace(state == State::Well);
        }
        self.state.replace(state) != Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_told() {
        let mut connection =
            Connection::new(Purpose { done: String::new(), undone: String::new(), rule: String::new() }, None);
        for (state, is_change) in [
            (State::Away, true),
            (State::Away, false),
            (State::Forbidden, true),
            (State::Well, true),
            (State::Well, false),
            (State::Away, true),
        ] {
            assert_eq!(connection.enter(state), is_change, "{state:?}");
        }
    }
}
