/** Every real answer, errors included, is held against /openapi.json, and a client made from it works. */
import { execFile } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Database } from '@moniepoint/core/db/database';
import { runImport } from '@moniepoint/core/import/run';
import { METRICS } from '@moniepoint/core/metrics';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import openapiTS, { astToString } from 'openapi-typescript';
import pino from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase } from '../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../test/import.ts';
import { bin } from '../../../test/process.ts';
import { type RunningApi, startApi } from './serve.ts';

type Answer = {
  readonly headers?: Record<
    string,
    { $ref?: string; required?: boolean; schema?: { pattern?: string; format?: string } }
  >;
  readonly content?: Record<string, { schema: object }>;
};
type Document = {
  readonly openapi: string;
  readonly paths: Record<string, { get: { parameters?: { name: string }[]; responses: Record<string, Answer> } }>;
  readonly components: { readonly headers: Record<string, { schema: { pattern?: string; format?: string } }> };
};

const run = promisify(execFile);
const token = 'token-0123456789abcdef';
const OPEN = {
  ...{ host: '127.0.0.1', port: 0, corsOrigins: [], hstsMaxAge: 0 },
  ...{ apiTokens: [], rateLimit: 0, trustedHops: 0 },
};

async function start(database: Database, options: Partial<Parameters<typeof startApi>[1]> = {}): Promise<RunningApi> {
  const importState = () => ({ state: 'idle' as const });
  const api = await startApi(database, { ...OPEN, ...options }, importState, pino({ level: 'silent' }));
  onTestFinished(() => api.close());
  return api;
}

/** A database with two months, a reject, a failed file and every stage of the funnel. */
async function createFilled(): Promise<Database> {
  const database = await createDatabase();
  const folder = createFolder();
  const stages = ['DOCUMENT_SUBMITTED', 'VERIFICATION_COMPLETED', 'TIER_UPGRADE'];
  writeActivities(folder, 'activities_20240101.csv', [
    ...stages.map((event_type, n) => row({ event_id: eventId(n), product: 'KYC', event_type })),
    row({ event_id: eventId(4), event_timestamp: '2024-02-03', amount: '9999999999999999.99', merchant_id: 'B' }),
    row({ event_id: eventId(5), status: 'FAILED' }),
    row({ event_id: 'x' }),
  ]);
  writeActivities(folder, 'activities_20240102.csv', []);
  writeFileSync(join(folder, 'activities_20240103.csv'), 'no,header\n');
  await runImport(database, [folder], PLAIN_IMPORT, () => {}, new AbortController().signal);
  return database;
}

async function documentOf(api: RunningApi): Promise<Document> {
  return (await (await fetch(`${api.url}/openapi.json`)).json()) as Document;
}

/** Headers that Node adds to any answer, and the ones that `content` describes. */
const OF_HTTP = ['connection', 'content-length', 'content-type', 'date', 'keep-alive', 'transfer-encoding'];

/** Asks, and holds the answer against what the document says of it. */
function createAsker(api: RunningApi, document: Document) {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema({ $id: 'document', ...document });
  return async (path: string, init: RequestInit = {}): Promise<number> => {
    const response = await fetch(`${api.url}${path}`, init);
    const body = await response.text();
    const responses = document.paths[path.replace(/\?.*/, '')]?.get.responses;
    const where = `${init.method ?? 'GET'} ${path} ${response.status}`;
    expect(responses, `${where}: no such path`).toBeDefined();
    const declared = (responses?.[response.status] ?? responses?.default) as Answer;
    expect(declared, `${where}: no such answer`).toBeDefined();

    const known = Object.entries(declared.headers ?? {}).map(([name, header]) => {
      const { schema } = header.$ref === undefined ? header : document.components.headers[name]!;
      return { name: name.toLowerCase(), isRequired: header.required === true, schema: schema as object };
    });
    for (const { name, isRequired, schema } of known) {
      const value = response.headers.get(name);
      if (isRequired) expect(value, `${where}: ${name}`).not.toBeNull();
      if (value !== null) expect(ajv.validate(schema, value), `${where}: ${name}: ${value}`).toBe(true);
    }
    const unknown = [...response.headers.keys()].filter(
      (name) => !OF_HTTP.includes(name) && !known.some((header) => header.name === name),
    );
    expect(unknown, `${where}: headers that nobody declared`).toEqual([]);

    if (init.method === 'HEAD' || response.status === 304) {
      expect(body).toBe('');
      return response.status;
    }
    const type = (response.headers.get('Content-Type') ?? '').replace(/;.*/, '');
    expect(Object.keys(declared.content ?? {}), where).toContain(type);
    const status = responses?.[response.status] === undefined ? 'default' : String(response.status);
    const pointer = ['paths', path.replace(/\?.*/, ''), 'get', 'responses', status, 'content', type, 'schema'];
    const escaped = pointer.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).map(encodeURIComponent);
    const value = type.endsWith('json') ? JSON.parse(body) : body;
    const isValid = ajv.validate({ $ref: `document#/${escaped.join('/')}` }, value);
    expect(isValid, `${where}: ${ajv.errorsText()}: ${body.slice(0, 500)}`).toBe(true);
    return response.status;
  };
}

