// What every peer serves from memory: our own server's answers, so that the data are the same.

import { readFileSync } from 'node:fs';

/** Workers as GraphQL shows them, each with its `vms`, and the bodies of REST. The file is the first argument. */
export const { workers, rest } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

export const workerById = new Map(workers.map((worker) => [worker.id, worker]));
