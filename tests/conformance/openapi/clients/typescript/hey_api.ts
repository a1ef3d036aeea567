// Calls the server with the client that hey-api makes.

import { client } from './generated/client.gen';
import {
  activateWorker,
  deregisterWorker,
  drainWorker,
  listEvents,
  listWorkers,
  listWorkerVms,
  recordHeartbeat,
  recordHeartbeats,
  registerWorker,
  showClusterStats,
  showHealth,
  showVm,
  showWorker,
} from './generated';

const [, , url, name] = process.argv as [string, string, string, string];
client.setConfig({ baseUrl: `${url}/api/v1` });
const throwOnError = true as const;
const path = { id: name };

async function main() {
  const { data: registered } = await registerWorker({
    throwOnError,
    path,
    body: {
      hostname: `${name}.example.com`,
      address: '192.0.2.1:8081',
      zone: name,
      labels: { 'made-by': name },
      capabilities: ['firecracker'],
      cpu_cores: 16,
      memory_mb: 32_768,
      boot_id: 'generated',
    },
  });
  const vms = [
    { id: `${name}-vm-1`, name: 'dev-vm-1', status: 'running' as const, vcpus: 2, memory_mb: 2_048 },
    { id: `${name}-vm-2`, status: null },
  ];
  const { data: recorded } = await recordHeartbeat({ throwOnError, path, body: { incarnation: 1, vms } });
  const heartbeats = [{ worker_id: name, incarnation: 1 }, { worker_id: 'nobody', incarnation: 1 }];
  const { data: { results } } = await recordHeartbeats({ throwOnError, body: { heartbeats } });
  const [accepted, refused] = results;
  if (!accepted || !refused || !('policy' in accepted) || !('error' in refused)) throw new Error(JSON.stringify(results));

  await drainWorker({ throwOnError, path });
  const { data: activated } = await activateWorker({ throwOnError, path });
  const headers = { 'idempotency-key': `drain-${name}` };
  const { data: drained } = await drainWorker({ throwOnError, path, headers, body: { reason: 'new disks' } });
  const { data: worker } = await showWorker({ throwOnError, path });
  const { data: listed } = await listWorkers({
    throwOnError,
    query: { status: ['draining'], label: [`made-by=${name}`], is_healthy: true, limit: 10 },
  });
  const { data: stats } = await showClusterStats({ throwOnError });
  const { data: onIt } = await listWorkerVms({ throwOnError, path });
  const { data: vm } = await showVm({ throwOnError, path: { id: `${name}-vm-1` } });
  const { data: page } = await listEvents({ throwOnError, query: { worker_id: [name] } });
  // Streams are texts, to whoever asks for one.
  if (typeof page === 'string') throw new Error(page);
  const { events } = page;
  const { data: health } = await showHealth({ throwOnError });
  const missing = await showWorker({ path: { id: 'nobody' } });
  if (!missing.error || !('message' in missing.error)) throw new Error(`nobody is there: ${JSON.stringify(missing.data)}`);
  await deregisterWorker({ throwOnError, path, query: { purge: true, force: true } });
  const { data: left } = await listWorkers({ throwOnError, query: { id: [name] } });

  console.log(
    JSON.stringify({
      registered: [registered.created, registered.incarnation, registered.worker.status],
      heartbeat: [recorded.policy, recorded.resync],
      heartbeats: [accepted.status, accepted.policy, refused.status, refused.error.code],
      activated: activated.status,
      drained: drained.status,
      worker: [worker.status, worker.scheduling_policy, worker.vm_count, worker.labels, worker.zone],
      listed: [listed.workers.map(({ id }) => id), listed.total],
      stats: stats.zones[name],
      vms: onIt.vms.map(({ id, status }) => [id, status]),
      vm: [vm.worker_id, vm.vcpus],
      events: [events.at(0)?.kind, events.at(-1)?.kind, events.at(-1)?.reason],
      health: health.status,
      missing: [missing.response.status, missing.error.message],
      left: left.total,
    }),
  );
}

void main();
