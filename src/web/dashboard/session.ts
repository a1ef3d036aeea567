// Who is signed in, and signing in and out. The secret of a session is in a cookie that no script can read; nothing
// is stored here, and a token or the code of a sign-in link is sent once and then forgotten.

import { computed, signal } from '@preact/signals';
import { at } from './root';

export type Role = 'viewer' | 'operator' | 'admin' | 'worker' | 'join';

export type Session =
  | { state: 'unknown' }
  /** The server asks for no token: whoever reaches it may do everything. */
  | { state: 'open' }
  | { state: 'in'; name: string; role: Role; expiresAt: string | null }
  | { state: 'out'; message: string };

/** How often the page asks whether its session still lasts, while somebody looks at it. */
const CHECK_PERIOD_MS = 10_000;

/** How soon a page that knows nothing yet asks again. */
const FIRST_RETRY_MS = 2_000;

const address = at('api/v1/session');

export const session = signal<Session>({ state: 'unknown' });

/** Whether a sign-out is under way: whatever is asked from then on could only be refused. */
const isLeaving = signal(false);

/** Whether requests of the page are answered. */
export const isIn = computed(() => !isLeaving.value && (session.value.state === 'in' || session.value.state === 'open'));

/** Whether drains, activations and reservations are open to who is signed in. */
export const mayOperate = computed(() => has('operator', 'admin'));

/** Whether tokens and purges are open to who is signed in. */
export const mayAdminister = computed(() => has('admin'));

function has(...roles: Role[]): boolean {
  const now = session.value;
  return now.state === 'open' || (now.state === 'in' && roles.includes(now.role));
}

interface Token { name: string; role: Role; expires_at: string | null }

let checking: Promise<void> | null = null;

/** Asks the server who is signed in. To be called when a request was refused, too. */
export function checkSession(): Promise<void> {
  checking ??= check().finally(() => { checking = null; });
  return checking;
}

async function check(): Promise<void> {
  let response: Response;
  let answer: { asks_for_tokens: boolean; token?: Token | null };
  try {
    response = await fetch(address, { cache: 'no-store', headers: { accept: 'application/json' } });
    answer = await response.json();
  } catch {
    // The connection tells that the server is away; what is known of the session stays.
    return askSoon();
  }
  const was = session.peek().state;
  if (response.status === 401) return become({ state: 'out', message: was === 'in' ? 'Your session has ended: sign in again.' : '' });
  if (!response.ok) return askSoon();
  if (!answer.asks_for_tokens) return become({ state: 'open' });
  if (answer.token) return becomeIn(answer.token);
  become({ state: 'out', message: was === 'in' ? 'You are signed out.' : '' });
}

/** While nothing is known there is nothing to show, so that the next attempt is soon. */
function askSoon(): void {
  if (session.peek().state === 'unknown') setTimeout(() => { void checkSession(); }, FIRST_RETRY_MS);
}

/** Opens a session with a token, or with the code of a sign-in link. Throws the server's sentence if it is refused. */
export async function signIn(credential: { token: string } | { code: string }): Promise<void> {
  const response = await fetch(address, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(credential),
  }).catch(() => { throw new Error('The server cannot be reached.'); });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  becomeIn(answer.token);
}

export async function signOut(): Promise<void> {
  isLeaving.value = true;
  try {
    const response = await fetch(address, { method: 'DELETE', headers: { accept: 'application/json' } });
    if (!response.ok) throw new Error((await response.json()).message);
    become({ state: 'out', message: 'You are signed out.' });
  } finally {
    isLeaving.value = false;
  }
}

function becomeIn({ name, role, expires_at: expiresAt }: Token): void {
  become({ state: 'in', name, role, expiresAt });
}

function become(next: Session): void {
  document.documentElement.dataset['session'] = next.state;
  if (JSON.stringify(next) === JSON.stringify(session.peek())) return;
  // Who has read that the session is over, and is typing, keeps that sentence.
  if (next.state === 'out' && session.peek().state === 'out' && !next.message) return;
  session.value = next;
}

/** Takes the code of a sign-in link out of the address bar and the history, and signs in with it. */
async function takeCode(): Promise<void> {
  const code = new URLSearchParams(location.hash.slice(1)).get('code');
  if (code === null) return checkSession();
  history.replaceState(history.state, '', location.pathname + location.search);
  try {
    await signIn({ code });
  } catch (error) {
    await checkSession();
    if (session.peek().state === 'out') become({ state: 'out', message: (error as Error).message });
  }
}

/** Begins: finds out who is signed in, and notices when that changes. */
export function watchSession(): void {
  document.documentElement.dataset['session'] = 'unknown';
  addEventListener('hashchange', () => { if (/[#&]code=/.test(location.hash)) void takeCode(); });
  addEventListener('visibilitychange', () => { if (!document.hidden) void checkSession(); });
  setInterval(() => { if (session.peek().state !== 'open' && !document.hidden) void checkSession(); }, CHECK_PERIOD_MS);
  void takeCode();
}
