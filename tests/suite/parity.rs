//! REST and GraphQL say the same of everything: both are asked every question and given every
//! command, and compared by a mechanical conversion of names and shapes.
//!
//! A GraphQL object is asked for all its scalar fields, as the schema itself lists them; so a field
//! that exists in one protocol only, or is spelled otherwise in one, fails here. What differs on
//! purpose is in the constants below, with its reason.

use serde_json::{Map, Value, json};

use crate::harness::*;

/// Keys that only REST has.
const ONLY_IN_REST: &[(&str, &str)] = &[
    // Spelled like this before the contract; nobody has ever asked GraphQL for it.
    ("Vm", "vcpuCount"),
];

/// Fields that are null in GraphQL where REST leaves them out.
const LEFT_OUT_IN_REST: &[(&str, &str)] = &[
    ("Worker", "drain"),
    ("Drain", "startedByTokenId"),
    ("Drain", "startedByName"),
    ("Drain", "endedByTokenId"),
    ("Drain", "endedByName"),
    ("Reservation", "createdBy"),
    ("RefusalDetail", "needed"),
    ("RefusalDetail", "free"),
    ("RefusalDetail", "missing"),
    ("Vm", "note"),
    ("Vm", "reservationId"),
    ("RegisterWorkerPayload", "lastSequence"),
    ("RecordHeartbeatPayload", "lastSequence"),
    ("RecordHeartbeatPayload", "drainReason"),
    ("RecordHeartbeatPayload", "drainDeadlineAt"),
];

/// Fields that only GraphQL has: ways to other objects, which REST reaches by their own paths.
const ONLY_IN_GRAPHQL: &[(&str, &str)] = &[
    ("Worker", "vms"),
    ("Worker", "vmsConnection"),
    ("Worker", "events"),
    ("Worker", "reservations"),
    ("PlacementAssignment", "worker"),
    ("PlacementCandidate", "worker"),
    ("PlacementRefusal", "worker"),
    ("Worker", "drains"),
    ("Worker", "history"),
    ("Zone", "history"),
    ("Vm", "worker"),
    ("Drain", "worker"),
    // REST shows them of a drain by itself, and not inside a worker.
    ("Drain", "blockers"),
    ("Vm", "events"),
    ("Vm", "zone"),
    ("ClusterStats", "id"),
    ("RegisterWorkerPayload", "cursor"),
    ("RecordHeartbeatPayload", "worker"),
];

/// What the contract leaves out of a VM inside another object. A duplicate is told there if it is one.
const NOT_INSIDE_OTHERS: [&str; 5] = ["workerId", "revision", "createdAt", "startedAt", "statusSince"];

/// A GraphQL object type, as the schema describes it.
struct Type {
    name: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    /// Name and kind of the type without its wrappers, such as `VmStatus` and `ENUM`.
    of: String,
    kind: String,
}

