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
/** How long a row is seen before it is asked for, so that scrolling asks for nothing, in milliseconds. */
const REST_MS = 200;
/** How often the rows that are seen are asked for again, in milliseconds. */
const PERIOD_MS = 60_000;

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
reconnections.subscribe(() => { readAt.clear(); soon(REST_MS); });

function history(id: string): Signal<RowHistory | null> {
  let found = histories.get(id);
  if (!found) histories.set(id, found = signal(null));
  return found;
}

function soon(wait: number): void {
  if (seen.size === 0) return;
  clearTimeout(timer);
  timer = setTimeout(() => { void read(); }, wait);
}

async function read(): Promise<void> {
  const now = Date.now();
  // Those that are old enough soon are read along, so that all rows are one question.
  const due = [...seen.keys()].filter((id) => now - (readAt.get(id) ?? 0) >= PERIOD_MS - 5_000);
  if (due.length > 0 && !document.hidden && isIn.peek()) {
    abort?.abort();
    const mine = abort = new AbortController();
    const ids = due.slice(0, MOST_ROWS);
    try {
      const { workersConnection } = await ask(RowHistories, { filter: { ids }, first: ids.length, ...RANGE }, mine.signal);
      for (const id of ids) readAt.set(id, now);
      for (const { id, history: curves } of workersConnection.nodes) history(id).value = curves;
    } catch {
      // What is drawn stays; the next time asks again.
      if (mine.signal.aborted) return;
    }
  }
  soon(PERIOD_MS);
}

/** The CPU of a worker that is allocated: how it was in the last hours, as a share of its cores, and how it is. */
export function CpuHistory({ worker: { id, cpuUsagePercent, usedCpuCores, cpuCores } }: { worker: Pick<Worker, 'id' | 'cpuUsagePercent' | 'usedCpuCores' | 'cpuCores'> }) {
  useEffect(() => {
    seen.set(id, (seen.get(id) ?? 0) + 1);
    if (!readAt.has(id)) soon(REST_MS);
    return () => {
      const others = (seen.get(id) ?? 1) - 1;
      if (others > 0) seen.set(id, others);
      else seen.delete(id);
    };
  }, [id]);
  const now = `${usedCpuCores} of ${plural(cpuCores, 'core')} allocated to VMs`;
  const curves = history(id).value;
  const lines = [...lineOf('allocated', 'used', curves?.usedCpuCores), ...lineOf('busy', 'measured', curves?.measuredCpuCores)];
  const cores = Math.max(0, ...curves?.cpuCores?.values.filter((value) => value !== null) ?? []);
  if (lines.length === 0 || cores === 0) return <Meter value={cpuUsagePercent} title={now} />;
  const words = `in the last 6 hours ${lines.map((line) => {
    const { least, most } = extremesOf(line)!;
    return `${line.name} ${percent(share(least, cores))} to ${percent(share(most, cores))}`;
  }).join(', ')}`;
  return (
    <span class="meter" title={`${now}; ${words}`}>
      <span class="row-curve" role="img" aria-label={`CPU ${words}`}>
        <svg viewBox="0 0 60 18" preserveAspectRatio="none">
          {lines.map(({ role, values }) => <path key={role} class={role} d={sparkPath(values, cores, 60, 18)} />)}
        </svg>
      </span>
      <span class="figure">{percent(cpuUsagePercent)}</span>
    </span>
  );
}
