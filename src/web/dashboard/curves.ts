// Curves of history, as far as they are computed: time ranges, what a chart draws and where it has gaps, ticks, figures and
// the sentences that say the same to who does not see them. `components/plot.ts` draws them.
//
// Absent is not 0: where no sample was taken there is `null`, and a gap in the curve.

import { count, memory, plural } from './format';
import { clock } from './time';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const hours = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });

/** The time that is shown: up to now, or a span of the past. */
export interface Range {
  /** What the address says; the empty text for a span. */
  key: string;
  word: string;
  /** After what it is about: `in the last hour`. */
  spoken: string;
  /** In seconds. */
  length: number;
  /** When a span begins and ends, in seconds since 1970. */
  span?: { since: number; until: number };
}

/** The ranges that can be chosen, shortest first. */
export const RANGES: readonly Range[] = [
  { key: '1h', word: '1 h', spoken: 'in the last hour', length: HOUR },
  { key: '6h', word: '6 h', spoken: 'in the last 6 hours', length: 6 * HOUR },
  { key: '24h', word: '24 h', spoken: 'in the last 24 hours', length: DAY },
  { key: '7d', word: '7 d', spoken: 'in the last 7 days', length: 7 * DAY },
  { key: '30d', word: '30 d', spoken: 'in the last 30 days', length: 30 * DAY },
  { key: '13mo', word: '13 months', spoken: 'in the last 13 months', length: 396 * DAY },
];

const SHORTEST = RANGES[0]!;
const USUAL = RANGES[1]!;

/** The shortest span that can be looked at, in seconds. */
const SHORTEST_SPAN = 5 * MINUTE;

/** The range that the address asks for, by name or as a span between two instants; null if it asks for none. */
export function rangeOf(name: string, since = '', until = ''): Range | null {
  const [from, to] = [Date.parse(since) / 1_000, Date.parse(until) / 1_000];
  if (to - from >= SHORTEST_SPAN) {
    const begin = `${weekday.format(from * 1_000)} ${hours.format(from * 1_000)}`;
    const end = endOf(from, to);
    return { key: '', word: `${begin}–${end}`, spoken: `from ${begin} to ${end}`, length: to - from, span: { since: from, until: to } };
  }
  return RANGES.find(({ key }) => key === name) ?? null;
}

/** When something ends that has begun at another instant: with the day, if it is another one. */
function endOf(begin: number, end: number): string {
  const time = hours.format(end * 1_000);
  const isSameDay = new Date(begin * 1_000).toDateString() === new Date(end * 1_000).toDateString();
  return isSameDay ? time : `${weekday.format(end * 1_000)} ${time}`;
}

/** A span for the address, around what somebody has marked, in whole minutes and not too short. */
export function spanAround(since: number, until: number): { since: string; until: string } {
  const missing = Math.max(0, SHORTEST_SPAN - (until - since)) / 2;
  const from = Math.floor((since - missing) / MINUTE) * MINUTE;
  const to = Math.max(from + SHORTEST_SPAN, Math.ceil((until + missing) / MINUTE) * MINUTE);
  const text = (at: number): string => `${new Date(at * 1_000).toISOString().slice(0, 16)}Z`;
  return { since: text(from), until: text(to) };
}

/** The range that is asked of the server: the usual one if nobody has chosen. */
export function askedRange(chosen: Range | null): Range {
  return chosen ?? USUAL;
}

/** How many points are asked for: of a wide screen a minute each of six hours, a day each of 13 months. */
export const MOST_POINTS = { wide: 400, narrow: 150 };

/** How often a range is read again, in milliseconds: as often as it has a new point, and every ten minutes at the least. */
export function readAgainAfter(stepSeconds: number): number {
  return Math.min(10 * MINUTE, Math.max(MINUTE, stepSeconds)) * 1_000;
}

export type Unit = 'cores' | 'memory' | 'vms' | 'workers' | 'load';
/** What a line stands for, which is how it looks. */
export type Role = 'used' | 'measured' | 'capacity';

/** The points of a history in time, in seconds since 1970. */
export interface Times {
  /** When the points begin, ascending. */
  readonly at: readonly number[];
  /** How long a point stands for. */
  readonly step: number;
}

