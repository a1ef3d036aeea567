// A small line: the last values of one figure, oldest first.

export function Sparkline({ values, limit, label }: {
  values: readonly number[];
  /** A value that is drawn as a dashed line, and beyond which values are marked. */
  limit?: number;
  label: string;
}) {
  const top = Math.max(limit ?? 0, ...values, 1e-9) * 1.08;
  const x = (index: number): number => (values.length < 2 ? 0 : (index / (values.length - 1)) * 100);
  const y = (value: number): number => 30 - (value / top) * 30;
  const path = values.map((value, index) => `${index === 0 ? 'M' : 'L'}${x(index).toFixed(2)} ${y(value).toFixed(2)}`).join('');
  return (
    <svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label={label}>
      {limit !== undefined && <line x1="0" x2="100" y1={y(limit)} y2={y(limit)} />}
      <path d={path} />
      {limit !== undefined && values.map((value, index) => (value > limit ? <rect key={index} class="late" x={x(index) - 0.4} y={y(value) - 1} width="0.8" height="2" /> : null))}
    </svg>
  );
}
