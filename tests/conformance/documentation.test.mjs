// The commands of the documents that do not end by themselves: streams with `curl -N`, and scripts for Node. Each is taken
// from its page and pasted into bash; then workers are drained until the command prints one of these events.
//
// The commands that end are run by tests/processes/documentation.rs, the programs with other people's clients by
// resume.test.mjs. The one with websocat is not run.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';

import { addressed, blocks, environment } from './harness/documents.mjs';
import { Received, within } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';

/** The commands of a page that go on: a script for Node is one, each `curl -N` is one. */
function commands(page) {
  return blocks(page, 'bash').flatMap((block) => {
    if (block.startsWith('node ')) return [block];
    return block.split('\n').filter((line) => line.startsWith('curl -N '));
  });
}

describe('commands that documents give for live data', () => {
  let server;
  before(async () => (server = await Server.start()));
  after(() => server.stop());

  for (const [page, number] of [['README.md', 1], ['docs/live.md', 5]]) {
    const found = commands(page);
    test(`${page} has ${number}`, () => assert.equal(found.length, number, found.join('\n')));

    for (const command of found) {
      test(`${page}: ${command.split('\n', 2).join(' ')}`, async () => {
        const child = spawn('bash', ['-c', addressed(command, server)], {
          env: environment,
          stdio: ['ignore', 'pipe', 'pipe'],
          detached: true, // A group of its own, to be ended with what bash has started.
        });
        const printed = new Received();
        const ended = new Promise((resolve) => child.once('close', resolve));
        createInterface(child.stdout).on('line', (line) => printed.push(line));
        let complaints = ''; // And the progress that curl shows.
        child.stderr.setEncoding('utf8').on('data', (text) => (complaints += text));
        child.once('close', (code) => printed.end(new Error(`the command ended with ${code}: ${complaints}`)));
        try {
          let isOver = false;
          const event = printed.first('an event about worker-01', (line) => line.includes('worker-01')).finally(() => (isOver = true));
          // When the command has connected is not seen from outside.
          const drains = (async () => {
            while (!isOver) {
              await server.fleet.drain('worker-01');
              await server.fleet.activate('worker-01');
              await new Promise((resolve) => setTimeout(resolve, 50));
            }
          })();
          await Promise.all([event, drains]);
        } finally {
          if (child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
          await within('the end of the command', ended);
        }
      });
    }
  }
});
