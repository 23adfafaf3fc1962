import type pg from 'pg';
import type { RejectReason } from './activity.ts';
import { inTransaction, READ_ONLY_MOMENT } from './db/database.ts';
import { hasReader } from './db/reader.ts';
import { dayOf } from './import/discover.ts';
import { IS_IMPORT_RUNNING } from './import/lock.ts';
import { readKeptFrom } from './import/retention.ts';
import { readSchedule, type ScheduledReload } from './schedule.ts';
import { readSnapshot } from './snapshot.ts';

/** What is loaded, and how fresh it is. */
export type Status = Totals & {
  /** Null when nothing was imported yet. */
  readonly dataVersion: number | null;
  readonly asOf: string | null;
  /** The API reads with the rights of its own role; else with all rights of this user. */
  readonly isReader: boolean;
  /** Of the names of the loaded files; null where none of them is named after a day. */
  readonly days: Days | null;
  /** The first month of which events are stored, `YYYY-MM`; null where nothing was ever pruned. */
  readonly keptFrom: string | null;
  readonly lastRun: LastRun | null;
  /** Of the servers that live, the one that imports next first. */
  readonly reloads: readonly ScheduledReload[];
  /** When the newest run ended that loaded all it was given, or found it loaded; null where none did. */
  readonly lastDoneAt: string | null;
  /** What the database's clock said, by which ages are told. */
  readonly readAt: string;
};

/** The first and the last day that is loaded, `YYYY-MM-DD`, and the ranges of days between them that are not. */
export type Days = { readonly first: string; readonly last: string; readonly missing: readonly DayRange[] };

/** Both ends belong to it. */
export type DayRange = { readonly first: string; readonly last: string; readonly days: number };

/** What the loaded files hold. */
export type Totals = {
  readonly files: number;
  readonly rows: {
    readonly read: number;
    readonly accepted: number;
    /** Of the accepted ones, those that were pruned or came too late to be stored. */
    readonly expired: number;
    readonly duplicate: number;
    readonly conflict: number;
    readonly rejected: number;
    readonly coerced: number;
  };
  readonly rejectedByReason: Partial<Record<RejectReason, number>>;
};

/** The newest run of `moniepoint import`, and what its files brought. */
export type LastRun = {
  readonly startedAt: string;
  readonly finishedAt: string | null;
  /** `running` holds the lock now; `killed` ended without saying so. */
  readonly outcome: 'done' | 'failed' | 'incomplete' | 'interrupted' | 'running' | 'killed';
  readonly files: number;
  readonly read: number;
  readonly rejected: number;
  /** Why files failed, one text each. */
  readonly errors: readonly string[];
};

/** Reads one moment of the database. */
export async function readStatus(client: pg.Client): Promise<Status> {
  const read = async () => {
    const snapshot = await readSnapshot(client);
    return {
      dataVersion: snapshot?.dataVersion ?? null,
      asOf: snapshot?.asOf ?? null,
      ...(await readTotals(client)),
      isReader: await hasReader(client),
      days: daysOf(await readLoadedNames(client)),
      keptFrom: await readKeptFrom(client),
      lastRun: await readLastRun(client),
      reloads: await readSchedule(client),
      ...(await readFreshness(client)),
    };
  };
  return inTransaction(client, read, READ_ONLY_MOMENT);
}

/** From names of files in any order; other names than those of activity files say nothing. */
export function daysOf(names: readonly string[]): Days | null {
  const days = [...new Set(names.map(dayOf))].filter((day) => day !== null).sort();
  const missing = days.slice(1).flatMap((day, index) => {
    const [before, after] = [Date.parse(days[index]!), Date.parse(day)];
    const gap = (after - before) / DAY_MS - 1;
    return gap === 0 ? [] : [{ first: dayAt(before + DAY_MS), last: dayAt(after - DAY_MS), days: gap }];
  });
  return days.length === 0 ? null : { first: days[0]!, last: days.at(-1)!, missing };
}

const DAY_MS = 86_400_000;
const dayAt = (time: number) => new Date(time).toISOString().slice(0, 10);

async function readLoadedNames(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>("SELECT name FROM ledger WHERE status = 'loaded'");
  return rows.map(({ name }) => name);
}

/** A run that found nothing new counts as well: it shows that somebody looked. */
async function readFreshness(client: pg.Client): Promise<Pick<Status, 'lastDoneAt' | 'readAt'>> {
  const { rows } = await client.query<{ done_at: Date | null; read_at: Date }>(
    `SELECT (SELECT finished_at FROM import_run WHERE outcome = 'done' ORDER BY run_id DESC LIMIT 1) AS done_at, now() AS read_at`,
  );
  const { done_at, read_at } = rows[0]!;
  return { lastDoneAt: done_at?.toISOString() ?? null, readAt: read_at.toISOString() };
}

export async function readTotals(client: pg.Client): Promise<Totals> {
  const totals = await client.query<
    Record<'files' | 'read' | 'accepted' | 'expired' | 'duplicate' | 'conflict' | 'rejected' | 'coerced', number>
  >(
    `SELECT count(*)::float8 AS files,
            coalesce(sum(rows_read), 0)::float8 AS read,
            coalesce(sum(accepted), 0)::float8 AS accepted,
            coalesce(sum(expired), 0)::float8 AS expired,
            coalesce(sum(duplicate), 0)::float8 AS duplicate,
            coalesce(sum(conflict), 0)::float8 AS conflict,
            coalesce(sum(rejected), 0)::float8 AS rejected,
            coalesce(sum(coerced), 0)::float8 AS coerced
       FROM ledger
      WHERE status = 'loaded'`,
  );
  const reasons = await client.query<{ reason: RejectReason; rejected: number }>(
    `SELECT reason, sum(n::bigint)::float8 AS rejected
       FROM ledger, jsonb_each_text(rejected_by_reason) AS r (reason, n)
      WHERE status = 'loaded'
      GROUP BY reason
      ORDER BY rejected DESC, reason`,
  );
  const { files, ...rows } = totals.rows[0]!;
  return {
    files,
    rows,
    rejectedByReason: Object.fromEntries(reasons.rows.map(({ reason, rejected }) => [reason, rejected])),
  };
}

export async function readLastRun(client: pg.Client): Promise<LastRun | null> {
  const { rows } = await client.query<{
    started_at: Date;
    finished_at: Date | null;
    outcome: 'done' | null;
    is_running: boolean;
    files: number;
    read: number;
    rejected: number;
    errors: string[] | null;
  }>(
    `SELECT run.started_at, run.finished_at, run.outcome, ${IS_IMPORT_RUNNING} AS is_running,
            count(l.file_id) FILTER (WHERE l.status <> 'failed')::float8 AS files,
            coalesce(sum(l.rows_read), 0)::float8 AS read,
            coalesce(sum(l.rejected), 0)::float8 AS rejected,
            json_agg(l.error ORDER BY l.file_id) FILTER (WHERE l.status = 'failed') AS errors
       FROM (SELECT * FROM import_run ORDER BY run_id DESC LIMIT 1) run
       LEFT JOIN ledger l USING (run_id)
      GROUP BY run.started_at, run.finished_at, run.outcome`,
  );
  const [run] = rows;
  if (run === undefined) return null;
  const { files, read, rejected } = run;
  return {
    startedAt: run.started_at.toISOString(),
    finishedAt: run.finished_at?.toISOString() ?? null,
    outcome: run.outcome ?? (run.is_running ? 'running' : 'killed'),
    ...{ files, read, rejected },
    errors: run.errors ?? [],
  };
}
