// How a peer says where it listens, and when it ends.

/** Prints the address as the only line, and ends with whoever reads it: its end of the pipe is then closed. */
export function listening(server) {
  const { address, port } = server.address();
  console.log(`${address}:${port}`);
  process.stdin.resume().on('end', () => process.exit());
}
