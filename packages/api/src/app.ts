import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serveStatic } from '@hono/node-server/serve-static';
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import { ImportEntrySchema } from '@moniepoint/core/imports';
import { METRICS, type Metric } from '@moniepoint/core/metrics';
import type { Context } from 'hono';
import { cors } from 'hono/cors';
import type { Logger } from 'pino';
import { Gauge, Histogram, Registry } from 'prom-client';
import type { Published } from './live-snapshot.ts';
import {
  matchesEtag,
  metricPath,
  PROBLEM_TYPE,
  prepareResponses,
  problemBody,
  type ReadyResponses,
} from './respond.ts';

/** How the import inside this process stands, for /health; `idle` where this process imports nothing. */
export type ImportState = { readonly state: 'idle' | 'running' | 'done' | 'failed'; readonly detail?: string };

export type AppOptions = {
  readonly version: string;
  readonly corsOrigins: readonly string[];
  /** Seconds of Strict-Transport-Security; 0 leaves the header out. */
  readonly hstsMaxAge: number;
  readonly isDatabaseConnected: () => boolean;
  readonly importState: () => ImportState;
  readonly log: Logger;
};

export type App = {
  readonly hono: OpenAPIHono<Env>;
  /** Swaps in the responses of what was published; requests see the old ones or the new ones. */
  readonly publish: (published: Published) => void;
};

type Env = { Variables: { requestId: string } };

const RETRY_AFTER_SECONDS = 2;

const API_POLICY = "default-src 'none'; frame-ancestors 'none'";
/** Both pages bring their own scripts, and style their elements one by one. */
const DOCS_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";

/**
 * The read API: CONTRACT.md section 6. Runs no SQL; what it serves is handed in by `publish`.
 */
