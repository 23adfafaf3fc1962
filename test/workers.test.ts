/** Several imports that share the work on one folder: the ledger hands out files, and what comes out equals one import alone. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, withSession } from '@moniepoint/core/db/database';
import { generate } from '@moniepoint/core/generate';
import type { ImportResult } from '@moniepoint/core/import/progress';
import { type ImportOptions, runImport } from '@moniepoint/core/import/run';
import { verify } from '@moniepoint/core/import/verify';
import { describe, expect, it, vi } from 'vitest';
import { createDatabase, query } from './database.ts';
import { createFolder, eventId, manyRows, row, writeActivities } from './files.ts';
import { PLAIN_IMPORT } from './import.ts';
import { heldImports, holdImports, run, start } from './process.ts';
import { stateOf } from './state.ts';

const NO_SIGNAL = new AbortController().signal;
const WORKERS = 3;

const importOnce = (database: Database, folder: string, options: Partial<ImportOptions> = {}) =>
  runImport(database, [folder], { ...PLAIN_IMPORT, ...options }, () => {}, NO_SIGNAL);

const importShared = (database: Database, folder: string, options: Partial<ImportOptions> = {}) =>
  Promise.all(
    Array.from({ length: WORKERS }, () =>
      importOnce(database, folder, { workers: WORKERS, retryForMs: 0, ...options }),
    ),
  );

async function expectVerified(database: Database): Promise<void> {
  const checks = await withSession(database, 'test', verify);
  expect(checks.filter(({ differences }) => differences.length > 0)).toEqual([]);
}

/** How many of the imports loaded each file. */
const timesLoaded = (results: readonly ImportResult[]) =>
  results[0]?.files.map(({ path }) =>
    results.filter(({ files }) =>
      files.some((file) => file.path === path && /^(loaded|superseded)$/.test(file.status)),
    ),
  );

async function stateOfCleanImport(folder: string): Promise<unknown> {
  const database = await createDatabase();
  await importOnce(database, folder);
  return stateOf(database);
}

/** Seeded files with every kind of fault, with rows that repeat those of other files, and with merchants of their own. */
async function writeFiles(seed: number, days = 12): Promise<string> {
  const folder = createFolder();
  await generate(folder, { days, rows: 1_500, merchants: 2_000, dirty: 0.05, duplicates: 0.2, seed }, NO_SIGNAL);
  return folder;
}

