import type pg from 'pg';
import { fenceOf } from '../db/distribute.ts';
import { EVENT_COLUMNS } from './encode.ts';

/**
 * What may have repaired a reject: kept with each batch in `possible_repair`, so that nobody has to look through the events for it.
 *
 * Invariant: every stored event is in there that has an id of a stored reject, or the merchant and time of one that lacks nothing
 * but an id; and nothing is that is not stored. So each batch asks for what came: the new rejects ask all events, all rejects
 * ask the new events. Events that no reject asks for any more stay until they leave.
 */

const COLUMNS = EVENT_COLUMNS.join(', ');
/** The ids that rejects ask for. */
export const IDS_OF_REJECTS = 'SELECT unnest(event_ids) AS event_id FROM reject WHERE said IS NULL AND NOT is_closed';
/** In the order of the index, which is walked once. */
const idsOf = (condition: string) =>
  `SELECT DISTINCT event_id FROM (${IDS_OF_REJECTS} ${condition}) AS named ORDER BY 1`;
/** Merchant and time of the rejects that lack nothing but an id. */
export const SAID_BY_REJECTS = `
  SELECT file_id, merchant_key, (said->>'event_us')::bigint AS event_us
    FROM reject
    JOIN merchant ON merchant_id = said->>'merchant_id'
   WHERE said IS NOT NULL AND NOT is_closed`;

/** What an event with its texts says besides its id, as `Said` in db/schema.ts. */
export const SAID_BY_EVENT = `
  jsonb_build_object('merchant_id', merchant_id, 'event_us', event_us::text, 'amount_kobo', amount_kobo::text, 'product', product,
                     'event_type', event_type, 'status', status, 'channel', channel, 'region', region,
                     'merchant_tier', merchant_tier)`;

/** The session's own tables: merchant and time of the rejects that lack nothing but an id; and the events that were found. */
export const REPAIR_TABLES = `
  CREATE TEMP TABLE IF NOT EXISTS wanted (merchant_key int, event_us bigint, is_new boolean);
  CREATE TEMP TABLE IF NOT EXISTS found (LIKE event)`;

/**
 * Call it after settling, while `leaver` and `newcomer` hold what left `event` and entered it by SQL.
 *
 * @param newFileIds whose rejects are new
 * @param asked `newcomer` where no other events are new. Else all rejects ask this table: `event`, or `stored` where that holds
 *   all of its events that may be asked for.
 */
export async function followRepairs(
  client: pg.Client,
  newFileIds: readonly number[],
  asked: 'newcomer' | 'event' | 'stored',
): Promise<void> {
  await client.query('DELETE FROM possible_repair WHERE event_id IN (SELECT event_id FROM leaver)');
  if (asked === 'newcomer') await askNewcomers(client, newFileIds);
  else await askAll(client, asked);
  await client.query(
    `INSERT INTO possible_repair (event_id, file_id, said)
     SELECT event_id, file_id, ${SAID_BY_EVENT}
       FROM found
       JOIN merchant USING (merchant_key)
       JOIN kind USING (kind_key)
       JOIN context USING (context_key)
         ON CONFLICT (event_id) DO NOTHING`,
  );
}

/** All rejects ask all events. */
async function askAll(client: pg.Client, events: 'event' | 'stored'): Promise<void> {
  const byId = () => find(client, `${events} WHERE event_id IN (${idsOf('')})`);
  if (events === 'event') await byId();
  else await withoutLoops(client, byId);
  const said = `SELECT merchant_key, event_us FROM (${SAID_BY_REJECTS} ${await fenceOf(client)}) AS said`;
  await withoutLoops(client, () => find(client, `${events} WHERE (merchant_key, event_us) IN (${said})`));
}

/** All rejects ask the newcomers, and those of new files ask all events. */
async function askNewcomers(client: pg.Client, newFileIds: readonly number[]): Promise<void> {
  await client.query(
    `INSERT INTO wanted (merchant_key, event_us, is_new)
     SELECT merchant_key, event_us, file_id = ANY($1) FROM (${SAID_BY_REJECTS}) AS said`,
    [newFileIds],
  );
  await find(client, `newcomer WHERE event_id IN (${IDS_OF_REJECTS})`);
  await find(client, 'newcomer WHERE (merchant_key, event_us) IN (SELECT merchant_key, event_us FROM wanted)');
  if (newFileIds.length === 0) return;
  await find(client, `event WHERE event_id IN (${idsOf(`AND file_id IN (${newFileIds})`)})`);
  const { rows } = await client.query<{ first: string | null; last: string }>(
    'SELECT min(event_us) AS first, max(event_us) AS last FROM wanted WHERE is_new',
  );
  const { first, last } = rows[0]!;
  if (first === null) return;
  // Within these times, of a day's file those of the day, which the index finds; the planner believes in that only when it has
  // statistics, and else reads all events: 0.7 s of 7 M.
  await client.query('SET LOCAL enable_seqscan = off');
  await find(
    client,
    `event WHERE event_us BETWEEN ${first} AND ${last}
             AND (merchant_key, event_us) IN (SELECT merchant_key, event_us FROM wanted WHERE is_new)`,
  );
  await client.query('SET LOCAL enable_seqscan TO DEFAULT');
}

/**
 * Of tables that were filled just now the planner knows how large they are at most: where it expects one row, it takes a loop over all
 * of the other table, which took 60 s for a file of 25,000 rows that was exported again.
 */
export async function withoutLoops<T>(client: pg.Client, query: () => Promise<T>): Promise<T> {
  await client.query('SET LOCAL enable_nestloop = off');
  const result = await query();
  await client.query('SET LOCAL enable_nestloop TO DEFAULT');
  return result;
}

/** By itself, because events may lie on other machines. */
async function find(client: pg.Client, events: string): Promise<void> {
  await client.query(`INSERT INTO found (${COLUMNS}) SELECT ${COLUMNS} FROM ${events}`);
}
