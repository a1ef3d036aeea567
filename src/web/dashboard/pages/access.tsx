// Access: who is signed in, tokens and sessions, and the command by which a worker joins.

import { useSignal } from '@preact/signals';
import { useMemo, useRef, useState } from 'preact/hooks';
import type { TokenRole } from '../api/generated';
import type { ClusterEvent } from '../api/events';
import { ask } from '../api/http';
import { isConnected } from '../api/live';
import { operation, type ResultOf } from '../api/operation';
import { useQuery } from '../api/query';
import { Card } from '../components/card';
import { Code, quote } from '../components/copy';
import { Confirm, Dialog } from '../components/dialog';
import { Empty } from '../components/empty';
import { Status, type Tone } from '../components/status';
import { Table, type Column } from '../components/table';
import { Time } from '../components/time';
import { toast, toastError } from '../components/toast';
import { count, plural } from '../format';
import { at } from '../root';
import { href, place, setQuery } from '../router';
import { mayAdminister, session, signOut } from '../session';
import { exact } from '../time';

const WhoAmI = operation(`query WhoAmI {
  session { asksForTokens token { id kind role name createdAt expiresAt parent } }
}`);

const Tokens = operation(`query Tokens {
  tokens { id name kind role state workerId maxWorkers maxUses uses parent createdBy createdAt expiresAt revokedAt lastUsedAt }
}`);

const CreateToken = operation(`mutation CreateToken($input: CreateTokenInput!) {
  createToken(input: $input) { secret token { id name role expiresAt } }
}`);

const RevokeToken = operation(`mutation RevokeToken($input: RevokeTokenInput!) {
  revokeToken(input: $input) { token { id state } }
}`);

type Token = NonNullable<ResultOf<typeof Tokens>['tokens']>[number];

const KINDS: readonly string[] = ['TOKEN_CREATED', 'TOKEN_REVOKED', 'SIGNED_IN', 'SIGNED_OUT', 'WORKER_JOINED', 'WORKER_PURGED'];
const isAboutTokens = ({ kind }: ClusterEvent): boolean => KINDS.includes(kind);

const ROLES: Record<TokenRole, string> = {
  VIEWER: 'reads everything and follows every stream, except the list of tokens',
  OPERATOR: 'also drains and activates workers, reserves capacity, and deregisters workers',
  ADMIN: 'also purges workers, and creates, lists and revokes tokens',
  WORKER: 'registers its own workers and sends their heartbeats; reads nothing else',
  JOIN: 'admits workers, each of which makes a token of its own; nothing else',
};

/** The address under which this page has found the server, as commands take it. */
const server = at('').replace(/\/$/, '');

export default function Access() {
  const now = session.value;
  if (now.state === 'open') return <Open />;
  return <SignedIn />;
}

function Open() {
  return (
    <>
      <header class="page-head">
        <h1>No authentication: anyone who can reach this server has full access</h1>
        <p>Its database holds no tokens yet. Once the first one is created, every request has to authenticate.</p>
      </header>
      <Card title="What this means">
        <ul class="bullets">
          <li>Any person or program that reaches this address can read everything, and drain, activate and purge workers. The change log cannot say who did.</li>
          <li>Without tokens, a server listens on its own machine only, unless it was started with <code>--insecure</code>.</li>
          <li>That is fine for trying it out: <code>aetherium dev</code> runs without tokens, too.</li>
        </ul>
      </Card>
      <Card title="Create the first token">
        <ol class="first-steps">
          <li>
            <p><strong>Create it on the machine of the database.</strong> Not over the network, so that nobody takes the cluster by being first. The running server follows within a second.</p>
            <Code>aetherium token create --role admin --name me</Code>
            <p class="small muted">For another database than <code>sqlite://aetherium.db</code>: <code>--database-url …</code> or <code>AETHERIUM_DATABASE_URL</code>.</p>
          </li>
          <li>
            <p><strong>Sign in here</strong> with that token, or with a one-time sign-in link:</p>
            <Code>{`aetherium token sign-in --role admin --name me --server ${server}`}</Code>
          </li>
          <li>
            <p><strong>Let the workers join,</strong> each with a token of its own; agents without one are refused from then on:</p>
            <Code>{`aetherium token create --join --server ${server}`}</Code>
          </li>
        </ol>
      </Card>
      <Card title="Add a worker">
        <p class="muted before-code">Without authentication, the agent only needs the address of the server:</p>
        <Code>{`aetherium agent --server ${server}`}</Code>
      </Card>
      <Roles />
    </>
  );
}

