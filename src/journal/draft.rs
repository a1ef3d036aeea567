//! A batch while it is being decided: the state as it will be, and what has to be written for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use entity::cluster;
use sea_orm::DatabaseTransaction;
use serde_json::{Value, json};

use super::beats::Beats;
use super::idempotency::{Answer, KeptAnswer};
use super::rows::{self, VmRow};
use super::statements::{Column, Delete, Type, Update, Upsert};
use crate::clock::Timestamp;
use crate::cluster::{
    Actor, Availability, Changes, Cursor, Epochs, Event, EventKind, Snapshot, Tombstone, VmId, Worker, WorkerId,
};
use crate::error::Error;

/// The next state of the cluster, while commands are still changing it.
///
/// Commands see what the commands before them in the same batch did. Rows are written from the
/// final state, column group by column group, so it does not matter how many commands of a batch
/// touched one worker.
pub struct Draft<'a> {
    base: &'a Snapshot,
    /// The revision this batch will have.
    pub revision: u64,
    /// When it happens, by the clock of all servers.
    pub at: Timestamp,
    workers: BTreeMap<WorkerId, Edited>,
    purged: BTreeMap<WorkerId, Arc<Tombstone>>,
    /// Workers of which nothing is left any more.
    forgotten: BTreeSet<WorkerId>,
    /// The latest revision at which one of them was purged.
    forgotten_up_to: u64,
    /// Incarnations that are handed out are above this.
    incarnation_floor: u64,
    /// Whether the floor has to be written.
    has_raised_floor: bool,
    events: Vec<Arc<Event>>,
    /// Answers that were given before, by key: those that commands of this batch may ask for.
    answers: BTreeMap<Arc<str>, KeptAnswer>,
    /// Keys of answers that this batch gives.
    answered: Vec<Arc<str>>,
}

/// A worker's new state, and which parts of it have to be written.
struct Edited {
    worker: Arc<Worker>,
    parts: [bool; Part::COUNT],
}

/// The parts of a worker, cut by who changes them: each has its own columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Identity, capacity and incarnation.
    Registration,
    /// Usage and VMs.
    Heartbeat,
    /// Which heartbeats counted although they came late.
    LateHeartbeat,
    /// The scheduling policy.
    Operator,
    /// What was announced of its availability.
    Announcement,
    /// That it has left.
    Goodbye,
}

impl Part {
    const COUNT: usize = 6;
}

/// What an event says besides its place, time and kind.
#[derive(Debug, Default)]
pub struct Told {
    /// The VM it is about.
    pub vm_id: Option<VmId>,
    /// The reason that was given.
    pub reason: Option<Arc<str>>,
    /// What happened, as a sentence.
    pub message: String,
}

impl<'a> Draft<'a> {
    /// Begins a batch on top of a state. What comes of it counts only if that is the latest.
    pub(super) fn on(
        base: &'a Snapshot,
        revision: u64,
        at: Timestamp,
        incarnation_floor: u64,
        answers: BTreeMap<Arc<str>, KeptAnswer>,
    ) -> Self {
        Self {
            base,
            revision,
            at,
            workers: BTreeMap::new(),
            purged: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            forgotten_up_to: 0,
            incarnation_floor,
            has_raised_floor: false,
            events: Vec::new(),
            answers,
            answered: Vec::new(),
        }
    }

    /// The state this batch began on, at the revision that it will have: for answers that tell no more than a reply
    /// and the revision.
    pub fn preview(&self) -> Arc<Snapshot> {
        let mut preview = self.base.clone();
        preview.revision = self.revision;
        Arc::new(preview)
    }

    /// What was answered under this key, before or in this batch.
    pub fn find_answer(&self, key: &str) -> Option<&KeptAnswer> {
        self.answers.get(key)
    }

    /// Keeps an answer for whoever asks again.
    pub fn keep_answer(&mut self, key: Arc<str>, fingerprint: Arc<str>, answer: Answer) {
        self.answered.push(key.clone());
        self.answers.insert(key, KeptAnswer { fingerprint, answer });
    }

    /// The epochs of the database that the batch is decided upon.
    pub fn epochs(&self) -> &Epochs {
        &self.base.epochs
    }

    /// The worker with this id, as it is now in the batch.
    pub fn find_worker(&self, id: &str) -> Option<&Arc<Worker>> {
        match self.workers.get(id) {
            Some(edited) => Some(&edited.worker),
            None if self.purged.contains_key(id) => None,
            None => self.base.find_worker(id),
        }
    }

    /// What is left of a worker of this id that was purged.
    pub fn tombstone(&self, id: &str) -> Option<&Arc<Tombstone>> {
        self.purged.get(id).or_else(|| self.base.tombstone(id).filter(|_| !self.forgotten.contains(id)))
    }

