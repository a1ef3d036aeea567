// The programs of docs/live.md that follow the change log with other people's clients: as they stand there, over kills and
// restarts of the server. What each has printed is compared with the log: nothing is lost, told twice, or out of order.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { addressed, blocks, environment } from './harness/documents.mjs';
import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

const FOUND = blocks('docs/live.md', 'js');

/** The packages whose clients have a program, by what it imports last. */
const CLIENTS = ['graphql-ws', '@apollo/client', '@urql/core', 'graphql-sse'];

/** One of the programs, as a process of its own: lines of cursor, kind and message. */
class Follower {
  #child;
  #ended;
  #complaints = '';

  printed = new Received();

  constructor(program, server) {
    const source = addressed(program, server);
    // Packages are looked for from the folder it is run in.
    this.#child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
      cwd: import.meta.dirname,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const endWithUs = () => this.#child.kill('SIGKILL');
    process.once('exit', endWithUs);
    createInterface(this.#child.stdout).on('line', (line) => this.printed.push(line));
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.#complaints += text));
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        process.off('exit', endWithUs);
        this.printed.end(new Error(`the program ended with ${code}: ${this.#complaints}`));
        resolve();
      });
    });
  }

  async stop() {
    this.#child.kill('SIGKILL');
    await within('the end of the program', this.#ended);
  }
}

/** Whether a line is about an event of the log: `SYNCED` is told by each connection on its own. */
const isOfLog = (line) => line.split(' ')[1] !== 'SYNCED';

const cursorOf = (line) => line.split(' ')[0];

/** The log after a cursor, in full. */
async function logAfter(server, cursor) {
  const query = `query ($after: Cursor) {
    events(first: 500, after: $after) { nodes { cursor revision position kind message } endCursor hasNextPage }
  }`;
  const events = [];
  for (let after = cursor; ; ) {
    const response = await fetch(server.graphql, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables: { after } }),
    });
    const { data, errors } = await response.json();
    assert.equal(errors, undefined);
    events.push(...data.events.nodes);
    if (!data.events.hasNextPage) return events;
    after = data.events.endCursor;
  }
}

const lines = (events) => events.map(({ cursor, kind, message }) => `${cursor} ${kind} ${message}`);

describe('documented programs that follow the change log', () => {
  const programs = FOUND.filter((block) => block.startsWith('import '));
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  test('there is one for each client', () => {
    const imported = programs.map((program) => CLIENTS.findLast((name) => program.includes(`from '${name}'`)));
    assert.deepEqual(imported, CLIENTS);
  });

  test('they print each event once, however often the server is killed and restarted', async (t) => {
    const followers = programs.map((program) => new Follower(program, server));
    t.after(() => Promise.all(followers.map((follower) => follower.stop())));
    const begun = followers.map(({ printed }) => printed.first('SYNCED', (line) => line.includes(' SYNCED ')));
    const starts = (await Promise.all(begun)).map(cursorOf);

    const drainAndActivate = async (ids) => {
      for (const id of ids) {
        await server.fleet.drain(id);
        await server.fleet.activate(id);
      }
    };
    const caughtUp = async () => {
      const last = lines(await logAfter(server, starts[0])).at(-1);
      await Promise.all(followers.map(({ printed }) => printed.first(last, (line) => line === last)));
    };
    const { workers } = server.fleet;
    for (let round = 0; round < 6; round += 1) {
      await drainAndActivate(workers.slice(0, 3));
      // Commits of several events, and many at once, of which the end of the server leaves some without an answer.
      await server.fleet.join(`worker-${20 + round}`);
      const burst = workers.map((id, place) => server.fleet[place % 2 === round % 2 ? 'drain' : 'activate'](id));
      const outcomes = Promise.allSettled(burst);
      await Promise.any(burst);
      // The last end is one in order, which tells clients of it.
      await server[round < 5 ? 'kill' : 'halt']();
      await outcomes;
      await server.revive();
      // Nobody is connected again so soon. In every other round the server is killed again before anybody may be.
      await drainAndActivate(workers.slice(3, 6));
      if (round % 2 === 1) await caughtUp();
    }
    await caughtUp();

    for (const [place, { printed }] of followers.entries()) {
      const expected = lines(await logAfter(server, starts[place]));
      assert(expected.length > 6 * 12, `${expected.length} events`);
      assert.deepEqual(printed.items.filter(isOfLog), expected, programs[place]);
    }
  });

  test('what is told twice is dropped by the documented order', async () => {
    const [order] = FOUND.filter((block) => block.startsWith('const isAfter ='));
    const { isAfter } = await import(`data:text/javascript,${encodeURIComponent(`${order}\nexport { isAfter };`)}`);
    const log = await logAfter(server, null);
    assert(log.some(({ position }) => position > 0), 'commits of several events');

    const client = createClient({ url: server.websocket, webSocketImpl: WebSocket });
    const query = `subscription ($after: Cursor) { clusterEvents(after: $after) { cursor revision position kind message } }`;
    const handled = [];
    let doubles = 0;
    // Each connection begins some events before the place that the one before has come to.
    for (let stored = null; handled.length < log.length; stored = log[Math.max(handled.length - 4, 0)].cursor) {
      const most = Math.min(handled.length + 7, log.length);
      for await (const { data } of client.iterate({ query, variables: { after: stored ?? firstCursor(log) } })) {
        const event = data.clusterEvents;
        if (event.kind === 'SYNCED') continue;
        if (handled.length === 0 || isAfter(event, handled.at(-1))) handled.push(event);
        else doubles += 1;
        if (handled.length === most) break;
      }
    }
    assert(doubles > 0, 'nothing was told twice');
    assert.deepEqual(lines(handled), lines(log));
    await client.dispose();
  });
});

/** The cursor before everything in the log. */
function firstCursor([{ cursor }]) {
  return `${cursor.split('-')[0]}-0`;
}
