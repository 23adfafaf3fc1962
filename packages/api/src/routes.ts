/** What /openapi.json says of each route. Headers are added to all of them in openapi.ts. */

import { createRoute, z } from '@hono/zod-openapi';
import { ImportEntrySchema } from '@moniepoint/core/imports';
import { MAX_LEADERS, type Metric, MONTH } from '@moniepoint/core/metrics';
import { metricPath, PROBLEM_TYPE } from './respond.ts';

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

const textResponse = (description: string, type: string) => ({
  description,
  content: { [type]: { schema: z.string() } },
});

/** Of routes that follow the tokens and the rate limit. */
const GUARDED = {
  security: [{}, { bearer: [] }, { basic: [] }],
  refusals: {
    401: problemResponse('No token of API_TOKENS was sent.'),
    429: problemResponse('More requests than API_RATE_LIMIT within a minute.'),
  },
};
const WRONG_PARAMETER = { 400: problemResponse('A parameter has a wrong value; the detail names it.') };
const NOT_READY = { 503: problemResponse('Nothing was imported yet, or what was is still being read.') };

const month = (description: string) =>
  z.string().regex(MONTH, 'a month such as 2024-01').optional().openapi({ description, example: '2024-01' });

/** Everything that a metric may be asked for. Without any of it the answer is the plain one. */
const QUESTION = z.strictObject({
  month: month('Only this UTC month'),
  from: month('From this UTC month on'),
  to: month('Up to this UTC month, which is included'),
  limit: z
    .string()
    .regex(/^[1-9]\d?$|^100$/, `a whole number from 1 to ${MAX_LEADERS}`)
    .optional()
    .openapi({ description: 'How many merchants; 10 unless told', example: '10' }),
  mode: z.enum(['independent', 'nested'], 'independent or nested').optional().openapi({
    description: 'nested counts a merchant in a stage only if it reached the earlier ones; independent unless told',
  }),
  format: z.enum(['json', 'csv'], 'json or csv').optional().openapi({ description: 'json unless told' }),
});

/** Parameters of a metric, as they came. */
export type Question = z.output<typeof QUESTION>;

const RANGE = { month: true, from: true, to: true } as const;
const FORMAT = { format: true } as const;

/** By name of the metric; the others have a format alone. */
const PARAMETERS: Readonly<Record<string, { readonly [Name in keyof Question]?: true }>> = {
  'top-merchant': { ...RANGE, ...FORMAT },
  'top-merchants': { limit: true, ...RANGE, ...FORMAT },
  'kyc-funnel': { mode: true, ...FORMAT },
};

/** A range may be given in one way only, and not backwards. */
function refuseOddRange({ month, from, to }: Question, context: z.RefinementCtx): void {
  if (month !== undefined && (from ?? to) !== undefined)
    context.addIssue({ code: 'custom', path: ['month'], message: 'no from or to beside it' });
  if (from !== undefined && to !== undefined && from > to)
    context.addIssue({ code: 'custom', path: ['to'], message: `no month before ${from}` });
}

// biome-ignore lint/suspicious/noExplicitAny: what a metric is computed from does not matter here
export function metricRoute(metric: Metric<any>) {
  return createRoute({
    method: 'get',
    path: metricPath(metric),
    operationId: metric.name,
    summary: metric.title,
    description: metric.definition,
    security: GUARDED.security,
    request: {
      query: QUESTION.pick(PARAMETERS[metric.name] ?? FORMAT).superRefine(refuseOddRange),
    },
    responses: {
      200: {
        description: metric.definition,
        content: {
          'application/json': { schema: metric.schema(z), example: metric.example },
          'text/csv': { schema: z.string() },
        },
      },
      304: { description: 'The data has not changed since the ETag that If-None-Match names.' },
      ...WRONG_PARAMETER,
      ...GUARDED.refusals,
      ...(metric.noData === null ? {} : { 404: problemResponse(metric.noData) }),
      ...NOT_READY,
    },
  });
}

