"""Calls the server with the client that openapi-python-client makes."""

import json
import sys

from aetherium_client import Client
from aetherium_client.api.agents import deregister_worker, record_heartbeat, record_heartbeats, register_worker
from aetherium_client.api.cluster import show_cluster_stats
from aetherium_client.api.events import list_events
from aetherium_client.api.server import show_health
from aetherium_client.api.v_ms import show_vm
from aetherium_client.api.workers import activate_worker, drain_worker, list_worker_vms, list_workers, show_worker
from aetherium_client.models import (
    DrainRequest,
    Heartbeat,
    Heartbeats,
    RecordedHeartbeat,
    RefusedHeartbeat,
    Registration,
    RegistrationLabelsType0,
    VmReport,
    VmStatus,
    WorkersHeartbeat,
    WorkerStatus,
)

url, name = sys.argv[1:]
client = Client(base_url=f"{url}/api/v1", raise_on_unexpected_status=True)
said = {}

registered = register_worker.sync(
    name,
    client=client,
    body=Registration(
        hostname=f"{name}.example.com",
        address="192.0.2.1:8081",
        zone=name,
        labels=RegistrationLabelsType0.from_dict({"made-by": name}),
        capabilities=["firecracker"],
        cpu_cores=16,
        memory_mb=32768,
        boot_id="generated",
    ),
)
said["registered"] = [registered.created, registered.incarnation, registered.worker.status]

inventory = [
    VmReport(id=f"{name}-vm-1", name="dev-vm-1", status=VmStatus.RUNNING, vcpus=2, memory_mb=2048),
    VmReport(id=f"{name}-vm-2", status=None),
]
recorded = record_heartbeat.sync(name, client=client, body=Heartbeat(incarnation=1, vms=inventory))
said["heartbeat"] = [recorded.policy, recorded.resync]

batch = [WorkersHeartbeat(worker_id=name, incarnation=1), WorkersHeartbeat(worker_id="nobody", incarnation=1)]
accepted, refused = record_heartbeats.sync(client=client, body=Heartbeats(heartbeats=batch)).results
assert isinstance(accepted, RecordedHeartbeat) and isinstance(refused, RefusedHeartbeat)
said["heartbeats"] = [accepted.status, accepted.policy, refused.status, refused.error.code]

drain_worker.sync(name, client=client)
said["activated"] = activate_worker.sync(name, client=client).status
request = DrainRequest(reason="new disks")
drained = drain_worker.sync(name, client=client, idempotency_key=f"drain-{name}", body=request)
said["drained"] = drained.status

worker = show_worker.sync(name, client=client)
labels = worker.labels.to_dict()
said["worker"] = [worker.status, worker.scheduling_policy, worker.vm_count, labels, worker.zone]
listed = list_workers.sync(
    client=client, status=[WorkerStatus.DRAINING], label=[f"made-by={name}"], is_healthy=True, limit=10
)
said["listed"] = [[worker.id for worker in listed.workers], listed.total]
said["stats"] = show_cluster_stats.sync(client=client).zones.to_dict()[name]
said["vms"] = [[vm.id, vm.status] for vm in list_worker_vms.sync(name, client=client).vms]
vm = show_vm.sync(f"{name}-vm-1", client=client)
said["vm"] = [vm.worker_id, vm.vcpus]
events = list_events.sync(client=client, worker_id=[name]).events
said["events"] = [events[0].kind, events[-1].kind, events[-1].reason]
said["health"] = show_health.sync(client=client).status
missing = show_worker.sync("nobody", client=client)
said["missing"] = [missing.code, missing.message]
deregister_worker.sync_detailed(name, client=client, purge=True, force=True)
said["left"] = list_workers.sync(client=client, id=[name]).total
print(json.dumps(said))
