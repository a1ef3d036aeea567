// The dashboard without a browser: its types and operations, its weight, and those of its modules that only compute.
// It is looked at where the build has put its sources and packages, below the target folder.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The folder in which `build.rs` builds the pages. */
const WORKSHOP = path.resolve(process.env.AETHERIUM_TEST_OUTPUT ?? 'target/conformance', '../web');

const DASHBOARD = path.join(WORKSHOP, 'dashboard');

describe('dashboard', () => {
  let folder;
  before(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'aetherium-dashboard-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  /** A module of the dashboard, with all that it imports. */
  async function load(name) {
    const { build } = createRequire(path.join(WORKSHOP, 'package.json'))('esbuild');
    const outfile = path.join(folder, `${name.replaceAll('/', '-')}.mjs`);
    await build({ entryPoints: [path.join(DASHBOARD, `${name}.ts`)], bundle: true, format: 'esm', platform: 'node', outfile, logLevel: 'error' });
    return import(pathToFileURL(outfile));
  }

  test('every operation fits the schema, and all types agree', async () => {
    await run(process.execPath, [path.join(DASHBOARD, 'generate-types.mjs'), path.resolve('schema.graphql')]);
    const compiler = path.join(WORKSHOP, 'node_modules/typescript/bin/tsc');
    const { stdout } = await run(process.execPath, [compiler, '--noEmit', '--project', DASHBOARD]).catch((error) => error);
    assert.equal(stdout, '');
  });

  test('what a browser loads is within its budget', async () => {
    const { excesses } = await import(pathToFileURL(path.join(DASHBOARD, 'budget.mjs')));
    const bundles = (await readdir(WORKSHOP)).filter((name) => name.startsWith('bundle-'));
    assert.equal(bundles.length, 1, `one bundle in ${WORKSHOP}`);
    const sizes = JSON.parse(await readFile(path.join(WORKSHOP, bundles[0], 'sizes.json'), 'utf8'));
    assert.ok(Object.keys(sizes.pages).length >= 10, JSON.stringify(sizes));
    assert.deepEqual(excesses(sizes), []);
    assert.equal(excesses({ script: 70_001, style: 15_001, pages: { one: 40_001, other: 40_000 } }).length, 3);
  });

  describe('search', () => {
    let search;
    before(async () => { search = await load('search'); });

    const cases = [
      ['', {}],
      ['zone:us-west-1a label.env=prod status:offline', { zones: ['us-west-1a'], labels: [{ key: 'env', value: 'prod' }], statuses: ['OFFLINE'] }],
      ['zone:a,b status:active,draining', { zones: ['a', 'b'], statuses: ['ACTIVE', 'DRAINING'] }],
      ['zone:none', { hasZone: false }],
      ['rack 7', { search: 'rack 7' }],
      ['"zone:a"', { search: 'zone:a' }],
      ['label.owner="night shift"', { labels: [{ key: 'owner', value: 'night shift' }] }],
      ['label.env', { search: 'label.env' }],
      ['label:env', { labels: [{ key: 'env' }] }],
      ['label.env=', { labels: [{ key: 'env' }] }],
      ['label.App.Kubernetes=x=y', { labels: [{ key: 'App.Kubernetes', value: 'x=y' }] }],
      ['free.cpu>=4 free.mem>=8g free.vms>=1', { minFreeCpuCores: 4, minFreeMemoryMb: 8192, minFreeVmSlots: 1 }],
      ['STATUS:Offline', { statuses: ['OFFLINE'] }],
      ['cap:kvm healthy:no id:w1', { capabilities: ['kvm'], isHealthy: false, ids: ['w1'] }],
      ['zone:', {}],
      ['192.0.2.7:8081', { search: '192.0.2.7:8081' }],
    ];
    for (const [text, filter] of cases) {
      test(`“${text}”`, () => {
        const found = search.workerSearch(text);
        assert.deepEqual(found.filter, filter);
        assert.deepEqual(found.problems, []);
      });
    }

    test('what is not understood is said, and the rest holds', () => {
      const { filter, problems } = search.workerSearch('status:lazy colour:red free.cpu>=many zone:a');
      assert.deepEqual(filter, { zones: ['a'] });
      assert.equal(problems.length, 3);
    });

    test('a filter has other ways to be asked', () => {
      const { filter } = search.workerSearch('zone:a,b status:offline label.env=prod label:gpu free.cpu>=4 "night shift"');
      const { parameters, options } = search.otherWays(filter);
      assert.deepEqual(parameters, [
        ['zone', 'a'], ['zone', 'b'], ['status', 'offline'], ['label', 'env=prod'], ['label', 'gpu'], ['search', 'night shift'], ['min_free_cpu_cores', '4'],
      ]);
      assert.deepEqual(options, [['-l', 'env=prod'], ['-l', 'gpu'], ['--zone', 'a'], ['--zone', 'b'], ['--status', 'offline'], ['--search', 'night shift']]);
    });

    test('a facet adds a word, joins another of its key, and takes its own away', () => {
      const { toggle, has } = search;
      assert.equal(toggle('', 'status', 'offline'), 'status:offline');
      assert.equal(toggle('rack zone:a', 'zone', 'b'), 'rack zone:a,b');
      assert.equal(toggle('rack zone:a,b', 'zone', 'a'), 'rack zone:b');
      assert.equal(toggle('zone:b', 'zone', 'b'), '');
      assert.equal(toggle('zone:a', 'label.env', 'a b'), 'zone:a label.env="a b"');
      assert.ok(has('zone:a,b', 'zone', 'b'));
    });
  });

  describe('time', () => {
    let time;
    before(async () => { time = await load('time'); });

    test('is told in its largest unit', () => {
      const { relative } = time;
      const told = [-500, -8_000, -31 * 60_000, -5 * 3_600_000, -47 * 3_600_000, -3 * 86_400_000, 2 * 3_600_000 + 5_000].map((at) => relative(at, 0));
      assert.deepEqual(told, ['now', '8 s ago', '31 min ago', '5 h ago', '47 h ago', '3 d ago', 'in 2 h']);
    });

    test('lengths have two units where one is coarse', () => {
      assert.deepEqual([59_000, 61_000, 7_500_000, 90_000_000].map(time.exactLength), ['59 s', '1 min 1 s', '2 h 5 min', '1 d 1 h']);
    });

    test('durations of the API are read', () => {
      assert.deepEqual(['2h30m45s', '500ms', '1.5h', '2 h', '', 'soon', '5'].map(time.milliseconds), [9_045_000, 500, 5_400_000, 7_200_000, null, null, null]);
    });
  });

  describe('store', () => {
    let store;
    before(async () => { store = await load('api/store'); });

    test('an older answer changes nothing but what was not known', () => {
      const { merge } = store;
      const known = { id: 'w1', revision: 7, status: 'DRAINING' };
      assert.deepEqual(merge(known, { id: 'w1', revision: 6, status: 'ACTIVE', zone: 'a' }), { ...known, zone: 'a' });
      assert.deepEqual(merge(known, { id: 'w1', revision: 8, status: 'ACTIVE' }), { id: 'w1', revision: 8, status: 'ACTIVE' });
    });

    test('what says the same is the same row, so that nothing is drawn', () => {
      const known = { id: 'w1', revision: 7, labels: [{ key: 'env', value: 'prod' }] };
      assert.equal(store.merge(known, { id: 'w1', revision: 7, labels: [{ key: 'env', value: 'prod' }] }), known);
    });

    test('a row is one signal, whoever asks for it', () => {
      const rows = new store.Store();
      const row = rows.row('w1');
      assert.equal(row.value, undefined);
      rows.put([{ id: 'w1', revision: 1 }, { id: 'w2', revision: 1 }]);
      assert.equal(row.value.revision, 1);
      rows.clear();
      assert.equal(row.value, undefined);
    });
  });

  describe('fleet', () => {
    let model;
    before(async () => { model = await load('pages/fleet/model'); });

    const cell = (id, more = {}) => ({
      id, zone: 'a', status: 'ACTIVE', schedulingPolicy: 'ACTIVE', cpuCores: 10, usedCpuCores: 5, memoryMb: 1000, usedMemoryMb: 100, vmCount: 1, maxVms: 4,
      revision: 1, labels: [], seenAt: 0, ...more,
    });

    test('a colour says how full, or how old, in six steps', () => {
      const { stepOf, valueOf } = model;
      assert.deepEqual([0, 16, 17, 50, 99.9, 100, 250].map((value) => stepOf(value, 'cpu')), [0, 0, 1, 3, 5, 5, 5]);
      assert.deepEqual([0, 4.9, 5, 15, 59, 299, 9_999].map((value) => stepOf(value, 'age')), [0, 0, 1, 2, 3, 4, 5]);
      assert.deepEqual(['cpu', 'memory', 'vms', 'age'].map((by) => valueOf(cell('w'), by, 7_000)), [50, 10, 25, 7]);
      assert.equal(valueOf(cell('w', { maxVms: 0 }), 'vms', 0), 0);
    });

    test('groups are by zone or label, sorted as people sort, with what has no value last', () => {
      const cells = [cell('w10', { zone: 'z10' }), cell('w2', { zone: 'z2' }), cell('w1', { zone: null }), cell('w3', { zone: 'z2', labels: [{ key: 'env', value: 'prod' }] })];
      const groups = model.intoGroups(cells, 'zone');
      assert.deepEqual(groups.map(({ value, cells }) => [value, cells.map(({ id }) => id)]), [['z2', ['w2', 'w3']], ['z10', ['w10']], [null, ['w1']]]);
      assert.deepEqual(model.intoGroups(cells, 'label.env').map(({ value, cells }) => [value, cells.length]), [['prod', 1], [null, 3]]);
      assert.deepEqual(model.intoGroups(cells, 'none').map(({ cells }) => cells.length), [4]);
    });

    test('too many groups are put together, and nobody is lost', () => {
      const cells = Array.from({ length: 100 }, (_, at) => cell(`w${at}`, { zone: `z${at % 60}` }));
      const groups = model.intoGroups(cells, 'zone', 20);
      assert.equal(groups.length, 20);
      assert.equal(groups.at(-1).folded, 41);
      assert.equal(groups.reduce((sum, { cells }) => sum + cells.length, 0), 100);
      assert.ok(cells.every(({ group, index }, at) => group.cells[index] === cells[at]));
    });

    test('cells are as large as the screen lets them be', () => {
      const { arrange } = model;
      assert.ok(arrange([3, 4, 3], 1_380, 700).isTile);
      assert.ok(arrange([3, 4, 3], 336, 300).isTile, 'a few workers have words also on a phone');
      const many = arrange([3_333, 3_333, 3_334], 1_380, 700);
      assert.ok(!many.isTile && many.pitchX >= 8 && many.pitchX <= 12, JSON.stringify(many));
      assert.ok(Math.ceil(3_334 / many.perRow) * many.pitchY <= 700, 'all of them are seen without scrolling');
      assert.ok(arrange([170, 170, 160], 1_380, 700).pitchX > many.pitchX);
      assert.equal(arrange([10_000], 336, 500, 12).pitchX, 12, 'fingers need room');
    });

    test('a point is a cell, or between cells', () => {
      const [group] = model.intoGroups([cell('w1'), cell('w2'), cell('w3')], 'zone');
      const arrangement = { perRow: 2, pitchX: 10, pitchY: 10, gap: 2 };
      assert.deepEqual([[1, 1], [11, 1], [1, 12], [9, 1], [1, 9], [12, 12], [25, 1], [-1, 1]].map(([x, y]) => model.cellAt(group, arrangement, x, y)?.id), ['w1', 'w2', 'w3', undefined, undefined, undefined, undefined, undefined]);
    });

    test('keys lead everywhere', () => {
      const groups = model.intoGroups([...'abcde'].map((id) => cell(id)).concat([...'xyz'].map((id) => cell(id, { zone: 'b' }))), 'zone');
      const all = Object.fromEntries(groups.flatMap(({ cells }) => cells).map((one) => [one.id, one]));
      const to = (from, key) => model.neighbour(groups, all[from], key, 2)?.id;
      assert.deepEqual([to('a', 'ArrowRight'), to('e', 'ArrowRight'), to('x', 'ArrowLeft'), to('a', 'ArrowLeft')], ['b', 'x', 'e', undefined]);
      assert.deepEqual([to('a', 'ArrowDown'), to('d', 'ArrowDown'), to('e', 'ArrowDown'), to('y', 'ArrowUp'), to('c', 'ArrowUp'), to('z', 'ArrowDown')], ['c', 'e', 'x', 'e', 'a', undefined]);
      assert.deepEqual([to('b', 'End'), to('b', 'Home'), to('b', 'PageDown'), to('z', 'PageUp'), to('a', 'Enter')], ['e', 'a', 'x', 'a', undefined]);
    });
  });

  describe('drains', () => {
    let model;
    before(async () => { model = await load('pages/drains/model'); });

    const drain = (more) => ({ state: 'DRAINING', safeToPowerOff: false, startedAt: '2025-01-01T00:00:00Z', deadlineAt: null, acknowledgedAt: '2025-01-01T00:00:01Z', initialVms: 5, remainingVms: 5, ...more });
    const at = (minutes) => Date.parse('2025-01-01T00:00:00Z') + minutes * 60_000;

    test('each is in one column', () => {
      const { stageOf } = model;
      assert.equal(stageOf(drain({ acknowledgedAt: null })), 'requested');
      assert.equal(stageOf(drain({})), 'acknowledged');
      assert.equal(stageOf(drain({ initialVms: null })), 'acknowledged');
      assert.equal(stageOf(drain({ remainingVms: 2 })), 'leaving');
      assert.equal(stageOf(drain({ remainingVms: 0 })), 'leaving', 'empty, and something is in the way');
      assert.equal(stageOf(drain({ remainingVms: 0, state: 'COMPLETE' })), 'leaving', 'complete and silent is not safe');
      assert.equal(stageOf(drain({ remainingVms: 0, state: 'COMPLETE', safeToPowerOff: true })), 'safe');
    });

    test('the most urgent come first', () => {
      const late = drain({ state: 'OVERDUE', deadlineAt: '2025-01-01T03:00:00Z' });
      const soon = drain({ deadlineAt: '2025-01-01T01:00:00Z' });
      const older = drain({ startedAt: '2024-12-31T00:00:00Z' });
      assert.deepEqual([older, drain({}), soon, late].sort(model.byUrgency), [late, soon, older, drain({})]);
    });

    test('what to expect is told once something has left', () => {
      const { paceOf } = model;
      assert.equal(paceOf(drain({}), at(10)), null);
      assert.equal(paceOf(drain({ remainingVms: 0 }), at(10)), null);
      assert.equal(paceOf(drain({ remainingVms: 6 }), at(10)), null, 'one more has come');
      assert.deepEqual(paceOf(drain({ remainingVms: 3, deadlineAt: '2025-01-01T00:20:00Z' }), at(10)), { each: 300_000, left: 900_000, late: 300_000 });
      assert.equal(paceOf(drain({ remainingVms: 3 }), at(10)).late, null);
    });

    test('they are searched with the words of workers', () => {
      const { drainSearch } = model;
      assert.deepEqual(drainSearch('zone:a label.env=prod id:w1 rack').filter, { workerIds: ['w1'], zones: ['a'], labels: [{ key: 'env', value: 'prod' }], search: 'rack' });
      assert.equal(drainSearch('status:offline free.cpu>=4').problems.length, 2);
    });
  });

  describe('events', () => {
    let model;
    before(async () => { model = await load('pages/events/model'); });

    const ALL = ['WORKER_OFFLINE', 'WORKER_ONLINE', 'WORKER_DRAIN_STARTED', 'WORKER_DRAIN_OVERDUE', 'WORKER_ACTIVATED', 'VM_FAILED', 'VM_MOVED', 'TOKEN_CREATED'];
    const NOON = Date.parse('2025-01-01T12:00:00Z');
    const search = (text) => model.eventSearch(text, ALL, NOON);

    test('words with a key are asked of the server', () => {
      assert.deepEqual(search('kind:worker_offline,vm-failed worker:w1 vm:v1,v2 zone:a,none actor:operator token:abc').filter, {
        kinds: ['WORKER_OFFLINE', 'VM_FAILED'], workerIds: ['w1'], vmIds: ['v1', 'v2'], zones: ['a', ''], actors: ['OPERATOR'], actorTokenIds: ['abc'],
      });
      assert.deepEqual(search('kind:moved').filter.kinds, ['VM_MOVED']);
      assert.ok(search('kind:drain').filter.kinds.includes('WORKER_ACTIVATED'));
      assert.deepEqual(search('worker:"rack 7"').filter, { workerIds: ['rack 7'] });
    });

    test('times are lengths before now, or times', () => {
      assert.equal(search('since:2h').since, '2025-01-01T10:00:00.000Z');
      assert.equal(search('until:2024-12-31T00:00:00Z').until, '2024-12-31T00:00:00.000Z');
      assert.equal(search('since:2024-12-31').since, '2024-12-31T00:00:00.000Z');
    });

    test('words without a key are looked for in what is read', () => {
      const { words } = search('Disk kind:drain');
      assert.deepEqual(words, ['disk']);
      const event = { message: 'Worker w1 is draining', workerId: 'w1', vmId: null, vmName: null, reason: 'new disks', actorName: null };
      assert.ok(model.hasWords(event, words));
      assert.ok(!model.hasWords(event, ['disk', 'w2']));
    });

    test('what is not understood is said', () => {
      const { problems, filter } = search('kind:lazy actor:bob since:soon status:offline');
      assert.equal(problems.length, 4);
      assert.deepEqual(filter, { kinds: [] }, 'a kind that is not known matches nothing');
    });

    test('one word takes the place of another', () => {
      assert.equal(model.withTerm('kind:drain since:1h', 'since', '24h'), 'kind:drain since:24h');
      assert.equal(model.withTerm('kind:drain since:1h', 'since', null), 'kind:drain');
    });

    test('bars hold every event once', () => {
      const bars = model.histogram([{ at: 0, isBad: false }, { at: 5, isBad: true }, { at: 99, isBad: false }, { at: 100, isBad: false }], 0, 100, 10);
      assert.deepEqual(bars.map(({ total }) => total), [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
      assert.equal(bars[0].bad, 1);
    });
  });

  describe('health', () => {
    let model;
    before(async () => { model = await load('pages/health/model'); });

    test('limits and version are those of the OpenAPI document', async () => {
      const document = JSON.parse(await readFile('docs/openapi.json', 'utf8'));
      const limits = Object.fromEntries(model.limitsOf(document).map(({ what, most }) => [what, most]));
      assert.equal(limits['rows of a page'], '500');
      assert.equal(limits['time of a drain until its deadline'], '365 d');
      assert.equal(Object.keys(limits).length, 12, JSON.stringify(limits));
      assert.equal(model.versionOf(document), document.info.version);
      assert.deepEqual(model.limitsOf(null), []);
    });

    test('a part that is not known has words, too', () => {
      assert.ok(model.wordsOf('commits').means.includes('503'));
      assert.ok(model.wordsOf('something new').does);
    });

    test('how far behind it may be is told as people say it', () => {
      assert.deepEqual([0, 0.21, 42.5, 150].map(model.staleness), ['not at all', '210 ms', '42.5 s', '2 min 30 s']);
    });
  });

  describe('search of VMs', () => {
    let search;
    before(async () => { search = await load('vm-search'); });

    const cases = [
      ['', {}],
      ['status:failed zone:us-west-1a worker:rack-7', { statuses: ['FAILED'], zones: ['us-west-1a'], workerIds: ['rack-7'] }],
      ['status:Stopped,failed', { statuses: ['STOPPED', 'FAILED'] }],
      ['status:any', { statuses: ['CREATED', 'STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'FAILED'] }],
      ['zone:none duplicate:yes', { hasZone: false, duplicate: true }],
      ['duplicate:no id:a,b', { duplicate: false, ids: ['a', 'b'] }],
      ['web 7', { search: 'web 7' }],
      ['worker:"rack 7"', { workerIds: ['rack 7'] }],
      ['status:', {}],
    ];
    for (const [text, filter] of cases) {
      test(`“${text}”`, () => {
        const found = search.vmSearch(text);
        assert.deepEqual(found.filter, filter);
        assert.deepEqual(found.problems, []);
      });
    }

    test('what is not understood is said, and the rest holds', () => {
      const { filter, problems } = search.vmSearch('status:lazy colour:red zone:a');
      assert.deepEqual(filter, { zones: ['a'] });
      assert.equal(problems.length, 2);
    });

    test('a facet counts what its other choices would show', () => {
      const { withoutStatuses, withoutZones } = search.vmSearch('status:failed zone:a web');
      assert.deepEqual(withoutStatuses, { zones: ['a'], search: 'web' });
      assert.deepEqual(withoutZones, { statuses: ['FAILED'], search: 'web' });
    });

    test('what only says where is answered by the sums of workers', () => {
      const isOnlyAboutPlace = (text) => search.isOnlyAboutPlace(search.vmSearch(text).filter);
      assert.deepEqual(['', 'zone:a worker:w', 'status:running', 'web', 'duplicate:no'].map(isOnlyAboutPlace), [true, true, false, false, false]);
    });
  });

  describe('map of VMs', () => {
    let map;
    before(async () => { map = await load('vm-map'); });

    const worker = (id, zone, usedCpuCores, rest = {}) =>
      ({ id, zone, status: 'ACTIVE', vmCount: usedCpuCores / 2, maxVms: 20, cpuCores: 16, usedCpuCores, memoryMb: 65_536, usedMemoryMb: usedCpuCores * 2_048, ...rest });

    test('workers are summed by zone, the largest first, and those with nothing are left out', () => {
      const zones = map.zonesOf([worker('w1', 'a', 4), worker('w2', 'b', 8), worker('w3', 'a', 6, { status: 'DRAINING' }), worker('w4', null, 0)], 'vcpu');
      assert.deepEqual(zones.map(({ id, vcpu, vms }) => [id, vcpu, vms]), [['a', 10, 5], ['b', 8, 4]]);
      assert.deepEqual(zones[0].items.map(({ id, share, state }) => [id, share, state]), [['w3', 0.375, 'draining'], ['w1', 0.25, 'usual']]);
    });

    test('areas are as large as what they stand for, and lie within the whole', () => {
      const rects = map.layout(map.zonesOf([worker('w1', 'a', 12), worker('w2', 'a', 4)], 'vcpu'), 'vcpu', 400, 300);
      const [w1, w2] = ['w1', 'w2'].map((id) => rects.find(({ item }) => item.id === id));
      const ratio = (w1.width * w1.height) / (w2.width * w2.height);
      assert.ok(ratio > 2.8 && ratio < 3.2, `${ratio}`);
      for (const { x, y, width, height } of rects) assert.ok(x >= 0 && y >= 0 && x + width <= 400.01 && y + height <= 300.01);
      assert.equal(map.rectAt(rects, w1.x + 1, w1.y + 1).item.id, 'w1');
      assert.equal(map.rectAt(rects, -1, 5), undefined);
      assert.deepEqual(map.layout([], 'vcpu', 0, 0), []);
    });

    test('arrow keys go to what lies beside, and stay where nothing does', () => {
      const at = (id, x, y) => ({ item: { id }, x, y, width: 10, height: 10, depth: 1 });
      const rects = [at('a', 0, 0), at('b', 20, 0), at('c', 0, 20), { ...at('inside', 21, 1), depth: 2 }];
      const go = (from, direction) => map.beside(rects, rects[from], direction).item.id;
      assert.deepEqual([go(0, 'right'), go(0, 'down'), go(0, 'left'), go(1, 'left'), go(2, 'up')], ['b', 'c', 'a', 'a', 'a']);
    });

    test('ten thousand workers are laid out without being noticed', () => {
      const workers = Array.from({ length: 10_000 }, (_, index) => worker(`w${index}`, `zone-${index % 6}`, 2 + (index % 14)));
      const begun = performance.now();
      const rects = map.layout(map.zonesOf(workers, 'vcpu'), 'vcpu', 1_000, 600);
      assert.equal(rects.length, 10_006);
      assert.ok(performance.now() - begun < 1_000);
    });

    test('VMs that match a search are added to the sums of their workers, page by page', () => {
      const sums = new Map();
      map.addVms(sums, [{ workerId: 'w1', zone: 'a', vcpus: 2, memoryMb: 1_024 }, { workerId: null, zone: null, vcpus: 1, memoryMb: 512 }]);
      map.addVms(sums, [{ workerId: 'w1', zone: 'a', vcpus: 4, memoryMb: 2_048 }]);
      assert.deepEqual([...sums.values()].map(({ id, vmCount, usedCpuCores, usedMemoryMb }) => [id, vmCount, usedCpuCores, usedMemoryMb]), [['w1', 2, 6, 3_072], ['', 1, 1, 512]]);
    });

    test('the address says what is looked at', () => {
      assert.deepEqual(['', 'zone:us west', 'zone:', 'worker:w1', 'elsewhere'].map(map.scopeOf),
        [{ level: 'all' }, { level: 'zone', zone: 'us west' }, { level: 'zone', zone: '' }, { level: 'worker', id: 'w1' }, { level: 'all' }]);
    });
  });

  describe('question of capacity', () => {
    let capacity;
    before(async () => { capacity = await load('capacity-question'); });
    const ask = (text) => capacity.questionOf(new URLSearchParams(text));

    test('an address without anything asks for ten VMs of 4 vCPU and 8 GiB', () => {
      const question = ask('');
      assert.deepEqual(capacity.capacityRequest(question, { isLoss: true }), { vcpus: 4, memoryMb: 8_192 });
      assert.deepEqual(capacity.placementRequest(question), { vcpus: 4, memoryMb: 8_192, count: 10, strategy: 'SPREAD', distinct: 'NONE' });
    });

    test('an address says all of it, and what it says wrongly it does not say', () => {
      const question = ask('vcpu=2&mem=512m&disk=20&n=3&zone=a,none&label=env=prod,gpu&cap=kvm&order=pack&apart=zone&without=b,none&lost=w1');
      assert.deepEqual(capacity.placementRequest(question), {
        vcpus: 2, memoryMb: 512, diskGb: 20, count: 3, zones: ['a', ''], labels: [{ key: 'env', value: 'prod' }, { key: 'gpu' }], capabilities: ['kvm'],
        strategy: 'PACK', distinct: 'ZONE', withoutZones: ['b', ''], withoutWorkers: ['w1'],
      });
      assert.equal('withoutZones' in capacity.capacityRequest(question, { isLoss: false }), false);
      assert.deepEqual(capacity.placementRequest(ask('vcpu=0&mem=much&n=1001')), capacity.placementRequest(ask('')));
    });

    test('memory is typed in GiB, or with its unit', () => {
      assert.deepEqual(['8', '1.5', '512m', '2 GiB', '0', 'much', ''].map(capacity.typedMemory), [8_192, 1_536, 512, 2_048, null, null, null]);
      assert.deepEqual([8_192, 1_536, 500].map(capacity.memoryWord), ['8g', '1536m', '500m']);
      assert.deepEqual([8_192, 1_536, 500].map(capacity.memoryField), ['8', '1.5', '500m']);
    });

    test('a zone is lost with one click, and there again with the next', () => {
      assert.equal(capacity.toggledZone([], 'a'), 'a');
      assert.equal(capacity.toggledZone(['a'], ''), 'a,none');
      assert.equal(capacity.toggledZone(['a', ''], 'a'), 'none');
    });

    test('the same is asked in a terminal', () => {
      const question = ask('vcpu=2&mem=4g&n=3&without=us west&apart=worker');
      assert.equal(capacity.commandOf(question, (text) => `'${text}'`), "fits --vcpus 2 --memory 4GiB --count 3 --without-zone 'us west' --distinct worker");
      assert.equal(capacity.placementQuery(question), 'vcpus=2&memory_mb=4096&count=3&without_zone=us+west&distinct=worker');
    });
  });

  describe('playground and reference', () => {
    const module = (name) => import(pathToFileURL(path.join(WORKSHOP, name)));

    test('a request is copied as a command, with what is hostile in quotes', async () => {
      const { curl } = await module('curl.js');
      const asked = { endpoint: 'http://h/graphql', query: "{ a(b: \"it's\") }", operationName: undefined, variables: '', headers: '', isStream: false, asksForTokens: false };
      assert.equal(curl(asked), `curl -s \\\n  'http://h/graphql' \\\n  -H 'Content-Type: application/json' \\\n  -d '{"query":"{ a(b: \\"it'\\''s\\") }"}'`);
      const stream = curl({ ...asked, variables: '{"a": 1}', headers: '{"x-a": "b"}', isStream: true, asksForTokens: true });
      for (const words of ['curl -sN', 'Bearer $AETHERIUM_TOKEN', 'Accept: text/event-stream', "'x-a: b'", '"variables":{"a":1}']) assert.ok(stream.includes(words), stream);
      assert.throws(() => curl({ ...asked, variables: '{' }), SyntaxError);
    });

    test('of a stream, what comes in its first seconds is an answer, and how to follow it', async () => {
      const { isStream, someOf } = await module('streams.js');
      assert.ok(isStream({ headers: { accept: 'text/event-stream' } }));
      assert.ok(!isStream({ headers: { Accept: 'application/json' } }));
      const fetched = globalThis.fetch;
      try {
        // It says much, and never ends.
        globalThis.fetch = async () => new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new TextEncoder().encode('data: 1\n\n'.repeat(5_000))) }), { headers: { 'content-type': 'text/event-stream' } });
        const text = await (await someOf('http://h/api/v1/events', {})).text();
        assert.match(text, /^data: 1/);
        assert.match(text, /: The stream goes on\..*\n: curl -sN 'http:\/\/h\/api\/v1\/events' -H 'Accept: text\/event-stream'\n$/);
        globalThis.fetch = async () => new Response('data: 2\n\n', { headers: { 'content-type': 'text/event-stream' } });
        assert.equal(await (await someOf('http://h/api/v1/events', {})).text(), 'data: 2\n\n');
      } finally {
        globalThis.fetch = fetched;
      }
    });
  });
});
