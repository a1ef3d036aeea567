// The dashboard in a real browser: what operators do with it, from the first run to a lost connection. Each visit fails on
// an error in the console, a request to another host, a report of the policy, and what axe finds grave, in light and dark.
//
// Elements are found by role and name, as somebody finds them who cannot see where they are. Numbers, workers, hostile names
// and the API have a file each beside this one.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Fleet } from '../harness/fleet.mjs';
import { eventually } from '../harness/patience.mjs';
import { Server } from '../harness/server.mjs';
import { OUTAGE, PAGES } from './dashboard.mjs';
import { below } from './proxy.mjs';
import { Browser } from './visit.mjs';

describe('dashboard', () => {
  let browser;
  before(async () => {
    browser = await Browser.launch();
  });
  after(() => browser?.close());

  describe('of a fleet', () => {
    let server;
    before(async () => {
      server = await Server.start();
    });
    after(() => server?.stop());

    for (const page of PAGES) {
      test(`/${page} is seen in light and dark, on a screen and on a phone`, async () => {
        const visit = await browser.visit(`${server.url}/${page}`);
        await visit.dashboard();
        const name = page.replace('/', '-') || 'overview';
        await visit.judge(`dashboard-${name}`);
        await visit.page.setViewport({ width: 360, height: 740 });
        await visit.requests.idle();
        await visit.judge(`dashboard-${name}-phone`);
        const [wide, seen] = await visit.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert(wide <= seen, `/${page} is ${wide} px wide on a phone of ${seen}`);
        await visit.leave();
      });
    }

    test('one page leads to all others, without that anything is loaded anew', async () => {
      const visit = await browser.visit(`${server.url}/`);
      await visit.dashboard();
      await visit.page.evaluate(() => { window.isTheSame = true; });
      for (const page of PAGES.filter((page) => !page.includes('/'))) {
        await visit.click(`nav[aria-label="Pages"] a[href$="/${page}"]`);
        await visit.until((path) => location.pathname === path, `/${page}`);
        await visit.page.waitForSelector('main h1');
      }
      await visit.page.goBack();
      await visit.until(() => location.pathname === '/api');
      assert.equal(await visit.page.evaluate(() => window.isTheSame), true);
      await visit.leave();
    });

    test('the search says what it searches and how, the help has the keys of charts, and an open server leads to its remedy', async () => {
      const visit = await browser.visit(`${server.url}/`);
      await visit.dashboard();
      const search = () => visit.page.$eval('#search', ({ placeholder, ariaLabel, value }) => [placeholder, ariaLabel, value]);
      for (const [page, what] of [['workers', 'workers'], ['vms', 'VMs'], ['drains', 'drains'], ['events', 'events'], ['fleet', 'workers'], ['health', 'workers']]) {
        await visit.click(`nav[aria-label="Pages"] a[href$="/${page}"]`);
        await visit.until((path) => location.pathname === path, `/${page}`);
        assert.deepEqual(await search(), [`Search ${what} …`, `Search ${what}`, ''], `/${page}`);
      }
      // The syntax is shown while the field is empty and has the focus.
      const hint = () => visit.page.$eval('#search-words', (hint) => hint.checkVisibility());
      assert.equal(await hint(), false);
      await visit.page.keyboard.press('/');
      assert.equal(await hint(), true);
      await visit.page.keyboard.type('a');
      assert.equal(await hint(), false);
      await visit.page.keyboard.press('Backspace');
      await visit.page.keyboard.press('Escape');

      await visit.page.keyboard.press('?');
      await visit.named('dialog', /^Keys and search/);
      await visit.sees(/Chart: move the crosshair/);
      await visit.sees(/Chart: zoom in and out/);
      await visit.sees(/status:offline/);
      await visit.judge('help');
      await visit.press('button', /^Close$/);

      await visit.press('link', /^open · no sign-in$/);
      await visit.until(() => location.pathname === '/access');
      await visit.sees(/^No authentication: anyone who can reach this server has full access$/m);
      await visit.leave();
    });

    test('it works below a path, and from an address that ends with a slash', async () => {
      const proxy = await below('/deep/down/', server.address);
      try {
        for (const place of ['', 'workers', 'workers/', 'workers/worker-01', 'workers/worker-01/']) {
          const visit = await browser.visit(`${proxy.url}${place}`);
          await visit.dashboard();
          await visit.sees(/worker/i);
          await visit.leave();
        }
      } finally {
        proxy.close();
      }
    });
  });

  test('1: whoever follows the printed link is signed in, learns how a worker joins, and sees it come', async () => {
    const server = await Server.start({ empty: true });
    try {
      const admin = server.token('create', '--role', 'admin', '--name', 'alice');
      await eventually('the server asks for a token', async () => (await fetch(`${server.url}/api/v1/workers`)).status === 401);
      const fleet = new Fleet(server.url, server.token('create', '--role', 'worker', '--max-workers', '5', '--name', 'rack 1'));
      const link = server.token('sign-in', '--role', 'admin', '--name', 'bob', '--server', server.url);
      const id = new URL(link).hash.slice('#code=aec_'.length).slice(0, 12);
      const operator = new Fleet(server.url, admin);
      await eventually('the code is known', async () => (await operator.get('/tokens')).tokens.some((token) => token.id === id));

      const visit = await browser.visit(link);
      await visit.page.waitForSelector('html[data-session=in]');
      assert.equal(visit.page.url(), `${server.url}/`, 'the code is in the address no longer');
      await visit.dashboard();
      await visit.sees(/aetherium agent/);
      await visit.judge('first-run');

      await visit.page.evaluate(() => { window.isTheSame = true; });
      await fleet.join('worker-01');
      await visit.sees(/worker-01/);
      assert.equal(await visit.page.evaluate(() => window.isTheSame), true, 'it was not loaded anew');
      await visit.leave();
    } finally {
      await server.stop();
    }
  });

  test('4: a drain is begun with a reason and a deadline, falls to nothing, and is taken back', async () => {
    const server = await Server.start();
    try {
      const { fleet } = server;
      const [id] = fleet.workers;
      const visit = await browser.visit(`${server.url}/workers/${id}`);
      await visit.dashboard();
      await visit.press('button', /^Drain/);
      await visit.named('dialog', /Drain worker-01/);
      await (await visit.named('field', /^Reason/)).type('new disks, <b>both</b>');
      await (await visit.named('field', /^(Empty within|Deadline)/)).select('2h');
      await visit.judge('drain-dialog');
      await visit.page.keyboard.press('Tab');
      await (await visit.page.waitForSelector('dialog[open] button[type=submit]:enabled')).click();
      await eventually('it is drained', async () => (await fleet.get(`/workers/${id}`)).status === 'draining');
      const { reason, deadline_seconds: seconds, deadline_at: deadline } = await fleet.get(`/workers/${id}/drain`);
      assert.equal(reason, 'new disks, <b>both</b>');
      assert(seconds === 7_200 || deadline, 'it has a deadline');

      await visit.until(() => !document.querySelector('dialog[open]'));
      await visit.click('nav[aria-label="Pages"] a[href$="/drains"]');
      await visit.page.waitForSelector(`main [data-worker="${id}"]`);
      const card = () => visit.page.$eval(`main [data-worker="${id}"]`, (element) => element.textContent);
      const shows = (what) => visit.until((id, source) => new RegExp(source).test(document.querySelector(`main [data-worker="${id}"]`)?.textContent ?? ''), id, what.source);
      const vms = fleet.vms(id).filter(({ status }) => status === 'running');
      await shows(/new disks, <b>both<\/b>/);
      for (let left = vms.length; left > 0; left -= 1) {
        const { policy_revision: revision } = await fleet.beat(id, vms.slice(0, left));
        await fleet.beat(id, vms.slice(0, left), { policy_revision: revision });
        await shows(new RegExp(`${left} of ${vms.length}`));
        if (left === 2) {
          await visit.page.reload();
          await visit.dashboard();
          await shows(new RegExp(`${left} of ${vms.length}`));
        }
      }
      const { policy_revision: revision } = await fleet.beat(id, []);
      await fleet.beat(id, [], { policy_revision: revision });
      await shows(/safe/i);
      await visit.judge('drain-board');
      assert.match(await card(), /worker-01/);

      await visit.click(`::-p-xpath(//main//*[@data-worker="${id}"]//button[starts-with(normalize-space(.), "Activate")])`);
      await eventually('it takes VMs again', async () => (await fleet.get(`/workers/${id}`)).status === 'active');
      await visit.leave();
    } finally {
      await server.stop();
    }
  });

  test('7: a lost connection blanks nothing, says how old it is, and is resumed without a lost or doubled event', async () => {
    const server = await Server.start();
    try {
      const { fleet } = server;
      const visit = await browser.visit(`${server.url}/events`);
      await visit.dashboard();
      await fleet.drain('worker-02', 'before');
      await visit.sees(/before/);

      await server.halt();
      await visit.page.waitForSelector('html:not([data-live=live])');
      const chip = await visit.page.$eval('[data-test=freshness]', (chip) => chip.textContent);
      assert.match(chip, /reconnecting|stale/);
      assert.match(chip, /old/);
      await visit.sees(/before/);
      await visit.judge('disconnected');

      await server.revive();
      for (let round = 1; round <= 5; round += 1) {
        await fleet.activate('worker-02');
        await fleet.drain('worker-02', `round ${round}`);
      }
      await visit.page.waitForSelector('html[data-live=live]');
      await visit.sees(/round 5/);
      const cursors = await visit.page.$$eval('main [data-cursor]', (all) => all.map((row) => row.dataset.cursor));
      assert(cursors.length >= 10 && new Set(cursors).size === cursors.length, `an event is there twice: ${cursors}`);
      const rows = await visit.page.$$eval('main [data-cursor]', (all) => all.map((row) => row.textContent));
      for (let round = 1; round <= 5; round += 1) {
        const told = rows.filter((row) => row.includes(`round ${round}`));
        assert.equal(told.length, 1, `round ${round}: ${told.join(' | ')}`);
      }
      await visit.leave({ despite: OUTAGE });
    } finally {
      await server.stop();
    }
  });

  test('10: a viewer sees everything and changes nothing, and is out once the token is revoked', async () => {
    const server = await Server.start();
    try {
      const admin = server.token('create', '--role', 'admin', '--name', 'alice');
      await eventually('the server asks for a token', async () => (await fetch(`${server.url}/api/v1/workers`)).status === 401);
      const operator = new Fleet(server.url, admin);
      const { secret } = await operator.createToken('viewer', 'carol');
      const visit = await browser.visit(`${server.url}/workers`);
      await (await visit.page.waitForSelector('#session-token')).type(secret);
      await visit.press('button', /^Sign in/);
      await visit.page.waitForSelector('html[data-session=in]');
      await visit.dashboard();
      await visit.sees(/worker-01/);
      for (const page of PAGES.filter((page) => page !== 'access')) {
        await visit.go(`${server.url}/${page}`);
        await visit.dashboard();
        const buttons = await visit.page.$$eval('main button', (all) => all.filter((one) => one.checkVisibility()).map((one) => one.textContent.trim()));
        const commands = buttons.filter((name) => /^(drain|activate|cancel|undo|revoke|create|reserve|release|purge)\b/i.test(name));
        assert.deepEqual(commands, [], `/${page} offers a viewer what would be refused`);
      }
      await visit.judge('viewer');

      // What the page does not offer is refused all the same, with a sentence.
      const refused = await visit.page.evaluate(async (graphql) => {
        const response = await fetch(graphql, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ query: 'mutation { drainWorker(input: {workerId: "worker-01"}) { changed } }' }),
        });
        return (await response.json()).errors[0];
      }, server.graphql);
      assert.equal(refused.extensions.code, 'FORBIDDEN');
      assert.match(refused.message, /operator/);
      assert.equal((await operator.get('/workers/worker-01')).status, 'active');

      const { tokens } = await operator.get('/tokens');
      const { id } = tokens.find(({ name, kind }) => name === 'carol' && kind === 'bearer');
      await operator.revokeToken(id);
      const revoked = Date.now();
      await visit.page.waitForSelector('#session-token');
      assert(Date.now() - revoked < 30_000, `it took ${Date.now() - revoked} ms`);
      await visit.judge('signed-out');
      // The first visit, what a viewer may not do, and what the page asks once its session is over.
      await visit.leave({ despite: /40[13]|WebSocket/ });
    } finally {
      await server.stop();
    }
  });
});