function SignedIn() {
  const me = useQuery(WhoAmI, {}, { on: () => false, every: 60_000 });
  const token = me.data.value?.session.token;
  const now = session.value;
  const name = token?.name ?? (now.state === 'in' ? now.name : '');
  const role = (token?.role ?? (now.state === 'in' ? now.role : 'viewer')).toLowerCase() as Lowercase<TokenRole>;
  return (
    <>
      <header class="page-head">
        <h1 class="break">You are {name}, {role}</h1>
        <p>The role {role} {ROLES[role.toUpperCase() as TokenRole]}.</p>
      </header>
      <div class="access-top">
        <Card title="Your session" aside={<button type="button" class="button small" onClick={() => { signOut().catch(toastError); }}>Sign out</button>}>
          <dl class="facts">
            <dt>Signed in with</dt><dd>{token?.kind === 'SESSION' ? 'a session of this browser' : 'a token'}</dd>
            <dt>Since</dt><dd>{token ? <Time at={token.createdAt} /> : '–'}</dd>
            <dt>Expires</dt><dd>{token?.expiresAt ? <Time at={token.expiresAt} /> : 'never'}</dd>
            {token && <><dt>ID</dt><dd class="mono">{token.id}</dd></>}
            {token?.parent && <><dt>Opened with</dt><dd class="mono">{token.parent}</dd></>}
          </dl>
        </Card>
        <Join />
      </div>
      {mayAdminister.value ? <TokenList own={token ?? null} /> : (
        <Card title="Tokens"><p class="muted">Only the role <code>admin</code> sees the list of tokens. Ask an administrator for a token, or for another role.</p></Card>
      )}
      <Roles />
    </>
  );
}

function Roles() {
  return (
    <Card title="Roles">
      <dl class="facts">
        {(Object.keys(ROLES) as TokenRole[]).map((role) => <><dt class="mono">{role.toLowerCase()}</dt><dd>{ROLES[role]}</dd></>)}
      </dl>
    </Card>
  );
}

/** The command that a host pastes to join; its token is made when an administrator asks for it. */
function Join() {
  const isAsking = useSignal(false);
  return (
    <Card title="Add a worker" aside={mayAdminister.value && <button type="button" class="button small primary" disabled={!isConnected.value} onClick={() => { isAsking.value = true; }}>Create join command …</button>}>
      {mayAdminister.value ? (
        <p class="muted">One command to paste on a host. Its join token admits one worker within an hour; the agent then makes a token of its own, so no lasting secret has to be copied.</p>
      ) : (
        <>
          <p class="muted before-code">An administrator creates the join command, here or in a terminal. It is valid once, for an hour:</p>
          <Code>{`aetherium token create --join --server ${server}`}</Code>
        </>
      )}
      {isAsking.value && <JoinDialog onClose={() => { isAsking.value = false; }} />}
    </Card>
  );
}

/** What is pasted on a host, as root. */
function joinCommand(secret: string, fingerprint: string): string {
  return `printf '%s\\n' ${secret} | aetherium agent join --server ${quote(server)}${fingerprint ? ` --server-fingerprint ${quote(fingerprint)}` : ''} --join-token-file -`;
}

