// Workers that are in no zone. The API lists zones with their sums, and these workers are in none of them: they are what
// the zones lack of the whole.

/**
 * Sums over the workers without a zone: those over all workers, less those of each zone; null if there is no such worker.
 * It is right for what each worker has of its own. VMs are not: one that several workers report, as during a migration, is
 * one VM of the whole, and one of each of their zones.
 */
export function withoutZone<Sums extends { readonly workers: number }>(all: Sums, zones: readonly { readonly [Name in keyof Sums]: number }[]): { [Name in keyof Sums]: number } | null {
  const rest = { ...all } as { [Name in keyof Sums]: number };
  for (const zone of zones) for (const name of Object.keys(all) as (keyof Sums)[]) rest[name] -= zone[name];
  return rest.workers > 0 ? rest : null;
}

/** Zones and, if some workers are in none, a last row without a name for these; its VMs have to be counted, and are null until they are. */
export function zoneRows<Sums extends { readonly workers: number }, Zone extends { readonly [Name in keyof Sums]: number } & { readonly name: string; readonly vmCount: number }>(
  all: Sums, zones: readonly Zone[], vmCount: number | null,
): (Pick<Zone, keyof Sums> & { readonly name: string; readonly vmCount: number | null })[] {
  const rest = withoutZone(all, zones);
  return [...zones, ...(rest ? [{ ...rest, name: '', vmCount } as Pick<Zone, keyof Sums> & { readonly name: string; readonly vmCount: number | null }] : [])];
}
