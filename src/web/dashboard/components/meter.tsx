// A share of a whole as a bar and a figure, for columns of tables.

import { percent } from '../format';

/** `value` is in percent; over 100 where something is overcommitted. */
export function Meter({ value, title }: { value: number; title: string }) {
  return (
    <span class="meter" title={title}>
      <span class="bar" aria-hidden="true"><i style={{ width: `${Math.min(100, value)}%` }} /></span>
      <span class="figure">{percent(value)}</span>
    </span>
  );
}
