import { expect, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { withSession } from './database.ts';
import { distribute } from './distribute.ts';

it.skipIf(process.env.CITUS_URL)('without Citus nothing is distributed, and the error says what to do', async () => {
  const database = await createDatabase();
  await expect(withSession(database, 'test', (client) => distribute(client, undefined))).rejects.toMatchObject({
    kind: 'database',
    message: expect.stringMatching(/has no extension citus.*CREATE EXTENSION citus.*citus_add_node/),
  });
  expect(await query(database, "SELECT FROM pg_class WHERE relname ~ '^(event|merchant)_[0-9]+$'")).toEqual([]);
});
