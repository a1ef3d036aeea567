// Workers: a table of any length, searched, sorted and paged by the server; several are drained or activated at once.

import { useComputed, useSignal, type Signal } from '@preact/signals';
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import type { WorkerFilter, WorkerOrderField } from '../api/generated';
import { followWorkers, workers as store, WorkerFields, type Worker } from '../api/cluster';
import { ask } from '../api/http';
import { onEvents, resyncs, type ClusterEvent } from '../api/events';
import { isConnected, reconnections } from '../api/live';
import { operation } from '../api/operation';
import { useQuery } from '../api/query';
import { useFullPage } from '../app';
import { CopyAs, quote, type Request } from '../components/copy';
import { activateWithUndo, DrainDialog } from '../components/drain';
import { Empty, NoWorkers } from '../components/empty';
import { Glow } from '../components/glow';
import { Meter } from '../components/meter';
import { Shape, WorkerStatusChip } from '../components/status';
import { ColumnMenu, Table, type Column } from '../components/table';
import { Since } from '../components/time';
import { toastError } from '../components/toast';
import { actor, count, memory, plural } from '../format';
import { useKeys } from '../keyboard';
import { href, place, setQuery } from '../router';
import { has, otherWays, toggle, workerSearch } from '../search';
import { mayOperate } from '../session';
import { relative, now } from '../time';
import { CpuHistory } from './workers/history';

const WorkerPage = operation(`query WorkerPage($first: Int, $after: String, $filter: WorkerFilter, $orderBy: WorkerOrder) {
  workersConnection(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    totalCount
    pageInfo { endCursor hasNextPage }
    nodes { ...WorkerFields }
  }
}`, WorkerFields);

const WorkerCounts = operation(`query WorkerCounts($filter: WorkerFilter, $anyStatus: WorkerFilter, $anyZone: WorkerFilter) {
  workerCounts(filter: $filter) { total }
  byStatus: workerCounts(filter: $anyStatus) { active draining offline }
  byZone: workerCounts(filter: $anyZone) { zones { zone count } }
  all: workerCounts { total zones { zone count } }
}`);

/** A facet counts what there would be with another choice of its own: what it asks for itself is left out. */
function without(filter: WorkerFilter, ...keys: (keyof WorkerFilter)[]): WorkerFilter {
  return Object.fromEntries(Object.entries(filter).filter(([key]) => !keys.includes(key as keyof WorkerFilter)));
}

/** Rows of the first page: what a screen shows, and some. */
const FIRST_ROWS = 100;
/** Rows of each page after it, as many as the server answers at once. */
const MORE_ROWS = 500;
/** While somebody sorts by what heartbeats move, the order is read again this often. */
const ORDER_PERIOD_MS = 10_000;

const ORDERS: Record<string, WorkerOrderField> = {
  id: 'ID', host: 'HOSTNAME', zone: 'ZONE', cpu: 'CPU_USAGE', mem: 'MEMORY_USAGE', vms: 'VM_COUNT', seen: 'LAST_SEEN',
  'free-cpu': 'FREE_CPU_CORES', 'free-mem': 'FREE_MEMORY', 'free-vms': 'FREE_VM_SLOTS',
};

/** What REST and the command line call the same. */
const REST_ORDERS: Record<string, string> = {
  id: 'id', host: 'hostname', zone: 'zone', cpu: 'cpu_usage', mem: 'memory_usage', vms: 'vm_count', seen: 'last_seen',
  'free-cpu': 'free_cpu_cores', 'free-mem': 'free_memory_mb', 'free-vms': 'free_vm_slots',
};

function orderOf(sort: string): { field: WorkerOrderField; direction: 'ASC' | 'DESC' } | null {
  const field = ORDERS[sort.replace(/^-/, '')];
  return field ? { field, direction: sort.startsWith('-') ? 'DESC' : 'ASC' } : null;
}

/** The row of a worker: the store's, which heartbeats keep. */
function cell(draw: (worker: Worker) => preact.ComponentChildren): (id: string) => preact.ComponentChildren {
  return (id) => {
    const worker = store.row(id).value;
    return worker ? draw(worker) : null;
  };
}

