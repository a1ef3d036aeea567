// Other people's programs, run to their end.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { eventually, within } from './patience.mjs';
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

/**
 * Types a script into a program, such as what a page offers to be copied into a shell. `finished` waits until it has ended
 * well, and returns what it said; `says` waits until it has said something like this, while `happen` makes things happen;
 * `end` ends one that goes on for ever, with all that it has started.
 */
export function typed(script, { program: [program, ...args], env }) {
  const child = spawn(program, args, { cwd: import.meta.dirname, env: { HOME: tmpdir(), TMPDIR: tmpdir(), ...env }, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let said = '';
  for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', (more) => (said += more));
  const exit = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => (process.off('exit', kill), resolve(code)));
  });
  const kill = () => process.kill(-child.pid, 'SIGKILL');
  process.once('exit', kill);
  child.stdin.end(script);
  return {
    async finished() {
      const code = await within(`the end of ${script}`, exit);
      if (code !== 0) throw new Error(`it ended with ${code}: ${script}\n${said}`);
      return said;
    },
    async says(like, happen) {
      await eventually(`${like} of ${script}`, async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${script}\n${said}`);
        if (!like.test(said)) await happen();
        return like.test(said);
      }).catch((error) => { throw new Error(`${error.message}:\n${said.slice(-2_000)}`, { cause: error }); });
    },
    async end() {
      kill();
      await within(`the end of ${script}`, exit);
    },
  };
}

/** The last line that says something: how the program sums itself up. */
export const closingLine = (said) => said.trimEnd().split('\n').at(-1).trim();

/** A folder that is gone when the test is over. */
export function temporaryFolder(test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-conformance-'));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
