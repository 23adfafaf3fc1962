import type pg from 'pg';
import { EVENT_COLUMNS } from './encode.ts';

const COLUMNS = EVENT_COLUMNS.join(', ');
const columnsOf = (alias: string, columns: readonly string[] = EVENT_COLUMNS) =>
  columns.map((column) => `${alias}.${column}`).join(', ');
/** What makes a later occurrence a conflict where it differs. */
const CONTENT_COLUMNS = EVENT_COLUMNS.filter((column) => column !== 'event_id' && column !== 'file_id');
const differs = (one: string, other: string) =>
  `(${columnsOf(one, CONTENT_COLUMNS)}) IS DISTINCT FROM (${columnsOf(other, CONTENT_COLUMNS)})`;

/** COPY target of rows that are surely new. */
export const EVENT_COPY = `COPY event (${COLUMNS}) FROM STDIN (FORMAT binary)`;
/** COPY target of rows that may be stored already. */
export const CANDIDATE_COPY = `COPY candidate (${COLUMNS}, line) FROM STDIN (FORMAT binary)`;

/**
 * The session's own tables: `candidate` has the columns of `event`, and the line; `judged` says of each candidate whether
 * its event was stored before, and `newcomer` holds those that turned out to be new.
 */
export async function createCandidateTables(client: pg.Client): Promise<void> {
  await client.query('CREATE TEMP TABLE IF NOT EXISTS candidate (LIKE event, line bigint NOT NULL)');
  await client.query('CREATE TEMP TABLE IF NOT EXISTS newcomer (LIKE candidate)');
  await client.query('CREATE TEMP TABLE IF NOT EXISTS judged (LIKE candidate, is_stored boolean, is_conflict boolean)');
}

/** Rows of one file whose event was stored before them; `conflict` counts those of them with other content. */
export type Later = { readonly duplicate: number; readonly conflict: number };

/**
 * Stores the candidates whose event is not stored yet, and leaves them in `newcomer` too. An event_id is stored once: the
 * one that is there stays, and of several candidates the first wins, in the order of file_id and line. The others go to
 * `duplicate`, marked as conflict where their content differs. `event` must have its unique index.
 *
 * @returns the later ones, by file_id
 */
export async function settle(client: pg.Client): Promise<Map<number, Later>> {
  await client.query('TRUNCATE newcomer, judged');
  await client.query('ANALYZE candidate'); // else the planner may read all of `event` to find the few that are there
  await client.query(
    `INSERT INTO judged (${COLUMNS}, line, is_stored, is_conflict)
     SELECT ${columnsOf('c')}, c.line, e.event_id IS NOT NULL, ${differs('c', 'e')}
       FROM (SELECT * FROM candidate ORDER BY event_id, file_id, line) c
       LEFT JOIN event e ON e.event_id = c.event_id`,
  );
  // In the order of the index, which is walked once.
  const { rowCount: newcomers } = await client.query(
    `INSERT INTO newcomer (${COLUMNS}, line)
     SELECT DISTINCT ON (event_id) ${COLUMNS}, line
       FROM judged
      WHERE NOT is_stored
      ORDER BY event_id, file_id, line`,
  );
  await client.query(`INSERT INTO event (${COLUMNS}) SELECT ${COLUMNS} FROM newcomer`);

  const later = new Map<number, Later>();
  const { rows: counted } = await client.query<{ count: string }>('SELECT count(*) AS count FROM candidate');
  if (newcomers !== Number(counted[0]?.count)) {
    await client.query(
      `INSERT INTO duplicate (${COLUMNS}, line, is_conflict)
       SELECT ${COLUMNS}, line, is_conflict
         FROM judged
        WHERE is_stored
        UNION ALL
       SELECT ${columnsOf('j')}, j.line, ${differs('j', 'n')}
         FROM judged j
         JOIN newcomer n ON n.event_id = j.event_id
        WHERE NOT j.is_stored AND (n.file_id, n.line) <> (j.file_id, j.line)`,
    );
    const { rows } = await client.query<{ file_id: number; duplicate: number; conflict: number }>(
      `SELECT file_id, count(*)::int AS duplicate, count(*) FILTER (WHERE is_conflict)::int AS conflict
         FROM duplicate
        WHERE file_id IN (SELECT file_id FROM candidate)
        GROUP BY file_id`,
    );
    for (const { file_id, duplicate, conflict } of rows) later.set(file_id, { duplicate, conflict });
  }
  await client.query('TRUNCATE candidate');
  return later;
}
