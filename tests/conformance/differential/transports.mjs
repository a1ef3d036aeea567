// Asking a server in every way that it can be asked, and what its answer says about the request.

import http from 'node:http';
import { createInterface } from 'node:readline';

import WebSocket from 'ws';

import { within } from '../harness/patience.mjs';

/** Codes of refusals, and the stage that each is of. */
const REFUSALS = {
  GRAPHQL_PARSE_FAILED: 'parse',
  GRAPHQL_VALIDATION_FAILED: 'validation',
  BAD_USER_INPUT: 'input',
  QUERY_TOO_COMPLEX: 'limit',
};

/** Codes of what went wrong with an operation that was begun. */
const FAILURES = ['INVALID_ARGUMENT', 'NOT_FOUND', 'CONFLICT', 'FORBIDDEN'];

/** What this transport says of every subscription that is right: so far it was read, and no further. */
const NOT_HERE = 'Subscriptions are not supported on this transport';

/** The stage that refused a request by its answer; `run` if none did; else what is wrong with the answer. */
export function stageOf(answer) {
  const { errors } = answer;
  if (errors === undefined) return 'run';
  if (!Array.isArray(errors) || errors.length === 0) return 'no errors in `errors`';
  const stages = errors.map(({ message, path, extensions }) => {
    const code = extensions?.code;
    if (message.startsWith(NOT_HERE)) return 'run';
    if (FAILURES.includes(code)) return 'run';
    // Whoever asks for too much is told so at the field where it was noticed.
    if (code === 'QUERY_TOO_COMPLEX') return 'limit';
    if (path !== undefined) return code === 'BAD_USER_INPUT' ? 'late input' : `${code} at a field`;
    return REFUSALS[code] ?? `${code}`;
  });
  const odd = stages.find((stage) => stage !== 'run');
  if (odd === undefined) return 'run';
  return odd;
}

/** A request in JSON. */
function bodyOf({ text, operationName, variables }) {
  const parts = [`"query":${JSON.stringify(text)}`];
  if (operationName !== undefined) parts.push(`"operationName":${JSON.stringify(operationName)}`);
  if (variables !== undefined) parts.push(`"variables":${variables}`);
  return `{${parts.join(',')}}`;
}

/** Everything that is known of one server. */
export class Asker {
  #url;
  #agent = new http.Agent({ keepAlive: true, maxSockets: 64, noDelay: true });
  #socket;
  #webSocketUrl;

  constructor(server) {
    this.#url = new URL(server.graphql);
    this.#webSocketUrl = server.websocket;
  }

  /** `POST`, as nearly everybody asks. `blanks` makes it another body with the same meaning. */
  async post(request, { blanks = '' } = {}) {
    return this.#json('POST', this.#url.pathname, blanks + bodyOf(request));
  }

  /** `GET`, for queries. */
  async get({ text, operationName, variables }) {
    const query = new URLSearchParams({ query: text });
    if (operationName !== undefined) query.set('operationName', operationName);
    if (variables !== undefined) query.set('variables', variables);
    return this.#json('GET', `${this.#url.pathname}?${query}`);
  }

  /** Whether a request fits into what may be said by `GET`. */
  canGet({ text, operationName, variables }) {
    return new URLSearchParams({ text, operationName, variables }).toString().length < 6_000;
  }

  /**
   * Server-sent events: the first message. Of a subscription that is right there may never be one: whoever expects that
   * it is right is content with the beginning of the stream.
   */
  async sse(request, { isContentWithout }) {
    const response = await this.#send('POST', this.#url.pathname, bodyOf(request), 'text/event-stream');
    if (!/^text\/event-stream/u.test(response.headers['content-type'])) {
      response.destroy();
      return { answer: {}, odd: `${response.statusCode} ${response.headers['content-type']}` };
    }
    const first = (async () => {
      for await (const line of createInterface(response)) {
        if (line.startsWith('data:') && line !== 'data:') return { answer: JSON.parse(line.slice('data:'.length)) };
      }
      return { answer: {}, odd: 'a stream without a message' };
    })();
    first.catch(() => undefined);
    const enough = isContentWithout ? this.get({ text: '{__typename}' }).then(() => ({ answer: {} })) : first;
    const outcome = await within('the first message of a stream', Promise.race([first, enough]));
    response.destroy();
    return outcome;
  }

