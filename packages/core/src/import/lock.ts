import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { MoniepointError } from '../errors.ts';
import type { Report } from './progress.ts';

/** Any number will do that no other advisory lock of the product uses. */
const IMPORT_LOCK = 7_300_119;
const POLL_MS = 100;
/** What a server takes to notice that the holder was killed, with its check interval of 250 ms. */
const GRACE_MS = 1_000;

/**
 * Takes the lock of which each database has one (CONTRACT.md section 4). It belongs to the session, so it goes when the
 * session ends, in whatever way.
 *
 * @param waitMs how long to wait for its holder
 * @returns whether it had to wait
 * @throws MoniepointError `locked`, naming the holder and since when
 */
export async function takeImportLock(
  client: pg.Client,
  waitMs: number,
  report: Report,
  signal: AbortSignal,
): Promise<boolean> {
  return untilTaken(client, waitMs, report, signal, () => isTrue(client, 'pg_try_advisory_lock($1)', [IMPORT_LOCK]));
}

async function untilTaken(
  client: pg.Client,
  waitMs: number,
  report: Report,
  signal: AbortSignal,
  tryToTake: () => Promise<boolean>,
): Promise<boolean> {
  const deadline = performance.now() + Math.max(waitMs, GRACE_MS);
  let hadToWait = false;
  for (;;) {
    if (await tryToTake()) return hadToWait;
    const holder = (await lockHolder(client)) ?? 'it has just ended';
    if (performance.now() >= deadline) {
      throw new MoniepointError(
        'locked',
        `Another import is running: ${holder}. Run again when it has ended, or wait for it with --lock-wait.`,
      );
    }
    if (!hadToWait && waitMs > 0) report({ type: 'waiting', holder });
    hadToWait = true;
    await sleep(Math.min(POLL_MS, deadline - performance.now()), undefined, { signal }).catch(() => {});
    if (signal.aborted) throw interrupted();
  }
}

/**
 * Does work that must not happen under an import of another session. An import that holds the lock itself may do it.
 *
 * @throws MoniepointError `locked`, naming the holder
 */
export async function besideNoImport<T>(client: pg.Client, why: string, work: () => Promise<T>): Promise<T> {
  if (!(await isTrue(client, 'pg_try_advisory_lock($1)', [IMPORT_LOCK]))) {
    const holder = (await lockHolder(client)) ?? 'it has just ended';
    throw new MoniepointError('locked', `${why}, and an import is running: ${holder}. Run again when it has ended.`);
  }
  try {
    return await work();
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [IMPORT_LOCK]).catch(() => {}); // a lost session holds none
  }
}

/** Held by whoever changes what belongs to all files; taken by importers that share the work. */
const TURN_LOCK = 7_300_121;
/** With a number: the place of one of the importers that share the work. */
const PLACE_LOCKS = 7_300_122;
/** With the hash of a path: the claim on a file. */
const FILE_LOCKS = 7_300_123;

/**
 * Takes a place among importers that share the work, and the first turn, which the caller ends with endTurn. While one has
 * the turn the others wait for it, whatever waitMs says.
 *
 * @param workers how many places there are
 * @param waitMs how long to wait for a place, or for an importer that shares nothing
 * @returns whether it had to wait
 * @throws MoniepointError `locked`, naming a holder and since when
 */
export async function takeImportPlace(
  client: pg.Client,
  workers: number,
  waitMs: number,
  report: Report,
  signal: AbortSignal,
): Promise<boolean> {
  let hadToWait = false;
  const isLate = await untilTaken(client, waitMs, report, signal, async () => {
    hadToWait = (await beginTurn(client, report, signal)) || hadToWait;
    if (await isTrue(client, 'pg_try_advisory_lock_shared($1)', [IMPORT_LOCK])) {
      for (let place = 1; place <= workers; place += 1)
        if (await isTrue(client, 'pg_try_advisory_lock($1, $2)', [PLACE_LOCKS, place])) return true;
      await client.query('SELECT pg_advisory_unlock_shared($1)', [IMPORT_LOCK]);
    }
    await endTurn(client);
    return false;
  });
  return isLate || hadToWait;
}

