// Curves of history: charts over the same times with one crosshair, a choice of the range, and the same as a table.
//
// - The pointer, or the arrow keys in a chart, move the crosshair; every chart of the card shows its values there.
// - The range is in the address, under `range`; the usual one is not. So is a span that somebody marks with the pointer
//   or takes with `+` and `-`, under `since` and `until`.
// - While newer points are read or the server is away, what is known stays.

import { useComputed, useSignal, type ReadonlySignal, type Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { isConnected } from '../api/live';
import {
  amount, description, drainsWithin, extremesOf, isDrainingAt, isFarAbove, lastKnown, nearest, RANGES, firstSample, spanAround, spokenPoint, timeAt,
  valueAt, valueAtEnd, type Chart, type Curves, type DrainSpan, type Range, type Times,
} from '../curves';
import { setQuery } from '../router';
import { theme } from '../theme';
import { clock, length, serverNow } from '../time';
import { Card } from './card';
import { CopyAs, type Request } from './copy';
import { useElementId } from './element-id';
import type { Plot } from './plot';

type Drawing = typeof import('./plot');

let drawing: Promise<Drawing> | null = null;

/** The script that draws, loaded once; after a failure it is tried again. */
function loadDrawing(): Promise<Drawing> {
  return drawing ??= import('./plot').catch((error) => {
    drawing = null;
    throw error;
  });
}

// With the pages that have curves, and not only when one is seen: they open while the server is away, too.
loadDrawing().catch(() => {});

/** The time, in seconds, at which all charts show their values, and the one that also says when that is. */
type Crosshair = Signal<{ time: number; by: string } | null>;

/** A card of charts. `curves` is undefined until the first answer. */
export function CurvesCard({ title, label, curves, range, isCurrent, problem, request, aside, empty, note, drains = [] }: {
  title: ComponentChildren;
  /** Whose curves they are, for who does not see the title: `of worker w1`. */
  label: string;
  curves: Curves | undefined;
  /** The range that is chosen, or else the one that is drawn. */
  range: Range;
  /** Whether they are those of the range that is chosen now. */
  isCurrent: boolean;
  problem?: string | undefined;
  /** The same, asked for elsewhere. */
  request: Request;
  aside?: ComponentChildren;
  /** What is said while there is no sample at all; that the first one comes after a minute, if left out. */
  empty?: ComponentChildren;
  /** What has to be known to read them right. */
  note?: ComponentChildren;
  /** Drains of the worker whose curves they are: bands behind them. */
  drains?: readonly DrainSpan[];
}) {
  const standing = curves ? drainsWithin(drains, curves.times) : [];
  const since = curves ? firstSample(curves) : null;
  const crosshair: Crosshair = useSignal<{ time: number; by: string } | null>(null);
  return (
    <Card
      class="curves"
      title={title}
      aside={<span class="curves-aside">{problem && <span class="tiny warn" role="status">as of before: {problem}</span>}{aside}<RangeChoice range={range} label={label} /></span>}
    >
      {curves && curves.charts.length === 0
        ? <div class="curves-empty">{empty || <First range={range} />}</div>
        : (
          <div class={`curves-grid${curves && curves.charts.length % 3 === 0 ? ' three' : ''}${isCurrent ? '' : ' waits'}`} data-range={isCurrent ? curves?.range.key : undefined}>
            {curves?.charts.map((chart) => <Figure key={chart.key} chart={chart} curves={curves} label={label} crosshair={crosshair} since={since} drains={standing} />) ?? <div class="curve" />}
          </div>
        )}
      {curves && curves.charts.length > 0 && (
        <footer class="curves-foot tiny faint">
          {since !== null && <p data-test="first-sample">First sample in this range: {clock(since * 1_000)}.</p>}
          {note && <p>{note}</p>}
          {standing.length > 0 && (
            <p class="curve-drains"><i class="curve-swatch drain" aria-hidden="true" />{standing.length === 1 ? 'Drain' : 'Drains'}: {standing.slice(-MOST_NAMED).map(({ words }) => words).join('; ')}{standing.length > MOST_NAMED && `; and ${standing.length - MOST_NAMED} before`}</p>
          )}
          <CurvesTable curves={curves} label={label} drains={standing} />
          <p class="screen-only" aria-hidden="true">Drag to look closer <kbd>+</kbd> <kbd>−</kbd> <kbd>←</kbd> <kbd>→</kbd></p>
          <CopyAs what="history" request={request} />
        </footer>
      )}
    </Card>
  );
}

/** Drains that are named below the curves. */
const MOST_NAMED = 3;

/** No sample yet, or none in this range. */
function First({ range }: { range: Range }) {
  return (
    <>
      <p class="strong">{range.span ? 'Nothing is known of this time.' : 'The first curve appears after a minute.'}</p>
      <p class="small muted">
        Once a minute the server samples what is allocated and, where agents send it, what is measured. There is no sample {range.spoken}{range.span ? '' : ' yet'}.
      </p>
    </>
  );
}

function RangeChoice({ range, label }: { range: Range; label: string }) {
  const name = useElementId();
  return (
    <>
      {range.span && <button type="button" class="button small" title="Back to now" onClick={() => setQuery({ since: null, until: null }, { keep: true })}>{range.word} <span aria-hidden="true">×</span></button>}
      <span class="fleet-choice curves-range" role="radiogroup" aria-label={`Time range ${label}`}>
        {RANGES.map(({ key, word, spoken }) => (
          <label key={key} title={`What was ${spoken}`}>
            <input type="radio" name={name} value={key} checked={key === range.key} onChange={() => setQuery({ range: key, since: null, until: null }, { keep: true })} />
            <span>{word}</span>
          </label>
        ))}
      </span>
    </>
  );
}

/** Looks at a span of time. */
function lookAt(since: number, until: number): void {
  setQuery({ ...spanAround(since, Math.min(until, serverNow() / 1_000)) }, { keep: true });
}

/** One chart: what its lines are and how high they are now, the canvas, and the crosshair over it. */
function Figure({ chart, curves: { times, range }, label, crosshair, since, drains }: {
  chart: Chart; curves: Curves; label: string; crosshair: Crosshair; since: number | null; drains: readonly DrainSpan[];
}) {
  const element = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLDivElement>(null);
  const plot = useSignal<Plot | null>(null);
  /** How often it was drawn: what lies over the curves moves with them. */
  const drawn = useSignal(0);
  const id = useElementId();
  const latest = useRef({ times, chart });
  latest.current = { times, chart };

  const isAway = !isConnected.value;
  useEffect(() => {
    if (plot.peek()) return;
    let isWanted = true;
    loadDrawing().then(({ plot: draw }) => {
      if (!isWanted || plot.peek()) return;
      const { times, chart } = latest.current;
      plot.value = draw(canvas.current!, times, chart, () => { drawn.value += 1; });
    }, () => {});
    return () => { isWanted = false; };
    // What did not come while the server was away is asked for again when it is back.
  }, [isAway]);
  useLayoutEffect(() => {
    const box = canvas.current!;
    const observer = new ResizeObserver(() => {
      if (box.clientWidth > 0) plot.peek()?.resize(box.clientWidth, box.clientHeight);
    });
    observer.observe(box);
    // The colours are those of the theme once its style counts.
    const stop = theme.subscribe(() => { requestAnimationFrame(() => plot.peek()?.repaint()); });
    return () => {
      observer.disconnect();
      stop();
      plot.peek()?.end();
      plot.value = null;
    };
  }, []);
  useLayoutEffect(() => {
    plot.peek()?.show(times, chart);
  }, [times, chart]);

  const at = useSignal(times);
  at.value = times;
  const spans = useSignal(drains);
  spans.value = drains;
  const last = Math.max(0, ...chart.lines.map(lastKnown));
  const index = useComputed(() => (crosshair.value === null ? last : Math.max(0, nearest(at.value.at, crosshair.value.time))));
  const move = (to: number): void => {
    const { times, chart } = latest.current;
    const time = times.at[Math.max(0, Math.min(times.at.length - 1, to))];
    crosshair.value = time === undefined ? null : { time, by: chart.key };
  };
  const marked = useSignal<{ from: number; to: number } | null>(null);
  /** Where the pointer is among the curves, in CSS pixels from their left; null outside, unless it marks something. */
  const placeOf = (event: PointerEvent): number | null => {
    const area = plot.peek()?.area();
    if (!area) return null;
    const x = event.clientX - element.current!.getBoundingClientRect().left - area.left;
    return !marked.peek() && (x < -8 || x > area.width + 8) ? null : Math.max(0, Math.min(area.width, x));
  };
  const follow = (event: PointerEvent): void => {
    const x = placeOf(event);
    if (marked.peek() && x !== null) marked.value = { ...marked.peek()!, to: x };
    if (x === null) crosshair.value = null;
    else move(nearest(latest.current.times.at, plot.peek()!.time(x)));
  };
  const begin = (event: PointerEvent): void => {
    follow(event);
    const x = placeOf(event);
    // Fingers scroll the page; what they touch is shown, and not marked.
    if (event.pointerType !== 'mouse' || event.button !== 0 || x === null) return;
    element.current!.setPointerCapture(event.pointerId);
    marked.value = { from: x, to: x };
  };
  const end = (): void => {
    const span = marked.peek();
    marked.value = null;
    if (!span || Math.abs(span.to - span.from) < SHORTEST_MARK) return;
    const [since, until] = [span.from, span.to].sort((a, b) => a - b).map((x) => plot.peek()!.time(x));
    crosshair.value = null;
    lookAt(since!, until!);
  };
  /** Half of the time around the crosshair, or twice as much. */
  const zoom = (factor: number): void => {
    const { at, step } = latest.current.times;
    const [first, until] = [at[0], at.at(-1)! + step];
    if (first === undefined) return;
    const length = (until - first) * factor;
    const middle = factor > 1 ? (first + until) / 2 : Math.max(first + length / 2, Math.min(until - length / 2, at[index.peek()]!));
    lookAt(middle - length / 2, middle + length / 2);
  };
  const keys: Record<string, () => number | null> = {
    ArrowRight: () => index.peek() + 1, ArrowUp: () => index.peek() + 1,
    ArrowLeft: () => index.peek() - 1, ArrowDown: () => index.peek() - 1,
    PageUp: () => index.peek() + 10, PageDown: () => index.peek() - 10,
    Home: () => 0, End: () => latest.current.times.at.length - 1, Escape: () => null,
  };
  const press = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const factor = { '+': 0.5, '=': 0.5, '-': 2 }[event.key];
    const to = keys[event.key]?.();
    if (to === undefined && factor === undefined) return;
    event.preventDefault();
    if (factor) return zoom(factor);
    if (to === undefined) return;
    if (to === null) crosshair.value = null;
    else move(event.shiftKey ? index.peek() + (to - index.peek()) * 10 : to);
  };
  const words = useComputed(() => `${spokenPoint(at.value, latest.current.chart, index.value)}${isDrainingAt(spans.value, at.value, index.value) ? ', draining' : ''}`);
  return (
    <figure class="curve" data-curve={chart.key} aria-labelledby={`${id}-title`}>
      <figcaption>
        <h3 id={`${id}-title`}>{chart.title}<span class="visually-hidden"> {label}</span></h3>
        <Legend chart={chart} times={times} crosshair={crosshair} />
      </figcaption>
      <div
        ref={element}
        class="curve-plot"
        role="slider"
        tabIndex={0}
        aria-label={`${chart.title} ${label}, values in time`}
        aria-describedby={`${id}-words`}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, times.at.length - 1)}
        aria-valuenow={index}
        aria-valuetext={words}
        onPointerMove={follow}
        onPointerDown={begin}
        onPointerUp={end}
        onPointerCancel={() => { marked.value = null; }}
        onPointerLeave={(event) => { if (event.pointerType === 'mouse') crosshair.value = null; }}
        onFocus={(event) => { if (event.currentTarget.matches(':focus-visible') && crosshair.peek() === null) move(last); }}
        onBlur={() => { crosshair.value = null; }}
        onKeyDown={press}
      >
        <Behind plot={plot} drawn={drawn} times={times} since={since} drains={drains} />
        <div ref={canvas} class="curve-canvas" />
        <Beyond plot={plot} drawn={drawn} chart={chart} />
        <Marked plot={plot} marked={marked} />
        <Marks plot={plot} drawn={drawn} crosshair={crosshair} times={times} chart={chart} />
      </div>
      <p id={`${id}-words`} class="visually-hidden">{description(times, chart, range)} The arrow keys move through the values, plus and minus change the time that is shown.</p>
    </figure>
  );
}