function JoinDialog({ onClose }: { onClose: () => void }) {
  const workerId = useSignal('');
  const uses = useSignal('1');
  const expiresIn = useSignal('1h');
  const fingerprint = useSignal('');
  const [secret, setSecret] = useState('');
  // The form closes when it is done, unless there is something to show.
  const made = useRef('');
  const isTls = server.startsWith('https:');
  async function confirm(): Promise<void> {
    const id = workerId.peek().trim();
    const { createToken } = await ask(CreateToken, {
      input: { name: id || 'join', role: 'JOIN', expiresIn: expiresIn.peek(), ...(id ? { workerId: id } : { maxUses: Number(uses.peek()) || 1 }) },
    });
    made.current = createToken?.secret ?? '';
    setSecret(made.current);
  }
  if (secret) {
    return (
      <Once title="Paste this on the host" onClose={onClose} text={joinCommand(secret, fingerprint.value.trim())}>
        <p class="muted">As root, once the program is there. Then start the service: <code>systemctl enable --now aetherium-agent</code>. The worker appears by itself.</p>
      </Once>
    );
  }
  return (
    <Confirm title="Create a join command" action="Create" onConfirm={confirm} onClose={() => { if (!made.current) onClose(); }}>
      <label class="field">
        <span>Number of workers it admits</span>
        <input type="number" min="1" max="10000" value={uses.value} disabled={workerId.value.trim() !== ''} onInput={(event) => { uses.value = event.currentTarget.value; }} />
      </label>
      <label class="field">
        <span>Valid for</span>
        <select value={expiresIn.value} onChange={(event) => { expiresIn.value = event.currentTarget.value; }}>
          <option value="1h">1 hour</option><option value="24h">1 day</option><option value="168h">1 week</option><option value="720h">30 days, the longest</option>
        </select>
      </label>
      <label class="field">
        <span>Only for the worker with this ID (optional)</span>
        <input value={workerId.value} maxLength={255} placeholder="any new worker" onInput={(event) => { workerId.value = event.currentTarget.value; }} />
        <small>If that worker exists, its earlier tokens are revoked when it joins.</small>
      </label>
      {isTls && (
        <label class="field">
          <span>Fingerprint of the server's certificate, if it is self-signed</span>
          <input value={fingerprint.value} placeholder="sha256:…, as the server logs it when it starts" onInput={(event) => { fingerprint.value = event.currentTarget.value; }} />
        </label>
      )}
    </Confirm>
  );
}

/** A text that is shown this once: leaving it by mistake is asked about. */
function Once({ title, text, onClose, children }: { title: string; text: string; onClose: () => void; children?: preact.ComponentChildren }) {
  const [isAsked, setAsked] = useState(false);
  return (
    <Dialog title={title} wide onClose={() => { if (isAsked) onClose(); else setAsked(true); }}>
      <p class="notice warn">It is shown only once: the server stores no more than its hash.</p>
      <div class="once"><Code>{text}</Code></div>
      {children}
      {isAsked && <p class="notice bad" role="alert">Have you copied it? It cannot be shown again.</p>}
      <div class="actions"><button type="button" class="button primary" onClick={onClose}>I have copied it</button></div>
    </Dialog>
  );
}

const STATES: Record<Token['state'], { tone: Tone; word: string }> = {
  LIVE: { tone: 'good', word: 'live' },
  EXPIRED: { tone: 'quiet', word: 'expired' },
  REVOKED: { tone: 'quiet', word: 'revoked' },
};

function scopeOf({ role, workerId, maxWorkers, maxUses, uses, parent }: Token): preact.ComponentChildren {
  if (role === 'JOIN') return <>{workerId ? <>lets <b>{workerId}</b> join</> : `${uses ?? 0} of ${plural(maxUses ?? 0, 'use')}`}</>;
  if (workerId) return <a href={href('workers', workerId)} tabIndex={-1}>{workerId}</a>;
  if (maxWorkers) return `up to ${plural(maxWorkers, 'worker')}`;
  if (parent) return <span class="mono">{parent}</span>;
  return <span class="faint">everything</span>;
}

/** Which tokens are listed. Those that workers made for themselves are as many as there are workers, and apart. */
const SHOWN = { people: 'People and programs', workers: 'Workers', sessions: 'Browser sessions' } as const;
type Shown = keyof typeof SHOWN;

