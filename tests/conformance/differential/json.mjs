// JSON whose numbers keep the way they are written.

import { jsonNumber } from './spellings.mjs';

/** A value of which numbers are big ones, or texts of numbers in a wrapper. */
export class Json {
  constructor(value) {
    this.value = value;
  }

  /** Its text. */
  written(random) {
    return write(this.value, random);
  }
}

/** A number by its text. */
export class NumberText {
  constructor(text) {
    this.text = text;
  }
}

function write(value, random) {
  if (value instanceof NumberText) return value.text;
  if (typeof value === 'bigint') return random ? jsonNumber(value, random) : String(value);
  if (Array.isArray(value)) return `[${value.map((entry) => write(entry, random)).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value).map(([key, entry]) => `${JSON.stringify(key)}:${write(entry, random)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}
