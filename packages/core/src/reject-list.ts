import type pg from 'pg';
import { judgeRow, parseEventId, REQUIRED_COLUMNS, type RejectReason } from './activity.ts';
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

const PAGE = 200;

/**
 * Lists what was rejected from the loaded files, and what of it is still open. A reject is repaired once an event with its
 * id is stored, from whichever file; where its id was what was wrong, once another file brought an event that equals it in
 * everything else, one event for one reject. So it comes back to the list when the file that repaired it leaves. Nothing of
 * this is stored: the session's table `open_reject` holds the answer for the list that was asked for last.
 *
 * @throws MoniepointError `failed` where no loaded file has the name or path that was asked for
 */
export async function readRejects(client: pg.Client, filter: RejectFilter): Promise<RejectList> {
  await refuseUnknownFile(client, filter.file);
  const values = [filter.file ?? null, filter.reason ?? null, filter.run ?? null];
  await client.query(`
    DROP TABLE IF EXISTS pg_temp.open_reject, pg_temp.described_reject;
    CREATE TEMP TABLE open_reject (file_id int, line bigint, ids uuid[], place bigint);
    CREATE TEMP TABLE described_reject
      (file_id int, line bigint, merchant_key int, event_us bigint, amount_kobo bigint, kind_key int, context_key int)`);
  await describeRejects(client, values);
  await client.query('ANALYZE pg_temp.open_reject, pg_temp.described_reject');
  await client.query(
    'DELETE FROM open_reject WHERE EXISTS (SELECT FROM unnest(ids) AS id JOIN event ON event_id = id)',
  );
  await dropRepairedWithoutId(client);
  await client.query(
    `UPDATE open_reject o
        SET place = ordered.place
       FROM (SELECT file_id, line, row_number() OVER (ORDER BY name COLLATE "C", path COLLATE "C", line) AS place
               FROM open_reject JOIN ledger USING (file_id)) AS ordered
      WHERE (o.file_id, o.line) = (ordered.file_id, ordered.line)`,
  );
  await client.query('CREATE INDEX ON open_reject (place); CREATE INDEX ON open_reject (file_id, line)');

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

type Stored = {
  readonly file_id: number;
  readonly line: string;
  readonly reason: RejectReason;
  readonly record: Buffer;
  readonly path: string;
  readonly header: string | null;
};

/** Fills `open_reject` with all rejects that match and the ids that they may have; of those without one, what they say. */
async function describeRejects(client: pg.Client, values: readonly unknown[]): Promise<void> {
  const headers = new Map<number, Header>();
  for (let fileId = 0, line = '0'; ; ) {
    const { rows } = await client.query<Stored>(
      `SELECT file_id, line, reason, path, header, coalesce(raw_bytes, convert_to(raw_text, 'UTF8')) AS record
         FROM reject
         JOIN ledger USING (file_id)
        WHERE status = 'loaded' AND ${MATCHES_FILTER} AND ($2::text IS NULL OR reason = $2) AND (file_id, line) > ($4, $5)
        ORDER BY file_id, line
        LIMIT ${PAGE}`,
      [...values, fileId, line],
    );
    const described = rows.map((row) => ({ ...row, ...describeOne(row, headers) }));
    await client.query(
      `INSERT INTO open_reject (file_id, line, ids)
       SELECT file_id, line, ids FROM jsonb_to_recordset($1) AS r (file_id int, line bigint, ids uuid[])`,
      [JSON.stringify(described.map(({ file_id, line: at, ids }) => ({ file_id, line: at, ids })))],
    );
    await client.query(
      `INSERT INTO described_reject (file_id, line, event_us, amount_kobo, merchant_key, kind_key, context_key)
       SELECT file_id, line, event_us, amount_kobo, merchant_key, kind_key, context_key
         FROM jsonb_to_recordset($1) AS r (file_id int, line bigint, merchant_id text, event_us bigint, amount_kobo bigint,
                                           product text, event_type text, status text, channel text, region text, merchant_tier text)
         JOIN merchant USING (merchant_id)
         JOIN kind USING (product, event_type)
         JOIN context USING (status, channel, region, merchant_tier)`,
      [
        JSON.stringify(
          described.flatMap(({ file_id, line: at, said }) => (said && [{ file_id, line: at, ...said }]) || []),
        ),
      ],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    fileId = last.file_id;
    line = last.line;
  }
}

/** Records that could not be split, so that nobody knows which of their fields is the id. */
const UNSPLIT: readonly RejectReason[] = ['column_count', 'csv_syntax', 'encoding'];
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;

function describeOne({ file_id, reason, record, path, header }: Stored, headers: Map<number, Header>) {
  // The header of a file that was loaded before headers were kept is not known.
  if (UNSPLIT.includes(reason) || header === null)
    return { ids: record.toString('latin1').match(UUID) ?? [], said: null };
  const known = headers.get(file_id) ?? parseHeader(path, kindOf(header), Buffer.from(header));
  headers.set(file_id, known);
  const fields = parseRecord(kindOf(record.toString()), record, known);
  if (typeof fields === 'string') return { ids: [], said: null };
  const id = parseEventId((fields[0] as string).trim());
  return id === null ? { ids: [], said: saidBut(fields) } : { ids: [id], said: null };
}

/** One event repairs one of those that say the same, so they are numbered on both sides. */
async function dropRepairedWithoutId(client: pg.Client): Promise<void> {
  if ((await client.query('SELECT FROM described_reject LIMIT 1')).rowCount === 0) return;
  const same = 'merchant_key, event_us, amount_kobo, kind_key, context_key';
  await client.query(
    `WITH wanted AS (SELECT file_id, line, ${same}, row_number() OVER (PARTITION BY ${same} ORDER BY file_id, line) AS nth
                       FROM described_reject),
          found AS (SELECT ${same}, row_number() OVER (PARTITION BY ${same} ORDER BY event_id) AS nth
                      FROM event
                     WHERE EXISTS (SELECT FROM described_reject d
                                    WHERE (d.merchant_key, d.event_us, d.amount_kobo, d.kind_key, d.context_key)
                                        = (event.merchant_key, event.event_us, event.amount_kobo, event.kind_key, event.context_key)
                                      AND d.file_id <> event.file_id))
     DELETE FROM open_reject o
      USING wanted JOIN found USING (${same}, nth)
      WHERE (o.file_id, o.line) = (wanted.file_id, wanted.line)`,
  );
}

const kindOf = (record: string) => (record.includes('"') ? 'quoted' : 'plain');
const ANY_ID = '00000000-0000-0000-0000-000000000000';

/** What a record says besides its id, with the names of its columns; null where more than the id is wrong. */
function saidBut(fields: readonly string[]) {
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
