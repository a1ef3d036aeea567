// The front door to the API: the playground, the reference, the documents for generators, and first commands that carry
// the address under which this page has found the server.

import { useComputed } from '@preact/signals';
import { stats } from '../api/cluster';
import { Card } from '../components/card';
import { Code, quote } from '../components/copy';
import { at, endpoint } from '../root';
import { href, place, setQuery } from '../router';
import { session } from '../session';

const PLACES = [
  { path: 'graphql', title: 'GraphQL playground', words: 'Queries, mutations and live subscriptions with examples, the schema beside them, and each answer with its time, size and cost.' },
  { path: 'docs', title: 'REST reference', words: 'Every route with its parameters and answers, to be tried where they are described.' },
  { path: 'graphql/schema.graphql', title: 'schema.graphql', words: 'The GraphQL schema as a document, for code generators.' },
  { path: 'api/v1/openapi.json', title: 'openapi.json', words: 'The REST API as an OpenAPI document, for code generators and Postman.' },
] as const;

type Tongue = 'curl' | 'graphql' | 'cli' | 'js';

const TONGUES: Record<Tongue, string> = { curl: 'REST', graphql: 'GraphQL', cli: 'Command line', js: 'JavaScript' };

interface Command {
  what: string;
  text: string;
}

/** First commands, about a worker that somebody may have. `auth` is what they send to say who asks. */
function commands(tongue: Tongue, isOpen: boolean): Command[] {
  const rest = at('api/v1');
  const server = at('').replace(/\/$/, '');
  const auth = isOpen ? '' : ' -H "Authorization: Bearer $AETHERIUM_TOKEN"';
  const query = (text: string): string => `curl -s ${quote(endpoint)}${auth} -H 'Content-Type: application/json' \\\n  -d ${quote(JSON.stringify({ query: text }))}`;
  switch (tongue) {
    case 'curl':
      return [
        { what: 'Cluster statistics', text: `curl -s ${quote(`${rest}/cluster/stats`)}${auth}` },
        { what: 'Offline workers', text: `curl -s ${quote(`${rest}/workers?status=offline`)}${auth}` },
        { what: 'Placement of three VMs, with reasons for refusals', text: `curl -s ${quote(`${rest}/placement?vcpus=4&memory_mb=8192&count=3`)}${auth}` },
        { what: 'Drain a worker', text: `curl -s -X POST ${quote(`${rest}/workers/worker-01/drain`)}${auth} \\\n  -H 'Content-Type: application/json' -d '{"reason": "new disks", "deadline_seconds": 7200}'` },
        { what: 'Stream events', text: `curl -sN ${quote(`${rest}/events`)}${auth} -H 'Accept: text/event-stream'` },
      ];
    case 'graphql':
      return [
        { what: 'Cluster statistics', text: query('{ clusterStats { activeWorkers drainingWorkers offlineWorkers totalVms } }') },
        { what: 'Workers by CPU usage', text: query('{ workersConnection(first: 10, orderBy: {field: CPU_USAGE, direction: DESC}) { nodes { id zone status cpuUsagePercent vmCount } } }') },
        { what: 'How many VMs fit, now and after a failure', text: query('{ capacity(request: {vcpus: 4, memoryMb: 8192}) { vms vmsWithoutLargestWorker vmsWithoutLargestZone } }') },
        { what: 'Stream events, as server-sent events', text: `curl -sN ${quote(endpoint)}${auth} -H 'Content-Type: application/json' -H 'Accept: text/event-stream' \\\n  -d ${quote(JSON.stringify({ query: 'subscription { clusterEvents { at message } }' }))}` },
      ];
    case 'cli':
      return [
        { what: isOpen ? 'Set the server' : 'Set the server, and log in', text: isOpen ? `export AETHERIUM_SERVER=${quote(server)}` : `aetherium login --server ${quote(server)}` },
        { what: 'Cluster status, updated as it changes', text: 'aetherium status --watch' },
        { what: 'Workers, as JSON', text: 'aetherium workers --output json' },
        { what: 'Drain, and wait until the host is safe to power off', text: 'aetherium drain worker-01 --reason "new disks" --deadline 2h' },
        { what: 'Placement, with reasons for refusals', text: 'aetherium fits --vcpus 4 --memory 8GiB --count 3' },
        { what: 'Stream events', text: 'aetherium events --follow' },
      ];
    case 'js':
      return [
        { what: 'A query, in any JavaScript', text: `const response = await fetch(${JSON.stringify(endpoint)}, {\n  method: 'POST',\n  headers: { 'content-type': 'application/json'${isOpen ? '' : ', authorization: `Bearer ${process.env.AETHERIUM_TOKEN}`'} },\n  body: JSON.stringify({ query: '{ workers { id status vmCount } }' }),\n});\nconsole.log((await response.json()).data.workers);` },
        { what: 'A subscription that resumes where it was, with graphql-ws', text: `import { createClient } from 'graphql-ws';\n\nlet last = null;\nconst client = createClient({ url: ${JSON.stringify(endpoint.replace(/^http/, 'ws'))}, retryAttempts: Infinity${isOpen ? '' : ',\n  connectionParams: { authorization: `Bearer ${process.env.AETHERIUM_TOKEN}` }'} });\nclient.subscribe({\n  query: 'subscription ($after: Cursor) { clusterEvents(after: $after) { cursor message } }',\n  variables: { after: { toJSON: () => last } },\n}, {\n  next: ({ data: { clusterEvents } }) => { last = clusterEvents.cursor; console.log(clusterEvents.message); },\n  error: console.error,\n  complete: () => {},\n});` },
      ];
  }
}

