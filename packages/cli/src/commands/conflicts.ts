import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { countConflicts, readConflicts } from '@moniepoint/core/conflict-list';
import { Command } from 'commander';
import { conflictsJson, renderConflicts } from '../view/conflicts.ts';
import { inSession } from './session.ts';

export function conflictsCommand(io: Io): Command {
  const command = new Command('conflicts').description(
    'List the rows whose event is stored from another row with other content',
  );
  addOptions(command, ['file', 'limit', 'json', ...DATABASE_OPTIONS]);
  return command.action(async (flags) => {
    const config = configOf(io, flags);
    const [conflicts, count] = await inSession(config, 'conflicts', async (session) => [
      await readConflicts(session, config.file, config.limit),
      await countConflicts(session, config.file),
    ]);
    io.out(config.json ? `${conflictsJson(conflicts, count)}\n` : renderConflicts(conflicts, count));
  });
}
