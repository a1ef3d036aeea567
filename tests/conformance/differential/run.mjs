// A run: many cases, each judged by the oracle and asked of the server in several ways.

import { Cases } from './cases.mjs';
import { shrink } from './shrink.mjs';
import { stageOf } from './transports.mjs';

/** Cases that are under way at once. */
const AT_ONCE = 24;

/** Kinds of disagreement that are made small; that many are told in full, and nobody reads more. */
const MOST_SHRUNK = 40;

export class Run {
  #world;
  #oracle;
  #model;
  #cases;
  #seed;
  /** How many cases there were of each kind, and with what outcome. */
  counts = { cases: 0, requests: 0, limits: 0, answers: {}, kinds: {}, stages: {} };
  /** Disagreements, the first of each kind with all that is known of it. */
  disagreements = new Map();

  constructor({ world, oracle, model, schema, seed }) {
    this.#world = world;
    this.#oracle = oracle;
    this.#model = model;
    this.#seed = seed;
    this.#cases = new Cases(seed, schema, world.vocabulary);
  }

  /** Tries the cases from one number up to, but not including, another. */
  async cases(from, to) {
    let next = from;
    const worker = async () => {
      while (next < to) await this.#try(this.#cases.number(next++));
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const found = [...this.disagreements.values()].sort((one, other) => other.times - one.times);
    for (const known of found.slice(0, MOST_SHRUNK)) await this.#shrink(known);
  }

  /** What was done, in a line. */
  summary() {
    const { cases, requests, answers, limits } = this.counts;
    const known = answers['half of a twin'] ?? 0;
    return `${cases} cases in ${requests} requests, ${answers.equal} answers compared, ${limits} refused for their size, ${known} half of a twin`;
  }

  async #try(request) {
    const { counts } = this;
    const verdict = this.#oracle.judge(request);
    counts.cases += 1;
    count(counts.kinds, `${request.kind} ${verdict.stage}`);
    const found = await this.#disagreement(request, verdict);
    if (found) this.#note(request, verdict, found);
  }

  /** What the server does that it should not; nothing if all is well. */
  async #disagreement(request, verdict) {
    const asker = this.#world.askerFor(request);
    const first = await this.#ask('first', asker.post(request));
    const problem = this.#compare(request, verdict, first);
    if (problem) return problem;

    const again = await this.#ask('again', asker.post(request, { blanks: request.isAgainByteForByte ? '' : ' ' }));
    if (again.stage !== first.stage) return { way: 'again', stage: again.stage, answer: again.answer };
    if (asker === this.#world.frozen && first.stage === 'run') {
      const compared = this.#model.compare(verdict, first.answer, again.answer);
      if (typeof compared === 'object') return { way: 'answer', stage: compared.kind, answer: compared };
      count(this.counts.answers, compared);
    }

    const other = await this.#another(request, verdict, asker);
    if (other && other.stage !== first.stage) return { way: request.way, stage: other.stage, answer: other.answer };
    return undefined;
  }

  async #another(request, verdict, asker) {
    const isContentWithout = verdict.stage === 'run' && request.text.includes('subscription');
    switch (request.way) {
      case 'get':
        // Commands and streams are not for GET.
        if (/mutation|subscription/u.test(request.text) || !asker.canGet(request)) return undefined;
        return this.#ask('get', asker.get(request));
      case 'sse':
        return this.#ask('sse', asker.sse(request, { isContentWithout }));
      case 'ws':
        return this.#ask('ws', asker.ws(request, { isContentWithout }));
      default:
        return undefined;
    }
  }

  async #ask(way, asking) {
    this.counts.requests += 1;
    const { answer, odd } = await asking;
    return { way, answer, stage: odd ?? stageOf(answer) };
  }

  #compare(request, verdict, { stage, answer }) {
    count(this.counts.stages, stage);
    if (stage === 'limit') {
      this.counts.limits += 1;
      return undefined;
    }
    if (stage === verdict.stage || stage === verdict.also) return undefined;
    return { way: 'first', stage, answer };
  }

  #note(request, verdict, found) {
    const signature = `${verdict.stage} → ${found.stage} (${found.way}): ${inGeneral(verdict.reason ?? '')} → ${inGeneral(said(found.answer))}`;
    const known = this.disagreements.get(signature);
    if (known) known.times += 1;
    else this.disagreements.set(signature, { signature, request, verdict, found, times: 1 });
  }

  /** Makes the request of a disagreement small. */
  async #shrink(known) {
    const { request, verdict, found } = known;
    if (found.way !== 'first' && found.way !== 'answer') return;
    known.small = await shrink(request, async (candidate) => {
      const judged = this.#oracle.judge(candidate);
      if (judged.stage !== verdict.stage) return false;
      if (inGeneral(judged.reason ?? '') !== inGeneral(verdict.reason ?? '')) return false;
      const problem = await this.#disagreement({ ...candidate, way: 'none' }, judged);
      return problem?.stage === found.stage && problem.way === found.way;
    });
  }

  /** What disagrees, for people. */
  report() {
    const lines = [];
    const all = [...this.disagreements.values()].sort((one, other) => other.times - one.times);
    for (const { signature, request, small, verdict, found, times } of all) {
      const { text, operationName, variables } = small ?? request;
      lines.push(
        `${times} × ${signature}`,
        `  tests/run differential 1 ${this.#seed} ${request.index}  (made as: ${request.kind})`,
        `  document: ${JSON.stringify(text)}`,
        ...(operationName === undefined ? [] : [`  operationName: ${JSON.stringify(operationName)}`]),
        ...(variables === undefined ? [] : [`  variables: ${variables}`]),
        `  graphql-js: ${verdict.stage}${verdict.reason ? `: ${verdict.reason}` : ''}`,
        `  server (${found.way}): ${found.stage}: ${JSON.stringify(found.answer).slice(0, 600)}`,
        '',
      );
    }
    return lines.join('\n');
  }
}

const count = (table, key) => (table[key] = (table[key] ?? 0) + 1);

/** What the server says of it; of a longer message, beginning and end. */
const said = (answer) => {
  const lines = (answer?.errors?.[0]?.message ?? '').split('\n');
  return lines.length > 1 ? `${lines[0]} ${lines.at(-1)}` : lines[0];
};

/** A sentence without what it is about, so that sentences of one kind are equal. */
const inGeneral = (sentence) => sentence.replace(/"[^"]*"|'[^']*'|[0-9]+/gu, '…').replace(/Did you mean.*/u, '').replace(/(?<=found |invalid value |represent ).*/u, '…').slice(0, 120);
