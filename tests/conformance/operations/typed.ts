// Uses what GraphQL Code Generator made of dashboard.graphql, so that the compiler looks at it as at any program's types.

import { graphql, useFragment } from './generated';
import {
  ActivateDocument,
  AnyNodeDocument,
  ClusterEventKind,
  DashboardDocument,
  DrainDocument,
  FollowDocument,
  HappenedFragmentDoc,
  RowFragmentDoc,
  WorkerStatus,
  type DashboardQuery,
  type DashboardQueryVariables,
  type DrainWorkerInput,
} from './generated/graphql';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';

declare function ask<Answer, Variables>(document: TypedDocumentNode<Answer, Variables>, variables: Variables): Answer;

const variables: DashboardQueryVariables = { zone: null, filter: { statuses: [WorkerStatus.Active], labels: [{ key: 'env' }] } };
const dashboard: DashboardQuery = ask(DashboardDocument, variables);
export const cores: number = dashboard.clusterStats.totalCpuCores;

export const rows = useFragment(RowFragmentDoc, dashboard.workers).map((row) => {
  const zone: string | null | undefined = row.zone;
  return `${row.id} ${row.status === WorkerStatus.Offline ? 'gone' : row.uptime} ${zone ?? ''} ${row.vms.length}`;
});

export const kinds: ClusterEventKind[] = useFragment(HappenedFragmentDoc, dashboard.events.nodes).map(({ kind }) => kind);

const { node } = ask(AnyNodeDocument, { id: 'worker-01', ids: [] });
export const name: string | undefined = node?.__typename === 'Vm' ? node.name : node?.hostname;

const input: DrainWorkerInput = { workerId: 'worker-01', ifRevision: 7 };
export const isChanged: boolean | undefined = ask(DrainDocument, { input }).drainWorker?.changed;
export const after: string = useFragment(HappenedFragmentDoc, ask(FollowDocument, {}).clusterEvents).cursor;

// @ts-expect-error: the input is required.
ask(ActivateDocument, {});

// @ts-expect-error: there is no such operation.
graphql('query Nothing { nothing }').kind;
