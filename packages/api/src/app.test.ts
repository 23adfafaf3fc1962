import type { ImportEntry } from '@moniepoint/core/imports';
import { METRICS } from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { type AppOptions, createApp } from './app.ts';

const SNAPSHOT: Snapshot = {
  dataVersion: 7,
  asOf: '2024-02-01T03:04:05.678Z',
  monthVersions: { '2024-01': 7 },
  answers: {
    topMerchant: { merchantId: 'MRC-001234', totalVolume: '199999999999999999.80' },
    monthlyActiveMerchants: [{ month: '2024-01', merchants: 8234 }],
    productAdoption: [{ product: 'POS', merchants: 15_234 }],
    kycFunnel: { documentsSubmitted: 3, verificationsCompleted: 2, tierUpgrades: 1 },
    kycFunnelNested: { documentsSubmitted: 3, verificationsCompleted: 1, tierUpgrades: 0 },
    failureRates: [{ product: 'BILLS', failureRate: '5.0' }],
  },
};

const EMPTY: Snapshot = {
  ...SNAPSHOT,
  answers: {
    topMerchant: null,
    monthlyActiveMerchants: [],
    productAdoption: [],
    kycFunnel: { documentsSubmitted: 0, verificationsCompleted: 0, tierUpgrades: 0 },
    kycFunnelNested: { documentsSubmitted: 0, verificationsCompleted: 0, tierUpgrades: 0 },
    failureRates: [],
  },
};

function app(snapshot: Snapshot | null = SNAPSHOT, options: Partial<AppOptions> = {}) {
  const created = createApp({
    version: '1.2.3',
    corsOrigins: [],
    access: { tokens: [], rateLimit: 0, trustedHops: 0 },
    hstsMaxAge: 0,
    isDatabaseConnected: () => true,
    importState: () => ({ state: 'idle' }),
    log: pino({ level: 'silent' }),
    ...options,
  });
  const publish = (latest: Snapshot, imports: ImportEntry[] = []) => created.publish({ snapshot: latest, imports });
  if (snapshot !== null) publish(snapshot);
  return { hono: created.hono, publish };
}

const paths = METRICS.map(({ name }) => `/analytics/${name}`);

describe('GET /analytics/<metric> (CONTRACT.md section 6)', () => {
  it.each(METRICS.map((metric) => [metric.name, metric] as const))(
    '%s: 200 with exactly the metric’s JSON',
    async (name, metric) => {
      const response = await app().hono.request(`/analytics/${name}`);
      const body = await response.text();
      expect(response.status).toBe(200);
      expect(response.headers.get('Content-Type')).toBe('application/json');
      expect(body).toBe(metric.toJson(SNAPSHOT.answers));
      expect((metric.schema as z.ZodType).safeParse(JSON.parse(body)).success).toBe(true);
    },
  );

  it.each(paths)('%s: nothing imported yet is 503 with Retry-After and no-store', async (path) => {
    const response = await app(null).hono.request(path);
    expect(response.status).toBe(503);
    expect(response.headers.get('Retry-After')).toBe('2');
    expect(response.headers.get('Cache-Control')).toBe('no-store');
    expect(await response.json()).toMatchObject({ status: 503, title: 'Service Unavailable', instance: path });
  });

  it('imported, but nothing matches: 404 for four, zeros for kyc-funnel', async () => {
    const { hono } = app(EMPTY);
    const statuses = await Promise.all(paths.map(async (path) => [path, (await hono.request(path)).status]));
    expect(statuses).toEqual(paths.map((path) => [path, path.endsWith('kyc-funnel') ? 200 : 404]));
    expect(await (await hono.request('/analytics/kyc-funnel')).text()).toBe(
      '{"documents_submitted":0,"verifications_completed":0,"tier_upgrades":0}',
    );
    const missing = await hono.request('/analytics/top-merchant');
    expect(missing.headers.get('X-Data-Version')).toBe('7');
    expect(await missing.json()).toMatchObject({ status: 404, detail: 'No successful transactions found.' });
  });

  it('a new snapshot is served from the moment it is published', async () => {
    const { hono, publish } = app(null);
    publish(EMPTY);
    publish({ ...SNAPSHOT, dataVersion: 8 });
    const response = await hono.request('/analytics/top-merchant');
    expect(response.headers.get('X-Data-Version')).toBe('8');
    expect(await response.text()).toContain('MRC-001234');
  });
});

