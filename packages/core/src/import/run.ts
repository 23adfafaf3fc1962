import { dirname } from 'node:path';
import type pg from 'pg';
import { cancelOnAbort, type Database, endSession, inTransaction, isConnectionLost } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { describeError, MoniepointError } from '../errors.ts';
import { readSnapshot, type Snapshot } from '../snapshot.ts';
import { importBatch, leftAlone, type PlannedFile, pruneVersions, type Run, refuseFile } from './batch.ts';
import { planBulk } from './bulk.ts';
import { loadDictionaries } from './codes.ts';
import { type Discovery, discover, type SourceFile } from './discover.ts';
import { monthOfText } from './encode.ts';
import { defaultJobs, openLanes } from './lanes.ts';
import {
  decideOn,
  finishRun,
  isGone,
  type LoadedFile,
  readLoadedFiles,
  readPruned,
  readResultsOf,
  startRun,
} from './ledger.ts';
import type { Thresholds } from './load.ts';
import { takeImportLock } from './lock.ts';
import { addCounts, type FileResult, type ImportResult, noCounts, type Report } from './progress.ts';
import { readKeptFrom } from './retention.ts';
import { createPatience, isTransient, waitFor } from './retry.ts';
import { createSettlingTables } from './settle.ts';

export type ImportOptions = Thresholds & {
  /** Turns each repair into a reject. */
  readonly strict: boolean;
  /** Reads everything, counts everything, keeps nothing. */
  readonly isDryRun: boolean;
  /** Reads unchanged files too. */
  readonly isForced: boolean;
  /** What to do with a file whose content changed since it was loaded. */
  readonly onChange: 'supersede' | 'skip' | 'fail';
  /** Takes loaded files out that are gone from the directories that are imported. */
  readonly prune: boolean;
  readonly lockWaitMs: number;
  /** How long to try again while the database is away or asks to try again: 0 gives up at once, undefined is a minute. */
  readonly retryForMs: number | undefined;
  /** How many threads read files; undefined leaves it to the machine. */
  readonly jobs: number | undefined;
};

/**
 * Imports files and directories: CONTRACT.md sections 1, 2 and 4. One file that fails does not stop the others.
 *
 * A file's events, rejects, rollups, ledger row and the new answers come together or not at all: small files one by one,
 * many rows at once in larger transactions (bulk.ts). The whole run uses one session, which also holds the lock; so
 * whatever ends the session ends both. Where the database goes away or asks to try again, the rest of the work is done in
 * a new session.
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
  const discovery = await discover(paths);
  const { files, ignored } = discovery;
  const done: Done = { runId: null, before: undefined, results: new Map(), toPrune: [], pruned: [] };
  const patience = createPatience(options.retryForMs ?? RETRY_FOR_MS);
  for (;;) {
    const doneBefore = done.results.size;
    const lockWaitMs = Math.max(options.lockWaitMs, patience.leftMs());
    try {
      const snapshot = await importOnce(database, discovery, { ...options, lockWaitMs }, done, report, signal);
      const results = files.map((file) => done.results.get(file) as FileResult);
      const counts = noCounts();
      for (const { status, counts: one } of results)
        if (status === 'loaded' || status === 'superseded') addCounts(counts, one);
      return {
        outcome: outcomeOf(results),
        isDryRun: options.isDryRun,
        files: results,
        ignored,
        pruned: done.pruned,
        counts,
        before: done.before ?? null,
        snapshot,
        elapsedMs: Date.now() - begin,
      };
    } catch (error) {
      const waitMs = patience.nextWait(done.results.size > doneBefore);
      if (signal.aborted || waitMs === null || !isTransient(error, done.runId !== null)) throw error;
      report({ type: 'retrying', waitMs, why: describeError((error as MoniepointError).cause) });
      await waitFor(waitMs, signal);
    }
  }
}

const RETRY_FOR_MS = 60_000;

/** What is done for good, whatever becomes of the session. */
type Done = {
  /** Null until the database was reached. */
  runId: number | null;
  /** What was published when the first session had the lock; undefined until then. */
  before: Snapshot | null | undefined;
  readonly results: Map<SourceFile, FileResult>;
  /** Versions that were to be taken out, whether or not it came to that. */
  toPrune: number[];
  /** Paths of files that were taken out. */
  pruned: string[];
};

/** Does what is left to do in one session. */
async function importOnce(
  database: Database,
  { files, ignored, directories }: Discovery,
  options: ImportOptions,
  done: Done,
  report: Report,
  signal: AbortSignal,
): Promise<Snapshot | null> {
  const client = await database.connect('import');
  const stopCancelling = cancelOnAbort(database, client, signal);
  try {
    await migrate(client);
    await takeImportLock(client, options.lockWaitMs, report, signal);
    if (done.before === undefined) {
      done.before = await readSnapshot(client);
      const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
      report({ type: 'plan', files: files.length, sizeBytes, ignored });
    }
    await client.query('SET random_page_cost = 1.1'); // ids are looked up by their index, which lies in memory or on an SSD
    await createSettlingTables(client);
    const { isDryRun } = options;
    const importAll = async () => {
      if (isDryRun)
        done.results.clear(); // what an earlier session did was rolled back
      else if (done.runId !== null) await takeOverCommitted(client, files, done, report);
      const runId = done.runId ?? (await startRun(client));
      done.runId = runId;
      const dictionaries = await loadDictionaries(client);
      const keptFromMonth = await readKeptFrom(client);
      const keptFrom = keptFromMonth === null ? null : monthOfText(keptFromMonth);
      const run = { client, runId, isDryRun, keptFrom, dictionaries, thresholds: options, report, signal };
      try {
        await importFiles(run, files, directories, options, done);
        await finishRun(client, runId, outcomeOf([...done.results.values()]));
      } catch (error) {
        await stopCancelling();
        // The connection may be what failed; the run then shows as killed.
        await finishRun(client, runId, signal.aborted ? 'interrupted' : 'failed').catch(() => {});
        throw error;
      }
    };
    if (isDryRun) await inTransaction(client, importAll, undefined, false);
    else await importAll();
    return await readSnapshot(client);
  } catch (error) {
    throw explain(error, client, database, signal);
  } finally {
    await stopCancelling();
    await endSession(client);
  }
}

