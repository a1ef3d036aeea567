// A browser that can reach nothing but the server, and that tells whatever a page complains of.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';

import puppeteer from 'puppeteer-core';

import { PATIENCE, Received } from '../harness/patience.mjs';

/** Debian's and others' places for it. */
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** How long a page is waited for, in milliseconds: drawing an editor is more work than answering a request. */
const PATIENCE_WITH_PAGES = 3 * PATIENCE;

/** Where pictures of the pages go, for people to look at; none are taken unless it is set. */
const PICTURES = process.env.AETHERIUM_TEST_PICTURES;

export class Browser {
  #chromium;

  static async launch() {
    const browser = new Browser();
    const executablePath = process.env.AETHERIUM_TEST_CHROMIUM ?? CHROMIUM.find((program) => existsSync(program));
    assert(executablePath, `no Chromium among ${CHROMIUM.join(', ')}; AETHERIUM_TEST_CHROMIUM may name one`);
    browser.#chromium = await puppeteer.launch({
      executablePath,
      args: [
        // Whoever runs this in a container is root there, and Chromium's sandbox will not have it. It opens our pages only.
        '--no-sandbox',
        '--disable-gpu',
        // There is no other host: not for the pages, nor for what Chromium asks on its own account.
        '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
      ],
      // Slow machines are slow to start it, too.
      timeout: PATIENCE_WITH_PAGES,
      protocolTimeout: PATIENCE_WITH_PAGES,
    });
    return browser;
  }

  /** Opens an address as somebody who was never here before. */
  async visit(address, { scheme = 'light' } = {}) {
    const context = await this.#chromium.createBrowserContext();
    await context.overridePermissions(new URL(address).origin, ['clipboard-read', 'clipboard-sanitized-write']);
    const visit = await Visit.begin(await context.newPage(), new URL(address).host, scheme);
    await visit.go(address);
    return visit;
  }

  async close() {
    await this.#chromium.close();
  }
}

export class Visit {
  /** What went wrong: errors and warnings of the console, exceptions, violations of the policy, failed requests. */
  complaints = [];
  /** Messages of WebSockets, as JSON. */
  messages = new Received();

  static async begin(page, host, scheme) {
    const visit = new Visit();
    visit.page = page;
    page.setDefaultTimeout(PATIENCE_WITH_PAGES);
    await page.setViewport({ width: 1400, height: 850 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);

    const complain = (complaint) => visit.complaints.push(complaint);
    page.on('console', (message) => {
      if (['error', 'warn'].includes(message.type())) complain(`${message.type()}: ${message.text()}`);
    });
    page.on('pageerror', (error) => complain(`exception: ${error.message}`));
    // Chromium calls an answer without content aborted, although the page has it.
    const isWithoutContent = (request) => request.response()?.status() === 204;
    page.on('requestfailed', (request) => isWithoutContent(request) || complain(`failed: ${request.url()} ${request.failure()?.errorText}`));
    const isForTheServer = (url) => ['blob:', 'data:'].includes(new URL(url).protocol) || new URL(url).host === host;
    const look = (url) => isForTheServer(url) || complain(`another host: ${url}`);
    page.on('request', (request) => look(request.url()));
    page.on('workercreated', ({ client }) => {
      client.on('Network.requestWillBeSent', ({ request }) => look(request.url));
      // One that has ended already asks for nothing.
      client.send('Network.enable').catch(() => {});
    });
    page.on('response', (response) => {
      if (response.status() >= 400) complain(`${response.status()}: ${response.url()}`);
    });
    await page.exposeFunction('tellOfViolation', complain);
    await page.evaluateOnNewDocument(() => {
      document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sourceFile }) => {
        window.tellOfViolation(`policy: ${violatedDirective} of ${blockedURI} in ${sourceFile}`);
      });
    });
    const devtools = await page.createCDPSession();
    await devtools.send('Network.enable');
    devtools.on('Network.webSocketFrameReceived', ({ response }) => visit.messages.push(JSON.parse(response.payloadData)));
    return visit;
  }

  async go(address) {
    await this.page.goto(address, { waitUntil: 'load' });
  }

  /** Waits for what a selector means, and clicks it. */
  async click(selector) {
    await this.page.locator(selector).click();
  }

  /** Clicks a link, and waits until it has led here. */
  async follow(selector, address) {
    await this.click(selector);
    await this.until((address) => window.location.href === address, address);
  }

  /** Waits until the playground can be worked with: its editors are drawn. */
  async playground() {
    await this.page.waitForSelector('.graphiql-query-editor .view-line');
    await this.page.waitForSelector('.result-window .monaco-editor');
    await this.page.waitForSelector('.graphiql-execute-button');
  }

  /** Waits until a function says yes in the page. */
  until(isIt, ...given) {
    return this.page.waitForFunction(isIt, { polling: 50 }, ...given);
  }

  /** Keeps a picture of what is seen, if anybody wants them. */
  async picture(name) {
    if (!PICTURES) return;
    mkdirSync(PICTURES, { recursive: true });
    await this.page.screenshot({ path: path.join(PICTURES, `${name}.png`) });
  }

  /** Ends it; nothing may have gone wrong. */
  async leave() {
    await this.page.browserContext().close();
    assert.deepEqual(this.complaints, [], 'complaints of the page');
  }
}
