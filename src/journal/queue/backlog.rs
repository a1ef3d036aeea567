//! Admission control and load shedding: which commands are let into the queue. Counts how much waits in each lane, and
//! how long another command would have to wait.
//!
//! A command whose expected wait is longer than its client would wait is refused at once, with the time after which it
//! may be sent again. What fits into the very next batch is always let in, however long commits take. The expected wait
//! follows from what waits in the lane and from what the last commits cost ([`CommitCost`](super::commit_cost)). This
//! is arithmetic over counters that senders and the writer share; the commands themselves are in
//! [`command_queue`](super::command_queue).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::commit_cost::Cost;
use crate::error::{Error, Result};
use crate::journal::commands::Lane;

/// Most commands of a batch. Commands are cheap to write: eight thousand plain heartbeats take some 60 ms on SQLite. A
/// slow disk takes as long for one row as for thousands, so with batches as large as this it limits how soon commands
/// are answered, and not how many are.
pub const MAX_BATCH_COMMANDS: usize = 8_192;

/// Most rows of a batch: a second's work or two for either database. (A fleet that starts sends whole inventories, of
/// hundreds of rows each.)
pub const MAX_BATCH_ROWS: usize = 20_000;

/// How long after a refusal this server says that it sheds load.
const SHEDDING_FOR: Duration = Duration::from_secs(5);

/// What a row is taken to cost before the first commit has shown it, in nanoseconds: what one of a plain heartbeat
/// usually costs.
const UNKNOWN_ROW_NS: u64 = 10_000;

/// The shortest and the longest `Retry-After` of a command that is shed. The estimate of the wait is not good for more.
pub const SHED_RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Most commands of operators that wait.
const MAX_OPERATOR_COMMANDS: usize = 4_096;

/// Most commands of workers that wait.
const MAX_WORKER_COMMANDS: usize = 16_384;

/// Most commands of the server itself that wait. It sends one after the other.
const MAX_SERVER_COMMANDS: usize = 1_024;

/// Most rows of the commands that wait in one lane: whole inventories are kept in memory while they wait.
const MAX_WAITING_ROWS: usize = 20 * MAX_BATCH_ROWS;

/// The longest expected wait with which a command of an operator is let in.
const MAX_OPERATOR_WAIT: Duration = Duration::from_secs(8);

/// The longest expected wait with which a command of a worker is let in.
const MAX_WORKER_WAIT: Duration = Duration::from_secs(5);

/// The limits of a lane.
pub struct LaneLimits {
    /// How many commands may wait.
    pub waiting: usize,
    /// How many rows they may have together. A single command may have more.
    waiting_rows: usize,
    /// How many of the [`SHARES`] of a batch are the lane's while commands of other lanes wait.
    pub share: usize,
    /// The longest expected wait with which a command is let in; none if no command is refused for its wait.
    wait: Option<Duration>,
}

/// The number of shares of a batch that the lanes divide.
pub const SHARES: usize = 4;

/// Requests time out after 10 s (`http::options`). A command whose wait may come near that is not let in, because its
/// work would be for nobody.
pub fn limits(lane: Lane) -> LaneLimits {
    let waiting_rows = MAX_WAITING_ROWS;
    match lane {
        Lane::Operators => {
            LaneLimits { waiting: MAX_OPERATOR_COMMANDS, waiting_rows, share: 1, wait: Some(MAX_OPERATOR_WAIT) }
        }
        Lane::Server => LaneLimits { waiting: MAX_SERVER_COMMANDS, waiting_rows: usize::MAX, share: 1, wait: None },
        Lane::Workers => {
            LaneLimits { waiting: MAX_WORKER_COMMANDS, waiting_rows, share: 2, wait: Some(MAX_WORKER_WAIT) }
        }
    }
}

/// What waits in a lane, or asks to be let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLoad {
    pub commands: usize,
    pub rows: usize,
}

impl QueueLoad {
    fn and(self, other: Self) -> Self {
        Self { commands: self.commands.saturating_add(other.commands), rows: self.rows.saturating_add(other.rows) }
    }

    /// How many batches are needed if each has this much room for it.
    fn batches(self, room: Self) -> usize {
        self.commands.div_ceil(room.commands.max(1)).max(self.rows.div_ceil(room.rows.max(1)))
    }
}

/// Counters that the senders of commands share with the writer, which takes them.
#[derive(Debug)]
pub struct Backlog {
    start: Instant,
    lanes: [LaneCounters; Lane::COUNT],
    /// The parts of [`Cost`], in nanoseconds.
    fixed: AtomicU64,
    row: AtomicU64,
    /// When the commit in progress began, in milliseconds after `start`, and how many rows it has; 0 if there is none.
    began: AtomicU64,
    committing_rows: AtomicUsize,
    /// How many commands were refused since this was last asked, and when the last one was, in milliseconds after
    /// `start`.
    refused: AtomicU64,
    last_refusal: AtomicU64,
}

