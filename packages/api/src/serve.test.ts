import { once } from 'node:events';
import { connect } from 'node:net';
import { type Database, READ_ONLY_MOMENT, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { runImport } from '@moniepoint/core/import/run';
import { SNAPSHOT_CHANNEL } from '@moniepoint/core/snapshot';
import pino from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, dropSchema, query } from '../../../test/database.ts';
import { createFolder, eventId, row, writeActivities } from '../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../test/import.ts';
import { type RunningApi, startApi } from './serve.ts';

const LOCAL = {
  ...{ host: '127.0.0.1', port: 0, corsOrigins: [], hstsMaxAge: 0 },
  ...{ apiTokens: [], rateLimit: 0, trustedHops: 0 },
};
const log = pino({ level: 'silent' });

async function start(database: Pick<Database, 'connect'>): Promise<RunningApi> {
  const api = await startApi(database, LOCAL, () => ({ state: 'idle' }), log);
  onTestFinished(() => api.close());
  return api;
}

const ANSWERS = {
  topMerchant: null,
  monthlyActiveMerchants: [],
  productAdoption: [],
  kycFunnel: { documentsSubmitted: 1 },
  failureRates: [],
};

async function publish(database: Database, dataVersion: number, isAnnounced: boolean): Promise<void> {
  await query(
    database,
    `INSERT INTO snapshot (data_version, published_at, answers, month_versions) VALUES ($1, now(), $2, '{}')
         ON CONFLICT (is_only_row) DO UPDATE SET data_version = excluded.data_version`,
    [dataVersion, JSON.stringify(ANSWERS)],
  );
  if (isAnnounced) await query(database, 'SELECT pg_notify($1, $2)', [SNAPSHOT_CHANNEL, String(dataVersion)]);
}

async function servedVersion(api: RunningApi): Promise<string | null> {
  return (await fetch(`${api.url}/analytics/kyc-funnel`)).headers.get('X-Data-Version');
}

/** The promise of CONTRACT.md section 6. */
const WITHIN_A_SECOND = { timeout: 1000, interval: 20 };

