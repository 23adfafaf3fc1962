import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Env } from 'hono';
import { PROBLEM_TYPE } from './respond.ts';
import { openapiRoute, pageRoutes } from './routes.ts';

type Document = ReturnType<OpenAPIHono['getOpenAPI31Document']>;
type Response = {
  readonly description: string;
  headers?: Record<string, unknown>;
  readonly content?: Record<string, unknown>;
};

const text = (description: string, pattern?: string) => ({
  description,
  schema: { type: 'string', ...(pattern === undefined ? {} : { pattern }) },
});

/** Every header of an answer, as /openapi.json describes it. */
const HEADERS = {
  'X-Request-Id': text('Your own where you sent one that is fit for a log, else a new one', '^[\\w.-]{1,128}$'),
  'Server-Timing': text('Time in the server, in ms', '^app;dur=[\\d.]+$'),
  'X-Process-Time': text('The same in seconds', '^\\d+\\.\\d{6}$'),
  'X-Content-Type-Options': text('Fixed', '^nosniff$'),
  'X-Frame-Options': text('Fixed', '^DENY$'),
  'X-XSS-Protection': text('Fixed', '^0$'),
  'Referrer-Policy': text('Fixed', '^no-referrer$'),
  'Content-Security-Policy': text('No page of another host, and no script of one', "^default-src 'none';"),
  'Cache-Control': text('no-cache for what has an ETag, no-store for what must not be kept', '^no-(cache|store)$'),
  ETag: text('Of this data; send it back as If-None-Match', '^"[^"]+"$'),
  'X-Data-Version': text('Rises by one with each commit that changes the data', '^\\d+$'),
  'X-Data-As-Of': { description: 'When the data was published', schema: { type: 'string', format: 'date-time' } },
  'Retry-After': text('Seconds after which it makes sense to ask again', '^\\d+$'),
  'WWW-Authenticate': text('How to send a token', '^(Bearer|Basic) '),
  Allow: text('Methods of this path, with 405', '^GET, HEAD$'),
  'Content-Disposition': text('A file name, with format=csv', '^attachment; filename="'),
  'RateLimit-Policy': text('Where API_RATE_LIMIT is set: its limit and window'),
  RateLimit: text('Where API_RATE_LIMIT is set: what is left, and seconds until it begins anew'),
  'Strict-Transport-Security': text('Where HSTS_MAX_AGE is set', '^max-age=\\d+; includeSubDomains$'),
  'Access-Control-Allow-Origin': text('Where CORS_ORIGINS is set: the origin that asks, where it is one of them'),
  'Access-Control-Expose-Headers': text('Where CORS_ORIGINS is set'),
  Vary: text('Where CORS_ORIGINS is set'),
} as const;
type HeaderName = keyof typeof HEADERS;

const ALWAYS: readonly HeaderName[] = [
  ...(['X-Request-Id', 'Server-Timing', 'X-Process-Time', 'X-Content-Type-Options', 'X-Frame-Options'] as const),
  ...(['X-XSS-Protection', 'Referrer-Policy', 'Content-Security-Policy', 'Cache-Control'] as const),
];
const TIMES: readonly HeaderName[] = ['Server-Timing', 'X-Process-Time'];
const DATA: readonly HeaderName[] = ['ETag', 'X-Data-Version', 'X-Data-As-Of'];
/** Present where the configuration or a parameter asks for them. */
const SOMETIMES: readonly HeaderName[] = [
  ...(['RateLimit-Policy', 'RateLimit', 'Strict-Transport-Security'] as const),
  ...(['Access-Control-Allow-Origin', 'Access-Control-Expose-Headers', 'Vary'] as const),
];
const BY_STATUS: Readonly<Record<string, readonly HeaderName[]>> = {
  401: ['WWW-Authenticate'],
  429: ['Retry-After'],
  503: ['Retry-After'],
};

/**
 * The OpenAPI 3.1 document: every route as it was declared, with the headers of each answer and the errors that any route
 * may give. A contract test holds real answers against it.
 */
export function describeApi<E extends Env>(hono: OpenAPIHono<E>, version: string): Document {
  for (const route of [...pageRoutes, openapiRoute]) hono.openAPIRegistry.registerPath(route);
  const scheme = (type: string, description: string) => ({ type: 'http' as const, scheme: type, description });
  hono.openAPIRegistry.registerComponent('securitySchemes', 'bearer', scheme('bearer', 'One of API_TOKENS'));
  hono.openAPIRegistry.registerComponent(
    'securitySchemes',
    'basic',
    scheme('basic', 'One of API_TOKENS as the password, under any name: for browsers'),
  );
  const document = hono.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Moniepoint Analytics',
      version,
      description: 'Five metrics of merchant activity. HEAD works wherever GET does.',
      license: { name: 'MIT' },
    },
    servers: [{ url: '/' }],
  });
  const components = { ...document.components, headers: HEADERS } as NonNullable<Document['components']>;
  document.components = components;
  for (const [path, operations] of Object.entries(document.paths ?? {})) {
    const responses = operations.get?.responses as Record<string, Response>;
    responses[500] = anyProblem('The request could not be answered; the log has the reason under its id.');
    responses.default = anyProblem(
      'Refused: 405 for another method, 408 or 431 for what came too late or was too large.',
    );
    for (const [status, response] of Object.entries(responses)) response.headers = headersOf(path, status, response);
  }
  return document;
}

const anyProblem = (description: string): Response => ({
  description,
  content: { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
});

function headersOf(path: string, status: string, { content }: Response): Record<string, unknown> {
  const isMetric = path.startsWith('/analytics/');
  const isOk = status === '200' || status === '304';
  const required = [
    // What is refused before it is a request takes no time that could be told.
    ...ALWAYS.filter((name) => status !== 'default' || !TIMES.includes(name)),
    ...(isMetric && isOk ? DATA : []),
    ...(path === '/' && isOk ? (['ETag'] as const) : []),
    ...(BY_STATUS[status] ?? []),
  ];
  const optional = [
    ...SOMETIMES,
    ...(isMetric && status === '404' ? (['X-Data-Version', 'X-Data-As-Of'] as const) : []),
    ...(content?.['text/csv'] === undefined ? [] : (['Content-Disposition'] as const)),
    ...(status === 'default' ? (['Allow', ...TIMES] as const) : []),
  ];
  const refer = (name: HeaderName) => ({ $ref: `#/components/headers/${name}` });
  return Object.fromEntries([
    ...required.map((name) => [name, { ...HEADERS[name], required: true }]),
    ...optional.map((name) => [name, refer(name)]),
  ]);
}
