// Events: the change log, newest first and followed live, filtered by the words of the search; older ones come by
// scrolling. While somebody reads further down, what is new waits above.

import { useSignal, type Signal } from '@preact/signals';
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import { ask } from '../api/http';
import { follow } from '../api/live';
import { fragment, operation, type FragmentType } from '../api/operation';
import { useFullPage } from '../app';
import { CopyAs, CopyButton } from '../components/copy';
import { Dialog } from '../components/dialog';
import { Empty } from '../components/empty';
import { ALL_KINDS, eventTone, Message } from '../components/event';
import { Shape, type Tone } from '../components/status';
import { ColumnMenu, Table, type Column } from '../components/table';
import { toastError } from '../components/toast';
import { actor as actorOf, count, plural } from '../format';
import { useKeys } from '../keyboard';
import { href, place, setQuery } from '../router';
import { has, print, toggle } from '../search';
import { isIn } from '../session';
import { clock, exact, relative, serverNow, now } from '../time';
import { eventSearch, hasWords, histogram, kindName, withTerm, type Bar, type EventSearch } from './events/model';

const LogFields = fragment(`fragment LogFields on ClusterEvent {
  id cursor revision position at kind workerId vmId vmName vmStatus previousStatus zone reservationId
  actor actorName actorTokenId requestId address reason message
}`);

type LogEvent = FragmentType<typeof LogFields>;

const LogPage = operation(`query LogPage($first: Int, $after: Cursor, $since: DateTime, $until: DateTime, $filter: EventFilter) {
  events(first: $first, after: $after, order: DESC, since: $since, until: $until, filter: $filter) {
    nodes { ...LogFields }
    pageInfo { hasNextPage }
    endCursor
  }
}`, LogFields);

const FollowLog = operation(`subscription FollowLog($after: Cursor, $filter: EventFilter) {
  clusterEvents(after: $after, filter: $filter) { ...LogFields }
}`, LogFields);

/** The event before one: what a link to an event knows is its own cursor. */
const BeforeEvent = operation(`query BeforeEvent($before: Cursor) { events(last: 1, before: $before) { nodes { cursor } } }`);

const AfterEvent = operation(`query AfterEvent($after: Cursor) { events(first: 1, after: $after) { nodes { ...LogFields } } }`, LogFields);

const FIRST_ROWS = 100;
const MORE_ROWS = 200;
/** Rows that are kept while new ones come at the top: older ones are read again when somebody scrolls there. */
const MOST_ROWS = 4_000;
/** Rows that words are looked for in before somebody has to ask for more. */
const LOOK_THROUGH = 3_000;
/** For so long, in milliseconds, events are gathered before they are shown: thousands a second are read by nobody. */
const GATHER_MS = 120;
/** Bars of the picture of the last events. */
const BARS = 60;

