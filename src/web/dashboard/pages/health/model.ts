// What the parts of a server are for and what their states mean, and which limits its own description of the API tells.

import { exactLength } from '../../time';
import { count } from '../../format';

export interface Words {
  /** What the part does. */
  does: string;
  /** What it means that it does not work. */
  means: string;
  /** What to do about it. */
  remedy: string;
}

const PARTS: Readonly<Record<string, Words>> = {
  database: {
    does: 'Answers questions about history.',
    means: 'It has not answered for seconds. The present state is still shown, from memory; events and ended drains cannot be read.',
    remedy: 'Look whether the database runs and is reached from the server; it goes on by itself within a second or two.',
  },
  commits: {
    does: 'Writes what operators and workers say.',
    means: 'The last commit failed or hangs, or too many wait. Drains and heartbeats are refused with 503 and change nothing; agents wait and try again.',
    remedy: 'Look at the disk (full, read-only), at locks, and at the server’s log. Nothing that was acknowledged is lost.',
  },
  replication: {
    does: 'Brings what other servers on the same database commit.',
    means: 'For five seconds this server has not seen that it knows everything: what it answers may be older than that.',
    remedy: 'Ask another server meanwhile. If all say so, the database is slow or away.',
  },
  journal: {
    does: 'Puts every change in order.',
    means: 'It has ended: this server will answer nothing new.',
    remedy: 'Start the server again; its log says why it ended.',
  },
  consul: {
    does: 'Announces this server in Consul.',
    means: 'This server is not announced there, yet or for now. Nothing of the cluster depends on it.',
    remedy: 'Look whether the Consul agent runs, and whether its token may register services.',
  },
};

export function wordsOf(part: string): Words {
  return PARTS[part] ?? { does: 'A part of the server.', means: 'It does not work.', remedy: 'The server’s log says why.' };
}

export interface Limit {
  what: string;
  most: string;
}

type Json = { readonly [key: string]: unknown } | undefined;

function inside(document: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((value, key) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined), document);
}

function parameter(document: unknown, path: string, name: string): Json {
  const all = inside(document, 'paths', path, 'get', 'parameters');
  const found = Array.isArray(all) ? all.find((one: { name?: unknown }) => one.name === name) as { schema?: unknown } | undefined : undefined;
  return found?.schema as Json;
}

/** Limits that the server's OpenAPI document tells, in words; those that it does not tell are left out. */
export function limitsOf(document: unknown): Limit[] {
  const schema = (name: string, ...path: string[]): unknown => inside(document, 'components', 'schemas', name, 'properties', ...path);
  const asked: [string, unknown, (value: number) => string][] = [
    ['rows of a page', parameter(document, '/workers', 'limit')?.['maximum'], count],
    ['events of a page', parameter(document, '/events', 'limit')?.['maximum'], count],
    ['values of one filter', parameter(document, '/events', 'kind')?.['maxItems'], count],
    ['longest deadline of a drain', schema('DrainRequest', 'deadline_seconds', 'maximum'), (seconds) => exactLength(seconds * 1_000)],
    ['characters of a reason', schema('DrainRequest', 'reason', 'maxLength'), count],
    ['metadata entries of a drain', schema('DrainRequest', 'metadata', 'maxProperties'), count],
    ['labels of a worker', schema('Registration', 'labels', 'maxProperties'), count],
    ['capabilities of a worker', schema('Registration', 'capabilities', 'maxItems'), count],
    ['VMs in one report of a worker', schema('Heartbeat', 'vms', 'maxItems'), count],
    ['VMs of one reservation', schema('ReservationRequest', 'count', 'maximum'), count],
    ['heartbeats that a gateway sends at once', schema('Heartbeats', 'heartbeats', 'maxItems'), count],
    ['workers that one join token lets in', schema('TokenRequest', 'max_uses', 'maximum'), count],
  ];
  return asked.flatMap(([what, value, words]) => (typeof value === 'number' ? [{ what, most: words(value) }] : []));
}

/** The version that a document of the API tells of its server; null if it tells none. */
export function versionOf(document: unknown): string | null {
  const version = inside(document, 'info', 'version');
  return typeof version === 'string' ? version : null;
}

/** How far behind a server may be, as people say it. */
export function staleness(seconds: number): string {
  if (seconds <= 0) return 'not at all';
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1_000))} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : exactLength(seconds * 1_000);
}
