// Short news of what somebody has done: it went well and can be undone, or it was refused and why.

import { signal } from '@preact/signals';

interface Toast {
  key: number;
  text: string;
  /** How long it is shown. */
  seconds: number;
  tone?: 'bad';
  action?: { label: string; run: () => void };
}

const toasts = signal<readonly Toast[]>([]);
let keys = 0;
const timers = new Map<number, ReturnType<typeof setTimeout>>();

/** Shows news for some seconds, longer if there is something to do about it. */
export function toast(text: string, { seconds, ...options }: { tone?: 'bad'; action?: Toast['action']; seconds?: number } = {}): void {
  const news = { key: ++keys, text, seconds: seconds ?? (options.action || options.tone ? 12 : 5), ...options };
  for (const { key } of toasts.value.slice(0, -3)) dismiss(key);
  toasts.value = [...toasts.value, news];
  release(news);
}

/** News that somebody points at, or has the focus in, stay: whoever reads them or is about to act on them has the time for it. */
function hold({ key }: Toast): void {
  clearTimeout(timers.get(key));
}

function release({ key, seconds }: Toast): void {
  clearTimeout(timers.get(key));
  timers.set(key, setTimeout(() => dismiss(key), seconds * 1_000));
}

/** Shows why something failed, in the server's own words. */
export function toastError(error: unknown): void {
  toast(error instanceof Error ? error.message : String(error), { tone: 'bad' });
}

function dismiss(key: number): void {
  clearTimeout(timers.get(key));
  timers.delete(key);
  toasts.value = toasts.value.filter((toast) => toast.key !== key);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((news) => {
        const { key, text, tone, action } = news;
        return (
          <div key={key} class={`toast ${tone ?? ''}`} onPointerEnter={() => hold(news)} onFocusIn={() => hold(news)}
            onPointerLeave={({ currentTarget }) => { if (!currentTarget.matches(':focus-within')) release(news); }}
            onFocusOut={({ currentTarget, relatedTarget }) => { if (!currentTarget.matches(':hover') && !currentTarget.contains(relatedTarget as Node | null)) release(news); }}>
            <p>{text}</p>
            {action && <button type="button" class="button small" onClick={() => { dismiss(key); action.run(); }}>{action.label}</button>}
            <button type="button" class="button small plain" aria-label="Dismiss" onClick={() => dismiss(key)}>×</button>
          </div>
        );
      })}
    </div>
  );
}
