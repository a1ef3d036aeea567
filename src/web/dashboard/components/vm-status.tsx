// The status of a VM as shape, word and colour.

import type { VmStatus } from '../api/generated';
import { Status, type Tone } from './status';

export const VM_STATUS: Record<VmStatus, { tone: Tone; title: string }> = {
  CREATED: { tone: 'quiet', title: 'Accepted, nothing started yet; it holds a slot' },
  STARTING: { tone: 'quiet', title: 'Booting; it holds a slot' },
  RUNNING: { tone: 'good', title: 'Up' },
  STOPPING: { tone: 'warn', title: 'Shutting down; it holds its slot until then' },
  STOPPED: { tone: 'quiet', title: 'Down, and can be started again; it holds no slot' },
  FAILED: { tone: 'bad', title: 'Ended by an error; it holds no slot' },
};

export function VmStatusChip({ status, bare }: { status: VmStatus; bare?: boolean }) {
  const { tone, title } = VM_STATUS[status];
  return <Status tone={tone} bare={bare} title={title}>{status.toLowerCase()}</Status>;
}
