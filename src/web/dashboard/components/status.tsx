// Status is shape, word and colour: round takes VMs, a triangle drains or is overdue, a square is offline or failed.

import type { ComponentChildren } from 'preact';
import type { WorkerStatus } from '../api/generated';

export type Tone = 'good' | 'warn' | 'bad' | 'quiet';

const SHAPES: Record<Tone, string> = {
  good: 'M5 0.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9',
  warn: 'M5 0.6L9.9 9.4H0.1z',
  bad: 'M0.8 0.8h8.4v8.4h-8.4z',
  quiet: 'M0.5 4h9v2h-9z',
};

export function Shape({ tone }: { tone: Tone }) {
  return <svg viewBox="0 0 10 10" aria-hidden="true"><path d={SHAPES[tone]} /></svg>;
}

/** `bare` is without a background, for rows of tables. */
export function Status({ tone, bare, title, children }: { tone: Tone; bare?: boolean; title?: string; children: ComponentChildren }) {
  return <span class={`status ${tone}${bare ? ' bare' : ''}`} title={title}><Shape tone={tone} />{children}</span>;
}

export interface StatusFacts {
  status: WorkerStatus;
  schedulingPolicy?: 'ACTIVE' | 'DRAINING';
  drain?: { state: string; safeToPowerOff?: boolean } | null;
}

/** What the status of a worker is called, and with which tone. */
export function workerStatus({ status, schedulingPolicy, drain }: StatusFacts): { tone: Tone; word: string; title: string } {
  switch (status) {
    case 'OFFLINE':
      return schedulingPolicy === 'DRAINING'
        ? { tone: 'bad', word: 'offline', title: 'No heartbeat within the time limit; it is also being drained' }
        : { tone: 'bad', word: 'offline', title: 'No heartbeat within the time limit' };
    case 'DRAINING':
      if (drain?.safeToPowerOff) return { tone: 'good', word: 'safe to power off', title: 'Drained: no VMs are left' };
      if (drain?.state === 'OVERDUE') return { tone: 'warn', word: 'overdue', title: 'Draining, and its deadline has passed' };
      return { tone: 'warn', word: 'draining', title: 'Keeps its VMs, takes no new ones' };
    case 'ACTIVE':
      return { tone: 'good', word: 'active', title: 'Takes new VMs' };
  }
}

export function WorkerStatusChip({ bare, ...facts }: StatusFacts & { bare?: boolean }) {
  const { tone, word, title } = workerStatus(facts);
  return <Status tone={tone} bare={bare} title={title}>{word}</Status>;
}
