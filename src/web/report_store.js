// What is known of the answer that the playground shows, and the log of a subscription's messages.

/** Messages that are kept; older ones are counted only. */
export const MOST_MESSAGES = 200;

const EMPTY = { state: 'none', messages: [], count: 0, bytes: 0 };

let report = EMPTY;
let pending = false;
const listeners = new Set();

export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function snapshot() {
  return report;
}

/** A thousand messages a second are no thousand drawings. */
function change(next) {
  report = { ...report, ...next };
  if (pending) return;
  pending = true;
  setTimeout(() => {
    pending = false;
    for (const listener of listeners) listener();
  }, 60);
}

/** A request was sent, or a stream was begun. */
export function begin(state = 'waiting') {
  change({ ...EMPTY, state });
}

/** An answer came: its status, milliseconds, bytes, and what it says of its cost and revision. */
export function received(answer) {
  change({ state: 'answered', ...answer });
}

export function failed(error) {
  change({ state: 'failed', problem: messageOf(error) });
}

/** A message of a subscription; null when it is complete. */
export function noted(item) {
  if (item === null) return change({ state: 'complete' });
  const text = JSON.stringify(item, null, 2);
  const count = report.count + 1;
  const message = { number: count, at: Date.now(), text };
  change({ count, bytes: report.bytes + text.length, messages: [message, ...report.messages].slice(0, MOST_MESSAGES) });
}

/** Empties the log; what comes after is counted on. */
export function clear() {
  change({ messages: [] });
}

function messageOf(error) {
  if (Array.isArray(error)) return error.map(({ message }) => message).join(' ');
  return error?.message || error?.reason || 'the connection has ended';
}
