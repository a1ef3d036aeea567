// Short news of what somebody has done: it went well and can be undone, or it was refused and why.

import { signal } from '@preact/signals';

interface Toast {
  key: number;
  text: string;
  tone?: 'bad';
  action?: { label: string; run: () => void };
}

const toasts = signal<readonly Toast[]>([]);
let keys = 0;

/** Shows news for some seconds, longer if there is something to do about it. */
export function toast(text: string, options: { tone?: 'bad'; action?: Toast['action']; seconds?: number } = {}): void {
  const key = ++keys;
  toasts.value = [...toasts.value.slice(-3), { key, text, ...options }];
  setTimeout(() => dismiss(key), (options.seconds ?? (options.action || options.tone ? 12 : 5)) * 1_000);
}

/** Shows why something failed, in the server's own words. */
export function toastError(error: unknown): void {
  toast(error instanceof Error ? error.message : String(error), { tone: 'bad' });
}

function dismiss(key: number): void {
  toasts.value = toasts.value.filter((toast) => toast.key !== key);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map(({ key, text, tone, action }) => (
        <div key={key} class={`toast ${tone ?? ''}`}>
          <p>{text}</p>
          {action && <button type="button" class="button small" onClick={() => { dismiss(key); action.run(); }}>{action.label}</button>}
          <button type="button" class="button small plain" aria-label="Dismiss" onClick={() => dismiss(key)}>×</button>
        </div>
      ))}
    </div>
  );
}
