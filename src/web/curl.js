// A request of the playground as a command for a terminal.

/** A text in single quotes for a shell. */
function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The command that sends an operation. `variables` and `headers` are JSON as they stand in the editors, and may be
 * empty; a SyntaxError is thrown if they are no JSON. A stream is followed as server-sent events.
 */
export function curl({ endpoint, query, operationName, variables, headers, isStream, asksForTokens }) {
  const parts = [isStream ? 'curl -sN' : 'curl -s', quote(endpoint)];
  const own = Object.entries(headers.trim() ? JSON.parse(headers) : {});
  const has = (name) => own.some(([key]) => key.toLowerCase() === name);
  if (asksForTokens && !has('authorization')) parts.push('-H "Authorization: Bearer $AETHERIUM_TOKEN"');
  parts.push(`-H ${quote('Content-Type: application/json')}`);
  if (isStream && !has('accept')) parts.push(`-H ${quote('Accept: text/event-stream')}`);
  for (const [name, value] of own) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  const request = { query, operationName, variables: variables.trim() ? JSON.parse(variables) : undefined };
  parts.push(`-d ${quote(JSON.stringify(request))}`);
  return parts.join(' \\\n  ');
}
