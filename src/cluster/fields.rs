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
//! So `zone: Zone [everywhere] = &*worker.identity().zone;` is the field `zone`, of the shape `Zone`, in every object
//! that has a worker, read by this expression.
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
            drain: Drain [optional silence] = worker.drain();
            /// Revision of the last change to this worker, heartbeats included.
            revision: Int53 [everywhere] = worker.worker.revision;
            /// CPU cores that are held for VMs that are not there yet, by reservations.
            reserved_cpu_cores: Int [everywhere] = worker.worker.reserved.cpu_cores;
            /// Memory that is held for them, in MiB.
            reserved_memory_mb: Int [everywhere] = worker.worker.reserved.memory_mb;
            /// Disk that is held for them, in GB.
            reserved_disk_gb: Int [everywhere] = worker.worker.reserved.disk_gb;
            /// VM slots that are held for them.
            reserved_vm_slots: Int [everywhere] = worker.worker.reserved.vm_slots;
            /// CPU cores that are neither allocated to VMs nor reserved, never below 0.
            free_cpu_cores: Int [everywhere] = worker.worker.free().cpu_cores;
            /// Memory that is neither allocated to VMs nor reserved, in MiB, never below 0.
            free_memory_mb: Int [everywhere] = worker.worker.free().memory_mb;
            /// Disk that is neither allocated to VMs nor reserved, in GB, never below 0.
            free_disk_gb: Int [everywhere] = worker.worker.free().disk_gb;
            /// VM slots that are neither held by VMs nor reserved, never below 0.
            free_vm_slots: Int [everywhere] = worker.worker.free().vm_slots;
            /// Seconds since the start, as `uptime` says in words.
            uptime_seconds: Int [everywhere seconds] = worker.uptime().seconds();
        }
    } };
}

