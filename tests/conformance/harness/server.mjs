// One run of the server's binary, with a database of its own and a fleet in it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { Fleet } from './fleet.mjs';
import { Received, within } from './patience.mjs';

/** The root of the repository. */
export const ROOT = path.resolve(import.meta.dirname, '../../..');

/** The program. */
export const BINARY = path.resolve(ROOT, process.env.AETHERIUM_TEST_BINARY ?? 'target/debug/aetherium');

/**
 * A new folder for files of databases, which tests/run has in memory if there is room: on a disk that a build writes to, a
 * commit may wait for longer than the server allows it.
 */
export const databaseFolder = (prefix) => mkdtempSync(path.resolve(process.env.AETHERIUM_TEST_DATABASES ?? tmpdir(), prefix));

// Servers are ended when this process exits, which a signal alone would not tell them.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

export class Server {
  #arguments;
  #database;
  #folder;
  #offlineAfter;
  #child;
  #log;
  #exit;

  /** Where it listens; the same after a restart. */
  address;
  /** Where it listens for monitoring, if it was told to. */
  metricsAddress;
  /** Its workers and their VMs. */
  fleet;

  constructor(folder, database, further, offlineAfter) {
    this.#folder = folder;
    this.#database = database ?? `sqlite://${folder}/aetherium.db`;
    this.#arguments = further;
    this.#offlineAfter = offlineAfter;
  }

  /**
   * Starts a server on a free port of the loopback interface, with a populated fleet unless it is to be empty, and a SQLite
   * file of its own unless a database is named.
   */
  static async start({ args = [], database, empty = false, offlineAfter = '1h' } = {}) {
    assert(existsSync(BINARY), `${BINARY} is missing: tests/run builds it; so does cargo build`);
    const server = new Server(databaseFolder('aetherium-conformance-'), database, args, offlineAfter);
    await server.#run('127.0.0.1:0');
    if (empty) return server;
    try {
      server.fleet = await Fleet.populate(server.url);
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  get url() {
    return `http://${this.address}`;
  }

  get graphql() {
    return `${this.url}/graphql`;
  }

  get websocket() {
    return `ws://${this.address}/graphql`;
  }

  /** What `aetherium token` prints, on the database of this server. */
  token(...given) {
    const database = ['--database-url', this.#database];
    const env = { PATH: process.env.PATH, TMPDIR: this.#folder };
    return execFileSync(BINARY, ['token', ...given, ...database], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  }

  /** Asks it to end, which it does in order and without having logged an error. */
  async stop() {
    try {
      await this.halt();
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  /** The same, but it is to be revived. */
  async halt() {
    await this.#end('SIGTERM', 0);
  }

  /** Kills it, as a lack of memory or a power cut would. */
  async kill() {
    await this.#end('SIGKILL', null);
  }

  /** Starts it again where it was, on the data it had. */
  async revive() {
    await this.#run(this.address);
  }

  async #run(listen) {
    // Workers of these tests beat when a test says so, hence the long time-out of most.
    const settings = ['--database-url', this.#database, '--offline-after', this.#offlineAfter];
    const child = spawn(BINARY, ['serve', '--listen', listen, ...settings, ...this.#arguments], {
      cwd: this.#folder,
      env: { PATH: process.env.PATH, TMPDIR: this.#folder },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    const log = new Received();
    this.#child = child;
    this.#log = log;
    this.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        process.off('exit', endWithUs);
        log.end(new Error(`the server ended with ${code}`));
        resolve(code);
      });
    });
    createInterface(child.stderr).on('line', (line) => log.push(line.startsWith('{') ? JSON.parse(line) : { message: line }));
    const ready = await log.first('address it listens on', (line) => line['listen.address']);
    this.address = ready['listen.address'];
    this.metricsAddress = log.items.find((line) => line['metrics.address'])?.['metrics.address'];
  }

  async #end(signal, expected) {
    this.#child.kill(signal);
    const code = await within('the end of the server', this.#exit);
    assert.equal(code, expected, 'exit status of the server');
    const errors = this.#log.items.filter((line) => line.level === 'ERROR');
    assert.deepEqual(errors, [], 'errors in the log of the server');
  }
}
