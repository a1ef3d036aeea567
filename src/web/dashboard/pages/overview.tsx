// Overview: the state of the cluster as one would say it aloud, then what needs somebody, then the rest.

import { useComputed } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import type { CapacityRequest, ClusterEventKind } from '../api/generated';
import { stats, workers as store, WorkerFields, type Worker } from '../api/cluster';
import { revision, type ClusterEvent } from '../api/events';
import { isConnected } from '../api/live';
import { fragment, operation, type FragmentType, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import { Card } from '../components/card';
import { Menu } from '../components/copy';
import { activateWithUndo } from '../components/drain';
import { NoWorkers } from '../components/empty';
import { ALL_KINDS, EventLines, ROUTINE } from '../components/event';
import { useLastEvents } from '../components/events';
import { Status, type Tone } from '../components/status';
import { Clock, Since, Time } from '../components/time';
import { actor, count, memory, percent, plural, share } from '../format';
import { href, place, setQuery } from '../router';
import { searchFor } from '../search';
import { mayOperate } from '../session';
import { now } from '../time';
import { withoutZone } from '../zones';
import { ClusterCurves } from './overview/history';

const NeedyDrain = fragment(`fragment NeedyDrain on Drain {
  id workerId state reason startedAt startedBy startedByName deadlineAt completedAt initialVms remainingVms safeToPowerOff revision
  blockers { kind vmId since note message }
  worker { ...WorkerFields }
}`, WorkerFields);

const Attention = operation(`query Attention {
  offline: workersConnection(first: 20, filter: { statuses: [OFFLINE] }, orderBy: { field: VM_COUNT, direction: DESC }) {
    totalCount
    nodes { ...WorkerFields }
  }
  overdue: drains(first: 4, filter: { states: [OVERDUE] }) { totalCount nodes { ...NeedyDrain } }
  complete: drains(first: 20, filter: { states: [COMPLETE] }) { totalCount nodes { ...NeedyDrain } }
  standing: drains(first: 200, filter: { states: [DRAINING] }) { totalCount nodes { id workerId deadlineAt } }
  failed: vmCounts(filter: { statuses: [FAILED] }) { total zones { zone count } }
  health { status components { name status } }
}`, WorkerFields, NeedyDrain);

const Zones = operation(`query Zones {
  zones { id name workers activeWorkers drainingWorkers offlineWorkers cpuCores usedCpuCores schedulableCpuCores schedulableVmSlots }
  clusterStats { totalWorkers activeWorkers drainingWorkers offlineWorkers totalCpuCores usedCpuCores schedulableCpuCores schedulableVmSlots }
}`);

/** A zone, or the workers that are in none, without a name. */
type Zone = Omit<ResultOf<typeof Zones>['zones'][number], 'id'>;

function zoneless({ zones, clusterStats: all }: ResultOf<typeof Zones>): Zone | null {
  const { totalWorkers: workers, totalCpuCores: cpuCores, activeWorkers, drainingWorkers, offlineWorkers, usedCpuCores, schedulableCpuCores, schedulableVmSlots } = all;
  const rest = withoutZone({ workers, activeWorkers, drainingWorkers, offlineWorkers, cpuCores, usedCpuCores, schedulableCpuCores, schedulableVmSlots }, zones);
  return rest && { name: '', ...rest };
}

const Room = operation(`query Room($request: CapacityRequest!) {
  capacity(request: $request) { vms largestWorkerId vmsWithoutLargestWorker largestZone vmsWithoutLargestZone unsizedVms }
}`);

const Strip = operation(`query Strip {
  workersConnection(first: 500) { totalCount nodes { id status schedulingPolicy cpuUsagePercent usedCpuCores cpuCores vmCount zone } }
}`);

type AttentionResult = ResultOf<typeof Attention>;
type Drain = FragmentType<typeof NeedyDrain>;

/** Lines of one kind that are shown before the rest becomes one line. */
const MOST_OF_A_KIND = 3;

export default function Overview() {
  const attention = useQuery(Attention, {}, { on: ({ kind }) => !ROUTINE.includes(kind), every: 10_000 });
  const chosen = place.value.query.get('size') ?? '';
  const request = useMemo<CapacityRequest>(() => sizeOf(chosen), [chosen]);
  const room = useQuery(Room, { request }, { on: ({ kind }) => kind !== 'VM_CHANGED', every: 10_000, atMostEvery: 2_000 });
  const capacity = room.data.value?.capacity;
  const size = sizeLabel(request);
  const all = stats.value;
  if (all?.totalWorkers === 0) {
    return <><header class="page-head"><h1>The cluster is empty.</h1><p>The server is ready; no worker has joined it yet.</p></header><Card flush><NoWorkers /></Card></>;
  }
  return (
    <>
      <Headline offline={attention.data.value?.offline.nodes ?? []} room={room.isCurrent.value && capacity ? { vms: capacity.vms, size } : null} />
      <div class="overview">
        <div class="stack">
          <NeedsYou data={attention.data.value} problem={attention.error.value?.message} />
          <ZonesCard />
          <ClusterCurves />
          <FleetStrip />
        </div>
        <div class="stack">
          <RoomCard room={capacity} isCurrent={room.isCurrent.value} size={size} />
          <EventsCard />
        </div>
      </div>
    </>
  );
}

function Headline({ offline, room }: { offline: readonly Worker[]; room: { vms: number; size: string } | null }) {
  const all = stats.value;
  if (!all) return <header class="page-head"><h1>…</h1><p>Reading the state of the cluster</p></header>;
  const { totalWorkers, schedulableWorkers, drainingWorkers, offlineWorkers, schedulableVmSlots } = all;
  const more = room === null ? '' : room.vms > 0 ? `; there is room for ${count(room.vms)} more of ${room.size}` : `; there is no room for one more of ${room.size}`;
  const parts: ComponentChildren[] = [];
  if (drainingWorkers > 0) parts.push(<a href={href('drains')}>{count(drainingWorkers)} {drainingWorkers === 1 ? 'is' : 'are'} draining</a>);
  const longest = offline.map(({ lastSeen }) => lastSeen).sort()[0];
  if (offlineWorkers > 0) {
    parts.push(
      <a href={href('workers', { q: 'status:offline' })}>
        {count(offlineWorkers)} {offlineWorkers === 1 ? 'has' : 'have'} been offline{longest && <> for {offlineWorkers > 1 && 'up to '}<Since at={longest} /></>}
      </a>,
    );
  }
  return (
    <header class="page-head">
      <h1>
        {schedulableWorkers === totalWorkers
          ? `${totalWorkers === 1 ? 'The only worker takes' : `All ${count(totalWorkers)} workers take`} new VMs${more}.`
          : `${count(schedulableWorkers)} of ${plural(totalWorkers, 'worker')} ${schedulableWorkers === 1 ? 'takes' : 'take'} new VMs${more}.`}
      </h1>
      <p>
        {parts.length === 0 ? 'None is draining, none is offline' : parts.flatMap((part, index) => (index === 0 ? [part] : [', ', part]))}
        . {plural(all.totalVms, 'VM')} {all.totalVms === 1 ? 'holds' : 'hold'} a slot, {plural(schedulableVmSlots, 'slot')} {schedulableVmSlots === 1 ? 'is' : 'are'} placeable. <span class="faint">Revision {count(Math.max(revision.value, all.revision))}, <ServerClock /></span>
      </p>
    </header>
  );
}

/** The server's time, so that a picture of the page says when it was taken. */
function ServerClock() {
  const text = useComputed(() => `${new Date(now.value).toISOString().slice(11, 19)} UTC`);
  return <span>{text}</span>;
}

interface Need {
  key: string;
  /** The worker it is about, if it is one. */
  worker?: string;
  tone: Tone;
  word: string;
  what: ComponentChildren;
  more: readonly ComponentChildren[];
  action: ComponentChildren;
}

function NeedsYou({ data, problem }: { data: AttentionResult | undefined; problem: string | undefined }) {
  if (!data) return <Card title="What needs you">{problem ? <p class="bad">{problem}</p> : <p class="faint">Looking …</p>}</Card>;
  const { late, safe } = drainNeeds(data);
  const needs = [...healthNeeds(data), ...offlineNeeds(data), ...late, ...vmNeeds(data), ...safe];
  return (
    <Card title="What needs you" aside={problem && <span class="tiny warn">as of before: {problem}</span>}>
      {needs.length === 0 ? <Nothing standing={data.standing} /> : (
        <ul class="list needs">
          {needs.map(({ key, worker, tone, word, what, more, action }) => (
            <li key={key} data-worker={worker}>
              <span class="sign"><Status tone={tone}>{word}</Status></span>
              <p class="grow break">
                {what}
                {more.filter(Boolean).map((part, index) => <span key={index} class="tiny muted"> · {part}</span>)}
              </p>
              {action}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

/** Nothing to do, and what comes next. */
function Nothing({ standing: { totalCount, nodes } }: { standing: AttentionResult['standing'] }) {
  const next = nodes.filter(({ deadlineAt }) => deadlineAt).sort((a, b) => a.deadlineAt!.localeCompare(b.deadlineAt!))[0];
  return (
    <p class="row wrap">
      <Status tone="good">nothing</Status>
      <span>
        Nobody has to do anything.{' '}
        {next
          ? <span class="muted">Next: <WorkerLink id={next.workerId} /> should be empty at <Clock at={next.deadlineAt!} />, <Time at={next.deadlineAt!} />.</span>
          : <span class="muted">{totalCount > 0 ? 'No drain has a deadline.' : 'No drain stands.'}</span>}
      </span>
    </p>
  );
}

function WorkerLink({ id }: { id: string }) {
  return <a class="worker-link" href={href('workers', id)}>{id}</a>;
}

function Look({ to, children = 'Look' }: { to: string; children?: ComponentChildren }) {
  return <a class="button" href={to}>{children}</a>;
}

function healthNeeds({ health }: AttentionResult): Need[] {
  return health.components.filter(({ status }) => status !== 'OK').map(({ name }) => ({
    key: `health ${name}`, tone: 'bad', word: 'server', what: <>The server's <strong>{name}</strong> does not work</>, more: [], action: <Look to={href('health')} />,
  }));
}

function offlineNeeds({ offline }: AttentionResult): Need[] {
  const shown = offline.totalCount <= MOST_OF_A_KIND + 1 ? offline.nodes : offline.nodes.slice(0, MOST_OF_A_KIND);
  const needs = shown.map((worker): Need => ({
    key: `offline ${worker.id}`,
    worker: worker.id,
    tone: 'bad',
    word: 'offline',
    what: <><WorkerLink id={worker.id} /> has been offline since <Clock at={worker.lastSeen} seconds /></>,
    more: [
      <>for <Since at={worker.lastSeen} /></>,
      worker.vmCount > 0 ? `${plural(worker.vmCount, 'VM')} ${worker.vmCount === 1 ? 'was' : 'were'} running there` : 'no VM was there',
      worker.drain ? `a drain stands${worker.drain.reason ? `: “${worker.drain.reason}”` : ''}` : `last CPU ${percent(worker.cpuUsagePercent)} allocated`,
      worker.zone && <span class="whole">{worker.zone}</span>,
    ],
    action: <Look to={href('workers', worker.id)} />,
  }));
  const rest = offline.totalCount - shown.length;
  if (rest > 0) {
    needs.push({
      key: 'offline more', tone: 'bad', word: 'offline', what: <>{plural(rest, 'more worker')} {rest === 1 ? 'is' : 'are'} offline</>, more: [],
      action: <Look to={href('workers', { q: 'status:offline' })}>All</Look>,
    });
  }
  return needs;
}

function by({ startedBy, startedByName }: Pick<Drain, 'startedBy' | 'startedByName'>): string {
  return actor(startedByName, startedBy);
}

function quoted(drain: Drain): string {
  return [by(drain), drain.reason && `“${drain.reason}”`].filter(Boolean).join(', ');
}

/** The blocker that says most: one with a note of its worker, such as why a VM could not be moved. */
function telling(blockers: Drain['blockers']): Drain['blockers'][number] {
  return blockers.find((blocker) => blocker.note !== null) ?? blockers[0]!;
}

function drainNeeds({ overdue, complete }: AttentionResult): { late: Need[]; safe: Need[] } {
  // Of workers that are offline, that is what is said.
  const tardy = overdue.nodes.filter(({ worker }) => worker.status !== 'OFFLINE');
  const drained = complete.nodes.filter(({ worker }) => worker.status !== 'OFFLINE');
  const safe = drained.filter(({ safeToPowerOff }) => safeToPowerOff);
  const unsafe = drained.filter(({ safeToPowerOff }) => !safeToPowerOff);
  const late = [
    ...few(tardy, overdue.totalCount - overdue.nodes.length, 'overdue', 'warn', (drain) => ({
      what: <><WorkerLink id={drain.workerId} /> should have been empty at <Clock at={drain.deadlineAt!} /></>,
      more: [
        drain.remainingVms !== null && `${count(drain.remainingVms)} of ${plural(Math.max(drain.initialVms ?? 0, drain.remainingVms), 'VM')} left`,
        drain.blockers.length > 0 && <span class="break">{telling(drain.blockers).message}{drain.blockers.length > 1 && `, and ${drain.blockers.length - 1} more`}</span>,
        quoted(drain),
      ],
      action: <Look to={href('workers', drain.workerId)}>Blockers</Look>,
    })),
    ...few(unsafe, 0, 'not safe', 'warn', (drain) => ({
      what: <><WorkerLink id={drain.workerId} /> was drained, and is not safe to power off now</>,
      more: [drain.blockers[0]?.message, quoted(drain)],
      action: <Look to={href('workers', drain.workerId)} />,
    })),
  ];
  return {
    late,
    safe: few(safe, complete.totalCount - complete.nodes.length, 'safe', 'good', (drain) => ({
      what: <><WorkerLink id={drain.workerId} /> is empty: safe to power off</>,
      more: [<>drained{by(drain) && ` by ${by(drain)}`}{drain.startedAt && <> <Time at={drain.startedAt} /></>}</>, drain.reason && `“${drain.reason}”`],
      action: mayOperate.value
        ? (
          <button
            type="button"
            class="button primary"
            disabled={!isConnected.value}
            title={isConnected.value ? 'Takes new VMs again' : 'Not while the server cannot be reached'}
            onClick={() => { store.put([drain.worker]); void activateWithUndo([drain.worker]); }}
          >
            Activate
          </button>
        )
        : <Look to={href('workers', drain.workerId)} />,
    })),
  };
}

/** The first drains as a line each, and the others, with `unread` that were not asked for, as one. */
function few(drains: readonly Drain[], unread: number, word: string, tone: Tone, line: (drain: Drain) => Pick<Need, 'what' | 'more' | 'action'>): Need[] {
  const shown = drains.length <= MOST_OF_A_KIND + 1 ? drains : drains.slice(0, MOST_OF_A_KIND);
  const needs = shown.map((drain): Need => ({ key: `${word} ${drain.id}`, worker: drain.workerId, tone, word, ...line(drain) }));
  const rest = drains.length - shown.length + unread;
  if (rest > 0) needs.push({ key: `${word} more`, tone, word, what: <>{plural(rest, 'more worker')}</>, more: [], action: <Look to={href('drains')}>All</Look> });
  return needs;
}

function vmNeeds({ failed: { total, zones } }: AttentionResult): Need[] {
  if (total === 0) return [];
  const named = zones.slice(0, 3);
  const elsewhere = total - named.reduce((sum, { count }) => sum + count, 0);
  return [{
    key: 'failed', tone: 'bad', word: 'failed', what: <><strong>{plural(total, 'VM')}</strong> {total === 1 ? 'has' : 'have'} ended by an error</>,
    more: [...named.map(({ zone, count }) => <span class="whole">{count} in {zone}</span>), elsewhere > 0 && <span class="whole">{elsewhere} elsewhere</span>], action: <Look to={href('vms', { q: 'status:failed' })} />,
  }];
}

/** Zones that are shown as cards; a cluster with more has them on a page of their own. */
const MOST_ZONES = 12;

function ZonesCard() {
  const { data } = useQuery(Zones, {}, { on: ({ kind }) => kind.startsWith('WORKER_'), every: 5_000 });
  const none = data.value && zoneless(data.value);
  const zones = data.value?.zones ?? [];
  if (data.value && zones.length === 0) return null;
  // What is in no zone is seen however many zones there are.
  const shown: readonly Zone[] = [...zones.slice(0, none ? MOST_ZONES - 1 : MOST_ZONES), ...(none ? [none] : [])];
  const hidden = zones.length + (none ? 1 : 0) - shown.length;
  return (
    <Card title="Zones" aside={<a href={href('capacity')}>What if one is lost?</a>}>
      <ul class="zones" style={{ '--zones': String(Math.min(3, shown.length)) }}>
        {shown.map((zone) => {
          const allocated = share(zone.usedCpuCores, zone.cpuCores);
          // Cores that nothing holds and nothing can be placed on: they are on workers that drain or are offline.
          const out = share(Math.max(0, zone.cpuCores - zone.usedCpuCores - zone.schedulableCpuCores), zone.cpuCores);
          return (
            <li key={zone.name}>
              <p class="row"><a class="strong grow ellipsis zone-link" href={href('workers', { q: searchFor('zone', zone.name || 'none') })}>{zone.name || 'no zone'}</a><span class="muted">{plural(zone.workers, 'worker')}</span></p>
              <div class="bar" role="img" aria-label={`CPU ${percent(allocated)} allocated, ${percent(out)} out of service`}>
                <i style={{ width: `${Math.min(100, allocated)}%` }} /><i class={zone.offlineWorkers > 0 && zone.drainingWorkers === 0 ? 'silent' : 'hatched'} style={{ width: `${Math.min(100 - allocated, out)}%` }} />
              </div>
              <p class="tiny muted zone-figures"><span>CPU {percent(allocated)} allocated</span><span>{count(zone.schedulableVmSlots)} slots placeable</span></p>
              <p class="tiny zone-out">
                {zone.drainingWorkers > 0 && <span class="warn">{zone.drainingWorkers} draining</span>}
                {zone.drainingWorkers > 0 && zone.offlineWorkers > 0 && ', '}
                {zone.offlineWorkers > 0 && <span class="bad">{zone.offlineWorkers} offline</span>}
                {zone.drainingWorkers + zone.offlineWorkers > 0 && out >= 1 && <span class="muted"> {zone.drainingWorkers + zone.offlineWorkers === 1 ? 'takes' : 'take'} {percent(out)} out</span>}
              </p>
            </li>
          );
        })}
      </ul>
      {hidden > 0 && <p class="small more"><a href={href('capacity')}>{plural(hidden, 'more zone')}</a></p>}
    </Card>
  );
}

function FleetStrip() {
  const { data } = useQuery(Strip, {}, { on: ({ kind }) => kind.startsWith('WORKER_'), every: 10_000, atMostEvery: 2_000 });
  const page = data.value?.workersConnection;
  if (!page || page.nodes.length === 0) return null;
  const isDense = page.nodes.length > 150;
  const isPart = page.totalCount > page.nodes.length;
  const part = `${count(page.nodes.length)} of ${plural(page.totalCount, 'worker')}`;
  return (
    <Card
      title={isPart ? `Fleet, by CPU allocated: ${part}, the first by id` : 'Fleet, by CPU allocated'}
      aside={<a href={href('fleet')}>{isPart ? `Map of all ${count(page.totalCount)}` : 'Open'}</a>}
    >
      <ul class={`strip${isDense ? ' dense' : ''}`} aria-label={isPart ? `${part} by CPU allocated, the first by id` : 'Workers by CPU allocated'}>
        {page.nodes.map(({ id, status, schedulingPolicy, cpuUsagePercent, usedCpuCores, cpuCores, vmCount }) => {
          const level = Math.max(0, Math.min(5, Math.floor(cpuUsagePercent / 16.7)));
          const state = status === 'OFFLINE' ? ' offline' : schedulingPolicy === 'DRAINING' ? ' draining' : '';
          const words = `${id}: ${percent(cpuUsagePercent)} of CPU allocated (${usedCpuCores} of ${cpuCores}), ${plural(vmCount, 'VM')}${state && `,${state}`}`;
          return <li key={id}><a class={`cell level-${level}${state}`} href={href('workers', id)} title={words} aria-label={words} tabIndex={-1} /></li>;
        })}
      </ul>
      <p class="legend tiny muted">
        0 % <span class="ramp" aria-hidden="true">{[0, 1, 2, 3, 4, 5].map((level) => <i key={level} class={`level-${level}`} />)}</span> 100 %
        <span class="cell sample draining level-1" aria-hidden="true" /> draining
        <span class="cell sample offline" aria-hidden="true" /> offline
      </p>
    </Card>
  );
}

const SIZES = ['1x2', '2x4', '4x8', '8x16', '8x32', '16x64'];

/** `4x8`: four virtual CPUs and 8 GiB. */
function sizeOf(text: string): { vcpus: number; memoryMb: number } {
  const [, vcpus, gibibytes] = /^(\d{1,4})x(\d{1,5})$/.exec(text) ?? [];
  return vcpus && gibibytes && Number(vcpus) > 0 && Number(gibibytes) > 0 ? { vcpus: Number(vcpus), memoryMb: Number(gibibytes) * 1024 } : { vcpus: 4, memoryMb: 8192 };
}

function sizeLabel({ vcpus, memoryMb }: { vcpus: number; memoryMb: number }): string {
  return `${vcpus} vCPU · ${memory(memoryMb)}`;
}

function RoomCard({ room, isCurrent, size: label }: { room: ResultOf<typeof Room>['capacity'] | undefined; isCurrent: boolean; size: string }) {
  return (
    <Card
      title="Room for"
      aside={(
        <Menu label={<>{label} <span aria-hidden="true">▾</span></>} buttonClass="link">
          {SIZES.map((size) => (
            <button key={size} type="button" onClick={(event) => { setQuery({ size: size === '4x8' ? null : size }); event.currentTarget.closest('details')!.open = false; }}>{sizeLabel(sizeOf(size))}</button>
          ))}
        </Menu>
      )}
    >
      <dl class={`room${isCurrent ? '' : ' waits'}`}>
        <div><dd>{room ? count(room.vms) : '–'}</dd><dt>now</dt></div>
        <div><dd>{room ? count(room.vmsWithoutLargestWorker) : '–'}</dd><dt>without the largest worker{room?.largestWorkerId && <>, <a class="worker-link" href={href('workers', room.largestWorkerId)}>{room.largestWorkerId}</a></>}</dt></div>
        <div><dd>{room ? count(room.vmsWithoutLargestZone) : '–'}</dd><dt>without <span class="whole">{room?.largestZone || 'the largest zone'}{room?.largestZone === '' && ', no zone'}</span></dt></div>
      </dl>
      {room && room.unsizedVms > 0 && <p class="tiny warn more">{plural(room.unsizedVms, 'VM')} of unknown size: there may be less room.</p>}
    </Card>
  );
}

/** What ends a VM against its will: at fleet size there is so much of it that it is read apart, and folded. */
const LOSSES: readonly ClusterEventKind[] = ['VM_FAILED', 'VM_LOST', 'VM_VANISHED'];
const NOTABLE = ALL_KINDS.filter((kind) => !ROUTINE.includes(kind) && !LOSSES.includes(kind));
const isNotable = ({ kind }: ClusterEvent): boolean => NOTABLE.includes(kind);
const isLoss = ({ kind }: ClusterEvent): boolean => LOSSES.includes(kind);
/** Lines of events, and losses that are read for them. */
const MOST_LINES = 12;
const MOST_LOSSES = 200;

function EventsCard() {
  const others = useLastEvents(MOST_LINES, 'notable', { kinds: NOTABLE }, isNotable).value;
  const losses = useLastEvents(MOST_LOSSES, 'losses', { kinds: LOSSES }, isLoss).value;
  const events = useMemo(() => others && losses && [...others, ...losses].sort((a, b) => b.revision - a.revision), [others, losses]);
  return (
    <Card title="Events" aside={<a href={href('events')}>All</a>}>
      {!events ? <p class="faint">Reading …</p> : events.length === 0 ? <p class="faint">Nothing has happened yet.</p> : (
        <EventLines events={events} most={MOST_LINES} isCut={losses!.length === MOST_LOSSES} />
      )}
    </Card>
  );
}
