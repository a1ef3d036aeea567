// The GraphQL endpoint by a fuzzer that reads its schema, Python's schemathesis.

import { after, before, describe, test } from 'node:test';

import { PATIENCE } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';
import { closingLine, python, run, temporaryFolder } from './harness/tools.mjs';

const HOOKS = new URL('python/graphql_hooks.py', import.meta.url).pathname;

/** Requests for each field of Query and Mutation: enough to meet every argument, and done in a minute or two. */
const EXAMPLES = 25;

/**
 * What fits the schema may still be refused: GraphQL has no words for "up to 500" or "not both of `first` and `last`".
 * That it is refused for such a reason only, and not as invalid, is a check of our own.
 */
const NOT_OURS = 'positive_data_acceptance';

/** Every run asks the same, so that a failure can be seen again. */
const SEED = 1;

/** How long a request is waited for, in seconds. */
const TIMEOUT = PATIENCE / 1_000;

describe('schemathesis on GraphQL', () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  test('no request makes the server fail, and every refusal says why', async (test) => {
    const pace = ['--max-examples', `${EXAMPLES}`, '--seed', `${SEED}`, '--generation-database', 'none'];
    const said = await run(
      python('schemathesis'),
      ['run', server.graphql, '--checks', 'all', '--exclude-checks', NOT_OURS, '--continue-on-failure', '--request-timeout', `${TIMEOUT}`, ...pace],
      {
        cwd: temporaryFolder(test),
        env: { AETHERIUM_TEST_URL: server.graphql, PYTHONDONTWRITEBYTECODE: '1', SCHEMATHESIS_HOOKS: HOOKS },
      },
    );
    test.diagnostic(`schemathesis: ${/\d+ generated.*/.exec(said)?.[0]}; ${closingLine(said)}`);
  });
});
