// GraphQL over HTTP, by the audits of the reference implementation `graphql-http`.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { serverAudits } from 'graphql-http';

import { Server } from './harness/server.mjs';

/** Every audit of this version: 13 that say MUST, 23 SHOULD, 25 MAY. */
const AUDITS = 61;

describe('graphql-http audits', () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  const audits = serverAudits({ url: () => server.graphql, fetchFn: fetch });

  test(`there are ${AUDITS} audits`, () => assert.equal(audits.length, AUDITS));

  for (const audit of audits) {
    test(`${audit.id} ${audit.name}`, async () => {
      const result = await audit.fn();
      assert.equal(result.status, 'ok', result.reason);
    });
  }
});
