// How many labels a cell of a table has room for.

export interface Label {
  key: string;
  value: string;
}

/** Widths in CSS pixels: of a character of a chip, of its frame, between two chips, and of the chip that counts the rest. */
const CHARACTER = 6.9;
const FRAME = 15;
const GAP = 4;
const REST = 30;

/** The first labels that fit into a width, in CSS pixels, beside the chip `+2` for the rest if there is one; at least one. */
export function labelsThatFit(labels: readonly Label[], width: number): readonly Label[] {
  let used = 0;
  for (const [index, { key, value }] of labels.entries()) {
    used += (index > 0 ? GAP : 0) + FRAME + (key.length + 1 + value.length) * CHARACTER;
    const rest = index < labels.length - 1 ? GAP + REST : 0;
    if (index > 0 && used + rest > width) return labels.slice(0, index);
  }
  return labels;
}
