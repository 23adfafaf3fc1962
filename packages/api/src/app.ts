import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { OpenAPIHono } from '@hono/zod-openapi';
import { METRICS } from '@moniepoint/core/metrics';
import type { Context } from 'hono';
import { cors } from 'hono/cors';
import type { Logger } from 'pino';
import { type Access, createGate } from './access.ts';
import { serveDocs } from './docs.ts';
import type { Published } from './live-snapshot.ts';
import {
  matchesEtag,
  microsecondsSince,
  PROBLEM_TYPE,
  prepareResponses,
  problemBody,
  type ReadyResponses,
  requestHeaders,
  requestIdOf,
} from './respond.ts';
import { healthRoute, importsRoute, metricRoute, readyRoute } from './routes.ts';
import { createTelemetry } from './telemetry.ts';

/** How the import inside this process stands, for /health; `idle` where this process imports nothing. */
export type ImportState = {
  readonly state: 'idle' | 'running' | 'done' | 'failed';
  readonly detail?: string;
  /** While it runs, how far it is. */
  readonly files?: number;
  readonly files_done?: number;
  readonly rows_read?: number;
};

export type AppOptions = {
  readonly version: string;
  readonly corsOrigins: readonly string[];
  readonly access: Access;
  /** Seconds of Strict-Transport-Security; 0 leaves the header out. */
  readonly hstsMaxAge: number;
  readonly isDatabaseConnected: () => boolean;
  readonly importState: () => ImportState;
  readonly log: Logger;
};

export type App = {
  readonly hono: OpenAPIHono<Env>;
  /**
   * Answers at once what is ready to be sent, and says whether it did; the rest is Hono's. A Request, a Response and their
   * Headers cost several times the answer itself. A test compares both ways.
   */
  readonly answerAtOnce: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Swaps in the responses of what was published; requests see the old ones or the new ones. */
  readonly publish: (published: Published) => void;
};

type Env = { Variables: { requestId: string }; Bindings: Partial<HttpBindings> };

const RETRY_AFTER_SECONDS = 2;

const API_POLICY = "default-src 'none'; frame-ancestors 'none'";

/**
 * The read API: CONTRACT.md section 6. Runs no SQL; what it serves is handed in by `publish`.
 */
