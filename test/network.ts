import { connect as connectSocket, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/**
 * Between the program and the server, on a port of its own or the one that is given: cuts each connection off after so many
 * bytes, or after its COMMIT of that number, as often as it is told.
 */
export async function startNetwork(
  serverUrl: string,
  { bytes = Infinity, cuts = 0, commit = 0, port: ownPort = 0 } = {},
) {
  let commits = 0;
  const { searchParams, username, password, pathname, hostname, port } = new URL(
    serverUrl.replace('@/', '@localhost/'),
  );
  const host = searchParams.get('host');
  let cutsLeft = cuts;
  let isHanging = false;
  const open = new Set<Socket>();
  const network = createServer((socket) => {
    const server = host?.startsWith('/')
      ? connectSocket(join(host, '.s.PGSQL.5432'))
      : connectSocket(Number(port), hostname);
    let sent = 0;
    for (const one of [socket, server]) {
      open.add(one);
      if (isHanging) one.pause();
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        socket.destroy();
        server.destroy();
      });
    }
    socket.on('data', (data) => {
      sent += data.length;
      if (data.includes('COMMIT\0')) commits += 1;
      if (commit > 0 && commits === commit && cutsLeft > 0) {
        cutsLeft -= 1;
        server.unpipe(socket);
        server.on('data', () => socket.resetAndDestroy()); // the answer is on its way, and never comes
        server.resume();
        return;
      }
      if (sent > bytes && cutsLeft > 0) {
        cutsLeft -= 1;
        socket.resetAndDestroy();
      }
    });
    if (isHanging) return;
    socket.pipe(server);
    server.pipe(socket);
  });
  await new Promise<void>((resolve) => network.listen(ownPort, '127.0.0.1', resolve));
  onTestFinished(() => {
    network.close();
    for (const socket of open) socket.destroy();
  });
  const { port: listening } = network.address() as { port: number };
  return {
    url: `postgresql://${username}:${password}@127.0.0.1:${listening}${pathname}`,
    cutsLeft: () => cutsLeft,
    /** From now on nothing comes through, and nobody is told. */
    hang: () => {
      isHanging = true;
      for (const socket of open) {
        socket.unpipe();
        socket.pause();
      }
    },
  };
}
