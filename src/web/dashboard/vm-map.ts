// The treemap of VMs without its drawing: sums by worker and zone, rectangles, and which of them is beside which.
//
// Workers come first, with the sums that they report, so that a map of 200,000 VMs reads one row for each worker. VMs
// are read for the one worker that somebody opens.

import { hierarchy, treemap, treemapSquarify } from 'd3-hierarchy';

/** What the area of a rectangle stands for. */
export type Measure = 'vcpu' | 'mem' | 'vms';

/** What somebody looks at: everything, a zone (the empty text for workers without one), or a worker. */
export type Scope = { level: 'all' } | { level: 'zone'; zone: string } | { level: 'worker'; id: string };

export interface Amounts {
  vcpu: number;
  mem: number;
  vms: number;
}

export interface Item extends Amounts {
  kind: 'zone' | 'worker' | 'vm' | 'free';
  id: string;
  name: string;
  /** How much of the worker's own is allocated of what is measured, from 0 to 1 and beyond; null where that is not known. */
  share: number | null;
  state: 'usual' | 'draining' | 'silent' | 'failed' | 'free';
  items?: readonly Item[];
}

export interface Rect {
  item: Item;
  x: number;
  y: number;
  width: number;
  height: number;
  /** 1 is what can be chosen here; 2 is inside of it. */
  depth: number;
}

/** One row of a page of workers, as far as the map reads it. */
export interface WorkerSums {
  id: string;
  zone: string | null;
  status: 'ACTIVE' | 'DRAINING' | 'OFFLINE';
  vmCount: number;
  maxVms: number;
  cpuCores: number;
  usedCpuCores: number;
  memoryMb: number;
  usedMemoryMb: number;
}

export function scopeOf(text: string): Scope {
  if (text.startsWith('zone:')) return { level: 'zone', zone: text.slice(5) };
  if (text.startsWith('worker:')) return { level: 'worker', id: text.slice(7) };
  return { level: 'all' };
}

export function workerItem(worker: WorkerSums, measure: Measure): Item {
  const [used, of] = {
    vcpu: [worker.usedCpuCores, worker.cpuCores],
    mem: [worker.usedMemoryMb, worker.memoryMb],
    vms: [worker.vmCount, worker.maxVms],
  }[measure] as [number, number];
  return {
    kind: 'worker',
    id: worker.id,
    name: worker.id,
    vcpu: worker.usedCpuCores,
    mem: worker.usedMemoryMb,
    vms: worker.vmCount,
    share: of > 0 ? used / of : null,
    state: worker.status === 'OFFLINE' ? 'silent' : worker.status === 'DRAINING' ? 'draining' : 'usual',
  };
}

/** Adds VMs, read page by page, to the sums of their workers: for searches that no worker's own sums answer. */
export function addVms(
  sums: Map<string, WorkerSums>,
  vms: ReadonlyArray<{ workerId: string | null; zone: string | null; vcpus: number; memoryMb: number }>,
): void {
  for (const { workerId, zone, vcpus, memoryMb } of vms) {
    const id = workerId ?? '';
    let sum = sums.get(id);
    if (!sum) sums.set(id, sum = { id, zone, status: 'ACTIVE', vmCount: 0, maxVms: 0, cpuCores: 0, usedCpuCores: 0, memoryMb: 0, usedMemoryMb: 0 });
    sum.vmCount += 1;
    sum.usedCpuCores += vcpus;
    sum.usedMemoryMb += memoryMb;
  }
}

/**
 * Zones with their workers, those with nothing to draw left out. Zones are in the order of their names, so that each stays
 * where it is looked for when VMs come and go; workers are in that of their size, which makes rectangles nearly square.
 */
export function zonesOf(workers: Iterable<WorkerSums>, measure: Measure): Item[] {
  const zones = new Map<string, Item[]>();
  for (const worker of workers) {
    const item = workerItem(worker, measure);
    if (item[measure] <= 0) continue;
    const zone = worker.zone ?? '';
    const there = zones.get(zone);
    if (there) there.push(item);
    else zones.set(zone, [item]);
  }
  return [...zones].map(([zone, items]): Item => ({
    kind: 'zone', id: zone, name: zone || 'no zone', share: null, state: 'usual', ...total(items), items: largestFirst(items, measure),
  })).sort((a, b) => Number(a.id === '') - Number(b.id === '') || (a.id < b.id ? -1 : 1));
}

