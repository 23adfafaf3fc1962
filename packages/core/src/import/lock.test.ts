import { randomBytes } from 'node:crypto';
import { expect, it, onTestFinished } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
import { withSession } from '../db/database.ts';
import { besideNoImport, lockHolder, takeImportLock } from './lock.ts';

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

it('is of one database: an import into another one of the server is none here', async () => {
  const [database, other] = [await createDatabase(), await createDatabase()];
  await withSession(other, 'holder', async (holder) => {
    await takeImportLock(holder, 0, () => {}, NO_SIGNAL);
    expect(await withSession(other, 'test', lockHolder)).toMatch(/^moniepoint holder/);
    expect(await withSession(database, 'test', lockHolder)).toBeNull();
  });
});

it('is given back by work that no import may stand beside, whether or not it goes well', async () => {
  const database = await createDatabase();
  await withSession(database, 'test', async (client) => {
    expect(await besideNoImport(client, 'why', async () => 7)).toBe(7);
    await expect(besideNoImport(client, 'why', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await withSession(database, 'other', (other) => takeImportLock(other, 0, () => {}, NO_SIGNAL));
  });
});

it('is asked for during a second where its holder is about to end, also without waiting', async () => {
  const database = await createDatabase();
  const holder = await database.connect('holder');
  await takeImportLock(holder, 0, () => {}, NO_SIGNAL);
  await withSession(database, 'test', async (client) => {
    const taking = takeImportLock(client, 0, () => {}, NO_SIGNAL);
    await holder.query('SELECT pg_sleep(0.3)');
    await holder.end();
    expect(await taking).toBe(true);
  });
});
