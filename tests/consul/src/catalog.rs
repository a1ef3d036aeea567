//! What is registered: services, their checks, the indexes of what can be watched, and what passes with time.
//!
//! An agent's own state and the cluster's catalogue are one here, as if each change were synchronised at once. Where it
//! matters they still differ: the output of a check whose status stays the same is known to the agent only (Consul
//! synchronises it after some minutes), so nobody who watches the catalogue is woken by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::registration::{NewCheck, Registration, Weights};

/// What the health of a check is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// In order.
    Passing,
    /// Something is wrong, but not for those who ask only for what is in order or not.
    Warning,
    /// Not to be used.
    Critical,
}

/// A service instance.
#[derive(Clone, Debug)]
pub struct Service {
    /// By which it is deregistered.
    pub id: String,
    /// By which it is found.
    pub name: String,
    /// In the order they were registered in.
    pub tags: Vec<String>,
    /// Empty if clients are to take the node's address.
    pub address: String,
    /// Where it listens.
    pub port: u16,
    /// What else was registered of it.
    pub meta: BTreeMap<String, String>,
    pub(crate) weights: Option<Weights>,
    pub(crate) enable_tag_override: bool,
    pub(crate) created: u64,
    pub(crate) modified: u64,
}

/// A check of a service instance.
#[derive(Clone, Debug)]
pub struct Check {
    /// `service:` and the service's id, unless another one was asked for.
    pub id: String,
    /// What it is called where it is shown.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// For those who read it.
    pub notes: String,
    /// What the agent was told last.
    pub output: String,
    /// What the catalogue knows of that.
    pub synced_output: String,
    /// The instance it is of.
    pub service: String,
    /// None for the one that maintenance is shown by.
    pub ttl: Option<Duration>,
    pub(crate) deregister_after: Option<Duration>,
    pub(crate) expires: Option<Instant>,
    pub(crate) critical_since: Option<Instant>,
    pub(crate) created: u64,
    pub(crate) modified: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// The instance that it happened to.
    pub service: String,
    /// What.
    pub what: EventKind,
}

/// What can happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was registered, again perhaps.
    Registered,
    /// It was asked to be deregistered.
    Deregistered,
    /// It was critical for so long that it was deregistered.
    Reaped,
    /// One of its checks was updated, to this status.
    Updated(Status),
    /// One of its checks was not updated for its TTL.
    Expired,
    /// It is, or is no longer, in maintenance.
    Maintenance(bool),
}

/// Everything that is registered.
#[derive(Clone, Debug)]
pub struct Catalog {
    services: BTreeMap<String, Service>,
    checks: BTreeMap<String, Check>,
    index: u64,
    /// The highest index that there was before the indexes fell.
    highest: u64,
    service_list_index: u64,
    check_list_index: u64,
    /// When instances of each service, or checks of theirs, were last changed; services that have none are not in it.
    service_indexes: BTreeMap<String, u64>,
    /// When a service last lost its last instance: the index of those that have none.
    extinction_index: u64,
    /// The least time that an instance is critical for before it is deregistered.
    deregister_minimum: Duration,
    /// Raised when all of this was replaced, as by a restored snapshot: watchers are woken whatever their index is.
    pub(crate) generation: u64,
    /// Everything that happened, in order. Nothing that happens to the stub itself is in it.
    pub history: Vec<Event>,
}

impl Status {
    /// The word that Consul uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Passing, Self::Warning, Self::Critical].into_iter().find(|status| status.word() == word)
    }
}

impl Catalog {
    pub(crate) fn new(deregister_minimum: Duration) -> Self {
        Self {
            services: BTreeMap::new(),
            checks: BTreeMap::new(),
            index: FIRST_INDEX,
            highest: 0,
            service_list_index: FIRST_INDEX,
            check_list_index: FIRST_INDEX,
            service_indexes: BTreeMap::new(),
            extinction_index: FIRST_INDEX,
            deregister_minimum,
            generation: 0,
            history: Vec::new(),
        }
    }

    /// The instance with this id.
    pub fn service(&self, id: &str) -> Option<&Service> {
        self.services.get(id)
    }

    /// All instances, by their ids.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The instances of one service, by their ids.
    pub fn instances(&self, name: &str) -> impl Iterator<Item = &Service> {
        self.services().filter(move |service| service.name == name)
    }

    /// The ids of the instances that whoever asks for the passing ones is shown.
    pub fn passing(&self, name: &str) -> Vec<&str> {
        let passing = self.instances(name).filter(|service| self.status(&service.id) == Some(Status::Passing));
        passing.map(|service| service.id.as_str()).collect()
    }

    /// The check with this id.
    pub fn check(&self, id: &str) -> Option<&Check> {
        self.checks.get(id)
    }

