// The map of VMs: zone, worker, VM, sized by vCPU, memory or number. Drawn on a canvas; what it shows can be walked with
// the arrow keys, and stands beside it as a list.

import { useComputed, useSignal, type ReadonlySignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { onEvents, resyncs, type ClusterEvent } from '../api/events';
import type { VmFilter } from '../api/generated';
import { ask, RequestError } from '../api/http';
import { reconnections } from '../api/live';
import { operation, type Operation, type ResultOf } from '../api/operation';
import { count, memory, percent, plural } from '../format';
import { go, href, place, setQuery } from '../router';
import { colour, theme } from '../theme';
import {
  addVms, beside, largestFirst, layout, NAME_HEIGHT, rectAt, scopeOf, total, workerItem, zonesOf,
  type Direction, type Item, type Measure, type Rect, type Scope, type WorkerSums,
} from '../vm-map';
import { isOnlyAboutPlace } from '../vm-search';
import { Empty } from './empty';

const WorkerSumsPage = operation(`query WorkerSumsPage($after: String, $filter: WorkerFilter) {
  workersConnection(first: 500, after: $after, filter: $filter) {
    totalCount
    pageInfo { endCursor hasNextPage }
    nodes { id zone status vmCount maxVms cpuCores usedCpuCores memoryMb usedMemoryMb }
  }
}`);

const VmSumsPage = operation(`query VmSumsPage($after: String, $filter: VmFilter) {
  vmsConnection(first: 500, after: $after, filter: $filter) {
    totalCount
    pageInfo { endCursor hasNextPage }
    nodes { workerId zone vcpus memoryMb }
  }
}`);

const VmsOfWorker = operation(`query VmsOfWorker($id: ID!, $after: String, $filter: VmFilter) {
  worker(id: $id) {
    id zone status cpuCores memoryMb freeCpuCores freeMemoryMb freeVmSlots
    vmsConnection(first: 500, after: $after, filter: $filter) {
      totalCount
      pageInfo { endCursor hasNextPage }
      nodes { id name status vcpus memoryMb }
    }
  }
}`);

/** The shortest time between two readings of what is shown, in milliseconds. */
const READ_PERIOD_MS = 5_000;
/** While a map of many pages is read, the shortest time from one drawing of it to the next, in milliseconds. */
const DRAW_PERIOD_MS = 400;
/** How often a page is asked for that the server is too busy for. */
const ATTEMPTS = 6;
/** VMs of one worker that are drawn at most. */
const MOST_VMS_OF_WORKER = 10_000;
/** Entries of the list beside the map. */
const LISTED = 200;
const LISTED_OF_ZONE = 12;

const MEASURES: Record<Measure, string> = { vcpu: 'vCPU', mem: 'Memory', vms: 'Number' };

interface Reading {
  /** What it answers. */
  key: string;
  workers: Map<string, WorkerSums>;
  vms: { items: Item[]; zone: string | null; isGone: boolean; free: Item[]; unsized: number } | null;
  /** How much of it is read: whole at 1. */
  progress: number;
}

function amount(item: { vcpu: number; mem: number; vms: number }, measure: Measure): string {
  return measure === 'vcpu' ? `${count(item.vcpu)} vCPU` : measure === 'mem' ? memory(item.mem) : plural(item.vms, 'VM');
}

/** Reads what a scope shows, page by page, and again when it may have changed. */
function useReading(scope: Scope, filter: VmFilter) {
  const isByWorker = isOnlyAboutPlace(filter);
  const key = JSON.stringify([scope.level === 'worker' ? scope : 'all', filter]);
  const reading = useSignal<Reading | null>(null);
  const error = useSignal('');
  const latest = useRef({ scope, filter, key });
  latest.current = { scope, filter, key };
  const state = useRef({ abort: null as AbortController | null, timer: undefined as ReturnType<typeof setTimeout> | undefined, readAt: 0, took: 0, isReading: false, isStale: false });

  const read = useCallback(async (): Promise<void> => {
    const now = state.current;
    clearTimeout(now.timer);
    now.timer = undefined;
    now.abort?.abort();
    const abort = now.abort = new AbortController();
    const { scope, filter, key } = latest.current;
    const begun = now.readAt = Date.now();
    now.isReading = true;
    now.isStale = false;
    // What is there stays until the next is whole; the first time, it is shown as it grows. Each drawing is one of the
    // whole map, so that one for each page would be most of the work.
    const isFirst = reading.peek()?.key !== key;
    let shownAt = -Infinity;
    const show = (progress: number, content: () => Pick<Reading, 'workers' | 'vms'>): void => {
      if (abort.signal.aborted) return;
      if (progress < 1 && (!isFirst || performance.now() - shownAt < DRAW_PERIOD_MS)) return;
      shownAt = performance.now();
      reading.value = { key, progress, ...content() };
      if (progress >= 1) document.documentElement.dataset['ready'] = '';
    };
    try {
      if (scope.level === 'worker') await readVms(scope.id, filter, show, abort.signal);
      else await readSums(filter, show, abort.signal);
      error.value = '';
    } catch (reason) {
      if (abort.signal.aborted) return;
      error.value = (reason as Error).message;
      now.isStale = true;
    } finally {
      if (now.abort === abort) {
        now.took = Date.now() - begun;
        now.isReading = false;
        if (now.isStale) soon();
      }
    }
  }, []);

  const soon = useCallback((): void => {
    const now = state.current;
    if (now.timer !== undefined) return;
    // What is being read, page by page, comes to its end first.
    if (now.isReading) {
      now.isStale = true;
      return;
    }
    const due = now.readAt + Math.max(READ_PERIOD_MS, now.took * 10);
    now.timer = setTimeout(() => { void read(); }, Math.max(50, due - Date.now()));
  }, []);

  useEffect(() => { void read(); }, [key]);
  useEffect(() => onEvents((events) => { if (events.some(isAboutMap)) soon(); }), []);
  const anew = resyncs.value + reconnections.value;
  useEffect(() => { if (anew > 0) soon(); }, [anew]);
  useEffect(() => () => { clearTimeout(state.current.timer); state.current.abort?.abort(); }, []);
  return { reading, error, key, isByWorker };
}

function isAboutMap({ vmId, kind }: ClusterEvent): boolean {
  return vmId !== null || kind.startsWith('WORKER_');
}

/** Asks for a page again if the server is too busy for it: a map of many pages does not begin anew for one of them. */
async function askPatiently<Result, Variables>(operation: Operation<Result, Variables>, variables: Variables, signal: AbortSignal): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask(operation, variables, signal);
    } catch (error) {
      if (!(error instanceof RequestError) || !['UNAVAILABLE', 'RATE_LIMITED'].includes(error.code) || attempt === ATTEMPTS) throw error;
      await new Promise((resolve) => { setTimeout(resolve, attempt * 700); });
      signal.throwIfAborted();
    }
  }
}

