// One VM: what it is, where, since when, what its worker says of it, and what happened to it. One that is gone still
// has what happened.

import type { EventFilter } from '../api/generated';
import { operation, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import { Card } from '../components/card';
import { CopyAs } from '../components/copy';
import { Empty } from '../components/empty';
import { EventLine } from '../components/event';
import { useLastEvents } from '../components/events';
import { Meter } from '../components/meter';
import { WorkerStatusChip } from '../components/status';
import { Since, Time } from '../components/time';
import { VmStatusChip } from '../components/vm-status';
import { count, memory, plural } from '../format';
import type { PageProps } from '../pages';
import { href } from '../router';

const OneVm = operation(`query OneVm($id: ID!) {
  vm(id: $id) {
    id name status zone workerId vcpus memoryMb duplicate note reservationId createdAt startedAt statusSince revision
    worker {
      id hostname status schedulingPolicy cpuCores usedCpuCores cpuUsagePercent memoryMb usedMemoryMb memoryUsagePercent vmCount maxVms
      drain { state safeToPowerOff }
    }
  }
}`);

/** Events that are shown. */
const EVENTS = 50;

type Vm = NonNullable<ResultOf<typeof OneVm>['vm']>;

export default function VmPage({ argument: id }: PageProps) {
  const { data, error } = useQuery(OneVm, { id }, { on: (event) => event.vmId === id, every: 15_000 });
  const filter: EventFilter = { vmIds: [id] };
  const events = useLastEvents(EVENTS, id, filter, (event) => event.vmId === id);
  const answer = data.value;
  if (!answer) return error.value ? <Empty title="The server does not say"><p>{error.value.message}</p></Empty> : null;
  const { vm } = answer;
  const last = events.value?.[0];
  return (
    <>
      <header class="page-head">
        <p class="small"><a href={href('vms')}>VMs</a></p>
        <div class="row wrap">
          <h1 class="break">{vm?.name ?? last?.vmName ?? id}</h1>
          {vm && <VmStatusChip status={vm.status} />}
          <span class="grow" />
          <CopyAs request={{ path: `vms/${encodeURIComponent(id)}`, graphql: OneVm.text, variables: { id }, cli: `vms ${id}` }} />
        </div>
        {vm ? (
          <p>
            {vm.status.toLowerCase()} for <Since at={vm.statusSince} />
            {vm.workerId && <> on <a href={href('workers', vm.workerId)}>{vm.workerId}</a></>}
            {vm.zone && <>, {vm.zone}</>}
          </p>
        ) : <p>No VM has the id <code class="break">{id}</code> now. What happened to it is below, as far back as the change log reaches.</p>}
      </header>
      {vm?.note && <p class="notice warn break">Its worker says: “{vm.note}”</p>}
      {vm?.duplicate && <p class="notice warn">Another worker reports this VM, too, as during a migration. If that lasts, one of them is wrong: look at both.</p>}
      <div class="vm-columns">
        {vm && (
          <div class="stack">
            <Facts vm={vm} />
            {vm.worker && <OnWorker worker={vm.worker} />}
          </div>
        )}
        <Card title="What happened">
          {events.value === null ? null : events.value.length === 0
            ? <p class="muted">Nothing, as far back as the change log reaches.</p>
            : <ul class="list">{events.value.map((event) => <EventLine key={event.id} event={event} dated />)}</ul>}
        </Card>
      </div>
    </>
  );
}

function Facts({ vm }: { vm: Vm }) {
  return (
    <Card title="What it is">
      <dl class="facts">
        <dt>Id</dt><dd class="mono">{vm.id}</dd>
        <dt>vCPUs</dt><dd>{vm.vcpus > 0 ? count(vm.vcpus) : 'its worker cannot know'}</dd>
        <dt>Memory</dt><dd>{vm.memoryMb > 0 ? memory(vm.memoryMb) : 'its worker cannot know'}</dd>
        <dt>First seen</dt><dd><Time at={vm.createdAt} /></dd>
        <dt>Running since</dt><dd>{vm.startedAt ? <Time at={vm.startedAt} /> : 'not since it was first seen'}</dd>
        {vm.reservationId && <><dt>Reservation</dt><dd class="mono">{vm.reservationId}</dd></>}
        <dt>Revision</dt><dd>{count(vm.revision)}</dd>
      </dl>
    </Card>
  );
}

function OnWorker({ worker }: { worker: NonNullable<Vm['worker']> }) {
  return (
    <Card title="Where it is" aside={<a href={href('vms', { q: `worker:${/\s/.test(worker.id) ? `"${worker.id}"` : worker.id}` })}>{plural(worker.vmCount, 'VM')} there</a>}>
      <div class="row wrap"><a class="strong break" href={href('workers', worker.id)}>{worker.id}</a><WorkerStatusChip {...worker} /></div>
      <dl class="facts vm-worker">
        <dt>CPU allocated</dt><dd><Meter value={worker.cpuUsagePercent} title={`${worker.usedCpuCores} of ${plural(worker.cpuCores, 'core')} allocated to VMs`} /></dd>
        <dt>Memory</dt><dd><Meter value={worker.memoryUsagePercent} title={`${memory(worker.usedMemoryMb)} of ${memory(worker.memoryMb)} allocated to VMs`} /></dd>
        <dt>Slots</dt><dd>{count(worker.vmCount)} of {count(worker.maxVms)} held</dd>
      </dl>
    </Card>
  );
}