    /// An incarnation that no process of a worker can have, if the last one that is known is this, and the last one that
    /// the process itself knows of is that: the database may have been set back to a state from before it was handed out.
    pub fn next_incarnation(&self, last: Option<u64>, last_of_process: Option<u64>) -> u64 {
        last.max(last_of_process).unwrap_or(0).max(self.incarnation_floor) + 1
    }

    /// Whether any worker reports a VM of this id.
    pub fn is_vm(&self, id: &str) -> bool {
        let in_base = self.base.find_vm(id).is_some_and(|reports| {
            reports.workers().any(|worker| !self.workers.contains_key(worker) && !self.purged.contains_key(worker))
        });
        in_base || self.workers.values().any(|edited| edited.worker.vm(id).is_some())
    }

    /// Takes a worker's new state, and gives it back as it will be kept.
    pub fn put(&mut self, worker: Worker, parts: &[Part]) -> Arc<Worker> {
        let worker = Arc::new(worker);
        // Looked for once: to walk the tree is much of the work of a heartbeat.
        let new = || Edited { worker: worker.clone(), parts: [false; Part::COUNT] };
        let edited = self.workers.entry(worker.id.clone()).or_insert_with(new);
        edited.worker = worker.clone();
        for part in parts {
            edited.parts[*part as usize] = true;
        }
        worker
    }

    /// Takes a worker out, with its VMs and its history's subject.
    pub fn purge(&mut self, worker: &Worker, by_itself: bool) {
        self.workers.remove(&worker.id);
        self.forgotten.remove(&worker.id);
        let tombstone = worker.tombstone(by_itself, self.at, self.revision);
        self.purged.insert(worker.id.clone(), Arc::new(tombstone));
    }

    /// Forgets what is left of a worker that was purged before this batch. Unless there is one of its id again, which counts
    /// on from there, incarnations of all workers are above its last one from now on: so none comes twice all the same.
    pub fn forget(&mut self, tombstone: &Tombstone) {
        let id = &tombstone.worker_id;
        let counts_on = self.find_worker(id.as_str()).is_some();
        self.forgotten.insert(id.clone());
        self.forgotten_up_to = self.forgotten_up_to.max(tombstone.revision);
        if !counts_on && tombstone.incarnation > self.incarnation_floor {
            self.incarnation_floor = tombstone.incarnation;
            self.has_raised_floor = true;
        }
    }

    /// Adds an entry to the change log.
    pub fn tell(&mut self, actor: Actor, kind: EventKind, worker_id: &WorkerId, told: Told) {
        let Told { vm_id, reason, message } = told;
        self.events.push(Arc::new(Event {
            cursor: Cursor {
                epoch: self.base.epochs.of(self.revision).clone(),
                revision: self.revision,
                position: u32::try_from(self.events.len()).unwrap_or(u32::MAX - 1),
            },
            at: self.at,
            kind,
            worker_id: Some(worker_id.clone()),
            vm_id,
            actor: Some(actor.as_str().into()),
            reason,
            message: message.into(),
            oldest_cursor: None,
        }));
    }

