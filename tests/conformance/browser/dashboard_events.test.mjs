// The log of events at the size of a fleet: what VMs do all the time is a line a minute, with its number, and nothing is
// lost; and what the pages say of workers without a zone, and copy as requests.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Fleet } from '../harness/fleet.mjs';
import { eventually } from '../harness/patience.mjs';
import { Server } from '../harness/server.mjs';
import { agrees } from './dashboard.mjs';
import { Browser } from './visit.mjs';

/** Kinds that are folded, and with what. */
const FOLD_KINDS = { vm_started: 'churn', vm_changed: 'churn', vm_stopped: 'churn', vm_moved: 'churn', vm_failed: 'failed', vm_lost: 'lost', vm_vanished: 'vanished' };
/** So many of one kind of fold in a minute are one line. */
const FEWEST = 4;

const vms = (worker, many, status) => Array.from({ length: many }, (_, index) => ({ id: `${worker}-vm-${index}`, name: `vm ${index}`, status, vcpus: 1, memory_mb: 512 }));

/** The lines that a log, newest first, is folded to: cursors, or kinds of folds with their numbers. */
function linesOf(events) {
  const keyOf = ({ kind, at }) => (FOLD_KINDS[kind] ? `${FOLD_KINDS[kind]} ${at.slice(0, 16)}` : '');
  const groups = new Map();
  for (const event of events) groups.set(keyOf(event), [...groups.get(keyOf(event)) ?? [], event]);
  return events.flatMap((event) => {
    const group = groups.get(keyOf(event));
    if (!FOLD_KINDS[event.kind] || group.length < FEWEST) return [event.cursor];
    return group[0] === event ? [`${FOLD_KINDS[event.kind]} ${group.length}`] : [];
  });
}

const rowsOf = (visit) => visit.page.$$eval('.events-log [role=row][data-id]', (rows) => rows.map(({ dataset }) => dataset.cursor ?? `${dataset.fold} ${dataset.count}`));

