// One worker: what operators want of it and what its heartbeats say, each with since when and why; what it holds, and what
// happened.

import { useComputed, useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import type { PageProps } from '../pages';
import { followWorkers, workers as store, WorkerFields, type Worker } from '../api/cluster';
import { ask } from '../api/http';
import { isConnected } from '../api/live';
import { operation, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import { splitBlockers } from '../blockers';
import { Card } from '../components/card';
import { CopyAs, CopyButton, quote } from '../components/copy';
import { Confirm } from '../components/dialog';
import { activateWithUndo, DrainDialog } from '../components/drain';
import { Empty } from '../components/empty';
import { EventLine } from '../components/event';
import { useLastEvents } from '../components/events';
import { Sparkline } from '../components/sparkline';
import { Status, WorkerStatusChip } from '../components/status';
import { Table, type Column } from '../components/table';
import { Clock, Since, Time } from '../components/time';
import { toast } from '../components/toast';
import { VmStatusChip } from '../components/vm-status';
import { actor, count, memory, percent, plural, share } from '../format';
import { useKeys } from '../keyboard';
import { go, href } from '../router';
import { searchFor } from '../search';
import { mayAdminister, mayOperate } from '../session';
import { exact, exactLength, now } from '../time';
import { WorkerCurves } from './worker/history';

const WorkerPage = operation(`query OneWorker($id: ID!) {
  worker(id: $id) {
    ...WorkerFields
    freeDiskGb reservedCpuCores reservedMemoryMb reservedDiskGb
    current: drain { id state acknowledgedAt completedAt overdueAt isEmpty metadata { key value } blockers { kind vmId since note message } }
    drains(first: 6) { id number state reason startedAt startedBy startedByName endedAt endedBy endedByName endReason completedAt }
    reservations { id vcpus memoryMb expiresAt reason slots { workerId state vmId } }
    vmsConnection(first: 500, filter: { statuses: [CREATED, STARTING, RUNNING, STOPPING, STOPPED, FAILED] }) {
      totalCount
      nodes { id name status statusSince vcpus memoryMb note duplicate createdAt revision }
    }
  }
}`, WorkerFields);

const RemoveWorker = operation(`mutation RemoveWorker($input: DeregisterWorkerInput!) {
  deregisterWorker(input: $input) { workerId removedVmIds }
}`);

type Detail = NonNullable<ResultOf<typeof WorkerPage>['worker']>;
type Vm = Detail['vmsConnection']['nodes'][number];

/** Heartbeats that were heard while the page was open, by worker: when, by the server's clock, in milliseconds. */
const heartbeats = new Map<string, number[]>();
const KEPT_HEARTBEATS = 61;

export default function WorkerDetail({ argument: id }: PageProps) {
  const query = useQuery(WorkerPage, { id }, { on: (event) => event.workerId === id, every: 15_000, atMostEvery: 700 });
  const beats = useSignal<readonly number[]>(heartbeats.get(id) ?? []);
  useEffect(() => followWorkers([id], (worker) => {
    const at = Date.parse(worker.lastSeen);
    const known = heartbeats.get(id) ?? [];
    if (known.at(-1) === at) return;
    const next = [...known, at].slice(-KEPT_HEARTBEATS);
    heartbeats.set(id, next);
    beats.value = next;
  }), [id]);
  const detail = query.data.value?.worker;
  useEffect(() => { if (detail) store.put([detail as Worker]); }, [detail]);
  const row = store.row(id).value;
  const dialog = useSignal<'drain' | 'remove' | null>(null);
  const worker: Worker | undefined = detail ? { ...detail, ...(row && row.revision >= detail.revision ? row : {}) } as Worker : row;

  const mayAct = mayOperate.value && worker !== undefined;
  const act = (): void => {
    if (!worker || !isConnected.peek() || !mayOperate.peek()) return;
    if (worker.schedulingPolicy === 'DRAINING') void activateWithUndo([worker]);
    else dialog.value = 'drain';
  };
  useKeys({ d: () => { if (worker?.schedulingPolicy === 'ACTIVE') act(); }, u: () => { if (worker?.schedulingPolicy === 'DRAINING') act(); }, b: () => go(href('workers')) });

  if (query.data.value && !detail) return <Gone id={id} />;
  if (!worker) {
    return query.error.value
      ? <Empty title="This worker cannot be read"><p>{query.error.value.message}</p></Empty>
      : <header class="page-head"><Crumbs /><h1 class="break">{id}</h1></header>;
  }
  const isDraining = worker.schedulingPolicy === 'DRAINING';
  const away = isConnected.value ? undefined : 'Not available while the server cannot be reached';
  return (
    <>
      <header class="page-head">
        <Crumbs />
        <div class="row wrap">
          <h1 class="break">{worker.id}</h1>
          <WorkerStatusChip {...worker} />
          <span class="page-actions">
            <CopyAs title={mayOperate.value ? 'This worker' : undefined} request={request(worker.id)} more={!mayOperate.value ? [] : [isDraining ? ['Activate it', activateRequest(worker.id)] : ['Drain it', drainRequest(worker.id)]]} />
            {mayAdminister.value && worker.status === 'OFFLINE' && (
              <button type="button" class="button danger" disabled={!!away} title={away} onClick={() => { dialog.value = 'remove'; }}>Remove …</button>
            )}
            {mayAct && (
              <button type="button" class={`button${isDraining ? ' primary' : ''}`} disabled={!!away} title={away} onClick={act}>
                {isDraining ? <>Activate <kbd aria-hidden="true">u</kbd></> : <>Drain … <kbd aria-hidden="true">d</kbd></>}
              </button>
            )}
          </span>
        </div>
        <p><Sentence worker={worker} /></p>
        {query.error.value && <p class="warn" role="status">{query.error.value.message} The data shown may be out of date.</p>}
      </header>
      <div class="overview">
        <div class="stack">
          <Axes worker={worker} />
          {isDraining && worker.drain && <DrainCard worker={worker} current={detail?.current ?? null} />}
          {detail && <Vms detail={detail} />}
          <WorkerCurves id={id} isOffline={worker.status === 'OFFLINE'} />
          {detail && detail.drains.some(({ endedAt }) => endedAt) && <PastDrains drains={detail.drains} />}
          <Events id={id} />
        </div>
        <div class="stack">
          <CapacityCard worker={worker} detail={detail ?? null} />
          <Facts worker={worker} />
          <Card title="Heartbeat intervals"><Intervals beats={beats.value} /></Card>
        </div>
      </div>
      {dialog.value === 'drain' && <DrainDialog workers={[worker]} onClose={() => { dialog.value = null; }} onDone={() => { void query.refresh(); }} />}
      {dialog.value === 'remove' && <RemoveDialog worker={worker} onClose={() => { dialog.value = null; }} />}
    </>
  );
}

function Crumbs() {
  return <nav aria-label="Above" class="small"><a href={href('workers')}>Workers</a> <span class="faint" aria-hidden="true">/</span></nav>;
}

/** A worker that is not registered: never, or not any more. */
function Gone({ id }: { id: string }) {
  return (
    <>
      <header class="page-head"><Crumbs /><h1 class="break">{id}</h1><p>No worker with this id is registered. Its events, as far back as the change log goes:</p></header>
      <Events id={id} />
    </>
  );
}

function Sentence({ worker }: { worker: Worker }) {
  const { status, drain, vmCount, freeCpuCores, freeMemoryMb, freeVmSlots, lastSeen } = worker;
  if (status === 'OFFLINE') {
    return <>No heartbeat for <Since at={lastSeen} />. {vmCount > 0 ? `Its last heartbeat reported ${plural(vmCount, 'VM')}, whose present state is unknown.` : 'Its last heartbeat reported no VMs.'}</>;
  }
  if (drain) {
    if (drain.safeToPowerOff) return <>Drained: no VMs are left and no new ones are placed here. The host can be powered off.</>;
    const left = drain.remainingVms ?? vmCount;
    return <>Takes no new VMs. {left > 0 ? `${plural(left, 'VM')} ${left === 1 ? 'is' : 'are'} left` : 'No VMs are left; waiting for its agent to confirm'}{drain.deadlineAt && (drain.state === 'OVERDUE' ? <>; the deadline passed <Time at={drain.deadlineAt} /></> : <>; the deadline is <Time at={drain.deadlineAt} /></>)}.</>;
  }
  const exhausted = [freeCpuCores === 0 && 'cores', freeMemoryMb === 0 && 'memory', freeVmSlots === 0 && 'VM slots'].filter(Boolean);
  if (exhausted.length > 0) return <>Active, but it is full: no free {exhausted.join(', ')}.</>;
  return <>Takes new VMs; {plural(freeCpuCores, 'core')}, {memory(freeMemoryMb)} and {plural(freeVmSlots, 'slot')} are free.</>;
}

function request(id: string) {
  return {
    path: `workers/${encodeURIComponent(id)}`,
    graphql: `query ($id: ID!) { worker(id: $id) { id status schedulingPolicy lastSeen vmCount drain { state reason deadlineAt remainingVms blockers { message } } vms { id name status } } }`,
    variables: { id },
    cli: `workers ${quote(id)}`,
  };
}

const CHANGED = 'worker { id status schedulingPolicy revision drain { state deadlineAt remainingVms } }';

function drainRequest(id: string) {
  return {
    path: `workers/${encodeURIComponent(id)}/drain`,
    method: 'POST',
    graphql: `mutation ($input: DrainWorkerInput!) { drainWorker(input: $input) { ${CHANGED} } }`,
    variables: { input: { workerId: id } },
    cli: `drain ${quote(id)}`,
  };
}

function activateRequest(id: string) {
  return {
    path: `workers/${encodeURIComponent(id)}/activate`,
    method: 'POST',
    graphql: `mutation ($input: ActivateWorkerInput!) { activateWorker(input: $input) { ${CHANGED} } }`,
    variables: { input: { workerId: id } },
    cli: `activate ${quote(id)}`,
  };
}

/** The desired state, and the one that heartbeats show: neither follows from the other. */
function Axes({ worker }: { worker: Worker }) {
  const { schedulingPolicy, drain, status, lastSeen, startedAt } = worker;
  const who = drain && actor(drain.startedByName, drain.startedBy);
  const uptime = useComputed(() => exactLength(now.value - Date.parse(startedAt)));
  return (
    <div class="axes">
      <Card title="Desired">
        {schedulingPolicy === 'ACTIVE' ? (
          <>
            <p class="axis"><Status tone="good">active</Status></p>
            <p class="small muted">Open for new VMs.</p>
          </>
        ) : (
          <>
            <p class="axis"><Status tone="warn">draining</Status>{drain?.startedAt && <span>since <Clock at={drain.startedAt} /> · <Since at={drain.startedAt} /></span>}</p>
            <p class="small muted break">{[drain?.reason ? `“${drain.reason}”` : 'no reason given', who && `by ${who}`].filter(Boolean).join(', ')}{drain?.deadlineAt && <>; due <Time at={drain.deadlineAt} />, at <Clock at={drain.deadlineAt} /></>}</p>
          </>
        )}
      </Card>
      <Card title="Observed">
        <p class="axis">
          {status === 'OFFLINE'
            ? <><Status tone="bad">offline</Status><span>last heartbeat <Clock at={lastSeen} seconds /> · <Since at={lastSeen} /> ago</span></>
            : <><Status tone="good">online</Status><span>last heartbeat <Time at={lastSeen} /></span></>}
        </p>
        <p class="small muted">{status === 'OFFLINE' ? <>agent started <Time at={startedAt} /></> : <span title={exact(startedAt)}>agent uptime {uptime}</span>}</p>
      </Card>
    </div>
  );
}

function Intervals({ beats }: { beats: readonly number[] }) {
  const seconds = beats.slice(1).map((at, index) => (at - beats[index]!) / 1_000);
  if (seconds.length < 2) return <p class="small faint">Recorded while this page is open: {plural(beats.length, 'heartbeat')} so far.</p>;
  const sorted = [...seconds].sort((a, b) => a - b);
  const usual = sorted[Math.floor(sorted.length / 2)]!;
  const longest = sorted.at(-1)!;
  const words = `median ${usual.toFixed(1)} s, longest ${longest.toFixed(1)} s`;
  return (
    <>
      <Sparkline values={seconds} limit={usual * 1.5} label={`The last ${seconds.length} intervals: ${words}`} />
      <p class="tiny muted">{words} · last {seconds.length}</p>
    </>
  );
}

/** Blockers that are shown; behind them is told how many more there are. */
const MOST_BLOCKERS = 8;

const STEPS = ['requested', 'acknowledged', 'empty', 'safe to power off'] as const;

function DrainCard({ worker, current }: { worker: Worker; current: Detail['current'] }) {
  const drain = worker.drain!;
  const left = drain.remainingVms ?? worker.vmCount;
  const most = Math.max(drain.initialVms ?? 0, left);
  const reached = drain.safeToPowerOff ? 4 : current?.isEmpty ? 3 : current?.acknowledgedAt ? 2 : 1;
  const times = [drain.startedAt, current?.acknowledgedAt, current?.isEmpty ? current.completedAt : null, drain.safeToPowerOff ? current?.completedAt : null];
  const { leaving, blocking } = splitBlockers(current?.blockers ?? []);
  return (
    <Card title={`Drain ${drain.number}`} aside={drain.state === 'OVERDUE' && drain.deadlineAt && <span class="warn strong">overdue since <Clock at={drain.deadlineAt} /></span>}>
      <ol class="steps" aria-label="Progress">
        {STEPS.map((step, index) => (
          <li key={step} class={index < reached ? 'done' : index === reached ? 'next' : ''} aria-current={index === reached - 1 ? 'step' : undefined}>
            <i aria-hidden="true" />
            <span>{step}</span>
            <small class="tiny faint">{index < reached && times[index] ? <Clock at={times[index]!} /> : index === 2 && left > 0 ? `${count(left)} of ${count(most)} left` : ' '}</small>
          </li>
        ))}
      </ol>
      {most > 0 && <div class="bar drain-bar" role="img" aria-label={`${most - left} of ${plural(most, 'VM')} gone`}><i style={{ width: `${share(most - left, most)}%` }} /></div>}
      {leaving.length > 0 && <p class="small more" data-test="leaving"><span class="muted">Still to leave:</span> <a href={href('vms', { q: searchFor('worker', worker.id) })}>{plural(leaving.length, 'VM')}</a></p>}
      {blocking.length > 0 && (
        <>
          <h3 class="blockers-title">Blockers</h3>
          <ul class="list blockers">
            {blocking.slice(0, MOST_BLOCKERS).map((blocker) => (
              <li key={`${blocker.kind} ${blocker.vmId}`}>
                <Status tone={blocker.kind === 'WORKER_OFFLINE' || blocker.kind === 'POLICY_HOOK_FAILED' ? 'bad' : 'warn'} bare>{BLOCKERS[blocker.kind]}</Status>
                <span class="grow break">{blocker.message}</span>
                {blocker.since && <span class="small faint"><Since at={blocker.since} /></span>}
              </li>
            ))}
          </ul>
          {blocking.length > MOST_BLOCKERS && <p class="small muted more">and {blocking.length - MOST_BLOCKERS} more</p>}
        </>
      )}
      {current && leaving.length + blocking.length === 0 && <p class="notice good more">No blockers.</p>}
      {current && current.metadata.length > 0 && <p class="tags wrap more">{current.metadata.map(({ key, value }) => <span key={key} class="tag">{key}={value}</span>)}</p>}
    </Card>
  );
}

const BLOCKERS: Record<NonNullable<Detail['current']>['blockers'][number]['kind'], string> = {
  WORKER_OFFLINE: 'offline', NOT_ACKNOWLEDGED: 'not acknowledged', NO_INVENTORY: 'no inventory', POLICY_HOOK_FAILED: 'hook failed',
  VMS_SET_ASIDE: 'VMs set aside', RESERVED: 'reserved', VM_RUNNING: 'VM', VM_STOPPING: 'VM stopping',
};

const vmColumns: readonly Column<Vm>[] = [
  { key: 'name', title: 'VM', width: 'minmax(120px, 1.4fr)', lead: true, phone: 'lead', cell: ({ name, duplicate }) => <>{name}{duplicate && <span class="tag" title="Another worker reports this VM, too, as during a migration">duplicate</span>}</> },
  { key: 'status', title: 'Status', width: '104px', phone: 'side', cell: ({ status }) => <VmStatusChip bare status={status} /> },
  { key: 'since', title: 'Status for', width: '76px', right: true, phone: 'end', cell: ({ statusSince }) => <Since at={statusSince} /> },
  { key: 'vcpus', title: 'vCPU', width: '56px', right: true, cell: ({ vcpus }) => (vcpus > 0 ? vcpus : <span class="faint" title="Not reported by its agent">?</span>) },
  { key: 'memory', title: 'Memory', width: '80px', right: true, cell: ({ memoryMb }) => (memoryMb > 0 ? memory(memoryMb) : <span class="faint" title="Not reported by its agent">?</span>) },
  { key: 'id', title: 'ID', width: 'minmax(100px, 1.2fr)', phone: 'second', cell: ({ id }) => <span class="mono faint" title={id}>{id}</span> },
  { key: 'note', title: 'Note', width: 'minmax(60px, 1.2fr)', cell: ({ note }) => note && <span title={note}>“{note}”</span> },
];

function Vms({ detail: { id, vmsConnection: { nodes, totalCount } } }: { detail: Detail }) {
  const more = totalCount > nodes.length ? ` of ${count(totalCount)}` : '';
  return (
    <Card flush title={<span class="card-title">VMs <span class="faint">{count(nodes.length)}{more}</span></span>} aside={<a class="card-aside" href={href('vms', { q: searchFor('worker', id) })}>Open in VMs</a>} class="has-table">
      <Table
        label="VMs of this worker"
        columns={vmColumns}
        rows={nodes}
        id={(vm) => vm.id}
        href={(vm) => href('vms', vm.id)}
        maxRows={10}
        empty={<Empty title="No VMs on this worker" />}
      />
    </Card>
  );
}

function PastDrains({ drains }: { drains: Detail['drains'] }) {
  const past = drains.filter(({ endedAt }) => endedAt);
  return (
    <Card title="Earlier drains" aside={<a href={href('drains')}>All drains</a>}>
      <ul class="list">
        {past.map(({ id, number, state, reason, startedAt, startedBy, startedByName, endedAt, endedBy, endedByName, endReason }) => (
          <li key={id} class="event dated">
            {startedAt ? <Clock at={startedAt} /> : <span class="faint">unknown</span>}
            <div>
              <p class="break">Drain {number}: {reason ? `“${reason}”` : 'no reason given'}{actor(startedByName, startedBy) && <span class="muted"> by {actor(startedByName, startedBy)}</span>}</p>
              <p class="tiny faint break">
                {state === 'CANCELED' ? 'canceled before it was complete' : 'completed, then activated'}
                {startedAt && endedAt && ` after ${exactLength(Date.parse(endedAt) - Date.parse(startedAt))}`}{actor(endedByName, endedBy) && ` by ${actor(endedByName, endedBy)}`}{endReason && `, “${endReason}”`}
              </p>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function CapacityCard({ worker, detail }: { worker: Worker; detail: Detail | null }) {
  const lines: [string, number, number, number, (amount: number) => string][] = [
    ['CPU', worker.usedCpuCores, detail?.reservedCpuCores ?? 0, worker.cpuCores, (amount) => plural(amount, 'core')],
    ['Memory', worker.usedMemoryMb, detail?.reservedMemoryMb ?? 0, worker.memoryMb, memory],
    ...(worker.diskGb > 0 ? [['Disk', worker.usedDiskGb, detail?.reservedDiskGb ?? 0, worker.diskGb, (amount: number) => `${count(amount)} GB`] as [string, number, number, number, (amount: number) => string]] : []),
    ['VM slots', worker.vmCount, worker.reservedVmSlots, worker.maxVms, count],
  ];
  return (
    <Card title="Allocated">
      <ul class="stack tight">
        {lines.map(([name, used, reserved, all, words]) => (
          <li key={name} class="gauge">
            <p class="row"><span class="grow">{name}</span><span class="muted small">{name === 'CPU' ? count(used) : words(used)} of {words(all)}</span><b>{percent(share(used, all))}</b></p>
            <div class="bar" aria-hidden="true"><i style={{ width: `${Math.min(100, share(used, all))}%` }} /><i class="hatched" style={{ width: `${Math.min(100, share(reserved, all))}%` }} /></div>
            {reserved > 0 && <p class="tiny warn">{words(reserved)} reserved</p>}
          </li>
        ))}
      </ul>
      {detail && detail.reservations.length > 0 && (
        <p class="small muted more">{plural(detail.reservations.length, 'reservation')}, the first {detail.reservations[0]!.reason ? `for “${detail.reservations[0]!.reason}” ` : ''}until <Clock at={detail.reservations[0]!.expiresAt} />.</p>
      )}
    </Card>
  );
}

function Facts({ worker }: { worker: Worker }) {
  const facts: [string, ComponentChildren][] = [
    ['Zone', worker.zone ? <a href={href('workers', { q: searchFor('zone', worker.zone) })}>{worker.zone}</a> : 'none'],
    ['Hostname', worker.hostname],
    ['Address', <span class="row wrap"><span class="mono">{worker.address}</span><CopyButton text={worker.address} /></span>],
    ['Labels', worker.labels.length === 0 ? 'none' : <span class="tags wrap">{worker.labels.map(({ key, value }) => <a key={key} class="tag" href={href('workers', { q: searchFor(`label.${key}`, value) })}>{key}={value}</a>)}</span>],
    ['Capabilities', worker.capabilities.length === 0 ? 'none' : <span class="tags wrap">{worker.capabilities.map((name) => <a key={name} class="tag" href={href('workers', { q: searchFor('cap', name) })}>{name}</a>)}</span>],
    ['Revision', count(worker.revision)],
  ];
  return (
    <Card title="Details">
      <dl class="facts">{facts.map(([name, value]) => <><dt key={name}>{name}</dt><dd>{value}</dd></>)}</dl>
    </Card>
  );
}

/** Events that are shown; the others are on the page of events. */
const LATEST_EVENTS = 10;

function Events({ id }: { id: string }) {
  const events = useLastEvents(LATEST_EVENTS, id, { workerIds: [id] }, (event) => event.workerId === id);
  return (
    <Card title="Events">
      {events.value === null ? <p class="faint">Reading …</p> : events.value.length === 0 ? <p class="faint">No events in the change log.</p> : (
        <>
          <ul class="list">{events.value.map((event) => <EventLine key={event.id} event={event} without={id} />)}</ul>
          <p class="small more"><a href={href('events', { q: searchFor('worker', id) })}>All events of this worker</a></p>
        </>
      )}
    </Card>
  );
}

/** Removes a worker that is gone for good, with all that was known of it. */
function RemoveDialog({ worker: { id, vmCount, lastSeen }, onClose }: { worker: Worker; onClose: () => void }) {
  const isSure = useSignal(false);
  async function remove(): Promise<void> {
    const { deregisterWorker } = await ask(RemoveWorker, { input: { workerId: id, purge: true, force: vmCount > 0 } });
    store.remove(id);
    toast(`Removed ${id}${deregisterWorker && deregisterWorker.removedVmIds.length > 0 ? ` and ${plural(deregisterWorker.removedVmIds.length, 'VM')}` : ''}`);
    go(href('workers'));
  }
  return (
    <Confirm title={`Remove ${id}`} action="Remove" danger disabled={vmCount > 0 && !isSure.value} onConfirm={remove} onClose={onClose}>
      <p class="muted">For hosts that do not come back. Its last heartbeat was <Since at={lastSeen} /> ago. Should its agent report again, it registers as a new worker. This cannot be undone.</p>
      {vmCount > 0 && (
        <>
          <p class="notice warn">{plural(vmCount, 'VM')} {vmCount === 1 ? 'is' : 'are'} counted as lost with it.</p>
          <label class="row"><input type="checkbox" checked={isSure.value} onChange={(event) => { isSure.value = event.currentTarget.checked; }} /> Yes, they are lost</label>
        </>
      )}
    </Confirm>
  );
}
