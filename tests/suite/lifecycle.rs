//! The lives of workers against a model of them: processes and hosts that start again, old ones that speak up late,
//! goodbyes, heartbeats that lose count, drains, silence, clocks that are set, and servers that start anew.
//!
//! What may happen is drawn from a seed, which a failure names. The model is the rules in other words: it knows no
//! database, no batch and no cache. After every step the answer, the workers, their VMs and what the log tells are compared.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::harness::*;

/// How many lives of clusters are tried, and how much happens in each. PostgreSQL takes longer over each.
const ON_SQLITE: std::ops::Range<u64> = 0..24;
const ON_POSTGRESQL: std::ops::Range<u64> = 24..32;
const STEPS: usize = 90;

const WORKERS: [&str; 2] = ["w1", "w2"];
const OFFLINE_AFTER: TimeDelta = TimeDelta::seconds(60);
const TOLERANCE: TimeDelta = TimeDelta::seconds(1);
const REMEMBERED: usize = 32;

/// A VM as its worker reports it: whether it holds a slot, and its CPUs.
type Vms = BTreeMap<String, (bool, u32)>;

/// The starts of a worker's process: the last one, whether that is over, and those that were over before.
#[derive(Clone, Debug, Default)]
struct Starts {
    boot: Option<String>,
    host: Option<String>,
    has_ended: bool,
    over: Vec<(String, Option<String>)>,
}

/// Whether these are known to be different starts of a host.
fn differ(one: &Option<String>, other: &Option<String>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

impl Starts {
    fn is_last(&self, boot: &Option<String>, host: &Option<String>) -> bool {
        boot.is_some() && self.boot == *boot && !differ(&self.host, host)
    }

    fn is_over(&self, boot: &Option<String>, host: &Option<String>) -> bool {
        self.over.iter().any(|(over, on)| boot.as_ref() == Some(over) && !differ(on, host))
    }

    fn end(&mut self) {
        if let Some(boot) = self.boot.clone().filter(|_| !self.has_ended) {
            self.over.push((boot, self.host.clone()));
            let forgotten = self.over.len().saturating_sub(REMEMBERED);
            self.over.drain(..forgotten);
        }
        self.has_ended = true;
    }

    fn begin(&mut self, boot: Option<String>, host: Option<String>) {
        if !self.is_last(&boot, &host) {
            self.end();
        }
        (self.boot, self.host, self.has_ended) = (boot, host, false);
    }

    /// Whether a process that says this, or nothing, would be refused if it registered again.
    fn is_told_over(&self, said: &Option<String>) -> bool {
        match said {
            Some(_) if *said != self.boot => self.is_over(said, &None),
            _ => self.boot.is_some() && self.has_ended,
        }
    }
}

/// How far the drain of a worker has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    is_told: bool,
    is_acknowledged: bool,
    is_complete: bool,
}

/// What the rules say of a worker.
#[derive(Clone, Debug)]
struct Modelled {
    incarnation: u64,
    starts: Starts,
    has_left: bool,
    is_told_offline: bool,
    drain: Option<(Option<String>, DateTime<Utc>)>,
    progress: Progress,
    started_at: DateTime<Utc>,
    last_seen: DateTime<Utc>,
    left_at: Option<DateTime<Utc>>,
    sequence: Option<u64>,
    late: Option<u64>,
    knows_inventory: bool,
    vms: Vms,
    used: u32,
}

impl Modelled {
    /// How somebody is refused who speaks for another life.
    fn refuses(&self, (incarnation, boot): &(u64, Option<String>)) -> Option<u16> {
        match incarnation.cmp(&self.incarnation) {
            Ordering::Less => Some(409),
            Ordering::Greater if boot.is_some() && self.starts.is_told_over(boot) => Some(409),
            Ordering::Greater => Some(404),
            Ordering::Equal => (boot.is_some() && *boot != self.starts.boot).then_some(409),
        }
    }
}

/// What is told of an event: who caused it, kind, worker, VM, reason.
type Told = (String, String, String, Option<String>, Option<String>);

/// What the rules say of the cluster.
#[derive(Debug)]
struct Model {
    now: DateTime<Utc>,
    passed: TimeDelta,
    swept: (DateTime<Utc>, TimeDelta),
    grace_until: TimeDelta,
    workers: BTreeMap<String, Modelled>,
    /// The last incarnation and the starts of workers that were purged.
    tombstones: BTreeMap<String, (u64, Starts)>,
    told: Vec<Told>,
}

/// What a step is answered: the status, and some of the body.
#[derive(Debug, PartialEq)]
struct Answered {
    status: u16,
    resync: Option<bool>,
    last_sequence: Option<u64>,
    incarnation: Option<u64>,
}

impl Answered {
    fn plain(status: u16) -> Self {
        Self { status, resync: None, last_sequence: None, incarnation: None }
    }
}

#[derive(Clone, Debug)]
enum Inventory {
    None,
    Whole(Vms),
    Delta(Vms, Vec<String>),
}

#[derive(Clone, Copy, Debug)]
enum Door {
    Rest,
    Batch,
    Graphql,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Register {
        worker: &'static str,
        boot: Option<String>,
        host: Option<String>,
        last: Option<u64>,
    },
    Beat {
        worker: &'static str,
        incarnation: u64,
        boot: Option<String>,
        sequence: Option<u64>,
        inventory: Inventory,
        used: Option<u32>,
        door: Door,
    },
    Leave {
        worker: &'static str,
        incarnation: Option<u64>,
        boot: Option<String>,
        host: Option<String>,
        purge: bool,
        force: bool,
        graphql: bool,
    },
    Policy {
        worker: &'static str,
        drain: bool,
        reason: Option<&'static str>,
        graphql: bool,
    },
    Pass(TimeDelta),
    SetClock(TimeDelta),
    Sweep,
    RestartServer,
}

