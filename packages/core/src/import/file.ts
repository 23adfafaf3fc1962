import type pg from 'pg';
import { inTransaction, SAVEPOINT } from '../db/database.ts';
import { MoniepointError } from '../errors.ts';
import { type Dictionaries, forgetPending, keepPending } from './codes.ts';
import type { SourceFile } from './discover.ts';
import { decideOn, type LedgerEntry, nextFileId, record } from './ledger.ts';
import { loadFile, type Thresholds } from './load.ts';
import { type Counts, type FileResult, noCounts, type Report } from './progress.ts';
import { publish } from './publish.ts';
import { type FileStamp, openFile, type Reading } from './read.ts';

export type FileOptions = Thresholds & {
  readonly strict: boolean;
  /** Read everything, count everything, keep nothing. The caller holds a transaction that it rolls back. */
  readonly isDryRun: boolean;
  /** Read unchanged files too. */
  readonly isForced: boolean;
};

/** What the files of one run have in common. */
export type Run = {
  readonly client: pg.Client;
  /** Null in a dry run, which leaves no trace. */
  readonly runId: number | null;
  readonly dictionaries: Dictionaries;
  readonly options: FileOptions;
  readonly report: Report;
  readonly signal: AbortSignal;
};

/**
 * Imports one file: events, rejects, rollups, ledger row and answers in one transaction. What is wrong with the file
 * alone becomes its result; anything else is thrown and ends the run.
 *
 * @throws MoniepointError `interrupted`; errors of the database as they are
 */
export async function importFile(run: Run, file: SourceFile): Promise<FileResult> {
  const startedAt = new Date();
  let stamp: FileStamp | null = null;
  const result = (status: FileResult['status'], counts: Counts, error: string | null = null): FileResult => ({
    path: file.path,
    name: file.name,
    sizeBytes: stamp?.sizeBytes ?? file.sizeBytes,
    status,
    error,
    counts,
  });
  try {
    if (run.signal.aborted) throw new MoniepointError('interrupted', `${file.path}: interrupted before it was read.`);
    const reading = await openFile(file);
    stamp = reading.stamp;
    try {
      const decision = await decideOn(run.client, file, stamp, run.options.isForced, run.options.isDryRun);
      if (decision === 'unchanged') return result('unchanged', noCounts());
      const counts = await loadWhole(run, file, reading, startedAt, decision === 'load');
      return result(decision === 'load' ? 'loaded' : 'unchanged', counts);
    } finally {
      await reading.close();
    }
  } catch (error) {
    if (!isAboutFile(error)) throw error;
    const counts = noCounts();
    await recordIn(run, { status: 'failed', file, stamp, content: null, counts, error: error.message, startedAt });
    return result(error.kind === 'incomplete' ? 'incomplete' : 'failed', counts, error.message);
  }
}

/** @param isKept false rolls back what was loaded: the file is read only to show that nothing of it is new */
async function loadWhole(
  run: Run,
  file: SourceFile,
  reading: Reading,
  startedAt: Date,
  isKept: boolean,
): Promise<Counts> {
  const { client, dictionaries, options, report, signal } = run;
  const { stamp } = reading;
  report({ type: 'file_started', name: file.name, path: file.path, sizeBytes: stamp.sizeBytes });
  const work = async () => {
    const fileId = await nextFileId(client);
    const { counts, content } = await loadFile(client, file, reading, fileId, dictionaries, options, report, signal);
    if (isKept && !options.isDryRun) {
      await recordIn(run, { status: 'loaded', file, stamp, content, counts, error: null, startedAt }, fileId);
      await publish(client);
    }
    return counts;
  };
  try {
    const counts = await inTransaction(client, work, options.isDryRun ? SAVEPOINT : undefined, isKept);
    if (isKept) keepPending(dictionaries);
    else forgetPending(dictionaries);
    return counts;
  } catch (error) {
    forgetPending(dictionaries);
    throw error;
  }
}

async function recordIn(run: Run, entry: Omit<LedgerEntry, 'runId' | 'fileId'>, fileId?: number): Promise<void> {
  if (run.runId === null) return;
  await record(run.client, { ...entry, runId: run.runId, fileId: fileId ?? (await nextFileId(run.client)) });
}

/** Errors that concern one file alone. */
function isAboutFile(error: unknown): error is MoniepointError {
  return error instanceof MoniepointError && (error.kind === 'failed' || error.kind === 'incomplete');
}
