import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { migrate, refuseNewerSchema } from './migrate.ts';

describe('migrate', () => {
  it('brings an empty database up to date, once, however many do it at the same time', async () => {
    const database = await createDatabase({ isEmpty: true });
    const clients = await Promise.all(Array.from({ length: 10 }, () => database.connect('test')));
    const applied = await Promise.all(clients.map((client) => migrate(client)));
    await Promise.all(clients.map((client) => client.end()));
    expect(applied.flat()).toEqual(['0000_foundation', '0001_superseding']);
    expect(await query(database, 'SELECT FROM activity')).toEqual([]);
  });

  it('brings a database that holds data from the first schema to the newest', async () => {
    const database = await createDatabase();
    const drizzle = new URL('../../../../drizzle/', import.meta.url);
    const first = readFileSync(new URL('0000_foundation.sql', drizzle), 'utf8').replaceAll(
      '--> statement-breakpoint',
      '',
    );
    const { entries } = JSON.parse(readFileSync(new URL('meta/_journal.json', drizzle), 'utf8'));
    await query(database, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public');
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
    const client = await database.connect('test');
    expect(await migrate(client)).toEqual(['0001_superseding']);
    await client.end();
    expect(await query(database, 'SELECT name FROM ledger')).toEqual([{ name: 'activities_20240101.csv' }]);
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
