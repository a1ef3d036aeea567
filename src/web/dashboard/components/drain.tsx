// Draining and activating: the dialog that asks why and until when, the commands, and how they are undone.

import { useSignal } from '@preact/signals';
import { useMemo, useRef } from 'preact/hooks';
import { stats, workers as store, type Worker } from '../api/cluster';
import { ask } from '../api/http';
import { isConnected } from '../api/live';
import { operation } from '../api/operation';
import { count, memory, percent, plural, share } from '../format';
import { milliseconds } from '../time';
import { Confirm } from './dialog';
import { toast, toastError } from './toast';

const DrainWorker = operation(`mutation DrainWorker($input: DrainWorkerInput!) {
  drainWorker(input: $input) { message changed worker { id status schedulingPolicy revision drain { id number state reason startedAt startedBy startedByName deadlineAt initialVms remainingVms safeToPowerOff } } }
}`);

const ActivateWorker = operation(`mutation ActivateWorker($input: ActivateWorkerInput!) {
  activateWorker(input: $input) { message changed worker { id status schedulingPolicy revision drain { id number state reason startedAt startedBy startedByName deadlineAt initialVms remainingVms safeToPowerOff } } }
}`);

/** Commands that are under way at once: a fleet is drained in a moment, and the server is not flooded. */
const AT_ONCE = 6;

/** From this share of the capacity on, a drain has to be confirmed by a tick. */
const MUCH_PERCENT = 25;

export interface DrainOptions {
  reason?: string;
  /** As the API takes it: `2h`. */
  deadline?: string;
}

export interface Outcome {
  changed: string[];
  failed: { id: string; message: string }[];
  /** Left out, since somebody said stop. */
  skipped: string[];
}

export async function drainWorkers(ids: readonly string[], { reason, deadline }: DrainOptions, progress?: (done: number) => void, signal?: AbortSignal): Promise<Outcome> {
  return each(ids, progress, signal, async (workerId) => {
    const { drainWorker } = await ask(DrainWorker, { input: { workerId, reason: reason || null, deadline: deadline || null } });
    if (drainWorker) store.put([drainWorker.worker]);
    return drainWorker?.changed ?? false;
  });
}

export async function activateWorkers(ids: readonly string[], reason?: string, progress?: (done: number) => void, signal?: AbortSignal): Promise<Outcome> {
  return each(ids, progress, signal, async (workerId) => {
    const { activateWorker } = await ask(ActivateWorker, { input: { workerId, reason: reason || null } });
    if (activateWorker) store.put([activateWorker.worker]);
    return activateWorker?.changed ?? false;
  });
}

async function each(ids: readonly string[], progress: ((done: number) => void) | undefined, signal: AbortSignal | undefined, command: (id: string) => Promise<boolean>): Promise<Outcome> {
  const outcome: Outcome = { changed: [], failed: [], skipped: [] };
  const waiting = [...ids];
  let done = 0;
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, async () => {
    for (let id = waiting.shift(); id !== undefined; id = waiting.shift()) {
      if (signal?.aborted) {
        outcome.skipped.push(id);
        continue;
      }
      try {
        if (await command(id)) outcome.changed.push(id);
      } catch (error) {
        outcome.failed.push({ id, message: (error as Error).message });
      }
      progress?.(++done);
    }
  }));
  return outcome;
}

/** Activates at once, and offers to drain again as it was before. */
export async function activateWithUndo(list: readonly Pick<Worker, 'id' | 'drain'>[]): Promise<void> {
  const before = new Map(list.map((worker) => [worker.id, worker.drain]));
  const outcome = await activateWorkers(list.map(({ id }) => id));
  report('Activated', outcome, async () => {
    const undone = await Promise.all(outcome.changed.map((id) => {
      const drain = before.get(id);
      const left = drain?.deadlineAt ? Math.max(1_000, Date.parse(drain.deadlineAt) - Date.now()) : null;
      return drainWorkers([id], { reason: drain?.reason ?? '', deadline: left ? `${Math.ceil(left / 1_000)}s` : '' });
    }));
    report('Draining again:', merged(undone));
  });
}

