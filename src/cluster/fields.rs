//! The fields of every object of the API, declared once.
//!
//! Each macro here is a list of fields: documentation, name, shape, and the expression that reads the value from a
//! view. A protocol expands the lists with a macro of its own: `rest` into serialisers with these names as keys, in
//! this order; `graphql` into object types with these names in camelCase, and these comments as descriptions;
//! `rest::openapi` into schemas. So a field cannot exist in one protocol only, nor be described in two ways. How a
//! value is written is not said here.
//!
//! The word after the name is the field's *shape*: the name of a type that each protocol defines in its `field_types`
//! (a worker without a zone has the zone `""` in REST and `null` in GraphQL). The first word in brackets says where
//! REST shows the field: `everywhere`, or only in `detail`, which is not inside another object's list; an `optional`
//! field has no key in REST while its value is none, and is null in GraphQL. GraphQL shows what is selected. A second
//! word in brackets is the field's [`Volatility`](crate::render::Volatility): its value changes although the object
//! does not, when the worker has been silent for too long (`silence`), with each second until then (`seconds`), or when
//! another worker reports the VM, too (`duplicates`).
//!
//! A field that workers report or that is stored begins with its column (`docs/architecture.md`, "To add a field"). One
//! that is computed from what is there is added here, to `schema.graphql` by `cargo run -- schema > schema.graphql`, and to
//! `docs/openapi.json` by `cargo run -- openapi > docs/openapi.json`.

macro_rules! worker_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Machine that runs VMs. Scalar fields are the REST keys in camelCase.
        Worker(worker: WorkerView) {
            /// Chosen by the worker; never changes.
            id: Id [everywhere] = worker.worker.id.as_str();
            /// Name of the machine.
            hostname: Text [everywhere] = &*worker.identity().hostname;
            /// Host and port the worker listens on.
            address: Text [everywhere] = &*worker.identity().address;
            /// Where the worker stands, such as an availability zone.
            zone: Zone [everywhere] = &*worker.identity().zone;
            /// What the worker does with new work.
            status: WorkerStatus [everywhere silence] = worker.status();
            /// Free labels, sorted by key.
            labels: Labels [everywhere] = &worker.identity().labels;
            /// What the worker can do, such as hypervisors it offers.
            capabilities: TextList [everywhere] = &*worker.identity().capabilities;
            /// CPU cores of the machine.
            cpu_cores: Int [everywhere] = worker.identity().cpu_cores;
            /// Memory of the machine, in MiB.
            memory_mb: Int [everywhere] = worker.identity().memory_mb;
            /// Disk of the machine, in GB; by the agent, that of its mounted file systems.
            disk_gb: Int [everywhere] = worker.identity().disk_gb;
            /// CPU cores allocated to VMs, without those of VMs whose size is not known.
            used_cpu_cores: Int [everywhere] = worker.worker.usage.used_cpu_cores;
            /// Memory allocated to VMs, in MiB, without that of VMs whose size is not known.
            used_memory_mb: Int [everywhere] = worker.worker.usage.used_memory_mb;
            /// Disk allocated to VMs, in GB.
            used_disk_gb: Int [everywhere] = worker.worker.usage.used_disk_gb;
            /// Share of the CPU cores that VMs hold, in percent with two decimals; over 100 when overcommitted.
            cpu_usage_percent: Percent [everywhere] = worker.cpu_usage_percent();
            /// Share of the memory that VMs hold, in percent with two decimals; over 100 when overcommitted.
            memory_usage_percent: Percent [everywhere] = worker.memory_usage_percent();
            /// VMs that hold a slot: those created, starting, running or stopping.
            vm_count: Int [everywhere] = worker.vm_count();
            /// How many VMs the worker may hold.
            max_vms: Int [everywhere] = worker.identity().max_vms;
            /// When the worker's process started, by the server's clock.
            started_at: DateTime [everywhere] = worker.worker.life.started_at;
            /// When the worker was last heard from, by the server's clock.
            last_seen: DateTime [everywhere] = worker.worker.usage.last_seen;
            /// Time since the start; stands still at the last heartbeat while the worker is offline.
            uptime: Duration [everywhere seconds] = worker.uptime();
            /// Whether the last heartbeat is at most 60 s old (or what the server is configured for).
            is_healthy: Bool [everywhere silence] = worker.is_healthy();
            /// What operators asked for; kept while the worker is offline and through its restarts.
            scheduling_policy: SchedulingPolicy [everywhere] = worker.worker.policy;
            /// Drain that stands; null, and left out in REST, while the policy is active.
            drain: Drain [optional] = worker.drain();
            /// Revision of the last change to this worker, heartbeats included.
            revision: Int53 [everywhere] = worker.worker.revision;
        }
    } };
}

