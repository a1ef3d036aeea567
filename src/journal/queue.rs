//! The command queue: what waits for the next batches, in lanes, and who is let in.
//!
//! **Lanes.** Operators, the server itself and workers do not wait for each other: each lane has a limit of its own, and a
//! share of every batch. What a lane leaves of its share is the others'. A lane says which commands a batch takes; in it,
//! they are decided in the order in which they came.
//!
//! **At the door.** A command whose expected wait is longer than its client would wait is refused at once, and told how
//! long that is. What fits into the very next batch is always let in, however long commits take. The expected wait
//! follows from what waits in the lane and from what the last commits cost ([`CommitCost`]).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::Committed;
use super::commands::{Command, Lane};
use super::commit_cost::{CommitCost, Cost};
use super::draft::Draft;
use super::signs::SignsOfLife;
use crate::clock::Timestamp;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};

/// Most commands of a batch. They are cheap to write: eight thousand plain heartbeats take some 60 ms on SQLite. So a
/// slow disk, which takes as long for one row as for thousands, bounds how soon they are answered, and not how many are.
pub(super) const MAX_BATCH: usize = 8_192;

/// Most rows of a batch: a second's work or two for either database. (A fleet that starts sends whole
/// inventories, hundreds of rows each.)
pub(super) const MAX_ROWS: usize = 20_000;

/// Refusals of the last so long count when this server is asked whether it [sheds load](super::Journal::sheds_load).
const SHEDDING: Duration = Duration::from_secs(5);

/// What a row costs before the first commit has shown it, in nanoseconds: as long as one of a plain heartbeat usually takes.
const UNKNOWN_ROW_NS: u64 = 10_000;

/// The bounds of what a refused client is asked to wait. The estimate is not worth more.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a lane may take.
struct LaneLimits {
    /// Commands that may wait.
    waiting: usize,
    /// Rows that they may have together, but for a single command.
    waiting_rows: usize,
    /// Its part of a batch while others wait, of [`SHARES`].
    share: usize,
    /// The longest expected wait with which a command is let in; none if none is refused for that.
    wait: Option<Duration>,
}

/// Into so many shares a batch is divided.
const SHARES: usize = 4;

/// Requests are given up after 10 s (`http::options`), and what is given up in the queue is done for nobody.
fn limits(lane: Lane) -> LaneLimits {
    // Whole inventories are kept in memory while they wait.
    let waiting_rows = 20 * MAX_ROWS;
    match lane {
        Lane::Operators => LaneLimits { waiting: 4_096, waiting_rows, share: 1, wait: Some(Duration::from_secs(8)) },
        // It sends one after the other.
        Lane::Server => LaneLimits { waiting: 1_024, waiting_rows: usize::MAX, share: 1, wait: None },
        Lane::Workers => LaneLimits { waiting: 16_384, waiting_rows, share: 2, wait: Some(Duration::from_secs(5)) },
    }
}

/// What waits in a lane, or is asked to be let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    commands: usize,
    rows: usize,
}

impl Load {
    fn and(self, other: Self) -> Self {
        Self { commands: self.commands.saturating_add(other.commands), rows: self.rows.saturating_add(other.rows) }
    }

    /// How many batches it takes, if each has this much room for it.
    fn batches(self, room: Self) -> usize {
        self.commands.div_ceil(room.commands.max(1)).max(self.rows.div_ceil(room.rows.max(1)))
    }
}

/// What is shared by those who send commands and the one who takes them.
#[derive(Debug)]
pub(super) struct Backlog {
    start: Instant,
    lanes: [Waiting; Lane::COUNT],
    /// What a commit costs, as [`Cost`] has it, in nanoseconds.
    fixed: AtomicU64,
    row: AtomicU64,
    /// When the present commit began, in milliseconds after `start`, and how many rows it has; 0 if there is none.
    began: AtomicU64,
    committing_rows: AtomicUsize,
    /// Commands that were refused since somebody last asked, and when the last one was, as above.
    refused: AtomicU64,
    last_refusal: AtomicU64,
}

