// Tables for ten rows and for tens of thousands: only the rows that are seen are in the document.
//
// - Keys: `j` and `k` move, `x` selects, `Enter` opens, `Shift` with a click selects a range.
// - While the pointer is over the rows, their order stays: news changes what they say, and not where they are.
// - Columns that somebody has chosen are kept in the address, under `cols`; the order under `sort`, as `-cpu`.
// - Narrow screens show each row in two lines, or three, see `phone`.

import { signal, useComputed, useSignal, type ReadonlySignal, type Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { useKeys } from '../keyboard';
import { go, place, setQuery } from '../router';
import { Menu } from './copy';
import { useElementId } from './element-id';

export interface Column<Row> {
  /** Its name in the address. */
  key: string;
  title: string;
  /** A track of a CSS grid, such as `minmax(120px, 1fr)` or `90px`. */
  width: string;
  right?: boolean;
  cell: (row: Row) => ComponentChildren;
  /** What the address calls the order by this column, if there is one. */
  sort?: string;
  /** Whether larger values come first when somebody sorts by it: for figures. */
  descends?: boolean;
  /** Left out until somebody chooses it. */
  optional?: boolean;
  /** The one that names the row; it is never left out. */
  lead?: boolean;
  /** Where it is on a narrow screen; nowhere if left out. What is in the third line has a short title before it. */
  phone?: 'lead' | 'side' | 'second' | 'end' | { third: string };
}

export interface TableProps<Row> {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  id: (row: Row) => string;
  /** What the rows are an answer to: with another one, the table begins anew at its top. */
  of?: string;
  /** How many rows there are in all, if not all are loaded. */
  total?: number;
  /** Loads more rows; called when the end is near, and again when it is seen, or after more was loaded. */
  onEnd?: (isSeen: boolean) => void;
  /** What changes with everything that is loaded, if that may leave the number of rows as it is. */
  loaded?: number;
  /** The page that a row opens. */
  href?: (row: Row) => string;
  /** Whether a row is open, if its link opens and closes it in this table. */
  isExpanded?: (row: Row) => boolean | undefined;
  /** Ids of the selected rows; without it there is nothing to select. */
  selected?: Signal<ReadonlySet<string>>;
  /** Called when the table is scrolled, with how far it is from its top, in CSS pixels. */
  onScroll?: (top: number) => void;
  /** `data-` attributes of a row. */
  data?: (row: Row) => Record<`data-${string}`, string>;
  /** Called when the rows that are seen are others: for following just those. */
  onSeen?: (ids: readonly string[]) => void;
  /** What is shown if there are no rows. */
  empty?: ComponentChildren;
  class?: string;
  /** Rows that are shown without scrolling, if the table does not fill its page. */
  maxRows?: number;
}

const narrow = matchMedia('(max-width: 719px)');
const isNarrow = signal(narrow.matches);
narrow.addEventListener('change', () => { isNarrow.value = narrow.matches; });

/** Rows that are drawn above and below those that are seen. */
const SPARE_ROWS = 8;

/** The columns that are shown: those that the address names, else all that are not optional. */
export function shownColumns<Row>(columns: readonly Column<Row>[], chosen: string): readonly Column<Row>[] {
  if (!chosen) return columns.filter(({ optional }) => !optional);
  const names = chosen.split(',');
  return columns.filter(({ key, lead }) => lead || names.includes(key));
}

export function Table<Row>(props: TableProps<Row>) {
  const { label, columns, id, href, selected, of = '', total, onEnd, onSeen, empty, maxRows } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const name = useElementId();
  const top = useSignal(0);
  const height = useSignal(600);
  const current = useSignal(-1);
  const isOver = useSignal(false);
  const shown = shownColumns(columns, place.value.query.get('cols') ?? '');
  const hasThird = shown.some(({ phone }) => typeof phone === 'object');
  const rowHeight = !isNarrow.value ? 32 : hasThird ? 74 : 52;
  const headHeight = isNarrow.value ? 0 : 32;

  // The order stays while the pointer is over the rows.
  const held = useRef<{ of: string; rows: readonly Row[] }>({ of, rows: props.rows });
  let rows = props.rows;
  let heldChanges = 0;
  if (isOver.value && held.current.of === of && held.current.rows.length > 0) {
    const news = new Map(props.rows.map((row) => [id(row), row]));
    const before = new Set(held.current.rows.map(id));
    const gone = held.current.rows.filter((row) => !news.has(id(row))).length;
    const added = props.rows.filter((row) => !before.has(id(row)));
    // What is loaded at the end is no change of the order.
    const isLonger = gone === 0 && props.rows.slice(0, held.current.rows.length).every((row, index) => id(row) === id(held.current.rows[index]!));
    if (!isLonger) {
      rows = held.current.rows.map((row) => news.get(id(row)) ?? row);
      heldChanges = gone + added.length;
    }
  }
  held.current = { of, rows };

  useLayoutEffect(() => {
    const element = scroller.current!;
    const observer = new ResizeObserver(() => { height.value = element.clientHeight; });
    observer.observe(element);
    height.value = element.clientHeight;
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    scroller.current?.scrollTo(0, 0);
    top.value = 0;
    current.value = -1;
  }, [of]);

  const from = Math.max(0, Math.floor(top.value / rowHeight) - SPARE_ROWS);
  const to = Math.min(rows.length, Math.ceil((top.value + height.value) / rowHeight) + SPARE_ROWS);
  const seen = rows.slice(from, to);
  const seenKey = seen.map(id).join('\n');
  useEffect(() => { onSeen?.(seenKey === '' ? [] : seenKey.split('\n')); }, [seenKey]);
  const isEndNear = rows.length > 0 && to > rows.length - 60;
  const isEndSeen = Math.ceil((top.value + height.value) / rowHeight) >= rows.length;
  useEffect(() => { if (isEndNear) onEnd?.(isEndSeen); }, [isEndNear, isEndSeen, rows.length, props.loaded]);

  const select = (wanted: Row, isSelected: boolean): void => {
    if (!selected) return;
    const next = new Set(selected.peek());
    if (isSelected) next.add(id(wanted));
    else next.delete(id(wanted));
    selected.value = next;
  };
  const selectTo = (index: number): void => {
    if (!selected) return;
    const start = current.peek() < 0 ? index : current.peek();
    const range = rows.slice(Math.min(start, index), Math.max(start, index) + 1).map(id);
    selected.value = new Set([...selected.peek(), ...range]);
  };
  const move = (to: number): void => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    current.value = next;
    const element = scroller.current!;
    const above = next * rowHeight;
    if (above < element.scrollTop) element.scrollTop = above;
    const below = above + rowHeight + headHeight - element.clientHeight;
    if (below > element.scrollTop) element.scrollTop = below;
    scroller.current?.focus({ preventScroll: true });
  };
  const row = (): Row | undefined => rows[current.peek()];
  useKeys({
    j: () => move(current.peek() + 1),
    k: () => move(current.peek() - 1),
    ArrowDown: () => move(current.peek() + 1),
    ArrowUp: () => move(current.peek() - 1),
    Home: () => move(0),
    End: () => move(rows.length - 1),
    PageDown: () => move(current.peek() + Math.floor(height.peek() / rowHeight) - 1),
    PageUp: () => move(current.peek() - Math.floor(height.peek() / rowHeight) + 1),
    ...(selected ? {
      x: () => { const at = row(); if (at) select(at, !selected.peek().has(id(at))); },
      X: () => { selectTo(Math.min(rows.length - 1, current.peek() + 1)); move(current.peek() + 1); },
    } : {}),
    ...(href ? { Enter: () => { const at = row(); if (at) go(href(at)); } } : {}),
  });

  const sort = place.value.query.get('sort') ?? '';
  const template = (selected ? '15px ' : '') + shown.map(({ width }) => width).join(' ');
  const chosen = selected?.value;
  const isAllSelected = chosen !== undefined && rows.length > 0 && rows.every((one) => chosen.has(id(one)));
  const style: Record<string, string> = { '--columns': template };
  if (maxRows) style.maxHeight = `${maxRows * rowHeight + headHeight + 2}px`;
  const cells = { columns: shown, id, href, isExpanded: props.isExpanded, selected, data: props.data };

  return (
    <div
      ref={scroller}
      class={`table${href ? ' opens' : ''}${hasThird ? ' three-lines' : ''}${props.class ? ` ${props.class}` : ''}`}
      style={style}
      role="grid"
      tabIndex={0}
      aria-label={label}
      aria-rowcount={(total ?? rows.length) + 1}
      aria-colcount={shown.length + (selected ? 1 : 0)}
      aria-multiselectable={selected ? true : undefined}
      aria-activedescendant={current.value >= from && current.value < to ? `${name}-${current.value}` : undefined}
      onScroll={(event) => { top.value = event.currentTarget.scrollTop; props.onScroll?.(top.peek()); }}
      onPointerLeave={() => { isOver.value = false; }}
    >
      <div class="head" role="row" aria-rowindex={1}>
        {selected && (
          <div class="th" role="columnheader">
            <input
              type="checkbox"
              aria-label={`Select all ${rows.length} that are loaded`}
              disabled={rows.length === 0}
              checked={isAllSelected}
              onChange={() => { selected.value = isAllSelected ? new Set() : new Set(rows.map(id)); }}
            />
          </div>
        )}
        {shown.map((column) => <Head key={column.key} column={column} sort={sort} />)}
      </div>
      {rows.length === 0 && <div role="row"><div role="gridcell">{empty}</div></div>}
      <div class="space" style={{ height: `${from * rowHeight}px` }} />
      <div role="rowgroup" onPointerEnter={(event) => { if (event.pointerType === 'mouse') isOver.value = true; }}>
        {seen.map((one, index) => (
          <TableRow
            key={id(one)}
            row={one}
            index={from + index}
            name={name}
            current={current}
            onPress={(shift) => { if (shift) selectTo(from + index); current.value = from + index; }}
            onSelect={select}
            {...cells}
          />
        ))}
      </div>
      <div class="space" style={{ height: `${(rows.length - to) * rowHeight}px` }} />
      {heldChanges > 0 && <div class="held" aria-hidden="true">{heldChanges} held while the pointer is here</div>}
    </div>
  );
}

