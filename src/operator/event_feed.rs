//! The change log as it goes on, over any number of connections: a feed comes back with its last cursor after the server,
//! or the network, was away, and misses nothing.

use std::time::Duration;

use rand::Rng as _;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::failure::Failure;
use super::filters::Parameters;
use super::output::{Notes, Row};
use crate::client::{ApiClient, ApiError, Lines, Question};

/// The wait before the first attempt to come back; it doubles with each that fails.
const FIRST_RECONNECT: Duration = Duration::from_millis(250);

/// The longest wait between two attempts, whatever the server asks for.
const LONGEST_RECONNECT: Duration = Duration::from_secs(5);

/// Events, one after another.
#[derive(Debug)]
pub struct EventFeed<'a> {
    api: &'a ApiClient,
    notes: &'a Notes,
    filter: Parameters,
    cursor: Option<String>,
    lines: Option<Lines>,
    attempts: u32,
    asked_to_wait: Duration,
}

impl<'a> EventFeed<'a> {
    /// Follows what matches from this cursor on, or from now on. It has to succeed at once: a wrong address is no server
    /// that comes back.
    pub async fn open(
        api: &'a ApiClient,
        notes: &'a Notes,
        filter: Parameters,
        after: Option<String>,
    ) -> Result<Self, Failure> {
        let mut feed =
            Self { api, notes, filter, cursor: after, lines: None, attempts: 0, asked_to_wait: Duration::ZERO };
        let mut lines = feed.connect().await?;
        if feed.cursor.is_none() {
            // The first message has the cursor of the present, without which there would be nothing to come back with.
            let line = lines.next().await?.ok_or_else(ended)?;
            let first = event(line)?;
            feed.cursor = Some(first.text("cursor").to_owned());
        }
        feed.lines = Some(lines);
        Ok(feed)
    }

    async fn connect(&self) -> Result<Lines, ApiError> {
        let question = Question::get(["events"]).with_all(&self.filter);
        self.api.lines(question, self.cursor.as_deref()).await
    }

    /// The next event, notices of the stream (`synced`, `resync`) among them. To give up in the middle loses nothing.
    pub async fn next(&mut self) -> Result<Row, Failure> {
        loop {
            let problem = match &mut self.lines {
                Some(lines) => match lines.next().await {
                    Ok(Some(line)) => match event(line) {
                        Ok(event) => {
                            self.cursor = Some(event.text("cursor").to_owned());
                            return Ok(event);
                        }
                        Err(problem) => problem,
                    },
                    Ok(None) => ended(),
                    Err(problem) => problem,
                },
                None => {
                    sleep(self.pause()).await;
                    match self.connect().await {
                        Ok(lines) => {
                            self.notes.say("Connected again");
                            (self.lines, self.attempts) = (Some(lines), 0);
                            continue;
                        }
                        Err(problem) => problem,
                    }
                }
            };
            if !problem.is_temporary() {
                return Err(problem.into());
            }
            if self.lines.take().is_some() {
                self.notes.say(&format!("{problem}; reconnecting"));
            }
            self.attempts = self.attempts.saturating_add(1);
            self.asked_to_wait = problem.retry_after().unwrap_or_default();
        }
    }

    /// Whether the next event is there already.
    pub fn has_more(&self) -> bool {
        self.lines.as_ref().is_some_and(Lines::has_line)
    }

    /// The wait before the next attempt: some chance in it, so that not everybody returns at the same moment.
    fn pause(&self) -> Duration {
        let doubled = FIRST_RECONNECT.saturating_mul(1 << self.attempts.saturating_sub(1).min(8));
        let pause = doubled.max(self.asked_to_wait).min(LONGEST_RECONNECT);
        pause.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

/// A stream that ended is one to come back to: a server that stops ends them in order.
fn ended() -> ApiError {
    ApiError::Unavailable { message: "it ended the stream".to_owned(), retry_after: None }
}

fn event(line: Vec<u8>) -> Result<Row, ApiError> {
    let text = String::from_utf8_lossy(&line).into_owned();
    let event = RawValue::from_string(text).map(Row::new).ok().filter(|row| row.value["cursor"].is_string());
    event.ok_or_else(|| ApiError::Unavailable { message: "its stream has no events".to_owned(), retry_after: None })
}

/// Whether an event is about the stream, and not about the cluster.
pub fn is_notice(event: &Value) -> bool {
    matches!(event["kind"].as_str(), Some("synced" | "resync"))
}
