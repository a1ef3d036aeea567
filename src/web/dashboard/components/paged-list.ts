// A list of any length that the server filters, sorts and pages: as much of it as somebody has scrolled to, kept true.

import { useSignal, type ReadonlySignal } from '@preact/signals';
import { useCallback, useEffect, useRef } from 'preact/hooks';
import { onEvents, resyncs, type ClusterEvent } from '../api/events';
import { reconnections } from '../api/live';
import { toastError } from './toast';

/** Rows of the first page: what a screen shows, and some. */
const FIRST_ROWS = 100;
/** Rows of each page after it, as many as the server answers at once. */
const MORE_ROWS = 500;
/** The shortest time from one reading to the next because of events, in milliseconds. */
const READ_PERIOD_MS = 1_500;

export interface Page<Row> {
  rows: readonly Row[];
  totalCount: number;
  endCursor: string | null;
  hasNextPage: boolean;
}

export interface PagedListOptions<Row> {
  /** What is asked, as a text: with another one the list begins anew. */
  key: string;
  /** Whether the list is shown; it is not read otherwise. */
  isShown?: boolean;
  id: (row: Row) => string;
  /** Asks for a page of what `key` means. */
  readPage: (first: number, after: string | null, signal?: AbortSignal) => Promise<Page<Row>>;
  /** Asks for rows by id, for those that are seen behind the first pages; if left out, somebody else keeps them true. */
  readRows?: (ids: readonly string[], signal: AbortSignal) => Promise<readonly Row[]>;
  /** Whether two readings of a row say the same: then it stays the same object, and nothing is drawn for it. */
  isSame?: (before: Row, after: Row) => boolean;
  /** Which events make it read again. */
  on: (event: ClusterEvent) => boolean;
  /** Reads again this often while the page is seen, in milliseconds: for orders that heartbeats move without an event. */
  every?: number | null;
}

export interface PagedList<Row> {
  /** Rows in the order of the server, as far as they are loaded; null before the first answer. */
  rows: ReadonlySignal<readonly Row[] | null>;
  total: ReadonlySignal<number>;
  /** The `key` of what `rows` answers. */
  answered: ReadonlySignal<string>;
  /** Whether that is what is asked now. */
  isCurrent: boolean;
  /** Why there is no newer answer; the empty text if there is one. */
  error: ReadonlySignal<string>;
  /** Loads the next page. */
  more: () => Promise<void>;
  /** Loads all; whether they are all there then. */
  all: () => Promise<boolean>;
  refresh: () => Promise<void>;
  /** To be called with the ids of the rows that are seen. */
  onSeen: (ids: readonly string[]) => void;
}

