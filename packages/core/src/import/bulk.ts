import type pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { type Database, inTransaction, SAVEPOINT, withSession } from '../db/database.ts';
import { fenceOf } from '../db/distribute.ts';
import { errorCode } from '../errors.ts';
import type { SourceFile } from './discover.ts';
import { ROWS_PER_BLOCK } from './encode.ts';
import { addIds, createFilter, type Filter, sizeOfFilter } from './filter.ts';

/**
 * The bulk path: `event` is loaded without its indexes, which are built afterwards. It holds the table alone until the
 * commit, so that nobody sees it without them; the API reads other tables and goes on.
 */
export type Bulk = {
  /** Knows every stored event but those of versions that leave. */
  readonly filter: Filter;
  /** The commit waits until the table is on disk, because none of its rows is in the WAL. */
  readonly needsFlush: boolean;
  /** Builds the indexes again. */
  readonly finish: () => Promise<void>;
};

/** A filter that knows all that was stored by the batches before; null where there is none. */
export type KnownIds = { filter: Filter | null };

/** Below this the bulk path gains too little for holding the table. */
const MIN_ROWS = 100_000;
/**
 * Building the indexes again costs about 0.4 µs for each row of the table; storing a row with them costs about 8 µs more
 * than without. So it pays from about a twentieth on; a tenth leaves room for tables that the server's memory can't hold.
 */
const MIN_SHARE_OF_TABLE = 0.1;
/** One transaction loads about this, or as much as is stored already: so little is lost when it is cut off. */
const MAX_ROWS = 25_000_000;
const BYTES_PER_ROW = 120;
/** Activity files shrink to about a fifth. */
export const UNPACKED_PER_PACKED_BYTE = 5;

/**
 * How many of these files, from the first, make one batch for the bulk path, and how many rows to expect in all of them, also
 * in later batches; or null where they are too few for it.
 */
export function planBulk(
  files: readonly { readonly file: Pick<SourceFile, 'name' | 'sizeBytes'> }[],
  storedRows: number,
): { readonly files: number; readonly rows: number } | null {
  const all = files.reduce((sum, one) => sum + rowsIn(one), 0);
  let rows = 0;
  let count = 0;
  for (const file of files) {
    // What is not worth a batch of its own goes with this one: file by file, 5.7 M rows after 92 M took 4.5 of 11 minutes.
    if (rows > Math.max(MAX_ROWS, storedRows) && all - rows >= (storedRows + rows) * MIN_SHARE_OF_TABLE) break;
    rows += rowsIn(file);
    count += 1;
  }
  const isWorthIt = rows >= MIN_ROWS && rows >= storedRows * MIN_SHARE_OF_TABLE;
  return isWorthIt ? { files: count, rows: all } : null;
}

const rowsIn = ({ file: { name, sizeBytes } }: { readonly file: Pick<SourceFile, 'name' | 'sizeBytes'> }) =>
  (sizeBytes * (name.endsWith('.gz') ? UNPACKED_PER_PACKED_BYTE : 1)) / BYTES_PER_ROW;

/**
 * Begins the bulk path inside the caller's transaction.
 *
 * @param leaving versions whose events have left `event` by the time candidates are settled
 * @param known is kept up to date
 * @returns null where the table is not ours; where something needs its key, such as a view that groups by it, or a publication, whose
 *   rows are told by it; or where somebody else reads or writes it and does not end within LOCK_WAIT_MS: nobody should have to wait for
 *   us meanwhile
 */
export async function beginBulk(
  client: pg.Client,
  newRows: number,
  leaving: readonly number[],
  known: KnownIds,
): Promise<Bulk | null> {
  if (!(await mayAlter(client, 'event')) || (await isPublished(client, 'event'))) return null;
  if (!(await lock(client, 'event', LOCK_WAIT_MS))) return null;
  const { rows: found } = await client.query<{ rows: string; has_minimal_wal: boolean }>(
    `SELECT count(*) AS rows, current_setting('wal_level') = 'minimal' AS has_minimal_wal FROM event`,
  );
  const storedRows = Number(found[0]?.rows);
  // An empty table is made anew, so that where wal_level is minimal its rows need no WAL.
  if (storedRows === 0) await client.query('TRUNCATE event');
  const build = await dropIndexes(client, 'event');
  if (build === null) return null;
  const filter = await filterOfStored(client, storedRows, newRows, leaving, known.filter);
  known.filter = leaving.length === 0 ? filter : null; // what those had kept from being stored comes back without being told

  return {
    filter,
    needsFlush: storedRows === 0 && found[0]?.has_minimal_wal === true,
    finish: () => sortInParts(client, 'event', build),
  };
}

