// More workers than anybody looks at one by one, brought in and kept alive over the REST API as a gateway would.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { PATIENCE_WITH_PAGES } from './patience.mjs';

const ZONES = ['eu-central-1a', 'us-east-1a', 'us-west-1a', 'us-west-1b'];

/** Registrations under way at once, and bodies of heartbeats. */
const REGISTRATIONS = 32;
const BODIES = 4;

/** Heartbeats of one body, and VMs in all of them: what a server on a busy machine answers well within its time. */
const BATCH = 200;
const VMS_OF_BODY = 1_000;

/** What a server says that is too busy: the same is to be sent again, after as long as it says. */
const BUSY = 503;

export class LargeFleet {
  #url;
  #vms;
  /** Ids of its workers, sorted. */
  ids;

  /** `vms` is how many VMs each worker holds. */
  static async register(url, workers, vms = 0) {
    const fleet = new LargeFleet();
    fleet.#url = url;
    fleet.#vms = vms;
    fleet.ids = Array.from({ length: workers }, (_, index) => `worker-${String(index + 1).padStart(5, '0')}`);
    await inParallel(REGISTRATIONS, fleet.ids, (id, index) => fleet.#call('PUT', `/workers/${id}`, {
      hostname: `${id}.example.com`,
      address: `192.0.2.${index % 250}:8081`,
      zone: ZONES[index % ZONES.length],
      labels: { env: index % 3 ? 'production' : 'staging', rack: `r${index % 40}` },
      capabilities: ['firecracker'],
      cpu_cores: 32,
      memory_mb: 131_072,
      disk_gb: 2_000,
      max_vms: 100,
      boot_id: 'large',
    }));
    await fleet.beat(fleet.ids, { withVms: true });
    return fleet;
  }

  /** Signs of life of these workers. With VMs, they say what they run, and `round` moves what one VM of each does. */
  async beat(ids, { withVms = false, round = 0 } = {}) {
    const size = withVms ? Math.max(1, Math.min(BATCH, Math.floor(VMS_OF_BODY / Math.max(1, this.#vms)))) : BATCH;
    const batches = Array.from({ length: Math.ceil(ids.length / size) }, (_, index) => ids.slice(index * size, (index + 1) * size));
    await inParallel(BODIES, batches, async (batch) => {
      let heartbeats = batch.map((id) => ({ worker_id: id, incarnation: 1, ...(withVms && { vms: this.#vmsOf(id, round) }) }));
      while (heartbeats.length > 0) {
        const { results } = await this.#call('POST', '/heartbeats', { heartbeats });
        const failed = results.find(({ status }) => ![200, BUSY].includes(status));
        assert(!failed, JSON.stringify(failed));
        // Those that a busy server has not taken are sent again.
        heartbeats = heartbeats.filter((_, index) => results[index].status === BUSY);
      }
    });
  }

  #vmsOf(id, round) {
    return Array.from({ length: this.#vms }, (_, index) => ({
      id: `vm-${id.slice(7)}-${index}`,
      name: `${['web', 'db', 'cache', 'build'][index % 4]}-${index}`,
      status: index === 0 && round % 2 ? 'stopping' : 'running',
      vcpus: 1 + (index % 3),
      memory_mb: 1_024 << (index % 3),
    }));
  }

  async #call(method, path, body) {
    const deadline = Date.now() + PATIENCE_WITH_PAGES;
    for (;;) {
      const response = await fetch(`${this.#url}/api/v1${path}`, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
      const text = await response.text();
      if (response.status === BUSY && Date.now() < deadline) {
        await sleep(1_000 * Number(response.headers.get('retry-after') ?? 1));
        continue;
      }
      assert(response.ok, `${method} ${path}: ${response.status} ${text}`);
      return JSON.parse(text);
    }
  }
}

async function inParallel(atOnce, items, act) {
  let next = 0;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < items.length) {
      const index = next;
      next += 1;
      await act(items[index], index);
    }
  }));
}
