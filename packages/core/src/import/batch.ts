import type pg from 'pg';
import { type Database, inTransaction, SAVEPOINT } from '../db/database.ts';
import { fenceOf } from '../db/distribute.ts';
import { MoniepointError } from '../errors.ts';
import { createAdmission } from './admit.ts';
import { type Bulk, beginBulk, flush, type KnownIds, summarizePages } from './bulk.ts';
import { adoptKeys, type Dictionaries, forgetKeys, forgetSince, markOf, saveDictionaries } from './codes.ts';
import type { SourceFile } from './discover.ts';
import { monthText } from './encode.ts';
import type { Lanes } from './lanes.ts';
import { type LedgerEntry, type LoadedFile, lockLoaded, nextFileIds, record, recount, retire } from './ledger.ts';
import { createLoader, type Loaded, type Loader, type Thresholds } from './load.ts';
import { takeTurn } from './lock.ts';
import { type FileResult, noCounts, type Report, type Stage } from './progress.ts';
import { publish } from './publish.ts';
import { closeExpired } from './retention.ts';
import { addTally, addToRollups, takeFromRollups } from './rollup.ts';
import { chooseWay, clearSettlingTables, rekeyCandidates, setAside, settle, takeOutFiles } from './settle.ts';
import { createTally, giveUp, type Tally } from './tally.ts';

/** What the files of one run have in common. */
export type Run = {
  readonly database: Pick<Database, 'connect'>;
  readonly client: pg.Client;
  readonly runId: number;
  /** There is a transaction around the whole run, which is rolled back. */
  readonly isDryRun: boolean;
  /** Other importers may work on other files: what concerns all of them is done in turns. */
  readonly isShared: boolean;
  /** The first month that is kept, counted from the year 0; null keeps all. */
  readonly keptFrom: number | null;
  readonly dictionaries: Dictionaries;
  readonly lanes: Lanes;
  readonly thresholds: Thresholds;
  readonly report: Report;
  readonly signal: AbortSignal;
};

/** A run without what it takes to read files. */
export type RunWithoutReading = Omit<Run, 'dictionaries' | 'lanes'>;

/** A file to read, and the version of it that is to leave where it was loaded before. */
export type PlannedFile = {
  readonly file: SourceFile;
  readonly replaces: LoadedFile | null;
  /** False where it is read only to show that nothing of it is new: what was loaded is rolled back. */
  readonly isKept: boolean;
};

/** A file with what was loaded of it, or why nothing was. */
type Attempt = PlannedFile & {
  readonly fileId: number;
  readonly startedAt: Date;
  readonly loaded: Loaded | null;
  readonly failure: MoniepointError | null;
};

/**
 * Imports files in one transaction: their events, rejects, rollups, ledger rows and the new answers come together or not
 * at all. What is wrong with one file alone becomes its result; anything else is thrown, and undoes all of them.
 *
 * @param bulkRows how many rows to expect where they are worth the bulk path, else null
 * @param known from the batch before
 * @returns null where the bulk path was asked for and the table is in use: nothing was read then
 * @throws MoniepointError `interrupted`; errors of the database as they are
 */