describe('imports that share the work', () => {
  it.each([1, 2, 3])('load each file once, and come to the same as one alone (seed %i)', async (seed) => {
    const folder = await writeFiles(seed);
    const database = await createDatabase();
    const results = await importShared(database, folder);
    expect(results.map(({ outcome }) => outcome)).toEqual(Array(WORKERS).fill('done'));
    expect(timesLoaded(results)?.map(({ length }) => length)).toEqual(Array(12).fill(1));
    expect(await stateOf(database)).toEqual(await stateOfCleanImport(folder));
    await expectVerified(database);
    // As with one: nothing is read again.
    const again = await importShared(database, folder);
    expect(again.flatMap(({ files }) => files.filter(({ status }) => status !== 'unchanged'))).toEqual([]);
  });

  it('supersede changed files, whose rows may have been in the way of others', async () => {
    const folder = createFolder();
    const database = await createDatabase();
    for (const version of [0, 1]) {
      for (let day = 1; day <= 8; day += 1) {
        const rows = Array.from({ length: 300 }, (_, n) =>
          row({ event_id: eventId(day * 250 + n + version * 100), merchant_id: `M-${version}-${(day * n) % 97}` }),
        );
        writeActivities(folder, `activities_2024010${day}.csv`, rows);
      }
      const results = await importShared(database, folder);
      expect(timesLoaded(results)?.map(({ length }) => length)).toEqual(Array(8).fill(1));
      await expectVerified(database);
    }
    expect(await stateOf(database)).toEqual(await stateOfCleanImport(folder));
  });

  it('leave a first load to one of them, which is faster by the bulk path', async () => {
    const folder = createFolder();
    await generate(folder, { days: 5, rows: 30_000, merchants: 300, dirty: 0, duplicates: 0.1, seed: 1 }, NO_SIGNAL);
    const database = await createDatabase();
    const results = await importShared(database, folder);
    const loaded = results.map(({ files }) => files.filter(({ status }) => status === 'loaded').length);
    expect(loaded.sort()).toEqual([0, 0, 5]);
    await expectVerified(database);
  });

  it('load a file that was moved, beside another of its name, in place of what it was', async () => {
    const folder = createFolder();
    const [first, second, third] = ['b', 'a', 'c'].map((name) => join(folder, name)) as [string, string, string];
    for (const [place, amount] of [
      [first, '1.00'],
      [second, '2.00'],
    ] as const) {
      mkdirSync(place);
      writeActivities(place, 'activities_20240101.csv', [row({ amount })]);
    }
    const database = await createDatabase();
    await importOnce(database, first);
    await importOnce(database, second);
    renameSync(second, third); // it was the first of the two by its path, and is the last now
    const results = await Promise.all(
      [1, 2].map(() => runImport(database, [first, third], { ...PLAIN_IMPORT, workers: 2 }, () => {}, NO_SIGNAL)),
    );
    expect(results.flatMap(({ files }) => files.map(({ status }) => status)).sort()).toEqual([
      'superseded',
      'unchanged',
      'unchanged',
      'unchanged',
    ]);
    expect(await query(database, 'SELECT amount FROM activity')).toEqual([{ amount: '1.00' }]);
    await expectVerified(database);
  });

  it('load a file that was moved anew also where the other of its name is loaded in the same run', async () => {
    const top = createFolder();
    const [before, other, after] = ['a', 'm', 'z'].map((name) => join(top, name)) as [string, string, string];
    for (const folder of [before, other]) mkdirSync(folder);
    writeActivities(before, 'activities_20240101.csv', [row({ amount: '1.00' })]);
    const database = await createDatabase();
    await importOnce(database, before);
    renameSync(before, after);
    writeActivities(other, 'activities_20240101.csv', [row({ amount: '2.00' })]);
    const options = { ...PLAIN_IMPORT, workers: 2 };
    await runImport(database, [other, after], options, () => {}, NO_SIGNAL);
    expect(await query(database, 'SELECT amount::text, path FROM activity JOIN ledger USING (file_id)')).toEqual([
      { amount: '2.00', path: join(other, 'activities_20240101.csv') },
    ]);
    await expectVerified(database);
  });

  it('leave the version of a file that was moved where another one found it first', async () => {
    const database = await createDatabase();
    const top = createFolder();
    const [first, before, after] = ['a', 'b', 'c'].map((name) => join(top, name)) as [string, string, string];
    for (const folder of [first, before]) {
      mkdirSync(folder);
      writeActivities(folder, 'activities_20240101.csv', [row({ amount: folder === first ? '1.00' : '2.00' })]);
      await importOnce(database, folder);
    }
    renameSync(before, after); // another file has its name, so it is loaded anew in place of what it was
    const [elsewhere, moved] = [top, before].map((folder) => join(folder, 'activities_20240101.csv'));
    const beside: Database = {
      ...database,
      connect: async (role) => {
        const client = await database.connect(role);
        const ask = client.query.bind(client) as (...args: unknown[]) => unknown;
        vi.spyOn(client, 'query').mockImplementation((...args: unknown[]) => {
          if (!String(args[0]).includes('pg_advisory_xact_lock')) return ask(...args);
          // As another importer would that has found a copy there, before this one gets its turn.
          return query(database, 'UPDATE ledger SET path = $1 WHERE path = $2', [elsewhere, moved]).then(() =>
            ask(...args),
          );
        });
        return client;
      },
    };
    await runImport(beside, [after], { ...PLAIN_IMPORT, workers: 2 }, () => {}, NO_SIGNAL);
    expect(await query(database, 'SELECT path, status, duplicate FROM ledger ORDER BY file_id')).toEqual([
      { path: join(first, 'activities_20240101.csv'), status: 'loaded', duplicate: '0' },
      { path: elsewhere, status: 'loaded', duplicate: '1' },
      { path: join(after, 'activities_20240101.csv'), status: 'loaded', duplicate: '1' },
    ]);
    await expectVerified(database);
  });

  it('take files out that are gone, once', async () => {
    const folder = await writeFiles(5, 4);
    const database = await createDatabase();
    await importOnce(database, folder);
    rmSync(join(folder, 'activities_20240102.csv'));
    const results = await importShared(database, folder, { prune: true });
    expect(results.flatMap(({ pruned }) => pruned)).toEqual([join(folder, 'activities_20240102.csv')]);
    expect(await stateOf(database)).toEqual(await stateOfCleanImport(folder));
    await expectVerified(database);
  });

  it('tell of a file that cannot be loaded, each of them, and load the others', async () => {
    const folder = await writeFiles(4, 3);
    writeFileSync(join(folder, 'activities_20240102.csv'), 'nothing,that,is,expected\n');
    const database = await createDatabase();
    const results = await importShared(database, folder);
    expect(results.map(({ outcome }) => outcome)).toEqual(Array(WORKERS).fill('failed'));
    expect(await query(database, "SELECT name FROM ledger WHERE status = 'loaded' ORDER BY name")).toEqual([
      { name: 'activities_20240101.csv' },
      { name: 'activities_20240103.csv' },
    ]);
    await expectVerified(database);
  });
});

