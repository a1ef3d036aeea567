// Fails if the dashboard has become heavier than it may be: `node dashboard/budget.mjs FOLDER`, the folder that
// `bundle.mjs` has built. In bytes, compressed as they are sent.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const BUDGET = { script: 70_000, style: 15_000, page: 40_000 };

/** What is over the budget, as sentences. */
export function excesses({ script, style, pages }) {
  const compared = [
    ['the first script', script, BUDGET.script],
    ['the style', style, BUDGET.style],
    ...Object.entries(pages).map(([name, size]) => [name, size, BUDGET.page]),
  ];
  return compared.filter(([, size, most]) => size > most).map(([name, size, most]) => `${name} has ${size} bytes, and may have ${most}`);
}

if (import.meta.filename === process.argv[1] || process.argv[1]?.endsWith('budget.mjs')) {
  const sizes = JSON.parse(readFileSync(join(process.argv[2], 'sizes.json'), 'utf8'));
  console.log(JSON.stringify(sizes, null, 2));
  const found = excesses(sizes);
  if (found.length > 0) {
    console.error(found.join('\n'));
    process.exit(1);
  }
}
