// Calls the server with the client that openapi-generator makes for TypeScript and fetch.

import { AgentsApi, ClusterApi, Configuration, EventsApi, ResponseError, ServerApi, VMsApi, WorkersApi } from './generated';

const [, , url, name] = process.argv as [string, string, string, string];
const configuration = new Configuration({ basePath: `${url}/api/v1` });
const agents = new AgentsApi(configuration);
const workers = new WorkersApi(configuration);

async function main() {
  const registered = await agents.registerWorker({
    id: name,
    registration: {
      hostname: `${name}.example.com`,
      address: '192.0.2.1:8081',
      zone: name,
      labels: { 'made-by': name },
      capabilities: ['firecracker'],
      cpuCores: 16,
      memoryMb: 32_768,
      bootId: 'generated',
    },
  });
  const vms = [
    { id: `${name}-vm-1`, name: 'dev-vm-1', status: 'running' as const, vcpus: 2, memoryMb: 2_048 },
    { id: `${name}-vm-2`, status: null },
  ];
  const recorded = await agents.recordHeartbeat({ id: name, heartbeat: { incarnation: 1, vms } });
  const heartbeats = [{ workerId: name, incarnation: 1 }, { workerId: 'nobody', incarnation: 1 }];
  const { results } = await agents.recordHeartbeats({ heartbeats: { heartbeats } });
  const [accepted, refused] = results;
  if (!accepted || !refused || !('policy' in accepted) || !('error' in refused)) throw new Error(JSON.stringify(results));

  await workers.drainWorker({ id: name });
  const activated = await workers.activateWorker({ id: name });
  const drained = await workers.drainWorker({ id: name, idempotencyKey: `drain-${name}`, drainRequest: { reason: 'new disks' } });
  const worker = await workers.showWorker({ id: name });
  const listed = await workers.listWorkers({ status: ['draining'], label: [`made-by=${name}`], isHealthy: true, limit: 10 });
  const stats = await new ClusterApi(configuration).showClusterStats();
  const onIt = await workers.listWorkerVms({ id: name });
  const vm = await new VMsApi(configuration).showVm({ id: `${name}-vm-1` });
  const { events } = await new EventsApi(configuration).listEvents({ workerId: [name] });
  const health = await new ServerApi(configuration).showHealth();
  const missing = await workers.showWorker({ id: 'nobody' }).catch((failure: unknown) => failure);
  if (!(missing instanceof ResponseError)) throw new Error(`nobody is there: ${JSON.stringify(missing)}`);
  const failure: { message: string } = await missing.response.json();
  await agents.deregisterWorker({ id: name, purge: true, force: true });
  const left = await workers.listWorkers({ id: [name] });

  console.log(
    JSON.stringify({
      registered: [registered.created, registered.incarnation, registered.worker.status],
      heartbeat: [recorded.policy, recorded.resync],
      heartbeats: [accepted.status, accepted.policy, refused.status, refused.error.code],
      activated: activated.status,
      drained: drained.status,
      worker: [worker.status, worker.schedulingPolicy, worker.vmCount, worker.labels, worker.zone],
      listed: [listed.workers.map(({ id }) => id), listed.total],
      stats: stats.zones[name],
      vms: onIt.vms.map(({ id, status }) => [id, status]),
      vm: [vm.workerId, vm.vcpus],
      events: [events.at(0)?.kind, events.at(-1)?.kind, events.at(-1)?.reason],
      health: health.status,
      missing: [missing.response.status, failure.message],
      left: left.total,
    }),
  );
}

void main();
