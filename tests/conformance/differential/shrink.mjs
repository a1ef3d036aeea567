// Makes a request small while it still shows what it showed.

import { Kind, parse } from 'graphql';

import { textOf, tokensIn, tokensOf } from './syntax.mjs';

/** How often a request is tried at most. */
const MOST_TRIES = 500;

/** The smallest request found for which `shows` is still true. */
export async function shrink(request, shows) {
  let smallest = request;
  let tries = 0;
  const attempt = async (changes) => {
    const candidate = { ...smallest, ...changes };
    if (candidate.text.trim() === '' || tries >= MOST_TRIES) return false;
    tries += 1;
    if (!(await shows(candidate))) return false;
    smallest = candidate;
    return true;
  };
  /** Tries all ways to make it smaller, until none is left. */
  const repeat = async (ways) => {
    for (let isSmaller = true; isSmaller && tries < MOST_TRIES; ) {
      isSmaller = false;
      for (const changes of ways(smallest)) {
        if (await attempt(changes)) {
          isSmaller = true;
          break;
        }
      }
    }
  };

  await attempt({ variables: undefined });
  await attempt({ operationName: undefined });
  await repeat(pruned);
  await attempt({ text: textOf(tokensIn(smallest.text)) });
  await repeat(withLessVariables);
  await repeat(cut);
  await attempt({ variables: undefined });
  await attempt({ operationName: undefined });
  return smallest;
}

function* withLessVariables({ variables }) {
  if (variables === undefined) return;
  for (const smaller of smallerThan(JSON.parse(variables))) yield { variables: JSON.stringify(smaller) };
}

/** The document without some of its tokens: large parts first, such as all that is between two braces. */
function* cut({ text }) {
  const tokens = tokensIn(text);
  const closing = { '{': '}', '(': ')', '[': ']' };
  const groups = [];
  const open = [];
  tokens.forEach((token, index) => {
    if (closing[token]) open.push(index);
    else if (open.length > 0 && closing[tokens[open.at(-1)]] === token) groups.push([open.pop(), index]);
  });
  groups.sort(([start, end], [otherStart, otherEnd]) => otherEnd - otherStart - (end - start));
  const without = (from, to) => ({ text: textOf([...tokens.slice(0, from), ...tokens.slice(to)]) });
  for (const [start, end] of groups) yield without(start, end + 1);
  for (const length of [8, 6, 5, 4, 3, 2, 1]) {
    for (let start = 0; start + length <= tokens.length; start += 1) yield without(start, start + length);
  }
}

/** The document without one of its parts, and without what made sense only with it. */
function* pruned({ text }) {
  let parts;
  try {
    parts = count(parsed(text));
  } catch {
    return;
  }
  for (let index = 0; index < parts; index += 1) {
    const document = parsed(text);
    remove(document, index);
    yield { text: textOf(tokensOf(document)) };
  }
}

/** Its tree, in which values keep their spelling. */
function parsed(text) {
  const document = parse(text);
  for (const { node } of walk(document)) {
    if ([Kind.INT, Kind.FLOAT, Kind.STRING].includes(node.kind)) node.raw = text.slice(node.loc.start, node.loc.end);
  }
  return document;
}

const LISTS = ['definitions', 'variableDefinitions', 'directives', 'selections', 'arguments', 'fields', 'values'];

/** All nodes, outer ones first, with the list each is in and the node of that. */
function* walk(node, parent, list) {
  yield { node, parent, list };
  for (const [key, child] of Object.entries(node)) {
    if (key === 'loc') continue;
    if (Array.isArray(child)) for (const entry of [...child]) yield* walk(entry, node, LISTS.includes(key) ? child : undefined);
    else if (child?.kind) yield* walk(child, node);
  }
}

const removable = (document) => [...walk(document)].filter(({ list }) => list !== undefined);

const count = (document) => removable(document).length;

const drop = (list, node) => list.splice(list.indexOf(node), 1);

/** Removes a part, then for as long as there is any what has become empty or useless, or has lost what it uses. */
function remove(document, index) {
  const before = uses(document);
  const { node, list } = removable(document)[index];
  drop(list, node);
  for (let isChanged = true; isChanged; ) {
    isChanged = false;
    const now = uses(document);
    for (const { node, parent, list } of removable(document)) {
      const isUseless =
        (node.kind === Kind.FRAGMENT_DEFINITION && before.spreads.has(node.name.value) && !now.spreads.has(node.name.value)) ||
        (node.kind === Kind.VARIABLE_DEFINITION && before.variables.has(node.variable.name.value) && !now.variables.has(node.variable.name.value));
      const isLost =
        (node.kind === Kind.FRAGMENT_SPREAD && before.fragments.has(node.name.value) && !now.fragments.has(node.name.value)) ||
        ([node, node.value].some((it) => it?.kind === Kind.VARIABLE && before.declared.has(it.name.value) && !now.declared.has(it.name.value)));
      const isEmpty = node.selectionSet?.selections.length === 0;
      // A directive without its condition means nothing.
      const isBare = node.kind === Kind.DIRECTIVE && node.arguments.length === 0 && parent !== undefined && before.conditions > now.conditions;
      if (!(isUseless || isLost || isEmpty || isBare)) continue;
      drop(list, node);
      isChanged = true;
      break;
    }
  }
}

/** What there is by name, and what of it is used. */
function uses(document) {
  const found = { fragments: new Set(), spreads: new Set(), declared: new Set(), variables: new Set(), conditions: 0 };
  for (const { node, parent } of walk(document)) {
    if (node.kind === Kind.FRAGMENT_DEFINITION) found.fragments.add(node.name.value);
    if (node.kind === Kind.FRAGMENT_SPREAD) found.spreads.add(node.name.value);
    if (node.kind === Kind.VARIABLE_DEFINITION) found.declared.add(node.variable.name.value);
    if (node.kind === Kind.VARIABLE && parent.kind !== Kind.VARIABLE_DEFINITION) found.variables.add(node.name.value);
    if (node.kind === Kind.DIRECTIVE && node.arguments.length > 0) found.conditions += 1;
  }
  return found;
}

/** A value with something less in it. */
function* smallerThan(value) {
  if (typeof value !== 'object' || value === null) return;
  for (const key of Object.keys(value)) {
    const rest = Array.isArray(value) ? [...value] : { ...value };
    if (Array.isArray(rest)) rest.splice(Number(key), 1);
    else delete rest[key];
    yield rest;
    for (const inside of smallerThan(value[key])) {
      const copy = Array.isArray(value) ? [...value] : { ...value };
      copy[key] = inside;
      yield copy;
    }
  }
}
