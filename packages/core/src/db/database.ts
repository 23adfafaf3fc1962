import type { Socket } from 'node:net';
import { availableParallelism } from 'node:os';
import type pg from 'pg';
import { describeError, errorCode, MoniepointError } from '../errors.ts';
import { Client } from './driver.ts';
import { joinEmbedded } from './embedded.ts';

/** A database to work with: the embedded PostgreSQL, or the one that DATABASE_URL names. */
export type Database = {
  /** For people and connection strings for psql; holds the password. */
  readonly url: string;
  /** Where the database is, without the password. */
  readonly place: string;
  /**
   * Opens one session, in UTC. The caller ends it.
   *
   * @param role what the session is for, shown in pg_stat_activity: `import`, `report`
   * @throws MoniepointError `database` when the server cannot be reached or is too old
   */
  readonly connect: (role: string) => Promise<pg.Client>;
  /** Lets go of the database; the last process that leaves the embedded server stops it. */
  readonly close: () => Promise<void>;
};

const OLDEST_SERVER_VERSION = 140_000;
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * What a server or a role may have set otherwise, and what our SQL and the driver's parsers rely on. Besides `jit`: each process of a
 * large statement would compile it again, which took an import of 7 M rows 0.3 s.
 */
const SESSION_SETTINGS = `SET jit = off; SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET search_path = public`;

/**
 * Limits that a role or a server sets for the statements of an application would cut a large import off, so they are
 * lifted, as pg_dump does. A server whose client vanished without a word frees its locks within a minute and a half.
 */
const LIMITS = `
  SELECT set_config(name, value, false)
    FROM pg_settings
    JOIN (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
                 ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),
                 ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '15'), ('tcp_keepalives_count', '4'))
         AS ours (name, value) USING (name)`;

/**
 * A server on this machine gives no statement more processes than there are processors, because they would only take turns: on two, the
 * indexes of 7 M rows took 4.7 s with PostgreSQL's 2 beside the session's own, and 4.2 s with 1 (medians of five).
 */
const PROCESSES = `
  SELECT set_config(name, least(current_setting(name)::int, ${availableParallelism() - 1})::text, false)
    FROM (VALUES ('max_parallel_maintenance_workers'), ('max_parallel_workers_per_gather')) AS setting (name)
   WHERE inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()`;

/**
 * Opens the database that the configuration names. With DATABASE_URL unset the embedded server is started, or joined
 * where another process started it already.
 *
 * @param home folder of the embedded PostgreSQL
 * @param command what this process does, for messages of others that wait for it
 * @throws MoniepointError `database`
 */
export async function openDatabase(databaseUrl: string | undefined, home: string, command: string): Promise<Database> {
  if (databaseUrl !== undefined) {
    const place = withoutPassword(databaseUrl);
    return { url: databaseUrl, place, connect: (role) => connect(databaseUrl, place, role), close: async () => {} };
  }
  let joining = joinEmbedded(home, command);
  const { url, place } = await joining;
  return {
    url,
    place,
    connect: async (role) => {
      // A server that was killed under us is started again by whoever needs it next; of several at once, by one.
      const seen = joining;
      const isGone = await seen.then(
        (lease) => !lease.isAlive(),
        () => true,
      );
      if (isGone && joining === seen) joining = joinEmbedded(home, command);
      await joining;
      return connect(url, place, role);
    },
    close: () =>
      joining.then(
        (lease) => lease.release(),
        () => {}, // the server did not come back: there is nothing to give back
      ),
  };
}

/** Opens the database for the length of some work. */
export async function withDatabase<T>(
  databaseUrl: string | undefined,
  home: string,
  command: string,
  work: (database: Database) => Promise<T>,
): Promise<T> {
  const database = await openDatabase(databaseUrl, home, command);
  try {
    const result = await work(database);
    await database.close();
    return result;
  } catch (error) {
    await database.close().catch(() => {}); // what went wrong in the work is the thing to tell
    throw error;
  }
}

/** One session for the length of some work. */
export async function withSession<T>(
  database: Pick<Database, 'connect'>,
  role: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = await database.connect(role);
  try {
    return await work(client);
  } catch (error) {
    if (error instanceof MoniepointError || !isConnectionLost(client, error)) throw error;
    throw new MoniepointError(
      'database',
      `The connection to the database was lost: ${describeError(error)}. Run again.`,
      error,
    );
  } finally {
    await endSession(client);
  }
}