export interface Line {
  readonly name: string;
  readonly role: Role;
  /** One for each point; null where no sample was taken. */
  readonly values: readonly (number | null)[];
  /** The smallest and the largest sample of each point, where a point stands for several. */
  readonly least?: readonly (number | null)[];
  readonly most?: readonly (number | null)[];
}

export interface Chart {
  readonly key: string;
  readonly title: string;
  readonly unit: Unit;
  readonly lines: readonly Line[];
  /** What has to be known to read it right. */
  readonly note?: string;
}

/** What is drawn: charts over the same points. */
export interface Curves {
  readonly range: Range;
  readonly times: Times;
  readonly charts: readonly Chart[];
}

/** A curve of the API. */
interface Curve {
  readonly values: readonly (number | null)[];
  readonly min?: readonly (number | null)[] | null;
  readonly max?: readonly (number | null)[] | null;
}

/** When the points of an answer are. */
export function timesOf({ start, stepSeconds, length }: { start: string; stepSeconds: number; length: number }): Times {
  const first = Date.parse(start) / 1_000;
  return { at: Array.from({ length }, (_, index) => first + index * stepSeconds), step: stepSeconds };
}

/** A curve as a line, if there is a sample of it. What a capacity was at least and at most is no news. */
export function lineOf(name: string, role: Role, curve: Curve | null | undefined): Line[] {
  if (!curve || curve.values.every((value) => value === null)) return [];
  const { values, min, max } = curve;
  return [role !== 'capacity' && min && max ? { name, role, values, least: min, most: max } : { name, role, values }];
}

/** What is drawn of an answer. A young history is drawn over the shortest range, unless somebody has chosen another. */
export function curvesOf(chosen: Range | null, times: Times, charts: readonly Chart[]): Curves {
  // A capacity alone says nothing of what was used.
  const known = charts.filter(({ lines }) => lines.some(({ role }) => role !== 'capacity'));
  const all = { range: askedRange(chosen), times, charts: known };
  const first = Math.min(...known.flatMap(({ lines }) => lines.map(({ values }) => values.findIndex((value) => value !== null))));
  const from = times.at.length - Math.ceil(SHORTEST.length / times.step);
  if (chosen || from <= 0 || first < from) return all;
  const cut = <T>(values: readonly T[]): readonly T[] => values.slice(from);
  return {
    range: SHORTEST,
    times: { ...times, at: cut(times.at) },
    charts: known.map((chart) => ({
      ...chart,
      lines: chart.lines.map((line) => ({ ...line, values: cut(line.values), ...(line.least && line.most ? { least: cut(line.least), most: cut(line.most) } : {}) })),
    })),
  };
}

/** Of a range, the part at its beginning without a sample that is worth a word. */
const WORTH_A_WORD = 0.05;

/** When the first sample was that is drawn, in seconds since 1970, if the time before it is a part of the range that is seen; else null. */
export function firstSample({ times: { at }, charts }: Pick<Curves, 'times' | 'charts'>): number | null {
  const first = Math.min(...charts.flatMap(({ lines }) => lines.map(({ values }) => values.findIndex((value) => value !== null))).filter((index) => index >= 0));
  return first > Math.max(1, at.length * WORTH_A_WORD) ? at[first] ?? null : null;
}

/** A drain of the worker whose curves are drawn. */
export interface DrainSpan {
  readonly key: string;
  /** When it began and ended, in seconds since 1970; null while it stands. */
  readonly since: number;
  readonly until: number | null;
  /** `“new disks”, 22:28–22:54` */
  readonly words: string;
}

/** Drains that stood in the time that is drawn, oldest first. */
export function drainsWithin<Span extends Pick<DrainSpan, 'since' | 'until'>>(drains: readonly Span[], { at, step }: Pick<Times, 'at' | 'step'>): Span[] {
  const [first, last] = [at[0], at.at(-1)];
  if (first === undefined || last === undefined) return [];
  return drains.filter(({ since, until }) => since < last + step && (until ?? Infinity) >= first).sort((a, b) => a.since - b.since);
}

/** Whether a drain stood in the time of a point. */
export function isDrainingAt(drains: readonly Pick<DrainSpan, 'since' | 'until'>[], { at, step }: Pick<Times, 'at' | 'step'>, index: number): boolean {
  const begin = at[index];
  return begin !== undefined && drains.some(({ since, until }) => since < begin + step && (until ?? Infinity) >= begin);
}

