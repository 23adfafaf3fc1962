import { REJECT_REASONS } from '@moniepoint/core/activity';
import type { ImportEntry } from '@moniepoint/core/imports';
import { METRICS, NO_ANSWERS } from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';
import type { LastRun } from '@moniepoint/core/status';
import type { Volumes } from '@moniepoint/core/volumes';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type AppOptions, createApp } from './app.ts';
import { NOTHING_PUBLISHED, type Published } from './live-snapshot.ts';

const SNAPSHOT: Snapshot = {
  dataId: 'a',
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

/** Merchants A and B in two months: B leads in the second one and over both. */
const VOLUMES: Volumes = {
  dataId: 'a',
  dataVersion: 7,
  asOf: SNAPSHOT.asOf,
  merchants: ['', 'A', 'B, "b"'],
  months: new Map([
    ['2024-01', monthVolumes([1, 9_000_000_000n], [2, 1n])],
    ['2024-02', monthVolumes([2, 20_000_000_005n])],
  ]),
};

function monthVolumes(...merchants: [key: number, kobo: bigint][]) {
  return {
    version: 7,
    keys: Int32Array.from(merchants.map(([key]) => key)),
    billions: Float64Array.from(merchants.map(([, kobo]) => Number(kobo / 1_000_000_000n))),
    rest: Int32Array.from(merchants.map(([, kobo]) => Number(kobo % 1_000_000_000n))),
  };
}

const EMPTY: Snapshot = { ...SNAPSHOT, answers: NO_ANSWERS };

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
  const publish = (latest: Snapshot, more: Partial<Published> = {}) =>
    created.publish({ ...NOTHING_PUBLISHED, snapshot: latest, ...more });
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
      expect(metric.schema(z).safeParse(JSON.parse(body)).success).toBe(true);
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

describe('parameters', () => {
  const ask = async (path: string, volumes: Volumes | null = VOLUMES) => {
    const { hono, publish } = app(null);
    publish(SNAPSHOT, { volumes });
    const response = await hono.request(path);
    return { response, status: response.status, body: await response.text() };
  };

  it.each([
    ['/analytics/top-merchant?month=2024-01', '{"merchant_id":"A","total_volume":90000000.00}'],
    ['/analytics/top-merchant?month=2024-02', '{"merchant_id":"B, \\"b\\"","total_volume":200000000.05}'],
    ['/analytics/top-merchant?to=2024-01', '{"merchant_id":"A","total_volume":90000000.00}'],
    ['/analytics/top-merchant?from=2023-01&to=2024-01', '{"merchant_id":"A","total_volume":90000000.00}'],
    ['/analytics/top-merchant?from=2024-01', '{"merchant_id":"B, \\"b\\"","total_volume":200000000.06}'],
    [
      '/analytics/top-merchants',
      '[{"merchant_id":"B, \\"b\\"","total_volume":200000000.06},{"merchant_id":"A","total_volume":90000000.00}]',
    ],
    ['/analytics/top-merchants?limit=1', '[{"merchant_id":"B, \\"b\\"","total_volume":200000000.06}]'],
    ['/analytics/top-merchants?limit=1&month=2024-01', '[{"merchant_id":"A","total_volume":90000000.00}]'],
    ['/analytics/kyc-funnel?mode=nested', '{"documents_submitted":3,"verifications_completed":1,"tier_upgrades":0}'],
    [
      '/analytics/kyc-funnel?mode=independent&format=json',
      '{"documents_submitted":3,"verifications_completed":2,"tier_upgrades":1}',
    ],
  ])('%s', async (path, expected) => {
    const { response, status, body } = await ask(path);
    expect([status, body]).toEqual([200, expected]);
    expect(response.headers.get('Content-Type')).toBe('application/json');
    expect(response.headers.get('X-Data-Version')).toBe('7');
    expect(response.headers.get('ETag')).toMatch(/^"7-/);
  });

  it.each([
    ['top-merchants', 'merchant_id,total_volume\n"B, ""b""",200000000.06\nA,90000000.00\n'],
    ['top-merchant', 'merchant_id,total_volume\nMRC-001234,199999999999999999.80\n'],
    ['monthly-active-merchants', 'month,merchants\n2024-01,8234\n'],
    ['product-adoption', 'product,merchants\nPOS,15234\n'],
    ['kyc-funnel', 'stage,merchants\ndocuments_submitted,3\nverifications_completed,2\ntier_upgrades,1\n'],
    ['failure-rates', 'product,failure_rate\nBILLS,5.0\n'],
  ])('%s?format=csv is a file for a spreadsheet', async (name, expected) => {
    const { response, status, body } = await ask(`/analytics/${name}?format=csv`);
    expect([status, body]).toEqual([200, expected]);
    expect(response.headers.get('Content-Type')).toBe('text/csv; charset=utf-8');
    expect(response.headers.get('Content-Disposition')).toBe(`attachment; filename="${name}.csv"`);
  });

  it.each([
    ['top-merchant?month=2024-13', 'Parameter month: found "2024-13", expected a month such as 2024-01.'],
    ['top-merchant?from=', 'Parameter from: found "", expected a month such as 2024-01.'],
    ['top-merchant?month=2024-01&to=2024-02', 'Parameter month: found "2024-01", expected no from or to beside it.'],
    ['top-merchant?from=2024-02&to=2024-01', 'Parameter to: found "2024-01", expected no month before 2024-02.'],
    ['top-merchants?limit=0', 'Parameter limit: found "0", expected a whole number from 1 to 100.'],
    ['top-merchants?limit=101', 'Parameter limit: found "101", expected a whole number from 1 to 100.'],
    ['top-merchants?limit=1&limit=2', 'Parameter limit: found 2 times, expected once.'],
    ['kyc-funnel?mode=nest', 'Parameter mode: found "nest", expected independent or nested.'],
    ['failure-rates?format=xml', 'Parameter format: found "xml", expected json or csv.'],
    ['failure-rates?month=2024-01', 'Parameter month: not known here; /openapi.json lists them.'],
    ['top-merchant?mounth=2024-01', 'Parameter mounth: not known here; /openapi.json lists them.'],
  ])('%s is 400', async (question, detail) => {
    const { response, status, body } = await ask(`/analytics/${question}`);
    expect([status, response.headers.get('Content-Type')]).toEqual([400, 'application/problem+json']);
    expect(JSON.parse(body)).toMatchObject({ status: 400, detail });
  });

  it('ranges that hold the same months are searched once, and no range costs more than the months that are there', async () => {
    const { hono, publish } = app(null);
    let searches = 0;
    const months = new Map(VOLUMES.months);
    months[Symbol.iterator] = () => {
      searches += 1;
      return VOLUMES.months[Symbol.iterator]();
    };
    publish(SNAPSHOT, { volumes: { ...VOLUMES, months } });
    for (let year = 3000; year < 3050; year += 1)
      expect((await hono.request(`/analytics/top-merchants?from=0001-01&to=${year}-01`)).status).toBe(200);
    expect(searches).toBe(1);
  });

  it('months without a success are 404, in every format', async () => {
    for (const question of [
      'top-merchant?month=2020-01',
      'top-merchants?to=2020-01',
      'top-merchant?month=2020-01&format=csv',
    ])
      expect((await ask(`/analytics/${question}`)).body).toContain('No successful transactions found.');
  });

  it('until the volumes are read, what needs them is 503, and nothing else', async () => {
    const statuses = await Promise.all(
      ['top-merchant?month=2024-01', 'top-merchants', 'top-merchant', 'kyc-funnel?mode=nested'].map(
        async (question) => (await ask(`/analytics/${question}`, null)).status,
      ),
    );
    expect(statuses).toEqual([503, 503, 200, 200]);
  });

  it('an answer about months belongs to the data that its volumes belong to', async () => {
    const { hono, publish } = app(null);
    publish({ ...SNAPSHOT, dataVersion: 8 }, { volumes: VOLUMES });
    const versionOf = async (question: string) =>
      (await hono.request(`/analytics/${question}`)).headers.get('X-Data-Version');
    expect([await versionOf('top-merchants'), await versionOf('kyc-funnel?mode=nested')]).toEqual(['7', '8']);
    publish({ ...SNAPSHOT, dataVersion: 8 }, { volumes: { ...VOLUMES, dataVersion: 8, months: new Map() } });
    expect((await hono.request('/analytics/top-merchants')).status).toBe(404);
  });

  it('If-None-Match holds for each of them', async () => {
    const { hono, publish } = app(null);
    publish(SNAPSHOT, { volumes: VOLUMES });
    const path = '/analytics/top-merchants?format=csv';
    const etag = (await hono.request(path)).headers.get('ETag') as string;
    const again = await hono.request(path, { headers: { 'If-None-Match': etag } });
    expect([again.status, await again.text(), again.headers.get('Content-Disposition')]).toEqual([304, '', null]);
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
      reloadPlan: () => ({ schedule: '0 3 * * * (UTC)', nextRunAt: '2024-02-01T03:00:00.000Z' }),
    }).hono.request('/health');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      status: 'ok',
      version: '1.2.3',
      uptime_seconds: expect.any(Number),
      database: 'down',
      data_version: null,
      data_as_of: null,
      data_age_seconds: null,
      import: { state: 'running' },
      last_import: null,
      reload_schedule: '0 3 * * * (UTC)',
      next_reload: '2024-02-01T03:00:00.000Z',
    });
  });

  it('/health tells of the newest import into the database, and how old the data is', async () => {
    const { hono, publish } = app(null);
    publish(SNAPSHOT, { lastRun: LAST_RUN });
    expect(await (await hono.request('/health')).json()).toMatchObject({
      data_version: 7,
      data_as_of: SNAPSHOT.asOf,
      data_age_seconds: expect.toSatisfy(
        (age: number) => Math.abs(age - (Date.now() - Date.parse(SNAPSHOT.asOf)) / 1000) < 5,
      ),
      last_import: {
        outcome: 'failed',
        started_at: LAST_RUN.startedAt,
        finished_at: LAST_RUN.finishedAt,
        ...{ files: 3, rows_read: 40, rows_rejected: 4, files_failed: 1 },
      },
    });
  });

  it('/readyz is 503 until there is a snapshot', async () => {
    const { hono, publish } = app(null);
    expect((await hono.request('/readyz')).status).toBe(503);
    publish(SNAPSHOT);
    expect(await (await hono.request('/readyz')).json()).toEqual({ status: 'ready' });
  });
});

