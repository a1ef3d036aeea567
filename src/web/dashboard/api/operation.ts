// GraphQL operations as texts that know their types.
//
//   const Stats = operation(`query Stats { clusterStats { totalWorkers } }`);
//   const { clusterStats } = await ask(Stats, {});
//
// The types are found by the text, in what `npm run types` wrote from the schema; see `generate-types.mjs`.

import type { Fragments, Operations } from './generated';

export interface Fragment {
  readonly text: string;
  readonly uses: readonly Fragment[];
}

export interface Operation<Result, Variables> {
  /** The operation and all fragments that it uses. */
  readonly text: string;
  readonly name: string;
  /** For the compiler only: no operation has it. */
  readonly types?: { result: Result; variables: Variables };
}

export type ResultOf<O> = O extends Operation<infer Result, infer _> ? Result : never;
export type VariablesOf<O> = O extends Operation<infer _, infer Variables> ? Variables : never;
export type FragmentType<F> = F extends TypedFragment<infer Type> ? Type : never;

export interface TypedFragment<Type> extends Fragment {
  readonly type?: Type;
}

/** A fragment for operations that name it, with the fragments that it uses itself. */
export function fragment<const Text extends keyof Fragments>(text: Text, ...uses: Fragment[]): TypedFragment<Fragments[Text]> {
  return { text, uses };
}

/** An operation, with the fragments that it uses. */
export function operation<const Text extends keyof Operations>(
  text: Text,
  ...uses: Fragment[]
): Operation<Operations[Text]['result'], Operations[Text]['variables']> {
  const fragments = new Set<string>();
  const collect = (used: readonly Fragment[]): void => {
    for (const one of used) {
      fragments.add(one.text);
      collect(one.uses);
    }
  };
  collect(uses);
  return { text: [text, ...fragments].join('\n'), name: /^\s*\w+\s+(\w+)/.exec(text)?.[1] ?? '' };
}
