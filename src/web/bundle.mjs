// Builds the pages into a folder: `node bundle.mjs FOLDER`. Called by build.rs.
//
// What it leaves there is compressed and named after its content, so that it may be cached for ever:
// `pages/playground-3F2A.html.gz`, `assets/playground-QWER.js.gz` and so on. The pages name their scripts and styles
// relative to themselves, so that they work behind a proxy that puts them below a path.

import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2]);

/**
 * The pages, and what the browser has to load for each: a script and the style that esbuild makes beside it. The
 * dashboard's page is there twice, since names relative to it are others on a path with two segments: `/workers/w1`.
 */
const pages = [
  { page: 'playground', entry: 'playground.jsx' },
  { page: 'docs', entry: 'docs.js' },
  { page: 'dashboard', entry: 'dashboard/main.tsx' },
  { page: 'below', html: 'dashboard', up: '../' },
];

/** What runs beside the playground's page, and is asked for by the names that `workers.js` knows. */
const workers = {
  'editor-worker': 'monaco-editor/esm/vs/editor/editor.worker.js',
  'json-worker': 'monaco-editor/esm/vs/language/json/json.worker.js',
  'graphql-worker': 'monaco-graphql/esm/graphql.worker.js',
};

const common = {
  absWorkingDir: here,
  assetNames: '[name]-[hash]',
  bundle: true,
  chunkNames: 'part-[hash]',
  define: { 'process.env.NODE_ENV': '"production"' },
  entryNames: '[name]-[hash]',
  format: 'esm',
  // Their texts are gathered in one file, see `licences`.
  legalComments: 'none',
  loader: { '.ttf': 'file', '.woff2': 'file' },
  logLevel: 'warning',
  metafile: true,
  minify: true,
  outdir: join(folder, 'assets'),
  platform: 'browser',
  target: 'es2022',
  write: false,
};

// The workers first: the playground has to know their names.
const built = await build({ ...common, entryPoints: workers });
const workerNames = Object.fromEntries(
  Object.keys(workers).map((name) => [name, `./${nameOf(`${name}-`, '.js', built.outputFiles.map((file) => baseName(file.path)))}`]),
);
const site = await build({
  ...common,
  define: { ...common.define, WORKERS: JSON.stringify(workerNames) },
  entryPoints: { playground: 'playground.jsx', docs: 'docs.js' },
  jsx: 'automatic',
  splitting: true,
});
// By itself, since it shares nothing with the others: its first script is small, and theirs are not.
const dashboard = await build({
  ...common,
  entryPoints: { dashboard: 'dashboard/main.tsx' },
  jsx: 'automatic',
  jsxImportSource: 'preact',
  splitting: true,
});

await mkdir(join(folder, 'assets'), { recursive: true });
await mkdir(join(folder, 'pages'), { recursive: true });
const results = [built, site, dashboard];
const files = new Map(results.flatMap(({ outputFiles }) => outputFiles).map((file) => [baseName(file.path), file.contents]));
const ofDashboard = new Set(dashboard.outputFiles.map((file) => baseName(file.path)));
const licenceText = await licences(results.map(({ metafile }) => metafile));
const licenceName = `licences-${hash(licenceText)}.txt`;
await Promise.all([
  ...[...files]
    // Scripts that are loaded later have no way to bring their styles, which are among the page's already.
    .filter(([name]) => !/^part-\w+\.css$/.test(name))
    .map(([name, contents]) => keep('assets', name, contents, ofDashboard.has(name))),
  keep('assets', licenceName, licenceText),
  ...pages.map(async ({ page, html: source = page, up = '' }) => {
    const html = (await readFile(join(here, `${source}.html`), 'utf8'))
      .replace('LICENCES', `assets/${licenceName}`)
      .replace('SCRIPT', `assets/${nameOf(`${source}-`, '.js')}`)
      .replace('STYLE', `assets/${nameOf(`${source}-`, '.css')}`)
      .replaceAll(/ (href|src)="/g, (attribute) => `${attribute}${up}`);
    await keep('pages', `${page}-${hash(html)}.html`, html, source === 'dashboard');
  }),
  writeFile(join(folder, 'sizes.json'), JSON.stringify(await sizes(), null, 2)),
]);

/**
 * What a browser loads of the dashboard, in bytes as they are sent, for the check of `dashboard/budget.mjs`: with its
 * first page, and then with each other page, apart from what the first has brought.
 */
async function sizes() {
  const { outputs } = dashboard.metafile;
  const [first] = Object.keys(outputs).filter((name) => outputs[name].entryPoint === 'dashboard/main.tsx');
  const together = (name, found = new Set()) => {
    if (found.has(name)) return found;
    found.add(name);
    for (const { path, kind } of outputs[name].imports) if (kind === 'import-statement') together(path, found);
    return found;
  };
  const weigh = async (names) => {
    const weights = await Promise.all([...names].map(async (name) => (await compress(files.get(baseName(name)))).length));
    return weights.reduce((sum, weight) => sum + weight, 0);
  };
  const firstLoad = together(first);
  const pages = Object.entries(outputs).filter(([name, { entryPoint }]) => entryPoint && name !== first && name.endsWith('.js'));
  return {
    script: await weigh(firstLoad),
    style: await weigh([outputs[first].cssBundle]),
    pages: Object.fromEntries(await Promise.all(pages.map(async ([name, { entryPoint }]) =>
      [entryPoint, await weigh([...together(name)].filter((one) => !firstLoad.has(one)))]))),
  };
}

/** The name of the one file that begins and ends like this. */
function nameOf(start, end, names = [...files.keys()]) {
  const [name, ...others] = names.filter((name) => name.startsWith(start) && name.endsWith(end));
  if (!name || others.length > 0) throw new Error(`${start}…${end} is not one of ${names.join(', ')}`);
  return name;
}

function baseName(path) {
  return path.split(/[\\/]/).at(-1);
}

function hash(content) {
  return createHash('sha256').update(content).digest('hex').slice(0, 8).toUpperCase();
}

/** Keeps a file compressed; what is loaded with each first visit also as brotli, which is a sixth smaller. */
async function keep(kind, name, content, isLoadedOften = false) {
  await writeFile(join(folder, kind, `${name}.gz`), await compress(content));
  if (isLoadedOften) await writeFile(join(folder, kind, `${name}.br`), await promisify(brotliCompress)(content));
}

function compress(content) {
  return promisify(gzip)(content, { level: constants.Z_BEST_COMPRESSION });
}

/** The licence of each package that any of the files was made from, as most of them ask for. */
async function licences(metafiles) {
  const inputs = metafiles.flatMap((metafile) => Object.keys(metafile.inputs));
  const roots = new Set(inputs.map((input) => input.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0]).filter(Boolean));
  const texts = await Promise.all([...roots].sort().map(async (root) => {
    const { name, version, license } = JSON.parse(await readFile(join(here, root, 'package.json'), 'utf8'));
    for (const file of ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'LICENCE', 'license', 'license.md', 'LICENSE-MIT']) {
      const text = await readFile(join(here, root, file), 'utf8').catch(() => null);
      if (text) return `${name} ${version}\n\n${text.trim()}\n`;
    }
    return `${name} ${version}\n\nLicence: ${license}\n`;
  }));
  return `What the pages of this server are made of besides its own code.\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}
