import type pg from 'pg';
import { KYC_STAGES, PRODUCTS } from '../activity.ts';
import { fillFast, isEmpty } from './bulk.ts';
import { copyInto, TEXT } from './copy.ts';
import { eventTimestamp } from './encode.ts';
import { monthRows, monthsOf, outcomeRows, type Tally, type TallyRow, totalRows } from './tally.ts';

/** Columns of merchant_total: events of each product, and successful KYC events of each stage. */
export const PRODUCT_COLUMNS = PRODUCTS.map((product) => product.toLowerCase());
export const STAGE_COLUMNS = ['documents_submitted', 'verifications_completed', 'tier_upgrades'];

/**
 * The rollups as queries over events, by name. `verify` recomputes them with the same queries over all events, so that a
 * drift of the stored ones shows; the answers it checks by independent queries of its own.
 */
export const ROLLUPS = {
  merchant_month: {
    key: ['month', 'merchant_key'],
    values: ['success_count', 'success_kobo'],
    select: (events: string, fence = '') =>
      `SELECT date_trunc('month', ${eventTimestamp('event_us')} AT TIME ZONE 'UTC')::date AS month, merchant_key,
              count(*) AS success_count, sum(amount_kobo) AS success_kobo
         FROM ${events}
         JOIN (SELECT * FROM context ${fence}) AS context USING (context_key)
        WHERE status = 'SUCCESS'
        GROUP BY 1, 2`,
  },
  merchant_total: {
    key: ['merchant_key'],
    values: ['success_kobo', 'success_count', ...PRODUCT_COLUMNS, ...STAGE_COLUMNS],
    select: (events: string, fence = '') =>
      `SELECT merchant_key,
              coalesce(sum(amount_kobo) FILTER (WHERE status = 'SUCCESS'), 0) AS success_kobo,
              count(*) FILTER (WHERE status = 'SUCCESS') AS success_count,
              ${PRODUCTS.map((product) => `count(*) FILTER (WHERE product = '${product}') AS ${product.toLowerCase()}`).join(', ')},
              ${KYC_STAGES.map((stage, index) => `count(*) FILTER (WHERE product = 'KYC' AND event_type = '${stage}' AND status = 'SUCCESS') AS ${STAGE_COLUMNS[index]}`).join(', ')}
         FROM ${events}
         JOIN (SELECT * FROM kind ${fence}) AS kind USING (kind_key)
         JOIN (SELECT * FROM context ${fence}) AS context USING (context_key)
        GROUP BY 1`,
  },
  product_status: {
    key: ['product', 'status'],
    values: ['event_count'],
    select: (events: string, fence = '') =>
      `SELECT product, status, count(*) AS event_count
         FROM ${events}
         JOIN (SELECT * FROM kind ${fence}) AS kind USING (kind_key)
         JOIN (SELECT * FROM context ${fence}) AS context USING (context_key)
        GROUP BY 1, 2`,
  },
} as const;

type Rollup = keyof typeof ROLLUPS;
const ROLLUP_ENTRIES = Object.entries(ROLLUPS) as [Rollup, (typeof ROLLUPS)[Rollup]][];

/**
 * Adds events to the rollups. The cost follows these events, not the history.
 *
 * @param events a table or subquery with the columns of `event`, in SQL
 * @param fence as fenceOf gives it, where they are read from `event`
 * @returns the months, `YYYY-MM`, whose successes changed
 */
export async function addToRollups(client: pg.Client, events: string, fence = ''): Promise<string[]> {
  const months: string[] = [];
  for (const [table, { select }] of ROLLUP_ENTRIES)
    months.push(...(await upsert(client, table, select(events, fence))));
  return months;
}

/** Takes events out of the rollups again. Rows whose counts fall to zero stay: they say the same as no row. */
export async function takeFromRollups(client: pg.Client, events: string): Promise<string[]> {
  const months: string[] = [];
  if (await isEmpty(client, events)) return months;
  for (const [table, { key, values, select }] of ROLLUP_ENTRIES) {
    const negated = values.map((value) => `-${value}`);
    const gone = `SELECT ${[...key, ...negated].join(', ')} FROM (${select(events)}) AS gone`;
    months.push(...(await upsert(client, table, gone)));
  }
  return months;
}

/** Where the counts of pruned events are kept that the rollups go on holding. */
const expiredOf = (table: Rollup) => `expired_${table}` as const;

/** What `verify` expects of a rollup: the stored events, and the pruned ones that it goes on counting. */
export function expectedRollup(table: Rollup): string {
  const { key, values, select } = ROLLUPS[table];
  return `SELECT ${key.join(', ')}, ${values.map((value) => `sum(${value}) AS ${value}`).join(', ')}
            FROM (SELECT ${[...key, ...values].join(', ')} FROM (${select('event')}) AS of_events
                   UNION ALL
                  SELECT ${[...key, ...values].join(', ')} FROM ${expiredOf(table)}) AS counted
           GROUP BY ${key.join(', ')}`;
}

