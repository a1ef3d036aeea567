// Draining and activating: the dialog that asks why and until when, the commands, and how they are undone.

import { useSignal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import { stats, workers as store, type Worker } from '../api/cluster';
import { ask } from '../api/http';
import { isConnected } from '../api/live';
import { fragment, operation, type FragmentType, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import { count, memory, percent, plural, share } from '../format';
import { milliseconds, serverNow } from '../time';
import { Confirm } from './dialog';
import { toast, toastError } from './toast';

const ChangedFields = fragment(`fragment ChangedFields on Worker {
  id status schedulingPolicy revision
  drain { id number state reason startedAt startedBy startedByName deadlineAt initialVms remainingVms safeToPowerOff }
}`);

const DrainWorkers = operation(`mutation DrainWorkers($input: DrainWorkersInput!) {
  drainWorkers(input: $input) { workers { changed worker { ...ChangedFields } } }
}`, ChangedFields);

const ActivateWorkers = operation(`mutation ActivateWorkers($input: ActivateWorkersInput!) {
  activateWorkers(input: $input) { workers { changed worker { ...ChangedFields } } }
}`, ChangedFields);

const LastDrains = operation(`query LastDrains($first: Int, $filter: DrainFilter) {
  drains(first: $first, filter: $filter) { nodes { workerId reason deadlineAt metadata { key value } } }
}`);

const Plan = operation(`query Plan($filter: WorkerFilter) {
  evacuationPlan(filter: $filter, limit: 3) {
    fits vms placeable totalStranded unsizedVms setAsideVms vmsOfOtherDrains
    stranded { vmId workerId vcpus memoryMb refusalsByReason { reason workers } }
  }
}`);

type PlanResult = ResultOf<typeof Plan>['evacuationPlan'];

/** Drains that the API gives at once. */
const MOST_DRAINS = 500;
/** From this share of the capacity on, a drain has to be confirmed by a tick. */
const MUCH_PERCENT = 25;

export interface DrainOptions {
  reason?: string;
  /** As the API takes it: `2h`. */
  deadline?: string;
  metadata?: readonly { key: string; value: string }[];
  /** Also if no other place was found for VMs there. */
  allowShortfall?: boolean;
}

/** Drains all of them in one revision, or none. Returns the ids of those that were not draining before. */
export async function drainWorkers(ids: readonly string[], { reason, deadline, metadata = [], allowShortfall = false }: DrainOptions): Promise<string[]> {
  const { drainWorkers } = await ask(DrainWorkers, {
    input: { filter: { ids }, reason: reason || null, deadline: deadline || null, metadata: metadata.length > 0 ? metadata : null, allowShortfall },
  });
  return taken(drainWorkers?.workers ?? []);
}

/** Activates all of them in one revision, or none. Returns the ids of those that were draining before. */
export async function activateWorkers(ids: readonly string[], reason?: string): Promise<string[]> {
  const { activateWorkers } = await ask(ActivateWorkers, { input: { filter: { ids }, reason: reason || null } });
  return taken(activateWorkers?.workers ?? []);
}

/** Puts the workers as they are after a command into the store, without waiting for the stream. */
function taken(changes: ReadonlyArray<{ changed: boolean; worker: FragmentType<typeof ChangedFields> }>): string[] {
  store.put(changes.map(({ worker }) => worker));
  return changes.filter(({ changed }) => changed).map(({ worker }) => worker.id);
}

/** Activates at once, and offers to drain again as it was before. */
export async function activateWithUndo(workers: readonly Pick<Worker, 'id'>[]): Promise<void> {
  try {
    const changed = await activateWorkers(workers.map(({ id }) => id));
    report('Activated', changed, async () => report('Draining again:', await drainAgain(changed)));
  } catch (error) {
    toastError(error);
  }
}

/**
 * Drains workers as they were drained last: for the same reason, until the same deadline, with the same metadata. Only who
 * began it is another: whoever asks for this. A worker that has been drained since keeps that drain.
 */
async function drainAgain(ids: readonly string[]): Promise<string[]> {
  // Drains that were alike are one command.
  const alike = new Map<string, { ids: string[]; options: DrainOptions }>();
  for (let from = 0; from < ids.length; from += MOST_DRAINS) {
    const { drains } = await ask(LastDrains, { first: MOST_DRAINS, filter: { workerIds: ids.slice(from, from + MOST_DRAINS), states: ['CANCELED', 'ENDED'] } });
    for (const { workerId, reason, deadlineAt, metadata } of drains.nodes) {
      // One that has passed is announced again at once: the API takes none of less than a second.
      const left = deadlineAt && Math.max(1, Math.ceil((Date.parse(deadlineAt) - serverNow()) / 1_000));
      const options = { reason: reason ?? '', deadline: left ? `${left}s` : '', metadata, allowShortfall: true };
      const key = JSON.stringify(options);
      alike.set(key, { ids: [...alike.get(key)?.ids ?? [], workerId], options });
    }
  }
  const again = await Promise.all([...alike.values()].map(({ ids, options }) => drainWorkers(ids, options)));
  return again.flat();
}

function named(ids: readonly string[]): string {
  return ids.length === 1 ? ids[0]! : plural(ids.length, 'worker');
}

function report(verb: string, changed: readonly string[], undo?: () => Promise<void>): void {
  if (changed.length === 0) toast('Nothing has changed: they were in that state already.');
  else toast(`${verb} ${named(changed)}`, undo ? { action: { label: 'Undo', run: () => { undo().catch(toastError); } } } : {});
}

const DEADLINES = [
  ['', 'No deadline'], ['30m', '30 minutes'], ['2h', '2 hours'], ['8h', '8 hours'], ['24h', '1 day'], ['other', 'Other …'],
] as const;

/** Asks why and until when, says how much capacity is at stake, and drains. */
export function DrainDialog({ workers: asked, onClose, onDone }: { workers: readonly Worker[]; onClose: () => void; onDone?: () => void }) {
  // A drain that stands keeps its own reason and deadline.
  const workers = useMemo(() => asked.filter(({ schedulingPolicy }) => schedulingPolicy === 'ACTIVE'), [asked]);
  const reason = useSignal('');
  const deadline = useSignal('');
  const other = useSignal('');
  const isSure = useSignal(false);
  const { data, error } = useQuery(Plan, { filter: { ids: workers.map(({ id }) => id) } }, { atMostEvery: 3_000 });
  const plan = data.value?.evacuationPlan;
  const isShort = plan !== undefined && !plan.fits;
  const stake = useMemo(() => {
    const taking = workers.filter(({ status }) => status === 'ACTIVE');
    const sum = (of: (worker: Worker) => number): number => taking.reduce((total, worker) => total + of(worker), 0);
    const zones = new Map<string, number>();
    for (const { zone } of workers) zones.set(zone ?? 'no zone', (zones.get(zone ?? 'no zone') ?? 0) + 1);
    return { zones: [...zones], taking: taking.length, vms: workers.reduce((total, { vmCount }) => total + vmCount, 0), slots: sum(({ freeVmSlots }) => freeVmSlots), cores: sum(({ freeCpuCores }) => freeCpuCores), memory: sum(({ freeMemoryMb }) => freeMemoryMb) };
  }, [workers]);
  const all = stats.value;
  const lost = Math.max(share(stake.cores, all?.schedulableCpuCores ?? 0), share(stake.memory, all?.schedulableMemoryMb ?? 0), share(stake.taking, all?.schedulableWorkers ?? 0));
  const isMuch = lost >= MUCH_PERCENT && workers.length > 0;
  const time = deadline.value === 'other' ? other.value.replaceAll(' ', '').replace(/(\d+)d/g, (_, days) => `${Number(days) * 24}h`) : deadline.value;
  const isTimeRight = deadline.value !== 'other' || (milliseconds(other.value) ?? 0) >= 1_000;
  const title = workers.length === 1 ? `Drain ${workers[0]!.id}` : `Drain ${plural(workers.length, 'worker')}`;

  async function confirm(): Promise<void> {
    const ids = workers.map(({ id }) => id);
    const changed = await drainWorkers(ids, { reason: reason.peek().trim(), deadline: time, allowShortfall: isShort && isSure.peek() });
    report('Draining', changed, async () => report('Activated', await activateWorkers(changed, 'drain undone')));
    onDone?.();
  }
  return (
    <Confirm
      title={title}
      action={workers.length === 1 ? 'Drain' : `Drain ${count(workers.length)}`}
      disabled={workers.length === 0 || !isTimeRight || ((isMuch || isShort) && !isSure.value) || !isConnected.value}
      onConfirm={confirm}
      onClose={onClose}
    >
      <p class="muted">
        {workers.length > 1 && `${stake.zones.slice(0, 4).map(([zone, amount]) => `${amount} in ${zone}`).join(', ')}${stake.zones.length > 4 ? ` and ${stake.zones.length - 4} other zones` : ''}. `}
        No new VMs are placed there; running VMs keep running.{' '}
        {stake.vms > 0 ? `${plural(stake.vms, 'VM')} ${stake.vms === 1 ? 'has' : 'have'} to move or end before the ${workers.length === 1 ? 'host is' : 'hosts are'} empty.` : workers.length === 1 ? 'It has no VMs.' : 'They have no VMs.'}
      </p>
      <p class={`notice ${isMuch ? 'warn' : ''}`}>
        {stake.taking === 0
          ? `No capacity is lost: ${workers.length === 1 ? 'it is not' : 'none of them is'} open for new VMs.`
          : `At stake: ${plural(stake.cores, 'free core')}, ${memory(stake.memory)} and ${plural(stake.slots, 'VM slot')} that are placeable now, ${percent(lost)} of what there is.`}
      </p>
      {workers.length > 0 && <PlanNotice plan={plan} problem={error.value?.message} />}
      {asked.length > workers.length && <p class="small muted">{plural(asked.length - workers.length, 'of them is draining already', 'of them are draining already')} and {asked.length - workers.length === 1 ? 'stays as it is' : 'stay as they are'}.</p>}
      <label class="field">
        <span>Reason, shown to others</span>
        <input value={reason.value} maxLength={500} placeholder="new disks" onInput={(event) => { reason.value = event.currentTarget.value; }} />
      </label>
      <label class="field">
        <span>Deadline</span>
        <select value={deadline.value} onChange={(event) => { deadline.value = event.currentTarget.value; }}>
          {DEADLINES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
      </label>
      {deadline.value === 'other' && (
        <label class="field">
          <span>How long, such as 90m or 36h</span>
          <input value={other.value} required onInput={(event) => { other.value = event.currentTarget.value; }} aria-invalid={other.value !== '' && !isTimeRight} />
        </label>
      )}
      {(isMuch || isShort) && (
        <label class="row">
          <input type="checkbox" checked={isSure.value} onChange={(event) => { isSure.value = event.currentTarget.checked; }} />
          {isShort
            ? `Yes, drain although ${plural(plan.totalStranded, 'VM')} ${plan.totalStranded === 1 ? 'fits' : 'fit'} nowhere else`
            : `Yes, take ${percent(lost)} of the placeable capacity out`}
        </label>
      )}
    </Confirm>
  );
}

/** Why workers refuse a VM, after the number of workers. */
const REASONS: Partial<Record<string, string>> = {
  EXCLUDED: 'are being drained, too', CPU_CORES: 'lack cores', MEMORY: 'lack memory', DISK: 'lack disk', VM_SLOTS: 'lack slots',
  OFFLINE: 'are offline', DRAINING: 'are draining', NO_INVENTORY: 'have reported no inventory',
};

/** Whether the VMs there fit elsewhere, and which do not, and why. */
function PlanNotice({ plan, problem }: { plan: PlanResult | undefined; problem: string | undefined }) {
  if (!plan) return <p class="notice">{problem ?? 'Checking whether the VMs fit elsewhere …'}</p>;
  if (plan.vms === 0 && plan.setAsideVms === 0) return null;
  const others = plan.vmsOfOtherDrains > 0 ? ` ${plural(plan.vmsOfOtherDrains, 'VM')} of other drains ${plan.vmsOfOtherDrains === 1 ? 'is' : 'are'} given room first.` : '';
  const unsized = plan.unsizedVms > 0 ? ` The size of ${plural(plan.unsizedVms, 'VM')} is unknown: there may be less room.` : '';
  const setAside = plan.setAsideVms > 0 ? ` ${plural(plan.setAsideVms, 'VM')} more ${plan.setAsideVms === 1 ? 'was' : 'were'} set aside because of ${plan.setAsideVms === 1 ? 'its id' : 'their ids'}: the plan has no place for ${plan.setAsideVms === 1 ? 'it' : 'them'}.` : '';
  if (plan.fits && plan.vms === 0) return <p class="notice">{setAside.trim()}</p>;
  if (plan.fits) return <p class="notice good">{plan.vms === 1 ? 'The VM fits' : `All ${count(plan.vms)} VMs fit`} on other workers.{others}{unsized}{setAside}</p>;
  return (
    <div class="notice bad">
      <p>{count(plan.totalStranded)} of {plural(plan.vms, 'VM')} {plan.totalStranded === 1 ? 'fits' : 'fit'} nowhere else.{others}{unsized}{setAside}</p>
      <ul>
        {plan.stranded.map(({ vmId, workerId, vcpus, memoryMb, refusalsByReason }) => (
          <li key={`${workerId} ${vmId}`} class="small break">
            {vmId} on {workerId}, {vcpus} vCPU · {memory(memoryMb)}: {refusalsByReason.slice(0, 3).map(({ reason, workers }) => `${count(workers)} ${REASONS[reason] ?? reason.toLowerCase()}`).join('; ')}
          </li>
        ))}
      </ul>
    </div>
  );
}
