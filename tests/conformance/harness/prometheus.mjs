// One run of Prometheus, on a loopback port and in a folder of its own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { PATIENCE, within } from './patience.mjs';
import { listeningPort } from './consul.mjs';

export class Prometheus {
  #child;
  #exit;
  #said = '';
  #url;

  /** Starts it with this configuration. */
  static async start(folder, configuration) {
    const prometheus = new Prometheus();
    const file = path.join(folder, 'prometheus.yml');
    // YAML is a superset of JSON.
    writeFileSync(file, JSON.stringify(configuration));
    const flags = [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      '--storage.tsdb.retention.time=1h',
      '--web.listen-address=127.0.0.1:0',
    ];
    const child = spawn('prometheus', flags, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    const endWithUs = () => child.kill('SIGKILL');
    process.once('exit', endWithUs);
    prometheus.#child = child;
    child.stderr.setEncoding('utf8').on('data', (more) => (prometheus.#said += more));
    prometheus.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => (process.off('exit', endWithUs), resolve(code)));
    });
    const port = await prometheus.eventually('the port it listens on', () => listeningPort(child.pid));
    prometheus.#url = `http://127.0.0.1:${port}`;
    await prometheus.eventually('its readiness', async () => {
      const response = await fetch(`${prometheus.#url}/-/ready`).catch(() => undefined);
      return response?.ok;
    });
    return prometheus;
  }

  /** The targets that it scrapes, each with its labels and how the last scrape went. */
  async targets() {
    return (await this.#ask('/targets?state=active')).activeTargets;
  }

  /** The alerts that it knows of. */
  async alerts() {
    return (await this.#ask('/alerts')).alerts;
  }

  /** The samples of a query at this moment: labels and value. */
  async query(expression) {
    const { result } = await this.#ask(`/query?query=${encodeURIComponent(expression)}`);
    return result.map(({ metric, value: [, value] }) => ({ ...metric, value: Number(value) }));
  }

  /** Asks again and again until there is an answer; its log is in the failure. */
  async eventually(what, ask) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const answer = await ask();
      if (answer) return answer;
      const hopeful = this.#child.exitCode === null && Date.now() < deadline;
      assert(hopeful, `waited in vain for ${what}:\n${this.#said.slice(-2_000)}`);
      await sleep(50);
    }
  }

  async stop() {
    this.#child.kill('SIGTERM');
    assert.equal(await within('the end of Prometheus', this.#exit), 0, this.#said.slice(-2_000));
  }

  async #ask(question) {
    const response = await fetch(`${this.#url}/api/v1${question}`);
    const { status, data, error } = await response.json();
    assert.equal(status, 'success', error);
    return data;
  }
}
