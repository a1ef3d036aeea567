//! `aetherium events`: the change log, as far as it has come or as it goes on.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta};
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::columns::EVENTS;
use super::connection::ConnectionOptions;
use super::event_feed::{EventFeed, is_notice};
use super::failure::{ExitStatus, Failure};
use super::filters::{Parameters, refuse_empty, repeated};
use super::output::{Format, Notes, Output, OutputOptions, Row};
use super::pages::PAGE_LENGTH;
use crate::client::{ApiClient, Question};
use crate::config::positive_duration;

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

    /// Only events about this VM; repeat it for several.
    #[arg(long = "vm", value_name = "ID", help_heading = "Filter")]
    vms: Vec<String>,

    /// Only events about workers in this zone; repeat it for several.
    #[arg(long = "zone", value_name = "ZONE", help_heading = "Filter")]
    zones: Vec<String>,

    /// Only events that this kind of actor caused: worker, operator, server; repeat it for several. What operators did is
    /// kept for longer than the rest.
    #[arg(long = "actor", value_name = "ACTOR", help_heading = "Filter")]
    actors: Vec<String>,

    /// Only events that somebody caused with the token of this id; repeat it for several.
    #[arg(long = "token", value_name = "ID", help_heading = "Filter")]
    tokens: Vec<String>,

    /// Only what happened since then: a time, such as 2026-11-29T14:20:00Z, or a length of time before now, such as 2h.
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    since: Option<String>,

    /// How many at most, the oldest of them first.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Only the newest, as many as this; shown in the order in which they happened.
    #[arg(long, value_name = "N", conflicts_with_all = ["limit", "follow"])]
    last: Option<usize>,

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
        filter.extend(repeated("vm_id", &self.vms));
        filter.extend(repeated("zone", &self.zones));
        filter
    }

    /// The filter of a list, which may say since when.
    async fn filter_of_list(&self, api: &ApiClient) -> Result<Parameters, Failure> {
        let mut filter = self.filter();
        if let Some(since) = &self.since {
            let since = match positive_duration(since) {
                Ok(ago) => before_now(api, ago).await?,
                Err(_) => since.clone(),
            };
            filter.push(("since".to_owned(), since));
        }
        Ok(filter)
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&EVENTS))?;
        let connection = self.connection.connect()?;
        refuse_empty("--zone", &self.zones)?;
        refuse_empty("--kind", &self.kinds)?;
        refuse_empty("--worker", &self.workers)?;
        refuse_empty("--vm", &self.vms)?;
        refuse_empty("--actor", &self.actors)?;
        refuse_empty("--token", &self.tokens)?;
        refuse_empty("--since", &self.since)?;
        refuse_empty("--after", &self.after)?;
        let limit = self.limit.unwrap_or(usize::MAX);
        match self.last {
            _ if self.follow => self.follow(&connection.api, limit, &mut output, notes).await,
            Some(last) => self.newest(&connection.api, last, &mut output).await,
            None => self.list(&connection.api, limit, &mut output).await,
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

    /// The newest events, which are read backwards and shown forwards.
    async fn newest(&self, api: &ApiClient, last: usize, output: &mut Output) -> Result<(), Failure> {
        let mut filter = self.filter_of_list(api).await?;
        filter.push(("order".to_owned(), "desc".to_owned()));
        filter.extend(self.after.iter().map(|after| ("after".to_owned(), after.clone())));
        let (mut rows, mut cursor) = (Vec::new(), None);
        while rows.len() < last {
            let mut question = Question::get(["events"]).with_all(&filter);
            question = question.with("limit", (last - rows.len()).min(PAGE_LENGTH).to_string());
            if let Some(cursor) = cursor.take() {
                question = question.with("cursor", cursor);
            }
            let page: EventPage = api.ask(question).await?.read()?;
            rows.extend(page.events.into_iter().map(Row::new));
            // Of a page that goes backwards, `end_cursor` is not where it ends, but from where a reader would go on.
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        rows.reverse();
        output.list(&EVENTS, &rows)?;
        output.flush()
    }

    async fn list(&self, api: &ApiClient, limit: usize, output: &mut Output) -> Result<(), Failure> {
        let filter = self.filter_of_list(api).await?;
        let (mut left, mut after, mut all) = (limit, self.after.clone(), Vec::new());
        if output.format != Format::Json {
            output.stream(&EVENTS, &[])?;
        }
        while left > 0 {
            let mut question = Question::get(["events"]).with_all(&filter);
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

/// The time that was so long ago, by the server's clock: that of this machine may be another.
async fn before_now(api: &ApiClient, ago: Duration) -> Result<String, Failure> {
    let health = api.value(Question::get(["health"])).await?;
    let now = DateTime::parse_from_rfc3339(health["timestamp"].as_str().unwrap_or_default()).ok();
    let then = now.zip(TimeDelta::from_std(ago).ok()).and_then(|(now, ago)| now.checked_sub_signed(ago));
    let then = then.ok_or_else(|| Failure::new(ExitStatus::Unavailable, "The server does not tell its time"))?;
    Ok(then.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[derive(Deserialize)]
struct EventPage {
    events: Vec<Box<RawValue>>,
    end_cursor: String,
    has_next_page: bool,
    next_cursor: Option<String>,
}
