// What is shown where there is nothing: why, and what to do next.

import type { ComponentChildren } from 'preact';
import { at } from '../root';
import { Code } from './copy';

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><h3>{title}</h3>{children}</div>;
}

/** A cluster without workers: how the first one joins. */
export function NoWorkers() {
  return (
    <Empty title="No worker has joined yet">
      <p>A worker is a machine on which the agent runs. Start it there with this command, and the worker appears here by itself.</p>
      <Code>{`aetherium agent --server ${at('').replace(/\/$/, '')}`}</Code>
      <p class="small faint">To see a cluster without machines: <code>aetherium simulate --workers 10</code></p>
    </Empty>
  );
}
