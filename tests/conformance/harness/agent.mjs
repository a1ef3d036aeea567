// One run of `aetherium agent`, which reports this machine.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';

import { within } from './patience.mjs';
import { BINARY } from './server.mjs';

export class Agent {
  #child;
  #exit;
  #said = '';

  /** Starts one with these arguments. */
  static start(folder, args) {
    const agent = new Agent();
    const child = spawn(BINARY, ['agent', ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, TMPDIR: folder },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    child.stderr.setEncoding('utf8').on('data', (more) => (agent.#said += more));
    agent.#child = child;
    agent.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => (process.off('exit', endWithUs), resolve(code)));
    });
    return agent;
  }

  /** Asks it to end, which it does in order. */
  async stop() {
    this.#child.kill('SIGTERM');
    assert.equal(await within('the end of the agent', this.#exit), 0, this.#said);
  }
}