macro_rules! drain_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Standing drain of a worker: why, by whom and since when, and whether anything is left there.
        Drain(drain: DrainView) {
            /// The reason that was given last.
            reason: OptionalText [everywhere] = drain.drain.reason.as_deref();
            /// Who began it, such as `operator`; null if that was before this was kept.
            started_by: OptionalText [everywhere] = drain.drain.started_by.as_deref();
            /// When it began, by the server's clock; null if that was before this was kept.
            started_at: OptionalDateTime [everywhere] = drain.drain.started_at;
            /// Whether the worker has told, since its process started, that no VM holds a slot on it. Until its first whole
            /// inventory it may hold VMs that it has not told of.
            is_empty: Bool [everywhere] = drain.is_empty;
        }
    } };
}

macro_rules! vm_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Virtual machine, as its worker reports it.
        Vm(vm: VmView) {
            /// Identity of the VM: a UUID, or made up by the agent with a `~` in it, or what another reporter says.
            id: Id [everywhere] = vm.vm.id.as_str();
            /// Name given by whoever created the VM.
            name: Text [everywhere] = &*vm.vm.name;
            /// Worker the VM is on; null while unassigned.
            worker_id: OptionalId [detail] = Some(vm.vm.worker_id.as_str());
            /// What the VM is doing.
            status: VmStatus [everywhere] = vm.vm.status;
            /// Virtual CPUs; 0 if the worker cannot know.
            vcpus: Int [everywhere] = vm.vm.vcpus;
            /// Memory, in MiB; 0 if the worker cannot know.
            memory_mb: Int [everywhere] = vm.vm.memory_mb;
            /// Whether more than one worker says that the VM holds a slot there, as during a migration.
            duplicate: Bool [detail duplicates] = vm.is_duplicate();
            /// Revision of the last change to the VM.
            revision: Int53 [detail] = vm.vm.revision;
            /// When the server first heard of the VM, by its own clock. It stays when another worker takes the VM over
            /// before this one has told that it is gone.
            created_at: DateTime [detail] = vm.vm.created_at;
            /// When it began to run for the last time; null if it has not been running since `created_at`.
            started_at: OptionalDateTime [detail] = vm.vm.started_at;
            /// Since when it has its status.
            status_since: DateTime [detail] = vm.vm.status_since;
            /// What its worker says of it, such as why it could not be moved; null, and left out in REST, if nothing.
            note: OmittedText [optional] = vm.vm.note.as_deref();
            /// The reservation that it takes, as its worker reports it; null, and left out in REST, if there is none.
            reservation_id: OmittedId [optional] = vm.vm.reservation_id.as_deref();
        }
    } };
}

macro_rules! cluster_stats_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Totals of the cluster, field for field `GET /cluster/stats`, and what can really be scheduled.
        ClusterStats(stats: cluster::ClusterStats) {
            /// Registered workers, whatever their status.
            total_workers: Int [everywhere] = stats.total_workers;
            /// Workers that take new work.
            active_workers: Int [everywhere] = stats.active_workers;
            /// Workers that finish what they have and take nothing new.
            draining_workers: Int [everywhere] = stats.draining_workers;
            /// Workers that are not heard from.
            offline_workers: Int [everywhere] = stats.offline_workers;
            /// CPU cores of all registered workers.
            total_cpu_cores: Int53 [everywhere] = stats.total_cpu_cores;
            /// Memory of all registered workers, in MiB.
            total_memory_mb: Int53 [everywhere] = stats.total_memory_mb;
            /// CPU cores allocated to VMs.
            used_cpu_cores: Int53 [everywhere] = stats.used_cpu_cores;
            /// Memory allocated to VMs, in MiB.
            used_memory_mb: Int53 [everywhere] = stats.used_memory_mb;
            /// CPU cores not allocated, never below 0. Some may be on workers that take no work: see `schedulable`.
            available_cpu_cores: Int53 [everywhere] = stats.available_cpu_cores();
            /// Memory not allocated, in MiB, never below 0. Some may be on workers that take no work.
            available_memory_mb: Int53 [everywhere] = stats.available_memory_mb();
            /// Used CPU cores as a share of all, in percent with two decimals.
            cluster_cpu_usage_percent: Percent [everywhere] = stats.cluster_cpu_usage_percent();
            /// Used memory as a share of all, in percent with two decimals.
            cluster_memory_usage_percent: Percent [everywhere] = stats.cluster_memory_usage_percent();
            /// VMs that hold a slot, each counted once.
            total_vms: Int [everywhere] = stats.total_vms;
            /// VMs that all workers together may hold.
            max_vms: Int [everywhere] = stats.max_vms;
            /// VMs that still fit, never below 0.
            available_vm_slots: Int [everywhere] = stats.available_vm_slots();
            /// Registered workers by zone, sorted by name; workers without a zone are not counted.
            zones: Zones [everywhere] = &*stats.zones;
            /// Workers that are active and online.
            schedulable_workers: Int [everywhere] = stats.schedulable_workers;
            /// CPU cores not allocated on workers that are active and online.
            schedulable_cpu_cores: Int53 [everywhere] = stats.schedulable_cpu_cores;
            /// Memory not allocated on workers that are active and online, in MiB.
            schedulable_memory_mb: Int53 [everywhere] = stats.schedulable_memory_mb;
            /// VMs that still fit on workers that are active and online.
            schedulable_vm_slots: Int [everywhere] = stats.schedulable_vm_slots;
            /// Revision that all these figures were read at.
            revision: Int53 [everywhere] = stats.revision;
        }
    } };
}

