// One run of Prometheus, on a loopback port and in a folder of its own.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { Child } from './child.mjs';

export class Prometheus {
  #child;
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
    prometheus.#child = new Child('prometheus', flags, { cwd: folder });
    prometheus.#url = `http://127.0.0.1:${await prometheus.#child.port()}`;
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
  eventually(what, ask) {
    return this.#child.eventually(what, ask);
  }

  stop() {
    return this.#child.stop();
  }

  async #ask(question) {
    const response = await fetch(`${this.#url}/api/v1${question}`);
    const { status, data, error } = await response.json();
    assert.equal(status, 'success', error);
    return data;
  }
}
