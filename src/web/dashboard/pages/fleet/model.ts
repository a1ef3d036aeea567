// The fleet as the heat map has it: a cell per worker, in groups, and how large cells are so that all are seen. Nothing
// here draws, asks or waits.

import type { WorkerStatus } from '../../api/generated';

export type ColourBy = 'cpu' | 'memory' | 'vms' | 'age';

/** What is told of a worker for its cell: little, since there may be tens of thousands. */
export interface CellFacts {
  id: string;
  zone: string | null;
  status: WorkerStatus;
  schedulingPolicy: 'ACTIVE' | 'DRAINING';
  lastSeen: string;
  cpuCores: number;
  usedCpuCores: number;
  memoryMb: number;
  usedMemoryMb: number;
  vmCount: number;
  maxVms: number;
  revision: number;
  labels: ReadonlyArray<{ key: string; value: string }>;
}

export interface Cell extends CellFacts {
  /** When it was last heard, in milliseconds since 1970. */
  seenAt: number;
  group: Group;
  /** Its place in its group. */
  index: number;
  /** When its last pulse began, by the clock of the frames; 0 if it does not pulse. */
  pulse: number;
  /** The step of the ramp that it is painted with. */
  painted: number;
}

export interface Group {
  /** What its workers have in common; null for those that have nothing of it. */
  value: string | null;
  /** Sorted by id. */
  cells: Cell[];
  /** Values that are folded into this one, since there are too many to show each; 0 for a group of its own. */
  folded: number;
}

/** Steps of the ramp, from empty to full. */
export const STEPS = 6;

/** From how old on, in seconds, a heartbeat has the next step. */
export const AGE_LIMITS = [5, 15, 30, 60, 300] as const;

/** More groups than this are no overview: the smallest are put together. */
export const MOST_GROUPS = 48;

/** What a cell says in a colour, in percent, and over 100 where something is overcommitted; for the age, in seconds. */
export function valueOf(cell: Pick<Cell, 'cpuCores' | 'usedCpuCores' | 'memoryMb' | 'usedMemoryMb' | 'vmCount' | 'maxVms' | 'seenAt'>, by: ColourBy, now: number): number {
  switch (by) {
    case 'cpu': return percentOf(cell.usedCpuCores, cell.cpuCores);
    case 'memory': return percentOf(cell.usedMemoryMb, cell.memoryMb);
    case 'vms': return percentOf(cell.vmCount, cell.maxVms);
    case 'age': return Math.max(0, (now - cell.seenAt) / 1_000);
  }
}

function percentOf(part: number, whole: number): number {
  return whole > 0 ? (part / whole) * 100 : 0;
}

/** The step of a value, from 0 to 5. */
export function stepOf(value: number, by: ColourBy): number {
  if (by !== 'age') return Math.max(0, Math.min(STEPS - 1, Math.floor((value / 100) * STEPS)));
  const step = AGE_LIMITS.findIndex((limit) => value < limit);
  return step < 0 ? STEPS - 1 : step;
}

/** What groups are made by: `zone`, a label as `label.env`, or `none`. */
export function groupValue(facts: Pick<CellFacts, 'zone' | 'labels'>, by: string): string | null {
  if (by === 'none') return '';
  if (by === 'zone') return facts.zone;
  const key = by.slice('label.'.length);
  return facts.labels.find((label) => label.key === key)?.value ?? null;
}

/** The label key that groups are made by; null if it is none. */
export function labelKey(by: string): string | null {
  return by.startsWith('label.') && by.length > 'label.'.length ? by.slice('label.'.length) : null;
}

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** Puts the cells in their groups, sorted by name, those that have no value last. Sets `group` and `index` of each cell. */
export function intoGroups(cells: Iterable<Cell>, by: string, most = MOST_GROUPS): Group[] {
  const found = new Map<string | null, Group>();
  for (const cell of cells) {
    const value = groupValue(cell, by);
    let group = found.get(value);
    if (!group) found.set(value, group = { value, cells: [], folded: 0 });
    group.cells.push(cell);
  }
  let groups = [...found.values()];
  if (groups.length > most) {
    groups.sort((a, b) => b.cells.length - a.cells.length);
    const rest = groups.slice(most - 1);
    groups = [...groups.slice(0, most - 1), { value: null, cells: rest.flatMap(({ cells }) => cells), folded: rest.length }];
  }
  const rank = ({ value, folded }: Group): number => (folded > 0 ? 2 : value === null ? 1 : 0);
  groups.sort((a, b) => rank(a) - rank(b) || (a.value ?? '').localeCompare(b.value ?? '', 'en', { numeric: true }));
  for (const group of groups) {
    group.cells.sort(byId);
    group.cells.forEach((cell, index) => { cell.group = group; cell.index = index; });
  }
  return groups;
}

export interface Arrangement {
  /** Groups beside each other. */
  columns: number;
  /** Cells beside each other in a group. */
  perRow: number;
  /** From one cell to the next, in CSS pixels. */
  pitchX: number;
  pitchY: number;
  gap: number;
  /** Whether cells are large enough for words. */
  isTile: boolean;
}

/** Space that a group needs beside its cells, in CSS pixels; as in `fleet.css`. */
export const FRAME = { gap: 14, insetX: 30, insetY: 67, narrowest: 200 };

/** Tiles have room for words. A few workers are tiles even where they have to be scrolled. */
const TILE = { width: 146, height: 46, gap: 8, most: 160, always: 40 };
const PITCHES = [40, 34, 30, 26, 23, 20, 18, 16, 14, 13, 12, 11, 10, 9, 8];

function gapOf(pitch: number): number {
  return pitch >= 20 ? 3 : pitch >= 12 ? 2 : 1;
}

