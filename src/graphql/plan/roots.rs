//! The fields of the roots as plans: each asks the same of the same reading as its resolver in
//! [`query`](crate::graphql::schema::query) does.
//!
//! Lists of all workers and of all VMs are written from rows that are kept. What reads the change log is left to the
//! ordinary resolvers.

use async_graphql::{ID, InputType, Name, Positioned, Variables};
use async_graphql_value::Value;

use super::collect::{CollectedField, Compiler, Fallback, argument};
use super::objects::{CachedSelection, ResponseBuffer, SelectionPlan};
use crate::cluster::{self, ClusterStats, VmFilter, VmView, WorkerDistribution, WorkerFilter, WorkerOrder, WorkerView};
use crate::graphql::schema::inputs;
use crate::graphql::schema::paging::PageArguments;
use crate::graphql::schema::query::MAX_NODES;
use crate::http::ChunkedBytes;
use crate::json;
use crate::resolvers::kept::{Kept, List, Row, Rows};
use crate::resolvers::page::{Page, PageRequest};
use crate::resolvers::{Node, Reading};

/// What a plan is run with.
pub struct PlanInput<'a> {
    pub reading: &'a Reading,
    pub variables: &'a Variables,
    /// None if the plan will not be run again.
    pub kept: Option<&'a Kept>,
}

/// The answer while it is written: what is written now, and what is done.
#[derive(Default)]
pub struct RootResponse {
    pub out: ResponseBuffer,
    pub done: ChunkedBytes,
}

/// Writes the value of one field of a root, if it can.
pub(super) type RootWriter = Box<dyn Fn(&PlanInput<'_>, &mut RootResponse) -> Result<(), Fallback> + Send + Sync>;

/// What writes a field of the query root.
pub(super) fn plan(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    match asked.field.node.name.node.as_str() {
        "__typename" => Ok(Box::new(|_, answer| {
            json::plain("Query", &mut answer.out.bytes);
            Ok(())
        })),
        "node" => node(asked, compiler),
        "nodes" => nodes(asked, compiler),
        "workers" => workers(asked, compiler),
        "workersConnection" => workers_connection(asked, compiler),
        "worker" => worker(asked, compiler),
        "vms" => vms(asked, compiler),
        "vmsConnection" => vms_connection(asked, compiler),
        "vm" => vm(asked, compiler),
        "clusterStats" => cluster_stats(asked, compiler),
        "vmDistribution" => vm_distribution(asked, compiler),
        _ => Err(Fallback::Resolver),
    }
}

/// The arguments of a root field, which may be variables that differ from one request to the next.
struct Arguments(Vec<(Positioned<Name>, Positioned<Value>)>);

impl Arguments {
    fn of(asked: &CollectedField<'_>) -> Self {
        Self(asked.field.node.arguments.clone())
    }

    fn read<T: InputType>(&self, name: &str, question: &PlanInput<'_>) -> Result<T, Fallback> {
        argument(&self.0, name, Some(question.variables))
    }

    fn page(&self, question: &PlanInput<'_>) -> Result<PageRequest, Fallback> {
        let request = PageArguments {
            first: self.read("first", question)?,
            after: self.read("after", question)?,
            last: self.read("last", question)?,
            before: self.read("before", question)?,
        };
        Ok(request.into())
    }
}

fn worker(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), CachedSelection::select(asked, compiler)?);
    Ok(Box::new(move |question, answer| {
        let id = arguments.read::<ID>("id", question)?;
        answer.out.option(question.reading.find_worker(&id), |worker, out| fields.write(&worker, out));
        Ok(())
    }))
}

fn vm(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), compiler.select::<VmView>(&asked.sets)?);
    Ok(Box::new(move |question, answer| {
        let id = arguments.read::<ID>("id", question)?;
        answer.out.option(question.reading.find_vm(&id), |vm, out| fields.write(&vm, out));
        Ok(())
    }))
}

/// What writes a worker or a VM, whichever it is.
struct NodeSelections {
    worker: SelectionPlan<WorkerView>,
    vm: SelectionPlan<VmView>,
}

impl NodeSelections {
    fn select(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<Self, Fallback> {
        Ok(Self { worker: compiler.select(&asked.sets)?, vm: compiler.select(&asked.sets)? })
    }

    fn write(&self, node: Option<Node>, out: &mut ResponseBuffer) {
        out.option(node, |node, out| match node {
            Node::Worker(worker) => self.worker.write(&worker, out),
            Node::Vm(vm) => self.vm.write(&vm, out),
        });
    }
}

fn node(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), NodeSelections::select(asked, compiler)?);
    Ok(Box::new(move |question, answer| {
        let id = arguments.read::<ID>("id", question)?;
        fields.write(question.reading.find_node(&id), &mut answer.out);
        Ok(())
    }))
}

