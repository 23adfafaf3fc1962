import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { withDatabase, withSession } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { Command } from 'commander';

export function migrateCommand(io: Io): Command {
  const command = new Command('migrate').description('Bring an empty or older database up to date');
  addOptions(command, DATABASE_OPTIONS);
  return command.action(async (flags) => {
    const config = configOf(io, flags);
    const applied = await withDatabase(config.databaseUrl, config.homeFolder, 'migrate', (database) =>
      withSession(database, 'migrate', migrate),
    );
    io.out(applied.length === 0 ? 'The schema is up to date.\n' : `Applied: ${applied.join(', ')}\n`);
  });
}
