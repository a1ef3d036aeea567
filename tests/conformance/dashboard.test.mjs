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
      ['zone:"rack 1, floor 2",b', { zones: ['rack 1, floor 2', 'b'] }],
      ['zone:"a,b', { zones: ['a,b'] }],
      ['id:"w,1" cap:"x,y",z', { ids: ['w,1'], capabilities: ['x,y', 'z'] }],
      ['label.rack="1, 2"', { labels: [{ key: 'rack', value: '1, 2' }] }],
      ['label.rack=1,2', { labels: [{ key: 'rack', value: '1,2' }] }],
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
      assert.deepEqual(problems, [
        'Unknown status “lazy”: use active, draining or offline',
        'Unknown filter “colour”: use zone, status, label.KEY, cap, id, healthy, free.cpu, free.mem or free.vms',
        'Unknown amount “many”: use free.cpu>=4',
      ]);
    });

    test('one value is searched for as it is, whatever is in it, and stays that when it is printed', () => {
      const { searchFor, workerSearch, terms, print } = search;
      assert.equal(searchFor('zone', 'us-west-1a'), 'zone:us-west-1a');
      assert.equal(searchFor('zone', 'rack 1, floor 2'), 'zone:"rack 1, floor 2"');
      assert.equal(searchFor('label.owner', 'night shift'), 'label.owner="night shift"');
      for (const value of ['a', 'a b', 'a,b', ',', 'rack 1, floor 2', 'x=y', 'zone:b', '>=4']) {
        assert.deepEqual(workerSearch(searchFor('zone', value)).filter, { zones: [value] }, value);
        assert.deepEqual(workerSearch(searchFor('label.Rack', value)).filter, { labels: [{ key: 'Rack', value }] }, value);
      }
      for (const text of ['zone:"rack 1, floor 2",b rack label.x=1,2', '"zone:a" web', '"night shift"', 'zone:a,b free.cpu>=4', 'label.x= label:y']) {
        assert.deepEqual(terms(print(terms(text))), terms(text), text);
      }
    });

    test('a filter has other ways to be asked', () => {
      const { filter } = search.workerSearch('zone:a,b status:offline label.env=prod label:gpu "night shift"');
      const { options } = search.otherWays(filter);
      const { parameters } = search.otherWays({ ...filter, minFreeCpuCores: 4 });
      assert.deepEqual(parameters, [
        ['zone', 'a'], ['zone', 'b'], ['status', 'offline'], ['label', 'env=prod'], ['label', 'gpu'], ['search', 'night shift'], ['min_free_cpu_cores', '4'],
      ]);
      assert.deepEqual(options, [['-l', 'env=prod'], ['-l', 'gpu'], ['--zone', 'a'], ['--zone', 'b'], ['--status', 'offline'], ['--search', 'night shift']]);
      assert.deepEqual(search.otherWays({ hasZone: false }).options, [['--without-zone', '']]);
      assert.deepEqual(search.otherWays({}).options, []);
    });

    test('no command line is offered for what it cannot ask for', () => {
      for (const text of ['id:w1', 'healthy:no', 'free.cpu>=4', 'free.mem>=8g', 'free.vms>=1', 'zone:a zone:none']) {
        assert.equal(search.otherWays(search.workerSearch(text).filter).options, null, text);
      }
      assert.equal(search.otherWays({ hasZone: true }).options, null);
      assert.equal(search.otherWays({ zones: [''] }).options, null);
    });

    test('a facet adds a word, joins another of its key, and takes its own away', () => {
      const { toggle, has } = search;
      assert.equal(toggle('', 'status', 'offline'), 'status:offline');
      assert.equal(toggle('rack zone:a', 'zone', 'b'), 'rack zone:a,b');
      assert.equal(toggle('rack zone:a,b', 'zone', 'a'), 'rack zone:b');
      assert.equal(toggle('zone:b', 'zone', 'b'), '');
      assert.equal(toggle('zone:a', 'label.env', 'a b'), 'zone:a label.env="a b"');
      assert.ok(has('zone:a,b', 'zone', 'b'));
      assert.equal(toggle('zone:a', 'zone', 'b, c'), 'zone:a,"b, c"');
      assert.ok(has('zone:a,"b, c"', 'zone', 'b, c'));
      assert.equal(toggle('zone:a,"b, c"', 'zone', 'b, c'), 'zone:a');
      assert.equal(toggle('zone:a label.x=1,2', 'label.x', '1,2'), 'zone:a');
    });
  });

  test('labels that fit into a cell are shown, at least one, with room for how many more there are', async () => {
    const { labelsThatFit } = await load('labels');
    const labels = [['env', 'production'], ['tier', 'compute'], ['rack', 'r1']].map(([key, value]) => ({ key, value }));
    const shown = (count, width) => labelsThatFit(labels.slice(0, count), width).map(({ key }) => key);
    assert.deepEqual(shown(2, 222), ['env', 'tier'], 'both fit, and none is left');
    assert.deepEqual(shown(3, 222), ['env'], 'with one more there is no room for two and the rest');
    assert.deepEqual(shown(3, 400), ['env', 'tier', 'rack']);
    assert.deepEqual(shown(3, 10), ['env'], 'the first is cut rather than left out');
    assert.deepEqual(shown(0, 222), []);
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

    test('VMs that only have not left yet are told from what blocks', async () => {
      const { splitBlockers } = await load('blockers');
      const vm = (id, note, kind = 'VM_RUNNING') => ({ kind, vmId: id, note });
      const acknowledged = { kind: 'NOT_ACKNOWLEDGED', vmId: null, note: null };
      const all = [acknowledged, vm('a', null), vm('b', 'no other worker has a GPU'), vm('c', null, 'VM_STOPPING')];
      const { leaving, blocking } = splitBlockers(all);
      assert.deepEqual([leaving.map(({ vmId }) => vmId), blocking.map(({ vmId }) => vmId)], [['a', 'c'], [null, 'b']]);
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
      const stays = (note) => drain({ remainingVms: 3, blockers: [{ vmId: 'vm-1', note }] });
      assert.ok(paceOf(stays(null), at(10)));
      assert.equal(paceOf(stays('no other worker has a GPU'), at(10)), null);
    });

    test('they are searched with the words of workers', () => {
      const { drainSearch } = model;
      assert.deepEqual(drainSearch('zone:a label.env=prod id:w1 rack').filter, { workerIds: ['w1'], zones: ['a'], labels: [{ key: 'env', value: 'prod' }], search: 'rack' });
      assert.deepEqual(drainSearch('status:offline colour:red').problems, ['Unknown filter “colour”: use zone, label.KEY, cap or id', 'Unknown filter “status”: use zone, label.KEY, cap or id']);
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
      assert.deepEqual(search('zone:"rack 1, floor 2",b').filter, { zones: ['rack 1, floor 2', 'b'] });
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
      for (const problem of problems) assert.match(problem, /^Unknown (kind|actor|time|filter) “[^”]+”: use /);
      assert.deepEqual(filter, { kinds: [] }, 'a kind that is not known matches nothing');
    });

    test('one word takes the place of another', () => {
      assert.equal(model.withTerm('kind:drain since:1h', 'since', '24h'), 'kind:drain since:24h');
      assert.equal(model.withTerm('kind:drain since:1h', 'since', null), 'kind:drain');
      assert.equal(model.withTerm('zone:"a, b" since:1h', 'since', null), 'zone:"a, b"');
    });

    test('VM events of a minute are one line, whatever happens in between, and nothing is lost', async () => {
      const { folded, foldTitle, foldSpan, foldKinds, foldSearch } = await load('event-folds');
      let number = 0;
      const event = (kind, seconds, worker = 'w1', more = {}) => ({ id: `e${number += 1}`, kind, at: new Date(NOON + seconds * 1_000).toISOString(), workerId: worker, vmId: kind.startsWith('VM_') ? `vm-${number}` : null, zone: 'a', ...more });
      const log = [
        event('VM_CHANGED', 65), event('VM_STARTED', 61), event('VM_FAILED', 60.5),
        event('VM_STOPPED', 50), event('VM_FAILED', 49, 'w2'), event('WORKER_DRAIN_STARTED', 48), event('VM_CHANGED', 40, 'w2'), event('VM_CHANGED', 30, 'w3'), event('VM_FAILED', 29), event('VM_FAILED', 28),
        event('WORKER_OFFLINE', 20), event('VM_STARTED', 10), event('VM_FAILED', 9, 'w2', { zone: 'b' }),
      ];
      const lines = folded(log, 60_000);
      assert.deepEqual(lines.map(({ event, fold }) => (fold ? `${fold.kind} ${fold.events.length}` : event.kind)), [
        'VM_CHANGED', 'VM_STARTED', 'VM_FAILED', 'churn 4', 'failed 4', 'WORKER_DRAIN_STARTED', 'WORKER_OFFLINE',
      ]);
      assert.deepEqual(lines.flatMap(({ event, fold }) => (fold ? fold.events : [event])).map(({ id }) => id).sort(), log.map(({ id }) => id).sort());
      const [churn, failed] = lines.flatMap(({ fold }) => fold ?? []);
      assert.equal(foldTitle(churn), '4 VM events on 3 workers');
      assert.equal(foldKinds(churn), '1 started, 2 changed, 1 stopped');
      assert.match(foldSpan(churn), /:00:10–.*:00:50$/);
      assert.equal(foldSearch(churn), null);
      assert.equal(foldTitle(failed), '4 VMs failed on 2 workers');
      assert.equal(foldSearch(failed), 'status:failed');
      assert.equal(foldSearch({ kind: 'failed', events: failed.events.slice(0, 3) }), 'status:failed zone:a');
      assert.equal(foldSearch({ kind: 'failed', events: [{ ...failed.events[0], workerId: 'rack 7' }] }), 'status:failed worker:"rack 7"');
      assert.equal(foldSearch({ kind: 'failed', events: failed.events.map((one) => ({ ...one, zone: 'rack 1, floor 2' })) }), 'status:failed zone:"rack 1, floor 2"');
      const twice = failed.events.map((one) => ({ ...one, vmId: one.workerId }));
      assert.equal(foldTitle({ kind: 'failed', events: twice }), '2 VMs failed on 2 workers, 4 times in all');
      // Without a period they are one line each, of all time.
      assert.deepEqual(folded(log, Infinity).flatMap(({ fold }) => (fold ? [`${fold.kind} ${fold.events.length}`] : [])), ['churn 6', 'failed 5']);
    });

    describe('log', () => {
      let log;
      before(async () => { log = await load('pages/events/log'); });

      /** A server's log, newest first, in which VMs change, so many times in a minute, and every so many events there is a drain. */
      function history(length, inMinute = 1_000, drainEvery = 50) {
        const event = (number) => ({
          id: `e${number}`, revision: number, position: 0, kind: number % drainEvery === 0 ? 'WORKER_DRAIN_STARTED' : 'VM_CHANGED',
          at: new Date(NOON + Math.floor(number / inMinute) * 60_000).toISOString(), workerId: 'w1', vmId: 'v1', zone: 'a',
        });
        let all = Array.from({ length }, (_, index) => event(length - index));
        const isOther = ({ kind }) => kind !== 'VM_CHANGED';
        const page = (events, size) => ({ events: events.slice(0, size), hasOlder: events.length > size });
        return {
          first: () => page(all, 100),
          before: (last, what) => page(all.filter((event) => event.revision < last.revision && (what === 'older' || isOther(event))), 500),
          come(many) {
            const news = Array.from({ length: many }, (_, index) => event(all.length + many - index));
            all = [...news, ...all];
            return news;
          },
          /** Each event is once in what is read, and none is missing in between. */
          isWhole({ rows, waiting, others, isOverfull }) {
            const numbers = (events) => events.map(({ revision }) => revision);
            const read = isOverfull ? rows : [...waiting, ...rows];
            assert.deepEqual(numbers(read), numbers(all.slice(all.length - read[0].revision).slice(0, read.length)));
            const expected = all.filter((event) => isOther(event) && event.revision < rows.at(-1).revision).slice(0, others?.length ?? 0);
            assert.deepEqual(numbers(others ?? []), numbers(expected));
          },
        };
      }

      /** Takes these steps with a log; what a step returns null for begins it anew. */
      function take(steps, length = 20_000) {
        const server = history(length);
        let read = log.begun(server.first(), null);
        let asked;
        let begins = 0;
        const put = (next) => {
          if (next === null) begins += 1;
          read = next ?? log.begun(server.first(), read);
        };
        const go = {
          come: (many, isHeld = false) => { for (let rest = many; rest > 0; rest -= 250) put(log.arrived(read, server.come(Math.min(250, rest)), { isHeld, isReading: asked !== undefined })); },
          show: () => put(log.shown(read, asked !== undefined)),
          ask(what) {
            const last = log.lastOf(read, what);
            asked = { what, last, page: server.before(last, what) };
          },
          answer() {
            read = log.withPage(read, asked.what, asked.last, asked.page);
            asked = undefined;
          },
          begin: () => put(null),
        };
        for (const [step, ...values] of steps) {
          go[step](...values);
          server.isWhole(read);
        }
        const { rows, waiting, others, isOverfull, hasOlder, hasOlderOthers } = read;
        return { newest: rows[0].revision, rows: rows.length, waiting: waiting.length, others: others?.length ?? null, isOverfull, hasOlder, hasOlderOthers, begins };
      }

      const READ = { newest: 20_000, rows: 100, waiting: 0, others: null, isOverfull: false, hasOlder: true, hasOlderOthers: false, begins: 0 };
      const cases = [
        ['what comes is shown', [['come', 3]], { newest: 20_003, rows: 103 }],
        ['what comes while somebody reads waits, and is shown then', [['come', 3, true], ['show'], ['come', 2, true]], { newest: 20_003, rows: 103, waiting: 2 }],
        ['older ones are behind', [['ask', 'older'], ['answer'], ['ask', 'older'], ['answer']], { rows: 1_100 }],
        ['too old ones go, and are read again', [['come', 5_000], ['ask', 'older'], ['answer'], ['come', 600]], { newest: 25_600, rows: 4_500 }],
        ['as many are kept as were asked for', [...Array(10).fill([['ask', 'older'], ['answer']]).flat(), ['come', 250]], { newest: 20_250, rows: 5_100 }],
        ['a page that is asked for while rows go is behind the last', [['come', 3_900], ['ask', 'older'], ['come', 1_000], ['answer'], ['come', 1]], { newest: 24_901, rows: 5_500 }],
        ['a page that comes too late is dropped, and another one read', [['come', 3_900], ['ask', 'older'], ['come', 4_500], ['answer'], ['come', 1]], { newest: 28_401, rows: 4_000 }],
        ['a page of a log that was begun anew is dropped', [['come', 300], ['ask', 'older'], ['begin'], ['answer']], { newest: 20_300, begins: 1 }],
        ['the others are behind all', [['ask', 'others'], ['answer']], { others: 398, hasOlderOthers: false }],
        ['the others go on', [['come', 7_000], ['ask', 'others'], ['answer'], ['ask', 'others'], ['answer']], { newest: 27_000, rows: 4_000, others: 460 }],
        ['rows that go are among the others, unless VMs do it as usual', [['ask', 'others'], ['answer'], ['come', 6_000]], { newest: 26_000, rows: 4_000, others: 440 }],
        ['rows that go while the first others are read are not lost', [['come', 3_900], ['ask', 'others'], ['come', 2_000], ['answer'], ['come', 1_000]], { newest: 26_900, rows: 4_000, others: 458 }],
        ['rows that go after others were asked for too long ago are not lost', [['come', 3_900], ['ask', 'others'], ['come', 5_000], ['answer'], ['ask', 'others'], ['answer']], { newest: 28_900, rows: 8_000, others: 418 }],
        ['what becomes a row is none of the others', [['ask', 'others'], ['answer'], ['ask', 'older'], ['answer']], { rows: 600, others: 388 }],
        ['4,000 wait', [['come', 4_000, true], ['show']], { newest: 24_000, rows: 4_000 }],
        ['more than 4,000 are not joined: the log is begun anew when it is shown', [['come', 6_000, true], ['show']], { newest: 26_000, begins: 1 }],
        ['and when what comes is shown', [['come', 6_000, true], ['come', 100]], { newest: 26_100, begins: 1 }],
        ['until then, what was read stays, and may be read on', [['come', 6_000, true], ['ask', 'older'], ['answer'], ['come', 250, true]], { rows: 600, waiting: 4_000, isOverfull: true }],
      ];
      for (const [name, steps, expected] of cases) {
        test(name, () => assert.deepEqual(take(steps), { ...READ, ...expected }));
      }

      test('after the end of the log there are neither older ones nor others', () => {
        const end = { ...READ, newest: 550, rows: 550, hasOlder: false };
        assert.deepEqual(take([['ask', 'older'], ['answer']], 550), end);
        assert.deepEqual(take([['ask', 'others'], ['answer']], 550), { ...end, rows: 100, others: 9, hasOlder: true });
        assert.deepEqual(take([['ask', 'others'], ['answer'], ['ask', 'older'], ['answer']], 550), end);
      });

      test('an event that comes again is there once', () => {
        const server = history(200);
        const read = log.begun(server.first(), null);
        const news = server.come(5);
        const held = log.arrived(read, news, { isHeld: true, isReading: false });
        assert.equal(log.arrived(held, [...news, read.rows[0]], { isHeld: true, isReading: false }), held);
        const all = log.arrived(held, [...server.come(1), ...news], { isHeld: false, isReading: false });
        assert.equal(all.rows.length, 106);
        server.isWhole(all);
      });

      test('the others are lines after one that says what is left out', () => {
        const server = history(9_000, 10_000);
        let read = log.begun(server.first(), null);
        read = log.withPage(read, 'others', read.rows.at(-1), server.before(read.rows.at(-1), 'others'));
        const rows = log.rowsOf(read.rows, read.others, true, new Set());
        assert.deepEqual(rows.slice(0, 5).map(({ id, fold }) => (fold ? `${fold.kind} ${fold.events.length}` : id)), ['e9000', 'churn 98', 'e8950', 'end', 'e8900']);
        assert.equal(rows[3].event.id, 'e8901');
        assert.equal(rows.length, 4 + 178);
        // An open fold has its events below it; without folding, there are those only that were read.
        const open = log.rowsOf(read.rows, read.others, true, new Set([log.openKey(rows[1].fold.events[40])]));
        assert.deepEqual(open.slice(1, 3).map(({ isOpen, isInside }) => isOpen ?? isInside), [true, true]);
        assert.equal(open.filter(({ isInside }) => isInside).length, 98);
        assert.equal(log.rowsOf(read.rows, read.others, false, new Set()).length, 100);
      });

      /** Reads as the page does: what is next is asked for after each page, and when the lines become others. */
      function readOn(server, read, view) {
        let before = '';
        let pages = 0;
        for (;;) {
          const lines = log.rowsOf(read.rows, read.others, true, new Set()).length;
          const now = `${lines} ${read.pages}`;
          const what = now === before ? null : log.nextRead(read, { lines, isFolding: true, isSearching: false, hasOtherKinds: true, ...view });
          if (!what) return { read, lines, pages };
          assert.ok((pages += 1) <= 100, 'it ends');
          before = now;
          read = log.withPage(read, what, log.lastOf(read, what), server.before(log.lastOf(read, what), what));
        }
      }

      test('a page that falls into one line is no end', () => {
        const server = history(20_000, 6_000, Infinity);
        const lines = (read) => log.rowsOf(read.rows, read.others, true, new Set()).length;
        const read = log.begun(server.first(), null);
        const last = read.rows.at(-1);
        const more = log.withPage(read, 'older', last, server.before(last, 'older'));
        assert.equal(lines(more), lines(read), 'it is the same line');
        assert.notEqual(more.pages, read.pages, 'and yet something was read');
        const all = readOn(server, read, { isEndSeen: true, isAtTop: true });
        assert.equal(all.read.rows.length, 2_100);
        assert.ok(all.read.others, 'what else happened is read then');
      });

      test('who scrolls to the end of some lines comes further', () => {
        // Two lines for 50 events, so that 2,000 are more than a screen, and few enough for the end to be near.
        const server = history(20_000, 50);
        const first = readOn(server, log.begun(server.first(), null), { isEndSeen: false, isAtTop: true });
        assert.deepEqual([first.read.rows.length, first.lines >= 40, first.read.others], [2_100, true, null]);
        const seen = readOn(server, first.read, { isEndSeen: true, isAtTop: false });
        assert.deepEqual([seen.read.rows.length, seen.read.hasOlder], [20_000, false]);
      });

      const view = { lines: 50, isFolding: true, isSearching: false, hasOtherKinds: true, isEndSeen: false, isAtTop: true };
      const wants = [
        ['few events', { rows: 500 }, {}, 'older'],
        ['all events', { rows: 500, hasOlder: false }, {}, null],
        ['a screen full of lines', { rows: 2_000 }, {}, null],
        ['its end', { rows: 2_000 }, { isEndSeen: true }, 'older'],
        ['its end, scrolled to', { rows: 2_000 }, { isEndSeen: true, isAtTop: false }, 'older'],
        ['the end of few lines for many events', { rows: 3_000 }, { isEndSeen: true }, 'others'],
        ['few lines', { rows: 2_000 }, { lines: 20 }, 'others'],
        ['few lines of VMs only', { rows: 2_000 }, { lines: 20, hasOtherKinds: false, isEndSeen: true }, null],
        ['others', { rows: 2_000, others: 500, hasOlderOthers: true }, {}, 'others'],
        ['all others', { rows: 2_000, others: 500 }, { isEndSeen: true, isAtTop: false }, null],
        ['many others', { rows: 2_000, others: 3_000, hasOlderOthers: true }, { isEndSeen: true }, null],
        ['many others, scrolled to', { rows: 2_000, others: 3_000, hasOlderOthers: true }, { isAtTop: false }, 'others'],
        ['each event', { rows: 9_000, others: 500, hasOlderOthers: true }, { isFolding: false, lines: 9_000 }, 'older'],
        ['words', { rows: 2_500 }, { isFolding: false, isSearching: true, lines: 0 }, 'older'],
        ['words that are nowhere', { rows: 3_000 }, { isFolding: false, isSearching: true, lines: 0, isEndSeen: true }, null],
        ['words that are often there', { rows: 3_000 }, { isFolding: false, isSearching: true, lines: 45, isEndSeen: true, isAtTop: false }, 'older'],
      ];
      for (const [name, { rows, others, hasOlder = true, hasOlderOthers = false }, more, expected] of wants) {
        test(`what is read next: ${name}`, () => {
          const read = { rows: Array(rows), others: others === undefined ? null : Array(others), hasOlder, hasOlderOthers };
          assert.equal(log.nextRead(read, { ...view, ...more }), expected);
        });
      }
    });

    test('workers without a zone are what the zones lack of the whole', async () => {
      const { withoutZone, zoneRows } = await load('zones');
      assert.deepEqual(withoutZone({ workers: 5, cpuCores: 50 }, [{ workers: 1, cpuCores: 10 }, { workers: 2, cpuCores: 30 }]), { workers: 2, cpuCores: 10 });
      assert.equal(withoutZone({ workers: 1, cpuCores: 10 }, [{ workers: 1, cpuCores: 10 }]), null);
      assert.deepEqual(withoutZone({ workers: 1 }, []), { workers: 1 });
      // Zones a and b both report one VM that is on its way, so their sum is more than there are; none is on the third worker.
      const zones = [{ name: 'a', workers: 1, vmCount: 1 }, { name: 'b', workers: 1, vmCount: 1 }];
      assert.deepEqual(zoneRows({ workers: 3 }, zones, 0), [...zones, { name: '', workers: 1, vmCount: 0 }]);
      assert.deepEqual(zoneRows({ workers: 3 }, zones, null).at(-1), { name: '', workers: 1, vmCount: null });
      assert.deepEqual(zoneRows({ workers: 2 }, zones, 0), zones);
    });

    test('what was read is said in a sentence, and that there is nothing older, of what', () => {
      assert.equal(model.readText(100, 100), '100 events read');
      assert.equal(model.readText(12, 1_000), '12 of the 1,000 events read');
      assert.equal(model.noOlderText(search('')), 'the log has no older ones');
      assert.equal(model.noOlderText(search('disk')), 'the log has no older ones', 'words are looked for in all that is read');
      assert.equal(model.noOlderText(search('kind:drain')), 'no older one matches');
      assert.equal(model.noOlderText(search('kind:drain since:15m')), 'none is older in this time');
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
      assert.equal(limits['longest deadline of a drain'], '365 d');
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
      ['zone:"rack 1, floor 2",b', { zones: ['rack 1, floor 2', 'b'] }],
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

    test('workers are summed by zone, zones by name and workers by size, and those with nothing are left out', () => {
      const zones = map.zonesOf([worker('w1', 'a', 4), worker('w2', 'b', 12), worker('w3', 'a', 6, { status: 'DRAINING' }), worker('w4', null, 0), worker('w5', null, 16)], 'vcpu');
      assert.deepEqual(zones.map(({ id, vcpu, vms }) => [id, vcpu, vms]), [['a', 10, 5], ['b', 12, 6], ['', 16, 8]]);
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
      // Time of this process alone: other tests have the processors, too.
      const begun = process.cpuUsage();
      const rects = map.layout(map.zonesOf(workers, 'vcpu'), 'vcpu', 1_000, 600);
      assert.equal(rects.length, 10_006);
      assert.ok(process.cpuUsage(begun).user < 1_000_000);
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
      assert.deepEqual(capacity.toggledZone([], 'a'), ['a']);
      assert.deepEqual(capacity.toggledZone(['a'], ''), ['a', 'none']);
      assert.deepEqual(capacity.toggledZone(['a', ''], 'a'), ['none']);
    });

    test('a zone may have a comma in its name, alone and beside others, and addresses of before are read as they were', () => {
      const after = (zones) => capacity.questionOf(new URLSearchParams(capacity.zoneValues(zones).map((zone) => ['without', zone]))).withoutZones;
      for (const zones of [[], ['a'], ['rack 1, floor 2'], ['a', 'rack 1, floor 2'], ['', 'a,b'], ['a,b', 'c,d']]) assert.deepEqual(after(zones), zones);
      assert.deepEqual(ask('without=a,b&lost=w1,w2').withoutZones, ['a', 'b']);
      assert.deepEqual(ask('without=a,b&lost=w1,w2').withoutWorkers, ['w1', 'w2']);
      assert.deepEqual(ask('without=a,b&without=c&zone=a,b&zone=').withoutZones, ['a,b', 'c']);
      assert.deepEqual(ask('zone=a,b&zone=').zones, ['a,b']);
    });

    test('the same is asked in a terminal', () => {
      const question = ask('vcpu=2&mem=4g&n=3&without=us west&apart=worker');
      assert.equal(capacity.commandOf(question, (text) => `'${text}'`), "fits --vcpus 2 --memory 4GiB --count 3 --without-zone 'us west' --distinct worker");
      assert.equal(capacity.placementQuery(question), 'vcpus=2&memory_mb=4096&count=3&without_zone=us+west&distinct=worker');
    });
  });

  describe('curves', () => {
    let curves;
    before(async () => { curves = await load('curves'); });

    const MINUTE = 60;
    /** An answer of the API from this moment on: where the clocks of this test are. */
    const answer = (values, { start = '2026-11-29T12:00:00Z', stepSeconds = MINUTE, ...others } = {}) => ({
      start, stepSeconds, length: values.length, usedCpuCores: { values, min: null, max: null }, cpuCores: { values: values.map((value) => (value === null ? null : 8)) }, ...others,
    });
    const drawn = (usage, range = null) => curves.curvesOf(range, curves.timesOf(usage), curves.usageCharts(usage));
    /** Times of day where the reader is, in whatever zone this test runs. */
    const local = (...parts) => new Date(...parts).getTime() / 1_000;

    test('the address names a range, and nothing else is one', () => {
      assert.deepEqual(curves.RANGES.map(({ key }) => curves.rangeOf(key).key), ['1h', '6h', '24h', '7d', '30d', '13mo']);
      assert.deepEqual(['', '2h', 'now', '1H'].map(curves.rangeOf), [null, null, null, null]);
      assert.equal(curves.askedRange(null).key, '6h');
      assert.equal(curves.askedRange(curves.rangeOf('30d')).length, 30 * 86_400);
      assert.ok(curves.RANGES.every(({ length }) => length <= 34_300_800), 'no longer than the API answers');
    });

    test('a span of the past is in the address as two instants', () => {
      const { rangeOf, spanAround, curvesOf } = curves;
      const at = (...parts) => new Date(...parts).toISOString();
      const span = rangeOf('24h', at(2026, 10, 29, 12), at(2026, 10, 29, 14, 30));
      assert.deepEqual([span.key, span.word, span.length], ['', 'Sun 29 Nov 12:00–14:30', 9_000]);
      assert.equal(rangeOf('', at(2026, 10, 29, 12), at(2026, 10, 30, 14)).spoken, 'from Sun 29 Nov 12:00 to Mon 30 Nov 14:00');
      assert.equal(rangeOf('24h', at(2026, 10, 29, 12), at(2026, 10, 29, 11)).key, '24h', 'backwards is none');
      assert.equal(rangeOf('', 'then', 'now'), null);
      assert.deepEqual(spanAround(Date.parse('2026-11-29T12:00:30Z') / 1_000, Date.parse('2026-11-29T12:30:10Z') / 1_000), { since: '2026-11-29T12:00Z', until: '2026-11-29T12:31Z' });
      const { since, until } = spanAround(Date.parse('2026-11-29T12:00:00Z') / 1_000, Date.parse('2026-11-29T12:00:40Z') / 1_000);
      assert.ok(rangeOf('', since, until), 'what was marked is never too short to be looked at');
      assert.equal(curvesOf(span, curves.timesOf(answer([1])), curves.usageCharts(answer([1]))).range, span);
    });

    test('points follow each other from the start, a step apart', () => {
      const { at, step } = curves.timesOf({ start: '2026-11-29T12:00:00Z', stepSeconds: 300, length: 3 });
      assert.deepEqual([at, step], [[1_795_953_600, 1_795_953_900, 1_795_954_200], 300]);
      assert.deepEqual([2_600, 2_749, 2_751, 9_000, 0].map((time) => curves.nearest([2_500, 2_700, 2_800], time)), [0, 1, 2, 2, 0]);
      assert.equal(curves.nearest([], 5), -1);
    });

    test('where no sample was taken there is a gap, and no 0', () => {
      const { charts, times } = drawn(answer([4, null, 0, 6]));
      assert.deepEqual(charts.map(({ key }) => key), ['cpu']);
      const { data, series, bands } = curves.plotted(times, charts[0].lines);
      assert.deepEqual(data.slice(1), [[8, null, 8, 8], [4, null, 0, 6]], 'capacity first, so that it is below');
      assert.deepEqual(series, [{ line: 1, edge: 'value' }, { line: 0, edge: 'value' }]);
      assert.deepEqual(bands, []);
      assert.deepEqual(curves.valueAt(charts[0].lines[0], 1, 'cores'), { value: 'no sample', span: '' });
      assert.deepEqual(curves.valueAt(charts[0].lines[0], 2, 'cores'), { value: '0 cores', span: '' });
      assert.equal(curves.sparkPath([4, null, 0, 8], 8, 30, 10), 'M0.0 5.0h0.1M20.0 10.0L30.0 0.0');
    });

    test('what has no sample at all is not drawn, and a capacity alone is no chart', () => {
      const nothing = drawn(answer([null, null], { cpuCores: { values: [8, 8] }, vmCount: null, measuredCpuCores: null }));
      assert.deepEqual(nothing.charts, []);
      const both = drawn(answer([1, 2], { measuredCpuCores: { values: [null, 0.5], min: null, max: null }, measuredLoad1: null }));
      assert.deepEqual(both.charts.map(({ lines }) => lines.map(({ name }) => name)), [['allocated', 'busy', 'capacity']]);
      assert.equal(curves.isMeasured(answer([1], { measuredLoad1: { values: [null] } })), false);
      assert.equal(curves.isMeasured(answer([1], { measuredLoad1: { values: [0] } })), true);
      const measured = (on, of) => curves.measuredPart(answer([1], { measuredWorkers: { values: [on] }, onlineWorkers: { values: [of] } }));
      assert.deepEqual([measured(6.8, 10), measured(9.9, 10), measured(null, 10), measured(0, 10)], ['What is busy and in use was measured on 7 of 10 workers.', '', '', '']);
    });

    test('a point of several samples has a band from the smallest to the largest', () => {
      const usage = answer([4.5, null, 5], { stepSeconds: 300, usedCpuCores: { values: [4.5, null, 5], min: [4, null, 5], max: [7, null, 5] } });
      const { charts, times } = drawn(usage, curves.rangeOf('24h'));
      const { data, series, bands } = curves.plotted(times, charts[0].lines);
      assert.deepEqual(series.map(({ edge }) => edge), ['value', 'most', 'least', 'value']);
      assert.deepEqual(bands, [[2, 3]]);
      assert.deepEqual([data[2], data[3]], [[7, null, 5], [4, null, 5]]);
      assert.deepEqual(curves.valueAt(charts[0].lines[0], 0, 'cores'), { value: '4.5 cores', span: '4–7' });
      assert.deepEqual(curves.valueAt(charts[0].lines[0], 2, 'cores'), { value: '5 cores', span: '' });
      assert.equal(curves.topOf(charts[0].lines, 'cores'), 8 * 1.06);
      assert.equal(curves.topOf([{ name: '', role: 'used', values: [1], least: [0], most: [100] }], 'cores'), 106, 'a spike is not cut off');
      assert.equal(curves.hasBand({ name: '', role: 'used', values: [1, 2], least: [1, 2], most: [1, 2] }), false);
    });

    test('a capacity that is far above is said, and does not press the others to the ground', () => {
      const lines = (used, capacity) => [{ name: 'allocated', role: 'used', values: [used, null] }, { name: 'slots', role: 'capacity', values: [capacity, null] }];
      assert.equal(curves.topOf(lines(20, 100), 'vms'), 106);
      assert.equal(curves.topOf(lines(4, 100), 'vms'), 5);
      assert.equal(curves.topOf(lines(0, 100), 'vms'), 106, 'nothing at all is at the ground');
      assert.deepEqual(lines(4, 100).map((line) => curves.isFarAbove(line, lines(4, 100))), [false, true]);
    });

    test('drains that stood in the time that is drawn are marked, from when they began to when they ended', () => {
      const times = { at: [600, 660, 720, 780], step: 60 };
      const drain = (since, until) => ({ since, until });
      const all = [drain(700, null), drain(0, 599), drain(0, 610), drain(840, null), drain(839, 900)];
      assert.deepEqual(curves.drainsWithin(all, times), [drain(0, 610), drain(700, null), drain(839, 900)]);
      assert.deepEqual(times.at.map((_, index) => curves.isDrainingAt([drain(700, null)], times, index)), [false, true, true, true]);
      assert.deepEqual(times.at.map((_, index) => curves.isDrainingAt([drain(0, 610)], times, index)), [true, false, false, false]);
      assert.deepEqual(curves.drainsWithin(all, { at: [], step: 60 }), []);
    });

    test('when the first sample was is said where the time before is seen', () => {
      const times = { at: Array.from({ length: 100 }, (_, index) => index * 60), step: 60 };
      const since = (first) => curves.firstSample({ times, charts: [{ lines: [{ values: times.at.map((_, index) => (index < first ? null : 1)) }, { values: times.at.map(() => null) }] }] });
      assert.deepEqual([0, 1, 5, 6, 99].map(since), [null, null, null, 360, 5_940]);
      assert.equal(curves.firstSample({ times, charts: [] }), null);
    });

    test('a history of minutes is drawn over an hour, unless another range was chosen', () => {
      const six = 6 * 60;
      const young = answer(Array.from({ length: six }, (_, index) => (index < six - 10 ? null : index)));
      assert.equal(drawn(young).range.key, '1h');
      assert.equal(drawn(young).times.at.length, 60);
      assert.equal(drawn(young).charts[0].lines[0].values.at(-1), six - 1);
      assert.equal(drawn(young, curves.rangeOf('6h')).times.at.length, six);
      const old = answer(Array.from({ length: six }, (_, index) => (index < six - 61 ? null : index)));
      assert.equal(drawn(old).range.key, '6h');
      assert.equal(drawn(answer([])).charts.length, 0);
    });

    test('it is read again as often as there is a new point', () => {
      assert.deepEqual([60, 300, 86_400].map(curves.readAgainAfter), [60_000, 300_000, 600_000]);
    });

    test('figures say what they count', () => {
      const { amount, tickLabel } = curves;
      assert.deepEqual([[1, 'cores'], [12.25, 'cores'], [1_200, 'vms'], [65_536, 'memory'], [300.4, 'memory'], [0.256, 'load'], [1, 'workers']].map((all) => amount(...all)),
        ['1 core', '12.3 cores', '1,200 VMs', '64 GiB', '300 MiB', '0.26', '1 worker']);
      assert.deepEqual([[0, 'memory'], [98_304, 'memory'], [1_310_720, 'memory'], [1_342_177_280, 'memory'], [2_500, 'vms'], [0.5, 'load']].map((all) => tickLabel(...all)), ['0', '96 GiB', '1.25 TiB', '1.25 PiB', '2.5K', '0.5']);
      assert.ok(curves.tickSteps('memory').every((step) => Number.isInteger(Math.log2(step))));
      assert.ok(curves.tickSteps('vms').every(Number.isInteger), 'there is no half VM');
    });

    test('ticks have times, days at midnight, and years in January', () => {
      const { timeLabels } = curves;
      assert.deepEqual(timeLabels([local(2026, 10, 29, 23), local(2026, 10, 30, 0), local(2026, 10, 30, 1)], 3_600), ['23:00', '30 Nov', '01:00']);
      assert.deepEqual(timeLabels([local(2026, 10, 29), local(2026, 10, 30)], 86_400), ['29 Nov', '30 Nov']);
      assert.deepEqual(timeLabels([local(2026, 11, 1), local(2027, 0, 1)], 30 * 86_400), ['Dec', '2027']);
    });

    test('a point says when it is, or for how long it stands', () => {
      const { timeAt } = curves;
      const at = [local(2026, 10, 29, 23, 45)];
      assert.equal(timeAt({ at, step: 60 }, 0), 'Sun 29 Nov 23:45');
      assert.equal(timeAt({ at, step: 900 }, 0), 'Sun 29 Nov 23:45–00:00');
      assert.equal(timeAt({ at, step: 2 * 86_400 }, 0), 'Sun 29 Nov 23:45–Tue 1 Dec 23:45');
    });

    test('who does not see a curve is told of it', () => {
      const usage = answer([4, null, 2, 7], { start: new Date(2026, 10, 29, 12).toISOString() });
      const { charts, times, range } = drawn(usage, curves.rangeOf('1h'));
      assert.equal(curves.spokenPoint(times, charts[0], 1), 'Sun 29 Nov 12:01: allocated no sample, capacity no sample');
      assert.equal(curves.spokenPoint(times, charts[0], 3), 'Sun 29 Nov 12:03: allocated 7 cores, capacity 8 cores');
      assert.equal(curves.spokenPoint({ at: [], step: 60 }, charts[0], 0), 'nothing yet');
      assert.match(curves.description(times, charts[0], range), /^CPU in the last hour: allocated 7 cores, between 2 at (29 Nov )?12:02 and 7 cores at (29 Nov )?12:03; capacity 8 cores\.$/);
      assert.deepEqual([[1, null, null], [1, null, null, null], [null]].map((values) => curves.valueAtEnd({ values })), [1, null, null], 'what was long ago is not how it is');
      assert.match(curves.description(times, { title: 'CPU', unit: 'cores', lines: [{ name: 'busy', role: 'measured', values: [1, null, null, null] }] }, range), /^CPU in the last hour: busy without a sample at the end, between 1 at /);
      assert.deepEqual(curves.extremesOf({ values: [3, 4], least: [1, 4], most: [3, 9] }), { least: 1, leastAt: 0, most: 9, mostAt: 1 });
      assert.equal(curves.extremesOf({ values: [null] }), null);
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
