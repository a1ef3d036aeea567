"""Calls the server with the client that openapi-generator makes for Python."""

import json
import sys

from openapi_client import (
    AgentsApi,
    ApiClient,
    ApiException,
    ClusterApi,
    Configuration,
    DrainRequest,
    EventsApi,
    Heartbeat,
    Heartbeats,
    Registration,
    ServerApi,
    VMsApi,
    VmReport,
    VmStatus,
    WorkerStatus,
    WorkersApi,
    WorkersHeartbeat,
)

url, name = sys.argv[1:]
client = ApiClient(Configuration(host=f"{url}/api/v1"))
agents, workers, vms = AgentsApi(client), WorkersApi(client), VMsApi(client)
said = {}

registered = agents.register_worker(
    name,
    Registration(
        hostname=f"{name}.example.com",
        address="192.0.2.1:8081",
        zone=name,
        labels={"made-by": name},
        capabilities=["firecracker"],
        cpu_cores=16,
        memory_mb=32768,
        boot_id="generated",
    ),
)
said["registered"] = [registered.created, registered.incarnation, registered.worker.status.value]

inventory = [
    VmReport(id=f"{name}-vm-1", name="dev-vm-1", status=VmStatus.RUNNING, vcpus=2, memory_mb=2048),
    VmReport(id=f"{name}-vm-2", status=None),
]
recorded = agents.record_heartbeat(name, Heartbeat(incarnation=1, vms=inventory))
said["heartbeat"] = [recorded.policy.value, recorded.resync]

batch = [WorkersHeartbeat(worker_id=name, incarnation=1), WorkersHeartbeat(worker_id="nobody", incarnation=1)]
results = agents.record_heartbeats(Heartbeats(heartbeats=batch)).results
accepted, refused = [result.actual_instance for result in results]
said["heartbeats"] = [accepted.status, accepted.policy.value, refused.status, refused.error.code]

workers.drain_worker(name)
said["activated"] = workers.activate_worker(name).status.value
drained = workers.drain_worker(name, idempotency_key=f"drain-{name}", drain_request=DrainRequest(reason="new disks"))
said["drained"] = drained.status.value

worker = workers.show_worker(name)
said["worker"] = [worker.status.value, worker.scheduling_policy.value, worker.vm_count, worker.labels, worker.zone]
listed = workers.list_workers(status=[WorkerStatus.DRAINING], label=[f"made-by={name}"], is_healthy=True, limit=10)
said["listed"] = [[worker.id for worker in listed.workers], listed.total]
said["stats"] = ClusterApi(client).show_cluster_stats().zones[name]
said["vms"] = [[vm.id, vm.status.value] for vm in workers.list_worker_vms(name).vms]
vm = vms.show_vm(f"{name}-vm-1")
said["vm"] = [vm.worker_id, vm.vcpus]
events = EventsApi(client).list_events(worker_id=[name]).events
said["events"] = [events[0].kind.value, events[-1].kind.value, events[-1].reason]
said["health"] = ServerApi(client).show_health().status
try:
    workers.show_worker("nobody")
except ApiException as failure:
    said["missing"] = [failure.status, json.loads(failure.body)["message"]]
agents.deregister_worker(name, purge=True, force=True)
said["left"] = workers.list_workers(id=[name]).total
print(json.dumps(said))
