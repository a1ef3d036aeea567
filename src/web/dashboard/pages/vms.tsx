// VMs: a table of any length, searched, sorted and paged by the server, and the same as a map by zone, worker and VM.

import { useSignal } from '@preact/signals';
import { useCallback, useEffect, useMemo, useRef } from 'preact/hooks';
import type { VmFilter, VmOrderField, VmStatus } from '../api/generated';
import { ask } from '../api/http';
import { onEvents, resyncs, type ClusterEvent } from '../api/events';
import { reconnections } from '../api/live';
import { operation, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import { useFullPage } from '../app';
import { CopyAs, quote } from '../components/copy';
import { Empty, NoWorkers } from '../components/empty';
import { Shape } from '../components/status';
import { ColumnMenu, Table, type Column } from '../components/table';
import { Since } from '../components/time';
import { toastError } from '../components/toast';
import { VM_STATUS, VmStatusChip } from '../components/vm-status';
import { VmTreemap } from '../components/vm-treemap';
import { count, memory, plural } from '../format';
import { href, place, setQuery } from '../router';
import { has, toggle } from '../search';
import { VM_STATUSES, vmSearch } from '../vm-search';

const VmPage = operation(`query VmPage($first: Int, $after: String, $filter: VmFilter, $orderBy: VmOrder) {
  vmsConnection(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    totalCount
    pageInfo { endCursor hasNextPage }
    nodes { id name status zone workerId vcpus memoryMb duplicate note createdAt startedAt statusSince revision }
  }
}`);

const VmCountsOf = operation(`query VmCountsOf($filter: VmFilter, $byStatus: VmFilter, $byZone: VmFilter) {
  vmCounts(filter: $byStatus) { total created starting running stopping stopped failed }
  byZone: vmCounts(filter: $byZone) { zones { zone count } }
  matching: vmsConnection(first: 1, filter: $filter) { totalCount }
  all: vmCounts { total created starting running stopping zones { zone count } }
  clusterStats { totalWorkers }
}`);

type Vm = ResultOf<typeof VmPage>['vmsConnection']['nodes'][number];

/** Rows of the first page: what a screen shows, and some. */
const FIRST_ROWS = 100;
/** Rows that are read at once after it, the most that the server gives. */
const MORE_ROWS = 500;

const columns: readonly Column<Vm>[] = [
  { key: 'name', title: 'VM', width: 'minmax(130px, 1.4fr)', sort: 'name', lead: true, phone: 'lead', cell: ({ name }) => name },
  { key: 'status', title: 'Status', width: '110px', sort: 'status', phone: 'side', cell: ({ status }) => <VmStatusChip bare status={status} /> },
  {
    key: 'worker', title: 'Worker', width: 'minmax(110px, 1fr)', sort: 'worker', phone: 'second',
    cell: ({ workerId, duplicate }) => (workerId === null ? <span class="faint">none</span> : (
      <>
        <a href={href('workers', workerId)} tabIndex={-1}>{workerId}</a>
        {duplicate && <span class="warn" title="Another worker reports this VM, too, as during a migration"> and another</span>}
      </>
    )),
  },
  { key: 'zone', title: 'Zone', width: 'minmax(80px, 120px)', sort: 'zone', cell: ({ zone }) => zone ?? <span class="faint">none</span> },
  { key: 'vcpu', title: 'vCPU', width: '56px', sort: 'vcpu', descends: true, right: true, cell: ({ vcpus }) => (vcpus > 0 ? count(vcpus) : <Unknown />) },
  { key: 'mem', title: 'Memory', width: '78px', sort: 'mem', descends: true, right: true, phone: 'end', cell: ({ memoryMb }) => (memoryMb > 0 ? memory(memoryMb) : <Unknown />) },
  { key: 'age', title: 'Age', width: '60px', sort: 'age', right: true, cell: ({ createdAt }) => <Since at={createdAt} /> },
  { key: 'since', title: 'Status for', width: '76px', sort: 'since', right: true, cell: ({ statusSince }) => <Since at={statusSince} /> },
  { key: 'note', title: 'What its worker says', width: 'minmax(140px, 2fr)', cell: ({ note }) => <span class="muted" title={note ?? undefined}>{note}</span> },
  { key: 'up', title: 'Up for', width: '64px', sort: 'up', right: true, optional: true, cell: ({ startedAt }) => (startedAt ? <Since at={startedAt} /> : null) },
  { key: 'id', title: 'Id', width: 'minmax(140px, 1fr)', sort: 'id', optional: true, cell: ({ id }) => <span class="mono" title={id}>{id}</span> },
];

/** Orders by the names that the address has for them. Of an age, the youngest come first, which began last. */
const ORDERS: Record<string, { field: VmOrderField; isAge?: boolean }> = {
  id: { field: 'ID' }, name: { field: 'NAME' }, status: { field: 'STATUS' }, worker: { field: 'WORKER_ID' }, zone: { field: 'ZONE' }, vcpu: { field: 'VCPUS' },
  mem: { field: 'MEMORY' }, age: { field: 'CREATED_AT', isAge: true }, since: { field: 'STATUS_SINCE', isAge: true }, up: { field: 'STARTED_AT', isAge: true },
};

type Order = { field: VmOrderField; direction: 'ASC' | 'DESC' };

function orderOf(sort: string): Order | null {
  const order = ORDERS[sort.replace(/^-/, '')];
  return order ? { field: order.field, direction: sort.startsWith('-') !== (order.isAge ?? false) ? 'DESC' : 'ASC' } : null;
}

function Unknown() {
  return <span class="faint" title="Its worker cannot know">?</span>;
}

/** VMs that match, in the order of the server, as far as they are loaded. */
function useVmList(filter: VmFilter, orderBy: Order | null, isShown: boolean) {
  const key = JSON.stringify([filter, orderBy]);
  const rows = useSignal<readonly Vm[] | null>(null);
  const total = useSignal(0);
  const answered = useSignal('');
  const error = useSignal('');
  const state = useRef({ cursor: null as string | null, hasMore: false, abort: null as AbortController | null, busy: false, took: 0, readAt: 0, isReading: false, isStale: false, timer: undefined as ReturnType<typeof setTimeout> | undefined, seen: [] as readonly string[] });
  const latest = useRef({ key, filter, orderBy });
  latest.current = { key, filter, orderBy };

  const read = useCallback(async (isNew: boolean): Promise<void> => {
    const now = state.current;
    clearTimeout(now.timer);
    now.timer = undefined;
    now.abort?.abort();
    const abort = now.abort = new AbortController();
    const { key, filter, orderBy } = latest.current;
    const before = isNew ? [] : rows.peek() ?? [];
    const first = Math.min(MORE_ROWS, Math.max(FIRST_ROWS, before.length));
    const begun = now.readAt = Date.now();
    now.isReading = true;
    now.isStale = false;
    try {
      const { vmsConnection: page } = await ask(VmPage, { first, filter, orderBy }, abort.signal);
      if (abort.signal.aborted) return;
      const front = new Set(page.nodes.map(({ id }) => id));
      let tail = page.pageInfo.hasNextPage ? before.slice(first).filter(({ id }) => !front.has(id)) : [];
      // Of what is further down, only what is seen is read anew.
      const deep = new Set(tail.map(({ id }) => id));
      const seen = now.seen.filter((id) => deep.has(id));
      if (seen.length > 0) {
        const { vmsConnection: news } = await ask(VmPage, { first: seen.length, filter: { ...filter, ids: seen } }, abort.signal);
        if (abort.signal.aborted) return;
        const byId = new Map(news.nodes.map((vm) => [vm.id, vm]));
        const asked = new Set(seen);
        tail = tail.flatMap((vm) => (asked.has(vm.id) ? byId.get(vm.id) ?? [] : vm));
      }
      now.took = Date.now() - begun;
      if (tail.length === 0) {
        now.cursor = page.pageInfo.endCursor;
        now.hasMore = page.pageInfo.hasNextPage;
      }
      rows.value = kept(before, [...page.nodes, ...tail]);
      total.value = page.totalCount;
      answered.value = key;
      error.value = '';
      document.documentElement.dataset['ready'] = '';
    } catch (reason) {
      if (abort.signal.aborted) return;
      error.value = (reason as Error).message;
      now.isStale = true;
    } finally {
      if (now.abort === abort) {
        now.isReading = false;
        if (now.isStale) soon(3_000);
      }
    }
  }, []);

  const soon = useCallback((wait: number): void => {
    const now = state.current;
    if (now.timer !== undefined) return;
    // What is being read comes to its end: on a cluster where much happens, it never would otherwise.
    if (now.isReading) {
      now.isStale = true;
      return;
    }
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
      const { vmsConnection: page } = await ask(VmPage, { first: MORE_ROWS, after: now.cursor, filter, orderBy });
      if (key !== latest.current.key) return;
      const known = new Set(rows.peek()?.map(({ id }) => id));
      rows.value = [...rows.peek() ?? [], ...page.nodes.filter(({ id }) => !known.has(id))];
      now.cursor = page.pageInfo.endCursor;
      now.hasMore = page.pageInfo.hasNextPage;
    } catch (reason) {
      toastError(reason);
    } finally {
      now.busy = false;
    }
  }, []);

  useEffect(() => { if (isShown) void read(true); }, [key, isShown]);
  useEffect(() => (isShown ? onEvents((events) => { if (events.some(isAboutVms)) soon(1_500); }) : undefined), [isShown]);
  const anew = resyncs.value + reconnections.value;
  useEffect(() => { if (anew > 0 && isShown) soon(0); }, [anew]);
  useEffect(() => () => { clearTimeout(state.current.timer); state.current.abort?.abort(); }, []);
  const onSeen = useCallback((ids: readonly string[]) => { state.current.seen = ids; }, []);
  return { rows, total, answered, error, key, more, onSeen };
}