/**
 * Builds the indexes of a large table with as many processes as the server allows, and little memory: what they sort at a time fits the
 * processor's cache then, and is no memory that is new to them. The key of 7 M rows of `event` took 3.3 s instead of 3.6 s with 64 MB, and
 * 5.1 s with 512 MB; that of 28 M rows takes as long with 16 MB as with 64 MB, and half as long again with 1 GB. By itself the server would
 * have no process join in for less than 32 MB each.
 */
async function sortInParts(client: pg.Client, table: Table, build: () => Promise<void>): Promise<void> {
  const { rows } = await client.query<{ workers: string; before: string | null; bytes: string }>(
    `SELECT current_setting('max_parallel_maintenance_workers') AS workers, pg_relation_size(oid) AS bytes,
            (SELECT option_value FROM pg_options_to_table(reloptions) WHERE option_name = 'parallel_workers') AS before
       FROM pg_class
      WHERE oid = '${table}'::regclass`,
  );
  const { workers, before, bytes } = rows[0]!;
  if (Number(bytes) < MIN_BYTES_TO_SORT_IN_PARTS || (await fenceOf(client))) {
    await build();
    return;
  }
  await client.query(
    `SET LOCAL maintenance_work_mem = '16MB'; ALTER TABLE ${table} SET (parallel_workers = ${workers})`,
  );
  await build();
  await client.query(
    before === null
      ? `ALTER TABLE ${table} RESET (parallel_workers)`
      : `ALTER TABLE ${table} SET (parallel_workers = ${before})`,
  );
}

/** Other processes take longer to begin than a smaller table takes to sort. */
const MIN_BYTES_TO_SORT_IN_PARTS = 32 * 1024 * 1024;

/**
 * Fills a table: while it is empty, and nobody reads it, without its indexes, which are built afterwards. So 72,000 rows of `duplicate`
 * take 0.17 s instead of 0.46 s, and 200,000 of `merchant_month` 0.3 s instead of 0.5 s.
 *
 * @param fill inserts the rows, inside the caller's transaction
 */
export async function fillFast(client: pg.Client, table: Table, fill: () => Promise<unknown>): Promise<void> {
  const isWorthIt = (await isEmpty(client, table)) && (await mayAlter(client, table));
  // Without waiting: a session that reads it may itself wait for `event`, which is ours, and both would wait for ever.
  const isOurs = isWorthIt && (await lock(client, table, 0));
  const buildIndexes = isOurs ? await dropIndexes(client, table) : null;
  await fill();
  if (buildIndexes !== null) await sortInParts(client, table, buildIndexes);
}

/**
 * Has a table written to disk by the time at which the commit needs it there, beside what the import does until then: with 7 M rows
 * the commit took 0.3 s after it, and 1.4 s without.
 */
export async function flush(database: Pick<Database, 'connect'>): Promise<void> {
  // A role that may not, or a server with no connection left: the commit waits for the disk then.
  await withSession(database, 'flush', (client) => client.query('CHECKPOINT')).catch(() => {});
}

/** Kept from batch to batch, because to read the stored ids back takes longer with each; not where it knows some that leave. */
async function filterOfStored(
  client: pg.Client,
  storedRows: number,
  newRows: number,
  leaving: readonly number[],
  known: Filter | null,
): Promise<Filter> {
  const bytes = sizeOfFilter(storedRows + newRows);
  if (known !== null && known.bytes >= bytes && leaving.length === 0) return known;
  const filter = createFilter(bytes);
  if (storedRows > 0) await addStoredIds(client, filter, leaving);
  return filter;
}

/** Longer than the server's `deadlock_timeout`, after which it cancels an autovacuum that somebody waits for. */
export const LOCK_WAIT_MS = 1_500;
const LOCK_NOT_AVAILABLE = '55P03';
const DEPENDENT_OBJECTS_STILL_EXIST = '2BP01';

export async function isEmpty(client: pg.Client, table: string): Promise<boolean> {
  return (await client.query(`SELECT FROM ${table} LIMIT 1`)).rowCount === 0;
}

type Table = 'event' | 'duplicate' | 'merchant_month' | 'merchant_total' | 'product_status';

/** A role that may only load rows cannot drop an index. */
export async function mayAlter(client: pg.Client, table: Table): Promise<boolean> {
  const { rows } = await client.query<{ may: boolean }>(
    `SELECT pg_has_role(relowner, 'USAGE') AS may FROM pg_class WHERE oid = '${table}'::regclass`,
  );
  return rows[0]?.may === true;
}

async function isPublished(client: pg.Client, table: Table): Promise<boolean> {
  const { rows } = await client.query(
    `SELECT FROM pg_publication_tables
      WHERE (schemaname, tablename) =
            (SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = '${table}'::regclass)`,
  );
  return rows.length > 0;
}

/**
 * Locks a table until the transaction ends.
 *
 * @param mode against everybody else, or against VACUUM and its like
 * @returns false where somebody who uses it does not end in time
 */
