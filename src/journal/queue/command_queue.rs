//! The command queue: the commands that wait for the next batches, in lanes.
//!
//! Operators, the server itself and workers do not wait for each other: each lane has a limit of its own, and a share
//! of every batch. What a lane leaves of its share is the others'. A lane says which commands a batch takes; in a
//! batch, commands are decided in the order in which they were sent. Who is let in is decided by the
//! [backlog](super::backlog), and nothing is committed here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::backlog::{Backlog, MAX_BATCH_COMMANDS, MAX_BATCH_ROWS, QueueLoad, SHARES, limits};
use super::commit_cost::CommitCost;
use super::pending_command::{PendingCommand, PendingCommands, ReplyReceiver, envelope};
use crate::auth::Caller;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};
use crate::journal::commands::{Command, Lane};
use crate::journal::liveness_signs::LivenessSigns;

/// The end of the queue where commands are sent.
#[derive(Debug)]
pub struct QueueSender {
    queue: mpsc::UnboundedSender<CommandGroup>,
    backlog: Arc<Backlog>,
    signs: Arc<LivenessSigns>,
}

/// Commands of one lane that were handed over together.
struct CommandGroup {
    lane: Lane,
    commands: PendingCommands,
}

/// Makes a queue. The signs of life in commands that are refused or given up are noted in `signs`.
pub fn command_queue(signs: Arc<LivenessSigns>) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let backlog = Arc::new(Backlog::new());
    let sender = QueueSender { queue: sender, backlog: backlog.clone(), signs: signs.clone() };
    let lanes = Mutex::default();
    (sender, QueueReceiver { queue: receiver, lanes, arrived: 0, backlog, cost: CommitCost::default(), signs })
}

impl QueueSender {
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Sends a command, or refuses it.
    pub fn send<C: Command>(&self, command: C, caller: &Caller, known: &Snapshot) -> Result<ReplyReceiver<C::Reply>> {
        let lane = command.lane();
        let (envelope, reply) = envelope(command, caller.clone(), known, self.signs.now());
        let load = QueueLoad { commands: 1, rows: envelope.rows() };
        self.put(lane, load, vec![envelope], known)?;
        Ok(reply)
    }

    /// Sends commands that came together, all or none.
    pub fn send_all<C: Command>(
        &self,
        commands: impl IntoIterator<Item = C>,
        caller: &Caller,
        known: &Snapshot,
    ) -> Result<Vec<ReplyReceiver<C::Reply>>> {
        let mut commands = commands.into_iter().peekable();
        let Some(lane) = commands.peek().map(C::lane) else { return Ok(Vec::new()) };
        let now = self.signs.now();
        let commands = commands.map(|command| envelope(command, caller.clone(), known, now));
        let (envelopes, replies): (PendingCommands, Vec<_>) = commands.unzip();
        let rows = envelopes.iter().map(|envelope| envelope.rows()).fold(0, usize::saturating_add);
        self.put(lane, QueueLoad { commands: envelopes.len(), rows }, envelopes, known)?;
        Ok(replies)
    }

    /// The signs of life in commands that are refused count all the same.
    fn put(&self, lane: Lane, load: QueueLoad, commands: PendingCommands, known: &Snapshot) -> Result<()> {
        if let Err(busy) = self.backlog.admit(lane, load) {
            commands.iter().for_each(|pending| pending.note_liveness_signs(&self.signs, known));
            return Err(busy);
        }
        self.queue.send(CommandGroup { lane, commands }).map_err(|_| Error::ShuttingDown)
    }
}

/// Commands of each lane, each with its place in the order in which they were sent.
type Lanes = [VecDeque<(u64, Box<dyn PendingCommand>)>; Lane::COUNT];

