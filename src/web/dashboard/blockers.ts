// What is in the way of a drain, told apart: VMs that have not left yet, and what holds them or the drain up.

export interface Blocker {
  readonly kind: string;
  readonly vmId: string | null;
  readonly message: string;
  /** What the VM's worker says about it, such as why it cannot be moved; absent from servers that tell it in the message only. */
  readonly note?: string | null;
}

/** Where a server tells the note in the message only: after what the VM does. */
const NOTE_IN_MESSAGE = / is (?:about to start|starting|running|stopping): (.+)$/s;

/** What the worker of a VM says about it; null if it says nothing, or the blocker is no VM. */
export function noteOf({ vmId, message, note }: Pick<Blocker, 'vmId' | 'message' | 'note'>): string | null {
  if (vmId === null) return null;
  return note !== undefined ? note || null : NOTE_IN_MESSAGE.exec(message)?.[1] ?? null;
}

/** VMs that only have not left yet, and all else: VMs with a note, and what is no VM. */
export function apart<One extends Blocker>(blockers: readonly One[]): { leaving: One[]; blocking: One[] } {
  const isLeaving = (blocker: One): boolean => blocker.vmId !== null && (blocker.kind === 'VM_RUNNING' || blocker.kind === 'VM_STOPPING') && noteOf(blocker) === null;
  return { leaving: blockers.filter(isLeaving), blocking: blockers.filter((blocker) => !isLeaving(blocker)) };
}
