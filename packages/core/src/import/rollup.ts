import type pg from 'pg';
import { KYC_STAGES, PRODUCTS, STATUSES } from '../activity.ts';

const SUCCESS = STATUSES.indexOf('SUCCESS') + 1;
const KYC = PRODUCTS.indexOf('KYC') + 1;

/**
 * The four rollups as queries over events, by name. `verify` recomputes them with the same queries over all events, so
 * that a drift of the stored ones shows; the answers it checks by independent queries of its own.
 */
export const ROLLUPS = {
  merchant_month: {
    key: ['merchant_key', 'month'],
    values: ['success_count', 'success_kobo'],
    select: `SELECT merchant_key, date_trunc('month', event_timestamp AT TIME ZONE 'UTC')::date AS month,
                    count(*) AS success_count, sum(amount_kobo) AS success_kobo
               FROM event
              WHERE status = ${SUCCESS}`,
  },
  merchant_product: {
    key: ['merchant_key', 'product'],
    values: ['event_count'],
    select: `SELECT merchant_key, product, count(*) AS event_count
               FROM event
              WHERE true`,
  },
  merchant_kyc_stage: {
    key: ['merchant_key', 'stage'],
    values: ['success_count'],
    select: `SELECT merchant_key, event_type_key::smallint AS stage, count(*) AS success_count
               FROM event
              WHERE status = ${SUCCESS} AND product = ${KYC} AND event_type_key BETWEEN 1 AND ${KYC_STAGES.length}`,
  },
  product_status: {
    key: ['product', 'status'],
    values: ['event_count'],
    select: `SELECT product, status, count(*) AS event_count
               FROM event
              WHERE true`,
  },
} as const;

/** Adds what a file brought to the rollups. The cost follows the file, not the history. */
export async function addToRollups(client: pg.Client, fileId: number): Promise<void> {
  for (const [table, { key, values, select }] of Object.entries(ROLLUPS)) {
    await client.query(
      `INSERT INTO ${table} AS r (${[...key, ...values].join(', ')})
       ${select} AND file_id = $1
        GROUP BY 1, 2
        ORDER BY 1, 2
           ON CONFLICT (${key.join(', ')})
           DO UPDATE SET ${values.map((value) => `${value} = r.${value} + excluded.${value}`).join(', ')}`,
      [fileId],
    );
  }
}
