// Streams in the REST reference, which shows an answer only when it has ended: of a stream, what comes in its first
// seconds is shown, and how to follow it from a terminal.

/** How long a stream is listened to, in milliseconds. */
const LISTEN_MS = 4_000;
/** What is shown of a stream at most, in characters. */
const MOST_CHARACTERS = 100_000;

const STREAMS = ['text/event-stream', 'application/x-ndjson'];

/** Whether a request of Swagger UI asks for a stream. */
export function isStream({ headers = {} }) {
  const accept = Object.entries(headers).find(([name]) => name.toLowerCase() === 'accept')?.[1] ?? '';
  return STREAMS.some((type) => String(accept).includes(type));
}

/** `fetch` for a stream: an answer that ends, with the first of it. */
export async function someOf(url, request) {
  const abort = new AbortController();
  const response = await fetch(url, { ...request, signal: abort.signal });
  const { status, statusText, headers } = response;
  const type = headers.get('content-type') ?? '';
  if (!STREAMS.some((one) => type.startsWith(one)) || !response.body) return response;
  const { text, isOver } = await first(response.body, abort);
  const note = isOver ? '' : goesOn(url, type);
  return new Response(text + note, { status, statusText, headers });
}

async function first(body, abort) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(resolve, LISTEN_MS, null); });
  try {
    while (text.length < MOST_CHARACTERS) {
      const part = await Promise.race([reader.read(), late]);
      if (part === null) break;
      if (part.done) return { text, isOver: true };
      text += part.value;
    }
    return { text: text.slice(0, MOST_CHARACTERS), isOver: false };
  } finally {
    clearTimeout(timer);
    // The stream is let go of; that reading it fails for that is no news.
    reader.cancel().catch(() => {});
    abort.abort();
  }
}

/** What is said below a stream that was left, as a comment of its own format where it has any. */
function goesOn(url, type) {
  const command = `curl -sN '${String(url).replaceAll("'", `'\\''`)}' -H 'Accept: ${type.split(';')[0]}'`;
  const words = [`The stream goes on. This page has listened for ${LISTEN_MS / 1_000} s; follow it in a terminal:`, command];
  return `\n${words.map((line) => (type.startsWith('text/event-stream') ? `: ${line}` : `# ${line}`)).join('\n')}\n`;
}
