// The workers that a page shows, asked for elsewhere: in a terminal or an editor.

import type { WorkerFilter } from '../api/generated';
import { otherWays } from '../search';
import { quote, type Request } from './copy';

/**
 * The workers that match a filter: the same ones in each way that is offered, so no command line where that cannot ask for
 * them. `order` is that of REST and of the command line, such as `-cpu_usage`; `limit` is how many REST gives at once.
 */
export function workersRequest(filter: WorkerFilter, { graphql, variables, order = '', limit }: Pick<Request, 'graphql' | 'variables'> & { order?: string; limit?: number }): Request {
  const { parameters, options } = otherWays(filter);
  const query = new URLSearchParams([...parameters, ...(order ? [['sort', order]] : []), ...(limit === undefined ? [] : [['limit', String(limit)]])]).toString();
  return {
    path: `workers${query ? `?${query}` : ''}`,
    graphql,
    variables,
    ...(options === null ? {} : { cli: ['workers', ...words(options), ...(order ? ['--sort', order] : [])].join(' ') }),
  };
}

/** Options as words of a command line. */
export function words(options: readonly (readonly [name: string, value: string])[]): string[] {
  return options.flatMap(([name, value]) => (value === '' ? [name] : [name, quote(value)]));
}