    /// Notes that a worker is heard: if it was announced offline, it is announced back. As that it was silent, this is what
    /// the server found out.
    pub fn announce_if_back(&mut self, worker: &mut Worker) -> bool {
        let back = worker.last_announced_availability == Availability::Offline;
        if back {
            worker.last_announced_availability = Availability::Online;
            let message = format!("Worker {} is back online", worker.id);
            self.tell(Actor::Server, EventKind::WorkerOnline, &worker.id, Told { message, ..Told::default() });
        }
        back
    }

    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
            && self.purged.is_empty()
            && self.forgotten.is_empty()
            && self.events.is_empty()
            && self.answered.is_empty()
    }

    /// What there is to write, if that is heartbeats without news and nothing else.
    pub(super) fn only_beats(&self) -> Option<Beats<'_>> {
        let is_all = self.purged.is_empty()
            && self.forgotten.is_empty()
            && self.events.is_empty()
            && self.answered.is_empty()
            && !self.workers.is_empty()
            && self.workers.values().all(|edited| self.is_beat(edited));
        is_all.then(|| self.beats())
    }

    fn beats(&self) -> Beats<'_> {
        let workers = self.workers.values().filter(|edited| self.is_beat(edited)).map(|edited| &*edited.worker);
        Beats::new(workers.collect(), self.revision, self.at)
    }

    /// Whether nothing but a heartbeat without news has to be written of a worker.
    fn is_beat(&self, Edited { worker, parts }: &Edited) -> bool {
        const HEARTBEAT: [bool; Part::COUNT] = {
            let mut parts = [false; Part::COUNT];
            parts[Part::Heartbeat as usize] = true;
            parts
        };
        *parts == HEARTBEAT && Beats::can_write(worker, self.revision, self.at)
    }

    /// Writes everything, one statement per writer of a table, and those of [`Beats`]. The order matters only where rows
    /// have to be gone before, or there before, others are written.
    pub(super) async fn write(&self, transaction: &DatabaseTransaction) -> Result<(), Error> {
        let purged = || self.purged.iter();
        let ids: Vec<_> = purged().map(|(id, _)| json!({ "worker_id": id.as_str() })).collect();
        VMS_OF_PURGED.run(transaction, &ids).await?;
        let ids: Vec<_> = purged().map(|(id, _)| json!({ "id": id.as_str() })).collect();
        PURGED_WORKERS.run(transaction, &ids).await?;
        let tombstones: Vec<_> = purged().map(|(_, tombstone)| rows::tombstone_row(tombstone)).collect();
        TOMBSTONES.run(transaction, &tombstones).await?;
        let ids: Vec<_> = self.forgotten.iter().map(|id| json!({ "id": id.as_str() })).collect();
        FORGOTTEN.run(transaction, &ids).await?;
        if !self.forgotten.is_empty() {
            cluster::Entity::mark_tombstones_pruned(rows::signed(self.forgotten_up_to)).exec(transaction).await?;
        }
        if self.has_raised_floor {
            cluster::Entity::raise_incarnation_floor(rows::signed(self.incarnation_floor)).exec(transaction).await?;
        }

        REGISTRATIONS.run(transaction, &self.written(Part::Registration, rows::registration_row)).await?;
        self.beats().write(transaction).await?;
        let news = self.workers.values().filter(|it| it.parts[Part::Heartbeat as usize] && !self.is_beat(it));
        let news: Vec<_> = news.map(|edited| rows::usage_row(&edited.worker)).collect();
        HEARTBEATS.run(transaction, &news).await?;
        LATE_HEARTBEATS.run(transaction, &self.written(Part::LateHeartbeat, rows::late_heartbeat_row)).await?;
        POLICIES.run(transaction, &self.written(Part::Operator, rows::policy_row)).await?;
        ANNOUNCEMENTS.run(transaction, &self.written(Part::Announcement, rows::announcement_row)).await?;
        DEPARTURES.run(transaction, &self.written(Part::Goodbye, rows::departure_row)).await?;

        let (gone, changed) = self.vm_rows();
        VMS_GONE.run(transaction, &gone).await?;
        VMS.run(transaction, &changed).await?;
        EVENTS.run(transaction, &self.events.iter().map(|event| rows::event_row(event)).collect::<Vec<_>>()).await?;
        let answers = self.answered.iter().filter_map(|key| Some((key, self.answers.get(key)?)));
        let answers = answers.map(|(key, kept)| rows::answer_row(key, kept, self.at));
        ANSWERS.run(transaction, &answers.collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// What the batch makes of the state.
    pub(super) fn into_changes(self) -> (Changes, Vec<Arc<Event>>) {
        let changes = Changes {
            workers: self.workers.into_values().map(|edited| edited.worker).collect(),
            purged: self.purged.into_values().collect(),
            gone: Vec::new(),
            forgotten: self.forgotten.into_iter().collect(),
        };
        (changes, self.events)
    }

    fn written<'d, R>(&'d self, part: Part, row: impl Fn(&'d Worker) -> R) -> Vec<R> {
        let edited = self.workers.values().filter(|edited| edited.parts[part as usize]);
        edited.map(|edited| row(&edited.worker)).collect()
    }

    /// Rows of VMs that are gone, and of those that are new or different.
    fn vm_rows(&self) -> (Vec<Value>, Vec<VmRow<'_>>) {
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for (id, Edited { worker, .. }) in &self.workers {
            if worker.usage.vms_revision != self.revision {
                continue;
            }
            let before = if self.purged.contains_key(id) { None } else { self.base.find_worker(id.as_str()) };
            for vm in before.into_iter().flat_map(|before| before.usage.vms.iter()) {
                if worker.vm(vm.id.as_str()).is_none() {
                    gone.push(json!({ "worker_id": id.as_str(), "id": vm.id.as_str() }));
                }
            }
            changed
                .extend(worker.usage.vms.iter().filter(|vm| vm.revision == self.revision).map(|vm| rows::vm_row(vm)));
        }
        (gone, changed)
    }
}

const VMS_OF_PURGED: Delete = Delete { table: "vm", key: &[("worker_id", Type::Text)] };
const PURGED_WORKERS: Delete = Delete { table: "worker", key: &[("id", Type::Text)] };
const TOMBSTONES: Upsert = Upsert {
    table: "worker_tombstone",
    key: &["id"],
    columns: &[
        ("id", Type::Text),
        ("incarnation", Type::Integer),
        ("boot_id", Type::Text),
        ("earlier_boot_ids", Type::Json),
        ("earlier_host_boot_ids", Type::Json),
        ("host_boot_id", Type::Text),
        ("purged_at", Type::Time),
        REVISION,
    ],
    update: &[
        "incarnation",
        "boot_id",
        "earlier_boot_ids",
        "earlier_host_boot_ids",
        "host_boot_id",
        "purged_at",
        "revision",
    ],
};
const FORGOTTEN: Delete = Delete { table: "worker_tombstone", key: &[("id", Type::Text)] };
const REGISTRATIONS: Upsert = Upsert {
    table: "worker",
    key: &["id"],
    columns: &[
        ("id", Type::Text),
        ("hostname", Type::Text),
        ("address", Type::Text),
        ("zone", Type::Text),
        ("labels", Type::Json),
        ("capabilities", Type::Json),
        ("cpu_cores", Type::Integer),
        ("memory_mb", Type::Integer),
        ("disk_gb", Type::Integer),
        ("max_vms", Type::Integer),
        ("incarnation", Type::Integer),
        ("boot_id", Type::Text),
        ("earlier_boot_ids", Type::Json),
        ("earlier_host_boot_ids", Type::Json),
        ("host_boot_id", Type::Text),
        ("incarnation_revision", Type::Integer),
        ("started_at", Type::Time),
        ("deregistered_at", Type::Time),
        ("last_seen", Type::Time),
        ("sequence", Type::Integer),
        ("used_cpu_cores", Type::Integer),
        ("used_memory_mb", Type::Integer),
        ("used_disk_gb", Type::Integer),
        ("inventory_revision", Type::Integer),
        ("vms_revision", Type::Integer),
        ("policy", Type::Text),
        ("last_announced_availability", Type::Text),
        ("registration_revision", Type::Integer),
        ("policy_revision", Type::Integer),
        ("revision", Type::Integer),
    ],
    update: &[
        "hostname",
        "address",
        "zone",
        "labels",
        "capabilities",
        "cpu_cores",
        "memory_mb",
        "disk_gb",
        "max_vms",
        "incarnation",
        "boot_id",
        "earlier_boot_ids",
        "earlier_host_boot_ids",
        "host_boot_id",
        "incarnation_revision",
        "started_at",
        "deregistered_at",
        "registration_revision",
        "revision",
    ],
};
const HEARTBEATS: Update = Update {
    table: "worker",
    key: "id",
    columns: &[
        ("last_seen", Type::Time),
        ("sequence", Type::Integer),
        ("used_cpu_cores", Type::Integer),
        ("used_memory_mb", Type::Integer),
        ("used_disk_gb", Type::Integer),
        ("inventory_revision", Type::Integer),
        ("vms_revision", Type::Integer),
        REVISION,
    ],
};
const LATE_HEARTBEATS: Update =
    Update { table: "worker", key: "id", columns: &[("late_sequence", Type::Integer), REVISION] };
const POLICIES: Update = Update {
    table: "worker",
    key: "id",
    columns: &[
        ("policy", Type::Text),
        ("policy_revision", Type::Integer),
        ("drain_reason", Type::Text),
        ("drain_started_by", Type::Text),
        ("drain_started_at", Type::Time),
        REVISION,
    ],
};
const ANNOUNCEMENTS: Update =
    Update { table: "worker", key: "id", columns: &[("last_announced_availability", Type::Text), REVISION] };
const DEPARTURES: Update = Update { table: "worker", key: "id", columns: &[("deregistered_at", Type::Time), REVISION] };
const VMS_GONE: Delete = Delete { table: "vm", key: &[("worker_id", Type::Text), ("id", Type::Text)] };
const VMS: Upsert = Upsert {
    table: "vm",
    key: &["worker_id", "id"],
    columns: &[
        ("worker_id", Type::Text),
        ("id", Type::Text),
        ("name", Type::Text),
        ("status", Type::Text),
        ("vcpus", Type::Integer),
        ("memory_mb", Type::Integer),
        REVISION,
    ],
    update: &["name", "status", "vcpus", "memory_mb", "revision"],
};
const EVENTS: Upsert = Upsert {
    table: "event",
    key: &["revision", "position"],
    columns: &[
        REVISION,
        ("position", Type::Integer),
        ("at", Type::Time),
        ("kind", Type::Text),
        ("worker_id", Type::Text),
        ("vm_id", Type::Text),
        ("actor", Type::Text),
        ("reason", Type::Text),
        ("message", Type::Text),
    ],
    update: &[],
};
const ANSWERS: Upsert = Upsert {
    table: "idempotency_record",
    key: &["key"],
    columns: &[
        ("key", Type::Text),
        ("fingerprint", Type::Text),
        ("response_body", Type::Text),
        ("response_etag", Type::Text),
        ("created_at", Type::Time),
    ],
    update: &[],
};
const REVISION: Column = ("revision", Type::Integer);
