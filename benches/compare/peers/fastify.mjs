// fastify, REST: `node fastify.mjs DATA [schema]`. With a response schema it compiles a serialiser; without, it is
// JSON.stringify that writes.

import Fastify from 'fastify';

import { rest } from './data.mjs';
import { listening } from './listening.mjs';

/** The JSON schema of values like this one, with every key named. */
function schemaOf(value) {
  if (Array.isArray(value)) return { type: 'array', items: value.length ? schemaOf(value[0]) : {} };
  if (value === null || typeof value !== 'object') return { type: typeof value };
  const properties = Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, schemaOf(inner)]));
  return { type: 'object', properties };
}

const withSchema = process.argv[3] === 'schema';
const options = (answer) => (withSchema ? { schema: { response: { 200: schemaOf(answer) } } } : {});
const byId = new Map(rest.list.workers.map((worker) => [worker.id, worker]));

const app = Fastify();
app.get('/api/v1/workers', options(rest.list), async () => rest.list);
app.get('/api/v1/workers/:id', options(rest.list.workers[0]), async ({ params }) => byId.get(params.id));
await app.listen({ host: '127.0.0.1', port: 0 });
listening(app.server);
