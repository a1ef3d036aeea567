// What the dashboard costs a browser when there are 10,000 workers with 200,000 VMs, and whether that is within its
// budgets: `node benches/dashboard/run.mjs`. How to run and read it is in docs/benchmarks.md.
//
// Work is measured as the time that the page's main thread has had a processor, out of Chromium's traces, so that what
// else the machine does is no part of it. Only the first rows are timed by the clock: they are what somebody waits for.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';

process.env.AETHERIUM_TEST_BINARY ??= 'target/release/aetherium';
const { Browser } = await import('../../tests/conformance/browser/visit.mjs');
const { LargeFleet } = await import('../../tests/conformance/harness/large_fleet.mjs');
const { Server } = await import('../../tests/conformance/harness/server.mjs');

const { values: options } = parseArgs({
  options: {
    workers: { type: 'string', default: '10000' },
    'vms-per-worker': { type: 'string', default: '20' },
    rate: { type: 'string', default: '1000' },
    minutes: { type: 'string', default: '5' },
  },
});
const [WORKERS, VMS, RATE, MINUTES] = ['workers', 'vms-per-worker', 'rate', 'minutes'].map((name) => Number(options[name]));

/** How soon the first rows are to be seen, in milliseconds by the clock. */
const FIRST_ROWS_MS = 500;

/** What a keystroke in the search may cost, and the longest task while updates come in, in milliseconds of a processor. */
const TASK_MS = 50;

/** What is used of the heap once garbage is collected, in MB, and by how much that may grow while updates come in. */
const HEAP_MB = 150;
const GROWTH_MB = 5;

/** How long after the first page the scripts of all others are there, in milliseconds. */
const LOADED_MS = 5_000;

/** How long each page is watched while updates come in, in milliseconds. */
const WATCHED_MS = 10_000;

/** Beats of one request. */
const BATCH = 100;

const results = [];

function line(what, value, unit, most) {
  const isMet = value <= most;
  results.push(isMet);
  console.log(`${isMet ? ' ' : '!'} ${what.padEnd(62)} ${value.toFixed(value < 10 ? 1 : 0).padStart(7)} ${unit.padEnd(3)} at most ${most}`);
}

/** Runs something in a page, and gives the tasks of its main thread meanwhile, in milliseconds of a processor, the longest first. */
async function tasksDuring(page, act) {
  const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-dashboard-'));
  const file = path.join(folder, 'trace.json');
  await page.tracing.start({ path: file, categories: ['-*', 'toplevel', 'devtools.timeline', 'disabled-by-default-devtools.timeline'] });
  await act();
  await page.tracing.stop();
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(folder, { recursive: true, force: true });
  // The main thread of the page is the one that runs its functions.
  const calls = new Map();
  const threadOf = ({ pid, tid }) => `${pid} ${tid}`;
  for (const event of traceEvents) if (event.name === 'FunctionCall') calls.set(threadOf(event), (calls.get(threadOf(event)) ?? 0) + (event.tdur ?? 0));
  const [main] = [...calls].sort((a, b) => b[1] - a[1])[0] ?? [''];
  return traceEvents
    .filter((event) => event.ph === 'X' && event.name.endsWith('RunTask') && threadOf(event) === main)
    .map(({ tdur = 0 }) => tdur / 1_000)
    .sort((a, b) => b - a);
}

async function open(page, address) {
  await page.evaluate((address) => {
    history.pushState(null, '', address);
    dispatchEvent(new PopStateEvent('popstate'));
  }, address);
}

async function heapOf(page) {
  const devtools = await page.createCDPSession();
  for (let round = 0; round < 2; round += 1) await devtools.send('HeapProfiler.collectGarbage');
  const { usedSize } = await devtools.send('Runtime.getHeapUsage');
  await devtools.detach();
  return usedSize / 1e6;
}

