// Events: the change log, newest first and followed live, filtered by the words of the search; older ones come by
// scrolling. While somebody reads further down, or the pointer is over the rows, what is new waits above. VM events of
// a minute are one line, which opens: which ones are open is in the address, under `open`.

import { useSignal, type Signal } from '@preact/signals';
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import { ask } from '../api/http';
import { follow } from '../api/live';
import { fragment, operation, type FragmentType } from '../api/operation';
import { useFullPage } from '../app';
import { CopyAs, CopyButton, quote, type Request } from '../components/copy';
import { Dialog } from '../components/dialog';
import { Empty } from '../components/empty';
import { ALL_KINDS, eventTone, Message } from '../components/event';
import { Shape, type Tone } from '../components/status';
import { ColumnMenu, Table, type Column } from '../components/table';
import { toastError } from '../components/toast';
import { foldKinds, foldSearch, foldSpan, foldTitle, isChurn, type Fold } from '../event-folds';
import { actor as actorOf, count, plural } from '../format';
import { useKeys } from '../keyboard';
import { href, hrefHere, place, setQuery } from '../router';
import { has, searchFor, toggle } from '../search';
import { isIn } from '../session';
import { clock, exact, relative, serverNow, now } from '../time';
import { arrived, begun, dropped, lastOf, nextRead, openKey, rowsOf, SCREENFUL, shown, withPage, type Log, type Read, type Row } from './events/log';
import { eventSearch, hasWords, histogram, kindName, noOlderText, readText, withTerm, type Bar, type EventSearch } from './events/model';

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
/** The most that the API gives at once. */
const MORE_ROWS = 500;
/** Kinds that are read further back than what VMs do as usual: what fails is not lost among that. */
const OTHERS = ALL_KINDS.filter((kind) => !isChurn({ kind }));
/** For so long, in milliseconds, events are gathered before they are shown: thousands a second are read by nobody. */
const GATHER_MS = 120;
/** Bars of the histogram, at most: none stands for less than a second, since events come in the commits of heartbeats. */
const BARS = 60;
/** Fewer bars than this tell nothing of when. */
const FEWEST_BARS = 3;

/** The log as far as it is read, followed live. What comes while it `isHeld` waits. */
function useLog({ filter, since, until }: EventSearch, isHeld: () => boolean) {
  const key = JSON.stringify([filter, since, until]);
  const log = useSignal<Log<LogEvent> | null>(null);
  const answered = useSignal('');
  const error = useSignal('');
  /** `begin` reads the log anew. */
  const state = useRef({ isReading: false, begin: (): void => {}, key, filter, since, until });
  Object.assign(state.current, { key, filter, since, until });
  const isAllowed = isIn.value;
  const put = (next: Log<LogEvent> | null): void => {
    if (next) log.value = next;
    else state.current.begin();
  };

  useEffect(() => {
    if (!isAllowed) return;
    const abort = new AbortController();
    let stop = (): void => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    let news: LogEvent[] = [];
    let attempts = 0;
    let isBeginning = false;
    const deliver = (): void => {
      const fresh = news.reverse();
      news = [];
      const before = log.peek();
      if (abort.signal.aborted || !before || fresh.length === 0) return;
      put(arrived(before, fresh, { isHeld: isHeld(), isReading: state.current.isReading }));
    };
    const begin = async (): Promise<void> => {
      stop();
      clearTimeout(timer);
      // What has come so far is in the answer, too.
      news = [];
      const attempt = attempts += 1;
      isBeginning = true;
      const isOver = (): boolean => abort.signal.aborted || attempt !== attempts;
      try {
        const { events: page } = await ask(LogPage, { first: FIRST_ROWS, filter, since, until });
        if (isOver()) return;
        isBeginning = false;
        log.value = begun({ events: page.nodes, hasOlder: page.pageInfo.hasNextPage }, log.peek());
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
        if (isOver()) return;
        isBeginning = false;
        error.value = (reason as Error).message;
        timer = setTimeout(() => { void begin(); }, 3_000);
      }
    };
    state.current.begin = () => { if (!isBeginning) void begin(); };
    void begin();
    return () => { abort.abort(); clearTimeout(timer); stop(); };
  }, [key, isAllowed]);

  const more = useCallback(async (what: Read): Promise<void> => {
    const { isReading, key, filter, since, until } = state.current;
    const before = log.peek();
    const last = before && lastOf(before, what);
    if (isReading || !before || !last || !(what === 'older' ? before.hasOlder : before.others === null || before.hasOlderOthers)) return;
    state.current.isReading = true;
    try {
      const wanted = what === 'older' ? filter : { ...filter, kinds: otherKinds(filter) };
      const { events: page } = await ask(LogPage, { first: MORE_ROWS, after: last.cursor, filter: wanted, since, until });
      state.current.isReading = false;
      const current = log.peek()!;
      log.value = key === state.current.key ? withPage(current, what, last, { events: page.nodes, hasOlder: page.pageInfo.hasNextPage }) : dropped(current);
    } catch (reason) {
      toastError(reason);
    } finally {
      state.current.isReading = false;
    }
  }, []);
  const show = useCallback((): void => {
    const before = log.peek();
    if (before && before.waiting.length > 0) put(shown(before, state.current.isReading));
  }, []);
  return { read: log, answered, error, more, show };
}

