// Workers: a table of any length, searched, sorted and paged by the server; several are drained or activated at once.

import { useComputed, useSignal, type Signal } from '@preact/signals';
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import type { WorkerFilter, WorkerOrderField } from '../api/generated';
import { followWorkers, workers as store, WorkerFields, type Worker } from '../api/cluster';
import { ask } from '../api/http';
import type { ClusterEvent } from '../api/events';
import { isConnected } from '../api/live';
import { operation } from '../api/operation';
import { usePagedList } from '../components/paged-list';
import { useQuery } from '../api/query';
import { useFullPage } from '../app';
import { CopyAs, type Request } from '../components/copy';
import { activateWithUndo, DrainDialog } from '../components/drain';
import { useElementId } from '../components/element-id';
import { Awaited, Empty, NoWorkers } from '../components/empty';
import { Glow } from '../components/glow';
import { Meter } from '../components/meter';
import { Shape, WorkerStatusChip } from '../components/status';
import { ColumnMenu, Table, type Column } from '../components/table';
import { Since } from '../components/time';
import { workersRequest } from '../components/workers-request';
import { actor, count, memory, plural } from '../format';
import { useKeys } from '../keyboard';
import { labelsThatFit } from '../labels';
import { href, place, setQuery } from '../router';
import { has, toggle, workerSearch } from '../search';
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

const WorkerCounts = operation(`query WorkerCounts($filter: WorkerFilter, $anyStatus: WorkerFilter, $anyZone: WorkerFilter, $isFiltered: Boolean!) {
  matching: workerCounts(filter: $filter) @include(if: $isFiltered) { total }
  byStatus: workerCounts(filter: $anyStatus) @include(if: $isFiltered) { active draining offline }
  byZone: workerCounts(filter: $anyZone) @include(if: $isFiltered) { zones { zone count } }
  all: workerCounts { total active draining offline zones { zone count } }
}`);

/** A facet counts what there would be with another choice of its own: what it asks for itself is left out. */
function without(filter: WorkerFilter, ...keys: (keyof WorkerFilter)[]): WorkerFilter {
  return Object.fromEntries(Object.entries(filter).filter(([key]) => !keys.includes(key as keyof WorkerFilter)));
}

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

/** Why a worker is not as it should be: the reason that somebody gave comes first, then what is left, and since when. */
function Note({ worker: { status, drain, lastSeen } }: { worker: Worker }) {
  const facts: preact.ComponentChildren[] = [];
  if (status === 'OFFLINE') facts.push(<>no heartbeat for <Since at={lastSeen} /></>);
  if (drain) {
    if (drain.remainingVms) facts.push(<>{drain.remainingVms} of {plural(Math.max(drain.initialVms ?? 0, drain.remainingVms), 'VM')} left</>);
    if (drain.deadlineAt) facts.push(<span class={drain.state === 'OVERDUE' ? 'warn' : ''}>due {relative(Date.parse(drain.deadlineAt), now.value)}</span>);
    const who = actor(drain.startedByName, drain.startedBy);
    if (drain.startedAt) facts.push(<>draining for <Since at={drain.startedAt} />{who && `, by ${who}`}</>);
  }
  if (facts.length === 0) return null;
  const reason = drain?.reason ? `“${drain.reason}”` : '';
  return (
    <span class={`worker-note${reason ? ' two' : ''}`} onPointerEnter={({ currentTarget }) => { currentTarget.title = currentTarget.innerText; }}>
      {reason && <span class="ellipsis">{reason}</span>}
      <span class="ellipsis muted">{facts.flatMap((fact, index) => (index === 0 ? [fact] : [' · ', fact]))}</span>
    </span>
  );
}

/** A label, and a click that asks for workers with it. */
function LabelTag({ name, value, tabIndex }: { name: string; value: string; tabIndex?: number }) {
  const { query } = place.value;
  const q = toggle(query.get('q') ?? '', `label.${name}`, value);
  return (
    <a
      class="tag"
      tabIndex={tabIndex}
      title={`${name}=${value}: ${has(query.get('q') ?? '', `label.${name}`, value) ? 'remove this filter' : 'filter by this label'}`}
      href={href('workers', { ...Object.fromEntries(query), q })}
    >
      {name}={value}
    </a>
  );
}

/** The room for labels in a row, in CSS pixels. */
const LABELS_WIDTH = 222;

/** The first labels, and how many more there are. */
function Labels({ labels }: { labels: Worker['labels'] }) {
  const shown = labelsThatFit(labels, LABELS_WIDTH);
  const rest = labels.slice(shown.length);
  return (
    <span class="tags" title={labels.map(({ key, value }) => `${key}=${value}`).join('\n')}>
      {shown.map(({ key, value }) => <LabelTag key={key} name={key} value={value} tabIndex={-1} />)}
      {rest.length > 0 && <MoreLabels labels={rest} />}
    </span>
  );
}

