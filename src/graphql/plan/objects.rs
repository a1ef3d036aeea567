//! The object types as plans; one more expansion of the field lists, the twin of [`object`](crate::graphql::schema::objects).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::Name;
use async_graphql::parser::types::SelectionSet;

use super::collect::{CollectedField, Compiler, Fallback};
use super::values::WriteJson;
use crate::cluster::fields::{
    cluster_stats_fields, drain_fields, event_fields, vm_fields, worker_distribution_fields, worker_fields,
};
use crate::cluster::{self, Depends, DrainView, Gapped, VmId, VmView, WorkerId, WorkerView, depends};
use crate::graphql::execution::budget::MAX_OBJECTS;
use crate::graphql::schema::inputs::{VmFilter, entries};
use crate::graphql::schema::paging::{PageArguments, PageInfo};
use crate::graphql::schema::values::{self, Label, ZoneStats};
use crate::json;
use crate::resolvers::input::wanted;
use crate::resolvers::page::{Edge, Page};
use crate::resolvers::watch::Heartbeat;
use crate::resolvers::{EventView, page_of_worker_vms};

/// An answer while it is written.
#[derive(Default)]
pub struct ResponseBuffer {
    pub bytes: Vec<u8>,
    /// Objects in its lists so far.
    pub objects: usize,
    is_handed_back: bool,
}

impl ResponseBuffer {
    /// Whether what is written will be the answer. If not, there is no sense in writing on.
    pub fn is_good(&self) -> bool {
        !self.is_handed_back && self.objects <= MAX_OBJECTS
    }

    /// Something is wrong: the ordinary resolver shall say what it is.
    pub(super) fn hand_back(&mut self) {
        self.is_handed_back = true;
    }

