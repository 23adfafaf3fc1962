import type pg from 'pg';
import { REQUIRED_COLUMNS } from './activity.ts';
import { eventTimestamp } from './import/encode.ts';
import { refuseUnknownFile } from './reject-list.ts';

/** An occurrence of an event that says something else than the stored one. */
export type Conflict = {
  readonly eventId: string;
  /** The file of the occurrence, and its line; null where that is not known any more. */
  readonly path: string;
  readonly line: number | null;
  readonly storedPath: string;
  /** Only the columns that differ, as they would stand in a file; times are in UTC. */
  readonly differences: readonly {
    readonly column: string;
    readonly found: string | null;
    readonly stored: string | null;
  }[];
};

const COLUMNS = REQUIRED_COLUMNS.filter((column) => column !== 'event_id');

/** The columns of a file from the keys of a row. */
const readable = (row: string) => `
  SELECT merchant_id,
         to_char(${eventTimestamp(`${row}.event_us`)}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS event_timestamp,
         product, event_type, (${row}.amount_kobo::numeric / 100)::numeric(20, 2)::text AS amount, status,
         nullif(channel, '') AS channel, nullif(region, '') AS region, nullif(merchant_tier, '') AS merchant_tier
    FROM merchant, kind, context
   WHERE merchant_key = ${row}.merchant_key AND kind_key = ${row}.kind_key AND context_key = ${row}.context_key`;

/**
 * The first conflicts in the order of files and lines, of one file by name or path, or of all.
 *
 * @throws MoniepointError `failed` where no loaded file has this name or path
 */
export async function readConflicts(client: pg.Client, file: string | undefined, limit: number): Promise<Conflict[]> {
  await refuseUnknownFile(client, file);
  const { rows } = await client.query<{
    event_id: string;
    path: string;
    line: number | null;
    stored_path: string;
    found: Record<string, string | null>;
    stored: Record<string, string | null>;
  }>(
    `SELECT d.event_id, l.path, d.line::float8 AS line, s.path AS stored_path,
            (SELECT to_json(f) FROM (${readable('d')}) AS f) AS found, (SELECT to_json(f) FROM (${readable('e')}) AS f) AS stored
       FROM duplicate d
       JOIN ledger l USING (file_id)
       JOIN event e ON e.event_id = d.event_id
       JOIN ledger s ON s.file_id = e.file_id
      WHERE d.is_conflict AND ($1::text IS NULL OR l.name = $1 OR l.path = $1)
      ORDER BY l.name COLLATE "C", l.path COLLATE "C", d.line NULLS FIRST, d.event_id
      LIMIT $2`,
    [file ?? null, limit],
  );
  return rows.map(({ event_id, path, line, stored_path, found, stored }) => ({
    eventId: event_id,
    path,
    line,
    storedPath: stored_path,
    differences: COLUMNS.filter((column) => found[column] !== stored[column]).map((column) => ({
      column,
      found: found[column] ?? null,
      stored: stored[column] ?? null,
    })),
  }));
}

/** How many there are, of one file or of all. Exact. */
export async function countConflicts(client: pg.Client, file: string | undefined): Promise<number> {
  const { rows } = await client.query<{ conflicts: number }>(
    `SELECT coalesce(sum(conflict), 0)::float8 AS conflicts
       FROM ledger
      WHERE status = 'loaded' AND ($1::text IS NULL OR name = $1 OR path = $1)`,
    [file ?? null],
  );
  return rows[0]?.conflicts ?? 0;
}
