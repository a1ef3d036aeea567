// What is in the way of a drain, told apart: VMs that have not left yet, and what holds them or the drain up.

export interface Blocker {
  readonly kind: string;
  readonly vmId: string | null;
  readonly message: string;
  /** What the VM's worker says of it, such as why it cannot be moved. */
  readonly note: string | null;
}

/** VMs that only have not left yet, and all else: VMs with a note, and what is no VM. */
export function splitBlockers<One extends Pick<Blocker, 'kind' | 'note'>>(blockers: readonly One[]): { leaving: One[]; blocking: One[] } {
  const isLeaving = ({ kind, note }: One): boolean => (kind === 'VM_RUNNING' || kind === 'VM_STOPPING') && note === null;
  return { leaving: blockers.filter(isLeaving), blocking: blockers.filter((blocker) => !isLeaving(blocker)) };
}
