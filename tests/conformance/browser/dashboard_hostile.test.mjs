// Names, labels, notes and reasons that try to be more than text, on every page of the dashboard and whatever opens there.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Fleet } from '../harness/fleet.mjs';
import { eventually } from '../harness/patience.mjs';
import { Server } from '../harness/server.mjs';
import { Browser } from './visit.mjs';

/** A name of something, as somebody chooses it who wants to hurt. Read as HTML, it would be an element, and say something else. */
const hostile = (name) => `${name}<img src=x onerror=hurt()>"'&lt;`;

/** What hostile texts would be if they were more than text. */
const ELEMENTS = 'img[src="x"], [onerror], [onload], [onmouseover], script:not([src])';

const [FULL, ROOMY, OTHER] = ['full', 'roomy', 'other'].map(hostile);
const [ZONE, ELSEWHERE] = ['zone', 'elsewhere'].map(hostile);
const [HOST, LABEL, VALUE, CAPABILITY] = ['host', 'label', 'value', 'capability'].map(hostile);
const [VM, VM_NAME, NOTE] = ['vm', 'vm name', 'note'].map(hostile);
const [REASON, KEY, METADATA, HOOK, ROOM, WHO] = ['reason', 'key', 'metadata', 'hook', 'room', 'who'].map(hostile);

/** Each page and what opens on it by its address, with the texts that are to be read there. */
const PLACES = [
  ['', [FULL, ZONE, REASON, WHO]],
  ['fleet', [ZONE, ELSEWHERE]],
  [`fleet?${new URLSearchParams({ group: `label.${LABEL}` })}`, [VALUE]],
  ['workers?cols=id,status,zone,labels,note,host', [FULL, ZONE, `${LABEL}=${VALUE}`, REASON, HOST, WHO]],
  [`workers?${new URLSearchParams({ q: FULL })}`, []],
  [`workers/${encodeURIComponent(FULL)}`, [FULL, ZONE, HOST, `${LABEL}=${VALUE}`, CAPABILITY, VM_NAME, VM, NOTE, REASON, `${KEY}=${METADATA}`, HOOK, WHO]],
  ['vms?cols=name,status,worker,zone,note,id', [VM_NAME, VM, NOTE, FULL, ZONE]],
  ['vms?view=map', [ZONE, FULL]],
  [`vms?${new URLSearchParams({ view: 'map', at: `zone:${ZONE}` })}`, [ZONE, FULL]],
  [`vms?${new URLSearchParams({ view: 'map', at: `worker:${FULL}` })}`, [FULL, VM_NAME]],
  [`vms/${encodeURIComponent(VM)}`, [VM, VM_NAME, NOTE, FULL, ZONE]],
  ['drains', [FULL, ZONE, REASON, `${KEY}=${METADATA}`, HOOK, WHO]],
  [`capacity?${new URLSearchParams({ vcpu: '1', mem: '512m', without: ZONE, label: `${LABEL}=${VALUE}` })}`, [ZONE, ELSEWHERE, FULL, ROOM, WHO]],
  ['capacity?vcpu=1&mem=512m', [ROOMY, ELSEWHERE, ROOM]],
  ['events?fold=no&cols=time,kind,what,worker,vm,zone,by,reason', [FULL, VM_NAME, ZONE, REASON, WHO]],
  ['events?cols=time,kind,what,worker,vm,zone,by,reason', [FULL, ZONE, REASON, WHO]],
  ['access', [WHO]],
  ['api', []],
  ['health', [WHO]],
  [`workers/${encodeURIComponent(hostile('nowhere'))}`, [hostile('nowhere')]],
  [`vms/${encodeURIComponent(hostile('nowhere'))}`, [hostile('nowhere')]],
];

