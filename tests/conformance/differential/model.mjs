// What the answer to a query must be: graphql-js runs it on a copy of all that the server shows.
//
// The copy is a dump; the resolvers are plain reads of it, by what the descriptions in the schema say of each
// argument. A field that only time changes is not compared, nor is one that this model knows nothing of.

import {
  execute,
  getNamedType,
  isCompositeType,
  isIntrospectionType,
  isLeafType,
  isRequiredArgument,
  isSpecifiedDirective,
  isSpecifiedScalarType,
} from 'graphql';

import { within } from '../harness/patience.mjs';
import { isHalfOfATwin } from './deviations.mjs';

/** Something that the model has no opinion on. */
class Unmodelled extends Error {}

/** An argument that is refused, as documented. */
class Refused extends Error {}

const LARGEST_PAGE = 500;

const HOLDING_SLOTS = ['CREATED', 'STARTING', 'RUNNING', 'STOPPING'];

/** By what workers are sorted, for each order. */
const SORT_KEYS = {
  ID: (worker) => worker.id,
  HOSTNAME: (worker) => worker.hostname,
  ZONE: (worker) => worker.zone ?? '',
  CPU_USAGE: (worker) => worker.cpuUsagePercent,
  MEMORY_USAGE: (worker) => worker.memoryUsagePercent,
  VM_COUNT: (worker) => worker.vmCount,
  LAST_SEEN: (worker) => instant(worker.lastSeen),
  FREE_CPU_CORES: (worker) => worker.freeCpuCores,
  FREE_MEMORY: (worker) => worker.freeMemoryMb,
  FREE_VM_SLOTS: (worker) => worker.freeVmSlots,
};

const VM_STATUSES = ['CREATED', 'STARTING', 'RUNNING', 'STOPPING', 'STOPPED', 'FAILED'];

/** By what VMs are sorted, for each order; a time that there is none of comes before all others. */
const VM_SORT_KEYS = {
  ID: (vm) => vm.id,
  NAME: (vm) => vm.name,
  STATUS: (vm) => VM_STATUSES.indexOf(vm.status),
  WORKER_ID: (vm) => vm.workerId,
  ZONE: (vm, data) => find(data.workers, vm.workerId)?.zone ?? '',
  VCPUS: (vm) => vm.vcpus,
  MEMORY: (vm) => vm.memoryMb,
  CREATED_AT: (vm) => instant(vm.createdAt),
  STARTED_AT: (vm) => (vm.startedAt === null ? -1n : instant(vm.startedAt)),
  STATUS_SINCE: (vm) => instant(vm.statusSince),
};

/** How an order of VMs is called among the cursors: that by id is one of all lists. */
const vmOrder = (field) => (field === 'ID' ? 'ID' : `VM_${field}`);

/** An instant by a number that keeps all digits of its fraction. */
function instant(text) {
  const [, seconds, fraction = ''] = /^(.*?)(?:\.([0-9]+))?Z$/u.exec(text);
  return BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

const byBytes = (one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other));

const compare = (one, other) => (typeof one === 'string' ? byBytes(one, other) : one < other ? -1 : one > other ? 1 : 0);

export class Model {
  #schema;
  #data;
  /** Fields that change without a cause, such as ages. */
  #moving;