impl Model {
    fn new(now: DateTime<Utc>) -> Self {
        Self {
            now,
            passed: TimeDelta::zero(),
            swept: (now, TimeDelta::zero()),
            grace_until: OFFLINE_AFTER,
            workers: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn tell(&mut self, actor: &str, kind: &str, worker: &str, vm: Option<&str>, reason: Option<&str>) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        self.told.push((actor.to_owned(), kind.to_owned(), worker.to_owned(), text(vm), text(reason)));
    }

    fn is_online(&self, worker: &Modelled) -> bool {
        !worker.has_left && !worker.is_told_offline && worker.last_seen >= self.now - OFFLINE_AFTER
    }

    fn is_heard(&mut self, id: &str, worker: &mut Modelled) {
        worker.last_seen = self.now;
        if std::mem::take(&mut worker.is_told_offline) {
            self.tell("server", "worker_online", id, None, None);
        }
    }

    fn correct_times(&mut self) {
        let now = self.now;
        for worker in self.workers.values_mut() {
            let drained_at = worker.drain.as_ref().map(|(_, at)| *at);
            let times = [Some(worker.last_seen), Some(worker.started_at), worker.left_at, drained_at];
            if times.into_iter().flatten().any(|time| time > now + TOLERANCE) {
                worker.last_seen = worker.last_seen.min(now);
                worker.started_at = worker.started_at.min(now);
                worker.left_at = worker.left_at.map(|at| at.min(now));
                if let Some((_, at)) = &mut worker.drain {
                    *at = (*at).min(now);
                }
            }
        }
    }

    /// Does what the rules say, and says how it is answered.
    fn take(&mut self, step: &Step) -> Answered {
        match step.clone() {
            Step::Register { worker, boot, host, last } => self.register(worker, boot, host, last),
            Step::Beat { worker, incarnation, boot, sequence, inventory, used, .. } => {
                self.beat(worker, (incarnation, boot), sequence, &inventory, used)
            }
            Step::Leave { worker, incarnation, boot, host, purge, force, .. } => {
                self.leave(worker, incarnation.map(|incarnation| (incarnation, boot)), host, purge, force)
            }
            Step::Policy { worker, drain, reason, .. } => self.policy(worker, drain, reason),
            Step::Pass(by) => {
                self.now += by;
                self.passed += by;
                Answered::plain(200)
            }
            Step::SetClock(by) => {
                self.now += by;
                Answered::plain(200)
            }
            Step::Sweep => {
                self.sweep();
                Answered::plain(200)
            }
            Step::RestartServer => {
                self.correct_times();
                self.swept = (self.now, self.passed);
                self.grace_until = self.passed + OFFLINE_AFTER;
                Answered::plain(200)
            }
        }
    }

    fn register(&mut self, id: &str, boot: Option<String>, host: Option<String>, last: Option<u64>) -> Answered {
        let now = self.now;
        let accepted = |status, worker: &Modelled| Answered {
            incarnation: Some(worker.incarnation),
            last_sequence: worker.sequence,
            ..Answered::plain(status)
        };
        let Some(mut worker) = self.workers.get(id).cloned() else {
            let (known, mut starts) = self.tombstones.get(id).cloned().unwrap_or_default();
            if starts.is_over(&boot, &host) {
                return Answered::plain(409);
            }
            starts.begin(boot, host);
            let worker = Modelled {
                incarnation: known.max(last.unwrap_or(0)) + 1,
                starts,
                has_left: false,
                is_told_offline: false,
                drain: None,
                progress: Progress::default(),
                started_at: now,
                last_seen: now,
                left_at: None,
                sequence: None,
                late: None,
                knows_inventory: false,
                vms: Vms::new(),
                used: 0,
            };
            self.tell("worker", "worker_registered", id, None, None);
            let answered = accepted(201, &worker);
            self.workers.insert(id.to_owned(), worker);
            return answered;
        };
        let is_another_host = differ(&worker.starts.host, &host);
        if worker.starts.is_last(&boot, &host) && !worker.has_left {
            worker.starts.host = host.or(worker.starts.host);
            worker.started_at = worker.started_at.min(now);
            worker.late = None;
            self.is_heard(id, &mut worker);
        } else if worker.starts.is_over(&boot, &host) {
            return Answered::plain(409);
        } else {
            worker.incarnation = worker.incarnation.max(last.unwrap_or(0)) + 1;
            worker.starts.begin(boot, host);
            (worker.has_left, worker.left_at) = (false, None);
            (worker.sequence, worker.late, worker.knows_inventory) = (None, None, false);
            (worker.progress.is_told, worker.progress.is_acknowledged) = (false, false);
            worker.started_at = now;
            self.tell("worker", "worker_restarted", id, None, None);
            if is_another_host {
                for vm in holders(&worker.vms) {
                    self.tell("worker", "vm_lost", id, Some(&vm), Some("host restarted"));
                }
                worker.vms.clear();
                worker.used = 0;
            }
            self.is_heard(id, &mut worker);
        }
        let answered = accepted(200, &worker);
        self.workers.insert(id.to_owned(), worker);
        answered
    }

    fn beat(
        &mut self,
        id: &str,
        life: (u64, Option<String>),
        sequence: Option<u64>,
        inventory: &Inventory,
        used: Option<u32>,
    ) -> Answered {
        let Some(mut worker) = self.workers.get(id).cloned() else {
            let (incarnation, boot) = life;
            let (last, starts) = self.tombstones.get(id).cloned().unwrap_or_default();
            let is_over = (incarnation == last || boot.is_some()) && starts.is_told_over(&boot);
            return Answered::plain(if incarnation < last || is_over { 409 } else { 404 });
        };
        if let Some(refused) = worker.refuses(&life) {
            return Answered::plain(refused);
        }
        if worker.has_left {
            return Answered::plain(if worker.starts.is_told_over(&life.1) { 409 } else { 404 });
        }
        if let (Some(this), Some(last)) = (sequence, worker.sequence)
            && this <= last
        {
            let resync = Some(this < last || !worker.knows_inventory);
            let answered = Answered { resync, last_sequence: Some(last), ..Answered::plain(200) };
            if worker.late.is_some_and(|late| this <= late) {
                return if self.is_online(&worker) { answered } else { Answered::plain(409) };
            }
            worker.late = Some(this);
            self.is_heard(id, &mut worker);
            self.workers.insert(id.to_owned(), worker);
            return answered;
        }
        worker.sequence = sequence.or(worker.sequence);
        worker.late = None;
        self.is_heard(id, &mut worker);
        let before = worker.vms.clone();
        let tells_of_vms = match inventory {
            Inventory::None => worker.knows_inventory,
            Inventory::Whole(vms) => {
                worker.vms.clone_from(vms);
                worker.knows_inventory = true;
                true
            }
            Inventory::Delta(upsert, remove) => {
                worker.vms.retain(|id, _| !remove.contains(id));
                worker.vms.extend(upsert.clone());
                true
            }
        };
        if let Some(used) = used {
            worker.used = used;
        } else if tells_of_vms {
            worker.used = worker.vms.values().filter(|(holds, _)| *holds).map(|(_, cpus)| cpus).sum();
        }
        let (was, is) = (holders(&before), holders(&worker.vms));
        for vm in before.keys().chain(worker.vms.keys()).collect::<BTreeSet<_>>() {
            let kind = match (was.contains(vm), is.contains(vm)) {
                (false, true) => "vm_started",
                (true, false) if worker.vms.contains_key(vm) => "vm_stopped",
                (true, false) => "vm_vanished",
                _ if worker.vms.get(vm).is_none_or(|now| before.get(vm) == Some(now)) => continue,
                _ => "vm_changed",
            };
            self.tell("worker", kind, id, Some(vm), None);
        }
        if worker.drain.is_some() {
            let Progress { is_told, is_acknowledged, is_complete } = worker.progress;
            let knows = is_acknowledged || is_told;
            let completes = !is_complete && knows && worker.knows_inventory && is.is_empty();
            let reopens = is_complete && !is.is_empty();
            for (happens, kind) in [(completes, "worker_drain_complete"), (reopens, "worker_drain_reopened")] {
                if happens {
                    self.tell("server", kind, id, None, None);
                }
            }
            worker.progress =
                Progress { is_told: true, is_acknowledged: knows, is_complete: (is_complete || completes) && !reopens };
        }
        let resync = Some(!worker.knows_inventory);
        self.workers.insert(id.to_owned(), worker);
        Answered { resync, ..Answered::plain(200) }
    }

    fn leave(
        &mut self,
        id: &str,
        life: Option<(u64, Option<String>)>,
        host: Option<String>,
        purge: bool,
        force: bool,
    ) -> Answered {
        let Some(mut worker) = self.workers.get(id).cloned() else { return Answered::plain(404) };
        if let Some(refused) = life.as_ref().and_then(|life| worker.refuses(life)) {
            return Answered::plain(refused);
        }
        if host.is_some() && host != worker.starts.host {
            return Answered::plain(409);
        }
        let by_itself = life.is_some() || host.is_some();
        let actor = if by_itself { "worker" } else { "operator" };
        if purge {
            let vms = holders(&worker.vms);
            if !vms.is_empty() && !force {
                return Answered::plain(409);
            }
            for vm in vms {
                self.tell(actor, "vm_lost", id, Some(&vm), Some("worker removed"));
            }
            self.tell(actor, "worker_purged", id, None, None);
            if by_itself {
                worker.starts.end();
            }
            self.tombstones.insert(id.to_owned(), (worker.incarnation, worker.starts));
            self.workers.remove(id);
            return Answered::plain(204);
        }
        if by_itself {
            worker.starts.end();
        }
        if !worker.has_left {
            (worker.has_left, worker.is_told_offline, worker.left_at) = (true, true, Some(self.now));
            self.tell(actor, "worker_left", id, None, None);
        }
        self.workers.insert(id.to_owned(), worker);
        Answered::plain(204)
    }

    fn policy(&mut self, id: &str, drain: bool, reason: Option<&str>) -> Answered {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(id) else { return Answered::plain(404) };
        let reason = reason.map(str::to_owned);
        let kind = match (&mut worker.drain, drain) {
            (None, true) => {
                worker.drain = Some((reason.clone(), now));
                worker.progress = Progress::default();
                "worker_drain_started"
            }
            (Some((why, _)), true) if reason.is_some() && *why != reason => {
                why.clone_from(&reason);
                "worker_drain_changed"
            }
            (Some(_), false) => {
                worker.drain = None;
                "worker_activated"
            }
            (Some(_), true) | (None, false) => return Answered::plain(200),
        };
        self.tell("operator", kind, id, None, reason.as_deref());
        Answered::plain(200)
    }

    fn sweep(&mut self) {
        let set_by = (self.now - self.swept.0) - (self.passed - self.swept.1);
        if set_by.abs() > TOLERANCE {
            self.grace_until = self.passed + OFFLINE_AFTER;
        }
        self.swept = (self.now, self.passed);
        self.correct_times();
        if self.passed <= self.grace_until {
            return;
        }
        let silent = |worker: &Modelled| {
            !worker.has_left && !worker.is_told_offline && worker.last_seen < self.now - OFFLINE_AFTER
        };
        let silent: Vec<_> =
            self.workers.iter().filter(|(_, worker)| silent(worker)).map(|(id, _)| id.clone()).collect();
        for id in silent {
            self.tell("server", "worker_offline", &id, None, None);
            self.workers.get_mut(&id).unwrap().is_told_offline = true;
        }
    }
}

fn holders(vms: &Vms) -> BTreeSet<String> {
    vms.iter().filter(|(_, (holds, _))| *holds).map(|(id, _)| id.clone()).collect()
}

/// Draws what happens next: mostly what may well happen next, and now and then anything.
fn draw(random: &mut StdRng, model: &Model) -> Step {
    let worker = *WORKERS.choose(random).unwrap();
    let known = model.workers.get(worker);
    let last = model.tombstones.get(worker).map_or(1, |(last, _)| *last);
    let incarnation = known.map_or(last, |known| known.incarnation);
    let hosts = [None, Some("h1"), Some("h2")];
    let host = |random: &mut StdRng| hosts.choose(random).unwrap().map(str::to_owned);
    // Mostly who registered, sometimes somebody else, often nobody in particular.
    let present = known.and_then(|known| known.starts.boot.clone());
    let boot = |random: &mut StdRng| match random.random_range(0..10) {
        0..5 => None,
        5..9 => present.clone(),
        _ => Some(format!("b{}", random.random_range(0..5))),
    };
    match random.random_range(0..100) {
        0..20 => {
            let boot = random.random_bool(0.9).then(|| format!("b{}", random.random_range(0..5)));
            // Mostly on the host where it was.
            let known_host = known.and_then(|known| known.starts.host.clone());
            let host = if random.random_bool(0.6) { known_host } else { host(random) };
            let last = random.random_bool(0.1).then(|| random.random_range(0..40));
            Step::Register { worker, boot, host, last }
        }
        20..60 => {
            let last = known.and_then(|known| known.sequence).unwrap_or(0);
            let sequence = match random.random_range(0..10) {
                0..5 => Some(last + 1),
                5 => Some(last),
                6 => Some(last.saturating_sub(1)),
                7..9 => Some(random.random_range(1..4)),
                _ => None,
            };
            let incarnation = match random.random_range(0..10) {
                0 => incarnation.saturating_sub(1),
                1 => incarnation + 1,
                _ => incarnation,
            };
            let inventory = match random.random_range(0..3) {
                0 => Inventory::None,
                1 => Inventory::Whole(draw_vms(random, worker)),
                _ => {
                    let upsert = draw_vms(random, worker);
                    let gone = draw_vms(random, worker).into_keys().filter(|id| !upsert.contains_key(id));
                    Inventory::Delta(upsert.clone(), gone.collect())
                }
            };
            let used = random.random_bool(0.2).then(|| random.random_range(0..9));
            let door = *[Door::Rest, Door::Batch, Door::Graphql].choose(random).unwrap();
            Step::Beat { worker, incarnation, boot: boot(random), sequence, inventory, used, door }
        }
        60..70 => {
            let incarnation = match random.random_range(0..6) {
                0 => Some(incarnation.saturating_sub(1)),
                1 => Some(incarnation + 1),
                2 | 3 => Some(incarnation),
                _ => None,
            };
            let host = if random.random_bool(0.3) { host(random) } else { None };
            let (purge, force) = (random.random_bool(0.3), random.random_bool(0.5));
            let boot = if incarnation.is_some() { boot(random) } else { None };
            Step::Leave { worker, incarnation, boot, host, purge, force, graphql: random.random_bool(0.5) }
        }
        70..82 => {
            let reason = *[None, Some("disks"), Some("memory")].choose(random).unwrap();
            let (drain, graphql) = (random.random_bool(0.65), random.random_bool(0.5));
            Step::Policy { worker, drain, reason, graphql }
        }
        82..90 => Step::Pass(TimeDelta::milliseconds(random.random_range(0..45_000))),
        90..92 => Step::SetClock(TimeDelta::seconds(random.random_range(-4_000..4_000))),
        92..97 => Step::Sweep,
        _ => Step::RestartServer,
    }
}

fn draw_vms(random: &mut StdRng, worker: &str) -> Vms {
    let mut vms = Vms::new();
    for number in 0..4 {
        if random.random_bool(0.5) {
            vms.insert(format!("{worker}-vm{number}"), (random.random_bool(0.8), random.random_range(1..3)));
        }
    }
    vms
}

/// How the server answers a step.
async fn ask(cluster: &TestCluster, clock: &Clock, step: &Step) -> Answered {
    match step {
        Step::Register { worker: id, boot, host, last } => {
            let mut registration = worker(id).registration();
            for (key, said) in
                [("boot_id", json!(boot)), ("host_boot_id", json!(host)), ("last_incarnation", json!(last))]
            {
                registration[key] = said;
            }
            let answer = cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await;
            let body = answer.json();
            Answered {
                status: answer.status,
                resync: None,
                last_sequence: body["last_sequence"].as_u64(),
                incarnation: body["incarnation"].as_u64(),
            }
        }
        Step::Beat { worker: id, incarnation, boot, sequence, inventory, used, door } => {
            let mut beat =
                json!({"boot_id": boot, "incarnation": incarnation, "sequence": sequence, "used_cpu_cores": used});
            let reports = |vms: &Vms, door: Door| -> Vec<Value> {
                let word = |holds: bool| match (door, holds) {
                    (Door::Graphql, true) => "RUNNING",
                    (Door::Graphql, false) => "STOPPED",
                    (_, true) => "running",
                    (_, false) => "stopped",
                };
                let report = |(id, (holds, cpus)): (&String, &(bool, u32))| json!({"id": id, "status": word(*holds), "vcpus": cpus});
                vms.iter().map(report).collect()
            };
            match inventory {
                Inventory::None => {}
                Inventory::Whole(vms) => beat["vms"] = reports(vms, *door).into(),
                Inventory::Delta(upsert, remove) => {
                    beat["vms_delta"] = json!({"upsert": reports(upsert, *door), "remove": remove});
                }
            }
            match door {
                Door::Rest => {
                    let answer = cluster.beat(id, beat).await;
                    replied(answer.status, &answer.json(), ["resync", "last_sequence"])
                }
                Door::Batch => {
                    beat["worker_id"] = json!(id);
                    let body = json!({"heartbeats": [beat]});
                    let answer = cluster.rest().post("/api/v1/heartbeats").json(body).await;
                    let result = answer.json()["results"][0].take();
                    let status = result["status"].as_u64().unwrap() as u16;
                    replied(status, &result, ["resync", "last_sequence"])
                }
                Door::Graphql => {
                    let query = "mutation($input: RecordHeartbeatInput!) {
                        recordHeartbeat(input: $input) { resync lastSequence }
                    }";
                    let answer = cluster.graphql_answer(query, json!({"input": camel_case(beat, id)})).await;
                    replied(status_of(&answer), &answer["data"]["recordHeartbeat"], ["resync", "lastSequence"])
                }
            }
        }
        Step::Leave { worker: id, incarnation, boot, host, purge, force, graphql: false } => {
            let mut query = format!("purge={purge}&force={force}");
            if let Some(incarnation) = incarnation {
                query += &format!("&incarnation={incarnation}");
            }
            if let Some(boot) = boot {
                query += &format!("&boot_id={boot}");
            }
            if let Some(host) = host {
                query += &format!("&host_boot_id={host}");
            }
            Answered::plain(cluster.rest().delete(&format!("/api/v1/workers/{id}?{query}")).await.status)
        }
        Step::Leave { worker: id, incarnation, boot, host, purge, force, graphql: true } => {
            let query = "mutation($input: DeregisterWorkerInput!) { deregisterWorker(input: $input) { workerId } }";
            let input = json!({
                "workerId": id, "incarnation": incarnation, "bootId": boot, "hostBootId": host, "purge": purge, "force": force,
            });
            match status_of(&cluster.graphql_answer(query, json!({"input": input})).await) {
                200 => Answered::plain(204),
                refused => Answered::plain(refused),
            }
        }
        Step::Policy { worker: id, drain, reason, graphql: false } => {
            let command = if *drain { "drain" } else { "activate" };
            let body = json!({"reason": reason});
            Answered::plain(cluster.rest().post(&format!("/api/v1/workers/{id}/{command}")).json(body).await.status)
        }
        Step::Policy { worker: id, drain, reason, graphql: true } => {
            let query = match drain {
                true => {
                    "mutation($id: ID!, $reason: String) { drainWorker(input: {workerId: $id, reason: $reason}) { changed } }"
                }
                false => {
                    "mutation($id: ID!, $reason: String) { activateWorker(input: {workerId: $id, reason: $reason}) { changed } }"
                }
            };
            Answered::plain(status_of(&cluster.graphql_answer(query, json!({"id": id, "reason": reason})).await))
        }
        Step::Pass(by) => {
            cluster.advance(by.to_std().unwrap());
            Answered::plain(200)
        }
        Step::SetClock(by) => {
            clock.set(clock.now() + *by);
            Answered::plain(200)
        }
        Step::Sweep => {
            cluster.sweep().await;
            Answered::plain(200)
        }
        // Done by whoever holds the cluster.
        Step::RestartServer => Answered::plain(200),
    }
}

