// The stub of Consul that discovery is tested with, by clients that know nothing of it and were written for Consul: npm
// consul 2, PyPI py-consul, and vmagent with `consul_sd_configs` (Debian's Prometheus is built without them). The last
// one finds what this program announces, too.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import Client from 'consul';

import { Agent } from './harness/agent.mjs';
import { Consul, Scraper } from './harness/consul.mjs';
import { Received } from './harness/patience.mjs';
import { Server } from './harness/server.mjs';
import { closingLine, python, run, temporaryFolder } from './harness/tools.mjs';

/** Whether this is the client's error for an answer with this status and sentence. */
const refused = (status, sentence) => (error) => {
  assert.equal(error.statusCode, status);
  assert.match(error.response.body, sentence);
  return true;
};

describe('npm consul', () => {
  let consul;
  let client;
  beforeEach(async () => {
    consul = await Consul.start();
    client = clientOf(consul);
  });
  afterEach(() => consul.stop());

  const clientOf = ({ port }, defaults = {}) => new Client({ host: '127.0.0.1', port, defaults });
  const register = (id, ttl = '1h', by = client) =>
    by.agent.service.register({
      name: 'web',
      id,
      address: '192.0.2.1',
      port: 80,
      tags: ['a'],
      meta: { k: 'v' },
      check: { ttl, status: 'passing' },
    });

  /** What a watch was told of the passing instances: the ids, each time they changed. */
  const follow = () => {
    const changes = new Received();
    const options = { service: 'web', passing: true, wait: '10m' };
    const watch = client.watch({ method: client.health.service, options });
    watch.on('change', (instances) => changes.push(instances.map(({ Service }) => Service.ID)));
    watch.on('error', (error) => changes.end(error));
    return { changes, watch };
  };

  test('registers, passes, warns and deregisters, and a watch is told of each', async () => {
    const { changes, watch } = follow();
    await changes.count(1);
    await register('web-1');
    await changes.count(2);
    await register('web-2');
    await changes.count(3);
    await client.agent.check.warn({ id: 'service:web-1', note: 'slow' });
    await changes.count(4);
    await client.agent.check.pass('service:web-1');
    await changes.count(5);
    await client.agent.service.maintenance({ id: 'web-2', enable: true, reason: 'new disks' });
    await changes.count(6);
    await client.agent.service.deregister('web-1');
    await changes.count(7);
    watch.end();
    const both = ['web-1', 'web-2'];
    assert.deepEqual(changes.items, [[], ['web-1'], both, ['web-2'], both, ['web-1'], []]);

    const [{ CheckID, Notes }, ...more] = await client.health.state('critical');
    assert.deepEqual([CheckID, Notes, more], ['_service_maintenance:web-2', 'new disks', []]);
    const { 'web-2': service } = await client.agent.service.list();
    assert.deepEqual(service.Meta, { k: 'v' });
    assert.deepEqual(await client.catalog.service.list(), { web: ['a'] });
    const [node] = await client.catalog.service.nodes('web');
    assert.deepEqual([node.ServiceID, node.ServiceAddress, node.ServicePort], ['web-2', '192.0.2.1', 80]);
    assert.equal(await client.status.leader(), '127.0.0.1:8300');
  });

  test('is told when a TTL has run out', async () => {
    const { changes, watch } = follow();
    await register('web-1');
    await changes.first('it', ([id]) => id === 'web-1');
    await register('web-1', '100ms');
    await changes.until('end of it', (items) => !items.at(-1).length);
    watch.end();
    const checks = await client.agent.check.list();
    assert.deepEqual([checks['service:web-1'].Status, checks['service:web-1'].Output], ['critical', 'TTL expired']);
  });

  test('goes on watching when the index falls, and when everything is forgotten', async () => {
    await register('web-1');
    await register('web-1');
    const { changes, watch } = follow();
    await changes.count(1);
    await consul.control('reset-index');
    await changes.count(2);
    await consul.control('forget');
    await changes.first('nothing', (ids) => !ids.length);
    await register('web-2');
    await changes.first('the new one', ([id]) => id === 'web-2');
    watch.end();
    await assert.rejects(client.agent.check.pass('service:web-1'), refused(404, /Unknown check ID "service:web-1"/));
  });

  test('is refused what its token does not permit', async () => {
    await register('web-1');
    const token = { accessor: 'd4b5', rules: { service_write: ['we'], node_read: true } };
    await consul.control('acl', { enabled: true, tokens: { secret: token } });
    const lacks = /anonymous token lacks permission 'service:write' on "web"/;
    await assert.rejects(register('web-2'), refused(403, lacks));
    assert.deepEqual(await client.health.service('web'), []);
    const guessing = clientOf(consul, { token: 'guess' });
    await assert.rejects(register('web-2', '1h', guessing), refused(403, /ACL not found/));
    const permitted = clientOf(consul, { token: 'secret' });
    await register('web-2', '1h', permitted);
    assert.equal((await permitted.health.service('web')).length, 2);
    const named = /token with AccessorID 'd4b5' lacks permission 'service:write' on "api"/;
    await assert.rejects(permitted.agent.service.register('api'), refused(403, named));
    await permitted.agent.service.deregister('web-1');
  });

  test('is refused metadata that is too long', async () => {
    const meta = { labels: 'x'.repeat(513) };
    const tooLong = /Invalid Service Meta: .*Value is too long \(limit: 512 characters\)/;
    await assert.rejects(client.agent.service.register({ name: 'web', meta }), refused(400, tooLong));
  });
});

