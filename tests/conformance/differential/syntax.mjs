// Documents as trees (those of graphql-js), as tokens, and as text; and how one becomes the other.
//
// A value's node may carry `raw`: the token it is written as. So one value has many spellings, and those that
// graphql-js would never print are tried too.

import { Kind } from 'graphql';

export const name = (value) => ({ kind: Kind.NAME, value });
export const named = (value) => ({ kind: Kind.NAMED_TYPE, name: name(value) });
export const variable = (value) => ({ kind: Kind.VARIABLE, name: name(value) });
export const argument = (key, value) => ({ kind: Kind.ARGUMENT, name: name(key), value });
export const objectField = (key, value) => ({ kind: Kind.OBJECT_FIELD, name: name(key), value });
export const directive = (key, args = []) => ({ kind: Kind.DIRECTIVE, name: name(key), arguments: args });
export const selectionSet = (selections) => ({ kind: Kind.SELECTION_SET, selections });

/** The tree of a type that is written like this, such as `[Int!]`. */
export function typeNode(type) {
  const text = String(type);
  if (text.endsWith('!')) return { kind: Kind.NON_NULL_TYPE, type: typeNode(text.slice(0, -1)) };
  if (text.startsWith('[')) return { kind: Kind.LIST_TYPE, type: typeNode(text.slice(1, -1)) };
  return named(text);
}

/** The tokens that a tree is written with. A tree that was spoilt may have no meaning, but always has tokens. */
export function tokensOf(node) {
  const tokens = [];
  write(node, tokens);
  return tokens;
}

function writeAll(nodes, tokens) {
  for (const node of nodes ?? []) write(node, tokens);
}

/** Nothing if there are none: the language has no empty lists of these. */
function writeList(open, nodes, close, tokens) {
  if (!nodes?.length) return;
  tokens.push(open);
  writeAll(nodes, tokens);
  tokens.push(close);
}

function write(node, tokens) {
  if (node === undefined || node === null) return;
  const is = (...signs) => tokens.push(...signs);
  switch (node.kind) {
    case Kind.DOCUMENT:
      writeAll(node.definitions, tokens);
      break;
    case Kind.OPERATION_DEFINITION: {
      const isBare = !node.name && !node.variableDefinitions?.length && !node.directives?.length && !node.description;
      if (node.operation !== 'query' || !isBare || node.isLong) {
        write(node.description, tokens);
        is(node.operation);
        write(node.name, tokens);
        writeList('(', node.variableDefinitions, ')', tokens);
        writeAll(node.directives, tokens);
      }
      write(node.selectionSet, tokens);
      break;
    }
    case Kind.FRAGMENT_DEFINITION:
      write(node.description, tokens);
      is('fragment');
      write(node.name, tokens);
      is('on');
      write(node.typeCondition, tokens);
      writeAll(node.directives, tokens);
      write(node.selectionSet, tokens);
      break;
    case Kind.VARIABLE_DEFINITION:
      write(node.description, tokens);
      write(node.variable, tokens);
      is(':');
      write(node.type, tokens);
      if (node.defaultValue) is('=');
      write(node.defaultValue, tokens);
      writeAll(node.directives, tokens);
      break;
    case Kind.SELECTION_SET:
      is('{');
      writeAll(node.selections, tokens);
      is('}');
      break;
    case Kind.FIELD:
      write(node.alias, tokens);
      if (node.alias) is(':');
      write(node.name, tokens);
      writeList('(', node.arguments, ')', tokens);
      writeAll(node.directives, tokens);
      write(node.selectionSet, tokens);
      break;
    case Kind.FRAGMENT_SPREAD:
      is('...');
      write(node.name, tokens);
      writeAll(node.directives, tokens);
      break;
    case Kind.INLINE_FRAGMENT:
      is('...');
      if (node.typeCondition) is('on');
      write(node.typeCondition, tokens);
      writeAll(node.directives, tokens);
      write(node.selectionSet, tokens);
      break;
    case Kind.ARGUMENT:
    case Kind.OBJECT_FIELD:
      write(node.name, tokens);
      is(':');
      write(node.value, tokens);
      break;
    case Kind.DIRECTIVE:
      is('@');
      write(node.name, tokens);
      writeList('(', node.arguments, ')', tokens);
      break;
    case Kind.VARIABLE:
      is('$');
      write(node.name, tokens);
      break;
    case Kind.NAME:
    case Kind.ENUM:
      is(node.value);
      break;
    case Kind.NAMED_TYPE:
      write(node.name, tokens);
      break;
    case Kind.LIST_TYPE:
      is('[');
      write(node.type, tokens);
      is(']');
      break;
    case Kind.NON_NULL_TYPE:
      write(node.type, tokens);
      is('!');
      break;
    case Kind.INT:
    case Kind.FLOAT:
      is(node.raw ?? node.value);
      break;
    case Kind.STRING:
      is(node.raw ?? JSON.stringify(node.value));
      break;
    case Kind.BOOLEAN:
      is(String(node.value));
      break;
    case Kind.NULL:
      is('null');
      break;
    case Kind.LIST:
      is('[');
      writeAll(node.values, tokens);
      is(']');
      break;
    case Kind.OBJECT:
      is('{');
      writeAll(node.fields, tokens);
      is('}');
      break;
    default:
      throw new TypeError(`no tokens for ${node.kind}`);
  }
}

/** Whether nothing need stand between two tokens. */
const canTouch = (one, next) => {
  if (one.startsWith('"') && next.startsWith('"')) return false;
  if (/^[-\w]/u.test(one) && /^[\w.-]/u.test(next)) return false;
  return true;
};

const GAPS = [' ', ' ', ' ', '\n', '\t', ',', ', ', ' ,,', '\r\n', '\n  ', '\u{feff}', ' # why\n', '#\n', ' #{"}\r', '# ünïcödé \u{1f600}\n'];

/** The text of tokens: plain, or with all kinds of ignored tokens between them. */
export function textOf(tokens, random) {
  let text = '';
  let previous;
  for (const token of tokens) {
    if (previous !== undefined) {
      if (random === undefined) text += ' ';
      else if (!canTouch(previous, token) || random.chance(0.7)) text += random.pick(GAPS);
    } else if (random?.chance(0.1)) text += random.pick(GAPS);
    text += token;
    previous = token;
  }
  if (random?.chance(0.1)) text += random.pick(GAPS);
  return text;
}

const TOKEN = new RegExp(
  [
    /"""(?:[^"\\]|\\"""|\\|"(?!""))*(?:"""|$)/u, // a block string
    /"(?:[^"\\\n\r]|\\.)*"?/u, // a string
    /[_A-Za-z][_0-9A-Za-z]*/u, // a name
    /-?[0-9][0-9A-Za-z_.+-]*/u, // a number, or what looks like one
    /\.\.\./u, // a spread
    /#[^\n\r]*/u, // a comment
    /[\s,\u{feff}]+/u, // what is ignored
    /[^]/u, // any other sign
  ]
    .map((part) => part.source)
    .join('|'),
  'gu',
);

/** The tokens of a text that need not be a document, without comments and blanks. */
export const tokensIn = (text) => text.match(TOKEN)?.filter((token) => !/^[#\s,\u{feff}]/u.test(token)) ?? [];
