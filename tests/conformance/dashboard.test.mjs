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
});
