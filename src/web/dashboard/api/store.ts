// Rows by id, each a signal of its own, so that a thousand heartbeats a second draw only the rows that are seen.
//
// A row is merged by revision: an answer that was read before the one that is there changes nothing but what was not
// known yet. Updates are gathered for one frame of the screen and applied together.

import { batch, signal, type ReadonlySignal, type Signal } from '@preact/signals';

export interface Row {
  id: string;
  revision: number;
}

/** What becomes of a row with news of it. The result is `known` itself if nothing changes. */
export function merge<R extends Row>(known: R | undefined, news: Partial<R> & Row): R {
  if (!known) return news as R;
  const [older, newer] = news.revision < known.revision ? [news, known] : [known, news];
  const merged = { ...older, ...newer } as R;
  const keys = Object.keys(merged) as (keyof R)[];
  const isSame = keys.length === Object.keys(known).length && keys.every((key) => equal(merged[key], known[key]));
  return isSame ? known : merged;
}

function equal(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === 'object' && typeof b === 'object' && JSON.stringify(a) === JSON.stringify(b));
}

export class Store<R extends Row> {
  readonly #rows = new Map<string, Signal<R | undefined>>();
  #waiting: (Partial<R> & Row)[] = [];

  /** The row, which is undefined until something is known of it. */
  row(id: string): ReadonlySignal<R | undefined> {
    return this.#slot(id);
  }

  #slot(id: string): Signal<R | undefined> {
    let slot = this.#rows.get(id);
    if (!slot) this.#rows.set(id, slot = signal<R | undefined>(undefined));
    return slot;
  }

  /** Merges rows now. */
  put(rows: readonly (Partial<R> & Row)[]): void {
    batch(() => {
      for (const news of rows) {
        const slot = this.#slot(news.id);
        slot.value = merge(slot.peek(), news);
      }
    });
  }

  /** Merges a row with the next frame. */
  push(row: Partial<R> & Row): void {
    if (this.#waiting.length === 0) {
      const apply = (): void => { const rows = this.#waiting; this.#waiting = []; this.put(rows); };
      document.hidden ? setTimeout(apply, 250) : requestAnimationFrame(apply);
    }
    this.#waiting.push(row);
  }

  /** Forgets a row that is gone. */
  remove(id: string): void {
    const slot = this.#rows.get(id);
    if (slot) slot.value = undefined;
    this.#rows.delete(id);
  }

  /** Forgets everything: the database is another one, or another person is signed in. */
  clear(): void {
    batch(() => { for (const slot of this.#rows.values()) slot.value = undefined; });
    this.#rows.clear();
  }
}
