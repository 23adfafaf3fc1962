import { randomBytes } from 'node:crypto';
import { type Database, openDatabase, withSession } from '@moniepoint/core/db/database';
import { distribute } from '@moniepoint/core/db/distribute';
import { migrate } from '@moniepoint/core/db/migrate';
import { errorCode } from '@moniepoint/core/errors';
import type pg from 'pg';
import { inject, onTestFinished } from 'vitest';

/**
 * A migrated, empty database for one test, dropped after it. The drop fails the test where a session was left open.
 *
 * @param isEmpty leaves the schema out
 */
export async function createDatabase(options: { readonly isEmpty?: boolean } = {}): Promise<Database> {
  if (inject('clusterUrls').length > 0) return createOnCluster(options.isEmpty === true);
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
  return openDatabase(withName(serverUrl, name), '', 'test');
}

const withName = (url: string, name: string) => url.replace(/(:\/\/[^/]*)\/[^?]*/, `$1/${name}`);

/** The same on every node of a cluster, with its events distributed. */
async function createOnCluster(isEmpty: boolean): Promise<Database> {
  const name = `moniepoint_test_${randomBytes(6).toString('hex')}`;
  const nodes = await Promise.all(inject('clusterUrls').map((url) => openDatabase(url, '', 'test')));
  const [coordinator, ...workers] = inject('clusterUrls').map((url) => new URL(withName(url, name)));
  for (const node of nodes) await query(node, `CREATE DATABASE ${name} TEMPLATE template0`);
  onTestFinished(async () => {
    const [server] = nodes as [Database, ...Database[]];
    // The cluster's own sessions stay open.
    const left = `SELECT FROM pg_stat_activity WHERE datname = '${name}' AND application_name LIKE 'moniepoint%'`;
    const sessions = await query(
      server,
      `SELECT pg_sleep(0.05) FROM generate_series(1, 40) WHERE EXISTS (${left})`,
    ).then(() => query(server, left));
    for (const node of nodes) await drop(node, name);
    if (sessions.length > 0) throw new Error(`${sessions.length} sessions were left open`);
  });
  const database = await openDatabase((coordinator as URL).href, '', 'test');
  // One after the other: to add a node brings roles to it, which belong to no database.
  await withSession(nodes[0] as Database, 'test', async (turn) => {
    await turn.query('SELECT pg_advisory_lock(1)');
    for (const { href } of [...workers, coordinator as URL])
      await query(await openDatabase(href, '', 'test'), 'CREATE EXTENSION citus');
    await withSession(database, 'test', async (client) => {
      await client.query('SELECT citus_set_coordinator_host($1, $2)', placeOf(coordinator as URL));
      for (const worker of workers) await client.query('SELECT citus_add_node($1, $2)', placeOf(worker));
      if (isEmpty) return;
      await migrate(client);
      await distribute(client, 4);
    });
  });
  return database;
}

/** Sessions of the cluster's own come back between their end and ours. */
async function drop(node: Database, name: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await query(node, `DROP DATABASE ${name} WITH (FORCE)`);
      return;
    } catch (error) {
      if (errorCode(error) !== OBJECT_IN_USE || tries === 5) throw error;
    }
  }
}

const OBJECT_IN_USE = '55006';

const placeOf = ({ hostname, port }: URL) => [hostname, Number(port || 5432)];

/** Runs one query in a session of its own. */
export async function query<Row extends pg.QueryResultRow>(
  database: Database,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  return withSession(database, 'test', async (client) => (await client.query<Row>(text, values)).rows);
}

/** Takes everything of ours out of a database. */
export async function dropSchema(database: Database): Promise<void> {
  const tables = await query<{ name: string }>(
    database,
    `SELECT oid::regclass::text AS name
       FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')`,
  );
  for (const { name } of tables) await query(database, `DROP TABLE ${name} CASCADE`);
}