export function createApp(options: AppOptions): App {
  const startedAt = performance.now();
  let ready: ReadyResponses | null = null;
  let published: Published = { snapshot: null, imports: [] };
  const hono = new OpenAPIHono<Env>({
    defaultHook: (result, c) => {
      if (result.success) return undefined;
      const [issue] = result.error.issues;
      return problem(c, 400, `Parameter ${issue?.path.join('.')}: expected ${issue?.message}.`);
    },
  });

  const fixedHeaders: Record<string, string> = {
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'X-XSS-Protection': '0',
    'Referrer-Policy': 'no-referrer',
    ...(options.hstsMaxAge > 0
      ? { 'Strict-Transport-Security': `max-age=${options.hstsMaxAge}; includeSubDomains` }
      : {}),
    'Content-Security-Policy': API_POLICY,
  };

  /** What the log says of each kind of request is written once. */
  const logs = new Map<string, Logger>();
  const finish = (requestId: string, method: string, path: string, status: number, us: number) => {
    const route = routes.has(path) ? path : 'other';
    observe(route, status, us);
    if (route === 'other') {
      options.log.info({ method, route, path, status, request_id: requestId, ms: us / 1000 }, 'request');
      return;
    }
    const kind = `${status} ${method} ${path}`;
    const log = logs.get(kind) ?? options.log.child({ method, route, path, status });
    logs.set(kind, log);
    log.info({ request_id: requestId, ms: us / 1000 }, 'request');
  };

  hono.use(async (c, next) => {
    const begin = performance.now();
    const requestId = requestIdOf(c.req.header('X-Request-Id'));
    c.set('requestId', requestId);
    await next();
    const us = microsecondsSince(begin);
    const { headers } = c.res;
    const ownPolicy = headers.get('Content-Security-Policy');
    for (const [name, value] of Object.entries({ ...fixedHeaders, ...requestHeaders(requestId, us) }))
      headers.set(name, value);
    if (ownPolicy !== null) headers.set('Content-Security-Policy', ownPolicy);
    finish(requestId, c.req.method, c.req.path, c.res.status, us);
  });

  if (options.corsOrigins.length > 0) {
    const origin = options.corsOrigins.includes('*') ? '*' : [...options.corsOrigins];
    hono.use(
      cors({
        origin,
        allowMethods: ['GET', 'HEAD'],
        exposeHeaders: ['ETag', 'X-Data-Version', 'X-Data-As-Of', 'X-Request-Id'],
      }),
    );
  }

  const gate = createGate(options.access);
  hono.use(async (c, next) => {
    const { refusal, headers } = gate({
      path: c.req.path,
      authorization: c.req.header('Authorization'),
      forwardedFor: c.req.header('X-Forwarded-For'),
      address: c.env?.incoming?.socket.remoteAddress ?? '',
    });
    if (refusal !== null) return problem(c, refusal.status, refusal.detail, headers);
    await next();
    for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value);
    return undefined;
  });

  for (const metric of METRICS) {
    hono.openapi(metricRoute(metric), (c) => {
      const response = ready?.get(c.req.path);
      if (response === undefined) return notReady(c);
      if (response.status === 404) return problem(c, 404, response.body, response.headers);
      if (matchesEtag(c.req.header('If-None-Match'), response.headers.ETag as string)) {
        const { 'Content-Type': _, ...headers } = response.headers;
        return c.body(null, 304, headers);
      }
      return c.body(response.body, 200, response.headers);
    });
  }

  hono.openapi(healthRoute, (c) =>
    c.json(
      {
        status: 'ok' as const,
        version: options.version,
        uptime_seconds: Math.floor((performance.now() - startedAt) / 1000),
        database: options.isDatabaseConnected() ? ('up' as const) : ('down' as const),
        data_version: published.snapshot?.dataVersion ?? null,
        data_as_of: published.snapshot?.asOf ?? null,
        import: options.importState(),
      },
      200,
      { 'Cache-Control': 'no-store' },
    ),
  );

  hono.openAPIRegistry.registerPath(readyRoute);
  hono.get(readyRoute.path, (c) =>
    ready === null ? notReady(c) : c.json({ status: 'ready' }, 200, { 'Cache-Control': 'no-store' }),
  );

  hono.openapi(importsRoute, (c) => {
    const { limit, before } = c.req.valid('query');
    const older = published.imports.filter(({ file_id }) => before === undefined || file_id < Number(before));
    const imports = older.slice(0, Number(limit));
    const next = imports.length < older.length ? (imports.at(-1)?.file_id ?? null) : null;
    return c.json({ imports, next }, 200, { 'Cache-Control': 'no-store' });
  });

  const { registry, observe } = createTelemetry(() => published, options.isDatabaseConnected);
  hono.get('/metrics', async (c) =>
    c.body(await registry.metrics(), 200, { 'Content-Type': registry.contentType, 'Cache-Control': 'no-store' }),
  );

  serveDocs(hono, options.version);

  const routes = new Set(hono.routes.filter(({ method }) => method === 'GET').map(({ path }) => path));
  hono.notFound((c) => {
    if (routes.has(c.req.path) && c.req.method !== 'GET') {
      return problem(c, 405, `${c.req.method} is not allowed here; use GET or HEAD.`, { Allow: 'GET, HEAD' });
    }
    return problem(c, 404, 'There is nothing under this path; /openapi.json lists what there is.');
  });

  hono.onError((error, c) => {
    options.log.error({ request_id: c.get('requestId'), path: c.req.path, err: error }, 'request failed');
    return problem(c, 500, 'The request could not be answered. The log has the reason under this request id.');
  });

  return {
    hono,
    answerAtOnce: (request, response) => {
      const { method, url = '', headers } = request;
      if (method !== 'GET' && method !== 'HEAD') return false;
      if (options.corsOrigins.length > 0 && headers.origin !== undefined) return false;
      if (options.access.tokens.length > 0 || options.access.rateLimit > 0) return false;
      const found = ready?.get(url);
      if (found?.status !== 200) return false;
      const begin = performance.now();
      const requestId = requestIdOf(headers['x-request-id'] as string | undefined);
      const isKnown = matchesEtag(headers['if-none-match'], found.headers.ETag as string);
      const status = isKnown ? 304 : 200;
      const us = microsecondsSince(begin);
      const own = requestHeaders(requestId, us);
      const head = (isKnown ? found.rawNotModifiedHeaders : found.rawHeaders).slice();
      for (const name in own) head.push(name, own[name as keyof typeof own]);
      response.writeHead(status, head);
      // As text, which Node joins to the head; bytes would be a second piece.
      response.end(isKnown || method === 'HEAD' ? undefined : found.body);
      finish(requestId, method, url, status, us);
      return true;
    },
    publish: (latest) => {
      if (latest.snapshot !== null) ready = prepareResponses(latest.snapshot, fixedHeaders);
      published = latest;
    },
  };
}

function problem(
  c: Context<Env>,
  status: 400 | 401 | 404 | 405 | 429 | 500 | 503,
  detail: string,
  headers: Record<string, string> = {},
): Response {
  const body = problemBody(status, detail, c.req.path, c.get('requestId'));
  return c.body(body, status, { ...headers, 'Content-Type': PROBLEM_TYPE, 'Cache-Control': 'no-store' });
}

function notReady(c: Context<Env>): Response {
  return problem(c, 503, 'Nothing was imported yet. Try again when the first import has ended.', {
    'Retry-After': String(RETRY_AFTER_SECONDS),
  });
}
