// One run of `aetherium agent`, which reports this machine.

import { Child } from './child.mjs';
import { BINARY } from './server.mjs';

export class Agent {
  #child;

  /** Starts one with these arguments. */
  static start(folder, args) {
    const agent = new Agent();
    agent.#child = new Child(BINARY, ['agent', ...args], { cwd: folder, env: { PATH: process.env.PATH, TMPDIR: folder } });
    return agent;
  }

  /** Asks it to end, which it does in order. */
  stop() {
    return this.#child.stop();
  }

  /** Kills it, as a lack of memory or a power cut would. */
  kill() {
    return this.#child.kill();
  }
}