describe('GET /docs and GET /redoc', () => {
  it.each([
    ['/docs', 3],
    ['/redoc', 2],
  ])('%s takes everything from this server', async (path, count) => {
    const { hono } = app();
    const response = await hono.request(path);
    expect(response.headers.get('Content-Security-Policy')).toMatch(
      /^default-src 'none'; script-src 'self'; .*connect-src 'self'/,
    );
    const links = [...(await response.text()).matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)].map(
      ([, link]) => link as string,
    );
    expect(links).toHaveLength(count);
    for (const link of links) {
      expect(link.startsWith(`${path}/`)).toBe(true);
      expect((await hono.request(link)).status).toBe(200);
    }
    expect(await (await hono.request(`${path}/start.js`)).text()).toContain("'/openapi.json'");
  });
});

const LAST_RUN: LastRun = {
  startedAt: '2024-02-01T03:04:04.500Z',
  finishedAt: '2024-02-01T03:04:10.000Z',
  outcome: 'failed',
  ...{ files: 3, read: 40, rejected: 4 },
  errors: ['why'],
};

describe('GET /imports and GET /metrics', () => {
  const ENTRY: ImportEntry = {
    file_id: 2,
    file: 'activities_20240101.csv',
    status: 'loaded',
    size_bytes: 10,
    read: 4,
    accepted: 1,
    expired: 0,
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
    publish(SNAPSHOT, { imports: [FAILED, ENTRY] });
    expect(await (await hono.request('/imports')).json()).toEqual({ imports: [FAILED, ENTRY], next: null });
  });

  it('/imports comes in pages', async () => {
    const { hono, publish } = app(null);
    const lines = [7, 5, 4, 2, 1].map((file_id) => ({ ...ENTRY, file_id }));
    publish(SNAPSHOT, { imports: lines });
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
    expect(await refused.json()).toMatchObject({
      detail: 'Parameter before: found "x", expected the file_id of a line.',
    });
  });

  it('/metrics is Prometheus text: requests by route and status, data, last import', async () => {
    const { hono, publish } = app(null, { isDatabaseConnected: () => false });
    const lines = async () => (await (await hono.request('/metrics')).text()).split('\n');
    expect(await lines()).toContain('moniepoint_data_version 0');
    publish(SNAPSHOT, { lastRun: LAST_RUN });
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
        'moniepoint_import_running 0',
        'moniepoint_last_import_success 0',
        'moniepoint_last_import_finished_timestamp_seconds 1706756650',
        'moniepoint_last_import_duration_seconds 5.5',
        'moniepoint_last_import_files 3',
        'moniepoint_last_import_rows 40',
        'moniepoint_last_import_rejected_rows 4',
        'moniepoint_last_import_failed_files 1',
        'moniepoint_http_request_duration_seconds_count{route="/analytics/kyc-funnel",status="200"} 1',
        'moniepoint_http_request_duration_seconds_count{route="other",status="404"} 2',
      ]),
    );
    const open = (all: readonly string[]) => all.filter((line) => line.startsWith('moniepoint_open_rejects{'));
    expect(open(text), 'not counted yet').toEqual([]);
    publish(SNAPSHOT, { openRejects: { dataId: 'a', dataVersion: 7, byReason: { status: 3 } } });
    const counted = open(await lines());
    expect(counted).toHaveLength(REJECT_REASONS.length);
    expect(counted).toEqual(
      expect.arrayContaining([
        'moniepoint_open_rejects{reason="status"} 3',
        'moniepoint_open_rejects{reason="csv_syntax"} 0',
      ]),
    );
  });
});
