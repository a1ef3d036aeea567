// Queries that stay true: read again when events say that their answer may be another one by now.

import { signal, useComputed, useSignal, useSignalEffect, type ReadonlySignal, type Signal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { ask, RequestError } from './http';
import { onEvents, resyncs, type ClusterEvent } from './events';
import { reconnections } from './live';
import { isIn } from '../session';
import type { Operation } from './operation';

export interface LiveQuery<Result> {
  /** The last answer; while variables change or the server is away, the one before. */
  data: ReadonlySignal<Result | undefined>;
  /** Why there is no newer answer. */
  error: ReadonlySignal<RequestError | null>;
  loading: ReadonlySignal<boolean>;
  /** Whether `data` answers the present variables, and not those before. */
  isCurrent: ReadonlySignal<boolean>;
  /** Reads again at once. */
  refresh: () => Promise<void>;
}

export interface LiveQueryOptions {
  /** Which events make it read again; all if left out. */
  on?: (event: ClusterEvent) => boolean;
  /** Reads again this often while the page is seen, in milliseconds: for figures that heartbeats move without an event. */
  every?: number;
  /** The shortest time between two readings because of events, in milliseconds; 1,000 if left out. */
  atMostEvery?: number;
}

/** Last answers, so that a page that is opened again shows at once what it had. */
const cache = new Map<string, unknown>();
const CACHED_ANSWERS = 60;
/** After so long, in milliseconds, a question may be lost with its connection, and is given up for the next one. */
const LONG_MS = 5_000;

// Who signs in next may be somebody else, with another role.
isIn.subscribe((isIn) => { if (!isIn) cache.clear(); });

/** Follows a query from a component. With `null` as variables nothing is asked. */
export function useQuery<Result, Variables>(
  operation: Operation<Result, Variables>,
  variables: Variables | null,
  options: LiveQueryOptions = {},
): LiveQuery<Result> {
  const key = variables === null ? null : `${operation.name} ${JSON.stringify(variables)}`;
  const wanted = useSignal(key);
  wanted.value = key;
  const latest = useRef({ variables, options });
  latest.current = { variables, options };

  const query = useMemo(() => new Reading<Result, Variables>(operation, () => latest.current.variables), []);
  useSignalEffect(() => {
    const key = wanted.value;
    if (isIn.value && key !== null) query.begin(key);
  });
  // Everything may have changed.
  useSignalEffect(() => {
    if (resyncs.value + reconnections.value > 0) query.soon(0);
  });
  useEffect(() => {
    const stop = onEvents((events) => {
      const { on, atMostEvery = 1_000 } = latest.current.options;
      if (!on || events.some(on)) query.soon(atMostEvery);
    });
    return () => { stop(); query.end(); };
  }, []);
  useEffect(() => {
    if (!options.every) return;
    const timer = setInterval(() => { if (!document.hidden) query.soon(0); }, options.every);
    return () => clearInterval(timer);
  }, [options.every]);
  const isCurrent = useComputed(() => query.answeredKey.value === wanted.value);
  return { data: query.data, error: query.error, loading: query.loading, isCurrent, refresh: query.read };
}

class Reading<Result, Variables> {
  readonly data: Signal<Result | undefined> = signal(undefined);
  readonly error: Signal<RequestError | null> = signal(null);
  readonly loading = signal(false);
  readonly answeredKey = signal<string | null>(null);
  #key: string | null = null;
  /** The key of the question whose answer is waited for, or has come last. */
  #asked: string | null = null;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #readAt = 0;
  #ended = false;

  constructor(readonly operation: Operation<Result, Variables>, readonly variables: () => Variables | null) {}

  begin(key: string): void {
    this.#ended = false;
    if (key !== this.#key) {
      this.#key = key;
      const cached = cache.get(key);
      if (cached !== undefined) {
        this.data.value = cached as Result;
        this.answeredKey.value = key;
      }
    }
    void this.read();
  }

  /** Reads again, but no sooner than so many milliseconds after the last time. */
  soon(atMostEvery: number): void {
    if (this.#key === null || this.#timer !== undefined || this.#ended) return;
    const wait = Math.max(60, this.#readAt + atMostEvery - Date.now());
    this.#timer = setTimeout(() => { void this.read(); }, wait);
  }

  read = async (): Promise<void> => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const key = this.#key;
    const variables = this.variables();
    if (key === null || variables === null || this.#ended) return;
    // What is being asked is answered first, unless that takes long, and asked again after that.
    if (this.#asked === key && this.loading.peek() && Date.now() - this.#readAt < LONG_MS) return this.soon(0);
    this.#asked = key;
    this.#abort?.abort();
    const abort = this.#abort = new AbortController();
    this.#readAt = Date.now();
    this.loading.value = true;
    try {
      const data = await ask(this.operation, variables, abort.signal);
      if (abort.signal.aborted) return;
      cache.delete(key);
      cache.set(key, data);
      if (cache.size > CACHED_ANSWERS) cache.delete(cache.keys().next().value!);
      // The same answer again draws nothing.
      if (JSON.stringify(data) !== JSON.stringify(this.data.peek())) this.data.value = data;
      this.answeredKey.value = key;
      this.error.value = null;
      document.documentElement.dataset['ready'] = '';
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error.value = error instanceof RequestError ? error : new RequestError(String(error), 'INTERNAL');
      if (this.error.value.code === 'UNREACHABLE' || this.error.value.code === 'UNAVAILABLE') this.soon(3_000);
    } finally {
      if (this.#abort === abort) this.loading.value = false;
    }
  };

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#abort?.abort();
  }
}
