// The GraphQL playground in a real browser that can reach nothing but the server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Received } from '../harness/patience.mjs';
import { Server } from '../harness/server.mjs';
import { typed } from '../harness/tools.mjs';
import { Browser } from './visit.mjs';

describe('playground', () => {
  let server;
  let browser;
  before(async () => {
    server = await Server.start();
    browser = await Browser.launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const TABS = ['ListWorkers', 'LookIntoWorker', 'DrainWorker', 'FollowHeartbeats', 'FollowEvents'];

  const open = async (address = server.graphql, options) => {
    const visit = await browser.visit(address, options);
    await visit.playground();
    return visit;
  };
  const tabs = ({ page }) => page.$$eval('.graphiql-tab-button', (buttons) => buttons.map((button) => button.textContent));
  const choose = async (visit, title) => {
    await visit.click(`::-p-xpath(//*[contains(@class, "graphiql-tab-button")][contains(., "${title}")])`);
    await visit.until((title) => document.querySelector('.graphiql-tab-active')?.textContent.includes(title), title);
  };
  /** Runs the only operation there is, or ends it. Where there were several until now, the button asks which for a moment. */
  const run = (visit) => visit.click('.graphiql-execute-button:not([aria-haspopup])');
  /** Runs one of several operations, once the page has seen that there are: then it asks which. */
  const runOne = async (visit, operation) => {
    await visit.click('.graphiql-execute-button[aria-haspopup="menu"]');
    await visit.click(`::-p-xpath(//*[@role="menuitem"][contains(., "${operation}")])`);
  };
  /** What an editor holds, of which the page draws only as much as fits. */
  const text = ({ page }, editor) =>
    page.evaluate((editor) => {
      const models = window.__MONACO.editor.getModels();
      return models.find((model) => model.uri.path.endsWith(editor)).getValue();
    }, editor);
  /** Waits for an answer that has this in it. */
  const answered = async (visit, words) => {
    await visit.until((words) => {
      const models = window.__MONACO?.editor.getModels() ?? [];
      return models.some((model) => model.uri.path.endsWith('response.json') && model.getValue().includes(words));
    }, words);
    return JSON.parse(await text(visit, 'response.json'));
  };

  for (const scheme of ['light', 'dark']) {
    test(`opens with examples that work, in ${scheme}`, async () => {
      const visit = await open(server.graphql, { scheme });
      assert.deepEqual(await tabs(visit), TABS);
      await run(visit);
      const { data } = await answered(visit, 'pageInfo');
      assert.equal(data.workersConnection.totalCount, server.fleet.workers.length);
      await visit.picture(`playground-${scheme}`);

      await choose(visit, 'LookIntoWorker');
      await run(visit);
      const looked = await answered(visit, 'hostname');
      assert.equal(looked.data.worker.id, 'worker-01');
      assert.equal(looked.errors, undefined);
      await visit.picture(`playground-worker-${scheme}`);
      await visit.leave();
    });
  }

  test('drains a worker and takes it back', async () => {
    const visit = await open();
    await choose(visit, 'DrainWorker');
    for (const [operation, status] of [['DrainWorker', 'draining'], ['ActivateWorker', 'active']]) {
      await runOne(visit, operation);
      const { data } = await answered(visit, status.toUpperCase());
      assert.equal(Object.values(data)[0].changed, true);
      assert.equal((await server.fleet.get('/workers/worker-01')).status, status);
    }
    await visit.leave();
  });

  test('runs what is in a tab that has just been opened', async () => {
    const visit = await open();
    // In one step of the page, which leaves GraphiQL no time to read the other tab's document.
    await visit.page.evaluate(() => {
      const tabs = [...document.querySelectorAll('.graphiql-tab-button')];
      tabs.find(({ textContent }) => textContent.includes('FollowEvents')).click();
      document.querySelector('.graphiql-execute-button').click();
    });
    await visit.messages.first('answer over a WebSocket', ({ type }) => type === 'next');
    await answered(visit, 'SYNCED');
    await run(visit);
    await visit.leave();
  });

  test('follows heartbeats over a WebSocket', async () => {
    const visit = await open();
    await choose(visit, 'FollowHeartbeats');
    await run(visit);
    const seen = (messages, id) =>
      messages.filter(({ type, payload }) => type === 'next' && payload.data.workerHeartbeats.worker.id === id);
    await visit.messages.until('the present state of worker-05', (messages) => seen(messages, 'worker-05').length === 1);
    await server.fleet.beat('worker-05');
    await visit.messages.until('a beat of worker-05', (messages) => seen(messages, 'worker-05').length === 2);
    const { data } = await answered(visit, 'worker-05');
    assert.equal(data.workerHeartbeats.worker.vmCount, 3);
    await visit.picture('playground-heartbeats');
    await run(visit);
    await visit.leave();
  });

  test('says below an answer what it was', async () => {
    const visit = await open();
    await run(visit);
    await answered(visit, 'pageInfo');
    await visit.until(() => /200 OK.*ms.*kB.*cost [\d,]+ of/.test(document.querySelector('.report')?.textContent));
    await visit.leave();
  });

  /** Copies what is in the editors as a command, and types it into a shell. */
  const asCurl = async (visit) => {
    const command = await visit.copied(() => visit.click('[aria-label="Copy as curl"]'));
    await visit.until(() => document.querySelector('[aria-label="Copy as curl"]') !== null);
    return { command, run: typed(command, { program: ['bash', '-eu'], env: { PATH: process.env.PATH } }) };
  };

  test('12: a query, a mutation and a subscription say the same when they are copied as curl', async () => {
    const visit = await open();
    await run(visit);
    const { data } = await answered(visit, 'pageInfo');
    const query = await asCurl(visit);
    assert.match(query.command, /^curl -s \\\n {2}'http:\/\/[^']+\/graphql'/);
    assert.match(query.command, /"operationName":"ListWorkers","variables":\{"first":10\}/);
    assert.deepEqual(JSON.parse(await query.run.finished()).data, data);

    await choose(visit, 'DrainWorker');
    await runOne(visit, 'DrainWorker');
    const { data: { drainWorker: drained } } = await answered(visit, 'DRAINING');
    assert.equal(drained.changed, true);
    const mutation = await asCurl(visit);
    const { data: { drainWorker: again } } = JSON.parse(await mutation.run.finished());
    assert.deepEqual([again.worker, again.changed], [drained.worker, false], 'it was so already');
    await server.fleet.activate('worker-01');

    await choose(visit, 'FollowHeartbeats');
    await run(visit);
    const { data: first } = await answered(visit, 'receivedAt');
    const subscription = await asCurl(visit);
    assert.match(subscription.command, /^curl -sN /);
    await subscription.run.says(/^data: \{"data":\{"workerHeartbeats":\{.*"worker":\{"id":"worker-07"/m, () => server.fleet.beat('worker-07'));
    await subscription.run.end();
    assert.deepEqual(Object.keys(first.workerHeartbeats), ['receivedAt', 'worker']);
    await run(visit);
    await visit.leave();
  });

  test('12: it is there for who sees little, asks for names, or wants no motion', async () => {
    const visit = await open();
    // GraphiQL's tabs are lists of elements with the role of a tab, in each of which are its two buttons. They have names.
    const except = ['nested-interactive'];
    await run(visit);
    await answered(visit, 'pageInfo');
    await visit.judge('playground', { except });
    // 1,400 pixels at twice the size are as many as 700; and a phone.
    for (const width of [700, 360]) {
      await visit.page.setViewport({ width, height: 740, deviceScaleFactor: 2 });
      await visit.judge(`playground-${width}`, { except });
      assert.deepEqual(await visit.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]), [width, width]);
      await choose(visit, width === 700 ? 'FollowHeartbeats' : 'ListWorkers');
      await run(visit);
      await answered(visit, width === 700 ? 'receivedAt' : 'pageInfo');
      if (width === 700) await run(visit);
    }
    await visit.page.setViewport({ width: 1400, height: 850 });
    const nameless = [];
    const walk = ({ role, name, children = [] }) => {
      if (['button', 'checkbox', 'combobox', 'link', 'menuitem', 'tab', 'textbox'].includes(role) && !name) nameless.push(role);
      children.forEach(walk);
    };
    walk(await visit.page.accessibility.snapshot());
    assert.deepEqual(nameless, []);
    // judge() has asked for less motion.
    const moving = await visit.page.evaluate(() => [...document.querySelectorAll('*')]
      .filter((one) => { const { transitionProperty, animationName } = getComputedStyle(one); return transitionProperty !== 'none' || animationName !== 'none'; })
      .map((one) => one.className));
    assert.deepEqual(moving, []);
    await visit.leave();
  });

  test('keeps a log of what a subscription told, on a phone, too', async () => {
    const visit = await open();
    await choose(visit, 'FollowHeartbeats');
    await visit.page.setViewport({ width: 360, height: 740 });
    await run(visit);
    await answered(visit, 'receivedAt');
    await visit.until((count) => document.querySelectorAll('.report .log details').length === count, server.fleet.workers.length);
    await visit.click('.report .log summary');
    await visit.until(() => document.querySelector('.report details[open] pre')?.textContent.includes('workerHeartbeats'));
    const width = await visit.page.$eval('.graphiql-response', (pane) => pane.clientWidth);
    assert(width > 300, `the answer has ${width} px`);
    await run(visit);
    await visit.leave();
  });

  test('follows events, and goes on from a cursor', async () => {
    const visit = await open();
    await choose(visit, 'FollowEvents');
    await run(visit);
    const { data } = await answered(visit, 'SYNCED');
    await run(visit);
    await server.fleet.drain('worker-07');

    const cursor = data.clusterEvents.cursor;
    await visit.page.evaluate((variables) => {
      const models = window.__MONACO.editor.getModels();
      models.find((model) => model.uri.path.endsWith('variables.json')).setValue(variables);
    }, JSON.stringify({ after: cursor }));
    visit.messages = new Received();
    await run(visit);
    const missed = await visit.messages.first('event that was missed', ({ type }) => type === 'next');
    assert.equal(missed.payload.data.clusterEvents.kind, 'WORKER_DRAIN_STARTED');
    assert.equal(missed.payload.data.clusterEvents.workerId, 'worker-07');
    await run(visit);
    await server.fleet.activate('worker-07');
    await visit.leave();
  });

  test('keeps what was written, and opens what a link says beside it', async () => {
    const visit = await open();
    await choose(visit, 'LookIntoWorker');
    // GraphiQL writes down what it shows a moment after it has changed.
    await visit.until(() => {
      const kept = (name) => localStorage.getItem(`graphiql:${name}`) ?? '';
      const tab = JSON.parse(kept('tabState') || '{}').activeTabIndex;
      return tab === 1 && kept('query').includes('LookIntoWorker') && kept('variables').includes('worker-01');
    });
    await visit.page.reload();
    await visit.playground();
    assert.deepEqual(await tabs(visit), TABS);
    assert.match(await text(visit, 'operation.graphql'), /LookIntoWorker/);
    assert.deepEqual(JSON.parse(await text(visit, 'variables.json')), { id: 'worker-01' });

    const link = await visit.copied(() => visit.click('[aria-label="Copy link"]'));
    assert.equal(new URL(link).searchParams.get('operationName'), 'LookIntoWorker');
    const elsewhere = await open(link);
    assert.deepEqual(await tabs(elsewhere), ['LookIntoWorker']);
    await run(elsewhere);
    assert.equal((await answered(elsewhere, 'hostname')).data.worker.id, 'worker-01');
    await elsewhere.leave();

    const query = 'query Zone($zone: String) { workers(zone: $zone) { id } }';
    const variables = '{"zone": "us-west-1a"}';
    await visit.go(`${server.graphql}?${new URLSearchParams({ query, variables, operationName: 'Zone' })}`);
    await visit.playground();
    assert.deepEqual(await tabs(visit), [...TABS, 'Zone']);
    await run(visit);
    assert.equal((await answered(visit, '"workers"')).data.workers.length, 4);
    await visit.leave();
  });

  test('has its panels: documentation, history, explorer', async () => {
    // With a slash at its end, too.
    const visit = await open(`${server.graphql}/`);
    await run(visit);
    await answered(visit, 'pageInfo');
    for (const [panel, words] of [
      ['Documentation Explorer', 'Mutation'],
      ['History', 'ListWorkers'],
      ['GraphiQL Explorer', 'workersConnection'],
    ]) {
      await visit.click(`[aria-label="Show ${panel}"]`);
      await visit.until((words) => document.querySelector('.graphiql-plugin')?.textContent.includes(words), words);
      await visit.picture(`playground-${panel.toLowerCase().replaceAll(' ', '-')}`);
    }
    await visit.leave();
  });
});
