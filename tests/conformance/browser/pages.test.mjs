// The front page and the reference of the REST API, in a real browser that can reach nothing but the server.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server } from '../harness/server.mjs';
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

  test('the front page leads to the others, and they back to it', async () => {
    const visit = await browser.visit(`${server.url}/`);
    for (const place of ['graphql', 'docs']) {
      await Promise.all([visit.page.waitForNavigation(), visit.click(`a[href="${place}"]`)]);
      assert.equal(visit.page.url(), `${server.url}/${place}`);
      await visit.page.waitForSelector(place === 'docs' ? '.opblock' : '.graphiql-execute-button');
      await Promise.all([visit.page.waitForNavigation(), visit.click('::-p-xpath(//a[.="Aetherium"])')]);
      assert.equal(visit.page.url(), `${server.url}/`);
    }
    await visit.leave();
  });

  for (const scheme of ['light', 'dark']) {
    test(`the front page and the reference are seen in ${scheme}`, async () => {
      const front = await browser.visit(`${server.url}/`, { scheme });
      await front.picture(`front-${scheme}`);
      await front.leave();

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
    await visit.click('.opblock-get[id$="workers"] .opblock-summary-control, .opblock-get .opblock-summary-control');
    await visit.click('.opblock.is-open .execute');
    await visit.page.waitForSelector('.opblock.is-open .live-responses-table .response-col_status');
    const status = await visit.page.$eval('.live-responses-table .response .response-col_status', (cell) => cell.textContent);
    assert.match(status, /^200/);
    await visit.picture('docs-tried');
    await visit.leave();
  });
});
