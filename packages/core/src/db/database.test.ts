import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { describe, expect, inject, it } from 'vitest';
import { createDatabase, query } from '../../../../test/database.ts';
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

it('a database that cannot hold every text is refused', async () => {
  const database = await createDatabase();
  const server = await database.connect('test');
  await server.query("CREATE DATABASE moniepoint_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  try {
    await expect(connectTo(database.url.replace(/(:\/\/[^/]*)\/[^?]*/, '$1/moniepoint_latin1'))).rejects.toMatchObject({
      kind: 'database',
      message: expect.stringMatching(/: found a database in LATIN1, expected UTF8\. Create one with: CREATE DATABASE/),
    });
  } finally {
    await server.query('DROP DATABASE moniepoint_latin1');
    await server.end();
  }
});

it('sessions read times and bytes alike, whatever the server’s or the database’s settings say', async () => {
  const database = await createDatabase();
  const client = await database.connect('test');
  const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name');
  for (const setting of [
    "timezone = 'Africa/Lagos'",
    "datestyle = 'German'",
    'bytea_output = escape',
    'search_path = pg_catalog',
  ]) {
    await client.query(`ALTER DATABASE ${rows[0]?.name} SET ${setting}`);
  }
  await client.end();
  const other = await database.connect('test');
  const read = await other.query(
    `SELECT to_regclass('event')::text AS event, timestamptz '2024-01-01 00:00Z' AS time, 'é'::bytea AS bytes`,
  );
  expect(read.rows).toEqual([{ event: 'event', time: new Date('2024-01-01T00:00:00Z'), bytes: Buffer.from('é') }]);
  await other.end();
});

it.runIf(inject('serverUrl').includes('%2F'))(
  'on this machine, the server gives a statement no more processes than there are processors, nor more than it allows',
  async () => {
    const database = await createDatabase();
    await query(
      database,
      `DO $$ BEGIN
         EXECUTE format('ALTER DATABASE %I SET max_parallel_workers_per_gather = 500', current_database());
         EXECUTE format('ALTER DATABASE %I SET max_parallel_maintenance_workers = 0', current_database());
       END $$`,
    );
    const [limits] = await query(
      database,
      `SELECT current_setting('max_parallel_workers_per_gather') AS read, current_setting('max_parallel_maintenance_workers') AS build`,
    );
    expect(limits).toEqual({ read: String(availableParallelism() - 1), build: '0' });
  },
);

it('a session that the server ended counts as a lost connection; a failed statement does not', async () => {
  const database = await createDatabase();
  const victim = await database.connect('test');
  const statement = await victim.query('SELECT 1/0').catch((error: unknown) => error);
  expect(isConnectionLost(victim, statement)).toBe(false);
  const { rows } = await victim.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const sleeping = victim.query('SELECT pg_sleep(30)').catch((error: unknown) => error);
  const killer = await database.connect('test');
  await killer.query('SELECT pg_terminate_backend($1::int)', [rows[0]?.pid]);
  expect(isConnectionLost(victim, await sleeping)).toBe(true);
  expect(isConnectionLost(victim, await victim.query('SELECT 1').catch((error: unknown) => error))).toBe(true);
  await killer.end();
  await victim.end();
});
