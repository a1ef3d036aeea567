// Drains as the board has them: in which column each is, in what order, and what its speed lets one expect.

import type { DrainFilter, DrainState } from '../../api/generated';
import type { Blocker } from '../../blockers';
import { workerSearch } from '../../search';

export type Stage = 'requested' | 'acknowledged' | 'leaving' | 'safe';

export interface DrainFacts {
  state: DrainState;
  safeToPowerOff: boolean;
  startedAt: string | null;
  deadlineAt: string | null;
  acknowledgedAt: string | null;
  initialVms: number | null;
  remainingVms: number | null;
  blockers?: readonly Pick<Blocker, 'note'>[];
}

/** How many VMs stay for a reason: their workers have a note on them. */
export function heldUp({ blockers = [] }: Pick<DrainFacts, 'blockers'>): number {
  return blockers.filter((blocker) => blocker.note !== null).length;
}

/** How far a drain that stands has come. */
export function stageOf({ safeToPowerOff, acknowledgedAt, initialVms, remainingVms }: DrainFacts): Stage {
  if (safeToPowerOff) return 'safe';
  if (acknowledgedAt === null) return 'requested';
  const remaining = remainingVms ?? 0;
  return remaining > 0 && remaining >= (initialVms ?? remaining) ? 'acknowledged' : 'leaving';
}

/** Overdue ones first, then by deadline, then those that have stood for longest. */
export function byUrgency(a: DrainFacts, b: DrainFacts): number {
  const late = (drain: DrainFacts): number => (drain.state === 'OVERDUE' ? 0 : 1);
  const time = (at: string | null): number => (at === null ? Number.MAX_SAFE_INTEGER : Date.parse(at));
  return late(a) - late(b) || time(a.deadlineAt) - time(b.deadlineAt) || time(a.startedAt) - time(b.startedAt);
}

/** How many VMs there were to leave: never fewer than are there. */
export function initialOf({ initialVms, remainingVms }: Pick<DrainFacts, 'initialVms' | 'remainingVms'>): number {
  return Math.max(initialVms ?? 0, remainingVms ?? 0);
}

export interface Pace {
  /** From one VM that left to the next, on average since the drain began, in milliseconds. */
  each: number;
  /** In how many milliseconds nothing is left if that goes on. */
  left: number;
  /** How long after the deadline that is, in milliseconds; negative before it; null without a deadline. */
  late: number | null;
}

/** What the speed since the beginning lets one expect; null as long as no VM has left, none is there, or one is held up. */
export function paceOf(drain: DrainFacts, now: number): Pace | null {
  const remaining = drain.remainingVms ?? 0;
  const gone = initialOf(drain) - remaining;
  if (drain.startedAt === null || drain.initialVms === null || gone <= 0 || remaining <= 0 || heldUp(drain) > 0) return null;
  const each = Math.max(0, now - Date.parse(drain.startedAt)) / gone;
  const left = each * remaining;
  return { each, left, late: drain.deadlineAt === null ? null : now + left - Date.parse(drain.deadlineAt) };
}

/** The keys of a search for drains, as they are named to who has typed another. */
const KEYS = 'zone, label.KEY, cap or id';

/** What a search asks for of drains, by the words that workers are searched with. */
export function drainSearch(text: string): { filter: DrainFilter; problems: string[] } {
  const { filter, problems, terms } = workerSearch(text, KEYS);
  const strange = terms.filter(({ key, value }) => value !== '' && (['status', 'healthy'].includes(key) || key.startsWith('free.')));
  return {
    filter: {
      ...(filter.ids ? { workerIds: filter.ids } : {}),
      ...(filter.zones ? { zones: filter.zones } : {}),
      ...(filter.hasZone === undefined ? {} : { hasZone: filter.hasZone }),
      ...(filter.capabilities ? { capabilities: filter.capabilities } : {}),
      ...(filter.labels ? { labels: filter.labels } : {}),
      ...(filter.search ? { search: filter.search } : {}),
    },
    problems: [...problems, ...strange.map(({ key }) => `Unknown filter “${key}”: use ${KEYS}`)],
  };
}
