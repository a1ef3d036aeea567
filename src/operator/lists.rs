//! `aetherium workers` and `aetherium vms`: lists, and one object in detail.

use clap::Args;

use super::columns::{VMS, WORKERS};
use super::connection::ConnectionOptions;
use super::failure::{ExitStatus, Failure};
use super::filters::{VmFilter, WorkerFilter, repeated};
use super::output::{Notes, Output, OutputOptions};
use super::pages::{List, named, one};
use super::watch;

/// `aetherium workers`.
#[derive(Args, Clone, Debug)]
pub struct WorkersOptions {
    /// Ids of workers; with one, everything that is known of it.
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    filter: WorkerFilter,

    /// In which order: id, hostname, zone, cpu_usage, memory_usage, vm_count, last_seen, free_cpu_cores, free_memory_mb,
    /// free_vm_slots; with a - before it for the largest first.
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,

    #[command(flatten)]
    list: ListOptions,
}

/// `aetherium vms`.
#[derive(Args, Clone, Debug)]
pub struct VmsOptions {
    /// Ids of VMs; with one, everything that is known of it.
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    filter: VmFilter,

    /// In which order: id, name, status, worker_id, zone, vcpus, memory_mb, created_at, started_at, status_since; with a -
    /// before it for the largest first.
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,

    #[command(flatten)]
    list: ListOptions,
}

/// What every list takes.
#[derive(Args, Clone, Debug)]
pub struct ListOptions {
    /// How many at most.
    #[arg(long, value_name = "N", conflicts_with = "watch")]
    limit: Option<usize>,

    /// Go on: a table is drawn anew whenever something changes; into a pipe, one JSON object is written for each change.
    #[arg(short = 'w', long, conflicts_with = "ids")]
    watch: bool,

    #[command(flatten)]
    output: OutputOptions,

    #[command(flatten)]
    connection: ConnectionOptions,
}

impl WorkersOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.list.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut parameters = self.filter.parameters()?;
        parameters.extend(sorted_by(self.sort.as_ref()));
        let list = List { objects: &WORKERS, path: &["workers"], parameters };
        run(&list, &self.ids, &self.list, notes).await
    }
}

impl VmsOptions {
    /// How it is written.
    pub fn output(&self) -> &OutputOptions {
        &self.list.output
    }

    /// Carries it out.
    pub async fn run(&self, notes: &Notes) -> Result<(), Failure> {
        let mut parameters = self.filter.parameters()?;
        parameters.extend(sorted_by(self.sort.as_ref()));
        let list = List { objects: &VMS, path: &["vms"], parameters };
        run(&list, &self.ids, &self.list, notes).await
    }
}

/// The parameter of the API for an order.
fn sorted_by(field: Option<&String>) -> Option<(String, String)> {
    field.map(|field| ("sort".to_owned(), field.clone()))
}

async fn run(list: &List<'_>, ids: &[String], options: &ListOptions, notes: &Notes) -> Result<(), Failure> {
    let mut output = Output::new(&options.output, Some(list.objects))?;
    let connection = options.connection.connect()?;
    let api = &connection.api;
    if options.watch {
        return watch::list(api, list, &mut output, notes).await;
    }
    match ids {
        [] => return list.write(api, options.limit, &mut output).await,
        [id] if list.parameters.is_empty() => {
            let row = one(api, list, id).await?;
            output.details(list.objects, &row)?;
            if list.objects.key == WORKERS.key && output.is_text() && options.output.columns.is_empty() {
                let parameters = repeated("worker_id", std::slice::from_ref(id));
                let vms = List { objects: &VMS, path: &["vms"], parameters }.all(api).await?;
                if !vms.is_empty() {
                    output.line("")?;
                    output.list(&VMS, &vms)?;
                }
            }
        }
        ids => {
            let (rows, missing) = named(api, list, ids).await?;
            output.list(list.objects, &rows)?;
            output.flush()?;
            if !missing.is_empty() {
                let (noun, missing) = (list.objects.noun, missing.join(", "));
                let and_matching = if list.parameters.is_empty() { "" } else { ", or not as the filter wants it" };
                return Err(Failure::new(ExitStatus::NotFound, format!("{noun} not found{and_matching}: {missing}")));
            }
        }
    }
    output.flush()
}
