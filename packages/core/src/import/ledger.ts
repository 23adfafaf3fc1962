import { lstat } from 'node:fs/promises';
import { basename } from 'node:path';
import { eq } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { importRun, ledger } from '../db/schema.ts';
import { errorCode, MoniepointError } from '../errors.ts';
import { VERSION } from '../version.ts';
import type { SourceFile } from './discover.ts';
import type { Counts } from './progress.ts';
import { type Content, hashFile } from './read.ts';

/** A file in the ledger, as it was when it was loaded. */
export type LoadedFile = {
  readonly fileId: number;
  readonly path: string;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint | null;
  readonly sha256: Buffer | null;
  /** Events that it added. */
  readonly accepted: number;
};

/** All loaded files by path. */
export async function readLoadedFiles(client: pg.Client): Promise<Map<string, LoadedFile>> {
  const rows = await drizzle(client)
    .select({
      fileId: ledger.fileId,
      path: ledger.path,
      sizeBytes: ledger.sizeBytes,
      mtimeNs: ledger.mtimeNs,
      sha256: ledger.sha256,
      accepted: ledger.accepted,
    })
    .from(ledger)
    .where(eq(ledger.status, 'loaded'));
  return new Map(rows.map((row) => [row.path, row]));
}

/** What to do with a file: load it, leave it, or read it again to show that nothing of it is new. */
export type Decision = 'load' | 'unchanged' | 'reread';

/**
 * Compares a file with the ledger: size and modification time first, the content hash where they differ.
 *
 * The identity of a file is its path. A file whose content is known under a path where nothing lies any more was moved:
 * the ledger follows it.
 *
 * @param loadedFiles kept true to what the ledger says
 * @param isForced reads unchanged files too
 * @throws MoniepointError `failed` when the content of a loaded file changed, or when it cannot be read
 */
export async function decideOn(
  client: pg.Client,
  file: SourceFile,
  loadedFiles: Map<string, LoadedFile>,
  isForced: boolean,
  isDryRun: boolean,
): Promise<Decision> {
  const loaded = loadedFiles.get(file.path);
  const decision = isForced ? 'reread' : 'unchanged';
  if (loaded?.sizeBytes === file.sizeBytes && loaded.mtimeNs === file.mtimeNs) return decision;
  const candidates = loaded === undefined ? await findGone(file, loadedFiles) : [loaded];
  if (candidates.length === 0) return 'load';

  const { sha256, mtimeNs, sizeBytes } = await hashFile(file);
  const same = candidates.find((candidate) => candidate.sha256?.equals(sha256));
  if (same !== undefined) {
    if (!isDryRun) {
      await drizzle(client).update(ledger).set({ path: file.path, mtimeNs }).where(eq(ledger.fileId, same.fileId));
      loadedFiles.delete(same.path);
      loadedFiles.set(file.path, { ...same, path: file.path, mtimeNs });
    }
    return decision;
  }
  if (loaded === undefined) return 'load';
  throw new MoniepointError(
    'failed',
    `${file.path}: its content changed since it was loaded (${loaded.sizeBytes} bytes then, ${sizeBytes} now). Nothing of the new version was loaded and the old one stays; superseding a loaded file is not supported yet. Restore the file, or deliver the correction under a new name.`,
  );
}

/** Loaded files of this name and size under paths where nothing lies any more. */
async function findGone(file: SourceFile, loadedFiles: Map<string, LoadedFile>): Promise<LoadedFile[]> {
  const gone: LoadedFile[] = [];
  for (const loaded of loadedFiles.values()) {
    const isAlike = loaded.sizeBytes === file.sizeBytes && basename(loaded.path) === file.name;
    if (isAlike && (await isGone(loaded.path))) gone.push(loaded);
  }
  return gone;
}

async function isGone(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return false;
  } catch (error) {
    return errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR';
  }
}

/** Opens the run's row and returns its id. */
export async function startRun(client: pg.Client): Promise<number> {
  const [row] = await drizzle(client)
    .insert(importRun)
    .values({ startedAt: new Date(), programVersion: VERSION })
    .returning({ runId: importRun.runId });
  return row!.runId;
}

export async function finishRun(
  client: pg.Client,
  runId: number,
  outcome: 'done' | 'failed' | 'incomplete' | 'interrupted',
): Promise<void> {
  await drizzle(client).update(importRun).set({ finishedAt: new Date(), outcome }).where(eq(importRun.runId, runId));
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
  readonly counts: Counts;
  readonly error: string | null;
  readonly startedAt: Date;
};

/** Writes the lines of loaded files, in the transaction that loads them, or of failed attempts. */
export async function record(client: pg.Client, entries: readonly LedgerEntry[]): Promise<void> {
  const finishedAt = new Date();
  for (let first = 0; first < entries.length; first += ROWS_PER_INSERT) {
    const rows = entries.slice(first, first + ROWS_PER_INSERT).map((entry) => rowOf(entry, finishedAt));
    await drizzle(client).insert(ledger).overridingSystemValue().values(rows);
  }
}

/** A statement takes at most 65,535 values. */
const ROWS_PER_INSERT = 1000;

function rowOf({ counts, file, content, ...entry }: LedgerEntry, finishedAt: Date): typeof ledger.$inferInsert {
  return {
    ...entry,
    path: file.path,
    sizeBytes: content?.sizeBytes ?? file.sizeBytes,
    mtimeNs: content?.mtimeNs ?? null,
    sha256: content === null ? null : Buffer.from(content.sha256),
    rowsRead: counts.read,
    accepted: counts.accepted,
    duplicate: counts.duplicate,
    conflict: counts.conflict,
    rejected: counts.rejected,
    coerced: counts.coerced,
    rejectedByReason: counts.rejectedByReason,
    coercedByColumn: counts.coercedByColumn,
    finishedAt,
    programVersion: VERSION,
  };
}
