import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { OpenAPIHono } from '@hono/zod-openapi';
import { LEADERBOARD, METRICS, type Metric } from '@moniepoint/core/metrics';
import type { Context } from 'hono';
import { cors } from 'hono/cors';
import type { Logger } from 'pino';
import type { $ZodIssue } from 'zod/v4/core';
import { type Access, createGate } from './access.ts';
import { serveDocs } from './docs.ts';
import { createLeaders } from './leaders.ts';
import { NOTHING_PUBLISHED, type Published } from './live-snapshot.ts';
import {
  type Answer,
  answer,
  matchesEtag,
  microsecondsSince,
  notModifiedHeaders,
  PROBLEM_TYPE,
  prepareResponses,
  problemBody,
  type ReadyResponses,
  requestHeaders,
  requestIdOf,
} from './respond.ts';
import { healthRoute, importsRoute, metricRoute, metricsRoute, type Question, readyRoute } from './routes.ts';
import { servePage } from './serve-page.ts';
import { createTelemetry } from './telemetry.ts';

/** How the import inside this process stands, for /health; `idle` where this process imports nothing. */
export type ImportState = {
  readonly state: 'idle' | 'waiting' | 'running' | 'done' | 'failed';
  readonly detail?: string;
  /** While it runs, how far it is. */
  readonly files?: number;
  readonly files_done?: number;
  readonly rows_read?: number;
};

/** What this process imports by itself from time to time, for /health. */
export type ReloadPlan = {
  /** For people: a cron expression with its zone, `on change`, or both. */
  readonly schedule: string | null;
  /** ISO 8601 in UTC. */
  readonly nextRunAt: string | null;
};

export const NO_RELOADS: ReloadPlan = { schedule: null, nextRunAt: null };

export type AppOptions = {
  readonly version: string;
  readonly corsOrigins: readonly string[];
  readonly access: Access;
  /** Seconds of Strict-Transport-Security; 0 leaves the header out. */
  readonly hstsMaxAge: number;
  readonly isDatabaseConnected: () => boolean;
  readonly importState: () => ImportState;
  /** Left out where this process imports nothing. */
  readonly reloadPlan?: () => ReloadPlan;
  readonly log: Logger;
};

