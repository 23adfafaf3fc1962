import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { withDatabase, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { createReader, READER_ROLE } from '@moniepoint/core/db/reader';
import { NO_READER } from '../view/status.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const { applied, isReader } = await withDatabase(config.databaseUrl, config.homeFolder, 'migrate', (database) =>
    withSession(database, 'migrate', async (session) => ({
      applied: await migrate(session),
      isReader: await createReader(session),
    })),
  );
  io.out(applied.length === 0 ? 'The schema is up to date.\n' : `Applied: ${applied.join(', ')}\n`);
  if (!isReader) io.err(`warning: this user may not make the role ${READER_ROLE}; ${NO_READER}\n`);
}