describe('headers', () => {
  it('of the data', async () => {
    const { headers } = await app().hono.request('/analytics/top-merchant');
    expect(headers.get('ETag')).toMatch(/^"7-\w+"$/);
    expect(headers.get('Cache-Control')).toBe('no-cache');
    expect(headers.get('X-Data-Version')).toBe('7');
    expect(headers.get('X-Data-As-Of')).toBe('2024-02-01T03:04:05.678Z');
  });

  it.each([...paths, '/health', '/readyz', '/imports', '/metrics', '/openapi.json', '/docs', '/redoc', '/nowhere'])(
    'of every answer: %s',
    async (path) => {
      const { headers } = await app().hono.request(path);
      expect(headers.get('X-Request-Id')).toMatch(/^[0-9a-f-]{36}$/);
      expect(headers.get('Server-Timing')).toMatch(/^app;dur=\d+\.\d+$/);
      expect(Number(headers.get('X-Process-Time'))).toBeGreaterThan(0);
      expect(headers.get('X-Content-Type-Options')).toBe('nosniff');
      expect(headers.get('X-Frame-Options')).toBe('DENY');
      expect(headers.get('X-XSS-Protection')).toBe('0');
      expect(headers.get('Referrer-Policy')).toBe('no-referrer');
      expect(headers.get('Content-Security-Policy')).toContain("default-src 'none'");
      expect(headers.get('Strict-Transport-Security')).toBeNull();
      expect(headers.get('Access-Control-Allow-Origin')).toBeNull();
    },
  );

  it('X-Request-Id of a client is kept, unless it could garble a log', async () => {
    const idFor = async (id: string) =>
      (await app().hono.request('/health', { headers: { 'X-Request-Id': id } })).headers.get('X-Request-Id');
    expect(await idFor('job-42.a')).toBe('job-42.a');
    expect(await idFor('{"a":1}')).not.toBe('{"a":1}');
    expect(await idFor('x'.repeat(129))).not.toContain('xx');
  });

  it('Strict-Transport-Security where it is configured', async () => {
    const { headers } = await app(SNAPSHOT, { hstsMaxAge: 3600 }).hono.request('/health');
    expect(headers.get('Strict-Transport-Security')).toBe('max-age=3600; includeSubDomains');
  });

  it('CORS for the configured origins only', async () => {
    const { hono } = app(SNAPSHOT, { corsOrigins: ['https://a.example'] });
    const allowed = async (origin: string) =>
      (await hono.request('/analytics/kyc-funnel', { headers: { Origin: origin } })).headers.get(
        'Access-Control-Allow-Origin',
      );
    expect(await allowed('https://a.example')).toBe('https://a.example');
    expect(await allowed('https://b.example')).toBeNull();
  });
});

describe('conditional requests', () => {
  it('If-None-Match gives 304 without a body while the data is the same', async () => {
    const { hono, publish } = app();
    const path = '/analytics/failure-rates';
    const etag = (await hono.request(path)).headers.get('ETag') as string;
    const ask = (tag: string) => hono.request(path, { headers: { 'If-None-Match': tag } });
    for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const response = await ask(tag);
      expect([tag, response.status, await response.text()]).toEqual([tag, 304, '']);
      expect(response.headers.get('ETag')).toBe(etag);
      expect(response.headers.get('X-Data-Version')).toBe('7');
    }
    expect((await ask('"other"')).status).toBe(200);
    publish({ ...SNAPSHOT, dataVersion: 8 });
    expect((await ask(etag)).status).toBe(200);
  });

  it('the same version of another database has another tag', async () => {
    const tag = async (snapshot: Snapshot) =>
      (await app(snapshot).hono.request('/analytics/kyc-funnel')).headers.get('ETag');
    expect(await tag(SNAPSHOT)).not.toBe(await tag({ ...SNAPSHOT, asOf: '2024-02-01T03:04:05.679Z' }));
  });
});

describe('errors are application/problem+json (RFC 9457)', () => {
  it('unknown route: 404', async () => {
    const response = await app().hono.request('/nowhere');
    expect(response.status).toBe(404);
    expect(response.headers.get('Content-Type')).toBe('application/problem+json');
    expect(await response.json()).toEqual({
      type: 'about:blank',
      title: 'Not Found',
      status: 404,
      detail: 'There is nothing under this path; /openapi.json lists what there is.',
      instance: '/nowhere',
      request_id: response.headers.get('X-Request-Id'),
    });
  });

  it.each([...paths, '/health', '/readyz', '/openapi.json', '/docs'])(
    'wrong method: 405 with Allow: %s',
    async (path) => {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
        const response = await app().hono.request(path, { method });
        expect([method, response.status, response.headers.get('Allow')]).toEqual([method, 405, 'GET, HEAD']);
      }
    },
  );

  it('a failure inside: 500 that shows nothing of it', async () => {
    const { hono } = app(SNAPSHOT, {
      importState: () => {
        throw new Error('secret of the inside');
      },
    });
    const response = await hono.request('/health');
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('secret');
  });

  it('HEAD is GET without the body', async () => {
    const { hono } = app();
    const [get, head] = await Promise.all(
      ['GET', 'HEAD'].map((method) => hono.request('/analytics/top-merchant', { method })),
    );
    expect(head?.status).toBe(200);
    expect(await head?.text()).toBe('');
    expect(head?.headers.get('ETag')).toBe(get?.headers.get('ETag'));
  });
});

