import { lstat } from 'node:fs/promises';
import type pg from 'pg';
import { errorCode } from '../errors.ts';
import { VERSION } from '../version.ts';
import type { SourceFile } from './discover.ts';
import { inTurn } from './lock.ts';
import type { Counts, FileResult } from './progress.ts';
import { type Content, hashFile } from './read.ts';
import type { Later } from './settle.ts';

/** A file in the ledger, as it was when it was loaded. */
export type LoadedFile = {
  readonly fileId: number;
  readonly path: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint | null;
  readonly sha256: Buffer | null;
  /** How many events are stored from it. */
  readonly events: number;
};

/** All loaded files by path. */
export async function readLoadedFiles(client: pg.Client): Promise<Map<string, LoadedFile>> {
  const rows = await selectLoaded(client, undefined);
  return new Map(rows.map((row) => [row.path, row]));
}

/** Corrects what is known of one file: another importer may have loaded it meanwhile. */
export async function refreshLoadedFile(
  client: pg.Client,
  path: string,
  loadedFiles: Map<string, LoadedFile>,
): Promise<void> {
  const [row] = await selectLoaded(client, path);
  if (row === undefined) loadedFiles.delete(path);
  else loadedFiles.set(path, row);
}

/** @param path undefined for all */
async function selectLoaded(client: pg.Client, path: string | undefined): Promise<LoadedFile[]> {
  const { rows } = await client.query<LoadedRow>(
    `SELECT file_id, path, name, size_bytes, mtime_ns, sha256, (accepted - expired)::float8 AS events
       FROM ledger
      WHERE status = 'loaded' ${path === undefined ? '' : 'AND path = $1'}`,
    path === undefined ? [] : [path],
  );
  return rows.map(({ file_id, size_bytes, mtime_ns, ...row }) => ({
    ...row,
    fileId: file_id,
    sizeBytes: Number(size_bytes),
    mtimeNs: mtime_ns === null ? null : BigInt(mtime_ns),
  }));
}

/** As the driver gives it. */
type LoadedRow = Pick<LoadedFile, 'path' | 'name' | 'sha256' | 'events'> & {
  readonly file_id: number;
  readonly size_bytes: string;
  readonly mtime_ns: string | null;
};

/** What to do with a file: load it, leave it, or read it again to show that nothing of it is new. */
export type Decision = {
  readonly action: 'load' | 'unchanged' | 'reread';
  /** The version that is to leave when this one is loaded. */
  readonly replaces: LoadedFile | null;
  /** The content is another one than that of the version it replaces. */
  readonly isChanged: boolean;
};

/**
 * Compares a file with the ledger: size and modification time first, the content hash where they differ.
 *
 * The identity of a file is its path. A file whose content is known under a path where nothing lies any more was moved:
 * the ledger follows it. Where another file has the same name, the path decides which of them comes first, so a moved one
 * is loaded anew in place of what was; and so is one that is found under another name, by a link, because names decide too.
 *
 * @param loadedFiles kept true to what the ledger says
 * @param isForced reads unchanged files too, and believes their content alone
 * @throws MoniepointError `failed` when it cannot be read; the signal's reason
 */
export async function decideOn(
  client: pg.Client,
  file: SourceFile,
  loadedFiles: Map<string, LoadedFile>,
  isForced: boolean,
  signal: AbortSignal,
): Promise<Decision> {
  const loaded = loadedFiles.get(file.path);
  const decision = { action: isForced ? 'reread' : 'unchanged', replaces: null, isChanged: false } as const;
  const versions = await findVersions(file, loadedFiles);
  if (versions === 'unchanged' && !isForced) return decision;
  if (versions.length === 0) return { action: 'load', replaces: null, isChanged: false };

  const { sha256, mtimeNs } = await hashFile(file, signal);
  const known = versions === 'unchanged' ? [loaded as LoadedFile] : versions;
  const same = known.find((version) => version.sha256?.equals(sha256));
  if (same !== undefined) {
    loadedFiles.delete(same.path);
    const found = await follow(client, same, file, mtimeNs);
    if (found === 'gone') return { action: 'load', replaces: null, isChanged: false };
    if (found === 'out of place') return { action: 'load', replaces: same, isChanged: false };
    loadedFiles.set(file.path, { ...same, path: file.path, mtimeNs });
    return decision;
  }
  return { action: 'load', replaces: loaded ?? null, isChanged: loaded !== undefined };
}

/**
 * Lets the ledger follow a file to where it lies now, and know its new time.
 *
 * @returns `out of place` where it has to be loaded anew, as isOutOfPlace says; `gone` where another importer took it out or followed it
 */
