/** DuckDB in memory: load all files, clean, keep the first of each event, answer the five questions. */
import { DuckDBInstance } from '@duckdb/node-api';

const [folder] = process.argv.slice(2);
const connection = await (await DuckDBInstance.create(':memory:')).connect();
// Rows keep the order of files and lines, so a row's number tells which occurrence of an event is the first.
await connection.run(
  `CREATE TABLE raw AS SELECT * FROM read_csv('${folder}/*.csv', header = true, all_varchar = true)`,
);
await connection.run(`
  CREATE TABLE clean AS
  SELECT rowid AS position,
         try_cast(trim(event_id) AS UUID) AS event_id,
         trim(merchant_id) AS merchant_id,
         try_cast(trim(event_timestamp) AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS event_timestamp,
         upper(trim(product)) AS product,
         upper(trim(event_type)) AS event_type,
         CASE WHEN regexp_full_match(trim(amount), '[+-]?[0-9]{1,15}([.][0-9]*)?')
              THEN coalesce(try_cast(amount AS DECIMAL(18, 2)), 0) ELSE 0 END AS amount,
         upper(trim(status)) AS status
    FROM raw
   WHERE try_cast(trim(event_id) AS UUID) IS NOT NULL
     AND length(trim(merchant_id)) BETWEEN 1 AND 64
     AND try_cast(trim(event_timestamp) AS TIMESTAMPTZ) IS NOT NULL
     AND upper(trim(product)) IN ('POS', 'AIRTIME', 'BILLS', 'CARD_PAYMENT', 'SAVINGS', 'MONIEBOOK', 'KYC')
     AND length(trim(event_type)) <= 64
     AND upper(trim(status)) IN ('SUCCESS', 'FAILED', 'PENDING')`);
await connection.run(`
  CREATE TABLE event AS
  SELECT * FROM clean SEMI JOIN (SELECT min(position) AS position FROM clean GROUP BY event_id) USING (position)`);

const all = async (sql: string) => (await connection.runAndReadAll(sql)).getRowObjectsJson();
const [counted] = await all(
  'SELECT count(*)::INTEGER AS accepted, (SELECT count(*)::INTEGER FROM raw) AS rows FROM event',
);
const [top] = await all(
  `SELECT merchant_id, sum(amount)::VARCHAR AS total_volume FROM event WHERE status = 'SUCCESS' GROUP BY 1 ORDER BY sum(amount) DESC, 1 LIMIT 1`,
);
const months = await all(
  `SELECT strftime(event_timestamp, '%Y-%m') AS key, count(DISTINCT merchant_id)::INTEGER AS value FROM event WHERE status = 'SUCCESS' GROUP BY 1 ORDER BY 1`,
);
const products = await all(
  'SELECT product AS key, count(DISTINCT merchant_id)::INTEGER AS value FROM event GROUP BY 1 ORDER BY 2 DESC, 1',
);
const [funnel] = await all(`
  SELECT count(DISTINCT merchant_id) FILTER (WHERE event_type = 'DOCUMENT_SUBMITTED')::INTEGER AS documents_submitted,
         count(DISTINCT merchant_id) FILTER (WHERE event_type = 'VERIFICATION_COMPLETED')::INTEGER AS verifications_completed,
         count(DISTINCT merchant_id) FILTER (WHERE event_type = 'TIER_UPGRADE')::INTEGER AS tier_upgrades
    FROM event
   WHERE product = 'KYC' AND status = 'SUCCESS'`);
const rates = await all(`
  SELECT product, round(rate, 1)::DOUBLE AS failure_rate
    FROM (SELECT product, (count(*) FILTER (WHERE status = 'FAILED') * 100)::DECIMAL(18, 6) / count(*) AS rate
            FROM event WHERE status <> 'PENDING' GROUP BY 1)
   ORDER BY rate DESC, product`);

const mapOf = (rows: readonly Record<string, unknown>[]) =>
  Object.fromEntries(rows.map(({ key, value }) => [key as string, value]));
process.stdout.write(
  JSON.stringify({
    rows: counted?.rows,
    accepted: counted?.accepted,
    answers: {
      'top-merchant': { merchant_id: top?.merchant_id, total_volume: Number(top?.total_volume) },
      'monthly-active-merchants': mapOf(months),
      'product-adoption': mapOf(products),
      'kyc-funnel': funnel,
      'failure-rates': rates,
    },
  }),
);