export const healthRoute = createRoute({
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
            data_age_seconds: z.int().nullable().openapi({ description: 'Since the data was published' }),
            import: z
              .object({
                state: z.enum(['idle', 'waiting', 'running', 'done', 'failed']),
                detail: z.string().optional(),
                files: z.int().optional(),
                files_done: z.int().optional(),
                rows_read: z.int().optional(),
              })
              .openapi({ description: 'The import inside this process' }),
            last_import: z
              .object({
                outcome: z.enum(['done', 'failed', 'incomplete', 'interrupted', 'running', 'killed']),
                started_at: z.iso.datetime(),
                finished_at: z.iso.datetime().nullable(),
                files: z.int(),
                rows_read: z.int(),
                rows_rejected: z.int(),
                files_failed: z.int(),
              })
              .nullable()
              .openapi({ description: 'The newest one into this database, of any process' }),
            reload_schedule: z
              .string()
              .nullable()
              .openapi({ description: 'When this process imports again by itself', example: '0 3 * * * (UTC)' }),
            next_reload: z.iso
              .datetime()
              .nullable()
              .openapi({ description: 'The next time of that schedule; null where only changes lead to an import' }),
          }),
        },
      },
    },
  },
});

export const readyRoute = createRoute({
  method: 'get',
  path: '/readyz',
  operationId: 'readyz',
  summary: 'Metrics can be served',
  responses: {
    200: {
      description: 'Ready.',
      content: { 'application/json': { schema: z.object({ status: z.literal('ready') }) } },
    },
    ...NOT_READY,
  },
});

export const importsRoute = createRoute({
  method: 'get',
  path: '/imports',
  operationId: 'imports',
  summary: 'The ledger: what was loaded, and what failed',
  security: GUARDED.security,
  request: {
    query: z.strictObject({
      limit: z
        .string()
        .regex(/^[1-9]\d{0,2}$|^1000$/, 'a whole number from 1 to 1000')
        .optional()
        .openapi({ description: 'How many lines; 100 unless told', example: '100' }),
      before: z
        .string()
        .regex(/^\d{1,9}$/, 'the file_id of a line')
        .optional()
        .openapi({ description: 'Only lines older than the one with this file_id: `next` of the page before' }),
    }),
  },
  responses: {
    ...WRONG_PARAMETER,
    ...GUARDED.refusals,
    200: {
      description: 'Lines of the ledger, newest first. `next` leads to older ones; the newest thousand can be seen.',
      content: {
        'application/json': {
          schema: z.object({ imports: z.array(ImportEntrySchema), next: z.int().nullable() }),
        },
      },
    },
  },
});

export const metricsRoute = createRoute({
  method: 'get',
  path: '/metrics',
  operationId: 'metrics',
  summary: 'Prometheus metrics',
  security: GUARDED.security,
  responses: { ...GUARDED.refusals, 200: textResponse('Prometheus text.', 'text/plain') },
});

/** Pages for people. */
export const pageRoutes = [
  createRoute({
    method: 'get',
    path: '/',
    operationId: 'page',
    summary: 'The metrics as a page',
    security: GUARDED.security,
    responses: {
      ...GUARDED.refusals,
      200: textResponse('The page. It looks for newer data by itself.', 'text/html'),
      304: { description: 'The page has not changed since the ETag that If-None-Match names.' },
    },
  }),
  ...[
    ['/docs', 'Swagger UI'],
    ['/redoc', 'ReDoc'],
  ].map(([path, name]) =>
    createRoute({
      method: 'get',
      path: path as string,
      operationId: (path as string).slice(1),
      summary: `This document in ${name}`,
      responses: { 200: textResponse('The page.', 'text/html') },
    }),
  ),
];

export const openapiRoute = createRoute({
  method: 'get',
  path: '/openapi.json',
  operationId: 'openapi',
  summary: 'This document',
  responses: {
    200: {
      description: 'OpenAPI 3.1.',
      content: { 'application/json': { schema: z.record(z.string(), z.unknown()) } },
    },
  },
});