describe('the live snapshot', () => {
  it.each([
    ['announced', true],
    ['not announced, as behind a pooler', false],
  ])('is swapped within a second of a commit by any process: %s', async (_, isAnnounced) => {
    const database = await createDatabase();
    const api = await start(database);
    expect(await servedVersion(api)).toBeNull();
    for (const version of [1, 2]) {
      await publish(database, version, isAnnounced);
      await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe(String(version));
    }
  });

  it('is read with the rights of the role for it, also where the schema comes only later', async () => {
    const database = await createDatabase({ isEmpty: true });
    const statements: string[] = [];
    const api = await start({
      connect: async (role) => {
        const client = await database.connect(role);
        const ask = client.query.bind(client) as (...args: unknown[]) => unknown;
        client.query = ((...args: unknown[]) => {
          statements.push(typeof args[0] === 'string' ? args[0] : (args[0] as { text: string }).text);
          return ask(...args);
        }) as typeof client.query;
        return client;
      },
    });
    await expect.poll(() => statements).toContain(READ_ONLY_MOMENT.begin);
    await withSession(database, 'test', migrate);
    await publish(database, 1, true);
    await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe('1');
    for (const asked of ['FROM merchant ', 'FROM open_reject'])
      await expect.poll(() => statements.filter((text) => text.includes(asked))).toHaveLength(1);
    const begin = statements.findIndex((text) => text.includes('AS "monthVersions"')) - 1;
    const asReader = `${READ_ONLY_MOMENT.begin}; SET LOCAL ROLE moniepoint_reader`;
    const begins = statements.slice(begin).filter((text) => text.startsWith('BEGIN'));
    expect(begins.length).toBeGreaterThanOrEqual(2);
    expect(new Set(begins)).toEqual(new Set([asReader]));
  });

  it('brings the volumes of the months along, also those of a later import', async () => {
    const database = await createDatabase();
    const api = await start(database);
    const folder = createFolder();
    const leaders = async (question: string) =>
      (await fetch(`${api.url}/analytics/top-merchants?format=csv${question}`)).text();
    const load = async (name: string, ...rows: string[]) => {
      writeActivities(folder, name, rows);
      await runImport(database, [folder], PLAIN_IMPORT, () => {}, new AbortController().signal);
    };
    await load('activities_20240101.csv', row(), row({ event_id: eventId(2), merchant_id: 'B', amount: '7' }));
    await expect.poll(() => leaders(''), WITHIN_A_SECOND).toBe('merchant_id,total_volume\nMRC-000001,100.00\nB,7.00\n');
    await load(
      'activities_20240201.csv',
      row({ event_id: eventId(3), merchant_id: 'B', event_timestamp: '2024-02-01' }),
    );
    await expect
      .poll(() => leaders(''), WITHIN_A_SECOND)
      .toBe('merchant_id,total_volume\nB,107.00\nMRC-000001,100.00\n');
    expect(await leaders('&month=2024-01')).toBe('merchant_id,total_volume\nMRC-000001,100.00\nB,7.00\n');
    expect(await leaders('&from=2024-02')).toBe('merchant_id,total_volume\nB,100.00\n');
  });

  /** Open rejects as /metrics tells them, by reason, without those of which there are none; null until they were counted. */
  async function openRejects(api: RunningApi): Promise<Record<string, number> | null> {
    const text = await (await fetch(`${api.url}/metrics`)).text();
    const counted = [...text.matchAll(/^moniepoint_open_rejects\{reason="(\w+)"\} (\d+)$/gm)];
    if (counted.length === 0) return null;
    return Object.fromEntries(counted.map(([, reason, n]) => [reason, Number(n)]).filter(([, n]) => n !== 0));
  }

  async function page(api: RunningApi): Promise<{ etag: string | null; text: string }> {
    const response = await fetch(`${api.url}/`);
    const text = (await response.text()).replaceAll(/<[^>]*>/g, '').replaceAll(/\s+/g, ' ');
    return { etag: response.headers.get('ETag'), text };
  }

  it('counts the open rejects after each publication: they fall when a corrected file comes, and rise when it goes', async () => {
    const database = await createDatabase();
    const api = await start(database);
    const folder = createFolder();
    const load = (name: string, ...rows: string[]) =>
      runImport(database, [writeActivities(folder, name, rows)], PLAIN_IMPORT, () => {}, new AbortController().signal);
    expect(await openRejects(api)).toBeNull();
    await load('a.csv', row({ status: '?' }), row({ event_id: 'x', merchant_id: 'B' }), 'bad');
    await expect.poll(() => openRejects(api)).toEqual({ status: 1, event_id: 1, column_count: 1 });
    const before = await page(api);
    expect(before.text).toContain('Open rejects: 3. Of these no corrected version was loaded.');
    await load('b.csv', row(), row({ event_id: eventId(2), merchant_id: 'B' }));
    await expect.poll(() => openRejects(api), { timeout: 5000 }).toEqual({ column_count: 1 });
    const after = await page(api);
    expect(after.text).toContain('Open rejects: 1.');
    expect(after.etag).not.toBe(before.etag);
    await load('b.csv', row());
    await expect.poll(() => openRejects(api), { timeout: 5000 }).toEqual({ event_id: 1, column_count: 1 });
  });

  it('reads none of the events: whoever holds them holds up neither the answers nor the open rejects', async () => {
    const database = await createDatabase();
    const file = writeActivities(createFolder(), 'a.csv', [row(), 'bad']);
    await runImport(database, [file], PLAIN_IMPORT, () => {}, new AbortController().signal);
    await withSession(database, 'test', async (holder) => {
      await holder.query('BEGIN; LOCK TABLE event IN ACCESS EXCLUSIVE MODE');
      const api = await start(database);
      await expect.poll(() => openRejects(api)).toEqual({ column_count: 1 });
      await expect
        .poll(async () => (await (await fetch(`${api.url}/analytics/top-merchants?format=csv`)).text()).length)
        .toBeGreaterThan('merchant_id,total_volume\n'.length);
      await holder.query('ROLLBACK');
    });
  });

  it('goes on with the answers while the open rejects cannot be counted', async () => {
    const database = await createDatabase();
    const file = writeActivities(createFolder(), 'a.csv', [row(), 'bad']);
    await runImport(database, [file], PLAIN_IMPORT, () => {}, new AbortController().signal);
    await withSession(database, 'test', async (holder) => {
      const hold = () => holder.query('BEGIN; LOCK TABLE reject IN ACCESS EXCLUSIVE MODE');
      await hold();
      const api = await start(database);
      await publish(database, 2, true);
      await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe('2');
      expect(await openRejects(api)).toBeNull();
      expect((await page(api)).text).toContain('Open rejects are being counted; they appear here in a moment.');
      await holder.query('ROLLBACK');
      await expect.poll(async () => (await page(api)).text).toContain('no corrected version was loaded.');
      expect(await openRejects(api)).toEqual({ column_count: 1 });

      await hold();
      await publish(database, 3, true);
      await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe('3');
      expect((await page(api)).text).toContain('as of data version 2; they are counted again in a moment.');
      expect(await openRejects(api)).toEqual({ column_count: 1 });
      await holder.query('ROLLBACK');
      await expect.poll(async () => (await page(api)).text).toContain('no corrected version was loaded.');
    });
  });

  it('is served on while the database is down, and followed again when it is back', async () => {
    const database = await createDatabase();
    let isDown = false;
    const api = await start({
      connect: (role) => (isDown ? Promise.reject(new Error('down')) : database.connect(role)),
    });
    await publish(database, 1, true);
    await expect.poll(() => servedVersion(api)).toBe('1');

    isDown = true;
    await query(
      database,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'moniepoint api' AND datname = current_database()",
    );
    const health = async () => (await (await fetch(`${api.url}/health`)).json()) as { database: string };
    await expect.poll(async () => (await health()).database).toBe('down');
    expect(await servedVersion(api)).toBe('1');
    expect((await fetch(`${api.url}/readyz`)).status).toBe(200);

    await publish(database, 2, true);
    isDown = false;
    await expect.poll(() => servedVersion(api), { timeout: 5000 }).toBe('2');
    expect((await health()).database).toBe('up');
  });

  it('is given to pages of the origins that may have it, with their header', async () => {
    const database = await createDatabase();
    await publish(database, 1, false);
    const origin = 'https://a.example';
    const api = await startApi(database, { ...LOCAL, corsOrigins: [origin] }, () => ({ state: 'idle' }), log);
    onTestFinished(() => api.close());
    await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe('1');
    const { status, headers } = await fetch(`${api.url}/analytics/kyc-funnel`, { headers: { Origin: origin } });
    expect([status, headers.get('Access-Control-Allow-Origin')]).toEqual([200, origin]);
  });

  it('a failed import shows in /imports within a second, although nothing was published', async () => {
    const database = await createDatabase();
    const api = await start(database);
    await query(
      database,
      `INSERT INTO ledger (run_id, status, path, name, size_bytes, rows_read, accepted, duplicate, conflict, rejected, coerced,
                           rejected_by_reason, coerced_by_column, error, started_at, finished_at, program_version)
       VALUES (1, 'failed', '/data/a.csv', 'a.csv', 3, 0, 0, 0, 0, 0, 0, '{}', '{}',
               '/data/a.csv:1: column event_id is missing: found "secret,y". Why.', now(), now(), 'x')`,
    );
    const imports = async () => ((await (await fetch(`${api.url}/imports`)).json()) as { imports: object[] }).imports;
    await expect
      .poll(imports, WITHIN_A_SECOND)
      .toMatchObject([
        { file: 'a.csv', status: 'failed', error: 'a.csv:1: column event_id is missing. Why.', read: 0 },
      ]);
    expect((await fetch(`${api.url}/readyz`)).status).toBe(503);
  });

  it('another database with the same version is noticed', async () => {
    const [first, second] = [await createDatabase(), await createDatabase()];
    await publish(first, 1, true);
    await query(
      second,
      "INSERT INTO snapshot (data_version, published_at, answers, month_versions) VALUES (1, now() + interval '1 s', $1, '{}')",
      [JSON.stringify({ ...ANSWERS, kycFunnel: { documentsSubmitted: 2 } })],
    );
    let current = first;
    const api = await start({ connect: (role) => current.connect(role) });
    const body = async () => (await fetch(`${api.url}/analytics/kyc-funnel`)).text();
    await expect.poll(body).toContain('"documents_submitted":1');
    current = second;
    await query(
      first,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'moniepoint api' AND datname = current_database()",
    );
    await expect.poll(body, { timeout: 5000 }).toContain('"documents_submitted":2');
  });

  it('other data in the place of the old ones are served whole, also under an open connection', async () => {
    const database = await createDatabase();
    const api = await start(database);
    const load = (...rows: string[]) =>
      runImport(
        database,
        [writeActivities(createFolder(), 'a.csv', rows)],
        PLAIN_IMPORT,
        () => {},
        new AbortController().signal,
      );
    const answers = async () =>
      Promise.all(
        ['top-merchant', 'top-merchants', 'top-merchant?from=2024-01'].map(async (question) =>
          (await fetch(`${api.url}/analytics/${question}`)).text(),
        ),
      );
    await load(row({ merchant_id: 'OLD' }));
    await expect.poll(answers, WITHIN_A_SECOND).toEqual(Array(3).fill(expect.stringContaining('OLD')));
    await dropSchema(database);
    await load(row({ merchant_id: 'NEW' }));
    await expect.poll(answers, WITHIN_A_SECOND).toEqual(Array(3).fill(expect.stringContaining('NEW')));
    await load(row({ merchant_id: 'NEWER', amount: '1', event_id: eventId(2) }));
    await expect
      .poll(async () => (await answers())[1], WITHIN_A_SECOND)
      .toBe('[{"merchant_id":"NEW","total_volume":100.00},{"merchant_id":"NEWER","total_volume":1.00}]');
  });

  it.each([
    ['with the schema', false],
    ['without', true],
  ])('an empty database behind a new connection takes nothing away: %s', async (_, isEmpty) => {
    const [full, empty] = [await createDatabase(), await createDatabase({ isEmpty })];
    const file = writeActivities(createFolder(), 'a.csv', [row()]);
    await runImport(full, [file], PLAIN_IMPORT, () => {}, new AbortController().signal);
    let current = full;
    let connections = 0;
    const api = await start({
      connect: (role) => {
        connections += 1;
        return current.connect(role);
      },
    });
    const statuses = async () =>
      Promise.all(
        ['analytics/top-merchant', 'analytics/top-merchants', 'analytics/kyc-funnel?format=csv', 'readyz'].map(
          async (path) => (await fetch(`${api.url}/${path}`)).status,
        ),
      );
    await expect.poll(statuses, WITHIN_A_SECOND).toEqual([200, 200, 200, 200]);
    current = empty;
    const opened = connections;
    await query(
      full,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'moniepoint api%' AND datname = current_database()",
    );
    await expect.poll(() => connections).toBe(opened + 1);
    const health = async () => (await (await fetch(`${api.url}/health`)).json()) as { database: string };
    await expect.poll(async () => (await health()).database).toBe('up');
    if (!isEmpty) await query(empty, "INSERT INTO import_run (started_at, program_version) VALUES (now(), 'x')");
    const before = connections;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await statuses()).toEqual([200, 200, 200, 200]);
    expect([(await health()).database, connections]).toEqual(['up', before]);
  });

  it('an older schema is waited for, and is no database that is down', async () => {
    const database = await createDatabase();
    await publish(database, 1, false);
    await query(database, 'ALTER TABLE snapshot RENAME COLUMN month_versions TO not_yet');
    const api = await start(database);
    const health = async () => (await (await fetch(`${api.url}/health`)).json()) as { database: string };
    await expect.poll(async () => (await health()).database).toBe('up');
    expect((await fetch(`${api.url}/readyz`)).status).toBe(503);
    await query(database, 'ALTER TABLE snapshot RENAME COLUMN not_yet TO month_versions');
    await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe('1');
  });

  it('an API that starts before the database answers 503 and becomes ready by itself', async () => {
    const database = await createDatabase();
    await publish(database, 1, false);
    let isDown = true;
    const api = await start({
      connect: (role) => (isDown ? Promise.reject(new Error('down')) : database.connect(role)),
    });
    expect((await fetch(`${api.url}/readyz`)).status).toBe(503);
    isDown = false;
    await expect.poll(async () => (await fetch(`${api.url}/readyz`)).status, { timeout: 5000 }).toBe(200);
  });

  it('a database without the schema is one into which nothing was imported yet', async () => {
    const api = await start(await createDatabase({ isEmpty: true }));
    expect((await fetch(`${api.url}/analytics/top-merchant`)).status).toBe(503);
    await expect
      .poll(async () => ((await (await fetch(`${api.url}/health`)).json()) as { database: string }).database)
      .toBe('up');
  });
});

