// Events as lines: when, what, and who or why.

import { useSignal } from '@preact/signals';
import type { ClusterEvent } from '../api/events';
import type { ClusterEventKind } from '../api/generated';
import { folded, foldSearch, foldSpan, foldTitle, type Fold } from '../event-folds';
import { actor as actorOf, count } from '../format';
import { href } from '../router';
import { Clock } from './time';

const BAD: readonly ClusterEventKind[] = ['WORKER_OFFLINE', 'VM_FAILED', 'VM_LOST', 'VM_VANISHED', 'AUTHENTICATION_FAILED'];
const WARN: readonly ClusterEventKind[] = ['WORKER_DRAIN_OVERDUE', 'WORKER_DRAIN_REOPENED', 'RESERVATION_EXPIRED'];

/** What happens all the time while a cluster is well, and is left out where there is room for a few events only. */
export const ROUTINE: readonly ClusterEventKind[] = [
  'VM_STARTED', 'VM_CHANGED', 'VM_STOPPED', 'VM_MOVED', 'RESERVATION_HELD', 'RESERVATION_TAKEN', 'RESERVATION_RELEASED', 'SIGNED_IN', 'SIGNED_OUT',
];

export const ALL_KINDS: readonly ClusterEventKind[] = [
  'WORKER_JOINED', 'WORKER_REGISTERED', 'WORKER_UPDATED', 'WORKER_RESTARTED', 'WORKER_OFFLINE', 'WORKER_ONLINE',
  'WORKER_DRAIN_STARTED', 'WORKER_DRAIN_CHANGED', 'WORKER_DRAIN_OVERDUE', 'WORKER_DRAIN_COMPLETE', 'WORKER_DRAIN_REOPENED',
  'WORKER_ACTIVATED', 'WORKER_LEFT', 'WORKER_PURGED', 'VM_STARTED', 'VM_CHANGED', 'VM_STOPPED', 'VM_FAILED', 'VM_MOVED',
  'VM_VANISHED', 'VM_LOST', 'TOKEN_CREATED', 'TOKEN_REVOKED', 'AUTHENTICATION_FAILED', 'SIGNED_IN', 'SIGNED_OUT',
  'RESERVATION_HELD', 'RESERVATION_TAKEN', 'RESERVATION_RELEASED', 'RESERVATION_EXPIRED',
];

export function eventTone({ kind }: Pick<ClusterEvent, 'kind'>): 'bad' | 'warn' | '' {
  return BAD.includes(kind) ? 'bad' : WARN.includes(kind) ? 'warn' : '';
}

/** The message with the worker that it names as a link. */
export function Message({ event, without }: { event: ClusterEvent; without?: string }) {
  const { message, workerId } = event;
  const at = workerId ? message.search(new RegExp(`(?<![\\w-])${escaped(workerId)}(?![\\w-])`)) : -1;
  if (!workerId || at < 0 || workerId === without) return <>{message}</>;
  return <>{message.slice(0, at)}<a class="worker-link" href={href('workers', workerId)}>{workerId}</a>{message.slice(at + workerId.length)}</>;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Who caused it and why, in a few words. */
export function EventSource({ event: { actor, actorName, reason, zone } }: { event: ClusterEvent }) {
  const who = actorOf(actorName, actor);
  const parts = [who && `by ${who}`, reason && `“${reason}”`].filter(Boolean).join(' · ');
  return <>{parts}{parts && zone && ' · '}{zone && <span class="whole">{zone}</span>}</>;
}

export function EventLine({ event, dated, without }: { event: ClusterEvent; dated?: boolean; without?: string }) {
  return (
    <li class={`event${dated ? ' dated' : ''}`} data-cursor={event.cursor}>
      <Clock at={event.at} seconds={dated} />
      <div>
        <p class={eventTone(event)}><Message event={event} without={without} /></p>
        <p class="tiny faint"><EventSource event={event} /></p>
      </div>
    </li>
  );
}

/** Events of a fold that are listed when it is opened; the page of events has all. */
const MOST_OF_FOLD = 50;

/** VMs that were lost in one way as one line, which opens. With `isMore`, there may be older ones that were not read. */
function FoldLine({ fold, isMore }: { fold: Fold<ClusterEvent>; isMore: boolean }) {
  const isOpen = useSignal(false);
  const { events, kind } = fold;
  const search = foldSearch(fold);
  return (
    <li class="event" data-fold={kind} data-count={events.length}>
      <Clock at={events[0]!.at} />
      <div>
        <details class="fold" onToggle={(event) => { isOpen.value = event.currentTarget.open; }}>
          <summary class="bad">{isMore && 'At least '}{foldTitle(fold)}</summary>
          {isOpen.value && (
            <ul class="list">
              {events.slice(0, MOST_OF_FOLD).map((event) => <EventLine key={event.id} event={event} />)}
              {events.length > MOST_OF_FOLD && <li class="tiny muted">and {count(events.length - MOST_OF_FOLD)} more: <a href={href('events', { q: `kind:vm_${kind}` })}>all in Events</a></li>}
            </ul>
          )}
        </details>
        <p class="tiny faint">{foldSpan(fold)}{search && <> · <a class="fold-link" href={href('vms', { q: search })}>failed VMs</a></>}</p>
      </div>
    </li>
  );
}

/** Events without routine, newest first, as at most so many lines, lost VMs folded. `isCut` says that older losses were not read. */
export function EventLines({ events, most, isCut = false }: { events: readonly ClusterEvent[]; most: number; isCut?: boolean }) {
  const lines = folded(events, Infinity);
  return (
    <ul class="list">
      {lines.slice(0, most).map(({ event, fold }) => (fold
        ? <FoldLine key={`${fold.kind} ${fold.events.at(-1)!.id}`} fold={fold} isMore={isCut} />
        : <EventLine key={event.id} event={event} />))}
    </ul>
  );
}
