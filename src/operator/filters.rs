//! Which workers and VMs a command is about, in the words of the REST API's filters.

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;

/// Which workers.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub struct WorkerFilter {
    /// Only workers with this label: a key, or key=value. Repeat it for workers that have all of several.
    #[arg(short = 'l', long = "label", value_name = "KEY[=VALUE]")]
    pub labels: Vec<String>,

    /// Only workers in this zone; repeat it for several.
    #[arg(long = "zone", value_name = "ZONE")]
    pub zones: Vec<String>,

    /// Only workers that are in no zone.
    #[arg(long, conflicts_with = "zones")]
    pub without_zone: bool,

    /// Only workers in this status: active, draining, offline; repeat it for several.
    #[arg(long = "status", value_name = "STATUS")]
    pub statuses: Vec<String>,

    /// Only workers that can do this, such as qemu; repeat it for workers that can do one of several.
    #[arg(long = "capability", value_name = "NAME")]
    pub capabilities: Vec<String>,

    /// Only workers with this text in the id, host name, address or zone.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
}

/// Which VMs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filter")]
pub struct VmFilter {
    /// Only VMs on this worker, as it reports them; repeat it for several.
    #[arg(long = "worker", value_name = "ID")]
    pub workers: Vec<String>,

    /// Only VMs on workers in this zone; repeat it for several.
    #[arg(long = "zone", value_name = "ZONE")]
    pub zones: Vec<String>,

    /// Only VMs on workers that are in no zone.
    #[arg(long, conflicts_with = "zones")]
    pub without_zone: bool,

    /// Only VMs in this status: created, starting, running, stopping, stopped, failed; repeat it for several. Without it,
    /// those that hold a slot.
    #[arg(long = "status", value_name = "STATUS")]
    pub statuses: Vec<String>,

    /// Only VMs with this text in the id or name.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
}

/// The parameters of a question.
pub type Parameters = Vec<(String, String)>;

impl WorkerFilter {
    /// The parameters of the API.
    pub fn parameters(&self) -> Result<Parameters, Failure> {
        let Self { labels, zones, without_zone, statuses, capabilities, search } = self;
        named_zones(zones)?;
        refuse_empty("--label", labels)?;
        refuse_empty("--status", statuses)?;
        refuse_empty("--capability", capabilities)?;
        refuse_empty("--search", search)?;
        let mut parameters = repeated("label", labels);
        parameters.extend(repeated("zone", zones));
        parameters.extend(repeated("status", statuses));
        parameters.extend(repeated("capability", capabilities));
        parameters.extend(without_zone.then(|| ("has_zone".to_owned(), "false".to_owned())));
        parameters.extend(search.iter().map(|text| ("search".to_owned(), text.clone())));
        Ok(parameters)
    }
}

impl WorkerFilter {
    /// The same as the `filter` of a body.
    pub fn body(&self) -> Result<Map<String, Value>, Failure> {
        let Self { labels, zones, without_zone, statuses, capabilities, search } = self;
        named_zones(zones)?;
        let mut body = Map::new();
        for (key, values) in [("zones", zones), ("statuses", statuses), ("capabilities", capabilities)] {
            if !values.is_empty() {
                body.insert(key.to_owned(), json!(values));
            }
        }
        if !labels.is_empty() {
            let labels = labels.iter().map(|label| match label.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.into()),
                None => (label.clone(), Value::Null),
            });
            body.insert("labels".to_owned(), labels.collect::<Map<_, _>>().into());
        }
        body.extend(without_zone.then(|| ("has_zone".to_owned(), false.into())));
        body.extend(search.iter().map(|text| ("search".to_owned(), json!(text))));
        Ok(body)
    }
}

impl VmFilter {
    /// The parameters of the API.
    pub fn parameters(&self) -> Result<Parameters, Failure> {
        let Self { workers, zones, without_zone, statuses, search } = self;
        named_zones(zones)?;
        refuse_empty("--worker", workers)?;
        refuse_empty("--status", statuses)?;
        refuse_empty("--search", search)?;
        let mut parameters = repeated("worker_id", workers);
        parameters.extend(repeated("zone", zones));
        parameters.extend(repeated("status", statuses));
        parameters.extend(without_zone.then(|| ("has_zone".to_owned(), "false".to_owned())));
        parameters.extend(search.iter().map(|text| ("search".to_owned(), text.clone())));
        Ok(parameters)
    }
}

/// Refuses `--zone ""`: to the API that is no filter, so that a script whose variable is unset would be about the whole
/// fleet.
fn named_zones(zones: &[String]) -> Result<(), Failure> {
    if zones.iter().any(String::is_empty) {
        return Err(Failure::usage(
            "--zone is empty: name a zone, or write --without-zone for workers that are in none",
        ));
    }
    Ok(())
}

/// Refuses an option whose value is empty: what the API makes of that is no filter in some cases, so that the command would
/// be about everything.
pub fn refuse_empty<'a>(option: &str, values: impl IntoIterator<Item = &'a String>) -> Result<(), Failure> {
    if values.into_iter().any(String::is_empty) {
        return Err(Failure::usage(format!("{option} is empty: give it a value, or leave it out")));
    }
    Ok(())
}

/// A parameter with several values.
pub fn repeated(name: &str, values: &[String]) -> Parameters {
    values.iter().map(|value| (name.to_owned(), value.clone())).collect()
}