/** Shows what is read so far: a share of it, whole at 1, and how it is made if it is to be drawn. */
type Show = (progress: number, content: () => Pick<Reading, 'workers' | 'vms'>) => void;

async function readSums(filter: VmFilter, show: Show, signal: AbortSignal): Promise<void> {
  const workers = new Map<string, WorkerSums>();
  let after: string | null = null;
  let read = 0;
  const { zones, hasZone, workerIds } = filter;
  for (;;) {
    let info: { endCursor: string | null; hasNextPage: boolean };
    let all: number;
    if (isOnlyAboutPlace(filter)) {
      const { workersConnection: page } = await askPatiently(WorkerSumsPage, { after, filter: { zones: zones ?? null, hasZone: hasZone ?? null, ids: workerIds ?? null } }, signal);
      for (const worker of page.nodes) workers.set(worker.id, worker);
      [info, all, read] = [page.pageInfo, page.totalCount, read + page.nodes.length];
    } else {
      const { vmsConnection: page } = await askPatiently(VmSumsPage, { after, filter }, signal);
      addVms(workers, page.nodes);
      [info, all, read] = [page.pageInfo, page.totalCount, read + page.nodes.length];
    }
    after = info.endCursor;
    const isWhole = !info.hasNextPage || after === null;
    show(isWhole ? 1 : Math.min(0.99, read / Math.max(1, all)), () => ({ workers: new Map(workers), vms: null }));
    if (isWhole || signal.aborted) return;
  }
}