export type App = {
  readonly hono: OpenAPIHono<Env>;
  /** Of every answer, whatever it is. */
  readonly fixedHeaders: Readonly<Record<string, string>>;
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
  let published = NOTHING_PUBLISHED;
  let leadersOf = createLeaders(null);
  const hono = new OpenAPIHono<Env>({
    defaultHook: (result, c) => (result.success ? undefined : problem(c, 400, wrongParameter(c, result.error))),
  });

  const fixedHeaders: Readonly<Record<string, string>> = {
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
        exposeHeaders: ['ETag', 'X-Data-Version', 'X-Data-As-Of', 'X-Request-Id', 'Retry-After'],
      }),
    );
  }

  const gate = createGate(options.access);
  hono.use(async (c, next) => {
    const { refusal, headers } = gate({
      path: c.req.path,
      authorization: c.req.header('Authorization'),
      forwardedFor: c.req.header('X-Forwarded-For'),
      fetchMode: c.req.header('Sec-Fetch-Mode'),
      address: c.env?.incoming?.socket.remoteAddress ?? '',
    });
    if (refusal !== null) return problem(c, refusal.status, refusal.detail, headers);
    await next();
    for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value);
    return undefined;
  });

  /** Sends an answer as it is, or says that it is known already, or that there is none. */
  const send = (c: Context<Env>, response: Answer | null | undefined) => {
    if (response === null || response === undefined) return notReady(c, published);
    if (response.status === 404) return problem(c, 404, response.body, response.headers);
    if (matchesEtag(c.req.header('If-None-Match'), response.headers.ETag as string)) {
      return c.body(null, 304, notModifiedHeaders(response.headers));
    }
    return c.body(response.body, 200, response.headers);
  };

  const ask = (metric: Metric, { format = 'json', mode, ...range }: Question): Answer | null => {
    const { snapshot, volumes } = published;
    if (snapshot === null) return null;
    const { answers } = snapshot;
    if (mode === 'nested') return answer(metric, { ...answers, kycFunnel: answers.kycFunnelNested }, format, snapshot);
    if (Object.keys(range).length === 0) return answer(metric, answers, format, snapshot);
    if (volumes === null) return null;
    const [topMerchant = null] = leadersOf(range);
    return answer(metric, { ...answers, topMerchant }, format, volumes);
  };

  for (const metric of METRICS) {
    hono.openapi(metricRoute(metric), (c) => {
      const asked = c.req.valid('query') as Question;
      return send(c, Object.keys(asked).length === 0 ? ready?.get(c.req.path) : ask(metric, asked));
    });
  }

  hono.openapi(metricRoute(LEADERBOARD), (c) => {
    const { limit = '10', format = 'json', ...range } = c.req.valid('query') as Question;
    const { volumes } = published;
    if (volumes === null) return send(c, null);
    return send(c, answer(LEADERBOARD, leadersOf(range).slice(0, Number(limit)), format, volumes));
  });

  hono.openapi(healthRoute, (c) => {
    const reloads = options.reloadPlan?.() ?? NO_RELOADS;
    return c.json(
      {
        status: 'ok' as const,
        version: options.version,
        uptime_seconds: Math.floor((performance.now() - startedAt) / 1000),
        database: options.isDatabaseConnected() ? ('up' as const) : ('down' as const),
        data_version: published.snapshot?.dataVersion ?? null,
        data_as_of: published.snapshot?.asOf ?? null,
        data_age_seconds:
          published.snapshot && Math.max(0, Math.floor((Date.now() - Date.parse(published.snapshot.asOf)) / 1000)),
        import: options.importState(),
        last_import: published.lastRun && {
          outcome: published.lastRun.outcome,
          started_at: published.lastRun.startedAt,
          finished_at: published.lastRun.finishedAt,
          files: published.lastRun.files,
          rows_read: published.lastRun.read,
          rows_rejected: published.lastRun.rejected,
          files_failed: published.lastRun.errors.length,
        },
        reload_schedule: reloads.schedule,
        next_reload: reloads.nextRunAt,
      },
      200,
      { 'Cache-Control': 'no-store' },
    );
  });

  hono.openAPIRegistry.registerPath(readyRoute);
  hono.get(readyRoute.path, (c) =>
    ready === null ? notReady(c, published) : c.json({ status: 'ready' }, 200, { 'Cache-Control': 'no-store' }),
  );

  hono.openapi(importsRoute, (c) => {
    const { limit = '100', before } = c.req.valid('query');
    const older = published.imports.filter(({ file_id }) => before === undefined || file_id < Number(before));
    const imports = older.slice(0, Number(limit));
    const next = imports.length < older.length ? (imports.at(-1)?.file_id ?? null) : null;
    return c.json({ imports, next }, 200, { 'Cache-Control': 'no-store' });
  });

  const { registry, observe } = createTelemetry(() => published, options.isDatabaseConnected);
  hono.openapi(metricsRoute, async (c) =>
    c.body(await registry.metrics(), 200, { 'Content-Type': registry.contentType, 'Cache-Control': 'no-store' }),
  );

  serveDocs(hono, options.version);
  servePage(hono, () => ({
    published,
    leaders: published.volumes && leadersOf({}),
    isDatabaseConnected: options.isDatabaseConnected(),
    importState: options.importState(),
  }));

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
    fixedHeaders,
    answerAtOnce: (request, response) => {
      const { method, url = '', headers } = request;
      if (method !== 'GET' && method !== 'HEAD') return false;
      if (options.corsOrigins.length > 0) return false;
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
      if (latest.volumes !== published.volumes) leadersOf = createLeaders(latest.volumes);
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
  const body = problemBody(status, detail, new URL(c.req.url).pathname, c.get('requestId'));
  return c.body(body, status, { ...headers, 'Content-Type': PROBLEM_TYPE, 'Cache-Control': 'no-store' });
}

function notReady(c: Context<Env>, { snapshot }: Published): Response {
  const detail =
    snapshot === null
      ? 'Nothing was imported yet. Try again when the first import has ended.'
      : 'The volumes of the months are being read. Try again in a moment.';
  return problem(c, 503, detail, { 'Retry-After': String(RETRY_AFTER_SECONDS) });
}

/** Which parameter is wrong, what was found, and what was expected. */
function wrongParameter(c: Context<Env>, { issues }: { readonly issues: readonly $ZodIssue[] }): string {
  const [issue] = issues;
  if (issue?.code === 'unrecognized_keys')
    return `Parameter ${issue.keys[0]}: not known here; /openapi.json lists them.`;
  const name = String(issue?.path[0]);
  const found = c.req.queries(name) ?? [];
  if (found.length > 1) return `Parameter ${name}: found ${found.length} times, expected once.`;
  return `Parameter ${name}: found ${JSON.stringify(found[0])}, expected ${issue?.message}.`;
}
