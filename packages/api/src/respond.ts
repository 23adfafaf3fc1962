import { randomUUID } from 'node:crypto';
import { csvTable, METRICS, type Metric } from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';

/** What is answered to a question about a metric. */
export type Answer = {
  readonly status: 200 | 404;
  /** Of a 404 its detail alone, because its request id is added when it is sent. */
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
};

/** An answer that is made once per snapshot and sent many times, with all headers that do not change from request to request. */
export type ReadyResponse = Answer & {
  readonly rawHeaders: readonly string[];
  readonly rawNotModifiedHeaders: readonly string[];
};

/** Media type of errors, RFC 9457. */
export const PROBLEM_TYPE = 'application/problem+json';

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  417: 'Expectation Failed',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/**
 * The body of an error (CONTRACT.md section 6).
 *
 * @param instance path of the request
 */
export function problemBody(status: number, detail: string, instance: string, requestId: string): string {
  return JSON.stringify({
    type: 'about:blank',
    title: TITLES[status],
    status,
    detail,
    instance,
    request_id: requestId,
  });
}

/** The plain answers of a snapshot, by path. */
export type ReadyResponses = ReadonlyMap<string, ReadyResponse>;

export const metricPath = ({ name }: { readonly name: string }) => `/analytics/${name}`;

/**
 * Turns a snapshot into ready responses, so that a request is a look-up and a header compare.
 *
 * @param fixedHeaders of every answer
 */
export function prepareResponses(snapshot: Snapshot, fixedHeaders: Readonly<Record<string, string>>): ReadyResponses {
  const raw = (headers: Readonly<Record<string, string>>) => Object.entries({ ...headers, ...fixedHeaders }).flat();
  return new Map(
    METRICS.map((metric) => {
      const found = answer(metric, snapshot.answers, 'json', snapshot);
      const rawHeaders = [...raw(found.headers), 'Content-Length', String(Buffer.byteLength(found.body))];
      return [
        metricPath(metric),
        { ...found, rawHeaders, rawNotModifiedHeaders: raw(notModifiedHeaders(found.headers)) },
      ];
    }),
  );
}

/**
 * One answer, from what the metric is computed from; where nothing matches a 404.
 *
 * @param data what the answer belongs to
 */
export function answer<Source>(
  metric: Metric<Source>,
  source: Source,
  format: 'json' | 'csv',
  { dataVersion, asOf }: Pick<Snapshot, 'dataVersion' | 'asOf'>,
): Answer {
  const dataHeaders = { 'X-Data-Version': String(dataVersion), 'X-Data-As-Of': asOf };
  const json = metric.toJson(source);
  if (json === null) return { status: 404, body: metric.noData as string, headers: dataHeaders };
  return {
    status: 200,
    body: format === 'json' ? json : csvTable(metric.toTable(source)),
    headers: {
      ...dataHeaders,
      'Cache-Control': 'no-cache',
      // The time is part of the tag because a new database counts its versions from 1 again.
      ETag: `"${dataVersion}-${Date.parse(asOf).toString(36)}"`,
      ...contentHeaders(metric.name, format),
    },
  };
}

/** Of a 304: all but those that describe a body. */
export function notModifiedHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const { 'Content-Type': _, 'Content-Disposition': __, ...others } = headers;
  return others;
}

const contentHeaders = (name: string, format: 'json' | 'csv'): Record<string, string> =>
  format === 'json'
    ? { 'Content-Type': 'application/json' }
    : { 'Content-Type': 'text/csv; charset=utf-8', 'Content-Disposition': `attachment; filename="${name}.csv"` };

/** The client's request id, unless it could garble a log; else a new one. */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && /^[\w.-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Headers that differ from request to request. */
export const requestHeaders = (requestId: string, us: number) => ({
  'X-Request-Id': requestId,
  'Server-Timing': `app;dur=${us / 1000}`,
  'X-Process-Time': (us / 1_000_000).toFixed(6),
});

/** Time since a moment of performance.now(), in whole microseconds and at least one. */
export const microsecondsSince = (begin: number) => Math.max(1, Math.round((performance.now() - begin) * 1000));

/** Whether If-None-Match names the tag: `*`, or a list of tags of which weak ones count too (RFC 9110, 13.1.2). */
export function matchesEtag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch === etag) return true;
  return ifNoneMatch.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag);
}
