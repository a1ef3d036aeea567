// Apollo Client 4: HTTP, automatic persisted queries, and its link for WebSockets.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, mock, test } from 'node:test';

import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { getMainDefinition, relayStylePagination } from '@apollo/client/utilities';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Received } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

const WORKERS = gql`
  query Workers($zone: String) {
    workers(zone: $zone) {
      id
      hostname
      status
      vms {
        id
        name
      }
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

describe('Apollo Client', () => {
  let server;
  let sockets;
  let client;
  const complaints = ['error', 'warn'].map((level) => mock.method(console, level, () => {}).mock);

  before(async () => (server = await Server.start()));
  after(() => server.stop());
  beforeEach(() => {
    sockets = createClient({ url: server.websocket, webSocketImpl: WebSocket });
    const link = ApolloLink.split(
      ({ query }) => getMainDefinition(query).operation === 'subscription',
      new GraphQLWsLink(sockets),
      new HttpLink({ uri: server.graphql }),
    );
    client = new ApolloClient({ link, cache: new InMemoryCache() });
  });
  afterEach(async () => {
    client.stop();
    await sockets.dispose();
    const said = complaints.flatMap(({ calls }) => calls.map((call) => call.arguments));
    complaints.forEach((complaint) => complaint.resetCalls());
    assert.deepEqual(said, [], 'Apollo Client complained');
  });

  test('a query is answered, and the cache knows the objects by their ids', async () => {
    const { data, error } = await client.query({ query: WORKERS, variables: { zone: 'us-west-1a' } });
    assert.equal(error, undefined);
    assert.deepEqual(data.workers.map(({ id }) => id), ['worker-01', 'worker-04', 'worker-07', 'worker-10']);
    assert.equal(client.cache.extract()['Worker:worker-04'].hostname, 'node4.example.com');
    assert.equal(client.cache.extract()['Vm:vm-04-1'].name, 'dev-vm-1');
  });

  test('a mutation updates what a watched query shows', async () => {
    const shown = new Received();
    const query = gql`{ worker(id: "worker-02") { id status } }`;
    const watching = client.watchQuery({ query }).subscribe(({ data }) => data && shown.push(data.worker.status));
    await shown.first('ACTIVE', (status) => status === 'ACTIVE');
    const { data } = await client.mutate({ mutation: DRAIN, variables: { input: { workerId: 'worker-02' } } });
    assert.equal(data.drainWorker.changed, true);
    await shown.first('DRAINING', (status) => status === 'DRAINING');
    watching.unsubscribe();
  });

  test('errors carry their codes', async () => {
    const refused = client.mutate({ mutation: DRAIN, variables: { input: { workerId: 'nobody' } } });
    await assert.rejects(refused, (error) => {
      assert(CombinedGraphQLErrors.is(error));
      assert.equal(error.errors[0].extensions.code, 'NOT_FOUND');
      return true;
    });
    const invalid = client.query({ query: gql`{ nothing }` });
    await assert.rejects(invalid, (error) => {
      assert(CombinedGraphQLErrors.is(error));
      assert.equal(error.errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
      return true;
    });
  });

  test('pages of a connection are joined by the stock Relay field policy', async () => {
    const cache = new InMemoryCache({ typePolicies: { Query: { fields: { workersConnection: relayStylePagination() } } } });
    const paging = new ApolloClient({ link: new HttpLink({ uri: server.graphql }), cache });
    const query = gql`
      query Pages($after: String) {
        workersConnection(first: 5, after: $after) {
          edges { cursor node { id } }
          pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        }
      }
    `;
    for (let after = null, more = true; more; ) {
      const { data } = await paging.query({ query, variables: { after }, fetchPolicy: 'network-only' });
      ({ endCursor: after, hasNextPage: more } = data.workersConnection.pageInfo);
    }
    const joined = paging.readQuery({ query });
    assert.deepEqual(joined.workersConnection.edges.map(({ node }) => node.id), server.fleet.workers);
    paging.stop();
  });

  test('a subscription over the WebSocket link tells what happens', async () => {
    const received = new Received();
    const watching = client.subscribe({ query: EVENTS }).subscribe(({ data }) => received.push(data.clusterEvents));
    await received.first('SYNCED', ({ kind }) => kind === 'SYNCED');
    await server.fleet.drain('worker-03');
    const { workerId } = await received.first('WORKER_DRAIN_STARTED', ({ kind }) => kind === 'WORKER_DRAIN_STARTED');
    assert.equal(workerId, 'worker-03');
    watching.unsubscribe();
  });

  test('a query and a mutation go over the WebSocket link as well', async () => {
    const only = new ApolloClient({ link: new GraphQLWsLink(sockets), cache: new InMemoryCache() });
    const { data } = await only.query({ query: WORKERS });
    assert.equal(data.workers.length, server.fleet.workers.length);
    const drained = await only.mutate({ mutation: DRAIN, variables: { input: { workerId: 'worker-05' } } });
    assert.equal(drained.data.drainWorker.worker.status, 'DRAINING');
    only.stop();
  });

  for (const useGETForHashedQueries of [false, true]) {
    describe(`automatic persisted queries, hashes over ${useGETForHashedQueries ? 'GET' : 'POST'}`, () => {
      /** What was sent and how it was answered. */
      let exchanges;
      let persisting;
      beforeEach(() => {
        exchanges = [];
        const overhear = async (url, options) => {
          const response = await fetch(url, options);
          const body = await response.clone().json();
          const sent = options.method === 'GET' ? new URL(url).searchParams.get('query') : JSON.parse(options.body).query;
          exchanges.push([options.method, sent ? 'with the document' : 'hash only', body.errors?.[0].extensions.code ?? 'data']);
          return response;
        };
        const sha256 = (document) => createHash('sha256').update(document).digest('hex');
        const link = new PersistedQueryLink({ sha256, useGETForHashedQueries }).concat(
          new HttpLink({ uri: server.graphql, fetch: overhear }),
        );
        persisting = new ApolloClient({ link, cache: new InMemoryCache(), defaultOptions: { query: { fetchPolicy: 'no-cache' } } });
      });
      afterEach(() => persisting.stop());

      test('the first is a miss, then everyone hits', async () => {
        // Not asked by any other test, and not by the other mode.
        const query = gql(`query Missed${useGETForHashedQueries}($id: ID!) { worker(id: $id) { hostname } }`);
        const ask = async (id) => (await persisting.query({ query, variables: { id } })).data.worker.hostname;
        assert.equal(await ask('worker-01'), 'node1.example.com');
        assert.equal(await ask('worker-02'), 'node2.example.com');
        const method = useGETForHashedQueries ? 'GET' : 'POST';
        assert.deepEqual(exchanges, [
          [method, 'hash only', 'PERSISTED_QUERY_NOT_FOUND'],
          ['POST', 'with the document', 'data'],
          [method, 'hash only', 'data'],
        ]);
      });

      test('a mutation is persisted as well, and never sent by GET', async () => {
        const mutation = gql(`mutation Persisted${useGETForHashedQueries}($id: ID!) { activateWorker(input: { workerId: $id }) { changed } }`);
        for (let round = 0; round < 2; round += 1) {
          const { data } = await persisting.mutate({ mutation, variables: { id: 'worker-08' } });
          assert.deepEqual(data.activateWorker, { __typename: 'ActivateWorkerPayload', changed: false });
        }
        assert.deepEqual(exchanges, [
          ['POST', 'hash only', 'PERSISTED_QUERY_NOT_FOUND'],
          ['POST', 'with the document', 'data'],
          ['POST', 'hash only', 'data'],
        ]);
      });
    });
  }

  test('a document that does not match its hash is refused', async () => {
    const response = await fetch(server.graphql, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json' },
      body: JSON.stringify({ query: '{ __typename }', extensions: { persistedQuery: { version: 1, sha256Hash: '0'.repeat(64) } } }),
    });
    const { data, errors } = await response.json();
    assert.equal(response.status, 400);
    assert.equal(data, undefined);
    assert.match(errors[0].message, /hash/i);
  });
});
