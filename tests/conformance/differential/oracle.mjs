// What graphql-js makes of a request: the verdict that the server's is compared with.

import {
  GraphQLBoolean,
  GraphQLError,
  GraphQLNonNull,
  Kind,
  Lexer,
  MaxIntrospectionDepthRule,
  Source,
  TokenKind,
  TypeInfo,
  __Directive,
  __DirectiveLocation,
  __Field,
  __Schema,
  __Type,
  buildSchema,
  getOperationAST,
  getVariableValues,
  isNonNullType,
  parse,
  specifiedRules,
  validate,
  visit,
  visitWithTypeInfo,
} from 'graphql';

import { teach } from './deviations.mjs';

/** The stage that refuses a request, or `run` if none does. */
export const STAGES = ['parse', 'validation', 'input', 'run'];

/**
 * No conditions at the root of a subscription, as the specification has it since September 2025 (5.2.4.1,
 * CollectSubscriptionFields). This version of graphql-js has the rule from before, which looks at conditions that are
 * written out, and throws at variables.
 */
function NoConditionsAtSubscriptionRoot(context) {
  const seen = new Set();
  const check = (selections) => {
    for (const selection of selections) {
      const condition = selection.directives?.find((it) => ['skip', 'include'].includes(it.name.value));
      if (condition) {
        const problem = 'The root of a subscription must not have conditions.';
        context.reportError(new GraphQLError(problem, { nodes: condition }));
      }
      if (selection.kind === Kind.INLINE_FRAGMENT) check(selection.selectionSet.selections);
      if (selection.kind === Kind.FRAGMENT_SPREAD && !seen.has(selection.name.value)) {
        seen.add(selection.name.value);
        check(context.getFragment(selection.name.value)?.selectionSet.selections ?? []);
      }
    }
  };
  return {
    OperationDefinition(node) {
      if (node.operation === 'subscription') check(node.selectionSet.selections);
    },
  };
}

/** How deep introspection may go is no rule of the language: our own limit of depth is for that. */
const RULES = [
  NoConditionsAtSubscriptionRoot,
  ...specifiedRules.filter((rule) => rule !== MaxIntrospectionDepthRule),
];

const EXACT = 2n ** 53n;

const wrong = (what, value) => new GraphQLError(`${what} cannot represent ${JSON.stringify(String(value))}`);

/** A scalar that is a text of a kind. */
const text = (what, isRight) => {
  const read = (value) => {
    if (typeof value === 'string' && isRight(value)) return value;
    throw wrong(what, value);
  };
  return { parseValue: read, parseLiteral: (node) => read(node.kind === Kind.STRING ? node.value : null) };
};

/**
 * Lengths of time as Go's `time.ParseDuration` is documented to read them (so not `0` without a unit), in 63 bits of
 * nanoseconds, and none below zero.
 */
function isDuration(value) {
  if (!/^[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+$/u.test(value)) return false;
  const units = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 6e10, h: 3.6e12 };
  let nanoseconds = 0;
  for (const [, number, unit] of value.matchAll(/([0-9.]+)([^0-9.]+)/gu)) nanoseconds += Number(number) * units[unit];
  return nanoseconds < 2 ** 63 && (!value.startsWith('-') || nanoseconds === 0);
}