function belongsTo({ kind, role }: Token): Shown {
  if (kind !== 'BEARER') return 'sessions';
  return role === 'WORKER' ? 'workers' : 'people';
}

function TokenList({ own }: { own: { id: string; parent: string | null } | null }) {
  const answer = useQuery(Tokens, {}, { on: isAboutTokens, every: 60_000, atMostEvery: 500 });
  const query = place.value.query;
  const shown: Shown = query.get('show') === 'workers' ? 'workers' : query.get('show') === 'sessions' ? 'sessions' : 'people';
  const isAll = query.get('ended') === 'yes';
  const find = (query.get('find') ?? '').toLowerCase();
  const creating = useSignal(false);
  const revoking = useSignal<Token | null>(null);
  const tokens = answer.data.value?.tokens ?? [];
  const names = useMemo(() => new Map(tokens.map(({ id, name }) => [id, name])), [tokens]);
  const counts = useMemo(() => {
    const counts: Record<Shown, number> = { people: 0, workers: 0, sessions: 0 };
    for (const token of tokens) if (token.state === 'LIVE') counts[belongsTo(token)] += 1;
    return counts;
  }, [tokens]);
  const rows = useMemo(() => tokens
    .filter((token) => belongsTo(token) === shown && (isAll || token.state === 'LIVE'))
    .filter(({ id, name, role, workerId }) => !find || `${id} ${name} ${role} ${workerId ?? ''}`.toLowerCase().includes(find))
    .sort((a, b) => (a.state === b.state ? (a.createdAt < b.createdAt ? 1 : -1) : a.state === 'LIVE' ? -1 : b.state === 'LIVE' ? 1 : 0)),
  [tokens, shown, isAll, find]);
  const columns = useMemo(() => columnsOf(shown, names, own, revoking), [shown, names, own?.id]);
  return (
    <Card
      title="Tokens"
      class="tokens"
      aside={<button type="button" class="button small primary" disabled={!isConnected.value} onClick={() => { creating.value = true; }}>Create a token …</button>}
    >
      <div class="row wrap token-tools">
        <div class="segments" role="group" aria-label="Which tokens">
          {(Object.keys(SHOWN) as Shown[]).map((one) => (
            <button key={one} type="button" aria-pressed={one === shown} onClick={() => setQuery({ show: one === 'people' ? null : one }, { keep: true })}>{SHOWN[one]} {count(counts[one])}</button>
          ))}
        </div>
        <input class="input find" type="search" aria-label="Filter tokens" placeholder="Filter by name, ID or worker" defaultValue={query.get('find') ?? ''} onInput={(event) => setQuery({ find: event.currentTarget.value.trim() })} />
        <label class="row small"><input type="checkbox" checked={isAll} onChange={() => setQuery({ ended: isAll ? null : 'yes' })} />include expired and revoked</label>
      </div>
      {answer.error.value && <p class="bad" role="status">{answer.error.value.message}</p>}
      {answer.data.value && (
        <Table
          label={SHOWN[shown]}
          columns={columns}
          rows={rows}
          id={({ id }) => id}
          of={`${shown} ${isAll} ${find}`}
          maxRows={14}
          empty={(
            <Empty title={find ? 'No token matches' : shown === 'workers' ? 'No worker has a token of its own yet' : shown === 'sessions' ? 'No browser sessions' : 'No active tokens'}>
              <p>{shown === 'workers' ? 'Each makes one when it joins.' : 'Create one for every person and program, so that the change log tells them apart and each can be revoked by itself.'}</p>
            </Empty>
          )}
        />
      )}
      {creating.value && <CreateDialog onClose={() => { creating.value = false; }} />}
      {revoking.value && <RevokeDialog token={revoking.value} own={own} onClose={() => { revoking.value = null; }} />}
    </Card>
  );
}

