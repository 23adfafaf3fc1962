import type pg from 'pg';
import { EVENT_COLUMNS } from './encode.ts';

const COLUMNS = EVENT_COLUMNS.join(', ');

/** COPY target of one file's rows. */
export const STAGING_COPY = `COPY event_staging (${COLUMNS}, line) FROM STDIN (FORMAT binary)`;

/** The session's staging tables: the columns of `event` and the line. `settle` leaves them empty. */
export async function createStaging(client: pg.Client): Promise<void> {
  for (const table of ['event_staging', 'event_later']) {
    await client.query(`CREATE TEMP TABLE IF NOT EXISTS ${table} (LIKE event, line bigint NOT NULL)`);
  }
}

/**
 * Moves the staged rows of one file into `event`. An event_id is stored once: the one that is there stays, and of several
 * in this file the first line wins. The others go to `duplicate`, marked as conflict where their content differs.
 *
 * What was added is counted by file_id afterwards, because not every engine reports it right on the INSERT itself.
 */
export async function settle(client: pg.Client, fileId: number, staged: number): Promise<Settled> {
  const settled = await storeStaged(client, fileId, staged);
  await client.query('TRUNCATE event_staging, event_later');
  return settled;
}

type Settled = { readonly accepted: number; readonly duplicate: number; readonly conflict: number };

async function storeStaged(client: pg.Client, fileId: number, staged: number): Promise<Settled> {
  await client.query(
    `INSERT INTO event (${COLUMNS})
     SELECT DISTINCT ON (event_id) ${COLUMNS}
       FROM event_staging
      ORDER BY event_id, line
         ON CONFLICT (event_id) DO NOTHING`,
  );
  const { rows } = await client.query<{ accepted: string }>(
    'SELECT count(*) AS accepted FROM event WHERE file_id = $1',
    [fileId],
  );
  const accepted = Number(rows[0]?.accepted);
  if (accepted === staged) return { accepted, duplicate: 0, conflict: 0 };

  // Few as they are, they are set aside and counted first: then each is looked up in `event` by its key. Joined at once,
  // the planner reads all of `event`, and the cost grows with the history (770 ms for 600 duplicates in 1.7 M events).
  await client.query(
    `INSERT INTO event_later (${COLUMNS}, line)
     SELECT ${EVENT_COLUMNS.map((column) => `s.${column}`).join(', ')}, s.line
       FROM (SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY line) AS occurrence FROM event_staging) s
       LEFT JOIN (SELECT event_id FROM event WHERE file_id = $1) stored USING (event_id)
      WHERE stored.event_id IS NULL OR s.occurrence > 1`,
    [fileId],
  );
  await client.query('ANALYZE event_later');
  const content = EVENT_COLUMNS.filter((column) => column !== 'event_id' && column !== 'file_id');
  await client.query(
    `INSERT INTO duplicate (${COLUMNS}, line, is_conflict)
     SELECT ${EVENT_COLUMNS.map((column) => `l.${column}`).join(', ')},
            l.line,
            (${content.map((column) => `l.${column}`).join(', ')}) IS DISTINCT FROM (${content.map((column) => `e.${column}`).join(', ')})
       FROM event_later l
       JOIN event e USING (event_id)`,
  );
  const duplicates = await client.query<{ duplicate: string; conflict: string }>(
    `SELECT count(*) AS duplicate, count(*) FILTER (WHERE is_conflict) AS conflict FROM duplicate WHERE file_id = $1`,
    [fileId],
  );
  return { accepted, duplicate: Number(duplicates.rows[0]?.duplicate), conflict: Number(duplicates.rows[0]?.conflict) };
}
