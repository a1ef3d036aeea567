// Addresses. A page is a path below the server's root; everything that a page shows is in its address, so that a link
// to it shows the same to somebody else.

import { computed, signal } from '@preact/signals';
import { root } from './root';

export interface Place {
  /** Segments of the path below the root, decoded: `['workers', 'w1']`; none for the first page. */
  readonly segments: readonly string[];
  readonly query: URLSearchParams;
}

export const place = signal<Place>(read());

function read(): Place {
  const path = location.pathname.startsWith(root.pathname) ? location.pathname.slice(root.pathname.length) : '';
  const segments = path.split('/').filter(Boolean).map((segment) => {
    try {
      return decodeURIComponent(segment);
    } catch {
      return segment;
    }
  });
  return { segments, query: new URLSearchParams(location.search) };
}

/** What an address says under its names: one value, several of the same name, or none. */
export type Query = Record<string, string | readonly string[] | null | undefined>;

/** Sets names of a query. A list is the name once for each value; null, an empty text and an empty list take the name out. */
function change(query: URLSearchParams, changes: Query): string {
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    if (typeof value === 'string') {
      if (value) query.set(name, value);
    } else for (const one of value ?? []) query.append(name, one);
  }
  return query.size > 0 ? `?${query}` : '';
}

/** The address of a page: `href('workers', 'w1')`, `href('workers', { q: 'status:offline' })`. */
export function href(...parts: (string | Query)[]): string {
  const segments = parts.filter((part) => typeof part === 'string').map(encodeURIComponent);
  const query = new URLSearchParams();
  let text = '';
  for (const part of parts) if (typeof part !== 'string') text = change(query, part);
  return `${root.pathname}${segments.join('/')}${text}`;
}

/** The address of the page that is shown, with another query. Names that are not mentioned stay as they are. */
export function hrefHere(changes: Query): string {
  return location.pathname + change(new URLSearchParams(place.value.query), changes);
}

/** Opens a page. */
export function go(address: string): void {
  history.pushState(null, '', address);
  place.value = read();
}

/** Changes what the address says of the page that is shown; null takes a name out. */
export function setQuery(changes: Query, { keep = false }: { keep?: boolean } = {}): void {
  const address = location.pathname + change(new URLSearchParams(place.peek().query), changes);
  if (address === location.pathname + location.search) return;
  // What is typed letter by letter is one step of the history; what is chosen is one each.
  if (keep) history.pushState(null, '', address);
  else history.replaceState(history.state, '', address);
  place.value = read();
}

/** What the address says under a name; the empty text if nothing. */
export function parameter(name: string) {
  return computed(() => place.value.query.get(name) ?? '');
}

/** Follows links of the dashboard without loading the document again. */
export function watchLinks(isPage: (firstSegment: string) => boolean): void {
  addEventListener('popstate', () => { place.value = read(); });
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = (event.target as Element | null)?.closest?.('a[href]') as HTMLAnchorElement | null;
    if (!anchor || anchor.target || anchor.hasAttribute('download') || anchor.origin !== location.origin) return;
    if (!anchor.pathname.startsWith(root.pathname)) return;
    const [first = ''] = anchor.pathname.slice(root.pathname.length).split('/');
    if (!isPage(first)) return;
    event.preventDefault();
    go(anchor.pathname + anchor.search);
  });
}
