import type { ProgramConfig } from '@moniepoint/api/bin';
import { type Database, withDatabase, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';

export type Session = Parameters<typeof migrate>[0];

/** Opens the configured database, brings its schema up to date, and does the command's work in one session. */
export function inSession<T>(
  config: ProgramConfig,
  command: string,
  work: (session: Session, database: Database) => Promise<T>,
): Promise<T> {
  return withDatabase(config.databaseUrl, config.homeFolder, command, (database) =>
    withSession(database, command, async (session) => {
      await migrate(session);
      return work(session, database);
    }),
  );
}