/** The kinds that a search asks for, without what VMs do as usual. */
function otherKinds({ kinds }: EventSearch['filter']): LogEvent['kind'][] {
  return OTHERS.filter((kind) => kinds?.includes(kind) ?? true);
}

const who = (event: LogEvent): string => actorOf(event.actorName, event.actor) || '–';

/** Kinds by which something is as it should be again. */
const GOOD: readonly LogEvent['kind'][] = ['WORKER_ONLINE', 'WORKER_DRAIN_COMPLETE', 'WORKER_ACTIVATED'];

function toneOf(event: LogEvent): Tone {
  if (GOOD.includes(event.kind)) return 'good';
  return eventTone(event) || (event.kind.startsWith('WORKER_DRAIN') ? 'warn' : 'quiet');
}

const several = (values: readonly (string | null)[], noun: string): string => {
  const distinct = [...new Set(values.filter((value) => value !== null))];
  return distinct.length === 1 ? distinct[0]! : distinct.length === 0 ? '' : plural(distinct.length, noun);
};

/** Who caused several events. */
function theirs(events: readonly LogEvent[]): string {
  const isOfMany = new Set(events.map(({ workerId }) => workerId)).size > 1;
  return isOfMany && events.every(({ actor, actorName }) => actor === 'WORKER' && !actorName) ? 'their workers' : several(events.map(who), 'actor');
}

function FoldCell({ fold, isOpen = false }: { fold: Fold<LogEvent>; isOpen?: boolean }) {
  const kinds = fold.kind === 'churn' ? foldKinds(fold) : '';
  return (
    <span class={`event-message${fold.kind === 'churn' ? '' : ' bad'}`}>
      <span class="fold-sign" aria-hidden="true">{isOpen ? '▾' : '▸'}</span>{foldTitle(fold)}, {foldSpan(fold)}
      {kinds && <span class="faint"> · {kinds}</span>}
      {/* For who moves over the rows with keys, and does not come to the link that says it, too. */}
      <span class="visually-hidden">, {isOpen ? 'shown one by one' : 'folded'}</span>
    </span>
  );
}

function MessageCell({ event, isInside, isEnd }: Row<LogEvent>) {
  if (isEnd) return <span class="muted">Below, VMs that start, change or stop are left out: they were read back to {clock(event.at, true)}. <span class="fold-link">Show those before</span></span>;
  return (
    <span class={`event-message ${eventTone(event)}`}>{isInside && <span class="fold-inside" aria-hidden="true" />}{event.message}{event.vmName && event.vmName !== event.vmId && !event.message.includes(event.vmName) && <span class="faint"> ({event.vmName})</span>}{event.reason && !event.message.includes(event.reason) && <span class="muted"> · “{event.reason}”</span>}</span>
  );
}