/** Whether the smallest and the largest sample are others than the value anywhere: a band would be seen. */
export function hasBand({ values, least, most }: Line): boolean {
  return least !== undefined && most !== undefined && values.some((value, index) => value !== null && least[index] !== most[index]);
}

export interface Plotted {
  /** Times, and then a row for each series, as uPlot takes them. */
  readonly data: readonly (readonly (number | null)[])[];
  readonly series: readonly { line: number; edge: 'value' | 'least' | 'most' }[];
  /** Indices of the series between which a band is filled: the upper one first. Series 0 is the time. */
  readonly bands: readonly (readonly [number, number])[];
}

/** The lines of a chart as series: capacity first, so that the others are drawn over it, and each band below its line. */
export function plotted({ at }: Pick<Times, 'at'>, lines: readonly Line[]): Plotted {
  const data: (readonly (number | null)[])[] = [at];
  const series: Plotted['series'][number][] = [];
  const bands: [number, number][] = [];
  const add = (values: readonly (number | null)[], line: number, edge: 'value' | 'least' | 'most'): number => {
    series.push({ line, edge });
    return data.push(values) - 1;
  };
  const order = lines.map((_, index) => index).sort((a, b) => Number(lines[b]!.role === 'capacity') - Number(lines[a]!.role === 'capacity'));
  for (const index of order) {
    const line = lines[index]!;
    if (hasBand(line)) bands.push([add(line.most!, index, 'most'), add(line.least!, index, 'least')]);
    add(line.values, index, 'value');
  }
  return { data, series, bands };
}

/** A capacity that is this many times as high as all that is used would press the curves to the ground. */
const FAR_ABOVE = 5;

function highestOf(lines: readonly Line[]): number {
  let highest = 0;
  for (const { values, most } of lines) for (const value of [...values, ...most ?? []]) if (value !== null && value > highest) highest = value;
  return highest;
}

/** Whether a line is so far above the others that it is not drawn, and only said. */
export function isFarAbove(line: Line, lines: readonly Line[]): boolean {
  const used = highestOf(lines.filter(({ role }) => role !== 'capacity'));
  return line.role === 'capacity' && used > 0 && highestOf([line]) > used * FAR_ABOVE;
}

/** The upper end of a chart's axis, with room above the highest line; the lower one is 0, so that heights can be compared. */
export function topOf(lines: readonly Line[], unit: Unit): number {
  const drawn = lines.filter((line) => !isFarAbove(line, lines));
  // Nothing at all, and so little that the figures of the axis would all be the same.
  const least = unit === 'memory' ? 16 : unit === 'load' ? 0.1 : 1;
  return Math.max(least, highestOf(drawn) * (drawn.length < lines.length ? 1.25 : 1.06));
}

/** Distances that the ticks of an axis may have: of memory powers of two, so that they are whole. */
export function tickSteps(unit: Unit): number[] {
  if (unit === 'memory') return Array.from({ length: 48 }, (_, power) => 2 ** power);
  const decades = unit === 'load' || unit === 'cores' ? [0.01, 0.1] : [];
  return [...decades, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9].flatMap((decade) => [1, 2, 5].map((digit) => Number((digit * decade).toPrecision(1))));
}

const one = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });
const two = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2, notation: 'compact' });

/** The figure at a tick. */
export function tickLabel(value: number, unit: Unit): string {
  if (unit !== 'memory') return compact.format(value);
  if (value < 1024 ** 2) return value === 0 ? '0' : memory(value);
  return value < 1024 ** 3 ? `${two.format(value / 1024 ** 2)} TiB` : `${two.format(value / 1024 ** 3)} PiB`;
}

const days = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const months = new Intl.DateTimeFormat('en-GB', { month: 'short' });

/** Words for ticks in time that are so many seconds apart, where the reader is: the day at midnight, the year in January. */
export function timeLabels(ticks: readonly number[], apart: number): string[] {
  return ticks.map((tick) => {
    const at = new Date(tick * 1_000);
    if (apart >= 27 * DAY) return at.getMonth() === 0 ? String(at.getFullYear()) : months.format(at);
    const isMidnight = at.getHours() === 0 && at.getMinutes() === 0;
    return apart >= DAY || isMidnight ? days.format(at) : hours.format(at);
  });
}

