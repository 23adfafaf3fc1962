import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { describeError, errorCode, MoniepointError } from '../errors.ts';
import { besideNoImport } from '../import/lock.ts';
import { createReader } from './reader.ts';

/** `drizzle/` of this package, seen from `src/db` and from `dist/db`. */
const MIGRATIONS_FOLDER = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'drizzle');
const MIGRATIONS_TABLE = 'schema_migration';

/** Any number will do that no other advisory lock of the product uses. */
const MIGRATION_LOCK = 7_300_118;

type Journal = { readonly entries: readonly { readonly when: number; readonly tag: string }[] };

/**
 * Brings an empty or older database up to date, with the role that the API reads with; one that is up to date is only
 * read. Two processes at once take turns.
 *
 * @returns the names of the migrations that were applied
 * @throws MoniepointError `database` when the schema is newer than the program, which then has not touched it; `locked` where it is
 *   older, and an import of another session is running
 */
export async function migrate(client: pg.Client): Promise<string[]> {
  await refuseNewerSchema(client);
  const journal = await readJournal();
  if ((await newestApplied(client)) === newestOf(journal)) return [];
  // Loaded here, because no other package brings as many files along, and it is rarely needed.
  const { drizzle } = await import('drizzle-orm/node-postgres');
  const { migrate: applyMigrations } = await import('drizzle-orm/node-postgres/migrator');
  await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
  try {
    const before = await newestApplied(client);
    if (before === newestOf(journal)) return []; // another process was faster
    const apply = () =>
      applyMigrations(drizzle(client), {
        migrationsFolder: MIGRATIONS_FOLDER,
        migrationsSchema: 'public',
        migrationsTable: MIGRATIONS_TABLE,
      });
    // An older program may be in the middle of an import, and would go on in a schema that it does not know.
    const applying = before === 0 ? apply() : besideNoImport(client, 'The schema is older than this program', apply);
    await applying.catch((error: unknown) => {
      if (errorCode(error) !== '42501') throw error; // insufficient_privilege
      throw new MoniepointError(
        'database',
        `The schema cannot be made by this role: ${describeError(error)}. Grant it CREATE on the database and on schema public, or run moniepoint migrate once as their owner.`,
        error,
      );
    });
    await createReader(client);
    return journal.entries.filter(({ when }) => when > before).map(({ tag }) => tag);
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [MIGRATION_LOCK]).catch(() => {}); // a lost session holds none
  }
}

/** @throws MoniepointError `database` when the schema is newer than the program; reads only */
export async function refuseNewerSchema(client: pg.Client): Promise<void> {
  const known = newestOf(await readJournal());
  const applied = await newestApplied(client);
  if (applied <= known) return;
  throw new MoniepointError(
    'database',
    `The database's schema is newer (${new Date(applied).toISOString()}) than this program knows (${new Date(known).toISOString()}). It was left as it is. Use the newer program.`,
  );
}

/** Whether the schema is older than the program, so that it has to be migrated before it can be read; reads only. */
export async function isOlderSchema(client: pg.Client): Promise<boolean> {
  const applied = await newestApplied(client);
  return applied > 0 && applied < newestOf(await readJournal());
}

/** How the schema stands to this program: `none` in an empty database. Reads only. */
export async function compareSchema(client: pg.Client): Promise<'none' | 'older' | 'current' | 'newer'> {
  const known = newestOf(await readJournal());
  const applied = await newestApplied(client);
  if (applied === 0) return 'none';
  if (applied === known) return 'current';
  return applied < known ? 'older' : 'newer';
}

async function readJournal(): Promise<Journal> {
  return JSON.parse(await readFile(join(MIGRATIONS_FOLDER, 'meta', '_journal.json'), 'utf8')) as Journal;
}

const newestOf = (journal: Journal) => Math.max(...journal.entries.map(({ when }) => when));

/** The time stamp by which a migration is known, of the newest one in the database; 0 for an empty database. */
async function newestApplied(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ exists: boolean }>('SELECT to_regclass($1) IS NOT NULL AS exists', [
    `public.${MIGRATIONS_TABLE}`,
  ]);
  if (!rows[0]?.exists) return 0;
  const newest = await client.query<{ when: string | null }>(
    `SELECT max(created_at) AS when FROM public.${MIGRATIONS_TABLE}`,
  );
  return Number(newest.rows[0]?.when ?? 0);
}