macro_rules! zone_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Zone with the sums over its registered workers. Workers without a zone are in none.
        Zone(zone: cluster::ZoneTotals) {
            /// Id of the zone, for caches of clients: no other object has it.
            id: Id [everywhere] = zone.id.as_str();
            /// Name of the zone.
            name: Text [everywhere] = &*zone.name;
            /// Registered workers, whatever their status.
            workers: Int [everywhere] = zone.workers.total;
            /// Workers that take new work.
            active_workers: Int [everywhere] = zone.workers.active;
            /// Workers that finish what they have and take nothing new.
            draining_workers: Int [everywhere] = zone.workers.draining;
            /// Workers that are not heard from.
            offline_workers: Int [everywhere] = zone.workers.offline;
            /// CPU cores of all its workers.
            cpu_cores: Int53 [everywhere] = zone.cpu_cores;
            /// Memory of all its workers, in MiB.
            memory_mb: Int53 [everywhere] = zone.memory_mb;
            /// CPU cores allocated to VMs.
            used_cpu_cores: Int53 [everywhere] = zone.used_cpu_cores;
            /// Memory allocated to VMs, in MiB.
            used_memory_mb: Int53 [everywhere] = zone.used_memory_mb;
            /// VMs that hold a slot, as its workers report them.
            vm_count: Int [everywhere] = zone.vm_count;
            /// VMs that its workers together may hold.
            max_vms: Int [everywhere] = zone.max_vms;
            /// CPU cores not allocated on workers that are active and online.
            schedulable_cpu_cores: Int53 [everywhere] = zone.schedulable_cpu_cores;
            /// Memory not allocated on workers that are active and online, in MiB.
            schedulable_memory_mb: Int53 [everywhere] = zone.schedulable_memory_mb;
            /// VMs that still fit on workers that are active and online.
            schedulable_vm_slots: Int [everywhere] = zone.schedulable_vm_slots;
            /// Revision that all these figures were read at.
            revision: Int53 [everywhere] = zone.revision;
        }
    } };
}

macro_rules! worker_counts_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// How many workers match a filter, by status and by zone.
        WorkerCounts(counts: cluster::WorkerCounts) {
            /// All that match.
            total: Int [everywhere] = counts.total;
            /// Those that take new work.
            active: Int [everywhere] = counts.active;
            /// Those that finish what they have and take nothing new.
            draining: Int [everywhere] = counts.draining;
            /// Those that are not heard from.
            offline: Int [everywhere] = counts.offline;
            /// By zone, sorted by name; those without a zone are not counted.
            zones: ZoneCounts [everywhere] = &*counts.zones;
            /// Revision that all these figures were read at.
            revision: Int53 [everywhere] = counts.revision;
        }
    } };
}

macro_rules! vm_counts_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// How many VMs match a filter, by status and by zone, each counted once. Without statuses in the filter, those that
        /// hold no slot are counted, too.
        VmCounts(counts: cluster::VmCounts) {
            /// All that match.
            total: Int [everywhere] = counts.total;
            /// Those accepted, of which nothing is started yet.
            created: Int [everywhere] = counts.created;
            /// Those that are booting.
            starting: Int [everywhere] = counts.starting;
            /// Those that are up.
            running: Int [everywhere] = counts.running;
            /// Those that are shutting down.
            stopping: Int [everywhere] = counts.stopping;
            /// Those that are down and can be started again.
            stopped: Int [everywhere] = counts.stopped;
            /// Those that ended by an error.
            failed: Int [everywhere] = counts.failed;
            /// By the zone of their workers, sorted by name; those on workers without a zone are not counted.
            zones: ZoneCounts [everywhere] = &*counts.zones;
            /// Revision that all these figures were read at.
            revision: Int53 [everywhere] = counts.revision;
        }
    } };
}