export default function Api() {
  const chosen = useComputed(() => place.value.query.get('in') ?? '').value;
  const tongue: Tongue = chosen in TONGUES ? (chosen as Tongue) : 'curl';
  const isOpen = session.value.state === 'open';
  const revision = stats.value?.revision;
  return (
    <>
      <header class="page-head">
        <h1>One public API, which this dashboard uses, too</h1>
        <p>Whatever the dashboard shows and does, your programs can do over REST and GraphQL, with the same answers.</p>
      </header>
      <ul class="places">
        {PLACES.map(({ path, title, words }) => (
          <li key={path}>
            <a class="card" href={at(path)}>
              <strong>{title} <span aria-hidden="true">→</span></strong>
              <span class="muted">{words}</span>
              <span class="mono small faint break">{new URL(at(path)).pathname}</span>
            </a>
          </li>
        ))}
      </ul>
      <Card
        title="First commands"
        aside={(
          <div class="segments" role="group" aria-label="Language">
            {(Object.keys(TONGUES) as Tongue[]).map((one) => (
              <button key={one} type="button" aria-pressed={one === tongue} onClick={() => setQuery({ in: one === 'curl' ? null : one })}>{TONGUES[one]}</button>
            ))}
          </div>
        )}
      >
        {!isOpen && tongue !== 'cli' && (
          <p class="muted before-code">They send the token in <code>AETHERIUM_TOKEN</code>. An administrator creates one under <a href={href('access')}>Access</a>.</p>
        )}
        <ul class="commands">
          {commands(tongue, isOpen).map(({ what, text }) => <li key={what}><p class="small strong">{what}</p><Code>{text}</Code></li>)}
        </ul>
      </Card>
      <div class="api-more">
        <Card title="Endpoints">
          <dl class="facts">
            <dt>REST</dt><dd class="mono break">{at('api/v1')}</dd>
            <dt>GraphQL</dt><dd class="mono break">{endpoint}</dd>
            <dt>WebSocket</dt><dd class="mono break">{endpoint.replace(/^http/, 'ws')}</dd>
            {revision !== undefined && <><dt>Revision</dt><dd>{revision.toLocaleString('en-US')}</dd></>}
          </dl>
        </Card>
        <Card title="Good to know">
          <ul class="bullets">
            <li>Every answer has a revision. Pass <code>min_revision</code> to never read older data than you have seen.</li>
            <li>A command with an <code>Idempotency-Key</code> can be retried safely: it is executed once.</li>
            <li>Streams resume from the cursor of the last event, across restarts of server and client, with no event lost or repeated.</li>
            <li>“Copy as” on the other pages gives their request as curl, GraphQL or command line.</li>
          </ul>
        </Card>
      </div>
    </>
  );
}
