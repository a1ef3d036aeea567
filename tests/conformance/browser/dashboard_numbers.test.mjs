// The numbers of the dashboard, page by page, held against the answers of the REST API: while much changes, after a restart
// of the server, and against a calculation of their own.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Random } from '../differential/random.mjs';
import { Fleet } from '../harness/fleet.mjs';
import { Server } from '../harness/server.mjs';
import { agrees, OUTAGE, placedOneByOne, written } from './dashboard.mjs';
import { Browser } from './visit.mjs';

/** The size that pages ask for unless they are told another one. */
const USUAL = { vcpus: 4, memoryMb: 8_192 };
const VM_STATUSES = ['created', 'starting', 'running', 'stopping', 'stopped', 'failed'];
const WORKER = 'worker-05';

describe('numbers of the dashboard', () => {
  let browser;
  before(async () => {
    browser = await Browser.launch();
  });
  after(() => browser?.close());

  test('2: numbers of every page are those of REST, also after a thousand changes and a restart', async () => {
    const server = await Server.start();
    try {
      const { fleet } = server;
      // All of them are open all the time, and none is loaded anew: what they show is what they were told.
      const visits = new Map();
      await Promise.all(Object.keys(SHOWN).map(async (page) => {
        const visit = await browser.visit(`${server.url}/${page}`);
        visits.set(page, visit);
        await visit.dashboard();
        await visit.page.evaluate(() => { window.isTheSame = true; });
      }));
      const allAgree = async (when) => {
        for (const [page, visit] of visits) {
          // Pages that are not looked at ask less often.
          await visit.page.bringToFront();
          await visit.page.waitForSelector('html[data-live=live]');
          await agrees(`/${page} says what REST says ${when}`, async () => {
            const rest = await answersOf(fleet);
            const frame = differs('draining in the frame', await badge(visit), rest.stats.draining_workers);
            return [...frame, ...await SHOWN[page](visit, rest)];
          });
        }
      };

      const changes = new Changes(fleet, new Random('numbers'));
      await changes.make(500);
      await allAgree('after 500 changes');
      await server.halt();
      await server.revive();
      await changes.make(500);
      await allAgree('after a restart and 500 more');
      assert.equal(changes.kinds.size, 7, `all that changes is among ${[...changes.kinds].join(', ')}`);
      for (const visit of visits.values()) {
        assert.equal(await visit.page.evaluate(() => window.isTheSame), true, 'it was not loaded anew');
        await visit.leave({ despite: OUTAGE });
      }
    } finally {
      await server.stop();
    }
  });

  test('11: how many VMs fit if a zone is lost is answered, and so it is by placing them one by one', async () => {
    const server = await Server.start();
    try {
      const { fleet } = server;
      // Each worker lacks something else, so that cores, memory and slots all decide somewhere, and so do what is drained,
      // what is gone, what is reserved, and what is left over on each.
      const random = new Random('capacity');
      for (const [index, id] of fleet.workers.entries()) {
        await fleet.join(id, { cpu_cores: random.between(8, 64), memory_mb: 1_024 * random.between(16, 200), max_vms: index % 4 === 0 ? random.between(1, 6) : 100 });
        const vms = Array.from({ length: random.below(6) }, (_, vm) => ({ id: `${id}-${vm}`, name: `vm ${vm}`, status: random.pick(VM_STATUSES), vcpus: random.between(1, 5), memory_mb: 512 * random.between(1, 20) }));
        await fleet.beat(id, vms);
      }
      const inZone = async (zone) => (await fleet.get(`/workers?zone=${zone}`)).workers.map(({ id }) => id);
      await fleet.drain((await inZone('us-east-1a'))[0]);
      await fleet.farewell((await inZone('us-west-1b'))[0]);
      await fleet.reserve({ vcpus: 3, memory_mb: 3_000, count: 4, expires_in: '1h' });
      const { workers } = await fleet.get('/workers?limit=500');
      const left = workers.filter(({ zone }) => zone !== 'us-west-1a');
      const [all, withoutTheZone] = [workers, left].map((of) => placedOneByOne(of, USUAL));
      assert(withoutTheZone > 0 && withoutTheZone < all, `${withoutTheZone} of ${all}`);
      // After a further loss, the worker or the zone with the most room for such VMs.
      const least = (groups) => Math.min(...groups.map((lost) => placedOneByOne(left.filter((worker) => !lost(worker)), USUAL)));
      const withoutAWorker = least(left.map(({ id }) => (worker) => worker.id === id));
      const withoutAnotherZone = least(['us-east-1a', 'us-west-1b'].map((zone) => (worker) => worker.zone === zone));

      const visit = await browser.visit(`${server.url}/capacity?vcpu=1&mem=1g`);
      await visit.dashboard();
      await visit.press('button', /^4 × 8 GiB$/);
      await visit.sees(new RegExp(`^${written(all)} VMs of 4 vCPU and 8 GiB fit now$`, 'm'));
      await visit.press('link', /^What if lost\?: us-west-1a$/);
      await visit.sees(new RegExp(`^${written(withoutTheZone)} VMs? of 4 vCPU and 8 GiB fits? if us-west-1a is lost$`, 'm'));
      assert.equal(new URL(visit.page.url()).searchParams.get('without'), 'us-west-1a', 'the address holds the question');
      await agrees('the answer in figures', async () => {
        const figures = await visit.page.$$eval('main dl.figures > div', (all) => all.map((one) => [one.querySelector('dt').innerText, one.querySelector('dd').innerText]));
        const shown = figures.map(([title, figure]) => [title.replace(/:.*$/s, '').trim(), figure.split(/\s/)[0]]);
        return differs('figures', shown, [
          ['fit now', written(all)],
          ['fit if us-west-1a is lost', written(withoutTheZone)],
          ['without the worker with the most room, too', written(withoutAWorker)],
          ['without the zone with the most room, too', written(withoutAnotherZone)],
        ]);
      });
      await visit.judge('capacity-question');

      // Whoever opens the address elsewhere is told the same, and so is a program.
      const elsewhere = await browser.visit(visit.page.url());
      await elsewhere.dashboard();
      await elsewhere.sees(new RegExp(`^${written(withoutTheZone)} VMs? of 4 vCPU and 8 GiB fits? if us-west-1a is lost$`, 'm'));
      await elsewhere.leave();
      const { vms } = await fleet.get('/capacity?vcpus=4&memory_mb=8192&without_zone=us-west-1a');
      assert.equal(vms, withoutTheZone);
      await visit.leave();
    } finally {
      await server.stop();
    }
  });

  test('a zone with a comma in its name is taken as lost, alone and with others, and the address says so elsewhere', async () => {
    const server = await Server.start({ empty: true });
    try {
      const fleet = new Fleet(server.url);
      const zones = ['rack 1, floor 2', 'rack 1', 'floor 2'];
      for (const [index, zone] of zones.entries()) await fleet.join(`worker-${index + 1}`, { zone });
      const visit = await browser.visit(`${server.url}/capacity?vcpu=1&mem=1g`);
      await visit.dashboard();
      const fit = async (...lost) => (await fleet.get(`/capacity?${new URLSearchParams([['vcpus', '1'], ['memory_mb', '1024'], ...lost.map((zone) => ['without_zone', zone])])}`)).vms;
      assert(await fit(zones[0]) > await fit(...zones), 'one zone is less than all three');
      await visit.press('link', /^What if lost\?: rack 1, floor 2$/);
      await visit.sees(new RegExp(`^${await fit(zones[0])} VMs of 1 vCPU and 1 GiB fit if rack 1, floor 2 is lost$`, 'm'));
      const elsewhere = await browser.visit(visit.page.url());
      await elsewhere.dashboard();
      await elsewhere.sees(new RegExp(`^${await fit(zones[0])} VMs of 1 vCPU and 1 GiB fit if rack 1, floor 2 is lost$`, 'm'));
      await elsewhere.leave();
      await visit.press('link', /^What if lost\?: rack 1$/);
      await visit.sees(new RegExp(`^${await fit(zones[0], zones[1])} VMs of 1 vCPU and 1 GiB fit if rack 1, floor 2 and rack 1 are lost$`, 'm'));
      assert.deepEqual(new URL(visit.page.url()).searchParams.getAll('without'), zones.slice(0, 2));
      await visit.press('link', /^Count it again: rack 1, floor 2$/);
      await visit.sees(new RegExp(`^${await fit(zones[1])} VMs of 1 vCPU and 1 GiB fit if rack 1 is lost$`, 'm'));
      await visit.leave();
    } finally {
      await server.stop();
    }
  });
});

