import type pg from 'pg';
import { type Database, inTransaction, isConnectionLost, withSession } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { describeError, MoniepointError } from '../errors.ts';
import { readSnapshot } from '../snapshot.ts';
import { type Dictionaries, forgetPending, keepPending, loadDictionaries } from './codes.ts';
import { discover, type SourceFile } from './discover.ts';
import { decideOn, finishRun, nextFileId, record, startRun } from './ledger.ts';
import { loadFile, type Thresholds } from './load.ts';
import { takeImportLock } from './lock.ts';
import { addCounts, type Counts, type FileResult, type ImportResult, noCounts, type Report } from './progress.ts';
import { publish } from './publish.ts';
import { type FileStamp, openFile } from './read.ts';
import { createStaging } from './settle.ts';

export type ImportOptions = Thresholds & {
  readonly strict: boolean;
  /** Read everything, count everything, keep nothing. */
  readonly isDryRun: boolean;
  /** Read unchanged files too. */
  readonly isForced: boolean;
  readonly lockWaitMs: number;
};

/** What the files of one run have in common. */
type Run = {
  readonly client: pg.Client;
  readonly runId: number | null;
  readonly dictionaries: Dictionaries;
  readonly options: ImportOptions;
  readonly report: Report;
  readonly signal: AbortSignal;
};

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
    try {
      if (options.isDryRun) await client.query('BEGIN');
      for (const file of files) {
        const result = await importFile(run, file);
        results.push(result);
        report({ type: 'file_finished', result });
      }
      if (options.isDryRun) await client.query('ROLLBACK');
    } catch (error) {
      await stopCancelling();
      const outcome = signal.aborted ? 'interrupted' : 'failed';
      if (runId !== null) await finishRun(client, runId, outcome).catch(() => {}); // the connection may be what failed
      throw error;
    }

    const outcome = outcomeOf(results);
    if (runId !== null) await finishRun(client, runId, outcome);
    const counts = noCounts();
    for (const result of results) if (result.status === 'loaded') addCounts(counts, result.counts);
    const snapshot = await readSnapshot(client);
    return {
      outcome,
      isDryRun: options.isDryRun,
      files: results,
      ignored,
      counts,
      snapshot,
      elapsedMs: Date.now() - begin,
    };
  } catch (error) {
    if (signal.aborted)
      throw new MoniepointError(
        'interrupted',
        'Interrupted. The open file was rolled back; what was committed before stays.',
        error,
      );
    if (isConnectionLost(client, error)) {
      throw new MoniepointError(
        'database',
        `The connection to ${database.place} was lost: ${describeError(error)}. The open file was rolled back; run again to complete the work.`,
        error,
      );
    }
    if (error instanceof MoniepointError) throw error;
    throw new MoniepointError(
      'failed',
      `The import stopped: ${describeError(error)}. The open file was rolled back and what was committed before stays; correct the cause and run again.`,
      error,
    );
  } finally {
    await stopCancelling();
    await client.end().catch(() => {}); // it may have been lost already
  }
}

/** Imports one file in a transaction of its own; in a dry run, inside a savepoint of the run's transaction. */
async function importFile(run: Run, file: SourceFile): Promise<FileResult> {
  const { client, options, report } = run;
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
    const reading = await openFile(file);
    stamp = reading.stamp;
    try {
      const decision = await decideOn(client, file, stamp, options.isForced, options.isDryRun);
      if (decision === 'unchanged') return result('unchanged', noCounts());

      report({ type: 'file_started', name: file.name, path: file.path, sizeBytes: stamp.sizeBytes });
      const fileId = await nextFileId(client);
      const loaded = await atomically(run, async () => {
        const { counts, sha256 } = await loadFile(
          client,
          file,
          reading,
          fileId,
          run.dictionaries,
          options,
          report,
          run.signal,
        );
        if (decision === 'reread') throw new NothingNew(counts);
        if (run.runId === null) return counts;
        await record(client, {
          fileId,
          runId: run.runId,
          status: 'loaded',
          file,
          stamp: reading.stamp,
          sha256,
          counts,
          error: null,
          startedAt,
        });
        await publish(client);
        return counts;
      });
      return result('loaded', loaded);
    } finally {
      await reading.close();
    }
  } catch (error) {
    if (error instanceof NothingNew) return result('unchanged', error.counts);
    if (!isFileError(error)) throw error;
    if (run.runId !== null) {
      const fileId = await nextFileId(client);
      await record(client, {
        fileId,
        runId: run.runId,
        status: 'failed',
        file,
        stamp,
        sha256: null,
        counts: noCounts(),
        error: error.message,
        startedAt,
      });
    }
    return result(error.kind === 'incomplete' ? 'incomplete' : 'failed', noCounts(), error.message);
  }
}

/** Leaves the transaction of a file that was only read again, so that it is rolled back. */
class NothingNew extends Error {
  readonly counts: Counts;
  constructor(counts: Counts) {
    super('nothing new');
    this.counts = counts;
  }
}

/** Errors that concern one file alone; anything else ends the run. */
function isFileError(error: unknown): error is MoniepointError {
  return error instanceof MoniepointError && (error.kind === 'failed' || error.kind === 'incomplete');
}

async function atomically<T>(run: Run, work: () => Promise<T>): Promise<T> {
  const { client, dictionaries } = run;
  try {
    const result = await (run.options.isDryRun ? inSavepoint(client, work) : inTransaction(client, work));
    keepPending(dictionaries);
    return result;
  } catch (error) {
    forgetPending(dictionaries);
    throw error;
  }
}

async function inSavepoint<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query('SAVEPOINT file');
  try {
    const result = await work();
    await client.query('TRUNCATE event_staging');
    await client.query('RELEASE SAVEPOINT file');
    return result;
  } catch (error) {
    await client.query('ROLLBACK TO SAVEPOINT file').catch(() => {}); // a lost connection; the first error is thrown
    throw error;
  }
}

function outcomeOf(results: readonly FileResult[]): ImportResult['outcome'] {
  if (results.some(({ status }) => status === 'failed')) return 'failed';
  return results.some(({ status }) => status === 'incomplete') ? 'incomplete' : 'done';
}

/**
 * A signal ends the running statement too, through a second session, so that nobody waits for a long one.
 *
 * @returns a function that ends this, and returns when no cancellation is on its way any more
 */
function cancelOnAbort(database: Database, client: pg.Client, signal: AbortSignal): () => Promise<void> {
  const pid = (client as unknown as { processID: number }).processID; // known to pg, unknown to its types
  let cancelling = Promise.resolve();
  const onAbort = () => {
    cancelling = withSession(database, 'cancel', async (other) => {
      await other.query('SELECT pg_cancel_backend($1)', [pid]);
    }).catch(() => {}); // the import notices the signal by itself, only later
  };
  signal.addEventListener('abort', onAbort, { once: true });
  return async () => {
    signal.removeEventListener('abort', onAbort);
    await cancelling;
  };
}
