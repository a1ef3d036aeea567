// One VM: what it is, where, since when, what its worker says of it, and what happened to it. One that is gone still
// has what happened.

import { useComputed } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { operation, type ResultOf } from '../api/operation';
import { useQuery, type LiveQuery } from '../api/query';
import { Card } from '../components/card';
import { CopyAs, CopyButton, quote } from '../components/copy';
import { Empty } from '../components/empty';
import { EventLine } from '../components/event';
import { useLastEvents } from '../components/events';
import { WorkerStatusChip } from '../components/status';
import { Since, Time } from '../components/time';
import { VmStatusChip } from '../components/vm-status';
import { count, memory, percent, plural, share } from '../format';
import { useKeys } from '../keyboard';
import type { PageProps } from '../pages';
import { go, href } from '../router';
import { searchFor } from '../search';
import { clock, exact } from '../time';

const OneVm = operation(`query OneVm($id: ID!) {
  vm(id: $id) {
    id name status zone workerId vcpus memoryMb duplicate note reservationId createdAt startedAt statusSince revision
    worker {
      id hostname status schedulingPolicy lastSeen cpuCores usedCpuCores memoryMb usedMemoryMb vmCount maxVms
      drain { state reason deadlineAt safeToPowerOff }
    }
  }
}`);

const ReservationOfVm = operation(`query ReservationOfVm($id: ID!) {
  reservation(id: $id) { id state count reason expiresAt }
}`);

/** A VM as each of these workers reports it: during a migration more than one may. */
const Reports = operation(`query Reports($workerIds: [ID!], $vmIds: [ID!]) {
  workersConnection(first: 20, filter: { ids: $workerIds }) {
    nodes {
      id status schedulingPolicy drain { state safeToPowerOff }
      vmsConnection(first: 1, filter: { ids: $vmIds, statuses: [CREATED, STARTING, RUNNING, STOPPING, STOPPED, FAILED] }) { nodes { status statusSince note } }
    }
  }
}`);

/** Events that are shown; the others are on the page of events. */
const LATEST_EVENTS = 20;

type Vm = NonNullable<ResultOf<typeof OneVm>['vm']>;

export default function VmPage({ argument: id }: PageProps) {
  const query: LiveQuery<ResultOf<typeof OneVm>> = useQuery(OneVm, { id }, {
    on: ({ vmId, workerId }): boolean => vmId === id || (workerId !== null && workerId === query.data.peek()?.vm?.workerId),
    every: 15_000,
  });
  const { data, error } = query;
  const events = useLastEvents(LATEST_EVENTS, id, { vmIds: [id] }, (event) => event.vmId === id);
  useKeys({ b: () => go(href('vms')) });
  const answer = data.value;
  if (!answer) return error.value ? <Empty title="This VM cannot be read"><p>{error.value.message}</p></Empty> : <header class="page-head"><Crumbs /><h1 class="break">{id}</h1></header>;
  const { vm } = answer;
  const last = events.value?.[0];
  return (
    <>
      <header class="page-head">
        <Crumbs />
        <div class="row wrap">
          <h1 class="break">{vm?.name ?? last?.vmName ?? id}</h1>
          {vm && <VmStatusChip status={vm.status} />}
          <span class="page-actions">
            <CopyAs request={{ path: `vms/${encodeURIComponent(id)}`, graphql: OneVm.text, variables: { id }, cli: `vms ${quote(id)}` }} />
          </span>
        </div>
        {vm
          ? <p>{vm.status[0]}{vm.status.slice(1).toLowerCase()} for <Since at={vm.statusSince} />{vm.workerId && <> on <a href={href('workers', vm.workerId)}>{vm.workerId}</a></>}{vm.zone && <> in {vm.zone}</>}.</p>
          : <p>There is no VM with the id <code class="break">{id}</code> now. Its events, as far back as the change log goes:</p>}
        {error.value && <p class="warn" role="status">{error.value.message} The data shown may be out of date.</p>}
      </header>
      {vm && <Notices vm={vm} />}
      <div class={vm ? 'overview' : 'stack'}>
        <div class="stack">
          {vm && <Details vm={vm} />}
          <Card title="Events">
            {events.value === null ? <p class="faint">Reading …</p> : events.value.length === 0 ? <p class="muted">No events, as far back as the change log goes.</p> : (
              <>
                <ul class="list">{events.value.map((event) => <EventLine key={event.id} event={event} dated />)}</ul>
                <p class="small more"><a href={href('events', { q: searchFor('vm', id) })}>All events of this VM</a></p>
              </>
            )}
          </Card>
        </div>
        {vm && (
          <div class="stack">
            {vm.duplicate && <ReportedBy vm={vm} others={events.value?.flatMap(({ workerId }) => workerId ?? []) ?? []} />}
            {vm.worker && <OnWorker vm={vm} worker={vm.worker} />}
            {vm.reservationId && <Reservation id={vm.reservationId} />}
          </div>
        )}
      </div>
    </>
  );
}

