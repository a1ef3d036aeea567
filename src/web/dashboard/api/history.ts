// Histories of workers, zones and the cluster, over the range that the address names.

import { useSignal } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { askedRange, curvesOf, MOST_POINTS, rangeOf, readAgainAfter, timesOf, usageCharts, type Curves, type Range, type Usage } from '../curves';
import type { Request } from '../components/copy';
import { place } from '../router';
import { fragment, type Operation } from './operation';
import { useQuery } from './query';

export const CurveFields = fragment(`fragment CurveFields on HistoryCurve { values min max }`);

/** What was allocated, what was measured, and what there was. */
export const HistoryFields = fragment(`fragment HistoryFields on History {
  start stepSeconds length
  cpuCores { values } usedCpuCores { ...CurveFields } measuredCpuCores { ...CurveFields }
  memoryMb { values } usedMemoryMb { ...CurveFields } measuredMemoryMb { ...CurveFields }
  maxVms { values } vmCount { ...CurveFields }
}`, CurveFields);

/** While there is no curve yet, it is asked for this often, in milliseconds: the first one is waited for. */
const FIRST_PERIOD_MS = 10_000;

const narrow = matchMedia('(max-width: 719px)');
const never = (): boolean => false;

const instant = (seconds: number): string => new Date(seconds * 1_000).toISOString();

export interface UsageHistory {
  /** The last answer; undefined before the first, null if it has no history: of a zone without workers. */
  usage: Usage | null | undefined;
  curves: Curves | undefined;
  /** The range that is chosen, or else the one that is drawn. */
  range: Range;
  /** Whether they are those of the range that is chosen now. */
  isCurrent: boolean;
  /** Why there is no newer answer. */
  problem: string | undefined;
  /** The same, asked for elsewhere. */
  request: Request;
}

/** The variables that say which time is asked for, and in how many points. */
interface Asked {
  since?: string | null;
  until?: string | null;
  rangeSeconds?: number | null;
  maxPoints: number;
}

/**
 * Follows a history: read again as often as it has a new point, and when the connection is back. `path` is where REST has
 * it, below `api/v1`.
 */
export function useHistory<Result, Variables extends Asked>(
  path: string,
  operation: Operation<Result, Variables>,
  variables: Omit<Variables, keyof Asked>,
  usageOf: (result: Result) => Usage | null | undefined,
): UsageHistory {
  const [name, since, until] = ['range', 'since', 'until'].map((parameter) => place.value.query.get(parameter) ?? '');
  const chosen = useMemo(() => rangeOf(name!, since, until), [name, since, until]);
  const period = useSignal(FIRST_PERIOD_MS);
  const { length, span } = askedRange(chosen);
  const time: Omit<Asked, 'maxPoints'> = span ? { since: instant(span.since), until: instant(span.until) } : { rangeSeconds: length };
  const asked = { ...variables, ...time, maxPoints: narrow.matches ? MOST_POINTS.narrow : MOST_POINTS.wide } as unknown as Variables;
  const { data, error, isCurrent } = useQuery(operation, asked, { on: never, every: period.value });
  const result = data.value;
  const isOfChoice = isCurrent.value;
  const usage = useMemo(() => (result === undefined ? undefined : usageOf(result) ?? null), [result]);
  // Until the answer for another range has come, what is drawn is what it was before.
  const before = useSignal(chosen);
  if (isOfChoice) before.value = chosen;
  const drawn = before.value;
  const curves = useMemo(() => {
    if (usage === undefined) return undefined;
    return usage === null ? { range: askedRange(drawn), times: { at: [], step: 60 }, charts: [] } : curvesOf(drawn, timesOf(usage), usageCharts(usage));
  }, [usage, drawn]);
  useEffect(() => {
    if (curves) period.value = curves.charts.length === 0 ? FIRST_PERIOD_MS : readAgainAfter(curves.times.step);
  }, [curves]);
  const parameters = new URLSearchParams(span ? { since: instant(span.since), until: instant(span.until) } : { range_seconds: String(length) });
  const request = { path: `${path}?${parameters}&max_points=${asked.maxPoints}`, graphql: operation.text, variables: asked };
  return { request, usage, curves, range: chosen ?? curves?.range ?? askedRange(null), isCurrent: isOfChoice, problem: error.value?.message };
}
