//! `aetherium purge`: removes workers that are gone for good.
//!
//! The server tells first which would go; what is confirmed is that, and what is removed is no more than that.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::columns::PURGES;
use super::connection::ConnectionOptions;
use super::failure::{ExitStatus, Failure};
use super::output::{Notes, Output, OutputOptions, Row};
use super::selection::{Selection, ask_whether, some_of};
use crate::client::{ApiClient, Question};
use crate::config::positive_duration;

/// `aetherium purge`.
#[derive(Args, Clone, Debug)]
pub struct PurgeOptions {
    #[command(flatten)]
    selection: Selection,

    /// Only workers that are offline and were not heard from for so long, such as 30d.
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    offline_for: Option<Duration>,

    /// Tell which would go, and which not, and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Also workers on which VMs hold slots.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

impl PurgeOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut output = Output::new(&self.output, Some(&PURGES))?;
        let body = self.body()?;
        let connection = self.connection.connect()?;
        let api = &connection.api;
        let plan = purge(api, &with(&body, "dry_run", true.into())).await?;
        self.check_named(&plan)?;
        let mut gone = rows(&plan);
        if !self.dry_run && !gone.is_empty() {
            self.confirm(&plan, &gone).await?;
            gone = carry_out(api, &body, plan.clone()).await?;
        }
        output.list(&PURGES, &gone)?;
        output.flush()?;
        self.conclude(notes, &plan, &gone)
    }

    /// Which workers, in the words of the API.
    fn body(&self) -> Result<Value, Failure> {
        let Selection { ids, filter, .. } = &self.selection;
        let mut conditions = filter.body()?;
        if !ids.is_empty() {
            conditions.insert("ids".to_owned(), json!(ids));
        }
        if conditions.is_empty() && self.offline_for.is_none() {
            return Err(Failure::usage(
                "Name workers, or say which: by --offline-for, -l, --zone, --status, --capability or --search",
            ));
        }
        let mut body = json!({"filter": conditions, "force": self.force});
        if let Some(least) = self.offline_for {
            body["offline_for"] = format!("{}ms", least.as_millis()).into();
        }
        Ok(body)
    }

    /// Refuses ids that name no worker, unless there are other conditions, which may be why it is not there.
    fn check_named(&self, plan: &Value) -> Result<(), Failure> {
        let Selection { ids, filter, .. } = &self.selection;
        if self.offline_for.is_some() || !filter.body()?.is_empty() {
            return Ok(());
        }
        let found: Vec<_> = ["purged", "refused"].iter().flat_map(|list| ids_in(&plan[list])).collect();
        let missing: Vec<_> = ids.iter().filter(|id| !found.contains(id)).cloned().collect();
        // Not all that are refused are named, but those of a request of this size are.
        if missing.is_empty() || plan["total_refused"].as_u64() > plan["refused"].as_array().map(|it| it.len() as u64) {
            return Ok(());
        }
        let message = format!("Worker not found: {}; nothing was changed", missing.join(", "));
        Err(Failure::new(ExitStatus::NotFound, message))
    }

    /// Asks whether all of these are meant. One that was named is.
    async fn confirm(&self, plan: &Value, gone: &[Row]) -> Result<(), Failure> {
        let is_named = gone.len() == 1 && self.selection.ids.len() == 1;
        if self.selection.yes || is_named {
            return Ok(());
        }
        let ids = ids_in(&plan["purged"]);
        let all = ids.len() as u64 + plan["remaining"].as_u64().unwrap_or_default();
        let noun = if all == 1 { "worker" } else { "workers" };
        ask_whether(format!("purge {all} {noun}: {}", some_of(&ids))).await
    }

    /// Tells which were refused, and fails if anything that was asked for was not done.
    fn conclude(&self, notes: &Notes, plan: &Value, gone: &[Row]) -> Result<(), Failure> {
        let refused = plan["total_refused"].as_u64().unwrap_or_default();
        for worker in plan["refused"].as_array().into_iter().flatten() {
            notes.say(worker["message"].as_str().unwrap_or_default());
        }
        if self.dry_run {
            return Ok(());
        }
        match (gone.len(), refused) {
            (0, 0) => Err(Failure::new(ExitStatus::NotFound, "No worker matches; nothing was changed")),
            (_, 0) => Ok(()),
            (gone, refused) => {
                let message = format!("{gone} were purged, and {refused} were not, since VMs hold slots on them");
                Err(Failure::new(ExitStatus::Conflict, message))
            }
        }
    }
}

/// Purges what the plan says, and what it had no room for.
async fn carry_out(api: &ApiClient, body: &Value, mut plan: Value) -> Result<Vec<Row>, Failure> {
    let mut gone = Vec::new();
    loop {
        let mut planned = body.clone();
        // Nothing that has begun to match since.
        planned["filter"]["ids"] = json!(ids_in(&plan["purged"]));
        gone.extend(rows(&purge(api, &planned).await?));
        if plan["remaining"].as_u64().unwrap_or_default() == 0 {
            return Ok(gone);
        }
        plan = purge(api, &with(body, "dry_run", true.into())).await?;
    }
}

async fn purge(api: &ApiClient, body: &Value) -> Result<Value, Failure> {
    Ok(api.ask(Question::post(["purges"], body)).await?.value()?)
}

fn with(body: &Value, key: &str, value: Value) -> Value {
    let mut body: Map<_, _> = body.as_object().cloned().unwrap_or_default();
    body.insert(key.to_owned(), value);
    body.into()
}

fn rows(purge: &Value) -> Vec<Row> {
    purge["purged"].as_array().into_iter().flatten().cloned().map(Row::of).collect()
}

fn ids_in(workers: &Value) -> Vec<String> {
    let ids = workers.as_array().into_iter().flatten().map(|worker| worker["worker_id"].as_str().unwrap_or_default());
    ids.map(str::to_owned).collect()
}
