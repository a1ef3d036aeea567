//! Filters and orders as they are sent, and their checks, for both protocols: what one finds or refuses, the other
//! does, too.
//!
//! Each entry of a list of ids or texts has from 1 to [`MAX_TEXT`] characters; zones may be empty, which asks for workers
//! without one. What a checked filter matches is in [`cluster`](crate::cluster); where a list is cut into pages is in
//! [`page`](super::page).

use super::checks::{
    MAX_FIGURE, MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_TEXT, Whole, actor, event_kind, figure, truncate, vm_status,
    wanted, word,
};
use crate::cluster::{
    EventFilter, LabelFilter, MinFree, VmFilter, VmOrder, VmOrderField, WorkerFilter, WorkerOrder, WorkerOrderField,
    WorkerStatus,
};
use crate::error::{Error, Result};

/// What a protocol calls the parts of a filter, for refusals.
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
    /// Ids of workers whose VMs, or events, match.
    pub worker_ids: &'static str,
    /// Ids of VMs whose events match.
    pub vm_ids: &'static str,
    /// Kinds of events.
    pub kinds: &'static str,
    /// Who caused an event.
    pub actors: &'static str,
    /// Public ids of the tokens with which an event was caused.
    pub actor_token_ids: &'static str,
    /// Text to search for.
    pub search: &'static str,
    /// Free CPU cores.
    pub min_free_cpu_cores: &'static str,
    /// Free memory.
    pub min_free_memory_mb: &'static str,
    /// Free VM slots.
    pub min_free_vm_slots: &'static str,
}

impl FilterNames {
    /// In the plural, within `filter`: as in GraphQL, and in the bodies of REST.
    pub const PLURAL: Self = Self {
        ids: "filter.ids",
        zones: "filter.zones",
        statuses: "filter.statuses",
        capabilities: "filter.capabilities",
        labels: "filter.labels",
        worker_ids: "filter.worker_ids",
        vm_ids: "filter.vm_ids",
        kinds: "filter.kinds",
        actors: "filter.actors",
        actor_token_ids: "filter.actor_token_ids",
        search: "filter.search",
        min_free_cpu_cores: "filter.min_free_cpu_cores",
        min_free_memory_mb: "filter.min_free_memory_mb",
        min_free_vm_slots: "filter.min_free_vm_slots",
    };
}

/// A filter of workers as sent. What is left out matches every worker; an empty list matches none.
#[derive(Clone, Debug, Default)]
pub struct WorkerFilterInput {
    /// One of these ids.
    pub ids: Option<Vec<String>>,
    /// In one of these zones; the empty text asks for workers without a zone.
    pub zones: Option<Vec<String>>,
    /// In a zone, or in none.
    pub has_zone: Option<bool>,
    /// In one of these statuses, by their words.
    pub statuses: Option<Vec<String>>,
    /// Healthy, or not.
    pub is_healthy: Option<bool>,
    /// With one of these capabilities.
    pub capabilities: Option<Vec<String>>,
    /// With all of these labels.
    pub labels: Option<Vec<LabelFilter>>,
    /// With this text in the id, hostname, address or zone.
    pub search: Option<String>,
    /// With at least so many CPU cores free.
    pub min_free_cpu_cores: Option<i64>,
    /// With at least so much memory free, in MiB.
    pub min_free_memory_mb: Option<i64>,
    /// With at least so many VM slots free.
    pub min_free_vm_slots: Option<i64>,
}

impl WorkerFilterInput {
    /// The filter, or what is wrong with it.
    pub fn check(self, names: &FilterNames) -> Result<WorkerFilter> {
        let Self { ids, zones, has_zone, statuses, is_healthy, capabilities, labels, search, .. } = self;
        let least = |field, number: Option<i64>| number.map(|it| figure(field, Whole(it), 0, MAX_FIGURE)).transpose();
        let min_free = MinFree {
            cpu_cores: least(names.min_free_cpu_cores, self.min_free_cpu_cores)?,
            memory_mb: least(names.min_free_memory_mb, self.min_free_memory_mb)?,
            vm_slots: least(names.min_free_vm_slots, self.min_free_vm_slots)?,
        };
        let statuses = all_of(names.statuses, statuses, |word| worker_status(names.statuses, word))?;
        let labels = labels.map(|labels| wanted(names.labels, labels)).transpose()?;
        for LabelFilter { key, value } in labels.iter().flatten() {
            of_length(names.labels, key, 1, MAX_LABEL_KEY)?;
            of_length(names.labels, value.as_deref().unwrap_or_default(), 0, MAX_LABEL_VALUE)?;
        }
        Ok(WorkerFilter {
            ids: texts(names.ids, ids, 1)?,
            zones: texts(names.zones, zones, 0)?,
            has_zone,
            statuses,
            is_healthy,
            capabilities: texts(names.capabilities, capabilities, 1)?,
            labels,
            search: text(names.search, search)?,
            min_free,
        })
    }
}

