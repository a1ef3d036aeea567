// Queries and mutations, over `POST /graphql` with the session's cookie.

import { endpoint } from '../root';
import { checkSession, isIn } from '../session';
import { noteServerTime } from '../time';
import type { Operation } from './operation';

/** A request that was refused or got no answer. The message is the server's own sentence where there is one. */
export class RequestError extends Error {
  constructor(
    message: string,
    /** `extensions.code` of the error, such as `CONFLICT`; `UNREACHABLE` if the server did not answer. */
    readonly code: string,
  ) {
    super(message);
  }
}

interface Answer<Result> {
  data?: Result | null;
  errors?: ReadonlyArray<{ message: string; extensions?: { code?: string } }>;
}

/** Ends what is under way when nobody is signed in any more: its answer could only be a refusal. */
let whileIn = new AbortController();
isIn.subscribe((isIn) => {
  if (isIn) return;
  whileIn.abort();
  whileIn = new AbortController();
});

/** Sends an operation. Any error of the answer is thrown, also if there are data beside it. */
export async function ask<Result, Variables>(
  { text, name }: Operation<Result, Variables>,
  variables: Variables,
  signal?: AbortSignal,
): Promise<Result> {
  const { signal: ended } = whileIn;
  const isOver = () => new RequestError('You are signed out.', 'UNAUTHENTICATED');
  if (!isIn.peek()) throw isOver();
  let response: Response;
  let answer: Answer<Result>;
  try {
    response = await fetch(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json, application/json' },
      body: JSON.stringify({ query: text, operationName: name, variables }),
      cache: 'no-store',
      signal: signal ? AbortSignal.any([signal, ended]) : ended,
    });
    noteServerTime(response.headers.get('date'));
    answer = await response.json() as Answer<Result>;
  } catch (error) {
    if (signal?.aborted) throw error;
    if (ended.aborted) throw isOver();
    throw new RequestError('The server cannot be reached.', 'UNREACHABLE');
  }
  if (response.status === 401) void checkSession();
  const [error] = answer.errors ?? [];
  if (error) throw new RequestError(error.message, error.extensions?.code ?? 'INTERNAL');
  if (!response.ok || !answer.data) {
    const { message } = answer as { message?: string };
    throw new RequestError(message ?? `The server answers ${response.status}.`, 'INTERNAL');
  }
  return answer.data;
}