/** The answer to the last COMMIT may have been lost with the connection. */
async function takeOverCommitted(
  client: pg.Client,
  files: readonly SourceFile[],
  done: Done,
  report: Report,
): Promise<void> {
  const committed = await readResultsOf(client, done.runId as number);
  for (const file of files) {
    const result = committed.get(file.path);
    if (result === undefined || done.results.has(file)) continue;
    done.results.set(file, result);
    report({ type: 'file_finished', result });
  }
  if (done.toPrune.length > 0) done.pruned = await readPruned(client, done.toPrune);
}

async function importFiles(
  run: Omit<Run, 'lanes'>,
  files: readonly SourceFile[],
  directories: readonly string[],
  options: ImportOptions,
  done: Done,
): Promise<void> {
  const { client, report } = run;
  const finish = (file: SourceFile, result: FileResult) => {
    done.results.set(file, result);
    report({ type: 'file_finished', result });
  };

  const loadedFiles = await readLoadedFiles(client);
  const toLoad: PlannedFile[] = [];
  const toSupersede: PlannedFile[] = [];
  const toReread: PlannedFile[] = [];
  for (const file of files.filter((one) => !done.results.has(one))) {
    try {
      const { action, replaces, isChanged } = await decideOn(client, file, loadedFiles, options.isForced);
      if (isChanged && options.onChange === 'fail') throw changed(file, replaces as LoadedFile);
      if (isChanged && options.onChange === 'skip') finish(file, leftAlone(file, 'skipped'));
      else if (replaces !== null) toSupersede.push({ file, replaces: replaces.fileId });
      else if (action === 'load') toLoad.push({ file, replaces: null });
      else if (action === 'reread') toReread.push({ file, replaces: null });
      else finish(file, leftAlone(file, 'unchanged'));
    } catch (error) {
      finish(file, await refuseFile(run, file, error));
    }
  }

  const toRead = [...toLoad, ...toSupersede, ...toReread].map(({ file }) => file);
  const lanes = openLanes(toRead, options.strict, options.jobs ?? defaultJobs());
  try {
    let storedRows = sum(loadedFiles.values(), ({ events }) => events);
    let mayBulk = true;
    for (let first = 0; first < toLoad.length; ) {
      const rest = toLoad.slice(first);
      const bulk = mayBulk ? planBulk(rest, storedRows) : null;
      const batch = rest.slice(0, bulk?.files ?? 1);
      const results = await importBatch({ ...run, lanes }, batch, bulk?.rows ?? null, true);
      if (results === null) {
        mayBulk = false;
        continue;
      }
      first += batch.length;
      storedRows += sum(results, ({ counts }) => counts.accepted - counts.expired);
      for (const [index, result] of results.entries()) finish((batch[index] as PlannedFile).file, result);
    }
    for (const planned of [...toSupersede, ...toReread]) {
      const isKept = planned.replaces !== null;
      const [result] = (await importBatch({ ...run, lanes }, [planned], null, isKept)) as [FileResult];
      finish(planned.file, result);
    }
  } finally {
    await lanes.close();
  }
  if (options.prune) await prune(run, directories, done);
}

/** Only where all went well: what replaces a file that is gone may be the one that failed. */
async function prune(run: Omit<Run, 'lanes'>, directories: readonly string[], done: Done): Promise<void> {
  const gone = await findGone(await readLoadedFiles(run.client), directories);
  if (gone.length === 0) return;
  if (outcomeOf([...done.results.values()]) !== 'done') {
    const message = `${gone.length} files that are gone were not pruned, because not all others could be loaded`;
    run.report({ type: 'warning', message });
    return;
  }
  done.toPrune = gone.map(({ fileId }) => fileId);
  await pruneVersions(run, done.toPrune);
  done.pruned = gone.map(({ path }) => path);
}

/** Loaded files that lay in one of these directories, and are not there any more. */
async function findGone(
  loadedFiles: ReadonlyMap<string, LoadedFile>,
  directories: readonly string[],
): Promise<LoadedFile[]> {
  const gone: LoadedFile[] = [];
  for (const loaded of loadedFiles.values())
    if (directories.includes(dirname(loaded.path)) && (await isGone(loaded.path))) gone.push(loaded);
  return gone;
}

function changed(file: SourceFile, version: LoadedFile): MoniepointError {
  return new MoniepointError(
    'failed',
    `${file.path}: its content changed since it was loaded (${version.sizeBytes} bytes then, ${file.sizeBytes} now). Nothing of the new version was loaded and the old one stays. Restore the file, or load it with --on-change supersede.`,
  );
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

/** How a run of these files ended. */
export function outcomeOf(results: readonly FileResult[]): ImportResult['outcome'] {
  if (results.some(({ status }) => status === 'failed')) return 'failed';
  return results.some(({ status }) => status === 'incomplete') ? 'incomplete' : 'done';
}