impl Type {
    async fn named(cluster: &TestCluster, name: &str) -> Self {
        let wrapped = "kind name ofType { kind name ofType { kind name ofType { kind name } } }";
        let question = format!(r#"{{ __type(name: "{name}") {{ fields {{ name type {{ {wrapped} }} }} }} }}"#);
        let answer = cluster.graphql(&question).await;
        let fields = answer["__type"]["fields"].as_array().unwrap_or_else(|| panic!("there is no type {name}"));
        let fields = fields.iter().map(Field::read).filter(|field| !ONLY_IN_GRAPHQL.contains(&(name, &field.name)));
        Self { name: name.to_owned(), fields: fields.collect() }
    }

    /// A selection of everything that REST shows too.
    fn selection(&self, inside: &[Self]) -> String {
        let fields = self.fields.iter().map(|field| {
            let name = &field.name;
            match (field.kind.as_str(), field.of.as_str()) {
                ("OBJECT", "Label") => format!("{name} {{ key value }}"),
                ("OBJECT", "ZoneStats") => format!("{name} {{ name workers }}"),
                ("OBJECT", "ZoneCount") => format!("{name} {{ zone count }}"),
                ("OBJECT", "VmSetAside") => format!("{name} {{ id reason }}"),
                ("OBJECT", of) => {
                    let of = inside.iter().find(|other| other.name == of);
                    let of = of.unwrap_or_else(|| panic!("{}.{name} has no twin in REST", self.name));
                    format!("{name} {{ {} }}", of.selection(inside))
                }
                _ => name.clone(),
            }
        });
        fields.collect::<Vec<_>>().join(" ")
    }

    /// An object of REST, as GraphQL would show it.
    fn convert(&self, rest: &Value, inside: &[Self]) -> Value {
        let mut converted = Map::new();
        for (key, value) in rest.as_object().unwrap_or_else(|| panic!("an object, not {rest}")) {
            let key = camel_case(key);
            if ONLY_IN_REST.contains(&(&self.name, &key)) {
                continue;
            }
            let field = self.fields.iter().find(|field| field.name == key);
            let field = field.unwrap_or_else(|| panic!("GraphQL has no {}.{key}", self.name));
            converted.insert(key, field.convert(value, inside));
        }
        for (_, key) in LEFT_OUT_IN_REST.iter().filter(|(of, _)| *of == self.name) {
            converted.entry(*key).or_insert(Value::Null);
        }
        converted.into()
    }
}

impl Field {
    fn read(field: &Value) -> Self {
        let mut of = &field["type"];
        while !of["ofType"].is_null() {
            of = &of["ofType"];
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { name: text(&field["name"]), of: text(&of["name"]), kind: text(&of["kind"]) }
    }

    fn convert(&self, rest: &Value, inside: &[Type]) -> Value {
        let pairs = |key: &str, value: &str| {
            rest.as_object().unwrap().iter().map(|(k, v)| json!({key: k, value: numbers(v)})).collect::<Value>()
        };
        match (self.kind.as_str(), self.of.as_str(), rest) {
            (_, "Label", _) => pairs("key", "value"),
            (_, "ZoneStats", _) => pairs("name", "workers"),
            (_, "ZoneCount", _) => pairs("zone", "count"),
            (_, "VmSetAside", _) => pairs("id", "reason"),
            ("ENUM", _, Value::String(word)) => word.to_uppercase().into(),
            ("OBJECT", _, Value::Null) => Value::Null,
            ("OBJECT", of, _) => {
                let of = inside.iter().find(|other| other.name == of).unwrap();
                match rest {
                    Value::Array(list) => list.iter().map(|one| of.convert(one, inside)).collect(),
                    one => of.convert(one, inside),
                }
            }
            (_, _, Value::String(zone)) if self.name == "zone" && zone.is_empty() => Value::Null,
            _ => numbers(rest),
        }
    }
}

/// The value with every number as a fraction: `10` and `10.0` are one number, spelled in two ways.
fn numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().unwrap().into(),
        Value::Array(list) => list.iter().map(numbers).collect(),
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.clone(), numbers(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| camel + &word[..1].to_uppercase() + &word[1..])
}

/// VMs inside another object as the contract shows them: less of each than it shows of one by itself.
fn listed(mut vms: Value) -> Value {
    for vm in vms.as_array_mut().unwrap() {
        let vm = vm.as_object_mut().unwrap();
        for field in NOT_INSIDE_OTHERS {
            assert!(vm.remove(field).is_some(), "GraphQL shows {field}");
        }
        if vm["duplicate"] == false {
            vm.remove("duplicate");
        }
    }
    vms
}

/// Workers, VMs, zones and labels of every sort there is.
async fn furnish(cluster: &TestCluster) {
    cluster
        .add([
            worker("w1")
                .zone("a")
                .registers("labels", json!({"tier": "compute", "env": "production"}))
                .registers("capabilities", json!(["firecracker", "docker"]))
                .reports("used_disk_gb", 50)
                .vms([vm("vm-1"), vm("vm-2").status("starting"), vm("vm-3").status("failed"), vm("vm-4").size(1, 512)]),
            worker("w2")
                .zone("b")
                .registers("memory_mb", i32::MAX)
                .reports("used_memory_mb", i32::MAX)
                .vms([vm("vm-1")]),
            worker("w3").silent_for(minutes(3)).vms([vm("vm-5")]),
            worker("w4").zone("a").registers("memory_mb", i32::MAX).without_heartbeat(),
            worker("w5").registers("hostname", "left"),
        ])
        .await;
    cluster.rest().post("/api/v1/workers/w2/drain").json(json!({"reason": "new disk"})).await;
    cluster.rest().delete("/api/v1/workers/w5").await;
    cluster.advance(std::time::Duration::from_millis(1_500));
}

on_both_databases! {
    async fn workers_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let worker = Type::named(&cluster, "Worker").await;
        let inside = [Type::named(&cluster, "Drain").await];
        let selection = worker.selection(&inside);
        for (zone, query) in
            [("", ""), ("(zone: \"a\")", "?zone=a"), ("(zone: null)", "?zone="),
            ("(zone: \"\")", "?has_zone=false"), ("(zone: \"x\")", "?zone=x")]
        {
            let rest = cluster.rest().get(&format!("/api/v1/workers{query}")).await.json();
            let rest: Value = rest["workers"].as_array().unwrap().iter().map(|one| worker.convert(one, &inside)).collect();
            let graphql = cluster.graphql(&format!("{{ workers{zone} {{ {selection} }} }}")).await;
            assert_eq!(numbers(&graphql["workers"]), rest, "{query}");
        }
        for id in ["w1", "w2", "w3", "w4", "w5"] {
            let rest = worker.convert(&cluster.worker(id).await, &inside);
            let graphql = cluster.graphql(&format!("{{ worker(id: \"{id}\") {{ {selection} }} }}")).await;
            assert_eq!(numbers(&graphql["worker"]), rest);
            let node =
                cluster.graphql(&format!("{{ node(id: \"{id}\") {{ ... on Worker {{ {selection} }} }} }}")).await;
            assert_eq!(numbers(&node["node"]), rest);
        }
        assert_eq!(cluster.graphql(r#"{ worker(id: "w9") { id } }"#).await, json!({"worker": null}));
    }

    async fn placements_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let mut inside = Vec::new();
        for name in ["RefusalDetail", "PlacementAssignment", "PlacementCandidate", "PlacementRefusal", "WorkersRefused", "ZoneCapacity"] {
            inside.push(Type::named(&cluster, name).await);
        }
        let (placement, capacity) = (Type::named(&cluster, "Placement").await, Type::named(&cluster, "Capacity").await);
        let (selection, selection_of_capacity) = (placement.selection(&inside), capacity.selection(&inside));
        for (request, query) in [
            ("vcpus: 2, memoryMb: 1024", "vcpus=2&memory_mb=1024"),
            (r#"vcpus: 2, memoryMb: 1024, zones: ["a"], without_zones: ["b"]"#, "vcpus=2&memory_mb=1024&zone=a&without_zone=b"),
            (r#"vcpus: 2, memoryMb: 1024, labels: [{key: "tier"}], capabilities: ["docker"]"#, "vcpus=2&memory_mb=1024&label=tier&capability=docker"),
            (r#"vcpus: 2, memoryMb: 9, diskGb: 480, without_workers: ["w3"]"#, "vcpus=2&memory_mb=9&disk_gb=480&without_worker=w3"),
        ] {
            let request = request.replace("without_zones", "withoutZones").replace("without_workers", "withoutWorkers");
            let rest = cluster.rest().get(&format!("/api/v1/capacity?{query}")).await.json();
            let graphql = cluster.graphql(&format!("{{ capacity(request: {{{request}}}) {{ {selection_of_capacity} }} }}")).await;
            assert_eq!(numbers(&graphql["capacity"]), capacity.convert(&rest, &inside), "{query}");
            for (more, more_of_query) in [
                ("", ""),
                (", count: 40, limit: 2, strategy: PACK", "&count=40&limit=2&strategy=pack"),
                (", count: 3, distinct: ZONE", "&count=3&distinct=zone"),
            ] {
                let rest = cluster.rest().get(&format!("/api/v1/placement?{query}{more_of_query}")).await.json();
                let question = format!("{{ placement(request: {{{request}{more}}}) {{ {selection} }} }}");
                let graphql = cluster.graphql(&question).await;
                assert_eq!(numbers(&graphql["placement"]), placement.convert(&rest, &inside), "{query}{more_of_query}");
            }
        }
    }

    async fn evacuation_plans_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let mut inside = Vec::new();
        for name in ["WorkersRefused", "EvacuationMove", "StrandedVm"] {
            inside.push(Type::named(&cluster, name).await);
        }
        let plan = Type::named(&cluster, "EvacuationPlan").await;
        let selection = plan.selection(&inside);
        for (arguments, query) in [
            ("", ""),
            (r#"(filter: {ids: ["w1", "w2"]})"#, "id=w1&id=w2"),
            (r#"(filter: {zones: ["a"], labels: [{key: "tier"}]}, limit: 1)"#, "zone=a&label=tier&limit=1"),
            ("(filter: {statuses: [ACTIVE, OFFLINE]}, limit: 0)", "status=active&status=offline&limit=0"),
        ] {
            let rest = cluster.rest().get(&format!("/api/v1/evacuation-plan?{query}")).await.json();
            let graphql = cluster.graphql(&format!("{{ evacuationPlan{arguments} {{ {selection} }} }}")).await;
            assert_eq!(numbers(&graphql["evacuationPlan"]), plan.convert(&rest, &inside), "{query}");
        }
    }

    async fn reservations_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let (reservation, inside) = (Type::named(&cluster, "Reservation").await, [Type::named(&cluster, "ReservedSlot").await]);
        let selection = reservation.selection(&inside);
        let body = json!({
            "vcpus": 1, "memory_mb": 64, "zones": ["a"], "expires_in": "3m", "reason": "r", "vm_ids": ["n1", "n2"],
            "labels": {"tier": null}, "without_workers": ["w4"],
        });
        let rest = cluster.rest().post("/api/v1/reservations").json(body).await.json();
        cluster.advance(std::time::Duration::from_secs(1));
        let input = r#"vcpus: 1, memoryMb: 64, zones: ["a"], expiresIn: "3m", reason: "r", vmIds: ["n3", "n4"], labels: [{key: "tier"}], withoutWorkers: ["w4"]"#;
        let made = cluster.graphql(&format!("mutation {{ reserve(input: {{{input}}}) {{ reservation {{ {selection} }} }} }}")).await;
        let made = numbers(&made["reserve"]["reservation"]);
        let mut expected = reservation.convert(&rest, &inside);
        for key in ["id", "createdAt", "expiresAt", "revision"] {
            expected[key] = made[key].clone();
        }
        for (slot, vm) in ["n3", "n4"].into_iter().enumerate() {
            expected["slots"][slot]["vmId"] = vm.into();
        }
        assert_eq!(made, expected);
        let of_rest = cluster.rest().get("/api/v1/reservations").await.json();
        let of_rest: Value = of_rest["reservations"].as_array().unwrap().iter().map(|one| reservation.convert(one, &inside)).collect();
        let list = cluster.graphql(&format!("{{ reservations {{ totalCount nodes {{ {selection} }} }} }}")).await;
        assert_eq!(numbers(&list["reservations"]), json!({"totalCount": 2.0, "nodes": of_rest}));
        let id = made["id"].as_str().unwrap();
        let one = cluster.graphql(&format!("{{ reservation(id: \"{id}\") {{ {selection} }} }}")).await;
        let of_rest = cluster.rest().get(&format!("/api/v1/reservations/{id}")).await.json();
        assert_eq!(numbers(&one["reservation"]), reservation.convert(&of_rest, &inside));
        let release = format!("mutation {{ releaseReservation(input: {{reservationId: \"{id}\", reason: \"r\"}}) {{ changed reservation {{ {selection} }} }} }}");
        let released = cluster.graphql(&release).await["releaseReservation"].take();
        let of_rest = cluster.rest().delete(&format!("/api/v1/reservations/{id}")).await.json();
        assert_eq!(numbers(&released), json!({"changed": true, "reservation": reservation.convert(&of_rest, &inside)}));
        assert_eq!(cluster.graphql(r#"{ reservation(id: "none") { id } }"#).await, json!({"reservation": null}));
    }

    async fn vms_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let vm = Type::named(&cluster, "Vm").await;
        let selection = vm.selection(&[]);
        let rest = cluster.rest().get("/api/v1/vms").await.json();
        let rest: Value = rest["vms"].as_array().unwrap().iter().map(|one| vm.convert(one, &[])).collect();
        let graphql = cluster.graphql(&format!("{{ vms {{ {selection} }} }}")).await;
        assert_eq!(numbers(&graphql["vms"]), rest);
        for id in ["vm-1", "vm-3", "vm-5"] {
            let rest = vm.convert(&cluster.rest().get(&format!("/api/v1/vms/{id}")).await.json(), &[]);
            let graphql = cluster.graphql(&format!("{{ vm(id: \"{id}\") {{ {selection} }} }}")).await;
            assert_eq!(numbers(&graphql["vm"]), rest);
        }
        for (query, arguments) in [("", ""), ("?status=failed&status=running", "(status: [FAILED, RUNNING])")] {
            for id in ["w1", "w2", "w4"] {
                let rest = cluster.rest().get(&format!("/api/v1/workers/{id}/vms{query}")).await.json();
                let rest: Value = rest["vms"].as_array().unwrap().iter().map(|one| vm.convert(one, &[])).collect();
                let question = format!("{{ worker(id: \"{id}\") {{ vms{arguments} {{ {selection} }} }} }}");
                let graphql = cluster.graphql(&question).await;
                assert_eq!(listed(numbers(&graphql["worker"]["vms"])), rest, "{id}{query}");
            }
        }
    }

    // semantics 25, 26
    async fn totals_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let stats = Type::named(&cluster, "ClusterStats").await;
        let rest = cluster.rest().get("/api/v1/cluster/stats").await.json();
        let graphql = cluster.graphql(&format!("{{ clusterStats {{ {} }} }}", stats.selection(&[]))).await;
        assert_eq!(numbers(&graphql["clusterStats"]), stats.convert(&rest, &[]));
        let total = graphql["clusterStats"]["totalMemoryMb"].as_i64();
        assert!(total > Some(i64::from(i32::MAX)), "more than `Int` could carry: {total:?}");
    }

    async fn zones_and_counts_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let zone = Type::named(&cluster, "Zone").await;
        let rest = cluster.rest().get("/api/v1/cluster/zones").await.json();
        let rest: Value = rest["zones"].as_array().unwrap().iter().map(|one| zone.convert(one, &[])).collect();
        let graphql = cluster.graphql(&format!("{{ zones {{ {} }} }}", zone.selection(&[]))).await;
        assert_eq!(numbers(&graphql["zones"]), rest);
        assert!(rest.as_array().is_some_and(|zones| !zones.is_empty()));
        for (ty, field, rest, filter) in [
            ("WorkerCounts", "workerCounts", "worker-counts", ""),
            ("WorkerCounts", "workerCounts", "worker-counts?status=draining&status=active", "(filter: {statuses: [DRAINING, ACTIVE]})"),
            ("VmCounts", "vmCounts", "vm-counts", ""),
            ("VmCounts", "vmCounts", "vm-counts?has_zone=true&status=running", "(filter: {hasZone: true, statuses: [RUNNING]})"),
        ] {
            let counts = Type::named(&cluster, ty).await;
            let rest = cluster.rest().get(&format!("/api/v1/cluster/{rest}")).await.json();
            let graphql = cluster.graphql(&format!("{{ {field}{filter} {{ {} }} }}", counts.selection(&[]))).await;
            assert_eq!(numbers(&graphql[field]), counts.convert(&rest, &[]));
        }
    }

    async fn history_is_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        for busy in [1.5, 40.25] {
            let measured = json!({"cpu_busy_seconds": busy, "memory_used_mb": 100, "load1": 0.25});
            let beat = json!({"incarnation": 1, "used_cpu_cores": 3, "measured": measured});
            assert_eq!(cluster.beat("w1", beat).await.status, 200);
            cluster.sample().await;
            cluster.advance(minutes(1));
        }
        let (history, inside) = (Type::named(&cluster, "History").await, [Type::named(&cluster, "HistoryCurve").await]);
        let selection = history.selection(&inside);
        let zones = cluster.graphql("{ zones { name } }").await;
        let zone = zones["zones"][0]["name"].as_str().unwrap();
        for (query, arguments) in [
            ("", ""),
            ("?range_seconds=120", "(rangeSeconds: 120)"),
            ("?max_points=2", "(maxPoints: 2)"),
            ("?range_seconds=900000", "(rangeSeconds: 900000)"),
            ("?since=2025-11-02T09:00:00Z&until=2025-11-02T10:01:30Z", r#"(since: "2025-11-02T09:00:00Z", until: "2025-11-02T10:01:30Z")"#),
        ] {
            let more = arguments.trim_start_matches('(');
            let of_zone = format!("(zone: {zone:?}{}", if more.is_empty() { ")".to_owned() } else { format!(", {more}") });
            for (path, question, at) in [
                ("workers/w1".to_owned(), format!("worker(id: \"w1\") {{ history{arguments} {{ {selection} }} }}"), "/worker/history"),
                (format!("zones/{zone}"), format!("zoneHistory{of_zone} {{ {selection} }}"), "/zoneHistory"),
                (format!("zones/{zone}"), format!("zones {{ history{arguments} {{ {selection} }} }}"), "/zones/0/history"),
                ("cluster".to_owned(), format!("clusterHistory{arguments} {{ {selection} }}"), "/clusterHistory"),
            ] {
                let rest = cluster.rest().get(&format!("/api/v1/{path}/history{query}")).await.json();
                let graphql = cluster.graphql(&format!("{{ {question} }}")).await;
                let graphql = graphql.pointer(at).unwrap();
                assert_eq!(numbers(graphql), history.convert(&rest, &inside), "{path}{query}");
                assert!(graphql["usedCpuCores"]["values"].is_array(), "{graphql}");
            }
        }
    }

    async fn the_distribution_is_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let (entry, inside) = (Type::named(&cluster, "WorkerDistribution").await, [Type::named(&cluster, "Vm").await]);
        let rest = cluster.rest().get("/api/v1/cluster/distribution").await.json();
        let rest: Value =
            rest["distribution"].as_array().unwrap().iter().map(|one| entry.convert(one, &inside)).collect();
        let graphql = cluster.graphql(&format!("{{ vmDistribution {{ {} }} }}", entry.selection(&inside))).await;
        let mut graphql = numbers(&graphql["vmDistribution"]);
        for entry in graphql.as_array_mut().unwrap() {
            entry["vms"] = listed(entry["vms"].take());
        }
        assert_eq!(graphql, rest);
    }

    async fn pages_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let rest = cluster.rest().get("/api/v1/workers?limit=2").await;
        let question = "{ workersConnection(first: 2) { nodes { id } totalCount pageInfo { endCursor hasNextPage } } }";
        let graphql = cluster.graphql(question).await["workersConnection"].take();
        assert_eq!(pick(&graphql["nodes"], ["id"]), pick(&rest.json()["workers"], ["id"]));
        assert_eq!(graphql["totalCount"], rest.json()["total"]);
        let cursor = graphql["pageInfo"]["endCursor"].as_str().unwrap();
        assert_eq!(
            rest.header("link").unwrap(),
            format!("<?limit=2&cursor={cursor}>; rel=\"next\""),
            "cursors are the same too"
        );
    }

    // Each command is given to one cluster by REST and to another by GraphQL.
    async fn commands_are_the_same_in_both_protocols(cluster: TestCluster) {
        let twin = TestCluster::on(&TestDatabase::sqlite()).await;
        let inside = [Type::named(&twin, "Worker").await, Type::named(&twin, "Drain").await];
        let answers = async |field: &str, rest: Ask, input: Value| {
            let kind = field[..1].to_uppercase() + &field[1..];
            let payload = Type::named(&twin, &format!("{kind}Payload")).await;
            let selection = payload.selection(&inside);
            let mutation = format!("mutation($input: {kind}Input!) {{ {field}(input: $input) {{ {selection} }} }}");
            let mut graphql = twin.graphql_answer(&mutation, json!({"input": input})).await;
            assert_eq!(graphql.get("errors"), None, "{input}");
            let mut graphql = graphql["data"][field].take();
            let rest = rest.await;
            if rest.status == 204 {
                return;
            }
            let mut rest = rest.json();
            if matches!(field, "drainWorker" | "activateWorker") {
                // The documented answer has less: what is in it has to be the same.
                assert_eq!(graphql["worker"]["id"], rest["worker_id"]);
                assert_eq!(graphql["worker"]["schedulingPolicy"], rest["status"].as_str().unwrap().to_uppercase());
                assert_eq!(graphql["message"], rest["message"]);
                return;
            }
            if field == "recordHeartbeat" {
                // Spread by chance.
                rest["next_heartbeat_seconds"] = json!(10);
                graphql["nextHeartbeatSeconds"] = json!(10);
            }
            assert_eq!(numbers(&graphql), payload.convert(&rest, &inside), "{field}");
        };

        let rest = cluster.rest();
        let registration = worker("w1")
            .zone("a")
            .registers("labels", json!({"env": "production"}))
            .registers("capabilities", json!(["docker"]))
            .registers("max_vms", 7)
            .registers("boot_id", "one")
            .registration();
        for _ in 0..2 {
            let mut input = camel_keys(&registration, "w1");
            input["labels"] = json!([{"key": "env", "value": "production"}]);
            answers("registerWorker", rest.put("/api/v1/workers/w1").json(registration.clone()), input).await;
        }
        let least = json!({"hostname": "node2", "address": "a", "cpu_cores": 1, "memory_mb": 1});
        answers("registerWorker", rest.put("/api/v1/workers/w2").json(least.clone()), camel_keys(&least, "w2")).await;
        for beat in [
            json!({"incarnation": 1}),
            json!({"incarnation": 1, "vms": [{"id": "vm-1"}, {"id": "a/b"}, {"id": "vm-2", "vcpus": 2}]}),
            json!({"incarnation": 1, "sequence": 4, "vms": [{"id": "vm-1", "name": "one"}]}),
            json!({"incarnation": 1, "sequence": 4, "vms": []}),
            json!({"incarnation": 1, "vms_delta": {"upsert": [{"id": "vm-3", "name": "three"}], "remove": ["vm-1"]}}),
            json!({"incarnation": 1, "used_cpu_cores": 3, "used_memory_mb": 4, "used_disk_gb": 5}),
        ] {
            let ask = rest.post("/api/v1/workers/w1/heartbeat").json(beat.clone());
            answers("recordHeartbeat", ask, camel_keys(&beat, "w1")).await;
        }
        for field in ["drainWorker", "drainWorker", "activateWorker"] {
            let path = format!("/api/v1/workers/w1/{}", field.trim_end_matches("Worker"));
            answers(
                field,
                rest.post(&path).json(json!({"reason": "disk"})),
                json!({"workerId": "w1", "reason": "disk"}),
            )
            .await;
        }
        answers("deregisterWorker", rest.delete("/api/v1/workers/w1"), json!({"workerId": "w1"})).await;
        answers(
            "deregisterWorker",
            rest.delete("/api/v1/workers/w2?purge=true"),
            json!({"workerId": "w2", "purge": true}),
        )
        .await;
        let forced = json!({"workerId": "w1", "purge": true, "force": true});
        assert_eq!(twin.everything().await, cluster.everything().await);
        assert_eq!(twin.history().await, cluster.history().await);
        answers("deregisterWorker", rest.delete("/api/v1/workers/w1?purge=true&force=true"), forced).await;
        assert_eq!(twin.everything().await, cluster.everything().await);
    }

    async fn refusals_are_the_same_in_both_protocols(cluster: TestCluster) {
        furnish(&cluster).await;
        let before = cluster.everything().await;
        let register = |id: &str, key: &str, value: Value| {
            let registration = worker("x").registers(key, value).registration();
            let path = format!("/api/v1/workers/{id}");
            (cluster.rest().put(&path).json(registration.clone()), "registerWorker", camel_keys(&registration, id))
        };
        let beat = |id: &str, beat: Value| {
            let ask = cluster.rest().post(&format!("/api/v1/workers/{id}/heartbeat")).json(beat.clone());
            (ask, "recordHeartbeat", camel_keys(&beat, id))
        };
        let drain = |id: &str, body: Value| {
            let ask = cluster.rest().post(&format!("/api/v1/workers/{id}/drain")).json(body.clone());
            (ask, "drainWorker", camel_keys(&body, id))
        };
        let purge = (
            cluster.rest().delete("/api/v1/workers/w1?purge=true"),
            "deregisterWorker",
            json!({"workerId": "w1", "purge": true}),
        );
        for (rest, field, input) in [
            register("w1", "hostname", json!("")),
            register("w1", "max_vms", json!(-1)),
            register(&"x".repeat(300), "zone", json!("a")),
            beat("w9", json!({"incarnation": 1})),
            beat("w1", json!({"incarnation": 0})),
            beat("w1", json!({"incarnation": 7})),
            beat("w5", json!({"incarnation": 1})),
            beat("w1", json!({"incarnation": 1, "vms": [], "vms_delta": {}})),
            beat("w1", json!({"incarnation": -1})),
            beat("w1", json!({"incarnation": 1, "used_cpu_cores": -1})),
            drain("w9", json!({})),
            drain("w1", json!({"reason": "\u{1}"})),
            purge,
        ] {
            let rest = rest.await;
            let kind = field[..1].to_uppercase() + &field[1..];
            let mutation = format!("mutation($input: {kind}Input!) {{ {field}(input: $input) {{ __typename }} }}");
            let graphql = twin_error(cluster.graphql_answer(&mutation, json!({"input": input})).await, field);
            let code = match rest.status {
                400 => "INVALID_ARGUMENT",
                404 => "NOT_FOUND",
                409 => "CONFLICT",
                other => panic!("{other}: {}", rest.body),
            };
            // The names of fields are each protocol's own.
            let message = rest.json()["message"].as_str().unwrap().to_owned();
            let (field_name, problem) = message.split_once(' ').unwrap();
            let message =
                if code == "INVALID_ARGUMENT" { format!("{} {problem}", camel_case(field_name)) } else { message };
            assert_eq!(graphql, (message, code.to_owned()));
        }
        assert_eq!(cluster.everything().await, before);
    }

    // semantics 23: a storage failure is not a missing worker, in GraphQL neither
    async fn storage_failures_are_the_same_in_both_protocols(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        db.execute("ALTER TABLE event RENAME TO event_mislaid").await;
        let rest = cluster.rest().post("/api/v1/workers/w1/drain").await.json();
        let mutation = r#"mutation { drainWorker(input: {workerId: "w1"}) { changed } }"#;
        let graphql = twin_error(cluster.graphql_answer(mutation, json!({})).await, "drainWorker");
        assert_eq!(graphql, (rest["message"].as_str().unwrap().to_owned(), "UNAVAILABLE".to_owned()));
        let log = cluster.graphql_answer("{ events { nodes { kind } } }", json!({})).await;
        assert_eq!(log["errors"][0]["extensions"]["code"], "UNAVAILABLE", "{log}");
    }
}

/// The one error of an answer whose field is null: its message and its code.
#[track_caller]
fn twin_error(answer: Value, field: &str) -> (String, String) {
    assert_eq!(answer["data"], json!({field: null}), "{answer}");
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["path"]), (1, &json!([field])), "{answer}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&errors[0]["message"]), text(&errors[0]["extensions"]["code"]))
}

/// The input of a command as GraphQL takes it: keys in camelCase, the worker's id beside them.
fn camel_keys(input: &Value, worker_id: &str) -> Value {
    fn camel(value: &Value) -> Value {
        match value {
            Value::Object(object) => {
                object.iter().map(|(key, value)| (camel_case(key), camel(value))).collect::<Map<_, _>>().into()
            }
            Value::Array(list) => list.iter().map(camel).collect(),
            other => other.clone(),
        }
    }
    let mut input = camel(input);
    input["workerId"] = worker_id.into();
    input
}