const metrics = [...METRICS.map(({ name }) => name), 'top-merchants'].map((name) => `/analytics/${name}`);
const pages = ['/', '/docs', '/redoc', '/openapi.json', '/health', '/imports', '/metrics'];
const isReady = (api: RunningApi, headers = {}) =>
  expect.poll(async () => (await fetch(`${api.url}/analytics/top-merchants`, { headers })).status).toBe(200);

describe('real answers against /openapi.json', () => {
  it('with data: what is asked for, what is known already, and what is asked for wrongly', async () => {
    const api = await start(await createFilled());
    await isReady(api);
    const ask = createAsker(api, await documentOf(api));
    for (const path of [...metrics, ...pages, '/readyz']) {
      expect([path, await ask(path)]).toEqual([path, 200]);
      expect([path, await ask(path, { method: 'HEAD' })]).toEqual([path, 200]);
      expect([path, await ask(path, { method: 'POST' })]).toEqual([path, 405]);
    }
    for (const path of [...metrics, '/'])
      expect([path, await ask(path, { headers: { 'If-None-Match': '*' } })]).toEqual([path, 304]);
    for (const path of metrics) {
      expect([path, await ask(`${path}?format=csv`)]).toEqual([path, 200]);
      expect([path, await ask(`${path}?format=xml`)]).toEqual([path, 400]);
      expect([path, await ask(`${path}?nobody=knows`)]).toEqual([path, 400]);
    }
    for (const [path, status] of [
      ['/analytics/top-merchant?month=2024-02', 200],
      ['/analytics/top-merchant?from=2024-01&to=2024-02', 200],
      ['/analytics/top-merchant?month=1999-01', 404],
      ['/analytics/top-merchants?limit=2&from=2024-02', 200],
      ['/analytics/top-merchants?month=1999-01&format=csv', 404],
      ['/analytics/kyc-funnel?mode=nested', 200],
      ['/imports?limit=1&before=2', 200],
      ['/imports?limit=0', 400],
    ] as const)
      expect([path, await ask(path)]).toEqual([path, status]);
  });

  it('without data', async () => {
    const api = await start(await createDatabase());
    const ask = createAsker(api, await documentOf(api));
    for (const path of [...metrics, '/readyz']) expect([path, await ask(path)]).toEqual([path, 503]);
    for (const path of pages) expect([path, await ask(path)]).toEqual([path, 200]);
  });

  it('with data of which nothing matches', async () => {
    const database = await createDatabase();
    const file = writeActivities(createFolder(), 'a.csv', [row({ status: 'PENDING', product: 'x' })]);
    await runImport(database, [file], PLAIN_IMPORT, () => {}, new AbortController().signal);
    const api = await start(database);
    const ask = createAsker(api, await documentOf(api));
    await expect.poll(async () => (await fetch(`${api.url}/analytics/top-merchants`)).status).toBe(404);
    for (const path of metrics) expect([path, await ask(path)]).toEqual([path, path.endsWith('funnel') ? 200 : 404]);
  });

  it('with tokens, a rate limit, CORS and HSTS', async () => {
    const api = await start(await createFilled(), {
      ...{ apiTokens: [token], rateLimit: 40, corsOrigins: ['https://a.example'], hstsMaxAge: 60 },
    });
    const headers = { Authorization: `Bearer ${token}`, Origin: 'https://a.example' };
    await isReady(api, headers);
    const ask = createAsker(api, await documentOf(api));
    const guarded = [...metrics, '/', '/imports', '/metrics'];
    for (const path of guarded) {
      expect([path, await ask(path)]).toEqual([path, 401]);
      expect([path, await ask(path, { headers: { Authorization: headers.Authorization } })]).toEqual([path, 200]);
    }
    while ((await fetch(`${api.url}/`)).status !== 429);
    for (const path of guarded) expect([path, await ask(path)]).toEqual([path, 429]);
    for (const path of ['/health', '/readyz', '/openapi.json']) expect([path, await ask(path)]).toEqual([path, 200]);
  });
});

