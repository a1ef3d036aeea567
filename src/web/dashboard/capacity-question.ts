// The question of the capacity page, as its address says it and as the API is asked.

import type { CapacityRequest, PlacementDistinct, PlacementRequest, PlacementStrategy } from './api/generated';
import { mebibytes } from './search';

export interface Question {
  vcpus: number;
  memoryMb: number;
  diskGb: number;
  /** How many VMs the placement is asked for. */
  count: number;
  zones: string[];
  labels: string;
  capabilities: string[];
  strategy: PlacementStrategy;
  distinct: PlacementDistinct;
  /** Zones and workers that count as lost. The empty text is for workers without a zone. */
  withoutZones: string[];
  withoutWorkers: string[];
}

/** The API's limit for one request. */
export const MOST_VMS = 1_000;

/** The name in the address of workers without a zone, which the API calls by the empty text. */
const NO_ZONE = 'none';

const list = (text: string | null): string[] => (text ?? '').split(',').map((one) => one.trim()).filter(Boolean);

/**
 * What an address says under a name that may be repeated: `without=a&without=b`. Where the name is there once, commas
 * separate values, as in addresses of before; `valuesOf` writes none that this would read wrongly.
 */
function repeated(query: URLSearchParams, name: string): string[] {
  const values = query.getAll(name);
  return values.length > 1 ? values.filter(Boolean) : list(values[0] ?? null);
}

/** The values of a name in the address. One with a comma in it is never alone: an empty one that means nothing is beside it. */
function valuesOf(values: readonly string[]): string[] {
  return values.length === 1 && values[0]!.includes(',') ? [...values, ''] : [...values];
}

const zonesOf = (query: URLSearchParams, name: string): string[] => repeated(query, name).map((zone) => (zone === NO_ZONE ? '' : zone));

/** A whole number from a text, within bounds; null if it is none. */
export function whole(text: string, least: number, most = 2_147_483_647): number | null {
  const plain = text.trim().replaceAll(/[,\s]/g, '');
  if (!/^\d+$/.test(plain)) return null;
  const number = Number(plain);
  return number >= least && number <= most ? number : null;
}

/** An amount of memory in MiB from what somebody types, where a number alone is GiB; null if it is none. */
export function typedMemory(text: string): number | null {
  const plain = text.trim();
  const amount = /^\d+(?:\.\d+)?$/.test(plain) ? Number(plain) * 1024 : mebibytes(plain);
  if (amount === null) return null;
  const rounded = Math.round(amount);
  return rounded >= 1 && rounded <= 2_147_483_647 ? rounded : null;
}

/** How an amount of memory stands in the address: `8g`, `512m`. */
export function memoryWord(memoryMb: number): string {
  return memoryMb % 1024 === 0 ? `${memoryMb / 1024}g` : `${memoryMb}m`;
}

/** How it stands in its field, where a number alone is GiB. */
export function memoryField(memoryMb: number): string {
  return memoryMb % 256 === 0 ? String(memoryMb / 1024) : `${memoryMb}m`;
}

/** What an address asks. What it says wrongly, it does not say. */
export function questionOf(query: URLSearchParams): Question {
  const apart = query.get('apart');
  return {
    vcpus: whole(query.get('vcpu') ?? '', 1) ?? 4,
    memoryMb: typedMemory(query.get('mem') ?? '') ?? 8_192,
    diskGb: whole(query.get('disk') ?? '', 0) ?? 0,
    count: whole(query.get('n') ?? '', 1, MOST_VMS) ?? 10,
    zones: zonesOf(query, 'zone'),
    labels: query.get('label') ?? '',
    capabilities: list(query.get('cap')),
    strategy: query.get('order') === 'pack' ? 'PACK' : 'SPREAD',
    distinct: apart === 'worker' ? 'WORKER' : apart === 'zone' ? 'ZONE' : 'NONE',
    withoutZones: zonesOf(query, 'without'),
    withoutWorkers: repeated(query, 'lost'),
  };
}