function Crumbs() {
  return <nav aria-label="Above" class="small"><a href={href('vms')}>VMs</a> <span class="faint" aria-hidden="true">/</span></nav>;
}

/** What makes this VM worth a look. */
function Notices({ vm: { status, note, worker } }: { vm: Vm }) {
  const holdsSlot = status !== 'STOPPED' && status !== 'FAILED';
  return (
    <>
      {worker?.status === 'OFFLINE' && <p class="notice bad">Its worker is offline: the last heartbeat came <Time at={worker.lastSeen} />. What is shown is of then; its present state is unknown.</p>}
      {worker?.status === 'DRAINING' && holdsSlot && (
        <p class="notice warn">
          Its worker is draining{worker.drain?.reason && <> (“{worker.drain.reason}”)</>}: this VM has to move or stop{worker.drain?.deadlineAt && <>, due <Time at={worker.drain.deadlineAt} /></>}.
        </p>
      )}
      {note && <p class={`notice break${status === 'FAILED' ? ' bad' : ''}`}>Note of its worker: “{note}”</p>}
    </>
  );
}

/** An instant in the reader's time, and how long ago that was. */
function When({ at }: { at: string }) {
  return <><span title={exact(at)}>{clock(at, true)}</span> <span class="muted">· <Time at={at} /></span></>;
}

