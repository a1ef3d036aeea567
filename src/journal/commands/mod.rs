//! What can be asked of the cluster: one file per command, each a pure decision over a batch.
//!
//! A command's `decide` reads the batch, and either refuses without having changed anything or changes the batch and
//! says what to answer. It may be called more than once, because a batch may have to be decided again on a later state.
//! The journal commits only what was decided on the latest committed state, so a decision is right when its batch
//! commits.
//!
//! **Invariant:** a command does no I/O and reads no clock but the batch's. When it is decided, and with which others,
//! is the queue's business.

mod announce_offline;
mod announce_overdue;
mod clamp_future_times;
mod close_session;
mod create_token;
mod deregister;
mod drain_workers;
mod expire_reservations;
mod heartbeat;
mod idempotent;
mod join;
mod open_session;
mod precondition;
mod prune_reservations;
mod prune_tokens;
mod prune_tombstones;
mod purge_workers;
mod record_failed_authentications;
mod record_liveness_signs;
mod record_token_uses;
mod register;
mod release_reservation;
mod reserve;
mod revoke_token;
mod set_scheduling_policy;

pub use announce_offline::AnnounceOffline;
pub use announce_overdue::AnnounceOverdue;
pub use clamp_future_times::ClampFutureTimes;
pub use close_session::CloseSession;
pub use create_token::CreateToken;
pub use deregister::{Deregister, Deregistered};
pub use drain_workers::{ActivateWorkers, DrainWorkers, PoliciesSet, WorkersDrained, check_count};
pub use expire_reservations::ExpireReservations;
pub use heartbeat::{
    HeartbeatAccepted, HeartbeatReport, Inventory, RecordHeartbeat, RecordHeartbeats, RejectedVm, VmReport,
};
pub use idempotent::{IdempotentCommand, IdempotentOutcome, RenderResponse};
pub use join::Join;
pub use open_session::{MAX_SESSIONS, OpenSession, SESSION_LIFETIME};
pub use precondition::{ExpectedRevision, ExpectedState, Precondition};
pub use prune_reservations::PruneReservations;
pub use prune_tokens::PruneTokens;
pub use prune_tombstones::PruneTombstones;
pub use purge_workers::{PurgeRefusalReason, PurgeWorkers, PurgedWorker, RefusedPurge, WorkersPurged, purge_refusal};
pub use record_failed_authentications::RecordFailedAuthentications;
pub use record_liveness_signs::RecordLivenessSigns;
pub use record_token_uses::RecordTokenUses;
pub use register::{Register, RegistrationAccepted};
pub use release_reservation::{ReleaseReservation, ReservationReleased};
pub use reserve::{MAX_HELD_RESERVATIONS, Reserve};
pub use revoke_token::RevokeToken;
pub use set_scheduling_policy::{PolicyRequest, PolicySet, SetPolicy};

use std::sync::Arc;

use super::batch::{Batch, ColumnGroup};
use super::liveness_signs::LivenessSign;
use crate::cluster::{Availability, Snapshot, Worker, WorkerVms};
use crate::error::Result;

/// How many workers are looked at in the time in which a row is written, about: commands that look at all of them count that
/// as rows.
const WORKERS_PER_ROW: usize = 50;

/// A decision about the cluster, which may change it.
pub trait Command: Send + 'static {
    /// The reply, which is sent once the command is committed.
    type Reply: Send + 'static;

    /// The lane in which it waits.
    fn lane(&self) -> Lane;

    /// How many rows it writes at most, events included, if the cluster is as this server last knew it. The queue
    /// limits batches by it to what one commit can take.
    fn rows(&self, known: &Snapshot) -> usize;

    /// Its idempotency key, if it has one: the journal reads the record of this key before it decides the batch.
    fn key(&self) -> Option<&str> {
        None
    }

    /// Whether it is heartbeats and nothing else. If they turn out to be plain, they are committed in one statement.
    fn is_heartbeat(&self) -> bool {
        false
    }

    /// Whether it announces workers as offline. Before it is decided, the signs of life in commands that wait in other
    /// lanes are noted.
    fn announces_offline(&self) -> bool {
        false
    }

    /// Passes each sign of life in it to `note`, for the case that the command itself is refused or given up.
    fn liveness_signs(&self, _note: &mut dyn FnMut(LivenessSign<'_>)) {}

    /// Refuses without having changed anything, or changes the batch. It is called again on a fresh batch if the commit
    /// is repeated.
    fn decide(&self, batch: &mut Batch<'_>) -> Result<Self::Reply>;
}

/// Commands of one lane wait together, and are decided in the order in which they came. Lanes do not wait for each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What operators ask for.
    Operators,
    /// What the server itself finds out: who is offline, which reservations have expired, times in the future, signs of
    /// life, old tombstones, tokens and reservations.
    Server,
    /// Registrations, heartbeats and deregistrations of workers.
    Workers,
}

impl Lane {
    /// All of them, in the order in which a batch takes them.
    pub const ALL: [Self; 3] = [Self::Operators, Self::Server, Self::Workers];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// What monitoring calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operators => "operators",
            Self::Server => "server",
            Self::Workers => "workers",
        }
    }
}

