// Signing in and out, for every page: who is signed in, a form while nobody is, and the code of a sign-in link.
//
// The secret of a session is in a cookie that no script can read. Nothing is stored here, and what somebody types or a
// link brings is sent to the server once and then forgotten. A page has an element with the id `session` for this, and
// marks with the class `needs-session` what is shown only while its requests are answered.

/** The server's own root, which a proxy may put below a path. A page other than the front page may end with a slash. */
const isFront = document.documentElement.dataset.page === 'front';
const root = new URL(!isFront && location.pathname.endsWith('/') ? '../' : './', location.origin + location.pathname);
const endpoint = new URL('api/v1/session', root);

/** How often a page that is signed in asks whether it still is, while somebody looks at it. */
const CHECK_PERIOD_MS = 10_000;

const place = document.getElementById('session');

/** `unknown`, then `open` (the server asks for no token), `in` or `out`. */
let state = 'unknown';
let checking = null;
const waiting = [];

/** Resolves when requests of the page are answered: somebody is signed in, or the server asks for no token. */
export function ready() {
  return state === 'in' || state === 'open' ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve));
}

/** Asks the server who is signed in, and shows it. Pages call it when a request of theirs was refused. */
export function check() {
  checking ??= ask().finally(() => { checking = null; });
  return checking;
}

async function ask() {
  let response;
  let answer;
  try {
    response = await fetch(endpoint, { cache: 'no-store', headers: { accept: 'application/json' } });
    answer = await response.json();
  } catch {
    if (state === 'unknown') showUnreachable();
    return;
  }
  if (response.status === 401) return showForm(state === 'in' ? 'Your session has ended: sign in again.' : '');
  if (!response.ok) {
    if (state === 'unknown') showUnreachable();
    return;
  }
  const { asks_for_tokens: asks, token } = answer;
  if (!asks) return showOpen();
  if (token) return showSession(token);
  showForm(state === 'in' ? 'You are signed out.' : '');
}

async function signIn(credential) {
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(credential),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  showSession(answer.token, true);
}

async function signOut() {
  const response = await fetch(endpoint, { method: 'DELETE', headers: { accept: 'application/json' } });
  if (!response.ok) throw new Error((await response.json()).message);
  showForm('You are signed out.', true);
}

function become(next) {
  state = next;
  document.documentElement.dataset.session = next;
  const mayAsk = next === 'in' || next === 'open';
  for (const element of document.querySelectorAll('.needs-session')) element.hidden = !mayAsk;
  if (mayAsk) for (const resolve of waiting.splice(0)) resolve();
}

function showOpen() {
  become('open');
  place.replaceChildren();
}

function showSession({ name, role, expires_at: end }, moveFocus = false) {
  if (state === 'in' && place.dataset.shown === `${name} ${role} ${end}`) return;
  become('in');
  place.dataset.shown = `${name} ${role} ${end}`;
  const time = make('time', { dateTime: end }, new Date(end).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
  const words = make('p', { role: 'status' }, 'Signed in as ', make('strong', {}, name), ` (${role}) until `, time);
  const button = make('button', { type: 'button' }, 'Sign out');
  button.addEventListener('click', () => attempt(button, words, signOut));
  place.replaceChildren(words, button);
  if (moveFocus) button.focus();
}

function showForm(message, moveFocus = state === 'in') {
  // What somebody is typing stays.
  if (state === 'out' && place.querySelector('form')) return;
  become('out');
  delete place.dataset.shown;
  const words = make('p', { role: 'status' }, message);
  const input = make('input', {
    id: 'session-token', type: 'password', autocomplete: 'off', spellcheck: false, required: true,
  });
  input.setAttribute('aria-describedby', 'session-help');
  const button = make('button', { type: 'submit' }, 'Sign in');
  const form = make(
    'form', { method: 'post' },
    make('h2', {}, 'Sign in'),
    words,
    make('label', { htmlFor: 'session-token' }, 'Token'),
    make('div', { className: 'row' }, input, button),
    make(
      'p', { id: 'session-help', className: 'hint' },
      'This server asks who you are. Paste the token that you were given, or follow a sign-in link: ',
      make('code', {}, 'aetherium token sign-in --role viewer'), ' makes one where the database is.',
    ),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const token = input.value.trim();
    if (token) attempt(button, words, () => signIn({ token }));
  });
  place.replaceChildren(form);
  if (moveFocus) input.focus();
}

function showUnreachable() {
  const words = make('p', { role: 'alert' }, 'The server does not say who is signed in.');
  const button = make('button', { type: 'button' }, 'Try again');
  button.addEventListener('click', check);
  place.replaceChildren(words, button);
}

/** Does it with the button disabled; what goes wrong is said beside it. */
async function attempt(button, words, action) {
  button.disabled = true;
  try {
    await action();
  } catch (error) {
    words.setAttribute('role', 'alert');
    words.textContent = error instanceof TypeError ? 'The server cannot be reached.' : error.message;
    button.disabled = false;
    button.form?.querySelector('input')?.focus();
  }
}

function make(name, properties, ...children) {
  const { role, ...others } = properties;
  const element = Object.assign(document.createElement(name), others);
  if (role) element.setAttribute('role', role);
  element.append(...children);
  return element;
}

/** The code of a sign-in link, which leaves the address bar and the history before anything else is done. */
function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get('code');
  if (code !== null) history.replaceState(history.state, '', location.pathname + location.search);
  return code;
}

async function begin() {
  const code = takeCode();
  if (code === null) return check();
  try {
    await signIn({ code });
  } catch (error) {
    await check();
    const words = place.querySelector('[role=status]');
    if (!words || state === 'open') return;
    words.setAttribute('role', 'alert');
    words.textContent = error instanceof TypeError ? 'The server cannot be reached.' : error.message;
  }
}

addEventListener('hashchange', () => { if (/[#&]code=/.test(location.hash)) begin(); });
addEventListener('visibilitychange', () => { if (!document.hidden) check(); });
setInterval(() => { if (state === 'in' && !document.hidden) check(); }, CHECK_PERIOD_MS);
begin();
