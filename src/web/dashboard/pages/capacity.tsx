// Capacity: how many VMs of a size fit, what remains if something is lost, where they would go and why not elsewhere, and
// the room that is held for VMs to come. The address holds the question.

import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { RefusalReason, ReservationState } from '../api/generated';
import type { ClusterEvent } from '../api/events';
import { ask } from '../api/http';
import { isConnected } from '../api/live';
import { operation, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import {
  capacityRequest, commandOf, memoryField, memoryWord, MOST_VMS, placementQuery, placementRequest, questionOf, toggledZone, typedMemory, whole, zoneValues,
  type Question,
} from '../capacity-question';
import { Card } from '../components/card';
import { CopyAs, quote } from '../components/copy';
import { Confirm } from '../components/dialog';
import { Empty, NoWorkers } from '../components/empty';
import { Status, type Tone } from '../components/status';
import { Time } from '../components/time';
import { toast, toastError } from '../components/toast';
import { count, memory, plural, share } from '../format';
import { href, hrefHere, place, setQuery } from '../router';
import { searchFor } from '../search';
import { mayOperate } from '../session';
import { length, now } from '../time';
import { withoutZone, zoneRows } from '../zones';
import { CapacityCurves } from './capacity/history';

const HowMany = operation(`query HowMany($request: CapacityRequest!, $lost: CapacityRequest!, $hasLoss: Boolean!) {
  capacity(request: $request) {
    vms largestWorkerId vmsWithoutLargestWorker largestZone vmsWithoutLargestZone unsizedVms revision
    zones { zone workers vms }
  }
  lost: capacity(request: $lost) @include(if: $hasLoss) {
    vms largestWorkerId vmsWithoutLargestWorker largestZone vmsWithoutLargestZone
    zones { zone workers vms }
  }
  zones { name workers activeWorkers drainingWorkers offlineWorkers vmCount schedulableCpuCores schedulableMemoryMb schedulableVmSlots }
  clusterStats { totalWorkers activeWorkers drainingWorkers offlineWorkers schedulableCpuCores schedulableMemoryMb schedulableVmSlots }
}`);

/** How many VMs hold a slot on workers without a zone, which no sum has. */
const ZonelessVms = operation(`query ZonelessVms {
  vmCounts(filter: { hasZone: false, statuses: [CREATED, STARTING, RUNNING, STOPPING] }) { total }
}`);

const Where = operation(`query Where($request: PlacementRequest!) {
  placement(request: $request) {
    fits count placeable totalCandidates totalRefusals revision
    assignments { workerId zone vms }
    refusals { workerId zone reasons { reason missing message } }
    refusalsByReason { reason workers }
  }
}`);

const Reservations = operation(`query Reservations($filter: ReservationFilter) {
  reservations(first: 100, filter: $filter) {
    totalCount
    nodes { id state vcpus memoryMb diskGb count reason createdAt expiresAt endedAt slots { workerId vmId state } }
  }
  events(first: 200, order: DESC, filter: { kinds: [RESERVATION_HELD] }) { nodes { reservationId actorName } }
}`);

const Reserve = operation(`mutation Reserve($input: ReserveInput!) {
  reserve(input: $input) { reservation { id count expiresAt } }
}`);

const Release = operation(`mutation Release($input: ReleaseReservationInput!) {
  releaseReservation(input: $input) { changed reservation { id state } }
}`);

const SIZES: readonly (readonly [number, number])[] = [[1, 1], [2, 4], [4, 8], [4, 16], [8, 32], [16, 64]];
/** Workers that are listed of a placement and of its refusals. */
const LISTED = 50;

/** Whether an event may change what fits. */
function isAboutRoom({ kind }: ClusterEvent): boolean {
  return kind.startsWith('VM_') || kind.startsWith('WORKER_') || kind.startsWith('RESERVATION_');
}

const isAboutReservations = ({ kind }: ClusterEvent): boolean => kind.startsWith('RESERVATION_');

export default function Capacity() {
  const query = place.value.query;
  const question = useMemo(() => questionOf(query), [query.toString()]);
  const hasLoss = question.withoutZones.length + question.withoutWorkers.length > 0;
  const figures = useQuery(
    HowMany,
    { request: capacityRequest(question, { isLoss: false }), lost: capacityRequest(question, { isLoss: true }), hasLoss },
    { on: isAboutRoom, every: 15_000, atMostEvery: 2_000 },
  );
  const answer = figures.data.value;
  const isCurrent = figures.isCurrent.value;
  if (answer?.clusterStats.totalWorkers === 0) {
    return <><header class="page-head"><h1>No worker, no capacity</h1></header><Card><NoWorkers /></Card></>;
  }
  const shown = answer && (hasLoss ? answer.lost : answer.capacity);
  return (
    <>
      <header class="page-head with-actions">
        <h1>{shown && isCurrent ? <Headline vms={shown.vms} question={question} /> : 'How much fits?'}</h1>
        <p>
          Counted in whole VMs, on active workers, in capacity that is neither allocated nor reserved.
          {answer && answer.capacity.unsizedVms > 0 && <span class="warn"> {plural(answer.capacity.unsizedVms, 'VM')} of unknown size {answer.capacity.unsizedVms === 1 ? 'is' : 'are'} on them: fewer may fit.</span>}
        </p>
        {figures.error.value && <p class="bad" role="alert">{figures.error.value.message}</p>}
        <span class="page-actions">
          <CopyAs request={{
            path: `placement?${placementQuery(question)}`,
            graphql: Where.text,
            variables: { request: placementRequest(question) },
            cli: commandOf(question, quote),
          }} />
        </span>
      </header>
      <Form question={question} zones={answer?.zones.map(({ name }) => name) ?? []} />
      <Figures answer={answer} question={question} isCurrent={isCurrent} />
      <Zones answer={answer} question={question} isCurrent={isCurrent} />
      <CapacityCurves zones={answer?.zones.map(({ name }) => name) ?? []} />
      <Placement question={question} />
      <Held />
    </>
  );
}

function sizeOf({ vcpus, memoryMb, diskGb }: Pick<Question, 'vcpus' | 'memoryMb' | 'diskGb'>): string {
  return `${count(vcpus)} vCPU${diskGb > 0 ? ',' : ' and'} ${memory(memoryMb)}${diskGb > 0 ? ` and ${count(diskGb)} GB of disk` : ''}`;
}

const zoneName = (zone: string): string => zone || 'no zone';

function lossOf({ withoutZones, withoutWorkers }: Question): string {
  const lost = [...withoutZones.map((zone) => zone || 'the workers without a zone'), ...withoutWorkers];
  return lost.length > 2 ? `${lost.slice(0, 2).join(', ')} and ${lost.length - 2} more` : lost.join(' and ');
}

const isPlural = ({ withoutZones, withoutWorkers }: Question): boolean => withoutZones.length + withoutWorkers.length > 1 || withoutZones.includes('');

function Headline({ vms, question }: { vms: number; question: Question }) {
  const lost = lossOf(question);
  const many = isPlural(question);
  return <>{vms === 0 ? 'No VM' : plural(vms, 'VM')} of {sizeOf(question)} {vms === 1 || vms === 0 ? 'fits' : 'fit'}{lost ? ` if ${lost} ${many ? 'are' : 'is'} lost` : ' now'}</>;
}

/** A field whose value is in the address as soon as it can be understood. */
function Field({ label, unit, value, width, inputMode = 'numeric', placeholder, help, parse, onValue }: {
  label: string;
  unit?: string;
  value: string;
  width: string;
  inputMode?: 'numeric' | 'text';
  placeholder?: string;
  help?: string;
  /** What the address says for what is typed; null if that cannot be understood. */
  parse: (text: string) => string | null;
  onValue: (value: string) => void;
}) {
  const input = useRef<HTMLInputElement>(null);
  const [isWrong, setWrong] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => {
    if (input.current && input.current !== document.activeElement) {
      input.current.value = value;
      setWrong(false);
    }
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <label class="field" style={{ width }}>
      <span>{label}</span>
      <span class="with-unit">
        <input
          ref={input}
          defaultValue={value}
          inputMode={inputMode}
          autocomplete="off"
          spellcheck={false}
          placeholder={placeholder}
          title={help}
          aria-invalid={isWrong}
          onInput={(event) => {
            const parsed = parse(event.currentTarget.value);
            setWrong(parsed === null);
            clearTimeout(timer.current);
            if (parsed !== null) timer.current = setTimeout(() => onValue(parsed), 200);
          }}
          onBlur={(event) => { if (isWrong) { event.currentTarget.value = value; setWrong(false); } }}
        />
        {unit && <span class="unit" aria-hidden="true">{unit}</span>}
      </span>
    </label>
  );
}

function Form({ question, zones }: { question: Question; zones: readonly string[] }) {
  const { vcpus, memoryMb, diskGb, labels, capabilities } = question;
  const number = (text: string, least: number, most?: number): string | null => whole(text, least, most)?.toString() ?? null;
  const isSpecial = labels !== '' || capabilities.length > 0 || question.zones.length > 0;
  return (
    <Card class="question">
      <div class="fields">
        <Field label="vCPUs of each VM" value={String(vcpus)} width="130px" parse={(text) => number(text, 1)} onValue={(vcpu) => setQuery({ vcpu })} />
        <Field label="Memory" unit="GiB" value={memoryField(memoryMb)} width="110px" inputMode="text" help="A number of GiB, or 512m"
          parse={(text) => { const amount = typedMemory(text); return amount === null ? null : memoryWord(amount); }} onValue={(mem) => setQuery({ mem })} />
        <Field label="Disk" unit="GB" value={diskGb > 0 ? String(diskGb) : ''} placeholder="any" width="100px" parse={(text) => (text.trim() === '' ? '0' : number(text, 0))} onValue={(disk) => setQuery({ disk: disk === '0' ? null : disk })} />
        <div class="facets sizes" role="group" aria-label="Usual sizes">
          {SIZES.map(([vcpu, gib]) => (
            <button key={`${vcpu} ${gib}`} type="button" class="facet" aria-pressed={vcpu === vcpus && gib * 1024 === memoryMb} onClick={() => setQuery({ vcpu: String(vcpu), mem: `${gib}g` }, { keep: true })}>
              {vcpu} × {gib} GiB
            </button>
          ))}
        </div>
      </div>
      <details class="more-conditions" open={isSpecial}>
        <summary class="link small">Only in some zones, with labels or capabilities</summary>
        <div class="fields">
          <label class="field">
            <span>In the zone</span>
            <select value={question.zones[0] === undefined ? '' : question.zones[0] || 'none'} onChange={({ currentTarget: { value } }) => setQuery({ zone: value ? zoneValues([value]) : null }, { keep: true })}>
              <option value="">any</option>
              {zones.map((zone) => <option key={zone} value={zone}>{zone}</option>)}
            </select>
          </label>
          <Field label="With all of these labels" value={labels} width="260px" inputMode="text" placeholder="env=prod, gpu" parse={(text) => text.trim()} onValue={(label) => setQuery({ label })} />
          <Field label="With all of these capabilities" value={capabilities.join(', ')} width="260px" inputMode="text" placeholder="kvm" parse={(text) => text.trim()} onValue={(cap) => setQuery({ cap })} />
        </div>
      </details>
    </Card>
  );
}

type Answer = ResultOf<typeof HowMany>;

function Figures({ answer, question, isCurrent }: { answer: Answer | undefined; question: Question; isCurrent: boolean }) {
  const lost = lossOf(question);
  const now = answer?.capacity;
  const then = lost ? answer?.lost : now;
  const change = now && then ? then.vms - now.vms : 0;
  const after = lost ? ', too' : '';
  return (
    <dl class={`figures${isCurrent ? '' : ' waits'}`}>
      <div class="card">
        <dt>fit now</dt>
        <dd>{now ? count(now.vms) : '–'}</dd>
      </div>
      {lost && (
        <div class="card lost">
          <dt class="break">fit if {lost} {isPlural(question) ? 'are' : 'is'} lost</dt>
          <dd>{then ? count(then.vms) : '–'} {change < 0 && <span class="small warn">{count(change).replace('-', '−')}</span>}</dd>
          <dd class="plain"><a href={hrefHere({ without: null, lost: null })}>Count nothing as lost</a></dd>
        </div>
      )}
      <div class="card">
        <dt class="break">without the worker with the most room{after}{then?.largestWorkerId && <>: <a href={href('workers', then.largestWorkerId)}>{then.largestWorkerId}</a></>}</dt>
        <dd>{then ? count(then.vmsWithoutLargestWorker) : '–'}</dd>
      </div>
      <div class="card">
        <dt class="break">
          without the zone with the most room{after}
          {then?.largestZone !== null && then?.largestZone !== undefined && (
            <>: <a href={hrefHere({ without: toggledZone(question.withoutZones, then.largestZone) })}>{zoneName(then.largestZone)}</a></>
          )}
        </dt>
        <dd>{then ? count(then.vmsWithoutLargestZone) : '–'}</dd>
      </div>
    </dl>
  );
}

/** Sums over all workers, under the names that they have in zones. */
function workerSums({ totalWorkers: workers, ...others }: Answer['clusterStats']) {
  return { ...others, workers };
}

function Zones({ answer, question, isCurrent }: { answer: Answer | undefined; question: Question; isCurrent: boolean }) {
  const hasZoneless = answer !== undefined && withoutZone(workerSums(answer.clusterStats), answer.zones) !== null;
  // Each VM is looked at for it: only where there are such workers.
  const zonelessVms = useQuery(ZonelessVms, hasZoneless ? {} : null, { on: isAboutRoom, every: 15_000, atMostEvery: 5_000 }).data.value;
  if (!answer) return null;
  const room = new Map(answer.capacity.zones.map((zone) => [zone.zone, zone]));
  const most = Math.max(1, ...answer.capacity.zones.map(({ vms }) => vms));
  const rows = zoneRows(workerSums(answer.clusterStats), answer.zones, zonelessVms?.vmCounts.total ?? null);
  if (rows.length === 0) return null;
  return (
    <Card title="By zone" flush>
      <div class="scroll-x" tabIndex={0} role="region" aria-label="Table by zone">
        <table class={`plain-table${isCurrent ? '' : ' waits'}`}>
          <thead>
            <tr><th>Zone</th><th class="right">VMs that fit</th><th aria-hidden="true" class="bar-cell" /><th class="right screen-only">on workers</th><th class="right wide-only">Cores free</th><th class="right wide-only">Memory free</th><th class="right wide-only">Slots free</th><th class="right screen-only">VMs there</th><th><span class="visually-hidden">What if it is lost</span></th></tr>
          </thead>
          <tbody>
            {rows.map((zone) => {
              const fit = room.get(zone.name);
              const isLost = question.withoutZones.includes(zone.name);
              const out = [zone.drainingWorkers > 0 && `${zone.drainingWorkers} draining`, zone.offlineWorkers > 0 && `${zone.offlineWorkers} offline`].filter(Boolean).join(', ');
              return (
                <tr key={zone.name} class={isLost ? 'lost' : undefined}>
                  <th scope="row"><a href={href('workers', { q: searchFor('zone', zone.name || 'none') })}>{zoneName(zone.name)}</a>{isLost && <span class="warn small as-lost"> counted as lost</span>}</th>
                  <td class="right strong">{count(fit?.vms ?? 0)}</td>
                  <td class="bar-cell" aria-hidden="true"><span class="bar"><i class={isLost ? 'hatched' : undefined} style={{ width: `${share(fit?.vms ?? 0, most)}%` }} /></span></td>
                  <td class="right screen-only">{count(fit?.workers ?? 0)}<span class="faint" title={out || undefined}> of {count(zone.workers)}</span></td>
                  <td class="right wide-only">{count(zone.schedulableCpuCores)}</td>
                  <td class="right wide-only">{memory(zone.schedulableMemoryMb)}</td>
                  <td class="right wide-only">{count(zone.schedulableVmSlots)}</td>
                  <td class="right screen-only"><a href={href('vms', { q: searchFor('zone', zone.name || 'none') })}>{zone.vmCount === null ? '–' : count(zone.vmCount)}</a></td>
                  <td class="right">
                    <a class="button small" href={hrefHere({ without: toggledZone(question.withoutZones, zone.name) })}>
                      {isLost ? 'Count it again' : 'What if lost?'}<span class="visually-hidden">: {zoneName(zone.name)}</span>
                    </a>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Card>
  );
}

const REASONS: Record<RefusalReason, string> = {
  EXCLUDED: 'counted as lost', ZONE: 'in another zone', LABELS: 'without the labels', CAPABILITIES: 'without the capabilities', OFFLINE: 'offline',
  DRAINING: 'draining', NO_INVENTORY: 'without an inventory', CPU_CORES: 'too few cores', MEMORY: 'too little memory', DISK: 'too little disk',
  VM_SLOTS: 'no slot', DISTINCT: 'has one already',
};

function Placement({ question }: { question: Question }) {
  const answer = useQuery(Where, { request: { ...placementRequest(question), limit: LISTED } }, { on: isAboutRoom, every: 15_000, atMostEvery: 2_500 });
  const reserving = useSignal(false);
  const placement = answer.data.value?.placement;
  const left = placement ? placement.count - placement.placeable : 0;
  const away = isConnected.value ? undefined : 'Not while the server cannot be reached';
  const most = Math.max(1, ...placement?.assignments.map(({ vms }) => vms) ?? []);
  return (
    <Card
      title="Placement"
      aside={mayOperate.value && (
        <button type="button" class="button small" disabled={!placement?.fits || !!away} title={away ?? (placement && !placement.fits ? 'Not all of them fit' : 'Reserve this capacity for VMs to come')} onClick={() => { reserving.value = true; }}>
          Reserve …
        </button>
      )}
    >
      <div class="fields placement-fields">
        <Field label="How many VMs" value={String(question.count)} width="100px" parse={(text) => whole(text, 1, MOST_VMS)?.toString() ?? null} onValue={(n) => setQuery({ n })} help={`1 to ${count(MOST_VMS)}`} />
        <label class="field">
          <span>Strategy</span>
          <select value={question.strategy} onChange={(event) => setQuery({ order: event.currentTarget.value === 'PACK' ? 'pack' : null }, { keep: true })}>
            <option value="SPREAD">spread: least loaded workers first</option>
            <option value="PACK">pack: most loaded workers first</option>
          </select>
        </label>
        <label class="field">
          <span>Anti-affinity</span>
          <select value={question.distinct} onChange={(event) => setQuery({ apart: event.currentTarget.value === 'NONE' ? null : event.currentTarget.value.toLowerCase() }, { keep: true })}>
            <option value="NONE">none: VMs may share a worker</option>
            <option value="WORKER">worker: each on its own worker</option>
            <option value="ZONE">zone: each in its own zone</option>
          </select>
        </label>
      </div>
      {answer.error.value && <p class="bad" role="alert">{answer.error.value.message}</p>}
      {placement && (
        <div class={`placement${answer.isCurrent.value ? '' : ' waits'}`}>
          <section aria-label="Workers that would take them">
            <p class="answer">
              {placement.fits
                ? <Status tone="good">{placement.count === 1 ? 'It fits' : `All ${count(placement.count)} fit`}</Status>
                : <Status tone="bad">{placement.placeable === 0 ? 'None fits' : `${count(placement.placeable)} of ${count(placement.count)} fit, ${count(left)} do not`}</Status>}
              <span class="muted small">{plural(placement.totalCandidates, 'worker')} could take one</span>
            </p>
            <ul class="assignments">
              {placement.assignments.slice(0, LISTED).map(({ workerId, zone, vms }) => (
                <li key={workerId}>
                  <a class="ellipsis" href={href('workers', workerId)}>{workerId}</a>
                  <span class="faint ellipsis">{zone}</span>
                  <span class="bar" aria-hidden="true"><i style={{ width: `${share(vms, most)}%` }} /></span>
                  <b>{count(vms)}</b>
                </li>
              ))}
            </ul>
            {placement.assignments.length > LISTED && <p class="small faint">and {plural(placement.assignments.length - LISTED, 'more worker')}</p>}
          </section>
          <section aria-label="Why not elsewhere">
            <p class="answer">
              <strong class="small">Why not elsewhere</strong>
              <span class="muted small">{placement.totalRefusals === 0 ? 'every worker could take one' : `${plural(placement.totalRefusals, 'worker')}, the nearest misses first`}</span>
            </p>
            <p class="tags wrap">
              {placement.refusalsByReason.map(({ reason, workers }) => <span key={reason} class="tag">{REASONS[reason]} <b>{count(workers)}</b></span>)}
            </p>
            <ul class="refusals" tabIndex={placement.refusals.length > 8 ? 0 : undefined} aria-label="Workers that cannot take one">
              {placement.refusals.map(({ workerId, zone, reasons }) => (
                <li key={workerId}>
                  <p><a href={href('workers', workerId)}>{workerId}</a> <span class="faint">{zone}</span></p>
                  {reasons.map(({ reason, message }) => <p key={reason} class="small muted break">{message}</p>)}
                </li>
              ))}
            </ul>
            {placement.totalRefusals > placement.refusals.length && <p class="small faint">and {plural(placement.totalRefusals - placement.refusals.length, 'more worker')}</p>}
          </section>
        </div>
      )}
      {reserving.value && <ReserveDialog question={question} onClose={() => { reserving.value = false; }} />}
    </Card>
  );
}

const TIMES = [['2m', '2 minutes'], ['10m', '10 minutes'], ['30m', '30 minutes'], ['1h', '1 hour, the longest']] as const;

function ReserveDialog({ question, onClose }: { question: Question; onClose: () => void }) {
  const expires = useSignal('10m');
  const reason = useSignal('');
  async function confirm(): Promise<void> {
    const { vcpus, memoryMb, diskGb, zones, labels, capabilities, withoutWorkers, withoutZones, count: amount, strategy, distinct } = { ...placementRequest(question), count: question.count };
    const { reserve } = await ask(Reserve, {
      input: { vcpus, memoryMb, diskGb, zones, labels, capabilities, withoutWorkers, withoutZones, count: amount, strategy, distinct, expiresIn: expires.peek(), reason: reason.peek().trim() || null },
    });
    if (!reserve) return;
    const { id } = reserve.reservation;
    toast(`Room for ${plural(amount, 'VM')} is held`, { action: { label: 'Release', run: () => { release(id, 'undone').catch(toastError); } } });
  }
  return (
    <Confirm title={`Reserve room for ${plural(question.count, 'VM')}`} action="Reserve" disabled={!isConnected.value} onConfirm={confirm} onClose={onClose}>
      <p class="muted">{count(question.count)} × {sizeOf(question)}, for all of them or for none. Nobody else gets the room until VMs take it, it is released, or its time is over.</p>
      <label class="field">
        <span>Expires after</span>
        <select value={expires.value} onChange={(event) => { expires.value = event.currentTarget.value; }}>
          {TIMES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
      </label>
      <label class="field">
        <span>Reason, shown to others</span>
        <input value={reason.value} maxLength={500} placeholder="roll-out of db" onInput={(event) => { reason.value = event.currentTarget.value; }} />
      </label>
    </Confirm>
  );
}

async function release(reservationId: string, reason: string | null): Promise<void> {
  const { releaseReservation } = await ask(Release, { input: { reservationId, reason } });
  toast(releaseReservation?.changed ? 'Released' : 'It had ended already');
}

const STATES: Record<ReservationState, { tone: Tone; word: string }> = {
  HELD: { tone: 'good', word: 'held' },
  TAKEN: { tone: 'quiet', word: 'taken' },
  RELEASED: { tone: 'quiet', word: 'released' },
  EXPIRED: { tone: 'warn', word: 'expired' },
};

type Reservation = ResultOf<typeof Reservations>['reservations']['nodes'][number];

/** Room that is held: by whom, until when, and how much of it is taken. */
function Held() {
  const isAll = place.value.query.get('ended') === 'yes';
  const answer = useQuery(Reservations, { filter: isAll ? null : { states: ['HELD'] } }, { on: isAboutReservations, every: 30_000, atMostEvery: 500 });
  const releasing = useSignal<Reservation | null>(null);
  const data = answer.data.value;
  const makers = new Map(data?.events.nodes.map(({ reservationId, actorName }) => [reservationId, actorName]));
  const reservations = data?.reservations.nodes ?? [];
  return (
    <Card
      title="Reservations"
      flush={reservations.length > 0}
      aside={<button type="button" class="link" onClick={() => setQuery({ ended: isAll ? null : 'yes' }, { keep: true })}>{isAll ? 'Only those that hold room' : 'Also those that ended'}</button>}
    >
      {answer.error.value && <p class="bad" role="status">{answer.error.value.message}</p>}
      {data && reservations.length === 0 && (
        <Empty title={isAll ? 'No reservation in the last day' : 'No reservation'}>
          <p>A reservation holds room for VMs that are not there yet, so that nobody else takes it meanwhile. Choose a size and a number above, and reserve.</p>
        </Empty>
      )}
      {reservations.length > 0 && (
        <ul class="reservations">
          {reservations.map((one) => <ReservationRow key={one.id} reservation={one} maker={makers.get(one.id)} onRelease={() => { releasing.value = one; }} />)}
        </ul>
      )}
      {data && data.reservations.totalCount > reservations.length && <p class="small faint more">and {count(data.reservations.totalCount - reservations.length)} older ones</p>}
      {releasing.value && (
        <Confirm title="Release this room" action="Release" danger onConfirm={() => release(releasing.peek()!.id, null)} onClose={() => { releasing.value = null; }}>
          <p class="muted">What is still held of {releasing.value.count} × {sizeOf(releasing.value)} is given back at once. VMs that have taken their slots stay.</p>
        </Confirm>
      )}
    </Card>
  );
}

function ReservationRow({ reservation: one, maker, onRelease }: { reservation: Reservation; maker: string | null | undefined; onRelease: () => void }) {
  const { tone, word } = STATES[one.state];
  const taken = one.slots.filter(({ state }) => state === 'TAKEN').length;
  const workers = [...new Set(one.slots.map(({ workerId }) => workerId))];
  const left = Date.parse(one.expiresAt) - now.value;
  const away = isConnected.value ? undefined : 'Not while the server cannot be reached';
  return (
    <li data-reservation={one.id}>
      <span class="sign"><Status tone={tone}>{word}</Status></span>
      <div class="grow">
        <p><strong>{one.count} × {sizeOf(one)}</strong>{taken > 0 && one.state === 'HELD' && <span class="muted"> · {taken} taken</span>}{one.reason && <span class="muted break"> · “{one.reason}”</span>}</p>
        <p class="small muted break">
          {maker ? `by ${maker} ` : ''}<Time at={one.createdAt} /> · on {workers.slice(0, 3).map((id, index) => <>{index > 0 && ', '}<a key={id} href={href('workers', id)}>{id}</a></>)}{workers.length > 3 && ` and ${workers.length - 3} more`}
        </p>
      </div>
      <span class="small right nowrap">{one.state === 'HELD' ? (left > 0 ? <>{length(left)} left</> : 'ends now') : one.endedAt ? <>ended <Time at={one.endedAt} /></> : null}</span>
      {one.state === 'HELD' && mayOperate.value && <button type="button" class="button small" disabled={!!away} title={away} onClick={onRelease}>Release</button>}
    </li>
  );
}
