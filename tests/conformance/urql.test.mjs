// urql 6: HTTP by POST and by GET, subscriptions over a WebSocket and over server-sent events.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { cacheExchange, Client, fetchExchange, gql, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Received } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

const WORKER = gql`
  query Worker($id: ID!) {
    worker(id: $id) {
      id
      hostname
      status
    }
  }
`;

const DRAIN = gql`
  mutation Drain($input: DrainWorkerInput!) {
    drainWorker(input: $input) {
      changed
      worker {
        id
        status
      }
    }
  }
`;

const EVENTS = gql`
  subscription Events($after: Cursor) {
    clusterEvents(after: $after) {
      cursor
      kind
      workerId
    }
  }
`;

describe('urql', () => {
  let server;
  let sockets;
  let methods = [];
  before(async () => {
    server = await Server.start();
    sockets = createClient({ url: server.websocket, webSocketImpl: WebSocket });
  });
  after(async () => {
    await sockets.dispose();
    await server.stop();
  });
  afterEach(() => (methods = []));

  const client = (options = {}) => {
    const overhear = (url, init) => (methods.push(init.method), fetch(url, init));
    return new Client({ url: server.graphql, exchanges: [cacheExchange, fetchExchange], fetch: overhear, preferGetMethod: false, ...options });
  };

  for (const [preferGetMethod, method] of [[false, 'POST'], [true, 'GET'], ['force', 'GET']]) {
    test(`a query goes by ${method} if preferGetMethod is ${preferGetMethod}`, async () => {
      const { data, error } = await client({ preferGetMethod }).query(WORKER, { id: 'worker-03' }).toPromise();
      assert.equal(error, undefined);
      assert.deepEqual(data.worker, { __typename: 'Worker', id: 'worker-03', hostname: 'node3.example.com', status: 'ACTIVE' });
      assert.deepEqual(methods, [method]);
    });
  }

  test('a mutation goes by POST whatever queries prefer, and its document cache asks again', async () => {
    const asking = client({ preferGetMethod: true });
    const shown = new Received();
    const { unsubscribe } = asking.query(WORKER, { id: 'worker-04' }).subscribe(({ data, stale }) => stale || shown.push(data.worker.status));
    await shown.count(1);
    const { data } = await asking.mutation(DRAIN, { input: { workerId: 'worker-04' } }).toPromise();
    assert.equal(data.drainWorker.changed, true);
    await shown.count(2);
    assert.deepEqual(shown.items, ['ACTIVE', 'DRAINING']);
    assert.deepEqual(methods, ['GET', 'POST', 'GET']);
    unsubscribe();
  });

  test('errors carry their codes', async () => {
    const missing = await client().mutation(DRAIN, { input: { workerId: 'nobody' } }).toPromise();
    assert.equal(missing.error.graphQLErrors[0].extensions.code, 'NOT_FOUND');
    const invalid = await client().query('{ nothing }', {}).toPromise();
    assert.equal(invalid.error.networkError, undefined);
    assert.equal(invalid.error.graphQLErrors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
  });

  const overWebSocket = () =>
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: sockets.subscribe({ query, variables }, sink) }),
      }),
    });

  for (const [transport, options] of [
    ['a WebSocket', () => ({ exchanges: [cacheExchange, fetchExchange, overWebSocket()] })],
    ['server-sent events', () => ({ fetchSubscriptions: true })],
  ]) {
    test(`a subscription over ${transport} tells what happens, and resumes`, async () => {
      const id = transport.includes('events') ? 'worker-05' : 'worker-06';
      const follow = (variables) => {
        const received = new Received();
        const { unsubscribe } = client(options()).subscription(EVENTS, variables).subscribe(({ data, error }) => {
          if (error) received.end(error);
          else received.push(data.clusterEvents);
        });
        return Object.assign(received, { leave: unsubscribe });
      };
      const first = follow({});
      const { cursor } = await first.first('SYNCED', ({ kind }) => kind === 'SYNCED');
      await server.fleet.drain(id);
      assert.equal((await first.first('WORKER_DRAIN_STARTED', ({ kind }) => kind === 'WORKER_DRAIN_STARTED')).workerId, id);
      first.leave();
      await server.fleet.activate(id);

      const second = follow({ after: cursor });
      await second.first('SYNCED', ({ kind }) => kind === 'SYNCED');
      second.leave();
      const told = second.items.filter(({ kind }) => kind !== 'SYNCED').map(({ kind }) => kind);
      assert.deepEqual(told, ['WORKER_DRAIN_STARTED', 'WORKER_ACTIVATED']);
    });
  }
});
