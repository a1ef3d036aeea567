// What a search asks for of events, in the words of the search language.

import type { ClusterEventKind, EventActor, EventFilter } from '../../api/generated';
import { count, plural } from '../../format';
import { print, termFor, terms } from '../../search';
import { milliseconds } from '../../time';

export interface EventSearch {
  filter: EventFilter;
  since: string | null;
  until: string | null;
  /** Words without a key, in lower case: the server does not search for them, so the page looks for them in what it has read. */
  words: string[];
  problems: string[];
}

/** Kinds that belong together, besides those whose name has the word in it. */
export const KINDS_BY_WORD: Readonly<Record<string, readonly ClusterEventKind[]>> = {
  drain: ['WORKER_DRAIN_STARTED', 'WORKER_DRAIN_CHANGED', 'WORKER_DRAIN_OVERDUE', 'WORKER_DRAIN_COMPLETE', 'WORKER_DRAIN_REOPENED', 'WORKER_ACTIVATED'],
  trouble: ['WORKER_OFFLINE', 'WORKER_DRAIN_OVERDUE', 'WORKER_DRAIN_REOPENED', 'VM_FAILED', 'VM_LOST', 'VM_VANISHED', 'AUTHENTICATION_FAILED', 'RESERVATION_EXPIRED'],
  access: ['WORKER_JOINED', 'TOKEN_CREATED', 'TOKEN_REVOKED', 'AUTHENTICATION_FAILED', 'SIGNED_IN', 'SIGNED_OUT'],
  liveness: ['WORKER_OFFLINE', 'WORKER_ONLINE', 'WORKER_RESTARTED', 'WORKER_LEFT', 'WORKER_PURGED'],
  vm: ['VM_STARTED', 'VM_CHANGED', 'VM_STOPPED', 'VM_FAILED', 'VM_MOVED', 'VM_VANISHED', 'VM_LOST'],
};

/** Kinds that a word means: `drain`, `vm_failed`, `vm-failed`, or any part of a name. */
export function kindsOf(word: string, all: readonly ClusterEventKind[]): readonly ClusterEventKind[] {
  const name = word.toUpperCase().replaceAll('-', '_');
  const exact = all.find((kind) => kind === name);
  if (exact) return [exact];
  return KINDS_BY_WORD[word.toLowerCase()] ?? (name.length < 2 ? [] : all.filter((kind) => kind.includes(name)));
}

const ACTORS: Readonly<Record<string, EventActor>> = { worker: 'WORKER', operator: 'OPERATOR', server: 'SERVER' };

/** `now` is the server's time, in milliseconds since 1970, from which lengths of time are counted back. */
export function eventSearch(text: string, all: readonly ClusterEventKind[], now: number): EventSearch {
  const filter: { -readonly [K in keyof EventFilter]: EventFilter[K] } = {};
  const words: string[] = [];
  const problems: string[] = [];
  let since: string | null = null;
  let until: string | null = null;
  for (const { key, value, values: parts } of terms(text)) {
    if (key === '') {
      words.push(value.toLowerCase());
      continue;
    }
    if (value === '') continue;
    const values = parts.filter(Boolean);
    switch (key) {
      case 'kind':
        for (const word of values) {
          const kinds = kindsOf(word, all);
          if (kinds.length === 0) problems.push(`Unknown kind “${word}”: use drain, trouble, access, liveness, vm, or one such as worker_offline`);
          filter.kinds = [...new Set([...filter.kinds ?? [], ...kinds])];
        }
        break;
      case 'worker': case 'id': filter.workerIds = [...filter.workerIds ?? [], ...values]; break;
      case 'vm': filter.vmIds = [...filter.vmIds ?? [], ...values]; break;
      case 'zone': filter.zones = [...filter.zones ?? [], ...values.map((zone) => (zone === 'none' ? '' : zone))]; break;
      case 'token': filter.actorTokenIds = [...filter.actorTokenIds ?? [], ...values]; break;
      case 'actor': case 'by':
        for (const word of values) {
          const actor = ACTORS[word.toLowerCase()];
          if (actor) filter.actors = [...filter.actors ?? [], actor];
          else problems.push(`Unknown actor “${word}”: use worker, operator or server; for one token, token:ID`);
        }
        break;
      case 'since': case 'until': {
        const at = instantOf(value, now);
        if (at === null) problems.push(`Unknown time “${value}”: use 15m, 2h, 7d, or one such as 2025-11-02T12:30:00Z`);
        else if (key === 'since') since = at;
        else until = at;
        break;
      }
      default: problems.push(`Unknown filter “${key}”: use kind, worker, vm, zone, actor, token, since or until`);
    }
  }
  return { filter, since, until, words, problems };
}

/** An instant, RFC 3339 in UTC: a length of time before now, or a time. */
function instantOf(text: string, now: number): string | null {
  const ago = milliseconds(text);
  if (ago !== null) return new Date(now - ago).toISOString();
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}

/** The search with this one value under a key, or with none. */
export function withTerm(text: string, key: string, value: string | null): string {
  const found = terms(text).filter((term) => term.key !== key);
  return print(value === null ? found : [...found, termFor(key, value)]);
}

export interface Searched {
  message: string;
  workerId: string | null;
  vmId: string | null;
  vmName: string | null;
  reason: string | null;
  actorName: string | null;
}

/** Whether all words are somewhere in an event. */
export function hasWords(event: Searched, words: readonly string[]): boolean {
  if (words.length === 0) return true;
  const text = [event.message, event.workerId, event.vmId, event.vmName, event.reason, event.actorName].join('\n').toLowerCase();
  return words.every((word) => text.includes(word));
}

/** What a kind is called in a table: `drain started`. */
export function kindName(kind: ClusterEventKind): string {
  return kind.replace(/^WORKER_(?!JOINED|LEFT)/, '').replaceAll('_', ' ').toLowerCase().replace(/^vm /, 'VM ');
}

export interface Bar {
  /** Where the bar begins, in milliseconds since 1970. */
  from: number;
  total: number;
  /** How many of them are trouble. */
  bad: number;
}

/** How many events there were in each part of the time that they span, oldest first. */
export function histogram(events: readonly { at: number; isBad: boolean }[], from: number, to: number, bars: number): Bar[] {
  const width = Math.max(1, (to - from) / bars);
  const result = Array.from({ length: bars }, (_, index): Bar => ({ from: from + index * width, total: 0, bad: 0 }));
  for (const { at, isBad } of events) {
    const bar = result[Math.min(bars - 1, Math.floor((at - from) / width))];
    if (!bar || at < from) continue;
    bar.total += 1;
    if (isBad) bar.bad += 1;
  }
  return result;
}

/** How many of the events that were read match: `100 events read`, `12 of the 100 events read`. */
export function readText(matching: number, read: number): string {
  return `${matching === read ? '' : `${count(matching)} of the `}${plural(read, 'event')} read`;
}

/** Why there is nothing older to be read. */
export function noOlderText({ filter, since }: EventSearch): string {
  if (since !== null) return 'none is older in this time';
  return Object.keys(filter).length > 0 ? 'no older one matches' : 'the log has no older ones';
}
