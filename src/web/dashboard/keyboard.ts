// Keys of the dashboard: single ones and two in a row (`g w`). Components add theirs while they are shown; the one
// that was added last wins. They can be switched off, for speech input and other aids that send letters.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

export type Keys = Record<string, (event: KeyboardEvent) => void>;

const SETTING = 'aetherium:keys';
/** How long after `g` the second key is waited for, in milliseconds. */
const SECOND_KEY_MS = 1_500;

export const areKeysOn = signal(localStorage.getItem(SETTING) !== 'off');
/** The first of two keys, while the second is waited for. */
export const firstKey = signal('');

const layers: { current: Keys }[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;

export function switchKeys(on: boolean): void {
  areKeysOn.value = on;
  if (on) localStorage.removeItem(SETTING);
  else localStorage.setItem(SETTING, 'off');
}

/** Keys that count while the component is shown, by `KeyboardEvent.key`; two in a row with a space: `'g w'`. */
export function useKeys(keys: Keys): void {
  const layer = useRef(keys);
  layer.current = keys;
  useEffect(() => {
    layers.push(layer);
    return () => { layers.splice(layers.indexOf(layer), 1); };
  }, []);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && (target as HTMLInputElement).type !== 'checkbox');
}

function find(name: string): ((event: KeyboardEvent) => void) | undefined {
  for (const layer of [...layers].reverse()) if (layer.current[name]) return layer.current[name];
  return undefined;
}

function isFirst(key: string): boolean {
  return layers.some((layer) => Object.keys(layer.current).some((name) => name.startsWith(`${key} `)));
}

export function watchKeys(): void {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target) || document.querySelector('dialog[open]')) return;
    const isLetter = event.key.length === 1;
    if (isLetter && !areKeysOn.peek()) return;
    // Enter and space belong to the button or link that has the focus.
    if ((event.key === 'Enter' || event.key === ' ') && (event.target as Element | null)?.closest?.('a,button,summary')) return;
    const before = firstKey.peek();
    clearTimeout(timer);
    firstKey.value = '';
    const action = find(before ? `${before} ${event.key}` : event.key);
    if (action) {
      event.preventDefault();
      action(event);
    } else if (!before && isLetter && isFirst(event.key)) {
      event.preventDefault();
      firstKey.value = event.key;
      timer = setTimeout(() => { firstKey.value = ''; }, SECOND_KEY_MS);
    }
  });
}
