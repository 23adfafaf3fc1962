import type pg from 'pg';
import { IS_IMPORT_RUNNING } from './import/lock.ts';
import type { Answers } from './metrics.ts';

/** The published answers of one data version. */
export type Snapshot = {
  /** The same for all versions of the data of one database. */
  readonly dataId: string;
  /** Rises by one with each commit that changes the data. */
  readonly dataVersion: number;
  /** When these answers were published, ISO 8601 in UTC. */
  readonly asOf: string;
  readonly answers: Answers;
  /** By month, `YYYY-MM`: the data version in which its successes changed last. */
  readonly monthVersions: Readonly<Record<string, number>>;
};

/** NOTIFY channel on which each publication is announced; the payload is the data version. */
export const SNAPSHOT_CHANNEL = 'moniepoint_snapshot';

/** The newest published answers, or null when nothing was imported yet. */
export async function readSnapshot(client: pg.Client): Promise<Snapshot | null> {
  const { rows } = await client.query<Omit<Snapshot, 'dataVersion' | 'asOf'> & { version: string; at: Date }>(
    `SELECT data_id AS "dataId", data_version AS version, published_at AS at, answers, month_versions AS "monthVersions"
       FROM snapshot`,
  );
  if (rows[0] === undefined) return null;
  const { version, at, ...snapshot } = rows[0];
  return { ...snapshot, dataVersion: Number(version), asOf: at.toISOString() };
}

/**
 * What a poll costs: a mark that is another one when something was published, an attempt to import was recorded, or a run
 * began or ended. Null when nothing ever was.
 */
export async function readMark(client: pg.Client): Promise<string | null> {
  const { rows } = await client.query<{ mark: string | null }>(
    `SELECT concat_ws('/', (SELECT data_version || ' ' || published_at FROM snapshot), (SELECT nullif(count(*), 0) FROM ledger),
                      (SELECT max(run_id) || ' ' || concat_ws(' ', max(finished_at), ${IS_IMPORT_RUNNING}) FROM import_run)) AS mark`,
  );
  return rows[0]?.mark || null;
}
