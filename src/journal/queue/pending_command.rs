//! A command while it waits in the queue, with the channel on which its reply goes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::auth::{Action, Caller};
use crate::clock::Timestamp;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};
use crate::journal::batch::Batch;
use crate::journal::commands::Command;
use crate::journal::liveness_signs::LivenessSigns;
use crate::journal::published::Committed;

/// Commands that are committed together.
pub type PendingCommands = Vec<Box<dyn PendingCommand>>;

/// Where the reply to a command arrives when its batch is committed.
pub type ReplyReceiver<R> = oneshot::Receiver<Result<Committed<R>>>;

/// Puts a command into an envelope.
pub fn envelope<C: Command>(
    command: C,
    caller: Caller,
    known: &Snapshot,
    arrived: Timestamp,
) -> (Box<dyn PendingCommand>, ReplyReceiver<C::Reply>) {
    let (reply, receiver) = oneshot::channel();
    let rows = command.rows(known);
    (Box::new(Envelope { command, caller, rows, arrived, decision: None, reply }), receiver)
}

/// A command with the channel of its reply.
struct Envelope<C: Command> {
    command: C,
    /// Who has sent it.
    caller: Caller,
    /// How many rows it may write, counted when it was sent.
    rows: usize,
    arrived: Timestamp,
    decision: Option<Result<C::Reply>>,
    reply: oneshot::Sender<Result<Committed<C::Reply>>>,
}

/// An [`Envelope`] of any command.
pub trait PendingCommand: Send {
    /// How many rows it may write.
    fn rows(&self) -> usize;
    /// Its idempotency key.
    fn key(&self) -> Option<&str>;
    /// Whether it is heartbeats and nothing else.
    fn is_heartbeat(&self) -> bool;
    /// Whether it announces workers as offline.
    fn announces_offline(&self) -> bool;
    /// Notes the signs of life in it, as of when it was sent.
    fn note_liveness_signs(&self, signs: &LivenessSigns, known: &Snapshot);
    /// Whether nobody waits for the reply any more.
    fn is_abandoned(&self) -> bool;
    /// Decides it, and keeps the reply until the commit. After a panic the batch must not be used.
    fn decide(&mut self, batch: &mut Batch<'_>) -> Result<(), DecisionPanicked>;
    /// Sends the reply: the batch is committed.
    fn acknowledge(self: Box<Self>, snapshot: &Arc<Snapshot>);
    /// Sends an error: the batch is not committed, as far as this server knows.
    fn fail(self: Box<Self>, error: &Error);
}

impl<C: Command> PendingCommand for Envelope<C> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn key(&self) -> Option<&str> {
        self.command.key()
    }

    fn is_heartbeat(&self) -> bool {
        self.command.is_heartbeat()
    }

    fn announces_offline(&self) -> bool {
        self.command.announces_offline()
    }

    fn note_liveness_signs(&self, signs: &LivenessSigns, known: &Snapshot) {
        self.command.liveness_signs(&mut |sign| {
            // Only who speaks for a worker can say that it is alive.
            let worker = known.find_worker(sign.worker_id);
            if worker.is_some_and(|worker| worker.authorize(self.caller.principal(), Action::Heartbeat).is_ok()) {
                signs.note(known, &sign, self.arrived);
            }
        });
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn decide(&mut self, batch: &mut Batch<'_>) -> Result<(), DecisionPanicked> {
        batch.set_caller(&self.caller);
        // The batch is thrown away after a panic, so nothing half done is ever seen.
        let decide = || batch.check_caller().and_then(|()| self.command.decide(batch));
        let decision = catch_unwind(AssertUnwindSafe(decide)).map_err(|_| DecisionPanicked)?;
        self.decision = Some(decision);
        Ok(())
    }

    fn acknowledge(self: Box<Self>, snapshot: &Arc<Snapshot>) {
        let decision = self.decision.unwrap_or(Err(Error::ShuttingDown));
        // The receiver may be gone; the command is committed all the same.
        let _ = self.reply.send(decision.map(|reply| Committed { reply, snapshot: snapshot.clone() }));
    }

    fn fail(self: Box<Self>, error: &Error) {
        let _ = self.reply.send(Err(error.clone()));
    }
}

/// Deciding the command panicked, which is a bug of this program.
#[derive(Debug, thiserror::Error)]
#[error("deciding a command panicked")]
pub struct DecisionPanicked;
