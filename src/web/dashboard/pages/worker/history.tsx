// What a worker was used for, in curves.

import { HistoryFields, useHistory } from '../../api/history';
import { operation } from '../../api/operation';
import { CurvesCard } from '../../components/curves';
import { isMeasured } from '../../curves';

const WorkerHistory = operation(`query WorkerHistory($id: ID!, $since: DateTime, $until: DateTime, $rangeSeconds: Int, $maxPoints: Int!) {
  worker(id: $id) {
    id
    history(since: $since, until: $until, rangeSeconds: $rangeSeconds, maxPoints: $maxPoints) { ...HistoryFields measuredLoad1 { ...CurveFields } }
  }
}`, HistoryFields);

export function WorkerCurves({ id, isOffline }: { id: string; isOffline: boolean }) {
  const { usage, ...history } = useHistory(`workers/${encodeURIComponent(id)}/history`, WorkerHistory, { id }, ({ worker }) => worker?.history);
  return (
    <CurvesCard
      title="History"
      label={`of ${id}`}
      {...history}
      empty={isOffline && <p class="muted">No sample was taken in this time: a silent worker has none.</p>}
      note={usage && !isMeasured(usage) && 'Allocated is what its VMs may use. What the host measures is drawn, too, where its agent sends it.'}
    />
  );
}
