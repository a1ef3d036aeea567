// PostGraphile on our server's own tables: `node postgraphile.mjs DATABASE_URL`. Needs Node 22.

import { createServer } from 'node:http';

import { grafserv } from 'postgraphile/grafserv/node';
import { makePgService } from 'postgraphile/adaptors/pg';
import { postgraphile } from 'postgraphile';
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber';
import { jsonPgSmartTags } from 'postgraphile/utils';

import { listening } from './listening.mjs';

// There is no foreign key in the database to find the VMs of a worker by.
const vmsOfWorkers = jsonPgSmartTags({
  version: 1,
  config: { class: { vm: { tags: { foreignKey: '(worker_id) references worker (id)|@foreignFieldName vms' } } } },
});

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [vmsOfWorkers],
  pgServices: [makePgService({ connectionString: process.argv[2], schemas: ['public'] })],
  grafast: { explain: false },
  grafserv: { graphiql: false },
});
const server = createServer();
await instance.createServ(grafserv).addTo(server);
server.listen(0, '127.0.0.1', () => listening(server));