export async function importBatch(
  run: Run,
  files: readonly PlannedFile[],
  bulkRows: number | null,
  known: KnownIds,
): Promise<FileResult[] | null> {
  const { client, dictionaries, report, signal } = run;
  const isKept = files.every((file) => file.isKept);
  const mark = markOf(dictionaries);
  let rowsRead = 0;
  let flushing: Promise<void> | null = null;
  const enter = (stage: Stage) => report({ type: 'stage', stage, files: files.length, rowsRead });

  const work = async (): Promise<FileResult[] | null> => {
    if (bulkRows !== null) enter('preparing');
    const versions = files.flatMap(({ replaces }) => replaces?.fileId ?? []);
    const bulk = bulkRows === null ? null : await beginBulk(client, bulkRows, versions, known);
    if (bulkRows !== null && bulk === null) return null;
    const admission = createAdmission(dictionaries, bulk && { ...bulk, tally: createTally(dictionaries) });
    const tally = admission.bulk?.tally ?? null;
    const loader = createLoader(run, admission);
    const attempts = await loadAll(run, files, loader, tally);
    const loaded = attempts.flatMap((one) => one.loaded ?? []);
    rowsRead = rowsIn(attempts);
    refuseAborted(signal);

    if (run.isShared) {
      await takeTurn(client);
      await rekeyCandidates(client, await adoptKeys(client, dictionaries));
    }
    await saveDictionaries(client, dictionaries);
    enter('settling');
    const toReplace = attempts.flatMap(({ loaded: one, replaces }) => (one === null ? [] : (replaces ?? [])));
    // Where a file was moved, another importer may have found its version to be that of another file meanwhile.
    const replaced = (run.isShared ? await lockLoaded(client, toReplace) : toReplace).map(({ fileId }) => fileId);
    await takeOutFiles(client, replaced);
    await retire(client, replaced, 'superseded');
    if (bulk !== null) {
      // Versions that stay after all, of files that failed: what was taken for new may be in them.
      const staying = versions.filter((fileId) => !replaced.includes(fileId));
      await setAside(client, staying);
    }
    const way = bulk && (await chooseWay(client));
    const buildIndexes = async ({ needsFlush, finish }: Bulk) => {
      enter('indexing');
      if (needsFlush && isKept && !run.isDryRun) flushing = flush(run.database);
      await finish();
    };
    if (bulk !== null && way === 'by the index') {
      await buildIndexes(bulk);
      enter('settling');
    }
    const newFiles = attempts.map(({ fileId, file: { name, path } }) => ({ fileId, name, path }));
    const later = await settle(client, newFiles, way);
    if (run.keptFrom !== null) await closeExpired(client, newFiles, monthText(run.keptFrom).slice(0, 'YYYY-MM'.length));
    for (const { fileId, counts } of loaded) {
      const { duplicate, conflict } = later.get(fileId) ?? { duplicate: 0, conflict: 0 };
      Object.assign(counts, { accepted: counts.accepted - duplicate, duplicate, conflict });
      later.delete(fileId);
    }
    if (bulk !== null && way !== 'by the index') await buildIndexes(bulk);
    if ((bulk === null || way === 'by the index') && isKept && !run.isDryRun) await summarizePages(client);
    enter('counting');
    if (isKept) {
      await recount(client, later);
      await record(
        client,
        attempts.map((one) => ledgerEntry(run.runId, one)),
      );
    }
    if (isKept && loaded.length > 0) {
      const months = await updateRollups(client, tally, attempts[0]?.fileId as number);
      enter('publishing');
      await publish(client, months);
    }
    enter('committing');
    await clearSettlingTables(client);
    refuseAborted(signal);
    return attempts.map((one) => resultOf(one, isKept));
  };

  let results: FileResult[] | null;
  try {
    results = await inTransaction(client, work, run.isDryRun ? SAVEPOINT : undefined, isKept);
  } finally {
    await flushing;
  }
  if (!isKept) forget(run, mark);
  return results;
}

/**
 * Counts what entered `event` and what left it.
 *
 * @param tally what went in by the bulk path, counted in memory unless that was given up
 * @param firstFileId of the batch: files from it on are new
 * @returns the months, `YYYY-MM`, whose successes changed; some twice
 */
async function updateRollups(client: pg.Client, tally: Tally | null, firstFileId: number): Promise<string[]> {
  if (tally !== null && tally.counter === null) {
    // Of the new files what is there now, and of the others what came and went.
    const now = `(SELECT * FROM event WHERE file_id >= ${firstFileId}) AS now`;
    const ofOthers = (table: string) => `(SELECT * FROM ${table} WHERE file_id < ${firstFileId}) AS of_others`;
    return [
      ...(await addToRollups(client, now, await fenceOf(client))),
      ...(await addToRollups(client, ofOthers('newcomer'))),
      ...(await takeFromRollups(client, ofOthers('leaver'))),
    ];
  }
  return [
    ...(tally === null ? [] : await addTally(client, tally)),
    ...(await addToRollups(client, 'newcomer')),
    ...(await takeFromRollups(client, 'leaver')),
  ];
}

/**
 * Takes out versions whose files are gone, in one transaction; what they had kept from being stored comes back.
 *
 * @returns those that were taken out: another importer may have found or replaced the others meanwhile
 */
export async function pruneVersions(run: RunWithoutReading, gone: readonly LoadedFile[]): Promise<LoadedFile[]> {
  const { client } = run;
  const enter = (stage: Stage) => run.report({ type: 'stage', stage, files: gone.length, rowsRead: 0 });
  const work = async () => {
    if (run.isShared) await takeTurn(client);
    const pruned = await lockLoaded(client, gone);
    if (pruned.length === 0) return pruned;
    const fileIds = pruned.map(({ fileId }) => fileId);
    enter('settling');
    await takeOutFiles(client, fileIds);
    await retire(client, fileIds, 'pruned');
    await recount(client, await settle(client, [], null));
    enter('counting');
    const months = await updateRollups(client, null, 0);
    enter('publishing');
    await publish(client, months);
    enter('committing');
    await clearSettlingTables(client);
    refuseAborted(run.signal);
    return pruned;
  };
  return inTransaction(client, work, run.isDryRun ? SAVEPOINT : undefined);
}