async function follow(
  client: pg.Client,
  same: LoadedFile,
  { path, name }: SourceFile,
  mtimeNs: bigint | null,
): Promise<'followed' | 'out of place' | 'gone'> {
  const update = async () => {
    const { rowCount } = await client.query(
      `UPDATE ledger SET path = $2, mtime_ns = $3 WHERE file_id = $1 AND status = 'loaded' AND path = $4`,
      [same.fileId, path, mtimeNs, same.path],
    );
    return rowCount === 1 ? 'followed' : 'gone';
  };
  if (same.path === path) return same.name === name ? update() : 'out of place';
  // Another importer may load a file of its name now: in a turn, so that none settles by the path that is left here.
  return inTurn(client, async () => {
    const { rowCount } = await client.query(
      `SELECT FROM ledger WHERE status = 'loaded' AND name = $1 AND path <> $2 LIMIT 1`,
      [name, same.path],
    );
    return rowCount === 1 ? 'out of place' : update();
  });
}

/**
 * What size and modification time tell of a file: it is `unchanged`, or its content has to be compared with these
 * versions, or, where there are none, it is new. Reads no file.
 */
export async function findVersions(
  file: SourceFile,
  loadedFiles: ReadonlyMap<string, LoadedFile>,
): Promise<'unchanged' | readonly LoadedFile[]> {
  const loaded = loadedFiles.get(file.path);
  if (loaded === undefined) return findMoved(file, loadedFiles);
  const isUnchanged =
    loaded.sizeBytes === file.sizeBytes && loaded.mtimeNs === file.mtimeNs && loaded.name === file.name;
  return isUnchanged ? 'unchanged' : [loaded];
}

/**
 * Whether a file whose content is known has to be loaded anew: it has another name, or it was moved and another loaded file has its name,
 * so that its new path may change which comes first.
 */
export function isOutOfPlace(
  same: LoadedFile,
  file: SourceFile,
  loadedFiles: ReadonlyMap<string, LoadedFile>,
): boolean {
  if (same.path === file.path) return same.name !== file.name;
  return [...loadedFiles.values()].some(({ name, path }) => name === file.name && path !== same.path);
}

/** Loaded files of this name and size under paths where nothing lies any more. */
async function findMoved(file: SourceFile, loadedFiles: ReadonlyMap<string, LoadedFile>): Promise<LoadedFile[]> {
  const gone: LoadedFile[] = [];
  for (const loaded of loadedFiles.values()) {
    const isAlike = loaded.sizeBytes === file.sizeBytes && loaded.name === file.name;
    if (isAlike && (await isGone(loaded.path))) gone.push(loaded);
  }
  return gone;
}

/** True where nothing lies under this path any more. */
export async function isGone(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return false;
  } catch (error) {
    return errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR';
  }
}

/** Those of these versions that are still loaded from where they were. They stay so until the transaction ends. */
export async function lockLoaded(client: pg.Client, versions: readonly LoadedFile[]): Promise<LoadedFile[]> {
  const { rows } = await client.query<{ file_id: number }>(
    `SELECT file_id
       FROM ledger
       JOIN unnest($1::int[], $2::text[]) AS version (file_id, path) USING (file_id, path)
      WHERE status = 'loaded'
        FOR UPDATE OF ledger`,
    [versions.map(({ fileId }) => fileId), versions.map(({ path }) => path)],
  );
  const stillLoaded = new Set(rows.map((row) => row.file_id));
  return versions.filter(({ fileId }) => stillLoaded.has(fileId));
}

/** What this run has loaded, by path: after a lost connection nobody knows whether the last commit was done. */
export async function readResultsOf(client: pg.Client, runId: number): Promise<Map<string, FileResult>> {
  const { rows } = await client.query<Omit<FileResult, 'sizeBytes' | 'error'> & { readonly size_bytes: string }>(
    `SELECT path, name, size_bytes,
            CASE WHEN EXISTS (SELECT FROM ledger AS before WHERE before.path = ledger.path AND before.status = 'superseded')
                 THEN 'superseded' ELSE 'loaded' END AS status,
            jsonb_build_object('read', rows_read, 'accepted', accepted, 'expired', expired, 'duplicate', duplicate,
                               'conflict', conflict, 'rejected', rejected, 'coerced', coerced,
                               'rejectedByReason', rejected_by_reason, 'coercedByColumn', coerced_by_column) AS counts
       FROM ledger
      WHERE run_id = $1 AND status = 'loaded'`,
    [runId],
  );
  return new Map(
    rows.map(({ size_bytes, ...row }) => [row.path, { ...row, sizeBytes: Number(size_bytes), error: null }]),
  );
}

