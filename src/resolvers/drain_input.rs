//! What operators say when they drain and activate workers, as it is sent, and its checks. Single values are checked in
//! [`checks`](super::checks).

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::{
    LONGEST_DEADLINE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_METADATA, Whole, at_most, reason, text, truncate, wanted,
    word,
};
use super::filter_input::{FilterNames, WorkerFilterInput};
use crate::cluster::{DrainFilter, DrainRequest, DrainState, Metadata};
use crate::error::{Error, Result};
use crate::journal::commands::PolicyRequest;

/// What is said of a drain. What is left out is as it was, if the drain stands already.
#[derive(Clone, Debug, Default)]
pub struct DrainInput {
    /// Why.
    pub reason: Option<String>,
    /// In what time it shall be complete.
    pub deadline: Option<Duration>,
    /// Texts of the operator's own.
    pub metadata: Option<BTreeMap<String, String>>,
}

impl DrainInput {
    /// The request, or what is wrong with it.
    pub fn check(self) -> Result<DrainRequest> {
        Ok(DrainRequest {
            reason: reason(self.reason)?,
            deadline: self.deadline.map(deadline).transpose()?,
            metadata: self.metadata.map(metadata).transpose()?,
        })
    }
}

/// What operators want of a worker.
#[derive(Clone, Debug)]
pub enum PolicyInput {
    /// That it takes no new VMs.
    Drain(DrainInput),
    /// That it takes VMs again.
    Activate {
        /// Why.
        reason: Option<String>,
    },
}

impl PolicyInput {
    /// The request, or what is wrong with it.
    pub fn check(self) -> Result<PolicyRequest> {
        Ok(match self {
            Self::Drain(input) => PolicyRequest::Drain(input.check()?),
            Self::Activate { reason: given } => PolicyRequest::Activate(reason(given)?),
        })
    }
}

/// A filter of drains as sent, with what the protocol calls its parts.
pub fn drain_filter(
    workers: WorkerFilterInput,
    states: Option<Vec<String>>,
    names: &FilterNames,
) -> Result<DrainFilter> {
    let states = states.map(|states| wanted(names.statuses, states)).transpose()?;
    let state = |text: &String| word(names.statuses, text, DrainState::ALL, DrainState::as_str);
    let states = states.map(|states| states.iter().map(state).collect::<Result<_>>()).transpose()?;
    Ok(DrainFilter { workers: workers.check(names)?, states })
}

/// A deadline in whole seconds.
pub fn deadline_seconds(Whole(seconds): Whole) -> Result<Duration> {
    let longest = LONGEST_DEADLINE.as_secs();
    match u64::try_from(seconds) {
        Ok(after) if (1..=longest).contains(&after) => Ok(Duration::from_secs(after)),
        _ => Err(Error::invalid("deadline_seconds", format!("must be from 1 to {longest}, not {seconds}"))),
    }
}

fn deadline(after: Duration) -> Result<Duration> {
    if (Duration::from_secs(1)..=LONGEST_DEADLINE).contains(&after) {
        // The database has milliseconds.
        Ok(Duration::from_millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    } else {
        let problem = format!("must be a length of time from 1s to {}s, such as 2h", LONGEST_DEADLINE.as_secs());
        Err(Error::invalid("deadline", problem))
    }
}

fn metadata(metadata: BTreeMap<String, String>) -> Result<Metadata> {
    at_most("metadata", metadata.len(), MAX_METADATA)?;
    let entry = |(key, value): (String, String)| {
        let of_this = |error, key: &str| match error {
            Error::Invalid { field, problem } => {
                Error::invalid(field, format!("{problem} (of key {:?})", truncate(key)))
            }
            other => other,
        };
        let value = text("metadata", value, 0..=MAX_LABEL_VALUE).map_err(|error| of_this(error, &key))?;
        let name = text("metadata", key.clone(), 1..=MAX_LABEL_KEY).map_err(|error| of_this(error, &key))?;
        Ok((name, value))
    };
    metadata.into_iter().map(entry).collect()
}
