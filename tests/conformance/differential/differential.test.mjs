// The server and graphql-js asked the same: what one refuses the other refuses, at the same stage, and what both take has
// the same answer.
//
// Documents and variables are generated from `schema.graphql`, spoilt, and asked in several ways. Every run has a seed
// of its own, which is told; `tests/run differential` takes a number of cases, a seed, and the number of one case.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { ROOT } from '../harness/server.mjs';
import { Model } from './model.mjs';
import { Oracle, readSchema } from './oracle.mjs';
import { Run } from './run.mjs';
import { World } from './world.mjs';

const {
  AETHERIUM_TEST_DIFFERENTIAL_CASES: CASES = '20000',
  AETHERIUM_TEST_DIFFERENTIAL_SEED: SEED = String(Date.now() % 1_000_000_000),
  AETHERIUM_TEST_DIFFERENTIAL_CASE: ONLY,
} = process.env;

/** Below this, shares say nothing. */
const MANY = 1_000;

describe(`differential with graphql-js, seed ${SEED}`, () => {
  const schema = readSchema(readFileSync(path.join(ROOT, 'schema.graphql'), 'utf8'));
  let world;
  let run;
  before(async () => {
    console.log(`differential: seed ${SEED}; to repeat it: tests/run differential ${CASES} ${SEED}`);
    world = await World.create();
    const model = await Model.of(schema, world.frozen);
    run = new Run({ world, model, schema, oracle: new Oracle(schema), seed: SEED });
  });
  after(() => world.end());

  test('every request is judged and answered as graphql-js does', async (test) => {
    if (ONLY === undefined) await run.cases(0, Number(CASES));
    else await run.cases(Number(ONLY), Number(ONLY) + 1);
    test.diagnostic(`differential: ${run.summary()}`);
    assert(run.disagreements.size === 0, `${run.disagreements.size} kinds of disagreement:\n\n${run.report()}`);
  });

  test('the cases are of all kinds, and few of them are refused for their size', (test) => {
    const { cases, limits, answers, kinds, stages } = run.counts;
    if (cases < MANY) return test.skip('too few cases for shares');
    const share = (number) => number / cases;
    for (const stage of ['parse', 'validation', 'input', 'run']) {
      assert(share(stages[stage]) > 0.05, `only ${stages[stage]} of ${cases} cases are judged ${stage}`);
    }
    const valid = Object.entries(kinds).filter(([kind]) => kind.startsWith('valid '));
    const all = valid.reduce((sum, [, count]) => sum + count, 0);
    assert(kinds['valid run'] / all > 0.99, `of ${all} documents made to be valid, ${kinds['valid run']} are`);
    assert(share(limits) < 0.02, `${limits} of ${cases} cases are refused for their size`);
    const { equal } = answers;
    const unmodelled = Object.entries(answers).filter(([kind]) => kind.startsWith('unmodelled'));
    const unknown = unmodelled.reduce((sum, [, count]) => sum + count, 0);
    assert(share(equal) > 0.3, `only ${equal} of ${cases} cases have an answer that was compared`);
    assert(unknown < equal * 0.1, `the model says nothing of ${unknown} answers: ${JSON.stringify(Object.fromEntries(unmodelled))}`);
  });
});
