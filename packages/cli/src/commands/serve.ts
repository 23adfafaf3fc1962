import { setTimeout as sleep } from 'node:timers/promises';
import type { ImportState } from '@moniepoint/api/app';
import { type Io, type ProgramConfig, printable, untilAborted } from '@moniepoint/api/bin';
import { createLog } from '@moniepoint/api/log';
import { startApi } from '@moniepoint/api/serve';
import { type Database, withDatabase, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { describeError, kindOf, MoniepointError } from '@moniepoint/core/errors';
import type { ImportEvent } from '@moniepoint/core/import/progress';
import { isTransient } from '@moniepoint/core/import/retry';
import { runImport } from '@moniepoint/core/import/run';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { describeFailure, describeResult } from '../ping.ts';
import { type Attempt, createReloads, type Server, type Trigger } from '../reload.ts';
import { createSchedule } from '../schedule.ts';
import { createImportView, type ImportView } from '../view/import.ts';
import { renderServing } from '../view/serving.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  /** A line of the log would tear a bar. */
  let print = io.err;
  const log = createLog({ ...io, err: (text) => print(text) }, config.logLevel);
  const { reloadCron, reloadTimezone } = config;
  const cron = reloadCron === undefined ? null : createSchedule(reloadCron, reloadTimezone);
  let importState: ImportState = { state: 'idle' };
  const onState = (state: ImportState) => {
    importState = state;
  };
  await withDatabase(config.databaseUrl, config.homeFolder, 'serve', async (database) => {
    const server = { config, io, log, database, onState };
    const reloads = createReloads(server, cron, (trigger, paths) => {
      // After the first import the log goes on for good, and a bar would come and go in it.
      const view = createImportView(trigger === 'start' ? io : { ...io, terminal: null }, config.progress, false);
      print = view.print;
      return importPaths(server, view, trigger, paths);
    });
    const api = await startApi(database, config, () => importState, log, reloads.plan);
    log.info({ url: api.url }, 'listening');
    let interruption: unknown = null;
    try {
      await migrateWhenReachable(database, io.signal, (reason) => {
        log.warn({ reason }, 'the database does not answer yet');
        onState({ state: 'waiting', detail: 'the database does not answer' });
      });
      onState({ state: 'idle' });
      if (!io.signal.aborted) {
        reloads.begin();
        // A watch takes what lies there at first too, once it is complete.
        if (!config.noImport && !config.watch) await reloads.run('start', [config.dataDir]);
      }
      if (!io.signal.aborted) io.err(await describeServing(api.url, database, config.watch));
      await untilAborted(io.signal);
    } finally {
      [interruption] = await Promise.all([reloads.end(), api.close()]);
    }
    if (interruption !== null) throw interruption;
  });
}

/**
 * Migrates, however long the database is away, as it may be while a machine starts. Anything else that is wrong is thrown.
 *
 * @param signal ends the waiting
 * @param onAway called once, with the reason
 */
async function migrateWhenReachable(
  database: Database,
  signal: AbortSignal,
  onAway: (reason: string) => void,
): Promise<void> {
  for (let tries = 1; !signal.aborted; tries += 1) {
    try {
      await withSession(database, 'serve', migrate);
      return;
    } catch (error) {
      // Locked: an older program imports, whose schema it still is.
      if (!isTransient(error, true) && kindOf(error) !== 'locked') throw error;
      if (tries === 1) onAway(describeError(error));
      await sleep(DATABASE_WAIT_MS, undefined, { signal }).catch(() => {}); // told to stop
    }
  }
}

const DATABASE_WAIT_MS = 1_000;

async function describeServing(url: string, database: Database, isWatching: boolean): Promise<string> {
  try {
    return renderServing(url, await withSession(database, 'serve', readSnapshot), isWatching);
  } catch (error) {
    // A database that went down meanwhile is no reason to stop serving what was published.
    return `Serving on ${url} what was published last: ${printable(describeError(error))}\n`;
  }
}

/** An import that fails leaves the API with what was published before. Never throws. */
async function importPaths(
  { config, io, log, database, onState }: Server,
  view: ImportView,
  trigger: Trigger,
  paths: readonly string[],
): Promise<Attempt> {
  const tellsAll = trigger === 'start' || config.progress === 'json';
  const progress = { state: 'running' as const, files: 0, files_done: 0, rows_read: 0 };
  let rowsDone = 0;
  onState(progress);
  const report = (event: ImportEvent) => {
    // After the first import, what has not changed is no news to a person.
    if (tellsAll || event.type !== 'file_finished' || event.result.status !== 'unchanged')
      view.report(event.type === 'plan' && !tellsAll ? { ...event, ignored: [] } : event);
    if (event.type === 'plan') progress.files = event.files;
    if (event.type === 'file_progress') progress.rows_read = rowsDone + event.rowsRead;
    if (event.type === 'file_started') rowsDone = progress.rows_read;
    if (event.type === 'file_finished') progress.files_done += 1;
    onState({ ...progress });
  };
  const { strict, maxRejects, maxRejectRate, jobs, onChange, lockWait, retryFor } = config;
  try {
    const given = { strict, maxRejects, maxRejectRate, jobs, onChange };
    const times = { lockWaitMs: lockWait, retryForMs: retryFor };
    const options = { ...given, ...times, workers: 1, prune: false, isForced: false, isDryRun: false };
    const result = await runImport(database, paths, options, report, io.signal);
    if (tellsAll || result.files.some(({ status }) => status !== 'unchanged')) view.finish(result);
    else log.info({ trigger, files: result.files.length }, 'nothing has changed');
    const { outcome } = result;
    onState(
      outcome === 'done' ? { state: 'done' } : { state: 'failed', detail: `${outcome}; see the log of this process` },
    );
    return { outcome, text: describeResult(result), error: null };
  } catch (thrown) {
    const error =
      thrown instanceof MoniepointError ? thrown : new MoniepointError('failed', describeError(thrown), thrown);
    if (error.kind !== 'interrupted' && !view.fail(error)) io.err(`error: ${printable(error.message)}\n`);
    onState({
      state: 'failed',
      detail: error.kind === 'locked' ? 'another import holds the lock' : 'see the log of this process',
    });
    return { outcome: error.kind, text: `${error.kind}: ${describeFailure(error, paths)}`, error };
  } finally {
    view.close();
  }
}
