// What people get who import the document into Postman: each request can be sent as it stands.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';

import { Server } from '../harness/server.mjs';

const require = createRequire(import.meta.url);
const newman = require('newman');
const converter = require('openapi-to-postmanv2');

/** Examples instead of random texts; the rest is as Postman has it, which sends what may be left out, too. */
const OPTIONS = { parametersResolution: 'Example' };

describe('Postman', () => {
  let server;
  let document;
  let collection;
  let successes;
  before(async () => {
    // The only worker is the one of the examples.
    server = await Server.start({ empty: true });
    const text = await (await fetch(`${server.url}/api/v1/openapi.json`)).text();
    const imported = await promisify(converter.convertV2)({ type: 'string', data: text }, OPTIONS);
    assert(imported.result, imported.reason);
    collection = imported.output[0].data;
    document = JSON.parse(text);
    successes = new Map(operations(document));
  });
  after(() => server.stop());

  test('every request of the imported collection is answered with a documented success, again and again', async () => {
    const items = requests(collection);
    assert.deepEqual(items.map(operation).sort(), [...successes.keys()].sort());
    const reservation = await populate();
    for (const item of items.filter(isOfReservation)) {
      // The server says what it is called.
      item.request.url.variable.find(({ key }) => key === 'id').value = reservation;
    }
    const kept = items.filter((item) => isKept(item) && !needsTokens(item));
    for (const [asked, code, body] of await send([...kept, ...kept])) {
      assert(successes.get(asked).includes(code), `${asked}: ${code} ${body}`);
    }
  });

  test('and so is one that takes the worker away', async () => {
    for (const item of requests(collection).filter((item) => !isKept(item) && !needsTokens(item))) {
      await populate();
      for (const [asked, code, body] of await send([item])) assert(successes.get(asked).includes(code), `${asked}: ${code} ${body}`);
    }
  });

  /** The worker that the examples speak of, with its VMs, a drain that is over, and a reservation. Returns the latter's id. */
  async function populate() {
    const paths = ['/workers/{id}', '/workers/{id}/heartbeat', '/workers/{id}/drain', '/workers/{id}/activate', '/reservations'];
    let said;
    for (const template of paths) {
      const method = template === '/workers/{id}' ? 'put' : 'post';
      const { example } = document.paths[template][method].requestBody.content['application/json'];
      const init = { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(example) };
      const answer = await fetch(`${server.url}/api/v1${template.replace('{id}', 'worker-01')}`, init);
      said = await answer.text();
      assert(answer.ok, said);
    }
    return JSON.parse(said).id;
  }

  /** Sends requests, one after the other, and returns what they were answered with. */
  async function send(items) {
    const variables = [{ key: 'baseUrl', value: `${server.url}/api/v1` }];
    const summary = await promisify(newman.run)({ collection: { ...collection, item: items, variable: variables } });
    assert.deepEqual(summary.run.failures.map(({ error }) => error.message), []);
    return summary.run.executions.map(({ item, response }) => [operation(item.toJSON()), response.code, response.text()]);
  }
});

/** All requests of a collection, out of their folders. */
function requests(folder) {
  return folder.item.flatMap((item) => (item.request ? [item] : requests(item)));
}

/** Which operation a request is of, such as `PUT /workers/:id`. */
const operation = ({ request }) => `${request.method} /${request.url.path.join('/')}`;

/** Whether it leaves what others ask for. */
const isKept = (item) => item.request.method !== 'DELETE' || operation(item) === 'DELETE /session' || isOfReservation(item);

/** Whether it is about one reservation, which is still told of when it is released, and may be released again. */
const isOfReservation = (item) => operation(item).endsWith(' /reservations/:id');

/** Whether it can only succeed on a server that has tokens: the first one is made on the database. */
const needsTokens = (item) => /^(POST|DELETE) \/tokens|^POST \/session|\/join$/.test(operation(item));

/** Every operation with its statuses that are no failures. */
function* operations({ paths }) {
  for (const [path, item] of Object.entries(paths)) {
    for (const [method, { responses }] of Object.entries(item)) {
      const good = Object.keys(responses).map(Number).filter((status) => status < 300);
      yield [`${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`, good];
    }
  }
}
