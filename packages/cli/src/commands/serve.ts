import type { ImportState } from '@moniepoint/api/app';
import { type Io, type ProgramConfig, printable, untilAborted } from '@moniepoint/api/bin';
import { createLog } from '@moniepoint/api/log';
import { startApi } from '@moniepoint/api/serve';
import type { Config } from '@moniepoint/core/config';
import { type Database, withDatabase, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { describeError, MoniepointError } from '@moniepoint/core/errors';
import type { ImportEvent } from '@moniepoint/core/import/progress';
import { isTransient, waitFor } from '@moniepoint/core/import/retry';
import { runImport } from '@moniepoint/core/import/run';
import { readSnapshot } from '@moniepoint/core/snapshot';
import { createImportView } from '../view/import.ts';
import { renderServing } from '../view/serving.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const log = createLog(io, config.logLevel);
  await withDatabase(config.databaseUrl, config.homeFolder, 'serve', async (database) => {
    let importState: ImportState = { state: 'idle' };
    const api = await startApi(database, config, () => importState, log);
    log.info({ url: api.url }, 'listening');
    try {
      await migrateWhenReachable(database, io.signal, (reason) => {
        log.warn({ reason }, 'the database does not answer yet');
        importState = { state: 'waiting', detail: 'the database does not answer' };
      });
      importState = { state: 'idle' };
      if (!config.noImport) {
        importState = await importDataFolder(io, database, config, (progress) => {
          importState = progress;
        });
      }
      io.err(await describeServing(api.url, database));
      await untilAborted(io.signal);
    } finally {
      await api.close();
    }
  });
}

/**
 * Migrates, however long the database is away, as it may be while a machine starts. Anything else that is wrong is thrown.
 *
 * @param onAway called once, with the reason
 * @throws MoniepointError `interrupted`
 */
async function migrateWhenReachable(
  database: Database,
  signal: AbortSignal,
  onAway: (reason: string) => void,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await withSession(database, 'serve', migrate);
      return;
    } catch (error) {
      if (!isTransient(error, true)) throw error;
      if (tries === 1) onAway(describeError(error));
      await waitFor(DATABASE_WAIT_MS, signal);
    }
  }
}

const DATABASE_WAIT_MS = 1_000;

async function describeServing(url: string, database: Database): Promise<string> {
  try {
    return renderServing(url, await withSession(database, 'serve', readSnapshot));
  } catch (error) {
    // A database that went down meanwhile is no reason to stop serving what was published.
    return `Serving on ${url} what was published last: ${printable(describeError(error))}\n`;
  }
}

/** An import that fails leaves the API with what was published before; only an interruption ends it too. */
async function importDataFolder(
  io: Io,
  database: Database,
  config: Config,
  onProgress: (state: ImportState) => void,
): Promise<ImportState> {
  const view = createImportView(io);
  const progress = { state: 'running' as const, files: 0, files_done: 0, rows_read: 0 };
  let rowsDone = 0;
  onProgress(progress);
  const report = (event: ImportEvent) => {
    view.report(event);
    if (event.type === 'plan') progress.files = event.files;
    if (event.type === 'file_progress') progress.rows_read = rowsDone + event.rowsRead;
    if (event.type === 'file_started') rowsDone = progress.rows_read;
    if (event.type === 'file_finished') progress.files_done += 1;
    onProgress({ ...progress });
  };
  const { strict, maxRejects, maxRejectRate, jobs, onChange, lockWait, retryFor } = config;
  try {
    const given = { strict, maxRejects, maxRejectRate, jobs, onChange };
    const times = { lockWaitMs: lockWait, retryForMs: retryFor };
    const options = { ...given, ...times, prune: false, isForced: false, isDryRun: false };
    const result = await runImport(database, [config.dataDir], options, report, io.signal);
    view.finish(result);
    return result.outcome === 'done'
      ? { state: 'done' }
      : { state: 'failed', detail: `${result.outcome}; see the log of this process` };
  } catch (error) {
    if (error instanceof MoniepointError && error.kind === 'interrupted') throw error;
    view.close();
    io.err(`error: ${printable(describeError(error))}\n`);
    return { state: 'failed', detail: 'see the log of this process' };
  } finally {
    view.close();
  }
}
