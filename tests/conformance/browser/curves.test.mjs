// The dashboard's curves of history in a real browser: on the past that `aetherium dev` makes up, and on a server that
// samples as it always does, once a minute. What has to wait for a sample waits for all of them together.
//
// Each visit fails on an error in the console, a report of the policy, and what axe finds grave, in light and dark.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Dev } from '../harness/dev.mjs';
import { Server } from '../harness/server.mjs';
import { OUTAGE, agrees } from './dashboard.mjs';
import { Browser } from './visit.mjs';

/** A sample comes within a minute, and is read within ten seconds; the rest is for slow machines. */
const A_SAMPLE = 120_000;

/** A worker whose agent sends what its host measures. */
const MEASURED = 'worker-01';

describe('curves', () => {
  let browser;
  before(async () => {
    browser = await Browser.launch();
  });
  after(() => browser?.close());

  describe('of a past', () => {
    let dev;
    before(async () => {
      dev = await Dev.start();
    });
    after(() => dev?.stop());

    const RANGES = { '6h': 21_600, '24h': 86_400, '7d': 604_800, '30d': 2_592_000, '13mo': 34_214_400 };
    for (const [range, seconds] of Object.entries(RANGES)) {
      test(`a range of ${range} is drawn, with the largest sample of it`, async () => {
        const visit = await browser.visit(`${dev.url}/workers/sim-0001?range=${range}`);
        await visit.dashboard();
        await visit.page.waitForSelector(`.curves-grid[data-range="${range}"] [data-curve=load] canvas`);
        // A spike of a minute is in each of them, however many samples a point stands for.
        const { measured_cpu_cores: busy } = await dev.get(`/workers/sim-0001/history?range_seconds=${seconds}&max_points=400`);
        const most = Math.max(...(busy.max ?? busy.values).filter((value) => value !== null));
        const words = await visit.page.$eval('[data-curve=cpu] [role=slider]', (slider) => document.getElementById(slider.getAttribute('aria-describedby')).textContent);
        const written = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 }).format(most);
        assert.match(words, new RegExp(`busy [^;]* and ${written.replaceAll('.', '\\.')} cores? at `));
        await visit.page.$eval('.curves', (card) => card.scrollIntoView({ block: 'center' }));
        await visit.judge(`curves-past-${range}`);
        await visit.leave();
      });
    }

    test('a worker that was silent has a gap, and nothing is said of a time in it', async () => {
      const visit = await browser.visit(`${dev.url}/workers/sim-0002?range=24h`);
      await visit.dashboard();
      await visit.page.waitForSelector('.curves-grid[data-range="24h"] canvas');
      await visit.page.$eval('.curves', (card) => card.scrollIntoView({ block: 'center' }));
      await visit.picture('curves-gap');
      await visit.page.focus('[data-curve=cpu] [role=slider]');
      await visit.page.keyboard.press('Home');
      // Sixteen hours on: five minutes are a point.
      const point = await visit.page.$eval('[data-curve=cpu] [role=slider]', (slider) => Number(slider.getAttribute('aria-valuemax')));
      const ago = Math.round(point - (8 * 3_600) / 300);
      for (let at = 0; at < Math.floor(ago / 10); at += 1) await visit.page.keyboard.press('PageUp');
      await visit.until(() => /allocated no sample/.test(document.querySelector('[data-curve=cpu] [role=slider]').getAttribute('aria-valuetext')));
      const instant = (hours) => new Date(Date.now() - hours * 3_600_000).toISOString();
      await visit.go(`${dev.url}/workers/sim-0002?since=${instant(8.5)}&until=${instant(7.5)}`);
      await visit.sees(/Nothing is known of this time/);
      await visit.leave();
    });

    test('each worker has a small one in the list, beside the bar of what is allocated now', async () => {
      const visit = await browser.visit(`${dev.url}/workers?q=sim-`);
      await visit.dashboard();
      await visit.until(() => document.querySelectorAll('[data-id] .row-curve').length === 10);
      const rows = await visit.page.$$eval('[data-id]', (rows) => rows.map((row) => {
        const cell = row.querySelector('.with-curve');
        return { name: cell.querySelector('.row-curve').getAttribute('aria-label'), bar: cell.querySelector('.bar').getBoundingClientRect().width, figure: cell.innerText.trim() };
      }));
      for (const { name, bar, figure } of rows) {
        assert.match(name, /^CPU in the last 6 hours allocated \d+\s% to \d+\s%, busy /);
        assert.match(figure, /^\d+\s%$/);
        assert.ok(bar >= 20, `${bar} px`);
      }
      await visit.leave();
    });

    test('a drain of the worker is a band behind its curves, named below them and in the table', async () => {
      const visit = await browser.visit(`${dev.url}/workers/sim-0002?range=1h`);
      await visit.dashboard();
      await visit.page.waitForSelector('.curves-grid[data-range="1h"] canvas');
      await visit.until(() => document.querySelectorAll('.curve .curve-drain.stands').length === document.querySelectorAll('.curve').length);
      await visit.sees(/Drain: [\d:]+–now “new disks”/);
      await visit.page.focus('[data-curve=cpu] [role=slider]');
      await visit.page.keyboard.press('End');
      await visit.until(() => /, draining$/.test(document.querySelector('[data-curve=cpu] [role=slider]').getAttribute('aria-valuetext')));
      await visit.page.keyboard.press('Home');
      await visit.until(() => !/draining/.test(document.querySelector('[data-curve=cpu] [role=slider]').getAttribute('aria-valuetext')));
      await visit.click('.curves-table summary');
      await visit.page.waitForSelector('.curves-table tbody tr');
      const [first, last] = await visit.page.$$eval('.curves-table tbody tr', (rows) => [rows[0], rows.at(-1)].map((row) => row.lastElementChild.textContent));
      assert.deepEqual([first, last], ['draining', '']);
      await visit.page.$eval('.curves', (card) => card.scrollIntoView({ block: 'center' }));
      await visit.judge('curves-drain');
      // Drains come by a query of their own: that of the other worker has answered, and is drawn.
      await visit.go(`${dev.url}/workers/sim-0003?range=1h`);
      await visit.dashboard();
      await visit.page.waitForSelector('.curves-grid[data-range="1h"] canvas');
      assert.deepEqual((await visit.requests.answer(/WorkerDrains.*sim-0003/s)).data.worker.drains, []);
      await visit.page.evaluate(() => new Promise((drawn) => { requestAnimationFrame(() => requestAnimationFrame(drawn)); }));
      assert.equal(await visit.page.$('.curve-drain'), null, 'one that was never drained has none');
      await visit.leave();
    });

    test('the pages of the cluster are seen in light and dark, on a screen and on a phone', async () => {
      for (const page of ['?range=7d', 'capacity?range=30d', 'workers']) {
        const visit = await browser.visit(`${dev.url}/${page}`);
        await visit.dashboard();
        await visit.page.waitForSelector(page === 'workers' ? '.row-curve' : '.curves-grid[data-range] canvas');
        if (page !== 'workers') await visit.page.$eval('.curves', (card) => card.scrollIntoView({ block: 'center' }));
        const name = `curves-past-${page.replace(/\?.*/, '') || 'overview'}`;
        await visit.judge(name);
        await visit.page.setViewport({ width: 360, height: 740 });
        await visit.requests.idle();
        if (page !== 'workers') await visit.page.$eval('.curves', (card) => card.scrollIntoView());
        await visit.judge(`${name}-phone`);
        await visit.leave();
      }
    });
  });

  describe('of the present', () => {
    let server;
    let measuring;
    before(async () => {
      server = await Server.start();
      // One is taken soon after the start; with the next begins a minute.
      await samples(server, 2);
    });
    after(async () => {
      await measuring?.end();
      await server?.stop();
    });

    test('the first one of a worker appears by itself, after a minute at most', async () => {
      const { fleet } = server;
      // The next sample is almost a minute away.
      await fleet.join('worker-77');
      const visit = await browser.visit(`${server.url}/workers/worker-77`);
      await visit.dashboard();
      await visit.sees(/The first curve appears after a minute/);
      await visit.judge('curves-none');
      // A load that is measured twice has a mean in between.
      measuring = await Measuring.begin(fleet);
      await visit.page.waitForSelector('[data-curve=cpu] canvas', { timeout: A_SAMPLE });
      await visit.sees(/allocated 6 cores/);
      await visit.sees(/Values as a table/);
      assert.doesNotMatch(await visit.page.$eval('main', (main) => main.innerText), /The first curve appears/);
      assert.equal(await visit.page.$('[data-curve=load]'), null, 'what was not measured is not drawn');
      await samples(server, 3);
      await visit.leave();
    });

    for (const page of ['', 'workers', `workers/${MEASURED}`, 'capacity']) {
      test(`/${page} has them in light and dark, on a screen and on a phone`, async () => {
        const visit = await browser.visit(`${server.url}/${page}`);
        await visit.dashboard();
        const name = `curves-${page.replace('/', '-') || 'overview'}`;
        if (page === 'workers') await visit.page.waitForSelector('[data-id] .meter');
        else await drawn(visit, page.startsWith('workers') ? ['cpu', 'memory', 'vms', 'load'] : page === 'capacity' ? ['cpu', 'memory', 'vms', 'workers'] : ['cpu', 'memory', 'vms']);
        if (page !== 'workers') await visit.page.$eval('.curves', (card) => card.scrollIntoView({ block: 'center' }));
        await visit.judge(name);
        await visit.page.setViewport({ width: 360, height: 740 });
        await visit.requests.idle();
        await visit.judge(`${name}-phone`);
        // What was drawn for a screen is drawn anew for the phone.
        await visit.until(() => [...document.querySelectorAll('.curve canvas')].every((canvas) => canvas.getBoundingClientRect().right <= innerWidth));
        const [wide, seen] = await visit.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert(wide <= seen, `/${page} is ${wide} px wide on a phone of ${seen}`);
        await visit.leave();
      });
    }

    test('the keys move the crosshair of all charts, and the values are told', async () => {
      const visit = await browser.visit(`${server.url}/workers/${MEASURED}`);
      await visit.dashboard();
      await drawn(visit, ['cpu', 'memory', 'vms', 'load']);
      const told = () => visit.page.$eval('[data-curve=vms] [role=slider]', (slider) => slider.getAttribute('aria-valuetext'));
      const seen = (selector) => visit.page.$$eval(selector, (all) => all.length);
      assert.equal(await seen('.crosshair'), 0);
      // To the slider as who has no pointer gets there.
      await visit.page.focus('[data-curve=memory] [role=slider]');
      await visit.page.keyboard.press('Tab');
      await visit.until(() => document.activeElement.closest('[data-curve]')?.dataset.curve === 'vms');
      await visit.page.waitForSelector('.crosshair');
      assert.equal(await seen('.crosshair'), 4, 'one crosshair, in each chart');
      assert.equal(await seen('.curve-bubble'), 1);
      // A minute may begin before the page has read its sample.
      let first;
      await agrees('the last sample is told', async () => {
        const { start, step_seconds: step, vm_count: { values } } = await server.fleet.get(`/workers/${MEASURED}/history?range_seconds=21600&max_points=400`);
        const time = (index) => clockTime(visit, Date.parse(start) / 1_000 + index * step);
        const last = values.findLastIndex((value) => value !== null);
        first = await time(values.findIndex((value) => value !== null));
        await visit.page.keyboard.press('End');
        const [at, text] = [await time(last), await told()];
        return text.includes(at) && text.endsWith(`: allocated ${values[last]} VMs, slots 100 VMs`) ? [] : [`${text}, not ${values[last]} at ${at}`];
      });
      // Slots are far above what is used: said at the edge of the frame. And most of the hour is from before the server began.
      assert.equal(await visit.page.$eval('[data-curve=vms] .curve-beyond', ({ textContent }) => textContent), '↑ slots 100 VMs');
      assert.match(await visit.page.$eval('[data-test=first-sample]', ({ textContent }) => textContent), new RegExp(`^First sample in this range: ${first.split(' ').at(-1)}\\.$`));
      assert.match(await visit.page.$eval('[data-curve=cpu] .curve-before', ({ textContent }) => textContent), /^no sample until [\d:]+$/);
      await visit.judge('curves-crosshair');

      // An hour is drawn, of which the server knows the last minutes: what is not known is said, and is not 0.
      await visit.page.keyboard.press('Home');
      await visit.until(() => /allocated no sample, slots no sample$/.test(document.querySelector('[data-curve=vms] [role=slider]').getAttribute('aria-valuetext')));
      await visit.page.keyboard.press('ArrowRight');
      await visit.until(() => document.querySelector('[data-curve=vms] [role=slider]').getAttribute('aria-valuenow') === '1');
      await visit.page.keyboard.press('PageDown');
      await visit.until(() => document.querySelector('[data-curve=vms] [role=slider]').getAttribute('aria-valuenow') === '0');
      await visit.page.keyboard.press('Escape');
      await visit.until(() => !document.querySelector('.crosshair'));

      // And the pointer does.
      const box = await (await visit.page.$('[data-curve=cpu] [role=slider]')).boundingBox();
      await visit.page.mouse.move(box.x + box.width - 12, box.y + box.height / 2);
      await visit.until(() => document.querySelectorAll('.crosshair').length === 4);
      await visit.sees(/busy\s+[\d.]+ cores/);
      await visit.page.mouse.move(box.x, box.y - 60);
      await visit.until(() => !document.querySelector('.crosshair'));
      await visit.leave();
    });

    test('the range is in the address, and so is a span that was marked', async () => {
      const visit = await browser.visit(`${server.url}/workers/${MEASURED}`);
      await visit.dashboard();
      await visit.page.waitForSelector('.curves-grid[data-range="1h"]');
      const choose = (key) => visit.page.$eval(`.curves-range input[value="${key}"]`, (input) => input.click());
      for (const key of ['6h', '24h', '7d', '30d', '13mo']) {
        await choose(key);
        await visit.page.waitForSelector(`.curves-grid[data-range="${key}"]`);
        assert.equal(new URL(visit.page.url()).searchParams.get('range'), key);
        // It never blanks: the charts of the other range were there, and these are.
        assert.ok(await visit.page.$('[data-curve=cpu] canvas'));
      }
      await visit.page.reload({ waitUntil: 'load' });
      await visit.page.waitForSelector('.curves-grid[data-range="13mo"] canvas');
      await visit.page.goBack();
      await visit.page.waitForSelector('.curves-grid[data-range="30d"]');

      await visit.go(`${server.url}/workers/${MEASURED}?range=6h`);
      await visit.page.waitForSelector('.curves-grid[data-range="6h"] canvas');
      // What comes later makes the page longer, and a chart narrower by a scroll bar.
      await visit.requests.idle();
      const box = await (await visit.page.$('[data-curve=cpu] [role=slider]')).boundingBox();
      const y = box.y + box.height / 2;
      await visit.page.mouse.move(box.x + box.width * 0.7, y);
      await visit.page.mouse.down();
      await visit.page.mouse.move(box.x + box.width * 0.85, y, { steps: 4 });
      await visit.page.waitForSelector('.curve-marked');
      await visit.page.mouse.up();
      await visit.until(() => new URLSearchParams(location.search).has('since'));
      const { searchParams } = new URL(visit.page.url());
      const length = (Date.parse(searchParams.get('until')) - Date.parse(searchParams.get('since'))) / 60_000;
      assert.ok(length > 30 && length < 90, `${length} minutes of six hours were marked`);
      await visit.sees(/Nothing is known of this time/);
      await visit.press('button', /×$/);
      await visit.until(() => !new URLSearchParams(location.search).has('since'));
      await visit.page.waitForSelector('.curves-grid[data-range="6h"]');
      await visit.leave();
    });

    test('the same values are in a table', async () => {
      const visit = await browser.visit(`${server.url}/?range=1h`);
      await visit.dashboard();
      await drawn(visit, ['cpu', 'memory', 'vms']);
      await visit.sees(/measured on 1 of 13 workers/);
      await visit.click('.curves-table summary');
      await visit.page.waitForSelector('.curves-table tbody tr');
      const history = await server.fleet.get('/cluster/history?range_seconds=3600&max_points=400');
      const rows = await visit.page.$$eval('.curves-table tbody tr', (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
      assert.ok(Math.abs(rows.length - history.length) <= 1, `${rows.length} rows of ${history.length}`);
      const heads = await visit.page.$$eval('.curves-table thead th', (heads) => heads.map(({ textContent }) => textContent));
      const column = heads.indexOf('VMs allocated');
      assert.ok(column > 0, `${heads}`);
      const values = rows.map((row) => row[column]);
      assert.ok(values.includes(`${history.vm_count.values.findLast((value) => value !== null)} VMs`), `${values}`);
      assert.ok(values.includes('no sample'), 'absent is not 0');
      await visit.page.$eval('.curves-table', (table) => table.scrollIntoView());
      await visit.judge('curves-table');
      await visit.leave();
    });

    test('capacity has those of a zone, too', async () => {
      const visit = await browser.visit(`${server.url}/capacity`);
      await visit.dashboard();
      await drawn(visit, ['cpu', 'memory', 'vms', 'workers']);
      const slots = () => visit.page.$eval('[data-curve=vms] .curve-legend', ({ innerText }) => Number(/slots\s+([\d,]+)/.exec(innerText)[1].replaceAll(',', '')));
      const all = await slots();
      await visit.page.select('.curves-of', 'us-west-1b');
      await visit.until((all) => new URLSearchParams(location.search).get('of') === 'us-west-1b' && !document.querySelector('[data-curve=vms] .curve-legend').innerText.includes(all.toLocaleString('en-US')), all);
      assert.ok(await slots() < all);
      await visit.leave();
    });

    test('the list asks one question for all rows that are seen, and draws no curve of a few minutes', async () => {
      const asked = [];
      const visit = await browser.visit(`${server.url}/fleet`);
      await visit.dashboard();
      visit.page.on('request', (request) => {
        const body = request.method() === 'POST' ? request.postData() ?? '' : '';
        if (body.includes('RowHistories')) asked.push(JSON.parse(body).variables.filter.ids);
      });
      await visit.click('nav[aria-label="Pages"] a[href$="/workers"]');
      await visit.requests.answer(/RowHistories/);
      await visit.requests.idle();
      assert.equal(asked.length, 1);
      for (const id of server.fleet.workers) assert.ok(asked[0].includes(id), id);
      // What is allocated now is there as a bar.
      assert.match(await visit.page.$eval(`[data-id="${MEASURED}"] .meter`, (meter) => meter.innerText.trim()), /^38\s%$/);
      assert.equal(await visit.page.$('.row-curve'), null);
      await visit.leave();
    });

    test('a server that was restarted has them still, and the page never lost them', async () => {
      const visit = await browser.visit(`${server.url}/workers/${MEASURED}`);
      await visit.dashboard();
      await drawn(visit, ['cpu', 'memory', 'vms', 'load']);
      const count = (history) => history.vm_count.values.filter((value) => value !== null).length;
      await measuring.end();
      const before = count(await server.fleet.get(`/workers/${MEASURED}/history`));
      await server.halt();
      await visit.page.waitForSelector('html[data-live=reconnecting]');
      // What another range was is not known now; what is drawn stays.
      await visit.page.$eval('.curves-range input[value="24h"]', (input) => input.click());
      await visit.page.waitForSelector('.curves-grid.waits [data-curve=cpu] canvas');
      await server.revive();
      await visit.page.waitForSelector('.curves-grid[data-range="24h"] [data-curve=cpu] canvas');
      assert.ok(count(await server.fleet.get(`/workers/${MEASURED}/history`)) >= before, 'samples that were taken before the restart');
      await visit.page.waitForSelector('html[data-live=live]');
      // What a browser says of a server that is away is no fault of the page.
      await visit.leave({ despite: OUTAGE });
    });
  });
});

