// The status of a VM as shape, word and colour.

import type { VmStatus } from '../api/generated';
import { Status, type Tone } from './status';

export const VM_STATUS: Record<VmStatus, { tone: Tone; title: string }> = {
  CREATED: { tone: 'quiet', title: 'Accepted, not started yet; occupies a VM slot' },
  STARTING: { tone: 'quiet', title: 'Booting; occupies a VM slot' },
  RUNNING: { tone: 'good', title: 'Running; occupies a VM slot' },
  STOPPING: { tone: 'warn', title: 'Shutting down; occupies a VM slot until it has stopped' },
  STOPPED: { tone: 'quiet', title: 'Shut down, can be started again; occupies no VM slot' },
  FAILED: { tone: 'bad', title: 'Ended by an error; occupies no VM slot' },
};

export function VmStatusChip({ status, bare }: { status: VmStatus; bare?: boolean }) {
  const { tone, title } = VM_STATUS[status];
  return <Status tone={tone} bare={bare} title={title}>{status.toLowerCase()}</Status>;
}
