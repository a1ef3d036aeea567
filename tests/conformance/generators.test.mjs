// Generators of code, on schema.graphql and operations of our own: what they make has to compile.

import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';

import { buildSchema, parse, validate } from 'graphql';

import { ROOT } from './harness/server.mjs';
import { closingLine, npm, run, temporaryFolder } from './harness/tools.mjs';

const SCHEMA = path.join(ROOT, 'schema.graphql');
const OPERATIONS = path.join(import.meta.dirname, 'operations');

/** A project of its own with these files, which finds our packages. */
function project(test, ...files) {
  const folder = temporaryFolder(test);
  symlinkSync(path.join(import.meta.dirname, 'node_modules'), path.join(folder, 'node_modules'));
  for (const file of files) cpSync(path.join(OPERATIONS, file), path.join(folder, file));
  return folder;
}

describe('generators', () => {
  test('the reference implementation takes the schema, and finds our operations valid', () => {
    const schema = buildSchema(readFileSync(SCHEMA, 'utf8'));
    assert.deepEqual(validate(schema, parse(readFileSync(path.join(OPERATIONS, 'dashboard.graphql'), 'utf8'))), []);
  });

  test('relay-compiler compiles connections, refetchable fragments, mutations and subscriptions', async (test) => {
    const folder = project(test, 'relay.js');
    mkdirSync(path.join(folder, 'artifacts'));
    writeFileSync(
      path.join(folder, 'relay.config.json'),
      JSON.stringify({
        src: '.',
        schema: path.relative(folder, SCHEMA),
        language: 'typescript',
        artifactDirectory: './artifacts',
        excludes: ['**/node_modules/**', 'artifacts/**'],
        // Otherwise every scalar that Relay does not know is `any`, and a mistake in one would not show.
        customScalarTypes: { Cursor: 'string', DateTime: 'string', Duration: 'string', Int53: 'number' },
        requireCustomScalarTypes: true,
      }),
    );
    const said = await run(npm('relay-compiler'), ['relay.config.json'], { cwd: folder });
    for (const artifact of ['relayDashboardQuery', 'relayWorkersPaginationQuery', 'relayWorkerRefetchQuery', 'relayVmsPaginationQuery', 'relayBeatsSubscription']) {
      assert(existsSync(path.join(folder, 'artifacts', `${artifact}.graphql.ts`)), `${artifact} is missing:\n${said}`);
    }
    test.diagnostic(`relay-compiler: ${closingLine(said)}`);
  });

  test('what GraphQL Code Generator makes compiles with tsc --strict', async (test) => {
    const folder = project(test, 'dashboard.graphql', 'typed.ts');
    const scalars = { Cursor: 'string', DateTime: 'string', Duration: 'string', Int53: 'number' };
    const config = {
      schema: SCHEMA,
      documents: ['dashboard.graphql'],
      generates: { 'generated/': { preset: 'client', config: { scalars, strictScalars: true, enumType: 'native' } } },
    };
    writeFileSync(path.join(folder, 'codegen.json'), JSON.stringify(config));
    await run(npm('graphql-codegen'), ['--config', 'codegen.json', '--silent'], { cwd: folder });
    const strict = ['--strict', '--noEmit', '--noUnusedLocals', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess'];
    const target = ['--target', 'es2022', '--module', 'preserve'];
    await run(npm('tsc'), [...strict, ...target, 'typed.ts'], { cwd: folder });
  });
});
