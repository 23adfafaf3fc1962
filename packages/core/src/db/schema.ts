import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  customType,
  date,
  index,
  integer,
  json,
  jsonb,
  numeric,
  pgTable,
  pgView,
  primaryKey,
  smallint,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import { CHANNELS, type CoercedColumn, MERCHANT_TIERS, PRODUCTS, type RejectReason, STATUSES } from '../activity.ts';
import type { Answers } from '../metrics.ts';

/**
 * The only place where a column's type is written. Migrations in `drizzle/` are generated from this file with
 * `pnpm migration` and never edited after they landed.
 *
 * `event` carries no foreign key, no trigger and no unique index besides its key: a load pays for none, and the table can
 * be distributed by event_id later. What a file added is found by `file_id`, which is never used twice.
 */

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
const count = (name: string) => bigint(name, { mode: 'number' }).notNull();
const moment = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' });

/** One merchant seen in a file. Events carry the key instead of the text. */
export const merchant = pgTable(
  'merchant',
  { merchantKey: integer('merchant_key').notNull(), merchantId: text('merchant_id').notNull() },
  (t) => [
    primaryKey({ name: 'merchant_pkey', columns: [t.merchantKey] }),
    uniqueIndex('merchant_merchant_id_key').on(t.merchantId),
  ],
);

/** Event types. 0 is the blank one; 1, 2 and 3 are the KYC stages in funnel order. */
export const eventType = pgTable(
  'event_type',
  { eventTypeKey: integer('event_type_key').notNull(), eventType: text('event_type').notNull() },
  (t) => [
    primaryKey({ name: 'event_type_pkey', columns: [t.eventTypeKey] }),
    uniqueIndex('event_type_event_type_key').on(t.eventType),
  ],
);

/** Regions. Events without one carry the key 0, which has no row here. */
export const region = pgTable(
  'region',
  { regionKey: integer('region_key').notNull(), region: text('region').notNull() },
  (t) => [primaryKey({ name: 'region_pkey', columns: [t.regionKey] }), uniqueIndex('region_region_key').on(t.region)],
);

/**
 * The columns of a stored row, widest first so that no padding is stored. Nothing is null: 0 stands for "no value", which
 * saves the null bitmap and makes every binary COPY row the same length.
 */
const eventColumns = {
  eventId: uuid('event_id').notNull(),
  eventTimestamp: moment('event_timestamp').notNull(),
  amountKobo: bigint('amount_kobo', { mode: 'bigint' }).notNull(),
  fileId: integer('file_id').notNull(),
  merchantKey: integer('merchant_key').notNull(),
  eventTypeKey: integer('event_type_key').notNull(),
  regionKey: integer('region_key').notNull(),
  product: smallint('product').notNull(),
  status: smallint('status').notNull(),
  channel: smallint('channel').notNull(),
  merchantTier: smallint('merchant_tier').notNull(),
};

/** One event, stored once whatever the number of files that carry it. */
export const event = pgTable('event', eventColumns, (t) => [
  primaryKey({ name: 'event_pkey', columns: [t.eventId] }),
  // What a file added is found by this index: the cost of an import follows the file, not the history.
  index('event_file_id_idx').on(t.fileId),
]);

/** A later occurrence of an event that was already stored, kept so that it can be stored when the first one leaves. */
export const duplicate = pgTable(
  'duplicate',
  {
    ...eventColumns,
    line: bigint('line', { mode: 'number' }).notNull(),
    /** Its content differs from the stored event. */
    isConflict: boolean('is_conflict').notNull(),
  },
  (t) => [
    primaryKey({ name: 'duplicate_pkey', columns: [t.fileId, t.line] }),
    index('duplicate_event_id_idx').on(t.eventId),
  ],
);

/** One run of `moniepoint import`. A row without finished_at belongs to a run that is under way or was killed. */
export const importRun = pgTable(
  'import_run',
  {
    runId: integer('run_id').generatedAlwaysAsIdentity(),
    startedAt: moment('started_at').notNull(),
    finishedAt: moment('finished_at'),
    outcome: text('outcome', { enum: ['done', 'failed', 'incomplete', 'interrupted'] }),
    programVersion: text('program_version').notNull(),
  },
  (t) => [
    primaryKey({ name: 'import_run_pkey', columns: [t.runId] }),
    check('import_run_outcome_check', sql`${t.outcome} IN ('done', 'failed', 'incomplete', 'interrupted')`),
  ],
);

/** What was loaded from where: one row per loaded file, and one per failed attempt. */
export const ledger = pgTable(
  'ledger',
  {
    fileId: integer('file_id').generatedAlwaysAsIdentity(),
    runId: integer('run_id').notNull(),
    status: text('status', { enum: ['loaded', 'failed'] }).notNull(),
    path: text('path').notNull(),
    sizeBytes: bigint('size_bytes', { mode: 'number' }).notNull(),
    /** Nanoseconds since 1970; null when the time is too fresh to tell a later change by it. */
    mtimeNs: bigint('mtime_ns', { mode: 'bigint' }),
    sha256: bytea('sha256'),
    rowsRead: count('rows_read'),
    accepted: count('accepted'),
    duplicate: count('duplicate'),
    conflict: count('conflict'),
    rejected: count('rejected'),
    coerced: count('coerced'),
    rejectedByReason: jsonb('rejected_by_reason').$type<Partial<Record<RejectReason, number>>>().notNull(),
    coercedByColumn: jsonb('coerced_by_column').$type<Partial<Record<CoercedColumn, number>>>().notNull(),
    /** Why a failed attempt failed. */
    error: text('error'),
    startedAt: moment('started_at').notNull(),
    finishedAt: moment('finished_at').notNull(),
    programVersion: text('program_version').notNull(),
  },
  (t) => [
    primaryKey({ name: 'ledger_pkey', columns: [t.fileId] }),
    uniqueIndex('ledger_loaded_path_key').on(t.path).where(sql`${t.status} = 'loaded'`),
    check('ledger_status_check', sql`${t.status} IN ('loaded', 'failed')`),
    check(
      'ledger_rows_check',
      sql`${t.status} <> 'loaded' OR ${t.rowsRead} = ${t.accepted} + ${t.duplicate} + ${t.rejected}`,
    ),
  ],
);

