// VMs: a table of any length, searched, sorted and paged by the server, and the same as a map by zone, worker and VM.

import { useMemo, useRef } from 'preact/hooks';
import type { VmFilter, VmOrderField, VmStatus } from '../api/generated';
import { ask } from '../api/http';
import type { ClusterEvent } from '../api/events';
import { operation, type ResultOf, type VariablesOf } from '../api/operation';
import { usePagedList, type Page } from '../components/paged-list';
import { useQuery } from '../api/query';
import { useFullPage } from '../app';
import { CopyAs, quote } from '../components/copy';
import { Awaited, Empty, NoWorkers } from '../components/empty';
import { Shape } from '../components/status';
import { ColumnMenu, Table, type Column } from '../components/table';
import { Since } from '../components/time';
import { VM_STATUS, VmStatusChip } from '../components/vm-status';
import { VmTreemap } from '../components/vm-treemap';
import { count, memory, plural } from '../format';
import { href, place, setQuery } from '../router';
import { has, toggle } from '../search';
import { VM_STATUSES, vmSearch, type VmSearch } from '../vm-search';

const VmPage = operation(`query VmPage($first: Int, $after: String, $filter: VmFilter, $orderBy: VmOrder) {
  vmsConnection(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    totalCount
    pageInfo { endCursor hasNextPage }
    nodes { id name status zone workerId vcpus memoryMb duplicate note createdAt startedAt statusSince revision }
  }
}`);

const VmCountsOf = operation(`query VmCountsOf($filter: VmFilter, $byStatus: VmFilter, $byZone: VmFilter, $isFiltered: Boolean!) {
  byStatus: vmCounts(filter: $byStatus) @include(if: $isFiltered) { total created starting running stopping stopped failed }
  byZone: vmCounts(filter: $byZone) { zones { zone count } }
  matching: vmsConnection(first: 1, filter: $filter) @include(if: $isFiltered) { totalCount }
  all: vmCounts { total created starting running stopping stopped failed zones { zone count } }
  clusterStats { totalWorkers }
}`);

type Vm = ResultOf<typeof VmPage>['vmsConnection']['nodes'][number];

const columns: readonly Column<Vm>[] = [
  { key: 'name', title: 'VM', width: 'minmax(130px, 1.4fr)', sort: 'name', lead: true, phone: 'lead', cell: ({ name }) => name },
  { key: 'status', title: 'Status', width: '110px', sort: 'status', phone: 'side', cell: ({ status }) => <VmStatusChip bare status={status} /> },
  {
    key: 'worker', title: 'Worker', width: 'minmax(110px, 1fr)', sort: 'worker', phone: 'second',
    cell: ({ workerId, duplicate }) => (workerId === null ? <span class="faint">none</span> : (
      <>
        <a href={href('workers', workerId)} tabIndex={-1}>{workerId}</a>
        {duplicate && <span class="tag" title="Another worker reports this VM, too, as during a migration">duplicate</span>}
      </>
    )),
  },
  { key: 'zone', title: 'Zone', width: 'minmax(80px, 120px)', sort: 'zone', cell: ({ zone }) => zone ?? <span class="faint">none</span> },
  { key: 'vcpu', title: 'vCPU', width: '56px', sort: 'vcpu', descends: true, right: true, cell: ({ vcpus }) => (vcpus > 0 ? count(vcpus) : <Unknown />) },
  { key: 'mem', title: 'Memory', width: '78px', sort: 'mem', descends: true, right: true, phone: 'end', cell: ({ memoryMb }) => (memoryMb > 0 ? memory(memoryMb) : <Unknown />) },
  { key: 'age', title: 'Age', width: '60px', sort: 'age', right: true, cell: ({ createdAt }) => <Since at={createdAt} /> },
  { key: 'since', title: 'Status for', width: '76px', sort: 'since', right: true, cell: ({ statusSince }) => <Since at={statusSince} /> },
  { key: 'note', title: 'Note', width: 'minmax(140px, 2fr)', cell: ({ note }) => <span class="muted" title={note ?? undefined}>{note}</span> },
  { key: 'up', title: 'Uptime', width: '66px', sort: 'up', right: true, optional: true, cell: ({ startedAt }) => (startedAt ? <Since at={startedAt} /> : null) },
  { key: 'id', title: 'ID', width: 'minmax(140px, 1fr)', sort: 'id', optional: true, cell: ({ id }) => <span class="mono" title={id}>{id}</span> },
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
  return <span class="faint" title="Not reported by its agent">?</span>;
}

