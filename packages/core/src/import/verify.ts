import type pg from 'pg';
import { inTransaction, READ_ONLY_MOMENT } from '../db/database.ts';
import { type Answers, METRICS, type Metric } from '../metrics.ts';
import { readSnapshot } from '../snapshot.ts';
import { computeAnswers } from './publish.ts';
import { MAX_STORED_PER_FILE } from './rejects.ts';
import { SAID_BY_EVENT } from './repairs.ts';
import { expectedRollup, hasKeptInRollups, ROLLUPS } from './rollup.ts';

/** One thing that was recomputed, and how it differs from what is stored; an empty list means it agrees. */
export type Check = { readonly name: string; readonly differences: readonly string[] };

/** Differences told per check; the first ones say enough. */
const MAX_DIFFERENCES = 5;

/**
 * Recomputes everything from the stored events and compares it with the rollups, the snapshot and the ledger
 * (CONTRACT.md section 5). Sees one moment of the database; imports may go on meanwhile.
 *
 * @param tell hears of each check as it ends: with millions of events some take seconds
 */
export async function verify(client: pg.Client, tell: (check: Check) => void = () => {}): Promise<Check[]> {
  return inTransaction(
    client,
    async () => {
      // Everything is read whole. Statistics of a time when tables were still empty make the planner loop over them instead.
      await client.query('SET LOCAL enable_nestloop = off');
      const checks: Check[] = [];
      const add = (check: Check) => {
        checks.push(check);
        tell(check);
      };
      for (const table of Object.keys(ROLLUPS) as (keyof typeof ROLLUPS)[]) add(await checkRollup(client, table));
      for (const check of await checkAnswers(client)) add(check);
      for (const [name, query] of Object.entries(LEDGER_CHECKS)) add(await checkNoRows(client, name, query));
      return checks;
    },
    READ_ONLY_MOMENT,
  );
}

async function checkRollup(client: pg.Client, table: keyof typeof ROLLUPS): Promise<Check> {
  const { key, values } = ROLLUPS[table];
  const columns = [...key, ...values];
  // Rows whose counts fell to zero say the same as rows that are not there.
  return checkNoRows(
    client,
    `rollup ${table}`,
    `WITH recomputed AS (${expectedRollup(table)}),
          stored AS (SELECT ${columns.join(', ')} FROM ${table} WHERE NOT (${values.map((value) => `${value} = 0`).join(' AND ')}))
     SELECT ${key.map((column) => `coalesce(r.${column}::text, s.${column}::text)`).join(" || ' ' || ")} AS place,
            concat_ws(' ', ${values.map((value) => `s.${value}`).join(', ')}) AS found,
            concat_ws(' ', ${values.map((value) => `r.${value}`).join(', ')}) AS expected
       FROM recomputed r
       FULL JOIN stored s USING (${key.join(', ')})
      WHERE (${values.map((value) => `r.${value}`).join(', ')}) IS DISTINCT FROM (${values.map((value) => `s.${value}`).join(', ')})`,
  );
}

/** @param query gives the rows that differ, as place, found and expected */
async function checkNoRows(client: pg.Client, name: string, query: string): Promise<Check> {
  const { rows } = await client.query<{ place: string; found: string | null; expected: string | null }>(
    // In an order, so that the planner reckons with all rows: to find a few of them it would take loops without an index.
    `${query} ORDER BY place LIMIT ${MAX_DIFFERENCES}`,
  );
  return {
    name,
    differences: rows.map(
      ({ place, found, expected }) => `${place}: stored ${found || 'nothing'}, expected ${expected || 'nothing'}`,
    ),
  };
}

/** Counted before anything is joined with them, so that where events are distributed every node counts its own. */
const EVENTS_OF_FILES = '(SELECT file_id, count(*) AS events FROM event GROUP BY file_id)';