/** The log as far as it is read, and what is new while somebody reads. */
function useLog({ filter, since, until }: EventSearch, isHeld: () => boolean) {
  const key = JSON.stringify([filter, since, until]);
  const rows = useSignal<readonly LogEvent[] | null>(null);
  const waiting = useSignal<readonly LogEvent[]>([]);
  const hasOlder = useSignal(false);
  const answered = useSignal('');
  const error = useSignal('');
  const state = useRef({ busy: false, key, filter, since, until });
  Object.assign(state.current, { key, filter, since, until });
  const isAllowed = isIn.value;

  useEffect(() => {
    if (!isAllowed) return;
    const abort = new AbortController();
    let stop = (): void => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    let news: LogEvent[] = [];
    const deliver = (): void => {
      const known = new Set([...waiting.peek().slice(0, 500), ...(rows.peek() ?? []).slice(0, 500)].map(({ id }) => id));
      const fresh = news.filter(({ id }) => !known.has(id)).reverse();
      news = [];
      if (abort.signal.aborted || fresh.length === 0) return;
      if (isHeld()) waiting.value = [...fresh, ...waiting.peek()].slice(0, MOST_ROWS);
      else put(fresh);
    };
    const put = (fresh: readonly LogEvent[]): void => {
      const all = [...fresh, ...waiting.peek(), ...rows.peek() ?? []];
      if (all.length > MOST_ROWS) hasOlder.value = true;
      if (waiting.peek().length > 0) waiting.value = [];
      rows.value = all.slice(0, MOST_ROWS);
    };
    const begin = async (): Promise<void> => {
      stop();
      try {
        const { events: page } = await ask(LogPage, { first: FIRST_ROWS, filter, since, until });
        if (abort.signal.aborted) return;
        rows.value = page.nodes;
        waiting.value = [];
        hasOlder.value = page.pageInfo.hasNextPage;
        answered.value = key;
        error.value = '';
        document.documentElement.dataset['ready'] = '';
        if (until !== null) return;
        // Newest first, this is after everything that was read.
        let last = page.endCursor;
        stop = follow(FollowLog, { after: { toJSON: () => last } as unknown as string, filter }, ({ clusterEvents: event }) => {
          last = event.cursor;
          if (event.kind === 'RESYNC') void begin();
          if (event.kind === 'RESYNC' || event.kind === 'SYNCED') return;
          if (news.length === 0) setTimeout(deliver, GATHER_MS);
          news.push(event);
        });
      } catch (reason) {
        if (abort.signal.aborted) return;
        error.value = (reason as Error).message;
        timer = setTimeout(() => { void begin(); }, 3_000);
      }
    };
    void begin();
    return () => { abort.abort(); clearTimeout(timer); stop(); };
  }, [key, isAllowed]);

  const older = useCallback(async (): Promise<void> => {
    const { busy, key, filter, since, until } = state.current;
    const last = rows.peek()?.at(-1);
    if (busy || !last || !hasOlder.peek()) return;
    state.current.busy = true;
    try {
      const { events: page } = await ask(LogPage, { first: MORE_ROWS, after: last.cursor, filter, since, until });
      if (key !== state.current.key) return;
      const known = new Set(rows.peek()?.map(({ id }) => id));
      rows.value = [...rows.peek() ?? [], ...page.nodes.filter(({ id }) => !known.has(id))];
      hasOlder.value = page.pageInfo.hasNextPage;
    } catch (reason) {
      toastError(reason);
    } finally {
      state.current.busy = false;
    }
  }, []);
  const show = useCallback((): void => {
    if (waiting.peek().length === 0) return;
    rows.value = [...waiting.peek(), ...rows.peek() ?? []].slice(0, MOST_ROWS);
    waiting.value = [];
  }, []);
  return { rows, waiting, hasOlder, answered, error, older, show };
}

const who = (event: LogEvent): string => actorOf(event.actorName, event.actor) || '–';

/** Kinds by which something is as it should be again. */
const GOOD: readonly LogEvent['kind'][] = ['WORKER_ONLINE', 'WORKER_DRAIN_COMPLETE', 'WORKER_ACTIVATED'];

function toneOf(event: LogEvent): Tone {
  if (GOOD.includes(event.kind)) return 'good';
  return eventTone(event) || (event.kind.startsWith('WORKER_DRAIN') ? 'warn' : 'quiet');
}

const columns: readonly Column<LogEvent>[] = [
  { key: 'time', title: 'Time', width: '116px', phone: 'end', cell: (event) => <><time dateTime={event.at} title={exact(event.at)}>{clock(event.at, true)}</time><span class="phone-only">&nbsp;· {who(event)}</span></> },
  { key: 'kind', title: 'Kind', width: '138px', phone: 'second', cell: (event) => {
    const tone = toneOf(event);
    return <span class={`status bare ${tone === 'quiet' ? 'none' : tone}`}>{tone !== 'quiet' && <Shape tone={tone} />}{kindName(event.kind)}</span>;
  } },
  { key: 'what', title: 'What happened', width: 'minmax(320px, 5fr)', lead: true, phone: 'lead', cell: (event) => (
    <span class={`event-message ${eventTone(event)}`}>{event.message}{event.vmName && event.vmName !== event.vmId && !event.message.includes(event.vmName) && <span class="faint"> ({event.vmName})</span>}{event.reason && !event.message.includes(event.reason) && <span class="muted"> · “{event.reason}”</span>}</span>
  ) },
  { key: 'worker', title: 'Worker', width: 'minmax(80px, 140px)', optional: true, cell: ({ workerId }) => workerId ?? '' },
  { key: 'vm', title: 'VM', width: 'minmax(80px, 160px)', optional: true, cell: ({ vmName, vmId }) => vmName ?? vmId ?? '' },
  { key: 'zone', title: 'Zone', width: 'minmax(70px, 110px)', cell: ({ zone }) => <span class="muted">{zone ?? ''}</span> },
  { key: 'by', title: 'By', width: 'minmax(70px, 130px)', cell: (event) => <span class="muted">{who(event)}</span> },
  { key: 'reason', title: 'Reason', width: 'minmax(80px, 1fr)', optional: true, cell: ({ reason }) => reason ?? '' },
  { key: 'revision', title: 'Revision', width: '82px', right: true, optional: true, cell: ({ revision }) => count(revision) },
];

