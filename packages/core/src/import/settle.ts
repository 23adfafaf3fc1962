import type pg from 'pg';
import { EVENT_COLUMNS } from './encode.ts';

const COLUMNS = EVENT_COLUMNS.join(', ');

/** COPY target of one file's rows. */
export const STAGING_COPY = `COPY event_staging (${COLUMNS}, line) FROM STDIN (FORMAT binary)`;

/** The session's staging table: the columns of `event` and the line. `settle` leaves it empty. */
export async function createStaging(client: pg.Client): Promise<void> {
  await client.query(
    `CREATE TEMP TABLE IF NOT EXISTS event_staging (LIKE event INCLUDING GENERATED, line bigint NOT NULL)`,
  );
}

/**
 * Moves the staged rows of one file into `event`. An event_id is stored once: the one that is there stays, and of several
 * in this file the first line wins. The others go to `duplicate`, marked as conflict where their content differs.
 *
 * What was added is counted by file_id afterwards, because not every engine reports it right on the INSERT itself.
 */
export async function settle(client: pg.Client, fileId: number, staged: number): Promise<Settled> {
  const settled = await storeStaged(client, fileId, staged);
  await client.query('TRUNCATE event_staging');
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

  const content = EVENT_COLUMNS.filter((column) => column !== 'event_id' && column !== 'file_id');
  await client.query(
    `INSERT INTO duplicate (${COLUMNS}, line, is_conflict)
     SELECT ${EVENT_COLUMNS.map((column) => `s.${column}`).join(', ')},
            s.line,
            (${content.map((column) => `s.${column}`).join(', ')}) IS DISTINCT FROM (${content.map((column) => `e.${column}`).join(', ')})
       FROM (SELECT *, row_number() OVER (PARTITION BY event_id ORDER BY line) AS occurrence FROM event_staging) s
       JOIN event e USING (event_id)
      WHERE e.file_id <> $1 OR s.occurrence > 1`,
    [fileId],
  );
  const duplicates = await client.query<{ duplicate: string; conflict: string }>(
    `SELECT count(*) AS duplicate, count(*) FILTER (WHERE is_conflict) AS conflict FROM duplicate WHERE file_id = $1`,
    [fileId],
  );
  return { accepted, duplicate: Number(duplicates.rows[0]?.duplicate), conflict: Number(duplicates.rows[0]?.conflict) };
}
