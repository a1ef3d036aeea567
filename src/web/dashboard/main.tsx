// The dashboard: entry of the bundle.
//
// HOW TO ADD A PAGE
//
// 1. `pages/NAME.tsx` with a default export, a component that is given `{ argument }` (the second segment of the path),
//    and an entry in `pages.ts`. It becomes a script of its own, which may have 40 kB gzipped with what only it uses;
//    import large libraries there, never in `components/` or `api/`.
// 2. Styles in `style/NAME.css`, named in `style/all.css`. Only variables of `tokens.css`; no `style="…"` in HTML text.
//    The property `style={{ … }}` of Preact is fine: it is CSSOM, which the Content-Security-Policy allows.
// 3. Questions as `operation(`query …`)` beside their use (`api/operation.ts`), with `${}`-free texts; then
//    `npm run check` (in `src/web`, after `npm ci`), which writes their types from schema.graphql and checks all types.
// 4. Live data:
//    - `useQuery(Operation, variables, { on, every })` (`api/query.ts`) reads, keeps the last answer while the server is
//      away, and reads again when an event says so (`on`), when the connection is back, and every so often (`every`).
//      Its `data.value` is undefined only before the first answer.
//    - `follow(Subscription, variables, onData)` (`api/live.ts`) in a `useEffect` for what is streamed.
//    - `onEvents(…)` (`api/events.ts`) for the change log; `workers.row(id).value` and `followWorkers(ids)`
//      (`api/cluster.ts`) for rows of workers; `stats` for the totals.
//    - `ask(Mutation, variables)` (`api/http.ts`) for commands. It throws the server's own sentence: show it with
//      `toastError`, or let `Confirm` show it. Show buttons only if `mayOperate.value` / `mayAdminister.value`
//      (`session.ts`); disable them while `!isConnected.value` with a title that says why.
// 5. Everything that the page shows is in its address: `parameter('q')`, `setQuery({ q })`, `href('workers', { q })`
//    (`router.ts`). Links are plain `<a href={href(…)}>`.
// 6. Parts: `Card`, `Status`/`WorkerStatusChip`, `Table`/`ColumnMenu`, `Time`/`Since`/`Clock`, `Dialog`/`Confirm`,
//    `toast`, `Empty`/`Code`, `CopyButton`/`CopyAs`/`Menu`, `Sparkline`, `Meter`, `Glow`, `EventLine` and `useLastEvents`,
//    `CurvesCard` for what `useHistory` (`api/history.ts`) gives, `DrainDialog`/`activateWithUndo`, `useKeys`; numbers by `format.ts`, ids of elements by `useElementId`.
//    A page whose table fills the screen calls `useFullPage()` and gives the table the class `fill`.
// 7. Modules that only compute are tested in tests/conformance/dashboard.test.mjs, which also holds the weights and types.
// 8. Status is shape, word and colour. Figures say what they count. Hostile text stays text: no `dangerouslySetInnerHTML`.

import { render } from 'preact';
import { App } from './app';
import { isPage } from './pages';
import { watchKeys } from './keyboard';
import { at } from './root';
import { watchLinks } from './router';
import { watchSession } from './session';
import './theme';
import './style/all.css';

// Relative to the page, as it is in the HTML, it would be another one once the address has two segments.
for (const icon of document.querySelectorAll<HTMLLinkElement>('link[rel=icon]')) icon.href = at('assets/icon.svg');

watchSession();
watchLinks(isPage);
watchKeys();
const app = document.getElementById('app')!;
app.replaceChildren();
render(<App />, app);