const KINDS: readonly [string, string][] = [['trouble', 'trouble'], ['drain', 'drains'], ['liveness', 'liveness'], ['vm', 'VMs'], ['reservation', 'reservations'], ['access', 'access']];
const ACTORS: readonly [string, string][] = [['operator', 'by operators'], ['worker', 'by workers'], ['server', 'found by the server']];
const TIMES: readonly [string, string][] = [['', 'As far as kept'], ['15m', 'Last 15 minutes'], ['1h', 'Last hour'], ['24h', 'Last day'], ['168h', 'Last week']];

export default function Events() {
  useFullPage();
  const query = place.value.query;
  const q = query.get('q') ?? '';
  const opened = query.get('event');
  const search = useMemo(() => eventSearch(q, ALL_KINDS, serverNow()), [q]);
  const top = useRef(0);
  const isHeld = (): boolean => top.current > 8 || document.activeElement?.matches('.events-log') === true || document.querySelector('dialog[open]') !== null;
  const log = useLog(search, isHeld);
  const rows = search.words.length === 0 ? log.rows.value ?? [] : (log.rows.value ?? []).filter((event) => hasWords(event, search.words));
  const all = log.rows.value;
  const fresh = search.words.length === 0 ? log.waiting.value.length : log.waiting.value.filter((event) => hasWords(event, search.words)).length;

  // Words are looked for in what is read: some more is, so that a screen is full.
  const looksOn = search.words.length > 0 && log.hasOlder.value && rows.length < 40 && (all?.length ?? 0) < LOOK_THROUGH;
  useEffect(() => { if (looksOn) void log.older(); }, [looksOn, all?.length]);

  const showNew = (): void => {
    log.show();
    top.current = 0;
    (document.activeElement as HTMLElement | null)?.blur();
    document.querySelector('.events-log')?.scrollTo(0, 0);
  };
  useKeys({ n: showNew });
  const set = (next: string): void => setQuery({ q: next || null }, { keep: true });
  const since = /(?:^|\s)since:(\S+)/.exec(q)?.[1] ?? '';

  return (
    <>
      <header class="page-head">
        <div class="row wrap">
          <h1 class="grow">{q ? 'Events that match' : 'What happened'}</h1>
          <ColumnMenu columns={columns} />
        </div>
        <p aria-live="off">{all === null ? 'Reading …' : all.length === 0 ? 'Nothing so far; what happens appears by itself' : `${search.words.length > 0 ? `${count(rows.length)} of ${count(all.length)} that were read` : `${count(rows.length)} read`}, newest first, ${search.until === null ? 'followed live' : 'up to a time that is over'}${log.hasOlder.value ? '; older ones come as you scroll' : '; that is all that is kept'}`}</p>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {log.error.value && <p class="bad" role="status">{log.error.value} What is shown may be old.</p>}
      </header>
      <div class="facets" role="group" aria-label="Filters">
        {KINDS.map(([word, title]) => <Facet key={word} q={q} name="kind" value={word} title={title} set={set} />)}
        <span class="gap" />
        {ACTORS.map(([word, title]) => <Facet key={word} q={q} name="actor" value={word} title={title} set={set} />)}
        <span class="gap" />
        <select class="facet" aria-label="Since when" aria-pressed={undefined} value={TIMES.some(([value]) => value === since) ? since : 'other'} onChange={(event) => set(withTerm(q, 'since', event.currentTarget.value || null))}>
          {TIMES.map(([value, title]) => <option key={value} value={value}>{title}</option>)}
          {!TIMES.some(([value]) => value === since) && <option value="other">since {since}</option>}
        </select>
        {q && <button type="button" class="link small" onClick={() => set('')}>Clear</button>}
      </div>
      {all && all.length > 1 && <Spread events={rows} until={search.until} onChoose={(from) => set(withTerm(q, 'until', new Date(from).toISOString()))} />}
      <div class="events-frame fill">
        <Table
          class={`events-log${log.answered.value === JSON.stringify([search.filter, search.since, search.until]) ? '' : ' waits'}`}
          label="Events, newest first"
          columns={columns}
          rows={rows}
          id={({ id }) => id}
          of={`${log.answered.value} ${search.words.join(' ')}`}
          onEnd={() => { void log.older(); }}
          onScroll={(to) => { top.current = to; if (to <= 8 && log.waiting.peek().length > 0 && !isHeld()) log.show(); }}
          data={({ cursor }) => ({ 'data-cursor': cursor })}
          href={({ cursor }) => href('events', { ...Object.fromEntries(query), event: cursor })}
          empty={all === null ? null : <NoEvents q={q} looked={all.length} hasOlder={log.hasOlder.value} onMore={() => { void log.older(); }} />}
        />
        {fresh > 0 && <button type="button" class="events-pill" onClick={showNew}><span aria-hidden="true">↑</span> {plural(fresh, 'new event')} <kbd>n</kbd></button>}
        <p class="visually-hidden" role="status">{fresh > 0 ? plural(fresh, 'new event') : ''}</p>
      </div>
      {opened && <Details cursor={opened} rows={log.rows} q={q} />}
    </>
  );
}

