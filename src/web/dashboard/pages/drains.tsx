// Drains: a board on which each goes from requested to safe to power off, and below it those that have ended.

import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { stats } from '../api/cluster';
import { ask } from '../api/http';
import { resyncs, type ClusterEvent } from '../api/events';
import { follow, isConnected, reconnections } from '../api/live';
import { fragment, operation, type FragmentType } from '../api/operation';
import { useQuery } from '../api/query';
import type { DrainFilter } from '../api/generated';
import { splitBlockers } from '../blockers';
import { Card } from '../components/card';
import { Code, CopyAs, type Request } from '../components/copy';
import { activateWithUndo } from '../components/drain';
import { Empty } from '../components/empty';
import { Status } from '../components/status';
import { Table, type Column } from '../components/table';
import { Since, Time } from '../components/time';
import { toastError } from '../components/toast';
import { words } from '../components/workers-request';
import { actor, count, plural } from '../format';
import { href, place, setQuery } from '../router';
import { otherWays, searchFor } from '../search';
import { isIn, mayOperate } from '../session';
import { clock, exact, exactLength, length, now, serverNow } from '../time';
import { byUrgency, drainSearch, heldUp, initialOf, paceOf, stageOf, type Stage } from './drains/model';

const DrainFields = fragment(`fragment DrainFields on Drain {
  id workerId number state safeToPowerOff reason metadata { key value } revision
  startedAt startedBy startedByName deadlineAt acknowledgedAt completedAt overdueAt
  endedAt endedBy endedByName endReason initialVms remainingVms
  blockers { kind vmId since note message }
  worker { zone status }
}`);

type Drain = FragmentType<typeof DrainFields>;

const StandingDrains = operation(`query StandingDrains($first: Int, $after: String, $filter: DrainFilter) {
  drains(first: $first, after: $after, filter: $filter) { totalCount pageInfo { endCursor hasNextPage } nodes { ...DrainFields } }
}`, DrainFields);

const EndedDrains = operation(`query EndedDrains($first: Int, $filter: DrainFilter) {
  drains(first: $first, filter: $filter) { totalCount nodes { ...DrainFields } }
}`, DrainFields);

const Progress = operation(`subscription Progress($filter: DrainFilter, $every: Duration) {
  drainProgress(filter: $filter, every: $every) { isLast drain { ...DrainFields } }
}`, DrainFields);

/** Drains of one question. */
const PAGE = 200;
/** Cards of a column; behind them is told how many more there are. */
const MOST_CARDS = 60;
/** Blockers of a card that are shown at once. */
const FIRST_BLOCKERS = 3;
/** Ended drains that are read. */
const MOST_ENDED = 500;
/** For so long no VM may leave, in milliseconds, before a card says so. */
const STALLED_AFTER_MS = 120_000;

const STAGES: readonly { stage: Stage; title: string; meaning: string }[] = [
  { stage: 'requested', title: 'Requested', meaning: 'Not acknowledged by the agent yet, which may take one more VM.' },
  { stage: 'acknowledged', title: 'Acknowledged', meaning: 'The agent takes no new VM; none has left so far.' },
  { stage: 'leaving', title: 'VMs leaving', meaning: 'Some have left; what blocks the rest is on each card.' },
  { stage: 'safe', title: 'Safe to power off', meaning: 'Acknowledged, reported empty, nothing reserved.' },
];

/** What this page has seen of a drain itself: since when it looks, and when a VM left. */
interface Watch { since: number; leftAt: number | null; remaining: number }

