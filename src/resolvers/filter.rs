//! Which workers and VMs are wanted, and in what order, as callers say it: read and checked here for both protocols,
//! so that what one finds or refuses, the other does too.
//!
//! What the checked filters find is in [`cluster`](crate::cluster); where a list is cut is in [`page`](super::page).

use super::input::{MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_TEXT, echo, vm_status, wanted, word};
use crate::cluster::{LabelFilter, VmFilter, WorkerFilter, WorkerOrder, WorkerOrderField, WorkerStatus};
use crate::error::{Error, Result};

/// What a protocol calls the parts of a filter, for whoever has to mend them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterNames {
    /// Ids.
    pub ids: &'static str,
    /// Zones.
    pub zones: &'static str,
    /// Statuses.
    pub statuses: &'static str,
    /// Capabilities.
    pub capabilities: &'static str,
    /// Labels.
    pub labels: &'static str,
    /// Ids of workers, of which VMs are wanted.
    pub worker_ids: &'static str,
    /// Text to look for.
    pub search: &'static str,
}

/// Which workers are wanted, as said. What is left empty asks for nothing in particular.
#[derive(Clone, Debug, Default)]
pub struct WorkerFilterInput {
    /// One of these ids.
    pub ids: Vec<String>,
    /// In one of these zones; the empty text asks for workers without a zone.
    pub zones: Vec<String>,
    /// In one of these statuses, by their words.
    pub statuses: Vec<String>,
    /// Healthy, or not.
    pub is_healthy: Option<bool>,
    /// With one of these capabilities.
    pub capabilities: Vec<String>,
    /// With all of these labels.
    pub labels: Vec<LabelFilter>,
    /// With this text in the id, hostname, address or zone.
    pub search: Option<String>,
}

impl WorkerFilterInput {
    /// The filter, or what is wrong with it.
    pub fn check(self, names: &FilterNames) -> Result<WorkerFilter> {
        let Self { ids, zones, statuses, is_healthy, capabilities, labels, search } = self;
        let statuses = wanted(names.statuses, statuses)?;
        let statuses = statuses.iter().map(|word| worker_status(names.statuses, word)).collect::<Result<_>>()?;
        let labels = wanted(names.labels, labels)?;
        for LabelFilter { key, value } in &labels {
            of_length(names.labels, key, 1, MAX_LABEL_KEY)?;
            of_length(names.labels, value.as_deref().unwrap_or_default(), 0, MAX_LABEL_VALUE)?;
        }
        Ok(WorkerFilter {
            ids: texts(names.ids, ids, 1)?,
            zones: texts(names.zones, zones, 0)?,
            statuses,
            is_healthy,
            capabilities: texts(names.capabilities, capabilities, 1)?,
            labels,
            search: text(names.search, search)?,
        })
    }
}

/// Which VMs are wanted, as said. What is left empty asks for nothing in particular.
#[derive(Clone, Debug, Default)]
pub struct VmFilterInput {
    /// In one of these statuses, by their words; none given means those that hold a slot.
    pub statuses: Vec<String>,
    /// On a worker in one of these zones; the empty text asks for workers without a zone.
    pub zones: Vec<String>,
    /// On one of these workers.
    pub worker_ids: Vec<String>,
    /// With this text in the id or name.
    pub search: Option<String>,
}

impl VmFilterInput {
    /// The filter, or what is wrong with it.
    pub fn check(self, names: &FilterNames) -> Result<VmFilter> {
        let Self { statuses, zones, worker_ids, search } = self;
        let statuses = wanted(names.statuses, statuses)?;
        Ok(VmFilter {
            statuses: statuses.iter().map(|word| vm_status(names.statuses, word)).collect::<Result<_>>()?,
            zones: texts(names.zones, zones, 0)?,
            worker_ids: texts(names.worker_ids, worker_ids, 1)?,
            search: text(names.search, search)?,
        })
    }
}

/// A label as a query string has it: `env` asks that it is there, `env=prod` also for its value.
pub fn label(text: &str) -> LabelFilter {
    match text.split_once('=') {
        Some((key, value)) => LabelFilter { key: key.to_owned(), value: Some(value.to_owned()) },
        None => LabelFilter { key: text.to_owned(), value: None },
    }
}

/// An order as a query string has it: `cpu_usage`, or `-cpu_usage` for the largest first.
pub fn worker_order(field: &'static str, text: &str) -> Result<WorkerOrder> {
    let (key, descending) = match text.strip_prefix('-') {
        Some(key) => (key, true),
        None => (text, false),
    };
    match key.parse() {
        Ok(field) => Ok(WorkerOrder { field, descending }),
        Err(_) => {
            let keys: Vec<_> = WorkerOrderField::ALL.iter().map(|field| field.as_str()).collect();
            let problem = format!(
                "must be one of {}, with a - before it for the largest first, not {:?}",
                keys.join(", "),
                echo(text)
            );
            Err(Error::invalid(field, problem))
        }
    }
}

fn worker_status(field: &'static str, text: &str) -> Result<WorkerStatus> {
    word(field, text, WorkerStatus::ALL, WorkerStatus::as_str)
}

/// A list of texts, each of at least so many characters and none longer than any there could be.
fn texts(field: &'static str, list: Vec<String>, least: usize) -> Result<Vec<String>> {
    let list = wanted(field, list)?;
    list.iter().try_for_each(|text| of_length(field, text, least, MAX_TEXT))?;
    Ok(list)
}

/// A text to look for; an empty one is everywhere.
fn text(field: &'static str, text: Option<String>) -> Result<Option<String>> {
    text.iter().try_for_each(|text| of_length(field, text, 0, MAX_TEXT))?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn of_length(field: &'static str, text: &str, least: usize, most: usize) -> Result<()> {
    let count = text.chars().count();
    if count < least {
        Err(Error::invalid(field, "must not be empty"))
    } else if count > most {
        Err(Error::invalid(field, format!("must have at most {most} characters, not {count}")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_key_or_a_key_and_a_value() {
        for (text, key, value) in [
            ("env", "env", None),
            ("env=prod", "env", Some("prod")),
            ("env=", "env", Some("")),
            ("env=a=b", "env", Some("a=b")),
        ] {
            assert_eq!(label(text), LabelFilter { key: key.into(), value: value.map(Into::into) }, "{text}");
        }
    }

    #[test]
    fn every_sort_key_reads_in_both_directions_and_nothing_else_does() {
        for field in WorkerOrderField::ALL.iter().copied() {
            for (sign, descending) in [("", false), ("-", true)] {
                let order = worker_order("sort", &format!("{sign}{field}")).unwrap();
                assert_eq!(order, WorkerOrder { field, descending });
            }
        }
        for odd in ["", "-", "--id", "+id", "ID", "cpu", "id:desc", "id,zone", "-id "] {
            let refusal = worker_order("sort", odd).unwrap_err().to_string();
            let expected = "sort must be one of id, hostname, zone, cpu_usage, memory_usage, vm_count, last_seen, \
                            with a - before it for the largest first, not ";
            assert_eq!(refusal, format!("{expected}{odd:?}"));
        }
    }
}
