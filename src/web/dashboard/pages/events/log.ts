// The change log as far as the page has read it: how pages of older events and what comes live are joined, so that each
// event is in it once and none is missing in between, what is read next, and the rows of the table. All lists of events
// are newest first. What asks the server, and when, is in `pages/events.tsx`.

import { folded, isChurn, type Fold, type Foldable } from '../../event-folds';

/** Rows that are kept while new ones come at the top, unless more were asked for: older ones are read again when somebody scrolls there. As many may wait. */
export const MOST_ROWS = 4_000;
/** Rows that words are looked for in before somebody has to ask for more. */
export const LOOK_THROUGH = 3_000;
/** Rows that are read for a screen full of lines before somebody has to ask for more: on a large cluster that is some seconds. */
export const FOLD_THROUGH = 2_000;
/** Lines that fill a screen. */
export const SCREENFUL = 40;
/** VM events of each minute are folded. */
const FOLD_PERIOD_MS = 60_000;
/** After a connection was lost, events may come again: they are looked for among so many of the newest. */
const COMES_AGAIN = 500;

export interface Log<Event> {
  /** All events of the search, from the newest that is shown to the oldest that was read. */
  readonly rows: readonly Event[];
  /** All that came after those and are not shown yet. */
  readonly waiting: readonly Event[];
  /** More came than can wait. Those between `rows` and `waiting` are dropped, so the two cannot be joined any more. */
  readonly isOverfull: boolean;
  /**
   * The events before `rows`, without what VMs do as usual: where they do much, a screen of what else happened reaches
   * back further than all events are read. Null until it is asked for.
   */
  readonly others: readonly Event[] | null;
  /** Whether the server has events before `rows`. */
  readonly hasOlder: boolean;
  /** Whether the server has more of the others before `others`. */
  readonly hasOlderOthers: boolean;
  /** How many rows were asked for: so many are kept. */
  readonly depth: number;
  /** How many pages were read, with those that were dropped: after each, what is still wanted is asked for again. */
  readonly pages: number;
}

export interface LogPage<Event> {
  readonly events: readonly Event[];
  readonly hasOlder: boolean;
}

/** What of the log is read: all events before its rows, or the others before `others`. */
export type Read = 'older' | 'others';

/** A log of one page, instead of another log. */
export function begun<Event>({ events, hasOlder }: LogPage<Event>, before: Log<Event> | null): Log<Event> {
  return { rows: events, waiting: [], isOverfull: false, others: null, hasOlder, hasOlderOthers: false, depth: events.length, pages: (before?.pages ?? 0) + 1 };
}

/**
 * The log with what waits among its rows; null if it has to be begun anew, since events between the two are dropped.
 * Rows that are too old go, those that are others into these, if they are shown. While a page `isReading`, more rows are
 * kept, so that the one that it is asked to follow is still the last when it comes.
 */
export function shown<Event extends Foldable>(log: Log<Event>, isReading: boolean): Log<Event> | null {
  if (log.isOverfull) return null;
  if (log.waiting.length === 0) return log;
  const all = [...log.waiting, ...log.rows];
  const most = Math.max(MOST_ROWS, log.depth) + (isReading ? MOST_ROWS : 0);
  if (all.length <= most) return { ...log, rows: all, waiting: [] };
  const others = log.others && [...all.slice(most).filter((event) => !isChurn(event)), ...log.others];
  return { ...log, rows: all.slice(0, most), waiting: [], others, hasOlder: true };
}

/** The log with events that came live: they wait if `isHeld`, else they are shown. Null as of `shown`. */
export function arrived<Event extends Foldable>(log: Log<Event>, news: readonly Event[], { isHeld, isReading }: { isHeld: boolean; isReading: boolean }): Log<Event> | null {
  if (log.isOverfull) return isHeld ? log : null;
  const known = new Set([...log.waiting.slice(0, COMES_AGAIN), ...log.rows.slice(0, COMES_AGAIN)].map(({ id }) => id));
  const fresh = news.filter(({ id }) => !known.has(id));
  if (fresh.length === 0) return isHeld ? log : shown(log, isReading);
  const waiting = [...fresh, ...log.waiting];
  if (!isHeld) return shown({ ...log, waiting }, isReading);
  return { ...log, waiting: waiting.slice(0, MOST_ROWS), isOverfull: waiting.length > MOST_ROWS };
}

