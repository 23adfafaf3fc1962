import { describe, expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { migrate, refuseNewerSchema } from './migrate.ts';

describe('migrate', () => {
  it('brings an empty database up to date, once, however many do it at the same time', async () => {
    const database = await createDatabase({ isEmpty: true });
    const clients = await Promise.all(Array.from({ length: 10 }, () => database.connect('test')));
    const applied = await Promise.all(clients.map((client) => migrate(client)));
    await Promise.all(clients.map((client) => client.end()));
    expect(applied.flat()).toEqual(['0000_foundation']);
    expect(await query(database, 'SELECT FROM activity')).toEqual([]);
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