/** Lets workers beat in turn, so many a second, until it is stopped; one in ten says that a VM has changed. */
function beating(fleet, rate) {
  let at = 0;
  let round = 0;
  let sent = 0;
  let isOver = false;
  const begun = Date.now();
  const done = (async () => {
    while (!isOver) {
      const ids = fleet.ids.slice(at, at + BATCH);
      at += BATCH;
      if (at >= fleet.ids.length) [at, round] = [0, round + 1];
      await fleet.beat(ids, { withVms: (sent / BATCH) % 10 === 0, round: round + 1 });
      sent += ids.length;
      const ahead = (sent / rate) * 1_000 - (Date.now() - begun);
      if (ahead > 0) await pause(ahead);
    }
  })();
  return async () => {
    isOver = true;
    await done;
    return sent / ((Date.now() - begun) / 1_000);
  };
}

/** Opens an address as somebody who was never here before. What comes over the socket is not kept. */
async function visitOf(address) {
  const visit = await browser.visit(`${server.url}${address}`);
  visit.messages.push = () => {};
  await visit.dashboard();
  return visit;
}

const browser = await Browser.launch();
const server = await Server.start({ empty: true });
try {
  console.log(`${WORKERS} workers with ${VMS} VMs each; ${process.env.AETHERIUM_TEST_BINARY}`);
  const fleet = await LargeFleet.register(server.url, WORKERS, VMS);

  const ROW = 'main [role=row][data-id]';
  for (const [address, seen] of [['/workers', ROW], ['/workers?sort=-cpu', ROW], ['/vms', ROW], ['/vms?sort=name', ROW], ['/fleet', 'main canvas'], ['/vms?view=map', '.map-canvas canvas'], ['/events', ROW]]) {
    const visit = await visitOf('/health');
    // Scripts of other pages are there already, as they are a moment after the first page.
    await pause(LOADED_MS);
    let first;
    const tasks = await tasksDuring(visit.page, async () => {
      const begun = performance.now();
      await open(visit.page, address);
      await visit.page.waitForSelector(seen);
      first = performance.now() - begun;
      await pause(WATCHED_MS);
    });
    line(`${address}: first rows`, first, 'ms', FIRST_ROWS_MS);
    line(`${address}: longest task in the ten seconds after it`, tasks[0] ?? 0, 'ms', TASK_MS);
    await visit.page.browserContext().close();
  }

  for (const address of ['/workers', '/vms']) {
    const visit = await visitOf(address);
    const tasks = await tasksDuring(visit.page, async () => {
      await visit.page.focus('#search');
      await visit.page.keyboard.type('zone:us-west-1a 7', { delay: 150 });
      await pause(2_000);
    });
    line(`${address}: longest task while a search is typed`, tasks[0] ?? 0, 'ms', TASK_MS);
    await visit.page.browserContext().close();
  }

  for (const address of ['/', '/fleet', '/workers', '/vms', '/vms?view=map', '/events']) {
    const visit = await visitOf(address);
    const stop = beating(fleet, RATE);
    const tasks = await tasksDuring(visit.page, () => pause(WATCHED_MS));
    const rate = await stop();
    const busy = tasks.reduce((sum, task) => sum + task, 0) / WATCHED_MS;
    line(`${address}: longest task under ${rate.toFixed(0)} updates a second`, tasks[0] ?? 0, 'ms', TASK_MS);
    console.log(`  ${''.padEnd(62)} ${(busy * 100).toFixed(0).padStart(7)} %   of a processor`);
    await visit.page.browserContext().close();
  }

  for (const address of ['/fleet', '/events']) {
    const visit = await visitOf(address);
    const stop = beating(fleet, RATE);
    const heaps = [];
    for (let minute = 0; minute <= MINUTES; minute += 1) {
      // The first minute fills what has bounds.
      await pause(60_000);
      heaps.push(await heapOf(visit.page));
    }
    const rate = await stop();
    line(`${address}: heap under ${rate.toFixed(0)} updates a second`, Math.max(...heaps), 'MB', HEAP_MB);
    line(`${address}: its growth in ${MINUTES} minutes`, heaps.at(-1) - heaps[0], 'MB', GROWTH_MB);
    await visit.page.browserContext().close();
  }
} finally {
  await browser.close();
  await server.stop();
}
process.exitCode = results.every(Boolean) ? 0 : 1;
