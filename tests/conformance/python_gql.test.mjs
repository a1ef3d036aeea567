// The Python client gql 4, by its own tests in python/.

import { after, before, describe, test } from 'node:test';

import { Server } from './harness/server.mjs';
import { closingLine, python, run } from './harness/tools.mjs';

describe('Python gql', () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  test('transports aiohttp and websockets', async (test) => {
    const said = await run(python('pytest'), ['-p', 'no:cacheprovider', '--quiet', 'test_gql.py'], {
      cwd: new URL('python', import.meta.url),
      env: { AETHERIUM_TEST_URL: server.graphql, PYTHONDONTWRITEBYTECODE: '1' },
    });
    test.diagnostic(`pytest: ${closingLine(said)}`);
  });
});
