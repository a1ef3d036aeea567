// Texts that are nearly documents: tokens that come, go and change places, and signs that no token begins with.

import { HUGE_NUMBERS } from './spellings.mjs';
import { textOf } from './syntax.mjs';

const TOKENS = [
  ...['{', '}', '(', ')', '[', ']', ':', '=', '!', '$', '@', '...', '|', '&', ',', '.', '..', '-', '+', '*', '?', '<', '%', '^', '`', "'", ';', '~', '\\'],
  ...['query', 'mutation', 'subscription', 'fragment', 'on', 'null', 'true', 'false', 'type', 'schema', 'extend', 'input', 'x', '_', '__typename'],
  ...['$v', '@skip', '@skip(if: true)', '...on', '... on Worker', '!!', '[[', '""', '""""""', '"x"', '"""x"""'],
  ...['0', '-0', '1', '01', '-01', '00', '1.', '.1', '1.e1', '1e', '1e+', '1.0e', '-', '--1', '+1', '0xF', '1_000', '1a', '1.5x', '0b1', '1..2', '1.2.3', '1e5e5', '0e5', '-1.0E-5', 'Infinity', 'NaN'],
  ...HUGE_NUMBERS,
];

/** Texts in quotation marks that may not be any. */
const STRINGS = [
  ...['"', '"""', '""""', '"""""', '"x', '"""x', '"""x"', '"""x\\"""', '"x\n"', '"x\r"', '"\\"', '"\\x"', '"\\u"', '"\\u12"', '"\\u12G4"', '"\\U0041"'],
  ...['"\\u{}"', '"\\u{"', '"\\u{41"', '"\\u{110000}"', '"\\u{10FFFF}"', '"\\u{D800}"', '"\\uD800"', '"\\uDC00"', '"\\uD83D\\uDE00"', '"\\uDE00\\uD83D"', '"\\uD83Dx"', '"\\uD83D\\u0041"'],
  // Eight digits: the language has more, but graphql-js reads no more.
  ...['"\\u{1F600}"', '"\\u{041}"', '"\\u{00000041}"', '"\\u{00110000}"', '"\\u0041"', '"\\b\\f\\n\\r\\t\\/\\\\"', "'x'", '"\\\'"', '"\t"', '"\u{0}"', '"\u{7}"', '"\u{7f}"', '"\u{feff}"', '"\\0"', '"\\a"'],
  ...['"""\\u0041"""', '"""\\n"""', '"""\\\\"""', '"""\\"""', '"""a\\"""b"""', '"""\n  a\n    b\n  c\n"""', '"""\u{0}"""', '"""\r\n a\r b\n"""', '"""a""" """b"""', '"a""b"', '"""a"""""', '"""""a"""'],
];

/** Signs between tokens. */
const SIGNS = [
  ...['\u{feff}', '\u{a0}', '\u{2028}', '\u{200b}', '\u{0}', '\u{1}', '\u{7f}', '\u{b}', '\u{c}', '\u{85}', 'é', '日', '\u{1f600}', '\u{fffe}', '\t', '\r', '\n\r', ',,,', ',', ' '],
  ...['#', '# x', '#"\n', '# {\r', '#\u{2028}}\n', '/* x */', '//', '--', '<!--'],
];

/** Spoils a document that is written with these tokens. */
export function noise(tokens, random) {
  const spoilt = [...tokens];
  const at = () => random.below(spoilt.length);
  const edits = random.chance(0.3) ? random.between(2, 3) : 1;
  for (let edit = 0; edit < edits && spoilt.length > 0; edit += 1) {
    const kind = random.weighted({ remove: 5, insert: 6, swap: 3, repeat: 4, replace: 5, string: 4, sign: 4, cut: 1, glue: 2 });
    const index = at();
    const literals = [...spoilt.keys()].filter((it) => /^["0-9-]/u.test(spoilt[it]));
    const strings = literals.filter((it) => spoilt[it].startsWith('"'));
    switch (kind) {
      case 'remove':
        spoilt.splice(index, random.chance(0.8) ? 1 : random.between(2, 4));
        break;
      case 'insert':
        spoilt.splice(index, 0, random.chance(0.6) ? random.pick(TOKENS) : random.pick(tokens));
        break;
      case 'swap':
        if (index > 0) spoilt.splice(index - 1, 2, spoilt[index], spoilt[index - 1]);
        break;
      case 'repeat':
        spoilt.splice(index, 0, ...spoilt.slice(index, index + random.between(1, 4)));
        break;
      case 'replace':
        // Literals mostly: there a reader has most to do.
        spoilt[literals.length > 0 && random.chance(0.6) ? random.pick(literals) : index] = random.pick(TOKENS);
        break;
      case 'string':
        spoilt[strings.length > 0 && random.chance(0.8) ? random.pick(strings) : index] = random.pick(STRINGS);
        break;
      case 'sign':
        spoilt.splice(index, 0, random.pick(SIGNS));
        break;
      case 'cut':
        spoilt.splice(index + 1);
        break;
      default:
        if (index > 0) spoilt.splice(index - 1, 2, spoilt[index - 1] + spoilt[index]);
    }
  }
  const text = textOf(spoilt, random.chance(0.3) ? random : undefined);
  return text.trim() === '' ? '{' : text;
}
