// A browser that can reach nothing but the server, and that tells whatever a page complains of.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';

import axe from 'axe-core';
import puppeteer from 'puppeteer-core';

import { PATIENCE_WITH_PAGES, Received } from '../harness/patience.mjs';
import { Requests } from './requests.mjs';

/** Debian's and others' places for it. */
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Findings of axe that fail a test; the others are advice. */
const GRAVE = ['serious', 'critical'];

/** Where elements of a role are looked for, by what they are called. */
const ROLES = {
  button: 'button, summary, [role=button]',
  cell: 'td, [role=cell], [role=gridcell]',
  checkbox: 'input[type=checkbox]',
  dialog: 'dialog[open], [role=dialog]',
  field: 'input, select, textarea',
  heading: 'h1, h2, h3',
  link: 'a[href]',
  row: 'tr, [role=row]',
};

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

  /** Opens an address as somebody who was never here before. What is to run in the page `before` all else, does. */
  async visit(address, { scheme = 'light', before = () => {} } = {}) {
    const context = await this.#chromium.createBrowserContext();
    await context.overridePermissions(new URL(address).origin, ['clipboard-read', 'clipboard-sanitized-write']);
    const visit = await Visit.begin(await context.newPage(), new URL(address).host, scheme);
    await visit.page.evaluateOnNewDocument(before);
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
  /** What the page asks its server for. */
  requests;
  /** Messages of WebSockets, as JSON. */
  messages = new Received();

  static async begin(page, host, scheme) {
    const visit = new Visit();
    visit.page = page;
    visit.requests = await Requests.of(page);
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
    // A page that does not want an answer any more, since another question has taken its place, calls its request off.
    const isCalledOff = (request) => request.resourceType() === 'fetch' && request.failure()?.errorText === 'net::ERR_ABORTED';
    // Nor does one that was left want what it was still loading.
    const isOfDocumentLeft = (request) => request.failure()?.errorText === 'net::ERR_ABORTED' && !visit.requests.isOfDocument(request.id);
    page.on('requestfailed', (request) => {
      if (!isWithoutContent(request) && !isCalledOff(request) && !isOfDocumentLeft(request)) complain(`failed: ${request.url()} ${request.failure()?.errorText}`);
    });
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

  /** Waits for what is seen with this role and a name like this, such as `('button', /^Drain/)`, and returns it. */
  async named(role, name, patience = PATIENCE_WITH_PAGES) {
    const found = await this.page
      .waitForFunction(lookFor, { polling: 50, timeout: patience }, ROLES[role], name.source, name.flags)
      .catch((cause) => this.page.evaluate(() => document.body.innerText).then((text) => {
        throw new Error(`there is no ${role} like ${name} in:\n${text.slice(0, 4_000)}`, { cause });
      }));
    return found.asElement();
  }

  /** Waits for it, and clicks it. */
  async press(role, name) {
    // It may be drawn anew in between.
    for (let attempt = 1; ; attempt += 1) {
      const element = await this.named(role, name);
      try {
        await element.click();
        return;
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  }

  /** What an act puts on the clipboard, which is empty before. */
  async copied(act) {
    await this.page.evaluate(() => navigator.clipboard.writeText(''));
    await act();
    const text = await this.page.waitForFunction(() => navigator.clipboard.readText(), { polling: 50 });
    return text.jsonValue();
  }

  /** Waits until a text is seen in the page. */
  async sees(text, patience = PATIENCE_WITH_PAGES) {
    const seen = this.page.waitForFunction(
      (source, flags) => new RegExp(source, flags).test(document.body.innerText),
      { polling: 50, timeout: patience },
      text.source,
      text.flags,
    );
    await seen.catch((cause) => this.page.evaluate(() => document.body.innerText).then((all) => {
      throw new Error(`${text} is not seen in:\n${all.slice(0, 4_000)}`, { cause });
    }));
  }

  /** Waits until a page of the dashboard has drawn what it has asked for. */
  async dashboard() {
    await this.page.waitForSelector('html[data-live=live] main h1');
    await this.requests.idle();
  }

  /**
   * Holds what is seen against the rules of accessibility, in light and in dark, and keeps a picture of each. What axe
   * finds is among the complaints of the page, but for rules that a page of other people's parts is excepted from.
   */
  async judge(name, { except = [] } = {}) {
    for (const scheme of ['dark', 'light']) {
      await this.page.emulateMediaFeatures([
        { name: 'prefers-color-scheme', value: scheme },
        // A colour that is halfway to another is judged as it is then.
        { name: 'prefers-reduced-motion', value: 'reduce' },
      ]);
      await this.page.waitForFunction((scheme) => (document.documentElement.dataset.theme ?? scheme) === scheme, {}, scheme);
      await this.picture(`${name}-${scheme}`);
      await this.page.evaluate(axe.source);
      const findings = await this.page.evaluate(async () => {
        const values = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
        const { violations } = await window.axe.run(document, { resultTypes: ['violations'], runOnly: { type: 'tag', values } });
        return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, where: nodes.slice(0, 3).map(({ target, failureSummary }) => `${target}: ${failureSummary}`) }));
      });
      for (const { id, impact, help, where } of findings.filter(({ id, impact }) => GRAVE.includes(impact) && !except.includes(id))) {
        this.complaints.push(`axe, ${name} in ${scheme}: ${impact}: ${id}: ${help}: ${where.join(' | ')}`);
      }
    }
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

  /**
   * Ends it; nothing may have gone wrong, but for complaints that are no fault of the page, such as what a browser says of
   * a server that was stopped. A page that asks periodically complains until its end, so that they are told here.
   */
  async leave({ despite } = {}) {
    // What the page has complained of until now is here with the answer. What closing it cuts off is no fault of it.
    await this.page.evaluate(() => {});
    const complaints = this.complaints.filter((complaint) => !despite?.test(complaint));
    await this.page.browserContext().close();
    assert.deepEqual(complaints, [], 'complaints of the page');
  }
}

/** The first element that matches, is seen, and has a name like this. Runs in the page. */
function lookFor(selector, source, flags) {
  const like = new RegExp(source, flags);
  const nameOf = (element) => {
    const labelled = element.getAttribute('aria-labelledby')?.split(' ').map((id) => document.getElementById(id)?.textContent).join(' ');
    const labels = [...(element.labels ?? [])].map((label) => label.textContent).join(' ');
    return (element.getAttribute('aria-label') ?? labelled ?? (labels || element.textContent)).replace(/\s+/g, ' ').trim();
  };
  return [...document.querySelectorAll(selector)].find((element) => element.checkVisibility() && like.test(nameOf(element)));
}
