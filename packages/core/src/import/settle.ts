import type pg from 'pg';
import { fenceOf } from '../db/distribute.ts';
import { fillFast } from './bulk.ts';
import type { KeyChange } from './codes.ts';
import { EVENT_COLUMNS } from './encode.ts';
import type { Texts } from './lane.ts';
import { followRepairs, IDS_OF_REJECTS, REPAIR_TABLES, SAID_BY_REJECTS, withoutLoops } from './repairs.ts';

const COLUMNS = EVENT_COLUMNS.join(', ');
const columnsOf = (alias: string, columns: readonly string[] = EVENT_COLUMNS) =>
  columns.map((column) => `${alias}.${column}`).join(', ');
/** What makes an occurrence a conflict where it differs. */
const CONTENT_COLUMNS = EVENT_COLUMNS.filter((column) => column !== 'event_id' && column !== 'file_id');
const differs = (one: string, other: string) =>
  `(${columnsOf(one, CONTENT_COLUMNS)}) IS DISTINCT FROM (${columnsOf(other, CONTENT_COLUMNS)})`;

/** COPY target of rows that are surely new. */
export const EVENT_COPY = `COPY event (${COLUMNS}) FROM STDIN (FORMAT binary)`;
/** COPY target of rows that may be stored already. */
export const CANDIDATE_COPY = `COPY candidate (${COLUMNS}, line) FROM STDIN (FORMAT binary)`;

/**
 * The session's own tables. `candidate` holds occurrences of which it is not known yet whether they are the first, `stored` the
 * events that are in their place already, and `ranked` the candidates of all others in their order. `newcomer` and `leaver` hold
 * the events that entered `event` and left it by SQL, for the rollups. `file_order` says which file comes first.
 *
 * No statement of settling mixes `event`, which may lie on other machines, with changes of tables that do not.
 */
export async function createSettlingTables(client: pg.Client): Promise<void> {
  await client.query(`
    CREATE TEMP TABLE IF NOT EXISTS candidate (LIKE event, line bigint);
    CREATE TEMP TABLE IF NOT EXISTS stored (LIKE event);
    CREATE TEMP TABLE IF NOT EXISTS ranked (LIKE candidate, nth bigint);
    CREATE TEMP TABLE IF NOT EXISTS newcomer (LIKE event);
    CREATE TEMP TABLE IF NOT EXISTS leaver (LIKE event);
    CREATE TEMP TABLE IF NOT EXISTS file_order (file_id int PRIMARY KEY, place bigint);
    ${REPAIR_TABLES}`);
}

/** Puts the right keys in place of those that other importers took. */
export async function rekeyCandidates(client: pg.Client, changes: Texts<readonly KeyChange[]>): Promise<void> {
  for (const [which, column] of [
    ['merchants', 'merchant_key'],
    ['kinds', 'kind_key'],
    ['contexts', 'context_key'],
  ] as const) {
    if (changes[which].length === 0) continue;
    await client.query(
      `UPDATE candidate SET ${column} = key.own FROM unnest($1::int[], $2::int[]) AS key (taken, own) WHERE ${column} = key.taken`,
      [changes[which].map(({ from }) => from), changes[which].map(({ to }) => to)],
    );
  }
}

/**
 * Takes files out: their events, the later occurrences that they hold, their rejects and coercions. What they had kept
 * from being stored waits as candidates for settle. The cost follows these files, not the history.
 */
export async function takeOutFiles(client: pg.Client, fileIds: readonly number[]): Promise<void> {
  if (fileIds.length === 0) return;
  await takeOutEvents(client, fileIds);
  for (const table of ['duplicate', 'reject', 'coercion'])
    await client.query(`DELETE FROM ${table} WHERE file_id = ANY($1)`, [fileIds]);
  await freeDuplicatesOfLeavers(client);
}

/** Makes what is stored of files candidates again, and so the later occurrences that were compared with it. */
export async function setAside(client: pg.Client, fileIds: readonly number[]): Promise<void> {
  if (fileIds.length === 0) return;
  await takeOutEvents(client, fileIds);
  await client.query(
    `INSERT INTO candidate (${COLUMNS}, line) SELECT ${COLUMNS}, NULL FROM leaver WHERE file_id = ANY($1)`,
    [fileIds],
  );
  await freeDuplicatesOfLeavers(client);
}