  /** Copies all that the server shows. */
  static async of(schema, asker) {
    const model = new Model();
    model.#schema = schema;
    await describeBuiltIns(schema, asker);
    model.#data = await dump(schema, asker);
    const moves = async () => {
      for (;;) {
        const moving = differences(model.#data, await dump(schema, asker));
        // The time of health moves at once, and the seconds of a worker only with the next of them.
        if (moving.has('Worker.uptime')) return moving;
      }
    };
    // Workers have an age, so something must move.
    model.#moving = await within('something that time changes', moves());
    return model;
  }

  /** The fields that are not compared. */
  get moving() {
    return [...this.#moving].sort();
  }

  /**
   * How the two answers to a request that is right are: `equal` to what they must be; `unmodelled: ` and of what, if that is
   * not known; `incomparable` if nobody can know; `half of a twin` if they differ as is known; else what is wrong with them.
   */
  compare(verdict, first, again) {
    // Null for a variable that may be null, where null may not be: whether it is refused or fails is left open.
    if (verdict.operation.operation !== 'query' || verdict.also) return 'incomparable';
    const { seen, result } = this.#run(verdict);
    const causes = result.errors?.map(({ originalError }) => originalError).filter((it) => it !== undefined) ?? [];
    const unknown = causes.find((it) => it instanceof Unmodelled);
    if (unknown) return `unmodelled: ${unknown.message}`;
    const unexpected = causes.find((it) => !(it instanceof Refused));
    if (unexpected) throw unexpected;

    const expected = seen.comparable(result.data);
    for (const answer of [first, again]) {
      const found = seen.comparable(answer.data);
      const path = firstDifference(expected, found);
      if (path) {
        const [want, have] = [at(expected, path), at(found, path)];
        if (seen.isAskedForTwice(path) && isHalfOfATwin(want, have, path, answer.errors)) return 'half of a twin';
        return { kind: `data of ${seen.fieldAt(path)}`, path: path.join('.'), expected: want, found: have, errors: answer.errors };
      }
      if ((result.errors === undefined) !== (answer.errors === undefined)) {
        return { kind: 'errors', expected: result.errors?.map(String), found: answer.errors };
      }
    }
    return 'equal';
  }

  #run({ document, operation, given }) {
    const seen = new Seen(this);
    const result = execute({
      schema: this.#schema,
      document,
      operationName: operation.name?.value,
      variableValues: given,
      fieldResolver: (source, args, _, info) => seen.resolve(source, args, info),
      typeResolver: (value) => value.__typename,
    });
    return { seen, result };
  }

  isMoving(coordinate) {
    return this.#moving.has(coordinate);
  }

  get data() {
    return this.#data;
  }
}

/** One execution: which fields were met where. */
class Seen {
  #model;
  #fields = new Map();
  #moving = [];
  #twins = new Set();

  constructor(model) {
    this.#model = model;
  }

