// Fleet: a cell per worker. How full it is, or how long ago it was heard, is its colour; that it drains is a frame, that
// it is offline a hatching. Each heartbeat is a short flash.

import { useComputed, useSignal, type Signal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { WorkerFields, type Worker } from '../api/cluster';
import type { WorkerFilter } from '../api/generated';
import { onEvents, resyncs } from '../api/events';
import { ask } from '../api/http';
import { follow, reconnections } from '../api/live';
import { fragment, operation } from '../api/operation';
import { Card } from '../components/card';
import { CopyAs, type Request } from '../components/copy';
import { Empty, NoWorkers } from '../components/empty';
import { Meter } from '../components/meter';
import { Shape, WorkerStatusChip } from '../components/status';
import { Since } from '../components/time';
import { workersRequest } from '../components/workers-request';
import { count, memory, percent, plural, share } from '../format';
import { go, href, place, setQuery } from '../router';
import { toggle, workerSearch, type Search } from '../search';
import { isIn } from '../session';
import { theme } from '../theme';
import { length, now, relative, serverNow } from '../time';
import { HeatMap } from './fleet/map';
import { AGE_LIMITS, cellAt, labelKey, neighbour, STEPS, sumsOf, valueOf, type Cell, type ColourBy, type Group, type Sums } from './fleet/model';

const FleetCell = fragment(`fragment FleetCell on Worker {
  id zone status schedulingPolicy lastSeen cpuCores usedCpuCores memoryMb usedMemoryMb vmCount maxVms revision
  labels(keys: $keys) { key value }
}`);

const FleetPage = operation(`query FleetPage($first: Int, $after: String, $filter: WorkerFilter, $keys: [String!]) {
  workersConnection(first: $first, after: $after, filter: $filter) {
    totalCount
    pageInfo { endCursor hasNextPage }
    nodes { ...FleetCell }
  }
}`, FleetCell);

const FleetBeats = operation(`subscription FleetBeats($filter: WorkerFilter, $every: Duration, $keys: [String!]) {
  workerHeartbeats(filter: $filter, every: $every) { isLast worker { ...FleetCell } }
}`, FleetCell);

const FleetLabels = operation(`query FleetLabels($first: Int) {
  workersConnection(first: $first) { totalCount nodes { labels { key } } }
}`);

const FleetWorker = operation(`query FleetWorker($id: ID!) { worker(id: $id) { ...WorkerFields } }`, WorkerFields);

/** Workers of one question: the most that the API gives at once. */
const PAGE = 500;
/** Workers whose labels are looked at for what can be grouped by. */
const LABELS_OF = 200;
/** Label keys that are offered. */
const MOST_KEYS = 40;
/** How long the pointer has to rest before a worker is asked for, in milliseconds. */
const REST_MS = 140;
/** The least distance of cells that fingers meet, in CSS pixels. */
const FINGER = 12;

const COLOURS: readonly { by: ColourBy; word: string; title: string }[] = [
  { by: 'cpu', word: 'CPU', title: 'CPU cores allocated to VMs' },
  { by: 'memory', word: 'Memory', title: 'Memory allocated to VMs' },
  { by: 'vms', word: 'VMs', title: 'VM slots that are held' },
  { by: 'age', word: 'Heartbeat', title: 'Age of the last heartbeat' },
];

/** What a cell is, in words: on a tile, in its card, and for who does not see it. */
function words(cell: Cell, value: number, by: ColourBy): string {
  const figure = by === 'age' ? `${length(value * 1_000)} ago` : by === 'vms' ? `${cell.vmCount} of ${cell.maxVms} VMs` : percent(value);
  return [figure, ...stateWords(cell)].join(' · ');
}

function stateWords({ status, schedulingPolicy }: Cell): string[] {
  return [...(status === 'OFFLINE' ? ['offline'] : []), ...(schedulingPolicy === 'DRAINING' ? ['draining'] : [])];
}

/** How often changes may have been missed: the first time that events are followed, nothing was. */
function lost(resyncs: number, reconnections: number): number {
  return Math.max(0, resyncs - 1) + reconnections;
}

/** Reads all workers that match into the map, page by page, and then follows their heartbeats. */
function useFleet(map: HeatMap, filter: WorkerFilter, group: string) {
  const key = JSON.stringify([filter, labelKey(group)]);
  const loaded = useSignal(0);
  const total = useSignal<number | null>(null);
  const error = useSignal('');
  const anew = lost(resyncs.value, reconnections.value);
  const isAllowed = isIn.value;
  useEffect(() => {
    if (!isAllowed) return;
    const abort = new AbortController();
    let stop = (): void => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    const keys = labelKey(group) === null ? [] : [labelKey(group)!];
    const begin = async (): Promise<void> => {
      const ids = new Set<string>();
      try {
        for (let after: string | null = null, hasMore = true; hasMore;) {
          const { workersConnection: page }: { workersConnection: Awaited<ReturnType<typeof ask<PageResult, unknown>>>['workersConnection'] } =
            await ask(FleetPage, { first: PAGE, after, filter, keys });
          if (abort.signal.aborted) return;
          if (after === null) map.expect(page.totalCount);
          map.put(page.nodes, false);
          for (const { id } of page.nodes) ids.add(id);
          total.value = page.totalCount;
          loaded.value = map.size;
          after = page.pageInfo.endCursor;
          hasMore = page.pageInfo.hasNextPage;
        }
      } catch (reason) {
        if (abort.signal.aborted) return;
        error.value = (reason as Error).message;
        timer = setTimeout(() => { void begin(); }, 3_000);
        return;
      }
      error.value = '';
      map.keepOnly(ids);
      map.expect(0);
      loaded.value = total.value = ids.size;
      document.documentElement.dataset['ready'] = '';
      stop = follow(FleetBeats, { filter, every: '1s', keys }, ({ workerHeartbeats: { isLast, worker } }) => {
        if (isLast) map.remove(worker.id);
        else map.put([worker], true);
      });
    };
    void begin();
    return () => { abort.abort(); clearTimeout(timer); stop(); };
  }, [key, anew, isAllowed]);
  useEffect(() => onEvents((events) => {
    for (const { kind, workerId } of events) if (kind === 'WORKER_OFFLINE' && workerId) map.silent(workerId);
  }), []);
  return { loaded, total, error };
}

type PageResult = NonNullable<NonNullable<typeof FleetPage.types>['result']>;

export default function Fleet() {
  const query = place.value.query;
  const q = query.get('q') ?? '';
  const group = query.get('group') || 'zone';
  const by = COLOURS.find(({ by }) => by === query.get('colour'))?.by ?? 'cpu';
  const search = useMemo(() => workerSearch(q), [q]);

  const latestBy = useRef(by);
  latestBy.current = by;
  const map = useMemo(() => new HeatMap((cell, value) => words(cell, value, latestBy.current)), []);
  useEffect(() => () => map.end(), []);
  useLayoutEffect(() => { map.colourBy(by); }, [by]);
  const { loaded, total, error } = useFleet(map, search.filter, group);
  useEffect(() => { map.groupBy(group); }, [group]);
  useEffect(() => theme.subscribe(() => { requestAnimationFrame(() => map.repaint()); }), []);
  useEffect(() => now.subscribe(() => map.age()), []);

  const keys = useLabelKeys();
  const clusterSize = keys.total.value;
  const current = useSignal<Cell | null>(null);
  const sums = map.sums.value;
  const isReading = total.value !== null && loaded.value < total.value;

  if (clusterSize === 0 && !q && map.size === 0) return <><h1>No workers</h1><Card><NoWorkers /></Card></>;
  return (
    <>
      <header class="page-head with-actions">
        <h1>{headline(sums, q, clusterSize)}</h1>
        <p aria-live="polite">{isReading
          ? `Reading ${count(loaded.value)} of ${count(total.value!)} workers …`
          : details(sums)}</p>
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {error.value && <p class="bad" role="status">{error.value}{loaded.value > 0 && ' The data shown may be out of date.'}</p>}
        <span class="page-actions"><CopyAs request={requestOf(search)} /></span>
      </header>
      <div class="fleet-bar">
        <label class="row tight">
          <span class="small muted">Group by</span>
          <select class="input" value={group} onChange={(event) => setQuery({ group: event.currentTarget.value === 'zone' ? null : event.currentTarget.value }, { keep: true })}>
            <option value="zone">zone</option>
            {[...new Set([...keys.keys.value, ...(labelKey(group) ? [labelKey(group)!] : [])])].map((key) => <option key={key} value={`label.${key}`}>label {key}</option>)}
            <option value="none">nothing</option>
          </select>
        </label>
        <div class="fleet-choice" role="radiogroup" aria-label="Colour by">
          {COLOURS.map(({ by: one, word, title }) => (
            <label key={one} title={title}>
              <input type="radio" name="colour" value={one} checked={one === by} onChange={() => setQuery({ colour: one === 'cpu' ? null : one }, { keep: true })} />
              <span>{word}</span>
            </label>
          ))}
        </div>
        <Legend by={by} />
      </div>
      {total.value === 0 && q
        ? (
          <Card>
            <Empty title="No worker matches">
              <p>{plural(clusterSize ?? 0, 'worker')} {clusterSize === 1 ? 'is' : 'are'} registered; none fits <code>{q}</code>.</p>
              <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
            </Empty>
          </Card>
        )
        : error.value && loaded.value === 0
          ? <Card><Empty title="The workers cannot be read now">They are shown as soon as the server answers.</Empty></Card>
          : <Cells map={map} group={group} by={by} current={current} q={q} />}
      <Summary map={map} group={group} />
    </>
  );
}

/** The workers of the map, asked for elsewhere: as many as the API gives at once. */
function requestOf({ filter }: Search): Request {
  return workersRequest(filter, { graphql: FleetPage.text, variables: { first: PAGE, filter, keys: [] }, limit: PAGE });
}

function headline(sums: Sums, q: string, all: number | null): string {
  if (sums.workers === 0) return 'Fleet';
  if (q) return `${count(sums.workers)} of ${plural(Math.max(all ?? 0, sums.workers), 'worker')} match`;
  const others = [
    ...(sums.draining > 0 ? [`${count(sums.draining)} ${sums.draining === 1 ? 'is' : 'are'} draining`] : []),
    ...(sums.offline > 0 ? [`${count(sums.offline)} ${sums.offline === 1 ? 'is' : 'are'} offline`] : []),
  ];
  if (others.length === 0) return `${sums.workers === 1 ? 'The worker takes' : `All ${count(sums.workers)} workers take`} new VMs`;
  return `${count(sums.active)} of ${plural(sums.workers, 'worker')} take new VMs; ${others.join(', ')}`;
}

function details(sums: Sums): string {
  if (sums.workers === 0) return '';
  return `${percent(share(sums.usedCpuCores, sums.cpuCores))} of ${plural(sums.cpuCores, 'core')} and ${percent(share(sums.usedMemoryMb, sums.memoryMb))} of ${memory(sums.memoryMb)} are allocated to ${plural(sums.vms, 'VM')}`;
}

/** Keys of labels that some workers have: what can be grouped by besides the zone. */
function useLabelKeys() {
  const keys = useSignal<readonly string[]>([]);
  const total = useSignal<number | null>(null);
  const anew = lost(resyncs.value, reconnections.value);
  const isAllowed = isIn.value;
  useEffect(() => {
    if (!isAllowed) return;
    ask(FleetLabels, { first: LABELS_OF }).then(({ workersConnection: { totalCount, nodes } }) => {
      const often = new Map<string, number>();
      for (const { labels } of nodes) for (const { key } of labels) often.set(key, (often.get(key) ?? 0) + 1);
      keys.value = [...often].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, MOST_KEYS).map(([key]) => key).sort();
      total.value = totalCount;
    }).catch(() => {});
  }, [anew, isAllowed]);
  // The first worker ends the page that says how one joins.
  useEffect(() => onEvents((events) => {
    const come = events.filter(({ kind }) => kind === 'WORKER_REGISTERED').length;
    if (come > 0) total.value = (total.peek() ?? 0) + come;
  }), []);
  return { keys, total };
}

