// Workers that are in no zone. The API lists zones with their sums, and these workers are in none of them: they are what
// the zones lack of the whole.

/** Sums over the workers without a zone: those over all workers, less those of each zone; null if there is no such worker. */
export function withoutZone<Sums extends { readonly workers: number }>(all: Sums, zones: readonly { readonly [Name in keyof Sums]: number }[]): { [Name in keyof Sums]: number } | null {
  const rest = { ...all } as { [Name in keyof Sums]: number };
  for (const zone of zones) for (const name of Object.keys(all) as (keyof Sums)[]) rest[name] -= zone[name];
  return rest.workers > 0 ? rest : null;
}