describe('the document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const document = await documentOf(await start(await createDatabase()));
    expect(document.openapi).toBe('3.1.0');
    expect(await new Validator().validate(structuredClone(document) as object as Record<string, unknown>)).toEqual({
      valid: true,
    });
  });

  it('has every route, and every parameter of each', async () => {
    const { paths } = await documentOf(await start(await createDatabase()));
    const parameters = Object.entries(paths).map(([path, { get }]) => [
      path,
      (get.parameters ?? []).map(({ name }) => name),
    ]);
    expect(Object.fromEntries(parameters)).toEqual({
      '/': [],
      '/analytics/top-merchant': ['month', 'from', 'to', 'format'],
      '/analytics/top-merchants': ['limit', 'month', 'from', 'to', 'format'],
      '/analytics/monthly-active-merchants': ['format'],
      '/analytics/product-adoption': ['format'],
      '/analytics/kyc-funnel': ['mode', 'format'],
      '/analytics/failure-rates': ['format'],
      ...{ '/docs': [], '/health': [], '/metrics': [], '/openapi.json': [], '/readyz': [], '/redoc': [] },
      '/imports': ['limit', 'before'],
    });
  });

  it('makes a client that type-checks and works', async () => {
    const api = await start(await createFilled());
    await isReady(api);
    const folder = createFolder();
    const types = await openapiTS(new URL(`${api.url}/openapi.json`), { silent: true });
    symlinkSync(new URL('../node_modules', import.meta.url), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'api.d.ts'), astToString(types));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(
      join(folder, 'client.ts'),
      `import createClient from 'openapi-fetch';
       import type { paths } from './api.d.ts';
       declare const process: { argv: string[] };
       const client = createClient<paths>({ baseUrl: process.argv[2]! });
       const leaders = await client.GET('/analytics/top-merchants', { params: { query: { limit: '1', from: '2024-02' } } });
       const nested = await client.GET('/analytics/kyc-funnel', { params: { query: { mode: 'nested' } } });
       const missing = await client.GET('/analytics/top-merchant', { params: { query: { month: '1999-01' } } });
       const imports = await client.GET('/imports');
       // With format=csv it would be a text.
       const id: string | undefined = typeof leaders.data === 'object' ? leaders.data[0]?.merchant_id : undefined;
       const upgrades: number | undefined = typeof nested.data === 'object' ? nested.data.tier_upgrades : undefined;
       const detail: string | undefined = missing.error?.detail;
       const statuses: ('loaded' | 'superseded' | 'pruned' | 'failed')[] = imports.data?.imports.map(({ status }) => status) ?? [];
       // @ts-expect-error: there is no such mode
       client.GET('/analytics/kyc-funnel', { params: { query: { mode: 'sideways' } } });
       // @ts-expect-error: there is no such route
       client.GET('/analytics/nothing');
       console.log(JSON.stringify({ id, upgrades, detail, statuses }));
      `,
    );
    const strict = { strict: true, target: 'ES2023', module: 'NodeNext', lib: ['ES2023', 'DOM'], types: [] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: strict, files: ['client.ts'] }));
    const complaints = await run(bin('tsc'), ['-p', folder]).catch((error: { stdout: string }) => error);
    expect(complaints.stdout).toBe('');
    const { stdout: said } = await run(process.execPath, [join(folder, 'client.js'), api.url]);
    expect(JSON.parse(said)).toEqual({
      id: 'B',
      upgrades: 1,
      detail: 'No successful transactions found.',
      statuses: ['failed', 'loaded', 'loaded'],
    });
  });
});
