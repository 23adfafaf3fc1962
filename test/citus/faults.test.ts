/** Nodes of a cluster that die, and what an import and the API make of it. */
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLog } from '@moniepoint/api/log';
import { startApi } from '@moniepoint/api/serve';
import { type Database, withSession } from '@moniepoint/core/db/database';
import { generate } from '@moniepoint/core/generate';
import type { ImportEvent } from '@moniepoint/core/import/progress';
import { runImport } from '@moniepoint/core/import/run';
import { verify } from '@moniepoint/core/import/verify';
import { METRICS } from '@moniepoint/core/metrics';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, query } from '../database.ts';
import { createFolder } from '../files.ts';
import { PLAIN_IMPORT } from '../import.ts';
import { findNodes } from './cluster.ts';

const noSignal = new AbortController().signal;

async function writeFiles(days: number, rows: number): Promise<string[]> {
  return generate(createFolder(), { days, rows, merchants: 300, dirty: 0.05, duplicates: 0.1, seed: 9 }, noSignal);
}

async function load(
  database: Database,
  paths: readonly string[],
  retryForMs: number,
  report: (event: ImportEvent) => void = () => {},
) {
  return runImport(database, paths, { ...PLAIN_IMPORT, retryForMs }, report, noSignal);
}

const CONTENT = `
  SELECT (SELECT count(*) FROM event) AS events,
         (SELECT count(*) FROM duplicate) AS duplicates,
         (SELECT count(*) FROM reject) AS rejects,
         (SELECT json_agg(l ORDER BY name) FROM (SELECT name, status, rows_read, accepted, duplicate, conflict, rejected FROM ledger WHERE status = 'loaded') l) AS ledger,
         (SELECT answers::text FROM snapshot) AS answers`;

const differences = (database: Database) =>
  withSession(database, 'test', async (client) =>
    (await verify(client)).flatMap(({ name, differences: found }) => found.map((one) => `${name}: ${one}`)),
  );

/** A commit that a worker knows of only by halves is completed within Citus's recovery interval. */
const RECOVERED = { timeout: 90_000, interval: 500 };

describe.each([
  ['file by file', 3, 3000],
  ['bulk', 5, 25_000],
])('a node is killed during an import, %s', (_, days, rows) => {
  it.each([
    ['a worker', 1, 'file_progress'],
    ['a worker', 2, 'settling'],
    ['a worker', 1, 'committing'],
    ['the coordinator', 0, 'file_progress'],
    ['the coordinator', 0, 'committing'],
  ])('%s (node %i) at %s: nothing is lost and nothing is there twice', async (_name, node, moment) => {
    const paths = await writeFiles(days, rows);
    const undisturbed = await createDatabase();
    await load(undisturbed, paths, 0);
    const expected = await query(undisturbed, CONTENT);

    const database = await createDatabase();
    const nodes = await findNodes();
    let restarted: Promise<void> | undefined;
    const result = await load(database, paths, 60_000, (event) => {
      if (restarted !== undefined || (event.type !== moment && !(event.type === 'stage' && event.stage === moment)))
        return;
      // A commit is several messages; in its midst is where it hurts.
      restarted = sleep(moment === 'committing' ? 3 : 0)
        .then(() => nodes[node]?.kill())
        .then(() => sleep(500))
        .then(() => nodes[node]?.start());
    });
    await restarted;
    expect(restarted).toBeDefined();
    expect(result.outcome).toBe('done');
    await expect.poll(() => differences(database), RECOVERED).toEqual([]);
    expect(await query(database, CONTENT)).toEqual(expected);
    expect(await query(database, 'SELECT FROM pg_prepared_xacts')).toEqual([]);
    expect((await load(database, paths, 0)).files.map(({ status }) => status)).toEqual(paths.map(() => 'unchanged'));
  });
});

