// Numbers and sizes as people read them.

const whole = new Intl.NumberFormat('en-US');
const one = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });

/** `48,213` */
export function count(value: number): string {
  return whole.format(value);
}

/** `63 %`, and `<1 %` for what is not nothing; the sign stays on the line of its figure. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return '–';
  if (share > 0 && share < 1) return '<1\u00a0%';
  return `${Math.round(share)}\u00a0%`;
}

/** Of a whole, in percent; 0 of nothing. */
export function share(part: number, of: number): number {
  return of > 0 ? (part / of) * 100 : 0;
}

/** An amount of memory in MiB: `512 MiB`, `64 GiB`, `1.5 TiB`, `1.2 PiB`. */
export function memory(mebibytes: number): string {
  if (mebibytes < 1024) return `${whole.format(mebibytes)} MiB`;
  if (mebibytes < 1024 ** 2) return `${one.format(mebibytes / 1024)} GiB`;
  if (mebibytes < 1024 ** 3) return `${one.format(mebibytes / 1024 ** 2)} TiB`;
  return `${one.format(mebibytes / 1024 ** 3)} PiB`;
}

/** `1 VM`, `12 VMs` */
export function plural(amount: number, noun: string, many = `${noun}s`): string {
  return `${count(amount)} ${amount === 1 ? noun : many}`;
}

/** Who did something: the name of their token, or what they are; the empty text if that is not known. */
export function actor(name: string | null | undefined, kind: string | null | undefined): string {
  if (name) return name;
  const words: Record<string, string> = { operator: 'an operator', worker: 'its worker', server: 'the server' };
  return kind ? words[kind.toLowerCase()] ?? kind : '';
}