/** What the pointer marks, in CSS pixels, is looked at from this width on. */
const SHORTEST_MARK = 8;

/** The time that is being marked. */
function Marked({ plot, marked }: { plot: ReadonlySignal<Plot | null>; marked: ReadonlySignal<{ from: number; to: number } | null> }) {
  const span = marked.value;
  if (!span || !plot.value) return null;
  const { left, top, height } = plot.value.area();
  return <i class="curve-marked" aria-hidden="true" style={{ left: `${left + Math.min(span.from, span.to)}px`, top: `${top}px`, width: `${Math.abs(span.to - span.from)}px`, height: `${height}px` }} />;
}

/** What each line is, and its value: at the crosshair, or at the end. */
function Legend({ chart: { lines, unit }, times, crosshair }: { chart: Chart; times: Times; crosshair: Crosshair }) {
  const at = crosshair.value === null ? null : nearest(times.at, crosshair.value.time);
  return (
    <ul class="curve-legend">
      {lines.map((line) => {
        const value = at === null ? valueAtEnd(line) : line.values[at] ?? null;
        // As wide as the widest, so that nothing moves while the crosshair does.
        const extremes = extremesOf(line);
        const width = Math.max(...[value, extremes?.least, extremes?.most].map((one) => (one == null ? 1 : amount(one, unit).length)));
        return <li key={line.name}><i class={`curve-swatch ${line.role}`} aria-hidden="true" />{line.name} <b style={{ minWidth: `${width * 0.92}ch` }}>{value === null ? '–' : amount(value, unit)}</b></li>;
      })}
      {times.step > 60 && <li class="faint">{at === null ? 'mean of the last ' : 'mean of '}{length(times.step * 1_000)}</li>}
    </ul>
  );
}

