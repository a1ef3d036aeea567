// What docs/prometheus has for those who run Prometheus and Grafana: rules and a dashboard that promtool accepts, alerts that
// fire for what they are about, and a real Prometheus that scrapes a server, finds workers by asking it, and fires the alert
// for half a zone that fell silent.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { within } from './harness/patience.mjs';
import { Prometheus } from './harness/prometheus.mjs';
import { ROOT, Server } from './harness/server.mjs';
import { run, temporaryFolder } from './harness/tools.mjs';

const FOLDER = path.join(ROOT, 'docs/prometheus');
const file = (name) => path.join(FOLDER, name);
const OPEN_METRICS = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5';

/** Runs promtool; with a text on its standard input, if there is one. */
async function promtool(args, input) {
  if (input === undefined) return run('promtool', args, { cwd: FOLDER });
  const child = spawn('promtool', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', (more) => (said += more));
  child.stdin.end(input);
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  return { code, said };
}

/** The names of the alerts in the rules. */
const alerts = [...readFileSync(file('alerts.yml'), 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name);

/** Names of metrics in an expression. */
const metricsIn = (expression) => new Set(expression.match(/\b(?:aetherium|process)_\w+/g));

describe('rules and configuration', () => {
  test('promtool accepts them', async (test) => {
    const said = await promtool(['check', 'rules', 'alerts.yml']);
    test.diagnostic(said.trim().split('\n').at(-1).trim());
    await promtool(['check', 'config', '--syntax-only', 'prometheus.yml']);
  });

  test('each alert fires for what it is about, once it has lasted, and not before', async () => {
    await promtool(['test', 'rules', 'alerts_test.yml']);
    const tested = new Set([...readFileSync(file('alerts_test.yml'), 'utf8').matchAll(/- name: (\w+)/g)].map(([, name]) => name));
    assert.deepEqual([...tested].sort(), [...alerts].sort());
  });
});

describe('a scrape', () => {
  let server;
  before(async () => {
    server = await Server.start();
    // So that there is something of each.
    await fetch(server.graphql, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"query": "{"}' });
    await fetch(`${server.url}/nowhere`);
  });
  after(() => server.stop());

  const scrape = async (address, accept = 'text/plain') => {
    const response = await fetch(`${server.url}${address}`, { headers: { accept } });
    assert.equal(response.status, 200);
    return response.text();
  };

  for (const address of ['/metrics', '/metrics/workers'])
    test(`promtool finds nothing to say about ${address}`, async () => {
      const { code, said } = await promtool(['check', 'metrics'], await scrape(address));
      assert.equal(said, '');
      assert.equal(code, 0);
    });

  test('the dashboard and the alerts ask for metrics that there are', async () => {
    const text = await scrape('/metrics');
    const families = new Set([...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].flatMap(([, name, type]) =>
      type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name]));
    // Only a server that uses Consul has the first; the other is told once the log has been pruned.
    families.add('aetherium_consul_up').add('aetherium_event_log_rows');
    const dashboard = JSON.parse(readFileSync(file('grafana.json'), 'utf8'));
    const targets = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    assert(targets.length > 20);
    const asked = [...targets, ...dashboard.templating.list.map(({ query }) => query.query ?? ''), readFileSync(file('alerts.yml'), 'utf8')];
    for (const expression of asked)
      for (const name of metricsIn(expression)) assert(families.has(name), `${name} is in no scrape`);
  });

  test('every expression of the dashboard is one', async (test) => {
    const { panels } = JSON.parse(readFileSync(file('grafana.json'), 'utf8'));
    const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    const rules = expressions.map((expr, number) => ({
      record: `panel:${number}`,
      expr: expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', '.*').replaceAll('$zone', '.*'),
    }));
    const rulesFile = path.join(temporaryFolder(test), 'dashboard.json');
    writeFileSync(rulesFile, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
    await promtool(['check', 'rules', rulesFile]);
  });

  test('both formats have the same samples of the cluster', async () => {
    const samples = (text) => text.split('\n').filter((line) => line.startsWith('aetherium_workers{'));
    const [plain, open] = [await scrape('/metrics'), await scrape('/metrics', OPEN_METRICS)];
    assert(open.endsWith('# EOF\n'));
    assert.deepEqual(samples(open), samples(plain));
    assert(samples(plain).length >= 9);
  });
});

/** Waits until the server accepts a token, and nobody without one. */
async function untilKnown(server, token) {
  const status = async (headers) => (await fetch(`${server.url}/metrics`, { headers })).status;
  const known = async () => {
    while ((await status({})) !== 401 || (await status({ authorization: `Bearer ${token}` })) !== 200) await sleep(20);
  };
  await within('the token', known());
}

describe('Prometheus', () => {
  const ZONES = ['east', 'west'];
  const EACH = 6;
  const workers = ZONES.flatMap((zone) => Array.from({ length: EACH }, (_, number) => ({ id: `${zone}-${number}`, zone })));

  test('scrapes with a token, finds workers by asking, and fires the alert for half a silent zone', async (test) => {
    const folder = temporaryFolder(test);
    const server = await Server.start({ empty: true, offlineAfter: '20s', args: ['--heartbeat-interval', '500ms', '--metrics-listen', '127.0.0.1:0'] });
    test.after(() => server.stop());
    const gateway = server.token('create', '--role', 'worker', '--name', 'gateway', '--max-workers', '20');
    const viewer = path.join(folder, 'viewer.token');
    const token = server.token('create', '--role', 'viewer', '--name', 'prometheus');
    writeFileSync(viewer, token);
    // The server follows what is done on its database within a second; until then it would be open to everybody.
    await untilKnown(server, token);

    // The rules as they are, except that they do not wait for minutes.
    const rules = path.join(folder, 'alerts.yml');
    writeFileSync(rules, readFileSync(file('alerts.yml'), 'utf8').replaceAll(/for: \d+m/g, 'for: 1s'));
    const authorization = { type: 'Bearer', credentials_file: viewer };
    const metricsPort = server.metricsAddress.split(':').at(-1);
    const prometheus = await Prometheus.start(folder, {
      // A scrape that takes longer than the interval fails, and a server on a busy machine may take a while.
      global: { scrape_interval: '2s', scrape_timeout: '2s', evaluation_interval: '1s' },
      rule_files: [rules],
      scrape_configs: [
        { job_name: 'aetherium', authorization, static_configs: [{ targets: [server.address] }] },
        { job_name: 'aetherium-workers', metrics_path: '/metrics/workers', static_configs: [{ targets: [server.metricsAddress] }] },
        {
          job_name: 'node',
          metrics_path: '/livez',
          http_sd_configs: [{ url: `${server.url}/api/v1/sd/prometheus?zone=east&port=${metricsPort}`, authorization, refresh_interval: '1s' }],
          relabel_configs: [
            { action: 'labelmap', regex: '__meta_aetherium_(worker_id|zone|label_rack|status)' },
          ],
        },
      ],
    });
    test.after(() => prometheus.stop());

    const call = async (method, address, body) => {
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${gateway}` };
      const response = await fetch(`${server.url}/api/v1${address}`, { method, headers, body: JSON.stringify(body) });
      assert(response.ok, `${method} ${address}: ${response.status} ${await response.clone().text()}`);
      return response.json();
    };
    for (const worker of workers) {
      const { id, zone } = worker;
      const { incarnation } = await call('PUT', `/workers/${id}`, {
        hostname: `${id}.example.com`,
        // Exporters are looked for on the same host, at the port that is asked for.
        address: '127.0.0.1:8081',
        zone,
        labels: { rack: `r${id.at(-1)}` },
        cpu_cores: 8,
        memory_mb: 8_192,
        boot_id: 'prometheus',
      });
      worker.incarnation = incarnation;
    }
    let [silent, isOver, failure] = [new Set(), false, undefined];
    const beat = async () => {
      const heartbeats = workers.filter(({ id }) => !silent.has(id)).map(({ id, incarnation }) => ({ worker_id: id, incarnation }));
      const { results } = await call('POST', '/heartbeats', { heartbeats });
      for (const { status } of results) assert.equal(status, 200);
    };
    /** The workers that are not silent beat in their interval, however long it takes to ask Prometheus. */
    const keepBeating = async () => {
      for (; !isOver; await sleep(500)) await beat();
    };
    const beating = keepBeating().catch((error) => (failure = error));
    /** Asks Prometheus until it says so, while the workers beat. */
    const eventually = (what, ask) => prometheus.eventually(what, () => {
      if (failure) throw failure;
      return ask();
    });

    try {
      const isUp = (job) => async () => (await prometheus.query(`up{job="${job}"}`)).every(({ value }) => value === 1);
      await eventually('a scrape with a token', async () => (await prometheus.query('aetherium_build_info')).length === 1 && isUp('aetherium')());
      await eventually('the series of all workers', async () => (await prometheus.query('aetherium_worker_up == 1')).length === workers.length);
      const found = await eventually('the workers of one zone', async () => {
        const targets = (await prometheus.targets()).filter(({ labels }) => labels.job === 'node');
        return targets.length === EACH && targets;
      });
      const labels = found.map(({ labels, discoveredLabels }) => [labels.worker_id, labels.zone, labels.label_rack, discoveredLabels.__address__]);
      const expected = workers.filter(({ zone }) => zone === 'east');
      assert.deepEqual(labels.sort(), expected.map(({ id }) => [id, 'east', `r${id.at(-1)}`, `127.0.0.1:${metricsPort}`]));

      const firing = async () => (await prometheus.alerts()).filter(({ state }) => state === 'firing').map(({ labels }) => labels);
      const ofZone = async () => (await firing()).filter(({ alertname }) => alertname === 'AetheriumHalfZoneSilent');
      assert.deepEqual(await ofZone(), []);
      // Half of one zone falls silent.
      silent = new Set(expected.slice(0, EACH / 2).map(({ id }) => id));
      const [alert] = await eventually('the alert', async () => {
        const alerts = await ofZone();
        return alerts.length > 0 && alerts;
      });
      assert.deepEqual(alert, { alertname: 'AetheriumHalfZoneSilent', severity: 'page', zone: 'east' });
      await eventually('that half of the zone is counted', async () => {
        const [counted] = await prometheus.query('sum(aetherium_workers{status="offline"})');
        return counted?.value === EACH / 2;
      });
      silent = new Set();
      await eventually('its end', async () => (await ofZone()).length === 0);
    } finally {
      isOver = true;
      await beating;
    }
    assert.ifError(failure);
  });
});
