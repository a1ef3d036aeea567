// What there was and what was used of it, in the cluster or in one zone, in curves.

import { HistoryFields, useHistory } from '../../api/history';
import { operation } from '../../api/operation';
import { CurvesCard } from '../../components/curves';
import { measuredPart } from '../../curves';
import { place, setQuery } from '../../router';

const CapacityHistory = operation(`query CapacityHistory($zone: String!, $isOfZone: Boolean!, $since: DateTime, $until: DateTime, $rangeSeconds: Int, $maxPoints: Int!) {
  clusterHistory(since: $since, until: $until, rangeSeconds: $rangeSeconds, maxPoints: $maxPoints) @skip(if: $isOfZone) { ...HistoryFields workers { values } onlineWorkers { ...CurveFields } measuredWorkers { values } }
  zoneHistory(zone: $zone, since: $since, until: $until, rangeSeconds: $rangeSeconds, maxPoints: $maxPoints) @include(if: $isOfZone) { ...HistoryFields workers { values } onlineWorkers { ...CurveFields } measuredWorkers { values } }
}`, HistoryFields);

export function CapacityCurves({ zones }: { zones: readonly string[] }) {
  const of = place.value.query.get('of') ?? '';
  const { usage, ...history } = useHistory(
    of ? `zones/${encodeURIComponent(of)}/history` : 'cluster/history',
    CapacityHistory,
    { zone: of || '-', isOfZone: of !== '' },
    ({ clusterHistory, zoneHistory }) => clusterHistory ?? zoneHistory,
  );
  const label = of ? `of ${of}` : 'of the cluster';
  return (
    <CurvesCard
      title="History"
      label={label}
      {...history}
      aside={zones.length > 0 && (
        <select class="input curves-of" aria-label="Whose history" value={of} onChange={(event) => setQuery({ of: event.currentTarget.value }, { keep: true })}>
          <option value="">the cluster</option>
          {[...new Set([...zones, ...(of ? [of] : [])])].map((zone) => <option key={zone} value={zone}>{zone}</option>)}
        </select>
      )}
      note={usage && measuredPart(usage)}
      empty={usage === null && <p class="muted">No worker is in {of}.</p>}
    />
  );
}
