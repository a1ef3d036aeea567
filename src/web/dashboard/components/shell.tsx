// The frame around every page: navigation, search, freshness, who is signed in; the keys that count everywhere.

import { useComputed, useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { stats } from '../api/cluster';
import { freshness } from '../api/live';
import { areKeysOn, firstKey, switchKeys, useKeys } from '../keyboard';
import { pages, type Page } from '../pages';
import { at } from '../root';
import { go, href, place, setQuery } from '../router';
import { session, signOut } from '../session';
import { chooseTheme, chosenTheme, type Theme } from '../theme';
import { Menu } from './copy';
import { Dialog } from './dialog';
import { Shape, type Tone } from './status';
import { Toasts, toastError } from './toast';

const TONES: Record<string, Tone> = { live: 'good', connecting: 'quiet', reconnecting: 'warn', stale: 'bad' };

/** Pages in the bar at the bottom of a narrow screen, besides `More`. */
const AT_THE_BOTTOM = ['', 'workers', 'drains', 'events'];

export function Shell({ page, children }: { page: Page | undefined; children: ComponentChildren }) {
  const isHelpOpen = useSignal(false);
  const isMoreOpen = useSignal(false);
  useKeys({
    ...Object.fromEntries(pages.filter(({ key }) => key).map(({ key, path }) => [`g ${key}`, () => go(href(path))])),
    '/': () => document.getElementById('search')?.focus(),
    '?': () => { isHelpOpen.value = true; },
    Escape: () => (document.activeElement as HTMLElement | null)?.blur(),
  });
  const here = place.value.segments[0] ?? '';
  const isHere = (path: string): 'page' | 'true' | undefined => (page && path === here ? (page.isHidden ? 'true' : 'page') : undefined);
  const shown = pages.filter(({ isHidden }) => !isHidden);
  const drains = stats.value?.drainingWorkers ?? 0;
  return (
    <div class={`shell${firstKey.value === 'g' ? ' keys-wait' : ''}`}>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to the page</a>
      <header class="side">
        <a class="brand" href={href('')}><img src={at('assets/icon.svg')} alt="" />Aetherium</a>
        <nav aria-label="Pages">
          {shown.map(({ path, title, key }) => (
            <a key={path} href={href(path)} aria-current={isHere(path)}>
              {title}
              {path === 'drains' && drains > 0
                ? <span class="badge" title={`${drains} draining`}>{drains}</span>
                : key && areKeysOn.value && <span class="hint" aria-hidden="true">g {key}</span>}
            </a>
          ))}
        </nav>
        <div class="foot">
          <button type="button" class="link" onClick={() => { isHelpOpen.value = true; }}>Keys <kbd class="key">?</kbd></button>
          <ThemeMenu />
        </div>
      </header>
      <div class="top" role="region" aria-label="Search and connection">
        <SearchBox />
        <FreshnessChip />
        <Who />
      </div>
      <main id="main" tabIndex={-1}>{children}</main>
      <nav class="bottom" aria-label="Pages, on a narrow screen">
        {shown.filter(({ path }) => AT_THE_BOTTOM.includes(path)).map(({ path, title }) => (
          <a key={path} href={href(path)} aria-current={isHere(path)}>
            <Icon path={path} />{title}
            {path === 'drains' && drains > 0 && <span class="badge">{drains}</span>}
          </a>
        ))}
        <button type="button" onClick={() => { isMoreOpen.value = true; }}><Icon path="more" />More</button>
      </nav>
      {isHelpOpen.value && <Help onClose={() => { isHelpOpen.value = false; }} />}
      {isMoreOpen.value && (
        <Dialog title="Pages" onClose={() => { isMoreOpen.value = false; }}>
          <ul class="list" onClick={() => { isMoreOpen.value = false; }}>
            {shown.map(({ path, title }) => <li key={path}><a href={href(path)} aria-current={isHere(path)}>{title}</a></li>)}
          </ul>
          <div class="actions"><ThemeMenu /></div>
        </Dialog>
      )}
      <Toasts />
    </div>
  );
}

/** What the search of a page is about, where that is not workers. */
const SEARCHES: Record<string, { label: string; example: string }> = {
  vms: { label: 'Search VMs, such as status:failed zone:us-west-1a worker:rack-7', example: 'status:failed zone:us-west-1a worker:rack-7' },
  drains: { label: 'Search drains, such as zone:us-west-1a label.env=prod', example: 'zone:us-west-1a label.env=prod' },
  events: { label: 'Search events, such as kind:drain worker:w1 actor:operator since:2h', example: 'kind:drain worker:w1 actor:operator since:2h' },
};
const WORKER_SEARCH = { label: 'Search workers, such as zone:us-west-1a label.env=prod status:offline', example: 'zone:us-west-1a label.env=prod status:offline' };

/** The search: Enter opens the workers that match; on their page, and on that of VMs, it filters while it is typed. */
function SearchBox() {
  const input = useRef<HTMLInputElement>(null);
  const filters = useComputed(() => ['workers', 'vms', 'fleet', 'drains', 'events'].includes(place.value.segments[0] ?? '') && place.value.segments.length === 1);
  const inAddress = useComputed(() => (filters.value ? place.value.query.get('q') ?? '' : '')).value;
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const hint = (place.value.segments.length === 1 ? SEARCHES[place.value.segments[0] ?? ''] : undefined) ?? WORKER_SEARCH;
  useEffect(() => {
    // What is being typed is ahead of the address.
    if (input.current && input.current !== document.activeElement) input.current.value = inAddress;
  }, [inAddress, filters.value]);
  const submit = (): void => {
    clearTimeout(timer.current);
    const q = input.current?.value.trim() ?? '';
    if (filters.peek()) setQuery({ q: q || null }, { keep: true });
    else go(href('workers', { q }));
    input.current?.blur();
  };
  return (
    <form class="search" role="search" onSubmit={(event) => { event.preventDefault(); submit(); }}>
      <input
        id="search"
        ref={input}
        type="search"
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        aria-label={hint.label}
        aria-keyshortcuts="/"
        placeholder={hint.example}
        defaultValue={inAddress}
        onInput={() => {
          if (!filters.peek()) return;
          clearTimeout(timer.current);
          timer.current = setTimeout(() => setQuery({ q: input.current?.value.trim() || null }), 90);
        }}
        onKeyDown={(event) => { if (event.key === 'Escape') input.current?.blur(); }}
      />
      <kbd aria-hidden="true">/</kbd>
    </form>
  );
}

function FreshnessChip() {
  const { state, text } = freshness.value;
  useEffect(() => { document.documentElement.dataset['live'] = state; }, [state]);
  return (
    <span class={`chip status ${TONES[state]}`} role="group" aria-label="Freshness" data-test="freshness" data-state={state} title={TITLES[state]}>
      <Shape tone={TONES[state] ?? 'quiet'} />{text}
      <span class="visually-hidden" role="status">{state}</span>
    </span>
  );
}

const TITLES: Record<string, string> = {
  connecting: 'The page is connecting to the server',
  live: 'Connected: what is shown follows the cluster',
  reconnecting: 'The connection is lost and tried again; what is shown is as old as this says',
  stale: 'The server has not been heard for over a minute; what is shown may be wrong by now',
};

function Who() {
  const now = session.value;
  if (now.state === 'in') {
    return (
      <div class="who">
        <Menu label={<><span class="name">{now.name}</span><span aria-hidden="true">·</span>{now.role}</>} buttonClass="button plain">
          <div class="title">Signed in as {now.name}, {now.role}</div>
          <button type="button" onClick={() => { signOut().catch(toastError); }}>Sign out</button>
        </Menu>
      </div>
    );
  }
  return now.state === 'open'
    ? <div class="who"><a class="small muted" href={href('access')} title="Whoever reaches this server may do everything">open<span class="name"> · no sign-in</span></a></div>
    : null;
}

const THEMES: Record<Theme, string> = { system: 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };

function ThemeMenu() {
  const next: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
  return (
    <button type="button" class="link" title="Light, dark, or as the system is" onClick={() => chooseTheme(next[chosenTheme.peek()])}>
      {THEMES[chosenTheme.value]}
    </button>
  );
}

function Help({ onClose }: { onClose: () => void }) {
  const keys: [string[], string][] = [
    [['/'], 'Search'],
    ...pages.filter(({ key }) => key).map(({ key, title }): [string[], string] => [['g', key!], title]),
    [['j', 'k'], 'Next and previous row'],
    [['x'], 'Select the row; X also the next one'],
    [['Enter'], 'Open the row'],
    [['d'], 'Drain what is selected or shown'],
    [['u'], 'Activate it again'],
    [['Esc'], 'Close, or leave the field'],
    [['?'], 'This help'],
  ];
  const words = ['zone:us-west-1a,us-west-1b', 'status:offline', 'label.env=prod', 'cap:kvm', 'free.cpu>=4', 'free.mem>=8g', 'free.vms>=1', 'any text'];
  return (
    <Dialog title="Keys and search" wide onClose={onClose}>
      <dl class="keys">
        {keys.map(([names, what]) => <><dt>{names.map((name) => <kbd key={name} class="key">{name}</kbd>)}</dt><dd>{what}</dd></>)}
      </dl>
      <p class="small muted">Search words, which must all hold: {words.map((word) => <><code class="tag">{word}</code> </>)}</p>
      <label class="row">
        <input type="checkbox" checked={areKeysOn.value} onChange={(event) => switchKeys(event.currentTarget.checked)} />
        Letters are keys. Switch this off if speech input or another aid types them.
      </label>
      <div class="actions"><button type="button" class="button" onClick={onClose}>Close</button></div>
    </Dialog>
  );
}

const ICONS: Record<string, string> = {
  '': 'M3 3h6v8H3zM11 3h6v5h-6zM11 10h6v7h-6zM3 13h6v4H3z',
  workers: 'M3 4h14v5H3zM3 11h14v5H3zM6 6.5h.01M6 13.5h.01',
  drains: 'M4 4h12l-4.5 6v5l-3 1.5V10z',
  events: 'M4 5h12M4 10h12M4 15h8',
  more: 'M4 10h.01M10 10h.01M16 10h.01',
};

function Icon({ path }: { path: string }) {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={ICONS[path]} />
    </svg>
  );
}