/** The labels that have no room in a row, behind their number: a popover, since a row cuts off what is larger than it. */
function MoreLabels({ labels }: { labels: Worker['labels'] }) {
  const id = useElementId();
  const button = useRef<HTMLButtonElement>(null);
  const isOpen = useSignal(false);
  return (
    // Escape closes them, and nothing else of the page with them.
    <span class="rest" onKeyDown={(event) => { if (isOpen.peek() && event.key === 'Escape') event.stopPropagation(); }}>
      <button type="button" class="tag more-labels" ref={button} popovertarget={id}>
        <span aria-hidden="true">+{labels.length}</span><span class="visually-hidden">and {labels.map(({ key, value }) => `${key}=${value}`).join(', ')}</span>
      </button>
      <span
        id={id}
        class="label-sheet"
        popover="auto"
        onBeforeToggle={({ currentTarget: { style }, newState }) => {
          isOpen.value = newState === 'open';
          if (newState !== 'open') return;
          const at = button.current!.getBoundingClientRect();
          const isLow = at.bottom > innerHeight * 0.7;
          Object.assign(style, {
            right: `${Math.max(8, innerWidth - at.right)}px`, top: isLow ? 'auto' : `${at.bottom + 4}px`, bottom: isLow ? `${innerHeight - at.top + 4}px` : 'auto',
          });
        }}
        onClick={(event) => {
          // A label is a link; what is between labels does not open the worker.
          if (event.target === event.currentTarget) event.stopPropagation();
          else event.currentTarget.hidePopover();
        }}
      >
        {isOpen.value && labels.map(({ key, value }) => <LabelTag key={key} name={key} value={value} />)}
      </span>
    </span>
  );
}

/** The list that is shown, asked for elsewhere. */
function listRequest(filter: WorkerFilter, sort: string, orderBy: ReturnType<typeof orderOf>): Request {
  return workersRequest(filter, {
    graphql: 'query ($filter: WorkerFilter, $orderBy: WorkerOrder) { workersConnection(first: 100, filter: $filter, orderBy: $orderBy) { totalCount nodes { id status zone vmCount cpuUsagePercent lastSeen } pageInfo { endCursor hasNextPage } } }',
    variables: { filter, orderBy },
    order: orderBy ? `${orderBy.direction === 'DESC' ? '-' : ''}${REST_ORDERS[sort.replace(/^-/, '')] ?? 'id'}` : '',
  });
}

const columns: readonly Column<string>[] = [
  { key: 'id', title: 'Worker', width: 'minmax(104px, 0.9fr)', sort: 'id', lead: true, phone: 'lead', cell: (id) => id },
  { key: 'status', title: 'Status', width: '124px', phone: 'side', cell: cell((worker) => <Glow of={worker.status}><WorkerStatusChip bare {...worker} /></Glow>) },
  { key: 'zone', title: 'Zone', width: '112px', sort: 'zone', phone: 'second', cell: cell(({ zone }) => zone ?? <span class="faint">none</span>) },
  { key: 'cpu', title: 'CPU allocated', width: 'var(--cpu-column)', right: true, sort: 'cpu', descends: true, phone: { third: 'CPU' }, cell: cell((worker) => <CpuHistory worker={worker} />) },
  { key: 'mem', title: 'Memory', width: 'var(--mem-column)', right: true, sort: 'mem', descends: true, phone: { third: 'Mem' }, cell: cell((worker) => <Meter value={worker.memoryUsagePercent} title={`${memory(worker.usedMemoryMb)} of ${memory(worker.memoryMb)} allocated to VMs`} />) },
  { key: 'vms', title: 'VMs', width: '70px', right: true, sort: 'vms', descends: true, phone: 'end', cell: cell(({ vmCount, maxVms }) => <span title={`${plural(vmCount, 'VM')} of at most ${count(maxVms)}`}><Glow of={vmCount}>{vmCount}</Glow> <span class="faint">/ {maxVms}</span><span class="phone-only">{'\u00a0'}VMs</span></span>) },
  { key: 'free-cpu', title: 'Free cores', width: '86px', right: true, sort: 'free-cpu', descends: true, optional: true, cell: cell(({ freeCpuCores }) => count(freeCpuCores)) },
  { key: 'free-mem', title: 'Free memory', width: '98px', right: true, sort: 'free-mem', descends: true, optional: true, cell: cell(({ freeMemoryMb }) => memory(freeMemoryMb)) },
  { key: 'free-vms', title: 'Free slots', width: '80px', right: true, sort: 'free-vms', descends: true, optional: true, cell: cell(({ freeVmSlots }) => count(freeVmSlots)) },
  { key: 'seen', title: 'Heartbeat', width: '78px', right: true, sort: 'seen', descends: true, cell: cell(({ lastSeen, status }) => <span class={status === 'OFFLINE' ? 'bad' : ''}><Since at={lastSeen} /></span>) },
  { key: 'labels', title: 'Labels', width: `${LABELS_WIDTH}px`, cell: cell(({ labels }) => <Labels labels={labels} />) },
  { key: 'note', title: 'Reason and since when', width: 'minmax(200px, 3fr)', cell: cell((worker) => <Note worker={worker} />) },
  { key: 'host', title: 'Hostname', width: 'minmax(120px, 1fr)', sort: 'host', optional: true, cell: cell(({ hostname }) => hostname) },
  { key: 'address', title: 'Address', width: '150px', optional: true, cell: cell(({ address }) => <span class="mono">{address}</span>) },
  { key: 'started', title: 'Agent uptime', width: '96px', right: true, optional: true, cell: cell(({ startedAt }) => <Since at={startedAt} />) },
];

