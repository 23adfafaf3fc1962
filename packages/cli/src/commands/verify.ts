import { addOptions, configOf, DATABASE_OPTIONS, type Io } from '@moniepoint/api/bin';
import { withDatabase } from '@moniepoint/core/db/database';
import { migrate } from '@moniepoint/core/db/migrate';
import { MoniepointError } from '@moniepoint/core/errors';
import { verify } from '@moniepoint/core/import/verify';
import { Command } from 'commander';

export function verifyCommand(io: Io): Command {
  const command = new Command('verify').description(
    'Recompute everything from the stored events and compare it with what is stored',
  );
  addOptions(command, ['json', ...DATABASE_OPTIONS]);
  return command.action(async (flags) => {
    const config = configOf(io, flags);
    const checks = await withDatabase(config.databaseUrl, config.homeFolder, 'verify', async (database) => {
      const client = await database.connect('verify');
      try {
        await migrate(client);
        return await verify(client);
      } finally {
        await client.end();
      }
    });
    const differing = checks.filter(({ differences }) => differences.length > 0);
    if (config.json) {
      io.out(`${JSON.stringify({ agrees: differing.length === 0, checks })}\n`);
    } else {
      for (const { name, differences } of checks) {
        io.out(
          differences.length === 0
            ? `ok       ${name}\n`
            : `DIFFERS  ${name}\n${differences.map((text) => `         ${text}\n`).join('')}`,
        );
      }
    }
    if (differing.length > 0) {
      throw new MoniepointError(
        'failed',
        `${differing.length} of ${checks.length} checks differ: ${differing.map(({ name }) => name).join(', ')}. Keep the database as it is and report this; a fresh import into a new database gives right answers.`,
      );
    }
  });
}