async function readVms(id: string, filter: VmFilter, show: Show, signal: AbortSignal): Promise<void> {
  const { zones: _zones, hasZone: _hasZone, workerIds: _workers, ...rest } = filter;
  const items: Item[] = [];
  let after: string | null = null;
  for (;;) {
    const answer: ResultOf<typeof VmsOfWorker> = await askPatiently(VmsOfWorker, { id, after, filter: rest }, signal);
    const { worker } = answer;
    if (!worker) return show(1, () => ({ workers: new Map(), vms: { items: [], zone: null, isGone: true, free: [], unsized: 0 } }));
    const page = worker.vmsConnection;
    for (const { id, name, status, vcpus, memoryMb } of page.nodes) {
      items.push({
        kind: 'vm', id, name, vcpu: vcpus, mem: memoryMb, vms: 1, share: null,
        state: status === 'FAILED' ? 'failed' : status === 'RUNNING' ? 'usual' : 'draining',
      });
    }
    after = page.pageInfo.endCursor;
    const isWhole = !page.pageInfo.hasNextPage || after === null || items.length >= MOST_VMS_OF_WORKER;
    const free: Item[] = isOnlyAboutPlace(filter)
      ? [{ kind: 'free', id: '', name: 'free', vcpu: worker.freeCpuCores, mem: worker.freeMemoryMb, vms: worker.freeVmSlots, share: null, state: 'free' }]
      : [];
    show(isWhole ? 1 : Math.min(0.99, items.length / Math.max(1, page.totalCount)), () => ({
      workers: new Map(),
      vms: { items: [...items], zone: worker.zone, isGone: false, free, unsized: items.filter(({ vcpu, mem }) => vcpu === 0 || mem === 0).length },
    }));
    if (isWhole || signal.aborted) return;
  }
}