/** Each finds what must not be there. */
const LEDGER_CHECKS = {
  'ledger accepted': `
    SELECT l.path AS place, concat(l.accepted, ' - ', l.expired) AS found, coalesce(e.events, 0)::text AS expected
      FROM ledger l
      LEFT JOIN ${EVENTS_OF_FILES} e USING (file_id)
     WHERE l.status = 'loaded' AND (l.accepted - l.expired <> coalesce(e.events, 0) OR l.expired NOT BETWEEN 0 AND l.accepted)`,
  'ledger duplicate and conflict': `
    SELECT l.path AS place,
           concat_ws(' ', l.duplicate, l.conflict) AS found,
           concat_ws(' ', count(d.file_id), count(d.file_id) FILTER (WHERE d.is_conflict)) AS expected
      FROM ledger l
      LEFT JOIN duplicate d USING (file_id)
     WHERE l.status = 'loaded'
     GROUP BY l.file_id
    HAVING (l.duplicate, l.conflict) <> (count(d.file_id), count(d.file_id) FILTER (WHERE d.is_conflict))`,
  'ledger rejected': `
    SELECT l.path AS place, count(r.file_id)::text AS found, least(l.rejected, ${MAX_STORED_PER_FILE})::text AS expected
      FROM ledger l
      LEFT JOIN reject r USING (file_id)
     WHERE l.status = 'loaded'
     GROUP BY l.file_id
    HAVING count(r.file_id) <> least(l.rejected, ${MAX_STORED_PER_FILE})`,
  'ledger coerced': `
    SELECT l.path AS place, count(c.file_id)::text AS found, least(l.coerced, ${MAX_STORED_PER_FILE})::text AS expected
      FROM ledger l
      LEFT JOIN coercion c USING (file_id)
     WHERE l.status = 'loaded'
     GROUP BY l.file_id
    HAVING count(c.file_id) <> least(l.coerced, ${MAX_STORED_PER_FILE})`,
  'ledger covers every event': `
    SELECT 'file_id ' || e.file_id AS place, e.events || ' events' AS found, NULL AS expected
      FROM ${EVENTS_OF_FILES} e
      LEFT JOIN ledger l ON l.file_id = e.file_id AND l.status = 'loaded'
     WHERE l.file_id IS NULL`,
  'events are the first of their occurrences': `
    SELECT d.event_id::text AS place,
           concat_ws(' ', 'stored from', coalesce(s.path, 'nowhere'), 'conflict', d.is_conflict) AS found,
           concat_ws(' ', 'not behind', l.path, 'conflict',
                     (e.event_us, e.amount_kobo, e.merchant_key, e.kind_key, e.context_key)
                     IS DISTINCT FROM (d.event_us, d.amount_kobo, d.merchant_key, d.kind_key, d.context_key)) AS expected
      FROM duplicate d
      LEFT JOIN ledger l ON l.file_id = d.file_id AND l.status = 'loaded'
      LEFT JOIN (SELECT * FROM event WHERE event_id IN (SELECT event_id FROM duplicate)) e ON e.event_id = d.event_id
      LEFT JOIN ledger s ON s.file_id = e.file_id
     WHERE l.file_id IS NULL
        OR e.event_id IS NULL
        OR (l.name COLLATE "C", l.path COLLATE "C") < (s.name COLLATE "C", s.path COLLATE "C")
        OR d.is_conflict <> ((e.event_us, e.amount_kobo, e.merchant_key, e.kind_key, e.context_key)
                             IS DISTINCT FROM (d.event_us, d.amount_kobo, d.merchant_key, d.kind_key, d.context_key))`,
  'possible repairs are stored events': `
    SELECT p.event_id::text AS place, 'an event' AS found, NULL AS expected
      FROM possible_repair p
      LEFT JOIN (SELECT event_id, file_id, ${SAID_BY_EVENT} AS said
                   FROM event
                   JOIN merchant USING (merchant_key)
                   JOIN kind USING (kind_key)
                   JOIN context USING (context_key)
                  WHERE event_id IN (SELECT event_id FROM possible_repair)) e
             ON (e.event_id, e.file_id, e.said) = (p.event_id, p.file_id, p.said)
     WHERE e.event_id IS NULL`,
  'possible repairs are all there': `
    SELECT e.event_id::text AS place, NULL AS found, 'an event' AS expected
      FROM (SELECT event_id
              FROM event
             WHERE event_id IN (SELECT unnest(event_ids) FROM reject WHERE said IS NULL AND NOT is_closed)
             UNION
            SELECT event_id
              FROM event
             WHERE (merchant_key, event_us) IN (SELECT merchant_key, (said->>'event_us')::bigint
                                                  FROM reject
                                                  JOIN merchant ON merchant_id = said->>'merchant_id'
                                                 WHERE said IS NOT NULL AND NOT is_closed)) e
      LEFT JOIN possible_repair p USING (event_id)
     WHERE p.event_id IS NULL`,
  'snapshot knows every month': `
    SELECT to_char(m.month, 'YYYY-MM') AS place, NULL AS found, 'a version' AS expected
      FROM (SELECT DISTINCT month FROM merchant_month WHERE success_count > 0) m
      LEFT JOIN snapshot s ON s.month_versions ? to_char(m.month, 'YYYY-MM')
     WHERE s.data_version IS NULL`,
  // Of the tables themselves: joined with the view, events met themselves, and a planner that took them for few made that a loop
  // of hours.
  'event keys have their texts': `
    SELECT 'events without merchant, kind or context' AS place, count(*)::text AS found, NULL AS expected
      FROM event
      LEFT JOIN merchant USING (merchant_key)
      LEFT JOIN kind USING (kind_key)
      LEFT JOIN context USING (context_key)
     WHERE merchant_id IS NULL OR product IS NULL OR status IS NULL
    HAVING count(*) > 0`,
};

