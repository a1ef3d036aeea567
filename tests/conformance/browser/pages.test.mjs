// The reference of the REST API, and the way to it and to the playground, in a real browser that can reach nothing but the server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server } from '../harness/server.mjs';
import { below } from './proxy.mjs';
import { Browser } from './visit.mjs';

describe('pages', () => {
  let server;
  let browser;
  before(async () => {
    server = await Server.start();
    browser = await Browser.launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test('the dashboard leads to the others, and they back to it', async () => {
    const visit = await browser.visit(`${server.url}/`);
    for (const place of ['graphql', 'docs']) {
      await visit.click('nav[aria-label="Pages"] a[href$="/api"]');
      await visit.follow(`main a[href$="/${place}"]`, `${server.url}/${place}`);
      await visit.page.waitForSelector(place === 'docs' ? '.opblock' : '.graphiql-execute-button');
      await visit.follow('::-p-xpath(//a[.="Aetherium"])', `${server.url}/`);
    }
    await visit.leave();
  });

  for (const scheme of ['light', 'dark']) {
    test(`the reference is seen in ${scheme}`, async () => {
      const visit = await browser.visit(`${server.url}/docs`, { scheme });
      await visit.page.waitForSelector('.opblock');
      const described = Object.values((await server.fleet.get('/openapi.json')).paths).flatMap((path) =>
        Object.keys(path).filter((key) => ['get', 'put', 'post', 'delete', 'patch'].includes(key)),
      );
      assert.equal((await visit.page.$$('.opblock')).length, described.length);
      await visit.picture(`docs-${scheme}`);
      await visit.leave();
    });
  }

  test('the reference sends what it describes', async () => {
    const visit = await browser.visit(`${server.url}/docs/`);
    const { sent, status } = await tryFirst(visit);
    assert.match(status, /^200/);
    assert.equal(new URL(sent).pathname, '/api/v1/workers');
    assert.equal(new URL(sent).searchParams.has('zone'), false, 'filters are for those who ask for them');
    await visit.picture('docs-tried');
    await visit.leave();
  });

  test('all of it works below a path', async () => {
    const proxy = await below('/deep/down/', server.address);
    try {
      const visit = await browser.visit(`${proxy.url}api`);
      await visit.follow('main a[href$="/docs"]', `${proxy.url}docs`);
      const { sent, status } = await tryFirst(visit);
      assert.match(status, /^200/);
      assert.ok(sent.startsWith(`${proxy.url}api/v1/workers`), sent);

      await visit.follow('.bar a[href$="/graphql"]', `${proxy.url}graphql`);
      await visit.playground();
      await visit.click('::-p-xpath(//*[contains(@class, "graphiql-tab-button")][.="FollowHeartbeats"])');
      await visit.click('.graphiql-execute-button');
      await visit.messages.first('heartbeat', ({ type }) => type === 'next');
      await visit.leave();
    } finally {
      proxy.close();
    }
  });

  /** Sends the first request that the reference offers: what is sent, and the status it then shows. */
  const tryFirst = async (visit) => {
    await visit.click('.opblock-get .opblock-summary-control');
    await visit.click('.opblock.is-open .try-out__btn');
    await visit.click('.opblock.is-open .execute');
    const { url: sent } = await visit.requests.answered(({ url }) => url.includes('/api/v1/workers'));
    const status = await visit.page.waitForSelector('.live-responses-table .response .response-col_status');
    return { sent, status: await status.evaluate((cell) => cell.textContent) };
  };
});
