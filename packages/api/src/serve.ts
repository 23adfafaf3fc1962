import { randomUUID } from 'node:crypto';
import { createServer, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener, RequestError } from '@hono/node-server';
import type { Config } from '@moniepoint/core/config';
import type { Database } from '@moniepoint/core/db/database';
import { describeError, errorCode, MoniepointError } from '@moniepoint/core/errors';
import { VERSION } from '@moniepoint/core/version';
import type { Logger } from 'pino';
import { createApp, type ImportState, NO_RELOADS, type ReloadPlan } from './app.ts';
import { followSnapshot } from './live-snapshot.ts';
import { PROBLEM_TYPE, problemBody } from './respond.ts';

/** A listening API. */
export type RunningApi = {
  readonly url: string;
  /** Stops accepting, lets open requests end, and returns within DRAIN_MS. */
  readonly close: () => Promise<void>;
};

/** What a slow or hostile client may take of us: a header of 16 KiB within 10 s, a request within 15 s. */
const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  keepAliveTimeout: 10_000,
  connectionsCheckingInterval: 1_000,
  requireHostHeader: false, // Node would answer without a body
};
/** A connection on which nothing moves for this long is closed, also while an answer waits to be taken. */
const SILENCE_MS = 30_000;
const MAX_CONNECTIONS = 20_000;

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

/** Answers what is no HTTP request, or did not come in time or size. */
function refuseBroken(
  error: NodeJS.ErrnoException,
  socket: Duplex,
  fixedHeaders: Readonly<Record<string, string>>,
): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [status, detail] = BROKEN[error.code ?? ''] ?? [400, 'This is no HTTP request.'];
  const { body, headers } = refusalOf(status, detail, fixedHeaders);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`);
}

/** The answer to a request that the app does not come to see. */
function refusalOf(
  status: number,
  detail: string,
  fixedHeaders: Readonly<Record<string, string>>,
): { readonly body: string; readonly headers: Record<string, string> } {
  const requestId = randomUUID();
  const body = problemBody(status, detail, '', requestId);
  const headers = {
    'Content-Type': PROBLEM_TYPE,
    'Content-Length': String(Buffer.byteLength(body)),
    'Cache-Control': 'no-store',
    'X-Request-Id': requestId,
    ...fixedHeaders,
    Connection: 'close',
  };
  return { body, headers };
}

const BROKEN: Readonly<Record<string, readonly [status: number, detail: string]>> = {
  HPE_HEADER_OVERFLOW: [431, `The headers are larger than ${LIMITS.maxHeaderSize} bytes.`],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'The request did not arrive in time.'],
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
  config: Pick<Config, 'host' | 'port' | 'corsOrigins' | 'hstsMaxAge' | 'apiTokens' | 'rateLimit' | 'trustedHops'>,
  importState: () => ImportState,
  log: Logger,
  reloadPlan: () => ReloadPlan = () => NO_RELOADS,
): Promise<RunningApi> {
  let isDatabaseConnected = () => false;
  const app = createApp({
    version: VERSION,
    corsOrigins: config.corsOrigins,
    access: { tokens: config.apiTokens, rateLimit: config.rateLimit, trustedHops: config.trustedHops },
    hstsMaxAge: config.hstsMaxAge,
    isDatabaseConnected: () => isDatabaseConnected(),
    importState,
    reloadPlan,
    log,
  });
  // The host is for requests that name none, as HTTP/1.0 may.
  const answer = getRequestListener(app.hono.fetch, {
    hostname: 'localhost',
    errorHandler: (error) => {
      const isRequest = error instanceof RequestError;
      log[isRequest ? 'info' : 'error']({ err: error }, 'request refused');
      const [status, detail] = isRequest
        ? [400, 'No URL comes of this path and Host.']
        : [500, 'The log has the reason.'];
      const { body, headers } = refusalOf(status, detail, app.fixedHeaders);
      return new Response(body, { status, headers });
    },
  });
  /** Connections that have not asked for anything yet. Node counts them as busy. */
  const silent = new Set<Socket>();
  const server = createServer(LIMITS, (request, response) => {
    silent.delete(request.socket);
    if (request.headers.host === undefined && request.httpVersion === '1.1')
      refuse(response, 400, 'A request of HTTP/1.1 has to have a Host header.');
    else if (!app.answerAtOnce(request, response)) void answer(request, response);
  });
  const refuse = (response: ServerResponse, status: number, detail: string) => {
    const { body, headers } = refusalOf(status, detail, app.fixedHeaders);
    response.writeHead(status, headers).end(body);
  };
  server.on('checkExpectation', (_, response) => refuse(response, 417, 'Nothing but 100-continue can be expected.'));
  server.on('connection', (socket) => {
    silent.add(socket);
    socket.on('close', () => silent.delete(socket));
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(SILENCE_MS);
  server.on('clientError', (error, socket) => refuseBroken(error, socket, app.fixedHeaders));
  if (config.apiTokens.length === 0 && !isLoopback(config.host)) {
    log.warn({ host: config.host }, 'the API can be reached from other machines and asks for no token; set API_TOKENS');
  }
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
  const host = isLoopback(config.host) ? 'localhost' : config.host;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: async () => {
      await drain(server, silent);
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
async function drain(server: Server, silent: ReadonlySet<Socket>): Promise<void> {
  await new Promise<void>((resolve) => {
    const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS);
    const idle = setInterval(() => server.closeIdleConnections(), 50);
    server.close(() => {
      clearTimeout(deadline);
      clearInterval(idle);
      resolve();
    });
    server.closeIdleConnections();
    for (const socket of silent) socket.destroy();
  });
}