export function VmTreemap({ filter, empty }: { filter: VmFilter; empty?: ComponentChildren }) {
  const query = place.value.query;
  const at = query.get('at') ?? '';
  const scope = useMemo(() => scopeOf(at), [at]);
  const by = query.get('by');
  const measure: Measure = by === 'mem' || by === 'vms' ? by : 'vcpu';
  const { reading, error, key, isByWorker } = useReading(scope, filter);
  const isHeld = useSignal(false);
  // What is drawn stays while the pointer is over it: a rectangle does not move away from whoever aims at it.
  const held = useRef<{ of: string; reading: Reading } | null>(null);
  const current = reading.value?.key === key ? reading.value : null;
  const of = `${key} ${at} ${measure}`;
  if (current && !(isHeld.value && held.current?.of === of && held.current.reading.progress >= 1)) held.current = { of, reading: current };
  const shown = held.current?.of === of ? held.current.reading : current;
  const items = useMemo(() => itemsOf(shown, scope, measure), [shown, scope, measure]);
  const seen = useSignal<Item | null>(null);
  useEffect(() => { seen.value = null; }, [at, measure]);

  const open = useCallback((item: Item): void => {
    if (item.kind === 'zone') setQuery({ at: `zone:${item.id}` }, { keep: true });
    else if (item.kind === 'worker') setQuery({ at: `worker:${item.id}` }, { keep: true });
    else if (item.kind === 'vm') go(href('vms', item.id));
  }, []);
  const zone = scope.level === 'zone' ? scope.zone : scope.level === 'worker' ? shown?.vms?.zone ?? null : null;
  const up = useCallback((): void => {
    if (scope.level === 'all') return;
    setQuery({ at: scope.level === 'worker' && zone !== null ? `zone:${zone}` : null }, { keep: true });
  }, [scope, zone]);

  if (empty) return <div class="card fill">{empty}</div>;
  const nothing = shown !== null && shown.progress >= 1 && items.filter(({ kind }) => kind !== 'free').length === 0;
  const sums = total(items.filter(({ kind }) => kind !== 'free'));
  return (
    <section class="map card fill" aria-label="Map of VMs">
      <div class="row wrap map-head">
        <nav class="crumbs grow" aria-label="Where the map is">
          <a href={href('vms', { ...Object.fromEntries(query), at: null })} aria-current={scope.level === 'all' ? 'location' : undefined}>All zones</a>
          {zone !== null && (
            <><span aria-hidden="true">›</span><a href={href('vms', { ...Object.fromEntries(query), at: `zone:${zone}` })} aria-current={scope.level === 'zone' ? 'location' : undefined}>{zone || 'no zone'}</a></>
          )}
          {scope.level === 'worker' && <><span aria-hidden="true">›</span><span aria-current="location">{scope.id}</span><a class="small" href={href('workers', scope.id)}>Open worker</a></>}
        </nav>
        <span class="small muted" role="status">
          {shown && shown.progress < 1 ? `reading, ${percent(shown.progress * 100)}` : shown ? amount(sums, measure) : 'reading …'}
        </span>
        <div class="segments" role="group" aria-label="Size by">
          {(Object.keys(MEASURES) as Measure[]).map((one) => (
            <button key={one} type="button" aria-pressed={one === measure} onClick={() => setQuery({ by: one === 'vcpu' ? null : one })}>{MEASURES[one]}</button>
          ))}
        </div>
      </div>
      {error.value && <p class="bad small" role="status">{error.value} The data shown may be out of date.</p>}
      {nothing ? (
        shown.vms?.isGone
          ? <Empty title="This worker is no longer registered"><button type="button" class="button" onClick={() => setQuery({ at: null })}>All zones</button></Empty>
          : <Empty title="Nothing to show here"><p>{measure === 'vms' ? 'No VM matches here.' : `No VM that matches here has a known ${measure === 'vcpu' ? 'number of vCPUs' : 'size of memory'}.`}</p></Empty>
      ) : (
        <div class="map-body">
          <Canvas items={items} measure={measure} of={of} seen={seen} onOpen={open} onUp={up} onHold={(hold) => { isHeld.value = hold; }} hasShares={isByWorker} />
          <List items={items} measure={measure} onOpen={open} onSeen={(item) => { seen.value = item; }} />
        </div>
      )}
      <Line seen={seen} measure={measure} scope={scope} hasShares={isByWorker} unsized={shown?.vms?.unsized ?? 0} />
    </section>
  );
}

function itemsOf(reading: Reading | null, scope: Scope, measure: Measure): Item[] {
  if (!reading) return [];
  if (scope.level === 'worker') return largestFirst([...reading.vms?.items ?? [], ...reading.vms?.free ?? []].filter((item) => item[measure] > 0), measure);
  if (scope.level === 'all') return zonesOf(reading.workers.values(), measure);
  const workers = [...reading.workers.values()].filter(({ zone }) => (zone ?? '') === scope.zone).map((worker) => workerItem(worker, measure));
  return largestFirst(workers.filter((item) => item[measure] > 0), measure);
}

