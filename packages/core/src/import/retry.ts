import { setTimeout as sleep } from 'node:timers/promises';
import { isSqlstate } from '../db/database.ts';
import { errorCode, MoniepointError } from '../errors.ts';

/**
 * Errors of the server after which the same work may well succeed: it could not serialize, it restarts, or it has no connection left.
 * Everything else would only fail again: a full disk, a missing right, a statement that somebody cancelled.
 */
const TRANSIENT_SQLSTATES = new Set([
  '08000', // connection_exception
  '08001', // sqlclient_unable_to_establish_sqlconnection
  '08003', // connection_does_not_exist
  '08006', // connection_failure
  '23505', // unique_violation: an event that a node of a cluster is about to commit for an import that was killed
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '53300', // too_many_connections
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  // What a cluster's coordinator says of a node that dies. From one server they tell of a fault of its own, which comes again.
  '58030', // io_error
  'XX000', // internal_error
]);

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

/**
 * @param wasConnected false while the server was not reached at all: then it is more likely to be the wrong address than
 *   a moment's absence, and a person waits for the answer
 */
export function isTransient(error: unknown, wasConnected: boolean): boolean {
  if (!(error instanceof MoniepointError) || error.cause === undefined) return false;
  const code = errorCode(error.cause);
  if (isSqlstate(code)) return TRANSIENT_SQLSTATES.has(code);
  return error.kind === 'database' && wasConnected; // the connection broke, or cannot be made again yet
}

/** How long to go on trying, and how long to wait in between. */
export type Patience = {
  /** What is left of it while things fail; 0 while nothing has. */
  readonly leftMs: () => number;
  /**
   * The wait before the next try, or null when patience is over. Waits grow to twice as long each time, and by chance are
   * half as long or half as long again.
   *
   * @param isProgress something was done for good since the last time: patience begins anew
   */
  readonly nextWait: (isProgress: boolean) => number | null;
};

/**
 * @param totalMs how long things may fail without progress. A session that worked for longer than that, a large batch, starts it
 *   anew once: it may have met another moment of the server. Not again and again, since it may be what brings the server down.
 */
export function createPatience(totalMs: number): Patience {
  let failingSince: number | null = null;
  let lastTry = performance.now();
  let tries = 0;
  let hadLongSession = false;
  return {
    leftMs: () => (failingSince === null ? 0 : Math.max(0, failingSince + totalMs - performance.now())),
    nextWait: (isProgress) => {
      const now = performance.now();
      const isLong = now - lastTry > totalMs && !hadLongSession;
      if (failingSince === null || isProgress || isLong) {
        hadLongSession = failingSince !== null && !isProgress;
        failingSince = now;
        tries = 0;
      }
      const wait = Math.round(Math.min(FIRST_WAIT_MS * 2 ** tries, LONGEST_WAIT_MS) * (0.5 + Math.random()));
      tries += 1;
      lastTry = now + wait;
      return lastTry - failingSince > totalMs ? null : wait;
    },
  };
}

/** @throws MoniepointError `interrupted` */
export async function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    throw new MoniepointError(
      'interrupted',
      'Interrupted while waiting for the database. What was committed before stays.',
      error,
    );
  });
}