/** Since when and why a worker is not as it should be. */
function Note({ worker }: { worker: Worker }) {
  const { status, drain, lastSeen } = worker;
  const parts: preact.ComponentChildren[] = [];
  if (status === 'OFFLINE') parts.push(<>silent for <Since at={lastSeen} /></>);
  if (drain) {
    if (drain.remainingVms) parts.push(<>{drain.remainingVms} of {Math.max(drain.initialVms ?? 0, drain.remainingVms)} VMs left</>);
    if (drain.deadlineAt) parts.push(<span class={drain.state === 'OVERDUE' ? 'warn' : ''}>due {relative(Date.parse(drain.deadlineAt), now.value)}</span>);
    if (drain.reason) parts.push(<>“{drain.reason}”</>);
    const who = actor(drain.startedByName, drain.startedBy);
    if (drain.startedAt) parts.push(<>since <Since at={drain.startedAt} />{who ? ` by ${who}` : ''}</>);
  }
  return <span class="muted">{parts.flatMap((part, index) => (index === 0 ? [part] : [' · ', part]))}</span>;
}

/** A label, and a click that asks for workers with it. */
function LabelTag({ name, value }: { name: string; value: string }) {
  const { query } = place.value;
  const q = toggle(query.get('q') ?? '', `label.${name}`, value);
  return (
    <a
      class="tag"
      tabIndex={-1}
      title={`${name}=${value}: ${has(query.get('q') ?? '', `label.${name}`, value) ? 'asked for' : 'only these'}`}
      href={href('workers', { ...Object.fromEntries(query), q })}
    >
      {name}={value}
    </a>
  );
}

/** The list that is shown, asked for elsewhere. */
function listRequest(filter: WorkerFilter, sort: string, orderBy: ReturnType<typeof orderOf>): Request {
  const { parameters, options } = otherWays(filter);
  const order = orderBy ? `${orderBy.direction === 'DESC' ? '-' : ''}${REST_ORDERS[sort.replace(/^-/, '')] ?? 'id'}` : '';
  const query = new URLSearchParams([...parameters, ...(order ? [['sort', order]] : [])]).toString();
  const flags = [...options.flatMap(([flag, value]) => (value ? [flag, quote(value)] : [flag])), ...(order ? ['--sort', order] : [])];
  return {
    path: `workers${query ? `?${query}` : ''}`,
    graphql: 'query ($filter: WorkerFilter, $orderBy: WorkerOrder) { workersConnection(first: 100, filter: $filter, orderBy: $orderBy) { totalCount nodes { id status zone vmCount cpuUsagePercent lastSeen } pageInfo { endCursor hasNextPage } } }',
    variables: { filter, orderBy },
    cli: ['workers', ...flags].join(' '),
  };
}

const columns: readonly Column<string>[] = [
  { key: 'id', title: 'Worker', width: 'minmax(104px, 0.9fr)', sort: 'id', lead: true, phone: 'lead', cell: (id) => id },
  { key: 'status', title: 'Status', width: '126px', phone: 'side', cell: cell((worker) => <Glow of={worker.status}><WorkerStatusChip bare {...worker} /></Glow>) },
  { key: 'zone', title: 'Zone', width: '104px', sort: 'zone', phone: 'second', cell: cell(({ zone }) => zone ?? <span class="faint">none</span>) },
  { key: 'cpu', title: 'CPU allocated', width: '132px', right: true, sort: 'cpu', descends: true, cell: cell((worker) => <CpuHistory worker={worker} />) },
  { key: 'mem', title: 'Memory', width: '104px', right: true, sort: 'mem', descends: true, cell: cell((worker) => <Meter value={worker.memoryUsagePercent} title={`${memory(worker.usedMemoryMb)} of ${memory(worker.memoryMb)} allocated to VMs`} />) },
  { key: 'vms', title: 'VMs', width: '70px', right: true, sort: 'vms', descends: true, phone: 'end', cell: cell(({ vmCount, maxVms }) => <span title={`${plural(vmCount, 'VM')} of at most ${count(maxVms)}`}><Glow of={vmCount}>{vmCount}</Glow> <span class="faint">/ {maxVms}</span></span>) },
  { key: 'free-cpu', title: 'Free cores', width: '86px', right: true, sort: 'free-cpu', descends: true, optional: true, cell: cell(({ freeCpuCores }) => count(freeCpuCores)) },
  { key: 'free-mem', title: 'Free memory', width: '98px', right: true, sort: 'free-mem', descends: true, optional: true, cell: cell(({ freeMemoryMb }) => memory(freeMemoryMb)) },
  { key: 'free-vms', title: 'Free slots', width: '80px', right: true, sort: 'free-vms', descends: true, optional: true, cell: cell(({ freeVmSlots }) => count(freeVmSlots)) },
  { key: 'seen', title: 'Heartbeat', width: '82px', right: true, sort: 'seen', descends: true, cell: cell(({ lastSeen, status }) => <span class={status === 'OFFLINE' ? 'bad' : ''}><Since at={lastSeen} /></span>) },
  { key: 'labels', title: 'Labels', width: 'minmax(140px, 1.5fr)', cell: cell(({ labels }) => <span class="tags">{labels.map(({ key, value }) => <LabelTag key={key} name={key} value={value} />)}</span>) },
  { key: 'note', title: 'Since when, and why', width: 'minmax(156px, 3.4fr)', cell: cell((worker) => <Note worker={worker} />) },
  { key: 'host', title: 'Hostname', width: 'minmax(120px, 1fr)', sort: 'host', optional: true, cell: cell(({ hostname }) => hostname) },
  { key: 'address', title: 'Address', width: '150px', optional: true, cell: cell(({ address }) => <span class="mono">{address}</span>) },
  { key: 'started', title: 'Agent up', width: '80px', right: true, optional: true, cell: cell(({ startedAt }) => <Since at={startedAt} />) },
];