/** What one item is, in a sentence. */
function sentence(item: Item, measure: Measure, hasShares: boolean): string {
  switch (item.kind) {
    case 'zone':
      return `${item.name}: ${plural(item.items?.length ?? 0, 'worker')}, ${plural(item.vms, 'VM')}, ${count(item.vcpu)} vCPU, ${memory(item.mem)}`;
    case 'worker': {
      const state = item.state === 'silent' ? ', offline' : item.state === 'draining' ? ', draining' : '';
      const share = hasShares && item.share !== null ? `, ${percent(item.share * 100)} ${{ vcpu: 'of its cores', mem: 'of its memory', vms: 'of its slots' }[measure]} allocated` : '';
      return `${item.name || 'unassigned'}: ${plural(item.vms, 'VM')}, ${count(item.vcpu)} vCPU, ${memory(item.mem)}${share}${state}`;
    }
    case 'vm': {
      const state = item.state === 'failed' ? ', failed' : item.state === 'draining' ? ', not running' : '';
      return `${item.name}: ${item.vcpu > 0 ? `${count(item.vcpu)} vCPU` : 'vCPUs unknown'}, ${item.mem > 0 ? memory(item.mem) : 'memory unknown'}${state}`;
    }
    case 'free':
      return `free: ${amount(item, measure).replace('vCPU', 'cores').replace(/VMs?$/, 'slots')}`;
  }
}

function Line({ seen, measure, scope, hasShares, unsized }: { seen: ReadonlySignal<Item | null>; measure: Measure; scope: Scope; hasShares: boolean; unsized: number }) {
  const item = seen.value;
  const colours = Array.from({ length: 6 }, (_, step) => <i key={step} class={`ramp-${step}`} />);
  return (
    <div class="map-line small">
      <p class="grow ellipsis">{item ? sentence(item, measure, hasShares) : <span class="faint">{scope.level === 'worker' ? 'Each rectangle is a VM, and the empty one what is free.' : 'The area is what VMs hold. Choose a rectangle to look inside.'}</span>}</p>
      {unsized > 0 && measure !== 'vms' && <span class="warn">{plural(unsized, 'VM')} of unknown size {unsized === 1 ? 'is' : 'are'} not drawn whole</span>}
      {scope.level !== 'worker' && hasShares && <span class="legend" aria-hidden="true"><span>0 %</span><span class="ramp">{colours}</span><span>100 % of the worker</span></span>}
      {scope.level !== 'worker' && hasShares && <span class="legend" aria-hidden="true"><i class="map-swatch framed" />draining <i class="map-swatch hatched" />offline</span>}
    </div>
  );
}

/** The same as the map, in words: the largest first. */
function List({ items, measure, onOpen, onSeen }: { items: readonly Item[]; measure: Measure; onOpen: (item: Item) => void; onSeen: (item: Item | null) => void }) {
  // Of a zone, some of its workers are named with it.
  const all = items.filter(({ kind }) => kind !== 'free').flatMap((item) => [item, ...(item.items ?? []).slice(0, LISTED_OF_ZONE)]);
  const listed = all.slice(0, LISTED);
  const free = items.find(({ kind }) => kind === 'free');
  const left = items.reduce((sum, { kind, items }) => sum + (kind === 'free' ? 0 : 1 + (items?.length ?? 0)), 0) - listed.length;
  return (
    <div class="map-list" role="region" aria-label="What the map shows, the largest first" tabIndex={0}>
      <ol onPointerLeave={() => onSeen(null)}>
        {listed.map((item) => (
          <li key={`${item.kind} ${item.id}`} class={item.kind === 'zone' ? 'zone' : undefined}>
            <button type="button" onClick={() => onOpen(item)} onPointerEnter={() => onSeen(item)} onFocus={() => onSeen(item)}>
              <span class="ellipsis">{item.name || 'unassigned'}</span><span class="muted">{amount(item, measure)}</span>
            </button>
          </li>
        ))}
        {free && <li class="free"><span class="ellipsis">free</span><span>{amount(free, measure).replace('vCPU', 'cores').replace(/VMs?$/, 'slots')}</span></li>}
      </ol>
      {left > 0 && <p class="small faint">and {count(left)} smaller ones</p>}
    </div>
  );
}