/** Changes of a fleet as agents and operators make them, several at a time, none of the same worker as another. */
class Changes {
  #fleet;
  #random;
  #gone = new Set();
  #draining;
  /** What was done at least once. */
  kinds = new Set();

  constructor(fleet, random) {
    this.#fleet = fleet;
    this.#random = random;
    this.#draining = new Set([fleet.workers.at(-1)]);
  }

  async make(count) {
    for (let made = 0; made < count;) {
      // Who is gone comes back after a while.
      const able = this.#fleet.workers.filter((id) => !this.#gone.has(id) || this.#random.chance(0.3));
      const chosen = this.#random.sample(able, Math.min(10, count - made));
      await Promise.all(chosen.map((id) => this.#change(id)));
      made += chosen.length;
    }
  }

  async #change(id) {
    const [fleet, random] = [this.#fleet, this.#random];
    const kind = this.#gone.delete(id) ? 'join' : random.weighted({ beat: 70, empty: 10, drain: 8, activate: 8, farewell: 2, reserve: 2 });
    this.kinds.add(kind);
    switch (kind) {
      case 'join': return fleet.join(id);
      case 'farewell': this.#gone.add(id); return fleet.farewell(id);
      case 'drain': this.#draining.add(id); return fleet.drain(id);
      case 'activate': this.#draining.delete(id); return fleet.activate(id);
      case 'reserve': return fleet.reserve({ vcpus: 1, memory_mb: 256, count: 1, expires_in: '1h' }).catch((error) => {
        // What the others do at the same time may have left no room.
        if (!/: 409 .*Nothing was reserved/.test(error.message)) throw error;
      });
      case 'beat': return fleet.beat(id, Array.from({ length: random.below(12) }, (_, index) => ({
        id: `vm-${id}-${index}`, name: `vm ${index}`, status: random.pick(VM_STATUSES), vcpus: random.between(1, 5), memory_mb: 512 * random.between(1, 4),
      })));
      case 'empty': {
        const { policy_revision: revision } = await fleet.beat(id, []);
        // It says that it knows of its drain, and so is safe to power off.
        return this.#draining.has(id) ? fleet.beat(id, [], { policy_revision: revision }) : undefined;
      }
      default: throw new Error(kind);
    }
  }
}

/** What REST says of all that pages show. */
async function answersOf(fleet) {
  const [stats, { workers }, { vms }, { drains }, ended, { events }] = await Promise.all([
    fleet.get('/cluster/stats'),
    fleet.get('/workers?limit=500'),
    fleet.get(`/vms?limit=500&${VM_STATUSES.map((status) => `status=${status}`).join('&')}`),
    fleet.get('/drains?limit=500&state=draining&state=overdue&state=complete'),
    fleet.get('/drains?limit=500&state=canceled&state=ended'),
    fleet.get('/events?order=desc&limit=100'),
  ]);
  const zones = [...new Set(workers.map(({ zone }) => zone))].sort().map((name) => {
    const there = workers.filter(({ zone }) => zone === name);
    const active = there.filter(({ status }) => status === 'active');
    return { name, there, active, ...counted(there) };
  });
  return { stats, workers, vms, drains, ended, events, zones, holding: vms.filter(({ status }) => !['stopped', 'failed'].includes(status)) };
}

/** Sums over workers. */
function counted(workers) {
  const sum = (field) => workers.reduce((total, worker) => total + worker[field], 0);
  const of = (wanted) => workers.filter(({ status }) => status === wanted).length;
  return {
    active: of('active'), draining: of('draining'), offline: of('offline'),
    cores: sum('cpu_cores'), usedCores: sum('used_cpu_cores'), memory: sum('memory_mb'), usedMemory: sum('used_memory_mb'), vmCount: sum('vm_count'), maxVms: sum('max_vms'),
  };
}

const share = (part, of) => percent((part / of) * 100);
const percent = (value) => (value > 0 && value < 1 ? '<1 %' : `${Math.round(value)} %`);
const plural = (amount, noun) => `${written(amount)} ${noun}${amount === 1 ? '' : 's'}`;

/** What a page shows of what is expected, if that is something else. */
function differs(what, shown, expected) {
  return JSON.stringify(shown) === JSON.stringify(expected) ? [] : [`${what}: ${JSON.stringify(shown)}, not ${JSON.stringify(expected)}`];
}

/** The expectations that a text does not meet. */
function lacks(text, expected) {
  const missing = expected.filter((one) => !(one instanceof RegExp ? one.test(text) : text.includes(one)));
  return missing.length === 0 ? [] : [...missing.map(String), `in ${text.slice(0, 800)}`];
}

const plain = (text) => text.replaceAll('\u00a0', ' ');
const textOf = async (visit, selector = 'main') => plain(await visit.page.$eval(selector, (element) => element.innerText));
const badge = (visit) => visit.page.$eval('nav[aria-label="Pages"]', (nav) => Number(nav.querySelector('.badge')?.textContent ?? 0));

/** Cells of a plain table, row by row: of the one in what has a name that ends like this. */
const cellsOf = (visit, label) =>
  visit.page.$$eval(`[aria-label$="${label}" i] tbody tr`, (rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText.replaceAll('\u00a0', ' ').trim())));

/** The rows of a long table that are drawn: what each is of, and its text in one line. */
const rowsOf = (visit, label) =>
  visit.page.$$eval(`[role=grid][aria-label="${label}"] [role=row][data-id]`, (rows) => rows.map((row) => [row.dataset.id, row.innerText.replace(/\s+/g, ' ')]));

/** For each page, what it does not show of what REST says. */
const SHOWN = {
  '': async (visit, { stats, workers, zones, vms }) => {
    const { total_workers: all, schedulable_workers: taking, draining_workers: draining, offline_workers: offline } = stats;
    const failed = vms.filter(({ status }) => status === 'failed').length;
    return lacks(await textOf(visit), [
      taking === all ? `All ${written(all)} workers take new VMs` : new RegExp(`${written(taking)} of ${written(all)} workers? takes? new VMs`),
      new RegExp(`there is (no room for one more|room for ${written(placedOneByOne(workers, USUAL))} more) of 4 vCPU · 8 GiB`),
      ...(draining > 0 ? [new RegExp(`${written(draining)} (is|are) draining`)] : []),
      ...(offline > 0 ? [new RegExp(`${written(offline)} ha(s|ve) been offline`)] : []),
      new RegExp(`\\b${written(stats.total_vms)} VMs? holds? a slot, ${written(stats.schedulable_vm_slots)} slots? (is|are) placeable`),
      ...(failed > 0 ? [new RegExp(`${plural(failed, 'VM')}\\s+ha(s|ve) ended by an error`)] : []),
      new RegExp(`Revision ${written(stats.revision)},`),
      ...zones.map((zone) => new RegExp([
        zone.name, plural(zone.there.length, 'worker'), `CPU ${share(zone.usedCores, zone.cores)} allocated`, `${written(slotsOf(zone))} slots placeable`,
        ...(zone.draining > 0 ? [`${zone.draining} draining`] : []), ...(zone.offline > 0 ? [`,?\\s*${zone.offline} offline`] : []),
      ].join('\\s*'))),
    ]);
  },

  fleet: async (visit, { workers, zones, stats }) => {
    const all = counted(workers);
    return [
      ...lacks(await textOf(visit), [
        all.draining + all.offline === 0 ? `All ${workers.length} workers take new VMs` : `${all.active} of ${workers.length} workers take new VMs; ${[
          ...(all.draining > 0 ? [`${all.draining} ${all.draining === 1 ? 'is' : 'are'} draining`] : []),
          ...(all.offline > 0 ? [`${all.offline} ${all.offline === 1 ? 'is' : 'are'} offline`] : []),
        ].join(', ')}`,
        `${share(all.usedCores, all.cores)} of ${plural(all.cores, 'core')} and ${share(all.usedMemory, all.memory)} of`,
        `are allocated to ${plural(stats.total_vms, 'VM')}`,
      ]),
      ...differs('in figures', await cellsOf(visit, 'Workers in figures'), zones.map((zone) => [
        zone.name, ...[zone.there.length, zone.active, zone.draining, zone.offline].map(written),
        share(zone.usedCores, zone.cores), share(zone.usedMemory, zone.memory), written(zone.vmCount), written(zone.maxVms),
      ])),
    ];
  },

  workers: async (visit, { stats, workers, zones }) => {
    const rows = new Map(await rowsOf(visit, 'Workers'));
    return [
      ...lacks(await textOf(visit), [
        new RegExp(`^${plural(stats.total_workers, 'worker')}$`, 'm'),
        ...['active', 'draining', 'offline'].map((status) => new RegExp(`${status}\\s*${written(stats[`${status}_workers`])}\\b`)),
        ...zones.map(({ name, there }) => new RegExp(`${name}\\s*${there.length}\\b`)),
      ]),
      ...differs('workers', [...rows.keys()].sort(), workers.map(({ id }) => id)),
      ...workers.flatMap((worker) => lacks(rows.get(worker.id) ?? '', [
        `${worker.id} ${statusOf(worker)} ${worker.zone} ${percent(worker.cpu_usage_percent)} ${percent(worker.memory_usage_percent)} ${worker.vm_count} / ${worker.max_vms} `,
      ])),
    ];
  },

  [`workers/${WORKER}`]: async (visit, { workers, vms, stats: _ }) => {
    const worker = workers.find(({ id }) => id === WORKER);
    const there = vms.filter(({ worker_id: id }) => id === WORKER);
    const rows = await rowsOf(visit, 'VMs of this worker');
    const text = (await textOf(visit)).replace(/\s+/g, ' ');
    return [
      ...lacks(text, [
        `${WORKER} ${statusOf(worker)}`,
        new RegExp(`CPU ${written(worker.used_cpu_cores)}( cores?)? of ${plural(worker.cpu_cores, 'core')} ${percent(worker.cpu_usage_percent)}${reserved(worker.reserved_cpu_cores, 'cores?')}`),
        new RegExp(`Memory [\\d.]+ [MGT]iB of [\\d.]+ [MGT]iB ${percent(worker.memory_usage_percent)}`),
        new RegExp(`VM slots ${worker.vm_count} of ${worker.max_vms} ${share(worker.vm_count, worker.max_vms)}`),
        `VMs ${there.length} Open`,
        ...(worker.status === 'active' ? [new RegExp(`${plural(worker.free_cpu_cores, 'core')}, .* and ${plural(worker.free_vm_slots, 'slot')} are free|is full`)] : []),
      ]),
      ...differs('its VMs', rows.map(([id, row]) => [id, there.find((vm) => vm.id === id)?.status, VM_STATUSES.find((status) => row.includes(` ${status} `))]).sort(), there.map(({ id, status }) => [id, status, status]).sort()),
    ];
  },

  vms: async (visit, { vms, holding, zones, workers }) => {
    const zoneOf = new Map(workers.map(({ id, zone }) => [id, zone]));
    const rows = await rowsOf(visit, 'VMs');
    const first = holding.map(({ id }) => id).sort().slice(0, rows.length);
    const byId = new Map(vms.map((vm) => [vm.id, vm]));
    return [
      ...lacks(await textOf(visit), [
        new RegExp(`^${plural(holding.length, 'VM')}${vms.length > holding.length ? ` · ${written(vms.length - holding.length)} more stopped or failed` : ''}$`, 'm'),
        ...VM_STATUSES.map((wanted) => new RegExp(`${wanted}\\s*${vms.filter(({ status }) => status === wanted).length}\\b`)),
        ...zones.map(({ name }) => new RegExp(`${name}\\s*${holding.filter(({ worker_id: id }) => zoneOf.get(id) === name).length}\\b`)),
      ]),
      ...(rows.length < Math.min(20, holding.length) ? [`only ${rows.length} rows`] : []),
      ...differs('the first VMs', rows.map(([id]) => id), first),
      ...rows.filter(([id]) => byId.has(id)).flatMap(([id, row]) => {
        const vm = byId.get(id);
        return lacks(row, [`${vm.name} ${vm.status} ${vm.worker_id} ${zoneOf.get(vm.worker_id)} ${vm.vcpus} `]);
      }),
    ];
  },

  drains: async (visit, { drains, ended }) => {
    const text = await textOf(visit);
    const cards = await visit.page.$$eval('main article[data-worker]', (all) => all.map((one) => [one.dataset.worker, one.dataset.state, one.innerText.replace(/\s+/g, ' ')]));
    const safe = drains.filter(({ safe_to_power_off: isSafe }) => isSafe).length;
    const remaining = drains.reduce((sum, { remaining_vms: left }) => sum + left, 0);
    return [
      ...lacks(text, [
        drains.length === 0 ? 'No worker is draining' : `${plural(drains.length, 'worker')} ${drains.length === 1 ? 'is' : 'are'} draining${safe > 0 ? `: ${safe} ${safe === 1 ? 'is' : 'are'} safe to power off` : ''}\n`,
        ...(drains.length === 0 ? [] : [remaining === 0 ? 'No VM is left on them' : new RegExp(`${plural(remaining, 'VM')} (is|are) left on them`)]),
        ...(ended.total > 0 ? [`the last one of ${plural(ended.total, 'worker')}`] : []),
      ]),
      ...differs('cards', cards.map(([id, state]) => [id, state]).sort(), drains.map(({ worker_id: id, state }) => [id, state]).sort()),
      ...drains.flatMap(({ worker_id: id, initial_vms: initial, remaining_vms: left, safe_to_power_off: isSafe }) => {
        const most = Math.max(initial, left);
        const words = isSafe ? (most > 0 ? `${plural(most, 'VM')} left it` : 'It held no VM') : most === 0 ? 'No VM is known there' : `${left} of ${plural(most, 'VM')} left`;
        return lacks(cards.find(([worker]) => worker === id)?.[2] ?? '', [words]);
      }),
    ];
  },

  capacity: async (visit, { workers, zones, holding: _ }) => {
    const least = (groups) => Math.min(...groups.map((lost) => placedOneByOne(workers.filter((worker) => !lost(worker)), USUAL)));
    const rows = await cellsOf(visit, 'Table by zone');
    return [
      ...lacks(await textOf(visit), [
        new RegExp(`fit now\\s*${written(placedOneByOne(workers, USUAL))}\\b`),
        new RegExp(`without the worker with the most room[^\\n]*\\s*${written(least(workers.map(({ id }) => (worker) => worker.id === id)))}\\b`),
        new RegExp(`without the zone with the most room[^\\n]*\\s*${written(least(zones.map(({ name }) => ({ zone }) => zone === name)))}\\b`),
      ]),
      ...differs('by zone', rows.map(([name, fit, , , cores, , slots, vms]) => [name, fit, cores, slots, vms]), zones.map((zone) => [
        zone.name, written(placedOneByOne(zone.there, USUAL)), written(activeSum(zone, 'free_cpu_cores')), written(slotsOf(zone)), written(zone.vmCount),
      ])),
    ];
  },

  'events?fold=no': async (visit, { events }) => {
    const rows = await visit.page.$$eval('main [role=row][data-cursor]', (all) => all.map((row) => row.dataset.cursor));
    const first = rows.slice(0, 20);
    return [...(first.length < 10 ? [`only ${first.length} events`] : []), ...differs('events', first, events.slice(0, first.length).map(({ cursor }) => cursor))];
  },

  health: async (visit, { stats }) => {
    const figures = await visit.page.$$eval('main [data-stat]', (all) => all.map((one) => [one.dataset.stat, Number(one.textContent.replaceAll(/[^\d]/g, ''))]));
    const revision = await visit.page.$eval('main [data-revision]', (one) => one.textContent);
    const names = ['total_workers', 'active_workers', 'draining_workers', 'offline_workers', 'total_vms'];
    return [...differs('figures', figures, names.map((name) => [name, stats[name]])), ...differs('revision', revision, written(stats.revision))];
  },
};

/** How many VM slots of a zone are placeable. */
const slotsOf = (zone) => activeSum(zone, 'free_vm_slots');

function activeSum({ there }, field) {
  return there.filter(({ status }) => status === 'active').reduce((sum, worker) => sum + worker[field], 0);
}

const reserved = (amount, unit) => (amount > 0 ? ` ${amount} ${unit} reserved` : '');

/** What the status of a worker is called. */
function statusOf({ status, drain }) {
  if (status !== 'draining') return status;
  return drain.safe_to_power_off ? 'safe to power off' : drain.state === 'overdue' ? 'overdue' : 'draining';
}