/** Lets the rollups go on counting events that are about to leave. */
export async function keepInRollups(client: pg.Client, events: string): Promise<void> {
  for (const [table, { select }] of ROLLUP_ENTRIES) await upsert(client, table, select(events), expiredOf(table));
}

/** Takes out of the rollups what was kept in them of pruned events, and returns the months like addToRollups. */
export async function dropKeptFromRollups(client: pg.Client): Promise<string[]> {
  const months: string[] = [];
  for (const [table, { key, values }] of ROLLUP_ENTRIES) {
    if (await isEmpty(client, expiredOf(table))) continue;
    const negated = values.map((value) => `-${value}`);
    months.push(...(await upsert(client, table, `SELECT ${[...key, ...negated].join(', ')} FROM ${expiredOf(table)}`)));
    await client.query(`DELETE FROM ${expiredOf(table)}`); // whoever reads an earlier moment goes on seeing it, unlike with TRUNCATE
  }
  return months;
}

/** Whether the rollups count events that were pruned. */
export async function hasKeptInRollups(client: pg.Client): Promise<boolean> {
  return !(await isEmpty(client, expiredOf('product_status')));
}

/** Adds what was counted in memory to the rollups, and returns the months like addToRollups. */
export async function addTally(client: pg.Client, tally: Tally): Promise<string[]> {
  await addRows(client, 'merchant_total', totalRows(tally));
  await addRows(client, 'merchant_month', monthRows(tally));
  await addRows(client, 'product_status', outcomeRows(tally));
  return monthsOf(tally).map((firstDay) => firstDay.slice(0, 'YYYY-MM'.length));
}

/**
 * By COPY, so that memory does not grow with the merchants: as parameters, the months of 20,000 of them took 20 MB and
 * twice the time.
 *
 * @param rows in key order, so that the index is walked once
 */
async function addRows(client: pg.Client, table: Rollup, rows: Iterable<TallyRow>): Promise<void> {
  const { key, values } = ROLLUPS[table];
  const columns = [...key, ...values].join(', ');
  const copyTo = async (target: string) => {
    const copy = copyInto(client, `COPY ${target} (${columns}) FROM STDIN`, TEXT);
    for (const lines of linesOf(rows)) await copy.write(Buffer.from(lines));
    await copy.pause();
  };
  if (await isEmpty(client, table)) {
    await fillFast(client, table, () => copyTo(table));
    return;
  }
  const added = `added_${table}`;
  await client.query(`CREATE TEMP TABLE ${added} (LIKE ${table})`);
  await copyTo(added);
  await upsert(client, table, `SELECT ${columns} FROM ${added}`);
  await client.query(`DROP TABLE ${added}`);
}

/** None of the values needs quoting. */
function* linesOf(rows: Iterable<TallyRow>): Generator<string> {
  let lines = '';
  for (const row of rows) {
    lines += `${row.join('\t')}\n`;
    if (lines.length < LINES_LENGTH) continue;
    yield lines;
    lines = '';
  }
  if (lines !== '') yield lines;
}

const LINES_LENGTH = 32 * 1024;

/**
 * Adds rows in key order, so that the index is walked once.
 *
 * @param rows a query that gives key and values
 * @param target a table with the rollup's columns
 * @returns of merchant_month the months, `YYYY-MM`, that have rows among them
 */
async function upsert(client: pg.Client, table: Rollup, rows: string, target: string = table): Promise<string[]> {
  const { key, values } = ROLLUPS[table];
  // An empty table is filled without ON CONFLICT: 200,000 rows take 0.28 s instead of 0.50 s.
  const canConflict = !(await isEmpty(client, target));
  const statement = `
    INSERT INTO ${target} AS r (${[...key, ...values].join(', ')})
    SELECT * FROM (${rows}) AS added
     ORDER BY ${key.map((_, index) => index + 1).join(', ')}
        ${canConflict ? onConflict(key, values) : ''}`;
  if (table !== 'merchant_month') {
    await client.query(statement);
    return [];
  }
  const { rows: changed } = await client.query<{ month: string }>(
    `WITH changed AS (${statement} RETURNING month) SELECT DISTINCT to_char(month, 'YYYY-MM') AS month FROM changed`,
  );
  return changed.map(({ month }) => month);
}

const onConflict = (key: readonly string[], values: readonly string[]) => `
  ON CONFLICT (${key.join(', ')})
  DO UPDATE SET ${values.map((value) => `${value} = r.${value} + excluded.${value}`).join(', ')}`;
