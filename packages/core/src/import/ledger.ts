import { lstat } from 'node:fs/promises';
import { and, eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { importRun, ledger } from '../db/schema.ts';
import { errorCode, MoniepointError } from '../errors.ts';
import { VERSION } from '../version.ts';
import type { SourceFile } from './discover.ts';
import type { Counts } from './progress.ts';
import { type Content, type FileStamp, hashFile } from './read.ts';

type LoadedFile = {
  readonly fileId: number;
  readonly path: string;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint | null;
  readonly sha256: Buffer | null;
};

/** What to do with a file: load it, leave it, or read it again to show that nothing of it is new. */
export type Decision = 'load' | 'unchanged' | 'reread';

/**
 * Compares a file with the ledger: size and modification time first, the content hash where they differ.
 *
 * The identity of a file is its path. A file whose content is known under a path where nothing lies any more was moved:
 * the ledger follows it.
 *
 * @param isForced reads unchanged files too
 * @throws MoniepointError `failed` when the content of a loaded file changed
 */
export async function decideOn(
  client: pg.Client,
  file: SourceFile,
  stamp: FileStamp,
  isForced: boolean,
  isDryRun: boolean,
): Promise<Decision> {
  const loaded = await findLoaded(client, file);
  const decision = isForced ? 'reread' : 'unchanged';
  if (loaded?.sizeBytes === stamp.sizeBytes && loaded.mtimeNs === stamp.mtimeNs) return decision;
  const candidates = loaded === null ? await findGone(client, file, stamp) : [loaded];
  if (candidates.length === 0) return 'load';

  const { sha256, mtimeNs, sizeBytes } = await hashFile(file);
  const same = candidates.find((candidate) => candidate.sha256?.equals(sha256));
  if (same !== undefined) {
    if (!isDryRun) {
      await drizzle(client).update(ledger).set({ path: file.path, mtimeNs }).where(eq(ledger.fileId, same.fileId));
    }
    return decision;
  }
  if (loaded === null) return 'load';
  throw new MoniepointError(
    'failed',
    `${file.path}: its content changed since it was loaded (${loaded.sizeBytes} bytes then, ${sizeBytes} now). Nothing of the new version was loaded and the old one stays; superseding a loaded file is not supported yet. Restore the file, or deliver the correction under a new name.`,
  );
}

const LOADED_COLUMNS = {
  fileId: ledger.fileId,
  path: ledger.path,
  sizeBytes: ledger.sizeBytes,
  mtimeNs: ledger.mtimeNs,
  sha256: ledger.sha256,
};

async function findLoaded(client: pg.Client, file: SourceFile): Promise<LoadedFile | null> {
  const [row] = await drizzle(client)
    .select(LOADED_COLUMNS)
    .from(ledger)
    .where(and(eq(ledger.status, 'loaded'), eq(ledger.path, file.path)));
  return row ?? null;
}

/** Loaded files of this name and size under paths where nothing lies any more. */
async function findGone(client: pg.Client, file: SourceFile, stamp: FileStamp): Promise<LoadedFile[]> {
  const candidates = await drizzle(client)
    .select(LOADED_COLUMNS)
    .from(ledger)
    .where(
      and(
        eq(ledger.status, 'loaded'),
        eq(ledger.sizeBytes, stamp.sizeBytes),
        sql`${ledger.path} LIKE '%/' || ${likeLiteral(file.name)}`,
      ),
    );
  const gone: LoadedFile[] = [];
  for (const candidate of candidates) if (await isGone(candidate.path)) gone.push(candidate);
  return gone;
}

const likeLiteral = (text: string) => text.replace(/[\\%_]/g, '\\$&');

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

/** The id of the next file version: given out once, also when the load is rolled back. */
export async function nextFileId(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ id: string }>(
    `SELECT nextval(pg_get_serial_sequence('ledger', 'file_id')) AS id`,
  );
  return Number(rows[0]?.id);
}

/** One line of the ledger. */
export type LedgerEntry = {
  readonly fileId: number;
  readonly runId: number;
  readonly status: 'loaded' | 'failed';
  readonly file: SourceFile;
  readonly stamp: FileStamp | null;
  /** Null where the file was not read to its end. */
  readonly content: Content | null;
  readonly counts: Counts;
  readonly error: string | null;
  readonly startedAt: Date;
};

/** Writes the line of a loaded file, in its own transaction's commit, or of a failed attempt. */
export async function record(client: pg.Client, entry: LedgerEntry): Promise<void> {
  const { counts, stamp } = entry;
  await drizzle(client)
    .insert(ledger)
    .overridingSystemValue()
    .values({
      fileId: entry.fileId,
      runId: entry.runId,
      status: entry.status,
      path: entry.file.path,
      sizeBytes: stamp?.sizeBytes ?? 0,
      mtimeNs: entry.content?.mtimeNs ?? null,
      sha256: entry.content?.sha256 ?? null,
      rowsRead: counts.read,
      accepted: counts.accepted,
      duplicate: counts.duplicate,
      conflict: counts.conflict,
      rejected: counts.rejected,
      coerced: counts.coerced,
      rejectedByReason: counts.rejectedByReason,
      coercedByColumn: counts.coercedByColumn,
      error: entry.error,
      startedAt: entry.startedAt,
      finishedAt: new Date(),
      programVersion: VERSION,
    });
}
