// The page of one VM: what it is, where, what its workers report of it, and what happened to it, also after it is gone.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server } from '../harness/server.mjs';
import { agrees, written } from './dashboard.mjs';
import { Browser } from './visit.mjs';

describe('VMs in the dashboard', () => {
  let browser;
  let server;
  before(async () => {
    browser = await Browser.launch();
    server = await Server.start();
  });
  after(async () => {
    await server?.stop();
    await browser?.close();
  });

  /** Waits until the page says all of this. */
  const says = (visit, expected) => agrees('the page says it', async () => {
    const text = await visit.page.evaluate(() => document.querySelector('main').innerText.replace(/\s+/g, ' '));
    return expected.filter((one) => !one.test(text)).map((one) => `${one} in ${text.slice(0, 1_500)}`);
  });

  test('what a VM is, where it is, and what happened are told, and followed', async () => {
    const { fleet } = server;
    const { id: reservation } = await fleet.reserve({ vcpus: 2, memory_mb: 2_048, count: 2, expires_in: '1h', reason: 'roll-out of db' });
    const vm = { id: 'vm-told', name: 'db-7', status: 'running', vcpus: 2, memory_mb: 2_048, reservation_id: reservation, note: 'live migration refused: local disk' };
    await fleet.beat('worker-01', [vm]);
    const told = await fleet.get('/vms/vm-told');

    const visit = await browser.visit(`${server.url}/vms/vm-told`);
    await visit.dashboard();
    const worker = await fleet.get('/workers/worker-01');
    await says(visit, [
      /^VMs \/ db-7 running/, /Running for \d+ (s|min) on worker-01 in us-west-1a\./, /Note of its worker: “live migration refused: local disk”/,
      /Status running since [\d:]+/, /Worker worker-01 active/, /Zone us-west-1a/, /vCPU 2\b/, /Memory 2 GiB/, /Created [\d:]+ · (now|\d+ (s|min) ago)/,
      /Started [\d:]+/, new RegExp(`Reservation ${reservation}`), /ID vm-told Copy/, new RegExp(`Revision ${written(told.revision)}\\b`),
      new RegExp(`CPU ${worker.used_cpu_cores} of ${worker.cpu_cores} cores`), /State held, for 2 VMs Reason “roll-out of db”/,
      /VM vm-told is running on worker worker-01/, /All events of this VM/,
    ]);
    await visit.judge('vm-told');
    const addresses = await visit.page.$$eval('main a', (all) => all.map((a) => a.pathname + decodeURIComponent(a.search)));
    for (const wanted of ['/workers/worker-01', '/events?q=vm:vm-told', '/vms?q=worker:worker-01']) assert(addresses.includes(wanted), `${wanted} in ${addresses}`);

    // Its request for a terminal, and its worker, which is drained meanwhile.
    await visit.click('main .page-actions summary');
    assert.equal(await visit.copied(() => visit.press('button', /^Command line$/)), 'aetherium vms vm-told');
    await visit.page.keyboard.press('Escape');
    await fleet.drain('worker-01', 'new fans');
    await says(visit, [/Its worker is draining \(“new fans”\): this VM has to move or stop/, /Worker worker-01 draining/]);

    // A migration: for a while both report it, the later one counts.
    await fleet.beat('worker-04', [{ ...vm, note: undefined }]);
    await says(visit, [/Running for .* on worker-04/, /Reported by more than one worker/, /worker-04 active authoritative/, /worker-01 draining running for/]);
    await visit.judge('vm-migrating');
    await fleet.beat('worker-01', []);
    await visit.until(() => !document.body.innerText.includes('Reported by more than one worker'));
    await fleet.activate('worker-01');

    // It is gone, and what happened stays.
    await fleet.beat('worker-04', []);
    await says(visit, [/^VMs \/ db-7 /, /There is no VM with the id vm-told now\./, /All events of this VM/]);
    await visit.judge('vm-gone');
    await visit.leave();
  });

  test('the list says how many VMs occupy a slot, and how many more there are', async () => {
    const { vms } = await server.fleet.get('/vms?limit=500&status=stopped&status=failed');
    const { vms: up } = await server.fleet.get('/vms?limit=500');
    const visit = await browser.visit(`${server.url}/vms`);
    await visit.dashboard();
    await visit.sees(new RegExp(`^${up.length} VMs · ${vms.length} more stopped or failed$`, 'm'));
    await visit.leave();
  });
});
