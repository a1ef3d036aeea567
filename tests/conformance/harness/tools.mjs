// Other people's programs, run to their end.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { ROOT } from './server.mjs';

/** Nobody is told that we test, and nobody tells of new versions. */
const QUIET = {
  CI: '1',
  DO_NOT_TRACK: '1',
  NO_COLOR: '1',
  NO_UPDATE_NOTIFIER: '1',
  REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true',
  REDOCLY_TELEMETRY: 'off',
};

/** A program of an npm package. */
export const npm = (name) => path.join(import.meta.dirname, '../node_modules/.bin', name);

/** A program of a Python package. */
export const python = (name) =>
  path.resolve(ROOT, process.env.AETHERIUM_TEST_VENV ?? 'target/conformance/venv', 'bin', name);

/** Runs a program; fails with all that it said if it does, and returns it otherwise. */
export async function run(program, args, { cwd = import.meta.dirname, env = {} } = {}) {
  const child = spawn(program, args, {
    cwd,
    env: { HOME: process.env.HOME, PATH: process.env.PATH, TMPDIR: tmpdir(), ...QUIET, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', (more) => (said += more));
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (...end) => resolve(end));
  });
  if (code !== 0) throw new Error(`${path.basename(program)} ended with ${code ?? signal}:\n${said}`);
  return said;
}

/** The last line that says something: how the program sums itself up. */
export const closingLine = (said) => said.trimEnd().split('\n').at(-1).trim();

/** A folder that is gone when the test is over. */
export function temporaryFolder(test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-conformance-'));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