function columnsOf(shown: Shown, names: ReadonlyMap<string, string>, own: { id: string; parent: string | null } | null, revoking: { value: Token | null }): readonly Column<Token>[] {
  const isOwn = (id: string): boolean => own !== null && (own.id === id || own.parent === id);
  return [
    { key: 'name', title: 'Name', width: 'minmax(130px, 1.2fr)', lead: true, phone: 'lead', cell: ({ id, name }) => <>{name}{isOwn(id) && <span class="faint"> (you)</span>}</> },
    { key: 'role', title: 'Role', width: '84px', phone: 'second', cell: ({ role, kind }) => (kind === 'SIGN_IN_CODE' ? `${role.toLowerCase()}, link` : role.toLowerCase()) },
    { key: 'state', title: 'State', width: '92px', phone: 'side', cell: ({ state, revokedAt }) => <Status bare tone={STATES[state].tone} title={revokedAt ? exact(revokedAt) : undefined}>{STATES[state].word}</Status> },
    {
      key: 'act', title: 'Action', width: '76px', phone: 'end',
      cell: (token) => (token.state === 'LIVE'
        ? <button type="button" class="button small" aria-label={`Revoke ${token.name}`} onClick={() => { revoking.value = token; }}>Revoke</button>
        : null),
    },
    { key: 'scope', title: shown === 'sessions' ? 'Opened with' : 'For', width: 'minmax(110px, 1fr)', cell: scopeOf },
    { key: 'used', title: 'Last used', width: '92px', right: true, cell: ({ lastUsedAt }) => (lastUsedAt ? <Time at={lastUsedAt} /> : <span class="faint">never</span>) },
    { key: 'expires', title: 'Expires', width: '92px', right: true, cell: ({ expiresAt }) => (expiresAt ? <Time at={expiresAt} /> : <span class="faint">never</span>) },
    { key: 'created', title: 'Created', width: '92px', right: true, cell: ({ createdAt }) => <Time at={createdAt} /> },
    { key: 'by', title: 'Created by', width: 'minmax(90px, 0.8fr)', cell: ({ createdBy }) => (createdBy ? <span title={createdBy}>{names.get(createdBy) ?? createdBy}</span> : <span class="faint" title="Created by a command on the machine of the database">command line</span>) },
    { key: 'id', title: 'ID', width: '120px', cell: ({ id }) => <span class="mono">{id}</span> },
  ];
}

function RevokeDialog({ token, own, onClose }: { token: Token; own: { id: string; parent: string | null } | null; onClose: () => void }) {
  const isOwn = own !== null && (own.id === token.id || own.parent === token.id);
  return (
    <Confirm
      title={`Revoke ${token.name}`}
      action="Revoke"
      danger
      disabled={!isConnected.value}
      onConfirm={async () => { await ask(RevokeToken, { input: { tokenId: token.id } }); toast(`${token.name} is revoked`); }}
      onClose={onClose}
    >
      <p>
        {token.kind === 'SESSION'
          ? 'The browser is signed out and its streams are closed within a second.'
          : token.role === 'WORKER'
            ? 'Its agents are refused within a second, and their workers are offline soon after. They have to join again.'
            : 'It stops working on all servers within a second; its streams, sockets and browser sessions are closed.'}
      </p>
      <p class="muted">This cannot be undone.</p>
      {isOwn && <p class="notice warn">You are signed in with this token: you will be signed out.</p>}
    </Confirm>
  );
}

const EXPIRIES = [['', 'never'], ['720h', 'in 30 days'], ['2160h', 'in 90 days'], ['8760h', 'in a year'], ['other', 'other …']] as const;