/// The end of the queue where batches are taken.
pub struct QueueReceiver {
    queue: mpsc::UnboundedReceiver<CommandGroup>,
    /// Commands that were taken out of the channel and wait for a batch. The lock is never waited for: commands are not
    /// `Sync`, and what holds them has to be.
    lanes: Mutex<Lanes>,
    /// How many commands were taken out of the channel so far.
    arrived: u64,
    backlog: Arc<Backlog>,
    cost: CommitCost,
    signs: Arc<LivenessSigns>,
}

impl QueueReceiver {
    /// Lets no more commands in. Those that wait can still be taken.
    pub fn close(&mut self) {
        self.queue.close();
    }

    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Waits for commands, and takes as many as go into a batch. None if there will be no more. Cancel safe.
    pub async fn take_batch(&mut self, known: &Snapshot) -> Option<PendingCommands> {
        if self.lanes().iter().all(VecDeque::is_empty) {
            let first = self.queue.recv().await?;
            self.put(first);
        }
        while let Ok(more) = self.queue.try_recv() {
            self.put(more);
        }
        Some(self.compose(known))
    }

    /// Takes all commands that wait.
    pub fn take_all(&mut self) -> PendingCommands {
        while let Ok(more) = self.queue.try_recv() {
            self.put(more);
        }
        let mut taken = PendingCommands::new();
        for lane in Lane::ALL {
            for (_, pending) in std::mem::take(&mut self.lanes()[lane as usize]) {
                self.backlog.remove(lane, pending.rows());
                taken.push(pending);
            }
        }
        taken
    }

    /// Drops commands whose replies nobody waits for any more, and notes the signs of life in them. Their clients have
    /// had a time-out as their answer, and may have sent them again: a command that has not begun is not done.
    pub fn drop_abandoned(&self, commands: &mut PendingCommands, known: &Snapshot) {
        commands.retain(|pending| {
            let is_abandoned = pending.is_abandoned();
            if is_abandoned {
                pending.note_liveness_signs(&self.signs, known);
            }
            !is_abandoned
        });
    }

    /// The commit of these commands begins.
    pub fn begin_commit(&self, commands: &PendingCommands) -> CommitInProgress {
        let rows = commands.iter().map(|pending| pending.rows()).fold(0, usize::saturating_add);
        self.backlog.begin_commit(rows);
        CommitInProgress { rows, began: Instant::now() }
    }

    /// The commit has ended. Only one that succeeded shows what commits cost.
    pub fn end_commit(&mut self, commit: CommitInProgress, has_succeeded: bool) {
        self.backlog.end_commit();
        if has_succeeded {
            self.cost.observe(commit.rows, commit.began.elapsed());
            self.backlog.set_cost(self.cost.estimate());
        }
    }

    fn put(&mut self, CommandGroup { lane, commands }: CommandGroup) {
        let first = self.arrived;
        self.arrived += commands.len() as u64;
        self.lanes()[lane as usize].extend((first..).zip(commands));
    }

