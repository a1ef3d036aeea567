// Documents with a fault in them, or what looks like one: what they are is the oracle's to say.

import { Kind } from 'graphql';

import { NumberText } from './json.mjs';
import { FRACTIONS, HUGE_NUMBERS, ODD_TEXTS, WHOLE_NUMBERS, stringNode } from './spellings.mjs';
import { argument, directive, name, named, objectField, selectionSet, typeNode, variable } from './syntax.mjs';

/** Every node of a kind, with how to put something else in its place. */
function places(document, kinds) {
  const found = [];
  const walk = (node) => {
    if (node === null || typeof node !== 'object') return;
    for (const [key, child] of Object.entries(node)) {
      if (Array.isArray(child)) {
        child.forEach((entry, index) => {
          if (kinds.includes(entry?.kind)) {
            found.push({ node: entry, list: child, index, parent: node, set: (to) => (child[index] = to) });
          }
          walk(entry);
        });
      } else if (child?.kind !== undefined) {
        if (kinds.includes(child.kind)) found.push({ node: child, parent: node, set: (to) => (node[key] = to) });
        walk(child);
      }
    }
  };
  walk(document);
  return found;
}

const VALUES = [Kind.VARIABLE, Kind.INT, Kind.FLOAT, Kind.STRING, Kind.BOOLEAN, Kind.NULL, Kind.ENUM, Kind.LIST, Kind.OBJECT];
const SELECTIONS = [Kind.FIELD, Kind.FRAGMENT_SPREAD, Kind.INLINE_FRAGMENT];
const LISTED = [
  ...SELECTIONS,
  ...[Kind.ARGUMENT, Kind.OBJECT_FIELD, Kind.VARIABLE_DEFINITION, Kind.DIRECTIVE],
  ...[Kind.OPERATION_DEFINITION, Kind.FRAGMENT_DEFINITION],
];

const spread = (fragment) => ({ kind: Kind.FRAGMENT_SPREAD, name: name(fragment), directives: [] });
const leaf = (field) => ({ kind: Kind.FIELD, name: name(field), arguments: [], directives: [] });

export class Mutator {
  #names;
  #types;
  #directives;

  constructor(schema) {
    this.#types = Object.keys(schema.getTypeMap());
    this.#directives = schema.getDirectives().map((it) => it.name);
    const names = new Set();
    for (const type of Object.values(schema.getTypeMap())) {
      for (const field of Object.values(type.getFields?.() ?? {})) {
        names.add(field.name);
        for (const arg of field.args ?? []) names.add(arg.name);
      }
      for (const value of type.getValues?.() ?? []) names.add(value.name);
    }
    this.#names = [...names];
  }

  /** Spoils a document in one or two places. */
  spoil(document, random) {
    const spoilt = structuredClone(document);
    let left = random.chance(0.25) ? 2 : 1;
    for (let attempt = 0; attempt < 30 && left > 0; attempt += 1) {
      if (random.pick(MUTATIONS)(this, spoilt, random)) left -= 1;
    }
    return spoilt;
  }

