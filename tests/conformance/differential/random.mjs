// Chance that can be repeated: everything that a seed decides, it decides again.

/** A generator of pseudo-random numbers (mulberry32), with the choices that generators of cases make. */
export class Random {
  #state;

  /** Seeds may be any texts and numbers. */
  constructor(...seeds) {
    // FNV-1a, so that neighbouring seeds have nothing in common.
    let hash = 0x811c9dc5;
    for (const letter of seeds.join('/')) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193);
    this.#state = hash >>> 0;
  }

  /** From 0 up to, but not including, 1. */
  #next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 up to, but not including, this one. */
  below(number) {
    return Math.floor(this.#next() * number);
  }

  /** A whole number from one to another, both included. */
  between(least, most) {
    return least + this.below(most - least + 1);
  }

  /** Whether something of this probability happens. */
  chance(probability) {
    return this.#next() < probability;
  }

  /** One of them. */
  pick(list) {
    return list[this.below(list.length)];
  }

  /** The key of an entry, by the weights that are the values. */
  weighted(weights) {
    const entries = Object.entries(weights);
    let left = this.#next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) if ((left -= weight) < 0) return key;
    return entries.at(-1)[0];
  }

  /** So many different ones of them, in any order. */
  sample(list, count) {
    const rest = [...list];
    const taken = [];
    while (taken.length < count && rest.length > 0) taken.push(...rest.splice(this.below(rest.length), 1));
    return taken;
  }

  /** All of them, in any order. */
  shuffle(list) {
    return this.sample(list, list.length);
  }
}
