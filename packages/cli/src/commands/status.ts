import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { readStatus } from '@moniepoint/core/status';
import { Command } from 'commander';
import { renderStatus, statusJson } from '../view/status.ts';
import { inSession } from './session.ts';

export function statusCommand(io: Io): Command {
  const command = new Command('status').description('Show what is loaded and how fresh it is');
  addOptions(command, ['json', ...DATABASE_OPTIONS]);
  return command.action(async (flags) => {
    const config = configOf(io, flags);
    const output = await inSession(config, 'status', async (session, { place }) => {
      const status = await readStatus(session);
      return config.json ? `${statusJson(status)}\n` : renderStatus(status, place);
    });
    io.out(output);
  });
}
