// The heat map behind its page: what is known of each worker, what has changed since the last frame of the screen, and
// the canvases on which that is painted. Messages change cells; frames paint them.

import { signal } from '@preact/signals';
import { reducedMotion } from '../../theme';
import { serverNow } from '../../time';
import { arrange, groupValue, intoGroups, stepOf, sumsOf, valueOf, type Arrangement, type Cell, type CellFacts, type ColourBy, type Group, type Sums } from './model';
import { hatching, paint, palette, type Look, type Sheet } from './paint';

/** How long cells that come and go wait before the groups are made anew, in milliseconds. */
const REGROUP_MS = 250;
/** How often figures are made of all cells at most, in milliseconds. */
const SUM_MS = 500;

const NOTHING: Arrangement = { columns: 1, perRow: 1, pitchX: 20, pitchY: 20, gap: 3, isTile: false };

export class HeatMap {
  readonly groups = signal<readonly Group[]>([]);
  readonly arrangement = signal<Arrangement>(NOTHING);
  readonly sums = signal<Sums>(sumsOf([]));
  /** Moves when the figures of groups may be others. */
  readonly figures = signal(0);

  readonly #cells = new Map<string, Cell>();
  readonly #sheets = new Map<Group, Sheet>();
  #dirty = new Set<Cell>();
  #pulsing = new Set<Cell>();
  #by = 'zone';
  #look: Omit<Look, 'now'>;
  #space = { width: 0, height: 0, smallest: 8 };
  /** How many cells there will be, while they are still being read. */
  #expected = 0;
  #frame = 0;
  #isOtherwise = false;
  #regroupedAt = 0;
  #summedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sumTimer: ReturnType<typeof setTimeout> | undefined;
  /** Whether cells have changed since the figures were made. */
  #hasNews = false;
  #ended = false;

  constructor(words: Look['words']) {
    this.#look = { arrangement: NOTHING, palette: palette(), by: 'cpu', words };
  }

  cell(id: string): Cell | undefined {
    return this.#cells.get(id);
  }

  get size(): number {
    return this.#cells.size;
  }

