// A small curve in each row of the table of workers: one question for all rows that are seen.

import { signal, type Signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Worker } from '../../api/cluster';
import { ask } from '../../api/http';
import { reconnections } from '../../api/live';
import { operation, type ResultOf } from '../../api/operation';
import { Meter } from '../../components/meter';
import { extremesOf, lineOf, sparkPath } from '../../curves';
import { percent, plural, share } from '../../format';
import { isIn } from '../../session';

const RowHistories = operation(`query RowHistories($filter: WorkerFilter, $first: Int, $rangeSeconds: Int!, $maxPoints: Int!) {
  workersConnection(first: $first, filter: $filter) {
    nodes { id history(rangeSeconds: $rangeSeconds, maxPoints: $maxPoints) { cpuCores { values } usedCpuCores { values } measuredCpuCores { values } } }
  }
}`);

type RowHistory = ResultOf<typeof RowHistories>['workersConnection']['nodes'][number]['history'];

/** Six hours in points of ten minutes: more than a row has room for. */
const RANGE = { rangeSeconds: 6 * 3_600, maxPoints: 36 };
/** Rows of one question: the most that the API gives at once. */
const MOST_ROWS = 500;
/** A curve of fewer points than this tells nothing. */
const FEWEST_POINTS = 5;
/** How long a row is seen before it is asked for, so that scrolling asks for nothing, in milliseconds. */
const REST_MS = 200;
/** How often the rows that are seen are asked for again, in milliseconds. */
const PERIOD_MS = 60_000;

/** Histories that are kept of rows that are not seen any more. */
const MOST_KEPT = 1_000;

/** Histories by worker; null is one that is asked for, or that there is not. */
const histories = new Map<string, Signal<RowHistory | null>>();
/** When each was read, in milliseconds. */
const readAt = new Map<string, number>();
/** Workers whose rows are in the document, and in how many. */
const seen = new Map<string, number>();
let timer: ReturnType<typeof setTimeout> | undefined;
let abort: AbortController | null = null;

isIn.subscribe((isIn) => {
  if (isIn) return;
  histories.clear();
  readAt.clear();
});
reconnections.subscribe(() => {
  readAt.clear();
  if (seen.size > 0) soon(REST_MS);
});

function history(id: string): Signal<RowHistory | null> {
  let found = histories.get(id);
  if (!found) histories.set(id, found = signal(null));
  return found;
}

/** Reads after so many milliseconds, and not as it was said before. */
function soon(wait: number): void {
  clearTimeout(timer);
  timer = setTimeout(() => { void read(); }, wait);
}

function isDue(id: string): boolean {
  // A little early, so that those that were read one after the other are one question the next time.
  return Date.now() - (readAt.get(id) ?? 0) >= PERIOD_MS - 5_000;
}

async function read(): Promise<void> {
  timer = undefined;
  const ids = [...seen.keys()].filter(isDue).slice(0, MOST_ROWS);
  if (ids.length > 0 && !document.hidden && isIn.peek()) {
    abort?.abort();
    const mine = abort = new AbortController();
    const now = Date.now();
    try {
      const { workersConnection } = await ask(RowHistories, { filter: { ids }, first: ids.length, ...RANGE }, mine.signal);
      for (const id of ids) readAt.set(id, now);
      for (const { id, history: curves } of workersConnection.nodes) history(id).value = curves;
    } catch {
      // What is drawn stays; the next time asks again.
      if (mine.signal.aborted) return;
    }
  }
  if (seen.size > 0 && timer === undefined) soon(PERIOD_MS);
}

function appear(id: string): void {
  seen.set(id, (seen.get(id) ?? 0) + 1);
  if (isDue(id)) soon(REST_MS);
  else if (timer === undefined) soon(PERIOD_MS);
}

function disappear(id: string): void {
  const others = (seen.get(id) ?? 1) - 1;
  if (others > 0) return void seen.set(id, others);
  seen.delete(id);
  if (histories.size <= MOST_KEPT) return;
  histories.delete(id);
  readAt.delete(id);
}

/**
 * The CPU of a worker that is allocated, as a share of its cores: how it is, and beside it how it was in the last hours once
 * that is known for long enough.
 */
export function CpuHistory({ worker: { id, cpuUsagePercent, usedCpuCores, cpuCores } }: { worker: Pick<Worker, 'id' | 'cpuUsagePercent' | 'usedCpuCores' | 'cpuCores'> }) {
  useEffect(() => {
    appear(id);
    return () => disappear(id);
  }, [id]);
  const curves = history(id).value;
  const lines = [...lineOf('allocated', 'used', curves?.usedCpuCores), ...lineOf('busy', 'measured', curves?.measuredCpuCores)]
    .filter(({ values }) => values.filter((value) => value !== null).length >= FEWEST_POINTS);
  const cores = Math.max(0, ...curves?.cpuCores?.values.filter((value) => value !== null) ?? []);
  const meter = <Meter value={cpuUsagePercent} title={`${usedCpuCores} of ${plural(cpuCores, 'core')} allocated to VMs`} />;
  if (lines.length === 0 || cores === 0) return meter;
  const words = `CPU in the last 6 hours ${lines.map((line) => {
    const { least, most } = extremesOf(line)!;
    return `${line.name} ${percent(share(least, cores))} to ${percent(share(most, cores))}`;
  }).join(', ')}`;
  return (
    <span class="with-curve">
      <span class="row-curve" role="img" aria-label={words} title={words}>
        <svg viewBox="0 0 60 18" preserveAspectRatio="none">
          {lines.map(({ role, values }) => <path key={role} class={role} d={sparkPath(values, cores, 60, 18)} />)}
        </svg>
      </span>
      {meter}
    </span>
  );
}
