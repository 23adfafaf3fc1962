import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import type { Config } from '@moniepoint/core/config';
import type { Database } from '@moniepoint/core/db/database';
import { describeError, errorCode, MoniepointError } from '@moniepoint/core/errors';
import { VERSION } from '@moniepoint/core/version';
import type { Logger } from 'pino';
import { createApp, type ImportState } from './app.ts';
import { followSnapshot } from './live-snapshot.ts';

/** A listening API. */
export type RunningApi = {
  readonly url: string;
  /** Stops accepting, lets open requests end, and returns within DRAIN_MS. */
  readonly close: () => Promise<void>;
};

/** CONTRACT.md section 6: leave within 10 s; what is left of them is for the database. */
const DRAIN_MS = 8_000;

/**
 * Starts the API on the configured host and port. It listens at once and answers 503 until there is a snapshot, also
 * while the database is down.
 *
 * @throws MoniepointError `failed` when the address cannot be listened on
 */
export async function startApi(
  database: Pick<Database, 'connect'>,
  config: Pick<Config, 'host' | 'port' | 'corsOrigins' | 'hstsMaxAge'>,
  importState: () => ImportState,
  log: Logger,
): Promise<RunningApi> {
  let isDatabaseConnected = () => false;
  const app = createApp({
    version: VERSION,
    corsOrigins: config.corsOrigins,
    hstsMaxAge: config.hstsMaxAge,
    isDatabaseConnected: () => isDatabaseConnected(),
    importState,
    log,
  });
  const answer = getRequestListener(app.hono.fetch);
  const server = createServer((request, response) => {
    if (!app.answerAtOnce(request, response)) void answer(request, response);
  });
  await listen(server, config.host, config.port);
  const live = followSnapshot(
    database,
    (published) => {
      app.publish(published);
      log.debug({ data_version: published.snapshot?.dataVersion }, 'snapshot swapped');
    },
    (reason) => log.warn({ reason }, 'the database does not answer; the last snapshot is served meanwhile'),
  );
  isDatabaseConnected = live.isConnected;

  const { port } = server.address() as AddressInfo;
  const host = config.host === '127.0.0.1' || config.host === '::1' ? 'localhost' : config.host;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: async () => {
      await drain(server);
      await live.close();
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(cannotListen(error, host, port)));
    server.listen(port, host, resolve);
  });
}

function cannotListen(error: Error, host: string, port: number): MoniepointError {
  const advice: Record<string, string> = {
    EADDRINUSE: 'Another program uses this port; stop it, or choose another one with --port or API_PORT.',
    EACCES: 'This user must not use this port; choose one above 1023 with --port or API_PORT.',
    EADDRNOTAVAIL: 'This machine has no such address; correct --host or API_HOST.',
    ENOTFOUND: 'No such host is known; correct --host or API_HOST.',
  };
  const next = advice[errorCode(error) ?? ''] ?? 'Correct --host and --port.';
  return new MoniepointError(
    'failed',
    `Cannot listen on ${host} port ${port}: ${describeError(error)}. ${next}`,
    error,
  );
}

/** Idle keep-alive connections would hold the server open for their whole time-out. */
async function drain(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
    const idle = setInterval(() => server.closeIdleConnections(), 50);
    server.close(() => {
      clearTimeout(deadline);
      clearInterval(idle);
      resolve();
    });
    server.closeIdleConnections();
  });
}
