import type { Io, ProgramConfig } from '@moniepoint/api/bin';
import { openDatabase } from '@moniepoint/core/db/database';
import { embeddedUsers, isEmbeddedRunning, keepEmbedded, releaseEmbedded } from '@moniepoint/core/db/embedded';
import { MoniepointError } from '@moniepoint/core/errors';

export async function start(io: Io, config: ProgramConfig): Promise<void> {
  const server = await visit(embeddedHome(config), true);
  io.err('PostgreSQL runs until: moniepoint db stop\n');
  io.out(`${server}\n`);
}

export async function stop(io: Io, config: ProgramConfig): Promise<void> {
  const home = embeddedHome(config);
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
}

export async function url(io: Io, config: ProgramConfig): Promise<void> {
  const home = embeddedHome(config);
  const wasRunning = await isEmbeddedRunning(home);
  const server = await visit(home, !wasRunning);
  if (!wasRunning) io.err('PostgreSQL was started and runs until: moniepoint db stop\n');
  io.out(`${server}\n`);
}

function embeddedHome({ databaseUrl, homeFolder }: ProgramConfig): string {
  if (databaseUrl === undefined) return homeFolder;
  throw new MoniepointError(
    'usage',
    'DATABASE_URL is set, so the embedded PostgreSQL is not in use. Unset it to manage the embedded one.',
  );
}

/** Joins the server, starting it where needed, and leaves it, which stops it where nobody else uses or keeps it. */
async function visit(home: string, isKept: boolean): Promise<string> {
  const database = await openDatabase(undefined, home, 'db');
  if (isKept) await keepEmbedded(home);
  await database.close();
  return database.url;
}
