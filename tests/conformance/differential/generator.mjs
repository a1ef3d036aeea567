// Valid documents with valid variables, made from nothing but the schema.
//
// What is valid is decided by the oracle, not here; the suite only asks that nearly all of these are, or they would
// say little about what a server accepts.

import {
  Kind,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
} from 'graphql';

import { Json } from './json.mjs';
import { FRACTIONS, ODD_TEXTS, WHOLE_NUMBERS, stringNode } from './spellings.mjs';
import { argument, directive, name, named, objectField, selectionSet, typeNode, variable } from './syntax.mjs';

/** Levels of fields: below what a server has to accept, and enough for every list in a list. */
const DEEPEST = 7;

/** Fields of a document, about: what comes on top of these has no fields inside. */
const MOST_FIELDS = 60;

/** Fields whose answer takes more than a read of the copy: a test with brute force holds where VMs are placed. */
const NOT_MODELLED = [
  'Query.placement', 'Query.capacity', 'Query.evacuationPlan',
  'Query.clusterHistory', 'Query.zoneHistory', 'Worker.history', 'Zone.history',
];

/** What was found out about a type. */
const OVERLAPPING = new WeakMap();

/** What a document may name, beside what the schema tells. */
export class Vocabulary {
  /**
   * @param ids ids of objects there are
   * @param texts other texts of the data, which filters find
   * @param cursors by the scalars and arguments that take them
   * @param scalars for each scalar of the schema itself, good values
   */
  constructor({ ids, texts, cursors, scalars }) {
    Object.assign(this, { ids, texts, cursors, scalars });
  }
}

export class Generator {
  #schema;
  #vocabulary;

  constructor(schema, vocabulary) {
    this.#schema = schema;
    this.#vocabulary = vocabulary;
  }

  /** A document, the operation that is asked for, and its variables. */
  generate(random) {
    const count = random.chance(0.15) ? random.between(2, 3) : 1;
    const operations = Array.from({ length: count }, (_, index) => {
      const isAnonymous = count === 1 && random.chance(0.4);
      return new Operation(this.#schema, this.#vocabulary, random, index).generate(isAnonymous);
    });
    const definitions = random.shuffle(operations.flatMap(({ definitions }) => definitions));
    const asked = random.pick(operations);
    const isNamed = asked.name !== undefined && (count > 1 || random.chance(0.5));
    return {
      document: { kind: Kind.DOCUMENT, definitions },
      operationName: isNamed ? asked.name : undefined,
      variables: asked.variables,
    };
  }
}

/** One operation with its fragments and variables. */
class Operation {
  #schema;
  #vocabulary;
  #random;
  #index;
  #kind;
  #fields = 0;
  #aliases = 0;
  #variables = [];
  #fragments = [];
  /** What each name in the answer stands for: the same everywhere, so that no two fields can clash. */
  #keys = new Map();

  constructor(schema, vocabulary, random, index) {
    this.#schema = schema;
    this.#vocabulary = vocabulary;
    this.#random = random;
    this.#index = index;
  }