  /** What is known of workers now. `isBeat` says that a change of `lastSeen` is a heartbeat that has just come. */
  put(rows: readonly CellFacts[], isBeat: boolean): void {
    this.#hasNews = true;
    const pulses = isBeat && !reducedMotion.matches && !document.hidden;
    for (const row of rows) {
      const known = this.#cells.get(row.id);
      if (known && row.revision < known.revision) continue;
      const seenAt = Date.parse(row.lastSeen);
      if (!known) {
        const group = undefined as unknown as Group;
        this.#cells.set(row.id, { ...row, seenAt, group, index: 0, pulse: 0, painted: -1 });
        this.#isOtherwise = true;
        continue;
      }
      const isHeard = seenAt > known.seenAt;
      if (groupValue(row, this.#by) !== groupValue(known, this.#by)) this.#isOtherwise = true;
      Object.assign(known, row, { seenAt });
      this.#dirty.add(known);
      if (isHeard && pulses) {
        known.pulse = performance.now();
        this.#pulsing.add(known);
      }
    }
    this.#soon();
  }

  /** What an event says of a worker before its next message does. */
  silent(id: string): void {
    const cell = this.#cells.get(id);
    if (!cell || cell.status === 'OFFLINE') return;
    cell.status = 'OFFLINE';
    this.#hasNews = true;
    this.#dirty.add(cell);
    this.#soon();
  }

  remove(id: string): void {
    if (this.#cells.delete(id)) this.#isOtherwise = this.#hasNews = true;
    this.#soon();
  }

  /** Forgets all that are not among these. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#cells.keys()) if (!ids.has(id)) this.remove(id);
  }

  clear(): void {
    this.#cells.clear();
    this.#dirty.clear();
    this.#pulsing.clear();
    this.#isOtherwise = true;
    this.#regroupedAt = 0;
    this.#soon();
  }

  expect(total: number): void {
    this.#expected = total;
    this.#isOtherwise = true;
    this.#soon();
  }

  groupBy(by: string): void {
    if (by === this.#by) return;
    this.#by = by;
    this.#regroup();
  }

  colourBy(by: ColourBy): void {
    if (by === this.#look.by) return;
    this.#look = { ...this.#look, by };
    this.repaint();
  }

  /** Where there is room: the width of the map, and the height that is seen without scrolling. */
  fit(width: number, height: number, smallest: number): void {
    const space = this.#space;
    if (space.width === width && space.height === height && space.smallest === smallest) return;
    this.#space = { width, height, smallest };
    this.#arrange();
  }

  /** Takes a canvas for a group, and paints it. Returns its height, in CSS pixels. */
  attach(group: Group, canvas: HTMLCanvasElement): void {
    const { perRow, pitchX, pitchY, gap } = this.arrangement.peek();
    const columns = Math.min(perRow, Math.max(1, group.cells.length));
    const width = Math.ceil(columns * pitchX - gap);
    const height = Math.max(1, Math.ceil(group.cells.length / perRow) * pitchY - gap);
    const scale = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.ceil(width * scale);
    canvas.height = Math.ceil(height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext('2d')!;
    context.scale(scale, scale);
    const sheet: Sheet = { context, hatching: hatching(context, this.#look.palette, pitchY - gap, scale) };
    this.#sheets.set(group, sheet);
    // At once, so that nothing is blank in between.
    const look: Look = { ...this.#look, now: serverNow() };
    const time = performance.now();
    for (const cell of group.cells) {
      paint(sheet, cell, look, time, true);
      this.#dirty.delete(cell);
    }
  }

  detach(group: Group): void {
    this.#sheets.delete(group);
  }

  /** Paints all anew: the theme is another one, or what colours mean. */
  repaint(): void {
    this.#look = { ...this.#look, palette: palette() };
    for (const [group, sheet] of this.#sheets) {
      const { pitchY, gap } = this.arrangement.peek();
      sheet.hatching = hatching(sheet.context, this.#look.palette, pitchY - gap, Math.min(2, devicePixelRatio || 1));
      for (const cell of group.cells) this.#dirty.add(cell);
    }
    this.#soon();
  }

  /** Paints those whose heartbeat has become so old that they have another colour. To be called once a second. */
  age(): void {
    const { by, arrangement } = this.#look;
    if (by !== 'age') return;
    const now = serverNow();
    for (const cell of this.#cells.values()) {
      if (arrangement.isTile || stepOf(valueOf(cell, by, now), by) !== cell.painted) this.#dirty.add(cell);
    }
    this.#soon();
  }

  end(): void {
    this.#ended = true;
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    clearTimeout(this.#sumTimer);
  }

  #soon(): void {
    if (this.#frame !== 0 || this.#ended) return;
    this.#frame = requestAnimationFrame((time) => {
      this.#frame = 0;
      this.#draw(time);
    });
  }

  #draw(time: number): void {
    if (this.#isOtherwise) {
      const wait = this.#regroupedAt + REGROUP_MS - time;
      if (wait <= 0) this.#regroup();
      else this.#timer ??= setTimeout(() => { this.#timer = undefined; this.#soon(); }, wait);
    }
    this.#paint(Math.max(time, performance.now()));
    const rest = this.#summedAt + SUM_MS - time;
    if (rest <= 0) {
      this.#summedAt = time;
      this.sums.value = sumsOf(this.#cells.values());
      this.figures.value += 1;
    } else if (this.#hasNews) {
      // What came last is counted, too, although nothing follows it.
      this.#sumTimer ??= setTimeout(() => { this.#sumTimer = undefined; this.#soon(); }, rest + 1);
    }
    this.#hasNews = rest > 0 && this.#hasNews;
    if (this.#pulsing.size > 0) this.#soon();
  }

  #paint(time: number): void {
    const look: Look = { ...this.#look, now: serverNow() };
    for (const cell of this.#pulsing) {
      this.#dirty.add(cell);
      if (cell.pulse === 0) this.#pulsing.delete(cell);
    }
    for (const cell of this.#dirty) {
      const sheet = cell.group && this.#sheets.get(cell.group);
      if (sheet && cell.group.cells[cell.index] === cell) paint(sheet, cell, look, time);
    }
    this.#dirty.clear();
  }

  #regroup(): void {
    this.#isOtherwise = false;
    this.#regroupedAt = performance.now();
    this.groups.value = intoGroups(this.#cells.values(), this.#by);
    this.#summedAt = 0;
    this.#arrange();
    this.#soon();
  }

  #arrange(): void {
    const { width, height, smallest } = this.#space;
    const groups = this.groups.peek();
    if (width <= 0 || groups.length === 0) return;
    const grows = Math.max(1, this.#expected / Math.max(1, this.#cells.size));
    const next = arrange(groups.map(({ cells }) => Math.ceil(cells.length * grows)), width, height, smallest);
    const before = this.arrangement.peek();
    this.#look = { ...this.#look, arrangement: next };
    if (JSON.stringify(next) !== JSON.stringify(before)) this.arrangement.value = next;
  }
}

