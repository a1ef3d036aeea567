// Clients in many languages, made from the document by other people's generators: each is generated, compiled, and asks
// a server the same. They are generated with default options; what differs says why.

import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { ROOT, Server } from '../harness/server.mjs';
import { closingLine, npm, python, run } from '../harness/tools.mjs';

const CALLERS = path.join(import.meta.dirname, 'clients');
const NODE_MODULES = path.join(import.meta.dirname, '../node_modules');

/** Where clients are made, and where their compilers keep what they need again. */
const OUTPUT = path.resolve(ROOT, process.env.AETHERIUM_TEST_OUTPUT ?? 'target/conformance', 'clients');

/** Where Debian keeps the sources of Go's modules. The client's one module is among them. */
const GO_SOURCES = '/usr/share/gocode';

/** What every client prints, whose worker has this name. */
const expected = (name) => ({
  registered: [true, 1, 'active'],
  heartbeat: ['active', false],
  heartbeats: [200, 'active', 404, 404],
  activated: 'active',
  drained: 'draining',
  worker: ['draining', 'draining', 2, { 'made-by': name }, name],
  listed: [[name], 1],
  stats: 1,
  vms: [[`${name}-vm-1`, 'running'], [`${name}-vm-2`, 'running']],
  vm: [name, 2],
  events: ['worker_registered', 'worker_drain_started', 'new disks'],
  health: 'ok',
  missing: [404, 'Worker not found: nobody'],
  left: 0,
});