function useStandingDrains(filter: DrainFilter) {
  const drains = useSignal<ReadonlyMap<string, Drain> | null>(null);
  const error = useSignal('');
  const watches = useRef(new Map<string, Watch>());
  const key = JSON.stringify(filter);
  // The first time that events are followed, nothing was missed.
  const anew = Math.max(0, resyncs.value - 1) + reconnections.value;
  const isAllowed = isIn.value;
  useEffect(() => {
    if (!isAllowed) return;
    const abort = new AbortController();
    let stop = (): void => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    let waiting = new Map<string, Drain | null>();
    const note = ({ id, remainingVms }: Drain): void => {
      const remaining = remainingVms ?? 0;
      const watch = watches.current.get(id);
      if (!watch) watches.current.set(id, { since: serverNow(), leftAt: null, remaining });
      else if (remaining < watch.remaining) Object.assign(watch, { leftAt: serverNow(), remaining });
      else watch.remaining = remaining;
    };
    const receive = (drain: Drain, isLast: boolean): void => {
      // Messages of one frame change the board once.
      if (waiting.size === 0) (document.hidden ? (apply: () => void) => setTimeout(apply, 200) : requestAnimationFrame)(apply);
      waiting.set(drain.id, isLast ? null : drain);
    };
    const apply = (): void => {
      const next = new Map(drains.peek());
      for (const [id, drain] of waiting) {
        if (drain === null) next.delete(id);
        else { note(drain); next.set(id, drain); }
      }
      waiting = new Map();
      if (!abort.signal.aborted) drains.value = next;
    };
    const begin = async (): Promise<void> => {
      const found = new Map<string, Drain>();
      try {
        for (let after: string | null = null, hasMore = true; hasMore;) {
          const { drains: page }: StandingResult =
            await ask(StandingDrains, { first: PAGE, after, filter: { ...filter, states: ['DRAINING', 'OVERDUE', 'COMPLETE'] } });
          if (abort.signal.aborted) return;
          for (const drain of page.nodes) { note(drain); found.set(drain.id, drain); }
          after = page.pageInfo.endCursor;
          hasMore = page.pageInfo.hasNextPage;
        }
      } catch (reason) {
        if (abort.signal.aborted) return;
        error.value = (reason as Error).message;
        timer = setTimeout(() => { void begin(); }, 3_000);
        return;
      }
      error.value = '';
      drains.value = found;
      document.documentElement.dataset['ready'] = '';
      stop = follow(Progress, { filter, every: '250ms' }, ({ drainProgress: { drain, isLast } }) => receive(drain, isLast));
    };
    void begin();
    return () => { abort.abort(); clearTimeout(timer); stop(); };
  }, [key, anew, isAllowed]);
  return { drains, error, watches: watches.current };
}

type StandingResult = NonNullable<NonNullable<typeof StandingDrains.types>['result']>;

export default function Drains() {
  const q = place.value.query.get('q') ?? '';
  const search = useMemo(() => drainSearch(q), [q]);
  const { drains, error, watches } = useStandingDrains(search.filter);
  const all = [...drains.value?.values() ?? []].sort(byUrgency);
  const stages = STAGES.map((stage) => ({ ...stage, drains: all.filter((drain) => stageOf(drain) === stage.stage) }));
  return (
    <>
      <header class="page-head with-actions">
        <h1>{drains.value === null ? 'Drains' : headline(all)}</h1>
        {drains.value !== null && <p>{next(all)}</p>}
        {search.problems.map((problem) => <p key={problem} class="warn" role="status">{problem}</p>)}
        {error.value && <p class="bad" role="status">{error.value}{drains.value !== null && ' The data shown may be out of date.'}</p>}
        <span class="page-actions"><CopyAs request={requestOf(search.filter)} /></span>
      </header>
      {drains.value !== null && all.length === 0 && <Nothing q={q} />}
      {all.length > 0 && (
        <div class="drain-board" style={{ '--stages': stages.map(({ drains }) => (drains.length === 0 ? 'minmax(104px, 0.28fr)' : 'minmax(0, 1fr)')).join(' ') }}>
          {stages.map(({ stage, title, meaning, drains }) => (
            <section key={stage} class={`drain-stage ${stage}${drains.length === 0 ? ' without' : ''}`} aria-labelledby={`stage-${stage}`}>
              <header>
                <h2 id={`stage-${stage}`}>{title} <span class="count">{count(drains.length)}</span></h2>
                <p class="tiny faint meaning">{meaning}</p>
              </header>
              <ul class="cards">
                {drains.slice(0, MOST_CARDS).map((drain) => <li key={drain.id}><DrainCard drain={drain} stage={stage} watch={watches.get(drain.id)} /></li>)}
              </ul>
              {drains.length > MOST_CARDS && (
                <p class="small muted">And {count(drains.length - MOST_CARDS)} more that are less urgent: <a href={href('workers', { q: 'status:draining' })}>all that drain</a></p>
              )}
            </section>
          ))}
        </div>
      )}
      <History filter={search.filter} />
    </>
  );
}