  generate(isAnonymous) {
    const random = this.#random;
    const kinds = { query: 8, mutation: this.#schema.getMutationType() ? 2 : 0, subscription: this.#schema.getSubscriptionType() ? 1 : 0 };
    this.#kind = random.weighted(kinds);
    const root = { query: 'getQueryType', mutation: 'getMutationType', subscription: 'getSubscriptionType' }[this.#kind];
    const selections = this.#selections(this.#schema[root](), 0);
    const name = isAnonymous ? undefined : `${random.pick(['Op', 'query', 'on', '_', 'fragment', 'Fleet'])}${this.#index}`;
    const variables = new Json(
      Object.fromEntries(this.#variables.filter(({ json }) => json !== undefined).map(({ name, json }) => [name, json])),
    );
    const operation = {
      kind: Kind.OPERATION_DEFINITION,
      operation: this.#kind,
      isLong: random.chance(0.3),
      name: name === undefined ? undefined : { kind: Kind.NAME, value: name },
      description: random.chance(0.02) ? stringNode('What it asks.', random) : undefined,
      variableDefinitions: this.#variables.map(({ node }) => node),
      directives: [],
      selectionSet: selectionSet(selections),
    };
    // An operation in short has no description.
    if (operation.description) operation.isLong = true;
    return { name, variables, definitions: [operation, ...this.#fragments.map(({ node }) => node)] };
  }

  /** What is asked of one object. */
  #selections(type, depth, { isInFragment = false } = {}) {
    const random = this.#random;
    if (this.#kind === 'subscription' && depth === 0) {
      const field = this.#field(type, random.pick(Object.values(type.getFields())), 0);
      return [this.#inFragments(type, field)];
    }
    const count = random.between(1, depth === 0 ? 3 : 4);
    const selections = Array.from({ length: count }, () => this.#selection(type, depth, isInFragment));
    // The same again is no clash.
    if (random.chance(0.03)) selections.push(random.pick(selections));
    return selections;
  }

  /** The only field of a subscription, sometimes as far away as it may be. */
  #inFragments(type, field) {
    if (this.#random.chance(0.2)) return this.#spread(type, [field]);
    if (this.#random.chance(0.1)) return { kind: Kind.INLINE_FRAGMENT, directives: [], selectionSet: selectionSet([field]) };
    return field;
  }

  #selection(type, depth, isInFragment) {
    const random = this.#random;
    const ofFields = isAbstractType(type) ? 0.5 : 1;
    const kind = random.weighted({
      field: 80 * ofFields,
      typename: 4,
      inline: 8 / ofFields,
      spread: this.#fields < MOST_FIELDS && !isInFragment ? 6 / ofFields : 0,
      again: 3,
    });
    switch (kind) {
      case 'typename':
        return this.#asked({ kind: Kind.FIELD, name: name('__typename'), arguments: [] }, '__typename:String!');
      case 'inline': {
        const condition = random.chance(0.25) ? undefined : random.pick(this.#overlapping(type));
        return {
          kind: Kind.INLINE_FRAGMENT,
          typeCondition: condition && named(condition.name),
          directives: this.#conditions(),
          selectionSet: selectionSet(this.#selections(condition ?? type, this.#below(depth), { isInFragment })),
        };
      }
      case 'spread': {
        const condition = random.pick(this.#overlapping(type));
        const inside = this.#selections(condition, this.#below(depth), { isInFragment: random.chance(0.7) });
        return { ...this.#spread(condition, inside, depth), directives: this.#conditions() };
      }
      case 'again': {
        // Not deeper than where it was made first, or levels would add up.
        const known = this.#fragments.filter((it) => it.depth >= depth && this.#overlapping(type).includes(it.type));
        if (known.length > 0) return { ...spreadOf(random.pick(known).name), directives: this.#conditions() };
        return this.#field(type, this.#pickField(type, depth), depth);
      }
      default:
        return this.#field(type, this.#pickField(type, depth), depth);
    }
  }

  /** Fragments count as levels, or they could be nested without end. */
  #below(depth) {
    return depth + (this.#random.chance(0.5) ? 1 : 0);
  }

  /** Puts what is asked into a fragment. It is known to others only now that it is complete, so there are no circles. */
  #spread(type, selections, depth = 0) {
    const fragment = `F${this.#index}_${this.#fragments.length}`;
    this.#fragments.push({
      name: fragment,
      type,
      depth,
      node: {
        kind: Kind.FRAGMENT_DEFINITION,
        name: name(fragment),
        description: this.#random.chance(0.02) ? stringNode('Part of it.', this.#random) : undefined,
        typeCondition: named(type.name),
        directives: [],
        selectionSet: selectionSet(selections),
      },
    });
    return spreadOf(fragment);
  }

  /** Types that an object of this one may be as well. */
  #overlapping(type) {
    let found = OVERLAPPING.get(type);
    if (!found) OVERLAPPING.set(type, (found = this.#findOverlapping(type)));
    return found;
  }

  #findOverlapping(type) {
    const possible = (it) => (isAbstractType(it) ? this.#schema.getPossibleTypes(it) : [it]);
    const all = Object.values(this.#schema.getTypeMap()).filter((it) => isObjectType(it) || isAbstractType(it));
    return all.filter((it) => possible(it).some((one) => possible(type).includes(one)));
  }

  #pickField(type, depth) {
    const random = this.#random;
    const all = Object.values(type.getFields()).filter(({ name }) => !NOT_MODELLED.includes(`${type.name}.${name}`));
    const leaves = all.filter((field) => isLeafType(getNamedType(field.type)));
    const isDeep = depth >= DEEPEST || this.#fields >= MOST_FIELDS || random.chance(depth / (DEEPEST + 2));
    const isRoot = type === this.#schema.getQueryType();
    if (isRoot && random.chance(0.06)) return random.pick([SchemaMetaFieldDef, TypeMetaFieldDef]);
    if (isDeep && leaves.length > 0) return random.pick(leaves);
    return all.length > 0 ? random.pick(all) : undefined;
  }

  #field(type, field, depth) {
    if (field === undefined || (depth >= DEEPEST && isCompositeType(getNamedType(field.type)))) {
      return this.#asked({ kind: Kind.FIELD, name: name('__typename'), arguments: [] }, '__typename:String!');
    }
    this.#fields += 1;
    const args = this.#random
      .shuffle(field.args)
      .filter((arg) => isRequiredArgument(arg) || this.#random.chance(0.35))
      .map((arg) => argument(arg.name, this.#value(arg.type, arg, 0)));
    const inside = getNamedType(field.type);
    const node = { kind: Kind.FIELD, name: name(field.name), arguments: args };
    if (isCompositeType(inside)) node.selectionSet = selectionSet(this.#selections(inside, depth + 1));
    const said = args.map((arg) => JSON.stringify(arg)).sort();
    const isRoot = this.#kind === 'subscription' && depth === 0;
    return this.#asked(node, `${field.name}(${said}):${field.type}`, !isRoot);
  }

  /** The field under a name that means nothing else. */
  #asked(node, meaning, mayBeLeftOut = true) {
    const random = this.#random;
    const own = node.name.value;
    const fits = (key) => (this.#keys.get(key) ?? meaning) === meaning;
    let key = own;
    if (this.#aliases < 60 && (random.chance(0.08) || !fits(own))) {
      key = random.chance(0.3) ? random.pick(['on', 'query', 'type', 'null', 'true', '_', 'id', 'fragment']) : `${own}${this.#keys.size}`;
      for (let number = 0; !fits(key) || key === own; number += 1) key = `${own}_${number}`;
    }
    if (!fits(key)) return this.#asked({ kind: Kind.FIELD, name: name('__typename'), arguments: [] }, '__typename:String!');
    this.#keys.set(key, meaning);
    if (key !== own) this.#aliases += 1;
    return {
      ...node,
      alias: key === own && !random.chance(0.01) ? undefined : name(key),
      directives: mayBeLeftOut ? this.#conditions() : [],
    };
  }

  #conditions() {
    const random = this.#random;
    if (!random.chance(0.05)) return [];
    const boolean = this.#schema.getDirective('skip').args[0];
    const condition = (which) => directive(which, [argument('if', this.#value(boolean.type, boolean, 0))]);
    return random.sample(['skip', 'include'], random.chance(0.2) ? 2 : 1).map(condition);
  }

  /** A value for a place: written out, or as a variable. */
  #value(type, place, depth) {
    const random = this.#random;
    if (random.chance(0.25)) return this.#variable(type, place);
    if (!isNonNullType(type) && random.chance(0.06)) return { kind: Kind.NULL };
    const nullable = getNullableType(type);
    if (isListType(nullable)) {
      // One thing is a list of one.
      if (random.chance(0.1) && isInputObjectType(getNamedType(type)) === false) {
        return this.#literal(getNamedType(type), depth);
      }
      const length = depth > 2 ? 0 : random.between(0, 3);
      const entry = { type: nullable.ofType };
      return { kind: Kind.LIST, values: Array.from({ length }, () => this.#value(nullable.ofType, entry, depth + 1)) };
    }
    return this.#literal(nullable, depth, place);
  }

  #literal(type, depth, place) {
    const random = this.#random;
    if (isInputObjectType(type)) {
      const fields = random
        .shuffle(Object.values(type.getFields()))
        .filter((field) => isRequiredInputField(field) || (depth < 3 && random.chance(0.35)))
        .map((field) => objectField(field.name, this.#value(field.type, field, depth + 1)));
      return { kind: Kind.OBJECT, fields };
    }
    if (isEnumType(type)) return { kind: Kind.ENUM, value: random.pick(type.getValues()).name };
    return this.#literalOf(this.#scalar(type, place));
  }

  #literalOf(value) {
    const random = this.#random;
    if (typeof value === 'boolean') return { kind: Kind.BOOLEAN, value };
    if (typeof value === 'bigint') return { kind: Kind.INT, value: String(value) };
    if (typeof value === 'number') return { kind: Kind.FLOAT, value: random.pick(FRACTIONS) };
    return stringNode(value, random);
  }

  /** A value of a scalar. Whole numbers are big ones, for JSON writes them in a way of its own. */
  #scalar(type, place) {
    const random = this.#random;
    const { ids, texts, cursors, scalars } = this.#vocabulary;
    switch (type.name) {
      case 'Boolean':
        return random.chance(0.5);
      case 'Int': {
        if (random.chance(0.8)) return BigInt(random.between(0, 12));
        return random.pick(WHOLE_NUMBERS.filter((number) => number === BigInt.asIntN(32, number)));
      }
      case 'Float':
        return random.chance(0.5) ? random.pick(WHOLE_NUMBERS) : 1.5;
      case 'ID':
        if (random.chance(0.1)) return random.pick(WHOLE_NUMBERS);
        return random.chance(0.85) ? random.pick(ids) : random.pick(ODD_TEXTS);
      case 'String': {
        // Whoever wrote the schema says which texts are cursors.
        const isCursor = /\bcursor\b/u.test(place?.description ?? '');
        if (isCursor && random.chance(0.9)) return random.pick(cursors);
        return random.chance(0.8) ? random.pick(texts) : random.pick(ODD_TEXTS);
      }
      default: {
        const values = scalars[type.name];
        if (values === undefined) throw new Error(`no values are known of the scalar ${type.name}`);
        return random.pick(values);
      }
    }
  }

  /** A variable that may stand in this place: a known one, or a new one. */
  #variable(type, place) {
    const random = this.#random;
    const known = this.#variables.filter((it) => it.fits(type, place));
    if (known.length > 0 && random.chance(0.3)) return variable(random.pick(known).name);

    const hasDefault = place?.defaultValue !== undefined;
    let declared = type;
    let needsDefault = false;
    if (isNonNullType(type)) {
      if (random.chance(0.3)) {
        declared = type.ofType;
        needsDefault = !(hasDefault && random.chance(0.5));
      }
    } else if (random.chance(0.3)) {
      declared = undefined;
    }
    const written = declared === undefined ? `${type}!` : String(declared);
    const isNonNull = written.endsWith('!');
    const id = `${random.pick(['v', 'input', 'on', 'null', 'type', '_'])}${this.#variables.length}`;
    const wantsDefault = needsDefault || random.chance(0.2);
    const defaultValue = wantsDefault ? this.#constant(type, place, { mayBeNull: !isNonNull && !needsDefault }) : undefined;
    const isOptional = !isNonNull || defaultValue !== undefined;
    // Null for what may be null, unless it would then stand where null may not: that is found out late, by design.
    const mayBeNull = !isNonNull && !isNonNullType(type);
    const isGiven = !isOptional || random.chance(0.7);
    const json = isGiven ? this.#json(type, place, mayBeNull, 0) : undefined;
    this.#variables.push({
      name: id,
      json,
      fits: (wanted, at) => {
        const bare = (it) => String(it).replace(/!$/u, '');
        if (bare(wanted) !== bare(written)) return false;
        const hasValue = isNonNull || (defaultValue !== undefined && defaultValue.kind !== Kind.NULL);
        const isNull = json === null;
        return !isNonNullType(wanted) || isNonNull || (hasValue && !isNull) || (at?.defaultValue !== undefined && !isNull);
      },
      node: {
        kind: Kind.VARIABLE_DEFINITION,
        variable: variable(id),
        type: typeNode(written),
        defaultValue,
        directives: [],
      },
    });
    return variable(id);
  }

  /** A literal without variables. */
  #constant(type, place, { mayBeNull }) {
    const random = this.#random;
    if (mayBeNull && random.chance(0.15)) return { kind: Kind.NULL };
    const nullable = getNullableType(type);
    if (isListType(nullable)) {
      const inner = { mayBeNull: !isNonNullType(nullable.ofType) };
      const values = Array.from({ length: random.between(0, 2) }, () => this.#constant(nullable.ofType, undefined, inner));
      return { kind: Kind.LIST, values };
    }
    if (isInputObjectType(nullable)) {
      const fields = Object.values(nullable.getFields()).filter((field) => isRequiredInputField(field) || random.chance(0.2));
      const ofField = (field) => this.#constant(field.type, field, { mayBeNull: !isNonNullType(field.type) });
      return { kind: Kind.OBJECT, fields: fields.map((field) => objectField(field.name, ofField(field))) };
    }
    return this.#literal(nullable, 9, place);
  }

  /** A value as JSON has it. */
  #json(type, place, mayBeNull, depth) {
    const random = this.#random;
    if (mayBeNull && random.chance(0.12)) return null;
    const nullable = getNullableType(type);
    if (isListType(nullable)) {
      const one = () => this.#json(nullable.ofType, undefined, !isNonNullType(nullable.ofType), depth + 1);
      if (random.chance(0.08)) return this.#json(getNamedType(type), place, false, depth + 1);
      return Array.from({ length: depth > 2 ? 0 : random.between(0, 3) }, one);
    }
    if (isInputObjectType(nullable)) {
      const fields = random
        .shuffle(Object.values(nullable.getFields()))
        .filter((field) => isRequiredInputField(field) || (depth < 3 && random.chance(0.35)));
      const ofField = (field) => this.#json(field.type, field, !isNonNullType(field.type), depth + 1);
      return Object.fromEntries(fields.map((field) => [field.name, ofField(field)]));
    }
    if (isEnumType(nullable)) return random.pick(nullable.getValues()).name;
    return this.#scalar(nullable, place);
  }
}

const spreadOf = (fragment) => ({ kind: Kind.FRAGMENT_SPREAD, name: name(fragment), directives: [] });
