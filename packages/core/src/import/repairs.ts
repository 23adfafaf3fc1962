import type pg from 'pg';
import { EVENT_COLUMNS } from './encode.ts';

/**
 * What may have repaired a reject: kept with each batch in `possible_repair`, so that nobody has to look through the events for it.
 *
 * Invariant: every stored event is in there that has an id of a stored reject, or the merchant and time of one that lacks nothing
 * but an id; and nothing is that is not stored. So each batch asks for what came: the new rejects ask all events, all rejects
 * ask the new events. Events that no reject asks for any more stay until they leave.
 */

const COLUMNS = EVENT_COLUMNS.join(', ');
/** In the order of the index, which is walked once. */
const idsOf = (condition: string) =>
  `SELECT DISTINCT unnest(event_ids) AS event_id FROM reject WHERE said IS NULL AND NOT is_closed ${condition} ORDER BY 1`;
const saidOf = (condition: string) => `
  SELECT merchant_key, (said->>'event_us')::bigint AS event_us
    FROM reject
    JOIN merchant ON merchant_id = said->>'merchant_id'
   WHERE said IS NOT NULL AND NOT is_closed ${condition}`;

/** What an event with its texts says besides its id, as `Said` in db/schema.ts. */
export const SAID_BY_EVENT = `
  jsonb_build_object('merchant_id', merchant_id, 'event_us', event_us::text, 'amount_kobo', amount_kobo::text, 'product', product,
                     'event_type', event_type, 'status', status, 'channel', channel, 'region', region,
                     'merchant_tier', merchant_tier)`;

/** The session's own table of the events that were found. */
export const REPAIR_TABLES = `CREATE TEMP TABLE IF NOT EXISTS found (LIKE event)`;

/**
 * Run it behind settling, while `leaver` and `newcomer` hold what left `event` and entered it by SQL.
 *
 * @param newFileIds whose rejects are new
 * @param isBulk more events are new than `newcomer` holds
 */
export async function followRepairs(client: pg.Client, newFileIds: readonly number[], isBulk: boolean): Promise<void> {
  await client.query('DELETE FROM possible_repair WHERE event_id IN (SELECT event_id FROM leaver)');
  const isNew = isBulk ? '' : `AND file_id IN (${newFileIds})`;
  const hasNew = isBulk || newFileIds.length > 0;
  if (!isBulk) await find(client, `newcomer WHERE event_id IN (${idsOf('')})`);
  if (hasNew) await find(client, `event WHERE event_id IN (${idsOf(isNew)})`);
  // How many rejects lack an id alone no statistics may tell yet: for one, a loop over the events would be right.
  await client.query('SET LOCAL enable_nestloop = off');
  if (!isBulk) await find(client, `newcomer WHERE (merchant_key, event_us) IN (${saidOf('')})`);
  if (hasNew) {
    const { rows } = await client.query<{ first: string | null; last: string }>(
      `SELECT min(event_us) AS first, max(event_us) AS last FROM (${saidOf(isNew)}) AS said`,
    );
    const { first, last } = rows[0]!;
    // Within these times, which the index finds: of a day's file they are those of the day.
    const said = `event WHERE event_us BETWEEN ${first} AND ${last} AND (merchant_key, event_us) IN (${saidOf(isNew)})`;
    if (first !== null) await (isBulk ? findAmongAll(client, said) : find(client, said));
  }
  await client.query('SET LOCAL enable_nestloop TO DEFAULT');
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

/** By itself, because events may lie on other machines. */
async function find(client: pg.Client, events: string): Promise<void> {
  await client.query(`INSERT INTO found (${COLUMNS}) SELECT ${COLUMNS} FROM ${events}`);
}

/** The same by several processes, which an INSERT is not given: 7 M events took 0.6 instead of 1.2 s. */
async function findAmongAll(client: pg.Client, events: string): Promise<void> {
  await client.query(`CREATE TEMP TABLE found_among_all AS SELECT ${COLUMNS} FROM ${events}`);
  await find(client, 'found_among_all');
  await client.query('DROP TABLE found_among_all');
}
