// The predecessor of the WebSocket protocol, with the client that old dashboards have: npm subscriptions-transport-ws.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';

import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

// A client that is closed while it connects, or while a keep-alive is under way, leaves timers behind that start again for
// ever. No timer shall keep this process from ending: what is waited for comes from the server, which does.
for (const name of ['setTimeout', 'setInterval']) {
  const start = globalThis[name];
  globalThis[name] = (...arguments_) => start(...arguments_).unref();
}

describe('subscriptions-transport-ws client', () => {
  let server;
  let client;
  /** Types of all messages that came over its socket. */
  let types;
  before(async () => (server = await Server.start()));
  after(() => server.stop());
  beforeEach(() => {
    types = new Received();
    class Overheard extends WebSocket {
      constructor(...arguments_) {
        super(...arguments_);
        // The client closes it while it connects, in tests that do not use it, and does not listen to what comes of that.
        this.on('error', () => {});
        this.on('message', (data) => types.push(JSON.parse(data).type));
      }
    }
    client = new SubscriptionClient(server.websocket, { reconnect: true, minTimeout: 60_000 }, Overheard);
  });
  afterEach(() => client.close());

  const follow = (payload) => {
    const received = new Received();
    const over = new Promise((resolve) => {
      const subscription = client.request(payload).subscribe({
        next: (item) => received.push(item),
        error: (error) => (received.end(new Error(String(error))), resolve(error)),
        complete: () => (received.end(new Error('the server completed it')), resolve()),
      });
      received.leave = () => subscription.unsubscribe();
    });
    received.over = over;
    return received;
  };

  const ask = async (payload) => {
    const received = follow(payload);
    assert.equal(await within('the end of the operation', received.over), undefined);
    assert.equal(received.items.length, 1);
    return received.items[0];
  };

  test('a query has one answer, then it is complete', async () => {
    const query = 'query ($id: ID!) { worker(id: $id) { hostname } }';
    const answer = await ask({ query, variables: { id: 'worker-03' } });
    assert.deepEqual(answer, { data: { worker: { hostname: 'node3.example.com' } } });
    assert.deepEqual(types.items.filter((type) => type !== 'ka'), ['connection_ack', 'data', 'complete']);
  });

  test('a mutation changes what a query then sees', async () => {
    const query = 'mutation { drainWorker(input: { workerId: "worker-01" }) { changed } }';
    assert.deepEqual(await ask({ query }), { data: { drainWorker: { changed: true } } });
    const seen = await ask({ query: '{ worker(id: "worker-01") { status } }' });
    assert.deepEqual(seen, { data: { worker: { status: 'DRAINING' } } });
  });

  test('a subscription tells what happens until it is left', async () => {
    const events = follow({ query: 'subscription { clusterEvents { kind workerId } }' });
    await events.first('SYNCED', ({ data }) => data.clusterEvents.kind === 'SYNCED');
    await server.fleet.drain('worker-02');
    const told = await events.first('WORKER_DRAIN_STARTED', ({ data }) => data.clusterEvents.kind === 'WORKER_DRAIN_STARTED');
    assert.equal(told.data.clusterEvents.workerId, 'worker-02');
    events.leave();
    // The socket serves on.
    await ask({ query: '{ __typename }' });
  });

  test('keep-alive comes right after the acknowledgement, so that the client watches for more', async () => {
    await types.count(2);
    assert.deepEqual(types.items, ['connection_ack', 'ka']);
  });

  test('an error of the request reaches the one that asked', async () => {
    const error = await within('the refusal', follow({ query: '{ nothing }' }).over);
    assert.match(error.message, /Cannot query field "nothing"/);
    await ask({ query: '{ __typename }' });
  });

  test('an error of a field comes with the answer', async () => {
    const answer = await ask({ query: 'mutation { drainWorker(input: { workerId: "nobody" }) { changed } }' });
    assert.equal(answer.data.drainWorker, null);
    assert.equal(answer.errors[0].extensions.code, 'NOT_FOUND');
  });

  test('a client that says goodbye is let go', async () => {
    const socket = new WebSocket(server.websocket, 'graphql-ws');
    const closed = once(socket, 'close');
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init', payload: {} }));
    await once(socket, 'message');
    socket.send(JSON.stringify({ type: 'connection_terminate' }));
    const [code] = await within('the close frame', closed);
    assert.equal(code, 1000);
  });

  test('a page of a foreign origin is told so by a close code', async () => {
    const socket = new WebSocket(server.websocket, 'graphql-ws', { origin: 'https://elsewhere.example.com' });
    const closed = once(socket, 'close');
    const [code] = await within('the close frame', closed);
    assert.equal(code, 4403);
  });

  test('a client that connects again follows on', async () => {
    const reconnecting = new SubscriptionClient(server.websocket, { reconnect: true, minTimeout: 60_000 }, WebSocket);
    const received = new Received();
    const states = new Received();
    for (const state of ['connected', 'reconnected', 'disconnected']) reconnecting.on(state, () => states.push(state));
    const query = 'subscription { clusterEvents { kind } }';
    reconnecting.request({ query }).subscribe({ next: ({ data }) => received.push(data.clusterEvents.kind) });
    await received.count(1);
    await server.halt();
    await states.first('disconnected', (state) => state === 'disconnected');
    await server.revive();
    await received.count(2);
    assert.deepEqual(received.items, ['SYNCED', 'SYNCED']);
    // It says `disconnected` for each attempt that failed.
    assert.deepEqual([...new Set(states.items)], ['connected', 'disconnected', 'reconnected']);
    reconnecting.close();
  });
});