function Legend({ by }: { by: ColourBy }) {
  const [from, to] = by === 'age' ? ['0 s', `${length(AGE_LIMITS.at(-1)! * 1_000)} +`] : ['0 %', '100 %'];
  const names = by === 'age'
    ? [`below ${AGE_LIMITS[0]} s`, ...AGE_LIMITS.map((limit) => `from ${length(limit * 1_000)}`)]
    : Array.from({ length: STEPS }, (_, step) => `from ${Math.ceil((step / STEPS) * 100)} %`);
  return (
    <div class="fleet-legend" role="group" aria-label="What cells mean">
      <span class="ramp">{from}<span class="fleet-steps">{names.map((name, step) => <i key={step} class={`step-${step}`} title={name} />)}</span>{to}</span>
      <span><i class="mark frame" />draining</span>
      <span><i class="mark silent" />offline</span>
    </div>
  );
}

/** The cells, one of which is the current one: where the pointer is, or where arrow keys have led. */
function Cells({ map, group: groupBy, by, current, q }: { map: HeatMap; group: string; by: ColourBy; current: Signal<Cell | null>; q: string }) {
  const box = useRef<HTMLDivElement>(null);
  const link = useRef<HTMLAnchorElement>(null);
  const groups = map.groups.value;
  const arrangement = map.arrangement.value;
  const isShown = useSignal(false);
  const spoken = useSignal('');
  // A finger shows the card first, and opens the worker with the second tap.
  const isSecondTap = useRef(false);

  useLayoutEffect(() => {
    const element = box.current!;
    const main = document.getElementById('main')!;
    const fit = (): void => {
      const top = element.getBoundingClientRect().top - main.getBoundingClientRect().top + main.scrollTop;
      const isNarrow = innerWidth < 720;
      map.fit(element.clientWidth, Math.max(240, main.clientHeight - top - 26), isNarrow ? FINGER : 8);
    };
    const observer = new ResizeObserver(fit);
    observer.observe(element);
    observer.observe(main);
    fit();
    return () => observer.disconnect();
  }, []);

  // The link lies over the current cell, so that a click, a long press and Enter are those of a link.
  const rect = useComputed(() => {
    const cell = current.value;
    void map.groups.value;
    const { perRow, pitchX, pitchY, gap } = map.arrangement.value;
    const canvas = cell && box.current?.querySelector<HTMLCanvasElement>(`canvas[data-at="${map.groups.value.indexOf(cell.group)}"]`);
    if (!cell || !canvas || map.cell(cell.id) !== cell) return null;
    const origin = box.current!.getBoundingClientRect();
    const at = canvas.getBoundingClientRect();
    return {
      left: at.left - origin.left + (cell.index % perRow) * pitchX,
      top: at.top - origin.top + Math.floor(cell.index / perRow) * pitchY,
      width: pitchX - gap,
      height: pitchY - gap,
    };
  });
  const cell = current.value ?? groups[0]?.cells[0] ?? null;
  const at = rect.value;

  const over = (event: PointerEvent): void => {
    const canvas = event.target as HTMLElement;
    if (!(canvas instanceof HTMLCanvasElement)) return;
    const group = map.groups.peek()[Number(canvas.dataset['at'])];
    const found = group && cellAt(group, map.arrangement.peek(), event.offsetX, event.offsetY);
    if (found && found !== current.peek()) current.value = found;
    if (found) isShown.value = true;
    else if (event.pointerType !== 'mouse') isShown.value = false;
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const from = current.peek() ?? cell;
    if (!from || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape' && isShown.peek()) { isShown.value = false; event.preventDefault(); return; }
    const next = neighbour(map.groups.peek(), from, event.key, map.arrangement.peek().perRow);
    if (!next) return;
    event.preventDefault();
    current.value = next;
    isShown.value = true;
    spoken.value = name(next, by);
    requestAnimationFrame(() => link.current?.scrollIntoView({ block: 'nearest' }));
  };

  return (
    <div
      ref={box}
      class="heat"
      role="group"
      aria-label={`Heat map of ${plural(map.sums.value.workers, 'worker')}`}
      aria-describedby="heat-help"
      style={{ '--heat-columns': String(arrangement.columns) }}
      onPointerMove={over}
      onPointerDown={(event) => {
        isSecondTap.current = event.target === link.current && isShown.peek();
        over(event);
      }}
      onPointerLeave={(event) => { if (event.pointerType === 'mouse' && document.activeElement !== link.current) isShown.value = false; }}
    >
      <p id="heat-help" class="visually-hidden">Arrow keys lead from worker to worker, Page Up and Page Down from group to group; Enter opens the worker. The table below says the same in figures.</p>
      {groups.map((group, index) => (
        <GroupCells key={`${group.folded > 0 ? 'folded' : ''} ${group.value}`} map={map} group={group} index={index} by={groupBy} arrangement={arrangement} q={q} />
      ))}
      {cell && (
        <a
          ref={link}
          class="heat-cell"
          href={href('workers', cell.id)}
          aria-label={name(cell, by)}
          aria-keyshortcuts="ArrowLeft ArrowRight ArrowUp ArrowDown"
          style={at ? { left: `${at.left}px`, top: `${at.top}px`, width: `${at.width}px`, height: `${at.height}px` } : { left: '0', top: '0', width: '1px', height: '1px' }}
          data-shown={isShown.value}
          onKeyDown={onKeyDown}
          onClick={(event) => {
            if ((event as unknown as PointerEvent).pointerType === 'touch' && !isSecondTap.current) event.preventDefault();
          }}
          onFocus={() => { current.value ??= cell; isShown.value = true; }}
          onBlur={() => { isShown.value = false; }}
        />
      )}
      <p class="visually-hidden" aria-live="polite">{spoken.value}</p>
      {isShown.value && current.value && at && <WorkerCard key="card" cell={current.value} at={at} box={box.current!} figures={map.figures.value} />}
    </div>
  );
}

function name(cell: Cell, by: ColourBy): string {
  const { word } = COLOURS.find((one) => one.by === by)!;
  return `${cell.id}, ${cell.zone ?? 'no zone'}, ${word} ${words(cell, valueOf(cell, by, serverNow()), by).replaceAll(' · ', ', ')}`;
}

/** What a group is called. */
function groupName({ value, folded }: Group, by: string): string {
  if (by === 'none') return 'All workers';
  if (folded > 0) return `${count(folded)} more`;
  if (value === null) return by === 'zone' ? 'no zone' : `without ${labelKey(by)}`;
  return value === '' ? '(empty)' : value;
}

function GroupCells({ map, group, index, by, arrangement, q }: {
  map: HeatMap;
  group: Group;
  index: number;
  by: string;
  arrangement: { perRow: number; pitchX: number };
  q: string;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    map.attach(group, canvas.current!);
    return () => map.detach(group);
  }, [group, arrangement]);
  void map.figures.value;
  const sums = sumsOf(group.cells);
  const label = groupName(group, by);
  const key = labelKey(by);
  const filter = group.folded > 0 || by === 'none' || (group.value === null && key !== null) || group.value === ''
    ? null
    : key === null ? toggle(q, 'zone', group.value ?? 'none') : toggle(q, `label.${key}`, group.value ?? '');
  return (
    <section class="card heat-group" aria-label={label} data-group={group.value ?? ''}>
      <header>
        <h2 class="ellipsis" title={label}>
          {filter === null ? label : <a href={href('fleet', { ...Object.fromEntries(place.value.query), q: filter })} title={`Only ${label}, or all again`}>{label}</a>}
        </h2>
        <span class="row tight">
          {sums.draining > 0 && <span class="status bare warn" title={`${count(sums.draining)} draining`}><Shape tone="warn" />{count(sums.draining)}<span class="visually-hidden"> draining</span></span>}
          {sums.offline > 0 && <span class="status bare bad" title={`${count(sums.offline)} offline`}><Shape tone="bad" />{count(sums.offline)}<span class="visually-hidden"> offline</span></span>}
        </span>
      </header>
      <p class="small muted heat-figures ellipsis">
        {plural(sums.workers, 'worker')} · CPU {percent(share(sums.usedCpuCores, sums.cpuCores))}
      </p>
      <canvas ref={canvas} data-at={index} aria-hidden="true" />
    </section>
  );
}