  resolve(source, args, info) {
    const path = pathOf(info.path);
    const coordinate = `${info.parentType.name}.${info.fieldName}`;
    this.#fields.set(path.join('.'), coordinate);
    if (this.#model.isMoving(coordinate)) this.#moving.push(path);
    if (info.fieldNodes.length > 1) this.#twins.add(path.join('.'));
    const resolver = RESOLVERS[info.parentType.name]?.[info.fieldName];
    if (resolver) return resolver(source ?? this.#model.data, args, this.#model.data);
    if (source !== undefined && info.fieldName in source) return source[info.fieldName];
    throw new Unmodelled(coordinate);
  }

  /** Whether the field of a path, or one around it, is asked for in several places. */
  isAskedForTwice(path) {
    return path.some((_, index) => this.#twins.has(path.slice(0, index + 1).join('.')));
  }

  fieldAt(path) {
    for (let length = path.length; length > 0; length -= 1) {
      const field = this.#fields.get(path.slice(0, length).join('.'));
      if (field) return field;
    }
    return path[0] ?? 'nothing';
  }

  /** The data without what need not be equal. */
  comparable(data) {
    if (data === null || data === undefined) return data;
    const copy = structuredClone(data);
    for (const path of this.#moving) {
      const parent = at(copy, path.slice(0, -1));
      if (parent?.[path.at(-1)] !== undefined) parent[path.at(-1)] = 'it moves';
    }
    // What graphql-js tells of the schema without asking is the schema's own, whose lists have no order.
    for (const key of Object.keys(copy)) if (!this.#fields.has(key)) copy[key] = unordered(copy[key]);
    return copy;
  }
}

/** The same with all of its lists sorted. */
function unordered(value) {
  if (Array.isArray(value)) {
    const entries = value.map(unordered).map((entry) => [JSON.stringify(entry), entry]);
    return entries.sort(([one], [other]) => byBytes(one, other)).map(([, entry]) => entry);
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, unordered(entry)]));
}

/** Where two values differ first; nothing if they are equal, with all keys in the same order. */
function firstDifference(one, other, path = []) {
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return one === other ? undefined : path;
  }
  if (Array.isArray(one) !== Array.isArray(other)) return path;
  const keys = Object.keys(one);
  if (keys.join() !== Object.keys(other).join()) return path;
  for (const key of keys) {
    const difference = firstDifference(one[key], other[key], [...path, key]);
    if (difference) return difference;
  }
  return undefined;
}

const at = (value, path) => path.reduce((inside, key) => inside?.[key], value);

function pathOf(path) {
  const keys = [];
  for (let step = path; step; step = step.prev) keys.unshift(step.key);
  return keys;
}

/** What is part of every schema may be described in any words: those of the server are taken over. */
async function describeBuiltIns(schema, asker) {
  const named = 'name description';
  const inside = `fields(includeDeprecated: true) { ${named} args { ${named} } } enumValues(includeDeprecated: true) { ${named} }`;
  const types = `types { ${named} ${inside} }`;
  const { answer } = await asker.post({ text: `{ __schema { directives { ${named} args { ${named} } } ${types} } }` });
  const describe = (own, told) => {
    if (!own || !told) return;
    own.description = told.description;
    for (const arg of told.args ?? []) describe(own.args?.find(({ name }) => name === arg.name), arg);
    for (const field of told.fields ?? []) describe(own.getFields?.()[field.name], field);
    for (const value of told.enumValues ?? []) describe(own.getValue?.(value.name), value);
  };
  for (const told of answer.data.__schema.types) {
    const own = schema.getType(told.name);
    if (own && (isSpecifiedScalarType(own) || isIntrospectionType(own))) describe(own, told);
  }
  for (const told of answer.data.__schema.directives) {
    const own = schema.getDirective(told.name);
    if (own && isSpecifiedDirective(own)) describe(own, told);
  }
}

// --- the copy --------------------------------------------------------------------------------------------------------

/** All fields of a type that hold data of its own. */
function leaves(type) {
  const plain = Object.values(type.getFields()).filter((field) => !field.args.some(isRequiredArgument));
  return plain
    .map((field) => {
      const inside = getNamedType(field.type);
      if (isLeafType(inside)) return field.name;
      const isPart = isCompositeType(inside) && Object.values(inside.getFields()).every((it) => isLeafType(getNamedType(it.type)));
      return isPart ? `${field.name} { ${leaves(inside)} }` : '';
    })
    .join(' ');
}

async function dump(schema, asker) {
  const type = (name) => leaves(schema.getType(name));
  const values = (name) => schema.getType(name).getValues().map((value) => value.name);
  const statuses = `statuses: [${values('VmStatus')}]`;
  const orders = values('WorkerOrderField').map(
    (field) => `${field}: workersConnection(first: 500, orderBy: { field: ${field} }) { edges { cursor node { id } } }`,
  );
  const vmOrders = values('VmOrderField')
    .filter((field) => field !== 'ID')
    .map((field) => `VM_${field}: vmsConnection(first: 500, filter: { ${statuses} }, orderBy: { field: ${field} }) { edges { cursor node { id } } }`);
  const drain = type('Drain');
  const text = `{
    workers { ${type('Worker')} drain { ${drain} } drains(first: 500) { ${drain} } vmsConnection(first: 500, filter: { ${statuses} }) { nodes { ${type('Vm')} } } }
    vmsConnection(first: 500, filter: { ${statuses} }) { edges { cursor node { ${type('Vm')} } } }
    drains(first: 500) { edges { cursor node { ${drain} } } }
    clusterStats { ${type('ClusterStats')} }
    zones { ${type('Zone')} }
    health { ${type('ServerHealth')} }
    vmDistribution { ${type('WorkerDistribution')} }
    events(first: 500) { endCursor hasNextPage nodes { ${type('ClusterEvent')} } }
    beginning: events(first: 0) { endCursor }
    ${[...orders, ...vmOrders].join('\n')}
  }`;
  const { answer, odd } = await asker.post({ text });
  if (odd !== undefined || answer.errors || answer.data.events.hasNextPage) {
    throw new Error(`the server does not show all there is: ${odd} ${JSON.stringify(answer.errors)}`);
  }
  const { data } = answer;
  const as = (__typename) => (it) => ({ __typename, ...it });
  const workers = data.workers.map(({ vmsConnection, ...worker }) => ({
    ...as('Worker')(worker),
    reports: vmsConnection.nodes.map(as('Vm')),
  }));
  const cursors = new Map();
  for (const order of [...values('WorkerOrderField'), ...values('VmOrderField').filter((it) => it !== 'ID').map(vmOrder)]) {
    for (const { cursor, node } of data[order].edges) cursors.set(cursor, { order, id: node.id });
  }
  for (const { cursor, node } of data.vmsConnection.edges) cursors.set(cursor, { order: 'ID', id: node.id });
  for (const { cursor, node } of data.drains.edges) cursors.set(cursor, { order: 'ID', id: node.workerId });
  return {
    workers,
    vms: data.vmsConnection.edges.map(({ node }) => as('Vm')(node)),
    drains: data.drains.edges.map(({ node }) => node),
    zones: data.zones,
    clusterStats: data.clusterStats,
    health: data.health,
    vmDistribution: data.vmDistribution,
    events: data.events.nodes,
    endOfEvents: data.events.endCursor,
    beginningOfEvents: data.beginning.endCursor,
    cursors,
    cursorOf: new Map([...cursors].map(([cursor, { order, id }]) => [`${order}/${id}`, cursor])),
  };
}

/** The fields of which two copies differ, by type and name. */
function differences(one, other) {
  const found = new Set();
  const look = (type, list, others) => {
    list.forEach((entry, index) => {
      for (const key of Object.keys(entry)) {
        if (key !== 'reports' && JSON.stringify(entry[key]) !== JSON.stringify(others[index][key])) found.add(`${type}.${key}`);
      }
    });
  };
  look('Worker', one.workers, other.workers);
  look('Vm', one.vms, other.vms);
  look('Drain', one.drains, other.drains);
  look('Zone', one.zones, other.zones);
  look('ClusterStats', [one.clusterStats], [other.clusterStats]);
  look('ServerHealth', [one.health], [other.health]);
  look('WorkerDistribution', one.vmDistribution, other.vmDistribution);
  look('ClusterEvent', one.events, other.events);
  return found;
}

// --- what arguments mean ---------------------------------------------------------------------------------------------

/** A list of a filter: left out, it asks for nothing in particular. */
const isAmong = (wanted, value) => wanted === undefined || wanted === null || wanted.includes(value);

const lengthOf = (text) => [...text].length;

function check(isRight, what) {
  if (!isRight) throw new Refused(what);
}

const checkTexts = (list, least) => list?.forEach((text) => check(lengthOf(text) >= least && lengthOf(text) <= 255, 'length of a text'));

function contains(search, places) {
  if (search === undefined || search === null) return true;
  return places.some((place) => (place ?? '').toLowerCase().includes(search.toLowerCase()));
}

const LARGEST_FIGURE = 2_147_483_647;

function checkWorkerFilter(filter) {
  for (const least of [filter.minFreeCpuCores, filter.minFreeMemoryMb, filter.minFreeVmSlots]) {
    check(least == null || (least >= 0 && least <= LARGEST_FIGURE), 'least that is free');
  }
  checkTexts(filter.ids, 1);
  checkTexts(filter.zones, 0);
  checkTexts(filter.capabilities, 1);
  checkTexts(filter.search == null ? [] : [filter.search], 0);
  for (const { key, value } of filter.labels ?? []) {
    check(lengthOf(key) >= 1 && lengthOf(key) <= 63 && lengthOf(value ?? '') <= 256, 'length of a label');
  }
}

/** Whether it is in some zone, or in none. */
const isIn = (hasZone, worker) => hasZone == null || ((worker?.zone ?? '') !== '') === hasZone;

/** All of them. As of every list, of an empty one none matches. */
function hasLabels(labels, worker) {
  if (labels == null) return true;
  const has = (wanted) =>
    worker.labels.some(({ key, value }) => key === wanted.key && (wanted.value == null || wanted.value === value));
  return labels.length > 0 && labels.every(has);
}

const isWantedWorker = (filter) => (worker) =>
  isAmong(filter.ids, worker.id) &&
  isAmong(filter.zones, worker.zone ?? '') &&
  isIn(filter.hasZone, worker) &&
  isAmong(filter.statuses, worker.status) &&
  (filter.isHealthy == null || filter.isHealthy === worker.isHealthy) &&
  (filter.capabilities == null || worker.capabilities.some((it) => filter.capabilities.includes(it))) &&
  hasLabels(filter.labels, worker) &&
  worker.freeCpuCores >= (filter.minFreeCpuCores ?? 0) &&
  worker.freeMemoryMb >= (filter.minFreeMemoryMb ?? 0) &&
  worker.freeVmSlots >= (filter.minFreeVmSlots ?? 0) &&
  contains(filter.search, [worker.id, worker.hostname, worker.address, worker.zone]);

function checkVmFilter(filter) {
  checkTexts(filter.zones, 0);
  checkTexts(filter.workerIds, 1);
  checkTexts(filter.ids, 1);
  checkTexts(filter.search == null ? [] : [filter.search], 0);
}

const isWantedVm = (filter, data) => (vm) => {
  const worker = find(data.workers, vm.workerId);
  return (
    (filter.statuses ?? HOLDING_SLOTS).includes(vm.status) &&
    isAmong(filter.workerIds, vm.workerId) &&
    isAmong(filter.ids, vm.id) &&
    (filter.duplicate == null || filter.duplicate === vm.duplicate) &&
    isAmong(filter.zones, worker?.zone ?? '') &&
    isIn(filter.hasZone, worker) &&
    contains(filter.search, [vm.id, vm.name])
  );
};

/** A connection over a sorted list, by Relay's specification. */
function page(list, { first, after, last, before }, order, isDescending, data, key = SORT_KEYS[order]) {
  check(first == null || last == null, 'first and last');
  for (const size of [first, last]) check(size == null || (size >= 0 && size <= LARGEST_PAGE), 'size of a page');
  const place = (cursor) => {
    const known = data.cursors.get(cursor);
    check(known !== undefined, 'cursor');
    check(known.order === order, 'order of a cursor');
    return known.id;
  };
  const compareTo = (id) => {
    // The cursor's element need not be in the list that was filtered.
    const node = [...data.workers, ...data.vms].find((it) => it.id === id);
    return (it) => (isDescending ? -1 : 1) * compare(key(it), key(node)) || byBytes(it.id, id);
  };
  let [start, end] = [0, list.length];
  if (after != null) {
    const from = compareTo(place(after));
    start = list.filter((it) => from(it) <= 0).length;
  }
  if (before != null) {
    const to = compareTo(place(before));
    end = Math.max(start, list.filter((it) => to(it) < 0).length);
  }
  const size = first ?? last ?? 100;
  if (last != null) start = Math.max(start, end - size);
  else end = Math.min(end, start + size);
  const nodes = list.slice(start, end);
  const edges = nodes.map((node) => ({ node, cursor: data.cursorOf.get(`${order}/${node.id}`) }));
  return {
    edges,
    nodes,
    totalCount: list.length,
    pageInfo: {
      hasNextPage: end < list.length,
      hasPreviousPage: start > 0,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
  };
}

function workersConnection(_, { filter, orderBy, ...args }, data) {
  checkWorkerFilter(filter ?? {});
  const { field = 'ID', direction = 'ASC' } = orderBy ?? {};
  const isDescending = direction === 'DESC';
  const key = SORT_KEYS[field];
  const sorted = data.workers
    .filter(isWantedWorker(filter ?? {}))
    .sort((one, other) => (isDescending ? -1 : 1) * compare(key(one), key(other)) || byBytes(one.id, other.id));
  return page(sorted, args, field, isDescending, data);
}

const vmsConnection = (list) => (source, { filter, orderBy, ...args }, data) => {
  checkVmFilter(filter ?? {});
  const { field = 'ID', direction = 'ASC' } = orderBy ?? {};
  const isDescending = direction === 'DESC';
  const key = (vm) => VM_SORT_KEYS[field](vm, data);
  const wanted = list(source, data, filter ?? {}).filter(isWantedVm(filter ?? {}, data));
  const sorted = wanted.sort((one, other) => (isDescending ? -1 : 1) * compare(key(one), key(other)) || byBytes(one.id, other.id));
  // Another report of a VM than the one that speaks for it has keys of its own, and so cursors of its own.
  const isOther = (vm) => field !== 'ID' && !data.vms.some((it) => it.id === vm.id && it.workerId === vm.workerId);
  if (sorted.some(isOther)) throw new Unmodelled('cursors of reports that do not speak for their VM');
  return page(sorted, args, vmOrder(field), isDescending, data, key);
};

/**
 * All VMs, or those that these workers report themselves. Of several reports of one VM that match, the one that speaks for
 * the VM is shown, if it is among them.
 */
function reportedBy(workerIds, data, filter) {
  if (workerIds == null) return data.vms;
  const wanted = data.workers.filter((worker) => workerIds.includes(worker.id)).flatMap((worker) => worker.reports);
  const byId = new Map();
  for (const vm of wanted.filter(isWantedVm(filter, data))) byId.set(vm.id, [...(byId.get(vm.id) ?? []), vm]);
  const shown = [...byId.values()].map((reports) => {
    const home = find(data.vms, reports[0].id)?.workerId;
    const spoken = reports.find((vm) => vm.workerId === home);
    if (spoken === undefined && reports.length > 1) throw new Unmodelled('which of several reports comes first');
    return spoken ?? reports[0];
  });
  return shown.sort((one, other) => byBytes(one.id, other.id));
}

/** How many events come before the place of a cursor, and before what follows it. */
function placeOf(cursor, data) {
  const index = data.events.findIndex((event) => event.cursor === cursor);
  if (index >= 0) return [index, index + 1];
  if (cursor === data.endOfEvents) return [data.events.length, data.events.length];
  throw new Unmodelled('a cursor of no event');
}

function checkEventFilter(filter) {
  for (const ids of [filter.workerIds, filter.vmIds, filter.actorTokenIds]) checkTexts(ids, 1);
  checkTexts(filter.zones, 0);
}

const isWantedEvent = (filter) => (it) =>
  isAmong(filter.workerIds, it.workerId) &&
  isAmong(filter.vmIds, it.vmId) &&
  isAmong(filter.zones, it.zone ?? (it.workerId === null ? undefined : '')) &&
  isAmong(filter.kinds, it.kind) &&
  isAmong(filter.actors, it.actor) &&
  isAmong(filter.actorTokenIds, it.actorTokenId);

function events(_, { first, after, last, before, order, since, until, filter }, data) {
  check(first == null || last == null, 'first and last');
  for (const size of [first, last]) check(size == null || (size >= 0 && size <= LARGEST_PAGE), 'size of a page');
  checkEventFilter(filter ?? {});
  const size = first ?? last ?? 100;
  const [isDescending, fromTheEnd] = [order === 'DESC', last != null];
  const [lower, upper] = isDescending ? [before, after] : [after, before];
  const start = lower == null ? 0 : placeOf(lower, data)[1];
  const end = upper == null ? data.events.length : placeOf(upper, data)[0];
  const isInTime = ({ at: time }) =>
    (since == null || instant(time) >= instant(since)) && (until == null || instant(time) < instant(until));
  const all = data.events.slice(start, Math.max(start, end)).filter(isInTime).filter(isWantedEvent(filter ?? {}));
  if (isDescending) all.reverse();
  const nodes = fromTheEnd ? all.slice(Math.max(0, all.length - size)) : all.slice(0, size);
  const hasMore = all.length > size;
  const [hasNextPage, hasPreviousPage] = fromTheEnd ? [before != null, hasMore] : [hasMore, after != null];
  const leavesOutLater = (!isDescending && !fromTheEnd && hasMore) || until != null;
  const endOfAll = upper ?? data.endOfEvents;
  const isBeyond = lower != null && placeOf(lower, data)[1] > placeOf(endOfAll, data)[1];
  const endCursor = leavesOutLater
    ? ((isDescending ? nodes[0] : nodes.at(-1))?.cursor ?? lower ?? data.beginningOfEvents)
    : isBeyond ? lower : endOfAll;
  const edges = nodes.map((node) => ({ node, cursor: node.cursor }));
  const pageInfo = {
    hasNextPage,
    hasPreviousPage,
    startCursor: nodes[0]?.cursor ?? null,
    endCursor: nodes.at(-1)?.cursor ?? null,
  };
  return { edges, nodes, pageInfo, hasNextPage, endCursor };
}

/** The events about one thing. */
const eventsAbout = (key) => (subject, { first, after, order }, data) => {
  check(first >= 0 && first <= LARGEST_PAGE, 'size of a page');
  const isDescending = order === 'DESC';
  const [start, end] = [
    after == null || isDescending ? 0 : placeOf(after, data)[1],
    after == null || !isDescending ? data.events.length : placeOf(after, data)[0],
  ];
  const own = data.events.slice(start, end).filter((event) => event[key] === subject.id);
  return (isDescending ? own.reverse() : own).slice(0, first);
};

/** One drain of each worker that was ever drained, in the order of the workers. */
function drains(_, { filter, ...args }, data) {
  const { states, workerIds, zones, hasZone, capabilities, labels, search } = filter ?? {};
  const ofWorkers = { ids: workerIds, zones, hasZone, capabilities, labels, search };
  checkWorkerFilter(ofWorkers);
  const drainOf = (worker) => data.drains.find(({ workerId }) => workerId === worker.id);
  const isWanted = (worker) => drainOf(worker) !== undefined && isAmong(states, drainOf(worker).state);
  const found = page(data.workers.filter(isWanted).filter(isWantedWorker(ofWorkers)), args, 'ID', false, data);
  return {
    ...found,
    edges: found.edges.map(({ node, cursor }) => ({ node: drainOf(node), cursor })),
    nodes: found.nodes.map(drainOf),
  };
}

function byZone(zones) {
  const counts = new Map();
  for (const zone of zones.filter((it) => (it ?? '') !== '')) counts.set(zone, (counts.get(zone) ?? 0) + 1);
  return [...counts].sort(([one], [other]) => byBytes(one, other)).map(([zone, count]) => ({ zone, count }));
}

const byStatus = (statuses, found) =>
  Object.fromEntries(statuses.map((status) => [status.toLowerCase(), found.filter((it) => it.status === status).length]));

function workerCounts(_, { filter }, data) {
  checkWorkerFilter(filter ?? {});
  const found = data.workers.filter(isWantedWorker(filter ?? {}));
  const zones = byZone(found.map(({ zone }) => zone));
  const { revision } = data.clusterStats;
  return { total: found.length, ...byStatus(['ACTIVE', 'DRAINING', 'OFFLINE'], found), zones, revision };
}

function vmCounts(_, { filter }, data) {
  checkVmFilter(filter ?? {});
  // Of every status, unless some are asked for: what is counted is told by status.
  const wanted = { ...filter, statuses: filter?.statuses ?? [...HOLDING_SLOTS, 'STOPPED', 'FAILED'] };
  const found = reportedBy(wanted.workerIds, data, wanted).filter(isWantedVm(wanted, data));
  const zones = byZone(found.map(({ workerId }) => find(data.workers, workerId)?.zone));
  const { revision } = data.clusterStats;
  return { total: found.length, ...byStatus([...HOLDING_SLOTS, 'STOPPED', 'FAILED'], found), zones, revision };
}

/** There are none. */
function reservations(_, { first, last, after, before }, data) {
  return page([], { first, last, after, before }, 'ID', false, data);
}

const find = (list, id) => list.find((it) => it.id === id) ?? null;

const findNode = (id, data) => find(data.workers, id) ?? find(data.vms, id);

const RESOLVERS = {
  Query: {
    node: (_, { id }, data) => findNode(id, data),
    nodes: (_, { ids }, data) => ids.map((id) => findNode(id, data)),
    worker: (_, { id }, data) => find(data.workers, id),
    vm: (_, { id }, data) => find(data.vms, id),
    workers(_, { zone, zones }, data) {
      checkTexts(zones, 0);
      const isThere = (worker) => (zone == null || (worker.zone ?? '') === zone) && isAmong(zones, worker.zone ?? '');
      return data.workers.filter(isThere);
    },
    workersConnection,
    vms: (_, __, data) => data.vms.filter(isWantedVm({}, data)),
    vmsConnection: vmsConnection((_, data, filter) => reportedBy(filter.workerIds, data, filter)),
    clusterStats: (data) => data.clusterStats,
    health: (data) => data.health,
    // The server has none, or it would ask for one.
    tokens: () => [],
    session: () => ({ asksForTokens: false, token: null }),
    vmDistribution: (data) => data.vmDistribution,
    events,
    drains,
    zones: (data) => data.zones,
    workerCounts,
    vmCounts,
    reservations,
    reservation: () => null,
  },
  Worker: {
    labels: ({ labels }, { keys }) => labels.filter(({ key }) => isAmong(keys, key)),
    vms: ({ reports }, { status, statuses }) =>
      reports.filter((vm) => (status ?? statuses ?? HOLDING_SLOTS).includes(vm.status) && isAmong(statuses, vm.status)),
    vmsConnection: vmsConnection(({ reports }) => reports),
    events: eventsAbout('workerId'),
    drains(worker, { first, after }) {
      check(first >= 0 && first <= LARGEST_PAGE, 'size of a page');
      check(after == null || after >= 0, 'number of a drain');
      return worker.drains.filter(({ number }) => after == null || number < after).slice(0, first);
    },
    reservations: () => [],
  },
  Drain: {
    metadata: ({ metadata }, { keys }) => metadata.filter(({ key }) => isAmong(keys, key)),
    worker: ({ workerId }, _, data) => find(data.workers, workerId),
  },
  Vm: {
    worker: (vm, _, data) => find(data.workers, vm.workerId),
    zone: (vm, _, data) => find(data.workers, vm.workerId)?.zone ?? null,
    events: eventsAbout('vmId'),
  },
  WorkerDistribution: {
    vms: ({ workerId }, _, data) => find(data.workers, workerId).reports.filter((vm) => HOLDING_SLOTS.includes(vm.status)),
  },
  ClusterEvent: {
    worker: ({ workerId }, _, data) => (workerId === null ? null : find(data.workers, workerId)),
    vm: ({ vmId }, _, data) => (vmId === null ? null : find(data.vms, vmId)),
  },
};
