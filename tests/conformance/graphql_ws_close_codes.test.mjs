// The close codes of the WebSocket protocol, frame by frame: what no client library lets one do wrong.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';

import WebSocket from 'ws';

import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

const PROTOCOL = 'graphql-transport-ws';

describe('graphql-transport-ws, frame by frame', () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  /** A socket that has been opened, and says nothing by itself. */
  const open = async (protocols = [PROTOCOL], options = {}) => {
    const socket = new WebSocket(server.websocket, protocols, options);
    const opened = once(socket, 'open');
    const heard = new Received();
    socket.on('message', (data) => heard.push(JSON.parse(data)));
    const closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        heard.end(new Error(`closed with ${code} ${reason}`));
        resolve({ code, reason: String(reason) });
      });
    });
    await within('the socket to open', opened);
    return {
      heard,
      say: (message) => socket.send(typeof message === 'string' ? message : JSON.stringify(message)),
      sendBinary: (bytes) => socket.send(bytes, { binary: true }),
      closed: () => within('the close frame', closed),
      end: () => (socket.close(1000), closed),
    };
  };

  /** One that has been acknowledged as well. */
  const acknowledged = async () => {
    const socket = await open();
    socket.say({ type: 'connection_init' });
    await socket.heard.first('connection_ack', ({ type }) => type === 'connection_ack');
    return socket;
  };

  const subscribe = (id, query) => ({ id, type: 'subscribe', payload: { query } });

  for (const [name, message] of [
    ['not JSON', '{'],
    ['without a type', {}],
    ['of an unknown type', { type: 'start' }],
    ['that is an array', []],
    ['that subscribes without an id', { type: 'subscribe', payload: { query: '{ __typename }' } }],
    ['that subscribes with an empty id', { id: '', type: 'subscribe', payload: { query: '{ __typename }' } }],
    ['that subscribes without a payload', { id: '1', type: 'subscribe' }],
    ['that subscribes without a query', { id: '1', type: 'subscribe', payload: {} }],
    ['whose variables are a list', { id: '1', type: 'subscribe', payload: { query: '{ __typename }', variables: [] } }],
    ['whose init payload is text', { type: 'connection_init', payload: 'me' }],
    ['that completes without an id', { type: 'complete' }],
  ]) {
    test(`a message ${name} closes with 4400`, async () => {
      const socket = name.includes('init') ? await open() : await acknowledged();
      socket.say(message);
      assert.equal((await socket.closed()).code, 4400);
    });
  }

  test('a binary message closes with 4400', async () => {
    const socket = await acknowledged();
    socket.sendBinary(Buffer.from('{"type":"ping"}'));
    assert.equal((await socket.closed()).code, 4400);
  });

  test('subscribing before the acknowledgement closes with 4401', async () => {
    const socket = await open();
    socket.say(subscribe('1', '{ __typename }'));
    assert.equal((await socket.closed()).code, 4401);
  });

  test('a page of a foreign origin is refused with 4403', async () => {
    const socket = await open([PROTOCOL], { origin: 'https://elsewhere.example.com' });
    socket.say({ type: 'connection_init' });
    assert.equal((await socket.closed()).code, 4403);
  });

  test('a client that asks for no sub-protocol is closed with 4406', async () => {
    const socket = await open([]);
    assert.equal((await socket.closed()).code, 4406);
  });

  test('a client that asks for an unknown sub-protocol is closed with 4406', async () => {
    // Asked for behind the back of the library, which would end a connection without one by itself.
    const socket = await open([], { headers: { 'sec-websocket-protocol': 'graphql-unheard-of' } });
    assert.equal((await socket.closed()).code, 4406);
  });

  test('a client that never says connection_init is closed with 4408', async () => {
    const socket = await open();
    const { code } = await socket.closed();
    assert.equal(code, 4408);
    assert.deepEqual(socket.heard.items, []);
  });

  test('an id in use closes with 4409', async () => {
    const socket = await acknowledged();
    socket.say(subscribe('again', 'subscription { clusterEvents { kind } }'));
    await socket.heard.first('SYNCED', ({ type }) => type === 'next');
    socket.say(subscribe('again', 'subscription { clusterEvents { kind } }'));
    const { code, reason } = await socket.closed();
    assert.equal(code, 4409);
    assert.match(reason, /again already exists/);
  });

  test('an id is free again when its operation is over', async () => {
    const socket = await acknowledged();
    for (let round = 1; round <= 3; round += 1) {
      socket.say(subscribe('1', '{ __typename }'));
      await socket.heard.until('complete', (items) => items.filter(({ type }) => type === 'complete').length === round);
    }
    assert.equal((await socket.end()).code, 1000);
  });

  test('a second connection_init closes with 4429', async () => {
    const socket = await acknowledged();
    socket.say({ type: 'connection_init' });
    assert.equal((await socket.closed()).code, 4429);
  });

  test('more operations than one socket may have close with 4429', async () => {
    const socket = await acknowledged();
    for (let id = 0; id <= 50; id += 1) {
      socket.say(subscribe(`${id}`, 'subscription { clusterEvents { kind } }'));
    }
    assert.equal((await socket.closed()).code, 4429);
  });

  test('a ping is answered with a pong that carries its payload, before the acknowledgement too', async () => {
    const socket = await open();
    socket.say({ type: 'ping', payload: { at: 'dawn' } });
    await socket.heard.count(1);
    socket.say({ type: 'connection_init', payload: { token: 'unused' } });
    await socket.heard.count(2);
    socket.say({ type: 'ping' });
    await socket.heard.count(3);
    assert.deepEqual(socket.heard.items, [
      { type: 'pong', payload: { at: 'dawn' } },
      { type: 'connection_ack' },
      { type: 'pong' },
    ]);
    await socket.end();
  });

  test('a request error is one message of the type error, and the end of its operation', async () => {
    const socket = await acknowledged();
    socket.say(subscribe('wrong', '{ nothing }'));
    socket.say(subscribe('right', '{ __typename }'));
    await socket.heard.first('complete', ({ type }) => type === 'complete');
    const ofWrong = socket.heard.items.filter(({ id }) => id === 'wrong');
    assert.equal(ofWrong.length, 1);
    assert.equal(ofWrong[0].type, 'error');
    assert(Array.isArray(ofWrong[0].payload));
    await socket.end();
  });

  test('completing what is not there is not a fault', async () => {
    const socket = await acknowledged();
    socket.say({ id: 'gone', type: 'complete' });
    socket.say(subscribe('1', '{ __typename }'));
    await socket.heard.first('complete', ({ type }) => type === 'complete');
    await socket.end();
  });
});
