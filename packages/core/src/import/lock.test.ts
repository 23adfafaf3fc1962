import { randomBytes } from 'node:crypto';
import { expect, it, onTestFinished } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { withSession } from '../db/database.ts';
import { takeImportLock } from './lock.ts';

const NO_SIGNAL = new AbortController().signal;

it('names the holder also to a role that may not see when its session began', async () => {
  const database = await createDatabase();
  const role = `other_${randomBytes(4).toString('hex')}`;
  await query(database, `CREATE ROLE ${role}; GRANT ${role} TO CURRENT_USER`);
  onTestFinished(async () => {
    await query(database, `DROP ROLE ${role}`);
  });
  await withSession(database, 'holder', async (holder) => {
    await takeImportLock(holder, 0, () => {}, NO_SIGNAL);
    await withSession(database, 'test', async (client) => {
      await client.query(`SET ROLE ${role}`);
      await expect(takeImportLock(client, 0, () => {}, NO_SIGNAL)).rejects.toMatchObject({
        kind: 'locked',
        message: expect.stringMatching(/^Another import is running: moniepoint holder, server process \d+\. /),
      });
    });
  });
});