export function total(items: readonly Amounts[]): Amounts {
  return items.reduce<Amounts>((sum, { vcpu, mem, vms }) => ({ vcpu: sum.vcpu + vcpu, mem: sum.mem + mem, vms: sum.vms + vms }), { vcpu: 0, mem: 0, vms: 0 });
}

function bySize(measure: Measure): (a: Item, b: Item) => number {
  // What is free comes last, and equal ones stay where they are from one drawing to the next.
  return (a, b) => Number(a.kind === 'free') - Number(b.kind === 'free') || b[measure] - a[measure] || (a.id < b.id ? -1 : 1);
}

export function largestFirst(items: readonly Item[], measure: Measure): Item[] {
  return [...items].sort(bySize(measure));
}

/** Height of the line with a zone's name, in pixels. */
export const NAME_HEIGHT = 22;

/** The rectangles of items, and of what is inside of them, on so many pixels. */
export function layout(items: readonly Item[], measure: Measure, width: number, height: number): Rect[] {
  if (width <= 0 || height <= 0) return [];
  const tree = hierarchy<{ item?: Item; items?: readonly Item[] }>(
    { items },
    (node) => ((node.item?.items ?? node.items) as readonly Item[] | undefined)?.map((item) => ({ item })),
  ).sum(({ item }) => (item && !item.items ? item[measure] : 0));
  // Where rectangles are small, what is between them must not be more than they are.
  const count = items.reduce((sum, { items }) => sum + (items?.length ?? 1), 0);
  const side = Math.sqrt((width * height) / Math.max(1, count));
  const gap = side < 5 ? 0.25 : side < 9 ? 0.5 : side < 14 ? 1 : 1.5;
  const drawn = treemap<{ item?: Item; items?: readonly Item[] }>()
    .tile(treemapSquarify.ratio(1.3))
    .size([width, height])
    .paddingInner((node) => (node.depth === 0 && items.some(({ items }) => items) ? 6 : gap))
    .paddingTop((node) => (node.data.item?.items && node.depth === 1 ? NAME_HEIGHT : 0))
    .round(false)(tree);
  return drawn.descendants()
    .filter(({ data, value }) => data.item && value)
    .map(({ data, x0, y0, x1, y1, depth }) => ({ item: data.item!, x: x0, y: y0, width: x1 - x0, height: y1 - y0, depth }));
}

/** The innermost rectangle at a point. */
export function rectAt(rects: readonly Rect[], x: number, y: number): Rect | undefined {
  let found: Rect | undefined;
  for (const rect of rects) {
    if (x >= rect.x && y >= rect.y && x < rect.x + rect.width && y < rect.y + rect.height && rect.depth >= (found?.depth ?? 0)) found = rect;
  }
  return found;
}

export type Direction = 'left' | 'right' | 'up' | 'down';

/** The nearest rectangle of the same depth in a direction; the present one if there is none. */
export function beside(rects: readonly Rect[], from: Rect, direction: Direction): Rect {
  const [cx, cy] = middle(from);
  let best = from;
  let least = Infinity;
  for (const rect of rects) {
    if (rect === from || rect.depth !== from.depth) continue;
    const [x, y] = middle(rect);
    const [along, across] = direction === 'left' ? [cx - x, y - cy] : direction === 'right' ? [x - cx, y - cy] : direction === 'up' ? [cy - y, x - cx] : [y - cy, x - cx];
    if (along <= 0.5) continue;
    // What is straight ahead wins over what is nearer but aside.
    const distance = along + 2.5 * Math.abs(across);
    if (distance < least) {
      least = distance;
      best = rect;
    }
  }
  return best;
}

function middle({ x, y, width, height }: Rect): [number, number] {
  return [x + width / 2, y + height / 2];
}
