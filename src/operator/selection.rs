//! Which workers a command is to change: named by ids, or all that match a filter; never all of them by mistake, and not
//! many of a zone without a word.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;

use super::columns::WORKERS;
use super::failure::{ExitStatus, Failure};
use super::filters::WorkerFilter;
use super::login::off_thread;
use super::output::Row;
use super::pages::{List, named};
use super::printable::printable;
use crate::client::{ApiClient, Question};

/// A change of more than this share of a zone's workers, one in so many, is confirmed.
const SHARE_TO_CONFIRM: u64 = 10;

/// How many workers one change may name: the most that the API takes in a list.
const MOST_SELECTED: usize = 1_000;

/// Which workers.
#[derive(Args, Clone, Debug)]
pub struct Selection {
    /// Ids of workers.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,

    #[command(flatten)]
    pub filter: WorkerFilter,

    /// Do not ask, however many workers of a zone it is about.
    #[arg(short = 'y', long)]
    pub yes: bool,
}

impl Selection {
    /// The workers that are meant, which exist.
    pub async fn find(&self, api: &ApiClient) -> Result<Vec<Row>, Failure> {
        let parameters = self.filter.parameters()?;
        if self.ids.is_empty() && parameters.is_empty() {
            return Err(Failure::usage(
                "Name workers, or say which: by -l, --zone, --status, --capability or --search",
            ));
        }
        let is_filtered = !parameters.is_empty();
        let list = List { objects: &WORKERS, path: &["workers"], parameters };
        let (found, missing) = match &*self.ids {
            [] => (list.all(api).await?, Vec::new()),
            ids => named(api, &list, ids).await?,
        };
        if !missing.is_empty() && !is_filtered {
            let message = format!("Worker not found: {}; nothing was changed", missing.join(", "));
            return Err(Failure::new(ExitStatus::NotFound, message));
        }
        match found.len() {
            0 => Err(Failure::new(ExitStatus::NotFound, "No worker matches; nothing was changed")),
            found if found > MOST_SELECTED => {
                let message =
                    format!("{found} workers match, and {MOST_SELECTED} are the most at once; nothing was changed");
                Err(Failure::usage(message))
            }
            _ => Ok(found),
        }
    }

    /// Asks whether many workers of a zone are really meant. One that was named is.
    pub async fn confirm(&self, api: &ApiClient, verb: &str, workers: &[Row]) -> Result<(), Failure> {
        if self.yes || workers.len() < 2 {
            return Ok(());
        }
        let mut selected = BTreeMap::<&str, u64>::new();
        for worker in workers {
            *selected.entry(worker.text("zone")).or_default() += 1;
        }
        let stats = api.value(Question::get(["cluster", "stats"])).await?;
        let in_zones: u64 = stats["zones"].as_object().into_iter().flatten().filter_map(|(_, it)| it.as_u64()).sum();
        let all = |zone: &str| match zone {
            "" => stats["total_workers"].as_u64().unwrap_or_default().saturating_sub(in_zones),
            zone => stats["zones"][zone].as_u64().unwrap_or_default(),
        };
        let many: Vec<_> = selected
            .iter()
            .map(|(zone, selected)| (*zone, *selected, all(zone)))
            .filter(|(_, selected, all)| selected * SHARE_TO_CONFIRM > *all)
            .map(|(zone, selected, all)| {
                let zone = if zone.is_empty() { "no zone".to_owned() } else { format!("zone {}", printable(zone)) };
                format!("{selected} of {all} workers in {zone}")
            })
            .collect();
        if many.is_empty() {
            return Ok(());
        }
        ask_whether(format!("{verb} {}", many.join(", "))).await
    }
}

/// Asks whether this is meant, in words that go on "This is to". Where nobody can be asked, it is not.
pub async fn ask_whether(what: String) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("This is to {what}: say --yes if that is meant; nothing was changed")));
    }
    let answer = off_thread(move || {
        let mut answer = String::new();
        write!(io::stderr(), "This is to {what}. Go on? [y/N] ")?;
        io::stdin().read_line(&mut answer)?;
        io::Result::Ok(answer)
    });
    match answer.await??.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(ExitStatus::Error, "Nothing was changed")),
    }
}

/// The ids of these workers.
pub fn ids_of(workers: &[Row]) -> Vec<String> {
    workers.iter().map(|worker| worker.text("id").to_owned()).collect()
}

/// Names some of these, and counts the rest.
pub fn some_of(ids: &[String]) -> String {
    match ids {
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        ids => ids.join(", "),
    }
}
