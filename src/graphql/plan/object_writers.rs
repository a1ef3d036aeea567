//! Plans of object types: selections of an object's fields, compiled from the field lists.
//!
//! This is one more expansion of the field lists of [`cluster::fields`]; the resolvers of the
//! same types are in [`schema::object_types`](crate::graphql::schema::object_types).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::Name;
use async_graphql::parser::types::SelectionSet;

use super::collect::{CollectedField, Compiler, Fallback};
use super::value_writers::WriteJson;
use crate::cluster::fields::{
    cluster_stats_fields, drain_fields, event_fields, vm_counts_fields, vm_fields, worker_counts_fields,
    worker_distribution_fields, worker_fields, zone_fields,
};
use crate::cluster::{self, DrainView, VmId, VmOrderField, VmView, WorkerId, WorkerView};
use crate::graphql::execution::budget::MAX_OBJECTS;
use crate::graphql::schema::inputs::{VmFilter, VmOrder, in_statuses};
use crate::graphql::schema::paging::{PageArguments, PageInfo};
use crate::graphql::schema::value_types::{self, DrainBlocker, Label, ZoneCount, ZoneStats};
use crate::json;
use crate::render::{Template, Volatility, volatility};
use crate::resolvers::checks::wanted;
use crate::resolvers::drain_watch::DrainProgress;
use crate::resolvers::page::{Edge, Page};
use crate::resolvers::watch::{Heartbeat, WorkerUpdate};
use crate::resolvers::{EventView, page_of_worker_vms};

/// The part of a response that is being written.
#[derive(Default)]
pub struct ResponseBuffer {
    pub bytes: Vec<u8>,
    /// Objects in the lists so far; see [`budget`](crate::graphql::execution::budget).
    pub objects: usize,
    has_fallen_back: bool,
}

impl ResponseBuffer {
    /// Whether what is written can become the response. If not, writing stops and the engine takes over.
    pub fn is_usable(&self) -> bool {
        !self.has_fallen_back && self.objects <= MAX_OBJECTS
    }

    /// Gives up the plan: the engine's resolver shall make the error.
    pub(super) fn fall_back(&mut self) {
        self.has_fallen_back = true;
    }

    /// Writes a list, until the response has too many objects.
    pub(super) fn list<T>(&mut self, entries: impl IntoIterator<Item = T>, mut write: impl FnMut(T, &mut Self)) {
        self.bytes.push(b'[');
        for (index, entry) in entries.into_iter().enumerate() {
            self.objects += 1;
            if !self.is_usable() {
                break;
            }
            if index > 0 {
                self.bytes.push(b',');
            }
            write(entry, self);
        }
        self.bytes.push(b']');
    }

    /// Writes an object, or null.
    pub(super) fn option<T>(&mut self, object: Option<T>, write: impl FnOnce(T, &mut Self)) {
        match object {
            Some(object) => write(object, self),
            None => self.bytes.extend_from_slice(b"null"),
        }
    }
}

impl<'a> Compiler<'a> {
    /// Compiles a selection of an object's fields.
    pub fn select<V: PlannedObject>(&self, sets: &[&'a SelectionSet]) -> Result<SelectionPlan<V>, Fallback> {
        let mut fields = SelectionPlan::default();
        for collected in self.collect(V::TYPE, sets)? {
            match collected.field.node.name.node.as_str() {
                "__typename" => fields.add_typename(collected.key()),
                _ => {
                    let (write, volatility) = V::plan(&collected, self)?;
                    fields.add(collected.key(), write, volatility);
                }
            }
        }
        Ok(fields)
    }
}

/// Writes the value of one field of an object.
pub(super) type FieldWriter<V> = Box<dyn Fn(&V, &mut ResponseBuffer) + Send + Sync>;

/// The writer of a field, and the volatility of its value.
pub type FieldPlan<V> = Result<(FieldWriter<V>, Volatility), Fallback>;

/// An object type that has plans.
pub trait PlannedObject: Sized + 'static {
    /// The name of the type.
    const TYPE: &'static str;

