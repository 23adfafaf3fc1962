import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { countConflicts, readConflicts } from '@moniepoint/core/conflict-list';
import { conflictsJson, renderConflicts } from '../view/conflicts.ts';
import { inSession } from './session.ts';

export async function run(io: Io, config: ProgramConfig): Promise<void> {
  const [conflicts, count] = await inSession(io, config, 'conflicts', async (session) => [
    await readConflicts(session, config.file, config.limit),
    await countConflicts(session, config.file),
  ]);
  io.out(config.json ? `${conflictsJson(conflicts, count)}\n` : renderConflicts(conflicts, count));
}
