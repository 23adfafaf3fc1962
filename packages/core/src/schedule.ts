import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { pid } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { asc, eq, gt, lte, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { type Database, endSession, withSession } from './db/database.ts';
import { reloadSchedule } from './db/schema.ts';
import { describeError } from './errors.ts';

/** What a server imports by itself. */
type Schedule = {
  /** For people: the cron expression with its zone, `on change`, or both. */
  readonly schedule: string;
  /** ISO 8601 in UTC; null where only changes lead to an import. */
  readonly nextRunAt: string | null;
};

/** The same, and which server that is. */
export type ScheduledReload = Schedule & { readonly host: string; readonly pid: number };

export type Announcement = {
  /** Says at once what has changed. */
  readonly renew: () => void;
  /** Takes it back. */
  readonly end: () => Promise<void>;
};

const ANNOUNCE_EVERY_MS = 30_000;
/** A server that has been silent for this long is gone. The clock is the database's alone. */
const SILENT_SINCE = sql`now() - interval '100 seconds'`;
/** Taking it back must not hold a server up whose database hangs. */
const WITHDRAW_MS = 1_500;

/**
 * Tells other processes, in the database, what this server imports by itself, for as long as it lives. Never throws.
 *
 * @param onTrouble called with the reason each time that the database does not take it
 */
export function announceSchedule(
  database: Pick<Database, 'connect'>,
  plan: () => Schedule,
  onTrouble: (reason: string) => void,
): Announcement {
  const server = { serverId: randomUUID(), host: hostname(), pid };
  let session: pg.Client | null = null;
  let telling: Promise<void> | null = null;
  const tell = (work: (client: pg.Client) => Promise<unknown>) =>
    withSession(database, 'serve', async (client) => {
      session = client;
      await work(client);
    })
      .catch((error: unknown) => onTrouble(describeError(error)))
      .finally(() => {
        session = null;
        telling = null;
      });
  const renew = () => {
    telling ??= tell((client) => write(client, { ...server, ...plan() }));
  };
  renew();
  const timer = setInterval(renew, ANNOUNCE_EVERY_MS);

  async function withdraw(): Promise<void> {
    await telling;
    await tell((client) => drizzle(client).delete(reloadSchedule).where(eq(reloadSchedule.serverId, server.serverId)));
  }

  return {
    renew,
    end: async () => {
      clearInterval(timer);
      await Promise.race([withdraw(), sleep(WITHDRAW_MS, undefined, { ref: false })]);
      if (session !== null) await endSession(session);
    },
  };
}

/** Writes a server's row, and takes out those of servers that are gone. */
async function write(client: pg.Client, server: ScheduledReload & { readonly serverId: string }): Promise<void> {
  const nextRunAt = server.nextRunAt === null ? null : new Date(server.nextRunAt);
  const row = { ...server, nextRunAt, updatedAt: sql`now()` };
  const database = drizzle(client);
  await database.delete(reloadSchedule).where(lte(reloadSchedule.updatedAt, SILENT_SINCE));
  await database.insert(reloadSchedule).values(row).onConflictDoUpdate({ target: reloadSchedule.serverId, set: row });
}

/** What the servers that live import by themselves; the one that does so next comes first. */
export async function readSchedule(client: pg.Client): Promise<ScheduledReload[]> {
  const rows = await drizzle(client)
    .select()
    .from(reloadSchedule)
    .where(gt(reloadSchedule.updatedAt, SILENT_SINCE))
    .orderBy(sql`${asc(reloadSchedule.nextRunAt)} NULLS LAST`, reloadSchedule.serverId);
  return rows.map(({ host, pid, schedule, nextRunAt }) => ({
    ...{ host, pid, schedule },
    nextRunAt: nextRunAt?.toISOString() ?? null,
  }));
}
