// What docs/packaging/build makes of the tested program: a package that Debian's tools accept and that lives on a booted system,
// an image's settings as process 1, an archive, checksums, and SBOMs that are CycloneDX and name no licence that is not allowed.

import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import satisfies from 'spdx-satisfies';

import { Machine } from './harness/machine.mjs';
import { BINARY, ROOT } from './harness/server.mjs';
import { run } from './harness/tools.mjs';

const PACKAGING = path.join(ROOT, 'docs/packaging');
const read = (name) => readFileSync(path.join(PACKAGING, name), 'utf8');

describe('a release', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-release-'));
  after(() => rmSync(folder, { recursive: true }));
  const made = (pattern) => {
    const found = readdirSync(folder).filter((name) => pattern.test(name));
    assert.equal(found.length, 1, `${pattern} among ${readdirSync(folder)}`);
    return path.join(folder, found[0]);
  };

  before(async () => {
    // Where tests/run installs cargo-cyclonedx.
    const tools = path.resolve(ROOT, process.env.AETHERIUM_TEST_OUTPUT ?? 'target/conformance', 'cargo/bin');
    const env = { PATH: `${tools}:${process.env.PATH}` };
    for (const name of ['CARGO_HOME', 'RUSTUP_HOME']) if (process.env[name]) env[name] = process.env[name];
    await run(path.join(PACKAGING, 'build'), ['--program', BINARY, '--output', folder, '--fast'], { env });
  });

  test('has a checksum for each of its files', async () => {
    const said = await run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: folder });
    const checked = said.trim().split('\n').map((line) => line.replace(/: OK$/, ''));
    assert.deepEqual(checked.sort(), readdirSync(folder).filter((name) => name !== 'SHA256SUMS').sort());
    assert.equal(checked.length, 4);
  });

  test('has an archive with what the package has, of root and without times of its own', async () => {
    const list = async (program, args) => {
      const lines = (await run(program, args)).trim().split('\n').map((line) => line.split(/ +/));
      return lines.map(([mode, owner, , day, , name]) => ({ mode, owner, day, name }));
    };
    const archive = await list('tar', ['--list', '--verbose', '--file', made(/\.tar\.gz$/)]);
    assert.deepEqual(new Set(archive.map(({ owner }) => owner)), new Set(['0/0']));
    assert.equal(new Set(archive.map(({ day }) => day)).size, 1);
    const names = (entries, prefix) => entries.map(({ name }) => name.replace(prefix, '').replace(/\.gz$/, '').replace(/^\/usr\/lib\/systemd/, '/lib/systemd')).filter((name) => !name.endsWith('/'));
    const inArchive = names(archive, /^[^/]+/);
    const inPackage = new Set(names(await list('dpkg-deb', ['--contents', made(/\.deb$/)]), /^\./));
    assert(inArchive.length > 50);
    for (const name of inArchive) assert(inPackage.has(name), `${name} is in the package`);
  });

  test('has a package to which lintian has nothing to say', async () => {
    const said = await run('lintian', ['--allow-root', '--fail-on', 'error,warning', '--tag-display-limit', '0', made(/\.deb$/)]);
    assert.equal(said.replace('running with root privileges is not recommended!', '').trim(), '');
  });

  test('has a package that is installed, runs, restarts, is upgraded, hangs, is removed and purged', async (test) => {
    const machine = await Machine.create(test);
    const script = path.join(import.meta.dirname, 'packaging/life-of-a-package.sh');
    await machine.copy([made(/\.deb$/), script], 'srv/packaging');
    const said = await machine.boot('/srv/packaging/life-of-a-package.sh');
    assert.match(said, /== done\n$/);
    for (const [exposure] of said.matchAll(/Overall exposure.*/g)) test.diagnostic(exposure);
  });

  test('has settings of an image under which the program runs as process 1, without a writable root, and ends in order', async (test) => {
    const dockerfile = read('container/Dockerfile').replaceAll('\\\n', ' ');
    const instruction = (name) => dockerfile.match(new RegExp(`^${name} +(.*)$`, 'm'))[1];
    const environment = instruction('ENV').split(/ +/);
    const [, healthCheck] = instruction('HEALTHCHECK').match(/CMD (.*)$/);
    const command = [...JSON.parse(instruction('ENTRYPOINT')), ...JSON.parse(instruction('CMD'))];
    const machine = await Machine.create(test);
    await machine.copy([BINARY], 'usr/bin');
    const script = path.join(import.meta.dirname, 'packaging/life-of-a-container.sh');
    const said = await machine.contain(script, { environment, healthCheck: JSON.parse(healthCheck), command });
    assert.match(said, /== done\n$/);
  });

  describe('has SBOMs', () => {
    const allowed = [...read('deny.toml').match(/^allow = \[([^\]]*)\]/m)[1].matchAll(/"([^"]+)"/g)].map(([, name]) => name).join(' OR ');
    // The crates of the workspace, and one whose manifest names a file, which has the text of the MIT licence.
    const UNNAMED = { 'aetherium-web': 'MIT', entity: 'MIT', migration: 'MIT', 'jsonpath-rust': 'MIT' };

    for (const [what, pattern, least] of [
      ['of the program', /\d\.cdx\.json$/, 300],
      ['of its pages', /-pages\.cdx\.json$/, 50],
    ])
      test(what, async () => {
        const text = readFileSync(made(pattern), 'utf8');
        const bom = JSON.parse(text);
        const validator = new Validation.JsonStrictValidator(bom.specVersion);
        assert.equal(await validator.validate(text), null);
        assert(Object.values(Spec.Version).includes(bom.specVersion));
        assert(bom.components.length >= least, `${bom.components.length} components`);
        assert(!text.includes(ROOT), 'it names no folder of this machine');
        for (const { name, version, licenses = [] } of bom.components) {
          const expressions = licenses.map(({ expression, license }) => expression ?? license?.id).filter(Boolean);
          if (expressions.length === 0) expressions.push(UNNAMED[name]);
          for (const expression of expressions)
            assert(expression && satisfies(expression, allowed), `${name} ${version} is under ${expression ?? 'no licence that is named'}`);
        }
      });
  });
});