describe('PyPI py-consul', () => {
  let consul;
  before(async () => (consul = await Consul.start()));
  after(() => consul.stop());

  test('registers, watches, is refused, and deregisters', async (test) => {
    const said = await run(python('pytest'), ['-p', 'no:cacheprovider', '--quiet', 'test_consul.py'], {
      cwd: new URL('python', import.meta.url),
      env: { AETHERIUM_TEST_CONSUL_PORT: String(consul.port), PYTHONDONTWRITEBYTECODE: '1' },
    });
    test.diagnostic(`pytest: ${closingLine(said)}`);
  });
});

describe('vmagent', () => {
  test('finds what was registered, and follows it', async (test) => {
    const consul = await Consul.start();
    const scraper = await Scraper.start(temporaryFolder(test), consul, ['web']);
    const client = new Client({ host: '127.0.0.1', port: consul.port });
    const register = (id, port) =>
      client.agent.service.register({ name: 'web', id, address: '127.0.0.1', port, meta: { zone: 'here' } });
    await register('web-1', 1);
    await register('web-2', 2);
    const targets = await scraper.targets('both', (targets) => targets.length === 2);
    assert.deepEqual(
      targets.map(({ instance, service_id, service_metadata_zone }) => [instance, service_id, service_metadata_zone]),
      [['127.0.0.1:1', 'web-1', 'here'], ['127.0.0.1:2', 'web-2', 'here']],
    );
    await client.agent.service.deregister('web-1');
    await scraper.targets('the other', ([target, ...more]) => target?.service_id === 'web-2' && !more.length);
    await scraper.stop();
    await consul.stop();
  });

  test('finds servers and workers that announce themselves, and no more when they have gone', async (test) => {
    const folder = temporaryFolder(test);
    const consul = await Consul.start();
    const scraper = await Scraper.start(folder, consul, ['aetherium', 'aetherium-worker']);
    const server = await Server.start({ args: ['--consul', consul.url], empty: true });
    const settings = ['--consul', consul.url, '--consul-announce', '--leave-on-stop', '--zone', 'here'];
    const agent = Agent.start(folder, ['--id', 'host-1', '--address', '127.0.0.1:8081', ...settings]);
    const targets = await scraper.targets('both', (targets) => targets.length === 2);
    assert.deepEqual(
      targets.map(({ service, instance, service_metadata_worker_id, service_metadata_zone }) => [
        service,
        instance,
        service_metadata_worker_id,
        service_metadata_zone,
      ]),
      [
        ['aetherium', server.address, undefined, undefined],
        ['aetherium-worker', '127.0.0.1:8081', 'host-1', 'here'],
      ],
    );
    await agent.stop();
    await scraper.targets('the server', ([target, ...more]) => target?.service === 'aetherium' && !more.length);
    await server.stop();
    await scraper.targets('nothing', (targets) => !targets.length);
    await scraper.stop();
    await consul.stop();
  });
});