function merged(outcomes: readonly Outcome[]): Outcome {
  return {
    changed: outcomes.flatMap(({ changed }) => changed),
    failed: outcomes.flatMap(({ failed }) => failed),
    skipped: outcomes.flatMap(({ skipped }) => skipped),
  };
}

function named(ids: readonly string[]): string {
  return ids.length === 1 ? ids[0]! : plural(ids.length, 'worker');
}

function report(verb: string, { changed, failed, skipped }: Outcome, undo?: () => Promise<void>): void {
  if (changed.length > 0 || failed.length === 0) {
    const rest = skipped.length > 0 ? `, ${skipped.length} left as they were` : '';
    const text = changed.length === 0 ? `Nothing to do${rest}` : `${verb} ${named(changed)}${rest}`;
    toast(text, undo && changed.length > 0 ? { action: { label: 'Undo', run: () => { undo().catch(toastError); } } } : {});
  }
  const [first, ...others] = failed;
  if (first) toastError(new Error(`${first.id}: ${first.message}${others.length > 0 ? ` (and ${others.length} more)` : ''}`));
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
  const done = useSignal(0);
  const abort = useRef<AbortController | null>(null);
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
    const controller = abort.current = new AbortController();
    const outcome = await drainWorkers(ids, { reason: reason.peek().trim(), deadline: time }, (count) => { done.value = count; }, controller.signal);
    abort.current = null;
    if (outcome.changed.length === 0 && outcome.failed.length > 0) throw new Error(outcome.failed[0]!.message);
    report('Draining', outcome, async () => report('Activated', await activateWorkers(outcome.changed, 'drain undone')));
    onDone?.();
  }
  return (
    <Confirm
      title={title}
      action={workers.length === 1 ? 'Drain' : `Drain ${count(workers.length)}`}
      disabled={workers.length === 0 || !isTimeRight || (isMuch && !isSure.value) || !isConnected.value}
      onConfirm={confirm}
      onClose={() => { if (abort.current) abort.current.abort(); else onClose(); }}
    >
      <p class="muted">
        {workers.length > 1 && `${stake.zones.slice(0, 4).map(([zone, amount]) => `${amount} in ${zone}`).join(', ')}${stake.zones.length > 4 ? ` and ${stake.zones.length - 4} other zones` : ''}. `}
        Nothing new is placed there; what runs keeps running.{' '}
        {stake.vms > 0 ? `${plural(stake.vms, 'VM')} ${stake.vms === 1 ? 'has' : 'have'} to move or end before the ${workers.length === 1 ? 'host is' : 'hosts are'} empty.` : 'No VM is there.'}
      </p>
      <p class={`notice ${isMuch ? 'warn' : ''}`}>
        {stake.taking === 0
          ? 'No capacity is lost: none of them takes VMs now.'
          : `At stake: ${plural(stake.cores, 'free core')}, ${memory(stake.memory)} and ${plural(stake.slots, 'VM slot')} that are placeable now, ${percent(lost)} of what there is.`}
      </p>
      {asked.length > workers.length && <p class="small muted">{plural(asked.length - workers.length, 'of them drains already', 'of them drain already')} and {asked.length - workers.length === 1 ? 'stays as it is' : 'stay as they are'}.</p>}
      <label class="field">
        <span>Reason, which others see</span>
        <input value={reason.value} maxLength={500} placeholder="new disks" onInput={(event) => { reason.value = event.currentTarget.value; }} />
      </label>
      <label class="field">
        <span>Empty within</span>
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
      {isMuch && (
        <label class="row">
          <input type="checkbox" checked={isSure.value} onChange={(event) => { isSure.value = event.currentTarget.checked; }} />
          Yes, take {percent(lost)} of the placeable capacity out
        </label>
      )}
      {abort.current !== null && workers.length > 1 && (
        <p class="row" role="status">
          <span class="grow bar"><i style={{ width: `${share(done.value, workers.length)}%` }} /></span>
          {done.value} of {workers.length}
        </p>
      )}
    </Confirm>
  );
}
