// graphql-eslint's recommended rules for schemas, and its rules for schemas that Relay can use, on schema.graphql.

import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';

import graphqlPlugin from '@graphql-eslint/eslint-plugin';
import { ESLint } from 'eslint';

import { ROOT } from './harness/server.mjs';

const recommended = graphqlPlugin.configs['flat/schema-recommended'];
const relay = graphqlPlugin.configs['flat/schema-relay'];

const CONFIG = {
  files: ['**/*.graphql'],
  plugins: { '@graphql-eslint': graphqlPlugin },
  languageOptions: {
    parser: graphqlPlugin.parser,
    parserOptions: { graphQLConfig: { schema: path.join(ROOT, 'schema.graphql') } },
  },
  rules: {
    ...recommended.rules,
    ...relay.rules,
    // It wants blocks of three lines around every description. One that is one sentence reads better on one line, and means
    // the same; those that are longer are blocks.
    '@graphql-eslint/description-style': 'off',
    // It wants an `id` in every type. Totals, pages and payloads are no objects that could be fetched by one; those that
    // can implement `Node`.
    '@graphql-eslint/strict-id-in-types': 'off',
    // Lists of scalars and of small values, such as labels, are not pages; `nodes` spares clients the edges. Events, drains
    // and reservations are in pages, too, and are not fetched by `node`.
    '@graphql-eslint/relay-edge-types': ['error', { listTypeCanWrapOnlyEdgeType: false, shouldImplementNode: false }],
  },
};

test('graphql-eslint has nothing to say about the schema', async () => {
  const eslint = new ESLint({ cwd: ROOT, overrideConfigFile: true, overrideConfig: [CONFIG], warnIgnored: false });
  const results = await eslint.lintFiles(['schema.graphql']);
  assert.equal(results.length, 1, 'it looked at the schema');
  const said = results[0].messages.map(({ line, ruleId, message }) => `${line}: ${message} (${ruleId})`);
  assert.deepEqual(said, []);
  const rules = Object.keys((await eslint.calculateConfigForFile(path.join(ROOT, 'schema.graphql'))).rules);
  assert(rules.length > 15, `only ${rules.length} rules`);
});
