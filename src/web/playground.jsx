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
import { examples } from './examples.js';
import { at } from './here.js';
import './playground.css';

const endpoint = at('graphql');
// Not bundled: the pages that are not built have it, too.
const session = await import(at('assets/session.js'));
const send = createGraphiQLFetcher({
  url: endpoint,
  async fetch(...asked) {
    const response = await fetch(...asked);
    if (response.status === 401) session.check();
    return response;
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
    { ...parameters, operationName: operationName(documentAST, parameters.operationName) },
    { ...options, documentAST },
  );
  return answer[Symbol.asyncIterator] ? noticed(answer) : answer;
}

/** A subscription that fails may have been ended with its session. */
async function* noticed(items) {
  try {
    yield* items;
  } catch (error) {
    session.check();
    throw error;
  }
}

function understood(query) {
  try {
    return parse(query);
  } catch {
    return null;
  }
}

/** The operation to run: the one that is asked for, unless there is only another. */
function operationName({ definitions }, asked) {
  const names = definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION).map(({ name }) => name?.value);
  return names.length === 1 ? names[0] : asked;
}

/** The worker that the examples are about: the first one there is, else the one that the README introduces. */
async function someWorker() {
  const usual = 'worker-01';
  try {
    const { data } = await fetcher({ query: '{ workersConnection(first: 1) { nodes { id } } }' });
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

/** What to open with: what a link says, else what was open last time, else the examples. */
async function opening() {
  if (link.has('query')) {
    return {
      initialQuery: link.get('query'),
      initialVariables: link.get('variables') ?? '',
      operationName: link.get('operationName') ?? undefined,
    };
  }
  if (localStorage.getItem('graphiql:tabState')) return {};
  const tabs = examples(await someWorker());
  // GraphiQL opens the first tab without its variables, unless it is told them once more.
  return { defaultTabs: tabs, initialVariables: tabs[0].variables };
}

function Playground({ opening }) {
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={plugins}
      referencePlugin={DOC_EXPLORER_PLUGIN}
      defaultEditorToolsVisibility="variables"
      inputValueDeprecation
      schemaDescription
      shouldPersistHeaders={false}
      {...opening}
    >
      <GraphiQL.Logo>
        <nav className="places" aria-label="Pages">
          <a href={at('')}>Aetherium</a>
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
          </>
        )}
      </GraphiQL.Toolbar>
    </GraphiQL>
  );
}

await session.ready();
createRoot(document.getElementById('playground')).render(<Playground opening={await opening()} />);