/** The event that the next page of these is before; undefined if there is none. */
export function lastOf<Event>({ rows, others }: Log<Event>, what: Read): Event | undefined {
  return (what === 'others' ? others?.at(-1) : undefined) ?? rows.at(-1);
}

/** The log with the page that was asked for to follow `last`. If that is not its last event any more, the page is dropped. */
export function withPage<Event extends Foldable>(log: Log<Event>, what: Read, last: Event, page: LogPage<Event>): Log<Event> {
  if (lastOf(log, what)?.id !== last.id) return dropped(log);
  const { rows, others } = log;
  const pages = log.pages + 1;
  if (what === 'others') return { ...log, others: [...others ?? [], ...page.events], hasOlderOthers: page.hasOlder, pages };
  const all = [...rows, ...page.events];
  // All that was read now is among the rows; nothing is left for the others after the end of the log.
  const read = new Set(page.events.map(({ id }) => id));
  return { ...log, rows: all, others: others && page.hasOlder ? others.filter(({ id }) => !read.has(id)) : null, hasOlder: page.hasOlder, depth: all.length, pages };
}

/** The log after a page was read that is of no use, since the log is not the one that it was asked for. */
export function dropped<Event>(log: Log<Event>): Log<Event> {
  return { ...log, pages: log.pages + 1 };
}

/** How somebody looks at the log. */
export interface View {
  /** Lines that there are, without those of open folds. */
  readonly lines: number;
  readonly isFolding: boolean;
  /** Whether words are looked for in what is read. */
  readonly isSearching: boolean;
  /** Whether the search asks for other kinds than what VMs do as usual. */
  readonly hasOtherKinds: boolean;
  /** Whether the last line is on the screen, and not only near. */
  readonly isEndSeen: boolean;
  /** Whether nobody has scrolled down. */
  readonly isAtTop: boolean;
}

/**
 * What is read next while the end of the lines is near; null for nothing until somebody scrolls or asks. Many events may
 * be few lines, so that reading on might not end: it does where the lines are too few for what was read.
 */
export function nextRead<Event>(log: Log<Event>, { lines, isFolding, isSearching, hasOtherKinds, isEndSeen, isAtTop }: View): Read | null {
  const { rows, others } = log;
  if (isFolding && others) return log.hasOlderOthers && (!isAtTop || others.length < LOOK_THROUGH) ? 'others' : null;
  if (!log.hasOlder) return null;
  const most = isSearching ? LOOK_THROUGH : isFolding ? FOLD_THROUGH : Infinity;
  if (rows.length < most) return 'older';
  // At this rate, as many rows again are another screen full of lines.
  if (lines * most >= rows.length * SCREENFUL) return isEndSeen ? 'older' : null;
  // What VMs do in seconds fills no screen: what else happened does.
  return isFolding && hasOtherKinds && (isEndSeen || lines < SCREENFUL) ? 'others' : null;
}

interface Placed extends Foldable {
  readonly revision: number;
  readonly position: number | null;
}

/** What the address calls an event whose line is open. */
export const openKey = ({ revision, position }: Placed): string => `${revision}-${position ?? 0}`;

/** A row of the table: an event, several as one, or one of these while they are open. */
export interface Row<Event> {
  readonly id: string;
  /** The newest, of several. */
  readonly event: Event;
  readonly fold?: Fold<Event>;
  readonly isOpen?: boolean;
  readonly isInside?: boolean;
  /** Where what VMs do as usual ends, since older ones were not read. */
  readonly isEnd?: boolean;
}

/** The rows of the table, with those of open folds below these, and `others` after all events that were read. */
export function rowsOf<Event extends Placed>(events: readonly Event[], others: readonly Event[] | null, isFolding: boolean, open: ReadonlySet<string>): Row<Event>[] {
  if (!isFolding) return events.map((event) => ({ id: event.id, event }));
  const lines = (events: readonly Event[]): Row<Event>[] => folded(events, FOLD_PERIOD_MS).flatMap(({ event, fold }): Row<Event>[] => {
    if (!fold) return [{ id: event.id, event }];
    const isOpen = open.size > 0 && fold.events.some((one) => open.has(openKey(one)));
    const row = { id: `${fold.kind} ${fold.events.at(-1)!.id}`, event, fold, isOpen };
    return isOpen ? [row, ...fold.events.map((event) => ({ id: event.id, event, isInside: true }))] : [row];
  });
  const oldest = events.at(-1);
  return [...lines(events), ...(others && oldest ? [{ id: 'end', event: oldest, isEnd: true }, ...lines(others)] : [])];
}
