// Time as people read it: relative, by the server's clock, from one signal that ticks once a second for everybody.

import { signal } from '@preact/signals';

/** The server's clock minus the browser's, in milliseconds; 0 while they agree within what a date header can tell. */
let offset = 0;

/** The server's time, in milliseconds since 1970; moves once a second while the page is seen. */
export const now = signal(Date.now());

export function serverNow(): number {
  return Date.now() + offset;
}

/** Takes the server's time from the `Date` header of an answer, which has whole seconds. */
export function noteServerTime(date: string | null): void {
  const told = date === null ? NaN : Date.parse(date);
  if (Number.isNaN(told)) return;
  const difference = told + 500 - Date.now();
  offset = Math.abs(difference) < 2_500 ? 0 : difference;
}

const tick = (): void => { now.value = serverNow(); };
if (typeof document !== 'undefined') {
  setInterval(() => { if (!document.hidden) tick(); }, 1_000);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) tick(); });
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A length of time in its largest unit: `8 s`, `31 min`, `5 h`, `3 d`. */
export function length(milliseconds: number): string {
  const absolute = Math.max(0, milliseconds);
  if (absolute < MINUTE) return `${Math.floor(absolute / SECOND)} s`;
  if (absolute < HOUR) return `${Math.floor(absolute / MINUTE)} min`;
  if (absolute < 2 * DAY) return `${Math.floor(absolute / HOUR)} h`;
  return `${Math.floor(absolute / DAY)} d`;
}

/** A length of time in two units where one is coarse: `2 h 5 min`. */
export function exactLength(milliseconds: number): string {
  const absolute = Math.max(0, milliseconds);
  const pair = (large: number, name: string, small: number, other: string): string => {
    const rest = Math.floor((absolute % large) / small);
    return `${Math.floor(absolute / large)} ${name}${rest > 0 ? ` ${rest} ${other}` : ''}`;
  };
  if (absolute < MINUTE) return length(absolute);
  if (absolute < HOUR) return pair(MINUTE, 'min', SECOND, 's');
  if (absolute < DAY) return pair(HOUR, 'h', MINUTE, 'min');
  return pair(DAY, 'd', HOUR, 'h');
}

/** An instant seen from another: `now`, `31 min ago`, `in 2 h`. */
export function relative(at: number, from: number): string {
  const difference = at - from;
  if (Math.abs(difference) < 1_000) return 'now';
  return difference < 0 ? `${length(-difference)} ago` : `in ${length(difference)}`;
}

const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const clockSecondsFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** The time of day where the reader is; with the day, if it is not the present one: `14:28`, `3 Nov 14:28`. */
export function clock(at: string | number, withSeconds = false): string {
  const instant = new Date(at);
  const time = (withSeconds ? clockSecondsFormat : clockFormat).format(instant);
  return instant.toDateString() === new Date(now.peek()).toDateString() ? time : `${dayFormat.format(instant)} ${time}`;
}

/** An instant in full, in UTC: `2025-11-02 14:28:03 UTC`. */
export function exact(at: string | number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** What the API's durations say, such as `2h30m45s`, in milliseconds; null if it is none. */
export function milliseconds(duration: string): number | null {
  const units: Record<string, number> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY };
  const text = duration.trim().replaceAll(' ', '');
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(text)) return null;
  return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)].reduce((sum, [, count, unit]) => sum + Number(count) * (units[unit!] ?? 0), 0);
}