function CreateDialog({ onClose }: { onClose: () => void }) {
  const name = useSignal('');
  const role = useSignal<Exclude<TokenRole, 'JOIN'>>('VIEWER');
  const expiry = useSignal('2160h');
  const other = useSignal('');
  const isMany = useSignal(false);
  const workerId = useSignal('');
  const maxWorkers = useSignal('100');
  const [secret, setSecret] = useState('');
  // The form closes when it is done, unless there is something to show.
  const made = useRef('');
  async function confirm(): Promise<void> {
    const expiresIn = expiry.peek() === 'other' ? hours(other.peek()) : expiry.peek() || null;
    const scope = role.peek() !== 'WORKER' ? {} : isMany.peek() ? { maxWorkers: Number(maxWorkers.peek()) } : { workerId: workerId.peek().trim() };
    const { createToken } = await ask(CreateToken, { input: { name: name.peek().trim(), role: role.peek(), expiresIn, ...scope } });
    made.current = createToken?.secret ?? '';
    setSecret(made.current);
  }
  if (secret) {
    return (
      <Once title={`The token of ${name.value.trim()}`} text={secret} onClose={onClose}>
        <p class="muted">It is sent with every request, from a file that only its owner reads:</p>
        <Code>{`curl -H "Authorization: Bearer $(cat ${quote(`${name.value.trim().replaceAll(/[^\w.-]+/g, '-') || 'my'}.token`)})" ${server}/api/v1/workers`}</Code>
      </Once>
    );
  }
  const isComplete = name.value.trim() !== '' && (expiry.value !== 'other' || hours(other.value) !== null)
    && (role.value !== 'WORKER' || (isMany.value ? Number(maxWorkers.value) >= 1 : workerId.value.trim() !== ''));
  return (
    <Confirm title="Create a token" action="Create" disabled={!isComplete || !isConnected.value} onConfirm={confirm} onClose={() => { if (!made.current) onClose(); }}>
      <label class="field">
        <span>Name of the person or program, shown in the change log</span>
        <input value={name.value} maxLength={200} placeholder="grafana" onInput={(event) => { name.value = event.currentTarget.value; }} />
      </label>
      <label class="field">
        <span>Role</span>
        <select value={role.value} onChange={(event) => { role.value = event.currentTarget.value as typeof role.value; }}>
          {(['VIEWER', 'OPERATOR', 'ADMIN', 'WORKER'] as const).map((one) => <option key={one} value={one}>{one.toLowerCase()}</option>)}
        </select>
        <small>{ROLES[role.value]}</small>
      </label>
      {role.value === 'WORKER' && (
        <fieldset class="choices">
          <legend class="small muted">Workers it may report for</legend>
          <label class="row"><input type="radio" name="scope" checked={!isMany.value} onChange={() => { isMany.value = false; }} />one, by its ID</label>
          {!isMany.value && <input class="input" aria-label="ID of the worker" value={workerId.value} maxLength={255} placeholder="host-1" onInput={(event) => { workerId.value = event.currentTarget.value; }} />}
          <label class="row"><input type="radio" name="scope" checked={isMany.value} onChange={() => { isMany.value = true; }} />as many as it registers first, for a gateway, up to</label>
          {isMany.value && <input class="input" type="number" min="1" aria-label="How many workers" value={maxWorkers.value} onInput={(event) => { maxWorkers.value = event.currentTarget.value; }} />}
        </fieldset>
      )}
      <label class="field">
        <span>Expires</span>
        <select value={expiry.value} onChange={(event) => { expiry.value = event.currentTarget.value; }}>
          {EXPIRIES.map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
      </label>
      {expiry.value === 'other' && (
        <label class="field">
          <span>How long, such as 36h or 45d</span>
          <input value={other.value} aria-invalid={other.value !== '' && hours(other.value) === null} onInput={(event) => { other.value = event.currentTarget.value; }} />
        </label>
      )}
      {expiry.value === '' && role.value !== 'WORKER' && <p class="small warn">Prefer an expiry: forgotten tokens stay valid.</p>}
    </Confirm>
  );
}

/** A length of time as the API takes it, from one that may be in days; null if it is none. */
function hours(text: string): string | null {
  const plain = text.replaceAll(' ', '');
  const days = /^(\d+)d$/.exec(plain)?.[1];
  if (days) return `${Number(days) * 24}h`;
  return /^(?:\d+[hms])+$/.test(plain) ? plain : null;
}
