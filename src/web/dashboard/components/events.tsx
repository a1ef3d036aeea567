// The last events of some kind, newest first, which grow at the top while they are shown.

import { useSignal, type ReadonlySignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { EventFilter } from '../api/generated';
import { ask } from '../api/http';
import { EventFields, onEvents, resyncs, type ClusterEvent } from '../api/events';
import { operation } from '../api/operation';

const LastEvents = operation(`query LastEvents($first: Int, $filter: EventFilter) {
  events(first: $first, order: DESC, filter: $filter) { nodes { ...EventFields } }
}`, EventFields);

/** `matches` says the same of an event as the filter does; both stay the same while `key` does. */
export function useLastEvents(most: number, key: string, filter: EventFilter | null, matches: (event: ClusterEvent) => boolean): ReadonlySignal<readonly ClusterEvent[] | null> {
  const events = useSignal<readonly ClusterEvent[] | null>(null);
  const latest = useRef({ filter, matches });
  latest.current = { filter, matches };
  const anew = resyncs.value;
  useEffect(() => {
    const abort = new AbortController();
    ask(LastEvents, { first: most, filter: latest.current.filter }, abort.signal).then(({ events: { nodes } }) => {
      // What came while this was asked is at the top already.
      const known = new Set(nodes.map(({ id }) => id));
      const newest = nodes[0]?.revision ?? 0;
      const later = (events.peek() ?? []).filter(({ id, revision }) => !known.has(id) && revision >= newest);
      events.value = [...later, ...nodes].slice(0, most);
    }, () => {});
    return () => abort.abort();
  }, [key, most, anew]);
  useEffect(() => onEvents((news) => {
    const found = news.filter((event) => latest.current.matches(event)).reverse();
    if (found.length === 0) return;
    const known = new Set((events.peek() ?? []).map(({ id }) => id));
    events.value = [...found.filter(({ id }) => !known.has(id)), ...events.peek() ?? []].slice(0, most);
  }), []);
  return events;
}