    /// Writes a list, until it is too much.
    pub(super) fn list<T>(&mut self, entries: impl IntoIterator<Item = T>, mut write: impl FnMut(T, &mut Self)) {
        self.bytes.push(b'[');
        for (index, entry) in entries.into_iter().enumerate() {
            self.objects += 1;
            if !self.is_good() {
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
    /// What writes this selection of an object's fields.
    pub fn select<V: PlannedObject>(&self, sets: &[&'a SelectionSet]) -> Result<SelectionPlan<V>, Fallback> {
        let mut fields = SelectionPlan::default();
        for asked in self.collect(V::TYPE, sets)? {
            match asked.field.node.name.node.as_str() {
                "__typename" => fields.add_typename(asked.key()),
                _ => {
                    let (write, depends) = V::plan(&asked, self)?;
                    fields.add(asked.key(), write, depends);
                }
            }
        }
        Ok(fields)
    }
}

/// Writes the value of one field of an object.
pub(super) type FieldWriter<V> = Box<dyn Fn(&V, &mut ResponseBuffer) + Send + Sync>;

/// What writes a field, and what that depends on.
pub type FieldPlan<V> = Result<(FieldWriter<V>, Depends), Fallback>;

/// An object that is written by plan.
pub trait PlannedObject: Sized + 'static {
    /// The name of its type.
    const TYPE: &'static str;

    /// Plans one of its fields.
    fn plan(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Self>;
}

/// What writes a selection of an object's fields.
pub struct SelectionPlan<V> {
    fields: Vec<Field<V>>,
    depends: Depends,
}

/// A field that is written.
struct Field<V> {
    /// With what is around it.
    key: Box<[u8]>,
    write: FieldWriter<V>,
    depends: Depends,
}

impl<V> Default for SelectionPlan<V> {
    fn default() -> Self {
        Self { fields: Vec::new(), depends: Depends::ON_ITSELF }
    }
}

impl<V: PlannedObject> SelectionPlan<V> {
    pub(super) fn add(&mut self, key: &Name, write: FieldWriter<V>, depends: Depends) {
        let mut prepared = Vec::with_capacity(key.len() + 4);
        if !self.fields.is_empty() {
            prepared.push(b',');
        }
        json::plain(key.as_str(), &mut prepared);
        prepared.push(b':');
        self.fields.push(Field { key: prepared.into(), write, depends });
        self.depends = self.depends.and(depends);
    }

    pub(super) fn add_typename(&mut self, key: &Name) {
        self.add(key, Box::new(|_, out| json::plain(V::TYPE, &mut out.bytes)), Depends::ON_ITSELF);
    }

    /// What the fields show beside what is the object's own.
    pub(super) fn depends(&self) -> Depends {
        self.depends
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

/// A selection of a worker's fields that is likely to be asked for again before the worker changes.
pub(super) struct CachedSelection {
    fields: SelectionPlan<WorkerView>,
    /// Says all about the selection; none if that cannot be said in a few words.
    name: Option<Arc<str>>,
    /// What one worker showed: the others would be written twice.
    is_too_long: AtomicBool,
}

impl CachedSelection {
    /// How long the name may be, and what is kept of a worker. With its VMs in it, that would be more than the worker.
    const LONGEST: usize = 1_024;

    pub(super) fn select(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> Result<Self, Fallback> {
        let name = compiler.selection_spelled_out(&asked.sets).filter(|name| name.len() <= Self::LONGEST);
        let fields = compiler.select(&asked.sets)?;
        Ok(Self { fields, name: name.map(Arc::from), is_too_long: AtomicBool::new(false) })
    }

    pub(super) fn depends(&self) -> Depends {
        self.fields.depends
    }

    /// Writes a worker: what the clock leaves alone once, and the rest each time.
    pub(super) fn write(&self, worker: &WorkerView, out: &mut ResponseBuffer) {
        let name = self.name.as_ref().filter(|_| !self.is_too_long.load(Ordering::Relaxed));
        let prepared = name.and_then(|name| worker.prepared().part(name, || self.prepare(worker)));
        let Some(prepared) = prepared else { return self.fields.write(worker, out) };
        out.objects = out.objects.saturating_add(prepared.entries);
        let mut pieces = prepared.pieces();
        out.bytes.extend_from_slice(pieces.next().unwrap_or_default());
        for Field { write, .. } in self.fields.fields.iter().filter(|field| field.depends != Depends::ON_ITSELF) {
            write(worker, out);
            out.bytes.extend_from_slice(pieces.next().unwrap_or_default());
        }
    }

    fn prepare(&self, worker: &WorkerView) -> Option<Gapped> {
        let (mut text, mut out) = (Gapped::default(), ResponseBuffer::default());
        out.bytes.push(b'{');
        for Field { key, write, depends } in &self.fields.fields {
            out.bytes.extend_from_slice(key);
            if *depends == Depends::ON_ITSELF {
                write(worker, &mut out);
            } else {
                text.bytes().append(&mut out.bytes);
                text.leave_gap();
            }
            if text.bytes().len() + out.bytes.len() > Self::LONGEST {
                self.is_too_long.store(true, Ordering::Relaxed);
                return None;
            }
        }
        out.bytes.push(b'}');
        text.bytes().append(&mut out.bytes);
        text.entries = out.objects;
        out.is_good().then_some(text)
    }
}

/// Plans one field: lists of objects by what is asked of those, everything else as it is.
macro_rules! field {
    (Labels |$this:ident: $view:ty| $value:expr, $depends:expr, $asked:ident, $compiler:ident) => {{
        let keys = $compiler.argument::<Option<Vec<String>>>($asked, "keys")?;
        let keys = keys.map(|keys| wanted("keys", keys)).transpose().map_err(|_| Fallback::Resolver)?;
        let label = $compiler.select::<Label>(&$asked.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| {
            let is_wanted = |key: &str| keys.as_ref().is_none_or(|keys| keys.iter().any(|wanted| **wanted == *key));
            let labels = $value.iter().filter(|(key, _)| is_wanted(key)).map(Label::from);
            out.list(labels, |entry, out| label.write(&entry, out));
        };
        Ok((Box::new(write), $depends))
    }};
    (Zones |$this:ident: $view:ty| $value:expr, $depends:expr, $asked:ident, $compiler:ident) => {{
        let zone = $compiler.select::<ZoneStats>(&$asked.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| {
            out.list($value.iter().map(ZoneStats::from), |entry, out| zone.write(&entry, out));
        };
        Ok((Box::new(write), $depends))
    }};
    (Vms |$this:ident: $view:ty| $value:expr, $depends:expr, $asked:ident, $compiler:ident) => {{
        let vm = $compiler.select::<VmView>(&$asked.sets)?;
        let depends = Depends::and($depends, vm.depends());
        let write =
            move |$this: &$view, out: &mut ResponseBuffer| out.list($value.iter(), |entry, out| vm.write(entry, out));
        Ok((Box::new(write), depends))
    }};
    (Drain |$this:ident: $view:ty| $value:expr, $depends:expr, $asked:ident, $compiler:ident) => {{
        let drain = $compiler.select::<DrainView>(&$asked.sets)?;
        let write = move |$this: &$view, out: &mut ResponseBuffer| out.option($value, |it, out| drain.write(&it, out));
        Ok((Box::new(write), $depends))
    }};
    ($shape:ident |$this:ident: $view:ty| $value:expr, $depends:expr, $asked:ident, $compiler:ident) => {{
        let write =
            |$this: &$view, out: &mut ResponseBuffer| <values::$shape as WriteJson<_>>::write($value, &mut out.bytes);
        Ok((Box::new(write), $depends))
    }};
}

/// Makes of a field list a plan; what stands in braces after the macro's name are further fields, each with the
/// function that plans it.
macro_rules! planned {
    ({ $({ $($more:ident: $plan:path),* $(,)? })? } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) {
        $($(#[$field_doc:meta])* $field:ident: $shape:ident [$where:ident $($depends:ident)?] = $value:expr;)+
    }) => {
        impl PlannedObject for $view {
            const TYPE: &'static str = stringify!($object);

            #[allow(unused_variables, reason = "not every object has fields that are planned with it")]
            fn plan(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Self> {
                match &*asked.snake_case_name() {
                    $(stringify!($field) => {
                        field!($shape |$this: $view| $value, depends!($($depends)?), asked, compiler)
                    })+
                    $($(stringify!($more) => $plan(asked, compiler),)*)?
                    _ => Err(Fallback::Resolver),
                }
            }
        }
    };
}

worker_fields!(planned { vms: worker_vms, vms_connection: worker_vms_connection });
drain_fields!(planned);
vm_fields!(planned { worker: worker_of_vm });
cluster_stats_fields!(planned);
worker_distribution_fields!(planned);
event_fields!(planned { worker: worker_of_event, vm: vm_of_event });

// What only GraphQL has.
planned! { {} Label(label: Label) {
    key: Text [everywhere] = &*label.key;
    value: Text [everywhere] = &*label.value;
} }
planned! { {} ZoneStats(zone: ZoneStats) {
    name: Text [everywhere] = &*zone.name;
    workers: Int [everywhere] = zone.workers;
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
planned! { { { node: node } } WorkerEdge(edge: Edge<WorkerView>) {
    cursor: Text [everywhere] = &*edge.cursor();
} }
planned! { { { node: node } } VmEdge(edge: Edge<VmView>) {
    cursor: Text [everywhere] = &*edge.cursor();
} }
planned! { { { worker: worker_of_heartbeat } } WorkerHeartbeat(beat: Heartbeat) {
    received_at: DateTime [everywhere] = beat.received_at;
    coalesced: Int [everywhere] = beat.coalesced;
} }

fn worker_vms(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<WorkerView> {
    let statuses = compiler.argument::<Option<Vec<values::VmStatus>>>(asked, "status")?;
    let statuses: Option<Vec<cluster::VmStatus>> = entries("status", statuses).map_err(|_| Fallback::Resolver)?;
    let vm = compiler.select::<VmView>(&asked.sets)?;
    let depends = vm.depends();
    let write = move |worker: &WorkerView, out: &mut ResponseBuffer| {
        out.list(worker.vms_in(statuses.as_deref()), |entry, out| vm.write(&entry, out));
    };
    Ok((Box::new(write), depends))
}

fn worker_vms_connection(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<WorkerView> {
    let request = PageArguments {
        first: compiler.argument(asked, "first")?,
        after: compiler.argument(asked, "after")?,
        last: compiler.argument(asked, "last")?,
        before: compiler.argument(asked, "before")?,
    };
    let request = request.into();
    let filter = compiler.argument::<Option<VmFilter>>(asked, "filter")?.unwrap_or_default();
    let filter = filter.try_into().map_err(|_| Fallback::Resolver)?;
    let page = compiler.select::<Page<VmView>>(&asked.sets)?;
    let depends = page.depends();
    // What a page asks for is looked at when it is cut; if that fails once, it does for every worker.
    let write = move |worker: &WorkerView, out: &mut ResponseBuffer| match page_of_worker_vms(worker, &filter, &request)
    {
        Ok(vms) => page.write(&vms, out),
        Err(_) => out.hand_back(),
    };
    Ok((Box::new(write), depends))
}

fn worker_of_vm(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<VmView> {
    let worker = compiler.select::<WorkerView>(&asked.sets)?;
    let write = move |vm: &VmView, out: &mut ResponseBuffer| out.option(vm.worker(), |it, out| worker.write(&it, out));
    Ok((Box::new(write), Depends::ON_OTHERS))
}

fn worker_of_event(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<EventView> {
    let worker = compiler.select::<WorkerView>(&asked.sets)?;
    let write =
        move |event: &EventView, out: &mut ResponseBuffer| out.option(event.worker(), |it, out| worker.write(&it, out));
    Ok((Box::new(write), Depends::ON_OTHERS))
}

fn vm_of_event(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<EventView> {
    let vm = compiler.select::<VmView>(&asked.sets)?;
    let write = move |event: &EventView, out: &mut ResponseBuffer| out.option(event.vm(), |it, out| vm.write(&it, out));
    Ok((Box::new(write), Depends::ON_OTHERS))
}

fn worker_of_heartbeat(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Heartbeat> {
    let worker = compiler.select::<WorkerView>(&asked.sets)?;
    let depends = worker.depends();
    Ok((Box::new(move |beat: &Heartbeat, out: &mut ResponseBuffer| worker.write(&beat.worker, out)), depends))
}

fn edges<V: 'static>(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Page<V>>
where
    Edge<V>: PlannedObject,
{
    let edge = compiler.select::<Edge<V>>(&asked.sets)?;
    let depends = edge.depends();
    let write =
        move |page: &Page<V>, out: &mut ResponseBuffer| out.list(&page.edges, |entry, out| edge.write(entry, out));
    Ok((Box::new(write), depends))
}

fn nodes<V: PlannedObject>(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Page<V>> {
    let node = compiler.select::<V>(&asked.sets)?;
    let depends = node.depends();
    let write = move |page: &Page<V>, out: &mut ResponseBuffer| {
        out.list(&page.edges, |entry, out| node.write(&entry.node, out))
    };
    Ok((Box::new(write), depends))
}

fn page_info<V: 'static>(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Page<V>> {
    let info = compiler.select::<PageInfo>(&asked.sets)?;
    Ok((Box::new(move |page: &Page<V>, out: &mut ResponseBuffer| info.write(&page.into(), out)), Depends::ON_ITSELF))
}

fn node<V: PlannedObject>(asked: &CollectedField<'_>, compiler: &Compiler<'_>) -> FieldPlan<Edge<V>> {
    let node = compiler.select::<V>(&asked.sets)?;
    let depends = node.depends();
    Ok((Box::new(move |edge: &Edge<V>, out: &mut ResponseBuffer| node.write(&edge.node, out)), depends))
}
