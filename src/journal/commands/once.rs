//! A command whose client may send it again because it has not seen the answer: it is carried out once.

use std::fmt;
use std::sync::Arc;

use entity::idempotency_record::Request;

use super::{Command, Lane, SignOfLife};
use crate::clock::Timestamp;
use crate::cluster::Snapshot;
use crate::error::{Error, Result};
use crate::journal::draft::Draft;
use crate::journal::idempotency::Answer;

/// How long an answer is kept for whoever asks for it again, in hours; the trimmer removes it after that.
pub const ANSWERS_ARE_KEPT_FOR_HOURS: u64 = 24;

/// The same for heartbeats, in minutes.
pub const ANSWERS_TO_HEARTBEATS_ARE_KEPT_FOR_MINUTES: u64 = 60;

/// The fingerprint of a heartbeat, which is told from a command by it.
pub fn heartbeat_fingerprint(fingerprint: &str) -> String {
    format!("{}{fingerprint}", Request::HEARTBEAT)
}

/// Makes of a reply the answer to keep, with the cluster's revision and the moment that it is of.
pub type Tell<C> = Box<dyn Fn(&<C as Command>::Reply, Arc<Snapshot>, Timestamp) -> Answer + Send>;

/// Carries out a command if nobody has under this key, and else answers what was answered then. The answer is written
/// in the transaction of the command itself, so that either both are there or neither.
pub struct Once<C: Command> {
    /// Chosen by the client.
    pub key: Arc<str>,
    /// Tells this request from others that come with the same key.
    pub fingerprint: Arc<str>,
    /// What is to be done.
    pub command: C,
    /// How it is answered.
    pub tell: Tell<C>,
}

/// The answer to the first request of this key.
#[derive(Clone, Debug)]
pub struct Told<R> {
    /// The answer.
    pub answer: Answer,
    /// What was done just now; none if it was done before.
    pub reply: Option<R>,
}

impl<C: Command + fmt::Debug> fmt::Debug for Once<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("key", &self.key).field("command", &self.command).finish_non_exhaustive()
    }
}

impl<C: Command> Command for Once<C> {
    type Reply = Told<C::Reply>;

    fn lane(&self) -> Lane {
        self.command.lane()
    }

    fn signs_of_life(&self, hear: &mut dyn FnMut(SignOfLife<'_>)) {
        self.command.signs_of_life(hear);
    }

    fn rows(&self, known: &Snapshot) -> usize {
        1 + self.command.rows(known)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn decide(&self, draft: &mut Draft<'_>) -> Result<Self::Reply> {
        let Self { key, fingerprint, command, tell } = self;
        if let Some(kept) = draft.find_answer(key) {
            return if kept.fingerprint == *fingerprint {
                Ok(Told { answer: kept.answer.clone(), reply: None })
            } else {
                Err(Error::KeyReused(key.to_string()))
            };
        }
        // A refusal changes nothing, so there is nothing to keep: who asks again may be luckier.
        let reply = command.decide(draft)?;
        let answer = tell(&reply, draft.preview(), draft.at);
        draft.keep_answer(key.clone(), fingerprint.clone(), answer.clone());
        Ok(Told { answer, reply: Some(reply) })
    }
}
