// The GraphQL playground: GraphiQL with an explorer, a history, and examples that work on this server.

import './workers.js';
import { DOC_EXPLORER_PLUGIN } from '@graphiql/plugin-doc-explorer';
import { explorerPlugin } from '@graphiql/plugin-explorer';
import { HISTORY_PLUGIN } from '@graphiql/plugin-history';
import { ToolbarButton, useGraphiQL } from '@graphiql/react';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { Kind, parse } from 'graphql';
// GraphiQL loads the editors by itself, but not their styles: named here, those become part of the page's.
import 'monaco-graphql/esm/monaco-editor.js';
import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { curl } from './curl.js';
import { editorTheme } from './editor_theme.js';
import { examples } from './examples.js';
import { at } from './here.js';
import { Report } from './report.jsx';
import { begin, failed, noted, received } from './report_store.js';
import './playground.css';

const endpoint = at('graphql');
// Not bundled: the pages that are not built have it, too.
const session = await import(at('assets/session.js'));
const send = createGraphiQLFetcher({
  url: endpoint,
  async fetch(address, options) {
    const { isSilent, body } = withCost(options.body);
    const begun = performance.now();
    if (!isSilent) begin();
    let response;
    try {
      response = await fetch(address, { ...options, body });
    } catch (error) {
      if (!isSilent) failed(error);
      throw error;
    }
    if (response.status === 401) session.check();
    return isSilent ? response : await reported(response, begun);
  },
  subscriptionUrl: endpoint.replace(/^http/, 'ws'),
  // The server does not send answers in parts, and without them errors come in the specification's own media type.
  enableIncrementalDelivery: false,
});
const plugins = [explorerPlugin({ showAttribution: false }), HISTORY_PLUGIN];
for (const anchor of document.querySelectorAll('.signed-out a')) anchor.href = at(anchor.getAttribute('href'));
const link = new URLSearchParams(location.search);

/**
 * Sends what is in the editor. What GraphiQL knows of it is a moment older: without this, whoever changes the tab and
 * runs it at once would have a subscription sent by POST, under the name of the other tab's operation.
 */
async function fetcher(parameters, options) {
  const documentAST = understood(parameters.query);
  // The server says what is wrong with it.
  if (!documentAST) return send(parameters, options);
  const answer = await send(
    { ...parameters, operationName: operationToRun(documentAST, parameters.operationName) },
    { ...options, documentAST },
  );
  return answer[Symbol.asyncIterator] ? noticed(answer) : answer;
}

/** A subscription that fails may have been ended with its session. */
async function* noticed(items) {
  begin('streaming');
  try {
    for await (const item of items) {
      noted(item);
      yield item;
    }
    noted(null);
  } catch (error) {
    session.check();
    failed(error);
    throw error;
  }
}

/** A request that also asks for what it costs, unless it is one of GraphiQL's own or asks for something itself. */
function withCost(body) {
  const request = JSON.parse(body);
  if (isOwn(request)) return { isSilent: true, body };
  return { isSilent: false, body: request.extensions ? body : JSON.stringify({ ...request, extensions: { cost: true } }) };
}

/** Whether it is not from the editor: the question for the schema, and the one for a worker that examples are about. */
function isOwn({ operationName, query }) {
  return operationName === 'IntrospectionQuery' || query === SOME_WORKER;
}

/** The answer as it is shown, once the report below it has what it says of its cost. */
async function reported(response, begun) {
  const text = await response.text();
  const { status, statusText, headers } = response;
  const report = { status, statusText, took: performance.now() - begun, size: new TextEncoder().encode(text).length };
  const rest = new Headers(headers);
  // What is here is decompressed.
  for (const name of ['content-encoding', 'content-length']) rest.delete(name);
  const again = (content) => new Response(content, { status, statusText, headers: rest });
  try {
    const answer = JSON.parse(text);
    received({ ...report, cost: answer.extensions?.cost, revision: revisionOf(answer.data) });
    if (!answer.extensions?.cost) return again(text);
    const { cost: _, ...extensions } = answer.extensions;
    const { extensions: __, ...shown } = answer;
    return again(JSON.stringify(Object.keys(extensions).length > 0 ? { ...shown, extensions } : shown));
  } catch {
    received(report);
    return again(text);
  }
}

/** The revision that an answer was read at, if it asks for one: all of an answer is of one. */
function revisionOf(data) {
  const whole = ['clusterStats', 'capacity', 'placement', 'workerCounts', 'vmCounts'];
  for (const name of whole) if (typeof data?.[name]?.revision === 'number') return data[name].revision;
  return undefined;
}

function understood(query) {
  try {
    return parse(query);
  } catch {
    return null;
  }
}

/** The operation to run: the one that is asked for, unless there is only another. */
function operationToRun({ definitions }, asked) {
  const names = definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION).map(({ name }) => name?.value);
  return names.length === 1 ? names[0] : asked;
}

const SOME_WORKER = '{ workersConnection(first: 1) { nodes { id } } }';

/** The worker that the examples are about: the first one there is, else the one that the README introduces. */
async function someWorker() {
  const usual = 'worker-01';
  try {
    const { data } = await fetcher({ query: SOME_WORKER });
    return data.workersConnection.nodes[0]?.id ?? usual;
  } catch {
    return usual;
  }
}

