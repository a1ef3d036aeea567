// What the stories of the dashboard share.

import assert from 'node:assert/strict';

import { PATIENCE_WITH_PAGES, eventually } from '../harness/patience.mjs';

/** Each page, and what somebody opens it for. */
export const PAGES = ['', 'fleet', 'workers', 'workers/worker-01', 'vms', 'vms/vm-01-1', 'drains', 'capacity', 'events', 'access', 'api', 'health'];

/** What a browser says of a server that is away. */
export const OUTAGE = /WebSocket|ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_ABORTED|503[: ]/;

/** A number as a page writes it. */
export const written = (number) => number.toLocaleString('en-US');

/**
 * Waits until a page shows what is expected of it: each time, `expect` asks the server and the page, and returns what the
 * page does not show, in words.
 */
export async function agrees(what, expect) {
  let missing = [];
  await eventually(what, async () => {
    // What is drawn anew may not be there for a moment.
    missing = await expect().catch((error) => [error.message]);
    return missing.length === 0;
  }, PATIENCE_WITH_PAGES).catch((error) => assert.fail(`${error.message}: ${missing.slice(0, 12).join('; ')}`));
}

/** How many more VMs of a size fit, by placing them one after the other until none has a place. */
export function placedOneByOne(workers, { vcpus, memoryMb }) {
  const room = workers.filter(({ status }) => status === 'active')
    .map((worker) => ({ cores: worker.free_cpu_cores, memory: worker.free_memory_mb, slots: worker.free_vm_slots }));
  for (let placed = 0; ; placed += 1) {
    const place = room.find(({ cores, memory, slots }) => cores >= vcpus && memory >= memoryMb && slots >= 1);
    if (!place) return placed;
    place.cores -= vcpus;
    place.memory -= memoryMb;
    place.slots -= 1;
  }
}
