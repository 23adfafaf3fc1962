import { createServer } from 'node:net';
import { describe, expect, inject, it } from 'vitest';
import { createDatabase } from '../../../../test/database.ts';
import { isConnectionLost, openDatabase } from './database.ts';

const connectTo = async (url: string) => (await openDatabase(url, '', 'test')).connect('test');

describe('a database that cannot be used says why, and never shows the password', () => {
  it('nothing listens there', async () => {
    await expect(connectTo('postgresql://user:secret@127.0.0.1:1/db')).rejects.toMatchObject({
      kind: 'database',
      message:
        'Cannot use the database at 127.0.0.1:1/db: connect ECONNREFUSED 127.0.0.1:1. Start the server, or correct host and port in DATABASE_URL.',
    });
  });

  it('the server hangs up', async () => {
    const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    await expect(connectTo(`postgresql://user:secret@127.0.0.1:${port}/db`)).rejects.toMatchObject({
      kind: 'database',
      message: expect.not.stringContaining('secret'),
    });
    server.close();
  });

  it.runIf(inject('serverUrl').includes('%2F'))('the password is wrong', async () => {
    const url = inject('serverUrl').replace(/:[^:@/]+@/, ':secret@');
    await expect(connectTo(url)).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(/\(28P01\)\. Correct user and password in DATABASE_URL\.$/),
    });
    await expect(connectTo(url)).rejects.toMatchObject({ message: expect.not.stringContaining('secret') });
  });

  it('the database does not exist', async () => {
    const url = inject('serverUrl').replace(/(:\/\/[^/]*)\/[^?]*/, '$1/nowhere');
    await expect(connectTo(url)).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(/\(3D000\)\. Create the database, or correct its name in DATABASE_URL\.$/),
    });
  });
});

it('sessions are in UTC whatever the server says', async () => {
  const client = await (await createDatabase()).connect('test');
  expect((await client.query('SHOW timezone')).rows).toEqual([{ TimeZone: 'UTC' }]);
  await client.end();
});

it('a session that the server ended counts as a lost connection; a failed statement does not', async () => {
  const database = await createDatabase();
  const victim = await database.connect('test');
  const statement = await victim.query('SELECT 1/0').catch((error: unknown) => error);
  expect(isConnectionLost(victim, statement)).toBe(false);
  const { rows } = await victim.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const sleeping = victim.query('SELECT pg_sleep(30)').catch((error: unknown) => error);
  const killer = await database.connect('test');
  await killer.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
  expect(isConnectionLost(victim, await sleeping)).toBe(true);
  expect(isConnectionLost(victim, await victim.query('SELECT 1').catch((error: unknown) => error))).toBe(true);
  await killer.end();
  await victim.end();
});
