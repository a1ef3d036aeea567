// What several pages and the frame around them show of the cluster.

import { signal } from '@preact/signals';
import { isIn } from '../session';
import { onEvents, resyncs } from './events';
import { follow } from './live';
import { fragment, operation, type FragmentType } from './operation';
import { Store } from './store';

export const WorkerFields = fragment(`fragment WorkerFields on Worker {
  id hostname address zone status schedulingPolicy isHealthy lastSeen startedAt revision
  cpuCores memoryMb diskGb usedCpuCores usedMemoryMb usedDiskGb cpuUsagePercent memoryUsagePercent
  vmCount maxVms freeCpuCores freeMemoryMb freeVmSlots reservedVmSlots
  labels { key value }
  capabilities
  drain { id number state reason startedAt startedBy startedByName deadlineAt initialVms remainingVms safeToPowerOff }
}`);

export type Worker = FragmentType<typeof WorkerFields>;

/** Workers as far as pages have read them. */
export const workers = new Store<Worker>();

const Stats = operation(`subscription Stats {
  clusterStats(every: "1s") {
    totalWorkers activeWorkers drainingWorkers offlineWorkers
    totalCpuCores totalMemoryMb usedCpuCores usedMemoryMb
    totalVms maxVms schedulableWorkers schedulableCpuCores schedulableMemoryMb schedulableVmSlots revision
    zones { name workers }
  }
}`);

type StatsResult = NonNullable<NonNullable<typeof Stats.types>['result']>;

/** The totals, at most a second old; undefined until they are known. */
export const stats = signal<StatsResult['clusterStats'] | undefined>(undefined);

let stop: (() => void) | null = null;
isIn.subscribe((isIn) => {
  if (isIn) stop ??= follow(Stats, {}, ({ clusterStats }) => { stats.value = clusterStats; });
  else {
    stop?.();
    stop = null;
    stats.value = undefined;
    workers.clear();
  }
});

const WorkerHeartbeats = operation(`subscription WorkerHeartbeats($filter: WorkerFilter, $every: Duration) {
  workerHeartbeats(filter: $filter, every: $every) { isLast worker { ...WorkerFields } }
}`, WorkerFields);

/** Keeps these workers of the store as they are now, at most one message a second for each. Returns how to stop. */
export function followWorkers(ids: readonly string[], onHeartbeat?: (worker: Worker) => void): () => void {
  if (ids.length === 0) return () => {};
  return follow(WorkerHeartbeats, { filter: { ids }, every: '1s' }, ({ workerHeartbeats: { worker } }) => {
    workers.push(worker);
    onHeartbeat?.(worker);
  });
}

// A cluster in which workers come and go has a new id for each: those that are gone for ever are forgotten.
onEvents((events) => { for (const { kind, workerId } of events) if (kind === 'WORKER_PURGED' && workerId) workers.remove(workerId); });

// After a backup was restored, revisions are counted from further back: what is known would win for ever.
resyncs.subscribe((count) => { if (count > 1) workers.clear(); });
