import type pg from 'pg';
import { PRODUCTS } from '../activity.ts';
import { type Answers, failureRates, formatNaira } from '../metrics.ts';
import { readSnapshot, SNAPSHOT_CHANNEL } from '../snapshot.ts';
import { PRODUCT_COLUMNS, STAGE_COLUMNS } from './rollup.ts';

/**
 * Computes the five answers from the rollups and publishes them under the next data version. Run it in the transaction
 * that changed the data: NOTIFY goes out with the commit.
 *
 * @param changedMonths all months, `YYYY-MM`, whose successes changed since the last publication: of the others what was published stays,
 *   and readers ask for nothing of them
 */
export async function publish(client: pg.Client, changedMonths: readonly string[]): Promise<void> {
  const before = await readSnapshot(client);
  const answers = await computeAnswers(client, before && { answers: before.answers, changedMonths });
  const dataVersion = (before?.dataVersion ?? 0) + 1;
  const monthVersions = { ...before?.monthVersions };
  for (const month of changedMonths) monthVersions[month] = dataVersion;
  await client.query(
    `INSERT INTO snapshot (data_version, published_at, answers, month_versions)
     VALUES ($1, clock_timestamp(), $2, $3)
         ON CONFLICT (is_only_row)
         DO UPDATE SET data_version = excluded.data_version, published_at = excluded.published_at,
                       answers = excluded.answers, month_versions = excluded.month_versions`,
    [dataVersion, JSON.stringify(answers), JSON.stringify(monthVersions)],
  );
  await client.query('SELECT pg_notify($1, $2)', [SNAPSHOT_CHANNEL, String(dataVersion)]);
}

/**
 * Definitions: CONTRACT.md section 3. Text is compared by code point, so that a tie ends alike on every server.
 *
 * @param known earlier answers, from which unchanged months are taken: to count every month's merchants takes longer with each; null counts all
 */
export async function computeAnswers(
  client: pg.Client,
  known: { readonly answers: Answers; readonly changedMonths: readonly string[] } | null,
): Promise<Answers> {
  const top = await client.query<{ merchant_id: string; kobo: string }>(
    `SELECT m.merchant_id, t.success_kobo AS kobo
       FROM merchant_total t
       JOIN merchant m USING (merchant_key)
      WHERE t.success_count > 0
      ORDER BY t.success_kobo DESC, m.merchant_id COLLATE "C"
      LIMIT 1`,
  );
  const months = await client.query<{ month: string; merchants: number }>(
    `SELECT to_char(month, 'YYYY-MM') AS month, merchants
       FROM (SELECT month, count(*)::float8 AS merchants
               FROM merchant_month
              WHERE success_count > 0 AND ($1::date[] IS NULL OR month = ANY ($1))
              GROUP BY month) t`,
    [known?.changedMonths.map((month) => `${month}-01`)],
  );
  const unchanged =
    known?.answers.monthlyActiveMerchants.filter(({ month }) => !known.changedMonths.includes(month)) ?? [];
  const { rows: totals } = await client.query<Record<string, string>>(
    `SELECT ${[...PRODUCT_COLUMNS, ...STAGE_COLUMNS].map((column) => `count(*) FILTER (WHERE ${column} > 0) AS ${column}`).join(', ')},
            ${STAGE_COLUMNS.map((column, stage) => `count(*) FILTER (WHERE least(${STAGE_COLUMNS.slice(0, stage + 1).join(', ')}) > 0) AS nested_${column}`).join(', ')}
       FROM merchant_total`,
  );
  const merchantsWith = (column: string) => Number(totals[0]?.[column]);
  const funnel = (prefix: string) => ({
    documentsSubmitted: merchantsWith(`${prefix}documents_submitted`),
    verificationsCompleted: merchantsWith(`${prefix}verifications_completed`),
    tierUpgrades: merchantsWith(`${prefix}tier_upgrades`),
  });
  const statuses = await client.query<{ product: string; succeeded: string; failed: string }>(
    `SELECT product,
            coalesce(sum(event_count) FILTER (WHERE status = 'SUCCESS'), 0) AS succeeded,
            coalesce(sum(event_count) FILTER (WHERE status = 'FAILED'), 0) AS failed
       FROM product_status
      GROUP BY product`,
  );

  const [first] = top.rows;
  return {
    topMerchant:
      first === undefined ? null : { merchantId: first.merchant_id, totalVolume: formatNaira(BigInt(first.kobo)) },
    monthlyActiveMerchants: [...unchanged, ...months.rows].sort((a, b) => (a.month < b.month ? -1 : 1)),
    productAdoption: PRODUCTS.map((product, index) => ({
      product,
      merchants: merchantsWith(PRODUCT_COLUMNS[index] as string),
    }))
      .filter(({ merchants }) => merchants > 0)
      .sort((a, b) => b.merchants - a.merchants || (a.product < b.product ? -1 : 1)),
    kycFunnel: funnel(''),
    kycFunnelNested: funnel('nested_'),
    failureRates: failureRates(
      statuses.rows.map(({ product, succeeded, failed }) => ({
        product,
        succeeded: BigInt(succeeded),
        failed: BigInt(failed),
      })),
    ),
  };
}