/** Ids of the workers that match, in the order of the server, as far as they are loaded. */
function useWorkerList(filter: WorkerFilter, orderBy: ReturnType<typeof orderOf>) {
  const key = JSON.stringify([filter, orderBy]);
  const ids = useSignal<readonly string[] | null>(null);
  const total = useSignal(0);
  const answered = useSignal('');
  const error = useSignal('');
  const state = useRef({ key: '', cursor: null as string | null, hasMore: false, abort: null as AbortController | null, busy: false, took: 0, readAt: 0, timer: undefined as ReturnType<typeof setTimeout> | undefined });
  const latest = useRef({ key, filter, orderBy });
  latest.current = { key, filter, orderBy };

  const read = useCallback(async (isNew: boolean): Promise<void> => {
    const now = state.current;
    clearTimeout(now.timer);
    now.timer = undefined;
    now.abort?.abort();
    const abort = now.abort = new AbortController();
    const { key, filter, orderBy } = latest.current;
    const before = isNew ? [] : ids.peek() ?? [];
    const first = Math.min(MORE_ROWS, Math.max(FIRST_ROWS, before.length));
    const begun = now.readAt = Date.now();
    try {
      const { workersConnection: page } = await ask(WorkerPage, { first, filter, orderBy }, abort.signal);
      if (abort.signal.aborted) return;
      now.took = Date.now() - begun;
      store.put(page.nodes);
      const front = page.nodes.map(({ id }) => id);
      const isInFront = new Set(front);
      const tail = page.pageInfo.hasNextPage ? before.slice(first).filter((id) => !isInFront.has(id)) : [];
      if (tail.length === 0) {
        now.cursor = page.pageInfo.endCursor;
        now.hasMore = page.pageInfo.hasNextPage;
      }
      ids.value = [...front, ...tail];
      total.value = page.totalCount;
      answered.value = key;
      error.value = '';
      document.documentElement.dataset['ready'] = '';
    } catch (reason) {
      if (abort.signal.aborted) return;
      error.value = (reason as Error).message;
      soon(3_000);
    }
  }, []);

  const soon = useCallback((wait: number): void => {
    const now = state.current;
    if (now.timer !== undefined) return;
    // A list that takes long is read less often, so that reading it is never all that the server does.
    const due = now.readAt + Math.max(wait, now.took * 8);
    now.timer = setTimeout(() => { void read(false); }, Math.max(50, due - Date.now()));
  }, []);

  const more = useCallback(async (): Promise<void> => {
    const now = state.current;
    if (now.busy || !now.hasMore || now.cursor === null) return;
    now.busy = true;
    const { key, filter, orderBy } = latest.current;
    try {
      const { workersConnection: page } = await ask(WorkerPage, { first: MORE_ROWS, after: now.cursor, filter, orderBy });
      if (key !== latest.current.key) return;
      store.put(page.nodes);
      const known = new Set(ids.peek());
      ids.value = [...ids.peek() ?? [], ...page.nodes.map(({ id }) => id).filter((id) => !known.has(id))];
      now.cursor = page.pageInfo.endCursor;
      now.hasMore = page.pageInfo.hasNextPage;
    } catch (reason) {
      toastError(reason);
    } finally {
      now.busy = false;
    }
  }, []);

  /** Loads all that match; whether they are all there then. */
  const all = useCallback(async (): Promise<boolean> => {
    const { key } = latest.current;
    for (let before = -1; state.current.hasMore && key === latest.current.key && before !== (ids.peek()?.length ?? 0);) {
      before = ids.peek()?.length ?? 0;
      await more();
    }
    return !state.current.hasMore && key === latest.current.key;
  }, []);

  useEffect(() => { void read(true); }, [key]);
  useEffect(() => onEvents((events) => { if (events.some(isAboutList)) soon(1_500); }), []);
  const anew = resyncs.value + reconnections.value;
  useEffect(() => { if (anew > 0) soon(0); }, [anew]);
  const moves = orderBy !== null && !['ID', 'HOSTNAME', 'ZONE'].includes(orderBy.field);
  useEffect(() => {
    if (!moves) return;
    const timer = setInterval(() => { if (!document.hidden) soon(0); }, ORDER_PERIOD_MS);
    return () => clearInterval(timer);
  }, [moves]);
  useEffect(() => () => { clearTimeout(state.current.timer); state.current.abort?.abort(); }, []);
  return { ids, total, answered, error, key, more, all, refresh: () => read(false) };
}