/** A signal that comes between two statements has none to cancel. */
function refuseAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new MoniepointError('interrupted', 'Interrupted before the commit.');
}

async function loadAll(
  run: Run,
  files: readonly PlannedFile[],
  loader: Loader,
  tally: Tally | null,
): Promise<Attempt[]> {
  const attempts: Attempt[] = [];
  const fileIds = await nextFileIds(run.client, files.length);
  try {
    for (const [index, planned] of files.entries()) {
      const fileId = fileIds[index] as number;
      const mark = markOf(run.dictionaries);
      const startedAt = new Date();
      try {
        const loaded = await loader.load(planned.file, fileId);
        warnOfMerchants(run, planned.file, run.dictionaries.merchants.nextKey - mark.merchants, loaded.counts.read);
        attempts.push({ ...planned, fileId, startedAt, loaded, failure: null });
      } catch (error) {
        if (!isAboutFile(error)) throw error;
        await loader.takeOut(fileId);
        forget(run, mark);
        if (tally !== null) giveUp(tally); // it holds a part of the file by now
        attempts.push({ ...planned, fileId, startedAt, loaded: null, failure: error });
      }
    }
    run.report({ type: 'stage', stage: 'storing', files: files.length, rowsRead: rowsIn(attempts) });
    await loader.flush();
    return attempts;
  } catch (error) {
    await loader.abort();
    throw error;
  }
}

const rowsIn = (attempts: readonly Attempt[]) =>
  attempts.reduce((sum, { loaded }) => sum + (loaded?.counts.read ?? 0), 0);

/** Merchants are kept in memory. Where nearly each row has one of its own, the column probably holds something else. */
export function warnOfMerchants(
  { report }: Pick<Run, 'report'>,
  file: SourceFile,
  newMerchants: number,
  rowsRead: number,
): void {
  if (newMerchants < MANY_MERCHANTS || newMerchants < rowsRead / 2) return;
  report({
    type: 'warning',
    message: `${file.name}: ${newMerchants} of ${rowsRead} rows name a merchant that was not known before; check that merchant_id holds merchants`,
  });
}

const MANY_MERCHANTS = 100_000;

/** Texts that were rolled back are unknown again. */
export function forget(
  { dictionaries, lanes }: Pick<Run, 'dictionaries' | 'lanes'>,
  mark: ReturnType<typeof markOf>,
): void {
  forgetSince(dictionaries, mark);
  for (const keys of lanes.keys) forgetKeys(keys, dictionaries);
}

/** The result of a file that nothing could be loaded of, which the ledger keeps. An error of another kind is thrown on. */
export async function refuseFile(run: RunWithoutReading, file: SourceFile, error: unknown): Promise<FileResult> {
  if (!isAboutFile(error)) throw error;
  const [fileId] = await nextFileIds(run.client, 1);
  const failed = { loaded: null, failure: error };
  const attempt: Attempt = {
    file,
    replaces: null,
    isKept: true,
    fileId: fileId as number,
    startedAt: new Date(),
    ...failed,
  };
  await record(run.client, [ledgerEntry(run.runId, attempt)]);
  return resultOf(attempt, true);
}

/** The result of a file that was left alone. */
export function leftAlone({ path, name, sizeBytes }: SourceFile, status: 'unchanged' | 'skipped'): FileResult {
  return { path, name, sizeBytes, status, error: null, counts: noCounts() };
}

/** Errors that concern one file alone. */
export function isAboutFile(error: unknown): error is MoniepointError {
  return error instanceof MoniepointError && (error.kind === 'failed' || error.kind === 'incomplete');
}

function ledgerEntry(runId: number, { file, fileId, startedAt, loaded, failure }: Attempt): LedgerEntry {
  return {
    runId,
    fileId,
    file,
    startedAt,
    status: loaded === null ? 'failed' : 'loaded',
    content: loaded?.content ?? null,
    header: loaded?.header ?? null,
    counts: loaded?.counts ?? noCounts(),
    error: failure?.message ?? null,
  };
}

function resultOf({ file, replaces, loaded, failure }: Attempt, isKept: boolean): FileResult {
  const loadedAs = replaces === null ? 'loaded' : 'superseded';
  const status =
    failure === null ? (isKept ? loadedAs : 'unchanged') : failure.kind === 'incomplete' ? 'incomplete' : 'failed';
  return {
    path: file.path,
    name: file.name,
    sizeBytes: file.sizeBytes,
    status,
    error: failure?.message ?? null,
    counts: loaded?.counts ?? noCounts(),
  };
}