/** Rows that say the same stay the same objects, so that nothing is drawn for them. */
function kept(before: readonly Vm[], after: readonly Vm[]): readonly Vm[] {
  const known = new Map(before.map((vm) => [vm.id, vm]));
  return after.map((vm) => {
    const same = known.get(vm.id);
    return same && same.revision === vm.revision && same.zone === vm.zone && same.duplicate === vm.duplicate ? same : vm;
  });
}

function isAboutVms({ kind, vmId }: ClusterEvent): boolean {
  return vmId !== null || kind === 'WORKER_PURGED' || kind === 'WORKER_UPDATED' || kind === 'WORKER_REGISTERED';
}

export default function Vms() {
  useFullPage();
  const query = place.value.query;
  const q = query.get('q') ?? '';
  const isMap = query.get('view') === 'map';
  const search = useMemo(() => vmSearch(q), [q]);
  const sort = query.get('sort') ?? '';
  const orderBy = useMemo(() => orderOf(sort), [sort]);
  const list = useVmList(search.filter, orderBy, !isMap);
  const counts = useQuery(
    VmCountsOf,
    { filter: search.filter, byStatus: search.withoutStatuses, byZone: withSlots(search.withoutZones) },
    { on: isAboutVms, every: 20_000, atMostEvery: 2_000 },
  );
  const figures = counts.data.value;
  const holding = figures ? figures.all.created + figures.all.starting + figures.all.running + figures.all.stopping : undefined;
  const isEmptyCluster = figures?.clusterStats.totalWorkers === 0;
  const rows = list.rows.value;
  const matching = figures?.matching.totalCount ?? list.total.value;
  const columnMenu = isMap ? null : <ColumnMenu columns={columns} />;
  return (
    <>
      <header class="page-head">
        <div class="row wrap">
          <h1 class="grow">
            {holding === undefined ? 'VMs' : q ? `${count(matching)} of ${plural(figures!.all.total, 'VM')} match` : `${plural(holding, 'VM')} ${holding === 1 ? 'holds a slot' : 'hold a slot'}`}
          </h1>
          <div class="segments" role="group" aria-label="View">
            <button type="button" aria-pressed={!isMap} onClick={() => setQuery({ view: null, at: null }, { keep: true })}>Table</button>
            <button type="button" aria-pressed={isMap} onClick={() => setQuery({ view: 'map' }, { keep: true })}>Map</button>
          </div>
          {columnMenu}
          <CopyAs request={requestOf(search.filter, orderBy)} />
        </div>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {list.error.value && <p class="bad" role="status">{list.error.value} What is shown may be old.</p>}
      </header>
      {!isEmptyCluster && <Facets q={q} figures={figures} />}
      {isMap ? <VmTreemap filter={search.filter} empty={isEmptyCluster ? <NoWorkers /> : undefined} /> : (
        <Table
          class={`fill${list.answered.value === list.key ? '' : ' waits'}`}
          label="VMs"
          columns={columns}
          rows={rows ?? []}
          id={({ id }) => id}
          of={list.answered.value}
          total={list.total.value}
          onEnd={() => { void list.more(); }}
          onSeen={list.onSeen}
          href={({ id }) => href('vms', id)}
          empty={rows === null ? null : isEmptyCluster ? <NoWorkers /> : q ? (
            <Empty title="No VM matches">
              <p>{plural(figures?.all.total ?? 0, 'VM')} {figures?.all.total === 1 ? 'is' : 'are'} known; none fits <code class="break">{q}</code>.</p>
              <p class="small">Words: <code>status:failed</code> <code>zone:us-west-1a</code> <code>worker:rack-7</code> <code>duplicate:yes</code>, or any part of an id or name.</p>
              <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
            </Empty>
          ) : (
            <Empty title="No VM holds a slot">
              <p>VMs are shown as their workers report them: start one on a worker, and it appears here with the next heartbeat.</p>
              {figures && figures.all.total > 0 && <a class="button" href={href('vms', { q: 'status:stopped,failed' })}>{plural(figures.all.total, 'VM')} stopped or failed</a>}
            </Empty>
          )}
        />
      )}
    </>
  );
}