describe('events of a fleet', () => {
  let browser;
  let server;
  let fleet;
  before(async () => {
    browser = await Browser.launch();
    server = await Server.start({ empty: true });
    fleet = new Fleet(server.url);
    for (const id of ['rack-1', 'rack-2']) await fleet.join(id, { zone: 'us-west-1a' });
    await fleet.join('edge-9', { zone: '' });
    await fleet.beat('edge-9', []);
    await fleet.beat('rack-1', vms('rack-1', 5, 'starting'));
    await fleet.beat('rack-2', vms('rack-2', 3, 'running'));
    await fleet.drain('rack-2', 'new disks');
    // Both in one minute, of which a fold is.
    await eventually('a minute that lasts', () => new Date().getSeconds() < 45);
    await fleet.beat('rack-1', vms('rack-1', 5, 'failed'));
    await fleet.beat('rack-2', [...vms('rack-2', 2, 'failed'), ...vms('rack-2', 3, 'stopping').slice(2)]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('VM events of a minute are one line with their number, and nothing is lost', async () => {
    const visit = await browser.visit(`${server.url}/events`);
    await visit.dashboard();
    const { events } = await fleet.get('/events?order=desc&limit=500');
    await agrees('the log is folded', async () => {
      const rows = await rowsOf(visit);
      const expected = linesOf(events);
      return JSON.stringify(rows) === JSON.stringify(expected) ? [] : [`${rows} instead of ${expected}`];
    });
    const rows = await rowsOf(visit);
    const told = rows.reduce((sum, row) => sum + (Number(/ (\d+)$/.exec(row)?.[1]) || 1), 0);
    assert.equal(told, events.length, 'each event is in one line');
    await visit.sees(new RegExp(`^${events.length} events read, back to [\\d:]+; the log has no older ones$`, 'm'));
    // Drains are a line each, and so is what is told of workers.
    const drained = events.find(({ kind }) => kind === 'worker_drain_started');
    assert.ok(rows.includes(drained.cursor));
    await visit.judge('events-folded');

    // With the keyboard: to the first fold, which opens and stays in the address.
    const at = rows.findIndex((row) => row.startsWith('failed '));
    assert.ok(at >= 0, `${rows}`);
    const failed = events.filter(({ kind }) => kind === 'vm_failed');
    await visit.sees(/7 VMs failed on 2 workers/);
    assert.equal(await visit.page.$eval('[data-fold=failed] a.fold-link', (link) => new URL(link.href).searchParams.get('q')), 'status:failed zone:us-west-1a');
    const isExpanded = () => visit.page.$eval('.events-log [data-fold=failed] .td.lead a', (link) => link.ariaExpanded);
    assert.equal(await isExpanded(), 'false');
    await visit.page.focus('.events-log');
    for (let step = 0; step <= at; step += 1) await visit.page.keyboard.press('j');
    await visit.page.keyboard.press('Enter');
    await visit.until(() => new URLSearchParams(location.search).has('open'));
    await agrees('it is open', async () => {
      const open = await rowsOf(visit);
      return failed.filter(({ cursor }) => open.filter((row) => row === cursor).length !== 1).map(({ cursor }) => `${cursor} is not there once`);
    });
    assert.equal(await isExpanded(), 'true');
    await visit.judge('events-unfolded');
    await visit.page.reload({ waitUntil: 'load' });
    await visit.page.waitForSelector(`[data-cursor="${failed[0].cursor}"]`);

    // What comes joins its line, or begins one.
    await fleet.beat('rack-1', vms('rack-1', 5, 'starting').map((vm) => ({ ...vm, id: `${vm.id}-again` })));
    const { events: later } = await fleet.get('/events?order=desc&limit=500');
    await agrees('what comes is in it', async () => {
      const found = (await rowsOf(visit)).filter((row) => row.startsWith('churn '));
      const expected = linesOf(later).filter((line) => line.startsWith('churn '));
      return JSON.stringify(found) === JSON.stringify(expected) ? [] : [`${found} instead of ${expected}`];
    });

    // Who wants each event has each, in order.
    await visit.press('button', /^fold VM events$/);
    await visit.until(() => new URLSearchParams(location.search).get('fold') === 'no');
    await agrees('each event is a line', async () => {
      const each = await rowsOf(visit);
      return each.length > 20 && each.every((cursor, index) => cursor === later[index].cursor) ? [] : [`${each}`];
    });
    await visit.leave();
  });

  test('the Overview says failures as one line, so that the rest is seen', async () => {
    const visit = await browser.visit(server.url);
    await visit.dashboard();
    const fold = await visit.page.waitForSelector('[data-fold=failed]');
    assert.equal(await fold.evaluate(({ dataset }) => dataset.count), '7');
    await visit.sees(/7 VMs failed on 2 workers/);
    await visit.sees(/Worker rack-2 is draining/);
    await visit.page.focus('[data-fold=failed] summary');
    await visit.page.keyboard.press('Enter');
    await visit.until(() => document.querySelectorAll('[data-fold=failed] [data-cursor]').length === 7);
    await visit.judge('overview-folded');
    await visit.leave();
  });

  test('workers without a zone are said to have none, wherever zones are', async () => {
    const overview = await browser.visit(server.url);
    await overview.dashboard();
    await overview.sees(/no zone\s*1 worker/);
    const [link] = await overview.page.$$eval('a.zone-link', (links) => links.filter(({ textContent }) => textContent === 'no zone').map(({ href }) => href));
    await overview.leave();
    const list = await browser.visit(link);
    await list.dashboard();
    await list.sees(/edge-9/);
    assert.doesNotMatch(await list.page.$eval('main [role=grid]', (grid) => grid.innerText), /rack-1/);
    await list.leave();
    for (const [page, label] of [['fleet', 'Workers in figures'], ['capacity', 'Table by zone']]) {
      const visit = await browser.visit(`${server.url}/${page}`);
      await visit.dashboard();
      await visit.page.waitForSelector(`[aria-label="${label}"] tbody tr`);
      const zones = await visit.page.$$eval(`[aria-label="${label}"] tbody tr`, (rows) => rows.map(({ cells: [name] }) => name.textContent));
      assert.deepEqual(zones, ['us-west-1a', 'no zone'], `/${page}`);
      await visit.leave();
    }
  });

  test('what a page shows is copied as requests that are answered, from the end of its head', async () => {
    const pages = {
      'fleet?q=zone:none': 'workers --without-zone',
      // It has no option for ids, and without one it would show all.
      'fleet?q=id:edge-9': undefined,
      'drains?q=zone:us-west-1a': 'drains --state draining --state overdue --state complete --zone us-west-1a',
      'events?q=kind:vm_failed+worker:rack-1': 'events --last 100 --kind vm_failed --worker rack-1',
    };
    for (const [page, command] of Object.entries(pages)) {
      const visit = await browser.visit(`${server.url}/${page}`);
      await visit.dashboard();
      const last = await visit.page.$eval('main .page-head', (head) => head.lastElementChild.lastElementChild.textContent);
      assert.match(last, /^Copy as/, `/${page}`);
      await visit.press('button', /^Copy as/);
      const texts = Object.fromEntries(await visit.page.$$eval('main .page-head .menu[open] .sheet button', (items) => items.map(({ textContent, title }) => [textContent, title])));
      assert.equal(texts['Command line'], command && `aetherium ${command}`);
      const address = /'?(http:[^' ]+)'?/.exec(texts['curl, REST'])[1];
      const answer = await fetch(address);
      assert.equal(answer.status, 200, `${address}: ${await answer.clone().text()}`);
      const { workers, drains, events } = await answer.json();
      assert.deepEqual([...new Set((workers ?? drains ?? events).map((one) => one.worker_id ?? one.id))], page.startsWith('fleet') ? ['edge-9'] : page.startsWith('drains') ? ['rack-2'] : ['rack-1']);
      const body = /-d '(.+)'$/s.exec(texts['curl, GraphQL'])[1].replaceAll(`'\\''`, `'`);
      const { errors, data } = await (await fetch(`${server.url}/graphql`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json();
      assert.ok(errors === undefined && data, JSON.stringify(errors));
      await visit.judge(`copy-as-${page.replace(/\?.*/, '')}`);
      await visit.leave();
    }
  });
});