describe('the server', () => {
  it('a port in use is an error that says what to do', async () => {
    const database = await createDatabase();
    const api = await start(database);
    const port = Number(new URL(api.url).port);
    await expect(startApi(database, { ...LOCAL, port }, () => ({ state: 'idle' }), log)).rejects.toMatchObject({
      kind: 'failed',
      message: `Cannot listen on 127.0.0.1 port ${port}: listen EADDRINUSE: address already in use 127.0.0.1:${port}. Another program uses this port; stop it, or choose another one with --port or API_PORT.`,
    });
  });

  it('leaves at once although an idle keep-alive connection is open', async () => {
    const api = await startApi(await createDatabase(), LOCAL, () => ({ state: 'idle' }), log);
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => socket.once('data', resolve));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await Promise.all([api.close(), closed]);
    await expect(fetch(`${api.url}/health`)).rejects.toThrow();
  });
});

describe('what a client may send', () => {
  /** Everything that comes back on one connection, until it is closed. */
  async function send(api: RunningApi, text: string): Promise<string> {
    const socket = connect(Number(new URL(api.url).port), '127.0.0.1');
    let received = '';
    socket.on('data', (data) => {
      received += data;
    });
    socket.on('error', () => {}); // a reset after the answer
    socket.write(text);
    await once(socket, 'close');
    return received;
  }

  const closing = 'Host: x\r\nConnection: close\r\n';
  it.each([
    ['no HTTP', '400 Bad Request', 'This is no HTTP request.', 'hello\r\n\r\n'],
    [
      'headers of a megabyte',
      '431 Request Header Fields Too Large',
      'larger than 16384 bytes',
      `GET /health HTTP/1.1\r\nX: ${'x'.repeat(1_000_000)}\r\n\r\n`,
    ],
    ['an unknown method', '400 Bad Request', 'This is no HTTP request.', `BREW /health HTTP/1.1\r\n${closing}\r\n`],
    [
      'an unknown route',
      '404 Not Found',
      'There is nothing under this path',
      `GET /nowhere HTTP/1.1\r\n${closing}\r\n`,
    ],
    ['a wrong method', '405 Method Not Allowed', 'use GET or HEAD', `DELETE /readyz HTTP/1.1\r\n${closing}\r\n`],
    ['a malformed percent-encoding', '404 Not Found', 'There is nothing', `GET /%E0%A4%A HTTP/1.1\r\n${closing}\r\n`],
    ['a repeated parameter', '400 Bad Request', 'limit', `GET /imports?limit=1&limit=2 HTTP/1.1\r\n${closing}\r\n`],
    [
      'a wrong parameter',
      '400 Bad Request',
      'expected a whole number from 1 to 1000',
      `GET /imports?limit=0 HTTP/1.1\r\n${closing}\r\n`,
    ],
    [
      'a body with GET',
      '404 Not Found',
      'There is nothing',
      `GET /no HTTP/1.1\r\n${closing}Content-Length: 5\r\n\r\nhello`,
    ],
    ['HTTP/1.0', '404 Not Found', 'There is nothing', 'GET /nowhere HTTP/1.0\r\n\r\n'],
    ['no Host', '400 Bad Request', 'has to have a Host header', 'GET /health HTTP/1.1\r\nConnection: close\r\n\r\n'],
    [
      'a Host with a path',
      '400 Bad Request',
      'No URL',
      'GET /health HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n',
    ],
    ['a path with a backslash', '400 Bad Request', 'No URL', `GET /a\\b HTTP/1.1\r\n${closing}\r\n`],
    [
      'an unknown expectation',
      '417 Expectation Failed',
      '100-continue',
      `GET /health HTTP/1.1\r\nExpect: foo\r\n${closing}\r\n`,
    ],
  ])('%s is %s', async (_, status, detail, request) => {
    const api = await start(await createDatabase());
    const answer = await send(api, request);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status}\r\n`));
    expect(answer).toContain('application/problem+json');
    expect(answer).toMatch(/\r\nx-request-id: /i);
    expect(answer).toContain(detail);
    expect(answer).not.toMatch(/at .*\.(ts|js)/);
  });

  it('many idle connections do not keep others out, and none holds the end', async () => {
    const api = await start(await createDatabase());
    const { port } = new URL(api.url);
    const idle = Array.from({ length: 500 }, () => connect(Number(port), '127.0.0.1'));
    await Promise.all(idle.map((socket) => once(socket, 'connect')));
    for (const socket of idle) socket.on('error', () => {});
    expect((await fetch(`${api.url}/health`)).status).toBe(200);
    const closed = Promise.all(idle.map((socket) => once(socket, 'close')));
    await api.close();
    await closed;
  });
});

describe('access', () => {
  const token = 'token-0123456789abcdef';

  it('with API_TOKENS asks for one of them, also on the shortest way to the data', async () => {
    const database = await createDatabase();
    await publish(database, 1, false);
    const api = await startApi(database, { ...LOCAL, apiTokens: [token] }, () => ({ state: 'idle' }), log);
    onTestFinished(() => api.close());
    const status = async (path: string, headers = {}) => (await fetch(`${api.url}${path}`, { headers })).status;
    const authorized = { Authorization: `Bearer ${token}` };
    await expect.poll(() => status('/analytics/kyc-funnel', authorized), WITHIN_A_SECOND).toBe(200);
    for (const path of ['/analytics/kyc-funnel', '/metrics', '/imports']) {
      expect([await status(path), await status(path, authorized)]).toEqual([401, 200]);
    }
    expect([await status('/health'), await status('/readyz')]).toEqual([200, 200]);
    const refused = await fetch(`${api.url}/analytics/kyc-funnel`);
    expect(refused.headers.get('WWW-Authenticate')).toBe('Bearer realm="moniepoint"');
    const asPassword = (password: string) => ({
      Authorization: `Basic ${Buffer.from(`anybody:${password}`).toString('base64')}`,
    });
    expect(await status('/analytics/kyc-funnel', asPassword(token))).toBe(200);
    expect(await status('/analytics/kyc-funnel', asPassword(`${token}x`))).toBe(401);
    expect(await refused.json()).toMatchObject({ status: 401, title: 'Unauthorized' });
  });

  it('with a rate limit says what is left, and refuses what is beyond', async () => {
    const database = await createDatabase();
    await publish(database, 1, false);
    const api = await startApi(database, { ...LOCAL, rateLimit: 3 }, () => ({ state: 'idle' }), log);
    onTestFinished(() => api.close());
    await expect.poll(async () => (await fetch(`${api.url}/readyz`)).status, WITHIN_A_SECOND).toBe(200);
    const answers = [];
    for (let n = 0; n < 4; n += 1) answers.push(await fetch(`${api.url}/analytics/kyc-funnel`));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(answers.map(({ headers }) => headers.get('RateLimit')?.split(';')[1])).toEqual(['r=2', 'r=1', 'r=0', 'r=0']);
    expect(Number(answers[3]?.headers.get('Retry-After'))).toBeGreaterThan(0);
  });

  it.each([
    ['0.0.0.0', [], 1],
    ['0.0.0.0', [token], 0],
    ['127.0.0.1', [], 0],
  ])('listening on %s with %j as tokens warns %i times', async (host, apiTokens, times) => {
    const lines: string[] = [];
    const listening = pino({ level: 'warn' }, { write: (line) => lines.push(line) });
    const api = await startApi(
      await createDatabase(),
      { ...LOCAL, host, apiTokens },
      () => ({ state: 'idle' }),
      listening,
    );
    await api.close();
    expect(lines.filter((line) => line.includes('asks for no token'))).toHaveLength(times);
  });
});

it('what is sent at once equals what Hono sends', async () => {
  const database = await createDatabase();
  await publish(database, 7, false);
  const api = await start(database);
  await expect.poll(() => servedVersion(api), WITHIN_A_SECOND).toBe('7');
  const url = `${api.url}/analytics/kyc-funnel`;
  const etag = (await fetch(url)).headers.get('ETag') as string;
  const changing = ['x-request-id', 'server-timing', 'x-process-time', 'date'];
  const seen = async (target: string, init: RequestInit) => {
    const response = await fetch(target, init);
    const headers = Object.fromEntries([...response.headers].filter(([name]) => !changing.includes(name)));
    return { status: response.status, headers, body: await response.text() };
  };
  for (const [method, headers] of [
    ['GET', {}],
    ['HEAD', {}],
    ['GET', { 'If-None-Match': etag }],
    ['GET', { 'If-None-Match': '*' }],
    ['GET', { 'If-None-Match': '"x"' }],
  ] as const) {
    // A query that nobody reads goes the long way.
    const [atOnce, byHono] = [await seen(url, { method, headers }), await seen(`${url}?`, { method, headers })];
    expect(atOnce).toEqual(byHono);
  }
});