/** Zones are counted as the list is: without a status, those that hold a slot. */
function withSlots(filter: VmFilter): VmFilter {
  return filter.statuses ? filter : { ...filter, statuses: ['CREATED', 'STARTING', 'RUNNING', 'STOPPING'] };
}

function requestOf(filter: VmFilter, orderBy: Order | null) {
  const { statuses, zones, hasZone, workerIds, search } = filter;
  const query = new URLSearchParams();
  for (const status of statuses ?? []) query.append('status', status.toLowerCase());
  for (const zone of zones ?? []) query.append('zone', zone);
  for (const id of workerIds ?? []) query.append('worker_id', id);
  if (hasZone === false) query.set('has_zone', 'false');
  if (search) query.set('search', search);
  const sort = orderBy && `${orderBy.direction === 'DESC' ? '-' : ''}${orderBy.field === 'MEMORY' ? 'memory_mb' : orderBy.field.toLowerCase()}`;
  if (sort) query.set('sort', sort);
  query.set('limit', '100');
  const words = [
    ...(statuses ?? []).map((status) => `--status ${status.toLowerCase()}`),
    ...(zones ?? []).map((zone) => `--zone ${quote(zone)}`),
    ...(hasZone === false ? ['--without-zone'] : []),
    ...(workerIds ?? []).map((id) => `--worker ${quote(id)}`),
    ...(search ? [`--search ${quote(search)}`] : []),
    ...(sort ? [`--sort=${sort}`] : []),
  ];
  return { path: `vms?${query}`, graphql: VmPage.text, variables: { first: 100, filter, orderBy }, cli: ['vms', ...words].join(' ') };
}

