// The API page: each command that it offers is copied with its button and run as it stands, and does what is said above it.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { eventually } from '../harness/patience.mjs';
import { BINARY, Server } from '../harness/server.mjs';
import { typed } from '../harness/tools.mjs';
import { Fleet } from '../harness/fleet.mjs';
import { Browser } from './visit.mjs';

/** What commands say, by what the page says of them. Those that go on for ever are ended once they have said it. */
const COMMANDS = {
  curl: {
    'Cluster statistics': [/"total_workers":\s*12\b/],
    'Offline workers': [/"workers":\s*\[\]/],
    'Placement of three VMs, with reasons for refusals': [/"fits":\s*true/],
    'Drain a worker': [/worker-01 is draining|"draining"/],
    'Stream events': [/^data: \{/m, 'goes on'],
  },
  graphql: {
    'Cluster statistics': [/\{"data":\{"clusterStats":\{"activeWorkers":10,"drainingWorkers":2,/],
    'Workers by CPU usage': [/"workersConnection":\{"nodes":\[\{"id":"worker-\d+"/],
    'How many VMs fit, now and after a failure': [/\{"data":\{"capacity":\{"vms":\d+,"vmsWithoutLargestWorker":\d+,"vmsWithoutLargestZone":\d+\}\}/],
    'Stream events, as server-sent events': [/event: next\ndata: \{"data":\{"clusterEvents":\{/, 'goes on'],
  },
  js: {
    'A query, in any JavaScript': [/id: 'worker-01', status: 'DRAINING', vmCount: 3/],
    'A subscription that resumes where it was, with graphql-ws': [/Worker worker-05 is draining/, 'goes on'],
  },
  cli: {
    'Set the server': [/^$/],
    'Cluster status, updated as it changes': [/12 workers|workers +12/i, 'goes on'],
    'Workers, as JSON': [/"id": ?"worker-01"/],
    'Drain, and wait until the host is safe to power off': [/worker-01/, 'goes on'],
    'Placement, with reasons for refusals': [/\bfit/],
    'Stream events': [/worker-05 is draining/, 'goes on'],
  },
};

describe('API page', () => {
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

  /** Copies each command, and runs it in a shell, with what those before it have left there. */
  const runAll = async (visit, tongue, operator, env = {}) => {
    const commands = COMMANDS[tongue];
    const offered = await visit.page.$$eval('main .commands li > p', (all) => all.map((one) => one.textContent));
    assert.deepEqual(offered, Object.keys(commands), 'the commands that are offered');
    let before = '';
    for (const [index, what] of offered.entries()) {
      const button = `main .commands li:nth-child(${index + 1}) button`;
      const copy = await visit.page.waitForSelector(button);
      // It says so for a moment only.
      const said = visit.page.evaluate((button) => new Promise((resolve) => {
        new MutationObserver(() => { if (button.textContent === 'Copied') resolve(); }).observe(button, { characterData: true, childList: true, subtree: true });
      }), copy);
      said.catch(() => {});
      const command = await visit.copied(() => visit.click(button));
      await said;
      const [like, end] = commands[what];
      // Streams begin with what is, or with what happens next: so something has to.
      const happen = async () => { await operator.activate('worker-05'); await operator.drain('worker-05'); };
      const script = tongue === 'js' ? command : `${before}\n${command}`;
      const run = typed(script, {
        program: tongue === 'js' ? [process.execPath, '--experimental-websocket', '--input-type=module'] : ['bash', '-eu'],
        env: { ...env, PATH: `${path.dirname(BINARY)}:${process.env.PATH}` },
      });
      if (command.startsWith('export ')) before = command;
      if (end === 'goes on') {
        await run.says(like, happen);
        await run.end();
      } else {
        assert.match(await run.finished(), like, `${what}: ${command}`);
      }
    }
  };

  test('12: what is offered for the command line runs, on a server that is open', async () => {
    const visit = await browser.visit(`${server.url}/api?in=cli`);
    await visit.dashboard();
    await visit.press('button', /^REST$/);
    await visit.press('button', /^Command line$/);
    await runAll(visit, 'cli', server.fleet);
    const { reason, deadline_at: deadline } = await server.fleet.get('/workers/worker-01/drain');
    assert(reason === 'new disks' && deadline !== null, `${reason} ${deadline}`);
    await server.fleet.activate('worker-01');
    await server.fleet.activate('worker-05');
    await visit.leave();
  });

  test('12: it can be worked with at twice the size, and stands still for who wants that', async () => {
    const visit = await browser.visit(`${server.url}/api`);
    await visit.dashboard();
    // 1,400 pixels at twice the size are as many as 700.
    await visit.page.setViewport({ width: 700, height: 425, deviceScaleFactor: 2 });
    for (const name of [/^GraphQL$/, /^JavaScript$/, /^REST$/]) await visit.press('button', name);
    await visit.judge('api-zoomed');
    assert.deepEqual(await visit.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]), [700, 700]);
    // judge() has asked for less motion.
    const moving = await visit.page.evaluate(() => document.getAnimations().length
      + [...document.querySelectorAll('*')].filter((one) => /[1-9]/.test(`${getComputedStyle(one).transitionDuration} ${getComputedStyle(one).animationDuration}`) && getComputedStyle(one).transitionProperty !== 'none').length);
    assert.equal(moving, 0);
    await visit.leave();
  });

  test('12: what is offered for REST, GraphQL and JavaScript runs, with a token', async () => {
    const token = server.token('create', '--role', 'admin', '--name', 'alice');
    await eventually('the server asks for a token', async () => (await fetch(`${server.url}/api/v1/workers`)).status === 401);
    const operator = new Fleet(server.url, token);
    const visit = await browser.visit(`${server.url}/api`);
    await (await visit.page.waitForSelector('#session-token')).type(token);
    await visit.press('button', /^Sign in/);
    await visit.page.waitForSelector('html[data-session=in]');
    await visit.dashboard();
    await runAll(visit, 'curl', operator, { AETHERIUM_TOKEN: token });
    const { reason, deadline_at: deadline } = await operator.get('/workers/worker-01/drain');
    assert(reason === 'new disks' && deadline !== null, `${reason} ${deadline}`);
    await operator.activate('worker-05');
    for (const [tongue, name] of [['graphql', /^GraphQL$/], ['js', /^JavaScript$/]]) {
      await visit.press('button', name);
      await visit.until((tongue) => new URLSearchParams(location.search).get('in') === tongue, tongue);
      await runAll(visit, tongue, operator, { AETHERIUM_TOKEN: token });
      await operator.activate('worker-05');
    }
    await visit.leave();
  });
});