  /** Some name, of this schema or of none. */
  anyName(random) {
    return random.chance(0.8) ? random.pick(this.#names) : random.pick(['nope', 'ID', 'on', 'true', '__x', '__typename', 'Id', 'ids']);
  }

  anyType(random) {
    return random.chance(0.9) ? random.pick(this.#types) : random.pick(['Nope', 'int', 'worker', 'on']);
  }

  anyDirective(random) {
    return random.pick([...this.#directives, ...this.#directives, 'nope', 'Skip', 'defer', 'stream', 'client']);
  }

  /** Some value, of any kind. */
  anyValue(document, random, depth = 0) {
    const variables = places(document, [Kind.VARIABLE_DEFINITION]).map(({ node }) => node.variable.name.value);
    const value = () => this.anyValue(document, random, depth + 1);
    const kind = random.weighted({ int: 3, float: 2, string: 3, boolean: 2, null: 4, enum: 3, variable: 4, list: depth < 3 ? 2 : 0, object: depth < 3 ? 2 : 0 });
    switch (kind) {
      case 'int':
        return { kind: Kind.INT, value: random.chance(0.7) ? String(random.pick(WHOLE_NUMBERS)) : random.pick(HUGE_NUMBERS) };
      case 'float':
        return { kind: Kind.FLOAT, value: random.pick(FRACTIONS) };
      case 'string':
        return stringNode(random.pick(ODD_TEXTS), random);
      case 'boolean':
        return { kind: Kind.BOOLEAN, value: random.chance(0.5) };
      case 'enum':
        return { kind: Kind.ENUM, value: this.anyName(random) };
      case 'variable':
        return variable(variables.length > 0 && random.chance(0.8) ? random.pick(variables) : 'nope');
      case 'list':
        return { kind: Kind.LIST, values: Array.from({ length: random.below(3) }, value) };
      case 'object':
        return { kind: Kind.OBJECT, fields: Array.from({ length: random.below(3) }, () => objectField(this.anyName(random), value())) };
      default:
        return { kind: Kind.NULL };
    }
  }
}

/** Each spoils the document, and tells whether there was anything to spoil. */
const MUTATIONS = [
  // Another name for something.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.FIELD, Kind.ARGUMENT, Kind.OBJECT_FIELD, Kind.VARIABLE, Kind.FRAGMENT_SPREAD, Kind.DIRECTIVE]));
    if (!place) return false;
    const node = place.node;
    if (node.kind === Kind.DIRECTIVE) node.name.value = mutator.anyDirective(random);
    else if (node.kind === Kind.FIELD && random.chance(0.5)) node.alias = name(mutator.anyName(random));
    else if (random.chance(0.3)) node.name.value = `${node.name.value}x`;
    else node.name.value = mutator.anyName(random);
    return true;
  },
  // Another type for a fragment or a variable.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.NAMED_TYPE]));
    if (!place) return false;
    place.node.name = name(mutator.anyType(random));
    return true;
  },
  // Something left out.
  (mutator, document, random) => {
    const place = random.pick(places(document, LISTED).filter(({ list }) => list !== undefined));
    if (!place) return false;
    place.list.splice(place.index, 1);
    if (place.list.length === 0 && place.parent.kind === Kind.DOCUMENT) place.list.push(place.node);
    return true;
  },
  // The same again.
  (mutator, document, random) => {
    const place = random.pick(places(document, LISTED).filter(({ list }) => list !== undefined));
    if (!place) return false;
    place.list.splice(random.below(place.list.length + 1), 0, structuredClone(place.node));
    return true;
  },
  // The same key again, for something else.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.ARGUMENT, Kind.OBJECT_FIELD]));
    if (!place) return false;
    const twin = { ...structuredClone(place.node), value: mutator.anyValue(document, random) };
    place.list.splice(random.below(place.list.length + 1), 0, twin);
    return true;
  },
  // Something that was not asked for.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.FIELD, Kind.DIRECTIVE, Kind.OBJECT]));
    if (!place) return false;
    const value = mutator.anyValue(document, random);
    if (place.node.kind === Kind.OBJECT) place.node.fields.push(objectField(mutator.anyName(random), value));
    else place.node.arguments.push(argument(mutator.anyName(random), value));
    return true;
  },
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.SELECTION_SET]));
    if (!place) return false;
    const field = leaf(mutator.anyName(random));
    if (random.chance(0.3)) field.selectionSet = selectionSet([leaf(random.pick(['id', '__typename', 'nope']))]);
    place.node.selections.push(field);
    return true;
  },
  // A directive somewhere.
  (mutator, document, random) => {
    const kinds = [...SELECTIONS, Kind.OPERATION_DEFINITION, Kind.FRAGMENT_DEFINITION, Kind.VARIABLE_DEFINITION];
    const place = random.pick(places(document, kinds));
    if (!place) return false;
    const condition = argument('if', random.chance(0.6) ? { kind: Kind.BOOLEAN, value: true } : mutator.anyValue(document, random));
    place.node.directives.push(directive(mutator.anyDirective(random), random.chance(0.8) ? [condition] : []));
    return true;
  },
  // A variable of another type.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.VARIABLE_DEFINITION]));
    if (!place) return false;
    const node = place.node;
    const type = node.type;
    node.type = random.pick([
      () => (type.kind === Kind.NON_NULL_TYPE ? type.type : { kind: Kind.NON_NULL_TYPE, type }),
      () => ({ kind: Kind.LIST_TYPE, type }),
      () => (type.kind === Kind.LIST_TYPE ? type.type : typeNode(mutator.anyType(random))),
      () => {
        const inner = type.kind === Kind.NON_NULL_TYPE ? type.type : type;
        if (inner.kind !== Kind.LIST_TYPE) return typeNode(`${mutator.anyType(random)}!`);
        const entry = inner.type;
        return { ...inner, type: entry.kind === Kind.NON_NULL_TYPE ? entry.type : { kind: Kind.NON_NULL_TYPE, type: entry } };
      },
    ])();
    return true;
  },
  // A variable with another default, or none.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.VARIABLE_DEFINITION]));
    if (!place) return false;
    place.node.defaultValue = random.chance(0.3) ? undefined : mutator.anyValue(document, random);
    return true;
  },
  // A variable that nobody uses, or that was never declared.
  (mutator, document, random) => {
    const operation = random.pick(places(document, [Kind.OPERATION_DEFINITION]));
    if (!operation) return false;
    const type = typeNode(random.pick([mutator.anyType(random), 'Int', '[ID!]!']));
    operation.node.variableDefinitions.push({ kind: Kind.VARIABLE_DEFINITION, variable: variable('unused'), type, directives: [] });
    return true;
  },
  // Another value, twice as often as other faults.
  ...Array.from({ length: 2 }, () => (mutator, document, random) => {
    const place = random.pick(places(document, VALUES).filter(({ parent }) => parent.kind !== Kind.VARIABLE_DEFINITION));
    if (!place) return false;
    place.set(mutator.anyValue(document, random));
    return true;
  }),
  // A value in a list, or a list's only entry.
  (mutator, document, random) => {
    const place = random.pick(places(document, VALUES).filter(({ parent }) => parent.kind !== Kind.VARIABLE_DEFINITION));
    if (!place) return false;
    const { node } = place;
    const isFull = node.kind === Kind.LIST && node.values.length > 0;
    place.set(isFull && random.chance(0.5) ? node.values[0] : { kind: Kind.LIST, values: [node] });
    return true;
  },
  // A fragment within itself.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.FRAGMENT_DEFINITION]));
    if (!place) return false;
    const inside = random.pick([{ node: place.node.selectionSet }, ...places(place.node, [Kind.SELECTION_SET])]);
    const others = places(document, [Kind.FRAGMENT_DEFINITION]).map(({ node }) => node.name.value);
    inside.node.selections.push(spread(random.chance(0.5) ? place.node.name.value : random.pick(others)));
    return true;
  },
  // A fragment that nobody spreads, or on nothing that has fields.
  (mutator, document, random) => {
    document.definitions.push({
      kind: Kind.FRAGMENT_DEFINITION,
      name: name(random.chance(0.8) ? 'Extra' : 'on'),
      typeCondition: named(mutator.anyType(random)),
      directives: [],
      selectionSet: selectionSet([leaf('__typename')]),
    });
    if (random.chance(0.5)) random.pick(places(document, [Kind.SELECTION_SET]))?.node.selections.push(spread('Extra'));
    return true;
  },
  // An inline fragment on something.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.SELECTION_SET]));
    if (!place) return false;
    const inside = random.chance(0.5) ? [leaf('__typename')] : structuredClone(place.node.selections);
    place.node.selections.push({
      kind: Kind.INLINE_FRAGMENT,
      typeCondition: named(mutator.anyType(random)),
      directives: [],
      selectionSet: selectionSet(inside),
    });
    return true;
  },
  // A leaf with something inside, or an object with nothing.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.FIELD]));
    if (!place) return false;
    place.node.selectionSet = place.node.selectionSet ? undefined : selectionSet([leaf(random.pick(['id', '__typename', 'nope']))]);
    return true;
  },
  // Nothing inside at all.
  (mutator, document, random) => {
    if (!random.chance(0.3)) return false;
    const place = random.pick(places(document, [Kind.SELECTION_SET]));
    if (!place) return false;
    place.node.selections = [];
    return true;
  },
  // Fields that want the same name in the answer.
  (mutator, document, random) => {
    const set = random.pick(places(document, [Kind.SELECTION_SET]).filter(({ node }) => node.selections.some((it) => it.kind === Kind.FIELD)));
    if (!set) return false;
    const fields = set.node.selections.filter((it) => it.kind === Kind.FIELD);
    const twin = structuredClone(random.pick(fields));
    const other = random.pick(fields);
    if (random.chance(0.4)) twin.alias = name((other.alias ?? other.name).value);
    else if (twin.arguments.length > 0 && random.chance(0.6)) random.pick(twin.arguments).value = mutator.anyValue(document, random);
    else if (twin.selectionSet) twin.selectionSet.selections.push({ ...leaf(mutator.anyName(random)), alias: name('id') });
    else twin.name = name(mutator.anyName(random));
    const isFar = random.chance(0.3);
    set.node.selections.push(isFar ? { kind: Kind.INLINE_FRAGMENT, directives: [], selectionSet: selectionSet([twin]) } : twin);
    return true;
  },
  // An operation of another kind, or of another name.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.OPERATION_DEFINITION]));
    if (!place) return false;
    if (random.chance(0.5)) place.node.operation = random.pick(['query', 'mutation', 'subscription']);
    else if (random.chance(0.5)) place.node.name = random.chance(0.5) ? undefined : name('Op0');
    else place.list.push({ ...structuredClone(place.node), name: name(random.pick(['Op0', 'Other'])) });
    return true;
  },
  // More than one field to follow, or one that may not be there.
  (mutator, document, random) => {
    const place = random.pick(places(document, [Kind.OPERATION_DEFINITION]).filter(({ node }) => node.operation === 'subscription'));
    if (!place) return false;
    const root = place.node.selectionSet.selections;
    const condition = directive(random.pick(['skip', 'include']), [argument('if', { kind: Kind.BOOLEAN, value: random.chance(0.5) })]);
    random.pick([
      () => root.push(leaf('__typename')),
      () => root.push({ ...structuredClone(root[0]), alias: name('again') }),
      () => root.push(structuredClone(root[0])),
      () => root[0]?.directives.push(condition),
      () => root.push({ kind: Kind.INLINE_FRAGMENT, directives: [condition], selectionSet: selectionSet(structuredClone(root)) }),
      () => root.splice(0, 1, { kind: Kind.FIELD, name: name('__schema'), arguments: [], directives: [], selectionSet: selectionSet([leaf('__typename')]) }),
    ])();
    return true;
  },
  // Something that is no part of a request.
  (mutator, document, random) => {
    if (!random.chance(0.2)) return false;
    const place = random.pick(places(document, [Kind.FIELD]));
    if (!place?.node.alias) return false;
    place.node.alias = name(random.pick(['true', 'null', 'fragment', '__a']));
    return true;
  },
];

