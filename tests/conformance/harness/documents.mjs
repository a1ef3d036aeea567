// What the documents give to be pasted.

import { readFileSync } from 'node:fs';
import path from 'node:path';

import { ROOT } from './server.mjs';

/** The blocks of a page in a language, in order. */
export function blocks(page, language) {
  const text = readFileSync(path.join(ROOT, page), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, block]) => block);
}

/** The same text, with the address of a server in place of the documented one. */
export function addressed(text, server) {
  return text.replaceAll('localhost:8080', server.address);
}

/** What a process of a documented program needs: before version 22, Node has WebSockets only if it is told to. */
export const environment = {
  ...process.env,
  ...(globalThis.WebSocket ? {} : { NODE_OPTIONS: '--experimental-websocket' }),
};
