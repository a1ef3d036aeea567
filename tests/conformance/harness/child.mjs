// A program that runs beside the tests and ends with them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

import { eventually, within } from './patience.mjs';

export class Child {
  #name;
  #child;
  #exit;
  #said = '';

  /** Starts it in a folder; what it says on its standard error is told when something fails. */
  constructor(program, args, { cwd, env }) {
    this.#name = path.basename(program);
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] });
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    child.stderr.setEncoding('utf8').on('data', (more) => (this.#said += more));
    this.#child = child;
    this.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => (process.off('exit', endWithUs), resolve(code)));
    });
  }

  /** Asks again and again until there is an answer, or the program has ended. */
  async eventually(what, ask) {
    try {
      return await eventually(what, () => {
        assert.equal(this.#child.exitCode, null, `${this.#name} has ended`);
        return ask();
      });
    } catch (error) {
      throw new Error(`${error.message}:\n${this.#said.slice(-2_000)}`, { cause: error });
    }
  }

  /** The port that it listens on, which the system has chosen. */
  port() {
    return this.eventually(`the port of ${this.#name}`, () => listeningPort(this.#child.pid));
  }

  /** Asks it to end, which it does in order. */
  async stop() {
    this.#child.kill('SIGTERM');
    assert.equal(await within(`the end of ${this.#name}`, this.#exit), 0, this.#said.slice(-2_000));
  }

  /** Kills it, as a lack of memory or a power cut would. */
  async kill() {
    this.#child.kill('SIGKILL');
    await within(`the end of ${this.#name}`, this.#exit);
  }
}

/** The port that a process listens on; it does not say itself which one the system chose. */
function listeningPort(pid) {
  const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return ''; // Closed meanwhile.
    }
  });
  for (const line of readFileSync(`/proc/${pid}/net/tcp`, 'utf8').split('\n').slice(1)) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state === '0A' && sockets.includes(`socket:[${inode}]`)) return parseInt(local.split(':')[1], 16);
  }
  return undefined;
}
