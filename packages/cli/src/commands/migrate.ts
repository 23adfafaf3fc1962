import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { createReader, READER_ROLE } from '@moniepoint/core/db/reader';
import { NO_READER } from '../view/status.ts';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const { applied, isReader } = await inSession(io, config, 'migrate', async (session, _, names) => ({
    applied: names,
    isReader: await createReader(session),
  }));
  io.out(applied.length === 0 ? 'The schema is up to date.\n' : `Applied: ${applied.join(', ')}\n`);
  if (!isReader) io.err(`warning: this user may not make the role ${READER_ROLE}; ${NO_READER}\n`);
}
