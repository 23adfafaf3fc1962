import { withDatabase, withSession } from '@moniepoint/core/db/database';
import { refuseNewerSchema } from '@moniepoint/core/db/migrate';
import { MoniepointError } from '@moniepoint/core/errors';
import type { Command } from 'commander';
import { API_OPTIONS, addOptions, configOf, createLog, createProgram, DATABASE_OPTIONS, type Io } from './bin.ts';
import { startApi } from './serve.ts';

/** `moniepoint-api`: the read API alone. */
export function buildApiProgram(io: Io): Command {
  const program = createProgram('moniepoint-api', 'Serves the five metrics over HTTP. Imports nothing.', io);
  addOptions(program, [...API_OPTIONS, ...DATABASE_OPTIONS]);
  return program.action(async (flags) => {
    const config = configOf(io, flags);
    const log = createLog(io, config.logLevel);
    await withDatabase(config.databaseUrl, config.homeFolder, 'api', async (database) => {
      try {
        await withSession(database, 'api', refuseNewerSchema);
      } catch (error) {
        // A database that is down may come back; one that is newer does not get older.
        if (!(error instanceof MoniepointError) || error.cause === undefined) throw error;
        log.warn({ reason: error.message }, 'the database does not answer yet');
      }
      const api = await startApi(database, config, () => ({ state: 'idle' }), log);
      log.info({ url: api.url }, 'serving');
      await untilAborted(io.signal);
      log.info('stopping');
      await api.close();
    });
  });
}

/** Resolves with the first SIGINT or SIGTERM. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
