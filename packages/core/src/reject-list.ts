import type pg from 'pg';
import { REQUIRED_COLUMNS, type RejectReason } from './activity.ts';
import { MoniepointError } from './errors.ts';

/** Which rejects to list; what is not given does not matter. */
export type RejectFilter = {
  /** Name or path of the file. */
  readonly file?: string | undefined;
  readonly reason?: RejectReason | undefined;
  /** Id of the run that loaded the file. */
  readonly run?: number | undefined;
};

/** Rejects of one file for one reason. */
export type RejectGroup = {
  readonly path: string;
  readonly runId: number;
  readonly reason: RejectReason;
  /** Exact, also beyond what is stored. */
  readonly rejected: number;
  /** How many of them can be listed: at most 10,000 a file are stored. */
  readonly stored: number;
  /** Those of which no corrected version was loaded. What is not stored counts as open. */
  readonly open: number;
};

/** A stored reject that is open. */
export type OpenReject = {
  readonly path: string;
  /** First line of the record, counted from 1 with the header. */
  readonly line: number;
  readonly reason: RejectReason;
  /** The bytes of the record; of one beyond 1 MiB the first 64 KiB. */
  readonly record: Buffer;
};

export type RejectList = {
  readonly groups: readonly RejectGroup[];
  /** Open and stored ones in the order of files and lines, one page at a time. */
  readonly rejects: () => AsyncGenerator<OpenReject>;
};

const PAGE = 200;

/**
 * Lists what was rejected from the loaded files, and what of it is still open: the view `open_reject` says which. The session's
 * table `listed_reject` holds those of the list that was asked for last, so that a page costs no more than its rows.
 *
 * @throws MoniepointError `failed` where no loaded file has the name or path that was asked for
 */
export async function readRejects(client: pg.Client, filter: RejectFilter): Promise<RejectList> {
  await refuseUnknownFile(client, filter.file);
  const values = [filter.file ?? null, filter.reason ?? null, filter.run ?? null];
  await client.query(`
    DROP TABLE IF EXISTS pg_temp.listed_reject;
    CREATE TEMP TABLE listed_reject (place bigint PRIMARY KEY, file_id int, line bigint, reason text)`);
  await client.query(
    `INSERT INTO listed_reject
     SELECT row_number() OVER (ORDER BY name COLLATE "C", path COLLATE "C", line), file_id, line, reason
       FROM open_reject
       JOIN ledger USING (file_id)
      WHERE ${MATCHES_FILTER} AND ($2::text IS NULL OR reason = $2)`,
    values,
  );
  const { rows: groups } = await client.query<RejectGroup>(
    `SELECT path, run_id AS "runId", reason, n::float8 AS rejected, coalesce(stored, 0)::float8 AS stored,
            (n::bigint - coalesce(stored, 0) + coalesce(open, 0))::float8 AS open
       FROM ledger
      CROSS JOIN jsonb_each_text(rejected_by_reason) AS by_reason (reason, n)
       LEFT JOIN stored_reject USING (file_id, reason)
       LEFT JOIN (SELECT file_id, reason, count(*) AS open FROM listed_reject GROUP BY file_id, reason) AS listed
                 USING (file_id, reason)
      WHERE status = 'loaded' AND ${MATCHES_FILTER} AND ($2::text IS NULL OR reason = $2)
      ORDER BY name COLLATE "C", path COLLATE "C", n::bigint DESC, reason`,
    values,
  );
  return { groups, rejects: () => readPages(client) };
}

/** Open rejects of the loaded files by reason, those that are not stored included; a reason of which all are repaired has 0. */
export type OpenRejects = Partial<Record<RejectReason, number>>;

/** Counts what `readRejects` would list. */
export async function countOpenRejects(client: pg.Client): Promise<OpenRejects> {
  const { rows } = await client.query<{ reason: RejectReason; open: number }>(
    `SELECT reason, (rejected - coalesce(stored, 0) + coalesce(open, 0))::float8 AS open
       FROM (SELECT reason, sum(n::bigint) AS rejected
               FROM ledger
              CROSS JOIN jsonb_each_text(rejected_by_reason) AS by_reason (reason, n)
              WHERE status = 'loaded'
              GROUP BY reason) AS of_loaded
       LEFT JOIN (SELECT reason, sum(stored) AS stored FROM stored_reject GROUP BY reason) AS of_stored USING (reason)
       LEFT JOIN (SELECT reason, count(*) AS open FROM open_reject GROUP BY reason) AS of_open USING (reason)
      ORDER BY reason`,
  );
  return Object.fromEntries(rows.map(({ reason, open }) => [reason, open]));
}

/** @throws MoniepointError `failed` where no loaded file has this name or path */
export async function refuseUnknownFile(client: pg.Client, file: string | undefined): Promise<void> {
  if (file === undefined) return;
  const known = "SELECT FROM ledger WHERE status = 'loaded' AND (name = $1 OR path = $1) LIMIT 1";
  if ((await client.query(known, [file])).rowCount === 1) return;
  throw new MoniepointError(
    'failed',
    `${file}: no loaded file has this name or path. Give its name, or its whole path as moniepoint rejects lists it.`,
  );
}

const MATCHES_FILTER = `($1::text IS NULL OR name = $1 OR path = $1) AND ($3::bigint IS NULL OR run_id = $3)`;

async function* readPages(client: pg.Client): AsyncGenerator<OpenReject> {
  for (let last = '0'; ; ) {
    const { rows } = await client.query<OpenReject & { place: string }>(
      `SELECT place, path, line::float8 AS line, reject.reason, coalesce(raw_bytes, convert_to(raw_text, 'UTF8')) AS record
         FROM listed_reject
         JOIN reject USING (file_id, line)
         JOIN ledger USING (file_id)
        WHERE place > $1
        ORDER BY place
        LIMIT ${PAGE}`,
      [last],
    );
    for (const { place, ...reject } of rows) {
      last = place;
      yield reject;
    }
    if (rows.length < PAGE) return;
  }
}

/**
 * The header under which the stored rejects of these files can be loaded again.
 *
 * @throws MoniepointError `usage` where the files do not have the same one
 */
export async function headerOfRejects(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ header: string | null; path: string }>(
    `SELECT DISTINCT ON (header) header, path FROM listed_reject JOIN ledger USING (file_id) ORDER BY header, path`,
  );
  const [first, second] = rows;
  if (first?.header === null) {
    throw new MoniepointError(
      'usage',
      `${first.path} was loaded before headers were kept, so nobody knows what its columns are. Correct its lines in the file itself.`,
    );
  }
  if (second !== undefined) {
    throw new MoniepointError(
      'usage',
      `The headers of ${first?.path} and ${second.path} differ, so their lines do not fit into one file. Choose a file with --file.`,
    );
  }
  return first?.header ?? REQUIRED_COLUMNS.join(',');
}