describe('GET /health and GET /readyz', () => {
  it('/health is 200 while the process lives, whatever the database does', async () => {
    const response = await app(null, {
      isDatabaseConnected: () => false,
      importState: () => ({ state: 'running' }),
    }).hono.request('/health');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      status: 'ok',
      version: '1.2.3',
      uptime_seconds: expect.any(Number),
      database: 'down',
      data_version: null,
      data_as_of: null,
      import: { state: 'running' },
    });
  });

  it('/readyz is 503 until there is a snapshot', async () => {
    const { hono, publish } = app(null);
    expect((await hono.request('/readyz')).status).toBe(503);
    publish(SNAPSHOT);
    expect(await (await hono.request('/readyz')).json()).toEqual({ status: 'ready' });
  });
});

describe('GET /openapi.json and GET /docs', () => {
  it('the document is OpenAPI 3.1 and has every route with its errors', async () => {
    const document = (await (await app().hono.request('/openapi.json')).json()) as {
      openapi: string;
      paths: Record<string, { get: { responses: Record<string, unknown> } }>;
    };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths).sort()).toEqual([...paths, '/health', '/readyz', '/imports'].sort());
    const statuses = (path: string) => Object.keys(document.paths[path]!.get.responses);
    expect(statuses('/analytics/top-merchant')).toEqual(['200', '304', '401', '404', '429', '503']);
    expect(statuses('/analytics/kyc-funnel')).toEqual(['200', '304', '401', '429', '503']);
    expect(statuses('/imports')).toEqual(['200', '400', '401', '429']);
  });

  it.each([
    ['/docs', 3],
    ['/redoc', 2],
  ])('%s takes everything from this server', async (path, count) => {
    const { hono } = app();
    const response = await hono.request(path);
    expect(response.headers.get('Content-Security-Policy')).toMatch(
      /^default-src 'none'; script-src 'self'; .*connect-src 'self'/,
    );
    const links = [...(await response.text()).matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link as string);
    expect(links).toHaveLength(count);
    for (const link of links) {
      expect(link.startsWith(`${path}/`)).toBe(true);
      expect((await hono.request(link)).status).toBe(200);
    }
    expect(await (await hono.request(`${path}/start.js`)).text()).toContain("'/openapi.json'");
  });
});

describe('GET /imports and GET /metrics', () => {
  const ENTRY: ImportEntry = {
    file_id: 2,
    file: 'activities_20240101.csv',
    status: 'loaded',
    size_bytes: 10,
    read: 4,
    accepted: 1,
    duplicate: 1,
    conflict: 0,
    rejected: 2,
    coerced: 0,
    rejected_by_reason: { status: 2 },
    coerced_by_column: {},
    error: null,
    started_at: '2024-02-01T03:04:05.000Z',
    finished_at: '2024-02-01T03:04:06.000Z',
  };
  const FAILED: ImportEntry = { ...ENTRY, file_id: 3, status: 'failed', error: 'why', read: 0, rejected: 0 };

  it('/imports is the ledger as it was handed in, newest first', async () => {
    const { hono, publish } = app(null);
    expect(await (await hono.request('/imports')).json()).toEqual({ imports: [], next: null });
    publish(SNAPSHOT, [FAILED, ENTRY]);
    expect(await (await hono.request('/imports')).json()).toEqual({ imports: [FAILED, ENTRY], next: null });
  });

  it('/imports comes in pages', async () => {
    const { hono, publish } = app(null);
    const lines = [7, 5, 4, 2, 1].map((file_id) => ({ ...ENTRY, file_id }));
    publish(SNAPSHOT, lines);
    const seen: number[] = [];
    for (let before = ''; ; ) {
      const page = (await (await hono.request(`/imports?limit=2${before}`)).json()) as {
        imports: ImportEntry[];
        next: number | null;
      };
      seen.push(...page.imports.map(({ file_id }) => file_id));
      if (page.next === null) break;
      before = `&before=${page.next}`;
    }
    expect(seen).toEqual([7, 5, 4, 2, 1]);
    const refused = await hono.request('/imports?before=x');
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ detail: 'Parameter before: expected the file_id of a line.' });
  });

  it('/metrics is Prometheus text: requests by route and status, data, last file', async () => {
    const { hono, publish } = app(null, { isDatabaseConnected: () => false });
    const lines = async () => (await (await hono.request('/metrics')).text()).split('\n');
    expect(await lines()).toContain('moniepoint_data_version 0');
    publish(SNAPSHOT, [FAILED, ENTRY]);
    await hono.request('/analytics/kyc-funnel');
    await hono.request('/nowhere/a');
    await hono.request('/nowhere/b');
    const response = await hono.request('/metrics');
    expect(response.headers.get('Content-Type')).toMatch(/^text\/plain; version=0\.0\.4/);
    const text = (await response.text()).split('\n');
    expect(text).toEqual(
      expect.arrayContaining([
        'moniepoint_data_version 7',
        'moniepoint_data_published_timestamp_seconds 1706756645.678',
        'moniepoint_database_up 0',
        'moniepoint_last_file_rows 4',
        'moniepoint_last_file_rejected_rows 2',
        'moniepoint_http_request_duration_seconds_count{route="/analytics/kyc-funnel",status="200"} 1',
        'moniepoint_http_request_duration_seconds_count{route="other",status="404"} 2',
      ]),
    );
  });
});
