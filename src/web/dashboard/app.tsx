// Which page is shown, once somebody is signed in.

import { signal, useComputed } from '@preact/signals';
import { Component, type ComponentChildren, type ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useState } from 'preact/hooks';
import { freshness } from './api/live';
import { Empty } from './components/empty';
import { SignIn } from './components/gate';
import { Shell } from './components/shell';
import { Toasts } from './components/toast';
import { pageAt, type Page, type PageProps } from './pages';
import { href, place } from './router';
import { session } from './session';

/** Scripts of pages that are here already: opening such a page waits for nothing. */
const loaded = new Map<Page, ComponentType<PageProps>>();

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
  return isLate ? <Empty title="The server does not answer yet">This page tries again by itself.</Empty> : null;
}

function Shown({ page }: { page: Page | undefined }) {
  const [, redraw] = useState(0);
  const [problem, setProblem] = useState('');
  const argument = place.value.segments[1] ?? '';
  const name = page?.takesArgument ? argument : page?.title;
  useEffect(() => { document.title = name ? `${name} · Aetherium` : 'Aetherium'; }, [name]);
  useEffect(() => {
    setProblem('');
    if (!page || loaded.has(page)) return;
    let isWanted = true;
    const load = (): void => {
      page.load().then(
        (module) => { loaded.set(page, module.default); if (isWanted) redraw((count) => count + 1); },
        () => { if (isWanted) setProblem('The script of this page cannot be loaded. The server may have been updated: reload the page.'); },
      );
    };
    load();
    return () => { isWanted = false; };
  }, [page]);
  if (!page) {
    return (
      <Empty title="There is no page here">
        <p>Nothing is known under <code class="break">{location.pathname}</code>.</p>
        <a class="button" href={href('')}>Overview</a>
      </Empty>
    );
  }
  const Content = loaded.get(page);
  if (problem && freshness.peek().state === 'live') {
    return <Empty title="This page is not here yet"><p>{problem}</p><button type="button" class="button" onClick={() => location.reload()}>Reload</button></Empty>;
  }
  if (!Content) return null;
  return <Boundary key={`${page.path} ${argument}`}><Content argument={argument} /></Boundary>;
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