async function lock(
  client: pg.Client,
  table: Table,
  waitMs: number,
  mode: 'ACCESS EXCLUSIVE' | 'SHARE UPDATE EXCLUSIVE' = 'ACCESS EXCLUSIVE',
): Promise<boolean> {
  try {
    const take = async () => {
      await client.query(`SET LOCAL lock_timeout = ${waitMs}`);
      await client.query(`LOCK TABLE ${table} IN ${mode} MODE ${waitMs === 0 ? 'NOWAIT' : ''}`);
      await client.query('SET LOCAL lock_timeout = 0'); // as for the whole session; the role's own may be shorter
    };
    await inTransaction(client, take, SAVEPOINT);
    return true;
  } catch (error) {
    if (errorCode(error) === LOCK_NOT_AVAILABLE) return false;
    throw error;
  }
}

/**
 * Has the BRIN index of `event` know the pages that were added. Until it does, each of them is read whenever something is looked for by its
 * time; and autovacuum only comes once a fifth of the table is new, or never, where the server ends with the import.
 */
export async function summarizePages(client: pg.Client): Promise<void> {
  if (await fenceOf(client)) return; // its pages are the nodes'
  // Without waiting: a VACUUM that is under way does the same, and would be cancelled for us after a while.
  if (!(await mayAlter(client, 'event')) || !(await lock(client, 'event', 0, 'SHARE UPDATE EXCLUSIVE'))) return;
  await client.query(
    `SELECT brin_summarize_new_values(indexrelid)
       FROM pg_index
       JOIN pg_class c ON c.oid = indexrelid
      WHERE indrelid = 'event'::regclass AND indisvalid AND relam = (SELECT oid FROM pg_am WHERE amname = 'brin')`,
  );
}

/**
 * Drops all indexes of a table, ours and those that somebody added; keys by their constraints, which tell neither options nor place.
 *
 * @returns builds them again; null where something depends on one of them, or one lies where we may build none, and all stay
 */
async function dropIndexes(client: pg.Client, table: Table): Promise<(() => Promise<void>) | null> {
  const { rows: indexes } = await client.query<{ drop: string; build: string; may_build: boolean }>(
    `SELECT CASE WHEN c.oid IS NULL THEN format('DROP INDEX %s', i.indexrelid::regclass)
                 ELSE format('ALTER TABLE ${table} DROP CONSTRAINT %I', c.conname) END AS drop,
            t.oid IS NULL OR has_tablespace_privilege(t.oid, 'CREATE') AS may_build,
            format('SET LOCAL default_tablespace = %L; ', coalesce(spcname, ''))
            || CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
                    ELSE format('ALTER TABLE ${table} ADD CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid))
                         || coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', '') END AS build
       FROM pg_index i
       JOIN pg_class k ON k.oid = i.indexrelid
       LEFT JOIN pg_tablespace t ON t.oid = k.reltablespace
       LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid
      WHERE i.indrelid = '${table}'::regclass
      ORDER BY c.oid IS NULL, i.indexrelid`,
  );
  if (indexes.some(({ may_build }) => !may_build)) return null;
  const dropAll = async () => {
    for (const { drop } of indexes) await client.query(drop);
  };
  try {
    await inTransaction(client, dropAll, SAVEPOINT);
  } catch (error) {
    if (errorCode(error) === DEPENDENT_OBJECTS_STILL_EXIST) return null;
    throw error;
  }
  return async () => {
    for (const { build } of indexes) await client.query(build);
    await client.query('SET LOCAL default_tablespace TO DEFAULT');
  };
}

/** Signature, flags and header extension; then 2 bytes of column count and 4 of length before each id. */
const COPY_HEADER_BYTES = 19;
const ID_ROW_BYTES = 22;
const ID_AT = 6;

async function addStoredIds(client: pg.Client, filter: Filter, leaving: readonly number[]): Promise<void> {
  const staying = `SELECT event_id FROM event WHERE file_id <> ALL ('{${leaving}}')`;
  const stream = client.query(copyTo(`COPY (${staying}) TO STDOUT (FORMAT binary)`));
  let rest: Buffer = Buffer.alloc(0);
  let toSkip = COPY_HEADER_BYTES;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const count = Math.max(0, Math.floor((bytes.length - toSkip) / ID_ROW_BYTES));
    const done = toSkip + count * ID_ROW_BYTES;
    for (let row = 0; row < count; row += ROWS_PER_BLOCK) {
      const at = toSkip + row * ID_ROW_BYTES + ID_AT;
      addIds(filter, bytes, at, ID_ROW_BYTES, Math.min(count - row, ROWS_PER_BLOCK));
    }
    rest = bytes.subarray(Math.min(done, bytes.length));
    toSkip = Math.max(0, done - bytes.length);
  }
}