function Facet({ q, name, value, title, set }: { q: string; name: string; value: string; title: string; set: (q: string) => void }) {
  return <button type="button" class="facet" aria-pressed={has(q, name, value)} onClick={() => set(toggle(q, name, value))}>{title}</button>;
}

function NoEvents({ q, looked, hasOlder, onMore }: { q: string; looked: number; hasOlder: boolean; onMore: () => void }) {
  if (!q) return <Empty title="Nothing has happened yet"><p>Whatever changes in the cluster is kept here: who did what, when and why. Start a worker, and it appears.</p></Empty>;
  return (
    <Empty title="No event matches">
      <p>{looked > 0 ? `None of the ${count(looked)} events that were read has these words.` : <>The change log has none for <code class="break">{q}</code>. What is older than the log is kept is gone.</>}</p>
      <p class="row wrap">
        {looked > 0 && hasOlder && <button type="button" class="button" onClick={onMore}>Look further back</button>}
        <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
      </p>
    </Empty>
  );
}

/** When the events were that are shown, as bars: where much happened, and where there was trouble. */
function Spread({ events, until, onChoose }: { events: readonly LogEvent[]; until: string | null; onChoose: (from: number) => void }) {
  const bars = useMemo(() => {
    const oldest = Date.parse(events.at(-1)?.at ?? '');
    const to = until === null ? serverNow() : Date.parse(events[0]?.at ?? '');
    if (!(oldest < to)) return [];
    return histogram(events.map((event) => ({ at: Date.parse(event.at), isBad: eventTone(event) === 'bad' })), oldest, to, BARS);
  }, [events, until]);
  if (bars.length === 0) return null;
  const most = Math.max(1, ...bars.map(({ total }) => total));
  const step = bars[1]!.from - bars[0]!.from;
  const title = ({ from, total, bad }: Bar): string => `${clock(from, true)}: ${plural(total, 'event')}${bad > 0 ? `, ${count(bad)} of trouble` : ''}`;
  return (
    <figure class="events-spread">
      <div class="bars" role="img" aria-label={`When the ${count(events.length)} events were: at most ${count(most)} in ${relative(step, 0).replace('in ', '')}, ${count(bars.reduce((sum, { bad }) => sum + bad, 0))} of trouble`}>
        {bars.map((bar) => (
          <i key={bar.from} title={title(bar)} onClick={() => onChoose(bar.from + step)}>
            <b style={{ height: `${(bar.total / most) * 100}%` }}>{bar.bad > 0 && <s style={{ height: `${Math.max(12, (bar.bad / bar.total) * 100)}%` }} />}</b>
          </i>
        ))}
      </div>
      <figcaption class="tiny faint"><span>{clock(bars[0]!.from, true)}</span><span>at most {plural(most, 'event')} a bar</span><span>{until === null ? 'now' : clock(bars.at(-1)!.from, true)}</span></figcaption>
    </figure>
  );
}

