import { dirname } from 'node:path';
import type pg from 'pg';
import { cancelOnAbort, type Database, endSession, inTransaction, isConnectionLost } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { describeError, MoniepointError } from '../errors.ts';
import { readSnapshot, type Snapshot } from '../snapshot.ts';
import {
  importBatch,
  leftAlone,
  type PlannedFile,
  pruneVersions,
  type RunWithoutReading,
  refuseFile,
} from './batch.ts';
import { type KnownIds, planBulk } from './bulk.ts';
import { type Dictionaries, loadDictionaries } from './codes.ts';
import { type Discovery, discover, readFolder, type SourceFile } from './discover.ts';
import { monthOfText } from './encode.ts';
import { defaultJobs, openLanes } from './lanes.ts';
import {
  decideOn,
  findVersions,
  finishRun,
  isGone,
  type LoadedFile,
  readLoadedFiles,
  readPruned,
  readResultsOf,
  refreshLoadedFile,
  startRun,
} from './ledger.ts';
import type { Thresholds } from './load.ts';
import { endTurn, takeImportLock, takeImportPlace, whileAlone, withClaim } from './lock.ts';
import { addCounts, type FileResult, type ImportResult, noCounts, type Report } from './progress.ts';
import { readKeptFrom } from './retention.ts';
import { createPatience, isTransient, waitFor } from './retry.ts';
import { createSettlingTables } from './settle.ts';
import { letYoungSpacesGrow, stopYoungSpaces } from './young-space.ts';

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
  /** How many imports may share the work: each takes files that the others have not. 1 shares with nobody. Not with isDryRun or isForced. */
  readonly workers: number;
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
  const begin = performance.now();
  stopYoungSpaces();
  try {
    const discovery = await look(paths, options);
    const done: Done = { discovery, runId: null, before: undefined, results: new Map(), toPrune: [], pruned: [] };
    const snapshot = await importPatiently(database, paths, options, done, report, signal);
    const { files, ignored } = done.discovery;
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
      elapsedMs: Math.round(performance.now() - begin),
    };
  } finally {
    letYoungSpacesGrow();
  }
}

/** Where a session ends before all is done, in another one. */
async function importPatiently(
  database: Database,
  paths: readonly string[],
  options: ImportOptions,
  done: Done,
  report: Report,
  signal: AbortSignal,
): Promise<Snapshot | null> {
  const patience = createPatience(options.retryForMs ?? RETRY_FOR_MS);
  for (;;) {
    const doneBefore = done.results.size;
    const lockWaitMs = Math.max(options.lockWaitMs, patience.leftMs());
    try {
      return await importOnce(database, paths, { ...options, lockWaitMs }, done, report, signal);
    } catch (error) {
      const waitMs = patience.nextWait(done.results.size > doneBefore);
      if (signal.aborted || waitMs === null || !isTransient(error, done.runId !== null)) throw error;
      report({ type: 'retrying', waitMs, why: describeError((error as MoniepointError).cause) });
      await waitFor(waitMs, signal);
    }
  }
}

const RETRY_FOR_MS = 60_000;

/**
 * What there is to import now.
 *
 * @throws MoniepointError `failed` as discover; with `--prune` also for a directory without files
 */
async function look(paths: readonly string[], { prune }: ImportOptions): Promise<Discovery> {
  const discovery = await discover(paths);
  if (prune) refuseEmpty(discovery.emptyDirectories);
  return discovery;
}

/** It is more likely to be a disk that is not mounted than a folder that was emptied. */
function refuseEmpty(directories: readonly string[]): void {
  const [first] = directories;
  if (first === undefined) return;
  throw new MoniepointError(
    'failed',
    `${first}: no activity files there, so --prune would take all out that was loaded from it. Nothing was taken out; mount what belongs there, leave the directory out, or import without --prune.`,
  );
}

