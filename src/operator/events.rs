//! `aetherium events`: the change log, as far as it has come or as it goes on.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::columns::EVENTS;
use super::connection::ConnectionOptions;
use super::event_feed::{EventFeed, is_notice};
use super::failure::Failure;
use super::filters::{Parameters, repeated};
use super::lists::PAGE_LENGTH;
use super::output::{Format, Notes, Output, OutputOptions, Row};
use crate::client::{ApiClient, Question};

/// `aetherium events`.
#[derive(Args, Clone, Debug)]
pub struct EventsOptions {
    /// Go on with what happens from now on, or after a cursor; after an interruption, too.
    #[arg(short = 'f', long)]
    follow: bool,

    /// Only what happened after this cursor, which is one of an event.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,

    /// Only events of this kind, such as vm_started; repeat it for several.
    #[arg(long = "kind", value_name = "KIND", help_heading = "Filter")]
    kinds: Vec<String>,

    /// Only events about this worker; repeat it for several.
    #[arg(long = "worker", value_name = "ID", help_heading = "Filter")]
    workers: Vec<String>,

    /// Only events that this kind of actor caused: worker, operator, server; repeat it for several. What operators did is
    /// kept for longer than the rest.
    #[arg(long = "actor", value_name = "ACTOR", help_heading = "Filter")]
    actors: Vec<String>,

    /// Only events that somebody caused with the token of this id; repeat it for several.
    #[arg(long = "token", value_name = "ID", help_heading = "Filter")]
    tokens: Vec<String>,

    /// How many at most.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

impl EventsOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    fn filter(&self) -> Parameters {
        let mut filter = repeated("worker_id", &self.workers);
        filter.extend(repeated("actor", &self.actors));
        filter.extend(repeated("actor_token_id", &self.tokens));
        filter.extend(repeated("kind", &self.kinds));
        filter
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&EVENTS))?;
        let connection = self.connection.connect()?;
        let limit = self.limit.unwrap_or(usize::MAX);
        if self.follow {
            self.follow(&connection.api, limit, &mut output, notes).await
        } else {
            self.list(&connection.api, limit, &mut output).await
        }
    }

    async fn follow(&self, api: &ApiClient, limit: usize, output: &mut Output, notes: &Notes) -> Result<(), Failure> {
        let mut feed = EventFeed::open(api, notes, self.filter(), self.after.clone()).await?;
        let mut left = limit;
        output.stream(&EVENTS, &[])?;
        while left > 0 {
            let event = feed.next().await?;
            if event.text("kind") == "resync" {
                notes.say(&format!(
                    "{}. What is missing can be read from {}",
                    event.text("message"),
                    event.text("oldest_cursor")
                ));
            }
            if !is_notice(&event.value) {
                output.stream(&EVENTS, std::slice::from_ref(&event))?;
                left -= 1;
            }
            if !feed.has_more() {
                output.flush()?;
            }
        }
        output.flush()
    }

    async fn list(&self, api: &ApiClient, limit: usize, output: &mut Output) -> Result<(), Failure> {
        let (mut left, mut after, mut all) = (limit, self.after.clone(), Vec::new());
        if output.format != Format::Json {
            output.stream(&EVENTS, &[])?;
        }
        while left > 0 {
            let mut question = Question::get(["events"]).with_all(&self.filter());
            question = question.with("limit", left.min(PAGE_LENGTH).to_string());
            if let Some(after) = after.take() {
                question = question.with("after", after);
            }
            let page: EventPage = api.ask(question).await?.read()?;
            let rows: Vec<_> = page.events.into_iter().map(Row::new).collect();
            left = left.saturating_sub(rows.len());
            if output.format == Format::Json {
                all.extend(rows);
            } else {
                output.stream(&EVENTS, &rows)?;
            }
            if !page.has_next_page {
                break;
            }
            after = Some(page.end_cursor);
        }
        if output.format == Format::Json {
            output.list(&EVENTS, &all)?;
        }
        output.flush()
    }
}

#[derive(Deserialize)]
struct EventPage {
    events: Vec<Box<RawValue>>,
    end_cursor: String,
    has_next_page: bool,
}
