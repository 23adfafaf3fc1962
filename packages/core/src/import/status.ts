import type pg from 'pg';
import type { RejectReason } from '../activity.ts';
import { hasReader } from '../db/reader.ts';
import { readSnapshot } from '../snapshot.ts';
import { lockHolder } from './lock.ts';

/** What is loaded, and how fresh it is. */
export type Status = {
  /** Null when nothing was imported yet. */
  readonly dataVersion: number | null;
  readonly asOf: string | null;
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
  /** The API reads with the rights of its own role; else with all rights of this user. */
  readonly isReader: boolean;
  readonly lastRun: {
    readonly startedAt: string;
    readonly finishedAt: string | null;
    /** `running` holds the lock now; `killed` ended without saying so. */
    readonly outcome: 'done' | 'failed' | 'incomplete' | 'interrupted' | 'running' | 'killed';
    readonly errors: readonly string[];
  } | null;
};

export async function readStatus(client: pg.Client): Promise<Status> {
  const snapshot = await readSnapshot(client);
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
    dataVersion: snapshot?.dataVersion ?? null,
    asOf: snapshot?.asOf ?? null,
    files,
    rows,
    rejectedByReason: Object.fromEntries(reasons.rows.map(({ reason, rejected }) => [reason, rejected])),
    isReader: await hasReader(client),
    lastRun: await readLastRun(client),
  };
}

async function readLastRun(client: pg.Client): Promise<Status['lastRun']> {
  const { rows } = await client.query<{
    run_id: number;
    started_at: Date;
    finished_at: Date | null;
    outcome: 'done' | null;
  }>('SELECT run_id, started_at, finished_at, outcome FROM import_run ORDER BY run_id DESC LIMIT 1');
  const [run] = rows;
  if (run === undefined) return null;
  const errors = await client.query<{ error: string }>(
    `SELECT error FROM ledger WHERE run_id = $1 AND status = 'failed' ORDER BY file_id`,
    [run.run_id],
  );
  return {
    startedAt: run.started_at.toISOString(),
    finishedAt: run.finished_at?.toISOString() ?? null,
    outcome: run.outcome ?? ((await lockHolder(client)) === null ? 'killed' : 'running'),
    errors: errors.rows.map(({ error }) => error),
  };
}