/** VMs that match, in the order of the server, as far as they are loaded. */
function useVmList(filter: VmFilter, orderBy: Order | null, isShown: boolean) {
  const page = async (variables: VariablesOf<typeof VmPage>, signal?: AbortSignal): Promise<Page<Vm>> => {
    const { vmsConnection: { nodes, totalCount, pageInfo } } = await ask(VmPage, variables, signal);
    return { rows: nodes, totalCount, ...pageInfo };
  };
  return usePagedList<Vm>({
    key: JSON.stringify([filter, orderBy]),
    isShown,
    id: ({ id }) => id,
    readPage: (first, after, signal) => page({ first, after, filter, orderBy }, signal),
    readRows: async (ids, signal) => (await page({ first: ids.length, filter: { ...filter, ids } }, signal)).rows,
    isSame: (before, after) => before.revision === after.revision && before.zone === after.zone && before.duplicate === after.duplicate,
    on: isAboutVms,
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
  // Counting looks at each VM there is: the rows that somebody waits for are asked for first, and alone.
  const counted = useRef<VmSearch | null>(null);
  if (isMap || list.isCurrent || list.error.value) counted.current = search;
  const counts = useQuery(
    VmCountsOf,
    counted.current && {
      filter: counted.current.filter, byStatus: counted.current.withoutStatuses, byZone: withSlots(counted.current.withoutZones),
      isFiltered: Object.keys(counted.current.filter).length > 0,
    },
    { on: isAboutVms, every: 20_000, atMostEvery: 2_000 },
  );
  const figures = counts.data.value;
  const holding = figures ? figures.all.created + figures.all.starting + figures.all.running + figures.all.stopping : undefined;
  const down = figures ? figures.all.stopped + figures.all.failed : 0;
  const isEmptyCluster = figures?.clusterStats.totalWorkers === 0;
  const rows = list.rows.value;
  const matching = figures?.matching?.totalCount ?? list.total.value;
  const columnMenu = isMap ? null : <ColumnMenu columns={columns} />;
  return (
    <>
      <header class="page-head">
        <div class="row wrap">
          <h1 class="grow">
            {holding === undefined ? 'VMs' : q ? `${count(matching)} of ${plural(figures!.all.total, 'VM')} match` : <>{holding === 0 ? 'No VMs' : plural(holding, 'VM')}{down > 0 && <span class="small muted"> · {count(down)} more stopped or failed</span>}</>}
          </h1>
          <div class="segments" role="group" aria-label="View">
            <button type="button" aria-pressed={!isMap} onClick={() => setQuery({ view: null, at: null }, { keep: true })}>Table</button>
            <button type="button" aria-pressed={isMap} onClick={() => setQuery({ view: 'map' }, { keep: true })}>Map</button>
          </div>
          {columnMenu}
          <CopyAs request={requestOf(search.filter, orderBy)} />
        </div>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {list.error.value && <p class="bad" role="status">{list.error.value}{rows !== null && ' The data shown may be out of date.'}</p>}
      </header>
      {!isEmptyCluster && <Facets q={q} figures={figures} />}
      {isMap ? <VmTreemap filter={search.filter} empty={isEmptyCluster ? <NoWorkers /> : undefined} /> : (
        <Table
          class={`fill${list.isCurrent ? '' : ' waits'}`}
          label="VMs"
          columns={columns}
          rows={rows ?? []}
          id={({ id }) => id}
          of={list.answered.value}
          total={list.total.value}
          onEnd={() => { void list.more(); }}
          onSeen={list.onSeen}
          href={({ id }) => href('vms', id)}
          empty={rows === null ? (list.error.value ? <Empty title="The VMs cannot be read now">They appear as soon as the server answers.</Empty> : <Awaited>Reading the VMs …</Awaited>) : isEmptyCluster ? <NoWorkers /> : q ? (
            <Empty title="No VM matches">
              <p>{plural(figures?.all.total ?? 0, 'VM')} {figures?.all.total === 1 ? 'is' : 'are'} known; none matches <code class="break">{q}</code>.</p>
              <p class="small">Filters: <code>status:failed</code> <code>zone:us-west-1a</code> <code>worker:rack-7</code> <code>duplicate:yes</code>, or any part of an id or name.</p>
              <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
            </Empty>
          ) : (
            <Empty title="No VMs">
              <p>Workers report their VMs: one that is started on a worker appears here with its next heartbeat.</p>
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
  const { statuses, zones, hasZone, workerIds, ids, duplicate, search } = filter;
  const query = new URLSearchParams();
  for (const status of statuses ?? []) query.append('status', status.toLowerCase());
  for (const zone of zones ?? []) query.append('zone', zone);
  for (const id of workerIds ?? []) query.append('worker_id', id);
  for (const id of ids ?? []) query.append('id', id);
  if (duplicate !== undefined && duplicate !== null) query.set('duplicate', String(duplicate));
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
  // The command line cannot ask for some of it, and would show other VMs.
  const isForCommand = !ids && duplicate === undefined && !(hasZone === false && zones);
  return { path: `vms?${query}`, graphql: VmPage.text, variables: { first: 100, filter, orderBy }, ...(isForCommand ? { cli: ['vms', ...words].join(' ') } : {}) };
}

type Figures = ResultOf<typeof VmCountsOf>;

/** What the matches have, and a click that asks for it. */
function Facets({ q, figures }: { q: string; figures: Figures | undefined }) {
  const set = (key: string, value: string): void => setQuery({ q: toggle(q, key, value) || null }, { keep: true });
  const amountOf = (status: VmStatus): number | undefined => (figures?.byStatus ?? figures?.all)?.[status.toLowerCase() as Lowercase<VmStatus>];
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
