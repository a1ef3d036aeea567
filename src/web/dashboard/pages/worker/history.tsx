// What a worker was used for, in curves, with its drains behind them.

import { useMemo } from 'preact/hooks';
import { HistoryFields, useHistory } from '../../api/history';
import { operation } from '../../api/operation';
import { useQuery } from '../../api/query';
import { CurvesCard } from '../../components/curves';
import { isMeasured, type DrainSpan } from '../../curves';
import { clock } from '../../time';

const WorkerHistory = operation(`query WorkerHistory($id: ID!, $since: DateTime, $until: DateTime, $rangeSeconds: Int, $maxPoints: Int!) {
  worker(id: $id) {
    id
    history(since: $since, until: $until, rangeSeconds: $rangeSeconds, maxPoints: $maxPoints) { ...HistoryFields measuredLoad1 { ...CurveFields } }
  }
}`, HistoryFields);

const WorkerDrains = operation(`query WorkerDrains($id: ID!) {
  worker(id: $id) { id drains(first: 50) { id startedAt endedAt reason } }
}`);

export function WorkerCurves({ id, isOffline }: { id: string; isOffline: boolean }) {
  const { usage, ...history } = useHistory(`workers/${encodeURIComponent(id)}/history`, WorkerHistory, { id }, ({ worker }) => worker?.history);
  const { data } = useQuery(WorkerDrains, { id }, { on: ({ workerId, kind }) => workerId === id && (kind.startsWith('WORKER_DRAIN') || kind === 'WORKER_ACTIVATED') });
  const worker = data.value?.worker;
  const drains = useMemo(() => (worker?.drains ?? []).flatMap(({ id, startedAt, endedAt, reason }): DrainSpan[] => {
    // One from before it was kept when drains begin is drawn nowhere.
    if (startedAt === null) return [];
    const time = `${clock(startedAt)}–${endedAt === null ? 'now' : clock(endedAt)}`;
    return [{ key: id, since: Date.parse(startedAt) / 1_000, until: endedAt === null ? null : Date.parse(endedAt) / 1_000, words: reason ? `${time} “${reason}”` : time }];
  }), [worker]);
  return (
    <CurvesCard
      title="History"
      label={`of ${id}`}
      {...history}
      drains={drains}
      empty={isOffline && <p class="muted">No samples in this range: an offline worker sends none.</p>}
      note={usage && !isMeasured(usage) && 'Allocated is what its VMs may use. What the host measures is shown, too, if its agent reports it.'}
    />
  );
}