    /// Takes the commands of the next batch out of the lanes. In a first lap each lane gives its share, and one command
    /// at least, whatever its size; in a second one the lanes fill what room is left. The commands of the batch are in
    /// the order in which they were sent.
    fn compose(&mut self, known: &Snapshot) -> PendingCommands {
        let Self { lanes, backlog, signs, .. } = self;
        let lanes = lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = lanes.iter().map(VecDeque::len).sum();
        let (mut taken, mut rows) = (Vec::with_capacity(waiting.min(MAX_BATCH_COMMANDS)), 0_usize);
        let drop_if_abandoned = |lane: Lane, pending: &dyn PendingCommand| {
            let is_abandoned = pending.is_abandoned();
            if is_abandoned {
                pending.note_liveness_signs(signs, known);
                backlog.remove(lane, pending.rows());
            }
            is_abandoned
        };
        let mut lap = |share: fn(Lane) -> usize, takes_one: bool| {
            for lane in Lane::ALL {
                let waiting = &mut lanes[lane as usize];
                let most = MAX_BATCH_COMMANDS * share(lane) / SHARES;
                let most_rows = MAX_BATCH_ROWS * share(lane) / SHARES;
                let (mut own, mut own_rows) = (0, 0_usize);
                while let Some((_, next)) = waiting.front() {
                    let next_rows = next.rows();
                    let (with_own, with_all) = (own_rows.saturating_add(next_rows), rows.saturating_add(next_rows));
                    let has_room = own < most && taken.len() < MAX_BATCH_COMMANDS;
                    let fits = has_room && with_own <= most_rows && with_all <= MAX_BATCH_ROWS;
                    let is_first = takes_one && own == 0;
                    if !(fits || is_first) {
                        break;
                    }
                    let Some(next) = waiting.pop_front() else { break };
                    if drop_if_abandoned(lane, &*next.1) {
                        continue;
                    }
                    backlog.remove(lane, next_rows);
                    (own, own_rows, rows) = (own + 1, with_own, with_all);
                    taken.push(next);
                }
            }
        };
        lap(|lane| limits(lane).share, true);
        lap(|_| SHARES, false);
        // What was abandoned behind them would count as a backlog.
        for lane in Lane::ALL {
            lanes[lane as usize].retain(|(_, pending)| !drop_if_abandoned(lane, &**pending));
        }
        if taken.iter().any(|(_, pending)| pending.announces_offline()) {
            // The announcement overtakes what stays in the workers' lane, which may be of the very workers it is about.
            lanes[Lane::Workers as usize].iter().for_each(|(_, pending)| pending.note_liveness_signs(signs, known));
        }
        // Mostly they are in order already: there is one lane, or little of the others.
        taken.sort_by_key(|(place, _)| *place);
        taken.into_iter().map(|(_, pending)| pending).collect()
    }