/** Puts an address on the clipboard that opens the playground with what is in the editors now. */
function LinkButton() {
  const { queryEditor, variableEditor, operationName } = useGraphiQL(
    ({ queryEditor, variableEditor, operationName }) => ({ queryEditor, variableEditor, operationName }),
  );
  const [label, setLabel] = useState('Copy link');
  async function copy() {
    const parameters = new URLSearchParams({ query: queryEditor?.getValue() ?? '' });
    if (variableEditor?.getValue().trim()) parameters.set('variables', variableEditor.getValue());
    if (operationName) parameters.set('operationName', operationName);
    await navigator.clipboard.writeText(`${endpoint}?${parameters}`);
    setLabel('Copied');
    setTimeout(() => setLabel('Copy link'), 2_000);
  }
  return (
    <ToolbarButton label={label} onClick={copy}>
      <svg className="graphiql-toolbar-icon" viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
        <path d="M8.5 11.5a3.5 3.5 0 0 0 5 0l2.5-2.5a3.5 3.5 0 0 0-5-5l-1 1" strokeLinecap="round" />
        <path d="M11.5 8.5a3.5 3.5 0 0 0-5 0L4 11a3.5 3.5 0 0 0 5 5l1-1" strokeLinecap="round" />
      </svg>
    </ToolbarButton>
  );
}

/** Puts a command on the clipboard that asks the same in a terminal. */
function CurlButton() {
  const { queryEditor, variableEditor, headerEditor, operationName } = useGraphiQL(
    ({ queryEditor, variableEditor, headerEditor, operationName }) => ({ queryEditor, variableEditor, headerEditor, operationName }),
  );
  const [label, setLabel] = useState('Copy as curl');
  async function copy() {
    try {
      const query = queryEditor?.getValue() ?? '';
      const document = understood(query);
      const name = document ? operationToRun(document, operationName) : operationName;
      const kind = document?.definitions.find((one) => one.kind === Kind.OPERATION_DEFINITION && one.name?.value === name)?.operation;
      await navigator.clipboard.writeText(curl({
        endpoint,
        query,
        operationName: name ?? undefined,
        variables: variableEditor?.getValue() ?? '',
        headers: headerEditor?.getValue() ?? '',
        isStream: kind === 'subscription',
        asksForTokens: globalThis.document.documentElement.dataset.session === 'in',
      }));
      setLabel('Copied');
    } catch (error) {
      setLabel(error instanceof SyntaxError ? 'Variables or headers are no JSON' : 'The browser does not let this page copy');
    }
    setTimeout(() => setLabel('Copy as curl'), 2_000);
  }
  return (
    <ToolbarButton label={label} onClick={copy}>
      <svg className="graphiql-toolbar-icon" viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
        <path d="M3 4.5h14v11H3z" strokeLinejoin="round" />
        <path d="M6 8l2.5 2L6 12M10.5 12.5H14" strokeLinecap="round" strokeLinejoin="round" />
      </svg>
    </ToolbarButton>
  );
}

/** What to open with: what a link says, else what was open last time, else the examples. */
async function opening() {
  if (link.has('query')) {
    return {
      initialQuery: link.get('query'),
      initialVariables: link.get('variables') ?? '',
      operationName: link.get('operationName') ?? undefined,
    };
  }
  if (localStorage.getItem('graphiql:tabState')) {
    restoreTab();
    return {};
  }
  const tabs = examples(await someWorker());
  // GraphiQL opens the first tab without its variables, unless it is told them once more.
  return { defaultTabs: tabs, initialVariables: tabs[0].variables };
}

/** Puts what the tab that was open last holds where GraphiQL looks for it, which has it there only once it was changed. */
function restoreTab() {
  try {
    const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem('graphiql:tabState'));
    const { query, variables } = tabs[activeTabIndex];
    if (localStorage.getItem('graphiql:query') !== null || localStorage.getItem('graphiql:variables') !== null) return;
    if (query) localStorage.setItem('graphiql:query', query);
    if (query && variables) localStorage.setItem('graphiql:variables', variables);
  } catch {
    // What is stored is not what GraphiQL writes; it says so itself.
  }
}

function Playground({ opening }) {
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={plugins}
      editorTheme={editorTheme}
      referencePlugin={DOC_EXPLORER_PLUGIN}
      // On a phone, the operation and its answer need the room.
      defaultEditorToolsVisibility={matchMedia('(max-width: 719px)').matches ? false : 'variables'}
      inputValueDeprecation
      schemaDescription
      shouldPersistHeaders={false}
      {...opening}
    >
      <GraphiQL.Logo>
        <nav className="places" aria-label="Pages">
          <a href={at('')} title="The dashboard">Aetherium</a>
          <a href={at('docs')}>REST API</a>
        </nav>
      </GraphiQL.Logo>
      <GraphiQL.Toolbar>
        {({ prettify, copy, merge }) => (
          <>
            {prettify}
            {merge}
            {copy}
            <LinkButton />
            <CurlButton />
          </>
        )}
      </GraphiQL.Toolbar>
      <GraphiQL.Footer>
        <Report />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}

await session.ready();
createRoot(document.getElementById('playground')).render(<Playground opening={await opening()} />);
