import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { cancelOnAbort, type Database, withDatabase, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { kindOf, MoniepointError } from '@moniepoint/core/errors';
import type { Report } from '@moniepoint/core/import/progress';

export type Session = Parameters<typeof migrate>[0];

/**
 * Opens the configured database, brings its schema up to date, and does the command's work in one session, of which a signal
 * ends the running statement.
 *
 * @param work gets the names of the migrations that were applied as well
 * @throws MoniepointError `interrupted`; what the work throws
 */
export function inSession<T>(
  { signal }: Io,
  config: ProgramConfig,
  command: string,
  work: (session: Session, database: Database, applied: readonly string[]) => Promise<T>,
): Promise<T> {
  return withDatabase(config.databaseUrl, config.homeFolder, command, (database) =>
    withSession(database, command, async (session) => {
      const stopCancelling = cancelOnAbort(database, session, signal);
      try {
        return await work(session, database, await migrate(session));
      } catch (error) {
        if (!signal.aborted || kindOf(error) === 'interrupted') throw error;
        throw new MoniepointError('interrupted', 'Interrupted before the work was done. Run it again.', error);
      } finally {
        await stopCancelling();
      }
    }),
  );
}

/** Tells on stderr whose import a command waits for. */
export const tellWaiting =
  (io: Io): Report =>
  (event) => {
    if (event.type === 'waiting') io.err(`Waiting for an import: ${event.holder}\n`);
  };
