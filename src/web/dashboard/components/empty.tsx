// What is shown where there is nothing: why, and what to do next.

import type { ComponentChildren } from 'preact';
import { at } from '../root';
import { href } from '../router';
import { mayAdminister, session } from '../session';
import { Code } from './copy';

/** Stands where an answer will; it is not seen if the answer comes at once. */
export function Awaited({ children }: { children: ComponentChildren }) {
  return <div class="empty awaited"><p>{children}</p></div>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><h2>{title}</h2>{children}</div>;
}

/** A cluster without workers: how the first one joins. */
export function NoWorkers() {
  const server = at('').replace(/\/$/, '');
  const asksForTokens = session.value.state === 'in';
  return (
    <Empty title="No worker has joined yet">
      <p>A worker is a machine on which the agent runs. Start the agent there, and the worker appears here by itself.</p>
      {asksForTokens ? (
        <>
          <Code>{`aetherium agent join --server ${server} --join-token-file join.token`}</Code>
          <p>
            {mayAdminister.value
              ? <>The join token in that file authorizes it: <a class="worker-link" href={href('access')}>create one</a>, with the whole command to paste.</>
              : 'The join token in that file authorizes it: an admin creates one.'}
          </p>
        </>
      ) : <Code>{`aetherium agent --server ${server}`}</Code>}
      <p class="small faint">To try it with simulated workers: <code>aetherium simulate --workers 10 --server {server}</code></p>
    </Empty>
  );
}
