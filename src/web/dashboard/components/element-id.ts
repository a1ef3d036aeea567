// Ids of elements that name each other, as a title names its card. Preact's own `useId` counts anew below a part of the
// tree that was drawn again, and gives one id twice.

import { useState } from 'preact/hooks';

let count = 0;

/** An id that no other element has; the same for as long as the component is shown. */
export function useElementId(): string {
  return useState(() => `element-${++count}`)[0];
}