/** Words in a chart need as much room as this, in CSS pixels. */
const WORDS = 96;

/** What is behind the curves: the time of drains, and the time before the first sample. */
function Behind({ plot, drawn, times, since, drains }: {
  plot: ReadonlySignal<Plot | null>; drawn: ReadonlySignal<number>; times: Times; since: number | null; drains: readonly DrainSpan[];
}) {
  void drawn.value;
  if (!plot.value || times.at.length === 0) return null;
  const { left, top, width, height } = plot.value.area();
  const x = (time: number): number => Math.max(0, Math.min(width, plot.value!.x(time)));
  const box = (from: number, to: number): Record<string, string> => ({ left: `${left + from}px`, top: `${top}px`, width: `${Math.max(1, to - from)}px`, height: `${height}px` });
  const before = since === null ? 0 : x(since);
  return (
    <div class="curve-behind" aria-hidden="true">
      {since !== null && <span class="curve-before tiny" style={box(0, before)}>{before >= WORDS && `no sample until ${clock(since * 1_000)}`}</span>}
      {drains.map(({ key, since, until }) => <i key={key} class={`curve-drain${until === null ? ' stands' : ''}`} style={box(x(since), until === null ? width : x(until))} />)}
    </div>
  );
}

/** Lines that are above the frame: at its upper edge, with their value. */
function Beyond({ plot, drawn, chart: { lines, unit } }: { plot: ReadonlySignal<Plot | null>; drawn: ReadonlySignal<number>; chart: Chart }) {
  void drawn.value;
  const far = lines.filter((line) => isFarAbove(line, lines));
  if (!plot.value || far.length === 0) return null;
  const { left, top, width } = plot.value.area();
  return (
    <div class="curve-beyond tiny" aria-hidden="true" style={{ left: `${left}px`, top: `${top}px`, width: `${width}px` }}>
      {far.map((line) => {
        const value = valueAtEnd(line) ?? extremesOf(line)?.most;
        return value == null ? null : <span key={line.name}>↑ {line.name} {amount(value, unit)}</span>;
      })}
    </div>
  );
}