/// What waits in one lane.
#[derive(Debug, Default)]
struct Waiting {
    commands: AtomicUsize,
    rows: AtomicUsize,
}

impl Waiting {
    fn load(&self) -> Load {
        Load { commands: self.commands.load(Ordering::Relaxed), rows: self.rows.load(Ordering::Relaxed) }
    }

    /// Answers what was there before.
    fn add(&self, load: Load) -> Load {
        let commands = self.commands.fetch_add(load.commands, Ordering::Relaxed);
        Load { commands, rows: self.rows.fetch_add(load.rows, Ordering::Relaxed) }
    }

    fn remove(&self, load: Load) {
        self.commands.fetch_sub(load.commands, Ordering::Relaxed);
        self.rows.fetch_sub(load.rows, Ordering::Relaxed);
    }
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            lanes: Default::default(),
            fixed: AtomicU64::new(0),
            row: AtomicU64::new(UNKNOWN_ROW_NS),
            began: AtomicU64::new(0),
            committing_rows: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            last_refusal: AtomicU64::new(0),
        }
    }

    /// Whether operators' commands are let in at all.
    pub(super) fn has_room_for_operators(&self) -> bool {
        self.lanes[Lane::Operators as usize].load().commands < limits(Lane::Operators).waiting
    }

    /// Whether commands were refused lately.
    pub(super) fn sheds_load(&self) -> bool {
        let last = self.last_refusal.load(Ordering::Relaxed);
        last > 0 && self.elapsed_ms() < last.saturating_add(milliseconds(SHEDDING))
    }

    /// How many commands were refused since this was last asked.
    pub(super) fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Refuses a command of one row if it would be refused now.
    pub(super) fn check(&self, lane: Lane) -> Result<()> {
        let load = Load { commands: 1, rows: 1 };
        self.refuse_if(self.wait_for(lane, self.lanes[lane as usize].load(), load), 1)
    }

    /// Lets commands in, which wait from now on, or refuses them.
    fn admit(&self, lane: Lane, load: Load) -> Result<()> {
        let waiting = &self.lanes[lane as usize];
        let before = waiting.add(load);
        let refused = self.refuse_if(self.wait_for(lane, before, load), load.commands);
        if refused.is_err() {
            waiting.remove(load);
        }
        refused
    }

    fn refuse_if(&self, wait: Option<Duration>, commands: usize) -> Result<()> {
        let Some(wait) = wait else { return Ok(()) };
        self.refused.fetch_add(commands as u64, Ordering::Relaxed);
        self.last_refusal.store(self.elapsed_ms().max(1), Ordering::Relaxed);
        let (least, most) = RETRY_AFTER;
        Err(Error::Busy { retry_after: wait.clamp(least, most) })
    }

    /// How long commands would have to wait, if that is too long.
    fn wait_for(&self, lane: Lane, before: Load, load: Load) -> Option<Duration> {
        let LaneLimits { waiting, waiting_rows, share, wait: longest } = limits(lane);
        let is_full = before.commands.saturating_add(load.commands) > waiting
            || before.commands > 0 && before.rows.saturating_add(load.rows) > waiting_rows;
        let room = self.room_for(lane, share);
        // A single command may have more rows than a batch should, and then it is a batch by itself.
        let own = Load { rows: load.rows.min(room.rows), ..load };
        if !is_full && (before.commands == 0 || before.and(own).batches(room) <= 1) {
            return None;
        }
        let batches = before.and(own).batches(room);
        let rows = before.and(own).rows.div_ceil(batches.max(1));
        let cost = self.cost();
        let batch = cost.of(rows);
        let wait =
            self.rest_of_commit(cost).saturating_add(batch.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX)));
        (is_full || longest.is_some_and(|longest| wait > longest)).then_some(wait)
    }

    /// What of each batch is this lane's: its share, and what the others do not use of theirs.
    fn room_for(&self, lane: Lane, share: usize) -> Load {
        let mut room = Load { commands: MAX_BATCH, rows: MAX_ROWS };
        for other in Lane::ALL.into_iter().filter(|other| *other != lane) {
            let (waiting, share) = (self.lanes[other as usize].load(), limits(other).share);
            room.commands -= waiting.commands.min(MAX_BATCH * share / SHARES);
            room.rows -= waiting.rows.min(MAX_ROWS * share / SHARES);
        }
        debug_assert!(room.commands >= MAX_BATCH * share / SHARES, "the shares make up a batch");
        room
    }

    fn cost(&self) -> Cost {
        let nanoseconds = |of: &AtomicU64| Duration::from_nanos(of.load(Ordering::Relaxed));
        Cost { fixed: nanoseconds(&self.fixed), row: nanoseconds(&self.row) }
    }

    /// How long the commit under way will go on. One that takes longer than was to be expected will take longer still.
    fn rest_of_commit(&self, cost: Cost) -> Duration {
        let began = self.began.load(Ordering::Relaxed);
        if began == 0 {
            return Duration::ZERO;
        }
        let elapsed = Duration::from_millis(self.elapsed_ms().saturating_sub(began));
        let expected = cost.of(self.committing_rows.load(Ordering::Relaxed));
        expected.saturating_sub(elapsed).max(elapsed / 4)
    }

    fn elapsed_ms(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The end of the queue that commands are put into.
#[derive(Debug)]
pub(super) struct QueueSender {
    queue: mpsc::UnboundedSender<Group>,
    backlog: Arc<Backlog>,
    signs: Arc<SignsOfLife>,
}

/// Commands of one lane that were handed over together.
struct Group {
    lane: Lane,
    commands: Batch,
}

/// Commands that are committed together.
pub(super) type Batch = Vec<Box<dyn Queued>>;

/// Makes a queue.
pub(super) fn queue(signs: Arc<SignsOfLife>) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let backlog = Arc::new(Backlog::new());
    let sender = QueueSender { queue: sender, backlog: backlog.clone(), signs: signs.clone() };
    let lanes = Mutex::default();
    (sender, QueueReceiver { queue: receiver, lanes, arrived: 0, backlog, cost: CommitCost::default(), signs })
}

