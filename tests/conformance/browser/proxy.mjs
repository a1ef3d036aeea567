// A proxy that puts a server below a path, as an operator might with nginx.

import { createServer, request } from 'node:http';

/** Serves under `prefix` what `address` (a host and a port) serves at its root; nothing else is there. */
export async function below(prefix, address) {
  const [host, port] = address.split(':');
  const forwarded = ({ method, url, headers }) =>
    url.startsWith(prefix) ? { host, port, method, path: url.slice(prefix.length - 1), headers } : null;

  const proxy = createServer((asked, answer) => {
    const options = forwarded(asked);
    if (!options) return answer.writeHead(404).end();
    const onward = request(options, (response) => {
      answer.writeHead(response.statusCode, response.headers);
      response.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    asked.pipe(onward);
  });
  proxy.on('upgrade', (asked, socket) => {
    const options = forwarded(asked);
    if (!options) return socket.destroy();
    // Either side may leave while the other is still being asked.
    socket.on('error', () => {});
    const onward = request(options);
    onward.on('error', () => socket.destroy());
    onward.on('upgrade', (response, other) => {
      const headers = Object.entries(response.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${headers.join('')}\r\n`);
      other.pipe(socket).pipe(other);
      other.on('error', () => {});
    });
    onward.end();
  });
  await new Promise((listening) => proxy.listen(0, '127.0.0.1', listening));
  return {
    url: `http://127.0.0.1:${proxy.address().port}${prefix}`,
    close: () => {
      proxy.closeAllConnections();
      proxy.close();
    },
  };
}