/** Labels as they are typed: `env=prod, gpu`. */
export function labelFilters(text: string): { key: string; value?: string }[] {
  return list(text).map((one) => {
    const at = one.indexOf('=');
    return at < 0 ? { key: one } : { key: one.slice(0, at), value: one.slice(at + 1) };
  });
}

/** The request for how many fit; with what the question takes as lost, or without that. */
export function capacityRequest(question: Question, { isLoss }: { isLoss: boolean }): CapacityRequest {
  const { vcpus, memoryMb, diskGb, zones, labels, capabilities, withoutWorkers, withoutZones } = question;
  const wanted = labelFilters(labels);
  return {
    vcpus,
    memoryMb,
    ...(diskGb > 0 ? { diskGb } : {}),
    ...(zones.length > 0 ? { zones } : {}),
    ...(wanted.length > 0 ? { labels: wanted } : {}),
    ...(capabilities.length > 0 ? { capabilities } : {}),
    ...(isLoss && withoutWorkers.length > 0 ? { withoutWorkers } : {}),
    ...(isLoss && withoutZones.length > 0 ? { withoutZones } : {}),
  };
}

/** The request for where they would go. */
export function placementRequest(question: Question): PlacementRequest {
  const { count, strategy, distinct } = question;
  return { ...capacityRequest(question, { isLoss: true }), count, strategy, distinct };
}

/** The values of `without` or `zone` in the address for these zones. */
export function zoneValues(zones: readonly string[]): string[] {
  return valuesOf(zones.map((one) => one || NO_ZONE));
}

/** The same with one zone more, or without it if it is there. */
export function toggledZone(zones: readonly string[], zone: string): string[] {
  return zoneValues(zones.includes(zone) ? zones.filter((one) => one !== zone) : [...zones, zone]);
}

/** The question as the command line asks it. */
export function commandOf(question: Question, quote: (text: string) => string): string {
  const { vcpus, memoryMb, diskGb, count, zones, labels, capabilities, withoutWorkers, withoutZones, strategy, distinct } = question;
  return [
    `fits --vcpus ${vcpus} --memory ${memoryMb % 1024 === 0 ? `${memoryMb / 1024}GiB` : `${memoryMb}MiB`}`,
    ...(diskGb > 0 ? [`--disk ${diskGb}GB`] : []),
    `--count ${count}`,
    ...zones.filter(Boolean).map((zone) => `--zone ${quote(zone)}`),
    ...withoutZones.filter(Boolean).map((zone) => `--without-zone ${quote(zone)}`),
    ...withoutWorkers.map((id) => `--without-worker ${quote(id)}`),
    ...list(labels).map((label) => `--label ${quote(label)}`),
    ...capabilities.map((one) => `--capability ${quote(one)}`),
    ...(strategy === 'PACK' ? ['--strategy pack'] : []),
    ...(distinct !== 'NONE' ? [`--distinct ${distinct.toLowerCase()}`] : []),
  ].join(' ');
}

/** The same as parameters of `GET /placement`. */
export function placementQuery(question: Question): string {
  const query = new URLSearchParams({ vcpus: String(question.vcpus), memory_mb: String(question.memoryMb), count: String(question.count) });
  if (question.diskGb > 0) query.set('disk_gb', String(question.diskGb));
  for (const zone of question.zones) query.append('zone', zone);
  for (const label of list(question.labels)) query.append('label', label);
  for (const one of question.capabilities) query.append('capability', one);
  for (const id of question.withoutWorkers) query.append('without_worker', id);
  for (const zone of question.withoutZones) query.append('without_zone', zone);
  if (question.strategy === 'PACK') query.set('strategy', 'pack');
  if (question.distinct !== 'NONE') query.set('distinct', question.distinct.toLowerCase());
  return query.toString();
}