describe('a release that is made beside files of others', () => {
  test('takes no secrets of compose along, nor others into its checksums, and goes by paths of whoever calls', async (test) => {
    const elsewhere = mkdtempSync(path.join(tmpdir(), 'aetherium-checkout-'));
    test.after(() => rmSync(elsewhere, { recursive: true }));
    cpSync(path.join(ROOT, 'docs'), path.join(elsewhere, 'checkout/docs'), { recursive: true });
    for (const name of ['.env', 'admin.token', 'proxy.pem']) writeFileSync(path.join(elsewhere, 'checkout/docs/packaging/container', name), 'secret');
    mkdirSync(path.join(elsewhere, 'made'));
    writeFileSync(path.join(elsewhere, 'made/aetherium_0.0.1-1_all.deb'), 'of another version');
    const args = ['--program', path.relative(elsewhere, BINARY), '--output', 'made', '--fast', '--no-sbom'];
    await run('checkout/docs/packaging/build', args, { cwd: elsewhere, env: { PATH: process.env.PATH, SOURCE_DATE_EPOCH: '1764374400' } });
    const names = readdirSync(path.join(elsewhere, 'made'));
    const archive = names.find((name) => name.endsWith('.tar.gz'));
    const list = (await run('tar', ['--list', '--file', archive], { cwd: path.join(elsewhere, 'made') })).split('\n');
    const examples = list.filter((name) => /\/container\/./.test(name)).map((name) => path.basename(name));
    const tracked = (await run('git', ['ls-files', 'docs/packaging/container'], { cwd: ROOT })).trim().split('\n').map((name) => path.basename(name));
    assert.deepEqual(examples.sort(), tracked.sort());
    const sums = readFileSync(path.join(elsewhere, 'made/SHA256SUMS'), 'utf8').trim().split('\n').map((line) => line.replace(/^\S+ +/, ''));
    assert.deepEqual(sums.sort(), names.filter((name) => !['SHA256SUMS', 'aetherium_0.0.1-1_all.deb'].includes(name)).sort());
    assert.equal(sums.length, 2);
  });
});

describe('what operators copy', () => {
  test('sets variables that the program knows', async () => {
    const known = new Set();
    for (const command of ['serve', 'agent'])
      for (const [name] of (await run(BINARY, [command, '--help'])).matchAll(/\bAETHERIUM_\w+/g)) known.add(name);
    known.add('AETHERIUM_LOG');
    // Those of the compose files themselves.
    for (const name of ['AETHERIUM_IMAGE', 'AETHERIUM_PUBLISH']) known.add(name);
    let count = 0;
    for (const file of ['aetherium.service', 'aetherium-agent.service', 'server.env', 'agent.env', 'container/Dockerfile', 'container/compose.yaml', 'container/compose.cluster.yaml'])
      for (const [name] of read(file).matchAll(/\bAETHERIUM_\w+/g)) assert((count++, known.has(name)), `${name} in ${file}`);
    assert(count > 20);
  });
});
