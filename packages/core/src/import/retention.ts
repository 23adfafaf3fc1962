import type pg from 'pg';
import { inTransaction } from '../db/database.ts';
import { MoniepointError } from '../errors.ts';
import { mayAlter } from './bulk.ts';
import { dayOf } from './discover.ts';
import { type LoadedFile, readLoadedFiles, recount } from './ledger.ts';
import { publish } from './publish.ts';
import { addToRollups, dropKeptFromRollups, hasKeptInRollups, keepInRollups, takeFromRollups } from './rollup.ts';
import { clearSettlingTables, createSettlingTables, freeDuplicatesOfLeavers, settle } from './settle.ts';

export type PruneOptions = {
  /** The first month that is kept, `YYYY-MM` in UTC. */
  readonly before: string;
  /** The answers go on counting what is taken out now. */
  readonly keepAnswers: boolean;
  /** Counts, and takes nothing out. */
  readonly isDryRun: boolean;
};

export type PruneResult = {
  /** The first month that is kept, `YYYY-MM`: later than asked for where more was pruned before. */
  readonly keptFrom: string;
  /** How many events were taken out, or would be. */
  readonly events: number;
  /** How many files they came from. */
  readonly files: number;
};

/** What is done so far, of how much there is. */
export type PruneProgress = { readonly filesDone: number; readonly files: number; readonly events: number };

/**
 * Takes the events of earlier months out, and keeps them out: rows of those months that an import meets later are counted as
 * expired and not stored.
 *
 * One transaction for about EVENTS_PER_BATCH events, each leaving everything consistent, so that neither WAL nor the time
 * for which anything is held grows with history. Broken off at any moment, a second call completes it; only what cleanUp does is
 * left then to autovacuum where no event was left to take out. The caller holds the import lock.
 *
 * @throws MoniepointError `usage` for a month that is not over; `interrupted`
 */