/** Which of these versions were pruned. */
export async function readPruned(client: pg.Client, fileIds: readonly number[]): Promise<string[]> {
  const { rows } = await client.query<{ path: string }>(
    `SELECT path FROM ledger WHERE file_id = ANY($1) AND status = 'pruned' ORDER BY path`,
    [fileIds],
  );
  return rows.map(({ path }) => path);
}

/** Opens the run's row and returns its id. */
export async function startRun(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ run_id: number }>(
    // By the server's clock, like the ages that are told of it.
    'INSERT INTO import_run (started_at, program_version) VALUES (clock_timestamp(), $1) RETURNING run_id',
    [VERSION],
  );
  return rows[0]!.run_id;
}

export async function finishRun(
  client: pg.Client,
  runId: number,
  outcome: 'done' | 'failed' | 'incomplete' | 'interrupted',
): Promise<void> {
  await client.query('UPDATE import_run SET finished_at = clock_timestamp(), outcome = $2 WHERE run_id = $1', [
    runId,
    outcome,
  ]);
}

/** Ids for the next file versions: given out once, also when the load is rolled back. */
export async function nextFileIds(client: pg.Client, count: number): Promise<number[]> {
  const { rows } = await client.query<{ id: number }>(
    `SELECT nextval(pg_get_serial_sequence('ledger', 'file_id'))::int AS id FROM generate_series(1, $1)`,
    [count],
  );
  return rows.map(({ id }) => id);
}

/** One line of the ledger. */
export type LedgerEntry = {
  readonly fileId: number;
  readonly runId: number;
  readonly status: 'loaded' | 'failed';
  readonly file: SourceFile;
  /** Null where the file was not read to its end. */
  readonly content: Content | null;
  readonly header: string | null;
  readonly counts: Counts;
  readonly error: string | null;
  readonly startedAt: Date;
};

/** Says of versions that were loaded why their events are taken out. */
export async function retire(
  client: pg.Client,
  fileIds: readonly number[],
  status: 'superseded' | 'pruned',
): Promise<void> {
  if (fileIds.length === 0) return;
  await client.query('UPDATE ledger SET status = $2 WHERE file_id = ANY($1)', [fileIds, status]);
}

/** Corrects the counts of loaded files, of which events were stored or displaced because other files came or went. */
export async function recount(client: pg.Client, later: ReadonlyMap<number, Later>): Promise<void> {
  if (later.size === 0) return;
  const counts = [...later.values()];
  await client.query(
    `UPDATE ledger
        SET accepted = rows_read - rejected - c.duplicate, duplicate = c.duplicate, conflict = c.conflict
       FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS c (file_id, duplicate, conflict)
      WHERE ledger.file_id = c.file_id`,
    [[...later.keys()], counts.map(({ duplicate }) => duplicate), counts.map(({ conflict }) => conflict)],
  );
}

/**
 * Writes the lines of loaded files, in the transaction that loads them, or of failed attempts.
 *
 * @param entries at least one
 */
export async function record(client: pg.Client, entries: readonly LedgerEntry[]): Promise<void> {
  const finishedAt = new Date();
  const rows = entries.map((entry) => rowOf(entry, finishedAt));
  const columns = Object.keys(rows[0] as object).join(', ');
  await client.query(
    `INSERT INTO ledger (${columns}) OVERRIDING SYSTEM VALUE
     SELECT ${columns} FROM jsonb_populate_recordset(NULL::ledger, $1::jsonb)`,
    [JSON.stringify(rows)],
  );
}

/** Every column with its value for JSON. */
function rowOf(entry: LedgerEntry, finishedAt: Date): object {
  const { fileId, runId, status, file, header, content, counts, error, startedAt } = entry;
  const { read, accepted, expired, duplicate, conflict, rejected, coerced } = counts;
  return {
    ...{ file_id: fileId, run_id: runId, status, path: file.path, name: file.name, header, error },
    size_bytes: content?.sizeBytes ?? file.sizeBytes,
    mtime_ns: content?.mtimeNs?.toString() ?? null,
    sha256: content === null ? null : `\\x${Buffer.from(content.sha256).toString('hex')}`,
    ...{ rows_read: read, accepted, expired, duplicate, conflict, rejected, coerced },
    rejected_by_reason: counts.rejectedByReason,
    coerced_by_column: counts.coercedByColumn,
    ...{ started_at: startedAt, finished_at: finishedAt, program_version: VERSION },
  };
}