macro_rules! drain_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Drain of a worker, which stands or has ended: why, by whom and since when, how far it has come, and what is in the
        /// way of powering the host off.
        Drain(drain: DrainView) {
            /// The reason that was given last.
            reason: OptionalText [everywhere] = drain.drain.reason.as_deref();
            /// Who began it, such as `operator`; null if that was before this was kept.
            started_by: OptionalText [everywhere] = drain.drain.started_by.as_ref().map(|author| &*author.actor);
            /// When it began, by the server's clock; null if that was before this was kept.
            started_at: OptionalDateTime [everywhere] = drain.drain.started_at;
            /// Whether the worker has told, since its process started, that no VM holds a slot on it, and no slot is reserved.
            /// Until its first whole inventory it may hold VMs that it has not told of. Says nothing of a drain that has ended.
            is_empty: Bool [everywhere] = drain.is_empty();
            /// Identity of the drain: its worker and its number. Once a worker was purged, its drains are gone, and their numbers
            /// begin anew.
            id: Id [everywhere] = &*drain.id();
            /// The worker.
            worker_id: Id [everywhere] = drain.worker_id().as_str();
            /// Which drain of the worker it is, from 1.
            number: Int [everywhere] = drain.drain.number;
            /// How far it has come.
            state: DrainState [everywhere silence] = drain.state();
            /// Whether the host can be powered off now: the drain is complete, and there are no blockers. So the worker is
            /// online, and its present process has acknowledged the drain and told its inventory, in which no VM holds a slot.
            safe_to_power_off: Bool [everywhere silence] = drain.is_safe_to_power_off();
            /// Texts of the operators' own, sorted by key.
            metadata: Labels [everywhere] = &drain.drain.metadata;
            /// Id of the token with which it was begun; null, and left out in REST, if there was none.
            started_by_token_id: OmittedId [optional] = drain.drain.started_by.as_ref().and_then(|it| it.token_id.as_deref());
            /// Name of that token.
            started_by_name: OmittedText [optional] = drain.drain.started_by.as_ref().and_then(|it| it.name.as_deref());
            /// Until when it shall be complete; null if it has no deadline. Nothing is stopped then: it is announced once.
            deadline_at: OptionalDateTime [everywhere] = drain.drain.deadline.map(|deadline| deadline.at);
            /// When the present process of the worker acknowledged it, and so takes no VM any more; null until then.
            acknowledged_at: OptionalDateTime [everywhere] = drain.drain.acknowledged_at;
            /// When it became complete; null if it is not, and again once a VM has appeared.
            completed_at: OptionalDateTime [everywhere] = drain.drain.completed_at;
            /// When it was announced that its deadline had passed; null if it was not. Stays when it becomes complete after that.
            overdue_at: OptionalDateTime [everywhere] = drain.drain.overdue_at;
            /// When the worker was activated; null while the drain stands.
            ended_at: OptionalDateTime [everywhere] = drain.drain.ended_at;
            /// Who activated the worker.
            ended_by: OptionalText [everywhere] = drain.drain.ended_by.as_ref().map(|author| &*author.actor);
            /// Id of the token with which the worker was activated; null, and left out in REST, if there was none.
            ended_by_token_id: OmittedId [optional] = drain.drain.ended_by.as_ref().and_then(|it| it.token_id.as_deref());
            /// Name of that token.
            ended_by_name: OmittedText [optional] = drain.drain.ended_by.as_ref().and_then(|it| it.name.as_deref());
            /// The reason that was given for activating the worker.
            end_reason: OptionalText [everywhere] = drain.drain.end_reason.as_deref();
            /// How many VMs held a slot when it began; null if that was before this was kept.
            initial_vms: OptionalInt [everywhere] = drain.drain.initial_vms.map(u64::from);
            /// How many VMs hold a slot now; null once it has ended.
            remaining_vms: OptionalInt [everywhere] = drain.remaining_vms().map(|vms| vms as u64);
            /// What is in the way of powering the host off: first what is so of the worker, then VMs by id. None once it has
            /// ended.
            blockers: Blockers [detail silence] = drain.blockers();
            /// Revision of the last change to this record.
            revision: Int53 [everywhere] = drain.drain.revision;
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
            created_at: DateTime [detail] = vm.vm.created_at.get();
            /// When it began to run for the last time; null if it has not been running since `created_at`.
            started_at: OptionalDateTime [detail] = vm.vm.started_at.map(|at| at.get());
            /// Since when it has its status.
            status_since: DateTime [detail] = vm.vm.status_since.get();
            /// What its worker says of it, such as why it could not be moved; null, and left out in REST, if nothing.
            note: OmittedText [optional] = vm.vm.note().map(|note| &**note);
            /// The reservation that it takes, as its worker reports it; null, and left out in REST, if there is none.
            reservation_id: OmittedId [optional] = vm.vm.reservation_id().map(|id| &**id);
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
            /// CPU cores neither allocated nor reserved, on workers that are active and online.
            schedulable_cpu_cores: Int53 [everywhere] = stats.schedulable_cpu_cores;
            /// Memory neither allocated nor reserved, on workers that are active and online, in MiB.
            schedulable_memory_mb: Int53 [everywhere] = stats.schedulable_memory_mb;
            /// VM slots neither held nor reserved, on workers that are active and online.
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
            /// The reservation it is about, which may be gone by now; null, and left out in REST, if it is about none.
            reservation_id: OmittedId [optional] = event.event.reservation_id.as_ref().map(|id| id.as_str());
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
            position: OptionalInt [everywhere] = event.position().map(u64::from);
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
            /// Revision of the last change to what operators want of the worker: the next heartbeat may echo it.
            policy_revision: Int53 [everywhere] = registered.worker.worker.policy_revision;
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
            /// Revision of the last change to what operators want of the worker. The next heartbeat may echo it, which says that
            /// the worker has heard of it.
            policy_revision: Int53 [everywhere] = reply.worker.worker.policy_revision;
            /// Why the worker is draining; null, and left out in REST, if it is not, or no reason was given.
            drain_reason: OmittedText [optional] = reply.drain().and_then(|drain| drain.reason.as_deref());
            /// Until when the drain shall be complete; null, and left out in REST, if there is none, or it has no deadline.
            drain_deadline_at: OmittedDateTime [optional] = reply.drain().and_then(|drain| drain.deadline).map(|it| it.at);
        }
    } };
}

