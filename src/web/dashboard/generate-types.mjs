// Writes `api/generated.d.ts`: the types of every GraphQL operation of the dashboard, from the schema.
//
//   node generate-types.mjs [SCHEMA]
//
// Operations stand in the TypeScript sources, as operation(`query …`) and fragment(`fragment …`). Each is validated
// against the schema, and its result and variables are written down under its text, by which `operation` finds them.
// An operation that does not fit the schema fails this script, and one that is used wrongly fails the type check after
// it. The file is not committed, and the bundle does not need it.

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  buildSchema, getNamedType, isEnumType, isInputObjectType, isLeafType, isListType, isNonNullType, isObjectType,
  Kind, parse, typeFromAST, validate,
} from 'graphql';

const here = dirname(fileURLToPath(import.meta.url));
const schemaFile = process.argv[2] ?? process.env.AETHERIUM_SCHEMA ?? beside('schema.graphql');
const schema = buildSchema(readFileSync(schemaFile, 'utf8'));

/** TypeScript's names of the schema's scalars; a scalar that is not here fails the script. */
const SCALARS = {
  Boolean: 'boolean', Cursor: 'string', DateTime: 'string', Duration: 'string', Float: 'number', ID: 'string',
  Int: 'number', Int53: 'number', String: 'string',
};

const documents = sources(here).flatMap(documentsOf);
const fragments = new Map();
for (const { definition, file } of documents.filter(({ definition }) => definition.kind === Kind.FRAGMENT_DEFINITION)) {
  const name = definition.name.value;
  if (fragments.has(name)) throw new Error(`${file}: there is another fragment ${name}`);
  fragments.set(name, definition);
}
const operations = documents.filter(({ definition }) => definition.kind === Kind.OPERATION_DEFINITION);
const problems = operations.flatMap(problemsOf);
if (problems.length > 0) {
  console.error(problems.join('\n'));
  process.exit(1);
}
writeFileSync(join(here, 'api/generated.d.ts'), declarations());
console.log(`${operations.length} operations and ${fragments.size} fragments fit ${schemaFile}`);

/** The file of this name in the nearest folder above that has one. */
function beside(name) {
  for (let folder = here; ; folder = dirname(folder)) {
    if (existsSync(join(folder, name))) return join(folder, name);
    if (folder === dirname(folder)) throw new Error(`there is no ${name} above ${here}`);
  }
}

function sources(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return /(?<!\.d)\.tsx?$/.test(entry.name) ? [path] : [];
  });
}

function documentsOf(file) {
  const source = readFileSync(file, 'utf8').replace(/^\s*\/\/.*$/gm, '');
  const calls = source.matchAll(/\b(?:operation|fragment)\(\s*`([^`]*)`/g);
  return [...calls].map(([, text]) => {
    if (text.includes('${')) throw new Error(`${file}: an operation is a text without substitutions: ${text}`);
    const { definitions } = parse(text);
    if (definitions.length !== 1) throw new Error(`${file}: one definition in each text: ${text}`);
    return { file, text, definition: definitions[0] };
  });
}

function problemsOf({ file, definition }) {
  const used = new Set();
  collect(definition);
  const document = { kind: Kind.DOCUMENT, definitions: [definition, ...[...used].map((name) => fragments.get(name)).filter(Boolean)] };
  return validate(schema, document).map(({ message }) => `${file}: ${definition.name?.value}: ${message}`);

  function collect({ selectionSet }) {
    for (const selection of selectionSet?.selections ?? []) {
      if (selection.kind === Kind.FRAGMENT_SPREAD && !used.has(selection.name.value)) {
        used.add(selection.name.value);
        const found = fragments.get(selection.name.value);
        if (found) collect(found);
      }
      collect(selection);
    }
  }
}

function declarations() {
  const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));
  const enums = types.filter(isEnumType).map((type) =>
    `export type ${type.name} = ${type.getValues().map(({ name }) => JSON.stringify(name)).join(' | ')};`);
  const inputs = types.filter(isInputObjectType).map((type) => {
    const fields = Object.values(type.getFields()).map((field) => {
      const optional = !isNonNullType(field.type) || field.defaultValue !== undefined;
      return `  ${field.name}${optional ? '?' : ''}: ${typeName(field.type, inputName)};`;
    });
    return `export interface ${type.name} {\n${fields.join('\n')}\n}`;
  });
  const results = operations.map(({ text, definition }) =>
    `  ${JSON.stringify(text)}: { result: ${selected(rootType(definition), [definition.selectionSet])}; variables: ${variables(definition)} };`);
  const shared = [...documents].filter(({ definition }) => fragments.get(definition.name?.value) === definition).map(({ text, definition }) =>
    `  ${JSON.stringify(text)}: ${selected(schema.getType(definition.typeCondition.name.value), [definition.selectionSet])};`);
  return [
    '// Written by generate-types.mjs; do not edit.',
    ...enums,
    ...inputs,
    `export interface Operations {\n${results.join('\n')}\n}`,
    `export interface Fragments {\n${shared.join('\n')}\n}`,
  ].join('\n\n') + '\n';
}

function rootType({ operation }) {
  return { query: schema.getQueryType(), mutation: schema.getMutationType(), subscription: schema.getSubscriptionType() }[operation];
}

function variables({ variableDefinitions }) {
  const fields = (variableDefinitions ?? []).map(({ variable, type, defaultValue }) => {
    const declared = typeFromAST(schema, type);
    const optional = !isNonNullType(declared) || defaultValue;
    return `${variable.name.value}${optional ? '?' : ''}: ${typeName(declared, inputName)}`;
  });
  return `{ ${fields.join('; ')} }`;
}

/** A type with its lists and nulls; what `name` makes of the type in the middle. */
function typeName(type, name) {
  if (isNonNullType(type)) return withoutNull(type.ofType, name);
  return `${withoutNull(type, name)} | null`;
}

function withoutNull(type, name) {
  if (isListType(type)) return `ReadonlyArray<${typeName(type.ofType, name)}>`;
  return name(type);
}

function inputName(type) {
  return isInputObjectType(type) ? type.name : leafName(type);
}

function leafName(type) {
  if (isEnumType(type)) return type.name;
  const name = SCALARS[type.name];
  if (!name) throw new Error(`the scalar ${type.name} has no name in TypeScript yet`);
  return name;
}

/** What selections of one object answer; the same field of several selection sets is merged. */
function selected(type, selectionSets) {
  if (!isObjectType(type)) throw new Error(`${type} is no object type; inline fragments are not supported`);
  const fields = new Map();
  const add = ({ selections }) => {
    for (const selection of selections) {
      if (selection.kind === Kind.FRAGMENT_SPREAD) add(fragments.get(selection.name.value).selectionSet);
      else if (selection.kind === Kind.INLINE_FRAGMENT) add(selection.selectionSet);
      else {
        const key = (selection.alias ?? selection.name).value;
        const field = fields.get(key) ?? { name: selection.name.value, sets: [], optional: false };
        if (selection.selectionSet) field.sets.push(selection.selectionSet);
        field.optional ||= selection.directives.length > 0;
        fields.set(key, field);
      }
    }
  };
  selectionSets.forEach(add);
  const lines = [...fields].map(([key, { name, sets, optional }]) => {
    if (name === '__typename') return `${key}: ${JSON.stringify(type.name)}`;
    const fieldType = type.getFields()[name].type;
    const inner = isLeafType(getNamedType(fieldType)) ? leafName : (named) => selected(named, sets);
    return `${key}${optional ? '?' : ''}: ${typeName(fieldType, inner)}`;
  });
  return `{ ${lines.join('; ')} }`;
}