describe('clients made from the OpenAPI document', { concurrency: 2 }, () => {
  let server;
  let folder;
  let document;
  before(async () => {
    server = await Server.start();
    mkdirSync(OUTPUT, { recursive: true });
    folder = mkdtempSync(path.join(OUTPUT, 'run-'));
    document = path.join(folder, 'openapi.json');
    writeFileSync(document, await (await fetch(`${server.url}/api/v1/openapi.json`)).text());
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await server.stop();
  });

  /** A folder for one client, with what calls it. */
  function place(name, caller) {
    const made = path.join(folder, name);
    cpSync(path.join(CALLERS, caller), made, { recursive: true });
    return made;
  }

  /** Lets openapi-generator make a client. */
  async function generate(generator, output, ...options) {
    const said = await run(python('openapi-generator-cli'), ['generate', '-i', document, '-g', generator, '-o', output, ...options]);
    // It goes on without what it cannot read, and says so.
    const missed = said.split('\n').filter((line) => / ERROR |Inline schema created|Unsupported|not supported/i.test(line));
    assert.deepEqual(missed, [], said);
  }

  /** Runs a caller, which has to find the same as all others. */
  async function call(name, program, args, settings) {
    const said = await run(program, [...args, server.url, name], settings);
    assert.deepEqual(JSON.parse(closingLine(said)), expected(name), said);
  }

  test('openapi-generator, Rust', async () => {
    const made = place('rust', 'rust');
    // Our lock file names the client with a version, which the document's version must not change.
    await generate('rust', path.join(made, 'openapi'), '--additional-properties', 'packageVersion=0.0.0');
    // Cargo keeps what it compiled by place: one for all runs, of which one at a time builds there.
    const [source, target] = [path.join(OUTPUT, 'rust'), path.join(OUTPUT, 'rust-target')];
    const build = 'rm -rf "$2" && cp -R "$1" "$2" && cargo build --quiet --locked --manifest-path "$2/Cargo.toml" && cp "$3/debug/caller" "$1/caller"';
    const locked = [`${OUTPUT}/rust.lock`, 'sh', '-c', build, 'build', made, source, target];
    const cargo = { CARGO_TARGET_DIR: target, CARGO_HOME: process.env.CARGO_HOME, RUSTUP_HOME: process.env.RUSTUP_HOME };
    const env = Object.fromEntries(Object.entries(cargo).filter(([, value]) => value));
    await run('flock', locked, { env });
    await call('rust', path.join(made, 'caller'), []);
  });

  test('openapi-generator, Go', async () => {
    assert(existsSync(GO_SOURCES), `${GO_SOURCES} is missing: tests/run installs what is in it`);
    const made = place('go', 'go');
    const client = path.join(made, 'path/src/github.com/GIT_USER_ID/GIT_REPO_ID');
    await generate('go', client);
    // Without modules, so that nothing is looked up elsewhere.
    const env = { GO111MODULE: 'off', GOPATH: `${path.join(made, 'path')}:${GO_SOURCES}`, GOTOOLCHAIN: 'local', GOFLAGS: '' };
    env.GOCACHE = path.join(OUTPUT, 'go-cache');
    const caller = path.join(made, 'caller');
    await run('go', ['build', '-o', caller, 'main.go'], { cwd: made, env });
    await call('go', caller, []);
  });

  test('openapi-generator, Java', async () => {
    const made = place('java', 'java');
    // The library that needs nothing but the JDK and Jackson, which the generator's own archive has. What tells `null`
    // from nothing is not in it.
    await generate('java', path.join(made, 'client'), '--library', 'native', '--additional-properties', 'openApiNullable=false');
    const where = 'import openapi_generator_cli as generator; print(generator.__path__[0])';
    const libraries = path.join(closingLine(await run(python('python'), ['-c', where])), 'openapi-generator.jar');
    const sources = path.join(made, 'client/src/main/java');
    const classes = path.join(made, 'classes');
    const all = ['-sourcepath', sources, path.join(made, 'Generated.java'), path.join(made, 'Main.java')];
    await run('javac', ['-nowarn', '-cp', libraries, '-d', classes, ...all]);
    await call('java', 'java', ['-cp', `${classes}:${libraries}`, 'Main']);
  });

  test('openapi-generator, Python', async () => {
    const made = place('python', 'python');
    const client = path.join(made, 'client');
    await generate('python', client);
    await run(python('python'), ['-W', 'error', '-m', 'compileall', '-q', path.join(client, 'openapi_client')]);
    await call('python', python('python'), [path.join(made, 'openapi_generator.py')], { env: { PYTHONPATH: client } });
  });

  test('openapi-python-client', async () => {
    const made = place('python-client', 'python');
    const client = path.join(made, 'client');
    // It tidies up with a program that lies beside it.
    const env = { PATH: `${path.dirname(python('ruff'))}:${process.env.PATH}` };
    const said = await run(python('openapi-python-client'), ['generate', '--path', document, '--output-path', client], { env });
    assert(!said.includes('Warning'), said);
    await run(python('python'), ['-W', 'error', '-m', 'compileall', '-q', path.join(client, 'aetherium_client')]);
    await call('python-client', python('python'), [path.join(made, 'openapi_python_client.py')], { env: { PYTHONPATH: client } });
  });

  /** Compiles a caller in TypeScript with the client that it imports. */
  async function compile(made, caller, ...options) {
    const target = ['--target', 'es2022', '--lib', 'es2023,dom,dom.iterable', '--types', 'node', '--outDir', path.join(made, 'out')];
    await run(npm('tsc'), ['--strict', ...target, ...options, caller], { cwd: made });
    return path.join(made, 'out', path.basename(caller, '.ts') + '.js');
  }

  function typescript(name, type) {
    const made = place(name, 'typescript');
    symlinkSync(NODE_MODULES, path.join(made, 'node_modules'));
    writeFileSync(path.join(made, 'package.json'), JSON.stringify({ type }));
    return made;
  }

  test('openapi-generator, TypeScript with fetch', async () => {
    const made = typescript('typescript', 'commonjs');
    await generate('typescript-fetch', path.join(made, 'generated'));
    const caller = await compile(made, 'openapi_generator.ts', '--module', 'commonjs');
    await call('typescript', process.execPath, [caller]);
  });

  test('openapi-typescript with openapi-fetch', async () => {
    const made = typescript('openapi-typescript', 'module');
    await run(npm('openapi-typescript'), [document, '--output', path.join(made, 'generated.d.ts')]);
    const caller = await compile(made, 'openapi_typescript.ts', '--module', 'nodenext');
    await call('openapi-typescript', process.execPath, [caller]);
  });

  test('hey-api', async () => {
    const made = typescript('hey-api', 'commonjs');
    await run(npm('openapi-ts'), ['--input', document, '--output', path.join(made, 'generated')], { cwd: made });
    const caller = await compile(made, 'hey_api.ts', '--module', 'commonjs');
    await call('hey-api', process.execPath, [caller]);
  });
});
