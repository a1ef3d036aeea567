// The change log as the page follows it: every event once, in order, across connections.

import { batch, signal } from '@preact/signals';
import { isIn } from '../session';
import { follow } from './live';
import { fragment, operation, type FragmentType } from './operation';

export const EventFields = fragment(`fragment EventFields on ClusterEvent {
  id cursor revision at kind workerId vmId vmName vmStatus previousStatus zone reservationId actor actorName reason message
}`);

export type ClusterEvent = FragmentType<typeof EventFields>;

const ClusterEvents = operation(`subscription ClusterEvents($after: Cursor) {
  clusterEvents(after: $after) { ...EventFields }
}`, EventFields);

/** Cursor of the last event that was received. */
let last: string | null = null;
const listeners = new Set<(events: readonly ClusterEvent[]) => void>();
let waiting: ClusterEvent[] = [];
/** Whether the next frame delivers what has been received. */
let isDue = false;
/** How often everything had to be read anew: the log did not reach back, or the page has only begun to follow it. */
export const resyncs = signal(0);
/** The revision that the page knows of, at most one frame of the screen old. */
export const revision = signal(0);
/** The revision of the last event that was received. */
let lastRevision = 0;

/** Calls back with the events of each frame of the screen, in order. `SYNCED` and `RESYNC` are not among them. */
export function onEvents(listener: (events: readonly ClusterEvent[]) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function receive(event: ClusterEvent): void {
  const isFirst = last === null;
  last = event.cursor;
  lastRevision = Math.max(event.kind === 'RESYNC' ? 0 : lastRevision, event.revision);
  if (event.kind === 'RESYNC' || isFirst) resyncs.value += 1;
  // A hidden tab draws no frames, and hears of events all the same.
  if (!isDue) document.hidden ? setTimeout(deliver, 100) : requestAnimationFrame(deliver);
  isDue = true;
  if (event.kind !== 'SYNCED' && event.kind !== 'RESYNC') waiting.push(event);
}

/** A thousand events of one frame are one change of what is shown. */
function deliver(): void {
  const events = waiting;
  waiting = [];
  isDue = false;
  batch(() => {
    revision.value = lastRevision;
    if (events.length > 0) for (const listener of listeners) listener(events);
  });
}

let stop: (() => void) | null = null;
isIn.subscribe((isIn) => {
  if (isIn) {
    const after = { toJSON: () => last } as unknown as string;
    stop ??= follow(ClusterEvents, { after }, ({ clusterEvents }) => receive(clusterEvents));
  } else {
    stop?.();
    stop = null;
    // Who signs in next may be somebody else, and begins with what is so then.
    last = null;
  }
});