macro_rules! worker_distribution_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// VMs of one worker; twin of one entry of `GET /cluster/distribution`.
        WorkerDistribution(entry: cluster::WorkerDistribution) {
            /// The worker.
            worker_id: Id [everywhere] = entry.worker.worker.id.as_str();
            /// Name of the machine.
            hostname: Text [everywhere] = &*entry.worker.identity().hostname;
            /// Where the worker stands.
            zone: Zone [everywhere] = &*entry.worker.identity().zone;
            /// How many VMs hold a slot: the length of `vms`.
            vm_count: Int [everywhere] = entry.vms.len();
            /// VMs that hold a slot, sorted by id.
            vms: Vms [everywhere] = &*entry.vms;
        }
    } };
}

macro_rules! event_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Something that happened in the cluster.
        ClusterEvent(event: EventView) {
            /// Place of the event in the change log: pass it back to go on from there.
            cursor: Cursor [everywhere] = event.event.cursor.clone();
            /// Revision of the commit the event belongs to.
            revision: Int53 [everywhere] = event.event.cursor.revision;
            /// When it was committed, by the server's clock.
            at: DateTime [everywhere] = event.event.at;
            /// What kind of thing happened.
            kind: EventKind [everywhere] = event.event.kind;
            /// The worker it is about, which may be gone by now.
            worker_id: OptionalId [everywhere] = event.event.worker_id.as_ref().map(WorkerId::as_str);
            /// The VM it is about, which may be gone by now.
            vm_id: OptionalId [everywhere] = event.event.vm_id.as_ref().map(VmId::as_str);
            /// Who caused it: `worker`, `operator` or `server`. That a worker is offline, or back, is what the server finds.
            actor: OptionalActor [everywhere] = event.event.actor;
            /// Id of the token of who caused it; null, and left out in REST, if there was none.
            actor_token_id: OmittedId [optional] = event.audit(|audit| &audit.token_id);
            /// Name of that token.
            actor_name: OmittedText [optional] = event.audit(|audit| &audit.name);
            /// Id of the request that caused it, as it was answered in `x-request-id`; null, and left out in REST, for what the
            /// server found out.
            request_id: OmittedText [optional] = event.audit(|audit| &audit.request_id);
            /// IP address that the request came from: that of the client, or of a proxy in front of it.
            address: OmittedText [optional] = event.audit(|audit| &audit.address);
            /// The reason that was given.
            reason: OptionalText [everywhere] = event.event.reason.as_deref();
            /// What happened, as a sentence.
            message: Text [everywhere] = &*event.event.message;
            /// Oldest cursor that can still be resumed with the same filter; told by `RESYNC` only.
            oldest_cursor: OptionalCursor [everywhere] = event.event.oldest_cursor.clone();
            /// Id of the event, for caches of clients: no worker, VM or other event has the same.
            id: EventId [everywhere] = &event.event.cursor;
            /// Its place in its commit, counted from 0. Events of one database are in the order of `revision` and then
            /// `position`; null for `SYNCED` and `RESYNC`, which come after all events of their revision.
            position: OptionalInt [everywhere] = event.position();
            /// Name that the VM had then; null if it is about no VM, or from before this was kept.
            vm_name: OptionalText [everywhere] = event.event.vm_name.as_deref();
            /// Status of the VM after it; null if it is about no VM, the VM is gone, or it is from before this was kept.
            vm_status: OptionalVmStatus [everywhere] = event.event.vm_status;
            /// Status of the VM before it; null if it is about no VM, the VM was not there, or it is from before this was
            /// kept.
            previous_status: OptionalVmStatus [everywhere] = event.event.previous_status;
            /// Zone that the worker was in then; null if it was in none, it is about no worker, or it is from before this
            /// was kept.
            zone: OptionalText [everywhere] = event.event.zone.as_deref().filter(|zone| !zone.is_empty());
        }
    } };
}

