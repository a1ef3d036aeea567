// The balancer of docs/packaging/container/haproxy.cfg, as it stands there, in front of three servers on one PostgreSQL: what
// changes reaches streams, sockets and long polls at once, and neither a restart of each server in turn nor a kill loses anything.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { PATIENCE, Received, within } from './harness/patience.mjs';
import { ROOT, Server } from './harness/server.mjs';
import { run } from './harness/tools.mjs';

const SERVERS = 3;

/** A port that nothing listens on at this moment. */
async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => listener.once('listening', resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/** HAProxy with the configuration of the documentation, for other addresses. */
class Balancer {
  #child;
  #exit;
  #said = '';

  port;
  certificate;

  static async start(folder, servers) {
    const balancer = new Balancer();
    const [certificate, key, both, file] = ['certificate', 'key', 'both', 'haproxy.cfg'].map((name) => path.join(folder, name));
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, ...names]);
    balancer.certificate = readFileSync(certificate);
    writeFileSync(both, Buffer.concat([balancer.certificate, readFileSync(key)]));
    let text = readFileSync(path.join(ROOT, 'docs/packaging/container/haproxy.cfg'), 'utf8');
    const replace = (from, to) => {
      assert.equal(text.split(from).length, 2, `${from} is in the configuration once`);
      text = text.replace(from, to);
    };
    // This process may not be allowed as many files.
    replace('maxconn 20000', 'maxconn 400');
    // Without it, a check that takes longer than the interval fails, and two of those are a server that is down.
    replace('timeout connect 2s', 'timeout connect 2s\n    timeout check 60s');
    replace('/usr/local/etc/haproxy/proxy.pem', both);
    servers.forEach(({ address }, number) => replace(`server-${number + 1}:8080`, address));
    const listen = 'bind :8443';
    assert.equal(text.split(listen).length, 2, `${listen} is in the configuration once`);
    do {
      balancer.port = await freePort();
      writeFileSync(file, text.replace(listen, `bind 127.0.0.1:${balancer.port}`));
      balancer.#run(file);
    } while (!(await balancer.#hasPort()));
    return balancer;
  }

  #run(file) {
    this.#said = '';
    const child = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: `${process.env.PATH}:/usr/sbin` } });
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', (more) => (this.#said += more));
    this.#child = child;
    this.#exit = new Promise((resolve, reject) => child.once('error', reject).once('close', () => (process.off('exit', endWithUs), resolve())));
  }

  /** Waits for its first answer; false if it has ended since its port, which was free a moment ago, is another program's. */
  async #hasPort() {
    const ready = () => this.ask('GET', '/readyz').catch(() => ({}));
    try {
      return await this.eventually('its first answer', async () => (await Promise.race([ready(), this.#exit]))?.status === 200);
    } catch (error) {
      if (this.#child.exitCode === null) throw error;
      await this.#exit;
      if (!/cannot bind/i.test(this.#said)) throw error;
      return false;
    }
  }

  /** Sends a request on a connection of its own or a kept one, as clients do; resolves with the head and the body. */
  async ask(method, address, body, headers = {}) {
    const response = await this.open(method, address, headers, body);
    let text = '';
    for await (const more of response.setEncoding('utf8')) text += more;
    return { status: response.statusCode, headers: response.headers, text };
  }

  /** The same, with the body still to come. */
  open(method, address, headers = {}, body) {
    return new Promise((resolve, reject) => {
      const options = { method, path: address, port: this.port, host: '127.0.0.1', ca: this.certificate, headers };
      if (body !== undefined) options.headers = { ...headers, 'content-type': 'application/json' };
      const request = https.request(options, resolve).once('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async eventually(what, ask) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const answer = await ask();
      if (answer) return answer;
      assert(this.#child.exitCode === null && Date.now() < deadline, `waited in vain for ${what}:\n${this.#said.slice(-4_000)}`);
      await sleep(20);
    }
  }

  async stop() {
    this.#child.kill('SIGTERM');
    await within('the end of HAProxy', this.#exit);
  }
}

describe('HAProxy', () => {
  const name = `aetherium_balancer_${process.pid}`;
  const administered = process.env.AETHERIUM_TEST_POSTGRES_URL;
  const sql = (statement) => run('psql', [administered, '--quiet', '--command', statement]);
  const servers = [];
  const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-balancer-'));
  let balancer;
  let written = 0;

  before(async () => {
    assert(administered, 'AETHERIUM_TEST_POSTGRES_URL names a PostgreSQL in which databases can be made');
    await sql(`CREATE DATABASE ${name}`);
    const database = new URL(administered);
    database.pathname = `/${name}`;
    for (let number = 0; number < SERVERS; number++)
      servers.push(await Server.start({ empty: true, database: database.href, args: ['--trusted-proxy', '127.0.0.1'] }));
    balancer = await Balancer.start(folder, servers);
  });
  after(async () => {
    await balancer?.stop();
    for (const server of servers) await server.stop();
    await sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    rmSync(folder, { recursive: true });
  });

  /** Registers another worker through the balancer. Retries are the client's: a registration may be repeated. */
  const register = async () => {
    const id = `worker-${String(++written).padStart(3, '0')}`;
    const worker = { hostname: `${id}.example.com`, address: '192.0.2.1:8081', cpu_cores: 8, memory_mb: 8_192, boot_id: 'balancer' };
    await balancer.eventually('a registration', async () => [200, 201].includes((await balancer.ask('PUT', `/api/v1/workers/${id}`, worker).catch(() => ({}))).status));
    return id;
  };

  /** Follows the log as server-sent events, and resumes when the stream ends. */
  const followStream = (test) => {
    const registered = new Received();
    let [last, stopped, response] = [undefined, false, undefined];
    const follow = async () => {
      while (!stopped) {
        const resume = last === undefined ? {} : { 'last-event-id': last };
        try {
          response = await balancer.open('GET', '/api/v1/events', { accept: 'text/event-stream', ...resume });
          let pending = '';
          for await (const more of response.setEncoding('utf8')) {
            const blocks = (pending + more).split('\n\n');
            pending = blocks.pop();
            for (const block of blocks) {
              last = block.match(/^id: ?(.*)$/m)?.[1] ?? last;
              const data = block.match(/^data: ?(.*)$/m)?.[1];
              const { kind, worker_id: id } = data ? JSON.parse(data) : {};
              if (kind === 'worker_registered') registered.push(id);
            }
          }
        } catch {
          // Cut off: the next one resumes.
        }
        await sleep(20);
      }
    };
    const following = follow();
    test.after(async () => ((stopped = true), response?.destroy(), await following));
    return registered;
  };

  /** Follows the log over a WebSocket, with the retries of graphql-ws and the cursor of the last event. */
  const followSocket = (test) => {
    const registered = new Received();
    const variables = { after: undefined };
    class Trusting extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { ca: balancer.certificate });
      }
    }
    const client = createClient({
      url: `wss://127.0.0.1:${balancer.port}/graphql`,
      webSocketImpl: Trusting,
      retryAttempts: Infinity,
      shouldRetry: () => true,
      retryWait: () => sleep(20),
    });
    const query = 'subscription ($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }';
    client.subscribe({ query, variables }, {
      next: ({ data }) => {
        const { cursor, kind, workerId } = data.clusterEvents;
        variables.after = cursor;
        if (kind === 'WORKER_REGISTERED') registered.push(workerId);
      },
      error: (error) => registered.end(error),
      complete: () => registered.end(),
    });
    test.after(() => client.dispose());
    return registered;
  };

  /** Streams and sockets that have heard of one worker at least, so that they have a place to resume from. */
  const followers = async (test) => {
    const all = [...Array.from({ length: SERVERS }, () => followStream(test)), ...Array.from({ length: SERVERS }, () => followSocket(test))];
    // Not of the last one: on a busy machine, somebody would always be behind.
    for (; all.some(({ items }) => items.length === 0); await sleep(100)) await register();
    return all;
  };

  /** Each has heard of every worker since the first that it has heard of: once, in order. */
  const assertAllHeard = async (all) => {
    const last = `worker-${String(written).padStart(3, '0')}`;
    for (const registered of all) {
      await registered.first(last, (id) => id === last);
      const first = Number(registered.items[0].slice('worker-'.length));
      const expected = Array.from({ length: written - first + 1 }, (_, number) => `worker-${String(first + number).padStart(3, '0')}`);
      assert.deepEqual(registered.items, expected);
    }
  };

  test('has no metrics, which are of one server each', async () => {
    for (const address of ['/metrics', '/metrics/workers']) assert.equal((await balancer.ask('GET', address)).status, 404);
  });

  test('hands on nothing that clients say of themselves', async (test) => {
    const echo = http.createServer((request, response) => response.end(JSON.stringify(request.headers)));
    await new Promise((resolve) => echo.listen(0, '127.0.0.1', resolve));
    test.after(() => (echo.close(), echo.closeAllConnections()));
    const ours = path.join(folder, 'echo');
    mkdirSync(ours);
    const before = await Balancer.start(ours, Array(SERVERS).fill({ address: `127.0.0.1:${echo.address().port}` }));
    test.after(() => before.stop());
    const claims = { forwarded: 'for=192.0.2.9;host=evil.example', 'x-forwarded-for': '192.0.2.9', 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http' };
    const { text } = await before.ask('GET', '/', undefined, claims);
    const forwarded = Object.entries(JSON.parse(text)).filter(([name]) => name.includes('forwarded'));
    assert.deepEqual(Object.fromEntries(forwarded), { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'https' });
  });

  test('passes each event on as it comes, and answers long polls', async (test) => {
    const all = await followers(test);
    for (let round = 0; round < 3; round++) {
      const { headers } = await balancer.ask('GET', '/api/v1/workers?limit=1');
      const poll = balancer.ask('GET', `/api/v1/workers?limit=1&wait=60s&after_revision=${headers['x-revision']}`);
      const id = await register();
      // Nothing else comes that could push it out of a buffer.
      for (const registered of all) await registered.first(id, (heard) => heard === id);
      const { status, headers: after } = await within('the long poll', poll);
      assert.equal(status, 200);
      assert(Number(after['x-revision']) > Number(headers['x-revision']));
    }
    await assertAllHeard(all);
  });

  test('a restart of each server in turn is noticed by no question, and no stream misses anything', async (test) => {
    const all = await followers(test);
    let [asked, running] = [0, true];
    const asking = (async () => {
      for (; running; asked++) {
        const { status, text } = await balancer.ask('GET', '/api/v1/workers?limit=1');
        assert.equal(status, 200, text);
      }
    })();
    asking.catch(() => {});
    for (const server of servers) {
      await server.halt();
      await register();
      await server.revive();
      await register();
    }
    running = false;
    await asking;
    test.diagnostic(`${asked} questions`);
    await assertAllHeard(all);
  });

  test('the clients of a server that is killed go on with the others', async (test) => {
    const all = await followers(test);
    for (const server of servers.slice(0, 2)) {
      await server.kill();
      for (let round = 0; round < 3; round++) await register();
      await assertAllHeard(all);
      await server.revive();
    }
  });
});