export function usePagedList<Row>(options: PagedListOptions<Row>): PagedList<Row> {
  const { key, isShown = true, every } = options;
  const rows = useSignal<readonly Row[] | null>(null);
  const total = useSignal(0);
  const answered = useSignal('');
  const error = useSignal('');
  const state = useRef({
    cursor: null as string | null, hasMore: false, abort: null as AbortController | null, isLoadingMore: false, isReading: false,
    /** Whether it is to be read again after the reading that is under way. */
    isStale: false,
    readAt: 0, took: 0, timer: undefined as ReturnType<typeof setTimeout> | undefined, seen: [] as readonly string[],
  });
  const latest = useRef(options);
  latest.current = options;

  const read = useCallback(async (isNew: boolean): Promise<void> => {
    const now = state.current;
    clearTimeout(now.timer);
    now.timer = undefined;
    now.abort?.abort();
    const abort = now.abort = new AbortController();
    const { key, id, readPage, readRows, isSame } = latest.current;
    // Rows of another list are not part of this one: its first reading may have failed.
    const loaded = (): readonly Row[] => (isNew || answered.peek() !== key ? [] : rows.peek() ?? []);
    const first = Math.min(MORE_ROWS, Math.max(FIRST_ROWS, loaded().length));
    const begun = now.readAt = Date.now();
    now.isReading = true;
    now.isStale = false;
    try {
      const page = await readPage(first, null, abort.signal);
      if (abort.signal.aborted) return;
      const front = new Set(page.rows.map(id));
      const behind = (): readonly Row[] => {
        if (!page.hasNextPage) return [];
        const there = loaded();
        const last = page.rows.at(-1);
        const end = last === undefined ? -1 : there.findIndex((row) => id(row) === id(last));
        // Where the page ends, not how long it is: what joined in front has moved rows out of it.
        return there.slice(end < 0 ? first : end + 1).filter((row) => !front.has(id(row)));
      };
      // Of what is further down, only what is seen is read anew.
      const deep = new Set(behind().map(id));
      const seen = readRows ? now.seen.filter((one) => deep.has(one)) : [];
      const news = new Map<string, Row>();
      if (readRows && seen.length > 0) {
        for (const row of await readRows(seen, abort.signal)) news.set(id(row), row);
        if (abort.signal.aborted) return;
      }
      const asked = new Set(seen);
      // The next page may have come meanwhile: it stays.
      const before = loaded();
      const tail = behind().flatMap((row) => (asked.has(id(row)) ? news.get(id(row)) ?? [] : row));
      now.took = Date.now() - begun;
      if (tail.length === 0) {
        now.cursor = page.endCursor;
        now.hasMore = page.hasNextPage;
      }
      const next = [...page.rows, ...tail];
      rows.value = isSame ? kept(before, next, id, isSame) : next;
      total.value = page.totalCount;
      answered.value = key;
      error.value = '';
      document.documentElement.dataset['ready'] = '';
    } catch (reason) {
      if (abort.signal.aborted) return;
      error.value = (reason as Error).message;
      now.isStale = true;
    } finally {
      if (now.abort === abort) {
        now.isReading = false;
        if (now.isStale && !abort.signal.aborted) soon(error.peek() ? 3_000 : READ_PERIOD_MS);
      }
    }
  }, []);

  const soon = useCallback((wait: number): void => {
    const now = state.current;
    if (now.timer !== undefined) return;
    // What is being read comes to its end: on a cluster where much happens, it never would otherwise.
    if (now.isReading) {
      now.isStale = true;
      return;
    }
    // A list that takes long is read less often, so that reading it is never all that the server does.
    const due = now.readAt + Math.max(wait, now.took * 8);
    now.timer = setTimeout(() => { void read(false); }, Math.max(50, due - Date.now()));
  }, []);

  const more = useCallback(async (): Promise<void> => {
    const now = state.current;
    const { key, id, readPage } = latest.current;
    // While another list is asked for, the cursor is still that of the one before.
    if (now.isLoadingMore || answered.peek() !== key) return;
    now.isLoadingMore = true;
    try {
      let page: Page<Row>;
      let cursor: string | null;
      do {
        ({ cursor } = now);
        if (!now.hasMore || cursor === null) return;
        page = await readPage(MORE_ROWS, cursor);
        if (key !== latest.current.key || key !== answered.peek()) return;
        // The list that was read anew meanwhile may end elsewhere: what follows there is another page.
      } while (cursor !== now.cursor);
      const there = rows.peek() ?? [];
      const known = new Set(there.map(id));
      rows.value = [...there, ...page.rows.filter((row) => !known.has(id(row)))];
      now.cursor = page.endCursor;
      now.hasMore = page.hasNextPage;
    } catch (reason) {
      toastError(reason);
    } finally {
      now.isLoadingMore = false;
    }
  }, []);

  const all = useCallback(async (): Promise<boolean> => {
    const { key } = latest.current;
    for (let before = -1; state.current.hasMore && key === latest.current.key && before !== (rows.peek()?.length ?? 0);) {
      before = rows.peek()?.length ?? 0;
      await more();
    }
    return !state.current.hasMore && key === latest.current.key && key === answered.peek();
  }, []);

  useEffect(() => { if (isShown) void read(true); }, [key, isShown]);
  useEffect(() => (isShown ? onEvents((events) => { if (events.some(latest.current.on)) soon(READ_PERIOD_MS); }) : undefined), [isShown]);
  const anew = resyncs.value + reconnections.value;
  useEffect(() => { if (anew > 0 && isShown) soon(0); }, [anew]);
  useEffect(() => {
    if (!every || !isShown) return;
    const timer = setInterval(() => { if (!document.hidden) soon(0); }, every);
    return () => clearInterval(timer);
  }, [every, isShown]);
  useEffect(() => () => { clearTimeout(state.current.timer); state.current.abort?.abort(); }, []);
  const refresh = useCallback(() => read(false), []);
  const onSeen = useCallback((ids: readonly string[]) => { state.current.seen = ids; }, []);
  return { rows, total, answered, isCurrent: answered.value === key, error, more, all, refresh, onSeen };
}

/** Rows that say the same stay the same objects. */
function kept<Row>(before: readonly Row[], after: readonly Row[], id: (row: Row) => string, isSame: (before: Row, after: Row) => boolean): readonly Row[] {
  const known = new Map(before.map((row) => [id(row), row]));
  return after.map((row) => {
    const same = known.get(id(row));
    return same !== undefined && isSame(same, row) ? same : row;
  });
}
