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

interface SearchHelp {
  /** What is searched, in the plural. */
  what: string;
  /** Words that it understands. */
  words: readonly string[];
}

const WORKER_SEARCH: SearchHelp = {
  what: 'workers',
  words: ['zone:us-west-1a,us-west-1b', 'status:offline', 'label.env=prod', 'cap:kvm', 'free.cpu>=4', 'free.mem>=8g', 'free.vms>=1', 'any text'],
};

/** The search of each page that has one of its own. */
const SEARCHES: ReadonlyMap<string, SearchHelp> = new Map(Object.entries({
  workers: WORKER_SEARCH,
  fleet: WORKER_SEARCH,
  vms: { what: 'VMs', words: ['status:running,failed', 'zone:us-west-1a', 'worker:rack-7', 'duplicate:yes', 'any text'] },
  drains: { what: 'drains', words: ['zone:us-west-1a', 'label.env=prod', 'worker:rack-7', 'any text'] },
  events: { what: 'events', words: ['kind:drain', 'worker:rack-7', 'vm:vm-12', 'actor:operator', 'since:2h', 'any text'] },
}));

/** The search: Enter opens the workers that match; on a page with a search of its own, it filters while it is typed. */
function SearchBox() {
  const input = useRef<HTMLInputElement>(null);
  const own = useComputed(() => (place.value.segments.length === 1 ? SEARCHES.get(place.value.segments[0] ?? '') : undefined));
  const inAddress = useComputed(() => (own.value ? place.value.query.get('q') ?? '' : '')).value;
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const { what, words } = own.value ?? WORKER_SEARCH;
  useEffect(() => {
    // What is being typed is ahead of the address.
    if (input.current && input.current !== document.activeElement) input.current.value = inAddress;
  }, [inAddress, own.value]);
  const submit = (): void => {
    clearTimeout(timer.current);
    const q = input.current?.value.trim() ?? '';
    if (own.peek()) setQuery({ q: q || null }, { keep: true });
    else go(href('workers', { q }));
    input.current?.blur();
  };
  return (
    <form class="search" role="search" onSubmit={(event) => { event.preventDefault(); submit(); }}>
      <Icon path="search" />
      <input
        id="search"
        ref={input}
        type="search"
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        aria-label={`Search ${what}`}
        aria-describedby="search-words"
        aria-keyshortcuts="/"
        placeholder={`Search ${what} …`}
        defaultValue={inAddress}
        onInput={() => {
          if (!own.peek()) return;
          clearTimeout(timer.current);
          timer.current = setTimeout(() => setQuery({ q: input.current?.value.trim() || null }), 90);
        }}
        onKeyDown={(event) => { if (event.key === 'Escape') input.current?.blur(); }}
      />
      <kbd aria-hidden="true">/</kbd>
      <p id="search-words" class="search-words small">Filters, which must all match: <Words words={words} /></p>
    </form>
  );
}

function Words({ words }: { words: readonly string[] }) {
  return <>{words.map((word) => <><code key={word} class="tag">{word}</code> </>)}</>;
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
  live: 'Connected: changes appear as they happen',
  reconnecting: 'The connection is lost and being retried; what is shown is as old as this says',
  stale: 'No answer from the server for over a minute: what is shown may be out of date',
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
    ? <div class="who"><a class="chip status warn" href={href('access')} title="This server has no token yet: whoever reaches it may read and change everything. Access says how to close it."><Shape tone="warn" />open<span class="name"> · no sign-in</span></a></div>
    : null;
}

const THEMES: Record<Theme, string> = { system: 'Theme: system', light: 'Theme: light', dark: 'Theme: dark' };

function ThemeMenu() {
  const next: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
  return (
    <button type="button" class="link" title="Light, dark, or as the system says" onClick={() => chooseTheme(next[chosenTheme.peek()])}>
      {THEMES[chosenTheme.value]}
    </button>
  );
}

type KeyHelp = readonly [keys: readonly string[], what: string];

const ROW_KEYS: readonly KeyHelp[] = [
  [['j', 'k'], 'Next and previous row; so do ↓ ↑'],
  [['x'], 'Select the row; X also the next one'],
  [['Enter'], 'Open the row'],
  [['d'], 'Drain what is selected or shown'],
  [['u'], 'Activate what is selected or shown'],
  [['n'], 'Events: show new ones'],
];

/** Keys of what has the focus: Tab leads there. */
const FOCUS_KEYS: readonly KeyHelp[] = [
  [['←', '→'], 'Chart: move the crosshair; with Shift, by ten points'],
  [['Home', 'End'], 'Chart: first and last point'],
  [['+', '−'], 'Chart: zoom in and out'],
  [['Esc'], 'Chart: hide the crosshair'],
  [['←', '↑', '↓', '→'], 'Fleet, map of VMs: next cell'],
  [['Enter'], 'Fleet, map of VMs: open the cell'],
  [['Backspace'], 'Map of VMs: one level up'],
];

function Help({ onClose }: { onClose: () => void }) {
  const everywhere: readonly KeyHelp[] = [
    [['/'], 'Search'],
    ...pages.filter(({ key }) => key).map(({ key, title }): KeyHelp => [['g', key!], title]),
    [['Esc'], 'Close, or leave the field'],
    [['?'], 'This help'],
  ];
  return (
    <Dialog title="Keys and search" wide onClose={onClose}>
      <KeyList title="Everywhere" keys={everywhere} class="short" />
      <KeyList title="Tables" keys={ROW_KEYS} />
      <KeyList title="Charts and maps, once they have the focus (Tab)" keys={FOCUS_KEYS} />
      <h3>Search</h3>
      <dl class="facts small">
        {[...new Set(SEARCHES.values())].map(({ what, words }) => <><dt key={what}>{what}</dt><dd><Words words={words} /></dd></>)}
      </dl>
      <p class="small muted">All words must match; a comma between values means any of them. A value with a space or a comma of its own stands in quotes.</p>
      <label class="row">
        <input type="checkbox" checked={areKeysOn.value} onChange={(event) => switchKeys(event.currentTarget.checked)} />
        Single-letter shortcuts. Switch them off if you use speech input.
      </label>
      <div class="actions"><button type="button" class="button" onClick={onClose}>Close</button></div>
    </Dialog>
  );
}

function KeyList({ title, keys, class: more = '' }: { title: string; keys: readonly KeyHelp[]; class?: string }) {
  return (
    <section class="stack tight">
      <h3>{title}</h3>
      <dl class={`keys ${more}`}>
        {keys.map(([names, what]) => <><dt key={what}>{names.map((name) => <kbd key={name} class="key">{name}</kbd>)}</dt><dd>{what}</dd></>)}
      </dl>
    </section>
  );
}

const ICONS: Record<string, string> = {
  '': 'M3 3h6v8H3zM11 3h6v5h-6zM11 10h6v7h-6zM3 13h6v4H3z',
  workers: 'M3 4h14v5H3zM3 11h14v5H3zM6 6.5h.01M6 13.5h.01',
  drains: 'M4 4h12l-4.5 6v5l-3 1.5V10z',
  events: 'M4 5h12M4 10h12M4 15h8',
  more: 'M4 10h.01M10 10h.01M16 10h.01',
  search: 'M13.5 13.5L17.5 17.5M15 9A6 6 0 1 1 3 9a6 6 0 0 1 12 0z',
};

function Icon({ path }: { path: string }) {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={ICONS[path]} />
    </svg>
  );
}
