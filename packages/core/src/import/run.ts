import type pg from 'pg';
import { cancelOnAbort, type Database, endSession, inTransaction, isConnectionLost } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { describeError, MoniepointError } from '../errors.ts';
import { readSnapshot } from '../snapshot.ts';
import { loadDictionaries } from './codes.ts';
import { discover } from './discover.ts';
import { type FileOptions, importFile, type Run } from './file.ts';
import { finishRun, startRun } from './ledger.ts';
import { takeImportLock } from './lock.ts';
import { addCounts, type FileResult, type ImportResult, noCounts, type Report } from './progress.ts';
import { createStaging } from './settle.ts';

export type ImportOptions = FileOptions & { readonly lockWaitMs: number };

/**
 * Imports files and directories: CONTRACT.md sections 1, 2 and 4. One file that fails does not stop the others.
 *
 * Each file is one transaction: its events, rejects, rollups, ledger row and the new answers come together or not at
 * all. The whole run uses one session, which also holds the lock; so whatever ends the session ends both.
 *
 * @param signal rolls the open file back and ends the run
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
    await createStaging(client);
    const runId = options.isDryRun ? null : await startRun(client);
    const run: Run = { client, runId, dictionaries: await loadDictionaries(client), options, report, signal };

    const results: FileResult[] = [];
    const importAll = async () => {
      for (const file of files) {
        const result = await importFile(run, file);
        results.push(result);
        report({ type: 'file_finished', result });
      }
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

/** What to tell when a run ends early, with what to do next. */
function explain(error: unknown, client: pg.Client, database: Database, signal: AbortSignal): MoniepointError {
  if (signal.aborted) {
    return new MoniepointError(
      'interrupted',
      'Interrupted. The open file was rolled back; what was committed before stays.',
      error,
    );
  }
  if (error instanceof MoniepointError) return error;
  const why = describeError(error);
  return isConnectionLost(client, error)
    ? new MoniepointError(
        'database',
        `The connection to ${database.place} was lost: ${why}. The open file was rolled back; run again to complete the work.`,
        error,
      )
    : new MoniepointError(
        'failed',
        `The import stopped: ${why}. The open file was rolled back and what was committed before stays; correct the cause and run again.`,
        error,
      );
}

function outcomeOf(results: readonly FileResult[]): ImportResult['outcome'] {
  if (results.some(({ status }) => status === 'failed')) return 'failed';
  return results.some(({ status }) => status === 'incomplete') ? 'incomplete' : 'done';
}
