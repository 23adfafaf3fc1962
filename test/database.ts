import { randomBytes } from 'node:crypto';
import { type Database, openDatabase, withSession } from '@moniepoint/core/db/database';
import type pg from 'pg';
import { inject, onTestFinished } from 'vitest';

/**
 * A migrated, empty database for one test, dropped behind it. The drop fails the test where a session was left open.
 *
 * @param isEmpty leaves the schema out
 */
export async function createDatabase(options: { readonly isEmpty?: boolean } = {}): Promise<Database> {
  const serverUrl = inject('serverUrl');
  const name = `moniepoint_test_${randomBytes(6).toString('hex')}`;
  const server = await openDatabase(serverUrl, '', 'test');
  const template = options.isEmpty ? '' : `TEMPLATE ${inject('templateName')}`;
  await query(server, `CREATE DATABASE ${name} ${template}`);
  onTestFinished(() =>
    withSession(server, 'test', async (client) => {
      // A session that was just ended leaves the server a moment later; one that still works is a leak.
      await client.query(
        `SELECT pg_sleep(0.05) FROM generate_series(1, 40)
          WHERE EXISTS (SELECT FROM pg_stat_activity WHERE datname = '${name}')`,
      );
      await client.query(`DROP DATABASE ${name}`);
    }),
  );
  return openDatabase(serverUrl.replace(/(:\/\/[^/]*)\/[^?]*/, `$1/${name}`), '', 'test');
}

/** Runs one query in a session of its own. */
export async function query<Row extends pg.QueryResultRow>(
  database: Database,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  return withSession(database, 'test', async (client) => (await client.query<Row>(text, values)).rows);
}
