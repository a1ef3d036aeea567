// Takes the README's picture: the dashboard on the scene that `aetherium dev` plays.
//
//     cargo build && node tests/conformance/harness/picture.mjs
//
// It takes half a minute, most of it for VMs to come and go. Chromium and the packages of tests/conformance have to be there.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { Browser } from '../browser/visit.mjs';
import { Received, within } from './patience.mjs';
import { BINARY, ROOT } from './server.mjs';

const PICTURE = path.join(ROOT, 'docs/dashboard.png');

/** What a README may weigh on whoever reads it, in bytes. */
const LARGEST = 150_000;

/** Events that make the scene look at work. */
const EVENTS = 40;

const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-picture-'));
const dev = spawn(BINARY, ['dev', '--listen', '127.0.0.1:0', '--vms-per-worker', '8', '--offline-after', '12s', '--heartbeat-interval', '2s'], {
  cwd: folder,
  env: { PATH: process.env.PATH, TMPDIR: folder },
  stdio: ['ignore', 'pipe', 'ignore'],
});
const ended = new Promise((resolve) => dev.once('close', resolve));
let browser;
try {
  const said = new Received();
  createInterface(dev.stdout).on('line', (line) => said.push(line));
  const line = await said.first('address of the dashboard', (line) => line.includes('Dashboard'));
  const url = line.match(/http\S+/)[0];
  const get = async (question) => (await fetch(`${url}api/v1/${question}`)).json();
  const isSet = async () => {
    const { drains } = await get('drains');
    const states = drains.map(({ state, remaining_vms: left }) => `${state} ${left < 7}`).sort();
    const { events } = await get('events?limit=200');
    return `${states}` === 'draining true,overdue true' && (await get('cluster/stats')).offline_workers === 1 && events.length > EVENTS;
  };
  await within('the scene', (async () => { while (!(await isSet())) await sleep(500); })());

  browser = await Browser.launch();
  const visit = await browser.visit(url, { scheme: 'dark' });
  await visit.page.setViewport({ width: 1280, height: 648 });
  await visit.dashboard();
  await visit.page.screenshot({ path: PICTURE, optimizeForSpeed: false });
  await visit.leave();
  const { size } = statSync(PICTURE);
  assert(size < LARGEST, `${PICTURE} has ${size} bytes`);
  console.log(`${PICTURE}: ${size} bytes`);
} finally {
  await browser?.close();
  dev.kill('SIGTERM');
  await ended;
  rmSync(folder, { recursive: true, force: true });
}
