// Sessions in a real browser: signing in and out on every page, sign-in links, and what pages of other origins reach with
// the cookie, which is nothing.
//
// To a browser, 127.0.0.1:1 and 127.0.0.1:2 are one site: it sends a `SameSite=Strict` cookie from a page of one to the
// other. So it is the server that has to tell them apart.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';

import { Server } from '../harness/server.mjs';
import { below } from './proxy.mjs';
import { Browser } from './visit.mjs';

describe('sessions', () => {
  let server;
  let browser;
  let admin;
  before(async () => {
    server = await Server.start();
    admin = server.token('create', '--role', 'admin', '--name', 'alice');
    browser = await Browser.launch();
    await until('the server to ask for a token', async () => (await fetch(`${server.url}/api/v1/workers`)).status === 401);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const api = (path, options = {}) =>
    fetch(`${server.url}/api/v1${path}`, { ...options, headers: { authorization: `Bearer ${admin}`, ...options.headers } });

  /** A link of this server, once it knows of it. */
  async function link(role) {
    const text = server.token('sign-in', '--role', role, '--name', 'link', '--server', server.url);
    const id = new URL(text).hash.slice('#code=aec_'.length).slice(0, 12);
    await until('the code', async () => (await (await api('/tokens')).json()).tokens.some((token) => token.id === id));
    return text;
  }

  /** Where each page asks for a token, and how it marks that somebody is signed in. */
  const FORM = '#session-token';
  const IS_IN = 'html[data-session=in]';

  async function signIn(visit, token = admin) {
    await visit.page.waitForSelector(FORM);
    await visit.page.type(FORM, token);
    await visit.click('form:has(#session-token) button[type=submit]');
    await visit.page.waitForSelector(IS_IN);
  }

  /** By the button of a page, or that in the menu of the dashboard. */
  async function signOut(visit) {
    if (await visit.page.$('#session > button')) await visit.click('#session > button');
    else {
      await visit.press('button', /(alice|link).*(admin|viewer)/);
      await visit.press('button', /^Sign out/);
    }
  }

  /** What is said of the session: in its place on a page, and anywhere in the dashboard. */
  const said = (visit) => visit.page.$eval('#session, #app', (place) => place.textContent);

  /** What is in the browser that a script of the page could read, and what is in the address and the history. */
  const readable = (visit) => visit.page.evaluate(() => JSON.stringify([
    { ...localStorage }, { ...sessionStorage }, document.cookie, location.href, document.documentElement.outerHTML,
  ]));

  for (const scheme of ['light', 'dark']) {
    for (const [name, path] of [['dashboard', '/'], ['docs', '/docs'], ['playground', '/graphql']]) {
      test(`${name}: a sign-in instead of an error, then it works, in ${scheme}`, async () => {
        const visit = await browser.visit(`${server.url}${path}`, { scheme });
        await visit.page.waitForSelector(FORM);
        await visit.picture(`session-${name}-out-${scheme}`);
        assert.equal(await visit.page.$('.graphiql-execute-button'), null);

        await visit.page.type(FORM, `${admin.slice(0, -1)}x`);
        await visit.page.keyboard.press('Enter');
        await visit.page.waitForSelector('form:has(#session-token) [role=alert]');
        assert.match(await said(visit), /cannot be read/);
        await visit.picture(`session-${name}-refused-${scheme}`);

        await visit.page.$eval(FORM, (input) => { input.value = ''; });
        await signIn(visit);
        assert.match(await said(visit), /Signed in as alice\W+admin/);
        if (name === 'playground') {
          await visit.playground();
          await visit.click('.graphiql-execute-button');
          await visit.until(() => window.__MONACO.editor.getModels().some((model) => model.getValue().includes('pageInfo')));
        }
        if (name === 'docs') await visit.page.waitForSelector('.opblock');
        await visit.picture(`session-${name}-in-${scheme}`);
        const seen = await readable(visit);
        assert(!/ae[as]_\w{61}/.test(seen), seen);

        await signOut(visit);
        await visit.page.waitForSelector(FORM);
        assert.match(await said(visit), /You are signed out/);
        assert.deepEqual(await visit.page.browserContext().cookies(), []);
        await visit.leave({ despite: /401/ });
      });
    }
  }

  test('a link signs in once, and leaves no trace of its code', async () => {
    const address = await link('viewer');
    const visit = await browser.visit(address);
    await visit.page.waitForSelector(IS_IN);
    assert.match(await said(visit), /Signed in as link\W+viewer/);
    assert.equal(visit.page.url(), `${server.url}/`);
    const code = new URL(address).hash.slice('#code='.length);
    assert(!(await readable(visit)).includes(code));
    await visit.page.goto('about:blank');
    await visit.page.goBack();
    assert.equal(visit.page.url(), `${server.url}/`);
    // The socket of a page that is put aside is closed, which the browser says in its console.
    await visit.leave({ despite: /about:blank|Back-Forward Cache/ });

    const again = await browser.visit(address);
    await again.sees(/used before/);
    assert.equal(again.page.url(), `${server.url}/`);
    await again.picture('session-link-used');
    await again.leave({ despite: /401/ });
  });

  test('a cookie of a script does not become a session', async () => {
    const visit = await browser.visit(`${server.url}/`);
    await visit.page.waitForSelector(FORM);
    const planted = `aes_${'x'.repeat(61)}`;
    await visit.page.evaluate((planted) => { document.cookie = `aetherium=${planted}; path=/`; }, planted);
    await signIn(visit);
    const [cookie, ...others] = await visit.page.browserContext().cookies();
    assert.deepEqual(others, []);
    assert.notEqual(cookie.value, planted);
    assert.deepEqual(
      [cookie.name, cookie.httpOnly, cookie.sameSite, cookie.path, cookie.secure],
      ['aetherium', true, 'Strict', '/', false],
    );
    await visit.leave();
  });

  test('signing out, and a revocation, end what the playground follows, and the page says so', async () => {
    const visit = await browser.visit(server.graphql);
    await signIn(visit);
    await visit.playground();
    for (const end of ['sign out', 'revoke']) {
      if (end === 'revoke') {
        await visit.page.waitForSelector(FORM);
        await signIn(visit);
      }
      const closed = visit.page.evaluate(() => new Promise((resolve, reject) => {
        window.isFollowing = false;
        const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
        socket.onopen = () => socket.send('{"type":"connection_init"}');
        socket.onmessage = ({ data }) => {
          const { type } = JSON.parse(data);
          const query = 'subscription { workerHeartbeats { worker { id } } }';
          if (type === 'connection_ack') socket.send(JSON.stringify({ type: 'subscribe', id: '1', payload: { query } }));
          if (type === 'next') window.isFollowing = true;
        };
        socket.onclose = ({ code, reason }) => resolve(`${code} ${reason}`);
        setTimeout(() => reject(new Error('it is open still')), 60_000);
      }));
      await visit.until(() => window.isFollowing);
      if (end === 'revoke') {
        const { tokens } = await (await api('/tokens')).json();
        const open = tokens.filter(({ kind, state, name }) => kind === 'session' && state === 'live' && name === 'alice');
        for (const { id } of open) assert.equal((await api(`/tokens/${id}`, { method: 'DELETE' })).status, 204);
      } else {
        await signOut(visit);
      }
      assert.match(await closed, /^4403 /);
      await visit.page.waitForSelector(FORM);
      assert.match(await said(visit), end === 'revoke' ? /has ended/ : /You are signed out/);
      assert.equal(await visit.page.$eval('#playground', (playground) => playground.hidden), true);
      await visit.picture(`session-playground-after-${end.replace(' ', '-')}`);
    }
    await visit.leave({ despite: /401/ });
  });

  test('all of it works below a path', async () => {
    const proxy = await below('/deep/down/', server.address);
    try {
      for (const path of ['', 'docs', 'docs/', 'graphql']) {
        const visit = await browser.visit(`${proxy.url}${path}`);
        await signIn(visit);
        // A connection that is being made when its session ends is refused, as the browser then says.
        if (path === '') await visit.dashboard();
        await signOut(visit);
        await visit.page.waitForSelector(FORM);
        await visit.leave();
      }
    } finally {
      proxy.close();
    }
  });

  test('with the keyboard alone', async () => {
    const visit = await browser.visit(`${server.url}/docs`);
    await visit.page.waitForSelector(FORM);
    const label = await visit.page.$eval(FORM, (input) => input.labels[0].textContent);
    assert.equal(label, 'Token');
    const focused = () => visit.page.evaluate(() => document.activeElement.id);
    for (let key = 1; (await focused()) !== 'session-token'; key += 1) {
      assert(key < 10, 'the field is among the first things');
      await visit.page.keyboard.press('Tab');
    }
    await visit.page.keyboard.type(admin);
    await visit.page.keyboard.press('Tab');
    await visit.page.keyboard.press('Space');
    await visit.page.waitForSelector(IS_IN);
    // What had the focus is gone, so that its successor has it.
    assert.equal(await visit.page.evaluate(() => document.activeElement.textContent), 'Sign out');
    await visit.page.keyboard.press('Enter');
    await visit.page.waitForSelector(FORM);
    assert.equal(await visit.page.evaluate(() => document.activeElement.id), 'session-token');
    await visit.leave();
  });

  describe('pages of other origins', () => {
    let evil;
    let received = 0;
    before(async () => {
      evil = createServer((request, response) => {
        received += 1;
        response.setHeader('content-type', 'text/html');
        response.end('<!doctype html><title>another</title><body></body>');
      });
      await new Promise((resolve) => evil.listen(0, resolve));
    });
    after(() => evil?.close());

    for (const name of ['127.0.0.1', 'localhost']) {
      test(`${name} at another port reaches nothing with the cookie`, async () => {
        const visit = await browser.visit(`${server.url}/`);
        await signIn(visit);
        const before = await state();

        await visit.go(`http://${name}:${evil.address().port}/`);
        const outcome = await visit.page.evaluate(attack, server.url);
        for (const [way, what] of Object.entries(outcome)) assert.match(what, /^(refused|opaque|4403)/, `${way}: ${what}`);
        // A form leads the browser away.
        for (const [path, method, type] of [
          ['/api/v1/workers/worker-01/drain', 'post', 'text/plain'],
          ['/api/v1/session', 'post', 'text/plain'],
          ['/api/v1/workers', 'get', 'application/x-www-form-urlencoded'],
        ]) {
          await visit.go(`http://${name}:${evil.address().port}/`);
          const leads = visit.page.waitForNavigation();
          await visit.page.evaluate((action, method, enctype) => {
            const form = Object.assign(document.createElement('form'), { action, method, enctype });
            form.append(Object.assign(document.createElement('input'), { name: '{"token": "', value: '"}' }));
            document.body.append(form);
            form.submit();
          }, `${server.url}${path}`, method, type);
          const answer = await leads;
          assert([401, 403].includes(answer.status()), `${path}: ${answer.status()}`);
        }
        assert.deepEqual(await state(), before, 'nothing has changed');

        // The session itself is as good as before.
        await visit.go(`${server.url}/`);
        await visit.page.waitForSelector(IS_IN);
        assert(received > 0);
        visit.complaints = [];
        await visit.leave();
      });
    }

    /** What an attack would change. */
    async function state() {
      const { status, policy_revision: policy } = await (await api('/workers/worker-01')).json();
      const { tokens } = await (await api('/tokens')).json();
      const sessions = tokens.filter(({ kind }) => kind === 'session').map(({ id, state }) => `${id} ${state}`);
      return { status, policy, sessions };
    }
  });
});

/** Tries everything from a page of another origin, and tells what came of it. Runs in the page. */
async function attack(target) {
  const outcome = {};
  const tell = async (way, asking) => {
    try {
      const response = await asking();
      outcome[way] = response.type === 'opaque' ? 'opaque' : `answered ${response.status}`;
    } catch (error) {
      outcome[way] = `refused ${error.message}`;
    }
  };
  const json = { 'content-type': 'application/json' };
  const credentials = 'include';
  await tell('read', () => fetch(`${target}/api/v1/workers`, { credentials }));
  await tell('read without CORS', () => fetch(`${target}/api/v1/workers`, { credentials, mode: 'no-cors' }));
  await tell('command', () => fetch(`${target}/api/v1/workers/worker-01/drain`, { method: 'POST', credentials, headers: json }));
  await tell('command without CORS', () =>
    fetch(`${target}/api/v1/workers/worker-01/drain`, { method: 'POST', credentials, mode: 'no-cors', body: '{}' }));
  await tell('query', () =>
    fetch(`${target}/graphql`, { method: 'POST', credentials, headers: json, body: '{"query": "{ workers { id } }"}' }));
  await tell('mutation by form', () =>
    fetch(`${target}/graphql`, { method: 'POST', credentials, mode: 'no-cors', body: new URLSearchParams({ query: '{ __typename }' }) }));
  await tell('sign out', () => fetch(`${target}/api/v1/session`, { method: 'DELETE', credentials }));
  await tell('sign in', () => fetch(`${target}/api/v1/session`, { method: 'POST', credentials, mode: 'no-cors', body: '{}' }));
  navigator.sendBeacon(`${target}/api/v1/workers/worker-01/drain`, new Blob(['{}'], { type: 'text/plain' }));
  navigator.sendBeacon(`${target}/api/v1/session`, new Blob(['{}'], { type: 'text/plain' }));

  outcome.socket = await new Promise((resolve) => {
    const socket = new WebSocket(`${target.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    socket.onopen = () => socket.send('{"type":"connection_init"}');
    socket.onmessage = ({ data }) => resolve(`answered ${data}`);
    socket.onclose = ({ code, reason }) => resolve(`${code} ${reason}`);
  });
  outcome.stream = await new Promise((resolve) => {
    const stream = new EventSource(`${target}/api/v1/events`, { withCredentials: true });
    stream.onmessage = stream.onopen = () => resolve('answered');
    stream.onerror = () => resolve('refused');
  });
  outcome.script = await new Promise((resolve) => {
    const script = Object.assign(document.createElement('script'), { src: `${target}/api/v1/workers` });
    script.onload = () => resolve('answered');
    script.onerror = () => resolve('refused');
    document.head.append(script);
  });
  outcome.frame = await new Promise((resolve) => {
    const frame = Object.assign(document.createElement('iframe'), { src: `${target}/graphql` });
    frame.onload = () => {
      try {
        resolve(frame.contentDocument ? 'refused' : 'refused to look inside');
      } catch (error) {
        resolve(`refused ${error.message}`);
      }
    };
    document.body.append(frame);
  });
  return outcome;
}

/** Waits until a function says yes. */
async function until(what, isIt) {
  for (let round = 0; round < 600; round += 1) {
    if (await isIt()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`waited in vain for ${what}`);
}
