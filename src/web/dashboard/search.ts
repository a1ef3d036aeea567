// The search language: `zone:us-west-1a label.env=prod status:offline`, words with a key and words without, all of
// which must hold. It is kept in the address as it was typed, and asked of the server as a filter.

import type { WorkerFilter, WorkerStatus } from './api/generated';

export interface Term {
  /** What stands before the sign, in lower case but for a label's own key; empty for a word without one. */
  key: string;
  sign: ':' | '=' | '>=' | '';
  /** What stands after it, without its quotes. */
  value: string;
  /** The parts of it between commas; a comma in quotes is one of the value's own. */
  values: readonly string[];
}

export interface Search {
  terms: Term[];
  filter: WorkerFilter;
  /** What is not understood, as sentences for who typed it. */
  problems: string[];
}

/** A word with a key: `zone:us-west-1a`. */
const KEYED = /^([a-z][a-z-]*(?:\.[^:=\s]+?)?)(>=|:|=)(.*)$/is;

/** Words of a search; one with spaces or commas of its own in it is quoted: `label.owner="night shift"`. */
export function terms(text: string): Term[] {
  const words = text.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
  return words.map((word) => {
    const found = KEYED.exec(word);
    if (!found) return termOf('', '', [word.replaceAll('"', '')]);
    const [, name = '', sign = '', value = ''] = found;
    // A label's key is its own, whatever the case.
    const [head = '', ...rest] = name.replaceAll('"', '').split('.');
    return termOf([head.toLowerCase(), ...rest].join('.'), sign as Term['sign'], parts(value));
  });
}

function termOf(key: string, sign: Term['sign'], values: readonly string[]): Term {
  return { key, sign, values, value: values.join(',') };
}

/** What stands between the commas that are not in quotes, without the quotes. */
function parts(text: string): string[] {
  const found = [''];
  let isQuoted = false;
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted;
    else if (character === ',' && !isQuoted) found.push('');
    else found[found.length - 1] += character;
  }
  return found;
}

export function print(terms: readonly Term[]): string {
  return terms.map(({ key, sign, value, values }) => {
    if (key !== '') return `${key}${sign}${values.map(quoted).join(',')}`;
    return /\s/.test(value) || KEYED.test(value) ? `"${value}"` : value;
  }).join(' ');
}

function quoted(value: string): string {
  return /[\s,]/.test(value) ? `"${value}"` : value;
}

/** The search for what has this one value under a key: `zone:us-west-1a`, `label.owner="night shift"`. */
export function searchFor(key: string, value: string): string {
  return print([termFor(key, value)]);
}

/** The term of one value, whatever is in it. */
export function termFor(key: string, value: string): Term {
  return termOf(key, isLabel(key) ? '=' : ':', [value]);
}

function isLabel(key: string): boolean {
  return key.startsWith('label.');
}

const STATUSES: Record<string, WorkerStatus> = {
  active: 'ACTIVE', online: 'ACTIVE', draining: 'DRAINING', drain: 'DRAINING', offline: 'OFFLINE', silent: 'OFFLINE',
};

/** The keys of a search for workers, as they are named to who has typed another. */
const KEYS = 'zone, status, label.KEY, cap, id, healthy, free.cpu, free.mem or free.vms';

/** What a search asks for of workers. `keys` are those that make sense on the page, in words. */
export function workerSearch(text: string, keys = KEYS): Search {
  const found = terms(text);
  const filter: { -readonly [K in keyof WorkerFilter]: WorkerFilter[K] } = {};
  const problems: string[] = [];
  const words: string[] = [];
  const add = <K extends 'ids' | 'zones' | 'statuses' | 'capabilities' | 'labels'>(key: K, ...values: NonNullable<WorkerFilter[K]>[number][]): void => {
    filter[key] = [...(filter[key] ?? []), ...values] as never;
  };
  const atLeast = (key: 'minFreeCpuCores' | 'minFreeMemoryMb' | 'minFreeVmSlots', term: Term, amount: number | null): void => {
    if (amount === null || !Number.isFinite(amount)) problems.push(`Unknown amount “${term.value}”: use ${term.key}>=4`);
    else filter[key] = Math.max(filter[key] ?? 0, Math.ceil(amount));
  };
  for (const term of found) {
    const { key, value } = term;
    if (key === '') {
      words.push(value);
      continue;
    }
    // A key that waits for its value asks for nothing yet.
    if (value === '' && !key.startsWith('label')) continue;
    const values = term.values.filter(Boolean);
    if (key === 'zone') {
      if (value === 'none') filter.hasZone = false;
      else add('zones', ...values);
    } else if (key === 'status') {
      for (const word of values) {
        const status = STATUSES[word.toLowerCase()];
        if (status) add('statuses', status);
        else problems.push(`Unknown status “${word}”: use active, draining or offline`);
      }
    } else if (isLabel(key)) {
      add('labels', term.sign === '' || value === '' ? { key: key.slice(6) } : { key: key.slice(6), value });
    } else if (key === 'label') {
      if (value) add('labels', value.includes('=') ? { key: value.split('=')[0]!, value: value.slice(value.indexOf('=') + 1) } : { key: value });
    } else if (key === 'cap' || key === 'capability') add('capabilities', ...values);
    else if (key === 'id' || key === 'worker') add('ids', ...values);
    else if (key === 'healthy') filter.isHealthy = !/^(no|false|0)$/i.test(value);
    else if (key === 'free.cpu' || key === 'free.cores') atLeast('minFreeCpuCores', term, Number(value));
    else if (key === 'free.mem' || key === 'free.memory') atLeast('minFreeMemoryMb', term, mebibytes(value));
    else if (key === 'free.vms' || key === 'free.slots') atLeast('minFreeVmSlots', term, Number(value));
    else problems.push(`Unknown filter “${key}”: use ${keys}`);
  }
  if (words.length > 0) filter.search = words.join(' ');
  return { terms: found, filter, problems };
}