/** A worker in words, beside its cell: at once what the map knows of it, and after a moment the rest. */
function WorkerCard({ cell, at, box, figures }: { cell: Cell; at: { left: number; top: number; width: number; height: number }; box: HTMLElement; figures: number }) {
  const details = useSignal<Worker | null>(null);
  const card = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (details.peek()?.id !== cell.id) details.value = null;
    let isWanted = true;
    const timer = setTimeout(() => {
      ask(FleetWorker, { id: cell.id }).then(({ worker }) => { if (isWanted) details.value = worker; }).catch(() => {});
    }, details.peek() ? 1_000 : REST_MS);
    return () => { clearTimeout(timer); isWanted = false; };
  }, [cell, figures >> 2]);
  useLayoutEffect(() => {
    // Beside the cell, wherever there is room on the screen.
    const element = card.current!;
    if (innerWidth < 720) return;
    const origin = box.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = element;
    const right = at.left + at.width + 10;
    const left = origin.left + right + width > innerWidth - 8 ? at.left - width - 10 : right;
    const top = Math.min(Math.max(at.top - 12, 8 - origin.top), innerHeight - origin.top - height - 8);
    element.style.left = `${Math.max(-origin.left + 8, left)}px`;
    element.style.top = `${top}px`;
  });
  const worker = details.value?.id === cell.id ? details.value : null;
  const drain = worker?.drain;
  return (
    <div class="heat-card" ref={card} data-test="worker-card">
      <div class="row">
        <strong class="grow break">{cell.id}</strong>
        <WorkerStatusChip status={cell.status} schedulingPolicy={cell.schedulingPolicy} drain={drain} />
      </div>
      <p class="small muted break">{[cell.zone ?? 'no zone', worker?.hostname].filter(Boolean).join(' · ')}</p>
      <dl class="facts">
        <dt>CPU</dt><dd><Meter value={valueOf(cell, 'cpu', 0)} title="" /><span class="small faint">{count(cell.usedCpuCores)} of {plural(cell.cpuCores, 'core')}</span></dd>
        <dt>Memory</dt><dd><Meter value={valueOf(cell, 'memory', 0)} title="" /><span class="small faint">{memory(cell.usedMemoryMb)} of {memory(cell.memoryMb)}</span></dd>
        <dt>VMs</dt><dd><Meter value={valueOf(cell, 'vms', 0)} title="" /><span class="small faint">{count(cell.vmCount)} of {count(cell.maxVms)}</span></dd>
        <dt>Heartbeat</dt><dd class={cell.status === 'OFFLINE' ? 'bad' : ''}><Since at={cell.lastSeen} /> ago</dd>
        {drain && (
          <>
            <dt>Drain</dt>
            <dd>
              {drain.remainingVms ?? 0} of {Math.max(drain.initialVms ?? 0, drain.remainingVms ?? 0)} VMs left
              {drain.deadlineAt && <>, due {relative(Date.parse(drain.deadlineAt), now.value)}</>}
              {drain.reason && <span class="muted break"> · “{drain.reason}”</span>}
            </dd>
          </>
        )}
        {worker && worker.labels.length > 0 && (
          <><dt>Labels</dt><dd class="tags wrap">{worker.labels.slice(0, 6).map(({ key, value }) => <span key={key} class="tag">{key}={value}</span>)}</dd></>
        )}
      </dl>
      <button type="button" class="button small phone-only" onClick={() => go(href('workers', cell.id))}>Open {cell.id}</button>
    </div>
  );
}