/** The point nearest to a time; -1 if there is none. */
export function nearest(at: readonly number[], time: number): number {
  let low = 0;
  let high = at.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at[middle]! < time) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time - at[low - 1]! <= at[low]! - time ? low - 1 : at.length === 0 ? -1 : low;
}

/** A value with what it counts: `12.5 cores`, `64 GiB`, `3 VMs`. */
export function amount(value: number, unit: Unit): string {
  switch (unit) {
    case 'memory': return memory(value < 1024 ? Math.round(value) : value);
    case 'load': return two.format(value);
    case 'cores': return unitOf(value, 'core');
    case 'vms': return unitOf(value, 'VM');
    case 'workers': return unitOf(value, 'worker');
  }
}

function unitOf(value: number, noun: string): string {
  return Number.isInteger(value) || value >= 100 ? plural(Math.round(value), noun) : `${one.format(value)} ${noun}s`;
}

/** A value without its unit, where another with it follows. */
export function figure(value: number, unit: Unit): string {
  return unit === 'memory' || unit === 'load' ? amount(value, unit) : Number.isInteger(value) || value >= 100 ? count(Math.round(value)) : one.format(value);
}

/** The value of a line at a point: `12.5 cores`, with what it was at least and at most, or that no sample was taken. */
export function valueAt(line: Line, index: number, unit: Unit): { value: string; span: string } {
  const value = line.values[index] ?? null;
  if (value === null) return { value: 'no sample', span: '' };
  const least = line.least?.[index] ?? null;
  const most = line.most?.[index] ?? null;
  const span = least !== null && most !== null && least !== most ? `${figure(least, unit)}–${figure(most, unit)}` : '';
  return { value: amount(value, unit), span };
}

/** When a point is: `Sat 29 Nov 14:28`, or the time for which it stands: `Sat 29 Nov 14:15–14:30`. */
export function timeAt({ at, step }: Pick<Times, 'at' | 'step'>, index: number): string {
  const begin = at[index]!;
  const text = `${weekday.format(begin * 1_000)} ${hours.format(begin * 1_000)}`;
  if (step <= MINUTE) return text;
  // The hour after midnight needs no day to be understood.
  return `${text}–${step < DAY ? hours.format((begin + step) * 1_000) : endOf(begin, begin + step)}`;
}

/** A point as it is read aloud. */
export function spokenPoint(times: Pick<Times, 'at' | 'step'>, { lines, unit }: Pick<Chart, 'lines' | 'unit'>, index: number): string {
  if (index < 0 || index >= times.at.length) return 'nothing yet';
  const parts = lines.map((line) => {
    const { value, span } = valueAt(line, index, unit);
    return `${line.name} ${value}${span ? ` (${span.replace('–', ' to ')})` : ''}`;
  });
  return `${timeAt(times, index)}: ${parts.join(', ')}`;
}

/** The last point at which a line is known; -1 if there is none. */
export function lastKnown({ values }: Pick<Line, 'values'>): number {
  return values.findLastIndex((value) => value !== null);
}

/** How many points the newest sample may be behind, as it is while it is on its way. */
const LATE_POINTS = 2;

/** The last value of a line; null if it is not one of the end: what was hours ago is not how it is. */
export function valueAtEnd(line: Pick<Line, 'values'>): number | null {
  const last = lastKnown(line);
  return last < line.values.length - 1 - LATE_POINTS ? null : line.values[last] ?? null;
}

/** What a chart shows, in a sentence for who does not see it. */
export function description(times: Times, { title, unit, lines }: Chart, range: Range): string {
  const parts = lines.map((line) => {
    const end = valueAtEnd(line);
    const now = `${line.name} ${end === null ? 'without a sample at the end' : amount(end, unit)}`;
    const extremes = extremesOf(line);
    if (line.role === 'capacity' || extremes === null || (end !== null && extremes.least === extremes.most)) return now;
    return `${now}, between ${figure(extremes.least, unit)} at ${clock(times.at[extremes.leastAt]! * 1_000)} and ${amount(extremes.most, unit)} at ${clock(times.at[extremes.mostAt]! * 1_000)}`;
  });
  return `${title} ${range.spoken}: ${parts.join('; ')}.`;
}

