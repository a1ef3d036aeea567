// Below the answer: its status, time, size, cost and revision; of a subscription, the log of its messages.

import { useSyncExternalStore } from 'react';
import { clear, MOST_MESSAGES, snapshot, subscribe } from './report_store.js';

const whole = new Intl.NumberFormat('en-US');
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });

function size(bytes) {
  return bytes < 1_000 ? `${bytes} B` : bytes < 1_000_000 ? `${(bytes / 1_000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

function time(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : milliseconds < 1_000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1_000).toFixed(1)} s`;
}

export function Report() {
  const report = useSyncExternalStore(subscribe, snapshot);
  const { state, messages, count, bytes } = report;
  if (state === 'none') return null;
  const isStream = state === 'streaming' || state === 'complete' || count > 0;
  return (
    <section className="report" aria-label="About this answer">
      <p role="status">{isStream ? <Stream {...report} /> : <Answer {...report} />}</p>
      {isStream && count > 0 && (
        <div className="log" role="log" aria-label="Messages, the latest first" tabIndex={0}>
          <p className="log-head">
            <span>{count > messages.length ? `the last ${whole.format(messages.length)} of ${whole.format(count)} messages` : `all ${whole.format(count)} messages`}, {size(bytes)}</span>
            <button type="button" onClick={clear}>Clear</button>
          </p>
          {messages.map((message) => <Message key={message.number} {...message} />)}
        </div>
      )}
    </section>
  );
}

function Answer({ state, problem, status, statusText, took, size: bytes, cost, revision }) {
  if (state === 'waiting') return 'waiting for the answer …';
  if (state === 'failed') return <span className="bad">no answer: {problem}</span>;
  return (
    <>
      <span className={status < 400 ? 'good' : 'bad'}>{status} {statusText}</span>
      <span title="From the request to the end of the answer">{time(took)}</span>
      <span title="As it is read, without compression">{size(bytes)}</span>
      {cost && <span title="What the operation may cost at most, of what one may">cost {whole.format(cost.requested)} of {whole.format(cost.limit)}</span>}
      {revision !== undefined && <span title="All of the answer was read at this revision">revision {whole.format(revision)}</span>}
    </>
  );
}

function Stream({ state, problem, count }) {
  if (state === 'failed') return <><span className="bad">ended: {problem}</span><span>{whole.format(count)} messages</span></>;
  return (
    <>
      <span className="good">{state === 'complete' ? 'complete' : 'streaming'}</span>
      <span>{whole.format(count)} {count === 1 ? 'message' : 'messages'}{count === 0 && ' yet'}</span>
      {count > MOST_MESSAGES && <span>the log keeps {MOST_MESSAGES}</span>}
    </>
  );
}

function Message({ number, at, text }) {
  return (
    <details>
      <summary><span className="number">{number}</span> <time>{clock.format(at)}</time> <span className="preview">{preview(text)}</span></summary>
      <pre>{text}</pre>
    </details>
  );
}

/** A message in one line, without what all of them begin with. */
function preview(text) {
  return text.replace(/\s*\n\s*/g, ' ').replace(/^\{ "data": \{ "\w+": (.*) \} \}$/, '$1').slice(0, 400);
}
