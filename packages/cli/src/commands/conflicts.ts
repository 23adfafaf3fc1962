import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { countConflicts, readConflicts } from '@moniepoint/core/conflict-list';
import { inTransaction, READ_ONLY_MOMENT } from '@moniepoint/core/db/database';
import { conflictsJson, renderConflicts } from '../view/conflicts.ts';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const { file, limit } = config;
  const [conflicts, count] = await inSession(io, config, 'conflicts', (session) =>
    inTransaction(
      session,
      async () => [await readConflicts(session, file, limit), await countConflicts(session, file)],
      READ_ONLY_MOMENT,
    ),
  );
  io.out(config.json ? `${conflictsJson(conflicts, count)}\n` : renderConflicts(conflicts, count));
}
