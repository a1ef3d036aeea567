// Calls the server with openapi-fetch, by the types that openapi-typescript makes.

import createClient from 'openapi-fetch';

import type { paths } from './generated.js';

const [, , url, name] = process.argv as [string, string, string, string];
const client = createClient<paths>({ baseUrl: `${url}/api/v1` });
const path = { id: name };

/** What was answered, or the failure that was. */
function answered<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const registered = answered(
  await client.PUT('/workers/{id}', {
    params: { path },
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
  }),
);
const vms = [
  { id: `${name}-vm-1`, name: 'dev-vm-1', status: 'running' as const, vcpus: 2, memory_mb: 2_048 },
  { id: `${name}-vm-2`, status: null },
];
const recorded = answered(await client.POST('/workers/{id}/heartbeat', { params: { path }, body: { incarnation: 1, vms } }));
const heartbeats = [{ worker_id: name, incarnation: 1 }, { worker_id: 'nobody', incarnation: 1 }];
const { results } = answered(await client.POST('/heartbeats', { body: { heartbeats } }));
const [accepted, refused] = results;
if (!accepted || !refused || !('policy' in accepted) || !('error' in refused)) throw new Error(JSON.stringify(results));

answered(await client.POST('/workers/{id}/drain', { params: { path } }));
const activated = answered(await client.POST('/workers/{id}/activate', { params: { path } }));
const drained = answered(
  await client.POST('/workers/{id}/drain', {
    params: { path, header: { 'idempotency-key': `drain-${name}` } },
    body: { reason: 'new disks' },
  }),
);
const worker = answered(await client.GET('/workers/{id}', { params: { path } }));
const query = { status: ['draining' as const], label: [`made-by=${name}`], is_healthy: true, limit: 10 };
const listed = answered(await client.GET('/workers', { params: { query } }));
const stats = answered(await client.GET('/cluster/stats'));
const onIt = answered(await client.GET('/workers/{id}/vms', { params: { path } }));
const vm = answered(await client.GET('/vms/{id}', { params: { path: { id: `${name}-vm-1` } } }));
const page = answered(await client.GET('/events', { params: { query: { worker_id: [name] } } }));
// Streams are texts, to whoever asks for one.
if (typeof page === 'string') throw new Error(page);
const { events } = page;
const health = answered(await client.GET('/health'));
const missing = await client.GET('/workers/{id}', { params: { path: { id: 'nobody' } } });
if (!missing.error || !('message' in missing.error)) throw new Error(`nobody is there: ${JSON.stringify(missing.data)}`);
const gone = await client.DELETE('/workers/{id}', { params: { path, query: { purge: true, force: true } } });
if (gone.error) throw new Error(JSON.stringify(gone.error));
const left = answered(await client.GET('/workers', { params: { query: { id: [name] } } }));

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