macro_rules! placement_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Where VMs would be placed now, and why not elsewhere. Nothing is held by it: reserve for that.
        Placement(placement: cluster::Placement) {
            /// Whether all VMs fit.
            fits: Bool [everywhere] = placement.fits();
            /// How many VMs were asked for.
            count: Int [everywhere] = placement.count;
            /// How many of them fit.
            placeable: Int [everywhere] = placement.placeable;
            /// Where these are placed: the workers, in the order in which they get their first VM.
            assignments: PlacementAssignments [everywhere] = &*placement.assignments;
            /// Workers that could take one of the VMs before any is placed, the preferred ones first. As many as `limit` says.
            candidates: PlacementCandidates [everywhere] = &*placement.candidates;
            /// How many such workers there are.
            total_candidates: Int [everywhere] = placement.total_candidates;
            /// Workers that could not take one of the VMs: before any is placed, if all fit, and else after those that fit. The
            /// nearest misses come first. As many as `limit` says.
            refusals: PlacementRefusals [everywhere] = &*placement.refusals;
            /// How many such workers there are.
            total_refusals: Int [everywhere] = placement.total_refusals;
            /// How many workers are refused for each reason, the most frequent first. One that is refused for several counts for
            /// each of them.
            refusals_by_reason: WorkersRefusedList [everywhere] = &*placement.refusals_by_reason;
            /// Revision that all of this was read at.
            revision: Int53 [everywhere] = placement.revision;
        }
    } };
}

macro_rules! placement_assignment_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// VMs that would be placed on one worker.
        PlacementAssignment(assignment: cluster::PlacementAssignment) {
            /// The worker.
            worker_id: Id [everywhere] = assignment.worker.worker.id.as_str();
            /// Where the worker stands.
            zone: Zone [everywhere] = &*assignment.worker.identity().zone;
            /// How many of the VMs.
            vms: Int [everywhere] = assignment.vms;
        }
    } };
}

macro_rules! placement_candidate_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Worker that could take one of the VMs.
        PlacementCandidate(candidate: cluster::PlacementCandidate) {
            /// The worker.
            worker_id: Id [everywhere] = candidate.worker.worker.id.as_str();
            /// Where the worker stands.
            zone: Zone [everywhere] = &*candidate.worker.identity().zone;
            /// How many such VMs it has room for.
            vms: Int [everywhere] = candidate.vms;
            /// CPU cores that are free on it.
            free_cpu_cores: Int [everywhere] = candidate.free.cpu_cores;
            /// Memory that is free on it, in MiB.
            free_memory_mb: Int [everywhere] = candidate.free.memory_mb;
            /// Disk that is free on it, in GB.
            free_disk_gb: Int [everywhere] = candidate.free.disk_gb;
            /// VM slots that are free on it.
            free_vm_slots: Int [everywhere] = candidate.free.vm_slots;
            /// VMs on it whose CPUs or memory are not known: there may be less room than it seems.
            unsized_vms: Int [everywhere] = candidate.worker.worker.usage.vms.count_unsized_slot_holders();
        }
    } };
}

macro_rules! placement_refusal_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Worker that could not take one of the VMs.
        PlacementRefusal(refusal: cluster::PlacementRefusal) {
            /// The worker.
            worker_id: Id [everywhere] = refusal.worker.worker.id.as_str();
            /// Where the worker stands.
            zone: Zone [everywhere] = &*refusal.worker.identity().zone;
            /// Every reason.
            reasons: RefusalDetails [everywhere] = &*refusal.reasons;
        }
    } };
}

macro_rules! refusal_detail_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Why a VM does not fit on a worker.
        RefusalDetail(detail: cluster::RefusalDetail) {
            /// The reason.
            reason: RefusalReason [everywhere] = detail.reason;
            /// What one VM needs of what is short; null, and left out in REST, if the reason is not about an amount.
            needed: OptionalInt53 [optional] = detail.amounts.map(|(needed, _, _)| needed);
            /// What is free of that.
            free: OptionalInt53 [optional] = detail.amounts.map(|(_, free, _)| free);
            /// What is missing of that.
            missing: OptionalInt53 [optional] = detail.amounts.map(|(_, _, missing)| missing);
            /// The same as a sentence about the worker.
            message: Text [everywhere] = &*detail.message;
        }
    } };
}