async function takeOutEvents(client: pg.Client, fileIds: readonly number[]): Promise<void> {
  await client.query(`INSERT INTO leaver (${COLUMNS}) SELECT ${COLUMNS} FROM event WHERE file_id = ANY($1)`, [fileIds]);
  await client.query('DELETE FROM event WHERE file_id = ANY($1)', [fileIds]);
}

/** Later occurrences of an event that left become candidates: the first of them is stored in its place. */
export async function freeDuplicatesOfLeavers(client: pg.Client): Promise<void> {
  await client.query(`
  WITH freed AS (DELETE FROM duplicate d USING leaver x WHERE d.event_id = x.event_id RETURNING d.*)
  INSERT INTO candidate (${COLUMNS}, line) SELECT ${COLUMNS}, line FROM freed`);
}

/** A file of the running batch, which the ledger does not know yet. */
export type NewFile = { readonly fileId: number; readonly name: string; readonly path: string };

/** Rows of one file whose event is stored from another row; `conflict` counts those of them with other content. */
export type Later = { readonly duplicate: number; readonly conflict: number };

/**
 * Makes the stored events a function of the loaded files alone: of all occurrences of an event_id the first one is in
 * `event`, in the order of file names, then paths, then lines; the others are in `duplicate`, marked as conflict where
 * their content differs from it (CONTRACT.md section 2). Whatever the order in which files were loaded, an earlier file
 * that comes later displaces what was stored.
 *
 * @param newFiles rows of theirs that are in `event` already come before those that are candidates
 * @param way null where there are no such rows: files one by one, and files or months that leave; else as chooseWay said
 * @returns the later rows of each file that had candidates, the displaced ones included
 */
export async function settle(
  client: pg.Client,
  newFiles: readonly NewFile[],
  way: Way | null,
): Promise<Map<number, Later>> {
  await orderFiles(client, newFiles);
  if (way === 'by a pass') await lookThrough(client);
  else if (way !== 'by a join') await lookUp(client);
  const stored: Stored = way === 'by a join' ? 'event' : 'stored';
  const newFileIds = newFiles.map(({ fileId }) => fileId);
  await displace(client, stored, newFileIds);
  await rank(client, stored);

  const addDuplicates = () => withoutLoops(client, () => client.query(laterOnes(stored)));
  if (way === null) await addDuplicates();
  else await fillFast(client, 'duplicate', addDuplicates);
  // In the order of the index, which is walked once where it is there.
  await client.query(`INSERT INTO newcomer (${COLUMNS}) SELECT ${COLUMNS} FROM ranked WHERE nth = 1 ORDER BY event_id`);
  for (const table of way === 'by a pass' ? ['event', 'stored'] : ['event'])
    await client.query(`INSERT INTO ${table} (${COLUMNS}) SELECT ${COLUMNS} FROM newcomer`);

  await followRepairs(client, newFileIds, way === null ? 'newcomer' : way === 'by a pass' ? 'stored' : 'event');

  return countLater(client);
}

/** Of each file that had candidates. */
async function countLater(client: pg.Client): Promise<Map<number, Later>> {
  const { rows: files } = await client.query<{ file_id: number }>('SELECT DISTINCT file_id FROM candidate');
  const later = new Map<number, Later>(files.map(({ file_id }) => [file_id, { duplicate: 0, conflict: 0 }]));
  const { rows } = await client.query<Later & { readonly file_id: number }>(
    `SELECT file_id, count(*)::int AS duplicate, count(*) FILTER (WHERE is_conflict)::int AS conflict
       FROM duplicate
      WHERE file_id = ANY($1)
      GROUP BY file_id`,
    [[...later.keys()]],
  );
  for (const { file_id, duplicate, conflict } of rows) later.set(file_id, { duplicate, conflict });
  return later;
}

/** Where the events of the candidates are found: in a copy of them, or among all. */
type Stored = 'stored' | 'event';

/** Adds all candidates to `duplicate` but the first of an event that is not stored. */
const laterOnes = (stored: Stored) => `
  INSERT INTO duplicate (${COLUMNS}, line, is_conflict)
  SELECT ${columnsOf('c')}, c.line, ${differs('c', 'e')}
    FROM candidate c
    JOIN ${stored} e ON e.event_id = c.event_id
   UNION ALL
  SELECT ${columnsOf('r')}, r.line, ${differs('r', 'first')}
    FROM ranked r
    JOIN ranked first ON first.event_id = r.event_id AND first.nth = 1
   WHERE r.nth > 1`;