/// What waits in one lane, for several threads.
#[derive(Debug, Default)]
struct LaneCounters {
    commands: AtomicUsize,
    rows: AtomicUsize,
}

impl LaneCounters {
    fn load(&self) -> QueueLoad {
        QueueLoad { commands: self.commands.load(Ordering::Relaxed), rows: self.rows.load(Ordering::Relaxed) }
    }

    /// Adds, and answers what was there before.
    fn add(&self, load: QueueLoad) -> QueueLoad {
        let commands = self.commands.fetch_add(load.commands, Ordering::Relaxed);
        QueueLoad { commands, rows: self.rows.fetch_add(load.rows, Ordering::Relaxed) }
    }

    fn remove(&self, load: QueueLoad) {
        self.commands.fetch_sub(load.commands, Ordering::Relaxed);
        self.rows.fetch_sub(load.rows, Ordering::Relaxed);
    }
}

impl Backlog {
    pub fn new() -> Self {
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

    /// What waits in a lane.
    pub fn load(&self, lane: Lane) -> QueueLoad {
        self.lanes[lane as usize].load()
    }

    /// Counts commands as waiting, whether or not they would be refused, and answers what was there before.
    #[cfg(test)]
    pub fn add(&self, lane: Lane, load: QueueLoad) -> QueueLoad {
        self.lanes[lane as usize].add(load)
    }

    /// A command of so many rows has left its lane.
    pub fn remove(&self, lane: Lane, rows: usize) {
        self.lanes[lane as usize].remove(QueueLoad { commands: 1, rows });
    }

    /// A commit of so many rows begins.
    pub fn begin_commit(&self, rows: usize) {
        self.committing_rows.store(rows, Ordering::Relaxed);
        self.began.store(self.elapsed_ms().max(1), Ordering::Relaxed);
    }

    /// The commit has ended.
    pub fn end_commit(&self) {
        self.began.store(0, Ordering::Relaxed);
    }

    /// Commits are expected to cost so much from now on.
    pub fn set_cost(&self, Cost { fixed, row }: Cost) {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.fixed.store(nanoseconds(fixed), Ordering::Relaxed);
        self.row.store(nanoseconds(row), Ordering::Relaxed);
    }

    /// Whether there is room for commands of operators.
    pub fn has_room_for_operators(&self) -> bool {
        self.load(Lane::Operators).commands < limits(Lane::Operators).waiting
    }

    /// Whether commands were refused lately.
    pub fn sheds_load(&self) -> bool {
        let last = self.last_refusal.load(Ordering::Relaxed);
        last > 0 && self.elapsed_ms() < last.saturating_add(milliseconds(SHEDDING_FOR))
    }

    /// How many commands were refused since this was last asked.
    pub fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// Refuses a command of one row if it would be refused now.
    pub fn check(&self, lane: Lane) -> Result<()> {
        let load = QueueLoad { commands: 1, rows: 1 };
        self.refuse_if(self.wait_for(lane, self.load(lane), load), 1)
    }

    /// Lets commands in, which wait from now on, or refuses them.
    pub fn admit(&self, lane: Lane, load: QueueLoad) -> Result<()> {
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
        let (least, most) = SHED_RETRY_AFTER;
        Err(Error::Busy { retry_after: wait.clamp(least, most) })
    }

    /// The expected wait of commands if it is too long to let them in, or if the lane is full.
    fn wait_for(&self, lane: Lane, before: QueueLoad, load: QueueLoad) -> Option<Duration> {
        let LaneLimits { waiting, waiting_rows, share, wait: longest } = limits(lane);
        let is_full = before.commands.saturating_add(load.commands) > waiting
            || before.commands > 0 && before.rows.saturating_add(load.rows) > waiting_rows;
        let room = self.room_for(lane, share);
        // A single command may have more rows than a batch should: it is a batch by itself.
        let own = QueueLoad { rows: load.rows.min(room.rows), ..load };
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

    /// The room that this lane has in each batch: its share, and what the other lanes do not use of theirs.
    fn room_for(&self, lane: Lane, share: usize) -> QueueLoad {
        let mut room = QueueLoad { commands: MAX_BATCH_COMMANDS, rows: MAX_BATCH_ROWS };
        for other in Lane::ALL.into_iter().filter(|other| *other != lane) {
            let (waiting, share) = (self.load(other), limits(other).share);
            room.commands -= waiting.commands.min(MAX_BATCH_COMMANDS * share / SHARES);
            room.rows -= waiting.rows.min(MAX_BATCH_ROWS * share / SHARES);
        }
        debug_assert!(room.commands >= MAX_BATCH_COMMANDS * share / SHARES, "the shares make up a batch");
        room
    }

    fn cost(&self) -> Cost {
        let nanoseconds = |of: &AtomicU64| Duration::from_nanos(of.load(Ordering::Relaxed));
        Cost { fixed: nanoseconds(&self.fixed), row: nanoseconds(&self.row) }
    }

    /// How long the commit in progress will go on. One that has taken longer than was expected will take longer still.
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