describe('hostile names in the dashboard', () => {
  let server;
  let browser;
  before(async () => {
    server = await Server.start({ empty: true });
    browser = await Browser.launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('9: names, labels, notes and reasons are text on every page, in dialogs, maps and news', async () => {
    const fleet = new Fleet(server.url, server.token('create', '--role', 'admin', '--name', WHO));
    const agents = new Fleet(server.url, server.token('create', '--role', 'worker', '--max-workers', '3', '--name', WHO));
    const link = server.token('sign-in', '--role', 'admin', '--name', WHO, '--server', server.url);
    await eventually('the server asks for a token', async () => (await fetch(`${server.url}/api/v1/workers`)).status === 401);
    await eventually('all tokens are known', async () => (await fleet.get('/tokens')).tokens.length === 3);

    const further = { labels: { [LABEL]: VALUE }, capabilities: [CAPABILITY], hostname: HOST, max_vms: 4 };
    await agents.join(FULL, { ...further, zone: ZONE });
    await agents.join(ROOMY, { ...further, zone: ELSEWHERE });
    await agents.join(OTHER, { ...further, zone: ELSEWHERE, cpu_cores: 64 });
    await agents.beat(OTHER, [{ id: hostile('large'), name: hostile('large name'), status: 'running', vcpus: 60, memory_mb: 512, note: NOTE }]);
    await agents.beat(ROOMY, []);
    await fleet.drain(FULL, REASON, { metadata: { [KEY]: METADATA }, deadline_seconds: 7_200 });
    const { policy_revision: revision } = await agents.beat(FULL, []);
    await agents.beat(FULL, [{ id: VM, name: VM_NAME, status: 'running', vcpus: 1, memory_mb: 512, note: NOTE }], { policy_revision: revision, policy_error: HOOK });
    await fleet.reserve({ vcpus: 1, memory_mb: 512, count: 1, expires_in: '1h', reason: ROOM });

    const visit = await browser.visit(link, { before: () => { window.hurt = () => { window.isHurt = true; }; } });
    await visit.page.waitForSelector('html[data-session=in]');
    await visit.dashboard();
    const isText = async (where, texts) => {
      // Spaces are one when they are seen; a title, or the value of a field, is seen, too.
      await visit.until((texts) => {
        const plain = (text) => text.replace(/\s+/g, ' ');
        const attributes = [...document.querySelectorAll('[aria-label], [title]')].map((one) => `${one.ariaLabel ?? ''} ${one.title}`).join(' ');
        const all = plain(`${document.body.innerText} ${attributes}`);
        return texts.every((text) => all.includes(text));
      }, texts).catch(async (cause) => {
        const all = await visit.page.evaluate(() => document.body.innerText);
        throw new Error(`${where} does not say all of ${texts.join(' | ')}:\n${all}`, { cause });
      });
      await isHarmless(where);
    };
    const isHarmless = async (where) => {
      assert.equal(await visit.page.evaluate(() => window.isHurt), undefined, where);
      const brought = await visit.page.$$eval(ELEMENTS, (all) => all.map((one) => one.outerHTML));
      assert.deepEqual(brought, [], `${where} has elements that came with a name`);
    };

    for (const [place, texts] of PLACES) {
      await visit.go(`${server.url}/${place}`);
      await visit.dashboard();
      await isText(`/${decodeURIComponent(place)}`, texts);
    }

    // What opens by keys and clicks: the card of a cell, the event in full, the copies, the search that finds nothing.
    await visit.go(`${server.url}/fleet`);
    await visit.dashboard();
    await (await visit.page.waitForSelector('a.heat-cell')).focus();
    await isText('the card of a worker', [HOST, `${LABEL}=${VALUE}`]);
    await visit.go(`${server.url}/events`);
    await visit.dashboard();
    const drained = await (await visit.until(() => [...document.querySelectorAll('[role=row][data-cursor]')].find((row) => row.innerText.includes('is draining'))?.dataset.cursor)).jsonValue();
    await visit.go(`${server.url}/events?event=${drained}`);
    await visit.named('dialog', /drain started/i);
    await isText('an event', [FULL, ZONE, REASON, WHO]);
    for (const page of ['workers', 'vms', 'events', 'fleet', 'drains']) {
      await visit.go(`${server.url}/${page}?${new URLSearchParams({ q: `${hostile('word')} zone:"${ELSEWHERE}" ${hostile('key')}:1` })}`);
      await visit.dashboard();
      await isHarmless(`a search of ${page}`);
    }

    // A drain of several, of whose VMs one fits nowhere else: the dialog names them and their zones, and the news who it was.
    await visit.go(`${server.url}/workers`);
    await visit.dashboard();
    for (const id of [ROOMY, OTHER]) await visit.click(`[data-id="${quoted(id)}"] input[type=checkbox]`);
    await visit.press('button', /^Drain …/);
    await visit.named('dialog', /^Drain 2 workers/);
    await isText('the dialog of a drain', [`2 in ${ELSEWHERE}`, `${hostile('large')} on ${OTHER}`]);
    await visit.page.keyboard.press('Escape');
    await visit.go(`${server.url}/workers/${encodeURIComponent(ROOMY)}`);
    await visit.dashboard();
    await visit.press('button', /^Drain …/);
    await visit.named('dialog', /^Drain roomy/);
    await (await visit.named('field', /^Reason/)).type(REASON);
    // What the plan says moves what is below it.
    await visit.until(() => !document.querySelector('dialog[open]').innerText.includes('Checking whether'));
    await visit.press('checkbox', /^Yes, /);
    await (await visit.page.waitForSelector('dialog[open] button[type=submit]:enabled')).click();
    await visit.page.waitForSelector('.toast');
    await isText('the news of a drain', [`Draining ${ROOMY}`]);
    await visit.press('button', /^Undo$/);
    await isText('the news that it was undone', [`Activated ${ROOMY}`]);
    await visit.leave();
  });
});

/** A text within quotes of a selector. */
function quoted(text) {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"');
}