    fn lanes(&mut self) -> &mut Lanes {
        self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit that has begun, for the estimate of what commits cost.
pub struct CommitInProgress {
    rows: usize,
    began: Instant,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::journal::batch::Batch;
    use crate::journal::liveness_signs::LivenessSign;
    use crate::journal::queue::backlog::SHED_RETRY_AFTER;

    /// A command that writes so many rows.
    #[derive(Clone)]
    struct Writes(Lane, usize);

    impl Command for Writes {
        type Reply = ();

        fn lane(&self) -> Lane {
            self.0
        }

        fn rows(&self, _: &Snapshot) -> usize {
            self.1
        }

        fn decide(&self, _: &mut Batch<'_>) -> Result<()> {
            Ok(())
        }
    }

    struct Queue {
        sender: QueueSender,
        receiver: QueueReceiver,
        known: Snapshot,
        replies: Vec<ReplyReceiver<()>>,
    }

    impl Queue {
        fn new() -> Self {
            let clock = crate::clock::Clock::manual(crate::clock::Timestamp::UNIX_EPOCH);
            let (sender, receiver) = command_queue(Arc::new(LivenessSigns::new(clock)));
            Self { sender, receiver, known: Snapshot::empty("test".into()), replies: Vec::new() }
        }

        fn send(&mut self, lane: Lane, rows: usize) -> Result<()> {
            self.replies.push(self.sender.send(Writes(lane, rows), &Caller::server(), &self.known)?);
            Ok(())
        }

        /// Sends without being refused, as if there had been room.
        fn send_all(&mut self, lane: Lane, rows: &[usize]) {
            for rows in rows {
                let (envelope, reply) =
                    envelope(Writes(lane, *rows), Caller::server(), &self.known, Timestamp::UNIX_EPOCH);
                let load = QueueLoad { commands: 1, rows: *rows };
                self.sender.backlog.add(lane, load);
                assert!(self.sender.queue.send(CommandGroup { lane, commands: vec![envelope] }).is_ok());
                self.replies.push(reply);
            }
        }

        /// The rows of each command of the next batch.
        async fn take(&mut self) -> Vec<usize> {
            let batch = self.receiver.take_batch(&self.known).await.unwrap();
            batch.iter().map(|pending| pending.rows()).collect()
        }

        fn took(&mut self, rows: usize, time: Duration) {
            let mut commit = self.receiver.begin_commit(&PendingCommands::new());
            commit.rows = rows;
            commit.began -= time;
            self.receiver.end_commit(commit, true);
        }

        fn waiting(&self) -> [QueueLoad; Lane::COUNT] {
            Lane::ALL.map(|lane| self.sender.backlog.load(lane))
        }
    }

    #[tokio::test]
    async fn a_batch_has_so_many_commands_and_rows_and_one_command_at_least() {
        for (rows, expected) in [
            (vec![1; 10], 10),
            (vec![1; MAX_BATCH_COMMANDS], MAX_BATCH_COMMANDS),
            (vec![1; MAX_BATCH_COMMANDS + 1], MAX_BATCH_COMMANDS),
            (vec![0; MAX_BATCH_COMMANDS + 1], MAX_BATCH_COMMANDS),
            (vec![MAX_BATCH_ROWS / 2; 2], 2),
            (vec![MAX_BATCH_ROWS / 2; 3], 2),
            (vec![MAX_BATCH_ROWS - 1, 1, 0, 1], 3),
            (vec![MAX_BATCH_ROWS], 1),
            (vec![MAX_BATCH_ROWS + 1], 1),
            (vec![MAX_BATCH_ROWS + 1, 1], 1),
            // What does not fit is not overtaken.
            (vec![1, MAX_BATCH_ROWS, 1], 1),
            (vec![usize::MAX / 4, usize::MAX / 4], 1),
            (vec![1, usize::MAX / 4, usize::MAX / 4], 1),
        ] {
            for lane in Lane::ALL {
                let mut queue = Queue::new();
                queue.send_all(lane, &rows);
                assert_eq!(queue.take().await, rows[..expected], "{rows:?}");
                let left = QueueLoad { commands: rows.len() - expected, rows: rows[expected..].iter().sum() };
                assert_eq!(queue.waiting()[lane as usize], left, "{rows:?}");
            }
        }
    }

    #[tokio::test]
    async fn every_lane_has_its_share_and_what_others_leave() {
        let mut queue = Queue::new();
        queue.send_all(Lane::Workers, &[3; MAX_BATCH_COMMANDS * 2]);
        queue.send_all(Lane::Operators, &[2, 2]);
        queue.send_all(Lane::Server, &[40_000]);
        let batch = queue.take().await;
        assert_eq!(batch, [3, 2, 2, 40_000], "of each lane one at least, in the order in which they came");
        let mut queue = Queue::new();
        queue.send_all(Lane::Workers, &[1; MAX_BATCH_COMMANDS]);
        queue.send_all(Lane::Operators, &[2; MAX_BATCH_COMMANDS]);
        let batch = queue.take().await;
        let operators = batch.iter().filter(|rows| **rows == 2).count();
        assert_eq!(
            (batch.len(), operators),
            (MAX_BATCH_COMMANDS, MAX_BATCH_COMMANDS / 2),
            "what the server leaves goes to operators"
        );
        assert_eq!(queue.waiting().map(|load| load.commands), [MAX_BATCH_COMMANDS / 2, 0, MAX_BATCH_COMMANDS / 2]);
    }

    /// Says that worker `w1` is alive, or announces the silent.
    #[derive(Clone)]
    struct Speaks(Lane);

    impl Command for Speaks {
        type Reply = ();

        fn lane(&self) -> Lane {
            self.0
        }

        fn rows(&self, _: &Snapshot) -> usize {
            1
        }

        fn announces_offline(&self) -> bool {
            self.0 == Lane::Server
        }

        fn liveness_signs(&self, note: &mut dyn FnMut(LivenessSign<'_>)) {
            note(LivenessSign { worker_id: "w1", incarnation: Some(1), boot_id: None, sequence: None });
        }

        fn decide(&self, _: &mut Batch<'_>) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_announcement_knows_who_speaks_in_what_it_overtakes() {
        for (announces, expected) in [(true, vec!["w1"]), (false, vec![])] {
            let mut queue = Queue::new();
            queue.known = crate::journal::liveness_signs::tests::cluster(1, None, -10);
            queue.send_all(Lane::Workers, &[MAX_BATCH_ROWS]);
            queue.replies.push(queue.sender.send(Speaks(Lane::Workers), &Caller::server(), &queue.known).unwrap());
            if announces {
                queue.replies.push(queue.sender.send(Speaks(Lane::Server), &Caller::server(), &queue.known).unwrap());
            }
            assert_eq!(queue.take().await.len(), 1 + usize::from(announces), "the heartbeat stays");
            let heard = queue.sender.signs.newer_than(&queue.known);
            assert_eq!(heard.iter().map(|heard| heard.worker_id.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn rows_that_wait_are_bounded_before_anything_was_committed() {
        let mut queue = Queue::new();
        let taken = (0..1_000).take_while(|_| queue.send(Lane::Workers, MAX_BATCH_ROWS / 2).is_ok()).count();
        assert_eq!(taken, 40, "halves of a batch");
        assert!(queue.send(Lane::Workers, 1).is_err(), "it is full");
        queue.send(Lane::Operators, 1).unwrap();
    }

    #[tokio::test]
    async fn what_nobody_waits_for_takes_no_place() {
        let mut queue = Queue::new();
        queue.send_all(Lane::Workers, &[7; MAX_BATCH_COMMANDS]);
        queue.replies.clear();
        queue.send_all(Lane::Workers, &[1; 3]);
        assert_eq!(queue.take().await, [1; 3]);
        assert_eq!(queue.waiting(), [QueueLoad::default(); Lane::COUNT]);
    }

    #[test]
    fn a_full_lane_is_no_other_ones_business() {
        let mut queue = Queue::new();
        let mut taken = 0;
        let refused = loop {
            match queue.send(Lane::Workers, 1) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(taken, limits(Lane::Workers).waiting);
        assert_eq!(refused.retry_after(), Some(SHED_RETRY_AFTER.0), "{refused}");
        assert!(queue.sender.backlog.sheds_load());
        assert_eq!((queue.sender.backlog.take_refused(), queue.sender.backlog.take_refused()), (1, 0));
        queue.send(Lane::Operators, 2).unwrap();
        queue.send(Lane::Server, 2).unwrap();
        assert!(queue.sender.backlog.has_room_for_operators());
    }

    #[test]
    fn what_would_wait_for_too_long_is_refused_and_told_for_how_long() {
        let mut queue = Queue::new();
        for _ in 0..10 {
            queue.took(1_000, Duration::from_secs(3));
        }
        // However long commits take, the next batch is for those who come.
        let next_batch = MAX_BATCH_ROWS / 10;
        for _ in 0..next_batch {
            queue.send(Lane::Workers, 10).unwrap();
        }
        let refused = queue.send(Lane::Workers, 10).unwrap_err();
        let wait = refused.retry_after().unwrap();
        assert!((Duration::from_secs(6)..Duration::from_secs(8)).contains(&wait), "two commits, and not {wait:?}");
        assert_eq!(queue.waiting()[Lane::Workers as usize].commands, next_batch, "what is refused does not wait");
        assert!(queue.sender.backlog.check(Lane::Workers).is_err());
        queue.send(Lane::Operators, 2).unwrap();

        // Fast again.
        for _ in 0..40 {
            queue.took(1_000, Duration::from_millis(10));
        }
        queue.send(Lane::Workers, 10).unwrap();
    }

    #[test]
    fn what_is_larger_than_a_batch_is_let_in_when_nothing_waits() {
        let mut queue = Queue::new();
        queue.took(MAX_BATCH_ROWS, Duration::from_secs(9));
        queue.send(Lane::Workers, MAX_BATCH_ROWS * 10).unwrap();
        assert!(queue.send(Lane::Workers, 1).is_err());
    }
}