export async function pruneBefore(
  client: pg.Client,
  { before, keepAnswers, isDryRun }: PruneOptions,
  report: (progress: PruneProgress) => void,
  signal: AbortSignal,
): Promise<PruneResult> {
  const { rows: found } = await client.query<{ kept_from: string; us: string; is_over: boolean }>(
    `SELECT to_char(kept_from, 'YYYY-MM') AS kept_from,
            (extract(epoch FROM kept_from)::bigint * 1000000)::text AS us,
            kept_from <= date_trunc('month', now() AT TIME ZONE 'UTC') AS is_over
       FROM (SELECT greatest($1::date, (SELECT kept_from FROM retention)) AS kept_from) AS wanted`,
    [`${before}-01`],
  );
  const { kept_from: keptFrom, us: keptFromUs, is_over: isOver } = found[0]!;
  if (!isOver) {
    throw new MoniepointError(
      'usage',
      `--before: found ${before}, expected a month up to the running one. Events that are still to come would be lost.`,
    );
  }
  if (isDryRun) {
    const expired = await findExpired(client, keptFromUs);
    return { keptFrom, events: expired.reduce((sum, { events }) => sum + events, 0), files: expired.length };
  }

  try {
    return await takeOutAll(client, keptFrom, keptFromUs, keepAnswers, report, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new MoniepointError(
      'interrupted',
      'Interrupted. What was taken out stays out; run again to complete the work.',
      error,
    );
  }
}

async function takeOutAll(
  client: pg.Client,
  keptFrom: string,
  keptFromUs: string,
  keepAnswers: boolean,
  report: (progress: PruneProgress) => void,
  signal: AbortSignal,
): Promise<PruneResult> {
  await createSettlingTables(client);
  await setRetention(client, keptFrom, keptFromUs, keepAnswers);
  const expired = await findExpired(client, keptFromUs);
  // So that a batch is found by the index: without statistics the planner reads all events for each.
  await client.query('ANALYZE event (file_id)');
  const done = { keptFrom, events: 0, files: 0 };
  for (const batch of planBatches(expired)) {
    done.events += await inTransaction(client, async () => {
      const events = await takeOut(client, batch, keptFromUs, keepAnswers);
      signal.throwIfAborted(); // one that comes between two statements has none to cancel
      return events;
    });
    done.files += batch.files;
    report({ filesDone: done.files, files: expired.length, events: done.events });
  }
  if (done.events > 0) await cleanUp(client, keptFrom);
  return done;
}

/** The first month that is kept, `YYYY-MM`; null where nothing was ever pruned. */
export async function readKeptFrom(client: pg.Client): Promise<string | null> {
  const { rows } = await client.query<{ month: string }>(
    `SELECT to_char(kept_from, 'YYYY-MM') AS month FROM retention`,
  );
  return rows[0]?.month ?? null;
}

/** So little is lost when one is cut off, and so long others wait for what it holds. A file is not cut. */
const EVENTS_PER_BATCH = 1_000_000;

/** Files by the range of their ids, which is a range of the table. */
type Batch = { readonly first: number; readonly last: number; readonly files: number };

/** @param expired in the order of their ids */
export function planBatches(expired: readonly ExpiredFile[]): Batch[] {
  const batches: Batch[] = [];
  let events = EVENTS_PER_BATCH;
  for (const file of expired) {
    const isFull = events >= EVENTS_PER_BATCH;
    const { first, files } = isFull ? { first: file.fileId, files: 0 } : (batches.pop() as Batch);
    batches.push({ first, last: file.fileId, files: files + 1 });
    events = isFull ? file.events : events + file.events;
  }
  return batches;
}

/** A file with events that are to leave. */
type ExpiredFile = { readonly fileId: number; readonly events: number };

/** In the order of their ids. The one pass over all events. */
async function findExpired(client: pg.Client, keptFromUs: string): Promise<ExpiredFile[]> {
  const { rows } = await client.query<ExpiredFile>(
    `SELECT file_id AS "fileId", count(*)::float8 AS events FROM event WHERE event_us < ${keptFromUs} GROUP BY 1 ORDER BY 1`,
  );
  return rows;
}

/** From here on imports store nothing of earlier months. */
async function setRetention(
  client: pg.Client,
  keptFrom: string,
  keptFromUs: string,
  keepAnswers: boolean,
): Promise<void> {
  await inTransaction(client, async () => {
    await client.query(
      `INSERT INTO retention (kept_from) VALUES ($1)
           ON CONFLICT (is_only_row) DO UPDATE SET kept_from = excluded.kept_from`,
      [`${keptFrom}-01`],
    );
    let changed = await closeRepaired(client, keptFromUs);
    changed += await closeExpired(client, [...(await readLoadedFiles(client)).values()], keptFrom);
    changed += await takeOutDuplicates(client, keptFromUs);
    const months = !keepAnswers && (await hasKeptInRollups(client)) ? await dropKeptFromRollups(client) : null;
    // Also where no event leaves: whoever serves counts and open rejects reads them again with the next data version.
    if (months !== null || changed > 0) await publish(client, months ?? []);
  });
}

/** Later occurrences that lie before the first kept month themselves. The others may yet take the place of an event that leaves. */
async function takeOutDuplicates(client: pg.Client, keptFromUs: string): Promise<number> {
  const { rowCount } = await client.query(
    `WITH gone AS (DELETE FROM duplicate WHERE event_us < ${keptFromUs} RETURNING file_id, is_conflict),
          counted AS (SELECT file_id, count(*) AS duplicates, count(*) FILTER (WHERE is_conflict) AS conflicts
                        FROM gone GROUP BY file_id)
     UPDATE ledger l
        SET accepted = accepted + duplicates, expired = expired + duplicates,
            duplicate = duplicate - duplicates, conflict = conflict - conflicts
       FROM counted
      WHERE l.file_id = counted.file_id`,
  );
  return rowCount ?? 0;
}

/** Rejects that were repaired by what leaves now stay so. Returns how many were closed. */
async function closeRepaired(client: pg.Client, keptFromUs: string): Promise<number> {
  const { rowCount } = await client.query(
    `UPDATE reject
        SET is_closed = true
      WHERE NOT is_closed
        AND (file_id, line) IN (SELECT r.file_id, r.line
                                  FROM reject r, unnest(r.event_ids) AS named (event_id)
                                  JOIN possible_repair p USING (event_id)
                                 WHERE r.said IS NULL AND (p.said->>'event_us')::bigint < ${keptFromUs})`,
  );
  return rowCount ?? 0;
}

/**
 * Nobody is asked for a row that would not be stored: a reject that says its time, or whose file is named after an earlier day.
 *
 * @param files whose rejects are looked at
 * @param keptFrom the first month that is kept, `YYYY-MM`, as it stands in `retention`
 * @returns how many were closed
 */
export async function closeExpired(
  client: pg.Client,
  files: readonly Pick<LoadedFile, 'fileId' | 'name'>[],
  keptFrom: string,
): Promise<number> {
  const ofEarlierDays = files.filter(({ name }) => (dayOf(name) ?? keptFrom) < keptFrom);
  const { rowCount } = await client.query(
    `UPDATE reject
        SET is_closed = true
      WHERE NOT is_closed
        AND (file_id = ANY($2)
             OR (file_id = ANY($1)
                 AND (said->>'event_us')::bigint < (SELECT extract(epoch FROM kept_from)::bigint * 1000000 FROM retention)))`,
    [files, ofEarlierDays].map((some) => some.map(({ fileId }) => fileId)),
  );
  return rowCount ?? 0;
}

/**
 * Takes out what lies in one batch before the first kept month, and returns how many events that were. Where another occurrence
 * of such an event lies in a kept month, the first of those takes its place.
 */
async function takeOut(
  client: pg.Client,
  { first, last }: Batch,
  keptFromUs: string,
  keepAnswers: boolean,
): Promise<number> {
  const expired = `file_id BETWEEN ${first} AND ${last} AND event_us < ${keptFromUs}`;
  const { rowCount } = await client.query(`INSERT INTO leaver SELECT * FROM event WHERE ${expired}`);
  await client.query(`DELETE FROM event WHERE ${expired}`);
  await client.query(
    `UPDATE ledger l
        SET expired = expired + events
       FROM (SELECT file_id, count(*) AS events FROM leaver GROUP BY file_id) AS gone
      WHERE l.file_id = gone.file_id`,
  );
  await freeDuplicatesOfLeavers(client);
  await recount(client, await settle(client, [], null));
  // An id counts once, also in the answers of all history.
  const [replaced, notReplaced] = ['IN', 'NOT IN'].map(
    (which) => `(SELECT * FROM leaver WHERE event_id ${which} (SELECT event_id FROM newcomer)) AS gone`,
  ) as [string, string];
  if (keepAnswers) await keepInRollups(client, notReplaced);
  const months = await takeFromRollups(client, keepAnswers ? replaced : 'leaver');
  await publish(client, [...months, ...(await addToRollups(client, 'newcomer'))]);
  await clearSettlingTables(client);
  return rowCount as number;
}

/** Rows that say the same as no row, and the room that is free now; a role that may only load rows leaves that to autovacuum. */
async function cleanUp(client: pg.Client, keptFrom: string): Promise<void> {
  await client.query('DELETE FROM merchant_month WHERE month < $1 AND success_count = 0 AND success_kobo = 0', [
    `${keptFrom}-01`,
  ]);
  if (!(await mayAlter(client, 'event'))) return;
  await client.query('VACUUM event');
  // Its ranges only ever widen; files that fill the room would be found in those of the ones that left as well.
  await client.query('REINDEX INDEX event_file_id_event_us_idx');
}
