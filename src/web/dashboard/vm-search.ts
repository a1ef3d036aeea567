// The search language for VMs: `status:failed zone:us-west-1a worker:rack-7`, in the words of `search.ts`.

import type { VmFilter, VmStatus } from './api/generated';
import { terms, type Term } from './search';

export interface VmSearch {
  terms: Term[];
  filter: VmFilter;
  /** The filter without what its facets choose: how many there are of each status, and in each zone. */
  withoutStatuses: VmFilter;
  withoutZones: VmFilter;
  /** What is not understood, as sentences for who typed it. */
  problems: string[];
}

/** All statuses, in the order in which a VM goes through them. */
export const VM_STATUSES: readonly VmStatus[] = ['CREATED', 'STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'FAILED'];

/** What a search asks for of VMs. Without a status, it is those that hold a slot. */
export function vmSearch(text: string): VmSearch {
  const found = terms(text);
  const filter: { -readonly [K in keyof VmFilter]: VmFilter[K] } = {};
  const problems: string[] = [];
  const words: string[] = [];
  for (const { key, value, values: parts } of found) {
    if (key === '') {
      words.push(value);
      continue;
    }
    // A key that waits for its value asks for nothing yet.
    if (value === '') continue;
    const values = parts.filter(Boolean);
    if (key === 'zone') {
      if (value === 'none') filter.hasZone = false;
      else filter.zones = [...filter.zones ?? [], ...values];
    } else if (key === 'status') {
      for (const word of values) {
        const status = VM_STATUSES.find((status) => status === word.toUpperCase());
        if (status) filter.statuses = [...filter.statuses ?? [], status];
        else if (/^(any|all)$/i.test(word)) filter.statuses = VM_STATUSES;
        else problems.push(`Unknown status “${word}”: use created, starting, running, stopping, stopped, failed or any`);
      }
    } else if (key === 'worker' || key === 'on') filter.workerIds = [...filter.workerIds ?? [], ...values];
    else if (key === 'id' || key === 'vm') filter.ids = [...filter.ids ?? [], ...values];
    else if (key === 'duplicate') filter.duplicate = !/^(no|false|0)$/i.test(value);
    else problems.push(`Unknown filter “${key}”: use status, zone, worker, id or duplicate`);
  }
  if (words.length > 0) filter.search = words.join(' ');
  const { statuses: _statuses, ...withoutStatuses } = filter;
  const { zones: _zones, hasZone: _hasZone, ...withoutZones } = filter;
  return { terms: found, filter, withoutStatuses, withoutZones, problems };
}

/** Whether a filter only says where: then the sums that workers report answer it, and no VM has to be read. */
export function isOnlyAboutPlace({ statuses, ids, duplicate, search }: VmFilter): boolean {
  return !statuses && !ids && duplicate === undefined && !search;
}
