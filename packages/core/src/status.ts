import type pg from 'pg';
import type { RejectReason } from './activity.ts';
import { hasReader } from './db/reader.ts';
import { IS_IMPORT_RUNNING } from './import/lock.ts';
import { readSchedule, type ScheduledReload } from './schedule.ts';
import { readSnapshot } from './snapshot.ts';

/** What is loaded, and how fresh it is. */
export type Status = Totals & {
  /** Null when nothing was imported yet. */
  readonly dataVersion: number | null;
  readonly asOf: string | null;
  /** The API reads with the rights of its own role; else with all rights of this user. */
  readonly isReader: boolean;
  readonly lastRun: LastRun | null;
  /** Of the servers that live, the one that imports next first. */
  readonly reloads: readonly ScheduledReload[];
};

/** What the loaded files hold. */
export type Totals = {
  readonly files: number;
  readonly rows: {
    readonly read: number;
    readonly accepted: number;
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

export async function readStatus(client: pg.Client): Promise<Status> {
  const snapshot = await readSnapshot(client);
  return {
    dataVersion: snapshot?.dataVersion ?? null,
    asOf: snapshot?.asOf ?? null,
    ...(await readTotals(client)),
    isReader: await hasReader(client),
    lastRun: await readLastRun(client),
    reloads: await readSchedule(client),
  };
}

export async function readTotals(client: pg.Client): Promise<Totals> {
  const totals = await client.query<
    Record<'files' | 'read' | 'accepted' | 'duplicate' | 'conflict' | 'rejected' | 'coerced', number>
  >(
    `SELECT count(*)::float8 AS files,
            coalesce(sum(rows_read), 0)::float8 AS read,
            coalesce(sum(accepted), 0)::float8 AS accepted,
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
