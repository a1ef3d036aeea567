// mercurius: `node mercurius.mjs DATA [JIT]`, where JIT is after how many requests a document is compiled.

import Fastify from 'fastify';
import mercurius from 'mercurius';

import { listening } from './listening.mjs';
import { resolvers, typeDefs } from './schema.mjs';

const app = Fastify();
const jit = Number(process.argv[3] ?? 0);
await app.register(mercurius, { schema: typeDefs, resolvers, ...(jit && { jit }) });
await app.listen({ host: '127.0.0.1', port: 0 });
listening(app.server);
