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
 * @throws MoniepointError `locked`, naming the holder and since when
 */
export async function takeImportLock(
  client: pg.Client,
  waitMs: number,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + Math.max(waitMs, GRACE_MS);
  let isAnnounced = false;
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1) AS taken', [IMPORT_LOCK]);
    if (rows[0]?.taken) return;
    const holder = (await lockHolder(client)) ?? 'it has just ended';
    if (Date.now() >= deadline) {
      throw new MoniepointError(
        'locked',
        `Another import is running: ${holder}. Run again when it has ended, or wait for it with --lock-wait.`,
      );
    }
    if (!isAnnounced && waitMs > 0) report({ type: 'waiting', holder });
    isAnnounced = true;
    await sleep(Math.min(POLL_MS, deadline - Date.now()), undefined, { signal }).catch(() => {});
    if (signal.aborted) throw new MoniepointError('interrupted', 'Interrupted while waiting for another import.');
  }
}

/** SQL that is true for the lock of this database, on a row of pg_locks. */
const IS_HELD = `locktype = 'advisory' AND classid = 0 AND objid = ${IMPORT_LOCK} AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;

/** SQL of one value: whether somebody imports into this database now. Anybody may ask. */
export const IS_IMPORT_RUNNING = `EXISTS (SELECT FROM pg_locks WHERE ${IS_HELD})`;

/** Who imports into this database now, or null. */
export async function lockHolder(client: pg.Client): Promise<string | null> {
  const { rows } = await client.query<{ name: string; pid: number; since: Date; host: string | null }>(
    `SELECT a.application_name AS name, a.pid, a.backend_start AS since, host(a.client_addr) AS host
       FROM pg_locks
       JOIN pg_stat_activity a USING (pid)
      WHERE ${IS_HELD}`,
  );
  const [holder] = rows;
  if (holder === undefined) return null;
  return `${holder.name}, server process ${holder.pid}${holder.host === null ? '' : ` from ${holder.host}`}, since ${holder.since.toISOString()}`;
}
