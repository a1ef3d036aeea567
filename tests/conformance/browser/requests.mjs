// The requests of a page, as Chromium's protocol tells of them. Of a request whose document was left meanwhile, the
// protocol may never tell the end. Puppeteer's waitForNetworkIdle waits for such a request for ever; here only requests of
// the present document are waited for.

import { setTimeout as sleep } from 'node:timers/promises';

import { PATIENCE_WITH_PAGES, Received } from '../harness/patience.mjs';

export class Requests {
  /** Those that were answered, in order: `{ id, document, url, body }`, where the body is text. */
  #answered = new Received();
  /** Those of the present document that have not ended, by their ids. */
  #open = new Map();
  /** The document that is shown, or is being asked for. */
  #document;
  /** The document of each request, by the request's id. */
  #documents = new Map();
  /** When the last one began or ended, in milliseconds. */
  #changedAt = Date.now();
  #devtools;

  static async of(page) {
    const requests = new Requests();
    const devtools = requests.#devtools = await page.createCDPSession();
    devtools.on('Network.requestWillBeSent', ({ requestId: id, loaderId, type, request }) => {
      if (type === 'Document') {
        requests.#document = loaderId;
        requests.#open.clear();
      }
      requests.#documents.set(id, loaderId);
      // One that is left may still ask for something.
      if (loaderId !== requests.#document) return;
      requests.#open.set(id, { id, document: loaderId, url: request.url, body: request.postData ?? '' });
      requests.#changedAt = Date.now();
    });
    const end = ({ requestId: id }, isAnswered) => {
      const request = requests.#open.get(id);
      if (!request) return;
      requests.#open.delete(id);
      requests.#changedAt = Date.now();
      if (isAnswered) requests.#answered.push(request);
    };
    devtools.on('Network.loadingFinished', (event) => end(event, true));
    devtools.on('Network.loadingFailed', (event) => end(event, false));
    await devtools.send('Network.enable');
    return requests;
  }

  /** Whether a request is one of the present document. */
  isOfDocument(id) {
    return this.#documents.get(id) === this.#document;
  }

  /** Waits until none has been under way for so long from now on, in milliseconds. */
  async idle(time = 300) {
    const begun = Date.now();
    while (this.#open.size > 0 || Date.now() - Math.max(this.#changedAt, begun) < time) {
      if (Date.now() - begun > PATIENCE_WITH_PAGES) throw new Error(`requests that do not end: ${JSON.stringify([...this.#open.values()])}`);
      await sleep(50);
    }
  }

  /** Waits for the first one like this of the present document that was answered. */
  answered(isIt) {
    return this.#answered.first('answer to a request', (request) => request.document === this.#document && isIt(request));
  }

  /** The answer, as JSON, to the first one whose body is like this. */
  async answer(like) {
    const { id } = await this.answered(({ body }) => like.test(body));
    const { body } = await this.#devtools.send('Network.getResponseBody', { requestId: id });
    return JSON.parse(body);
  }
}