function isAboutList({ kind, workerId }: ClusterEvent): boolean {
  return workerId !== null && kind.startsWith('WORKER_');
}

export default function Workers() {
  useFullPage();
  const query = place.value.query;
  const q = query.get('q') ?? '';
  const sort = query.get('sort') ?? '';
  const search = useMemo(() => workerSearch(q), [q]);
  const orderBy = useMemo(() => orderOf(sort), [sort]);
  const list = useWorkerList(search.filter, orderBy);
  const counts = useQuery(WorkerCounts, {
    filter: search.filter, anyStatus: without(search.filter, 'statuses'), anyZone: without(search.filter, 'zones', 'hasZone'),
  }, { on: isAboutList, every: 15_000, atMostEvery: 1_500 });
  const selected = useSignal<ReadonlySet<string>>(new Set());
  const draining = useSignal<readonly Worker[] | null>(null);

  // Only the rows that are seen are followed, a moment after the scrolling has stopped.
  const stop = useRef(() => {});
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const onSeen = useCallback((ids: readonly string[]) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => { stop.current(); stop.current = followWorkers(ids); }, 250);
  }, []);
  useEffect(() => () => { clearTimeout(timer.current); stop.current(); }, []);

  const ids = list.ids.value;
  const chosen = useComputed(() => [...selected.value].map((id) => store.row(id).value).filter((worker): worker is Worker => worker !== undefined));
  const act = (what: 'drain' | 'activate'): void => {
    if (!mayOperate.peek() || !isConnected.peek()) return;
    const all = chosen.peek();
    if (what === 'drain' && all.length > 0) draining.value = all;
    if (what === 'activate' && all.length > 0) void activateWithUndo(all).then(() => { selected.value = new Set(); });
  };
  useKeys({ d: () => act('drain'), u: () => act('activate'), Escape: () => { selected.value = new Set(); } });

  const figures = counts.data.value?.workerCounts;
  const all = counts.data.value?.all;
  const isEmptyCluster = all?.total === 0;
  return (
    <>
      <header class="page-head">
        <div class="row wrap">
          <h1 class="grow">{q && figures ? `${count(figures.total)} of ${plural(all?.total ?? 0, 'worker')} match` : ids || figures ? plural(figures?.total ?? list.total.value, 'worker') : 'Workers'}</h1>
          <CopyAs request={listRequest(search.filter, sort, orderBy)} />
          <ColumnMenu columns={columns} />
        </div>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {list.error.value && <p class="bad" role="status">{list.error.value} What is shown may be old.</p>}
      </header>
      {!isEmptyCluster && <Facets q={q} statuses={counts.data.value?.byStatus} matching={counts.data.value?.byZone.zones} zones={all?.zones ?? []} />}
      <Table
        class={`fill${list.answered.value === list.key ? '' : ' waits'}`}
        label="Workers"
        columns={columns}
        rows={ids ?? []}
        id={(id) => id}
        of={list.answered.value}
        total={list.total.value}
        onEnd={() => { void list.more(); }}
        onSeen={onSeen}
        href={(id) => href('workers', id)}
        selected={mayOperate.value ? selected : undefined}
        empty={ids === null ? (list.error.value ? <Empty title="The workers cannot be read now">They are shown as soon as the server answers.</Empty> : null) : isEmptyCluster ? <NoWorkers /> : (
          <Empty title="No worker matches">
            <p>{plural(all?.total ?? 0, 'worker')} {all?.total === 1 ? 'is' : 'are'} registered; none fits <code>{q}</code>.</p>
            <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
          </Empty>
        )}
      />
      <Selection
        selected={selected}
        chosen={chosen.value}
        loaded={ids?.length ?? 0}
        total={list.total.value}
        onAll={async () => { if (await list.all()) selected.value = new Set(list.ids.peek()); }}
        onDrain={() => act('drain')}
        onActivate={() => act('activate')}
      />
      {draining.value && (
        <DrainDialog
          workers={draining.value}
          onClose={() => { draining.value = null; }}
          onDone={() => { selected.value = new Set(); void list.refresh(); }}
        />
      )}
    </>
  );
}