/** After such a silence a vanished server is looked for; the system's own two hours would hold an import for as long. */
const KEEP_ALIVE_MS = 30_000;

async function connect(url: string, place: string, role: string): Promise<pg.Client> {
  let client: pg.Client | undefined;
  try {
    const opened = new Client({
      connectionString: url,
      application_name: `moniepoint ${role}`,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    });
    client = opened;
    // pg tells of a broken connection by an event, which would end the process if nobody listened; whoever uses the
    // session gets an error from its query as well.
    opened.on('error', () => broken.add(opened));
    await opened.connect();
    // Sent alone: what limit the role has still holds for the message that lifts it, so that one must be short.
    await opened.query('SET statement_timeout = 0');
    await opened.query(`${SESSION_SETTINGS}; ${LIMITS}; ${PROCESSES}`);
    // A server on a system that cannot watch its clients refuses this: then a killed import holds its lock for longer.
    await opened.query("SET client_connection_check_interval = '250ms'").catch((error: unknown) => {
      if (errorCode(error) !== '22023') throw error; // invalid_parameter_value
    });
    await refuseUnusable(opened, place);
    return opened;
  } catch (error) {
    if (client !== undefined) await endSession(client);
    throw asUnreachable(error, place);
  }
}

async function refuseUnusable(client: pg.Client, place: string): Promise<void> {
  const { rows } = await client.query<{ version: number; encoding: string; is_citus: boolean }>(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
            to_regclass('pg_catalog.pg_dist_local_group') IS NOT NULL AS is_citus`,
  );
  const { version, encoding, is_citus: isCitus } = rows[0]!;
  if (version < OLDEST_SERVER_VERSION) {
    throw new MoniepointError(
      'database',
      `${place}: found PostgreSQL ${Math.floor(version / 10_000)}, expected 14 or newer. Upgrade it, or unset DATABASE_URL to use the embedded one.`,
    );
  }
  if (encoding !== 'UTF8') {
    throw new MoniepointError(
      'database',
      `${place}: found a database in ${encoding}, expected UTF8. Create one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`,
    );
  }
  if (isCitus) await refuseWorker(client, place);
}

/** A worker knows nothing of the tables that stay on the coordinator. */
async function refuseWorker(client: pg.Client, place: string): Promise<void> {
  const { rows } = await client.query<{ coordinator: string | null }>(
    `SELECT (SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE pg_dist_node.groupid = 0) AS coordinator
       FROM pg_dist_local_group
      WHERE groupid <> 0`,
  );
  if (rows[0] === undefined) return;
  throw new MoniepointError(
    'database',
    `${place}: is a worker of a Citus cluster, expected its coordinator. Name that in DATABASE_URL: ${rows[0].coordinator ?? 'the cluster does not say where it is'}.`,
  );
}

/** The session's connection: known to pg, unknown to its types. */
export const socketOf = (client: pg.Client): Socket =>
  (client as unknown as { connection: { stream: Socket } }).connection.stream;

/** The server process of a session as the server named it when the session began: known to pg, unknown to its types. */
export const announcedPid = (client: pg.Client): number => (client as unknown as { processID: number }).processID;

const END_DEADLINE_MS = 1_000;

/** Ends a session. Where the server does not answer any more, its connection is cut instead of waited for. */
export async function endSession(client: pg.Client): Promise<void> {
  const cut = setTimeout(() => socketOf(client).destroy(), END_DEADLINE_MS);
  await client.end().catch(() => {}); // it may be lost already
  clearTimeout(cut);
}

/** What to do about the usual reasons why a connection fails, by system code or SQLSTATE. */
const CONNECT_ADVICE: Record<string, string> = {
  ECONNREFUSED: 'Start the server, or correct host and port in DATABASE_URL.',
  ENOENT: 'Start the server, or correct the socket path in DATABASE_URL.',
  ENOTFOUND: 'Correct the host name in DATABASE_URL.',
  EAI_AGAIN: 'Correct the host name in DATABASE_URL, or repair name resolution.',
  '28P01': 'Correct user and password in DATABASE_URL.',
  '28000': 'Correct user and password in DATABASE_URL, or let pg_hba.conf admit this host.',
  '3D000': 'Create the database, or correct its name in DATABASE_URL.',
  '53300': 'The server has no connection left; end some, or raise max_connections.',
};

function asUnreachable(error: unknown, place: string): MoniepointError {
  if (error instanceof MoniepointError) return error;
  const first = error instanceof AggregateError ? error.errors[0] : error;
  const advice = CONNECT_ADVICE[errorCode(first) ?? ''] ?? 'Check DATABASE_URL and that the server is running.';
  return new MoniepointError(
    'database',
    `Cannot use the database at ${place}: ${describeError(first)}. ${advice}`,
    error,
  );
}

/** Sessions whose connection broke. pg gives no code to the error of a query that was under way then. */
const broken = new WeakSet<pg.Client>();

/** True where the error came from a session or a server that went away, rather than from a statement. */
export function isConnectionLost(client: pg.Client, error: unknown): boolean {
  const code = errorCode(error);
  return isSqlstate(code) ? /^(08|57P0[123])/.test(code) : broken.has(client);
}

/** A code of the server, unlike EPIPE, which is the system's. */
export function isSqlstate(code: string | undefined): code is string {
  return code !== undefined && /^(?=.*\d)[0-9A-Z]{5}$/.test(code);
}

/** `host:port/database` of a connection string. */
function withoutPassword(url: string): string {
  const { searchParams, hostname, port, pathname } = new URL(url.replace('@/', '@socket/'));
  return `${searchParams.get('host') ?? (hostname || 'localhost')}:${searchParams.get('port') ?? (port || '5432')}${pathname}`;
}

/** The statements around a piece of work that is kept whole or not at all. */
export type Boundaries = { readonly begin: string; readonly keep: string; readonly undo: string };

/** Whoever waits in it, for a lock or for its turn, has to see then what others did meanwhile, whatever the role's default is. */
const TRANSACTION: Boundaries = { begin: 'BEGIN ISOLATION LEVEL READ COMMITTED', keep: 'COMMIT', undo: 'ROLLBACK' };

/** Sees one moment of the database, whatever others commit meanwhile. */
export const MOMENT: Boundaries = { ...TRANSACTION, begin: 'BEGIN ISOLATION LEVEL REPEATABLE READ' };
/** Without tables of its own. */
export const READ_ONLY_MOMENT: Boundaries = { ...MOMENT, begin: `${MOMENT.begin}, READ ONLY` };

/** A part of a transaction that is open already. */
export const SAVEPOINT: Boundaries = {
  begin: 'SAVEPOINT work',
  keep: 'RELEASE SAVEPOINT work',
  undo: 'ROLLBACK TO SAVEPOINT work; RELEASE SAVEPOINT work', // released, so that one around it is found again
};

/**
 * Runs the work whole or not at all; any error undoes it and is thrown on.
 *
 * @param isKept false undoes the work also where it went well
 */
export async function inTransaction<T>(
  client: pg.Client,
  work: () => Promise<T>,
  { begin, keep, undo }: Boundaries = TRANSACTION,
  isKept = true,
): Promise<T> {
  await client.query(begin);
  try {
    const result = await work();
    await client.query(isKept ? keep : undo);
    return result;
  } catch (error) {
    await client.query(undo).catch(() => {}); // a lost connection undoes it by itself; the first error is thrown
    throw error;
  }
}

/**
 * Ends the session's running statement when the signal is aborted, through a second session, so that nobody waits for a
 * long one.
 *
 * @returns a function that ends this, and returns when no cancellation is on its way any more
 */
export function cancelOnAbort(database: Database, client: pg.Client, signal: AbortSignal): () => Promise<void> {
  const pid = announcedPid(client);
  let cancelling = Promise.resolve();
  const onAbort = () => {
    cancelling = withSession(database, 'cancel', async (other) => {
      await other.query('SELECT pg_cancel_backend($1::int)', [pid]);
    }).catch(() => {}); // whoever was told of the abort notices it between two statements
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return async () => {
    signal.removeEventListener('abort', onAbort);
    await cancelling;
  };
}