/** The smallest and the largest value of a line, with the points where they are; null if nothing is known. */
export function extremesOf({ values, least = values, most = values }: Line): { least: number; leastAt: number; most: number; mostAt: number } | null {
  let leastAt = -1;
  let mostAt = -1;
  for (let index = 0; index < values.length; index += 1) {
    const low = least[index] ?? values[index] ?? null;
    const high = most[index] ?? values[index] ?? null;
    if (low !== null && (leastAt < 0 || low < (least[leastAt] ?? values[leastAt])!)) leastAt = index;
    if (high !== null && (mostAt < 0 || high > (most[mostAt] ?? values[mostAt])!)) mostAt = index;
  }
  if (leastAt < 0 || mostAt < 0) return null;
  return { least: (least[leastAt] ?? values[leastAt])!, leastAt, most: (most[mostAt] ?? values[mostAt])!, mostAt };
}

/** The path of a small line in a box of the given size, with a gap where nothing is known; a lone point is a short stroke. */
export function sparkPath(values: readonly (number | null)[], top: number, width: number, height: number): string {
  const x = (index: number): number => (values.length < 2 ? 0 : (index / (values.length - 1)) * width);
  const y = (value: number): number => height - Math.min(1, Math.max(0, value / top)) * height;
  let path = '';
  values.forEach((value, index) => {
    if (value === null) return;
    const isFirst = (values[index - 1] ?? null) === null;
    path += `${isFirst ? 'M' : 'L'}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    if (isFirst && (values[index + 1] ?? null) === null) path += 'h0.1';
  });
  return path;
}

/** What the API tells of the use of a worker, a zone or the cluster. */
export interface Usage {
  readonly start: string;
  readonly stepSeconds: number;
  readonly length: number;
  readonly cpuCores?: Curve | null;
  readonly usedCpuCores?: Curve | null;
  readonly measuredCpuCores?: Curve | null;
  readonly measuredLoad1?: Curve | null;
  readonly memoryMb?: Curve | null;
  readonly usedMemoryMb?: Curve | null;
  readonly measuredMemoryMb?: Curve | null;
  readonly maxVms?: Curve | null;
  readonly vmCount?: Curve | null;
  readonly workers?: Curve | null;
  readonly onlineWorkers?: Curve | null;
  readonly measuredWorkers?: Curve | null;
}

/** The charts of a use: what VMs were allocated, what hosts measured, and what there was. */
export function usageCharts(usage: Usage): Chart[] {
  return [
    {
      key: 'cpu', title: 'CPU', unit: 'cores',
      lines: [...lineOf('allocated', 'used', usage.usedCpuCores), ...lineOf('busy', 'measured', usage.measuredCpuCores), ...lineOf('capacity', 'capacity', usage.cpuCores)],
    },
    {
      key: 'memory', title: 'Memory', unit: 'memory',
      lines: [...lineOf('allocated', 'used', usage.usedMemoryMb), ...lineOf('in use', 'measured', usage.measuredMemoryMb), ...lineOf('capacity', 'capacity', usage.memoryMb)],
    },
    { key: 'vms', title: 'VMs', unit: 'vms', lines: [...lineOf('allocated', 'used', usage.vmCount), ...lineOf('slots', 'capacity', usage.maxVms)] },
    { key: 'load', title: 'Load average', unit: 'load', lines: [...lineOf('of a minute', 'measured', usage.measuredLoad1), ...(usage.measuredLoad1 ? lineOf('cores', 'capacity', usage.cpuCores) : [])] },
    { key: 'workers', title: 'Workers', unit: 'workers', lines: usage.workers ? [...lineOf('online', 'used', usage.onlineWorkers), ...lineOf('registered', 'capacity', usage.workers)] : [] },
  ];
}

/** Whether any of it was measured on hosts. */
export function isMeasured({ measuredCpuCores, measuredMemoryMb, measuredLoad1 }: Usage): boolean {
  return [measuredCpuCores, measuredMemoryMb, measuredLoad1].some((curve) => lineOf('', 'measured', curve).length > 0);
}

/** On how many of the workers that were online it was measured, if that were not all; the empty text if it was on all, or on none. */
export function measuredPart({ measuredWorkers, onlineWorkers }: Usage): string {
  const [measured, online] = [measuredWorkers, onlineWorkers].map((curve) => Math.round((curve && valueAtEnd(curve)) ?? 0));
  if (!measured || !online || measured >= online) return '';
  return `What is busy and in use was measured on ${count(measured)} of ${plural(online, 'worker')}.`;
}
