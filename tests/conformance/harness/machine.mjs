// A clean Debian that systemd boots in a container: what packages and images are tried out in. Its packages come from where
// this machine's own come from.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { ROOT } from './server.mjs';
import { run } from './tools.mjs';

/** What is in it beside the essential packages. */
const PACKAGES = ['curl', 'procps', 'systemd'];

/** Containers are root's. */
const asRoot = (program, args) => (process.getuid() === 0 ? run(program, args) : run('sudo', ['--non-interactive', program, ...args]));

/** Whether systemd runs this machine, which then wants to know of its containers' processes. */
const HAS_SYSTEMD = existsSync('/run/systemd/system');

export class Machine {
  /** Its file system, while it does not run. */
  root;

  /** Makes one, of a kept archive if there is one. It is gone when the test is over. */
  static async create(test) {
    const archive = await cleanDebian();
    const machine = new Machine();
    const folder = mkdtempSync(path.join(tmpdir(), 'aetherium-machine-'));
    test.after(() => asRoot('rm', ['-rf', '--one-file-system', folder]));
    machine.root = path.join(folder, 'root');
    mkdirSync(machine.root);
    await asRoot('tar', ['--extract', '--file', archive, '--directory', machine.root, '--numeric-owner']);
    return machine;
  }

  /** Copies files of this machine into a folder of it. */
  async copy(files, folder) {
    await asRoot('install', ['-D', '--target-directory', path.join(this.root, folder), ...files]);
  }

  /**
   * Boots it, runs a command as a service of root, and halts it. Returns what the command wrote; fails with that if it
   * failed. The machine has a loopback interface of its own, and no other.
   */
  async boot(command) {
    const unit = [
      '[Unit]',
      'After=multi-user.target',
      'SuccessAction=exit-force',
      'FailureAction=exit-force',
      '[Service]',
      'Type=oneshot',
      `ExecStart=${command}`,
      'StandardOutput=file:/srv/output',
      'StandardError=inherit',
      '',
    ];
    const file = path.join(tmpdir(), `aetherium-machine-${process.pid}.service`);
    writeFileSync(file, unit.join('\n'));
    try {
      await asRoot('install', ['-m', '644', file, path.join(this.root, 'etc/systemd/system/command.service')]);
    } finally {
      rmSync(file);
    }
    const containing = ['--boot', '--directory', this.root, '--private-network', '--console=pipe', '--quiet', '--register=no'];
    if (!HAS_SYSTEMD) containing.push('--keep-unit');
    let failure;
    await asRoot('systemd-nspawn', [...containing, 'systemd.unit=command.service', 'systemd.wants=multi-user.target']).catch((error) => (failure = error));
    const output = await asRoot('cat', [path.join(this.root, 'srv/output')]).catch(() => failure.message);
    if (failure) throw new Error(`${command} failed:\n${output}`);
    return output;
  }

  /** Runs a script of this machine on its root, in a network of their own, with what an image says of its program. */
  async contain(script, { environment, healthCheck, command }) {
    return asRoot('unshare', ['--net', '--', script, this.root, ...environment, '--', ...healthCheck, '--', ...command]);
  }
}

/** The archive of a clean system, made once: whoever wants a newer one removes it. */
async function cleanDebian() {
  const folder = path.resolve(ROOT, process.env.AETHERIUM_TEST_OUTPUT ?? 'target/conformance');
  const [, codename] = readFileSync('/etc/os-release', 'utf8').match(/^VERSION_CODENAME="?(\w+)/m);
  const archive = path.join(folder, `clean-${codename}.tar`);
  if (existsSync(archive)) return archive;
  mkdirSync(folder, { recursive: true });
  // `base-files | 12.4 | MIRROR SUITE/COMPONENT ARCHITECTURE Packages`
  const known = await run('apt-cache', ['madison', 'base-files']);
  const mirror = known.split('\n').map((line) => line.match(/\| (\S+) (\w+)\/main /)).find((found) => found?.[2] === codename)?.[1];
  assert(mirror, `no mirror of ${codename} among:\n${known}`);
  const making = `${archive}.${process.pid}`;
  await asRoot('mmdebstrap', ['--quiet', '--variant=minbase', '--format=tar', `--include=${PACKAGES}`, codename, making, mirror]);
  renameSync(making, archive);
  return archive;
}
