// GraphQL over WebSocket with the client that every dashboard has: npm graphql-ws.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

describe('graphql-ws client', () => {
  let server;
  let client;
  before(async () => (server = await Server.start()));
  after(() => server.stop());
  beforeEach(() => {
    // One socket for the whole test, and no second attempt that would hide a failure of the first.
    client = createClient({ url: server.websocket, webSocketImpl: WebSocket, lazy: false, retryAttempts: 0 });
  });
  afterEach(() => client.dispose());

  /** The one answer of a query or a mutation. */
  const ask = async (payload) => {
    const { items } = await settled(payload);
    assert.equal(items.length, 1);
    return items[0];
  };

  /** Everything an operation says until it is over. */
  const settled = (payload) => {
    const items = [];
    const over = new Promise((resolve, reject) => {
      client.subscribe(payload, { next: (item) => items.push(item), error: reject, complete: resolve });
    });
    return within('the end of the operation', over).then(() => ({ items }));
  };

  /** What a subscription says, and a way to leave it. */
  const follow = (payload, through = client) => {
    const received = new Received();
    const over = new Promise((resolve) => {
      received.leave = through.subscribe(payload, {
        next: (item) => received.push(item),
        error: (error) => (received.end(new Error(JSON.stringify(error))), resolve(error)),
        complete: () => (received.end(new Error('the server completed it')), resolve()),
      });
    });
    received.over = over;
    return received;
  };

  test('a query has one answer, then it is complete', async () => {
    const answer = await ask({ query: '{ clusterStats { totalWorkers drainingWorkers } }' });
    assert.deepEqual(answer, { data: { clusterStats: { totalWorkers: 12, drainingWorkers: 1 } } });
  });

  test('variables and the name of an operation reach the server', async () => {
    const query = 'query A { clusterStats { totalWorkers } } query B($id: ID!) { worker(id: $id) { hostname } }';
    const answer = await ask({ query, operationName: 'B', variables: { id: 'worker-03' } });
    assert.deepEqual(answer, { data: { worker: { hostname: 'node3.example.com' } } });
  });

  test('a mutation changes what a query then sees', async () => {
    const query = `mutation ($input: DrainWorkerInput!) { drainWorker(input: $input) { changed worker { status } } }`;
    const answer = await ask({ query, variables: { input: { workerId: 'worker-01' } } });
    assert.deepEqual(answer, { data: { drainWorker: { changed: true, worker: { status: 'DRAINING' } } } });
    assert.equal((await server.fleet.get('/workers/worker-01')).status, 'draining');
    await server.fleet.activate('worker-01');
  });

  test('an error of a field comes with the answer, an error of the request instead of one', async () => {
    const query = `mutation { drainWorker(input: { workerId: "nobody" }) { changed } }`;
    const answer = await ask({ query });
    assert.equal(answer.data.drainWorker, null);
    assert.equal(answer.errors[0].extensions.code, 'NOT_FOUND');

    const refused = await within('the refusal', follow({ query: '{ nothing }' }).over);
    assert.equal(refused[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
  });

  test('a subscription tells what happens until it is left', async () => {
    const events = follow({ query: 'subscription { clusterEvents { kind workerId } }' });
    await events.first('SYNCED', ({ data }) => data.clusterEvents.kind === 'SYNCED');
    await server.fleet.drain('worker-02');
    await server.fleet.activate('worker-02');
    await events.first('WORKER_ACTIVATED', ({ data }) => data.clusterEvents.kind === 'WORKER_ACTIVATED');
    const told = events.items.map(({ data }) => data.clusterEvents).filter(({ kind }) => kind !== 'SYNCED');
    assert.deepEqual(told, [
      { kind: 'WORKER_DRAIN_STARTED', workerId: 'worker-02' },
      { kind: 'WORKER_ACTIVATED', workerId: 'worker-02' },
    ]);
    events.leave();
    await within('its end', events.over);
  });

  test('heartbeats begin with the present state of every worker', async () => {
    const beats = follow({ query: 'subscription { workerHeartbeats { worker { id } } }' });
    const first = await beats.count(server.fleet.workers.length);
    assert.deepEqual(first.map(({ data }) => data.workerHeartbeats.worker.id).sort(), server.fleet.workers);
    await server.fleet.beat('worker-07');
    await beats.count(first.length + 1);
    assert.equal(beats.items.at(-1).data.workerHeartbeats.worker.id, 'worker-07');
    beats.leave();
  });

  test('operations share one socket', async () => {
    const stats = follow({ query: 'subscription { clusterStats(every: "50ms") { totalWorkers } }' });
    const events = follow({ query: 'subscription { clusterEvents { kind } }' });
    await Promise.all([stats.count(1), events.count(1)]);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask({ query: '{ __typename }' })));
    assert(answers.every(({ data }) => data.__typename === 'Query'));
    stats.leave();
    events.leave();
  });

  test('a client that comes back with its cursor is told what it missed', async () => {
    const query = 'subscription ($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }';
    const first = follow({ query });
    const synced = await first.first('SYNCED', ({ data }) => data.clusterEvents.kind === 'SYNCED');
    first.leave();
    await within('its end', first.over);
    await server.fleet.drain('worker-04');
    await server.fleet.activate('worker-04');

    const second = follow({ query, variables: { after: synced.data.clusterEvents.cursor } });
    await second.first('SYNCED', ({ data }) => data.clusterEvents.kind === 'SYNCED');
    const told = second.items.map(({ data }) => data.clusterEvents).filter(({ kind }) => kind !== 'SYNCED');
    assert.deepEqual(told.map(({ kind, workerId }) => [kind, workerId]), [
      ['WORKER_DRAIN_STARTED', 'worker-04'],
      ['WORKER_ACTIVATED', 'worker-04'],
    ]);
    second.leave();
  });
});

