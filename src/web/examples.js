// What the playground opens with when it is opened for the first time.

/** The examples, about a worker that is there. */
export function examples(workerId) {
  const about = (variables) => JSON.stringify(variables, null, 2);
  return [
    {
      query: `# Who is there, and how much is free?
# Run it with Ctrl-Enter. Hover over a field to read
# what it means; Ctrl-Space proposes what fits. The
# other tabs hold more examples.
query ListWorkers($first: Int!) {
  clusterStats {
    activeWorkers
    drainingWorkers
    offlineWorkers
    totalVms
    availableVmSlots
  }
  workersConnection(
    first: $first
    orderBy: { field: VM_COUNT, direction: DESC }
  ) {
    totalCount
    nodes {
      id
      zone
      status
      vmCount
      cpuUsagePercent
      memoryUsagePercent
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
      variables: about({ first: 10 }),
    },
    {
      query: `# One worker: what it is, which VMs it holds, and
# what happened to it lately.
query LookIntoWorker($id: ID!) {
  worker(id: $id) {
    id
    hostname
    status
    schedulingPolicy
    uptime
    labels {
      key
      value
    }
    vms {
      id
      name
      status
      vcpus
      memoryMb
    }
    events(first: 5) {
      at
      kind
      message
    }
  }
}
`,
      variables: about({ id: workerId }),
    },
    {
      query: `# Before maintenance: nothing new lands on the worker,
# and what runs there keeps running. The run button
# asks which of the two operations is meant.
# \`changed\` is false if it was so already.
mutation DrainWorker($id: ID!, $reason: String) {
  drainWorker(input: { workerId: $id, reason: $reason }) {
    message
    changed
    worker {
      id
      status
      schedulingPolicy
    }
  }
}

mutation ActivateWorker($id: ID!) {
  activateWorker(input: { workerId: $id }) {
    message
    changed
    worker {
      id
      status
      schedulingPolicy
    }
  }
}
`,
      variables: about({ id: workerId, reason: 'new disks' }),
    },
    {
      query: `# The present state of every worker, then each beat
# as it arrives, at most one per worker in the time
# given.
subscription FollowHeartbeats($every: Duration) {
  workerHeartbeats(every: $every) {
    receivedAt
    worker {
      id
      status
      vmCount
      cpuUsagePercent
    }
  }
}
`,
      variables: about({ every: '1s' }),
    },
    {
      query: `# What happens, in order, nothing missing and nothing
# twice. Keep the last \`cursor\`: with it as \`after\`
# you go on from there, whatever ended the connection.
# To see something happen, drain a worker elsewhere.
subscription FollowEvents($after: Cursor) {
  clusterEvents(after: $after) {
    cursor
    at
    kind
    workerId
    vmId
    message
  }
}
`,
      variables: about({ after: null }),
    },
  ];
}