macro_rules! workers_refused_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// How many workers are refused for a reason.
        WorkersRefused(refused: cluster::WorkersRefused) {
            /// The reason.
            reason: RefusalReason [everywhere] = refused.reason;
            /// How many workers.
            workers: Int [everywhere] = refused.workers;
        }
    } };
}

macro_rules! evacuation_plan_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Where the VMs of workers that are to be emptied could go. Nothing is moved or held by it. VMs of other workers that
        /// drain are given room first.
        EvacuationPlan(plan: cluster::EvacuationPlan) {
            /// Whether a place was found for all VMs. If not, that is no proof that there is none.
            fits: Bool [everywhere] = plan.fits();
            /// How many workers are to be emptied.
            workers: Int [everywhere] = plan.workers;
            /// How many VMs hold a slot on them and would have to move. One that has arrived already on another worker, which is
            /// online and active, is not among them, nor one for which a reservation holds room on such a worker.
            vms: Int [everywhere] = plan.vms;
            /// For how many of them a place was found.
            placeable: Int [everywhere] = plan.placeable;
            /// Where these could go, by their worker and id. As many as `limit` says.
            moves: EvacuationMoves [everywhere] = &*plan.moves;
            /// Those for which no place was found, by their worker and id. As many as `limit` says.
            stranded: StrandedVms [everywhere] = &*plan.stranded;
            /// For how many no place was found.
            total_stranded: Int [everywhere] = plan.total_stranded();
            /// How many of the VMs have CPUs or memory that are not known: there may be less room for them than it seems.
            unsized_vms: Int [everywhere] = plan.unsized_vms;
            /// How many VMs more hold a slot on the workers, and were set aside because of their ids: what becomes of them is
            /// not known, and the plan has no place for them.
            set_aside_vms: Int [everywhere] = plan.set_aside_vms;
            /// How many VMs of other workers that drain were given room before them.
            vms_of_other_drains: Int [everywhere] = plan.vms_of_other_drains;
            /// Revision of the state that the plan was made of.
            revision: Int53 [everywhere] = plan.revision;
        }
    } };
}

macro_rules! evacuation_move_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// VM that could move to another worker.
        EvacuationMove(step: cluster::EvacuationMove) {
            /// The VM.
            vm_id: Id [everywhere] = step.vm_id.as_str();
            /// The worker that it is on.
            from_worker_id: Id [everywhere] = step.from_worker.as_str();
            /// The worker that has room for it.
            to_worker_id: Id [everywhere] = step.to_worker.as_str();
        }
    } };
}

macro_rules! stranded_vm_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// VM that fits on no other worker.
        StrandedVm(vm: cluster::StrandedVm) {
            /// The VM.
            vm_id: Id [everywhere] = vm.vm_id.as_str();
            /// The worker that it is on.
            worker_id: Id [everywhere] = vm.worker_id.as_str();
            /// Its virtual CPUs.
            vcpus: Int [everywhere] = vm.size.vcpus;
            /// Its memory, in MiB.
            memory_mb: Int [everywhere] = vm.size.memory_mb;
            /// How many workers refuse it for each reason, after all others have moved; the most frequent first. One that refuses
            /// it for several counts for each of them.
            refusals_by_reason: WorkersRefusedList [everywhere] = &*vm.refusals_by_reason;
        }
    } };
}

macro_rules! capacity_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// How many VMs of one size fit now, and how many after a loss.
        Capacity(capacity: cluster::Capacity) {
            /// How many fit.
            vms: Int53 [everywhere] = capacity.vms;
            /// How many in each zone in which some fit, sorted by name; those of workers without a zone first.
            zones: ZoneCapacities [everywhere] = &*capacity.zones;
            /// The worker with the most room for them; null if they fit nowhere.
            largest_worker_id: OptionalId [everywhere] = capacity.largest_worker.as_ref().map(WorkerId::as_str);
            /// How many fit if that worker is lost.
            vms_without_largest_worker: Int53 [everywhere] = capacity.vms_without_largest_worker;
            /// The zone with the most room for them, empty for workers without a zone; null if they fit nowhere.
            largest_zone: OptionalText [everywhere] = capacity.largest_zone.as_deref();
            /// How many fit if that zone is lost.
            vms_without_largest_zone: Int53 [everywhere] = capacity.vms_without_largest_zone;
            /// VMs on the workers with room whose CPUs or memory are not known: there may be less room than it seems.
            unsized_vms: Int53 [everywhere] = capacity.unsized_vms;
            /// Revision that all of this was read at.
            revision: Int53 [everywhere] = capacity.revision;
        }
    } };
}