/// The VMs of a worker that this server knows of.
fn known_vms<'a>(known: &'a Snapshot, worker_id: &str) -> Option<&'a WorkerVms> {
    known.find_worker(worker_id).map(|worker| &worker.usage.vms)
}

/// How many events a sign of life of a worker causes: one if the worker was announced offline, because it is announced
/// back.
fn events_if_back(known: &Snapshot, worker_id: &str) -> usize {
    let is_offline = |worker: &Arc<Worker>| worker.last_announced_availability == Availability::Offline;
    usize::from(known.find_worker(worker_id).is_some_and(is_offline))
}

/// How many rows a heartbeat writes of a drain, if one stands: its record, and an event.
fn rows_of_drain(known: &Snapshot, worker_id: &str) -> usize {
    let drains = |worker: &Arc<Worker>| worker.standing_drain().is_some();
    if known.find_worker(worker_id).is_some_and(drains) { 2 } else { 0 }
}

/// Announces a worker that sent a sign of life back online if it was announced offline. Answers which of its columns
/// have to be written.
fn mark_alive(before: &Worker, after: &mut Worker, batch: &mut Batch<'_>) -> &'static [ColumnGroup] {
    let is_back = batch.announce_back_online(after);
    match (is_back, before.usage.late_sequence != after.usage.late_sequence) {
        (false, false) => &[ColumnGroup::Heartbeat],
        (true, false) => &[ColumnGroup::Heartbeat, ColumnGroup::Announcement],
        (false, true) => &[ColumnGroup::Heartbeat, ColumnGroup::LateHeartbeat],
        (true, true) => &[ColumnGroup::Heartbeat, ColumnGroup::Announcement, ColumnGroup::LateHeartbeat],
    }
}

/// Which columns have to be written of a worker whose last sign of life is too old for the worker to be announced back.
fn mark_alive_earlier(before: &Worker, after: &Worker) -> &'static [ColumnGroup] {
    if before.usage.late_sequence == after.usage.late_sequence {
        &[ColumnGroup::Heartbeat]
    } else {
        &[ColumnGroup::Heartbeat, ColumnGroup::LateHeartbeat]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use chrono::TimeDelta;

    use super::*;
    use crate::auth::{Caller, GeneratedToken, Principal, Role, TokenId, TokenKind, TokenScope};
    use crate::clock::{Clock, Timestamp};
    use crate::cluster::{
        Actor, Distinct, DrainRequest, EvacuationPlan, Identity, Labels, PlacementConstraints, PlacementStrategy,
        PurgeFilter, ReservationId, Vm, VmId, VmSize, VmStatus, WorkerFilter, WorkerId,
    };
    use crate::error::Error;
    use crate::journal::liveness_signs::{LivenessSigns, NotedSign};

    /// A cluster on which commands are carried out one by one, without a database.
    struct TestCluster {
        snapshot: Snapshot,
        at: Timestamp,
    }

    impl TestCluster {
        /// What is written for a command, which is no more than it counts as.
        fn carry_out<C: Command>(&mut self, command: &C) -> usize {
            self.carry_out_for(command, &Caller::server())
        }

        /// The same for the holder of a token.
        fn carry_out_of<C: Command>(&mut self, command: &C, token: &str) -> usize {
            let holder = self.snapshot.token(token).unwrap().clone();
            self.carry_out_for(command, &Caller::new(Principal::Holder(holder)))
        }

        fn carry_out_for<C: Command>(&mut self, command: &C, caller: &Caller) -> usize {
            let (before, revision) = (self.snapshot.clone(), self.snapshot.revision + 1);
            self.at += TimeDelta::seconds(61);
            let mut batch = Batch::on(&before, revision, self.at, 0, BTreeMap::new());
            batch.set_caller(caller);
            assert!(command.decide(&mut batch).is_ok());
            let drains = batch.drains().count();
            let (changes, events) = batch.into_changes();
            let (mut rows, purged) =
                (events.len() + changes.workers.len() + changes.tokens.len(), changes.purged.clone());
            rows += changes.forgotten_tokens.len() + drains;
            rows += changes.reservations.len() + changes.forgotten_reservations.len();
            let vms_of = |id: &WorkerId| known_vms(&before, id.as_str()).cloned().unwrap_or_default();
            for worker in &changes.workers {
                let is_gone = |vm: &&Arc<Vm>| worker.vm(vm.id.as_str()).is_none();
                rows += worker.usage.vms.iter().filter(|vm| vm.revision == revision).count();
                rows += vms_of(&worker.id).iter().filter(is_gone).count();
            }
            rows += purged.iter().map(|tombstone| 2 + vms_of(&tombstone.worker_id).len()).sum::<usize>();
            let counted = command.rows(&before);
            assert!(rows <= counted, "{rows} rows, and not {counted}");
            self.snapshot = before.apply(changes, revision);
            rows
        }
    }

    fn register(start: &str) -> Register {
        let text = Arc::<str>::from("");
        let identity = Identity {
            hostname: text.clone(),
            address: text.clone(),
            zone: text,
            labels: Labels::default(),
            capabilities: Vec::new(),
            cpu_cores: 1,
            memory_mb: 1,
            disk_gb: 1,
            max_vms: 10,
        };
        Register {
            id: WorkerId::parse("w1").unwrap(),
            identity,
            boot_id: Some(start.into()),
            host_boot_id: Some(start.into()),
            last_incarnation: None,
            condition: Precondition::default(),
        }
    }

    fn heartbeat(incarnation: u64, vms: &[&str]) -> RecordHeartbeat {
        let vm = |id: &&str| VmReport {
            id: (*id).to_owned(),
            name: (*id).into(),
            status: VmStatus::Running,
            vcpus: 1,
            memory_mb: 1,
            note: None,
            reservation_id: None,
        };
        let report = HeartbeatReport {
            incarnation,
            boot_id: None,
            sequence: None,
            used_cpu_cores: None,
            used_memory_mb: None,
            used_disk_gb: None,
            policy_revision: None,
            policy_error: None,
            measured: None,
            inventory: Inventory::Whole(vms.iter().map(vm).collect()),
        };
        RecordHeartbeat { worker_id: "w1".to_owned(), report, offline_after: Duration::from_secs(60) }
    }

    #[test]
    fn commands_count_all_that_they_write() {
        let mut cluster = TestCluster { snapshot: Snapshot::empty("test".into()), at: Timestamp::UNIX_EPOCH };
        let offline_after = Duration::from_secs(60);
        let silence = AnnounceOffline {
            candidates: vec![WorkerId::parse("w1").unwrap()],
            offline_after,
            signs: Arc::new(LivenessSigns::new(Clock::manual(Timestamp::UNIX_EPOCH))),
        };
        let heard = |at| RecordLivenessSigns {
            signs: vec![NotedSign {
                worker_id: WorkerId::parse("w1").unwrap(),
                incarnation: 1,
                late_sequence: None,
                at,
            }],
            offline_after,
        };
        let removal = Deregister {
            worker_id: "w1".to_owned(),
            incarnation: None,
            boot_id: None,
            host_boot_id: None,
            purge: true,
            force: true,
            condition: Precondition::default(),
            actor: Actor::Operator,
        };
        assert_eq!(cluster.carry_out(&register("a")), 2);
        assert_eq!(cluster.carry_out(&heartbeat(1, &["x", "y"])), 5);
        assert_eq!(cluster.carry_out(&silence), 2);
        assert_eq!(cluster.carry_out(&heartbeat(1, &["z"])), 8, "it is back, and all its VMs are others");
        cluster.carry_out(&silence);
        assert_eq!(heard(cluster.at).rows(&cluster.snapshot), 2);
        assert_eq!(cluster.carry_out(&heard(cluster.at)), 1, "that was over a time-out ago: it is not back");
        assert_eq!(cluster.carry_out(&heard(cluster.at + TimeDelta::seconds(1))), 2, "it is back");
        assert_eq!(heard(cluster.at).rows(&cluster.snapshot), 1);
        cluster.carry_out(&silence);
        assert_eq!(cluster.carry_out(&register("b")), 5, "it is back, and its VM went with its host");
        cluster.carry_out(&heartbeat(2, &["x", "y", "z"]));
        let before = (cluster.snapshot.clone(), cluster.at);
        assert_eq!(cluster.carry_out(&removal), 9);
        (cluster.snapshot, cluster.at) = before.clone();
        let (filter, expected) = (WorkerFilter::default(), 1);
        let request = DrainRequest::default();
        let drain = DrainWorkers {
            filter: filter.clone(),
            request,
            allow_shortfall: true,
            listed: 1,
            expected,
            looks: 1,
            offline_after,
        };
        assert_eq!(cluster.carry_out(&drain), 3);
        assert_eq!(cluster.carry_out(&drain), 0, "it drains already");
        assert_eq!(cluster.carry_out(&ActivateWorkers { filter, reason: None, expected, offline_after }), 3);
        (cluster.snapshot, cluster.at) = before;
        let purge = |force| PurgeWorkers {
            worker_ids: ["w1", "w2"].map(|id| WorkerId::parse(id).unwrap()).to_vec(),
            filter: PurgeFilter { offline_for: Some(Duration::from_secs(61)), ..PurgeFilter::default() },
            force,
            offline_after,
        };
        assert_eq!(cluster.carry_out(&purge(false)), 0, "it holds VMs");
        assert_eq!(cluster.carry_out(&purge(true)), 9);
        let GeneratedToken { id, hash, .. } = GeneratedToken::new(TokenKind::Bearer, Role::Viewer);
        let (name, scope) = ("somebody".into(), TokenScope::Nobody);
        let revocation = RevokeToken { id: id.to_string() };
        let (kind, role) = (TokenKind::Bearer, Role::Viewer);
        let creation = CreateToken { id, hash, kind, role, name, scope, max_uses: None, lifetime: None };
        assert_eq!(cluster.carry_out(&creation), 2);
        let used =
            RecordTokenUses { uses: vec![(revocation.id.clone(), cluster.at), ("nobody".to_owned(), cluster.at)] };
        assert_eq!(cluster.carry_out(&used), 1);
        assert_eq!(cluster.carry_out(&used), 0, "that is recorded already");
        assert_eq!(cluster.carry_out(&revocation), 2);
        assert_eq!(cluster.carry_out(&revocation), 0, "it is revoked already");
        let pruning = PruneTokens { candidates: vec![TokenId::parse(&revocation.id).unwrap()] };
        assert_eq!(cluster.carry_out(&pruning), 0, "it is the last one");
        let GeneratedToken { id, hash, .. } = GeneratedToken::new(TokenKind::Bearer, Role::Viewer);
        cluster.carry_out(&CreateToken { id, hash, ..creation });
        assert_eq!(cluster.carry_out(&pruning), 1);
        assert_eq!(cluster.carry_out(&pruning), 0, "it is gone already");

        // A worker joins that is registered, and that two tokens name: both are revoked.
        cluster.carry_out(&register("c"));
        let named = || TokenScope::Worker("w1".into());
        let create = |cluster: &mut TestCluster, role, scope, max_uses| {
            let GeneratedToken { id, hash, .. } = GeneratedToken::new(kind, role);
            let name = "x".into();
            let command = CreateToken { id: id.clone(), hash, kind, role, name, scope, max_uses, lifetime: None };
            cluster.carry_out(&command);
            id
        };
        let join = create(&mut cluster, Role::Join, named(), Some(1));
        create(&mut cluster, Role::Worker, named(), None);
        create(&mut cluster, Role::Worker, named(), None);
        let GeneratedToken { id, hash, .. } = GeneratedToken::new(TokenKind::Bearer, Role::Worker);
        let joining = Join { worker_id: WorkerId::parse("w1").unwrap(), token_id: id, token_hash: hash };
        assert_eq!(cluster.carry_out_of(&joining, join.as_str()), 8, "four tokens, three events, and the worker");
        assert_eq!(cluster.carry_out_of(&joining, join.as_str()), 0, "it has joined already");
    }

    #[test]
    fn commands_about_reservations_count_all_that_they_write() {
        let mut cluster = TestCluster { snapshot: Snapshot::empty("test".into()), at: Timestamp::UNIX_EPOCH };
        let reservation = |id: &str, count| Reserve {
            id: ReservationId::parse(id).unwrap(),
            size: VmSize::default(),
            count,
            constraints: PlacementConstraints::default(),
            strategy: PlacementStrategy::Spread,
            distinct: Distinct::None,
            vm_ids: Vec::new(),
            lifetime: Duration::from_secs(3_600),
            reason: None,
            offline_after: Duration::from_secs(3_600),
        };
        let release =
            |id: &str| ReleaseReservation { id: id.to_owned(), reason: None, offline_after: Duration::from_secs(60) };
        let expire = |id: &str| ExpireReservations {
            candidates: vec![ReservationId::parse(id).unwrap()],
            offline_after: Duration::from_secs(60),
        };
        cluster.carry_out(&register("a"));
        cluster.carry_out(&heartbeat(1, &[]));
        assert_eq!(cluster.carry_out(&reservation("r1", 2)), 3, "a reservation, an event, and the worker");
        assert_eq!(cluster.carry_out(&release("r1")), 3);
        assert_eq!(cluster.carry_out(&release("r1")), 0, "it is released already");
        cluster.carry_out(&reservation("r2", 2));
        assert_eq!(cluster.carry_out(&expire("r2")), 0, "it is held");
        let mut taking = heartbeat(1, &["x"]);
        if let Inventory::Whole(vms) = &mut taking.report.inventory {
            vms[0].reservation_id = Some("r2".into());
        }
        assert_eq!(cluster.carry_out(&taking), 5, "the worker, the VM, the reservation, and two events");
        cluster.at += TimeDelta::hours(1);
        assert_eq!(cluster.carry_out(&expire("r2")), 3);
        assert_eq!(cluster.carry_out(&expire("r2")), 0, "that is announced already");
        let candidates = ["r1", "r2", "r3"].map(|id| ReservationId::parse(id).unwrap()).to_vec();
        assert_eq!(cluster.carry_out(&PruneReservations { candidates }), 2);
    }

    #[test]
    fn commands_about_sessions_count_all_that_they_write() {
        let mut cluster = TestCluster { snapshot: Snapshot::empty("test".into()), at: Timestamp::UNIX_EPOCH };
        let made = |kind| {
            let GeneratedToken { id, hash, .. } = GeneratedToken::new(kind, Role::Viewer);
            let (name, scope) = ("somebody".into(), TokenScope::Nobody);
            CreateToken { id, hash, kind, role: Role::Viewer, name, scope, max_uses: None, lifetime: None }
        };
        let (token, code) = (made(TokenKind::Bearer), made(TokenKind::SignInCode));
        cluster.carry_out(&token);
        cluster.carry_out(&code);
        let session = || {
            let GeneratedToken { id, hash, .. } = GeneratedToken::new(TokenKind::Session, Role::Viewer);
            OpenSession { id, hash }
        };
        let of_code = session();
        assert_eq!(cluster.carry_out_of(&of_code, code.id.as_str()), 3, "the code is used up");
        for _ in 0..MAX_SESSIONS {
            assert_eq!(cluster.carry_out_of(&session(), token.id.as_str()), 2);
        }
        assert_eq!(cluster.carry_out_of(&session(), token.id.as_str()), 3, "the oldest has ended");
        assert_eq!(cluster.carry_out_of(&CloseSession, of_code.id.as_str()), 2);
        let candidates = vec![of_code.id, code.id, token.id, session().id];
        assert_eq!(cluster.carry_out(&PruneTokens { candidates }), 2, "neither other tokens nor what is not there");
    }

    /// Registers a worker with room for so many VMs, before anything else of the batch.
    fn register_with_slots(id: &str, max_vms: u32) -> Register {
        let Register { identity, .. } = register(id);
        Register { id: WorkerId::parse(id).unwrap(), identity: Identity { max_vms, ..identity }, ..register(id) }
    }

    fn drain_of(filter: WorkerFilter) -> DrainWorkers {
        DrainWorkers {
            filter,
            request: DrainRequest::default(),
            allow_shortfall: false,
            listed: 1,
            expected: 1,
            looks: 1,
            offline_after: Duration::from_secs(60),
        }
    }

    #[test]
    fn no_more_workers_than_the_limit_are_drained_if_some_came_meanwhile() {
        let empty = Snapshot::empty("test".into());
        let mut batch = Batch::on(&empty, 1, Timestamp::UNIX_EPOCH, 0, BTreeMap::new());
        let all = drain_of(WorkerFilter::default());
        let activation = ActivateWorkers {
            filter: WorkerFilter::default(),
            reason: None,
            expected: 1,
            offline_after: Duration::from_secs(60),
        };
        for number in 0..drain_workers::MAX_CHANGED {
            register_with_slots(&format!("w{number:05}"), 1).decide(&mut batch).unwrap();
        }
        assert!(all.clone().decide(&mut batch).is_ok());
        register_with_slots("w99999", 1).decide(&mut batch).unwrap();
        let message = "filter matches 10001 workers, of which 10000 are the most at once";
        assert_eq!(all.decide(&mut batch).unwrap_err().to_string(), message);
        assert_eq!(activation.decide(&mut batch).unwrap_err().to_string(), message);
    }

    #[test]
    fn a_drain_sees_what_came_and_what_was_reserved_before_it_in_its_batch() {
        let of = |id: &str, vms: &[&str]| RecordHeartbeat { worker_id: id.to_owned(), ..heartbeat(1, vms) };
        let mut cluster = TestCluster { snapshot: Snapshot::empty("test".into()), at: Timestamp::UNIX_EPOCH };
        cluster.carry_out(&register_with_slots("a1", 1));
        cluster.carry_out(&register_with_slots("b1", 1));
        cluster.carry_out(&of("a1", &["vm-1"]));
        let begin = || {
            let mut batch = Batch::on(&cluster.snapshot, cluster.snapshot.revision + 1, cluster.at, 0, BTreeMap::new());
            of("b1", &[]).decide(&mut batch).unwrap();
            batch
        };
        let drain = drain_of(WorkerFilter { ids: Some(vec!["a1".to_owned()]), ..WorkerFilter::default() });
        let counts = |plan: &EvacuationPlan| [plan.vms, plan.placeable];

        let mut batch = begin();
        assert_eq!(counts(&drain.decide(&mut batch).unwrap().plan), [1, 1], "b1 has a slot");

        let mut batch = begin();
        of("b1", &["vm-1"]).decide(&mut batch).unwrap();
        assert_eq!(counts(&drain.decide(&mut batch).unwrap().plan), [0, 0], "the VM has come to b1");

        let reserve = |vm_ids: &[&str]| Reserve {
            id: ReservationId::parse("r1").unwrap(),
            size: VmSize::default(),
            count: 1,
            constraints: PlacementConstraints::without_workers([&WorkerId::parse("a1").unwrap()]),
            strategy: PlacementStrategy::Spread,
            distinct: Distinct::None,
            vm_ids: vm_ids.iter().map(|id| VmId::parse(id).unwrap()).collect(),
            lifetime: Duration::from_secs(60),
            reason: None,
            offline_after: Duration::from_secs(60),
        };
        let mut batch = begin();
        reserve(&[]).decide(&mut batch).unwrap();
        match drain.decide(&mut batch) {
            Err(Error::Shortfall(plan)) => assert_eq!(counts(&plan), [1, 0], "the slot is another's"),
            other => panic!("{other:?}"),
        }

        let mut batch = begin();
        reserve(&["vm-1"]).decide(&mut batch).unwrap();
        assert_eq!(counts(&drain.decide(&mut batch).unwrap().plan), [0, 0], "the slot is for the VM");
    }
}
