// Two servers to ask: one whose fleet stays as it is, and one for commands; and the words that their data is made of.

import assert from 'node:assert/strict';

import { Server } from '../harness/server.mjs';
import { WHOLE_NUMBERS } from './spellings.mjs';
import { Asker } from './transports.mjs';

/**
 * An operation's cost is told by the largest cluster there could be, and these clusters are small: documents that are
 * refused for it would say nothing about anything else.
 */
const ARGUMENTS = ['--graphql-max-cost', String(2n ** 63n - 1n)];

export class World {
  /** Whose answers are compared with a model. Nothing changes it. */
  frozen;
  /** Where commands may do what they like. */
  arena;
  vocabulary;

  static async create() {
    const world = new World();
    const [frozen, arena] = await Promise.all([Server.start({ args: ARGUMENTS }), Server.start({ args: ARGUMENTS })]);
    world.servers = [frozen, arena];
    try {
      await odd(frozen);
      world.frozen = new Asker(frozen);
      world.arena = new Asker(arena);
      world.vocabulary = await words(frozen);
    } catch (error) {
      await world.end();
      throw error;
    }
    return world;
  }

  /** Which server a request is for. No document without this word can hold a command. */
  askerFor({ text }) {
    return text.includes('mutation') ? this.arena : this.frozen;
  }

  async end() {
    await Promise.all([this.frozen?.close(), this.arena?.close()]);
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}

/** What an ordinary fleet has not: workers without anything, letters of all kinds, a VM on two workers at once. */
async function odd(server) {
  const call = async (method, path, body) => {
    const response = await fetch(`${server.url}/api/v1${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    assert(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  };
  const machine = { hostname: 'Änne.example.com', address: '[2001:db8::1]:8081', cpu_cores: 3, memory_mb: 4_097 };
  const plain = await call('PUT', '/workers/bare', machine);
  const zoned = { ...machine, zone: 'Züri"\\\u{1f600}', labels: { 'a"b': '\u{1f600}', env: '' }, capabilities: ['x y'], disk_gb: 7, max_vms: 1 };
  const other = await call('PUT', `/workers/${encodeURIComponent('wörker 1')}`, zoned);
  const vm = (id, status, name) => ({ id, status, name, vcpus: 1, memory_mb: 512 });
  const moving = vm('vm-moving', 'running', 'On the move');
  const states = ['created', 'starting', 'running', 'stopping', 'stopped', 'failed'].map((it) => vm(`vm-${it}`, it, `It is ${it}`));
  await call('POST', '/workers/bare/heartbeat', { incarnation: plain.incarnation, vms: [moving, ...states] });
  const body = { incarnation: other.incarnation, vms: [moving], used_cpu_cores: 2, used_memory_mb: 1, used_disk_gb: 3 };
  await call('POST', `/workers/${encodeURIComponent('wörker 1')}/heartbeat`, body);
}

/** What documents are about. */
async function words(server) {
  const query = `{
    workers { id hostname address zone labels { key value } capabilities }
    vmsConnection(first: 500, filter: { statuses: [CREATED, STARTING, RUNNING, STOPPING, STOPPED, FAILED] }) {
      edges { cursor node { id name } }
    }
    workersConnection { edges { cursor } }
    byUsage: workersConnection(orderBy: { field: CPU_USAGE, direction: DESC }) { edges { cursor } }
    events(first: 500) { endCursor nodes { cursor revision } }
  }`;
  const response = await fetch(server.graphql, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  const { workers, vmsConnection, workersConnection, byUsage, events } = data;
  const vms = vmsConnection.edges.map(({ node }) => node);
  const texts = new Set();
  for (const worker of workers) {
    const { hostname, address, zone, labels, capabilities } = worker;
    for (const text of [hostname, address, zone ?? '', ...capabilities]) texts.add(text);
    for (const { key, value } of labels) texts.add(key).add(value);
  }
  for (const text of ['worker-0', 'VM-', 'example', '1', 'É', 'moving', 'ü', 'east', 'nowhere']) texts.add(text);
  const every = (list, step) => list.filter((_, index) => index % step === 0);
  const edges = [...every(workersConnection.edges, 3), ...every(vmsConnection.edges, 7), ...every(byUsage.edges, 5)];
  return {
    ids: [...every(workers, 2), ...every(vms, 5)].map(({ id }) => id).concat('nope', 'bare', 'wörker 1', 'vm-moving', 'vm-failed'),
    texts: [...texts].sort(),
    cursors: [...edges.map(({ cursor }) => cursor), ''],
    scalars: {
      Int53: [...WHOLE_NUMBERS, ...every(events.nodes, 9).map(({ revision }) => BigInt(revision))],
      Cursor: [...every(events.nodes, 6).map(({ cursor }) => cursor), events.endCursor],
      Duration: ['1s', '0s', '50ms', '1h', '2h30m45s', '1.5s', '999999999ns', '1µs', '.5s', '1.s', '+1s'],
      DateTime: ['2025-11-02T12:30:45Z'],
    },
  };
}