impl QueueSender {
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Puts a command in, or refuses it.
    pub(super) fn send<C: Command>(&self, command: C, known: &Snapshot) -> Result<Answer<C::Reply>> {
        let lane = command.lane();
        let (ticket, answer) = ticket(command, known, self.signs.now());
        let load = Load { commands: 1, rows: ticket.rows() };
        self.put(lane, load, vec![ticket], known)?;
        Ok(answer)
    }

    /// Puts commands in that came together, all or none.
    pub(super) fn send_all<C: Command>(
        &self,
        commands: impl IntoIterator<Item = C>,
        known: &Snapshot,
    ) -> Result<Vec<Answer<C::Reply>>> {
        let mut commands = commands.into_iter().peekable();
        let Some(lane) = commands.peek().map(C::lane) else { return Ok(Vec::new()) };
        let now = self.signs.now();
        let (tickets, answers): (Batch, Vec<_>) = commands.map(|command| ticket(command, known, now)).unzip();
        let rows = tickets.iter().map(|ticket| ticket.rows()).fold(0, usize::saturating_add);
        self.put(lane, Load { commands: tickets.len(), rows }, tickets, known)?;
        Ok(answers)
    }

    /// Whoever speaks in what is refused is alive all the same.
    fn put(&self, lane: Lane, load: Load, commands: Batch, known: &Snapshot) -> Result<()> {
        if let Err(busy) = self.backlog.admit(lane, load) {
            commands.iter().for_each(|queued| queued.note_signs(&self.signs, known));
            return Err(busy);
        }
        self.queue.send(Group { lane, commands }).map_err(|_| Error::ShuttingDown)
    }
}

/// What comes of a command, when its batch is committed.
pub(super) type Answer<R> = oneshot::Receiver<Result<Committed<R>>>;

fn ticket<C: Command>(command: C, known: &Snapshot, arrived: Timestamp) -> (Box<dyn Queued>, Answer<C::Reply>) {
    let (reply, answer) = oneshot::channel();
    let rows = command.rows(known);
    (Box::new(Ticket { command, rows, arrived, decision: None, reply }), answer)
}