function Head<Row>({ column: { title, right, sort: name, descends }, sort }: { column: Column<Row>; sort: string }) {
  const isAscending = name !== undefined && sort === name;
  const isDescending = name !== undefined && sort === `-${name}`;
  const next = isAscending ? `-${name}` : isDescending ? name! : descends ? `-${name}` : name!;
  return (
    <div class={`th${right ? ' right' : ''}`} role="columnheader" aria-sort={isAscending ? 'ascending' : isDescending ? 'descending' : undefined}>
      {name === undefined ? title : (
        <button type="button" onClick={() => setQuery({ sort: next })}>
          {title}{(isAscending || isDescending) && <span aria-hidden="true">{isAscending ? '↑' : '↓'}</span>}
        </button>
      )}
    </div>
  );
}

interface RowProps<Row> extends Pick<TableProps<Row>, 'columns' | 'id' | 'href' | 'isExpanded' | 'selected' | 'data'> {
  row: Row;
  index: number;
  /** Prefix of the ids of rows. */
  name: string;
  current: ReadonlySignal<number>;
  onPress: (shift: boolean) => void;
  onSelect: (row: Row, isSelected: boolean) => void;
}

function TableRow<Row>({ row, index, name, columns, id, href, isExpanded, selected, data, current, onPress, onSelect }: RowProps<Row>) {
  const key = id(row);
  const isRange = useRef(false);
  const at = useSignal(index);
  at.value = index;
  const isCurrent = useComputed(() => current.value === at.value).value;
  const isSelected = useComputed(() => selected?.value.has(key) ?? false).value;
  return (
    <div
      class={`tr${isCurrent ? ' current' : ''}`}
      role="row"
      id={`${name}-${index}`}
      data-id={key}
      {...data?.(row)}
      aria-rowindex={index + 2}
      aria-selected={selected ? isSelected : undefined}
      onClick={(event) => {
        const target = event.target as Element;
        if (target.closest('a,button,input,label,summary')) return;
        onPress(event.shiftKey);
        if (event.shiftKey || !href || getSelection()?.toString()) return;
        go(href(row));
      }}
    >
      {selected && (
        <div class="td select" role="gridcell">
          <input
            type="checkbox"
            tabIndex={-1}
            aria-label={`Select ${key}`}
            checked={isSelected}
            onPointerDown={(event) => { isRange.current = event.shiftKey; }}
            // By what is selected, and not by the box: it may have been drawn anew between the click and this.
            onChange={() => {
              if (!isRange.current) onSelect(row, !isSelected);
              onPress(isRange.current);
              isRange.current = false;
            }}
          />
        </div>
      )}
      {columns.map((column) => (
        <div
          key={column.key}
          role="gridcell"
          class={`td${column.right ? ' right' : ''}${column.lead ? ' lead' : ''}${phoneClass(column)}`}
        >
          {isNarrow.value && typeof column.phone === 'object' && <span class="phone-title">{column.phone.third}</span>}
          {column.lead && href ? <a href={href(row)} tabIndex={-1} aria-expanded={isExpanded?.(row)}>{column.cell(row)}</a> : column.cell(row)}
        </div>
      ))}
    </div>
  );
}

function phoneClass<Row>({ phone }: Column<Row>): string {
  return phone === undefined ? '' : typeof phone === 'object' ? ' phone-third' : ` phone-${phone}`;
}

/** Chooses the columns of a table; the choice is kept in the address. */
export function ColumnMenu<Row>({ columns }: { columns: readonly Column<Row>[] }) {
  const shown = useMemo(() => new Set<string>(), []);
  shown.clear();
  for (const { key } of shownColumns(columns, place.value.query.get('cols') ?? '')) shown.add(key);
  const usual = columns.filter(({ optional }) => !optional).map(({ key }) => key).join(',');
  return (
    <Menu class="column-menu" label={<>Columns <span aria-hidden="true">▾</span></>}>
      {columns.filter(({ lead }) => !lead).map(({ key, title }) => (
        <label key={key}>
          <input
            type="checkbox"
            checked={shown.has(key)}
            onChange={(event) => {
              const next = columns.filter((one) => (one.key === key ? event.currentTarget.checked : shown.has(one.key))).map((one) => one.key).join(',');
              setQuery({ cols: next === usual ? null : next });
            }}
          />
          {title}
        </label>
      ))}
    </Menu>
  );
}