/** The map in figures. */
function Summary({ map, group }: { map: HeatMap; group: string }) {
  void map.figures.value;
  const groups = map.groups.value;
  if (groups.length === 0) return null;
  return (
    <Card title="In figures" flush class="with-head">
      <div class="fleet-scroll" role="region" aria-label="Workers in figures" tabIndex={0}>
      <table class="fleet-table">
        <caption class="visually-hidden">Workers by {labelKey(group) === null ? group : `label ${labelKey(group)}`}</caption>
        <thead>
          <tr>
            <th scope="col">{labelKey(group) ?? (group === 'none' ? 'Group' : 'Zone')}</th>
            {['Workers', 'Active', 'Draining', 'Offline', 'CPU allocated', 'Memory allocated', 'VMs', 'VM slots'].map((title) => <th key={title} scope="col" class="right">{title}</th>)}
          </tr>
        </thead>
        <tbody>
          {groups.map((one) => {
            const sums = sumsOf(one.cells);
            return (
              <tr key={`${one.folded} ${one.value}`}>
                <th scope="row" class="break">{groupName(one, group)}</th>
                <td class="right">{count(sums.workers)}</td>
                <td class="right">{count(sums.active)}</td>
                <td class={`right ${sums.draining > 0 ? 'warn' : 'faint'}`}>{count(sums.draining)}</td>
                <td class={`right ${sums.offline > 0 ? 'bad' : 'faint'}`}>{count(sums.offline)}</td>
                <td class="right">{percent(share(sums.usedCpuCores, sums.cpuCores))}</td>
                <td class="right">{percent(share(sums.usedMemoryMb, sums.memoryMb))}</td>
                <td class="right">{count(sums.vms)}</td>
                <td class="right">{count(sums.maxVms)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      </div>
    </Card>
  );
}
