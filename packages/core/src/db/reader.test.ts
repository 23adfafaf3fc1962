import { randomBytes } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { inTransaction, withSession } from './database.ts';
import { migrate } from './migrate.ts';
import { createReader, hasReader, READER_ROLE, readOnly } from './reader.ts';

const INSUFFICIENT_PRIVILEGE = { code: '42501' };
const READ_ONLY_TRANSACTION = { code: '25006' };

describe('the role that the API reads with', () => {
  it('is there in a migrated database, and can read what is published and nothing else', async () => {
    const database = await createDatabase();
    await withSession(database, 'test', async (client) => {
      expect(await hasReader(client)).toBe(true);
      const asReader = (text: string) => inTransaction(client, () => client.query(text), readOnly(true));
      const readable = [
        'snapshot',
        'ledger',
        'import_run',
        'merchant',
        'merchant_month',
        'stored_reject',
        'open_reject',
      ];
      for (const table of readable) expect((await asReader(`SELECT FROM ${table}`)).rowCount).toBe(0);
      for (const table of [
        'event',
        'activity',
        'reject',
        'coercion',
        'duplicate',
        'kind',
        'merchant_total',
        'possible_repair',
      ])
        await expect(asReader(`SELECT FROM ${table}`), table).rejects.toMatchObject(INSUFFICIENT_PRIVILEGE);
      await expect(asReader('DELETE FROM snapshot')).rejects.toMatchObject(READ_ONLY_TRANSACTION);
      const writing = { ...readOnly(true), begin: `BEGIN; SET LOCAL ROLE ${READER_ROLE}` };
      const asWriter = (text: string) => inTransaction(client, () => client.query(text), writing);
      await expect(asWriter('DELETE FROM snapshot')).rejects.toMatchObject(INSUFFICIENT_PRIVILEGE);
      await expect(asWriter('CREATE TABLE mine (n int)')).rejects.toMatchObject(INSUFFICIENT_PRIVILEGE);
      const asOurselves = inTransaction(client, () => client.query('DELETE FROM snapshot'), readOnly(false));
      await expect(asOurselves).rejects.toMatchObject(READ_ONLY_TRANSACTION);
      expect((await client.query('SELECT FROM event')).rowCount, 'after the transaction').toBe(0);
    });
  });

  it('may be made again without harm, also in many databases at once', async () => {
    const databases = await Promise.all(Array.from({ length: 5 }, () => createDatabase({ isEmpty: true })));
    const made = await Promise.all(
      databases.map((database) =>
        withSession(database, 'test', async (client) => {
          await migrate(client);
          return createReader(client);
        }),
      ),
    );
    expect(made).toEqual([true, true, true, true, true]);
  });

  // On a cluster only the owner of the schema can make tables in it that are known to all nodes.
  it.skipIf(process.env.CITUS_URL)('is done without where the user must not make it', async () => {
    const database = await createDatabase({ isEmpty: true });
    const user = `plain_${randomBytes(4).toString('hex')}`;
    await query(
      database,
      `CREATE ROLE ${user} LOGIN; GRANT ${user} TO CURRENT_USER; GRANT ALL ON SCHEMA public TO ${user}`,
    );
    await query(
      database,
      `DO $$ BEGIN EXECUTE format('GRANT ALL ON DATABASE %I TO ${user}', current_database()); END $$`,
    );
    onTestFinished(async () => {
      await query(database, `DROP OWNED BY ${user}; DROP ROLE ${user}`);
    });
    await withSession(database, 'test', async (client) => {
      await client.query(`SET ROLE ${user}`);
      expect(await migrate(client)).not.toEqual([]);
      expect(await createReader(client)).toBe(false);
      expect((await inTransaction(client, () => client.query('SELECT FROM snapshot'), readOnly(false))).rowCount).toBe(
        0,
      );
    });
  });
});