const log = createLog({ err: () => {}, terminal: null }, 'error');
const LOCAL = {
  ...{ host: '127.0.0.1', port: 0, corsOrigins: [], hstsMaxAge: 0 },
  ...{ apiTokens: [], rateLimit: 0, trustedHops: 0 },
};

async function serve(database: Database): Promise<string> {
  const api = await startApi(database, LOCAL, () => ({ state: 'idle' }), log);
  onTestFinished(() => api.close());
  return api.url;
}

it('with a worker down the API answers, also one that starts now; an import says what is wrong and keeps nothing', async () => {
  const paths = await writeFiles(2, 1000);
  const database = await createDatabase();
  await load(database, paths.slice(0, 1), 0);
  const before = await query(database, CONTENT);
  const nodes = await findNodes();
  nodes[1]?.kill();
  const url = await serve(database);
  for (const { name } of METRICS)
    await expect.poll(async () => (await fetch(`${url}/analytics/${name}`)).headers.get('x-data-version')).toBe('1');
  await expect(load(database, paths, 0)).rejects.toMatchObject({
    message: expect.stringMatching(/127\.0\.0\.1|localhost|connection|worker/),
  });
  await nodes[1]?.start();
  expect(await query(database, CONTENT)).toEqual(before);
  expect((await load(database, paths, 0)).outcome).toBe('done');
  expect(await differences(database)).toEqual([]);
});

const READS = 100_000;

it('no answer is torn while imports commit and workers die', async () => {
  const paths = await writeFiles(30, 400);
  const expected = new Map<string, string>();
  const remember = (map: Map<string, string>, version: string, path: string, body: string) => {
    const key = `${version} ${path}`;
    if (!map.has(key)) map.set(key, body);
    return map.get(key) === body;
  };
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  onTestFinished(() => agent.destroy());
  const ask = async (url: string, path: string) => {
    const [response] = (await once(get(`${url}${path}`, { agent }), 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) body += chunk;
    return { version: String(response.headers['x-data-version']), body };
  };
  const pathsOfAnswers = METRICS.map(({ name }) => `/analytics/${name}`);

  const undisturbed = await createDatabase();
  const reference = await serve(undisturbed);
  for (const [index, path] of paths.entries()) {
    await load(undisturbed, [path], 0);
    await expect.poll(async () => (await ask(reference, '/analytics/kyc-funnel')).version).toBe(String(index + 1));
    for (const one of pathsOfAnswers) remember(expected, String(index + 1), one, (await ask(reference, one)).body);
  }

  const database = await createDatabase();
  await load(database, paths.slice(0, 1), 0);
  const url = await serve(database);
  await expect.poll(async () => (await ask(url, '/analytics/kyc-funnel')).version).toBe('1');
  const nodes = await findNodes();
  let isImporting = true;
  let kills = 0;
  const importing = (async () => {
    for (const path of paths) await load(database, [path], 60_000);
  })().finally(() => {
    isImporting = false;
  });
  const killing = (async () => {
    for (; isImporting && kills < 6; kills += 1) {
      await sleep(1500);
      const victim = nodes[1 + (kills % (nodes.length - 1))];
      victim?.kill();
      await sleep(300);
      await victim?.start();
    }
  })();
  let reads = 0;
  const torn: string[] = [];
  const versions = new Set<string>();
  const reading = Array.from({ length: 16 }, async () => {
    while (reads < READS || isImporting) {
      reads += 1;
      const path = pathsOfAnswers[reads % pathsOfAnswers.length] as string;
      const { version, body } = await ask(url, path);
      versions.add(version);
      if (expected.get(`${version} ${path}`) !== body) torn.push(`${version} ${path}: ${body}`);
    }
  });
  await Promise.all([importing, killing, ...reading]);
  expect(torn.slice(0, 5)).toEqual([]);
  expect(reads).toBeGreaterThanOrEqual(READS);
  expect(kills).toBeGreaterThan(1);
  expect(versions.size).toBeGreaterThan(10);
  await expect.poll(() => differences(database), RECOVERED).toEqual([]);
});