/** Empties the session's tables for the next batch. */
export async function clearSettlingTables(client: pg.Client): Promise<void> {
  await client.query('TRUNCATE candidate, stored, ranked, newcomer, leaver, file_order, wanted, found');
}

/** A file that is read once more beside its loaded version stands at the same place, so that it displaces nothing. */
async function orderFiles(client: pg.Client, newFiles: readonly NewFile[]): Promise<void> {
  await client.query(
    `INSERT INTO file_order (file_id, place)
     SELECT file_id, rank() OVER (ORDER BY name COLLATE "C", path COLLATE "C")
       FROM (SELECT file_id, name, path FROM ledger WHERE status = 'loaded'
              UNION ALL
             SELECT * FROM unnest($1::int[], $2::text[], $3::text[])) AS file`,
    [newFiles.map(({ fileId }) => fileId), newFiles.map(({ name }) => name), newFiles.map(({ path }) => path)],
  );
}

/** Finds the events of the candidates by the index of `event`. */
async function lookUp(client: pg.Client): Promise<void> {
  await client.query('ANALYZE candidate'); // else the planner may read all of `event` to find the few that are there
  // By itself, because it asks the events alone: where they are distributed, the ids go to the nodes. As IN, which the nodes
  // answer by their indexes; for a join they read all of their events. In the order of the index, which is walked once.
  await client.query(
    `INSERT INTO stored (${COLUMNS})
     SELECT ${COLUMNS} FROM event WHERE event_id IN (SELECT DISTINCT event_id FROM candidate ORDER BY event_id)`,
  );
}

/**
 * How a bulk load finds what is stored. Only for the first one the indexes need to be there; else they are built when all is
 * settled.
 */
export type Way = 'by the index' | 'by a pass' | 'by a join';

/** Call it when all candidates and rejects are there. */
export async function chooseWay(client: pg.Client): Promise<Way> {
  if (await fenceOf(client)) return 'by the index'; // the nodes look their own events up
  const { rows } = await client.query<{ ids: number; times: number; bytes: number }>(
    `SELECT (SELECT count(*) FROM candidate)::float8 + (SELECT count(*) FROM (${IDS_OF_REJECTS}) AS named)::float8 AS ids,
            (SELECT count(*) FROM reject WHERE said IS NOT NULL AND NOT is_closed)::float8 AS times,
            pg_relation_size('event')::float8 AS bytes`,
  );
  const { ids, times, bytes } = rows[0]!;
  const events = bytes / STORED_ROW_BYTES;
  if (ids + times > Math.min(MAX_HASHES, events * MAX_SHARE_TO_COPY)) return 'by a join';
  return times === 0 && ids * EVENTS_PASSED_PER_ID < events ? 'by the index' : 'by a pass';
}

/** A row of `event` with its header and pointer. */
const STORED_ROW_BYTES = 76;
/** Up to six bytes of bit maps each, which every process reads, and which fit no processor's cache any more. */
const MAX_HASHES = 2_000_000;
/** A pass copies what it finds: of 1 M events all of them, which took 12 s where a join took 10 s; of 5 M a fifth, 8 to 10 s beside 12 s. */
const MAX_SHARE_TO_COPY = 0.5;
/** In the time in which one id is looked up by the index. */
const EVENTS_PASSED_PER_ID = 100;

/**
 * Finds the events of the candidates, and those that a reject asks for, in one pass over the table by several processes: with 7 M
 * events 0.9 s instead of the 2.9 s that the index, and a pass for the rejects alone, take.
 *
 * Nothing is compared but hashes, and of those not all bits: what is found besides, less than one event in a hundred, does no harm. They go
 * into the statement, because a table of the session's own is not there for other processes; and `stored` is made anew, because only such
 * a table is filled by them.
 */
