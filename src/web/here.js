// Where the server is, seen from the page. A proxy may put it below a path, so that nothing here begins with a slash;
// and a page may have been asked for with a slash at its end, which is one more folder to a browser.

/** The address under which all of the server's paths are, with a slash at its end. */
export const root = new URL(location.pathname.endsWith('/') ? '../' : './', location.origin + location.pathname);

/** The address of one of the server's paths, such as `api/v1/workers`. */
export function at(path) {
  return new URL(path, root).href;
}
