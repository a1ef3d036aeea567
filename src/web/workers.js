// The editors' workers. Their names are known when they are built, so `bundle.mjs` puts them here. Imported before the
// editors, which look for this when they begin.

/* global WORKERS */
const scripts = { json: WORKERS['json-worker'], graphql: WORKERS['graphql-worker'] };

globalThis.MonacoEnvironment = {
  getWorker(_, label) {
    const script = scripts[label] ?? WORKERS['editor-worker'];
    return new Worker(new URL(script, import.meta.url), { type: 'module', name: label });
  },
};