/** Ids of the workers that match, in the order of the server, as far as they are loaded; the store has the rest. */
function useWorkerList(filter: WorkerFilter, orderBy: ReturnType<typeof orderOf>) {
  return usePagedList<string>({
    key: JSON.stringify([filter, orderBy]),
    id: (id) => id,
    readPage: async (first, after, signal) => {
      const { workersConnection: { nodes, totalCount, pageInfo } } = await ask(WorkerPage, { first, after, filter, orderBy }, signal);
      store.put(nodes);
      return { rows: nodes.map(({ id }) => id), totalCount, ...pageInfo };
    },
    on: isAboutList,
    every: orderBy !== null && !['ID', 'HOSTNAME', 'ZONE'].includes(orderBy.field) ? ORDER_PERIOD_MS : null,
  });
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
  // Counting looks at each worker there is: the rows that somebody waits for are asked for first, and alone.
  const counted = useRef<WorkerFilter | null>(null);
  if (list.isCurrent || list.error.value) counted.current = search.filter;
  const counts = useQuery(WorkerCounts, counted.current && {
    filter: counted.current, anyStatus: without(counted.current, 'statuses'), anyZone: without(counted.current, 'zones', 'hasZone'),
    isFiltered: Object.keys(counted.current).length > 0,
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

  const ids = list.rows.value;
  const chosen = useComputed(() => [...selected.value].map((id) => store.row(id).value).filter((worker): worker is Worker => worker !== undefined));
  const act = (what: 'drain' | 'activate'): void => {
    if (!mayOperate.peek() || !isConnected.peek()) return;
    const all = chosen.peek();
    if (what === 'drain' && all.length > 0) draining.value = all;
    if (what === 'activate' && all.length > 0) void activateWithUndo(all).then(() => { selected.value = new Set(); });
  };
  useKeys({ d: () => act('drain'), u: () => act('activate'), Escape: () => { selected.value = new Set(); } });

  const all = counts.data.value?.all;
  const figures = counts.data.value?.matching ?? all;
  const isEmptyCluster = all?.total === 0;
  return (
    <>
      <header class="page-head">
        <div class="row wrap">
          <h1 class="grow">{q && figures ? `${count(figures.total)} of ${plural(all?.total ?? 0, 'worker')} match` : isEmptyCluster ? 'No workers' : ids || figures ? plural(figures?.total ?? list.total.value, 'worker') : 'Workers'}</h1>
          <ColumnMenu columns={columns} />
          <CopyAs request={listRequest(search.filter, sort, orderBy)} />
        </div>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {list.error.value && <p class="bad" role="status">{list.error.value}{ids !== null && ' The data shown may be out of date.'}</p>}
      </header>
      {!isEmptyCluster && <Facets q={q} statuses={counts.data.value?.byStatus ?? all} matching={(counts.data.value?.byZone ?? all)?.zones} zones={all?.zones ?? []} />}
      <Table
        class={`workers-table fill${list.isCurrent ? '' : ' waits'}`}
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
        empty={ids === null ? (list.error.value ? <Empty title="The workers cannot be read now">They appear as soon as the server answers.</Empty> : <Awaited>Reading the workers …</Awaited>) : isEmptyCluster ? <NoWorkers /> : (
          <Empty title="No worker matches">
            <p>{plural(all?.total ?? 0, 'worker')} {all?.total === 1 ? 'is' : 'are'} registered; none matches <code>{q}</code>.</p>
            <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
          </Empty>
        )}
      />
      <Selection
        selected={selected}
        chosen={chosen.value}
        loaded={ids?.length ?? 0}
        total={list.total.value}
        onAll={async () => { if (await list.all()) selected.value = new Set(list.rows.peek()); }}
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
  const away = isConnected.value ? undefined : 'Not available while the server cannot be reached';
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