/**
 * The largest cells with which all groups fit into a width and a height, in as many columns of groups as that takes; the
 * smallest cells that are allowed if nothing fits.
 */
export function arrange(counts: readonly number[], width: number, height: number, smallest = 8): Arrangement {
  const most = Math.max(1, Math.min(counts.length, Math.floor((width + FRAME.gap) / (FRAME.narrowest + FRAME.gap))));
  let best: (Arrangement & { height: number }) | undefined;
  for (let columns = 1; columns <= most; columns += 1) {
    const one = arrangeIn(columns, counts, width, height, smallest);
    const isBetter = !best || one.pitchY > best.pitchY || (one.pitchY === best.pitchY && one.height <= best.height);
    if (isBetter) best = one;
  }
  const { height: _, ...arrangement } = best!;
  return arrangement;
}

function arrangeIn(columns: number, counts: readonly number[], width: number, height: number, smallest: number): Arrangement & { height: number } {
  const inside = Math.max(40, (width - FRAME.gap * (columns - 1)) / columns - FRAME.insetX);
  const heightOf = (perRow: number, pitchY: number): number => {
    let sum = 0;
    for (let at = 0; at < counts.length; at += columns) {
      sum += Math.max(...counts.slice(at, at + columns).map((count) => Math.ceil(count / perRow))) * pitchY + FRAME.insetY + FRAME.gap;
    }
    return sum - FRAME.gap;
  };
  const total = counts.reduce((sum, count) => sum + count, 0);
  const tiles = Math.max(1, Math.floor((inside + TILE.gap) / (TILE.width + TILE.gap)));
  const tiled = heightOf(tiles, TILE.height + TILE.gap);
  if (total <= TILE.always || (total <= TILE.most && tiled <= height)) {
    return { columns, perRow: tiles, pitchX: (inside + TILE.gap) / tiles, pitchY: TILE.height + TILE.gap, gap: TILE.gap, isTile: true, height: tiled };
  }
  const perRowOf = (pitch: number): number => Math.max(1, Math.floor((inside + gapOf(pitch)) / pitch));
  const pitch = PITCHES.filter((pitch) => pitch >= smallest).find((pitch) => heightOf(perRowOf(pitch), pitch) <= height) ?? smallest;
  return { columns, perRow: perRowOf(pitch), pitchX: pitch, pitchY: pitch, gap: gapOf(pitch), isTile: false, height: heightOf(perRowOf(pitch), pitch) };
}

/** The cell in a group under a point of its canvas; undefined between cells and behind the last one. */
export function cellAt(group: Group, { perRow, pitchX, pitchY, gap }: Arrangement, x: number, y: number): Cell | undefined {
  const column = Math.floor(x / pitchX);
  if (column < 0 || column >= perRow || x - column * pitchX > pitchX - gap || y % pitchY > pitchY - gap) return undefined;
  return group.cells[Math.floor(y / pitchY) * perRow + column];
}

/** The cell that a key leads to from another one: along rows, up and down, and from group to group. */
export function neighbour(groups: readonly Group[], cell: Cell, key: string, perRow: number): Cell | undefined {
  const at = groups.indexOf(cell.group);
  const { cells } = cell.group;
  const column = cell.index % perRow;
  const clamp = (group: Group | undefined, index: number): Cell | undefined => group?.cells[Math.max(0, Math.min(group.cells.length - 1, index))];
  switch (key) {
    case 'ArrowRight': return cells[cell.index + 1] ?? groups[at + 1]?.cells[0];
    case 'ArrowLeft': return cells[cell.index - 1] ?? groups[at - 1]?.cells.at(-1);
    case 'ArrowDown': {
      if (cells[cell.index + perRow]) return cells[cell.index + perRow];
      const isInLastRow = Math.floor(cell.index / perRow) === Math.floor((cells.length - 1) / perRow);
      return isInLastRow ? clamp(groups[at + 1], column) : cells.at(-1);
    }
    case 'ArrowUp': {
      if (cell.index >= perRow) return cells[cell.index - perRow];
      const above = groups[at - 1];
      if (!above) return undefined;
      const lastRow = Math.floor((above.cells.length - 1) / perRow) * perRow;
      return clamp(above, lastRow + column);
    }
    case 'Home': return cells[0];
    case 'End': return cells.at(-1);
    case 'PageDown': return clamp(groups[at + 1], 0);
    case 'PageUp': return clamp(groups[at - 1], 0);
    default: return undefined;
  }
}

export interface Sums {
  workers: number;
  active: number;
  draining: number;
  offline: number;
  cpuCores: number;
  usedCpuCores: number;
  memoryMb: number;
  usedMemoryMb: number;
  vms: number;
  maxVms: number;
}

/** What the cells of a group are together. */
export function sumsOf(cells: Iterable<CellFacts>): Sums {
  const sums: Sums = { workers: 0, active: 0, draining: 0, offline: 0, cpuCores: 0, usedCpuCores: 0, memoryMb: 0, usedMemoryMb: 0, vms: 0, maxVms: 0 };
  for (const cell of cells) {
    sums.workers += 1;
    switch (cell.status) {
      case 'ACTIVE': sums.active += 1; break;
      case 'DRAINING': sums.draining += 1; break;
      case 'OFFLINE': sums.offline += 1; break;
    }
    sums.cpuCores += cell.cpuCores;
    sums.usedCpuCores += cell.usedCpuCores;
    sums.memoryMb += cell.memoryMb;
    sums.usedMemoryMb += cell.usedMemoryMb;
    sums.vms += cell.vmCount;
    sums.maxVms += cell.maxVms;
  }
  return sums;
}
