// What has changed glows for a moment, unless somebody wants less motion.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { colour, reducedMotion } from '../theme';

/** How long the glow lasts, in milliseconds. */
const GLOW_MS = 200;

/** `of` is what is shown: another one than before glows. */
export function Glow({ of, children }: { of: string | number; children: ComponentChildren }) {
  const element = useRef<HTMLSpanElement>(null);
  const before = useRef(of);
  useEffect(() => {
    if (before.current === of) return;
    before.current = of;
    if (reducedMotion.matches || document.hidden) return;
    element.current?.animate([{ backgroundColor: colour('--accent-soft') }, { backgroundColor: 'transparent' }], { duration: GLOW_MS, easing: 'ease-out' });
  }, [of]);
  return <span ref={element} class="glow">{children}</span>;
}
