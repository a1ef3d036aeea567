//! Plans (see [`plan`](super)) of the query root's fields: each writes what its resolver in
//! [`query`](crate::graphql::schema::query) returns. Change that resolver first, and then its plan here.
//!
//! The lists of all workers and of all VMs are written from cached rows. Fields that read the change log have no plan.

use async_graphql::{ID, InputType, Name, Positioned, Variables};
use async_graphql_value::Value;

use super::collect::{CollectedField, Compiler, Fallback, argument};
use super::object_writers::{CachedSelection, ResponseBuffer, SelectionPlan};
use crate::cluster::{
    self, ClusterStats, DrainView, VmFilter, VmView, WorkerDistribution, WorkerFilter, WorkerOrder, WorkerView,
};
use crate::graphql::schema::inputs;
use crate::graphql::schema::paging::PageArguments;
use crate::graphql::schema::query::MAX_NODES;
use crate::http::ChunkedBytes;
use crate::json;
use crate::render::{ListKey, RenderedRow, RenderedRows};
use crate::resolvers::page::{Page, PageRequest};
use crate::resolvers::row_cache::RowCache;
use crate::resolvers::{Node, Reading};

/// The input of a plan for one request.
pub struct PlanInput<'a> {
    pub reading: &'a Reading,
    pub variables: &'a Variables,
    /// None for a plan of one request only, whose rows would not be used again.
    pub row_cache: Option<&'a RowCache>,
}

/// A response while it is written: the chunk being written, and the finished ones, among them shared rows.
#[derive(Default)]
pub struct RootResponse {
    pub buffer: ResponseBuffer,
    pub chunks: ChunkedBytes,
}

/// Writes the value of one root field, or falls back.
pub(super) type RootWriter = Box<dyn Fn(&PlanInput<'_>, &mut RootResponse) -> Result<(), Fallback> + Send + Sync>;

/// Plans a field of the query root.
pub(super) fn plan(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    match collected.field.node.name.node.as_str() {
        "__typename" => Ok(Box::new(|_, response| {
            json::plain("Query", &mut response.buffer.bytes);
            Ok(())
        })),
        "node" => node(collected, compiler),
        "nodes" => nodes(collected, compiler),
        "workers" => workers(collected, compiler),
        "workersConnection" => workers_connection(collected, compiler),
        "worker" => worker(collected, compiler),
        "vms" => vms(collected, compiler),
        "vmsConnection" => vms_connection(collected, compiler),
        "vm" => vm(collected, compiler),
        "drains" => drains(collected, compiler),
        "clusterStats" => cluster_stats(collected, compiler),
        "zones" => zones(collected, compiler),
        "workerCounts" => worker_counts(collected, compiler),
        "vmCounts" => vm_counts(collected, compiler),
        "vmDistribution" => vm_distribution(collected, compiler),
        _ => Err(Fallback::Resolver),
    }
}

/// The arguments of a root field, not substituted: variables differ from one request to the next.
struct Arguments(Vec<(Positioned<Name>, Positioned<Value>)>);

impl Arguments {
    fn new(collected: &CollectedField<'_>) -> Self {
        Self(collected.field.node.arguments.clone())
    }

    fn read<T: InputType>(&self, name: &str, input: &PlanInput<'_>) -> Result<T, Fallback> {
        argument(&self.0, name, Some(input.variables))
    }

    fn page(&self, input: &PlanInput<'_>) -> Result<PageRequest, Fallback> {
        let request = PageArguments {
            first: self.read("first", input)?,
            after: self.read("after", input)?,
            last: self.read("last", input)?,
            before: self.read("before", input)?,
        };
        Ok(request.into())
    }
}

fn worker(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), CachedSelection::select(collected, compiler)?);
    Ok(Box::new(move |input, response| {
        let id = arguments.read::<ID>("id", input)?;
        response.buffer.option(input.reading.find_worker(&id), |worker, out| fields.write(&worker, out));
        Ok(())
    }))
}

fn vm(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), compiler.select::<VmView>(&collected.sets)?);
    Ok(Box::new(move |input, response| {
        let id = arguments.read::<ID>("id", input)?;
        response.buffer.option(input.reading.find_vm(&id), |vm, out| fields.write(&vm, out));
        Ok(())
    }))
}