  /** The WebSocket that all share: the first message of an operation of its own. */
  async ws(request, { isContentWithout }) {
    this.#socket ??= Socket.open(this.#webSocketUrl);
    const socket = await this.#socket;
    return socket.ask(JSON.parse(bodyOf(request)), isContentWithout);
  }

  async close() {
    this.#agent.destroy();
    (await this.#socket)?.close();
  }

  async #json(method, path, body) {
    const response = await this.#send(method, path, body, 'application/graphql-response+json');
    const parts = [];
    for await (const part of response) parts.push(part);
    const text = Buffer.concat(parts).toString();
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      return { answer: {}, odd: `${response.statusCode} ${text.slice(0, 200)}` };
    }
    // The status says the same as the body.
    const wasRefused = !('data' in answer);
    const odd = response.statusCode === (wasRefused ? 400 : 200) ? undefined : `status ${response.statusCode}`;
    return { answer, odd };
  }

  #send(method, path, body, accept) {
    const { hostname, port } = this.#url;
    const headers = { accept };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = Buffer.byteLength(body);
    } else {
      headers['graphql-require-preflight'] = '1';
    }
    return new Promise((resolve, reject) => {
      const request = http.request({ agent: this.#agent, hostname, port, method, path, headers }, resolve);
      // A connection that was idle may be closed just when it is used again. (A stream that was left says so, too.)
      request.on('error', (error) => {
        if (request.reusedSocket && error.code === 'ECONNRESET' && !request.res) {
          resolve(this.#send(method, path, body, accept));
        } else {
          reject(error);
        }
      });
      request.end(body);
    });
  }
}

/** One WebSocket with many operations, by the protocol `graphql-transport-ws`. */
class Socket {
  #socket;
  #waiting = new Map();
  #next = 0;
  #end;

  static async open(url) {
    const socket = new Socket();
    socket.#socket = new WebSocket(url, 'graphql-transport-ws', { perMessageDeflate: false });
    await new Promise((resolve, reject) => {
      socket.#socket.once('error', reject);
      socket.#socket.once('open', () => socket.#socket.send('{"type":"connection_init"}'));
      socket.#socket.once('message', resolve);
    });
    socket.#socket.on('message', (data) => socket.#hear(JSON.parse(data)));
    socket.#socket.on('close', (code, reason) => {
      socket.#end = `closed with ${code} ${reason}`;
      for (const resolve of socket.#waiting.values()) resolve({ answer: {}, odd: socket.#end });
    });
    return socket;
  }

  #hear({ type, id, payload }) {
    if (type === 'ping') this.#socket.send('{"type":"pong"}');
    const resolve = this.#waiting.get(id);
    if (!resolve) return;
    if (type === 'next') resolve({ answer: payload });
    if (type === 'error') resolve({ answer: { errors: payload } });
    if (type === 'complete') resolve({ answer: {}, odd: 'an operation without a message' });
  }

  async ask(payload, isContentWithout) {
    const id = String((this.#next += 1));
    const first = new Promise((resolve) => {
      if (this.#end) resolve({ answer: {}, odd: this.#end });
      this.#waiting.set(id, resolve);
      this.#socket.send(JSON.stringify({ type: 'subscribe', id, payload }));
    });
    const later = async () => {
      await this.ask({ query: '{__typename}' }, false);
      return { answer: {} };
    };
    const outcome = await within('the first message over a WebSocket', isContentWithout ? Promise.race([first, later()]) : first);
    this.#waiting.delete(id);
    if (!this.#end) this.#socket.send(JSON.stringify({ type: 'complete', id }));
    return outcome;
  }

  close() {
    this.#socket.close();
  }
}
