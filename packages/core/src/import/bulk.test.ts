import { randomBytes } from 'node:crypto';
import { appendFileSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { createFolder, eventId, HEADER, row, writeActivities } from '../../../../test/files.ts';
import { PLAIN_IMPORT } from '../../../../test/import.ts';
import { type Database, withSession } from '../db/database.ts';
import { generate } from '../generate.ts';
import { LOCK_WAIT_MS, planBulk } from './bulk.ts';
import type { ImportEvent, ImportResult } from './progress.ts';
import { type ImportOptions, runImport } from './run.ts';
import { verify } from './verify.ts';

const noSignal = new AbortController().signal;

async function load(database: Database, paths: string[], options: Partial<ImportOptions> = {}): Promise<ImportResult> {
  return runImport(database, paths, { ...PLAIN_IMPORT, ...options }, () => {}, noSignal);
}

/** Seeded files of 25,000 rows each, with every kind of fault, and rows that repeat earlier ones. */
async function writeDays(days: number, seed = 1): Promise<string[]> {
  const options = { days, rows: 25_000, merchants: 300, dirty: 0.05, duplicates: 0.1, seed };
  return generate(createFolder(), options, noSignal);
}

const TABLES = {
  event: 'event_id',
  duplicate: 'file_id, line, event_id',
  reject: 'file_id, line',
  possible_repair: 'event_id',
  coercion: 'file_id, line, column_name',
  merchant: 'merchant_key',
  kind: 'kind_key',
  context: 'context_key',
  merchant_month: 'month, merchant_key',
  merchant_total: 'merchant_key',
  product_status: 'product, status',
};

/** Every stored row, as one hash a table, and what is published. */
async function contentOf(database: Database): Promise<unknown> {
  const hashes: Record<string, unknown> = {};
  for (const [table, order] of Object.entries(TABLES)) {
    [hashes[table]] = await query(
      database,
      `SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY ${order})) FROM ${table} t`,
    );
  }
  const counts = await query(
    database,
    'SELECT file_id, rows_read, accepted, duplicate, conflict, rejected, coerced, rejected_by_reason FROM ledger ORDER BY file_id',
  );
  return { hashes, counts, answers: await query(database, 'SELECT answers FROM snapshot') };
}

async function expectVerified(database: Database): Promise<void> {
  const checks = await withSession(database, 'test', verify);
  expect(checks.filter(({ differences }) => differences.length > 0)).toEqual([]);
}

const databaseName = (database: Database) => new URL(database.url.replace('@/', '@socket/')).pathname.slice(1);

const indexesOf = (database: Database) =>
  query(
    database,
    `SELECT pg_get_indexdef(indexrelid) AS definition, pg_get_constraintdef(c.oid) AS "constraint"
       FROM pg_index
       LEFT JOIN pg_constraint c ON conindid = indexrelid
      WHERE indrelid = ANY ('{event, duplicate, merchant_month, merchant_total, product_status}'::regclass[])
      ORDER BY 1`,
  );

/** The options of the indexes of `event`, and the tablespaces in which they lie. */
const placesOf = (database: Database) =>
  query(
    database,
    `SELECT relname, reloptions, spcname
       FROM pg_index
       JOIN pg_class c ON c.oid = indexrelid
       LEFT JOIN pg_tablespace t ON t.oid = reltablespace
      WHERE indrelid = 'event'::regclass
      ORDER BY relname`,
  );

/** A tablespace of the test's own, in which nothing but indexes of `event` may be. */
async function createTablespace(database: Database): Promise<string> {
  const name = `elsewhere_${randomBytes(4).toString('hex')}`;
  await withSession(database, 'test', async (client) => {
    await client.query('SET allow_in_place_tablespaces = on');
    await client.query(`CREATE TABLESPACE ${name} LOCATION ''`);
  });
  onTestFinished(async () => {
    await query(database, 'DROP INDEX mine; ALTER INDEX event_pkey SET TABLESPACE pg_default');
    await query(database, `DROP TABLESPACE ${name}`);
  });
  return name;
}

/** A role that may load rows, and no more, and the database as it is for that. */
async function createLoader(database: Database): Promise<{ readonly role: string; readonly asLoader: Database }> {
  const role = `loader_${randomBytes(4).toString('hex')}`;
  await query(database, `CREATE ROLE ${role} LOGIN; GRANT ${role} TO CURRENT_USER`);
  onTestFinished(async () => {
    await query(database, `REASSIGN OWNED BY ${role} TO CURRENT_USER; DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
  await query(
    database,
    `GRANT USAGE ON SCHEMA public TO ${role}; GRANT TEMP ON DATABASE ${databaseName(database)} TO ${role}`,
  );
  await query(database, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${role}`);
  await query(database, `GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${role}`);
  const connect: Database['connect'] = async (purpose) => {
    const client = await database.connect(purpose);
    await client.query(`SET ROLE ${role}`);
    return client;
  };
  return { role, asLoader: { ...database, connect } };
}

/** A first load by the bulk path, during which another session asks for the events; it gets them when the load has ended. */
async function loadWhileReading(database: Database, reader: Awaited<ReturnType<Database['connect']>>) {
  let reading: Promise<{ rowCount: number | null }> | null = null;
  const readEvents = (event: ImportEvent) => {
    if (event.type === 'stage' && event.stage === 'indexing') reading = reader.query('SELECT FROM event');
  };
  const { snapshot, counts } = await runImport(database, await writeDays(5), PLAIN_IMPORT, readEvents, noSignal);
  expect(snapshot?.dataVersion).toBe(1);
  return { accepted: counts.accepted, rowsRead: (await reading!).rowCount };
}

describe('the bulk path', () => {
  it('has a new table written to disk before the commit where its rows are not in the WAL, and does without', async () => {
    const paths = await writeDays(6);
    const database = await createDatabase();
    const roles: string[] = [];
    const withoutFlush: Database = {
      ...database,
      connect: async (role) => {
        roles.push(role);
        return role === 'flush' ? Promise.reject(new Error('no connection is left')) : database.connect(role);
      },
    };
    const [{ wal_level }] = (await query(database, 'SHOW wal_level')) as [{ wal_level: string }];
    const flushes = () => roles.filter((role) => role === 'flush').length;
    await load(withoutFlush, paths, { isDryRun: true });
    expect(flushes()).toBe(0);
    await load(withoutFlush, paths);
    expect(flushes()).toBe(wal_level === 'minimal' ? 1 : 0);
    await load(withoutFlush, await writeDays(6, 2));
    expect(flushes()).toBe(wal_level === 'minimal' ? 1 : 0);
    await expectVerified(database);
  });

  it('stores the same as file by file, whatever the number of lanes', async () => {
    const paths = await writeDays(6);
    const expected = await createDatabase();
    for (const path of paths) await load(expected, [path]); // each too small for the bulk path
    await expectVerified(expected);
    const content = await contentOf(expected);
    for (const jobs of [1, 2, 5]) {
      const database = await createDatabase();
      const indexes = await indexesOf(database);
      const result = await load(database, paths, { jobs });
      expect(result.snapshot?.dataVersion, 'one transaction').toBe(1);
      expect(await contentOf(database)).toEqual(content);
      expect(await indexesOf(database)).toEqual(indexes);
      expect(await load(database, paths, { jobs })).toMatchObject({ counts: { read: 0 }, snapshot: result.snapshot });
    }
  });

  it('has its indexes, and everything counted, also where each row is told twice', async () => {
    const paths = await writeDays(5);
    const once = await createDatabase();
    await load(once, paths);
    const again = paths.map((path) => path.replace('activities_20', 'activities_21'));
    for (const [index, path] of paths.entries()) copyFileSync(path, again[index] as string);
    const database = await createDatabase();
    const indexes = await indexesOf(database);
    const { counts, snapshot } = await load(database, [...paths, ...again]);
    expect(snapshot?.dataVersion, 'one transaction').toBe(1);
    const first = await query(once, 'SELECT count(*)::int FROM event');
    expect(await query(database, 'SELECT count(*)::int FROM event')).toEqual(first);
    expect(counts.accepted).toBe(first[0]?.count);
    expect(await indexesOf(database)).toEqual(indexes);
    await expectVerified(database);
  });

  it('also into a table that holds events, among them some of the new ones', async () => {
    const first = await writeDays(2);
    const second = await writeDays(6, 2);
    // A file of the first two days once more, under another name and in other letter case.
    const again = join(second[0] as string, '..', 'activities_20230101.csv');
    writeFileSync(again, readFileSync(first[0] as string, 'latin1').replaceAll('a', 'A'), 'latin1');
    const expected = await createDatabase();
    for (const path of [...first, again, ...second]) await load(expected, [path]);
    const database = await createDatabase();
    for (const path of first) await load(database, [path]);
    const indexes = await indexesOf(database);
    const result = await load(database, [again, ...second]);
    expect(result.snapshot?.dataVersion).toBe(3);
    expect(result.files[0]?.counts.accepted, 'its name comes first, so its rows do too').toBeGreaterThan(20_000);
    expect(await contentOf(database)).toEqual(await contentOf(expected));
    expect(await indexesOf(database)).toEqual(indexes);
    await expectVerified(database);
  });

  it('stores small files among large ones as they are', async () => {
    // The first rows of a COPY wait for the server's answer: their memory must not be filled again before they are sent.
    const folder = createFolder();
    const sizes = [100, 3, 60_000, 1, 60_000, 150];
    const ids = sizes.map((size, file) => Array.from({ length: size }, (_, n) => eventId(file * 100_000 + n)));
    for (const [file, own] of ids.entries()) {
      const rows = own.map((event_id) => row({ event_id, merchant_id: `M${file}` }));
      writeActivities(folder, `activities_2024010${file + 1}.csv`, rows);
    }
    const database = await createDatabase();
    expect((await load(database, [folder])).snapshot?.dataVersion).toBe(1);
    const stored = await query<{ ids: string[] }>(
      database,
      'SELECT array_agg(event_id ORDER BY event_id) AS ids FROM activity GROUP BY merchant_id ORDER BY merchant_id',
    );
    expect(stored.map((merchant) => merchant.ids)).toEqual(ids);
  });

  it('knows whose events they are also after a file that failed before its texts were told', async () => {
    const folder = createFolder();
    const broken = gzipSync(
      [HEADER, row({ event_id: eventId(1), merchant_id: 'LOST', region: 'LOST' }), ''].join('\n'),
    );
    writeFileSync(join(folder, 'activities_20240101.csv.gz'), broken.subarray(0, -8));
    const fields = { merchant_id: 'KEPT', region: 'KANO', event_type: 'SALE' };
    writeActivities(folder, 'activities_20240102.csv', [row({ event_id: eventId(2), ...fields })]);
    const database = await createDatabase();
    expect((await load(database, [folder])).files.map(({ status }) => status)).toEqual(['failed', 'loaded']);
    expect(await query(database, 'SELECT merchant_id, region, event_type FROM activity')).toEqual([fields]);
  });

  it('leaves nothing of a file that fails, and keeps the others', async () => {
    const paths = await writeDays(6);
    const broken = `${paths[2]}.gz`;
    writeFileSync(broken, gzipSync(readFileSync(paths[2] as string)).subarray(0, -8));
    const manyRejects = writeActivities(createFolder(), 'b.csv', [
      ...Array.from({ length: 3000 }, (_, n) => row({ event_id: eventId(n), merchant_id: `B${n}` })),
      ...Array.from({ length: 2500 }, () => 'bad'),
    ]);
    const folder = createFolder();
    const files = [paths[0], paths[1], broken, manyRejects, ...paths.slice(3)].map((path, index) => {
      const name = join(folder, `activities_2024010${index + 1}.csv${path === broken ? '.gz' : ''}`);
      writeFileSync(name, readFileSync(path as string));
      return name;
    });
    const limits = { maxRejects: 2400 };
    const expected = await createDatabase();
    for (const file of files) await load(expected, [file], limits);
    const database = await createDatabase();
    const result = await load(database, [folder], limits);
    expect(result.files.map(({ status }) => status)).toEqual([
      ...['loaded', 'loaded', 'failed', 'incomplete'],
      ...['loaded', 'loaded', 'loaded'],
    ]);
    expect(result.snapshot?.dataVersion).toBe(1);
    expect(await contentOf(database)).toEqual(await contentOf(expected));
    await expectVerified(database);
  });

  it('keeps an index that somebody added', async () => {
    const database = await createDatabase();
    await query(database, 'CREATE INDEX mine ON event (merchant_key) WHERE amount_kobo > 0');
    const indexes = await indexesOf(database);
    expect(indexes).toHaveLength(8);
    await load(database, await writeDays(5));
    expect(await indexesOf(database)).toEqual(indexes);
  });

  // On a cluster, options and places are the nodes'.
  it.skipIf(process.env.CITUS_URL)('keeps the options of each index, and where it lies', async () => {
    const database = await createDatabase();
    const tablespace = await createTablespace(database);
    await query(
      database,
      `CREATE INDEX mine ON event (merchant_key) WITH (fillfactor = 60) TABLESPACE ${tablespace};
       ALTER INDEX event_pkey SET (fillfactor = 70);
       ALTER INDEX event_pkey SET TABLESPACE ${tablespace}`,
    );
    const before = await placesOf(database);
    expect(before.map(({ spcname }) => spcname)).toEqual([null, tablespace, tablespace]);
    expect((await load(database, await writeDays(5))).snapshot?.dataVersion).toBe(1);
    expect(await placesOf(database)).toEqual(before);
  });

  // Where events are distributed, each node builds its own indexes, and this table has no rows.
  it.skipIf(process.env.CITUS_URL).each([[['fillfactor=10']], [['fillfactor=10', 'parallel_workers=1']]])(
    'a large table has the options %j afterwards that somebody gave it',
    async (options) => {
      const database = await createDatabase();
      await query(database, `ALTER TABLE event SET (${options})`); // rows lie in ten times as many pages
      await load(database, await writeDays(5));

      const [table] = await query(
        database,
        `SELECT ARRAY(SELECT unnest(reloptions) ORDER BY 1) AS options, pg_relation_size(oid)::int AS bytes
         FROM pg_class
        WHERE oid = 'event'::regclass`,
      );
      expect(table?.bytes).toBeGreaterThan(32 * 1024 * 1024);
      expect(table?.options).toEqual(options);
      expect(await indexesOf(database)).toEqual(await indexesOf(await createDatabase()));
    },
  );

  it.each([
    ['a view', 'CREATE VIEW mine AS SELECT event_id, amount_kobo, count(*) FROM event GROUP BY event_id'],
    ['a publication', 'CREATE PUBLICATION mine FOR TABLE event'],
  ])('leaves the key alone that %s needs: then files go in one by one', async (_, statement) => {
    const database = await createDatabase();
    await query(database, statement);
    const indexes = await indexesOf(database);
    const paths = await writeDays(5);
    expect((await load(database, paths)).snapshot?.dataVersion).toBe(5);
    for (const path of paths) appendFileSync(path, '\n');
    const again = await load(database, paths);
    expect(again.files.map(({ status }) => status)).toEqual(paths.map(() => 'superseded'));
    expect(await indexesOf(database)).toEqual(indexes);
    await expectVerified(database);
  });

  it('fills a table with its key where a view needs it', async () => {
    const database = await createDatabase();
    await query(
      database,
      'CREATE VIEW mine AS SELECT merchant_key, success_kobo FROM merchant_total GROUP BY merchant_key',
    );
    expect((await load(database, await writeDays(5))).snapshot?.dataVersion).toBe(1);
    await expectVerified(database);
  });

  it('makes nobody wait: with a reader in the table, files go in one by one', async () => {
    const database = await createDatabase();
    const reader = await database.connect('test');
    await reader.query('BEGIN; SELECT FROM event');
    const result = await load(database, await writeDays(5));
    await reader.end();
    expect(result.snapshot?.dataVersion).toBe(5);
    await expectVerified(database);
  });

  // Citus asks its nodes for rows of their moment, whenever the transaction began.
  it.skipIf(process.env.CITUS_URL)(
    'shows nothing of a first load to a transaction that began before it, such as that of a backup',
    async () => {
      const database = await createDatabase();
      const reader = await database.connect('test');
      await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM ledger');
      expect((await loadWhileReading(database, reader)).rowsRead).toBe(0);
      await reader.end();
    },
  );

  it('waits for as long as it takes until the server cancels an autovacuum of the table', async () => {
    const [found] = await query<{ ms: number }>(
      await createDatabase(),
      "SELECT setting::int AS ms FROM pg_settings WHERE name = 'deadlock_timeout'",
    );
    expect(LOCK_WAIT_MS).toBeGreaterThan(found!.ms);
  });

  it.each(['duplicate', 'merchant_month'])(
    'waits for nobody who reads %s, and who may wait for the events',
    async (table) => {
      const database = await createDatabase();
      const reader = await database.connect('test');
      await reader.query(`BEGIN; SELECT FROM ${table}`);
      const { accepted, rowsRead } = await loadWhileReading(database, reader);
      expect(rowsRead).toBe(accepted);
      await reader.end();
      await expectVerified(database);
    },
  );

  it('asks for no more than a role that may load rows has: then files go in one by one', async () => {
    const { asLoader } = await createLoader(await createDatabase());
    expect((await load(asLoader, await writeDays(5))).snapshot?.dataVersion).toBe(5);
  });

  it.skipIf(process.env.CITUS_URL)(
    'leaves an index where it lies that its role could not build there again',
    async () => {
      const database = await createDatabase();
      const { asLoader, role } = await createLoader(database);
      const tablespace = await createTablespace(database);
      await query(
        database,
        `CREATE INDEX mine ON event (merchant_key) TABLESPACE ${tablespace}; ALTER TABLE event OWNER TO ${role}`,
      );
      expect((await load(asLoader, await writeDays(5))).snapshot?.dataVersion).toBe(5);
      expect(await placesOf(database)).toContainEqual({ relname: 'mine', reloptions: null, spcname: tablespace });
    },
  );

  it('cut off at any moment it leaves nothing, and the next run completes the work', async () => {
    const paths = await writeDays(5);
    const expected = await createDatabase();
    await load(expected, paths);
    const database = await createDatabase();
    const indexes = await indexesOf(database);
    const moments = ['preparing', 'file_started', 'file_progress', 'storing', 'indexing', 'settling'];
    for (const moment of [...moments, 'counting', 'publishing', 'committing']) {
      const stop = new AbortController();
      const stopThen = (event: ImportEvent) => {
        if (moment === (event.type === 'stage' ? event.stage : event.type)) stop.abort();
      };
      await expect(runImport(database, paths, PLAIN_IMPORT, stopThen, stop.signal)).rejects.toMatchObject({
        kind: 'interrupted',
      });
      expect(await query(database, 'SELECT FROM event')).toEqual([]);
      expect(await indexesOf(database)).toEqual(indexes);
    }
    await load(database, paths);
    const answers = 'SELECT answers FROM snapshot';
    expect(await query(database, answers)).toEqual(await query(expected, answers));
    await expectVerified(database);
  });

  it('a dry run counts the same and leaves nothing', async () => {
    const paths = await writeDays(5);
    const database = await createDatabase();
    const dry = await load(database, paths, { isDryRun: true });
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    expect(await query(database, 'SELECT FROM merchant')).toEqual([]);
    const real = await load(database, paths);
    expect(dry.counts).toEqual(real.counts);
  });

  it('a file that grows while it is read is left for the next run', async () => {
    const path = writeActivities(
      createFolder(),
      'a.csv',
      Array.from({ length: 110_000 }, (_, n) => row({ event_id: eventId(n) })),
    );
    const database = await createDatabase();
    let isGrown = false;
    const grow = (event: ImportEvent) => {
      if (event.type !== 'file_progress' || isGrown) return;
      isGrown = true;
      appendFileSync(path, `${row({ event_id: eventId(110_000) })}\n`);
    };
    const result = await runImport(database, [path], PLAIN_IMPORT, grow, noSignal);
    expect(result.files[0]?.error).toContain('changed while it was read');
    expect(await query(database, 'SELECT FROM event')).toEqual([]);
    expect((await load(database, [path])).counts.read).toBe(110_001);
    await expectVerified(database);
  });
});

describe('the BRIN index, after files that went in one by one', () => {
  const newPages = async (database: Database) =>
    (await query(database, `SELECT brin_summarize_new_values('event_file_id_event_us_idx') AS ranges`))[0];

  it('knows their pages, without waiting for autovacuum', async () => {
    const database = await createDatabase();
    await load(database, await writeDays(3));
    expect(await newPages(database)).toEqual({ ranges: 0 });
  });

  it.skipIf(process.env.CITUS_URL)('is left to a VACUUM that is under way, for which nobody waits', async () => {
    const database = await createDatabase();
    const [first, ...others] = await writeDays(3);
    await load(database, [first!]);
    await withSession(database, 'test', async (vacuum) => {
      await vacuum.query('BEGIN; LOCK TABLE event IN SHARE UPDATE EXCLUSIVE MODE');
      await load(database, others);
    });
    expect(await newPages(database)).not.toEqual({ ranges: 0 });
    await expectVerified(database);
  });
});

describe('which files go together', () => {
  const file = (sizeBytes: number, name = 'a.csv') => ({ file: { name, sizeBytes } });
  const MB = 1_000_000;
  it.each([
    ['a small import', [file(5 * MB)], 0, null],
    ['a day into a large table', [file(30 * MB)], 7_000_000, null],
    ['a large import into an empty table', Array(288).fill(file(3 * MB)), 0, 288],
    ['as much again', Array(288).fill(file(3 * MB)), 7_000_000, 288],
    ['more than one transaction should hold', Array(1000).fill(file(30 * MB)), 0, 101],
    ['the same into a table of that size', Array(1000).fill(file(30 * MB)), 100_000_000, 401],
    ['a last part that would not be worth it by itself', Array(110).fill(file(30 * MB)), 0, 110],
    ['packed', [file(5 * MB, 'a.csv.gz')], 0, 1],
  ])('%s', (_, files, storedRows, expected) => {
    expect(planBulk(files, storedRows)?.files ?? null).toBe(expected);
  });
});
