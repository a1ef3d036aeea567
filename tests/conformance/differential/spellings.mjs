// Values as they are written: all forms that literals have in documents, and numbers in JSON.

import { Kind } from 'graphql';

const hex = (number, digits) => number.toString(16).padStart(digits, '0');

const SHORT_ESCAPES = { '"': '\\"', '\\': '\\\\', '/': '\\/', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** One letter inside of quotation marks. */
function letter(point, random) {
  const mustBeEscaped = point === '"' || point === '\\' || point === '\n' || point === '\r';
  if (!mustBeEscaped && !random.chance(0.1)) return point;
  const code = point.codePointAt(0);
  const forms = [`\\u{${random.chance(0.5) ? hex(code, random.between(1, 6)) : hex(code, 1).toUpperCase()}}`];
  if (code > 0xffff) forms.push([...Array(2).keys()].map((unit) => `\\u${hex(point.charCodeAt(unit), 4)}`).join(''));
  else forms.push(`\\u${hex(code, 4)}`, `\\u${hex(code, 4).toUpperCase()}`);
  if (SHORT_ESCAPES[point] !== undefined) forms.push(SHORT_ESCAPES[point], SHORT_ESCAPES[point]);
  return random.pick(forms);
}

/** The text in three quotation marks, if it can be written so: a first line, and a deeper indentation of the rest. */
function block(text, random) {
  const body = text.replaceAll('"""', '\\"""');
  const isBlank = (line) => /^[ \t]*$/u.test(line);
  const lines = body.split('\n');
  // What block strings take away: blank lines around the text and common indentation.
  const isKept = lines.every((line) => !/^[ \t]/u.test(line)) && !isBlank(lines[0]) && !isBlank(lines.at(-1));
  // eslint-disable-next-line no-control-regex
  const isPrintable = !/[\u0000-\u0008\u000b-\u001f]/u.test(text);
  if (!isKept || !isPrintable || /["\\]$/u.test(body) || text === '') return undefined;
  if (lines.length === 1 && random.chance(0.5)) return `"""${body}"""`;
  const indentation = random.pick(['', '  ', '\t', '      ']);
  const end = random.pick(['\n', '\r\n', '\r']);
  return `"""${end}${lines.map((line) => indentation + line).join(end)}${end}${indentation}"""`;
}

/** A literal of a text. */
export function stringNode(value, random) {
  const inBlock = random.chance(0.2) ? block(value, random) : undefined;
  const raw = inBlock ?? `"${[...value].map((point) => letter(point, random)).join('')}"`;
  return { kind: Kind.STRING, value, raw };
}

/** Whole numbers around everything that has a width. */
export const WHOLE_NUMBERS = [
  ...[0, 1, 2, 3, 5, 7, 20, 99, 100, 500, 501, 1000],
  ...[2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 32, -1, -2],
  ...[2 ** 53, 2 ** 53 - 1, -(2 ** 53), -(2 ** 53) + 1],
].map(BigInt);

/** Literals of whole numbers that no type takes, and that not every reader of numbers survives. */
export const HUGE_NUMBERS = [
  ...['9007199254740993', '-9007199254740993', '9223372036854775807', '9223372036854775808', '18446744073709551615'],
  ...['18446744073709551616', '-9223372036854775809', '1' + '0'.repeat(40), '9'.repeat(400)],
];

export const FRACTIONS = ['0.0', '1.5', '-0.25', '1e3', '1E3', '1.0e+2', '2.5e-1', '0e0', '-0.0', '1e53', '100.0'];

/** Texts that are odd in one way or another, and all of them well-formed. */
export const ODD_TEXTS = [
  ...['', ' ', 'a', 'é', 'ß', 'İ', '\u{1f600}', '日本', 'a b', 'two\nlines', 'tab\there', '"', '\\', '\\"', '"""', '/', '#', '{}', '$v'],
  ...['null', 'true', '1', '1.5', '-0', 'ACTIVE', '\u{feff}', '\u{2028}', '\u{e000}', '\u{10ffff}', '\u{7f}', '\u{85}'],
];

/** A JSON spelling of a whole number: languages with one kind of number write a whole one in several ways. */
export function jsonNumber(number, random) {
  const text = String(number);
  if (!random.chance(0.1)) return text;
  const forms = [`${text}.0`, `${text}e0`, `${text}.00E+0`];
  if (/0$/u.test(text) && number !== 0n) forms.push(text.replace(/0$/u, 'e1'));
  return random.pick(forms);
}

/** Whether JSON reads the number exactly, in every language. */
export const isExact = (number) => number <= 2n ** 53n && number >= -(2n ** 53n);