fn replied(status: u16, body: &Value, [resync, last_sequence]: [&str; 2]) -> Answered {
    Answered { status, resync: body[resync].as_bool(), last_sequence: body[last_sequence].as_u64(), incarnation: None }
}

fn camel_case(beat: Value, id: &str) -> Value {
    let Value::Object(fields) = beat else { panic!("a beat is an object") };
    let names = BTreeMap::from([("used_cpu_cores", "usedCpuCores"), ("vms_delta", "vmsDelta"), ("boot_id", "bootId")]);
    let renamed = fields.into_iter().map(|(key, value)| ((*names.get(&*key).unwrap_or(&&*key)).to_owned(), value));
    let mut input: serde_json::Map<_, _> = renamed.collect();
    input.insert("workerId".to_owned(), json!(id));
    input.into()
}

fn status_of(answer: &Value) -> u16 {
    match answer["errors"][0]["extensions"]["code"].as_str() {
        None => 200,
        Some("NOT_FOUND") => 404,
        Some("CONFLICT") => 409,
        Some(odd) => panic!("{odd}: {answer}"),
    }
}

/// Some keys of an object.
fn pick_keys<const N: usize>(object: &Value, keys: [&str; N]) -> Value {
    keys.into_iter().map(|key| (key.to_owned(), object[key].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// What everybody sees of the workers, in both protocols.
async fn shown(cluster: &TestCluster) -> Value {
    let rest = cluster.rest().get("/api/v1/workers").await.json();
    let graphql = cluster
        .graphql("{ workers { id status isHealthy startedAt lastSeen usedCpuCores vmCount drain { reason startedBy startedAt isEmpty } vms(status: [RUNNING, STOPPED]) { id status vcpus } } }")
        .await;
    let mut workers = Vec::new();
    for (rest, graphql) in rest["workers"].as_array().unwrap().iter().zip(graphql["workers"].as_array().unwrap()) {
        let drain = &graphql["drain"];
        let said = json!({
            "id": rest["id"], "status": rest["status"], "is_healthy": rest["is_healthy"], "started_at": rest["started_at"],
            "last_seen": rest["last_seen"], "used": rest["used_cpu_cores"], "vm_count": rest["vm_count"],
            "policy": rest["scheduling_policy"],
            "drain": rest.get("drain").map(|drain| pick_keys(drain, ["reason", "started_by", "started_at", "is_empty"])),
            "vms": graphql["vms"],
        });
        let twin = json!({
            "id": graphql["id"], "status": graphql["status"].as_str().unwrap().to_lowercase(),
            "is_healthy": graphql["isHealthy"], "started_at": graphql["startedAt"], "last_seen": graphql["lastSeen"],
            "used": graphql["usedCpuCores"], "vm_count": graphql["vmCount"], "policy": rest["scheduling_policy"],
            "drain": drain.is_object().then(|| json!({
                "reason": drain["reason"], "started_by": drain["startedBy"], "started_at": drain["startedAt"],
                "is_empty": drain["isEmpty"],
            })),
            "vms": graphql["vms"],
        });
        assert_eq!(said, twin, "both protocols say the same");
        workers.push(said);
    }
    workers.into()
}

/// What the model says should be seen.
fn expected(model: &Model) -> Value {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    let workers = model.workers.iter().map(|(id, worker)| {
        let is_online = model.is_online(worker);
        let policy = if worker.drain.is_some() { "draining" } else { "active" };
        let count = holders(&worker.vms).len();
        let vms = worker.vms.iter().map(|(id, (holds, cpus))| {
            json!({"id": id, "status": if *holds { "RUNNING" } else { "STOPPED" }, "vcpus": cpus})
        });
        json!({
            "id": id, "status": if is_online { policy } else { "offline" }, "is_healthy": is_online,
            "started_at": time(worker.started_at), "last_seen": time(worker.last_seen), "used": worker.used,
            "vm_count": count, "policy": policy,
            "drain": worker.drain.as_ref().map(|(reason, at)| json!({
                "reason": reason, "started_by": "operator", "started_at": time(*at),
                "is_empty": worker.knows_inventory && count == 0,
            })),
            "vms": vms.collect::<Vec<_>>(),
        })
    });
    workers.collect::<Vec<_>>().into()
}

/// What the log tells after a cursor, and the cursor to go on from.
async fn told_after(cluster: &TestCluster, cursor: &str) -> (Vec<Told>, String) {
    let page = cluster.rest().get(&format!("/api/v1/events?limit=500&after={cursor}")).await.json();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let told = page["events"].as_array().unwrap().iter().map(|event| {
        let [actor, kind, worker, vm, reason] =
            ["actor", "kind", "worker_id", "vm_id", "reason"].map(|key| text(&event[key]));
        (actor.unwrap(), kind.unwrap(), worker.unwrap(), vm, reason)
    });
    (told.collect(), page["end_cursor"].as_str().unwrap().to_owned())
}

/// Lets a cluster live through what a seed says.
async fn live(database: &TestDatabase, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let clock = Clock::manual(START.parse().unwrap());
    let mut cluster = TestCluster::by_clock(database, clock.clone()).await;
    let mut model = Model::new(START.parse().unwrap());
    let mut cursor = cluster.first_cursor();
    let mut past = Vec::new();
    for _ in 0..STEPS {
        let step = draw(&mut random, &model);
        past.push(format!("{step:?}"));
        let story =
            |model: &Model| format!("seed {seed}, in the end {:#?}\n{model:#?}", &past[past.len().saturating_sub(8)..]);
        let answer = model.take(&step);
        if matches!(step, Step::RestartServer) {
            cluster = cluster.restart().await;
        }
        let answered = ask(&cluster, &clock, &step).await;
        assert_eq!(answered, answer, "{}", story(&model));
        let seen = shown(&cluster).await;
        assert_eq!(seen, expected(&model), "{}", story(&model));
        if let (Step::Beat { worker, .. }, 200) = (&step, answered.status) {
            let healthy = seen.as_array().unwrap().iter().find(|seen| seen["id"] == *worker).unwrap();
            assert_eq!(healthy["is_healthy"], true, "whoever is told that all is well is well: {}", story(&model));
        }
        let (mut told, end) = told_after(&cluster, &cursor).await;
        cursor = end;
        let mut expected = std::mem::take(&mut model.told);
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "seed {seed}, in the end {:#?}", &past[past.len().saturating_sub(8)..]);
    }
}

/// Different seeds on each, so that more is tried.
#[tokio::test]
async fn workers_live_as_the_model_says_on_sqlite() {
    for seed in ON_SQLITE {
        let database = TestDatabase::sqlite();
        live(&database, seed).await;
    }
}

#[tokio::test]
async fn workers_live_as_the_model_says_on_postgresql() {
    for seed in ON_POSTGRESQL {
        TestDatabase::postgres().await.run(async |database: TestDatabase| live(&database, seed).await).await;
    }
}

/// A registration with these words of its own.
async fn register(cluster: &TestCluster, id: &str, words: Value) -> Answer {
    let mut registration = worker(id).registration();
    for (key, value) in words.as_object().unwrap() {
        registration[key] = value.clone();
    }
    cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await
}

/// Puts a backup back under a server, to which something may happen before; has it notice, and end without a commit.
async fn notice_a_restore(db: &TestDatabase, before: impl AsyncFnOnce(TestCluster) -> TestCluster) {
    let cluster = TestCluster::on(db).await;
    register(&cluster, "w1", json!({"boot_id": "a"})).await;
    db.keep_tables().await;
    for boot in ["b", "c"] {
        register(&cluster, "w1", json!({"boot_id": boot})).await;
    }
    register(&cluster, "w2", json!({"boot_id": "x"})).await;
    let cluster = before(cluster).await;
    db.put_tables_back().await;
    assert_eq!(cluster.rest().delete("/api/v1/workers/none").await.status, 404);
    let cluster = cluster.restart().await;
    for id in WORKERS {
        let next = register(&cluster, id, json!({"boot_id": "living"})).await.json()["incarnation"].as_u64().unwrap();
        assert!(next > 3, "{id}: {next} may have been handed out before");
    }
}

/// Who caused what, in order: `operator worker_left w1`.
async fn causes(cluster: &TestCluster) -> Vec<String> {
    let (told, _) = told_after(cluster, &cluster.first_cursor()).await;
    let line = |(actor, kind, worker, vm, _): Told| {
        format!("{actor} {kind} {worker} {}", vm.unwrap_or_default()).trim_end().to_owned()
    };
    told.into_iter().map(line).collect()
}

const A_MINUTE_AND_MORE: Duration = Duration::from_secs(61);

on_both_databases! {
    // semantics 8, 29; regression: the late word of a process that was superseded took the living one out
    async fn a_process_that_was_superseded_cannot_take_the_living_one_out(cluster: TestCluster) {
        for boot in ["a", "b"] {
            assert!(register(&cluster, "w1", json!({"boot_id": boot})).await.status < 300);
        }
        cluster.beat("w1", json!({"incarnation": 2, "vms": [{"id": "vm-1"}]})).await;
        let before = cluster.everything().await;

        let goodbye = cluster.rest().delete("/api/v1/workers/w1?incarnation=1").await;
        goodbye.assert_failure(
            409,
            "Incarnation 1 of worker w1 is over: incarnation 2 has registered since. \
             Two processes may be using this id.",
        );
        let purge = cluster.rest().delete("/api/v1/workers/w1?incarnation=1&purge=true&force=true").await;
        assert_eq!(purge.status, 409);
        let late = register(&cluster, "w1", json!({"boot_id": "a"})).await;
        late.assert_failure(
            409,
            "The process of worker w1 that calls itself \"a\" is over: it said goodbye, or another one has registered \
             since. The present incarnation is 2. A new start needs a new boot_id; or two processes are using this id.",
        );
        assert_eq!(cluster.everything().await, before);
        // The same when the server that remembers is another one, and when the worker was purged meanwhile.
        let cluster = cluster.restart().await;
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "a"})).await.status, 409);
        cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await;
        let cluster = cluster.restart().await;
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "a"})).await.status, 409);
        let living = register(&cluster, "w1", json!({"boot_id": "b"})).await;
        assert_eq!((living.status, living.json()["incarnation"].take()), (201, json!(3)), "it is not over");
        cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await;
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "c"})).await.status, 201);
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "b"})).await.status, 409, "now it is");
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "a"})).await.status, 409);
    }

    async fn a_process_that_said_goodbye_is_over_and_one_that_was_taken_out_is_not(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?incarnation=1").await.status, 204);
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?incarnation=1").await.status, 204, "said twice");
        let revision = cluster.revision();
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "a"})).await.status, 409);
        assert_eq!(cluster.revision(), revision);
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "b"})).await.json()["incarnation"], 2);
        // By an operator: its process is told to register again, and may.
        cluster.rest().delete("/api/v1/workers/w1").await;
        assert_eq!(cluster.beat("w1", json!({"incarnation": 2})).await.status, 404);
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "b"})).await.json()["incarnation"], 3);
    }

    // regression: a late registration of a process that had removed its worker revived it
    async fn a_process_that_removed_its_worker_is_over(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?incarnation=1&purge=true").await.status, 204);
        let mut cluster = cluster;
        for _ in 0..2 {
            register(&cluster, "w1", json!({"boot_id": "a"})).await.assert_failure(
                409,
                "The process of worker w1 that calls itself \"a\" is over: it said goodbye, or another one has registered \
                 since. The present incarnation is 1. A new start needs a new boot_id; or two processes are using this id.",
            );
            assert_eq!(cluster.rest().get("/api/v1/workers").await.json()["total"], 0);
            cluster = cluster.restart().await;
        }
        let next = register(&cluster, "w1", json!({"boot_id": "b"})).await;
        assert_eq!((next.status, next.json()["incarnation"].take()), (201, json!(2)));
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "a"})).await.status, 409);
    }

    // regression: it was locked out by its own goodbye
    async fn a_program_that_always_says_the_same_boot_id_comes_back_with_its_host(cluster: TestCluster) {
        let on = |host: &str| json!({"boot_id": "same", "host_boot_id": host});
        let mut cluster = cluster;
        for (id, purge) in [("w1", ""), ("w2", "&purge=true")] {
            for (start, host) in ["h1", "h2", "h3"].into_iter().enumerate() {
                let again = register(&cluster, id, on(host)).await;
                assert_eq!(again.json()["incarnation"], start + 1, "{id} on {host}: {}", again.body);
                let late = ["h1", "h2", "h3"].into_iter().take(start);
                for late in late {
                    assert_eq!(register(&cluster, id, on(late)).await.status, 409, "{id} on {late}, now on {host}");
                }
                let goodbye = format!("/api/v1/workers/{id}?host_boot_id={host}{purge}");
                assert_eq!(cluster.rest().delete(&goodbye).await.status, 204);
                cluster = cluster.restart().await;
                for late in [on(host), json!({"boot_id": "same"})] {
                    assert_eq!(register(&cluster, id, late.clone()).await.status, 409, "{id} has said goodbye: {late}");
                }
            }
        }
    }

    // regression: a process that had said goodbye was told to register again, and then that it was over
    async fn whoever_is_told_to_register_again_may(cluster: TestCluster) {
        let own = "?incarnation=1";
        let endings: [(&str, &[&str]); 7] = [
            ("leaves", &[own]),
            ("taken-out", &[""]),
            ("taken-out-then-leaves", &["", own]),
            ("removes-itself", &["?incarnation=1&purge=true"]),
            ("removed", &["?purge=true"]),
            ("leaves-then-removed", &[own, "?purge=true"]),
            ("taken-out-then-removed", &["", "?purge=true"]),
        ];
        let mut refused = Vec::new();
        for (ending, steps) in endings {
            for boot in [json!("a"), Value::Null] {
                let id = format!("{ending}-{}", if boot.is_null() { "unnamed" } else { "named" });
                let who = json!({"boot_id": boot, "host_boot_id": "h1"});
                register(&cluster, &id, who.clone()).await;
                for step in steps {
                    assert_eq!(cluster.rest().delete(&format!("/api/v1/workers/{id}{step}")).await.status, 204, "{id}");
                }
                let told = [json!({"incarnation": 1}), json!({"incarnation": 1, "boot_id": boot})];
                let told = [cluster.beat(&id, told[0].clone()).await, cluster.beat(&id, told[1].clone()).await];
                let again = register(&cluster, &id, who).await;
                for told in told {
                    match told.status {
                        404 => assert!(again.status < 300, "{id}: {}, then {}", told.body, again.body),
                        _ => assert_eq!((told.status, &told.body), (again.status, &again.body), "{id}"),
                    }
                }
                if again.status == 409 {
                    refused.push(id);
                }
            }
        }
        let over = ["leaves-named", "taken-out-then-leaves-named", "removes-itself-named", "leaves-then-removed-named"];
        assert_eq!(refused, over);

        // Nor is one that was superseded before an operator removed the worker.
        for boot in ["a", "b"] {
            register(&cluster, "w1", json!({"boot_id": boot})).await;
        }
        cluster.rest().delete("/api/v1/workers/w1?purge=true").await;
        for beat in [json!({"incarnation": 1}), json!({"incarnation": 1, "boot_id": "a"}), json!({"incarnation": 9, "boot_id": "a"})] {
            assert_eq!(cluster.beat("w1", beat.clone()).await.status, 409, "{beat}");
        }
        assert_eq!(cluster.beat("w1", json!({"incarnation": 2, "boot_id": "b"})).await.status, 404);
        assert_eq!(register(&cluster, "w1", json!({"boot_id": "b"})).await.status, 201);
    }

    async fn a_host_says_goodbye_only_for_the_process_that_lives_on_it(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a", "host_boot_id": "here"})).await;
        let elsewhere = cluster.rest().delete("/api/v1/workers/w1?host_boot_id=there").await;
        assert_eq!((elsewhere.status, cluster.worker("w1").await["status"].take()), (409, json!("active")));
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?host_boot_id=here").await.status, 204);
        assert_eq!(cluster.worker("w1").await["status"], "offline");
        register(&cluster, "w1", json!({"boot_id": "b"})).await;
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?host_boot_id=here").await.status, 409, "it did not say");
    }

    async fn earlier_starts_are_remembered_within_bounds(cluster: TestCluster) {
        for boot in 0..=40 {
            assert!(register(&cluster, "w1", json!({"boot_id": format!("b{boot}")})).await.status < 300, "{boot}");
        }
        let mut refused = 0;
        for boot in (0..40).rev() {
            if register(&cluster, "w1", json!({"boot_id": format!("b{boot}")})).await.status == 409 {
                refused += 1;
            } else {
                break;
            }
        }
        assert_eq!(refused, aetherium::cluster::EARLIER_BOOT_IDS);
    }

    // regression: an agent's restart stopped all VMs of its host
    async fn a_new_agent_on_the_same_host_changes_nothing_until_it_has_looked(cluster: TestCluster) {
        let vms: Vec<_> = (1..=5).map(|n| json!({"id": format!("vm-{n}"), "vcpus": 3, "memory_mb": 512})).collect();
        for host in [json!("h1"), Value::Null] {
            let id = if host.is_null() { "w2" } else { "w1" };
            let vms: Vec<_> = vms.iter().map(|vm| with(vm.clone(), json!({"id": format!("{id}-{}", vm["id"].as_str().unwrap())}))).collect();
            register(&cluster, id, json!({"boot_id": "a", "host_boot_id": host})).await;
            cluster.beat(id, json!({"incarnation": 1, "sequence": 9, "used_disk_gb": 7, "vms": vms})).await;
            let told = cluster.history().await.len();
            let slots = async || cluster.rest().get("/api/v1/cluster/stats").await.json()["schedulable_vm_slots"].take();
            let (before, free) = (cluster.worker(id).await, slots().await);

            register(&cluster, id, json!({"boot_id": "b", "host_boot_id": host})).await;
            let kept = ["vm_count", "used_cpu_cores", "used_memory_mb", "used_disk_gb"];
            let usage = async || { let worker = cluster.worker(id).await; kept.map(|key| worker[key].clone()) };
            let was = kept.map(|key| before[key].clone());
            assert_eq!((usage().await, slots().await), (was.clone(), free.clone()));
            // It is alive, but has not looked yet; or cannot.
            for sequence in 1..=3 {
                let reply = cluster.beat(id, json!({"incarnation": 2, "sequence": sequence})).await.json();
                assert_eq!((usage().await, &reply["resync"]), (was.clone(), &json!(true)));
            }
            let found = cluster.beat(id, json!({"incarnation": 2, "sequence": 4, "vms": vms})).await.json();
            assert_eq!((usage().await, slots().await, &found["resync"]), (was.clone(), free, &json!(false)));
            assert_eq!(cluster.history().await[told..], [format!("worker_restarted {id}")]);

            // What did change while nobody looked is told.
            register(&cluster, id, json!({"boot_id": "c", "host_boot_id": host})).await;
            cluster.beat(id, json!({"incarnation": 3, "vms": vms[1..]})).await;
            let told = &cluster.history().await[told + 1..];
            assert_eq!(told, [format!("worker_restarted {id}"), format!("vm_vanished {id} {id}-vm-1")]);
        }
    }

    async fn a_host_that_started_anew_runs_nothing_of_what_it_ran(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a", "host_boot_id": "h1"})).await;
        let vms = json!([{"id": "vm-1", "vcpus": 3}, {"id": "vm-2", "status": "stopped"}]);
        cluster.beat("w1", json!({"incarnation": 1, "used_disk_gb": 7, "vms": vms})).await;
        let again = register(&cluster, "w1", json!({"boot_id": "b", "host_boot_id": "h2"})).await.json();
        assert_eq!([&again["worker"]["vm_count"], &again["worker"]["used_disk_gb"]], [&json!(0), &json!(0)]);
        let everything = cluster.everything().await;
        assert_eq!(everything["/api/v1/cluster/stats"]["total_vms"], 0);
        assert_eq!(cluster.restart().await.everything().await, everything);
    }

    // Which report of a VM speaks for it does not hang on which agent was started last.
    async fn a_vm_that_two_workers_report_stays_where_it_was_when_an_agent_starts_again(cluster: TestCluster) {
        for id in ["w1", "w2"] {
            register(&cluster, id, json!({"boot_id": "a"})).await;
            cluster.beat(id, json!({"incarnation": 1, "vms": [{"id": "vm"}]})).await;
        }
        cluster.beat("w1", json!({"incarnation": 1, "vms": [{"id": "vm"}]})).await;
        let home = async || cluster.rest().get("/api/v1/vms/vm").await.json()["worker_id"].take();
        assert_eq!(home().await, "w1");
        register(&cluster, "w1", json!({"boot_id": "b"})).await;
        assert_eq!(home().await, "w1");
    }

    // regression: heartbeats that were ignored were answered 200 for ever
    async fn a_process_that_counts_from_one_again_is_heard(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        for sequence in 1..=50 {
            cluster.beat("w1", json!({"incarnation": 1, "sequence": sequence})).await;
        }
        let again = register(&cluster, "w1", json!({"boot_id": "a"})).await.json();
        assert_eq!([&again["incarnation"], &again["last_sequence"]], [&json!(1), &json!(50)]);
        for sequence in 1..=30 {
            cluster.advance(seconds(10));
            cluster.sweep().await;
            let reply = cluster.beat("w1", json!({"incarnation": 1, "sequence": sequence, "vms": []})).await.json();
            assert_eq!([&reply["last_sequence"], &reply["resync"]], [&json!(50), &json!(true)]);
            assert_eq!(cluster.worker("w1").await["is_healthy"], true);
        }
        let heeded = cluster.beat("w1", json!({"incarnation": 1, "sequence": 51, "vms": [{"id": "vm"}]})).await.json();
        assert_eq!((heeded.get("last_sequence"), &heeded["resync"]), (None, &json!(false)));
        assert_eq!(cluster.worker("w1").await["vm_count"], 1);
    }

    /// However often, in whatever order, and through whichever server what was said before is said again.
    async fn repetitions_keep_no_dead_process_alive(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        for sequence in 1..=5 {
            cluster.beat("w1", json!({"incarnation": 1, "sequence": sequence, "vms": [{"id": "vm"}]})).await;
        }
        let mut cluster = cluster;
        let mut refused = 0;
        for round in 0..40 {
            cluster.advance(seconds(30));
            let repeated = json!({"incarnation": 1, "sequence": round % 5 + 1, "vms": []});
            let answer = cluster.beat("w1", repeated).await;
            match answer.status {
                200 => assert_eq!(cluster.worker("w1").await["is_healthy"], true),
                _ => {
                    refused += 1;
                    let message = format!(
                        "Heartbeat {} of worker w1 was heard before, and nothing new since: the last one that counted \
                         was 5. Go on with a sequence above that.",
                        round % 5 + 1
                    );
                    answer.assert_failure(409, &message);
                }
            }
            assert_eq!(cluster.worker("w1").await["vm_count"], 1, "nothing of it is taken for news");
            if round % 7 == 0 {
                cluster = cluster.restart().await;
            }
        }
        assert!(refused >= 30, "{refused} of 40 were refused");
        assert_eq!(cluster.worker("w1").await["is_healthy"], false);
        assert_eq!(cluster.beat("w1", json!({"incarnation": 1, "sequence": 6})).await.status, 200);
    }

    // regression: who caused it was read off the kind of event
    async fn whoever_caused_it_is_told(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        cluster.rest().delete("/api/v1/workers/w1").await;
        register(&cluster, "w1", json!({})).await;
        cluster.rest().delete("/api/v1/workers/w1?incarnation=2").await;
        cluster.rest().delete("/api/v1/workers/w1?purge=true&force=true").await;
        cluster.add([worker("w2").vms([vm("vm-2")])]).await;
        cluster.rest().delete("/api/v1/workers/w2?incarnation=1&purge=true&force=true").await;
        assert_eq!(
            causes(&cluster).await,
            [
                "worker worker_registered w1",
                "worker vm_started w1 vm-1",
                "operator worker_drain_started w1",
                "operator worker_left w1",
                "worker worker_restarted w1",
                "server worker_online w1",
                "worker worker_left w1",
                "operator vm_lost w1 vm-1",
                "operator worker_purged w1",
                "worker worker_registered w2",
                "worker vm_started w2 vm-2",
                "worker vm_lost w2 vm-2",
                "worker worker_purged w2",
            ]
        );
    }

    // semantics 5
    async fn another_reason_for_a_drain_that_stands_is_kept_and_told(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let drain = |reason: Value| cluster.rest().post("/api/v1/workers/w1/drain").json(json!({"reason": reason}));
        assert_eq!(cluster.worker("w1").await.get("drain"), None);
        let first = drain(Value::Null).await;
        let since = json!({"reason": null, "started_by": "operator", "started_at": START, "is_empty": true});
        let shown = async || {
            pick_keys(&cluster.worker("w1").await["drain"], ["reason", "started_by", "started_at", "is_empty"])
        };
        assert_eq!(shown().await, since);
        cluster.advance(seconds(5));
        let (read, again) = (cluster.worker("w1").await, drain(json!("disks")).await);
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(shown().await, with(since.clone(), json!({"reason": "disks"})));
        let stale = cluster.rest().post("/api/v1/workers/w1/activate").header("if-match", &format!("\"{}\"", read["revision"])).await;
        assert_eq!(stale.status, 412, "what operators want of it has changed");
        let revision = cluster.revision();
        for same in [json!("disks"), Value::Null] {
            assert_eq!(drain(same).await.body, first.body);
        }
        assert_eq!(cluster.revision(), revision);
        let told = ["worker_registered w1", "worker_drain_started w1", "worker_drain_changed w1"];
        assert_eq!(cluster.history().await, told);
        let changed = cluster.graphql(r#"mutation { drainWorker(input: {workerId: "w1", reason: "memory"}) { changed worker { drain { reason startedAt } } } }"#).await;
        assert_eq!(changed["drainWorker"], json!({"changed": false, "worker": {"drain": {"reason": "memory", "startedAt": START}}}));
        let cluster = cluster.restart().await;
        let kept = pick_keys(&cluster.worker("w1").await["drain"], ["reason", "started_by", "started_at", "is_empty"]);
        assert_eq!(kept, with(since, json!({"reason": "memory"})));
        cluster.rest().post("/api/v1/workers/w1/activate").await;
        assert_eq!(cluster.worker("w1").await.get("drain"), None);
    }

    async fn a_drain_says_whether_anything_is_left(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let is_empty = async || cluster.worker("w1").await["drain"]["is_empty"].take();
        assert_eq!(is_empty().await, false, "it has not said what it runs");
        for (beat, expected) in [
            (json!({"incarnation": 1}), false),
            (json!({"incarnation": 1, "vms": [{"id": "vm-1"}, {"id": "vm-2", "status": "stopped"}]}), false),
            (json!({"incarnation": 1, "vms_delta": {"upsert": [{"id": "vm-1", "status": "stopped"}]}}), true),
            (json!({"incarnation": 1, "vms_delta": {"upsert": [{"id": "vm-3"}]}}), false),
            (json!({"incarnation": 1, "vms": []}), true),
        ] {
            cluster.beat("w1", beat.clone()).await;
            assert_eq!(is_empty().await, expected, "{beat}");
        }
        register(&cluster, "w1", json!({"boot_id": "b"})).await;
        assert_eq!(is_empty().await, false, "its new process has not looked yet");
    }

    // A backup is put back under a running server, and processes live on that it does not know of.
    async fn after_a_restore_no_process_is_taken_for_another(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        let before = cluster.revision();
        db.execute("CREATE TABLE saved AS SELECT * FROM worker").await;
        for boot in ["b", "c"] {
            register(&cluster, "w1", json!({"boot_id": boot})).await;
        }
        register(&cluster, "w2", json!({"boot_id": "x"})).await;
        // Incarnation 3 of w1, and 1 of w2, are out there.
        db.execute("DELETE FROM worker").await;
        db.execute("INSERT INTO worker SELECT * FROM saved").await;
        db.execute("DROP TABLE saved").await;
        db.execute(&format!("DELETE FROM event WHERE revision > {before}")).await;
        db.execute(&format!("UPDATE cluster SET revision = {before}")).await;

        let mut handed_out = Vec::new();
        for boot in ["d", "e", "f"] {
            for id in WORKERS {
                handed_out.push(register(&cluster, id, json!({"boot_id": boot})).await.json()["incarnation"].as_u64().unwrap());
            }
        }
        assert!(handed_out.iter().all(|incarnation| *incarnation > 3), "{handed_out:?}");
        for (id, incarnation) in [("w1", 2), ("w1", 3), ("w2", 1)] {
            assert_eq!(cluster.beat(id, json!({"incarnation": incarnation})).await.status, 409);
        }
        let cluster = cluster.restart().await;
        let next = register(&cluster, "w3", json!({})).await.json()["incarnation"].as_u64().unwrap();
        assert!(next > 3, "also for workers that the backup did not know, whichever server there is: {next}");
    }

    // Who notices it may end before anything has come of it: by a crash, and by a restart all the same.
    async fn a_restore_that_was_noticed_raises_incarnations_even_if_nothing_else_was_committed(db: TestDatabase) {
        notice_a_restore(&db, async |cluster: TestCluster| cluster).await;
    }

    async fn a_restore_between_a_servers_start_and_its_first_commit_raises_incarnations(db: TestDatabase) {
        notice_a_restore(&db, TestCluster::restart).await;
    }

    // semantics 2: what was heard since the backup is forgotten with it.
    async fn after_a_restore_every_worker_gets_one_whole_time_out(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1"), worker("w2")]).await;
        db.keep_tables().await;
        for _ in 0..9 {
            cluster.advance(seconds(10));
            for id in WORKERS {
                cluster.beat(id, json!({"incarnation": 1})).await;
            }
            assert_eq!(cluster.sweep().await, 0);
        }
        db.put_tables_back().await;
        cluster.beat("w1", json!({"incarnation": 1})).await;
        assert_eq!(cluster.worker("w2").await["last_seen"], START, "as the backup says");
        for _ in 0..6 {
            assert_eq!(cluster.sweep().await, 0);
            cluster.advance(seconds(10));
            cluster.beat("w1", json!({"incarnation": 1})).await;
        }
        assert_eq!(cluster.sweep().await, 0, "the grace lasts one time-out");
        cluster.advance(seconds(1));
        assert_eq!(cluster.sweep().await, 1, "and no longer");
    }

    // A backup is put back while no server runs, so that nobody notices; numbers are handed out twice.
    async fn a_number_that_was_handed_out_twice_is_only_its_last_process(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        let before = cluster.revision();
        db.execute("CREATE TABLE saved AS SELECT * FROM worker").await;
        let lost = register(&cluster, "w1", json!({"boot_id": "lost"})).await.json()["incarnation"].take();
        let new = register(&cluster, "w2", json!({"boot_id": "lost"})).await.json()["incarnation"].take();
        let clock = cluster.clock();
        cluster.into_server().stop().await;
        db.execute("DELETE FROM worker").await;
        db.execute("INSERT INTO worker SELECT * FROM saved").await;
        db.execute("DROP TABLE saved").await;
        db.execute(&format!("DELETE FROM event WHERE revision > {before}")).await;
        db.execute(&format!("UPDATE cluster SET revision = {before}")).await;

        let cluster = TestCluster::by_clock(&db, clock).await;
        for (id, given) in [("w1", &lost), ("w2", &new)] {
            let living = register(&cluster, id, json!({"boot_id": "living"})).await.json()["incarnation"].take();
            assert_eq!(living, *given, "nobody could know");
            let seen = cluster.worker(id).await;
            let late = cluster.beat(id, json!({"incarnation": given, "boot_id": "lost", "vms": [{"id": "vm"}]})).await;
            let message = format!(
                "Incarnation {given} of worker {id} is another process than the one that calls itself \"lost\", which \
                 may have had this number before the database was set back to a backup. Two processes may be using this id."
            );
            late.assert_failure(409, &message);
            let goodbye = format!("/api/v1/workers/{id}?incarnation={given}&boot_id=lost");
            cluster.rest().delete(&goodbye).await.assert_failure(409, &message);
            assert_eq!(cluster.worker(id).await, seen);
            let beat = json!({"incarnation": given, "boot_id": "living"});
            assert_eq!(cluster.beat(id, beat).await.status, 200);
            let goodbye = format!("/api/v1/workers/{id}?incarnation={given}&boot_id=living");
            for _ in 0..2 {
                assert_eq!(cluster.rest().delete(&goodbye).await.status, 204, "also said twice");
            }
        }
        let answer = cluster.rest().delete("/api/v1/workers/w1?boot_id=lost").await;
        assert_eq!(answer.status, 409, "the boot id tells by itself: {}", answer.body);
        assert_eq!(cluster.rest().delete("/api/v1/workers/w1?boot_id=living").await.status, 204);
    }

    async fn a_late_goodbye_by_boot_id_does_not_end_a_life_without_one(cluster: TestCluster) {
        for id in ["w1", "w2"] {
            register(&cluster, id, json!({"boot_id": "a"})).await;
            if id == "w2" {
                let goodbye = "/api/v1/workers/w2?incarnation=1&boot_id=a";
                assert_eq!(cluster.rest().delete(goodbye).await.status, 204);
            }
            register(&cluster, id, json!({})).await;
            for more in ["", "&purge=true&force=true"] {
                let late = cluster.rest().delete(&format!("/api/v1/workers/{id}?boot_id=a{more}")).await;
                assert_eq!(late.status, 409, "{id}{more}: {}", late.body);
            }
            assert_eq!(cluster.worker(id).await["status"], "active");
        }
    }

    // Where nobody noticed the restore, the process that lives is the one that knows.
    async fn a_process_gets_a_later_incarnation_than_it_had(cluster: TestCluster) {
        register(&cluster, "w1", json!({"boot_id": "a"})).await;
        assert_eq!(cluster.beat("w1", json!({"incarnation": 7})).await.status, 404);
        let again = register(&cluster, "w1", json!({"boot_id": "z", "last_incarnation": 7})).await.json();
        assert_eq!(again["incarnation"], 8);
        assert_eq!(cluster.beat("w1", json!({"incarnation": 7})).await.status, 409);
        let new = register(&cluster, "w2", json!({"last_incarnation": 3})).await.json();
        assert_eq!(new["incarnation"], 4);
        for odd in [json!(-1), json!(1_u64 << 53), json!("7")] {
            assert_eq!(register(&cluster, "w3", json!({"last_incarnation": odd})).await.status, 400, "{odd}");
        }
    }

    // regression: a worker that was last seen in the future was healthy until then, dead or alive
    async fn a_time_that_has_not_come_yet_keeps_nobody_alive(db: TestDatabase) {
        let clock = Clock::manual(START.parse().unwrap());
        let start = clock.now();
        clock.set(start + TimeDelta::hours(1));
        let ahead = TestCluster::by_clock(&db, clock.clone()).await;
        ahead.add([worker("dead").vms([vm("vm-1")]), worker("living"), worker("told"), worker("left")]).await;
        ahead.rest().post("/api/v1/workers/dead/drain").await;
        ahead.advance(A_MINUTE_AND_MORE);
        for id in ["dead", "living"] {
            ahead.beat(id, json!({"incarnation": 1})).await;
        }
        ahead.rest().delete("/api/v1/workers/left").await;
        assert_eq!(ahead.sweep().await, 1);

        clock.set(start);
        let cluster = ahead.restart().await;
        let worker = cluster.worker("dead").await;
        assert_eq!(["started_at", "last_seen"].map(|key| &worker[key]), [&json!(START); 2]);
        assert_eq!(worker["drain"]["started_at"], START);
        assert_eq!(cluster.worker("told").await["status"], "offline", "what was told holds until it is heard");
        assert_eq!(cluster.worker("left").await["status"], "offline");
        for second in 1..=60 {
            cluster.advance(seconds(1));
            if second % 10 == 0 {
                cluster.beat("living", json!({"incarnation": 1})).await;
            }
            assert_eq!(cluster.sweep().await, 0, "after {second} s");
        }
        assert_eq!(cluster.worker("dead").await["is_healthy"], true, "nobody knows when it was seen");
        cluster.advance(seconds(1));
        assert_eq!((cluster.sweep().await, cluster.worker("dead").await["is_healthy"].take()), (1, json!(false)));
        let living = cluster.worker("living").await;
        assert_eq!([&living["is_healthy"], &living["last_seen"]], [&json!(true), &json!("2025-11-02T10:01:00Z")]);
        let everything = cluster.everything().await;
        assert_eq!(cluster.restart().await.everything().await, everything, "it was corrected on disk, once");
    }

    async fn heartbeats_and_registrations_mend_times_by_themselves(cluster: TestCluster) {
        cluster.add([worker("beats"), worker("asks").registers("boot_id", "a"), worker("starts")]).await;
        let clock = cluster.clock();
        clock.set(clock.now() - TimeDelta::minutes(5));
        cluster.beat("beats", json!({"incarnation": 1})).await;
        register(&cluster, "asks", json!({"boot_id": "a"})).await;
        register(&cluster, "starts", json!({"boot_id": "b"})).await;
        for (id, key) in [("beats", "last_seen"), ("asks", "last_seen"), ("asks", "started_at"), ("starts", "started_at")] {
            assert_eq!(cluster.worker(id).await[key], "2025-11-02T09:55:00Z", "{id} {key}");
        }
    }

    // Grace is measured by the time that passes.
    async fn a_clock_that_is_set_delays_no_alarm_and_raises_none(cluster: TestCluster) {
        let clock = cluster.clock();
        cluster.add([worker("dead"), worker("living")]).await;
        cluster.advance(A_MINUTE_AND_MORE);
        cluster.beat("living", json!({"incarnation": 1})).await;
        cluster.beat("dead", json!({"incarnation": 1})).await;
        assert_eq!(cluster.sweep().await, 0);
        for by in [TimeDelta::minutes(-5), TimeDelta::minutes(5), TimeDelta::days(-400), TimeDelta::days(800)] {
            clock.set(clock.now() + by);
            for second in 1..=60 {
                assert_eq!(cluster.sweep().await, 0, "{by}: {second}");
                cluster.advance(seconds(1));
                if second % 10 == 0 {
                    cluster.beat("living", json!({"incarnation": 1})).await;
                }
            }
            assert_eq!(cluster.worker("living").await["is_healthy"], true);
            assert_eq!(cluster.sweep().await, 0, "{by}: the last moment of grace");
            cluster.advance(seconds(1));
            assert_eq!(cluster.sweep().await, 1, "{by}: one time-out after the clock was set");
            cluster.beat("dead", json!({"incarnation": 1})).await;
        }
    }

    // Who follows is not stuck in a time that has not come yet.
    async fn subscribers_see_workers_by_the_clock_as_it_is_now(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let port = Port::of(&cluster).await;
        let mut socket = port.client().await;
        socket.subscribe("1", "subscription { workerHeartbeats { worker { status lastSeen } } }", json!({})).await;
        socket.next("1").await;
        let clock = cluster.clock();
        clock.set(clock.now() - TimeDelta::minutes(5));
        cluster.beat("w1", json!({"incarnation": 1})).await;
        let worker = socket.next("1").await["workerHeartbeats"]["worker"].take();
        assert_eq!(worker, json!({"status": "ACTIVE", "lastSeen": "2025-11-02T09:55:00Z"}));
    }

    // What a clock that was ahead has dated leaves in its turn, and pushes nothing newer out.
    async fn entries_of_a_clock_that_was_ahead_age_as_others_do(db: TestDatabase) {
        let cluster = TestCluster::configured(&db, |options| {
            options.retention.max_age = seconds(3_600);
            options.retention.max_operator_event_age = seconds(3_600);
        })
        .await;
        let clock = cluster.clock();
        clock.set(clock.now() + TimeDelta::days(365));
        cluster.add([worker("w1")]).await;
        let command = |name: &str| cluster.rest().post(&format!("/api/v1/workers/w1/{name}")).header("idempotency-key", name);
        command("drain").await;
        clock.set(START.parse().unwrap());
        cluster.beat("w1", json!({"incarnation": 1})).await;
        command("activate").await;
        let trim = async || cluster.server().retention_pruner().prune().await.unwrap();
        assert_eq!(trim().await, 0);
        cluster.advance(seconds(3_601));
        assert_eq!(trim().await, 3, "all of them, an hour after the clock was right");
        assert_eq!(cluster.history().await, [] as [&str; 0]);

        assert_eq!(command("drain").await.header("idempotency-replayed"), Some("true"));
        cluster.advance(seconds(24 * 3_600));
        trim().await;
        assert_eq!(command("drain").await.header("idempotency-replayed"), None, "kept for a day, not for a year");
    }
}