/// A filter of VMs as sent. What is left out matches every VM; an empty list matches none.
#[derive(Clone, Debug, Default)]
pub struct VmFilterInput {
    /// In one of these statuses, by their words; none given means those that hold a slot.
    pub statuses: Option<Vec<String>>,
    /// On a worker in one of these zones; the empty text asks for workers without a zone.
    pub zones: Option<Vec<String>>,
    /// On a worker in a zone, or in none.
    pub has_zone: Option<bool>,
    /// On one of these workers.
    pub worker_ids: Option<Vec<String>>,
    /// With one of these ids.
    pub ids: Option<Vec<String>>,
    /// Holding a slot on more than one worker, or not.
    pub duplicate: Option<bool>,
    /// With this text in the id or name.
    pub search: Option<String>,
}

impl VmFilterInput {
    /// The filter, or what is wrong with it.
    pub fn check(self, names: &FilterNames) -> Result<VmFilter> {
        let Self { statuses, zones, has_zone, worker_ids, ids, duplicate, search } = self;
        Ok(VmFilter {
            statuses: all_of(names.statuses, statuses, |word| vm_status(names.statuses, word))?,
            zones: texts(names.zones, zones, 0)?,
            has_zone,
            worker_ids: texts(names.worker_ids, worker_ids, 1)?,
            ids: texts(names.ids, ids, 1)?,
            duplicate,
            search: text(names.search, search)?,
        })
    }
}

/// A filter of events as sent. What is left out matches every event; an empty list matches none.
#[derive(Clone, Debug, Default)]
pub struct EventFilterInput {
    /// About one of these workers.
    pub worker_ids: Option<Vec<String>>,
    /// About one of these VMs.
    pub vm_ids: Option<Vec<String>>,
    /// About a worker that was in one of these zones then; the empty text asks for workers without a zone.
    pub zones: Option<Vec<String>>,
    /// Of one of these kinds, by their words.
    pub kinds: Option<Vec<String>>,
    /// Caused by one of these, by their words.
    pub actors: Option<Vec<String>>,
    /// Caused with one of these tokens, by their public ids.
    pub actor_token_ids: Option<Vec<String>>,
}

impl EventFilterInput {
    /// The filter, or what is wrong with it.
    pub fn check(self, names: &FilterNames) -> Result<EventFilter> {
        let Self { worker_ids, vm_ids, zones, kinds, actors, actor_token_ids } = self;
        Ok(EventFilter {
            worker_ids: texts(names.worker_ids, worker_ids, 1)?,
            vm_ids: texts(names.vm_ids, vm_ids, 1)?,
            zones: texts(names.zones, zones, 0)?,
            kinds: all_of(names.kinds, kinds, |word| event_kind(names.kinds, word))?,
            actors: all_of(names.actors, actors, |word| actor(names.actors, word))?,
            actor_token_ids: texts(names.actor_token_ids, actor_token_ids, 1)?,
        })
    }
}

/// A label filter of a query string: `env` matches workers that have the label, `env=prod` those that have it with this
/// value.
///
/// Selectors with `==`, `!=` and `!`, which other APIs have, are refused: read literally, `env==prod` would ask for the
/// value `=prod`, and `env!=prod` for a key `env!`. GraphQL can ask for such keys and values.
pub fn label(field: &'static str, text: &str) -> Result<LabelFilter> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    if key.starts_with('!') || key.ends_with('!') || value.is_some_and(|value| value.starts_with('=')) {
        let problem = format!("must be a key, or a key and its value as env=prod, not {:?}", truncate(text));
        return Err(Error::invalid(field, problem));
    }
    Ok(LabelFilter { key: key.to_owned(), value: value.map(str::to_owned) })
}

