import { withDatabase, withSession } from '@moniepoint/core/db/database';
import { isOlderSchema, refuseNewerSchema } from '@moniepoint/core/db/migrate';
import { MoniepointError } from '@moniepoint/core/errors';
import type { ImportState } from './app.ts';
import { type Io, type ProgramConfig, untilAborted } from './bin.ts';
import { createLog } from './log.ts';
import { startApi } from './serve.ts';

/** Serves what others import, until a signal. */
export async function serveAlone(io: Io, config: ProgramConfig): Promise<void> {
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
}

const IDLE: ImportState = { state: 'idle' };