export function createApp(options: AppOptions): App {
  const startedAt = performance.now();
  let ready: ReadyResponses | null = null;
  let published: Published = { snapshot: null, imports: [] };
  const hono = new OpenAPIHono<Env>();

  const fixedHeaders: Record<string, string> = {
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'X-XSS-Protection': '0',
    'Referrer-Policy': 'no-referrer',
    ...(options.hstsMaxAge > 0
      ? { 'Strict-Transport-Security': `max-age=${options.hstsMaxAge}; includeSubDomains` }
      : {}),
  };

  hono.use(async (c, next) => {
    const begin = performance.now();
    const given = c.req.header('X-Request-Id');
    const requestId = given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    await next();
    const ms = performance.now() - begin;
    observe(routes.has(c.req.path) ? c.req.path : 'other', c.res.status, ms);
    const { headers } = c.res;
    for (const [name, value] of Object.entries(fixedHeaders)) headers.set(name, value);
    if (!headers.has('Content-Security-Policy')) headers.set('Content-Security-Policy', API_POLICY);
    headers.set('X-Request-Id', requestId);
    headers.set('Server-Timing', `app;dur=${ms.toFixed(3)}`);
    headers.set('X-Process-Time', (ms / 1000).toFixed(6));
    options.log.debug(
      { request_id: requestId, method: c.req.method, path: c.req.path, status: c.res.status, ms },
      'request',
    );
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

  hono.openapi(importsRoute, (c) => c.json({ imports: [...published.imports] }, 200, { 'Cache-Control': 'no-store' }));

  const { registry, observe } = createMetrics(() => published, options.isDatabaseConnected);
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
    publish: (latest) => {
      if (latest.snapshot !== null) ready = prepareResponses(latest.snapshot);
      published = latest;
    },
  };
}

function problem(
  c: Context<Env>,
  status: 404 | 405 | 500 | 503,
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

// --- /metrics ------------------------------------------------------------------------------------------------------

function createMetrics(published: () => Published, isDatabaseConnected: () => boolean) {
  const registry = new Registry();
  const requests = new Histogram({
    name: 'moniepoint_http_request_duration_seconds',
    help: 'Time to answer a request, by route and status',
    labelNames: ['route', 'status'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1],
    registers: [registry],
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `moniepoint_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  gauge(
    'data_version',
    'Version of the served data; 0 before the first import',
    () => published().snapshot?.dataVersion ?? 0,
  );
  gauge('data_published_timestamp_seconds', 'When the served data was published', () => {
    const { snapshot } = published();
    return snapshot === null ? 0 : Date.parse(snapshot.asOf) / 1000;
  });
  gauge('database_up', 'Whether the database answers', () => Number(isDatabaseConnected()));
  const lastLoaded = () => published().imports.find(({ status }) => status === 'loaded');
  gauge('last_file_rows', 'Rows of the newest loaded file', () => lastLoaded()?.read ?? 0);
  gauge('last_file_rejected_rows', 'Rejected rows of the newest loaded file', () => lastLoaded()?.rejected ?? 0);
  return {
    registry,
    observe: (route: string, status: number, ms: number) => requests.observe({ route, status }, ms / 1000),
  };
}

// --- what /openapi.json says ---------------------------------------------------------------------------------------

const ProblemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    request_id: z.string(),
  })
  .openapi('Problem');

const problemResponse = (description: string) => ({
  description,
  content: { [PROBLEM_TYPE]: { schema: ProblemSchema } },
});

function metricRoute(metric: Metric) {
  return createRoute({
    method: 'get',
    path: metricPath(metric),
    operationId: metric.name,
    summary: metric.title,
    description: metric.definition,
    responses: {
      200: {
        description: metric.definition,
        content: { 'application/json': { schema: metric.schema, example: metric.example } },
      },
      304: { description: 'The data has not changed since the ETag that If-None-Match names.' },
      ...(metric.noData === null ? {} : { 404: problemResponse(metric.noData) }),
      503: problemResponse('Nothing was imported yet.'),
    },
  });
}

const healthRoute = createRoute({
  method: 'get',
  path: '/health',
  operationId: 'health',
  summary: 'The process lives',
  responses: {
    200: {
      description: 'Always, while the process lives.',
      content: {
        'application/json': {
          schema: z.object({
            status: z.literal('ok'),
            version: z.string(),
            uptime_seconds: z.int(),
            database: z.enum(['up', 'down']),
            data_version: z.int().nullable(),
            data_as_of: z.iso.datetime().nullable(),
            import: z.object({ state: z.enum(['idle', 'running', 'done', 'failed']), detail: z.string().optional() }),
          }),
        },
      },
    },
  },
});

const readyRoute = createRoute({
  method: 'get',
  path: '/readyz',
  operationId: 'readyz',
  summary: 'Metrics can be served',
  responses: {
    200: {
      description: 'Ready.',
      content: { 'application/json': { schema: z.object({ status: z.literal('ready') }) } },
    },
    503: problemResponse('Nothing was imported yet.'),
  },
});

const importsRoute = createRoute({
  method: 'get',
  path: '/imports',
  operationId: 'imports',
  summary: 'The ledger: what was loaded, and what failed',
  responses: {
    200: {
      description: 'The newest lines of the ledger, newest first.',
      content: { 'application/json': { schema: z.object({ imports: z.array(ImportEntrySchema) }) } },
    },
  },
});

// --- Swagger UI and ReDoc from our own files -----------------------------------------------------------------------

const page = (styles: string, scripts: readonly string[]) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Moniepoint Analytics API</title>
${styles}
</head>
<body>
<div id="docs"></div>
${scripts.map((path) => `<script src="${path}"></script>`).join('\n')}
</body>
</html>
`;

const SWAGGER_PAGE = page('<link rel="stylesheet" href="/docs/swagger-ui.css">', [
  '/docs/swagger-ui-bundle.js',
  '/docs/start.js',
]);
const SWAGGER_START = "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#docs', validatorUrl: null });\n";
const REDOC_PAGE = page('', ['/redoc/redoc.standalone.js', '/redoc/start.js']);
// Its search would need a worker made of a blob, which the policy does not allow.
const REDOC_START = "Redoc.init('/openapi.json', { disableSearch: true }, document.getElementById('docs'));\n";

function serveDocs(hono: OpenAPIHono<Env>, version: string): void {
  let document: string | undefined;
  hono.get('/openapi.json', (c) => {
    document ??= JSON.stringify(
      hono.getOpenAPI31Document({
        openapi: '3.1.0',
        info: { title: 'Moniepoint Analytics', version, description: 'Five metrics of merchant activity.' },
      }),
    );
    return c.body(document, 200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-cache' });
  });

  const swagger = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
  const redoc = join(dirname(fileURLToPath(import.meta.url)), '..', 'assets');
  for (const [path, content] of [
    ['/docs', SWAGGER_PAGE],
    ['/redoc', REDOC_PAGE],
  ] as const) {
    hono.get(path, (c) => c.html(content, 200, { 'Content-Security-Policy': DOCS_POLICY }));
  }
  for (const [path, script] of [
    ['/docs/start.js', SWAGGER_START],
    ['/redoc/start.js', REDOC_START],
  ] as const) {
    hono.get(path, (c) => c.body(script, 200, { 'Content-Type': 'text/javascript' }));
  }
  for (const [path, file] of [
    ['/docs/swagger-ui.css', join(swagger, 'swagger-ui.css')],
    ['/docs/swagger-ui-bundle.js', join(swagger, 'swagger-ui-bundle.js')],
    ['/redoc/redoc.standalone.js', join(redoc, 'redoc.standalone.js')],
  ] as const) {
    hono.get(path, serveStatic({ path: file }));
  }
}