const columns: readonly Column<Row<LogEvent>>[] = [
  { key: 'time', title: 'Time', width: '116px', phone: 'end', cell: ({ event, fold, isEnd }) => <><time dateTime={event.at} title={exact(event.at)}>{clock(event.at, true)}</time>{!fold && !isEnd && <span class="phone-only">&nbsp;· {who(event)}</span>}</> },
  { key: 'kind', title: 'Kind', width: '138px', phone: 'second', cell: ({ event, fold, isEnd }) => {
    const tone = isEnd ? 'quiet' : toneOf(event);
    return isEnd ? '' : <span class={`status bare ${tone === 'quiet' ? 'none' : tone}`}>{tone !== 'quiet' && <Shape tone={tone} />}{fold?.kind === 'churn' ? 'VM events' : kindName(event.kind)}</span>;
  } },
  { key: 'what', title: 'What happened', width: 'minmax(320px, 5fr)', lead: true, phone: 'lead', cell: (row) => (row.fold ? <FoldCell fold={row.fold} isOpen={row.isOpen} /> : <MessageCell {...row} />) },
  { key: 'worker', title: 'Worker', width: 'minmax(80px, 140px)', optional: true, cell: ({ event, fold }) => (fold ? <span class="muted">{several(fold.events.map(({ workerId }) => workerId), 'worker')}</span> : event.workerId ?? '') },
  { key: 'vm', title: 'VM', width: 'minmax(80px, 160px)', optional: true, cell: ({ event, fold }) => (fold ? <span class="muted">{several(fold.events.map(({ vmId }) => vmId), 'VM')}</span> : event.vmName ?? event.vmId ?? '') },
  { key: 'zone', title: 'Zone', width: 'minmax(70px, 110px)', cell: ({ event, fold, isEnd }) => <span class="muted">{isEnd ? '' : fold ? several(fold.events.map(({ zone }) => zone), 'zone') : event.zone ?? ''}</span> },
  { key: 'by', title: 'By', width: 'minmax(70px, 130px)', cell: ({ event, fold, isEnd }) => {
    if (isEnd) return '';
    const search = fold && foldSearch(fold);
    return search ? <a class="fold-link" href={href('vms', { q: search })}>failed VMs</a> : <span class="muted">{fold ? theirs(fold.events) : who(event)}</span>;
  } },
  { key: 'reason', title: 'Reason', width: 'minmax(80px, 1fr)', optional: true, cell: ({ event, fold }) => (fold ? '' : event.reason ?? '') },
  { key: 'revision', title: 'Revision', width: '82px', right: true, optional: true, cell: ({ event }) => count(event.revision) },
];

const KINDS: readonly [string, string][] = [['trouble', 'trouble'], ['drain', 'drains'], ['liveness', 'liveness'], ['vm', 'VMs'], ['reservation', 'reservations'], ['access', 'access']];
const ACTORS: readonly [string, string][] = [['operator', 'by operators'], ['worker', 'by workers'], ['server', 'by the server']];
const TIMES: readonly [string, string][] = [['', 'Any time'], ['15m', 'Last 15 minutes'], ['1h', 'Last hour'], ['24h', 'Last day'], ['168h', 'Last week']];

