// Where the server is known to differ from the oracle, each with its reason. All of them are the engine's (async-graphql 8),
// and to be told upstream.

import { GraphQLNonNull, GraphQLString, __Schema, __Type, isObjectType } from 'graphql';

/**
 * Teaches the oracle what the server is known to answer wrongly about the schema; when that is mended, the two differ.
 *
 * The schema's description: the engine has no way to set one, and tells the description of the type `__Schema` in its
 * place. The interfaces of an interface: null, where the language wants a list, which may be empty. Nothing but tools
 * that show schemas asks for either, and those know of the second.
 */
export function teach() {
  const description =
    'A GraphQL Schema defines the capabilities of a GraphQL server. It exposes all available types and directives on ' +
    'the server, as well as the entry points for query, mutation, and subscription operations.';
  const field = __Schema.getFields().description;
  Object.assign(field, { type: new GraphQLNonNull(GraphQLString), resolve: () => description });
  __Type.getFields().interfaces.resolve = (type) => (isObjectType(type) ? type.getInterfaces() : null);
}

/**
 * Whether a difference is the known one of fields that are asked for twice: `{ worker { id } worker { … } }`. The engine
 * resolves each by itself and puts the parts together. So if an error makes null of one, which the language makes of the
 * whole, the other is still there.
 *
 * @param expected what is to be there
 * @param found what is there
 * @param path where that is
 * @param errors of the answer
 */
export const isHalfOfATwin = (expected, found, path, errors) =>
  expected === null &&
  typeof found === 'object' &&
  (errors ?? []).some((error) => error.path?.length > path.length && path.every((key, index) => key === String(error.path[index])));
