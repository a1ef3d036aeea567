// The pages: their addresses, names and keys, and the scripts that draw them, each loaded when it is first opened.

import type { ComponentType } from 'preact';

export interface PageProps {
  /** What the path says after the page's own segment: the worker's id on `/workers/w1`. */
  argument: string;
}

export interface Page {
  /** First segment of the path; the empty text is the page at the root. */
  path: string;
  /** Whether a second segment has to be there; a page with and one without may share the first. */
  takesArgument?: boolean;
  title: string;
  /** The key after `g`. */
  key?: string;
  /** Left out of the navigation: reached from other pages. */
  isHidden?: boolean;
  load: () => Promise<{ default: ComponentType<PageProps> }>;
}

export const pages: readonly Page[] = [
  { path: '', title: 'Overview', key: 'o', load: () => import('./pages/overview') },
  { path: 'fleet', title: 'Fleet', key: 'f', load: () => import('./pages/fleet') },
  { path: 'workers', title: 'Workers', key: 'w', load: () => import('./pages/workers') },
  { path: 'workers', takesArgument: true, title: 'Worker', isHidden: true, load: () => import('./pages/worker') },
  { path: 'vms', title: 'VMs', key: 'v', load: () => import('./pages/vms') },
  { path: 'vms', takesArgument: true, title: 'VM', isHidden: true, load: () => import('./pages/vm') },
  { path: 'drains', title: 'Drains', key: 'd', load: () => import('./pages/drains') },
  { path: 'capacity', title: 'Capacity', key: 'c', load: () => import('./pages/capacity') },
  { path: 'events', title: 'Events', key: 'e', load: () => import('./pages/events') },
  { path: 'access', title: 'Access', key: 'a', load: () => import('./pages/access') },
  { path: 'api', title: 'API', key: 'p', load: () => import('./pages/api') },
  { path: 'health', title: 'Health', key: 'h', load: () => import('./pages/health') },
];

/** The page of a path; undefined if there is none. */
export function pageAt(segments: readonly string[]): Page | undefined {
  if (segments.length > 2) return undefined;
  const [first = ''] = segments;
  return pages.find(({ path, takesArgument = false }) => path === first && takesArgument === segments.length > 1);
}

export function isPage(firstSegment: string): boolean {
  return pages.some(({ path }) => path === firstSegment);
}
