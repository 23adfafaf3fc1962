import type pg from 'pg';
import { cancelOnAbort, type Database, endSession, inTransaction, isConnectionLost } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { describeError, MoniepointError } from '../errors.ts';
import { readSnapshot } from '../snapshot.ts';
import { importBatch, type Run, refuseFile, unchanged } from './batch.ts';
import { planBulk } from './bulk.ts';
import { loadDictionaries } from './codes.ts';
import { discover, type SourceFile } from './discover.ts';
import { defaultJobs, openLanes } from './lanes.ts';
import { decideOn, finishRun, readLoadedFiles, startRun } from './ledger.ts';
import type { Thresholds } from './load.ts';
import { takeImportLock } from './lock.ts';
import { addCounts, type FileResult, type ImportResult, noCounts, type Report } from './progress.ts';
import { createCandidateTables } from './settle.ts';

export type ImportOptions = Thresholds & {
  /** Turns each repair into a reject. */
  readonly strict: boolean;
  /** Reads everything, counts everything, keeps nothing. */
  readonly isDryRun: boolean;
  /** Reads unchanged files too. */
  readonly isForced: boolean;
  readonly lockWaitMs: number;
  /** How many threads read files; undefined leaves it to the machine. */
  readonly jobs: number | undefined;
};

/**
 * Imports files and directories: CONTRACT.md sections 1, 2 and 4. One file that fails does not stop the others.
 *
 * A file's events, rejects, rollups, ledger row and the new answers come together or not at all: small files one by one,
 * many rows at once in larger transactions (bulk.ts). The whole run uses one session, which also holds the lock; so
 * whatever ends the session ends both.
 *
 * @param signal rolls back what is not committed and ends the run
 * @throws MoniepointError `failed` for a path that is not there, `database`, `locked`, `interrupted`
 */
export async function runImport(
  database: Database,
  paths: readonly string[],
  options: ImportOptions,
  report: Report,
  signal: AbortSignal,
): Promise<ImportResult> {
  const begin = Date.now();
  const { files, ignored } = await discover(paths);
  const client = await database.connect('import');
  const stopCancelling = cancelOnAbort(database, client, signal);
  try {
    await migrate(client);
    await takeImportLock(client, options.lockWaitMs, report, signal);
    report({
      type: 'plan',
      files: files.length,
      sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
      ignored,
    });
    await client.query('SET random_page_cost = 1.1'); // ids are looked up by their index, which lies in memory or on an SSD
    await createCandidateTables(client);
    const runId = options.isDryRun ? null : await startRun(client);
    const dictionaries = await loadDictionaries(client);
    const run = { client, runId, dictionaries, thresholds: options, report, signal };

    let results: FileResult[] = [];
    const importAll = async () => {
      results = await importFiles(run, files, options);
    };
    try {
      if (options.isDryRun) await inTransaction(client, importAll, undefined, false);
      else await importAll();
    } catch (error) {
      await stopCancelling();
      // The connection may be what failed; the run then shows as killed.
      if (runId !== null) await finishRun(client, runId, signal.aborted ? 'interrupted' : 'failed').catch(() => {});
      throw error;
    }

    const outcome = outcomeOf(results);
    if (runId !== null) await finishRun(client, runId, outcome);
    const counts = noCounts();
    for (const result of results) if (result.status === 'loaded') addCounts(counts, result.counts);
    const snapshot = await readSnapshot(client);
    const elapsedMs = Date.now() - begin;
    return { outcome, isDryRun: options.isDryRun, files: results, ignored, counts, snapshot, elapsedMs };
  } catch (error) {
    throw explain(error, client, database, signal);
  } finally {
    await stopCancelling();
    await endSession(client);
  }
}

/** One result a file, in the order of the files. */
async function importFiles(
  run: Omit<Run, 'lanes'>,
  files: readonly SourceFile[],
  options: ImportOptions,
): Promise<FileResult[]> {
  const { client, report } = run;
  const results = new Map<SourceFile, FileResult>();
  const finish = (file: SourceFile, result: FileResult) => {
    results.set(file, result);
    report({ type: 'file_finished', result });
  };

  const loadedFiles = await readLoadedFiles(client);
  const toLoad: SourceFile[] = [];
  const toReread: SourceFile[] = [];
  for (const file of files) {
    try {
      const decision = await decideOn(client, file, loadedFiles, options.isForced, options.isDryRun);
      if (decision === 'load') toLoad.push(file);
      else if (decision === 'reread') toReread.push(file);
      else finish(file, unchanged(file));
    } catch (error) {
      finish(file, await refuseFile(run, file, error));
    }
  }

  const lanes = openLanes([...toLoad, ...toReread], options.strict, options.jobs ?? defaultJobs());
  try {
    let storedRows = sum(loadedFiles.values(), ({ accepted }) => accepted);
    let mayBulk = true;
    for (let first = 0; first < toLoad.length; ) {
      const bulk = mayBulk ? planBulk(toLoad.slice(first), storedRows) : null;
      const batch = bulk?.files ?? toLoad.slice(first, first + 1);
      const done = await importBatch({ ...run, lanes }, batch, bulk?.rows ?? null, true);
      if (done === null) {
        mayBulk = false;
        continue;
      }
      first += batch.length;
      storedRows += sum(done, ({ counts }) => counts.accepted);
      for (const [index, result] of done.entries()) finish(batch[index] as SourceFile, result);
    }
    for (const file of toReread) {
      const [result] = (await importBatch({ ...run, lanes }, [file], null, false)) as [FileResult];
      finish(file, result);
    }
  } finally {
    await lanes.close();
  }
  return files.map((file) => results.get(file) as FileResult);
}

function sum<T>(values: Iterable<T>, of: (value: T) => number): number {
  let total = 0;
  for (const value of values) total += of(value);
  return total;
}

/** What to tell when a run ends early, with what to do next. */
function explain(error: unknown, client: pg.Client, database: Database, signal: AbortSignal): MoniepointError {
  if (signal.aborted) {
    return new MoniepointError(
      'interrupted',
      'Interrupted. What was not committed was rolled back; what was committed before stays.',
      error,
    );
  }
  if (error instanceof MoniepointError) return error;
  const why = describeError(error);
  return isConnectionLost(client, error)
    ? new MoniepointError(
        'database',
        `The connection to ${database.place} was lost: ${why}. What was not committed was rolled back; run again to complete the work.`,
        error,
      )
    : new MoniepointError(
        'failed',
        `The import stopped: ${why}. What was not committed was rolled back, and what was committed before stays; correct the cause and run again.`,
        error,
      );
}

function outcomeOf(results: readonly FileResult[]): ImportResult['outcome'] {
  if (results.some(({ status }) => status === 'failed')) return 'failed';
  return results.some(({ status }) => status === 'incomplete') ? 'incomplete' : 'done';
}
