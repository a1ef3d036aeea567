// The part of our schema that the questions need. Scalars of our own are built-in ones here: what that saves is the peers'
// to keep. Fields are properties of the data, as every engine reads them fastest.

import { workerById, workers } from './data.mjs';

export const typeDefs = /* GraphQL */ `
  type Query {
    worker(id: ID!): Worker
    workers: [Worker!]!
  }

  type Worker {
    id: ID!
    hostname: String!
    address: String!
    zone: String
    status: WorkerStatus!
    labels: [Label!]!
    capabilities: [String!]!
    cpuCores: Int!
    memoryMb: Int!
    diskGb: Int!
    usedCpuCores: Int!
    usedMemoryMb: Int!
    usedDiskGb: Int!
    cpuUsagePercent: Float!
    memoryUsagePercent: Float!
    vmCount: Int!
    maxVms: Int!
    startedAt: String!
    lastSeen: String!
    uptime: String!
    isHealthy: Boolean!
    schedulingPolicy: SchedulingPolicy!
    revision: Int!
    vms: [Vm!]!
  }

  type Label {
    key: String!
    value: String!
  }

  type Vm {
    id: ID!
    name: String!
    status: VmStatus!
    vcpus: Int!
    memoryMb: Int!
  }

  enum WorkerStatus { ACTIVE DRAINING OFFLINE }
  enum SchedulingPolicy { ACTIVE DRAINING }
  enum VmStatus { CREATED STARTING RUNNING STOPPING STOPPED FAILED }
`;

export const resolvers = {
  Query: {
    worker: (_, { id }) => workerById.get(id),
    workers: () => workers,
  },
};
