// Where the server is, seen from the bundle: a proxy may put it below a path, so that no address begins with a slash.
// Scripts are in the folder `assets` of the server's root, whatever the address of the page.

/** The address under which all of the server's paths are, with a slash at its end. */
export const root = new URL('..', import.meta.url);

/** The address of a path of the server, such as `api/v1/workers`. */
export function at(path: string): string {
  return new URL(path, root).href;
}

export const endpoint = at('graphql');