/**
 * Takes the turn for the session; it is ended by endTurn. A signal cancels the wait.
 *
 * @returns whether it had to wait
 */
async function beginTurn(client: pg.Client, report: Report, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) throw interrupted();
  if (await isTrue(client, 'pg_try_advisory_lock($1)', [TURN_LOCK])) return false;
  report({ type: 'waiting', holder: 'one that shares the work' });
  await client.query('SELECT pg_advisory_lock($1)', [TURN_LOCK]);
  return true;
}

export async function endTurn(client: pg.Client): Promise<void> {
  await client.query('SELECT pg_advisory_unlock($1)', [TURN_LOCK]);
}

/** Waits for the turn, and has it until the transaction ends. */
export async function takeTurn(client: pg.Client): Promise<void> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [TURN_LOCK]);
}

/** Does short work while nobody else changes what belongs to all files. */
export async function inTurn<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query('SELECT pg_advisory_lock($1)', [TURN_LOCK]);
  const result = await work(); // where it fails, the turn ends with the session
  await endTurn(client);
  return result;
}

/** Does work that only an importer alone may do, and leaves it where there are others. The turn must be held. */
export async function whileAlone(client: pg.Client, work: () => Promise<void>): Promise<void> {
  if (!(await isTrue(client, 'pg_try_advisory_lock($1)', [IMPORT_LOCK]))) return;
  await work();
  await client.query('SELECT pg_advisory_unlock($1)', [IMPORT_LOCK]);
}

/**
 * Does the work on a file that nobody else has. A claim goes with its session, in whatever way that ends.
 *
 * @param isPatient waits for another importer that has it; else the file is left to that one
 */
export async function withClaim(
  client: pg.Client,
  path: string,
  isPatient: boolean,
  work: () => Promise<void>,
): Promise<void> {
  const key = [FILE_LOCKS, path];
  if (isPatient) await client.query('SELECT pg_advisory_lock($1, hashtext($2))', key);
  else if (!(await isTrue(client, 'pg_try_advisory_lock($1, hashtext($2))', key))) return;
  await work();
  await client.query('SELECT pg_advisory_unlock($1, hashtext($2))', key);
}

async function isTrue(client: pg.Client, expression: string, values: unknown[]): Promise<boolean> {
  return (await client.query<{ value: boolean }>(`SELECT ${expression} AS value`, values)).rows[0]?.value === true;
}

const interrupted = () => new MoniepointError('interrupted', 'Interrupted while waiting for another import.');

/** SQL that is true for the lock of this database, on a row of pg_locks. */
const IS_HELD = `locktype = 'advisory' AND classid = 0 AND objid = ${IMPORT_LOCK} AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

/** SQL of one value: whether somebody imports into this database now. Anybody may ask. */
export const IS_IMPORT_RUNNING = `EXISTS (SELECT FROM pg_locks WHERE ${IS_HELD})`;

/** Who imports into this database now, or null. */
export async function lockHolder(client: pg.Client): Promise<string | null> {
  const { rows } = await client.query<{ name: string; pid: number; since: Date | null; host: string | null }>(
    `SELECT a.application_name AS name, a.pid, a.backend_start AS since, host(a.client_addr) AS host
       FROM pg_locks
       JOIN pg_stat_activity a USING (pid)
      WHERE ${IS_HELD}`,
  );
  const [holder] = rows;
  if (holder === undefined) return null;
  const { name, pid, since, host } = holder;
  // Of another role's session PostgreSQL tells everybody no more than its name and number.
  return `${name}, server process ${pid}${host === null ? '' : ` from ${host}`}${since === null ? '' : `, since ${since.toISOString()}`}`;
}
