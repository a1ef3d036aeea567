// The dashboard with ten thousand workers: what it asks for, keeps in the document and paints is bounded by what is seen,
// however many there are. Nothing here is timed; how long it takes is in benches/dashboard.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { LargeFleet } from '../harness/large_fleet.mjs';
import { PATIENCE_WITH_PAGES, eventually, within } from '../harness/patience.mjs';
import { Server } from '../harness/server.mjs';
import { Browser } from './visit.mjs';

const WORKERS = 10_000;
const VMS_PER_WORKER = 2;

/** Workers of one question: the most that the API gives at once. */
const PAGE = 500;

/** Rows of the first page of a table. */
const FIRST_ROWS = 100;

/** Rows that are drawn beside those that a screen of 850 px shows: eight above, eight below. */
const MOST_ROWS = 850 / 32 + 16;

/** Elements of the largest page; the strip of the Overview alone has a thousand. */
const MOST_ELEMENTS = 2_500;

/** By how much the heap may grow while it hears of each worker five times, in bytes; a leak of 100 bytes a message would be 5 MB. */
const HEAP_GROWTH = 3_000_000;

describe('dashboard of ten thousand workers', () => {
  let browser;
  let server;
  let fleet;
  before(async () => {
    browser = await Browser.launch();
    server = await Server.start({ empty: true });
    fleet = await LargeFleet.register(server.url, WORKERS, VMS_PER_WORKER);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** Opens a page, and notes the operations that it asks for, in order: `steps` has their names, and those that are answered. */
  async function visit(address, prepare = () => {}) {
    const visit = await browser.visit(`${server.url}/health`, { before: prepare });
    await visit.dashboard();
    const heard = new Heard();
    visit.messages.push = (message) => heard.take(message);
    const asked = [];
    const steps = [];
    const operationOf = (request) => (request.method() === 'POST' && request.url() === server.graphql ? JSON.parse(request.postData()) : null);
    visit.page.on('request', (request) => {
      const operation = operationOf(request);
      if (!operation) return;
      asked.push(operation);
      steps.push(operation.operationName);
    });
    visit.page.on('response', (response) => {
      const operation = operationOf(response.request());
      if (operation) steps.push(`${operation.operationName} is answered`);
    });
    const of = (name) => asked.filter(({ operationName }) => operationName === name);
    await visit.page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
    await visit.page.evaluate((address) => {
      history.pushState(null, '', address);
      dispatchEvent(new PopStateEvent('popstate'));
    }, address);
    return { visit, page: visit.page, steps, of, heard };
  }

  for (const [address, operation, counts] of [['/workers', 'WorkerPage', 'WorkerCounts'], ['/workers?sort=-cpu&q=label.env=production', 'WorkerPage', 'WorkerCounts'], ['/vms', 'VmPage', 'VmCountsOf'], ['/vms?sort=name', 'VmPage', 'VmCountsOf']]) {
    test(`${address} asks for its first rows first, and for no more of them than a screen shows`, async () => {
      const { visit: leaving, page, steps, of } = await visit(address);
      await page.waitForSelector('main [role=row][data-id]');
      await page.waitForFunction(() => /\d/.test(document.querySelector('.facet b')?.textContent ?? ''));
      const answer = steps.indexOf(`${operation} is answered`);
      assert(answer >= 0 && answer < steps.indexOf(counts), steps.join(', '));
      assert.equal(of(operation)[0].variables.first, FIRST_ROWS);
      assert(of(operation).every(({ variables }) => variables.first <= PAGE));
      await leaving.leave();
    });
  }

  test('a table that is scrolled to its end has all workers, and the document only those that are seen', async () => {
    const { visit: leaving, page, of } = await visit('/workers');
    await page.waitForSelector('main [role=row][data-id]');
    await page.focus('[role=grid]');
    for (let last = ''; last !== fleet.ids.at(-1);) {
      await page.keyboard.press('End');
      const before = last;
      last = await page.waitForFunction((before) => {
        const last = [...document.querySelectorAll('main [role=row][data-id]')].at(-1)?.dataset.id ?? '';
        return last > before && last;
      }, { polling: 50 }, before).then((handle) => handle.jsonValue());
      const [rows, elements] = await page.evaluate(() => [document.querySelectorAll('main [role=row][data-id]').length, document.querySelectorAll('*').length]);
      assert(rows <= MOST_ROWS, `${rows} rows are drawn`);
      assert(elements <= MOST_ELEMENTS, `${elements} elements`);
    }
    const isAfter = ({ variables }) => variables.after !== null;
    assert.equal(of('WorkerPage').filter(isAfter).length, Math.ceil((WORKERS - FIRST_ROWS) / PAGE), 'each page was asked for once');
    await leaving.leave();
  });

  test('a page that comes while the list is read again stays, and is asked for once', async () => {
    const { visit: leaving, page, of } = await visit('/workers', () => {
      const { fetch } = window;
      window.held = [];
      // Answers to the first page of the list wait until they are let go.
      window.fetch = async (address, options) => {
        const answer = await fetch(address, options);
        if (window.isHolding && /"operationName":"WorkerPage".*"after":null/.test(options?.body)) await new Promise((release) => { window.held.push(release); });
        return answer;
      };
    });
    await page.waitForSelector('main [role=row][data-id]');
    await leaving.requests.idle();
    await page.evaluate(() => { window.isHolding = true; });
    await fleet.beat(fleet.ids.slice(0, 1), { withVms: true, round: 1 });
    await page.waitForFunction(() => window.held.length > 0);
    await page.focus('[role=grid]');
    const scrollTo = (row) => eventually(`row ${row}`, async () => {
      await page.keyboard.press('End');
      const drawn = await page.$$eval('main [role=row][data-id]', (rows) => rows.map(({ dataset }) => dataset.id));
      const from = fleet.ids.indexOf(drawn[0]);
      assert.deepEqual(drawn, fleet.ids.slice(from, from + drawn.length), 'no row is left out');
      return from + drawn.length >= row;
    }, PATIENCE_WITH_PAGES);
    await scrollTo(FIRST_ROWS + PAGE);
    await page.evaluate(() => { window.isHolding = false; window.held.forEach((release) => release()); });
    await scrollTo(FIRST_ROWS + 3 * PAGE);
    const cursors = of('WorkerPage').map(({ variables }) => variables.after).filter((after) => after !== null);
    assert.equal(new Set(cursors).size, cursors.length, 'a page was asked for twice');
    await leaving.leave();
  });

  for (const address of ['/', '/fleet', '/workers', '/vms', '/vms?view=map', '/drains', '/capacity', '/events', '/health']) {
    test(`${address} has as many elements as a screen can show`, async () => {
      const { visit: leaving, page } = await visit(address);
      await page.waitForSelector('main h1');
      await leaving.requests.idle(500);
      const elements = await page.evaluate(() => document.querySelectorAll('*').length);
      assert(elements <= MOST_ELEMENTS, `${elements} elements`);
      await leaving.leave();
    });
  }

  test('a map of VMs reads each worker once, and is not drawn for each page', async () => {
    const begun = Date.now();
    const { visit: leaving, page, of } = await visit('/vms?view=map', () => {
      // Each drawing begins with the scale of the screen; one without a rectangle is no work.
      const { scale, fillRect } = CanvasRenderingContext2D.prototype;
      window.drawings = 0;
      let isBlank = false;
      CanvasRenderingContext2D.prototype.scale = function begin(...given) {
        isBlank = true;
        return scale.apply(this, given);
      };
      CanvasRenderingContext2D.prototype.fillRect = function count(...given) {
        if (isBlank) window.drawings += 1;
        isBlank = false;
        return fillRect.apply(this, given);
      };
    });
    await page.waitForFunction((sum) => document.querySelector('.map-head [role=status]')?.textContent === sum, { polling: 50 }, `${(WORKERS * 3).toLocaleString('en-US')} vCPU`);
    const drawings = await page.evaluate(() => window.drawings);
    assert.equal(of('WorkerSumsPage').length, WORKERS / PAGE);
    // The first, the last, those while it is read, and what a change of its size draws anew.
    const most = 4 + (Date.now() - begun) / 400;
    assert(drawings <= most, `${drawings} drawings, at most ${most}`);
    await leaving.leave();
  });

  test('only rows that are seen are followed', async () => {
    const { visit: leaving, page, heard } = await visit('/workers');
    await page.waitForSelector('main [role=row][data-id]');
    await heard.until('a heartbeat', () => heard.heartbeats > 0);
    heard.begin();
    await fleet.beat(fleet.ids);
    await heard.until('heartbeats of what is seen', () => heard.workers.size > 20);
    assert(heard.workers.size <= MOST_ROWS, `${heard.workers.size} workers`);
    await leaving.leave();
  });

  test('the fleet hears each worker, paints what it hears, and keeps nothing of it', async () => {
    const { visit: leaving, page, of, heard } = await visit('/fleet', () => {
      const { clearRect } = CanvasRenderingContext2D.prototype;
      window.painted = 0;
      // A cell that is painted anew is wiped first.
      CanvasRenderingContext2D.prototype.clearRect = function count(...given) {
        window.painted += 1;
        return clearRect.apply(this, given);
      };
    });
    await leaving.sees(/All 10,000 workers take new VMs/);
    assert.equal(of('FleetPage').length, WORKERS / PAGE);
    const all = () => heard.until('a heartbeat of each worker', () => heard.workers.size === WORKERS);
    const beat = async () => {
      heard.begin();
      await fleet.beat(fleet.ids);
      await all();
      // What came last is painted with the next frame.
      await nextFrame(page);
      return heard.heartbeats;
    };
    // The subscription begins with all workers as they are.
    await all();
    await beat();
    const before = await heapOf(page);
    const painted = await page.evaluate(() => window.painted);
    let heartbeats = 0;
    for (let round = 0; round < 5; round += 1) heartbeats += await beat();
    const cells = await page.evaluate(() => window.painted) - painted;
    assert(cells <= heartbeats, `${cells} cells are painted after ${heartbeats} heartbeats`);
    const grown = await heapOf(page) - before;
    assert(grown <= HEAP_GROWTH, `the heap has grown by ${grown} bytes`);
    await leaving.leave();
  });

  test('a thousand events are told once a frame', async () => {
    const { visit: leaving, page, heard } = await visit('/');
    await leaving.sees(/10,000 workers take new VMs/);
    await page.evaluate(() => {
      window.framesSeen = 0;
      window.told = 0;
      const frame = () => { window.framesSeen += 1; requestAnimationFrame(frame); };
      requestAnimationFrame(frame);
      const revision = document.evaluate('//main//span[contains(., "Revision")]', document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
      // The clock beside it moves in a node of its own.
      const isRevision = ({ target }) => target.nodeType === Node.TEXT_NODE && target.parentElement === revision;
      new MutationObserver((records) => { window.told += records.filter(isRevision).length; }).observe(revision, { characterData: true, subtree: true });
    });
    heard.begin();
    await fleet.beat(fleet.ids.slice(0, 1_000), { withVms: true, round: 1 });
    await heard.until('a thousand events', () => heard.events >= 1_000);
    await nextFrame(page);
    const [told, frames] = await page.evaluate(() => [window.told, window.framesSeen]);
    assert(told > 0 && told <= frames, `${told} times in ${frames} frames`);
    await leaving.leave();
  });
});

/** What a page is told over its socket: counted, and not kept. */
class Heard {
  heartbeats = 0;
  events = 0;
  /** Ids of the workers whose heartbeats it was. */
  workers = new Set();
  #look = () => {};

  /** Counts from here on. */
  begin() {
    this.heartbeats = this.events = 0;
    this.workers.clear();
  }

  take({ payload }) {
    if (payload?.data?.clusterEvents) this.events += 1;
    if (payload?.data?.workerHeartbeats) {
      this.heartbeats += 1;
      this.workers.add(payload.data.workerHeartbeats.worker.id);
    }
    this.#look();
  }

  until(what, isEnough) {
    return within(what, new Promise((resolve) => {
      this.#look = () => { if (isEnough()) resolve(); };
      this.#look();
    }), PATIENCE_WITH_PAGES);
  }
}

/** Waits until the page has drawn what it has been told. */
function nextFrame(page) {
  return page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); }));
}

/** What is used of the page's heap once all garbage is collected, in bytes. */
async function heapOf(page) {
  const devtools = await page.createCDPSession();
  // What is only held by what the first collection frees goes with the second.
  for (let round = 0; round < 2; round += 1) await devtools.send('HeapProfiler.collectGarbage');
  const { usedSize } = await devtools.send('Runtime.getHeapUsage');
  await devtools.detach();
  return usedSize;
}