/// PostgreSQL's own clock is set while a server follows it.
#[tokio::test]
async fn a_worker_that_dies_is_told_of_although_the_databases_clock_was_set_back() {
    let run = async |database: TestDatabase| {
        // A function that is found before the database's own.
        database.execute("CREATE SCHEMA shadow; CREATE TABLE shadow.ahead (seconds double precision NOT NULL)").await;
        database.execute("INSERT INTO shadow.ahead VALUES (3600)").await;
        database
            .execute(
                "CREATE FUNCTION shadow.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
                 'SELECT pg_catalog.clock_timestamp() + seconds * interval ''1 second'' FROM shadow.ahead'",
            )
            .await;
        database.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, shadow, pg_catalog', current_database()); END $$").await;
        let cluster = TestCluster::by_clock(&database, Clock::system()).await;
        cluster.add([worker("dead")]).await;
        let set = async |ahead: i64| database.execute(&format!("UPDATE shadow.ahead SET seconds = {ahead}")).await;
        let last_seen = async || -> DateTime<Utc> {
            serde_json::from_value(cluster.worker("dead").await["last_seen"].take()).unwrap()
        };
        let clock = cluster.clock();
        let first = last_seen().await;

        // The server learns of it by itself; then its next look puts right what was written before.
        set(0).await;
        in_time(async {
            while clock.now() > first - TimeDelta::minutes(30) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        cluster.sweep().await;
        let seen = last_seen().await;
        assert!(seen < first - TimeDelta::minutes(30), "{seen}, and it was {first}");
        assert_eq!(cluster.worker("dead").await["is_healthy"], true);
        // A minute later it has been silent for too long, not an hour later.
        set(120).await;
        in_time(async {
            while cluster.worker("dead").await["is_healthy"] == json!(true) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    TestDatabase::postgres().await.run(run).await;
}