macro_rules! zone_capacity_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// How many VMs fit in one zone.
        ZoneCapacity(capacity: cluster::ZoneCapacity) {
            /// The zone.
            zone: Zone [everywhere] = &*capacity.zone;
            /// On how many workers some fit.
            workers: Int [everywhere] = capacity.workers;
            /// How many fit.
            vms: Int53 [everywhere] = capacity.vms;
        }
    } };
}

macro_rules! reservation_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Room that is held on workers for VMs that are not there yet.
        Reservation(reservation: ReservationView) {
            /// Its id: a UUID, by which reservations are sorted in the order in which they were made. A VM takes a slot when
            /// its worker reports it with this as its `reservation_id`, or reports a VM that a slot is held for.
            id: Id [everywhere] = reservation.reservation.id.as_str();
            /// What has become of it.
            state: ReservationState [everywhere] = reservation.state();
            /// Virtual CPUs of each VM.
            vcpus: Int [everywhere] = reservation.reservation.size.vcpus;
            /// Memory of each VM, in MiB.
            memory_mb: Int [everywhere] = reservation.reservation.size.memory_mb;
            /// Disk of each VM, in GB.
            disk_gb: Int [everywhere] = reservation.reservation.size.disk_gb;
            /// For how many VMs it was made: the length of `slots`.
            count: Int [everywhere] = reservation.reservation.slots.len();
            /// The room for each VM, in the order in which they were named or placed.
            slots: ReservedSlots [everywhere] = &*reservation.slots();
            /// The reason that was given.
            reason: OptionalText [everywhere] = reservation.reservation.reason.as_deref();
            /// Id of the token that it was made with; null, and left out in REST, if there was none.
            created_by: OmittedId [optional] = reservation.reservation.created_by.as_deref();
            /// When it was made, by the server's clock.
            created_at: DateTime [everywhere] = reservation.reservation.created_at;
            /// When it expires, or would have.
            expires_at: DateTime [everywhere] = reservation.reservation.expires_at;
            /// When its last slot was taken, or when it was released or found expired; null while it holds something.
            ended_at: OptionalDateTime [everywhere] = reservation.reservation.ended_at;
            /// Revision of its last change.
            revision: Int53 [everywhere] = reservation.reservation.revision;
        }
    } };
}

macro_rules! reserved_slot_fields {
    ($declare:ident $($more:tt)*) => { $declare! {
        { $($more)* }
        /// Room for one VM on one worker.
        ReservedSlot(slot: cluster::ReservedSlot) {
            /// The worker.
            worker_id: Id [everywhere] = slot.worker_id.as_str();
            /// The VM that it is held for, if one was named, or that has taken it; else null.
            vm_id: OptionalId [everywhere] = slot.vm_id.as_ref().map(VmId::as_str);
            /// What has become of it.
            state: ReservationState [everywhere] = slot.state;
        }
    } };
}

pub(crate) use {
    capacity_fields, evacuation_move_fields, evacuation_plan_fields, placement_assignment_fields,
    placement_candidate_fields, placement_fields, placement_refusal_fields, refusal_detail_fields, reservation_fields,
    reserved_slot_fields, stranded_vm_fields, workers_refused_fields, zone_capacity_fields,
};
pub(crate) use {
    cluster_stats_fields, drain_fields, event_fields, heartbeat_reply_fields, registered_fields, token_fields,
    vm_counts_fields, vm_fields, worker_counts_fields, worker_distribution_fields, worker_fields, zone_fields,
};
