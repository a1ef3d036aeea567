// Draws a chart on a canvas, by uPlot. Loaded when the first chart is shown, since uPlot weighs as much as a page.
// It draws what is there; crosshair, figures under it and keys are elements over the canvas, see `curves.tsx`.

import uPlot from 'uplot';
import { plotted, tickLabel, tickSteps, timeLabels, topOf, type Chart, type Times } from '../curves';
import { colour } from '../theme';

/** Width of the figures at the left, the same for all charts, so that times of charts below each other are in line. */
const FIGURES = 54;
/** Height of the times below, in CSS pixels. */
const TIMES = 24;

export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Plot {
  show: (times: Times, chart: Chart) => void;
  /** Draws the same again: in other colours, in another size. */
  repaint: () => void;
  resize: (width: number, height: number) => void;
  /** Where the curves are, in CSS pixels from the corner of the element. */
  area: () => Area;
  /** Where a time and a value are in that area. */
  x: (time: number) => number;
  y: (value: number) => number;
  /** The time at a place in that area. */
  time: (x: number) => number;
  end: () => void;
}

/** Draws a chart into an element. `onDrawn` is called after each time, when its places are those of what is seen. */
export function plot(element: HTMLElement, times: Times, chart: Chart, onDrawn: () => void): Plot {
  let shown = { times, chart };
  const live: Live = {
    times: () => {
      const { at, step } = shown.times;
      const first = at[0] ?? 0;
      return [first, Math.max(at.at(-1) ?? 0, first + step)];
    },
    values: () => [0, topOf(shown.chart.lines, shown.chart.unit)],
    onDrawn,
  };
  let uplot = create(element, times, chart, live);
  return {
    show: (times, chart) => {
      const isAlike = likeness(chart) === likeness(shown.chart);
      shown = { times, chart };
      if (isAlike) return uplot.setData(plotted(times, chart.lines).data as uPlot.AlignedData);
      // With other lines it is another chart.
      uplot.destroy();
      uplot = create(element, times, chart, live);
    },
    repaint: () => uplot.redraw(false, true),
    resize: (width, height) => uplot.setSize({ width, height }),
    area: () => {
      const { left, top, width, height } = uplot.bbox;
      const ratio = uPlot.pxRatio;
      return { left: left / ratio, top: top / ratio, width: width / ratio, height: height / ratio };
    },
    x: (time) => uplot.valToPos(time, 'x'),
    y: (value) => uplot.valToPos(value, 'y'),
    time: (x) => uplot.posToVal(x, 'x'),
    end: () => uplot.destroy(),
  };
}

/** What changes while a chart is drawn in the place of another. */
interface Live {
  onDrawn: () => void;
  times: () => [number, number];
  values: () => [number, number];
}

/** What charts have in common of which one can be drawn in the place of the other. */
function likeness({ unit, lines }: Chart): string {
  return JSON.stringify([unit, lines.map(({ role }) => role), plotted({ at: [] }, lines).series]);
}

function create(element: HTMLElement, times: Times, { lines, unit }: Chart, live: Live): uPlot {
  const { data, series, bands } = plotted(times, lines);
  const { fontSize, fontFamily } = getComputedStyle(element);
  const font = `${fontSize} ${fontFamily}`;
  const faint = (): string => colour('--faint');
  const grid = { stroke: (): string => colour('--curve-grid'), width: 1 };
  const options: uPlot.Options = {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [6, 18, 0, 0],
    // Texts of uPlot's own would be read as HTML, which the page's policy forbids.
    legend: { show: false },
    cursor: { show: false },
    hooks: { draw: [live.onDrawn] },
    select: { show: false, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, range: live.times },
      y: { range: live.values },
    },
    axes: [
      { font, stroke: faint, grid: { show: false }, ticks: { ...grid, size: 4 }, border: { show: true, ...grid }, size: TIMES, gap: 3, space: 50, values: (_, ticks, __, ___, apart) => timeLabels(ticks, apart) },
      { font, stroke: faint, grid, ticks: { show: false }, size: FIGURES, gap: 6, space: 26, incrs: tickSteps(unit), values: (_, ticks) => ticks.map((tick) => tickLabel(tick, unit)) },
    ],
    series: [{}, ...series.map(({ line, edge }): uPlot.Series => {
      const { role } = lines[line]!;
      if (edge !== 'value') return { width: 0, points: { show: false } };
      return {
        width: role === 'used' ? 1.75 : role === 'measured' ? 1.5 : 1,
        stroke: () => colour(`--curve-${role}`),
        ...(role === 'used' ? { fill: () => colour('--curve-used-fill') } : {}),
        ...(role === 'capacity' ? { dash: [4, 4] } : {}),
        // A point between two gaps would be no line.
        points: { show: true, size: 4, width: 0, fill: () => colour(`--curve-${role}`), filter: (self, index) => lone(self.data[index]!) },
      };
    })],
    bands: bands.map(([most, least]): uPlot.Band => ({
      series: [most, least],
      fill: () => colour(`--curve-${lines[series[most - 1]!.line]!.role}-band`),
    })),
  };
  return new uPlot(options, data as uPlot.AlignedData, element);
}

function lone(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = [];
  for (let index = 0; index < values.length; index += 1) {
    if (values[index] != null && values[index - 1] == null && values[index + 1] == null) found.push(index);
  }
  return found;
}
