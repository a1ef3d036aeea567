// One run of `aetherium dev`: a server with a small fleet at work, and a past that it has made up for it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { Received, within } from './patience.mjs';
import { BINARY, databaseFolder } from './server.mjs';

export class Dev {
  #child;
  #folder;
  #exit;

  /** Where it listens, without a slash at the end. */
  url;

  /** Starts one on a free port, and waits until it says where its dashboard is. */
  static async start(args = []) {
    const dev = new Dev();
    dev.#folder = databaseFolder('aetherium-dev-test-');
    const child = spawn(BINARY, ['dev', '--listen', '127.0.0.1:0', ...args], {
      cwd: dev.#folder,
      env: { PATH: process.env.PATH, TMPDIR: dev.#folder },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    const said = new Received();
    dev.#child = child;
    dev.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => (process.off('exit', endWithUs), said.end(new Error(`it ended with ${code}`)), resolve(code)));
    });
    createInterface(child.stdout).on('line', (line) => said.push(line));
    const line = await said.first('address of the dashboard', (line) => line.includes('Dashboard'));
    dev.url = line.match(/http\S+/)[0].replace(/\/$/, '');
    return dev;
  }

  /** What is under a path of the API. */
  async get(question) {
    const response = await fetch(`${this.url}/api/v1${question}`);
    assert(response.ok, `${question}: ${response.status}`);
    return response.json();
  }

  /** Asks it to end, which it does in order. */
  async stop() {
    this.#child.kill('SIGTERM');
    try {
      assert.equal(await within('the end of dev', this.#exit), 0);
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
