// Folding of the change log: VM events of a short time are one line with their number, so that the other events are
// seen. Drains, and what is told of workers, tokens and reservations, are never folded; VMs that failed are folded among
// themselves, and stay visible as that.

import type { ClusterEventKind } from './api/generated';
import { count, plural } from './format';
import { searchFor } from './search';
import { clock } from './time';

export interface Foldable {
  readonly id: string;
  readonly kind: ClusterEventKind;
  /** When it happened, RFC 3339. */
  readonly at: string;
  readonly workerId: string | null;
  readonly vmId: string | null;
  readonly zone: string | null;
}

/** What a fold is of: VMs that come, change and go, or one kind of loss. */
export type FoldKind = 'churn' | 'failed' | 'lost' | 'vanished';

export interface Fold<Event> {
  readonly kind: FoldKind;
  /** Newest first; two at the least. */
  readonly events: readonly Event[];
}

/** A line of the log: an event, or several as one. */
export type Line<Event> = { readonly event: Event; readonly fold?: undefined } | { readonly event: Event; readonly fold: Fold<Event> };

const FOLD_KINDS: Partial<Record<ClusterEventKind, FoldKind>> = {
  VM_STARTED: 'churn', VM_CHANGED: 'churn', VM_STOPPED: 'churn', VM_MOVED: 'churn', VM_FAILED: 'failed', VM_LOST: 'lost', VM_VANISHED: 'vanished',
};

/** Whether an event is of VMs that come, change and go as usual. */
export function isChurn({ kind }: Pick<Foldable, 'kind'>): boolean {
  return FOLD_KINDS[kind] === 'churn';
}

/** So many events of one kind of fold are one line; fewer are a line each. */
const FEWEST = 4;

/**
 * Folds events, newest first, into lines, newest first. VM events of each `period`, in milliseconds of the clock, are
 * folded by what they are of, whatever else happened in between; the line is where the newest of them was. A period begins at a
 * multiple of its length, so that a line stays what it is while newer and older events are read.
 */
export function folded<Event extends Foldable>(events: readonly Event[], period: number): Line<Event>[] {
  const groups = new Map<string, Event[]>();
  const keyOf = ({ kind, at }: Event): string => `${FOLD_KINDS[kind]} ${Number.isFinite(period) ? Math.floor(Date.parse(at) / period) : ''}`;
  const keys = events.map((event) => (FOLD_KINDS[event.kind] === undefined ? null : keyOf(event)));
  events.forEach((event, index) => {
    const key = keys[index];
    if (typeof key !== 'string') return;
    const group = groups.get(key);
    if (group) group.push(event);
    else groups.set(key, [event]);
  });
  return events.flatMap((event, index): Line<Event>[] => {
    const group = groups.get(keys[index] ?? '');
    if (!group || group.length < FEWEST) return [{ event }];
    return group[0] === event ? [{ event, fold: { kind: FOLD_KINDS[event.kind]!, events: group } }] : [];
  });
}

const distinct = (values: readonly (string | null)[]): number => new Set(values.filter((value) => value !== null)).size;

/** What a fold is of, in a few words: `37 VM events on 12 workers`, `12 VMs failed on 7 workers`. */
export function foldTitle({ kind, events }: Fold<Foldable>): string {
  const workers = plural(distinct(events.map(({ workerId }) => workerId)), 'worker');
  if (kind === 'churn') return `${plural(events.length, 'VM event')} on ${workers}`;
  const vms = distinct(events.map(({ vmId }) => vmId));
  // One that was started again may fail twice.
  const times = vms === events.length ? '' : `, ${count(events.length)} times in all`;
  const verb = { failed: 'failed on', lost: vms === 1 ? 'was lost with' : 'were lost with', vanished: 'vanished from' }[kind];
  return `${plural(vms, 'VM')} ${verb} ${workers}${times}`;
}

/** When the events of a fold were: `12:03:10–12:03:40`. */
export function foldSpan({ events }: Fold<Foldable>): string {
  const from = clock(events.at(-1)!.at, true);
  const to = clock(events[0]!.at, true);
  return from === to ? to : `${from}–${to}`;
}

/** How many there are of each kind: `12 started, 20 changed, 5 stopped`; the empty text if there is one kind only. */
export function foldKinds({ events }: Fold<Foldable>): string {
  const words: readonly (readonly [ClusterEventKind, string])[] = [['VM_STARTED', 'started'], ['VM_CHANGED', 'changed'], ['VM_STOPPED', 'stopped'], ['VM_MOVED', 'moved']];
  const parts = words.flatMap(([kind, word]) => {
    const many = events.filter((event) => event.kind === kind).length;
    return many > 0 ? [`${count(many)} ${word}`] : [];
  });
  return parts.join(', ');
}

/** The search that finds the VMs of a fold of failures, as far as they still exist: on their worker or in their zone, if they share one. */
export function foldSearch({ kind, events }: Fold<Foldable>): string | null {
  if (kind !== 'failed') return null;
  const { workerId, zone } = events[0]!;
  if (workerId && distinct(events.map((event) => event.workerId)) === 1) return `status:failed ${searchFor('worker', workerId)}`;
  if (zone && events.every((event) => event.zone === zone)) return `status:failed ${searchFor('zone', zone)}`;
  return 'status:failed';
}