/** Heartbeats of a worker that say what its host measures, each as busy as the one before, for as long as they are wanted. */
class Measuring {
  #isOver = false;
  #beating;
  #wake;

  /** Begins with two: a load that is measured twice has a mean in between. */
  static async begin(fleet) {
    const measuring = new Measuring();
    const begun = Date.now();
    const beat = () => fleet.beat(MEASURED, undefined, { measured: { cpu_busy_seconds: 100 + (Date.now() - begun) / 2_000, memory_used_mb: 12_288, load1: 2.25 } });
    await beat();
    await beat();
    // A server forgets what was measured two minutes ago.
    measuring.#beating = (async () => {
      while (!measuring.#isOver) {
        await new Promise((resolve) => { measuring.#wake = resolve; setTimeout(resolve, 10_000).unref(); });
        if (!measuring.#isOver) await beat();
      }
    })();
    measuring.#beating.catch(() => {});
    return measuring;
  }

  /** Ends them. Fails if one was refused. */
  async end() {
    this.#isOver = true;
    this.#wake?.();
    await this.#beating;
  }
}

/** Waits until a server has taken this many samples. Returns how many there are. */
async function samples(server, least) {
  const deadline = Date.now() + A_SAMPLE;
  for (;;) {
    const { vm_count: vms } = await server.fleet.get('/cluster/history?range_seconds=3600&max_points=1500');
    const taken = vms?.values.filter((value) => value !== null).length ?? 0;
    if (taken >= least) return taken;
    assert.ok(Date.now() < deadline, `${taken} of ${least} samples`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Waits until these charts, and no others, are drawn. */
async function drawn(visit, keys) {
  await visit.until((keys) => {
    const charts = [...document.querySelectorAll('[data-curve]')];
    return charts.map(({ dataset }) => dataset.curve).join() === keys && charts.every((chart) => chart.querySelector('canvas'));
  }, keys.join());
}

/** The time of day of a moment, in seconds since 1970, as the page writes it. */
function clockTime(visit, at) {
  return visit.page.evaluate((at) => new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' }).format(at * 1_000), at);
}