/** The raw record as text where it is valid UTF-8 without NUL, else as bytes: exactly one of the two. */
const rawColumns = { rawText: text('raw_text'), rawBytes: bytea('raw_bytes') };

/** A rejected record: at most 10,000 a file; the counts in the ledger are exact beyond that. */
export const reject = pgTable(
  'reject',
  {
    fileId: integer('file_id').notNull(),
    /** First line of the record, counted from 1 with the header. */
    line: bigint('line', { mode: 'number' }).notNull(),
    reason: text('reason').$type<RejectReason>().notNull(),
    ...rawColumns,
  },
  (t) => [
    primaryKey({ name: 'reject_pkey', columns: [t.fileId, t.line] }),
    check('reject_raw_check', sql`(${t.rawText} IS NULL) <> (${t.rawBytes} IS NULL)`),
  ],
);

/** The original text of a repaired value: at most 10,000 a file. */
export const coercion = pgTable(
  'coercion',
  {
    fileId: integer('file_id').notNull(),
    line: bigint('line', { mode: 'number' }).notNull(),
    columnName: text('column_name').$type<CoercedColumn>().notNull(),
    rawText: text('raw_text').notNull(),
  },
  (t) => [primaryKey({ name: 'coercion_pkey', columns: [t.fileId, t.line, t.columnName] })],
);

// Rollups hold counts and sums rather than flags, so that a file can be taken out of them again. They grow with
// merchants and months. Sums are numeric: ten amounts of 10^18 kobo overflow a bigint.

export const merchantMonth = pgTable(
  'merchant_month',
  {
    merchantKey: integer('merchant_key').notNull(),
    month: date('month', { mode: 'string' }).notNull(),
    successCount: count('success_count'),
    successKobo: numeric('success_kobo').notNull(),
  },
  (t) => [primaryKey({ name: 'merchant_month_pkey', columns: [t.merchantKey, t.month] })],
);

export const merchantProduct = pgTable(
  'merchant_product',
  {
    merchantKey: integer('merchant_key').notNull(),
    product: smallint('product').notNull(),
    eventCount: count('event_count'),
  },
  (t) => [primaryKey({ name: 'merchant_product_pkey', columns: [t.merchantKey, t.product] })],
);

export const merchantKycStage = pgTable(
  'merchant_kyc_stage',
  {
    merchantKey: integer('merchant_key').notNull(),
    /** Event type key of the stage: 1, 2 or 3. */
    stage: smallint('stage').notNull(),
    successCount: count('success_count'),
  },
  (t) => [primaryKey({ name: 'merchant_kyc_stage_pkey', columns: [t.merchantKey, t.stage] })],
);

export const productStatus = pgTable(
  'product_status',
  {
    product: smallint('product').notNull(),
    status: smallint('status').notNull(),
    eventCount: count('event_count'),
  },
  (t) => [primaryKey({ name: 'product_status_pkey', columns: [t.product, t.status] })],
);

/** The published answers: one row, replaced by each commit that changes the data. */
export const snapshot = pgTable(
  'snapshot',
  {
    isOnlyRow: boolean('is_only_row').notNull().default(true),
    /** Rises by one with each publication. */
    dataVersion: bigint('data_version', { mode: 'number' }).notNull(),
    publishedAt: moment('published_at').notNull(),
    /** json rather than jsonb: the order of the answers is part of them. */
    answers: json('answers').$type<Answers>().notNull(),
  },
  (t) => [
    primaryKey({ name: 'snapshot_pkey', columns: [t.isOnlyRow] }),
    check('snapshot_only_row_check', sql`${t.isOnlyRow}`),
  ],
);

/** A code's label in SQL: an array subscript of 0 gives NULL, which is what 0 stands for. */
const label = (set: readonly string[], column: string) => sql.raw(`('{${set.join(',')}}'::text[])[e.${column}]`);

/** The stored events with the columns of the files they came from, for people who write SQL. */
export const activity = pgView('activity', {
  eventId: uuid('event_id'),
  merchantId: text('merchant_id'),
  eventTimestamp: moment('event_timestamp'),
  product: text('product'),
  eventType: text('event_type'),
  amount: numeric('amount'),
  status: text('status'),
  channel: text('channel'),
  region: text('region'),
  merchantTier: text('merchant_tier'),
  fileId: integer('file_id'),
}).as(sql`
  SELECT e.event_id,
         m.merchant_id,
         e.event_timestamp,
         ${label(PRODUCTS, 'product')} AS product,
         t.event_type,
         (e.amount_kobo::numeric / 100)::numeric(20, 2) AS amount,
         ${label(STATUSES, 'status')} AS status,
         ${label(CHANNELS, 'channel')} AS channel,
         r.region,
         ${label(MERCHANT_TIERS, 'merchant_tier')} AS merchant_tier,
         e.file_id
    FROM event e
    JOIN merchant m USING (merchant_key)
    JOIN event_type t USING (event_type_key)
    LEFT JOIN region r USING (region_key)`);