/**
 * A filter as parameters of `GET /api/v1/workers`, and as options of `aetherium workers`; null instead of the options if
 * the command line cannot ask for all of it, and would show other workers.
 */
export function otherWays(filter: WorkerFilter): { parameters: [string, string][]; options: [string, string][] | null } {
  const labels = (filter.labels ?? []).map(({ key, value }) => (value === undefined || value === null ? key : `${key}=${value}`));
  const statuses = (filter.statuses ?? []).map((status) => status.toLowerCase());
  const repeated = (name: string, values: readonly string[] | null | undefined): [string, string][] => (values ?? []).map((value) => [name, value]);
  const amount = (name: string, value: number | null | undefined): [string, string][] => (value === undefined || value === null ? [] : [[name, String(value)]]);
  return {
    parameters: [
      ...repeated('id', filter.ids), ...repeated('zone', filter.zones), ...repeated('status', statuses), ...repeated('label', labels),
      ...repeated('capability', filter.capabilities),
      ...(filter.hasZone === undefined || filter.hasZone === null ? [] : [['has_zone', String(filter.hasZone)] as [string, string]]),
      ...(filter.isHealthy === undefined || filter.isHealthy === null ? [] : [['is_healthy', String(filter.isHealthy)] as [string, string]]),
      ...(filter.search ? [['search', filter.search] as [string, string]] : []),
      ...amount('min_free_cpu_cores', filter.minFreeCpuCores), ...amount('min_free_memory_mb', filter.minFreeMemoryMb), ...amount('min_free_vm_slots', filter.minFreeVmSlots),
    ],
    options: !isForCommand(filter) ? null : [
      ...repeated('-l', labels), ...repeated('--zone', filter.zones), ...repeated('--status', statuses), ...repeated('--capability', filter.capabilities),
      ...(filter.hasZone === false ? [['--without-zone', ''] as [string, string]] : []),
      ...(filter.search ? [['--search', filter.search] as [string, string]] : []),
    ],
  };
}

/** Whether the command line can ask for what a filter does: it has no ids, no health and no free room, and zones or none. */
function isForCommand({ ids, zones, hasZone, isHealthy, minFreeCpuCores, minFreeMemoryMb, minFreeVmSlots }: WorkerFilter): boolean {
  const isNothing = [ids, isHealthy, minFreeCpuCores, minFreeMemoryMb, minFreeVmSlots].every((wish) => wish === undefined || wish === null);
  return isNothing && hasZone !== true && !(hasZone === false && zones) && !zones?.includes('');
}

/** An amount of memory in MiB: `8192`, `8g`, `8GiB`, `512m`; null if it is none. */
export function mebibytes(text: string): number | null {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim()) ?? [];
  if (number === undefined) return null;
  const factor = { '': 1, k: 1 / 1024, m: 1, g: 1024, t: 1024 ** 2 }[(unit ?? '').toLowerCase()] ?? 1;
  return Number(number) * factor;
}

/** The search with one term more, or without it if it is there: what a facet does. */
export function toggle(text: string, key: string, value: string): string {
  const found = terms(text);
  const at = found.findIndex((term) => asksFor(term, key, value));
  if (at >= 0) {
    const rest = isLabel(key) ? [] : found[at]!.values.filter((other) => other !== value);
    if (rest.length > 0) found[at] = termOf(key, found[at]!.sign, rest);
    else found.splice(at, 1);
    return print(found);
  }
  const same = isLabel(key) ? -1 : found.findIndex((term) => term.key === key && term.value !== 'none');
  if (same >= 0) found[same] = termOf(key, found[same]!.sign, [...found[same]!.values.filter(Boolean), value]);
  else found.push(termFor(key, value));
  return print(found);
}

/** Whether a facet is chosen. */
export function has(text: string, key: string, value: string): boolean {
  return terms(text).some((term) => asksFor(term, key, value));
}

/** A label has one value, with its commas; any other key may have several. */
function asksFor(term: Term, key: string, value: string): boolean {
  return term.key === key && (isLabel(key) ? term.value === value : term.values.includes(value));
}
