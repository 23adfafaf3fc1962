import { withDatabase, withSession } from '@moniepoint/core/db/database';
import { isOlderSchema, refuseNewerSchema } from '@moniepoint/core/db/migrate';
import { MoniepointError } from '@moniepoint/core/errors';
import type { Command } from 'commander';
import type { ImportState } from './app.ts';
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
        await withSession(database, 'api', async (client) => {
          await refuseNewerSchema(client);
          if (await isOlderSchema(client))
            log.warn('the schema is older than this program, which cannot read it until you run: moniepoint migrate');
        });
      } catch (error) {
        // A database that is down may come back; one that is newer does not get older.
        if (!(error instanceof MoniepointError) || error.cause === undefined) throw error;
        log.warn({ reason: error.message }, 'the database does not answer yet');
      }
      const api = await startApi(database, config, () => IDLE, log);
      log.info({ url: api.url }, 'serving');
      await untilAborted(io.signal);
      log.info('stopping');
      await api.close();
    });
  });
}

const IDLE: ImportState = { state: 'idle' };

/** Resolves with the first SIGINT or SIGTERM. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