const DIRECTIONS: Record<string, Direction> = { ArrowLeft: 'left', ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down' };

function Canvas({ items, measure, of, seen, onOpen, onUp, onHold, hasShares }: {
  items: readonly Item[];
  measure: Measure;
  of: string;
  seen: { value: Item | null; peek(): Item | null };
  onOpen: (item: Item) => void;
  onUp: () => void;
  onHold: (hold: boolean) => void;
  hasShares: boolean;
}) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [at, setAt] = useState('');
  const [isFocused, setFocused] = useState(false);
  useLayoutEffect(() => {
    const element = box.current!;
    const measured = (): void => setSize({ width: element.clientWidth, height: element.clientHeight });
    const observer = new ResizeObserver(measured);
    observer.observe(element);
    measured();
    return () => observer.disconnect();
  }, []);
  const rects = useMemo(() => layout(items, measure, size.width, size.height), [items, measure, size]);
  const choices = useMemo(() => rects.filter(({ depth, item }) => depth === 1 && item.kind !== 'free'), [rects]);
  const focused = choices.find(({ item }) => item.id === at) ?? choices[0];
  useEffect(() => { setAt(''); }, [of]);
  const hovered = useComputed(() => seen.value?.id ?? null);
  const isDark = theme.value === 'dark';
  const ratio = devicePixelRatio || 1;

  useLayoutEffect(() => {
    const element = canvas.current!;
    element.width = Math.round(size.width * ratio);
    element.height = Math.round(size.height * ratio);
    const context = element.getContext('2d');
    if (!context) return;
    context.scale(ratio, ratio);
    draw(context, rects, isDark, hasShares);
  }, [rects, isDark, ratio, hasShares]);

  const find = (event: MouseEvent): Item | undefined => rectAt(rects, event.offsetX, event.offsetY)?.item;
  // What is under the pointer, or has the focus, has a frame that costs no drawing of all the others.
  const markedId = isFocused ? focused?.item.id : hovered.value;
  const marked = markedId === null || markedId === undefined ? undefined : rects.find(({ item }) => item.id === markedId && item.kind === (isFocused ? focused?.item.kind : seen.peek()?.kind));
  return (
    <div
      ref={box}
      class="map-canvas"
      role="listbox"
      tabIndex={0}
      aria-label="Map. Arrow keys move, Enter looks inside, Backspace goes back."
      aria-activedescendant={focused ? 'map-choice' : undefined}
      onFocus={() => { setFocused(true); seen.value = focused?.item ?? null; }}
      onBlur={() => { setFocused(false); seen.value = null; }}
      onKeyDown={(event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const direction = DIRECTIONS[event.key];
        if (direction && focused) {
          const next = beside(choices, focused, direction);
          setAt(next.item.id);
          seen.value = next.item;
        } else if (event.key === 'Enter' || event.key === ' ') {
          if (focused) onOpen(focused.item);
        } else if (event.key === 'Backspace' || event.key === 'Escape') onUp();
        else return;
        event.preventDefault();
        event.stopPropagation();
      }}
      onPointerEnter={(event) => { if (event.pointerType === 'mouse') onHold(true); }}
      onPointerLeave={() => { onHold(false); seen.value = null; }}
      onPointerMove={(event) => { seen.value = find(event) ?? null; if (isFocused) setFocused(false); }}
      onClick={(event) => { const item = find(event); if (item) onOpen(item); }}
    >
      <canvas ref={canvas} aria-hidden="true" />
      {marked && <i class="map-mark" style={{ left: `${marked.x}px`, top: `${marked.y}px`, width: `${marked.width}px`, height: `${marked.height}px` }} />}
      {focused && <span id="map-choice" class="visually-hidden" role="option" aria-selected="true">{sentence(focused.item, measure, hasShares)}</span>}
    </div>
  );
}

/** The step of the ramp for a share from 0 to 1. */
function step(share: number | null): number {
  return share === null ? 2 : Math.max(0, Math.min(5, Math.floor(share * 6)));
}