/** What is done for good, whatever becomes of the session. */
type Done = {
  /** What there is to import. */
  discovery: Discovery;
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

/** Its dictionaries are not loaded before there is a file to read: many runs find nothing new, however many merchants there are. */
type OpenRun = RunWithoutReading & { readonly dictionaries: () => Promise<Dictionaries> };

/** Does what is left to do in one session. */
async function importOnce(
  database: Database,
  paths: readonly string[],
  options: ImportOptions,
  done: Done,
  report: Report,
  signal: AbortSignal,
): Promise<Snapshot | null> {
  const client = await database.connect('import');
  const stopCancelling = cancelOnAbort(database, client, signal);
  try {
    const isShared = options.workers > 1;
    const hadToWait = isShared
      ? await takeImportPlace(client, options.workers, options.lockWaitMs, report, signal)
      : await takeImportLock(client, options.lockWaitMs, report, signal);
    // Files may have come or changed meanwhile.
    if (hadToWait && done.before === undefined) done.discovery = await look(paths, options);
    const { files, ignored, directories } = done.discovery;
    await migrate(client);
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
      let dictionaries: Promise<Dictionaries> | null = null;
      const keptFromMonth = await readKeptFrom(client);
      const keptFrom = keptFromMonth === null ? null : monthOfText(keptFromMonth);
      const run: OpenRun = {
        database,
        client,
        runId,
        isDryRun,
        isShared,
        keptFrom,
        dictionaries: () => {
          dictionaries ??= loadDictionaries(client);
          return dictionaries;
        },
        thresholds: options,
        report,
        signal,
      };
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
  run: OpenRun,
  files: readonly SourceFile[],
  directories: readonly string[],
  options: ImportOptions,
  done: Done,
): Promise<void> {
  const finish = (file: SourceFile, result: FileResult) => {
    done.results.set(file, result);
    run.report({ type: 'file_finished', result });
  };

  const loadedFiles = await readLoadedFiles(run.client);
  const left = files.filter((file) => !done.results.has(file));
  if (run.isShared) await importShared(run, left, loadedFiles, options, done, finish);
  else await importAlone(run, left, loadedFiles, options, finish);
  if (options.prune) await prune(run, directories, done);
}

type Finish = (file: SourceFile, result: FileResult) => void;

async function importAlone(
  run: OpenRun,
  files: readonly SourceFile[],
  loadedFiles: Map<string, LoadedFile>,
  options: ImportOptions,
  finish: Finish,
): Promise<void> {
  const storedRows = eventsIn(loadedFiles);
  const toLoad: PlannedFile[] = [];
  const toReread: PlannedFile[] = [];
  for (const file of files) {
    const plan = await planFile(run, file, loadedFiles, options);
    if ('status' in plan) finish(file, plan);
    else (plan.isKept ? toLoad : toReread).push(plan);
  }
  await importInBatches(run, [...toLoad, ...toReread], storedRows, 'as it pays', options, finish);
}

/**
 * Imports files while other importers do the same with those that this one leaves. It has the turn when it comes here. Where nobody
 * else imports yet, and the files are worth the bulk path, it loads them now, because the others would only wait for it; then it ends
 * its turn, and takes what is left file by file.
 */
async function importShared(
  run: OpenRun,
  files: readonly SourceFile[],
  loadedFiles: Map<string, LoadedFile>,
  options: ImportOptions,
  done: Done,
  finish: Finish,
): Promise<void> {
  const storedRows = eventsIn(loadedFiles);
  const toLoad: PlannedFile[] = [];
  for (const file of files) {
    // No more than its size and time are looked at, while the others wait; what may have changed is read under its claim.
    const versions = await findVersions(file, loadedFiles);
    if (versions === 'unchanged') finish(file, leftAlone(file, 'unchanged'));
    else if (versions.length === 0) toLoad.push({ file, replaces: null, isKept: true });
  }
  if (planBulk(toLoad, storedRows) !== null)
    await whileAlone(run.client, () => importInBatches(run, toLoad, storedRows, 'bulk only', options, finish));
  await endTurn(run.client);

  // First what nobody has; then what somebody had, in case that one ended without loading it.
  for (const isPatient of [false, true]) {
    const left = files.filter((file) => !done.results.has(file));
    if (isPatient && left.length > 0)
      run.report({ type: 'waiting', holder: `those that share the work; ${left.length} of the files are theirs` });
    for (const file of left) {
      await withClaim(run.client, file.path, isPatient, async () => {
        await refreshLoadedFile(run.client, file.path, loadedFiles);
        const plan = await planFile(run, file, loadedFiles, options);
        if ('status' in plan) finish(file, plan);
        else await importInBatches(run, [plan], 0, 'one by one', options, finish);
      });
      if (run.signal.aborted) throw new MoniepointError('interrupted', 'Interrupted between two files.');
    }
  }
}

const eventsIn = (loadedFiles: ReadonlyMap<string, LoadedFile>) => sum(loadedFiles.values(), ({ events }) => events);

/** What is to be done with a file, or its result where nothing is. */
async function planFile(
  run: RunWithoutReading,
  file: SourceFile,
  loadedFiles: Map<string, LoadedFile>,
  { onChange, isForced }: ImportOptions,
): Promise<PlannedFile | FileResult> {
  try {
    const { action, replaces, isChanged } = await decideOn(run.client, file, loadedFiles, isForced, run.signal);
    if (isChanged && onChange === 'fail') throw changed(file, replaces as LoadedFile);
    if (isChanged && onChange === 'skip') return leftAlone(file, 'skipped');
    if (action === 'unchanged') return leftAlone(file, 'unchanged');
    return { file, replaces, isKept: action === 'load' };
  } catch (error) {
    return refuseFile(run, file, error);
  }
}

/**
 * Imports files in this order, many at once where they are worth the bulk path: first those to keep, in name order.
 *
 * @param how `bulk only` ends where the rest is not worth it any more
 */
async function importInBatches(
  run: OpenRun,
  planned: readonly PlannedFile[],
  rowsBefore: number,
  how: 'as it pays' | 'bulk only' | 'one by one',
  { strict, jobs }: ImportOptions,
  finish: Finish,
): Promise<void> {
  if (planned.length === 0) return;
  const files = planned.map(({ file }) => file);
  const lanes = openLanes(files, strict, jobs ?? defaultJobs());
  try {
    const dictionaries = await run.dictionaries(); // meanwhile the lanes begin
    let storedRows = rowsBefore;
    let mayBulk = how !== 'one by one';
    const known: KnownIds = { filter: null };
    for (let first = 0; first < planned.length; ) {
      const rest = planned.slice(first);
      const toKeep = rest.filter(({ isKept }) => isKept);
      const bulk = mayBulk ? planBulk(toKeep, storedRows) : null;
      if (bulk === null && how === 'bulk only') return;
      mayBulk = bulk !== null; // what is left only ever becomes less beside what is stored
      const batch = rest.slice(0, bulk?.files ?? 1);
      const results = await importBatch({ ...run, dictionaries, lanes }, batch, bulk?.rows ?? null, known);
      if (results === null) {
        mayBulk = false;
        continue;
      }
      first += batch.length;
      storedRows += sum(results, ({ counts }) => counts.accepted - counts.expired);
      for (const [index, result] of results.entries()) finish((batch[index] as PlannedFile).file, result);
    }
  } finally {
    await lanes.close();
  }
}

/** Only where all went well: what replaces a file that is gone may be the one that failed. */
async function prune(run: RunWithoutReading, directories: readonly string[], done: Done): Promise<void> {
  const gone = await findGone(await readLoadedFiles(run.client), directories);
  if (gone.length === 0) return;
  if (outcomeOf([...done.results.values()]) !== 'done') {
    const message = `${gone.length} files that are gone were not pruned, because not all others could be loaded`;
    run.report({ type: 'warning', message });
    return;
  }
  // What was there at the start may have been unmounted since.
  for (const directory of new Set(gone.map(({ path }) => dirname(path)))) {
    const files = await readFolder(directory).then(
      (found) => found.files,
      () => [],
    );
    if (files.length === 0) refuseEmpty([directory]);
  }
  done.toPrune = gone.map(({ fileId }) => fileId);
  done.pruned = (await pruneVersions(run, gone)).map(({ path }) => path);
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