    /// All checks, by their ids.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.values()
    }

    /// The checks of one instance, by their ids.
    pub fn checks_of(&self, service: &str) -> impl Iterator<Item = &Check> {
        self.checks().filter(move |check| check.service == service)
    }

    /// The worst of an instance's checks.
    pub fn status(&self, service: &str) -> Option<Status> {
        self.services
            .contains_key(service)
            .then(|| self.checks_of(service).map(|check| check.status).max().unwrap_or(Status::Passing))
    }

    /// Whether this instance is in maintenance.
    pub fn is_in_maintenance(&self, service: &str) -> bool {
        self.checks.contains_key(&maintenance_check(service))
    }

    /// What happened to one instance, in order.
    pub fn history_of(&self, service: &str) -> Vec<EventKind> {
        self.history.iter().filter(|event| event.service == service).map(|event| event.what).collect()
    }

    pub(crate) fn service_index(&self, name: &str) -> u64 {
        self.service_indexes.get(name).copied().unwrap_or(self.extinction_index)
    }

    pub(crate) fn service_list_index(&self) -> u64 {
        self.service_list_index
    }

    pub(crate) fn check_list_index(&self) -> u64 {
        self.check_list_index
    }

    /// Registers an instance. What is known of a check that was there keeps its status and output, as Consul has it:
    /// the status of a registration is for new checks only. If checks are replaced, that of maintenance goes, too.
    pub(crate) fn register(&mut self, new: Registration, checks: Vec<NewCheck>, replace_checks: bool, now: Instant) {
        let index = self.next_index();
        let previous = self.services.get(&new.id);
        let created = previous.map_or(index, |service| service.created);
        let renamed_from = previous.map(|service| service.name.clone()).filter(|name| *name != new.name);
        if replace_checks {
            let asked_for: BTreeSet<_> = checks.iter().map(|check| check.id.as_str()).collect();
            self.checks.retain(|id, check| check.service != new.id || asked_for.contains(id.as_str()));
        }
        for check in checks {
            let previous = self.checks.get(&check.id);
            let status = previous.map_or(check.status, |check| check.status);
            let output = previous.map_or_else(String::new, |check| check.output.clone());
            let check = Check {
                name: check.name,
                status,
                notes: check.notes,
                synced_output: output.clone(),
                output,
                service: new.id.clone(),
                ttl: Some(check.ttl),
                deregister_after: check.deregister_after.map(|after| after.max(self.deregister_minimum)),
                expires: Some(now + check.ttl),
                critical_since: (status == Status::Critical)
                    .then(|| previous.and_then(|check| check.critical_since).unwrap_or(now)),
                created: previous.map_or(index, |check| check.created),
                modified: index,
                id: check.id,
            };
            self.checks.insert(check.id.clone(), check);
        }
        let service = Service {
            name: new.name,
            tags: new.tags,
            address: new.address,
            port: new.port,
            meta: new.meta,
            weights: new.weights,
            enable_tag_override: new.enabletagoverride,
            created,
            modified: index,
            id: new.id,
        };
        self.note(&service.id, EventKind::Registered, now);
        let name = service.name.clone();
        self.services.insert(service.id.clone(), service);
        for name in [Some(name), renamed_from].into_iter().flatten() {
            self.touch_service(&name, index);
        }
        (self.service_list_index, self.check_list_index) = (index, index);
    }

    /// Takes an instance out; `false` if there is none.
    pub(crate) fn deregister(&mut self, id: &str, why: EventKind, now: Instant) -> bool {
        let Some(service) = self.services.remove(id) else { return false };
        let index = self.next_index();
        self.checks.retain(|_, check| check.service != id);
        self.note(id, why, now);
        self.touch_service(&service.name, index);
        (self.service_list_index, self.check_list_index) = (index, index);
        true
    }

    /// Tells how a TTL check is, which lives for another TTL; `false` if there is none.
    pub(crate) fn update(&mut self, id: &str, status: Status, output: String, now: Instant) -> bool {
        let Some(check) = self.checks.get_mut(id) else { return false };
        let Some(ttl) = check.ttl else { return false };
        check.expires = Some(now + ttl);
        let service = check.service.clone();
        self.set_status(id, status, output, now);
        self.note(&service, EventKind::Updated(status), now);
        true
    }

    /// Shows an instance as critical, or no longer; `false` if there is none.
    pub(crate) fn set_maintenance(&mut self, service: &str, reason: Option<&str>, now: Instant) -> bool {
        let Some(name) = self.services.get(service).map(|service| service.name.clone()) else { return false };
        let id = maintenance_check(service);
        if self.checks.contains_key(&id) == reason.is_some() {
            return true;
        }
        let index = self.next_index();
        match reason {
            Some(reason) => {
                let reason = if reason.is_empty() { NO_REASON } else { reason };
                let check = Check {
                    id: id.clone(),
                    name: "Service Maintenance Mode".to_owned(),
                    status: Status::Critical,
                    notes: reason.to_owned(),
                    output: String::new(),
                    synced_output: String::new(),
                    service: service.to_owned(),
                    ttl: None,
                    deregister_after: None,
                    expires: None,
                    critical_since: Some(now),
                    created: index,
                    modified: index,
                };
                self.checks.insert(id, check);
            }
            None => drop(self.checks.remove(&id)),
        }
        self.note(service, EventKind::Maintenance(reason.is_some()), now);
        self.touch_service(&name, index);
        self.check_list_index = index;
        true
    }

    /// When something will pass by itself.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let expiry = self.checks().filter_map(|check| check.expires);
        expiry.chain(self.checks().filter_map(Check::reaped_at)).min()
    }

    /// Lets pass what is over by now.
    pub(crate) fn pass_time(&mut self, now: Instant) {
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let expired: Vec<_> = self.checks().filter(|check| over(check.expires)).map(|check| check.id.clone()).collect();
        for id in expired {
            let Some(check) = self.checks.get_mut(&id) else { continue };
            check.expires = None;
            let output = match &*check.output {
                "" => "TTL expired".to_owned(),
                last => format!("TTL expired (last output before timeout follows): {last}"),
            };
            let service = check.service.clone();
            self.set_status(&id, Status::Critical, output, now);
            self.note(&service, EventKind::Expired, now);
        }
        let reaped: BTreeSet<_> =
            self.checks().filter(|check| over(check.reaped_at())).map(|check| check.service.clone()).collect();
        for service in reaped {
            self.deregister(&service, EventKind::Reaped, now);
        }
    }

    /// Lets the TTLs of an instance's checks run out.
    pub(crate) fn expire(&mut self, service: &str, now: Instant) {
        for check in self.checks.values_mut().filter(|check| check.service == service && check.expires.is_some()) {
            check.expires = Some(now);
        }
        self.pass_time(now);
    }

    /// Is as it was at first; watchers are woken.
    pub(crate) fn forget(&mut self) {
        let fresh = Self::new(self.deregister_minimum);
        let (generation, highest) = (self.generation + 1, self.highest.max(self.index));
        *self = Self { generation, highest, history: std::mem::take(&mut self.history), ..fresh };
    }

    /// Whether an index is one from before the indexes fell.
    pub(crate) fn has_fallen_below(&self, index: u64) -> bool {
        index > self.index && index <= self.highest
    }

    /// Counts its indexes from the start again, with the same content; watchers are woken.
    pub(crate) fn reset_index(&mut self) {
        self.generation += 1;
        self.highest = self.highest.max(self.index);
        self.index = FIRST_INDEX;
        let index = self.next_index();
        (self.service_list_index, self.check_list_index, self.extinction_index) = (index, index, index);
        self.service_indexes.values_mut().for_each(|it| *it = index);
        self.services.values_mut().for_each(|it| (it.created, it.modified) = (index, index));
        self.checks.values_mut().for_each(|it| (it.created, it.modified) = (index, index));
    }

    fn set_status(&mut self, id: &str, status: Status, output: String, now: Instant) {
        let next = self.index + 1;
        let Some(check) = self.checks.get_mut(id) else { return };
        check.output = output;
        check.critical_since = (status == Status::Critical).then(|| check.critical_since.unwrap_or(now));
        if check.status == status {
            return;
        }
        (check.status, check.modified) = (status, next);
        check.synced_output.clone_from(&check.output);
        self.index = next;
        self.check_list_index = next;
        if let Some(name) = self.services.get(&check.service).map(|service| service.name.clone()) {
            self.touch_service(&name, next);
        }
    }

    fn touch_service(&mut self, name: &str, index: u64) {
        if self.instances(name).next().is_some() {
            self.service_indexes.insert(name.to_owned(), index);
        } else {
            self.service_indexes.remove(name);
            self.extinction_index = index;
        }
    }

    fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    fn note(&mut self, service: &str, what: EventKind, at: Instant) {
        self.history.push(Event { at, service: service.to_owned(), what });
    }
}

impl Check {
    fn reaped_at(&self) -> Option<Instant> {
        Some(self.critical_since? + self.deregister_after?)
    }
}

/// The index of a cluster in which nothing was registered yet.
const FIRST_INDEX: u64 = 10;

const NO_REASON: &str =
    "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.";

fn maintenance_check(service: &str) -> String {
    format!("_service_maintenance:{service}")
}