/**
 * The five answers straight from CONTRACT.md section 3, over the readable view, with none of the import's SQL. Each
 * returns its answer's fields in order.
 */
const DEFINITIONS = `
  SELECT
    (SELECT json_build_object('merchantId', merchant_id, 'totalVolume', sum(amount)::text)
       FROM activity
      WHERE status = 'SUCCESS'
      GROUP BY merchant_id
      ORDER BY sum(amount) DESC, merchant_id COLLATE "C"
      LIMIT 1) AS "topMerchant",
    (SELECT coalesce(json_agg(t ORDER BY t.month), '[]')
       FROM (SELECT to_char(event_timestamp AT TIME ZONE 'UTC', 'YYYY-MM') AS month, count(DISTINCT merchant_id) AS merchants
               FROM activity
              WHERE status = 'SUCCESS'
              GROUP BY 1) t) AS "monthlyActiveMerchants",
    (SELECT coalesce(json_agg(t ORDER BY t.merchants DESC, t.product COLLATE "C"), '[]')
       FROM (SELECT product, count(DISTINCT merchant_id) AS merchants FROM activity GROUP BY product) t) AS "productAdoption",
    (SELECT json_build_object(
              'documentsSubmitted', count(DISTINCT merchant_id) FILTER (WHERE event_type = 'DOCUMENT_SUBMITTED'),
              'verificationsCompleted', count(DISTINCT merchant_id) FILTER (WHERE event_type = 'VERIFICATION_COMPLETED'),
              'tierUpgrades', count(DISTINCT merchant_id) FILTER (WHERE event_type = 'TIER_UPGRADE'))
       FROM activity
      WHERE product = 'KYC' AND status = 'SUCCESS') AS "kycFunnel",
    (SELECT json_build_object(
              'documentsSubmitted', count(*) FILTER (WHERE submitted),
              'verificationsCompleted', count(*) FILTER (WHERE submitted AND completed),
              'tierUpgrades', count(*) FILTER (WHERE submitted AND completed AND upgraded))
       FROM (SELECT bool_or(event_type = 'DOCUMENT_SUBMITTED') AS submitted,
                    bool_or(event_type = 'VERIFICATION_COMPLETED') AS completed,
                    bool_or(event_type = 'TIER_UPGRADE') AS upgraded
               FROM activity
              WHERE product = 'KYC' AND status = 'SUCCESS'
              GROUP BY merchant_id) t) AS "kycFunnelNested",
    (SELECT coalesce(json_agg(json_build_object('product', product, 'failureRate', rate) ORDER BY exact DESC, product COLLATE "C"), '[]')
       FROM (SELECT product,
                    round(count(*) FILTER (WHERE status = 'FAILED')::numeric(60, 30) / count(*), 30) AS exact,
                    round(count(*) FILTER (WHERE status = 'FAILED') * 100::numeric(60, 30) / count(*), 1)::text AS rate
               FROM activity
              WHERE status <> 'PENDING'
              GROUP BY product) t) AS "failureRates"`;

/** Where pruned events are still counted, only the rollups know the answers; that they add up was checked by then. */
async function expectedAnswers(client: pg.Client): Promise<Answers> {
  if (await hasKeptInRollups(client)) return computeAnswers(client, null);
  const { rows } = await client.query<Answers>(DEFINITIONS);
  return rows[0] as Answers;
}

async function checkAnswers(client: pg.Client): Promise<Check[]> {
  const snapshot = await readSnapshot(client);
  const expected = await expectedAnswers(client);
  if (snapshot === null) {
    const { rowCount } = await client.query('SELECT FROM event LIMIT 1');
    return [
      {
        name: 'snapshot',
        differences: rowCount === 0 ? [] : ['stored nothing, expected the answers of the stored events'],
      },
    ];
  }
  const nestedFunnel = METRICS.find(({ name }) => name === 'kyc-funnel') as Metric;
  const compare = (name: string, json: (answers: Answers) => string | null): Check => {
    const [found, wanted] = [json(snapshot.answers), json(expected)];
    return {
      name: `answer ${name}`,
      differences:
        found === wanted ? [] : [`data version ${snapshot.dataVersion}: stored ${found}, expected ${wanted}`],
    };
  };
  return [
    ...METRICS.map((metric) => compare(metric.name, metric.toJson)),
    compare('kyc-funnel nested', (answers) => nestedFunnel.toJson({ ...answers, kycFunnel: answers.kycFunnelNested })),
  ];
}
