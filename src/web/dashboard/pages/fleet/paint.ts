// How cells are painted. Only those that have changed, and those that pulse, are painted in a frame: ten thousand cells
// cost what is new about them.

import { colour } from '../../theme';
import { stepOf, STEPS, valueOf, type Arrangement, type Cell, type ColourBy } from './model';

/** How long a heartbeat is seen, in milliseconds. */
export const PULSE_MS = 200;

export interface Palette {
  ramp: string[];
  card: string;
  text: string;
  muted: string;
  line: string;
  frame: string;
  silent: string;
  silentSoft: string;
  font: string;
}

export function palette(): Palette {
  return {
    ramp: Array.from({ length: STEPS }, (_, step) => colour(`--ramp-${step}`)),
    card: colour('--card'),
    text: colour('--text'),
    muted: colour('--muted'),
    line: colour('--line'),
    frame: colour('--warn-mark'),
    silent: colour('--bad-mark'),
    silentSoft: colour('--bad-soft'),
    font: colour('--font'),
  };
}

/** Diagonal stripes of the width of a pixel or two, sharp on every screen. */
export function hatching(context: CanvasRenderingContext2D, { silent, silentSoft }: Palette, size: number, scale: number): CanvasPattern {
  const period = size >= 14 ? 6 : 4;
  const side = Math.round(period * scale);
  const tile = document.createElement('canvas');
  tile.width = tile.height = side;
  const on = tile.getContext('2d')!;
  on.fillStyle = silentSoft;
  on.fillRect(0, 0, side, side);
  on.strokeStyle = silent;
  on.lineWidth = side / (size >= 14 ? 2.7 : 2.4);
  on.lineCap = 'square';
  on.beginPath();
  for (const shift of [-side, 0, side]) {
    on.moveTo(shift, 0);
    on.lineTo(shift + side, side);
  }
  on.stroke();
  const pattern = context.createPattern(tile, 'repeat')!;
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  return pattern;
}

export interface Sheet {
  context: CanvasRenderingContext2D;
  hatching: CanvasPattern;
}

export interface Look {
  arrangement: Arrangement;
  palette: Palette;
  by: ColourBy;
  /** The server's time, in milliseconds since 1970. */
  now: number;
  /** What a tile says below the id. */
  words: (cell: Cell, value: number) => string;
}

/** Paints one cell, on a place where nothing is painted yet if `isBlank`. `frameTime` is the clock that pulses began by. */
export function paint({ context: on, hatching }: Sheet, cell: Cell, { arrangement, palette, by, now, words }: Look, frameTime: number, isBlank = false): void {
  const { perRow, pitchX, pitchY, gap, isTile } = arrangement;
  const x = (cell.index % perRow) * pitchX;
  const y = Math.floor(cell.index / perRow) * pitchY;
  if (!isBlank) on.clearRect(x, y, pitchX, pitchY);
  const value = valueOf(cell, by, now);
  const step = cell.painted = stepOf(value, by);
  const size = pitchY - gap;
  const isSilent = cell.status === 'OFFLINE';
  const width = isTile ? size : pitchX - gap;
  const radius = size >= 13 ? 3 : size >= 9 ? 1.5 : 0;
  box(on, x, y, width, size, radius, isSilent ? hatching : palette.ramp[step]!);
  // The emptiest step is hardly seen on a card: a hairline holds it.
  if (!isSilent && step === 0 && size >= 9) outline(on, x, y, width, size, radius, palette.line, 1);
  if (cell.pulse > 0) {
    const age = (frameTime - cell.pulse) / PULSE_MS;
    if (age >= 1) cell.pulse = 0;
    else {
      on.globalAlpha = 0.65 * (1 - Math.max(0, age));
      box(on, x, y, width, size, radius, step < STEPS / 2 ? palette.ramp[STEPS - 1]! : palette.ramp[0]!);
      on.globalAlpha = 1;
    }
  }
  if (cell.schedulingPolicy === 'DRAINING') outline(on, x, y, width, size, radius, palette.frame, size >= 13 ? 2 : 1.5);
  if (isTile) {
    const left = x + size + 9;
    const room = pitchX - gap - size - 11;
    on.textBaseline = 'alphabetic';
    on.font = `600 13px ${palette.font}`;
    on.fillStyle = palette.text;
    on.fillText(fitting(on, cell.id, room), left, y + size / 2 - 3);
    on.font = `12px ${palette.font}`;
    on.fillStyle = palette.muted;
    on.fillText(fitting(on, words(cell, value), room), left, y + size / 2 + 14);
  }
}

function box(on: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, radius: number, fill: string | CanvasPattern): void {
  on.fillStyle = fill;
  if (radius === 0) {
    on.fillRect(x, y, width, height);
    return;
  }
  on.beginPath();
  on.roundRect(x, y, width, height, radius);
  on.fill();
}

function outline(on: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, radius: number, stroke: string, line: number): void {
  on.strokeStyle = stroke;
  on.lineWidth = line;
  on.beginPath();
  on.roundRect(x + line / 2, y + line / 2, width - line, height - line, Math.max(0, radius - line / 2));
  on.stroke();
}

/** As much of a text as has room, with an ellipsis where something is left out. */
function fitting(on: CanvasRenderingContext2D, text: string, room: number): string {
  if (on.measureText(text).width <= room) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (on.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
}