/** A chart with less room than this, in CSS pixels, has none for a bubble beside the crosshair. */
const NARROW = 480;

/** The crosshair, a dot on each line, and their values. */
function Marks({ plot, drawn, crosshair, times, chart: { key, lines, unit } }: {
  plot: ReadonlySignal<Plot | null>; drawn: ReadonlySignal<number>; crosshair: Crosshair; times: Times; chart: Chart;
}) {
  void drawn.value;
  const at = crosshair.value;
  if (at === null || !plot.value || times.at.length === 0) return null;
  const index = nearest(times.at, at.time);
  const area = plot.value.area();
  const x = area.left + plot.value.x(times.at[index]!);
  // Beside the crosshair where there is room for it, else over the legend, so that it hides no curve.
  const part = (x - area.left) / area.width;
  const isNarrow = area.width < NARROW;
  const place = isNarrow ? ' above' : part > 0.5 ? ' left' : '';
  const bubble: Record<string, string> = isNarrow
    ? { left: `${x}px`, bottom: `calc(100% - ${area.top}px)`, transform: `translateX(-${part * 100}%)` }
    : { left: `${x}px`, top: `${area.top}px` };
  return (
    <div class="curve-marks" aria-hidden="true">
      <i class="crosshair" style={{ left: `${x}px`, top: `${area.top}px`, height: `${area.height}px` }} />
      {lines.map(({ name, role, values }) => {
        const value = values[index] ?? null;
        const y = value === null ? -1 : plot.value!.y(value);
        return y < 0 ? null : <i key={name} class={`dot ${role}`} style={{ left: `${x}px`, top: `${area.top + y}px` }} />;
      })}
      {at.by === key && <div class={`curve-bubble${place}`} style={bubble}>
        <p class="strong">{timeAt(times, index)}</p>
        {lines.map((line) => {
          const { value, span } = valueAt(line, index, unit);
          return <p key={line.name} class="row"><i class={`curve-swatch ${line.role}`} /><span class="grow">{line.name}</span><b>{value}</b>{span && <span class="faint">{span}</span>}</p>;
        })}
      </div>}
    </div>
  );
}

