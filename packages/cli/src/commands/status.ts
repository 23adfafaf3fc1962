import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { withDatabase } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { readStatus } from '@moniepoint/core/import/status';
import { Command } from 'commander';
import { renderStatus, statusJson } from '../view/status.ts';

export function statusCommand(io: Io): Command {
  const command = new Command('status').description('Show what is loaded and how fresh it is');
  addOptions(command, ['json', ...DATABASE_OPTIONS]);
  return command.action(async (flags) => {
    const config = configOf(io, flags);
    await withDatabase(config.databaseUrl, config.homeFolder, 'status', async (database) => {
      const client = await database.connect('status');
      try {
        await migrate(client);
        const status = await readStatus(client);
        io.out(config.json ? `${statusJson(status)}\n` : renderStatus(status, database.place));
      } finally {
        await client.end();
      }
    });
  });
}