/// The selections of a node: one for a worker, one for a VM.
struct NodeSelections {
    worker: SelectionPlan<WorkerView>,
    vm: SelectionPlan<VmView>,
}

impl NodeSelections {
    fn select(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<Self, Fallback> {
        Ok(Self { worker: compiler.select(&collected.sets)?, vm: compiler.select(&collected.sets)? })
    }

    fn write(&self, node: Option<Node>, out: &mut ResponseBuffer) {
        out.option(node, |node, out| match node {
            Node::Worker(worker) => self.worker.write(&worker, out),
            Node::Vm(vm) => self.vm.write(&vm, out),
        });
    }
}

fn node(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), NodeSelections::select(collected, compiler)?);
    Ok(Box::new(move |input, response| {
        let id = arguments.read::<ID>("id", input)?;
        fields.write(input.reading.find_node(&id), &mut response.buffer);
        Ok(())
    }))
}

fn nodes(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), NodeSelections::select(collected, compiler)?);
    Ok(Box::new(move |input, response| {
        let ids = arguments.read::<Vec<ID>>("ids", input)?;
        if ids.len() > MAX_NODES {
            return Err(Fallback::Resolver);
        }
        response.buffer.list(ids, |id, out| fields.write(input.reading.find_node(&id), out));
        Ok(())
    }))
}

fn workers(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), CachedSelection::select(collected, compiler)?);
    let list = compiler.cache_key(collected).map(|key| ListKey::named(key, fields.volatility()));
    Ok(Box::new(move |input, response| {
        let PlanInput { reading, row_cache, .. } = input;
        let zone = arguments.read::<Option<String>>("zone", input)?;
        let zones = arguments.read::<Option<Vec<String>>>("zones", input)?;
        let filter = inputs::in_zones(zone, zones).map_err(|_| Fallback::Resolver)?;
        match row_cache.zip(list.as_ref()).filter(|_| filter == WorkerFilter::default()) {
            Some((row_cache, list)) => {
                let before = response.buffer.objects;
                let write = |worker: &WorkerView, bytes: &mut Vec<u8>| {
                    response.write_row(bytes, |out| fields.write(worker, out))
                };
                let rows = reading.write_workers(row_cache, list, write);
                response.append(before, rows);
            }
            None => response.buffer.list(reading.list_workers(&filter), |worker, out| fields.write(&worker, out)),
        }
        Ok(())
    }))
}

fn workers_connection(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), compiler.select::<Page<WorkerView>>(&collected.sets)?);
    Ok(Box::new(move |input, response| {
        let request = arguments.page(input)?;
        let order = arguments.read::<Option<inputs::WorkerOrder>>("orderBy", input)?;
        let order: WorkerOrder = order.map(Into::into).unwrap_or_default();
        let filter = arguments.read::<Option<inputs::WorkerFilter>>("filter", input)?.unwrap_or_default();
        let filter: WorkerFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        let page = input.reading.page_of_workers(&filter, order, &request).map_err(|_| Fallback::Resolver)?;
        fields.write(&page, &mut response.buffer);
        Ok(())
    }))
}

fn vms(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<VmView>(&collected.sets)?;
    let list = compiler.cache_key(collected).map(|key| ListKey::named(key, fields.volatility()));
    Ok(Box::new(move |PlanInput { reading, row_cache, .. }, response| {
        match row_cache.zip(list.as_ref()) {
            Some((row_cache, list)) => {
                let before = response.buffer.objects;
                let rows = reading
                    .write_vms(row_cache, list, |vm, bytes| response.write_row(bytes, |out| fields.write(vm, out)));
                response.append(before, rows);
            }
            None => response.buffer.list(reading.list_vms(&VmFilter::default()), |vm, out| fields.write(&vm, out)),
        }
        Ok(())
    }))
}

