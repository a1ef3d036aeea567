// Instants. The words move with one clock for the whole page, and draw nothing while they stay the same.

import { useComputed, useSignal } from '@preact/signals';
import { clock, exact, length, now, relative } from '../time';

/** `31 min ago`, with the exact time when the pointer is over it. */
export function Time({ at }: { at: string }) {
  const instant = useSignal(at);
  instant.value = at;
  const words = useComputed(() => relative(Date.parse(instant.value), now.value));
  return <time dateTime={at} title={exact(at)}>{words}</time>;
}

/** `31 min`: how long ago it was. */
export function Since({ at }: { at: string }) {
  const instant = useSignal(at);
  instant.value = at;
  const words = useComputed(() => length(now.value - Date.parse(instant.value)));
  return <time dateTime={at} title={exact(at)}>{words}</time>;
}

/** `14:28`, with the day if it is not the present one. */
export function Clock({ at, seconds }: { at: string; seconds?: boolean }) {
  return <time dateTime={at} title={exact(at)}>{clock(at, seconds)}</time>;
}