/** All values, newest first, for who reads them rather than looks at them. */
function CurvesTable({ curves: { times, charts, range }, label, drains }: { curves: Curves; label: string; drains: readonly DrainSpan[] }) {
  const isOpen = useSignal(false);
  const columns = charts.flatMap(({ key, title, unit, lines }) => lines.map((line) => ({ key: `${key} ${line.name}`, title, unit, line })));
  return (
    <details class="curves-table" open={isOpen.value} onToggle={(event) => { isOpen.value = event.currentTarget.open; }}>
      <summary class="link small">Values as a table</summary>
      {isOpen.value && (
        <div class="scroll-x" tabIndex={0} role="region" aria-label={`Values ${label}, ${range.spoken}`}>
          <table class="plain-table">
            <thead>
              <tr><th>Time</th>{columns.map(({ key, title, line }) => <th key={key} class="right">{title} {line.name}</th>)}{drains.length > 0 && <th>Drain</th>}</tr>
            </thead>
            <tbody>
              {times.at.map((at, index) => (
                <tr key={at}>
                  <th scope="row">{timeAt(times, index)}</th>
                  {columns.map(({ key, line, unit }) => {
                    const { value, span } = valueAt(line, index, unit);
                    return <td key={key} class="right">{value}{span && <span class="faint"> {span}</span>}</td>;
                  })}
                  {drains.length > 0 && <td>{isDrainingAt(drains, times, index) ? 'draining' : ''}</td>}
                </tr>
              )).reverse()}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