async function lookThrough(client: pg.Client): Promise<void> {
  const { rows } = await client.query<Record<'ids' | 'times', Buffer>>(
    `SELECT coalesce(string_agg(int4send(uuid_hash(event_id)), ''), '') AS ids,
            (SELECT coalesce(string_agg(int4send(${TIME_HASH}), ''), '') FROM (${SAID_BY_REJECTS}) AS said) AS times
       FROM (SELECT event_id FROM candidate UNION ALL ${IDS_OF_REJECTS}) AS named`,
  );
  const { ids, times } = rows[0]!;
  // For as many events as the planner expects to be found, several processes would have too much to hand over.
  await client.query('SET LOCAL parallel_tuple_cost = 0; DROP TABLE pg_temp.stored');
  await client.query(
    `CREATE TEMP TABLE stored AS SELECT ${COLUMNS} FROM event
      WHERE ${isAmong(ids, 'uuid_hash(event_id)')} OR ${isAmong(times, TIME_HASH)}`,
  );
  await client.query('SET LOCAL parallel_tuple_cost TO DEFAULT');
}

const TIME_HASH = '(hashint8(event_us) # merchant_key)';

/**
 * A condition that holds for each of these hashes, and for few others: three parts of a hash stand for a bit of a map each. With the hashes
 * themselves, as an array, a pass over 7 M events takes 0.4 s more: they do not fit the processor's cache.
 *
 * @param hashes 4 bytes each
 * @param hash an int4 in SQL
 */
export function isAmong(hashes: Buffer, hash: string): string {
  const width = Math.ceil(Math.log2(Math.max((hashes.length / HASH_BYTES) * BITS_PER_HASH, 8)));
  const mask = 2 ** width - 1;
  const spare = 32 - width;
  const isInMap = (shift: number, part: string) => {
    const map = Buffer.alloc(2 ** width / 8);
    for (let at = 0; at < hashes.length; at += HASH_BYTES) {
      const bit = (hashes.readUInt32BE(at) >>> shift) & mask;
      (map[bit >>> 3] as number) |= 0x80 >> (bit & 7);
    }
    return `get_bit(X'${map.toString('hex')}', ${part} & ${mask}) = 1`;
  };
  const shifted = [spare >>> 1, spare].map((shift) => isInMap(shift, `(${hash} >> ${shift})`));
  return `(${[isInMap(0, hash), ...shifted].join(' AND ')})`;
}

const HASH_BYTES = 4;
/** So an eighth of a map is set, or less. */
const BITS_PER_HASH = 8;

/**
 * Takes stored events out of which an earlier occurrence is among the candidates. They become candidates themselves, and
 * so do the later occurrences that were compared with them.
 */
async function displace(client: pg.Client, stored: Stored, newFileIds: readonly number[]): Promise<void> {
  const hasOlder = (table: Stored | 'candidate') => `EXISTS (SELECT FROM ${table} WHERE file_id <> ALL ($1))`;
  const { rows } = await client.query<{ may_be: boolean }>(
    `SELECT ${hasOlder('candidate')} OR ${hasOlder(stored)} AS may_be`,
    [newFileIds],
  );
  if (rows[0]?.may_be !== true) return; // the new files were read in their order
  const { rowCount } = await withoutLoops(client, () =>
    client.query(
      `WITH displaced AS MATERIALIZED
              (SELECT ${columnsOf('e')}
                 FROM ${stored} e
                 JOIN file_order o USING (file_id)
                WHERE EXISTS (SELECT FROM candidate c
                                JOIN file_order earlier USING (file_id)
                               WHERE c.event_id = e.event_id AND earlier.place < o.place)),
            counted AS (INSERT INTO leaver (${COLUMNS}) SELECT ${COLUMNS} FROM displaced)
       INSERT INTO candidate (${COLUMNS}, line) SELECT ${COLUMNS}, NULL FROM displaced`,
    ),
  );
  if (!rowCount) return;
  // With their file: what a version held that was replaced may be there again.
  for (const table of new Set(['event', stored]))
    await client.query(`DELETE FROM ${table} WHERE (event_id, file_id) IN (SELECT event_id, file_id FROM leaver)`);
  await freeDuplicatesOfLeavers(client);
}

/** Finds for each candidate of an event that is not stored which one it is among those. */
async function rank(client: pg.Client, stored: Stored): Promise<void> {
  await withoutLoops(client, () =>
    client.query(
      `INSERT INTO ranked (${COLUMNS}, line, nth)
       SELECT ${COLUMNS}, line, row_number() OVER (PARTITION BY event_id ORDER BY place, line NULLS FIRST)
         FROM candidate c
         JOIN file_order USING (file_id)
        WHERE NOT EXISTS (SELECT FROM ${stored} e WHERE e.event_id = c.event_id)`,
    ),
  );
}