type Figures = ResultOf<typeof VmCountsOf>;

/** What the matches have, and a click that asks for it. */
function Facets({ q, figures }: { q: string; figures: Figures | undefined }) {
  const set = (key: string, value: string): void => setQuery({ q: toggle(q, key, value) || null }, { keep: true });
  const amountOf = (status: VmStatus): number | undefined => figures?.vmCounts[status.toLowerCase() as Lowercase<VmStatus>];
  const matching = new Map(figures?.byZone.zones.map(({ zone, count }) => [zone, count]));
  const zones = figures?.all.zones ?? [];
  return (
    <div class="facets" role="group" aria-label="Filters">
      {VM_STATUSES.map((status) => {
        const { tone, title } = VM_STATUS[status];
        const value = status.toLowerCase();
        const amount = amountOf(status);
        return (
          <button key={value} type="button" class={`facet ${tone}`} title={title} aria-pressed={has(q, 'status', value)} onClick={() => set('status', value)}>
            <Shape tone={tone} />{value}<b>{amount === undefined ? '' : count(amount)}</b>
          </button>
        );
      })}
      <span class="gap" />
      {zones.slice(0, 12).map(({ zone }) => (
        <button key={zone} type="button" class="facet" aria-pressed={has(q, 'zone', zone)} onClick={() => set('zone', zone)}>
          {zone}<b>{figures ? count(matching.get(zone) ?? 0) : ''}</b>
        </button>
      ))}
      {zones.length > 12 && <span class="small faint">and {zones.length - 12} more zones</span>}
      {q && <button type="button" class="link small" onClick={() => setQuery({ q: null }, { keep: true })}>Clear</button>}
    </div>
  );
}