describe('graphql-ws client that retries', () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  for (const [name, end] of [['stopped', 'halt'], ['killed', 'kill']]) {
    test(`a client that retries loses nothing when the server is ${name} and started again`, async () => {
      const retrying = createClient({
        url: server.websocket,
        webSocketImpl: WebSocket,
        retryAttempts: 1_000,
        retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
        shouldRetry: () => true,
      });
      // The client sends the very object it was given with each connection, as it is then.
      const variables = { after: null };
      const received = new Received();
      received.leave = retrying.subscribe(
        { query: 'subscription ($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }', variables },
        {
          next: ({ data: { clusterEvents } }) => {
            variables.after = clusterEvents.cursor;
            received.push(clusterEvents);
          },
          error: (error) => received.end(new Error(String(error))),
          complete: () => received.end(),
        },
      );
      const activated = (id) => received.first(`activation of ${id}`, (event) => event.kind === 'WORKER_ACTIVATED' && event.workerId === id);
      await received.first('SYNCED', ({ kind }) => kind === 'SYNCED');
      const expected = [];
      for (const id of ['worker-05', 'worker-06', 'worker-08']) {
        await server.fleet.drain(id);
        await server.fleet.activate(id);
        expected.push(['WORKER_DRAIN_STARTED', id], ['WORKER_ACTIVATED', id]);
        // In the last round, the server ends before it could tell: what it had acknowledged counts all the same.
        if (id === 'worker-05') await activated(id);
        await server[end]();
        await server.revive();
      }
      await server.fleet.activate('worker-12');
      expected.push(['WORKER_ACTIVATED', 'worker-12']);
      await activated('worker-12');
      const told = received.items.filter(({ kind }) => kind !== 'SYNCED');
      assert.deepEqual(told.map(({ kind, workerId }) => [kind, workerId]), expected);
      received.leave();
      await retrying.dispose();
      await server.fleet.drain('worker-12');
    });
  }
});