/** Variables with a fault in them somewhere. */
export function spoilVariables(value, random, words) {
  const spoilt = structuredClone(value);
  const found = [];
  const walk = (parent) => {
    for (const key of Object.keys(parent)) {
      found.push({ parent, key });
      if (typeof parent[key] === 'object' && parent[key] !== null) walk(parent[key]);
    }
  };
  walk(spoilt);
  const place = random.pick(found);
  if (!place) return { nope: 1n };
  const { parent, key } = place;
  const anything = () =>
    random.pick([
      () => null,
      () => random.chance(0.5),
      () => random.pick(WHOLE_NUMBERS),
      () => new NumberText(random.pick(['1.5', '-0.25', '1e-3', '0.1', '2147483648', '-2147483649', '1e300', '9007199254740994', '-0', '1e2', '3.0'])),
      () => random.pick(ODD_TEXTS),
      () => random.pick(words),
      () => [],
      () => [null],
      () => ({}),
      () => ({ [random.pick(['id', 'value', 'nope'])]: null }),
    ])();
  random.pick([
    () => (parent[key] = anything()),
    () => (parent[key] = anything()),
    () => (Array.isArray(parent) ? parent.splice(Number(key), 1) : delete parent[key]),
    () => (Array.isArray(parent) ? parent.push(anything()) : (parent[random.pick(['nope', `${key}x`])] = anything())),
    () => (parent[key] = [parent[key]]),
    () => (parent[key] = String(typeof parent[key] === 'object' ? 'object' : parent[key])),
    () => (parent[key] = { nope: parent[key] }),
  ])();
  return spoilt;
}