/// An order of workers of a query string: `cpu_usage`, or `-cpu_usage` for the largest first.
pub fn worker_order(field: &'static str, text: &str) -> Result<WorkerOrder> {
    let (key, descending) = sort_key(field, text, WorkerOrderField::ALL, WorkerOrderField::as_str)?;
    Ok(WorkerOrder { field: key, descending })
}

/// An order of VMs of a query string: `created_at`, or `-created_at` for the latest first.
pub fn vm_order(field: &'static str, text: &str) -> Result<VmOrder> {
    let (key, descending) = sort_key(field, text, VmOrderField::ALL, VmOrderField::as_str)?;
    Ok(VmOrder { field: key, descending })
}

/// One of these sort keys, and whether the largest comes first.
fn sort_key<K: Copy>(field: &'static str, text: &str, keys: &[K], word: fn(K) -> &'static str) -> Result<(K, bool)> {
    let (wanted, descending) = match text.strip_prefix('-') {
        Some(wanted) => (wanted, true),
        None => (text, false),
    };
    match keys.iter().find(|key| word(**key) == wanted) {
        Some(key) => Ok((*key, descending)),
        None => {
            let keys: Vec<_> = keys.iter().map(|key| word(*key)).collect();
            let problem = format!(
                "must be one of {}, with a - before it for the largest first, not {:?}",
                keys.join(", "),
                truncate(text)
            );
            Err(Error::invalid(field, problem))
        }
    }
}

fn worker_status(field: &'static str, text: &str) -> Result<WorkerStatus> {
    word(field, text, WorkerStatus::ALL, WorkerStatus::as_str)
}

/// A list of texts, each with at least so many characters, and at most with as many as the texts it is compared with.
pub(super) fn texts(field: &'static str, list: Option<Vec<String>>, least: usize) -> Result<Option<Vec<String>>> {
    let list = list.map(|list| wanted(field, list)).transpose()?;
    list.iter().flatten().try_for_each(|text| of_length(field, text, least, MAX_TEXT))?;
    Ok(list)
}

/// A list of words, each parsed.
fn all_of<T>(
    field: &'static str,
    words: Option<Vec<String>>,
    read: impl Fn(&str) -> Result<T>,
) -> Result<Option<Vec<T>>> {
    let words = words.map(|words| wanted(field, words)).transpose()?;
    words.map(|words| words.iter().map(|word| read(word)).collect()).transpose()
}

/// A text to search for; an empty one, which every text contains, counts as none.
fn text(field: &'static str, text: Option<String>) -> Result<Option<String>> {
    text.iter().try_for_each(|text| of_length(field, text, 0, MAX_TEXT))?;
    Ok(text.filter(|text| !text.is_empty()))
}

pub(super) fn of_length(field: &'static str, text: &str, least: usize, most: usize) -> Result<()> {
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
            ("env=a==b", "env", Some("a==b")),
            ("env=!", "env", Some("!")),
        ] {
            let expected = LabelFilter { key: key.into(), value: value.map(Into::into) };
            assert_eq!(label("label", text).unwrap(), expected, "{text}");
        }
        for selector in ["env==prod", "env==", "env===", "env!=prod", "!env", "!", "env!"] {
            let refusal = label("label", selector).unwrap_err().to_string();
            let expected = "label must be a key, or a key and its value as env=prod, not ";
            assert_eq!(refusal, format!("{expected}{selector:?}"));
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
                            free_cpu_cores, free_memory_mb, free_vm_slots, \
                            with a - before it for the largest first, not ";
            assert_eq!(refusal, format!("{expected}{odd:?}"));
        }
        for field in VmOrderField::ALL.iter().copied() {
            for (sign, descending) in [("", false), ("-", true)] {
                let order = vm_order("sort", &format!("{sign}{field}")).unwrap();
                assert_eq!(order, VmOrder { field, descending });
            }
        }
        for odd in ["", "-", "NAME", "hostname", "memory", "name,id"] {
            let refusal = vm_order("sort", odd).unwrap_err().to_string();
            let expected = "sort must be one of id, name, status, worker_id, zone, vcpus, memory_mb, created_at, \
                            started_at, status_since, with a - before it for the largest first, not ";
            assert_eq!(refusal, format!("{expected}{odd:?}"));
        }
    }
}