/** The drains of the board, asked for elsewhere. The command line finds them by zone and label only. */
function requestOf(filter: DrainFilter): Request {
  const states = ['draining', 'overdue', 'complete'];
  const { parameters } = otherWays({ ids: filter.workerIds, zones: filter.zones, hasZone: filter.hasZone, capabilities: filter.capabilities, labels: filter.labels, search: filter.search });
  const renamed = parameters.map(([name, value]): [string, string] => [name === 'id' ? 'worker_id' : name, value]);
  const isForCommand = !filter.workerIds && filter.hasZone === undefined && !filter.capabilities && !filter.search;
  const { options } = otherWays({ zones: filter.zones, labels: filter.labels });
  return {
    path: `drains?${new URLSearchParams([...states.map((state): [string, string] => ['state', state]), ...renamed, ['limit', String(PAGE)]])}`,
    graphql: StandingDrains.text,
    variables: { first: PAGE, filter: { ...filter, states: states.map((state) => state.toUpperCase()) } },
    ...(isForCommand && options ? { cli: ['drains', ...states.map((state) => `--state ${state}`), ...words(options)].join(' ') } : {}),
  };
}

function headline(drains: readonly Drain[]): string {
  if (drains.length === 0) return 'No worker is draining';
  const overdue = drains.filter(({ state }) => state === 'OVERDUE').length;
  const safe = drains.filter(({ safeToPowerOff }) => safeToPowerOff).length;
  const parts = [
    ...(overdue > 0 ? [`${count(overdue)} ${overdue === 1 ? 'is' : 'are'} overdue`] : []),
    ...(safe > 0 ? [`${count(safe)} ${safe === 1 ? 'is' : 'are'} safe to power off`] : []),
  ];
  return `${plural(drains.length, 'worker')} ${drains.length === 1 ? 'is' : 'are'} draining${parts.length > 0 ? `: ${parts.join(', ')}` : ''}`;
}

/** What is still there, and what is due next. */
function next(drains: readonly Drain[]): preact.ComponentChildren {
  if (drains.length === 0) return stats.value?.totalWorkers === 0 ? 'No worker has joined yet.' : 'Every worker that is online takes new VMs.';
  const left = drains.reduce((sum, { remainingVms }) => sum + (remainingVms ?? 0), 0);
  const due = drains.find(({ state, deadlineAt, safeToPowerOff }) => state === 'DRAINING' && deadlineAt && !safeToPowerOff);
  return <>{left === 0 ? 'No VM is left on them' : `${plural(left, 'VM')} ${left === 1 ? 'is' : 'are'} left on them`}{due?.deadlineAt && <>; the next deadline is that of {due.workerId}, <Time at={due.deadlineAt} /></>}.</>;
}

function Nothing({ q }: { q: string }) {
  return (
    <Card>
      {q
        ? (
          <Empty title="No drain matches">
            <p>None of the drains that stand fits <code class="break">{q}</code>.</p>
            <button type="button" class="button" onClick={() => setQuery({ q: null })}>Show all</button>
          </Empty>
        )
        : (
          <Empty title="Nothing is draining">
            <p>
              A drain takes a worker out of service: it gets no new VM, what runs there leaves or ends, and the board says when the
              host can be powered off. Give it a reason and a deadline; nothing is stopped when that passes, it is only announced.
            </p>
            {mayOperate.value && (
              <div class="row wrap">
                <a class="button primary" href={href('workers')}>Choose workers</a>
                <span class="small faint">with <kbd class="key">x</kbd>, then <kbd class="key">d</kbd></span>
              </div>
            )}
            <p class="small faint">Or from a terminal:</p>
            <Code>{'aetherium drain WORKER --reason "new disks" --deadline 2h'}</Code>
          </Empty>
        )}
    </Card>
  );
}

