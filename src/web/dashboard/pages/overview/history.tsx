// What the cluster was used for, in curves.

import { HistoryFields, useHistory } from '../../api/history';
import { operation } from '../../api/operation';
import { CurvesCard } from '../../components/curves';
import { measuredPart } from '../../curves';

const ClusterHistory = operation(`query ClusterHistory($since: DateTime, $until: DateTime, $rangeSeconds: Int, $maxPoints: Int!) {
  clusterHistory(since: $since, until: $until, rangeSeconds: $rangeSeconds, maxPoints: $maxPoints) { ...HistoryFields onlineWorkers { values } measuredWorkers { values } }
}`, HistoryFields);

export function ClusterCurves() {
  const { usage, ...history } = useHistory('cluster/history', ClusterHistory, {}, ({ clusterHistory }) => clusterHistory);
  return <CurvesCard title="History" label="of the cluster" {...history} note={usage && measuredPart(usage)} />;
}