    /// Compiles one of its fields.
    fn plan(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Self>;
}

/// The plan of a selection of an object's fields.
pub struct SelectionPlan<V> {
    fields: Vec<Field<V>>,
    volatility: Volatility,
}

/// A field of a plan.
struct Field<V> {
    /// The response key as JSON, with the comma before and the colon after it.
    key: Box<[u8]>,
    write: FieldWriter<V>,
    volatility: Volatility,
}

impl<V> Default for SelectionPlan<V> {
    fn default() -> Self {
        Self { fields: Vec::new(), volatility: Volatility::STABLE }
    }
}

impl<V: PlannedObject> SelectionPlan<V> {
    pub(super) fn add(&mut self, key: &Name, write: FieldWriter<V>, volatility: Volatility) {
        let mut json_key = Vec::with_capacity(key.len() + 4);
        if !self.fields.is_empty() {
            json_key.push(b',');
        }
        json::plain(key.as_str(), &mut json_key);
        json_key.push(b':');
        self.fields.push(Field { key: json_key.into(), write, volatility });
        self.volatility = self.volatility.and(volatility);
    }

    pub(super) fn add_typename(&mut self, key: &Name) {
        self.add(key, Box::new(|_, out| json::plain(V::TYPE, &mut out.bytes)), Volatility::STABLE);
    }

    /// The volatility of all fields together.
    pub(super) fn volatility(&self) -> Volatility {
        self.volatility
    }

    /// Writes an object.
    pub fn write(&self, object: &V, out: &mut ResponseBuffer) {
        out.bytes.push(b'{');
        for Field { key, write, .. } in &self.fields {
            out.bytes.extend_from_slice(key);
            write(object, out);
        }
        out.bytes.push(b'}');
    }
}

/// A selection of a worker's fields whose JSON is cached with the worker until the worker changes.
pub(super) struct CachedSelection {
    fields: SelectionPlan<WorkerView>,
    /// The key of the cached JSON; none if it would be too long or the selection depends on variables.
    cache_key: Option<Arc<str>>,
    /// Set once a worker's JSON was too long to be cached: trying with every other worker would write each twice.
    is_too_long: AtomicBool,
}

impl CachedSelection {
    /// The longest cache key, and the longest JSON that is cached of a worker. With the VMs in it, it would be longer
    /// than the worker itself.
    const MAX_LENGTH: usize = 1_024;

    pub(super) fn select(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<Self, Fallback> {
        let cache_key =
            compiler.selection_cache_key(&collected.sets).filter(|cache_key| cache_key.len() <= Self::MAX_LENGTH);
        let fields = compiler.select(&collected.sets)?;
        Ok(Self { fields, cache_key: cache_key.map(Arc::from), is_too_long: AtomicBool::new(false) })
    }

    pub(super) fn volatility(&self) -> Volatility {
        self.fields.volatility
    }

    /// Writes a worker: its stable fields from the cached template, the volatile ones anew.
    pub(super) fn write(&self, worker: &WorkerView, out: &mut ResponseBuffer) {
        let cache_key = self.cache_key.as_ref().filter(|_| !self.is_too_long.load(Ordering::Relaxed));
        let template =
            cache_key.and_then(|cache_key| worker.render_cache().selection(cache_key, || self.template(worker)));
        let Some(template) = template else { return self.fields.write(worker, out) };
        out.objects = out.objects.saturating_add(template.objects);
        let mut segments = template.segments();
        out.bytes.extend_from_slice(segments.next().unwrap_or_default());
        for Field { write, .. } in self.fields.fields.iter().filter(|field| field.volatility != Volatility::STABLE) {
            write(worker, out);
            out.bytes.extend_from_slice(segments.next().unwrap_or_default());
        }
    }

    /// Renders the template of a worker, with a gap for each volatile field.
    fn template(&self, worker: &WorkerView) -> Option<Template> {
        let (mut text, mut out) = (Template::default(), ResponseBuffer::default());
        out.bytes.push(b'{');
        for Field { key, write, volatility } in &self.fields.fields {
            out.bytes.extend_from_slice(key);
            if *volatility == Volatility::STABLE {
                write(worker, &mut out);
            } else {
                text.bytes().append(&mut out.bytes);
                text.add_gap();
            }
            if text.bytes().len() + out.bytes.len() > Self::MAX_LENGTH {
                self.is_too_long.store(true, Ordering::Relaxed);
                return None;
            }
        }
        out.bytes.push(b'}');
        text.bytes().append(&mut out.bytes);
        text.objects = out.objects;
        out.is_usable().then_some(text)
    }
}

/// Compiles one field: an object or a list of objects with its own selection, any other field as a leaf.
macro_rules! field {
    (Labels |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let keys = $compiler.argument::<Option<Vec<String>>>($collected, "keys")?;
        let keys = keys.map(|keys| wanted("keys", keys)).transpose().map_err(|_| Fallback::Resolver)?;
        let label = $compiler.select::<Label>(&$collected.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| {
            let is_selected = |key: &str| keys.as_ref().is_none_or(|keys| keys.iter().any(|wanted| **wanted == *key));
            let labels = $value.iter().filter(|(key, _)| is_selected(key)).map(Label::from);
            out.list(labels, |entry, out| label.write(&entry, out));
        };
        Ok((Box::new(write), $volatility))
    }};
    (Zones |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let zone = $compiler.select::<ZoneStats>(&$collected.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| {
            out.list($value.iter().map(ZoneStats::from), |entry, out| zone.write(&entry, out));
        };
        Ok((Box::new(write), $volatility))
    }};
    (ZoneCounts |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let zone = $compiler.select::<ZoneCount>(&$collected.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| {
            out.list($value.iter().map(ZoneCount::from), |entry, out| zone.write(&entry, out));
        };
        Ok((Box::new(write), $volatility))
    }};
    (Vms |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let vm = $compiler.select::<VmView>(&$collected.sets)?;
        let volatility = Volatility::and($volatility, vm.volatility());
        let write =
            move |$this: &$view, out: &mut ResponseBuffer| out.list($value.iter(), |entry, out| vm.write(entry, out));
        Ok((Box::new(write), volatility))
    }};
    (Drain |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let drain = $compiler.select::<DrainView>(&$collected.sets)?;
        // Not that of the declaration: much of a drain changes with its worker only.
        let volatility = drain.volatility();
        let write = move |$this: &$view, out: &mut ResponseBuffer| out.option($value, |it, out| drain.write(&it, out));
        Ok((Box::new(write), volatility))
    }};
    (Blockers |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let blocker = $compiler.select::<DrainBlocker>(&$collected.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| {
            out.list($value.into_iter().map(DrainBlocker::from), |entry, out| blocker.write(&entry, out));
        };
        Ok((Box::new(write), $volatility))
    }};
    ($shape:ident |$this:ident: $view:ty| $value:expr, $volatility:expr, $collected:ident, $compiler:ident) => {{
        let write = |$this: &$view, out: &mut ResponseBuffer| {
            <value_types::$shape as WriteJson<_>>::write($value, &mut out.bytes)
        };
        Ok((Box::new(write), $volatility))
    }};
}

