// What a Relay application asks: pages that go on and can be asked for again, objects by their id. Compiled, never run.

import { graphql } from 'react-relay';

graphql`
  query relayDashboardQuery($filter: WorkerFilter) {
    ...relayWorkers_query @arguments(filter: $filter)
    clusterStats {
      activeWorkers
    }
  }
`;

graphql`
  fragment relayWorkers_query on Query
  @argumentDefinitions(
    filter: { type: "WorkerFilter" }
    count: { type: "Int", defaultValue: 20 }
    cursor: { type: "String" }
  )
  @refetchable(queryName: "relayWorkersPaginationQuery") {
    workersConnection(first: $count, after: $cursor, filter: $filter) @connection(key: "relayWorkers_workersConnection") {
      edges {
        node {
          id
          ...relayWorker_worker
        }
      }
    }
  }
`;

graphql`
  fragment relayWorker_worker on Worker @refetchable(queryName: "relayWorkerRefetchQuery") {
    id
    hostname
    status
    ...relayVms_worker
  }
`;

graphql`
  fragment relayVms_worker on Worker
  @argumentDefinitions(count: { type: "Int", defaultValue: 20 }, cursor: { type: "String" })
  @refetchable(queryName: "relayVmsPaginationQuery") {
    vmsConnection(first: $count, after: $cursor) @connection(key: "relayVms_vmsConnection") {
      __id
      edges {
        node {
          id
          name
          status @required(action: NONE)
        }
      }
    }
  }
`;

graphql`
  mutation relayDrainMutation($input: DrainWorkerInput!) @raw_response_type {
    drainWorker(input: $input) {
      worker {
        ...relayWorker_worker
      }
    }
  }
`;

graphql`
  subscription relayBeatsSubscription($filter: WorkerFilter) {
    workerHeartbeats(filter: $filter) {
      worker {
        ...relayWorker_worker
      }
    }
  }
`;