/** What the matches have, and a click that asks for it. */
function Facets({ q, statuses: amounts, matching, zones }: {
  q: string;
  statuses: Record<'active' | 'draining' | 'offline', number> | undefined;
  matching: ReadonlyArray<{ zone: string; count: number }> | undefined;
  zones: ReadonlyArray<{ zone: string; count: number }>;
}) {
  const set = (key: string, value: string): void => setQuery({ q: toggle(q, key, value) || null }, { keep: true });
  const inZone = new Map(matching?.map(({ zone, count }) => [zone, count]));
  const statuses = [
    ['active', 'good', amounts?.active], ['draining', 'warn', amounts?.draining], ['offline', 'bad', amounts?.offline],
  ] as const;
  return (
    <div class="facets" role="group" aria-label="Filters">
      {statuses.map(([value, tone, amount]) => (
        <button key={value} type="button" class={`facet ${tone}`} aria-pressed={has(q, 'status', value)} onClick={() => set('status', value)}>
          <Shape tone={tone} />{value}<b>{amount === undefined ? '' : count(amount)}</b>
        </button>
      ))}
      <span class="gap" />
      {zones.slice(0, 12).map(({ zone }) => (
        <button key={zone} type="button" class="facet" aria-pressed={has(q, 'zone', zone)} onClick={() => set('zone', zone)}>
          {zone}<b>{matching ? count(inZone.get(zone) ?? 0) : ''}</b>
        </button>
      ))}
      {q && <button type="button" class="link small" onClick={() => setQuery({ q: null }, { keep: true })}>Clear</button>}
    </div>
  );
}

/** What can be done with the selected workers, and how much they are. */
function Selection({ selected, chosen, loaded, total, onAll, onDrain, onActivate }: {
  selected: Signal<ReadonlySet<string>>;
  chosen: readonly Worker[];
  loaded: number;
  total: number;
  onAll: () => Promise<void>;
  onDrain: () => void;
  onActivate: () => void;
}) {
  const isLoading = useSignal(false);
  if (!mayOperate.value || selected.value.size === 0) return null;
  const offersAll = selected.value.size === loaded && total > loaded;
  const vms = chosen.reduce((sum, { vmCount }) => sum + vmCount, 0);
  const drainable = chosen.some(({ schedulingPolicy }) => schedulingPolicy === 'ACTIVE');
  const activatable = chosen.some(({ schedulingPolicy }) => schedulingPolicy === 'DRAINING');
  const away = isConnected.value ? undefined : 'Not while the server cannot be reached';
  return (
    <div class="selection" role="region" aria-label="Selected workers">
      <strong>{count(selected.value.size)} selected</strong>
      {offersAll && (
        <button
          type="button"
          class="link"
          disabled={isLoading.value}
          onClick={() => { isLoading.value = true; onAll().finally(() => { isLoading.value = false; }); }}
        >
          {isLoading.value ? `Loading all ${count(total)} …` : `Select all ${count(total)} that match`}
        </button>
      )}
      <span class="muted grow">{plural(vms, 'VM')} there</span>
      <button type="button" class="button" disabled={!activatable || !!away} title={away} onClick={onActivate}>Activate <kbd>u</kbd></button>
      <button type="button" class="button primary" disabled={!drainable || !!away} title={away} onClick={onDrain}>Drain …</button>
      <button type="button" class="button plain" onClick={() => { selected.value = new Set(); }}>Clear</button>
    </div>
  );
}