/// Commands of each lane, with their places in the order in which they came.
type Lanes = [VecDeque<(u64, Box<dyn Queued>)>; Lane::COUNT];

/// The end of the queue that batches are taken from.
pub(super) struct QueueReceiver {
    queue: mpsc::UnboundedReceiver<Group>,
    /// What was taken out of the queue and did not fit into a batch. Behind a lock that nobody ever waits for: commands
    /// cannot be looked at by several threads, and what holds them has to be able to.
    lanes: Mutex<Lanes>,
    /// How many commands were taken out of the queue.
    arrived: u64,
    backlog: Arc<Backlog>,
    cost: CommitCost,
    signs: Arc<SignsOfLife>,
}

impl QueueReceiver {
    /// Takes no more commands. Those that are in are still there to be taken.
    pub(super) fn close(&mut self) {
        self.queue.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Waits until there are some, and takes as many as go into a batch. None if there will be no more. Cancel safe.
    pub(super) async fn take_batch(&mut self, known: &Snapshot) -> Option<Batch> {
        if self.lanes().iter().all(VecDeque::is_empty) {
            let first = self.queue.recv().await?;
            self.put(first);
        }
        while let Ok(more) = self.queue.try_recv() {
            self.put(more);
        }
        Some(self.compose(known))
    }

    /// Takes all that there are now.
    pub(super) fn take_all(&mut self) -> Batch {
        while let Ok(more) = self.queue.try_recv() {
            self.put(more);
        }
        let backlog = self.backlog.clone();
        let mut taken = Batch::new();
        for lane in Lane::ALL {
            for (_, queued) in std::mem::take(&mut self.lanes()[lane as usize]) {
                backlog.lanes[lane as usize].remove(Load { commands: 1, rows: queued.rows() });
                taken.push(queued);
            }
        }
        taken
    }

    /// Drops those for whom nobody waits any more. Whoever has given up was told so, and may have sent the same again: what
    /// has not begun is not done. But who had something to say was alive.
    pub(super) fn drop_abandoned(&self, batch: &mut Batch, known: &Snapshot) {
        batch.retain(|queued| {
            let is_abandoned = queued.is_abandoned();
            if is_abandoned {
                queued.note_signs(&self.signs, known);
            }
            !is_abandoned
        });
    }

    /// Notes that a commit begins.
    pub(super) fn begin_commit(&self, batch: &Batch) -> CommitUnderWay {
        let rows = batch.iter().map(|queued| queued.rows()).fold(0, usize::saturating_add);
        self.backlog.committing_rows.store(rows, Ordering::Relaxed);
        self.backlog.began.store(self.backlog.elapsed_ms().max(1), Ordering::Relaxed);
        CommitUnderWay { rows, began: Instant::now() }
    }

    /// Notes that it has ended. What failed says nothing of what it would have cost.
    pub(super) fn end_commit(&mut self, commit: CommitUnderWay, has_succeeded: bool) {
        self.backlog.began.store(0, Ordering::Relaxed);
        if has_succeeded {
            self.cost.observe(commit.rows, commit.began.elapsed());
            let Cost { fixed, row } = self.cost.estimate();
            let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            self.backlog.fixed.store(nanoseconds(fixed), Ordering::Relaxed);
            self.backlog.row.store(nanoseconds(row), Ordering::Relaxed);
        }
    }

    fn put(&mut self, Group { lane, commands }: Group) {
        let first = self.arrived;
        self.arrived += commands.len() as u64;
        self.lanes()[lane as usize].extend((first..).zip(commands));
    }

    /// Takes the next batch out of the lanes: first of each lane its share, and one command at least, whatever its size;
    /// then what there is room for besides. All of it comes in the order in which it was sent.
    fn compose(&mut self, known: &Snapshot) -> Batch {
        let Self { lanes, backlog, signs, .. } = self;
        let lanes = lanes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = lanes.iter().map(VecDeque::len).sum();
        let (mut batch, mut rows) = (Vec::with_capacity(waiting.min(MAX_BATCH)), 0_usize);
        let drop_if_abandoned = |lane: Lane, queued: &dyn Queued| {
            let is_abandoned = queued.is_abandoned();
            if is_abandoned {
                queued.note_signs(signs, known);
                backlog.lanes[lane as usize].remove(Load { commands: 1, rows: queued.rows() });
            }
            is_abandoned
        };
        let mut lap = |share: fn(Lane) -> usize, takes_one: bool| {
            for lane in Lane::ALL {
                let waiting = &mut lanes[lane as usize];
                let (most, most_rows) = (MAX_BATCH * share(lane) / SHARES, MAX_ROWS * share(lane) / SHARES);
                let (mut taken, mut taken_rows) = (0, 0_usize);
                while let Some((_, next)) = waiting.front() {
                    let next_rows = next.rows();
                    let (own, all) = (taken_rows.saturating_add(next_rows), rows.saturating_add(next_rows));
                    let fits = taken < most && batch.len() < MAX_BATCH && own <= most_rows && all <= MAX_ROWS;
                    let is_first = takes_one && taken == 0;
                    if !(fits || is_first) {
                        break;
                    }
                    let Some(next) = waiting.pop_front() else { break };
                    if drop_if_abandoned(lane, &*next.1) {
                        continue;
                    }
                    backlog.lanes[lane as usize].remove(Load { commands: 1, rows: next_rows });
                    (taken, taken_rows, rows) = (taken + 1, own, all);
                    batch.push(next);
                }
            }
        };
        lap(|lane| limits(lane).share, true);
        lap(|_| SHARES, false);
        // Those that have to wait on would count as so much to wait for.
        for lane in Lane::ALL {
            lanes[lane as usize].retain(|(_, queued)| !drop_if_abandoned(lane, &**queued));
        }
        if batch.iter().any(|(_, queued)| queued.announces_silence()) {
            // It overtakes what stays in the workers' lane, perhaps of those that it is about.
            lanes[Lane::Workers as usize].iter().for_each(|(_, queued)| queued.note_signs(signs, known));
        }
        // Mostly it is so already: there is one lane, or little of the others.
        batch.sort_by_key(|(place, _)| *place);
        batch.into_iter().map(|(_, queued)| queued).collect()
    }

    fn lanes(&mut self) -> &mut Lanes {
        self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit that has begun.
pub(super) struct CommitUnderWay {
    rows: usize,
    began: Instant,
}

/// A command with whoever waits for its answer.
struct Ticket<C: Command> {
    command: C,
    /// How many rows it may write, as of when it was let in.
    rows: usize,
    arrived: Timestamp,
    decision: Option<Result<C::Reply>>,
    reply: oneshot::Sender<Result<Committed<C::Reply>>>,
}

/// A [`Ticket`] of any command.
pub(super) trait Queued: Send {
    /// How many rows it may write.
    fn rows(&self) -> usize;
    /// The key by which it may have been sent before.
    fn key(&self) -> Option<&str>;
    /// Whether it is heartbeats and nothing else.
    fn is_heartbeat(&self) -> bool;
    /// Whether it announces workers as silent.
    fn announces_silence(&self) -> bool;
    /// Notes that whoever speaks in it was alive when it came.
    fn note_signs(&self, signs: &SignsOfLife, known: &Snapshot);
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Decides on the draft; the answer waits for the commit. After a panic the draft is of no use.
    fn decide(&mut self, draft: &mut Draft<'_>) -> Result<(), Panicked>;
    /// Answers: the batch is committed.
    fn acknowledge(self: Box<Self>, snapshot: &Arc<Snapshot>);
    /// Answers: the batch is not committed, as far as we know.
    fn fail(self: Box<Self>, error: &Error);
}

impl<C: Command> Queued for Ticket<C> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn key(&self) -> Option<&str> {
        self.command.key()
    }

    fn is_heartbeat(&self) -> bool {
        self.command.is_heartbeat()
    }

    fn announces_silence(&self) -> bool {
        self.command.announces_silence()
    }

    fn note_signs(&self, signs: &SignsOfLife, known: &Snapshot) {
        self.command.signs_of_life(&mut |sign| signs.note(known, &sign, self.arrived));
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn decide(&mut self, draft: &mut Draft<'_>) -> Result<(), Panicked> {
        // The draft is thrown away after a panic, so nothing half done is ever seen.
        let decision = catch_unwind(AssertUnwindSafe(|| self.command.decide(draft))).map_err(|_| Panicked)?;
        self.decision = Some(decision);
        Ok(())
    }

    fn acknowledge(self: Box<Self>, snapshot: &Arc<Snapshot>) {
        let decision = self.decision.unwrap_or(Err(Error::ShuttingDown));
        // Whoever asked may have left; the command counts all the same.
        let _ = self.reply.send(decision.map(|reply| Committed { reply, snapshot: snapshot.clone() }));
    }

    fn fail(self: Box<Self>, error: &Error) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

/// A command that cannot be decided: a mistake of ours, told by a panic.
#[derive(Debug, thiserror::Error)]
#[error("deciding a command panicked")]
pub(super) struct Panicked;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::commands::SignOfLife;

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

        fn decide(&self, _: &mut Draft<'_>) -> Result<()> {
            Ok(())
        }
    }

    struct Queue {
        sender: QueueSender,
        receiver: QueueReceiver,
        known: Snapshot,
        answers: Vec<Answer<()>>,
    }

    impl Queue {
        fn new() -> Self {
            let clock = crate::clock::Clock::manual(crate::clock::Timestamp::UNIX_EPOCH);
            let (sender, receiver) = queue(Arc::new(SignsOfLife::new(clock)));
            Self { sender, receiver, known: Snapshot::empty("test".into()), answers: Vec::new() }
        }

        fn send(&mut self, lane: Lane, rows: usize) -> Result<()> {
            self.answers.push(self.sender.send(Writes(lane, rows), &self.known)?);
            Ok(())
        }

        /// Puts in what is refused by nobody here: as if it had come before.
        fn send_all(&mut self, lane: Lane, rows: &[usize]) {
            for rows in rows {
                let (ticket, answer) = ticket(Writes(lane, *rows), &self.known, Timestamp::UNIX_EPOCH);
                let load = Load { commands: 1, rows: *rows };
                self.sender.backlog.lanes[lane as usize].add(load);
                assert!(self.sender.queue.send(Group { lane, commands: vec![ticket] }).is_ok());
                self.answers.push(answer);
            }
        }

        /// The rows of each command of the next batch.
        async fn take(&mut self) -> Vec<usize> {
            let batch = self.receiver.take_batch(&self.known).await.unwrap();
            batch.iter().map(|queued| queued.rows()).collect()
        }

        fn took(&mut self, rows: usize, time: Duration) {
            let mut commit = self.receiver.begin_commit(&Batch::new());
            commit.rows = rows;
            commit.began -= time;
            self.receiver.end_commit(commit, true);
        }

        fn waiting(&self) -> [Load; Lane::COUNT] {
            Lane::ALL.map(|lane| self.sender.backlog.lanes[lane as usize].load())
        }
    }

    #[tokio::test]
    async fn a_batch_has_so_many_commands_and_rows_and_one_command_at_least() {
        for (rows, expected) in [
            (vec![1; 10], 10),
            (vec![1; MAX_BATCH], MAX_BATCH),
            (vec![1; MAX_BATCH + 1], MAX_BATCH),
            (vec![0; MAX_BATCH + 1], MAX_BATCH),
            (vec![MAX_ROWS / 2; 2], 2),
            (vec![MAX_ROWS / 2; 3], 2),
            (vec![MAX_ROWS - 1, 1, 0, 1], 3),
            (vec![MAX_ROWS], 1),
            (vec![MAX_ROWS + 1], 1),
            (vec![MAX_ROWS + 1, 1], 1),
            // What does not fit is not overtaken.
            (vec![1, MAX_ROWS, 1], 1),
            (vec![usize::MAX / 4, usize::MAX / 4], 1),
            (vec![1, usize::MAX / 4, usize::MAX / 4], 1),
        ] {
            for lane in Lane::ALL {
                let mut queue = Queue::new();
                queue.send_all(lane, &rows);
                assert_eq!(queue.take().await, rows[..expected], "{rows:?}");
                let left = Load { commands: rows.len() - expected, rows: rows[expected..].iter().sum() };
                assert_eq!(queue.waiting()[lane as usize], left, "{rows:?}");
            }
        }
    }

    #[tokio::test]
    async fn every_lane_has_its_share_and_what_others_leave() {
        let mut queue = Queue::new();
        queue.send_all(Lane::Workers, &[3; MAX_BATCH * 2]);
        queue.send_all(Lane::Operators, &[2, 2]);
        queue.send_all(Lane::Server, &[40_000]);
        let batch = queue.take().await;
        assert_eq!(batch, [3, 2, 2, 40_000], "of each lane one at least, in the order in which they came");
        let mut queue = Queue::new();
        queue.send_all(Lane::Workers, &[1; MAX_BATCH]);
        queue.send_all(Lane::Operators, &[2; MAX_BATCH]);
        let batch = queue.take().await;
        let operators = batch.iter().filter(|rows| **rows == 2).count();
        assert_eq!((batch.len(), operators), (MAX_BATCH, MAX_BATCH / 2), "what the server leaves goes to operators");
        assert_eq!(queue.waiting().map(|load| load.commands), [MAX_BATCH / 2, 0, MAX_BATCH / 2]);
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

        fn announces_silence(&self) -> bool {
            self.0 == Lane::Server
        }

        fn signs_of_life(&self, hear: &mut dyn FnMut(SignOfLife<'_>)) {
            hear(SignOfLife { worker_id: "w1", incarnation: Some(1), boot_id: None, sequence: None });
        }

        fn decide(&self, _: &mut Draft<'_>) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_announcement_knows_who_speaks_in_what_it_overtakes() {
        for (announces, expected) in [(true, vec!["w1"]), (false, vec![])] {
            let mut queue = Queue::new();
            queue.known = crate::journal::signs::tests::cluster(1, None, -10);
            queue.send_all(Lane::Workers, &[MAX_ROWS]);
            queue.answers.push(queue.sender.send(Speaks(Lane::Workers), &queue.known).unwrap());
            if announces {
                queue.answers.push(queue.sender.send(Speaks(Lane::Server), &queue.known).unwrap());
            }
            assert_eq!(queue.take().await.len(), 1 + usize::from(announces), "the heartbeat stays");
            let heard = queue.sender.signs.newer_than(&queue.known);
            assert_eq!(heard.iter().map(|heard| heard.worker_id.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn rows_that_wait_are_bounded_before_anything_was_committed() {
        let mut queue = Queue::new();
        let taken = (0..1_000).take_while(|_| queue.send(Lane::Workers, MAX_ROWS / 2).is_ok()).count();
        assert_eq!(taken, 40, "halves of a batch");
        assert!(queue.send(Lane::Workers, 1).is_err(), "it is full");
        queue.send(Lane::Operators, 1).unwrap();
    }

    #[tokio::test]
    async fn what_nobody_waits_for_takes_no_place() {
        let mut queue = Queue::new();
        queue.send_all(Lane::Workers, &[7; MAX_BATCH]);
        queue.answers.clear();
        queue.send_all(Lane::Workers, &[1; 3]);
        assert_eq!(queue.take().await, [1; 3]);
        assert_eq!(queue.waiting(), [Load::default(); Lane::COUNT]);
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
        assert_eq!(refused.retry_after(), Some(RETRY_AFTER.0), "{refused}");
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
        let next_batch = MAX_ROWS / 10;
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
        queue.took(MAX_ROWS, Duration::from_secs(9));
        queue.send(Lane::Workers, MAX_ROWS * 10).unwrap();
        assert!(queue.send(Lane::Workers, 1).is_err());
    }
}