fn nodes(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), NodeSelections::select(asked, compiler)?);
    Ok(Box::new(move |question, answer| {
        let ids = arguments.read::<Vec<ID>>("ids", question)?;
        if ids.len() > MAX_NODES {
            return Err(Fallback::Resolver);
        }
        answer.out.list(ids, |id, out| fields.write(question.reading.find_node(&id), out));
        Ok(())
    }))
}

fn workers(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), CachedSelection::select(asked, compiler)?);
    let list = compiler.spelled_out(asked).map(|name| List::named(name, fields.depends()));
    Ok(Box::new(move |question, answer| {
        let PlanInput { reading, kept, .. } = question;
        let filter = WorkerFilter::in_zone(arguments.read::<Option<String>>("zone", question)?);
        match kept.zip(list.as_ref()).filter(|_| filter == WorkerFilter::default()) {
            Some((kept, list)) => {
                let before = answer.out.objects;
                let write =
                    |worker: &WorkerView, bytes: &mut Vec<u8>| answer.write_row(bytes, |out| fields.write(worker, out));
                let rows = reading.write_workers(kept, list, write);
                answer.append(before, rows);
            }
            None => answer.out.list(reading.list_workers(&filter), |worker, out| fields.write(&worker, out)),
        }
        Ok(())
    }))
}

fn workers_connection(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), compiler.select::<Page<WorkerView>>(&asked.sets)?);
    Ok(Box::new(move |question, answer| {
        let request = arguments.page(question)?;
        let order = arguments.read::<Option<inputs::WorkerOrder>>("orderBy", question)?;
        let order: WorkerOrder = order.map(Into::into).unwrap_or_default();
        let filter = arguments.read::<Option<inputs::WorkerFilter>>("filter", question)?.unwrap_or_default();
        let filter: WorkerFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        let page = question.reading.page_of_workers(&filter, order, &request).map_err(|_| Fallback::Resolver)?;
        fields.write(&page, &mut answer.out);
        Ok(())
    }))
}

fn vms(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<VmView>(&asked.sets)?;
    let list = compiler.spelled_out(asked).map(|name| List::named(name, fields.depends()));
    Ok(Box::new(move |PlanInput { reading, kept, .. }, answer| {
        match kept.zip(list.as_ref()) {
            Some((kept, list)) => {
                let before = answer.out.objects;
                let rows =
                    reading.write_vms(kept, list, |vm, bytes| answer.write_row(bytes, |out| fields.write(vm, out)));
                answer.append(before, rows);
            }
            None => answer.out.list(reading.list_vms(&VmFilter::default()), |vm, out| fields.write(&vm, out)),
        }
        Ok(())
    }))
}

fn vms_connection(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::of(asked), compiler.select::<Page<VmView>>(&asked.sets)?);
    Ok(Box::new(move |question, answer| {
        let request = arguments.page(question)?;
        let filter = arguments.read::<Option<inputs::VmFilter>>("filter", question)?.unwrap_or_default();
        let filter: cluster::VmFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        let page = question.reading.page_of_vms(&filter, &request).map_err(|_| Fallback::Resolver)?;
        fields.write(&page, &mut answer.out);
        Ok(())
    }))
}

fn cluster_stats(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<ClusterStats>(&asked.sets)?;
    Ok(Box::new(move |question, answer| {
        fields.write(&question.reading.cluster_stats(), &mut answer.out);
        Ok(())
    }))
}

fn vm_distribution(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<WorkerDistribution>(&asked.sets)?;
    let list = compiler.spelled_out(asked).map(|name| List::named(name, fields.depends()));
    Ok(Box::new(move |PlanInput { reading, kept, .. }, answer| {
        match kept.zip(list.as_ref()) {
            Some((kept, list)) => {
                let before = answer.out.objects;
                let rows = reading.write_workers(kept, list, |worker, bytes| {
                    let entry = WorkerDistribution::of(worker.clone());
                    answer.write_row(bytes, |out| fields.write(&entry, out))
                });
                answer.append(before, rows);
            }
            None => answer.out.list(reading.list_distribution(), |entry, out| fields.write(&entry, out)),
        }
        Ok(())
    }))
}

impl RootResponse {
    /// Writes a row that will be kept.
    fn write_row(&mut self, bytes: &mut Vec<u8>, write: impl FnOnce(&mut ResponseBuffer)) -> Row {
        let before = self.out.objects;
        std::mem::swap(&mut self.out.bytes, bytes);
        write(&mut self.out);
        std::mem::swap(&mut self.out.bytes, bytes);
        Row { objects: self.out.objects - before, is_whole: self.out.is_good(), version: 0 }
    }

    /// Puts rows that are written behind what is written.
    fn append(&mut self, before: usize, rows: Rows) {
        self.out.objects = before.saturating_add(rows.total).saturating_add(rows.objects);
        self.out.bytes.push(b'[');
        self.done.push(std::mem::take(&mut self.out.bytes).into());
        rows.pieces.into_iter().for_each(|piece| self.done.push(piece));
        self.out.bytes.push(b']');
    }
}