/// Implements [`PlannedObject`] for a field list. In braces after the macro's name are further fields, each with the
/// function that compiles it.
macro_rules! planned {
    ({ $({ $($more:ident: $plan:path),* $(,)? })? } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) {
        $($(#[$field_doc:meta])* $field:ident: $shape:ident [$where:ident $($volatility:ident)?] = $value:expr;)+
    }) => {
        impl PlannedObject for $view {
            const TYPE: &'static str = stringify!($object);

            #[allow(unused_variables, reason = "not every object has fields that are planned with it")]
            fn plan(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Self> {
                match &*collected.snake_case_name() {
                    $(stringify!($field) => {
                        field!($shape |$this: $view| $value, volatility!($($volatility)?), collected, compiler)
                    })+
                    $($(stringify!($more) => $plan(collected, compiler),)*)?
                    _ => Err(Fallback::Resolver),
                }
            }
        }
    };
}

worker_fields!(planned { vms: worker_vms, vms_connection: worker_vms_connection });
drain_fields!(planned { worker: worker_of_drain });
vm_fields!(planned { worker: worker_of_vm, zone: zone_of_vm });
cluster_stats_fields!(planned { id: id_of_stats });
worker_distribution_fields!(planned);
zone_fields!(planned);
worker_counts_fields!(planned);
vm_counts_fields!(planned);
event_fields!(planned { worker: worker_of_event, vm: vm_of_event });

// Types that only GraphQL has.
planned! { {} Label(label: Label) {
    key: Text [everywhere] = &*label.key;
    value: Text [everywhere] = &*label.value;
} }
planned! { {} DrainBlocker(blocker: DrainBlocker) {
    kind: BlockerKind [everywhere] = blocker.kind;
    vm_id: OptionalId [everywhere] = blocker.vm_id.as_deref().map(String::as_str);
    since: OptionalDateTime [everywhere] = blocker.since.as_ref().map(|time| time.0);
    note: OptionalText [everywhere] = blocker.note.as_deref();
    message: Text [everywhere] = &*blocker.message;
} }
planned! { {} ZoneStats(zone: ZoneStats) {
    id: Id [everywhere] = zone.id.as_str();
    name: Text [everywhere] = &*zone.name;
    workers: Int [everywhere] = zone.workers;
} }
planned! { {} ZoneCount(zone: ZoneCount) {
    zone: Text [everywhere] = &*zone.zone;
    count: Int [everywhere] = zone.count;
} }
planned! { {} PageInfo(info: PageInfo) {
    has_next_page: Bool [everywhere] = info.has_next_page;
    has_previous_page: Bool [everywhere] = info.has_previous_page;
    start_cursor: OptionalText [everywhere] = info.start_cursor.as_deref();
    end_cursor: OptionalText [everywhere] = info.end_cursor.as_deref();
} }
planned! { { { edges: edges, nodes: nodes, page_info: page_info } } WorkerConnection(page: Page<WorkerView>) {
    total_count: Int [everywhere] = page.total;
} }
planned! { { { edges: edges, nodes: nodes, page_info: page_info } } VmConnection(page: Page<VmView>) {
    total_count: Int [everywhere] = page.total;
} }
planned! { { { edges: edges, nodes: nodes, page_info: page_info } } DrainConnection(page: Page<DrainView>) {
    total_count: Int [everywhere] = page.total;
} }
planned! { { { node: node } } DrainEdge(edge: Edge<DrainView>) {
    cursor: Text [everywhere] = &*edge.cursor();
} }
planned! { { { drain: drain_of_progress } } DrainProgress(progress: DrainProgress) {
    is_last: Bool [everywhere] = progress.is_last;
} }
planned! { { { node: node } } WorkerEdge(edge: Edge<WorkerView>) {
    cursor: Text [everywhere] = &*edge.cursor();
} }
planned! { { { node: node } } VmEdge(edge: Edge<VmView>) {
    cursor: Text [everywhere] = &*edge.cursor();
} }
planned! { { { worker: worker_of_update } } WorkerUpdate(update: WorkerUpdate) {
    is_last: Bool [everywhere] = update.is_last;
} }
planned! { { { worker: worker_of_heartbeat } } WorkerHeartbeat(heartbeat: Heartbeat) {
    received_at: DateTime [everywhere] = heartbeat.received_at;
    coalesced: Int [everywhere] = heartbeat.coalesced;
    is_last: Bool [everywhere] = heartbeat.is_last;
} }

fn worker_vms(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<WorkerView> {
    let status = compiler.argument::<Option<Vec<value_types::VmStatus>>>(collected, "status")?;
    let statuses = compiler.argument::<Option<Vec<value_types::VmStatus>>>(collected, "statuses")?;
    let statuses = in_statuses(status, statuses).map_err(|_| Fallback::Resolver)?;
    let vm = compiler.select::<VmView>(&collected.sets)?;
    let volatility = vm.volatility();
    let write = move |worker: &WorkerView, out: &mut ResponseBuffer| {
        out.list(worker.vms_in(statuses.as_deref()), |entry, out| vm.write(&entry, out));
    };
    Ok((Box::new(write), volatility))
}

fn worker_vms_connection(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<WorkerView> {
    let request = PageArguments {
        first: compiler.argument(collected, "first")?,
        after: compiler.argument(collected, "after")?,
        last: compiler.argument(collected, "last")?,
        before: compiler.argument(collected, "before")?,
    };
    let request = request.into();
    let filter = compiler.argument::<Option<VmFilter>>(collected, "filter")?.unwrap_or_default();
    let filter = filter.try_into().map_err(|_| Fallback::Resolver)?;
    let order = compiler.argument::<Option<VmOrder>>(collected, "orderBy")?;
    let order: cluster::VmOrder = order.map(Into::into).unwrap_or_default();
    let page = compiler.select::<Page<VmView>>(&collected.sets)?;
    // Where VMs can move, cursors carry the revision at which the walk begins, and that is of other objects, too.
    let is_by_id = order.field == VmOrderField::Id;
    let volatility = page.volatility().and(if is_by_id { Volatility::STABLE } else { Volatility::OTHER_OBJECTS });
    // The page's arguments are checked with the first worker; if they are refused there, they are for every worker.
    let write =
        move |worker: &WorkerView, out: &mut ResponseBuffer| match page_of_worker_vms(worker, &filter, order, &request)
        {
            Ok(vms) => page.write(&vms, out),
            Err(_) => out.fall_back(),
        };
    Ok((Box::new(write), volatility))
}

fn drain_of_progress(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<DrainProgress> {
    let drain = compiler.select::<DrainView>(&collected.sets)?;
    let volatility = drain.volatility();
    Ok((
        Box::new(move |progress: &DrainProgress, out: &mut ResponseBuffer| drain.write(&progress.drain, out)),
        volatility,
    ))
}

fn worker_of_drain(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<DrainView> {
    let worker = compiler.select::<WorkerView>(&collected.sets)?;
    let volatility = worker.volatility();
    Ok((Box::new(move |drain: &DrainView, out: &mut ResponseBuffer| worker.write(&drain.worker, out)), volatility))
}

fn worker_of_vm(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<VmView> {
    let worker = compiler.select::<WorkerView>(&collected.sets)?;
    let write = move |vm: &VmView, out: &mut ResponseBuffer| out.option(vm.worker(), |it, out| worker.write(&it, out));
    Ok((Box::new(write), Volatility::OTHER_OBJECTS))
}

fn zone_of_vm(_: &CollectedField<'_>, _: &Compiler<'_>) -> FieldPlan<VmView> {
    let write = |vm: &VmView, out: &mut ResponseBuffer| {
        let worker = vm.worker();
        let zone = worker.as_ref().map_or("", |worker| &*worker.identity().zone);
        <value_types::Zone as WriteJson<_>>::write(zone, &mut out.bytes);
    };
    Ok((Box::new(write), Volatility::OTHER_OBJECTS))
}

fn id_of_stats(_: &CollectedField<'_>, _: &Compiler<'_>) -> FieldPlan<cluster::ClusterStats> {
    let write = |_: &cluster::ClusterStats, out: &mut ResponseBuffer| json::text(cluster::STATS_ID, &mut out.bytes);
    Ok((Box::new(write), Volatility::STABLE))
}

fn worker_of_event(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<EventView> {
    let worker = compiler.select::<WorkerView>(&collected.sets)?;
    let write =
        move |event: &EventView, out: &mut ResponseBuffer| out.option(event.worker(), |it, out| worker.write(&it, out));
    Ok((Box::new(write), Volatility::OTHER_OBJECTS))
}

fn vm_of_event(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<EventView> {
    let vm = compiler.select::<VmView>(&collected.sets)?;
    let write = move |event: &EventView, out: &mut ResponseBuffer| out.option(event.vm(), |it, out| vm.write(&it, out));
    Ok((Box::new(write), Volatility::OTHER_OBJECTS))
}

fn worker_of_heartbeat(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Heartbeat> {
    let worker = compiler.select::<WorkerView>(&collected.sets)?;
    let volatility = worker.volatility();
    Ok((
        Box::new(move |heartbeat: &Heartbeat, out: &mut ResponseBuffer| worker.write(&heartbeat.worker, out)),
        volatility,
    ))
}

fn worker_of_update(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<WorkerUpdate> {
    let worker = compiler.select::<WorkerView>(&collected.sets)?;
    let volatility = worker.volatility();
    let write = move |update: &WorkerUpdate, out: &mut ResponseBuffer| worker.write(&update.worker, out);
    Ok((Box::new(write), volatility))
}

fn edges<V: 'static>(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Page<V>>
where
    Edge<V>: PlannedObject,
{
    let edge = compiler.select::<Edge<V>>(&collected.sets)?;
    let volatility = edge.volatility();
    let write =
        move |page: &Page<V>, out: &mut ResponseBuffer| out.list(&page.edges, |entry, out| edge.write(entry, out));
    Ok((Box::new(write), volatility))
}

fn nodes<V: PlannedObject>(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Page<V>> {
    let node = compiler.select::<V>(&collected.sets)?;
    let volatility = node.volatility();
    let write = move |page: &Page<V>, out: &mut ResponseBuffer| {
        out.list(&page.edges, |entry, out| node.write(&entry.node, out))
    };
    Ok((Box::new(write), volatility))
}

fn page_info<V: 'static>(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Page<V>> {
    let info = compiler.select::<PageInfo>(&collected.sets)?;
    Ok((Box::new(move |page: &Page<V>, out: &mut ResponseBuffer| info.write(&page.into(), out)), Volatility::STABLE))
}

fn node<V: PlannedObject>(collected: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Edge<V>> {
    let node = compiler.select::<V>(&collected.sets)?;
    let volatility = node.volatility();
    Ok((Box::new(move |edge: &Edge<V>, out: &mut ResponseBuffer| node.write(&edge.node, out)), volatility))
}
