import type pg from 'pg';
import { MoniepointError } from '../errors.ts';
import { inTransaction } from './database.ts';

/** What is joined with events on every node: a copy on each. */
const REFERENCE_TABLES = ['merchant', 'kind', 'context'] as const;
const DEFAULT_SHARDS = 16;

/** What `distribute` found or made. */
export type Distribution = {
  /** Events were spread by this call, rather than by an earlier one. */
  readonly isNew: boolean;
  readonly shards: number;
  /** Nodes that hold shards, as `host:port`. */
  readonly nodes: readonly string[];
};

/**
 * Spreads the events over the nodes of a Citus cluster by their id, and copies the tables that events are joined with to
 * each. Ledger, rollups, rejects and the published answers stay on the coordinator, so that whoever reads them sees one
 * moment. In one transaction; a second call changes nothing. The schema must be up to date, and no import may run.
 *
 * @param shards how many parts; undefined is DEFAULT_SHARDS, or as many as there are
 * @throws MoniepointError `database` where this is no Citus database; `usage` where there are other shards already
 */
export async function distribute(client: pg.Client, shards: number | undefined): Promise<Distribution> {
  if (!(await hasCitus(client))) {
    throw new MoniepointError(
      'database',
      'This database has no extension citus. Install Citus, then run CREATE EXTENSION citus in this database on every node, tell the coordinator of itself with SELECT citus_set_coordinator_host(…), and of each worker with SELECT citus_add_node(…).',
    );
  }
  return inTransaction(client, async () => {
    await client.query('SELECT pg_advisory_xact_lock($1)', [DISTRIBUTE_LOCK]);
    const before = await shardCount(client);
    if (before > 0 && shards !== undefined && shards !== before) {
      throw new MoniepointError(
        'usage',
        `The events have ${before} shards already, not ${shards}. Change that with: SELECT alter_distributed_table('event', shard_count := ${shards}, cascade_to_colocated := true);`,
      );
    }
    // One connection a node does all, so that what depends on each other comes in order.
    await client.query(`SET LOCAL citus.multi_shard_modify_mode TO 'sequential'`);
    for (const table of REFERENCE_TABLES) {
      if (await isDistributed(client, table)) continue;
      await client.query('SELECT create_reference_table($1)', [table]);
      await dropLocalRows(client, table);
    }
    if (before === 0) {
      await client.query(
        `SELECT create_distributed_table('event', 'event_id', colocate_with => 'none', shard_count => $1)`,
        [shards ?? DEFAULT_SHARDS],
      );
      await dropLocalRows(client, 'event');
    }
    const { rows: nodes } = await client.query<{ node: string }>(
      `SELECT DISTINCT nodename || ':' || nodeport AS node FROM citus_shards WHERE table_name = 'event'::regclass ORDER BY 1`,
    );
    return { isNew: before === 0, shards: await shardCount(client), nodes: nodes.map(({ node }) => node) };
  });
}

/**
 * What ends a subquery over tables of which each node has a copy, where it is joined with events in a transaction that added to both: a
 * node may not join what was written over several connections (25001), so the coordinator reads it for the nodes. Nothing
 * without a cluster: there it would keep the join from being done by several processes.
 */
export async function fenceOf(client: pg.Client): Promise<'OFFSET 0' | ''> {
  return (await hasCitus(client)) ? 'OFFSET 0' : '';
}

/** Any number will do that no other advisory lock of the product uses. */
const DISTRIBUTE_LOCK = 7_300_120;

async function hasCitus(client: pg.Client): Promise<boolean> {
  return (await client.query(`SELECT FROM pg_extension WHERE extname = 'citus'`)).rowCount === 1;
}

async function shardCount(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ shards: number }>(
    `SELECT count(*)::int AS shards FROM pg_dist_shard WHERE logicalrelid = 'event'::regclass`,
  );
  return rows[0]?.shards ?? 0;
}

async function isDistributed(client: pg.Client, table: string): Promise<boolean> {
  return (
    (await client.query('SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass($1)', [table])).rowCount === 1
  );
}

/** Citus copies rows to the shards and leaves them behind, unseen. */
async function dropLocalRows(client: pg.Client, table: string): Promise<void> {
  await client.query('SELECT truncate_local_data_after_distributing_table($1)', [table]);
}
