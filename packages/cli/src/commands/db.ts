import { addOptions, configOf, type Io } from '@moniepoint/api/bin';
import { openDatabase } from '@moniepoint/core/db/database';
import { embeddedUsers, isEmbeddedRunning, keepEmbedded, releaseEmbedded } from '@moniepoint/core/db/embedded';
import { MoniepointError } from '@moniepoint/core/errors';
import { Command } from 'commander';

export function dbCommand(io: Io): Command {
  const command = new Command('db').description('Manage the embedded PostgreSQL');
  const action = (name: string, description: string, work: (home: string) => Promise<void>) =>
    command.addCommand(
      addOptions(new Command(name).description(description), ['home']).action(async (flags) => {
        const config = configOf(io, flags);
        if (config.databaseUrl !== undefined) {
          throw new MoniepointError(
            'usage',
            'DATABASE_URL is set, so the embedded PostgreSQL is not in use. Unset it to manage the embedded one.',
          );
        }
        await work(config.homeFolder);
      }),
    );

  action('start', 'start it, and let it run until `db stop`', async (home) => {
    const url = await visit(home, true);
    io.err('PostgreSQL runs until: moniepoint db stop\n');
    io.out(`${url}\n`);
  });

  action('stop', 'stop it, or let it stop when its last user ends', async (home) => {
    await releaseEmbedded(home);
    if (!(await isEmbeddedRunning(home))) {
      io.err('PostgreSQL is not running.\n');
      return;
    }
    const users = await embeddedUsers(home);
    await visit(home, false);
    if (users.length > 0) {
      throw new MoniepointError('failed', `PostgreSQL is in use by ${users.join(', ')}. It stops when they end.`);
    }
    io.err('PostgreSQL is stopped.\n');
  });

  action('url', 'print a connection string for psql, starting the server where it does not run', async (home) => {
    const wasRunning = await isEmbeddedRunning(home);
    const url = await visit(home, !wasRunning);
    if (!wasRunning) io.err('PostgreSQL was started and runs until: moniepoint db stop\n');
    io.out(`${url}\n`);
  });
  return command;
}

/** Joins the server, starting it where needed, and leaves it, which stops it where nobody else uses or keeps it. */
async function visit(home: string, isKept: boolean): Promise<string> {
  const database = await openDatabase(undefined, home, 'db');
  if (isKept) await keepEmbedded(home);
  await database.close();
  return database.url;
}
