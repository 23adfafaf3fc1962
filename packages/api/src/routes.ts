/** What /openapi.json says of each route. */

import { createRoute, z } from '@hono/zod-openapi';
import { ImportEntrySchema } from '@moniepoint/core/imports';
import type { Metric } from '@moniepoint/core/metrics';
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

/** Where tokens or a rate limit are configured. */
const REFUSALS = {
  401: problemResponse('No token of API_TOKENS was sent.'),
  429: problemResponse('More requests than API_RATE_LIMIT within a minute.'),
};

export function metricRoute(metric: Metric) {
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
      ...REFUSALS,
      ...(metric.noData === null ? {} : { 404: problemResponse(metric.noData) }),
      503: problemResponse('Nothing was imported yet.'),
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
            import: z.object({
              state: z.enum(['idle', 'running', 'done', 'failed']),
              detail: z.string().optional(),
              files: z.int().optional(),
              files_done: z.int().optional(),
              rows_read: z.int().optional(),
            }),
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
    503: problemResponse('Nothing was imported yet.'),
  },
});

export const importsRoute = createRoute({
  method: 'get',
  path: '/imports',
  operationId: 'imports',
  summary: 'The ledger: what was loaded, and what failed',
  request: {
    query: z.object({
      limit: z
        .string()
        .regex(/^[1-9]\d{0,2}$|^1000$/, 'a whole number from 1 to 1000')
        .default('100')
        .openapi({ description: 'How many lines', example: '100' }),
      before: z
        .string()
        .regex(/^\d{1,9}$/, 'the file_id of a line')
        .optional()
        .openapi({ description: 'Only lines older than the one with this file_id: `next` of the page before' }),
    }),
  },
  responses: {
    ...REFUSALS,
    400: problemResponse('A parameter has a wrong value; the detail names it.'),
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
