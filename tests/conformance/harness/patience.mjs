// Waiting for what must come, without sleeping for a guessed time.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a test waits, in milliseconds. Nothing takes that long, even on a machine that does other things. */
export const PATIENCE = 60_000;

/** How long a test waits for a page, in milliseconds: drawing an editor is more work than answering a request. */
export const PATIENCE_WITH_PAGES = 3 * PATIENCE;

/** The promise's outcome, or a failure that says what was waited for in vain. */
export async function within(what, promise, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${patience} ms in vain for ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until there is an answer, and returns that. */
export async function eventually(what, ask, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert(Date.now() < deadline, `waited in vain for ${what}`);
    await sleep(50);
  }
}

/** What came so far, and a way to wait until it is enough. */
export class Received {
  #items = [];
  #waiting = [];
  #failure;

  /** All of it, in order. */
  get items() {
    return this.#items;
  }

  push(item) {
    this.#items.push(item);
    this.#wake();
  }

  /** Nothing will come any more: whoever waits fails. */
  end(failure) {
    this.#failure ??= failure ?? new Error('it ended');
    this.#wake();
  }

  /** Waits until this is true of all that came, and returns what it returned. */
  until(what, isEnough) {
    const enough = new Promise((resolve, reject) => {
      const look = () => {
        const found = isEnough(this.#items);
        if (found) resolve(found);
        else if (this.#failure) reject(new Error(`${this.#failure.message}; there was no ${what}`));
        else return false;
        return true;
      };
      if (!look()) this.#waiting.push(look);
    });
    return within(what, enough).catch((error) => {
      throw new Error(`${error.message}; heard: ${JSON.stringify(this.#items).slice(-2_000)}`, { cause: error });
    });
  }

  /** Waits for the first that is like this. */
  first(what, isIt) {
    return this.until(what, (items) => items.find(isIt));
  }

  /** Waits until so many have come. */
  count(number) {
    return this.until(`message ${number}`, (items) => items.length >= number && items.slice(0, number));
  }

  #wake() {
    this.#waiting = this.#waiting.filter((look) => !look());
  }
}
