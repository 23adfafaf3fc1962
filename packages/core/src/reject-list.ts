import type pg from 'pg';
import { judgeRow, REQUIRED_COLUMNS, type RejectReason } from './activity.ts';
import { MoniepointError } from './errors.ts';
import { type Header, parseHeader, parseRecord } from './import/parse.ts';

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

/** Any UUID in a record: of one that could not be split, nobody knows which field it is. */
const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const RECORD = `coalesce(raw_text, encode(raw_bytes, 'escape'))`;
const PAGE = 100;

/**
 * Lists what was rejected from the loaded files, and what of it is still open. A reject is settled once an event with its
 * id is stored, from whichever file; where its id was what was wrong, once a later file brought an event that equals it in
 * everything else. So it comes back to the list when the file that repaired it leaves. Nothing of this is stored: the
 * session's table `open_reject` holds the answer for the list that was asked for last.
 */
export async function readRejects(client: pg.Client, filter: RejectFilter): Promise<RejectList> {
  const values = [filter.file ?? null, filter.reason ?? null, filter.run ?? null];
  await client.query('DROP TABLE IF EXISTS open_reject');
  await client.query(`
    CREATE TEMP TABLE open_reject
      (place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, file_id int, line bigint, has_id boolean)`);
  await client.query(
    `INSERT INTO open_reject (file_id, line, has_id)
     SELECT file_id, line, ${RECORD} ~* '${UUID}'
       FROM reject
       JOIN ledger USING (file_id)
      WHERE status = 'loaded' AND ${MATCHES_FILTER} AND ($2::text IS NULL OR reason = $2)
        AND NOT EXISTS (SELECT FROM regexp_matches(${RECORD}, '${UUID}', 'gi') AS found (id)
                          JOIN event ON event_id = found.id[1]::uuid)
      ORDER BY name COLLATE "C", path COLLATE "C", line`,
    values,
  );
  await settleWithoutIds(client);

  const { rows: groups } = await client.query<RejectGroup>(
    `SELECT path, run_id AS "runId", by_reason.reason, by_reason.rejected::float8 AS rejected,
            count(r.file_id)::float8 AS stored,
            (by_reason.rejected::bigint - count(r.file_id) + count(o.file_id))::float8 AS open
       FROM ledger
      CROSS JOIN jsonb_each_text(rejected_by_reason) AS by_reason (reason, rejected)
       LEFT JOIN reject r ON r.file_id = ledger.file_id AND r.reason = by_reason.reason
       LEFT JOIN open_reject o ON o.file_id = r.file_id AND o.line = r.line
      WHERE status = 'loaded' AND ${MATCHES_FILTER} AND ($2::text IS NULL OR by_reason.reason = $2)
      GROUP BY ledger.file_id, by_reason.reason, by_reason.rejected
      ORDER BY name COLLATE "C", path COLLATE "C", by_reason.rejected::bigint DESC, by_reason.reason`,
    values,
  );
  return { groups, rejects: () => readPages(client) };
}

const MATCHES_FILTER = `($1::text IS NULL OR name = $1 OR path = $1) AND ($3::int IS NULL OR run_id = $3)`;

async function* readPages(client: pg.Client): AsyncGenerator<OpenReject> {
  for (let last = '0'; ; ) {
    const { rows } = await client.query<OpenReject & { place: string }>(
      `SELECT place, path, line::float8 AS line, reason, coalesce(raw_bytes, convert_to(raw_text, 'UTF8')) AS record
         FROM open_reject
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

/** Takes those off the list that differ from an event of a later file in their id alone. */
async function settleWithoutIds(client: pg.Client): Promise<void> {
  const headers = new Map<number, Header>();
  for (let last = '0'; ; ) {
    const { rows } = await client.query<{
      place: string;
      file_id: number;
      line: string;
      path: string;
      header: string | null;
      raw_text: string;
    }>(
      `SELECT place, file_id, line, path, header, raw_text
         FROM open_reject
         JOIN reject USING (file_id, line)
         JOIN ledger USING (file_id)
        WHERE NOT has_id AND reason = 'event_id' AND place > $1
        ORDER BY place
        LIMIT 1000`,
      [last],
    );
    const found = rows.flatMap(({ file_id, line, path, header, raw_text }) => {
      if (header === null) return []; // loaded before headers were kept
      const known = headers.get(file_id) ?? parseHeader(path, kindOf(header), Buffer.from(header));
      headers.set(file_id, known);
      const activity = activityBut(raw_text, known);
      return activity === null ? [] : [{ file_id, line, ...activity }];
    });
    if (found.length > 0) {
      await client.query(
        `DELETE FROM open_reject o
          USING jsonb_to_recordset($1) AS r (file_id int, line bigint, merchant_id text, event_us bigint, amount_kobo bigint,
                                             product text, event_type text, status text, channel text, region text, merchant_tier text)
           JOIN merchant m USING (merchant_id)
           JOIN kind k USING (product, event_type)
           JOIN context c USING (status, channel, region, merchant_tier)
           JOIN event e ON e.merchant_key = m.merchant_key AND e.kind_key = k.kind_key AND e.context_key = c.context_key
                       AND e.event_us = r.event_us AND e.amount_kobo = r.amount_kobo AND e.file_id > r.file_id
          WHERE o.file_id = r.file_id AND o.line = r.line`,
        [JSON.stringify(found)],
      );
    }
    const end = rows.at(-1)?.place;
    if (end === undefined) return;
    last = end;
  }
}

const kindOf = (record: string) => (record.includes('"') ? 'quoted' : 'plain');
const ANY_ID = '00000000-0000-0000-0000-000000000000';

/** What a record says besides its id, with the names of its columns; null where more than the id is wrong. */
function activityBut(record: string, header: Header) {
  const fields = parseRecord(kindOf(record), Buffer.from(record), header);
  if (typeof fields === 'string') return null;
  const verdict = judgeRow([ANY_ID, ...fields.slice(1)], false);
  if (verdict.reason !== null) return null;
  const { activity } = verdict;
  return {
    merchant_id: activity.merchantId,
    event_us: String(activity.eventTimestamp),
    amount_kobo: String(activity.amountKobo),
    product: activity.product,
    event_type: activity.eventType,
    status: activity.status,
    channel: activity.channel,
    region: activity.region,
    merchant_tier: activity.merchantTier,
  };
}

/**
 * The header under which the stored rejects of these files can be loaded again.
 *
 * @throws MoniepointError `usage` where the files do not have the same one
 */
export async function headerOfRejects(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ header: string | null; path: string }>(
    `SELECT DISTINCT ON (header) header, path FROM open_reject JOIN ledger USING (file_id) ORDER BY header, path`,
  );
  const [first, second] = rows;
  if (second !== undefined) {
    throw new MoniepointError(
      'usage',
      `The headers of ${first?.path} and ${second.path} differ, so their lines do not fit into one file. Choose a file with --file.`,
    );
  }
  return first?.header ?? REQUIRED_COLUMNS.join(',');
}
