// graphql-yoga on Node's own server: `node yoga.mjs DATA`.

import { createServer } from 'node:http';

import { createSchema, createYoga } from 'graphql-yoga';

import { listening } from './listening.mjs';
import { resolvers, typeDefs } from './schema.mjs';

const yoga = createYoga({ schema: createSchema({ typeDefs, resolvers }), logging: 'warn' });
const server = createServer(yoga);
server.listen(0, '127.0.0.1', () => listening(server));