macro_rules! token_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Token, with which somebody may ask. Its text is shown once, to whoever creates it.
        Token(token: TokenView) {
            /// Public part of its text.
            id: Id [everywhere] = token.token.id.as_str();
            /// Name that its creator gave it.
            name: Text [everywhere] = &*token.token.name;
            /// Where its secret counts.
            kind: TokenKind [everywhere] = token.token.kind;
            /// What its holder may do.
            role: TokenRole [everywhere] = token.token.role;
            /// Whether it is accepted.
            state: TokenState [everywhere silence] = token.state();
            /// The only worker that its holder speaks for, or may let join; null, and left out in REST, for other tokens.
            worker_id: OmittedId [optional] = token.token.worker_id();
            /// How many workers its holder may speak for, whichever it registers first; null, and left out in REST, for other
            /// tokens.
            max_workers: OptionalInt53 [optional] = token.token.max_workers().map(u64::from);
            /// How many workers it may let join; null, and left out in REST, for tokens of other roles.
            max_uses: OptionalInt53 [optional] = token.token.joins.map(|joins| u64::from(joins.max));
            /// How many workers it has let join; null, and left out in REST, for tokens of other roles.
            uses: OptionalInt53 [optional] = token.token.joins.map(|joins| u64::from(joins.so_far));
            /// Id of the token that a session was opened with, and ends with; null, and left out in REST, for other tokens, and
            /// for a session that was opened with a sign-in code.
            parent: OmittedId [optional] = token.token.parent.as_ref().map(TokenId::as_str);
            /// Id of the token that it was created with; null, and left out in REST, if it was created on the database.
            created_by: OmittedId [optional] = token.token.created_by.as_ref().map(TokenId::as_str);
            /// When it was created, by the server's clock.
            created_at: DateTime [everywhere] = token.token.created_at;
            /// When it expires; null if it does not.
            expires_at: OptionalDateTime [everywhere] = token.token.expires_at;
            /// When it was revoked; null if it was not.
            revoked_at: OptionalDateTime [everywhere] = token.token.revoked_at;
            /// When it was last used, to the minute; null if it never was.
            last_used_at: OptionalDateTime [everywhere] = token.token.last_used.at();
            /// Revision of its last change.
            revision: Int53 [everywhere] = token.token.revision;
        }
    } };
}

macro_rules! registered_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// What a worker learns when it registers.
        RegisterWorkerPayload(registered: Registered) {
            /// The worker as it now is.
            worker: Worker [everywhere] = registered.worker.clone();
            /// Number of this life of the worker's process; every heartbeat carries it.
            incarnation: Int53 [everywhere] = registered.worker.worker.life.incarnation;
            /// How long to wait between heartbeats, in seconds: what the server is configured to tell, and longer if the fleet
            /// is so large that there would be more than 1,000 a second.
            heartbeat_interval_seconds: Seconds [everywhere] = registered.heartbeat_interval;
            /// After how many seconds of silence the worker counts as offline.
            offline_after_seconds: Seconds [everywhere] = registered.worker.view.offline_after;
            /// Revision at which the registration is in force.
            revision: Int53 [everywhere] = registered.worker.view.snapshot.revision;
            /// Whether the worker was not known before.
            created: Bool [everywhere] = registered.created;
            /// Number of the last heartbeat of this life that counted: go on above it. Null, and left out in REST, if
            /// there was none.
            last_sequence: OptionalInt53 [optional] = registered.worker.worker.usage.sequence;
        }
    } };
}

macro_rules! heartbeat_reply_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// What a worker learns from each heartbeat.
        RecordHeartbeatPayload(reply: HeartbeatRecorded) {
            /// The worker that was heard.
            worker_id: Id [everywhere] = reply.worker.worker.id.as_str();
            /// What operators want of the worker.
            policy: SchedulingPolicy [everywhere] = reply.worker.worker.policy;
            /// When to send the next heartbeat, in seconds from now: the interval, which grows with the fleet, spread by some
            /// jitter.
            next_heartbeat_seconds: Seconds [everywhere] = reply.next_heartbeat;
            /// Revision at which this heartbeat is in force.
            revision: Int53 [everywhere] = reply.worker.view.snapshot.revision;
            /// Whether the next heartbeat should carry the whole inventory of VMs.
            resync: Bool [everywhere] = reply.resync;
            /// VMs of the report that were left out, each with the reason; the rest counted.
            set_aside: RejectedVms [everywhere] = reply.rejected_vms.clone();
            /// If this heartbeat came late, the number of the last one that counted: go on above it, with the whole
            /// inventory. Null, and left out in REST, otherwise.
            last_sequence: OptionalInt53 [optional] = reply.last_sequence;
        }
    } };
}

pub(crate) use {
    cluster_stats_fields, drain_fields, event_fields, heartbeat_reply_fields, registered_fields, token_fields,
    vm_counts_fields, vm_fields, worker_counts_fields, worker_distribution_fields, worker_fields, zone_fields,
};