/** The rules of the schema's own scalars, as their descriptions tell them. */
const SCALARS = {
  Int53: {
    parseValue(value) {
      if (typeof value === 'number' && Number.isInteger(value) && Math.abs(value) <= Number(EXACT)) return value;
      throw wrong('Int53', value);
    },
    parseLiteral(node) {
      const value = node.kind === Kind.INT ? BigInt(node.value) : undefined;
      if (value !== undefined && value >= -EXACT && value <= EXACT) return Number(value);
      throw wrong('Int53', node.value ?? node.kind);
    },
  },
  Cursor: text('Cursor', (value) => {
    const [, revision, position] = /^[^-]{1,64}-\+?([0-9]+)(?:-\+?([0-9]+))?$/su.exec(value) ?? [];
    return revision !== undefined && BigInt(revision) <= EXACT && BigInt(position ?? 0) < 2n ** 32n;
  }),
  Duration: text('Duration', isDuration),
  DateTime: text('DateTime', (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/u.test(value)),
};

/** A schema in which the scalars of its own are what they say they are. */
export function readSchema(sdl) {
  const schema = buildSchema(sdl);
  const isBuiltIn = new Set(['Int', 'Float', 'String', 'Boolean', 'ID']);
  for (const type of Object.values(schema.getTypeMap())) {
    if (type.astNode?.kind !== Kind.SCALAR_TYPE_DEFINITION || isBuiltIn.has(type.name)) continue;
    if (!(type.name in SCALARS)) throw new Error(`the oracle does not know the rules of the scalar ${type.name}`);
    Object.assign(type, SCALARS[type.name]);
  }
  asInSeptember2025(schema);
  teach();
  return schema;
}

/**
 * Makes of introspection what it is in the specification of September 2025: without directives that are deprecated, which
 * are a draft, and with `includeDeprecated` that must not be null.
 */
function asInSeptember2025(schema) {
  const deprecated = schema.getDirective('deprecated');
  deprecated.locations = deprecated.locations.filter((it) => it !== 'DIRECTIVE_DEFINITION');
  const locations = __DirectiveLocation.getValues();
  locations.splice(0, locations.length, ...locations.filter((it) => it.name !== 'DIRECTIVE_DEFINITION'));
  __Schema.getFields().directives.args = [];
  for (const field of ['isDeprecated', 'deprecationReason']) delete __Directive.getFields()[field];
  for (const type of [__Type, __Field, __Directive]) {
    for (const arg of Object.values(type.getFields()).flatMap((field) => field.args)) {
      if (arg.name === 'includeDeprecated') arg.type = new GraphQLNonNull(GraphQLBoolean);
    }
  }
}

/** What definitions of types begin with. */
const TYPE_SYSTEM = new Set(['schema', 'scalar', 'type', 'interface', 'union', 'enum', 'input', 'directive', 'extend']);

/**
 * Whether a document defines types before the place where it cannot be read. Such a definition is refused in any case: a
 * server does not execute it. Whether its own syntax is looked at before that is said is left to the server.
 */
function definesTypes(text, end = text.length) {
  const lexer = new Lexer(new Source(text));
  let depth = 0;
  try {
    for (let token = lexer.advance(); token.kind !== TokenKind.EOF && token.start <= end; token = lexer.advance()) {
      if (['{', '(', '['].includes(token.kind)) depth += 1;
      else if (['}', ')', ']'].includes(token.kind)) depth -= 1;
      else if (depth === 0 && token.kind === TokenKind.NAME && TYPE_SYSTEM.has(token.value)) return true;
    }
  } catch {
    // No token: the document ends here.
  }
  return false;
}

export class Oracle {
  constructor(schema) {
    this.schema = schema;
  }

  /**
   * The stage that refuses it with the reason; or `run`, with the parsed document and the variables. Where the
   * language leaves two ways, `also` is the other.
   */
  judge({ text, operationName, variables }) {
    let document;
    try {
      document = parse(text, { noLocation: false });
    } catch (error) {
      return { stage: 'parse', also: definesTypes(text, error.positions?.[0]) ? 'validation' : undefined, reason: error.message };
    }
    const [invalid] = this.#validate(document);
    if (invalid) return { stage: 'validation', reason: invalid.message, document };
    const operation = getOperationAST(document, operationName);
    if (!operation) return { stage: 'input', reason: `no operation ${operationName}`, document };
    const given = variables === undefined ? {} : JSON.parse(variables);
    const { errors, coerced } = getVariableValues(this.schema, operation.variableDefinitions ?? [], given, { maxErrors: 1 });
    if (errors) return { stage: 'input', reason: errors[0].message, document, operation };
    const also = this.#hasLateNull(document, operation, given) ? 'input' : undefined;
    return { stage: 'run', also, document, operation, coerced, given };
  }

  #validate(document) {
    try {
      return validate(this.schema, document, RULES, { maxErrors: 1 });
    } catch (error) {
      // Conditions at the root of a subscription: see above.
      if (error instanceof GraphQLError) return [error];
      throw error;
    }
  }

  /**
   * Whether null was given, or is the default, for a variable that stands where null may not be. That is allowed if there is a default, and
   * null then an error of the field: to find it out before anything runs is as good, and takes nothing from anybody.
   */
  #hasLateNull(document, operation, given) {
    const isNull = ({ variable: { name }, defaultValue }) =>
      name.value in given ? given[name.value] === null : defaultValue?.kind === Kind.NULL;
    const nulls = operation.variableDefinitions?.filter(isNull).map((it) => it.variable.name.value);
    if (!nulls?.length) return false;
    const types = new TypeInfo(this.schema);
    let isLate = false;
    const Variable = (node) => {
      if (nulls.includes(node.name.value) && isNonNullType(types.getInputType())) isLate = true;
    };
    visit(document, visitWithTypeInfo(types, { VariableDefinition: () => false, Variable }));
    return isLate;
  }
}