fn vms_connection(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), compiler.select::<Page<VmView>>(&collected.sets)?);
    Ok(Box::new(move |input, response| {
        let request = arguments.page(input)?;
        let filter = arguments.read::<Option<inputs::VmFilter>>("filter", input)?.unwrap_or_default();
        let filter: cluster::VmFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        let order = arguments.read::<Option<inputs::VmOrder>>("orderBy", input)?;
        let order: cluster::VmOrder = order.map(Into::into).unwrap_or_default();
        let page = input.reading.page_of_vms(&filter, order, &request).map_err(|_| Fallback::Resolver)?;
        fields.write(&page, &mut response.buffer);
        Ok(())
    }))
}

fn drains(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), compiler.select::<Page<DrainView>>(&collected.sets)?);
    Ok(Box::new(move |input, response| {
        let request = arguments.page(input)?;
        let filter = arguments.read::<Option<inputs::DrainFilter>>("filter", input)?.unwrap_or_default();
        let filter: cluster::DrainFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        let page = input.reading.page_of_drains(&filter, &request).map_err(|_| Fallback::Resolver)?;
        fields.write(&page, &mut response.buffer);
        Ok(())
    }))
}

fn cluster_stats(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<ClusterStats>(&collected.sets)?;
    Ok(Box::new(move |input, response| {
        fields.write(&input.reading.cluster_stats(), &mut response.buffer);
        Ok(())
    }))
}

fn zones(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<cluster::ZoneTotals>(&collected.sets)?;
    Ok(Box::new(move |input, response| {
        response.buffer.list(input.reading.list_zones(), |zone, out| fields.write(&zone, out));
        Ok(())
    }))
}

fn worker_counts(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), compiler.select::<cluster::WorkerCounts>(&collected.sets)?);
    Ok(Box::new(move |input, response| {
        let filter = arguments.read::<Option<inputs::WorkerFilter>>("filter", input)?.unwrap_or_default();
        let filter: WorkerFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        fields.write(&input.reading.count_workers(&filter), &mut response.buffer);
        Ok(())
    }))
}

fn vm_counts(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let (arguments, fields) = (Arguments::new(collected), compiler.select::<cluster::VmCounts>(&collected.sets)?);
    Ok(Box::new(move |input, response| {
        let filter = arguments.read::<Option<inputs::VmFilter>>("filter", input)?.unwrap_or_default();
        let filter: VmFilter = filter.try_into().map_err(|_| Fallback::Resolver)?;
        fields.write(&input.reading.count_vms(filter), &mut response.buffer);
        Ok(())
    }))
}

fn vm_distribution(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<RootWriter, Fallback> {
    let fields = compiler.select::<WorkerDistribution>(&collected.sets)?;
    let list = compiler.cache_key(collected).map(|key| ListKey::named(key, fields.volatility()));
    Ok(Box::new(move |PlanInput { reading, row_cache, .. }, response| {
        match row_cache.zip(list.as_ref()) {
            Some((row_cache, list)) => {
                let before = response.buffer.objects;
                let rows = reading.write_workers(row_cache, list, |worker, bytes| {
                    let entry = WorkerDistribution::of(worker.clone());
                    response.write_row(bytes, |out| fields.write(&entry, out))
                });
                response.append(before, rows);
            }
            None => response.buffer.list(reading.list_distribution(), |entry, out| fields.write(&entry, out)),
        }
        Ok(())
    }))
}

impl RootResponse {
    /// Writes a row for the row cache into `bytes`.
    fn write_row(&mut self, bytes: &mut Vec<u8>, write: impl FnOnce(&mut ResponseBuffer)) -> RenderedRow {
        let before = self.buffer.objects;
        std::mem::swap(&mut self.buffer.bytes, bytes);
        write(&mut self.buffer);
        std::mem::swap(&mut self.buffer.bytes, bytes);
        RenderedRow { objects: self.buffer.objects - before, is_complete: self.buffer.is_usable(), version: 0 }
    }

    /// Appends a list of rows as chunks, without copying them.
    fn append(&mut self, before: usize, rows: RenderedRows) {
        self.buffer.objects = before.saturating_add(rows.total).saturating_add(rows.objects);
        self.buffer.bytes.push(b'[');
        self.chunks.push(std::mem::take(&mut self.buffer.bytes).into());
        rows.chunks.into_iter().for_each(|chunk| self.chunks.push(chunk));
        self.buffer.bytes.push(b']');
    }
}
