// The OpenAPI document by its linters, and the server by a fuzzer that believes the document.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Server } from '../harness/server.mjs';

const HERE = import.meta.dirname;
const NODE_PROGRAMS = path.resolve(HERE, '../node_modules/.bin');
const PYTHON_PROGRAMS = path.resolve(process.env.AETHERIUM_TEST_VENV ?? 'target/conformance/venv', 'bin');

/** Requests for each operation in each phase: enough to meet every branch, and done in a few minutes. */
const EXAMPLES = 25;

/** No program takes that long, in milliseconds. */
const LONGEST = 15 * 60_000;

/** Every run asks the same, so that a failure can be seen again. */
const SEED = 1;

describe('OpenAPI', () => {
  let server;
  let folder;
  let document;
  before(async () => {
    server = await Server.start();
    folder = mkdtempSync(path.join(tmpdir(), 'aetherium-openapi-'));
    document = path.join(folder, 'openapi.json');
    // The fuzzer looks for its hooks where it runs, and leaves its notes there.
    copyFileSync(path.join(HERE, 'hooks.py'), path.join(folder, 'hooks.py'));
    writeFileSync(document, await (await fetch(`${server.url}/api/v1/openapi.json`)).text());
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await server.stop();
  });

  test('Redocly, recommended-strict: no error, no warning', async () => {
    await run(`${NODE_PROGRAMS}/redocly`, ['lint', '--config', `${HERE}/redocly.yaml`, document]);
  });

  test('Spectral, its own rules and those of OWASP: no error, no warning', async () => {
    const rules = ['--ruleset', `${HERE}/spectral.yaml`, '--fail-severity', 'hint'];
    await run(`${NODE_PROGRAMS}/spectral`, ['lint', ...rules, document]);
  });

  test('openapi-spec-validator', async () => {
    await run(`${PYTHON_PROGRAMS}/openapi-spec-validator`, [document]);
  });

  test('schemathesis, every check in every phase', async () => {
    await schemathesis(`${server.url}/api/v1/openapi.json`, ['--checks', 'all']);
  });

  async function schemathesis(url, options) {
    const config = ['--config-file', `${HERE}/schemathesis.toml`];
    const pace = ['--max-examples', EXAMPLES, '--seed', SEED, '--generation-database', 'none', '--no-color'];
    await run(`${PYTHON_PROGRAMS}/schemathesis`, [...config, 'run', url, ...options, ...pace], {
      AETHERIUM_TEST_URL: server.url,
    });
  }

  /** Runs a program to its end, which is success, or a failure with all that it said. */
  function run(program, options, environment = {}) {
    const quiet = { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' };
    const env = { PATH: process.env.PATH, HOME: folder, TMPDIR: folder, ...quiet, ...environment };
    const setting = { cwd: folder, env, maxBuffer: 64 * 1024 * 1024, timeout: LONGEST };
    return new Promise((resolve, reject) => {
      execFile(program, options.map(String), setting, (failure, stdout, stderr) => {
        if (failure) reject(new assert.AssertionError({ message: `${failure.message}\n${stdout}\n${stderr}` }));
        else resolve(stdout);
      });
    });
  }
});
