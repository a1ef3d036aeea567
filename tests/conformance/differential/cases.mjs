// One case of a run: a request that seed and number decide.

import { Generator, Vocabulary } from './generator.mjs';
import { Json } from './json.mjs';
import { Mutator, spoilVariables } from './mutations.mjs';
import { noise } from './noise.mjs';
import { Random } from './random.mjs';
import { textOf, tokensOf } from './syntax.mjs';

/** How a case is made, by how often. */
const KINDS = { valid: 35, variables: 15, mutated: 30, noise: 18, operation: 2 };

export class Cases {
  #seed;
  #generator;
  #mutator;
  #words;

  constructor(seed, schema, vocabulary) {
    this.#seed = seed;
    this.#generator = new Generator(schema, new Vocabulary(vocabulary));
    this.#mutator = new Mutator(schema);
    this.#words = [...vocabulary.ids, ...vocabulary.texts, ...Object.values(schema.getTypeMap()).flatMap((type) => type.getValues?.().map((it) => it.name) ?? [])];
  }

  /** The case of this number. */
  number(index) {
    const random = new Random(this.#seed, index);
    const kind = random.weighted(KINDS);
    let { document, operationName, variables } = this.#generator.generate(random);
    if (kind === 'variables') variables = new Json(spoilVariables(variables.value, random, this.#words));
    if (kind === 'mutated') document = this.#mutator.spoil(document, random);
    if (kind === 'operation') operationName = random.pick(['nope', 'Op0', 'Op1', undefined]);
    const tokens = tokensOf(document);
    const text = kind === 'noise' ? noise(tokens, random) : textOf(tokens, random.chance(0.4) ? random : undefined);
    const isEmpty = Object.keys(variables.value).length === 0;
    return {
      index,
      kind,
      text: text.toWellFormed(),
      operationName,
      variables: isEmpty && random.chance(0.9) ? undefined : variables.written(random),
      // By which other ways it is asked.
      isAgainByteForByte: random.chance(0.5),
      way: random.weighted({ none: 80, get: 10, sse: 5, ws: 5 }),
    };
  }
}
