// What becomes of workers, seen on every page of the dashboard that shows them: one falls silent, many are drained by the
// keyboard alone, an agent is started anew, and an activation is undone.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Agent } from '../harness/agent.mjs';
import { Fleet } from '../harness/fleet.mjs';
import { eventually } from '../harness/patience.mjs';
import { Server } from '../harness/server.mjs';
import { temporaryFolder } from '../harness/tools.mjs';
import { agrees, OUTAGE, written } from './dashboard.mjs';
import { Browser } from './visit.mjs';

/** Pages that say how a worker is. */
const PAGES_OF = (id) => ({ overview: '', fleet: 'fleet', workers: 'workers', worker: `workers/${id}`, drains: 'drains', events: 'events' });

describe('workers in the dashboard', () => {
  let browser;
  before(async () => {
    browser = await Browser.launch();
  });
  after(() => browser?.close());

  /** Opens pages side by side. */
  const open = async (server, pages) => {
    const opened = Object.entries(pages).map(async ([name, page]) => {
      const visit = await browser.visit(`${server.url}/${page}`);
      await visit.dashboard();
      return [name, visit];
    });
    return Object.fromEntries(await Promise.all(opened));
  };
  /** Waits until each page says all of this, in its text or in the name of what is there. */
  const say = async (visits, expected) => {
    for (const [name, texts] of Object.entries(expected)) {
      const { page } = visits[name];
      await page.bringToFront();
      await agrees(`/${name} says it`, async () => {
        const text = await page.evaluate(() => document.querySelector('main').innerText.replace(/\s+/g, ' '));
        return texts.filter((one) => !(one instanceof RegExp ? one.test(text) : text.includes(one))).map((one) => `${one} in ${text.slice(0, 1_500)}`);
      });
    }
  };
  const leave = async (visits, expected) => {
    for (const visit of Object.values(visits)) await visit.leave(expected);
  };

  test('3: a worker that falls silent is offline everywhere, with since when and why, and online with its next heartbeat', async () => {
    const server = await Server.start({ empty: true, offlineAfter: '8s', args: ['--heartbeat-interval', '1s'] });
    try {
      const fleet = new Fleet(server.url);
      const [lost, ...others] = fleet.workers.slice(0, 6);
      for (const id of [lost, ...others]) await fleet.join(id, { zone: id === lost ? 'us-lost-1a' : 'us-kept-1a' });
      await fleet.drain(others[0], 'old disks');
      // All are heard until their pages are open, and the others as long as the story takes.
      const heard = new Set([lost, ...others]);
      const beating = (async () => {
        while (heard.size > 0) {
          await Promise.all([...heard].map((id) => fleet.beat(id)));
          await sleep(1_000);
        }
      })();
      // One that is refused is told when they end.
      beating.catch(() => {});
      try {
        const { drains: _, ...pages } = PAGES_OF(lost);
        const visits = await open(server, pages);
        const isOnline = {
          overview: [/5 of 6 workers take new VMs/, /us-lost-1a 1 worker CPU 38 % allocated 97 slots placeable(?! 1 offline)/],
          fleet: [/5 of 6 workers take new VMs; 1 is draining(?!, 1 is offline)/, /us-lost-1a 1 1 0 0 38 %/],
          workers: [new RegExp(`${lost} active us-lost-1a`), /offline 0\b/],
          worker: [new RegExp(`${lost} active`), /Takes new VMs/, /online last heartbeat/],
        };
        await say(visits, isOnline);
        heard.delete(lost);
        await eventually('it is offline', async () => (await fleet.get(`/workers/${lost}`)).status === 'offline');
        const { last_seen: seen } = await fleet.get(`/workers/${lost}`);
        await say(visits, {
          overview: [
            /4 of 6 workers take new VMs/, new RegExp(`${lost} has been offline since [\\d:]+`), /3 VMs were running there/,
            /us-lost-1a 1 worker CPU 38 % allocated 0 slots placeable 1 offline/, /us-kept-1a 5 workers[^%]*%[^%]*placeable 1 draining/,
          ],
          fleet: [/4 of 6 workers take new VMs; 1 is draining, 1 is offline/, /us-lost-1a 1 0 0 1 38 %/],
          workers: [new RegExp(`${lost} offline us-lost-1a .*?no heartbeat for [\\d]+ (s|min)`), /offline 1\b/],
          worker: [new RegExp(`${lost} offline`), /No heartbeat for \d+ (s|min)\. Its last heartbeat reported 3 VMs/, /offline last heartbeat [\d:]+ · \d+ (s|min) ago/],
          events: [new RegExp(`[\\d:]+ offline Worker ${lost} has not been heard from for over 8 s us-lost-1a the server`)],
        });
        // Since when: the moment that REST has.
        const times = await visits.worker.page.$$eval('main .axes time', (all) => all.map(({ dateTime }) => dateTime));
        assert(times.some((time) => new Date(time).getTime() === new Date(seen).getTime()), `${seen} is not among ${times}`);
        // The cell has a name for who does not see it, and looks other than the others.
        const cell = await cellOf(visits.fleet, lost);
        assert.match(cell.name, new RegExp(`^${lost}, us-lost-1a, .*offline`));
        await isOnlineOnMap(visits.fleet, others[1]);
        assert.match(await visits.fleet.page.$eval('[data-test=worker-card]', (card) => card.innerText), new RegExp(others[1]));
        for (const [name, visit] of Object.entries(visits)) {
          await visit.page.bringToFront();
          await visit.judge(`silent-${name}`);
        }

        await fleet.beat(lost);
        assert.equal((await fleet.get(`/workers/${lost}`)).status, 'active', 'one heartbeat is enough');
        // More of them only keep it so, however long it takes to look at all pages.
        heard.add(lost);
        await say(visits, { ...isOnline, events: [new RegExp(`[\\d:]+ online Worker ${lost}`)] });
        await isOnlineOnMap(visits.fleet, lost);
        await leave(visits);
      } finally {
        heard.clear();
        await beating;
      }
    } finally {
      await server.stop();
    }
  });

  test('5: forty workers of a zone are chosen, drained and taken back with the keyboard alone', async () => {
    const server = await Server.start({ empty: true });
    try {
      const fleet = new Fleet(server.url);
      const ids = Array.from({ length: 50 }, (_, index) => `worker-${100 + index}`);
      await Promise.all(ids.map((id, index) => fleet.join(id, { zone: index < 40 ? 'us-west-1a' : 'us-east-1a', memory_mb: 16_384 })));
      const ofZone = async () => (await fleet.get('/workers?limit=500&zone=us-west-1a')).workers;
      const draining = async () => (await ofZone()).filter(({ status }) => status === 'draining').length;
      const wanted = await ofZone();
      assert.equal(wanted.length, 40);

      const visit = await browser.visit(`${server.url}/workers`);
      await visit.dashboard();
      const { keyboard } = visit.page;
      const focusedName = () => visit.page.evaluate(() => (document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim());
      const tabTo = async (name) => {
        for (let step = 0; !name.test(await focusedName()); step += 1) {
          assert(step < 40, `Tab does not lead to ${name}`);
          await keyboard.press('Tab');
        }
      };
      // No mouse: whoever moves it has failed the story.
      for (const one of ['click', 'move', 'down']) visit.page.mouse[one] = () => assert.fail('the mouse was used');

      const choose = async (query, count) => {
        await keyboard.press('/');
        await keyboard.down('Control');
        await keyboard.press('a');
        await keyboard.up('Control');
        await keyboard.type(query);
        await keyboard.press('Enter');
        await visit.until((query, count) => new URLSearchParams(location.search).get('q') === query
          && document.querySelector('[role=grid]').ariaRowCount === String(count + 1) && document.activeElement === document.body, query, count);
        await keyboard.press('j');
        await keyboard.press('x');
        for (let row = 1; row < count; row += 1) await keyboard.press('X');
        await visit.sees(new RegExp(`^${count} selected$`, 'm'));
      };
      await choose('zone:us-west-1a', 40);

      // The dialog names what is lost, by the figures of REST.
      const sum = (field) => wanted.reduce((total, worker) => total + worker[field], 0);
      await keyboard.press('d');
      await visit.named('dialog', /^Drain 40 workers/);
      await visit.sees(/^40 in us-west-1a\. .*120 VMs have to move or end before the hosts are empty\.$/m);
      const stats = await fleet.get('/cluster/stats');
      assert.equal(Math.round((sum('free_cpu_cores') / stats.schedulable_cpu_cores) * 100), 80);
      await visit.sees(new RegExp(`^At stake: ${sum('free_cpu_cores')} free cores, ${sum('free_memory_mb') / 1_024} GiB and ${written(sum('free_vm_slots'))} VM slots that are placeable now, 80.% of what there is\\.$`, 'm'));
      await visit.judge('drain-of-forty');

      // Half-way through the dialog: nothing has happened, and what was chosen still is.
      await tabTo(/^Reason/);
      await keyboard.type('new floor');
      await keyboard.press('Escape');
      await visit.until(() => document.querySelector('dialog[open]') === null);
      assert.equal(await draining(), 0);
      await visit.sees(/^40 selected$/m);

      // Through all of it: much is lost, so it has to be confirmed.
      await keyboard.press('d');
      await visit.named('dialog', /^Drain 40 workers/);
      await tabTo(/^Reason/);
      await keyboard.type('new floor');
      await visit.page.waitForFunction(() => document.querySelector('dialog[open] input[type=checkbox]'));
      assert.equal(await visit.page.$eval('dialog[open] button[type=submit]', (button) => button.disabled), true);
      await visit.sees(/fit on other workers|fits? nowhere else/);
      await tabTo(/^Yes, /);
      await keyboard.press('Space');
      await tabTo(/^Drain 40$/);
      await keyboard.press('Enter');
      await visit.sees(/Draining 40 workers/);
      assert.equal(await draining(), 40);
      const { drains } = await fleet.get('/drains?limit=500&state=draining');
      assert.deepEqual([...new Set(drains.map(({ reason, worker_id: id }) => `${reason} ${ids.indexOf(id) < 40}`))], ['new floor true']);

      // Half-way through the drain: half of them are empty when the others are taken back.
      const empty = wanted.slice(0, 20).map(({ id }) => id);
      for (const id of empty) {
        const { policy_revision: revision } = await fleet.beat(id, []);
        await fleet.beat(id, [], { policy_revision: revision });
      }
      const rest = wanted.slice(20).map(({ id }) => id);
      await choose(`status:draining id:${rest.join(',')}`, 20);
      await keyboard.press('u');
      await visit.sees(/Activated 20 workers/);
      const after = await ofZone();
      assert.deepEqual(after.filter(({ status }) => status === 'active').map(({ id }) => id), rest);
      assert.deepEqual(after.filter(({ status }) => status === 'draining').map(({ id }) => id), empty);
      const { drains: canceled } = await fleet.get('/drains?limit=500&state=canceled');
      assert.equal(canceled.length, 20);
      await visit.leave();
    } finally {
      await server.stop();
    }
  });

  test('6: a worker whose agent is started anew still drains, on every page', async (test) => {
    const server = await Server.start({ args: ['--heartbeat-interval', '1s'] });
    const folder = temporaryFolder(test);
    try {
      const { fleet } = server;
      const id = 'host-1';
      const start = () => Agent.start(folder, ['--server', server.url, '--id', id, '--address', '127.0.0.1:8081', '--zone', 'us-west-1a']);
      let agent = start();
      try {
        await eventually('the worker', async () => (await fleet.get('/workers?limit=500')).workers.some((worker) => worker.id === id));
        const visits = await open(server, PAGES_OF(id));
        await fleet.drain(id, 'a new kernel', { deadline_seconds: 7_200 });
        const expected = {
          overview: [/11 of 13 workers take new VMs/, /2 are draining/],
          fleet: [/11 of 13 workers take new VMs; 2 are draining\b/],
          workers: [new RegExp(`${id} (draining|safe to power off) us-west-1a .*“a new kernel”`), /draining 2\b/],
          worker: [/Desired draining since/, /“a new kernel”/, /Drain 1\b/],
          drains: [/2 workers are draining/, new RegExp(`${id} .*“a new kernel”`)],
          events: [new RegExp(`Worker ${id} is draining`)],
        };
        await say(visits, expected);
        assert.match((await cellOf(visits.fleet, id)).name, /draining/);

        await agent.kill();
        agent = start();
        await eventually('a new process that knows that it drains', async () => {
          const { events } = await fleet.get(`/events?order=desc&worker_id=${id}`);
          return events.some(({ kind }) => kind === 'worker_restarted') && (await fleet.get(`/workers/${id}/drain`)).acknowledged_at;
        });
        await say(visits, { ...expected, events: [new RegExp(`restarted Worker ${id} restarted`), new RegExp(`Worker ${id} is draining`)] });
        assert.match((await cellOf(visits.fleet, id)).name, /draining/);
        for (const visit of Object.values(visits)) {
          await visit.page.bringToFront();
          await visit.page.reload();
          await visit.dashboard();
        }
        await say(visits, expected);
        const { scheduling_policy: policy, drain } = await fleet.get(`/workers/${id}`);
        assert.deepEqual([policy, drain.reason, drain.number], ['draining', 'a new kernel', 1]);
        await leave(visits, { despite: OUTAGE });
      } finally {
        await agent.stop();
      }
    } finally {
      await server.stop();
    }
  });

  test('an activation is undone: the drain is again as it was, with its reason, deadline and metadata', async () => {
    const server = await Server.start();
    try {
      const { fleet } = server;
      const drains = [
        ['worker-01', 'new disks', { deadline_seconds: 86_400, metadata: { ticket: 'OPS-1', rack: 'r7' } }],
        ['worker-02', 'new disks', { deadline_seconds: 86_400, metadata: { ticket: 'OPS-2' } }],
        ['worker-03', 'noise', {}],
        ['worker-04', 'a new floor', { metadata: { ticket: 'OPS-1' } }],
      ];
      for (const [id, reason, further] of drains) await fleet.drain(id, reason, further);
      const standing = async (id) => {
        const { worker_id: worker, state, reason, metadata, deadline_at: deadline, number } = await fleet.get(`/workers/${id}/drain`);
        return { worker, state, reason, metadata, deadline: deadline && Date.parse(deadline), number };
      };
      const before = await Promise.all(drains.map(([id]) => standing(id)));

      const visit = await browser.visit(`${server.url}/workers?q=status:draining+id:worker-01,worker-02,worker-03,worker-04`, {
        before: () => {
          // News that can be undone go after twelve seconds, which here do not pass.
          const { setTimeout, clearTimeout } = window;
          window.going = new Set();
          window.setTimeout = (act, time, ...given) => {
            const timer = setTimeout(act, time === 12_000 ? 2 ** 31 - 1 : time, ...given);
            if (time === 12_000) window.going.add(timer);
            return timer;
          };
          window.clearTimeout = (timer) => {
            window.going.delete(timer);
            clearTimeout(timer);
          };
        },
      });
      await visit.dashboard();
      await visit.click('[role=columnheader] input[type=checkbox]:enabled');
      await visit.press('button', /^Activate/);
      await visit.sees(/Activated 4 workers/);
      // They stay while the pointer is on them, and while they have the focus.
      await (await visit.page.waitForSelector('.toast')).hover();
      await visit.until(() => window.going.size === 0);
      await visit.page.mouse.move(0, 0);
      await visit.until(() => window.going.size === 1);
      await (await visit.named('button', /^Undo$/)).focus();
      await visit.until(() => window.going.size === 0);
      await (await visit.page.waitForSelector('.toast')).hover();
      await visit.page.mouse.move(0, 0);
      await visit.until(() => !document.querySelector('.toast').matches(':hover'));
      assert.equal(await visit.page.evaluate(() => window.going.size), 0);
      // One of them is drained by somebody else, before this is undone.
      await fleet.drain('worker-04', 'mine now', { metadata: { ticket: 'OPS-9' } });
      await visit.press('button', /^Undo$/);
      await visit.sees(/Draining again: 3 workers/);
      const again = await Promise.all(drains.map(([id]) => standing(id)));
      for (const [index, { deadline, ...drain }] of before.slice(0, 3).entries()) {
        const { deadline: now, ...is } = again[index];
        assert.deepEqual(is, { ...drain, number: drain.number + 1 });
        // The API takes how long from now, in whole seconds: on a busy machine, a request may take some.
        assert.equal(now === null, deadline === null);
        assert(now === null || Math.abs(now - deadline) < 60_000, `${new Date(now).toISOString()}, not ${new Date(deadline).toISOString()}`);
      }
      assert.deepEqual([again[3].reason, again[3].metadata, again[3].number], ['mine now', { ticket: 'OPS-9' }, 2]);
      await visit.leave();
    } finally {
      await server.stop();
    }
  });

  test('a row has bars of CPU and memory, the reason first, and the labels that fit with how many more there are', async () => {
    const server = await Server.start({ empty: true });
    try {
      const fleet = new Fleet(server.url);
      await fleet.join('worker-1', { labels: { env: 'production', pool: 'general-purpose', rack: 'r1', tier: 'compute' } });
      await fleet.join('worker-2', { labels: { env: 'lab' } });
      await fleet.drain('worker-1', 'replace the power supply', { deadline_seconds: 7_200 });
      const visit = await browser.visit(`${server.url}/workers`);
      await visit.dashboard();
      const row = (id) => visit.page.$eval(`[data-id="${id}"]`, (row) => {
        const box = row.getBoundingClientRect();
        return {
          text: row.innerText.replace(/\s+/g, ' '),
          bars: [...row.querySelectorAll('.meter')].filter((meter) => meter.querySelector('.bar').getBoundingClientRect().width >= 20).map((meter) => meter.innerText.replace(/\s+/g, ' ').trim()),
          curves: row.querySelectorAll('.row-curve').length,
          chips: [...row.querySelectorAll('a.tag')].map((chip) => chip.innerText),
          rest: row.querySelector('.more-labels')?.textContent ?? '',
          titles: [...row.querySelectorAll('[title]')].map(({ title }) => title),
          cut: [...row.querySelectorAll('.tag')].some((chip) => chip.scrollWidth > chip.clientWidth || chip.getBoundingClientRect().right > box.right),
        };
      });
      const first = await row('worker-1');
      // A server that has begun just now has nothing to draw a curve of.
      assert.deepEqual([first.bars, first.curves], [['38 %', '19 %'], 0]);
      assert.match(first.text, /“replace the power supply” 3 of 3 VMs left · due in 1 h · draining for /);
      assert.deepEqual(first.chips, ['env=production']);
      assert.equal(first.rest, '+3and pool=general-purpose, rack=r1, tier=compute');
      assert(first.titles.includes('env=production\npool=general-purpose\nrack=r1\ntier=compute'), first.titles.join());
      assert.equal(first.cut, false);
      const second = await row('worker-2');
      assert.deepEqual([second.chips, second.rest], [['env=lab'], '']);

      // Those without room are reached without a pointer, too.
      await visit.page.focus('[data-id="worker-1"] .more-labels');
      await visit.page.keyboard.press('Enter');
      await visit.until(() => document.querySelectorAll('.label-sheet:popover-open a').length === 3);
      const searches = await visit.page.$$eval('.label-sheet:popover-open a', (links) => links.map(({ href }) => new URL(href).searchParams.get('q')));
      assert.deepEqual(searches, ['label.pool=general-purpose', 'label.rack=r1', 'label.tier=compute']);
      await visit.judge('workers-labels');
      await visit.page.keyboard.press('Escape');
      await visit.until(() => document.querySelector('.label-sheet:popover-open') === null);
      assert.equal(new URL(visit.page.url()).pathname, '/workers');

      // A phone has no column for them, and shows both all the same.
      await visit.page.setViewport({ width: 360, height: 740 });
      await visit.until(() => document.querySelector('.phone-title') !== null);
      const { text, bars } = await row('worker-1');
      assert.match(text, /^worker-1 draining .*CPU 38 % Mem 19 %/);
      assert.deepEqual(bars, ['38 %', '19 %']);
      await visit.judge('workers-phone');
      await visit.leave();
    } finally {
      await server.stop();
    }
  });
});

/** Waits until the cell of a worker on the heat map says that it is online. */
function isOnlineOnMap(visit, id) {
  return agrees(`${id} is online on the map`, async () => {
    const { name } = await cellOf(visit, id);
    return name.includes('offline') ? [name] : [];
  });
}

/** The cell of a worker on the heat map, which arrow keys lead to: its name. The keys stay there. */
async function cellOf({ page }, id) {
  await page.bringToFront();
  await page.focus('a.heat-cell');
  const name = () => page.$eval('a.heat-cell', (link) => link.getAttribute('aria-label'));
  await page.keyboard.press('Home');
  for (const key of ['ArrowRight', 'ArrowLeft']) {
    for (let last = ''; last !== (await name());) {
      last = await name();
      if (last.startsWith(`${id},`)) return { name: last };
      await page.keyboard.press(key);
    }
  }
  throw new Error(`no cell of ${id}: the last is ${await name()}`);
}