function Details({ vm }: { vm: Vm }) {
  const unknown = <span class="muted">not reported by its agent</span>;
  const facts: [string, ComponentChildren][] = [
    ['Status', <span class="row wrap"><VmStatusChip bare status={vm.status} /><span class="muted">since {clock(vm.statusSince, true)}</span></span>],
    ['Worker', vm.workerId === null ? 'none' : <span class="row wrap"><a class="strong break" href={href('workers', vm.workerId)}>{vm.workerId}</a>{vm.worker && <WorkerStatusChip bare {...vm.worker} />}</span>],
    ['Zone', vm.zone === null ? 'none' : <a href={href('vms', { q: searchFor('zone', vm.zone) })}>{vm.zone}</a>],
    ['vCPU', vm.vcpus > 0 ? count(vm.vcpus) : unknown],
    ['Memory', vm.memoryMb > 0 ? memory(vm.memoryMb) : unknown],
    ['Created', <When at={vm.createdAt} />],
    ['Started', vm.startedAt ? <When at={vm.startedAt} /> : <span class="muted">not since it was created</span>],
    ['Note', vm.note ? <>“{vm.note}”</> : <span class="muted">none</span>],
    ['Reservation', vm.reservationId ? <span class="mono">{vm.reservationId}</span> : <span class="muted">none</span>],
    ['ID', <span class="row wrap"><span class="mono">{vm.id}</span><CopyButton text={vm.id} /></span>],
    ['Revision', count(vm.revision)],
  ];
  return (
    <Card title="Details">
      <dl class="facts two">{facts.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
    </Card>
  );
}

/** What its worker has allocated, and how much of that is this VM's. */
function OnWorker({ vm, worker }: { vm: Vm; worker: NonNullable<Vm['worker']> }) {
  const holdsSlot = vm.status !== 'STOPPED' && vm.status !== 'FAILED';
  const lines: [string, number, number, number, (amount: number) => string][] = [
    ['CPU', holdsSlot ? vm.vcpus : 0, worker.usedCpuCores, worker.cpuCores, (amount) => plural(amount, 'core')],
    ['Memory', holdsSlot ? vm.memoryMb : 0, worker.usedMemoryMb, worker.memoryMb, memory],
    ['VM slots', holdsSlot ? 1 : 0, worker.vmCount, worker.maxVms, count],
  ];
  return (
    <Card title="On its worker" aside={<a href={href('vms', { q: searchFor('worker', worker.id) })}>{plural(worker.vmCount, 'VM')} there</a>}>
      <div class="row wrap more-below"><a class="strong break" href={href('workers', worker.id)}>{worker.id}</a><WorkerStatusChip {...worker} /></div>
      <ul class="stack tight">
        {lines.map(([name, mine, used, all, words]) => (
          <li key={name} class="gauge">
            <p class="row"><span class="grow">{name}</span><span class="muted small">{name === 'CPU' ? count(used) : words(used)} of {words(all)}</span><b>{percent(share(used, all))}</b></p>
            <div class="bar" aria-hidden="true"><i style={{ width: `${Math.min(100, share(mine, all))}%` }} /><i class="others" style={{ width: `${Math.max(0, Math.min(100, share(used, all)) - share(mine, all))}%` }} /></div>
          </li>
        ))}
      </ul>
      {holdsSlot && vm.vcpus > 0 && <p class="tiny muted more">This VM has {plural(vm.vcpus, 'vCPU', 'vCPUs')} and {memory(vm.memoryMb)} of it, the first part of each bar.</p>}
    </Card>
  );
}

/** The workers that report the VM. The API has no list of them: those of its events are asked. */
function ReportedBy({ vm, others }: { vm: Vm; others: readonly string[] }) {
  const workerIds = [...new Set([...(vm.workerId === null ? [] : [vm.workerId]), ...others])].slice(0, 20);
  const { data } = useQuery(Reports, { workerIds, vmIds: [vm.id] }, { on: (event) => event.vmId === vm.id, every: 10_000 });
  const reports = useComputed(() => data.value?.workersConnection.nodes.filter(({ vmsConnection }) => vmsConnection.nodes.length > 0) ?? []).value;
  return (
    <Card title="Reported by more than one worker">
      <p class="small muted">As during a migration. If it lasts, one of them is wrong. {data.value && reports.length < 2 && 'The other one is not among the workers of its latest events.'}</p>
      <ul class="list more">
        {reports.map((worker) => {
          const { status, statusSince, note } = worker.vmsConnection.nodes[0]!;
          return (
            <li key={worker.id}>
              <p class="row wrap"><a class="strong break" href={href('workers', worker.id)}>{worker.id}</a><WorkerStatusChip bare {...worker} />{worker.id === vm.workerId && <span class="tag">authoritative</span>}</p>
              <p class="small muted row wrap"><VmStatusChip bare status={status} /> for <Since at={statusSince} />{note && <span class="break">“{note}”</span>}</p>
            </li>
          );
        })}
      </ul>
    </Card>
  );
}

function Reservation({ id }: { id: string }) {
  const { data } = useQuery(ReservationOfVm, { id }, { on: (event) => event.reservationId === id });
  const one = data.value?.reservation;
  return (
    <Card title="Reservation" aside={<a href={href('capacity')}>All reservations</a>}>
      <dl class="facts">
        <dt>ID</dt><dd class="mono">{id}</dd>
        {one && <><dt>State</dt><dd>{one.state.toLowerCase()}, for {plural(one.count, 'VM')}</dd></>}
        {one?.reason && <><dt>Reason</dt><dd>“{one.reason}”</dd></>}
        {one?.state === 'HELD' && <><dt>Expires</dt><dd><When at={one.expiresAt} /></dd></>}
      </dl>
      {data.value && !one && <p class="small muted">This reservation is not known any more.</p>}
    </Card>
  );
}