/** Everything that is known of one event. */
function Details({ cursor, rows, q }: { cursor: string; rows: Signal<readonly LogEvent[] | null>; q: string }) {
  const found = useSignal<LogEvent | null | undefined>(undefined);
  useEffect(() => {
    const known = rows.peek()?.find((event) => event.cursor === cursor);
    if (known) { found.value = known; return; }
    found.value = undefined;
    const abort = new AbortController();
    (async () => {
      const { events: before } = await ask(BeforeEvent, { before: cursor });
      const { events: { nodes: [event] } } = await ask(AfterEvent, { after: before.nodes[0]?.cursor ?? null });
      found.value = event?.cursor === cursor ? event : null;
    })().catch(() => { if (!abort.signal.aborted) found.value = null; });
    return () => abort.abort();
  }, [cursor]);
  const close = (): void => setQuery({ event: null });
  const event = found.value;
  if (event === undefined) return null;
  if (event === null) {
    return <Dialog title="This event is not kept any more" onClose={close}><p class="muted">The change log is kept for some time only, or the link is of another database.</p><div class="actions"><button type="button" class="button" onClick={close}>Close</button></div></Dialog>;
  }
  const only = (key: string, value: string) => href('events', { q: print([{ key, sign: ':', value }]) });
  const kinds = href('events', { q: withTerm(q, 'kind', event.kind.toLowerCase()) });
  return (
    <Dialog title={kindName(event.kind)} wide onClose={close}>
      <p class={`large break ${eventTone(event)}`}><Message event={event} /></p>
      <dl class="facts">
        <dt>When</dt><dd><time dateTime={event.at}>{exact(event.at)}</time> <span class="faint">· {relative(Date.parse(event.at), now.value)}</span></dd>
        {event.reason && <><dt>Reason</dt><dd>“{event.reason}”</dd></>}
        <dt>Who</dt>
        <dd>
          {who(event)}
          {event.actor && event.actorName && <span class="faint"> · {event.actor.toLowerCase()}</span>}
          {event.actorTokenId && <> · <a href={only('token', event.actorTokenId)} title="All events of this token">token {event.actorTokenId}</a></>}
          {event.address && <span class="faint"> · from {event.address}</span>}
        </dd>
        {event.workerId && <><dt>Worker</dt><dd><a href={href('workers', event.workerId)}>{event.workerId}</a> · <a href={only('worker', event.workerId)}>all its events</a></dd></>}
        {event.vmId && <><dt>VM</dt><dd><a href={href('vms', event.vmId)}>{event.vmName && event.vmName !== event.vmId ? `${event.vmName} (${event.vmId})` : event.vmId}</a> · <a href={only('vm', event.vmId)}>all its events</a></dd></>}
        {(event.vmStatus || event.previousStatus) && <><dt>VM status</dt><dd>{(event.previousStatus ?? 'not there').toLowerCase()} → {(event.vmStatus ?? 'gone').toLowerCase()}</dd></>}
        {event.zone && <><dt>Zone</dt><dd><a href={only('zone', event.zone)}>{event.zone}</a></dd></>}
        {event.reservationId && <><dt>Reservation</dt><dd class="mono">{event.reservationId}</dd></>}
        <dt>Kind</dt><dd><a href={kinds}>{event.kind.toLowerCase()}</a></dd>
        <dt>Revision</dt><dd>{count(event.revision)}{event.position !== null && <span class="faint"> · place {event.position} in its commit</span>}</dd>
        {event.requestId && <><dt>Request</dt><dd class="mono break">{event.requestId}</dd></>}
        <dt>Cursor</dt><dd class="row wrap"><code class="break">{event.cursor}</code><CopyButton text={event.cursor} label="Copy cursor" /></dd>
      </dl>
      <div class="actions">
        <CopyButton text={new URL(href('events', { event: event.cursor }), location.href).href} label="Copy link" class="tall" />
        <CopyAs
          request={{
            path: `events?after=${encodeURIComponent(event.cursor)}`,
            graphql: 'query After($after: Cursor) { events(after: $after, first: 100) { nodes { cursor at kind message } endCursor hasNextPage } }',
            variables: { after: event.cursor },
            cli: `events --follow --after ${event.cursor}`,
          }}
        />
        <button type="button" class="button" onClick={close}>Close</button>
      </div>
    </Dialog>
  );
}