describe('an import that dies', () => {
  it.each(['reject', 'merchant', 'event', 'duplicate', 'ledger', 'snapshot'])(
    'before it writes to %s leaves its file to the others',
    async (table) => {
      const folder = await writeFiles(7, 6);
      const database = await createDatabase();
      const site = { DATABASE_URL: database.url };
      const release = await holdImports(database, table);
      const workers = Array.from({ length: WORKERS }, () =>
        start('moniepoint', ['import', folder, '--workers', String(WORKERS)], site, folder),
      );
      // All of them have a file: one waits for the table, or each does, and the others for their turn.
      await expect.poll(() => heldImports(database), { timeout: 20_000, interval: 5 }).toBe(WORKERS);
      const [first, ...others] = workers as [(typeof workers)[0], ...typeof workers];
      first.child.kill('SIGKILL');
      await first.exit;
      await release();
      for (const { exit, text } of others) expect(await exit, text()).toBe(0);
      expect(await stateOf(database)).toEqual(await stateOfCleanImport(folder));
      await expectVerified(database);
    },
  );
});

describe('the places', () => {
  it('are as many as --workers says; an import that shares nothing waits for all of them', async () => {
    const folder = createFolder();
    for (const day of [1, 2]) writeActivities(folder, `activities_2024010${day}.csv`, manyRows(day * 1_000, 100));
    const database = await createDatabase();
    const site = { DATABASE_URL: database.url };
    const release = await holdImports(database);
    const workers = [1, 2].map(() => start('moniepoint', ['import', folder, '--workers', '2'], site, folder));
    await expect.poll(() => heldImports(database), { timeout: 20_000 }).toBe(2);
    const alone = await run('moniepoint', ['import', folder], site, folder);
    expect([alone.code, alone.stderr]).toEqual([
      5,
      expect.stringContaining('Another import is running: moniepoint import'),
    ]);
    await release();
    for (const { exit, text } of workers) expect(await exit, text()).toBe(0);
    expect((await run('moniepoint', ['import', folder], site, folder)).code).toBe(0);
  });

  it('that are all taken are waited for with --lock-wait, while an import alone holds up those that share', async () => {
    const folder = createFolder();
    writeActivities(folder, 'activities_20240101.csv', manyRows(0, 100));
    const database = await createDatabase();
    const site = { DATABASE_URL: database.url };
    const release = await holdImports(database);
    const alone = start('moniepoint', ['import', folder], site, folder);
    await expect.poll(() => heldImports(database), { timeout: 20_000 }).toBe(1);
    const refused = await run('moniepoint', ['import', folder, '--workers', '2'], site, folder);
    expect(refused.code).toBe(5);
    const patient = start('moniepoint', ['import', folder, '--workers', '2', '--lock-wait', '1m'], site, folder);
    await expect.poll(patient.text, { timeout: 20_000 }).toContain('waiting');
    await release();
    expect([await alone.exit, await patient.exit], patient.text()).toEqual([0, 0]);
  });
});
