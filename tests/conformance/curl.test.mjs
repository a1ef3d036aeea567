// The change log as a stream, followed by `curl -N` as docs/live.md tells, and resumed after whatever ended it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

const EVENT_STREAM = 'text/event-stream';
const NDJSON = 'application/x-ndjson';

/** What curl says when the transfer was cut: "partial file", "receive error", or "got nothing" if it had not begun. */
const CUT = [18, 52, 56];

/** `curl -N` on the stream of events. */
class Curl {
  #child;
  /** The events that came, each with the `cursor` to resume from. */
  events = new Received();
  /** Its exit status; none if it was killed. */
  exit;

  constructor(url, media, lastEventId) {
    const resume = lastEventId ? ['-H', `Last-Event-ID: ${lastEventId}`] : [];
    this.#child = spawn('curl', ['-sS', '-N', '--fail', `${url}/api/v1/events`, '-H', `Accept: ${media}`, ...resume]);
    const read = media === NDJSON ? lines : messages;
    let text = '';
    this.#child.stdout.setEncoding('utf8').on('data', (more) => {
      const { parsed, rest } = read(text + more);
      text = rest;
      parsed.forEach((event) => this.events.push(event));
    });
    this.exit = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        this.events.end(new Error(`curl ended with ${code}`));
        resolve(code);
      });
    });
  }

  /** Cuts the connection. */
  async cut() {
    this.#child.kill('SIGKILL');
    await within('the end of curl', this.exit);
  }
}

/** Whole lines of JSON, and what is left of one. */
function lines(text) {
  const end = text.lastIndexOf('\n') + 1;
  const parsed = text.slice(0, end).split('\n').filter(Boolean).map((line) => JSON.parse(line));
  return { parsed, rest: text.slice(end) };
}

/** Whole server-sent events, by the rules of the HTML standard as far as this stream needs them. */
function messages(text) {
  const end = text.lastIndexOf('\n\n') + 1;
  const parsed = [];
  for (const block of text.slice(0, end).split('\n\n')) {
    const fields = new Map();
    for (const line of block.split('\n')) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      // A line that begins with a colon is a comment, which keeps the connection alive.
      if (name) fields.set(name, value);
    }
    if (!fields.has('data')) continue;
    const event = JSON.parse(fields.get('data'));
    assert.equal(fields.get('id'), event.cursor);
    assert.equal(fields.get('event'), event.kind);
    parsed.push(event);
  }
  return { parsed, rest: text.slice(end) };
}

for (const media of [EVENT_STREAM, NDJSON]) {
  describe(`curl -N /api/v1/events as ${media}`, () => {
    let server;
    before(async () => (server = await Server.start()));
    after(() => server.stop());

    const happened = (events) => events.filter(({ kind }) => kind !== 'synced').map(({ kind, worker_id }) => [kind, worker_id]);

    test('it begins with a cursor to resume from, and tells what happens', async () => {
      const curl = new Curl(server.url, media);
      await curl.events.first('synced', ({ kind }) => kind === 'synced');
      await server.fleet.drain('worker-01');
      await curl.events.first('worker_drain_started', ({ kind }) => kind === 'worker_drain_started');
      assert.deepEqual(happened(curl.events.items), [['worker_drain_started', 'worker-01']]);
      await curl.cut();
    });

    test('nothing is missed and nothing doubled when connections are cut and the server is killed', async () => {
      const told = [];
      const expected = [];
      let curl = new Curl(server.url, media);
      const { cursor } = await curl.events.first('synced', ({ kind }) => kind === 'synced');
      let last = cursor;
      /** Goes on from the last event of the present connection, which is over. */
      const goOn = () => {
        told.push(...curl.events.items);
        last = told.at(-1)?.cursor ?? last;
        curl = new Curl(server.url, media, last);
      };
      const change = async (id) => {
        await server.fleet.drain(id);
        await server.fleet.activate(id);
        expected.push(['worker_drain_started', id], ['worker_activated', id]);
      };

      for (const id of ['worker-02', 'worker-03']) {
        // Cut with something on the way, and something that happens while nobody listens.
        await change(id);
        await curl.cut();
        await change(id);
        goOn();
      }
      for (const end of ['kill', 'halt']) {
        await change('worker-04');
        // One that has not connected yet has nothing to be cut.
        await curl.events.first('the end of what it had missed', ({ kind }) => kind === 'synced');
        await server[end]();
        const status = await within('the end of curl', curl.exit);
        assert(end === 'halt' ? status === 0 : CUT.includes(status), `curl ended with ${status} after ${end}`);
        await server.revive();
        await change('worker-05');
        goOn();
      }
      await change('worker-06');
      await curl.events.first('the last', ({ kind, worker_id }) => kind === 'worker_activated' && worker_id === 'worker-06');
      await curl.cut();
      told.push(...curl.events.items);

      assert.deepEqual(happened(told), expected);
      const revisions = told.filter(({ kind }) => kind !== 'synced').map(({ revision }) => revision);
      assert.deepEqual(revisions, revisions.toSorted((a, b) => a - b));
    });

    test('a cursor of another database is told by a resync that carries the present one', async () => {
      const other = await Server.start();
      const list = await other.fleet.get('/events?limit=1');
      await other.stop();
      const curl = new Curl(server.url, media, list.end_cursor);
      const resync = await curl.events.first('resync', ({ kind }) => kind === 'resync');
      await curl.cut();
      const again = new Curl(server.url, media, resync.cursor);
      await again.events.first('synced', ({ kind }) => kind === 'synced');
      await again.cut();
    });
  });
}
