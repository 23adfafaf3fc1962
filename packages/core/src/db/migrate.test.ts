import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createDatabase, dropSchema, query } from '../../../../test/database.ts';
import { takeImportLock } from '../import/lock.ts';
import { migrate, refuseNewerSchema } from './migrate.ts';

describe('migrate', () => {
  it('brings an empty database up to date, once, however many do it at the same time', async () => {
    const database = await createDatabase({ isEmpty: true });
    const clients = await Promise.all(Array.from({ length: 10 }, () => database.connect('test')));
    const applied = await Promise.all(clients.map((client) => migrate(client)));
    await Promise.all(clients.map((client) => client.end()));
    expect(applied.flat()).toEqual([
      '0000_foundation',
      '0001_superseding',
      '0002_monthly_volumes',
      '0003_open_rejects',
      '0004_reload_schedule',
      '0005_open_rejects_apart',
      '0006_retention',
      '0007_possible_repairs',
    ]);
    expect(await query(database, 'SELECT FROM activity')).toEqual([]);
  });

  it('leaves an older schema to an import that is running: that may be one of an older program', async () => {
    const database = await createDatabase();
    await query(
      database,
      'DELETE FROM schema_migration WHERE created_at = (SELECT max(created_at) FROM schema_migration)',
    );
    const [importer, client] = [await database.connect('import'), await database.connect('test')];
    await takeImportLock(importer, 0, () => {}, new AbortController().signal);
    await expect(migrate(client)).rejects.toMatchObject({
      kind: 'locked',
      message: expect.stringMatching(
        /^The schema is older than this program, and an import is running: moniepoint import, /,
      ),
    });
    // Whoever imports is not kept from it: what fails here is the migration, because all of it is there already.
    await expect(migrate(importer)).rejects.not.toHaveProperty('kind', 'locked');
    for (const session of [importer, client]) await session.end();
  });

  it('brings a database that holds data from the first schema to the newest', async () => {
    const database = await createDatabase();
    const drizzle = new URL('../../drizzle/', import.meta.url);
    const first = readFileSync(new URL('0000_foundation.sql', drizzle), 'utf8').replaceAll(
      '--> statement-breakpoint',
      '',
    );
    const { entries } = JSON.parse(readFileSync(new URL('meta/_journal.json', drizzle), 'utf8'));
    await dropSchema(database);
    await query(database, first);
    await query(
      database,
      'CREATE TABLE schema_migration (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint)',
    );
    await query(database, "INSERT INTO schema_migration (hash, created_at) VALUES ('', $1)", [entries[0].when]);
    await query(
      database,
      `INSERT INTO ledger (run_id, status, path, size_bytes, rows_read, accepted, duplicate, conflict, rejected, coerced,
                           rejected_by_reason, coerced_by_column, started_at, finished_at, program_version)
       VALUES (1, 'loaded', '/data/activities_20240101.csv', 3, 0, 0, 0, 0, 0, 0, '{}', '{}', now(), now(), 'x')`,
    );
    await query(
      database,
      `INSERT INTO context VALUES (1, 'SUCCESS', '', '', ''), (2, 'FAILED', '', '', '');
       INSERT INTO event (event_id, event_us, amount_kobo, file_id, merchant_key, kind_key, context_key)
       SELECT gen_random_uuid(), extract(epoch FROM time) * 1000000, kobo, 1, merchant_key, 1, context_key
         FROM (VALUES (timestamptz '2024-01-31 23:59:59.999999Z', 5, 1, 1), ('2024-01-01Z', -2, 1, 1), ('2024-02-01Z', 7, 1, 1),
                      ('2024-01-05Z', 9, 1, 2), ('2024-01-05Z', 1, 2, 1)) AS e (time, kobo, merchant_key, context_key);
       INSERT INTO merchant_month VALUES (1, '2024-01-01', 2), (1, '2024-02-01', 1), (2, '2024-01-01', 1), (3, '2023-12-01', 0);
       INSERT INTO merchant_total SELECT n, 0, 1, 0, 0, 0, 0, 0, 0, 1, d, v, t
         FROM (VALUES (1, 1, 0, 1), (2, 2, 1, 0), (3, 0, 0, 1), (4, 1, 1, 1)) AS m (n, d, v, t);
       INSERT INTO snapshot (data_version, published_at, answers) VALUES (7, now(), '{"failureRates":[]}')`,
    );
    const id = (digit: string) => `${digit.repeat(8)}-0000-4000-8000-000000000000`;
    const rejects: [reason: string, record: string | Buffer, ids: string[]][] = [
      ['status', `${id('1')},M,2024-01-01`, [id('1')]],
      ['column_count', `${id('2').toUpperCase()},${id('3')},${id('2')}`, [id('2'), id('3')]],
      // Written with escapes, the first byte would give the seven digits after it an eighth.
      [
        'encoding',
        Buffer.from(`\xe1${id('4').slice(1)} \xe1${id('5')}\\341${id('6')}\0`, 'latin1'),
        [id('5'), id('6')],
      ],
      ['event_id', `x,${id('7')}`, []],
      ['csv_syntax', '"', []],
    ];
    for (const [line, [reason, record]] of rejects.entries())
      await query(
        database,
        `INSERT INTO reject (file_id, line, reason, ${typeof record === 'string' ? 'raw_text' : 'raw_bytes'}) VALUES (1, $1, $2, $3)`,
        [line, reason, record],
      );
    const client = await database.connect('test');
    expect(await migrate(client)).toEqual([
      '0001_superseding',
      '0002_monthly_volumes',
      '0003_open_rejects',
      '0004_reload_schedule',
      '0005_open_rejects_apart',
      '0006_retention',
      '0007_possible_repairs',
    ]);
    await client.end();
    expect(await query(database, 'SELECT name FROM ledger')).toEqual([{ name: 'activities_20240101.csv' }]);
    expect(
      await query(
        database,
        'SELECT month::text, merchant_key, success_kobo FROM merchant_month ORDER BY month, merchant_key',
      ),
    ).toEqual([
      { month: '2023-12-01', merchant_key: 3, success_kobo: '0' },
      { month: '2024-01-01', merchant_key: 1, success_kobo: '3' },
      { month: '2024-01-01', merchant_key: 2, success_kobo: '1' },
      { month: '2024-02-01', merchant_key: 1, success_kobo: '7' },
    ]);
    const stored = await query(
      database,
      'SELECT reason, ARRAY(SELECT id::text FROM unnest(event_ids) AS id ORDER BY id) AS ids, said FROM reject ORDER BY line',
    );
    expect(stored).toEqual(rejects.map(([reason, , ids]) => ({ reason, ids, said: null })));
    expect(await query(database, 'SELECT month_versions, answers::text FROM snapshot')).toEqual([
      {
        month_versions: { '2023-12': 7, '2024-01': 7, '2024-02': 7 },
        // Text, because its order is part of it.
        answers:
          '{"failureRates":[],"kycFunnelNested":{"documentsSubmitted" : 3, "verificationsCompleted" : 2, "tierUpgrades" : 1}}',
      },
    ]);
  });

  it('changes nothing in a database that is up to date', async () => {
    const client = await (await createDatabase()).connect('test');
    expect(await migrate(client)).toEqual([]);
    await client.end();
  });

  it('refuses a database that is newer than the program, and leaves it as it is', async () => {
    const database = await createDatabase();
    await query(database, "INSERT INTO schema_migration (hash, created_at) VALUES ('newer', 99999999999999)");
    const before = await query(database, 'SELECT * FROM schema_migration ORDER BY id');
    const client = await database.connect('test');
    const refusal = {
      kind: 'database',
      message: expect.stringMatching(/^The database's schema is newer .*left as it is/),
    };
    await expect(migrate(client)).rejects.toMatchObject(refusal);
    await expect(refuseNewerSchema(client)).rejects.toMatchObject(refusal);
    await client.end();
    expect(await query(database, 'SELECT * FROM schema_migration ORDER BY id')).toEqual(before);
  });
});
