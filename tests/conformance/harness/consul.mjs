// One run of the stub that stands for Consul, and whoever finds its targets there.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { Child } from './child.mjs';
import { Received, within } from './patience.mjs';
import { ROOT } from './server.mjs';

const BINARY = path.resolve(ROOT, process.env.AETHERIUM_TEST_CONSUL_STUB ?? 'target/debug/consul-stub');

/** The part of Consul that discovery talks to; it knows nothing at first. */
export class Consul {
  #child;
  #control;
  #exit;

  /** Where it listens. */
  url;

  static async start() {
    assert(existsSync(BINARY), `${BINARY} is missing: tests/run builds it; so does cargo build -p consul-stub`);
    const consul = new Consul();
    // It ends when its standard input does, so it does not outlive this process.
    const child = spawn(BINARY, { stdio: ['pipe', 'pipe', 'inherit'] });
    const said = new Received();
    consul.#child = child;
    consul.#exit = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => (said.end(new Error(`it ended with ${code}`)), resolve(code)));
    });
    createInterface(child.stdout).on('line', (line) => said.push(JSON.parse(line)));
    const [{ consul: url, control }] = await said.count(1);
    consul.url = url;
    consul.#control = control;
    return consul;
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** Does something to it: `mode`, `acl`, `forget`, `reset-index`, `away`, `back`. */
  async control(what, body = null) {
    const response = await fetch(`${this.#control}/${what}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 204, `${what}: ${await response.text()}`);
  }

  async stop() {
    this.#child.stdin.end();
    assert.equal(await within('the end of the stub', this.#exit), 0);
  }
}

/** vmagent, which scrapes what `consul_sd_configs` of Prometheus' configuration finds. */
export class Scraper {
  #child;
  #url;

  /** Follows these services. */
  static async start(folder, consul, services) {
    const configuration = {
      global: { scrape_interval: '1h' },
      scrape_configs: [
        {
          job_name: 'aetherium',
          consul_sd_configs: [{ server: new URL(consul.url).host, services }],
          // Labels that begin with __ are not shown, and those of Consul do.
          relabel_configs: [{ action: 'labelmap', regex: '__meta_consul_(.+)', replacement: '$1' }],
        },
      ],
    };
    const file = path.join(folder, 'scrape.json');
    // YAML is a superset of JSON.
    writeFileSync(file, JSON.stringify(configuration));
    const scraper = new Scraper();
    const flags = [
      `-promscrape.config=${file}`,
      '-httpListenAddr=127.0.0.1:0',
      // Nobody takes what is scraped; only what is found is asked for.
      '-remoteWrite.url=http://127.0.0.1:1/',
      `-remoteWrite.tmpDataPath=${path.join(folder, 'vmagent')}`,
      '-promscrape.consulSDCheckInterval=1s',
    ];
    scraper.#child = new Child('vmagent', flags, { cwd: folder });
    scraper.#url = `http://127.0.0.1:${await scraper.#child.port()}`;
    return scraper;
  }

  /** Waits until its targets are like this. */
  async targets(what, areSo) {
    return this.#child.eventually(what, async () => {
      const response = await fetch(`${this.#url}/api/v1/targets?state=active`).catch(() => undefined);
      if (!response?.ok) return undefined;
      const { data } = await response.json();
      const targets = data.activeTargets.map(({ labels }) => labels);
      targets.sort((one, other) => (one.service_id < other.service_id ? -1 : 1));
      return areSo(targets) ? targets : undefined;
    });
  }

  stop() {
    return this.#child.stop();
  }
}