export default function Events() {
  useFullPage();
  const query = place.value.query;
  const q = query.get('q') ?? '';
  const opened = query.get('event');
  const search = useMemo(() => eventSearch(q, ALL_KINDS, serverNow()), [q]);
  const top = useRef(0);
  const isOver = useRef(false);
  const isHeld = (): boolean => top.current > 8 || isOver.current || document.activeElement?.matches('.events-log') === true || document.querySelector('dialog[open]') !== null;
  const log = useLog(search, isHeld);
  const read = log.read.value;
  const all = read?.rows ?? null;
  const rows = search.words.length === 0 ? all ?? [] : (all ?? []).filter((event) => hasWords(event, search.words));
  // Who looks for VMs or words wants to see each.
  const mayFold = search.words.length === 0 && !search.filter.vmIds;
  const isFolding = mayFold && query.get('fold') !== 'no';
  const open = query.get('open') ?? '';
  const lines = useMemo(() => rowsOf(rows, read?.others ?? null, isFolding, new Set(open.split(',').filter(Boolean))), [all, read?.others, q, isFolding, open]);
  const waiting = read?.waiting ?? [];
  const fresh = search.words.length === 0 ? waiting.length : waiting.filter((event) => hasWords(event, search.words)).length;
  const freshText = `${read?.isOverfull ? 'more than ' : ''}${plural(fresh, 'new event')}`;

  const readOn = (isEndSeen: boolean): void => {
    const view = { lines: lines.filter(({ isInside }) => !isInside).length, isFolding, isSearching: search.words.length > 0, hasOtherKinds: otherKinds(search.filter).length > 0, isEndSeen, isAtTop: top.current <= 8 };
    const next = read && nextRead(read, view);
    if (next) void log.more(next);
  };
  const readOlder = (): void => { void log.more('older'); };
  // So that a screen is full, also where the table has no line yet, and does not ask for more.
  useEffect(() => { if (lines.length < SCREENFUL) readOn(false); }, [lines.length, read?.pages, read?.hasOlder]);

  const showNew = (): void => {
    log.show();
    top.current = 0;
    (document.activeElement as HTMLElement | null)?.blur();
    document.querySelector('.events-log')?.scrollTo(0, 0);
  };
  /** The address in which a fold is open, or is not any more. */
  const toggled = ({ fold, isOpen }: Row<LogEvent>): string => {
    const keys = new Set(open.split(',').filter(Boolean));
    if (isOpen) for (const event of fold!.events) keys.delete(openKey(event));
    else keys.add(openKey(fold!.events.at(-1)!));
    return hrefHere({ open: [...keys].join(',') });
  };
  useKeys({ n: showNew });
  const set = (next: string): void => setQuery({ q: next || null }, { keep: true });
  const since = /(?:^|\s)since:(\S+)/.exec(q)?.[1] ?? '';

  return (
    <>
      <header class="page-head with-actions">
        <h1>{q ? 'Events that match' : 'What happened'}</h1>
        <p aria-live="off">{all === null ? 'Reading …' : all.length === 0 ? 'Nothing so far; what happens appears by itself' : `Newest first, ${search.until === null ? 'followed live' : 'up to a time that is over'}${isFolding ? '; VM events of a minute are one line' : ''}`}</p>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {log.error.value && <p class="bad" role="status">{log.error.value} The data shown may be out of date.</p>}
        <span class="page-actions"><ColumnMenu columns={columns} /><CopyAs request={requestOf(search)} /></span>
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
        {mayFold && <button type="button" class="facet" aria-pressed={isFolding} title="VM events of a minute are one line, which opens" onClick={() => setQuery({ fold: isFolding ? 'no' : null, open: null }, { keep: true })}>fold VM events</button>}
        {q && <button type="button" class="link small" onClick={() => set('')}>Clear</button>}
      </div>
      {all && all.length > 1 && (
        <Histogram
          read={all}
          events={rows}
          search={search}
          hasOlder={read?.hasOlder ?? false}
          onMore={readOlder}
          onChoose={(from) => set(withTerm(q, 'until', new Date(from).toISOString()))}
        />
      )}
      <div
        class="events-frame fill"
        onPointerEnterCapture={(event) => {
          // The log keeps what is new above its rows; the table would keep rows in their places that a fold has opened.
          if ((event.target as Element).getAttribute('role') !== 'rowgroup') return;
          event.stopPropagation();
          isOver.current = event.pointerType === 'mouse';
        }}
        onPointerLeave={() => {
          isOver.current = false;
          if (!isHeld()) log.show();
        }}
      >
        <Table
          class={`events-log${log.answered.value === JSON.stringify([search.filter, search.since, search.until]) ? '' : ' waits'}`}
          label="Events, newest first"
          columns={columns}
          rows={lines}
          id={({ id }) => id}
          of={`${log.answered.value} ${search.words.join(' ')}`}
          loaded={read?.pages}
          onEnd={readOn}
          onScroll={(to) => { top.current = to; if (to <= 8 && !isHeld()) log.show(); }}
          data={({ event, fold, isEnd }): Record<`data-${string}`, string> => (isEnd ? { 'data-end': '' } : fold ? { 'data-fold': fold.kind, 'data-count': String(fold.events.length) } : { 'data-cursor': event.cursor })}
          href={(row) => (row.isEnd ? hrefHere({ q: withTerm(q, 'until', row.event.at), open: null }) : row.fold ? toggled(row) : hrefHere({ event: row.event.cursor }))}
          isExpanded={({ fold, isOpen }) => (fold ? isOpen : undefined)}
          empty={all === null ? null : <NoEvents q={q} looked={all.length} hasOlder={read?.hasOlder ?? false} onMore={readOlder} />}
        />
        {fresh > 0 && <button type="button" class="events-pill" onClick={showNew}><span aria-hidden="true">↑</span> {freshText} <kbd>n</kbd></button>}
        <p class="visually-hidden" role="status">{fresh > 0 ? freshText : ''}</p>
      </div>
      {opened && <Details cursor={opened} log={log.read} q={q} />}
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

/** The same question asked elsewhere. Words are looked for by this page only. */
function requestOf({ filter, since, until }: EventSearch): Request {
  const repeated = (name: string, values: readonly string[] | null | undefined): [string, string][] => (values ?? []).map((value) => [name, value]);
  const kinds = filter.kinds?.map((kind) => kind.toLowerCase());
  const actors = filter.actors?.map((actor) => actor.toLowerCase());
  const time: [string, string][] = [...repeated('since', since ? [since] : []), ...repeated('until', until ? [until] : [])];
  const parameters = new URLSearchParams([
    ['order', 'desc'], ['limit', String(FIRST_ROWS)], ...repeated('kind', kinds), ...repeated('worker_id', filter.workerIds), ...repeated('vm_id', filter.vmIds),
    ...repeated('zone', filter.zones), ...repeated('actor', actors), ...repeated('actor_token_id', filter.actorTokenIds), ...time,
  ]);
  const options = [
    ...repeated('--kind', kinds), ...repeated('--worker', filter.workerIds), ...repeated('--vm', filter.vmIds), ...repeated('--zone', filter.zones),
    ...repeated('--actor', actors), ...repeated('--token', filter.actorTokenIds), ...repeated('--since', since ? [since] : []),
  ].map(([name, value]) => ` ${name} ${value === '' ? "''" : quote(value)}`).join('');
  return {
    path: `events?${parameters}`,
    graphql: LogPage.text,
    variables: { first: FIRST_ROWS, filter, since, until },
    // The command line has no end of the time that it shows.
    ...(until === null ? { cli: `events --last ${FIRST_ROWS}${options}` } : {}),
  };
}

/** When the events were that were read, as bars: where much happened, and where there was trouble. */
function Histogram({ read, events, search, hasOlder, onMore, onChoose }: {
  /** All that were read, whose time is the axis, and those of them that match. */
  read: readonly LogEvent[];
  events: readonly LogEvent[];
  search: EventSearch;
  hasOlder: boolean;
  onMore: () => void;
  onChoose: (from: number) => void;
}) {
  const { until } = search;
  const oldest = Date.parse(read.at(-1)!.at);
  const bars = useMemo(() => {
    const to = until === null ? serverNow() : Date.parse(read[0]!.at);
    if (!(oldest < to)) return [];
    const many = Math.max(1, Math.min(BARS, Math.round((to - oldest) / 1_000)));
    return histogram(events.map((event) => ({ at: Date.parse(event.at), isBad: eventTone(event) === 'bad' })), oldest, to, many);
  }, [read, events, until]);
  const most = Math.max(1, ...bars.map(({ total }) => total));
  const step = bars.length > 1 ? bars[1]!.from - bars[0]!.from : 1_000;
  const title = ({ from, total, bad }: Bar): string => `${clock(from, true)}: ${plural(total, 'event')}${bad > 0 ? `, ${count(bad)} of trouble` : ''}`;
  return (
    <figure class="events-spread">
      {bars.length >= FEWEST_BARS && (
        <div class="bars" role="img" aria-label={`When the ${count(events.length)} events were: at most ${count(most)} in ${relative(step, 0).replace('in ', '')}, ${count(bars.reduce((sum, { bad }) => sum + bad, 0))} of trouble`}>
          <span class="most tiny faint" aria-hidden="true">{count(most)}</span>
          {bars.map((bar) => (
            <i key={bar.from} title={title(bar)} onClick={() => onChoose(bar.from + step)}>
              <b style={{ height: `${(bar.total / most) * 100}%` }}>{bar.bad > 0 && <s style={{ height: `${Math.max(12, (bar.bad / bar.total) * 100)}%` }} />}</b>
            </i>
          ))}
        </div>
      )}
      <figcaption class="tiny muted">
        <span class="faint screen-only">{clock(oldest, true)}</span>
        <span>
          {readText(events.length, read.length)}, back to {clock(oldest, true)}
          {hasOlder ? <>; <button type="button" class="link" onClick={onMore}>read more</button></> : `; ${noOlderText(search)}`}
        </span>
        <span class="faint screen-only">{until === null ? 'now' : clock(read[0]!.at, true)}</span>
      </figcaption>
    </figure>
  );
}

/** Everything that is known of one event. */
function Details({ cursor, log, q }: { cursor: string; log: Signal<Log<LogEvent> | null>; q: string }) {
  const found = useSignal<LogEvent | null | undefined>(undefined);
  useEffect(() => {
    const { rows = [], others } = log.peek() ?? {};
    const known = [...rows, ...others ?? []].find((event) => event.cursor === cursor);
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
  const only = (key: string, value: string) => href('events', { q: searchFor(key, value) });
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
