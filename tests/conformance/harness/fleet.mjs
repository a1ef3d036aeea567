// Workers and VMs to ask for, brought in over the REST API as agents would.

import assert from 'node:assert/strict';

const ZONES = ['us-east-1a', 'us-west-1a', 'us-west-1b'];

/** Workers of a fleet; enough for pages, few enough to be read in a failure. */
const WORKERS = 12;

/** VMs of each worker, the last of them stopped. */
const VMS = 4;

const two = (number) => String(number).padStart(2, '0');

export class Fleet {
  #url;
  #token;
  #incarnations = new Map();

  /** Ids of its workers, sorted. */
  workers = Array.from({ length: WORKERS }, (_, index) => `worker-${two(index + 1)}`);

  /** The API at an address, asked with a token if the server asks for one. */
  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  /** Three zones of workers with VMs; the last worker is draining. */
  static async populate(url) {
    const fleet = new Fleet(url);
    await Promise.all(fleet.workers.map((id) => fleet.join(id)));
    await fleet.drain(fleet.workers.at(-1));
    return fleet;
  }

  /** Registers a worker, which says this of itself beside the usual, and sends its first heartbeat. */
  async join(id, further = {}) {
    const number = Number(id.split('-').at(-1));
    const registered = await this.#call('PUT', `/workers/${encodeURIComponent(id)}`, {
      hostname: `node${number}.example.com`,
      address: `192.0.2.${number}:8081`,
      zone: ZONES[number % ZONES.length],
      labels: { env: number % 2 ? 'production' : 'staging', rack: `r${number % 4}` },
      capabilities: number % 2 ? ['docker', 'firecracker'] : ['firecracker'],
      cpu_cores: 16,
      memory_mb: 32_768,
      disk_gb: 500,
      max_vms: 100,
      boot_id: 'conformance',
      ...further,
    });
    this.#incarnations.set(id, registered.incarnation);
    await this.beat(id);
  }

  /** The VMs that a worker has, unless a test says otherwise. */
  vms(id) {
    return Array.from({ length: VMS }, (_, index) => ({
      id: `vm-${id.split('-').at(-1)}-${index + 1}`,
      name: `dev-vm-${index + 1}`,
      status: index + 1 < VMS ? 'running' : 'stopped',
      vcpus: 2,
      memory_mb: 2_048,
    }));
  }

  /** A worker's sign of life, with these VMs. */
  async beat(id, vms = this.vms(id), further = {}) {
    return this.#call('POST', `/workers/${encodeURIComponent(id)}/heartbeat`, { incarnation: this.#incarnations.get(id), vms, ...further });
  }

  /** Drains a worker; `further` may be a deadline and metadata. */
  drain(id, reason = 'new disks', further = {}) {
    return this.#call('POST', `/workers/${encodeURIComponent(id)}/drain`, { reason, ...further });
  }

  activate(id) {
    return this.#call('POST', `/workers/${encodeURIComponent(id)}/activate`, {});
  }

  /** Says goodbye for a worker: it is offline at once. */
  async farewell(id) {
    await this.#call('DELETE', `/workers/${encodeURIComponent(id)}`);
  }

  /** Holds room for VMs that are to come. */
  reserve(request) {
    return this.#call('POST', '/reservations', request);
  }

  /** What is under a path of the API. */
  get(path) {
    return this.#call('GET', path);
  }

  /** Creates a token: its text and what is told of it. */
  createToken(role, name) {
    return this.#call('POST', '/tokens', { role, name });
  }

  async revokeToken(id) {
    await this.#call('DELETE', `/tokens/${id}`);
  }

  async #call(method, path, body) {
    const response = await fetch(`${this.#url}/api/v1${path}`, {
      method,
      headers: {
        ...(body && { 'content-type': 'application/json' }),
        ...(this.#token && { authorization: `Bearer ${this.#token}` }),
      },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    assert(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }
}
