// Which page is shown, once somebody is signed in.

import { signal, useComputed } from '@preact/signals';
import { Component, type ComponentChildren, type ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { isConnected } from './api/live';
import { Empty } from './components/empty';
import { SignIn } from './components/gate';
import { Shell } from './components/shell';
import { Toasts } from './components/toast';
import { pageAt, pages, type Page, type PageProps } from './pages';
import { href, place } from './router';
import { session } from './session';

/** Scripts of pages that are here already: opening such a page waits for nothing. */
const loaded = new Map<Page, ComponentType<PageProps>>();

/** How long after the first page the scripts of the others are loaded, so that they open while the server is away. */
const LOAD_OTHERS_AFTER_MS = 2_500;

async function load(page: Page): Promise<void> {
  if (!loaded.has(page)) loaded.set(page, (await page.load()).default);
}

async function loadOthers(): Promise<void> {
  // One by one: what somebody opens meanwhile comes first.
  for (const page of pages) await load(page).catch(() => {});
}

export function App() {
  const state = useComputed(() => session.value.state).value;
  if (state === 'out') return <><SignIn /><Toasts /></>;
  const page = pageAt(place.value.segments);
  return <Shell page={page}>{state === 'unknown' ? <Unknown /> : <Shown page={page} />}</Shell>;
}

/** Nothing yet, and a sentence about it if that lasts. */
function Unknown() {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 2_000);
    return () => clearTimeout(timer);
  }, []);
  return isLate ? <Empty title="No answer from the server yet">This page keeps trying.</Empty> : null;
}

function Shown({ page }: { page: Page | undefined }) {
  const [, redraw] = useState(0);
  const [hasFailed, setFailed] = useState(false);
  const argument = place.value.segments[1] ?? '';
  const name = page?.takesArgument ? argument : page?.title;
  useEffect(() => { document.title = name ? `${name} · Aetherium` : 'Aetherium'; }, [name]);
  // Another page begins at its top, for eyes and for screen readers; the first one leaves the focus where it is.
  const before = useRef(`${page?.path} ${argument}`);
  useEffect(() => {
    const now = `${page?.path} ${argument}`;
    if (now === before.current) return;
    before.current = now;
    const main = document.getElementById('main');
    main?.scrollTo(0, 0);
    main?.focus({ preventScroll: true });
  }, [page, argument]);
  useEffect(() => {
    setFailed(false);
    if (!page || loaded.has(page)) return;
    let isWanted = true;
    load(page).then(() => { if (isWanted) redraw((count) => count + 1); }, () => { if (isWanted) setFailed(true); });
    return () => { isWanted = false; };
  }, [page]);
  useEffect(() => {
    const timer = setTimeout(() => { void loadOthers(); }, LOAD_OTHERS_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  if (!page) {
    return (
      <header class="page-head">
        <h1>Page not found</h1>
        <p>There is nothing at <code class="break">{location.pathname}</code>. <a href={href('')}>Back to the Overview</a></p>
      </header>
    );
  }
  const Content = loaded.get(page);
  if (!Content && hasFailed) return <Missing />;
  if (!Content) return null;
  return <Boundary key={`${page.path} ${argument}`}><Content argument={argument} /></Boundary>;
}

/** The script of a page did not come: the server is away, or another version of it has other scripts. */
function Missing() {
  const isBack = isConnected.value;
  const [wasAway] = useState(!isBack);
  useEffect(() => { if (wasAway && isBack) location.reload(); }, [isBack]);
  return (
    <Empty title="This page could not be loaded">
      <p>{wasAway ? 'The server cannot be reached. The page opens by itself when it is back.' : 'Its script is missing: the server may have been updated.'}</p>
      <button type="button" class="button" onClick={() => location.reload()}>Reload</button>
    </Empty>
  );
}

/** A fault of one page leaves the frame as it is. */
class Boundary extends Component<{ children: ComponentChildren }, { error: Error | null }> {
  override state = { error: null as Error | null };
  static override getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }
  override componentDidCatch(error: Error): void {
    console.error(error);
  }
  override render() {
    if (!this.state.error) return this.props.children;
    return (
      <Empty title="This page has failed">
        <p>{String(this.state.error.message)}</p>
        <button type="button" class="button" onClick={() => this.setState({ error: null })}>Try again</button>
      </Empty>
    );
  }
}

const fullPages = signal(0);
fullPages.subscribe((count) => { document.getElementById('main')?.classList.toggle('full', count > 0); });

/** The page is as high as the screen, and what has the class `fill` scrolls by itself. */
export function useFullPage(): void {
  useLayoutEffect(() => {
    fullPages.value += 1;
    return () => { fullPages.value -= 1; };
  }, []);
}
