// GraphQL over server-sent events, distinct connections mode, with its client: npm graphql-sse.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { createClient } from 'graphql-sse';

import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

describe('graphql-sse client', () => {
  let server;
  let client;
  before(async () => {
    server = await Server.start();
    client = createClient({ url: server.graphql, retryAttempts: 0 });
  });
  after(async () => {
    client.dispose();
    await server.stop();
  });

  const follow = (payload, through = client) => {
    const received = new Received();
    const over = new Promise((resolve) => {
      received.leave = through.subscribe(payload, {
        next: (item) => received.push(item),
        error: (error) => (received.end(error), resolve(error)),
        complete: () => (received.end(new Error('it was completed')), resolve()),
      });
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
  });

  test('a mutation changes what a query then sees', async () => {
    const query = 'mutation { drainWorker(input: { workerId: "worker-01" }) { changed } }';
    assert.deepEqual(await ask({ query }), { data: { drainWorker: { changed: true } } });
    const seen = await ask({ query: '{ worker(id: "worker-01") { status } }' });
    assert.deepEqual(seen, { data: { worker: { status: 'DRAINING' } } });
  });

  test('an error of the request is a next message, not a failure of the connection', async () => {
    const answer = await ask({ query: '{ nothing }' });
    assert.deepEqual(Object.keys(answer), ['errors']);
    assert.equal(answer.errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
    const unreadable = await ask({ query: '{' });
    assert.equal(unreadable.errors[0].extensions.code, 'GRAPHQL_PARSE_FAILED');
  });

  test('an error of a field comes with the answer', async () => {
    const answer = await ask({ query: 'mutation { drainWorker(input: { workerId: "nobody" }) { changed } }' });
    assert.equal(answer.data.drainWorker, null);
    assert.equal(answer.errors[0].extensions.code, 'NOT_FOUND');
  });

  test('a subscription tells what happens until it is left', async () => {
    const events = follow({ query: 'subscription { clusterEvents { kind workerId } }' });
    await events.first('SYNCED', ({ data }) => data.clusterEvents.kind === 'SYNCED');
    await server.fleet.drain('worker-02');
    const told = await events.first('WORKER_DRAIN_STARTED', ({ data }) => data.clusterEvents.kind === 'WORKER_DRAIN_STARTED');
    assert.equal(told.data.clusterEvents.workerId, 'worker-02');
    events.leave();
    await within('its end', events.over);
  });

  test('heartbeats begin with the present state of every worker', async () => {
    const beats = follow({ query: 'subscription { workerHeartbeats { worker { id } } }' });
    const first = await beats.count(server.fleet.workers.length);
    assert.deepEqual(first.map(({ data }) => data.workerHeartbeats.worker.id).sort(), server.fleet.workers);
    beats.leave();
  });

  test('a client that retries loses nothing when the server is killed and started again', async () => {
    const retrying = createClient({
      url: server.graphql,
      retryAttempts: 1_000,
      retry: () => new Promise((resolve) => setTimeout(resolve, 50)),
    });
    // The client sends the very object it was given with each connection, as it is then.
    const variables = { after: null };
    const received = new Received();
    const query = 'subscription ($after: Cursor) { clusterEvents(after: $after) { cursor kind workerId } }';
    received.leave = retrying.subscribe(
      { query, variables },
      {
        next: ({ data: { clusterEvents } }) => {
          variables.after = clusterEvents.cursor;
          received.push(clusterEvents);
        },
        error: (error) => received.end(error),
        complete: () => received.end(),
      },
    );
    await received.first('SYNCED', ({ kind }) => kind === 'SYNCED');
    const expected = [];
    for (const id of ['worker-05', 'worker-06']) {
      await server.fleet.drain(id);
      expected.push(['WORKER_DRAIN_STARTED', id]);
      await server.kill();
      await server.revive();
      await received.first(`drain of ${id}`, ({ workerId }) => workerId === id);
    }
    const told = received.items.filter(({ kind }) => kind !== 'SYNCED');
    assert.deepEqual(told.map(({ kind, workerId }) => [kind, workerId]), expected);
    received.leave();
    retrying.dispose();
  });
});
