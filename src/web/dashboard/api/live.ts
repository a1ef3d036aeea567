// The one WebSocket of the page, and how fresh what it shows is.
//
// The socket is kept open and tried again for ever. Subscriptions outlive it: each is sent again on the next one, with
// variables that are read at that moment, so that a variable with `toJSON` resumes from where it has come to.

import { computed, signal } from '@preact/signals';
import { createClient, type Client } from 'graphql-ws';
import { endpoint } from '../root';
import { checkSession, isIn } from '../session';
import { length, now } from '../time';
import type { Operation } from './operation';

/** How often the server is asked for a sign of life; the answer is what keeps `live` young on a quiet cluster. */
const PING_PERIOD_MS = 2_000;
/** A socket whose ping has no answer for this long is given up. */
const PONG_TIMEOUT_MS = 6_000;
/** The longest wait before the next attempt, apart from jitter. */
const LONGEST_WAIT_MS = 4_000;
/** What is shown counts as stale after this long without a connection. */
const STALE_AFTER_MS = 60_000;

/** Whether the socket is open and acknowledged. */
export const isConnected = signal(false);
/** When the server was last heard on the socket, by the browser's clock; 0 if it never was. */
const heardAt = signal(0);
/** How often the connection came back: what is not resumed is read again then. */
export const reconnections = signal(0);

/** A sign of life that is younger than this, which is that of the last ping or the one before, is as good as one of now. */
const YOUNG_MS = 2 * PING_PERIOD_MS;

export type Freshness = { state: 'connecting' | 'live' | 'reconnecting' | 'stale'; text: string };

export const freshness = computed<Freshness>(() => {
  // Read so that this is computed anew each second.
  void now.value;
  const heard = heardAt.value;
  if (heard === 0) return { state: 'connecting', text: 'connecting' };
  const age = Math.max(0, Date.now() - heard);
  if (isConnected.value) return { state: 'live', text: age < YOUNG_MS ? 'live' : `live · ${length(age)} ago` };
  if (age < STALE_AFTER_MS) return { state: 'reconnecting', text: `reconnecting · ${length(age)} old` };
  return { state: 'stale', text: `stale · ${length(age)} old` };
});

let client: Client | null = null;
let lastHeard = 0;

function heard(): void {
  lastHeard = Date.now();
  // Thousands of messages a second are no thousands of changes of the chip.
  if (lastHeard - heardAt.peek() > 200) heardAt.value = lastHeard;
}

function connect(): Client {
  let pong: ReturnType<typeof setTimeout> | undefined;
  let connectedBefore = false;
  const created = createClient({
    url: endpoint.replace(/^http/, 'ws'),
    lazy: false,
    keepAlive: PING_PERIOD_MS,
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: waitForNextAttempt,
    onNonLazyError: () => {},
    on: {
      connected: () => {
        heard();
        heardAt.value = Date.now();
        isConnected.value = true;
        if (connectedBefore) reconnections.value += 1;
        connectedBefore = true;
      },
      message: heard,
      ping: (received) => {
        if (received) return;
        clearTimeout(pong);
        pong = setTimeout(() => created.terminate(), PONG_TIMEOUT_MS);
      },
      pong: (received) => {
        if (!received) return;
        clearTimeout(pong);
        heard();
      },
      closed: (event) => {
        clearTimeout(pong);
        heardAt.value = lastHeard;
        isConnected.value = false;
        // The session may have ended; the form says so.
        if ((event as CloseEvent).code === 4403) void checkSession();
      },
    },
  });
  return created;
}

/** Waits longer with each attempt, and not at all once the browser is online again or the page is looked at. */
function waitForNextAttempt(retries: number): Promise<void> {
  const longest = Math.min(LONGEST_WAIT_MS, 400 * 2 ** retries);
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      removeEventListener('online', done);
      document.removeEventListener('visibilitychange', seen);
      resolve();
    };
    const seen = (): void => { if (!document.hidden) done(); };
    const timer = setTimeout(done, longest * (0.5 + Math.random()));
    addEventListener('online', done);
    document.addEventListener('visibilitychange', seen);
  });
}

// A socket is opened when somebody is signed in, and closed when nobody is.
isIn.subscribe((isIn) => {
  if (isIn) client ??= connect();
  else {
    // It waits for a connection that is being made, and fails with it.
    Promise.resolve(client?.dispose()).catch(() => {});
    client = null;
    isConnected.value = false;
  }
});

/**
 * Follows a subscription until the returned function is called, whatever becomes of connections, servers and sessions
 * in between. An error that the server gives for it ends nothing either: it is tried again.
 */
export function follow<Result, Variables>(
  { text, name }: Operation<Result, Variables>,
  variables: Variables,
  onData: (data: Result) => void,
): () => void {
  let stopped = false;
  let unsubscribe = (): void => {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  const again = (): void => {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(begin, 1_000 + Math.random() * 1_000);
  };
  const begin = (): void => {
    if (stopped) return;
    if (!client) return again();
    unsubscribe = client.subscribe<Result>(
      { query: text, operationName: name, variables: variables as Record<string, unknown> },
      { next: ({ data }) => { if (data) onData(data); }, error: again, complete: again },
    );
  };
  begin();
  return () => {
    stopped = true;
    clearTimeout(timer);
    unsubscribe();
  };
}