function DrainCard({ drain, stage, watch }: { drain: Drain; stage: Stage; watch: Watch | undefined }) {
  const isBusy = useSignal(false);
  const isOverdue = drain.state === 'OVERDUE';
  const remaining = drain.remainingVms ?? 0;
  const initial = initialOf(drain);
  const who = actor(drain.startedByName, drain.startedBy);
  const away = isConnected.value ? undefined : 'Not while the server cannot be reached';
  const activate = async (): Promise<void> => {
    isBusy.value = true;
    try {
      await activateWithUndo([{ id: drain.workerId }]);
    } catch (error) {
      toastError(error);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <article class={`drain-card${isOverdue ? ' overdue' : ''}${stage === 'safe' ? ' safe' : ''}`} data-worker={drain.workerId} data-state={drain.state.toLowerCase()} aria-label={`Drain of ${drain.workerId}`}>
      <div class="row">
        <a class="strong grow break" href={href('workers', drain.workerId)}>{drain.workerId}</a>
        {stage === 'safe'
          ? <Status tone="good">safe</Status>
          : isOverdue
            ? <Status tone="warn" title="Its deadline has passed. Nothing is stopped.">overdue</Status>
            : drain.worker.status === 'OFFLINE' ? <Status tone="bad">offline</Status> : null}
      </div>
      {stage !== 'safe' && (
        <div>
          <p class="progress"><strong>{initial === 0 ? 'No VM is known there' : `${count(remaining)} of ${plural(initial, 'VM')} left`}</strong><span class="faint small">{initial > 0 ? `${count(initial - remaining)} gone` : ''}</span></p>
          <div class="bar" role="progressbar" aria-label={`VMs that have left ${drain.workerId}`} aria-valuemin={0} aria-valuemax={initial} aria-valuenow={initial - remaining}>
            <i style={{ width: `${initial > 0 ? ((initial - remaining) / initial) * 100 : 0}%` }} />
          </div>
        </div>
      )}
      {stage === 'safe' && <p>{initial > 0 ? `${plural(initial, 'VM')} left it` : 'It held no VM'}{drain.completedAt && <>; empty for <Since at={drain.completedAt} /></>}</p>}
      {stage !== 'safe' && <Expectation drain={drain} watch={watch} />}
      {drain.reason && <p class="note break">“{drain.reason}”</p>}
      <p class="small muted break">
        {drain.startedAt ? <>started <Time at={drain.startedAt} /></> : 'started at an unknown time'}{who ? ` by ${who}` : ''}
        {drain.worker.zone ? ` · ${drain.worker.zone}` : ''}
      </p>
      {drain.metadata.length > 0 && <p class="tags wrap">{drain.metadata.map(({ key, value }) => <span key={key} class="tag" title={`${key}=${value}`}>{key}={value}</span>)}</p>}
      <Blockers drain={drain} />
      <div class="row foot">
        <a class="small" href={href('events', { q: searchFor('worker', drain.workerId) })}>Events</a>
        <span class="grow" />
        {mayOperate.value && (
          <button type="button" class={`button small${stage === 'safe' ? ' primary' : ''}`} disabled={isBusy.value || !!away} title={away ?? (stage === 'safe' ? 'It takes new VMs again' : 'Cancels the drain: it takes new VMs again')} aria-label={`Activate ${drain.workerId}`} onClick={activate}>
            Activate
          </button>
        )}
      </div>
    </article>
  );
}

/** The deadline, how fast VMs leave, and whether both fit together. */
function Expectation({ drain, watch }: { drain: Drain; watch: Watch | undefined }) {
  const present = now.value;
  const pace = paceOf(drain, present);
  const due = drain.deadlineAt === null ? null : Date.parse(drain.deadlineAt) - present;
  const stalled = watch === undefined ? 0 : present - (watch.leftAt ?? watch.since);
  const held = heldUp(drain);
  const isStalled = held === 0 && (drain.remainingVms ?? 0) > 0 && drain.acknowledgedAt !== null && stalled > Math.max(STALLED_AFTER_MS, (pace?.each ?? 0) * 2);
  return (
    <p class="small">
      {due === null
        ? <span class="faint">no deadline</span>
        : due >= 0
          ? <span title={exact(drain.deadlineAt!)}>{exactLength(due)} to the deadline <span class="faint">at {clock(drain.deadlineAt!)}</span></span>
          : <span class="warn" title={exact(drain.deadlineAt!)}>{exactLength(-due)} over the deadline <span class="faint">of {clock(drain.deadlineAt!)}</span></span>}
      {pace && !isStalled && (
        <>
          <br />
          <span class={pace.late !== null && pace.late > 0 && due !== null && due > 0 ? 'warn' : 'muted'}>
            a VM every {length(pace.each)} so far: empty in about {length(pace.left)}
            {pace.late !== null && pace.late > 0 && due !== null && due > 0 ? `, ${length(pace.late)} too late` : ''}
          </span>
        </>
      )}
      {held > 0 && <><br /><span class="warn">{plural(held, 'VM')} {held === 1 ? 'is' : 'are'} blocked, as {held === 1 ? 'its' : 'their'} worker reports</span></>}
      {isStalled && <><br /><span class="warn">no VM has left for {length(stalled)} or longer</span></>}
    </p>
  );
}

/** VMs that have not left yet, as a number, and what blocks: each with since when. */
function Blockers({ drain: { blockers: all, workerId } }: { drain: Drain }) {
  const { leaving, blocking: blockers } = splitBlockers(all);
  if (all.length === 0) return null;
  const one = ({ kind, vmId, since, message }: Drain['blockers'][number]) => (
    <li key={`${kind} ${vmId}`} class={kind === 'WORKER_OFFLINE' || kind === 'POLICY_HOOK_FAILED' ? 'bad' : ''}>
      <span class="break">{message}</span>{since && <span class="faint">{'\u00a0· '}<span class="nowrap">for <Since at={since} /></span></span>}
    </li>
  );
  return (
    <div class="drain-blockers">
      {leaving.length > 0 && <p class="small" data-test="leaving"><span class="muted">Still to leave:</span> <a href={href('vms', { q: searchFor('worker', workerId) })}>{plural(leaving.length, 'VM')}</a></p>}
      {blockers.length > 0 && <p class="tiny faint">Blockers</p>}
      <ul>{blockers.slice(0, FIRST_BLOCKERS).map(one)}</ul>
      {blockers.length > FIRST_BLOCKERS && (
        <details>
          <summary class="small">{count(blockers.length - FIRST_BLOCKERS)} more</summary>
          <ul>{blockers.slice(FIRST_BLOCKERS).map(one)}</ul>
        </details>
      )}
    </div>
  );
}

const columns: readonly Column<Drain>[] = [
  { key: 'worker', title: 'Worker', width: 'minmax(110px, 1fr)', lead: true, phone: 'lead', cell: ({ workerId }) => workerId },
  { key: 'outcome', title: 'Outcome', width: '150px', phone: 'side', cell: ({ state }) => (state === 'ENDED'
    ? <Status bare tone="good" title="Drained, and activated after that">drained</Status>
    : <Status bare tone="quiet" title="Activated before the drain was complete">canceled</Status>) },
  { key: 'ended', title: 'Ended', width: '104px', phone: 'end', cell: ({ endedAt }) => (endedAt ? <Time at={endedAt} /> : '–') },
  { key: 'took', title: 'Took', width: '96px', right: true, cell: ({ startedAt, completedAt, endedAt }) => {
    const until = completedAt ?? endedAt;
    return startedAt && until ? exactLength(Date.parse(until) - Date.parse(startedAt)) : '–';
  } },
  { key: 'vms', title: 'VMs at start', width: '92px', right: true, cell: ({ initialVms }) => (initialVms === null ? '–' : count(initialVms)) },
  { key: 'began', title: 'Started by', width: 'minmax(80px, 140px)', cell: ({ startedBy, startedByName }) => actor(startedByName, startedBy) || '–' },
  { key: 'by', title: 'Ended by', width: 'minmax(80px, 140px)', cell: ({ endedBy, endedByName }) => endedByName ?? endedBy ?? '–' },
  { key: 'note', title: 'Reason', width: 'minmax(140px, 2fr)', phone: 'second', cell: ({ reason, endReason, overdueAt }) => (
    <span class="muted">
      {[reason && `“${reason}”`, endReason && `ended: “${endReason}”`, overdueAt && 'was overdue'].filter(Boolean).join(' · ')}
    </span>
  ) },
];

/** The last drain of each worker, if that has ended. */
function History({ filter }: { filter: DrainFilter }) {
  const ended = useQuery(EndedDrains, { first: MOST_ENDED, filter: { ...filter, states: ['CANCELED', 'ENDED'] } }, { on: isAboutDrains });
  const answer = ended.data.value?.drains;
  const rows = useMemo(() => [...answer?.nodes ?? []].sort((a, b) => Date.parse(b.endedAt ?? '') - Date.parse(a.endedAt ?? '')), [answer]);
  if (!answer) return null;
  return (
    <Card
      title={rows.length === 0 ? 'Drains that have ended' : `Drains that have ended: the last one of ${plural(answer.totalCount, 'worker')}`}
      aside={rows.length === 0 ? undefined : answer.totalCount > rows.length ? <span class="muted">{count(rows.length)} shown</span> : <span class="muted">earlier ones are on each worker’s page</span>}
      flush
      class="with-head history"
    >
      {rows.length === 0
        ? <p class="muted none">None yet. A drain ends when its worker is activated.</p>
        : <Table label="Drains that have ended" columns={columns} rows={rows} id={({ id }) => id} href={({ workerId }) => href('workers', workerId)} maxRows={14} />}
    </Card>
  );
}

function isAboutDrains({ kind }: ClusterEvent): boolean {
  return kind === 'WORKER_ACTIVATED' || kind === 'WORKER_DRAIN_STARTED' || kind === 'WORKER_PURGED';
}
