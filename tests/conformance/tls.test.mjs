// TLS of the server, with the implementation that Node has (OpenSSL) and its clients of HTTP/1.1, HTTP/2 and WebSocket.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

const WORKER = { hostname: 'h', address: 'h:1', cpu_cores: 1, memory_mb: 1, disk_gb: 1, max_vms: 1, boot_id: 'b' };

describe('Node over TLS', () => {
  let folder;
  let server;
  let ca;
  let url;
  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'aetherium-tls-'));
    server = await Server.start({ args: ['--tls', 'self', '--tls-folder', folder], empty: true });
    ca = readFileSync(path.join(folder, 'certificate.pem'));
    url = `https://${server.address}`;
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The response to a request by HTTP/1.1, as soon as its head is there. */
  async function ask(options, body) {
    const request = https.request({ ca, agent: false, ...options });
    request.end(body);
    const [response] = await within('a response', once(request, 'response'));
    return response;
  }

  function register(id) {
    const [host, port] = server.address.split(':');
    const headers = { 'content-type': 'application/json' };
    return ask({ host, port, path: `/api/v1/workers/${id}`, method: 'PUT', headers }, JSON.stringify(WORKER));
  }

  test('HTTP/1.1 shows the certificate that is kept', async () => {
    const [host, port] = server.address.split(':');
    const response = await ask({ host, port, path: '/api/v1/health' });
    const shown = response.socket.getPeerCertificate();
    assert.equal(response.statusCode, 200);
    assert.equal(shown.fingerprint256, new X509Certificate(ca).fingerprint256);
    assert.equal(response.socket.getProtocol(), 'TLSv1.3');
    response.resume();
    await within('the end', once(response, 'end'));
  });

  test('TLS 1.2 is spoken too, and nothing older', async () => {
    const [host, port] = server.address.split(':');
    const response = await ask({ host, port, path: '/api/v1/health', maxVersion: 'TLSv1.2' });
    assert.equal(response.socket.getProtocol(), 'TLSv1.2');
    response.resume();
    const old = { host, port, path: '/', minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
    await assert.rejects(ask(old), /alert|unsupported|protocol/i);
  });

  test('HTTP/2 by ALPN, many requests on one connection', async () => {
    const session = http2.connect(url, { ca });
    await within('a connection', once(session, 'connect'));
    assert.equal(session.alpnProtocol, 'h2');
    const statuses = Array.from({ length: 50 }, async () => {
      const stream = session.request({ ':path': '/api/v1/workers' });
      const [headers] = await within('a response', once(stream, 'response'));
      stream.resume();
      await within('its end', once(stream, 'end'));
      return headers[':status'];
    });
    assert.deepEqual([...new Set(await Promise.all(statuses))], [200]);
    session.close();
    await within('the end of the connection', once(session, 'close'));
  });

  test('a subscription over wss', async () => {
    class Trusting extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { ca });
      }
    }
    const client = createClient({ url: `wss://${server.address}/graphql`, webSocketImpl: Trusting, retryAttempts: 0 });
    const events = client.iterate({ query: 'subscription { clusterEvents { kind workerId } }' });
    const kinds = [(await within('that it begins', events.next())).value.data.clusterEvents.kind];
    assert.equal((await register('over-wss')).statusCode, 201);
    while (kinds.at(-1) === 'SYNCED') {
      kinds.push((await within('the registration', events.next())).value.data.clusterEvents.kind);
    }
    assert.equal(kinds.at(-1), 'WORKER_REGISTERED');
    await client.dispose();
  });

  test('a stream of events ends in order when the server does', async () => {
    const another = mkdtempSync(path.join(tmpdir(), 'aetherium-tls-'));
    const ending = await Server.start({ args: ['--tls', 'self', '--tls-folder', another], empty: true });
    const [host, port] = ending.address.split(':');
    const headers = { accept: 'text/event-stream' };
    const trusted = readFileSync(path.join(another, 'certificate.pem'));
    const response = await ask({ host, port, path: '/api/v1/events', headers, ca: trusted });
    response.resume();
    const end = within('the end', once(response, 'end'));
    await ending.stop();
    await end;
    assert(response.complete, 'it was not cut');
    rmSync(another, { recursive: true, force: true });
  });
});
