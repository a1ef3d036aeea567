// Health: how the server that answers this page is, part by part and in words, how fast and how fresh its answers are,
// and what it allows.

import { signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { stats } from '../api/cluster';
import { revision } from '../api/events';
import { ask, RequestError } from '../api/http';
import { freshness, isConnected, reconnections } from '../api/live';
import { operation } from '../api/operation';
import { Card } from '../components/card';
import { CopyAs, CopyButton } from '../components/copy';
import { Sparkline } from '../components/sparkline';
import { Status, type Tone } from '../components/status';
import { Clock } from '../components/time';
import { count } from '../format';
import { at } from '../root';
import { isIn, session } from '../session';
import { exact } from '../time';
import { limitsOf, staleness, versionOf, wordsOf, type Limit } from './health/model';

const ServerHealth = operation(`query ServerHealth { health { status components { name status } stalenessSeconds timestamp } }`);

type Health = NonNullable<NonNullable<typeof ServerHealth.types>['result']>['health'];

/** How often the server is asked how it is, in milliseconds. */
const PERIOD_MS = 2_000;
/** Answers that are kept for the lines: five minutes. */
const MOST_SAMPLES = 150;

interface Sample {
  at: number;
  /** How long the answer took, in milliseconds; null if there was none. */
  took: number | null;
  staleness: number;
  bad: readonly string[];
}

/** They stay while other pages are looked at. */
const samples = signal<readonly Sample[]>([]);
const last = signal<Health | null>(null);
const problem = signal<string>('');

async function look(abort: AbortSignal): Promise<void> {
  const begun = performance.now();
  let sample: Sample;
  try {
    const { health } = await ask(ServerHealth, {});
    last.value = health;
    problem.value = '';
    sample = { at: Date.now(), took: performance.now() - begun, staleness: health.stalenessSeconds, bad: health.components.filter(({ status }) => status !== 'OK').map(({ name }) => name) };
    document.documentElement.dataset['ready'] = '';
  } catch (error) {
    if (abort.aborted) return;
    problem.value = error instanceof RequestError ? error.message : String(error);
    sample = { at: Date.now(), took: null, staleness: samples.peek().at(-1)?.staleness ?? 0, bad: [] };
  }
  samples.value = [...samples.peek().slice(1 - MOST_SAMPLES), sample];
}

/** What the server says of itself in its description of the API, which is read once. */
const described = signal<{ version: string | null; limits: Limit[] } | null>(null);

export default function Health() {
  const isAllowed = isIn.value;
  const isBack = reconnections.value;
  useEffect(() => {
    if (!isAllowed) return;
    const abort = new AbortController();
    void look(abort.signal);
    const timer = setInterval(() => { if (!document.hidden) void look(abort.signal); }, PERIOD_MS);
    return () => { clearInterval(timer); abort.abort(); };
  }, [isAllowed]);
  useEffect(() => {
    fetch(at('api/v1/openapi.json'), { headers: { accept: 'application/json' } })
      .then((response) => (response.ok ? response.json() : Promise.reject(new Error())))
      .then((document: unknown) => { described.value = { version: versionOf(document), limits: limitsOf(document) }; })
      .catch(() => {});
    // Another server, or another version, may have come back.
  }, [isBack]);

  const health = last.value;
  const bad = health?.components.filter(({ status }) => status !== 'OK') ?? [];
  const isAway = problem.value !== '';
  return (
    <>
      <header class="page-head with-actions">
        <h1>{headline(health, bad.map(({ name }) => name), isAway)}</h1>
        <p>
          {isAway
            ? <span class="bad" role="status">{problem.value}{health && ' The data shown may be out of date.'}</span>
            : health && <>Asked every {PERIOD_MS / 1_000} seconds while you look; the last answer is of <Clock at={health.timestamp} seconds />.</>}
        </p>
        <span class="page-actions"><CopyAs request={{ path: 'health', graphql: 'query Health { health { status components { name status } stalenessSeconds timestamp } }', cli: 'status' }} /></span>
      </header>
      <div class="health-columns">
        <div class="stack">
          <Card title="Components" aside={health && <span class="muted">{health.components.length - bad.length} of {health.components.length} healthy</span>}>
            {health
              ? <ul class="list health-parts">{health.components.map(({ name, status }) => <Part key={name} name={name} isWell={status === 'OK'} isOld={isAway} />)}</ul>
              : <p class="faint">{isAway ? 'Not known: the server does not answer.' : 'Reading …'}</p>}
          </Card>
          <Cluster />
        </div>
        <div class="stack">
          <Answers />
          <Facts />
          <Limits />
        </div>
      </div>
    </>
  );
}

function headline(health: Health | null, bad: readonly string[], isAway: boolean): string {
  if (isAway) return 'The server does not answer';
  if (!health) return 'Health';
  if (bad.length === 0) return 'All components of this server are healthy';
  const parts = bad.length === 1 ? bad[0] : `${bad.slice(0, -1).join(', ')} and ${bad.at(-1)}`;
  return health.status === 'OK' ? `This server is healthy; ${parts} ${bad.length === 1 ? 'is' : 'are'} not` : `This server is degraded: ${parts} ${bad.length === 1 ? 'is' : 'are'} not healthy`;
}

function Part({ name, isWell, isOld }: { name: string; isWell: boolean; isOld: boolean }) {
  const { does, means, remedy } = wordsOf(name);
  return (
    <li data-part={name}>
      <div class="row">
        <strong class="grow">{name}</strong>
        {isOld ? <Status tone="quiet">{isWell ? 'was healthy' : 'was not healthy'}</Status> : <Status tone={isWell ? 'good' : 'bad'}>{isWell ? 'healthy' : 'not healthy'}</Status>}
      </div>
      <p class="small muted">{does}</p>
      {isWell
        ? <details class="small"><summary>If it fails</summary><p class="muted">{means} {remedy}</p></details>
        : <p class="notice bad small">{means} {remedy}</p>}
    </li>
  );
}

const milliseconds = (took: number): string => count(Math.max(1, Math.round(took)));

/** How fast and how fresh answers are. */
function Answers() {
  const all = samples.value;
  const times = all.flatMap(({ took }) => (took === null ? [] : [took]));
  const sorted = [...times].sort((a, b) => a - b);
  const latest = all.at(-1);
  const lost = all.length - times.length;
  const behind = Math.max(0, ...all.map(({ staleness }) => staleness));
  const { state, text } = freshness.value;
  const tone: Tone = state === 'live' ? 'good' : state === 'connecting' ? 'quiet' : state === 'reconnecting' ? 'warn' : 'bad';
  return (
    <Card title="Response time and staleness" aside={<Status bare tone={tone}>{text}</Status>}>
      <div class="health-gauges">
        <div>
          <p class="health-figure">{latest?.took == null ? '–' : `${milliseconds(latest.took)} ms`}</p>
          <p class="small muted">response time, seen from this browser{sorted.length > 4 ? `; ${Math.round(sorted[Math.floor(sorted.length * 0.95)] ?? 0)} ms for 95 %` : ''}</p>
          <Sparkline values={times} label={`Times of the last ${times.length} answers, at most ${Math.round(sorted.at(-1) ?? 0)} ms`} />
          {sorted.length > 1 && <p class="tiny muted" data-test="scale">{milliseconds(sorted[0]!)}–{milliseconds(sorted.at(-1)!)} ms in the last {count(sorted.length)} answers</p>}
        </div>
        <div>
          <p class="health-figure">{latest ? staleness(latest.staleness) : '–'}</p>
          <p class="small muted">behind the last commit of all servers</p>
          <Sparkline values={all.map(({ staleness }) => staleness)} limit={5} label={`How far behind it was, at most ${staleness(behind)}; over 5 s counts as stale`} />
          {all.length > 1 && <p class="tiny muted" data-test="scale">{behind > 0 ? `at most ${staleness(behind)}` : 'never'} in the last {count(all.length)} answers; stale from 5 s on, the dashed line</p>}
        </div>
      </div>
      <p class="small muted">
        {isConnected.value ? 'The stream of changes is open' : 'The stream of changes is interrupted, and is tried again'}
        {reconnections.value > 0 && `; it was resumed ${count(reconnections.value)} ${reconnections.value === 1 ? 'time' : 'times'}`}
        {lost > 0 && `; ${count(lost)} of the last ${count(all.length)} questions had no answer`}.
      </p>
    </Card>
  );
}

function Facts() {
  const now = session.value;
  const known = described.value;
  const root = at('').replace(/\/$/, '');
  return (
    <Card title="This server">
      <dl class="facts">
        <dt>Version</dt><dd>{known === null ? 'reading …' : known.version ?? 'not told'}</dd>
        <dt>Revision</dt><dd><span data-revision>{count(Math.max(revision.value, stats.value?.revision ?? 0))}</span> <span class="faint">· grows with each change</span></dd>
        <dt>Clock</dt><dd>{last.value ? exact(last.value.timestamp) : '–'}{last.value && <Drift />}</dd>
        <dt>Address</dt><dd class="row wrap"><code class="break">{root}</code><CopyButton text={root} /></dd>
        <dt>Signed in as</dt><dd>{now.state === 'in' ? `${now.name}, ${now.role}` : now.state === 'open' ? 'nobody: this server has no tokens, and whoever reaches it may do everything' : 'not known yet'}</dd>
        <dt>Health check</dt><dd><a href={at('api/v1/health')} target="_blank" rel="noreferrer">api/v1/health</a><p class="small muted"><code>?require=commits</code> for a load balancer that sends writes: unhealthy while this server cannot commit</p></dd>
      </dl>
    </Card>
  );
}

/** How far the clock of this browser is from the server's, if it matters. */
function Drift() {
  const sample = samples.value.at(-1);
  if (!sample || !last.value || sample.took === null) return null;
  const drift = sample.at - Date.parse(last.value.timestamp);
  return Math.abs(drift) < 2_500 ? null : <span class="warn"> · this browser’s clock is {Math.round(Math.abs(drift) / 1_000)} s {drift > 0 ? 'ahead' : 'behind'}</span>;
}

function Cluster() {
  const totals = stats.value;
  const rows: [string, string, number | undefined, string][] = [
    ['Workers', 'total_workers', totals?.totalWorkers, 'registered'],
    ['Active', 'active_workers', totals?.activeWorkers, 'take new VMs'],
    ['Draining', 'draining_workers', totals?.drainingWorkers, 'take no new VMs'],
    ['Offline', 'offline_workers', totals?.offlineWorkers, 'no heartbeat'],
    ['VMs', 'total_vms', totals?.totalVms, 'hold a slot'],
  ];
  return (
    <Card title="Cluster, as this server sees it" aside={totals && <span class="muted">revision {count(totals.revision)}</span>}>
      <ul class="health-knows">
        {rows.map(([title, name, value, meaning]) => (
          <li key={name}><span class="health-figure" data-stat={value === undefined ? undefined : name}>{value === undefined ? '–' : count(value)}</span><span>{title}</span><span class="small faint">{meaning}</span></li>
        ))}
      </ul>
    </Card>
  );
}

function Limits() {
  const isOpen = useSignal(false);
  const limits = described.value?.limits ?? [];
  if (limits.length === 0) return null;
  const shown = isOpen.value ? limits : limits.slice(0, 6);
  return (
    <Card title="Limits" aside={<a class="small" href={at('docs')}>API reference</a>}>
      <table class="fleet-table tight">
        <caption class="visually-hidden">Limits of the API</caption>
        <tbody>{shown.map(({ what, most }) => <tr key={what}><th scope="row">{what}</th><td class="right">{most}</td></tr>)}</tbody>
      </table>
      {limits.length > 6 && <button type="button" class="link small" aria-expanded={isOpen.value} onClick={() => { isOpen.value = !isOpen.value; }}>{isOpen.value ? 'Fewer' : `${limits.length - 6} more`}</button>}
    </Card>
  );
}