function draw(context: CanvasRenderingContext2D, rects: readonly Rect[], isDark: boolean, hasShares: boolean): void {
  const ramp = Array.from({ length: 6 }, (_, index) => colour(`--ramp-${index}`));
  const [text, muted, card, warn, bad, badSoft, line] = ['--text', '--muted', '--card', '--warn-mark', '--bad-mark', '--bad-soft', '--line-strong'].map(colour) as [string, string, string, string, string, string, string];
  const onRamp = isDark ? ['#fafafa', '#fafafa', '#fafafa', '#fafafa', '#18181b', '#18181b'] : ['#18181b', '#18181b', '#18181b', '#18181b', '#ffffff', '#ffffff'];
  const family = getComputedStyle(document.body).fontFamily;
  const hatching = hatch(bad, badSoft);
  context.textBaseline = 'middle';
  for (const { item, x, y, width, height, depth } of rects) {
    if (item.kind === 'zone') {
      context.font = `600 12.5px ${family}`;
      write(context, item.name, x + 2, y + NAME_HEIGHT / 2, width - 4, text);
      continue;
    }
    if (item.kind === 'free') {
      context.strokeStyle = line;
      context.setLineDash([4, 4]);
      context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
      context.setLineDash([]);
      context.font = `12px ${family}`;
      if (width > 44 && height > 20) write(context, 'free', x + 7, y + 13, width - 12, muted);
      continue;
    }
    const index = item.kind === 'vm' ? (item.state === 'draining' ? 0 : 2) : hasShares ? step(item.share) : 2;
    const isHatched = item.state === 'silent' || item.state === 'failed';
    context.fillStyle = isHatched && hatching ? hatching : ramp[index]!;
    // Of ten thousand rectangles, round corners would be most of what a frame has to do, and none of what is seen.
    if (width < 14 || height < 14) context.fillRect(x, y, width, height);
    else {
      context.beginPath();
      context.roundRect(x, y, width, height, Math.min(3, width / 4, height / 4));
      context.fill();
    }
    if (item.kind === 'worker' && item.state === 'draining' && width > 3 && height > 3) {
      context.strokeStyle = warn;
      context.lineWidth = Math.min(2, width / 4);
      context.strokeRect(x + 1, y + 1, width - 2, height - 2);
      context.lineWidth = 1;
    }
    if (width < 46 || height < 20) continue;
    context.font = `${depth === 1 ? 600 : 500} 12px ${family}`;
    const ink = isHatched ? text : onRamp[index]!;
    if (isHatched) {
      // Words on hatching stand on a plain ground.
      context.fillStyle = card;
      context.fillRect(x + 4, y + 4, Math.min(width - 8, Math.max(context.measureText(item.name).width + 8, height > 38 ? 86 : 0)), height > 38 ? 34 : 18);
    }
    write(context, item.name || 'unassigned', x + 7, y + 13, width - 12, ink);
    if (height > 38 && item.kind === 'vm' && item.state !== 'usual') {
      context.font = `11.5px ${family}`;
      write(context, item.state === 'failed' ? 'failed' : 'not running', x + 7, y + 29, width - 12, ink);
    } else if (height > 38 && item.kind === 'worker') {
      context.font = `11.5px ${family}`;
      write(context, `${plural(item.vms, 'VM')}${hasShares && item.share !== null ? ` · ${percent(item.share * 100)}` : ''}`, x + 7, y + 29, width - 12, ink);
    }
  }
}

/** Writes a text that is cut where there is no more room. */
function write(context: CanvasRenderingContext2D, words: string, x: number, y: number, width: number, ink: string): void {
  context.fillStyle = ink;
  let shown = words.slice(0, 80);
  if (context.measureText(shown).width > width) {
    while (shown.length > 1 && context.measureText(`${shown}…`).width > width) shown = shown.slice(0, -1);
    if (shown.length < 3) return;
    shown += '…';
  }
  context.fillText(shown, x, y);
}

function hatch(stroke: string, ground: string): CanvasPattern | null {
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const context = tile.getContext('2d')!;
  context.fillStyle = ground;
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = stroke;
  context.lineWidth = 2;
  for (const offset of [-8, 0, 8]) {
    context.beginPath();
    context.moveTo(offset, 8);
    context.lineTo(offset + 8, 0);
    context.stroke();
  }
  return context.createPattern(tile, 'repeat');
}
