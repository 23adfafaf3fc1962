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
  text,
  timestamp,
  uniqueIndex,
  uuid,
} from 'drizzle-orm/pg-core';
import type { CoercedColumn, RejectReason } from '../activity.ts';
import { eventTimestamp } from '../import/encode.ts';
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

/**
 * What happened: a product and an event type that occurred together, in upper case. With this table and the next one an
 * event carries two keys instead of six values, which halves the cost of loading it.
 */
export const kind = pgTable(
  'kind',
  {
    kindKey: integer('kind_key').notNull(),
    product: text('product').notNull(),
    eventType: text('event_type').notNull(),
  },
  (t) => [
    primaryKey({ name: 'kind_pkey', columns: [t.kindKey] }),
    uniqueIndex('kind_product_event_type_key').on(t.product, t.eventType),
  ],
);

/** How and where it happened: values that occurred together, in upper case, '' where there is none. */
export const context = pgTable(
  'context',
  {
    contextKey: integer('context_key').notNull(),
    status: text('status').notNull(),
    channel: text('channel').notNull(),
    region: text('region').notNull(),
    merchantTier: text('merchant_tier').notNull(),
  },
  (t) => [
    primaryKey({ name: 'context_pkey', columns: [t.contextKey] }),
    uniqueIndex('context_values_key').on(t.status, t.channel, t.region, t.merchantTier),
  ],
);

/** The columns of a stored row, widest first so that no padding is stored. */
const eventColumns = {
  eventId: uuid('event_id').notNull(),
  /** Microseconds since 1970: a timestamptz would be broken down and checked again by the server, an eighth of a COPY. */
  eventUs: bigint('event_us', { mode: 'bigint' }).notNull(),
  amountKobo: bigint('amount_kobo', { mode: 'bigint' }).notNull(),
  fileId: integer('file_id').notNull(),
  merchantKey: integer('merchant_key').notNull(),
  kindKey: integer('kind_key').notNull(),
  contextKey: integer('context_key').notNull(),
};

/** One event, stored once whatever the number of files that carry it. */
export const event = pgTable('event', eventColumns, (t) => [
  primaryKey({ name: 'event_pkey', columns: [t.eventId] }),
  // What a file added is found by this index, and what happened in a time. Rows of a file lie together, and so do those of a
  // day, so that the ranges are few, and it costs next to nothing to keep.
  index('event_file_id_event_us_idx').using('brin', t.fileId, t.eventUs),
]);

/** A later occurrence of a stored event, kept so that it can be stored when that one leaves. */
export const duplicate = pgTable(
  'duplicate',
  {
    ...eventColumns,
    /** Null where it was stored until an earlier file came along: `event` does not know lines. Then it is its file's first. */
    line: bigint('line', { mode: 'number' }),
    /** Its content differs from the stored event. */
    isConflict: boolean('is_conflict').notNull(),
  },
  (t) => [
    uniqueIndex('duplicate_file_id_line_key').on(t.fileId, t.line),
    index('duplicate_event_id_idx').on(t.eventId),
  ],
);

export const LEDGER_STATUSES = ['loaded', 'superseded', 'pruned', 'failed'] as const;

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

/**
 * What was loaded from where: one row per version of a file that was loaded, and one per failed attempt. A superseded
 * version was replaced by a later one, a pruned one was taken out because its file was gone; both hold no events.
 */
export const ledger = pgTable(
  'ledger',
  {
    fileId: integer('file_id').generatedAlwaysAsIdentity(),
    runId: integer('run_id').notNull(),
    status: text('status', { enum: LEDGER_STATUSES }).notNull(),
    path: text('path').notNull(),
    /** As it was found; with the path it decides which file comes first. */
    name: text('name').notNull(),
    /** The first line as it was, for rejected records to be read by; null where it was not read. */
    header: text('header'),
    sizeBytes: bigint('size_bytes', { mode: 'number' }).notNull(),
    /** Nanoseconds since 1970; null when the time is too fresh to tell a later change by it. */
    mtimeNs: bigint('mtime_ns', { mode: 'bigint' }),
    sha256: bytea('sha256'),
    rowsRead: count('rows_read'),
    accepted: count('accepted'),
    /** Of the accepted rows, those that lie before the first month that is kept: they are not stored any more. */
    expired: bigint('expired', { mode: 'number' }).notNull().default(0),
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
    check('ledger_status_check', sql`${t.status} IN ('loaded', 'superseded', 'pruned', 'failed')`),
    check(
      'ledger_rows_check',
      sql`${t.status} <> 'loaded' OR ${t.rowsRead} = ${t.accepted} + ${t.duplicate} + ${t.rejected}`,
    ),
  ],
);

/** The raw record as text where it is valid UTF-8 without NUL, else as bytes: exactly one of the two. */
const rawColumns = { rawText: text('raw_text'), rawBytes: bytea('raw_bytes') };

/** The values of an event besides its id, as text: those of `event`, and those that its keys stand for. */
export type Said = Readonly<
  Record<
    | 'merchant_id'
    | 'event_us'
    | 'amount_kobo'
    | 'product'
    | 'event_type'
    | 'status'
    | 'channel'
    | 'region'
    | 'merchant_tier',
    string
  >
>;

/** A rejected record: at most 10,000 a file; the counts in the ledger are exact beyond that. */
export const reject = pgTable(
  'reject',
  {
    fileId: integer('file_id').notNull(),
    /** First line of the record, counted from 1 with the header. */
    line: bigint('line', { mode: 'number' }).notNull(),
    reason: text('reason').$type<RejectReason>().notNull(),
    ...rawColumns,
    /** Its id; of a record that could not be split every UUID in it, of which one is its id if it has one. */
    eventIds: uuid('event_ids').array().notNull(),
    /** What it says besides its id, where nothing else is wrong with it. */
    said: jsonb('said').$type<Said>(),
    /** Nobody will repair it any more, or it was repaired by an event that was pruned since. */
    isClosed: boolean('is_closed').notNull().default(false),
  },
  (t) => [
    primaryKey({ name: 'reject_pkey', columns: [t.fileId, t.line] }),
    check('reject_raw_check', sql`(${t.rawText} IS NULL) <> (${t.rawBytes} IS NULL)`),
  ],
);

/**
 * The stored events that may have repaired a stored reject, once more: those with one of its ids and, of one that lacks nothing but
 * an id, those of its merchant and time. Others may be among them. So whoever asks what is open reads none of the events, which
 * may be many, and lie on other machines that commit a moment later.
 */
export const possibleRepair = pgTable(
  'possible_repair',
  {
    eventId: uuid('event_id').notNull(),
    fileId: integer('file_id').notNull(),
    /** What it says besides its id. */
    said: jsonb('said').$type<Said>().notNull(),
  },
  (t) => [primaryKey({ name: 'possible_repair_pkey', columns: [t.eventId] })],
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

const merchantMonthColumns = {
  merchantKey: integer('merchant_key').notNull(),
  month: date('month', { mode: 'string' }).notNull(),
  successCount: count('success_count'),
  successKobo: numeric('success_kobo').notNull(),
};

export const merchantMonth = pgTable(
  'merchant_month',
  merchantMonthColumns,
  // By month first: what a day adds lies together.
  (t) => [primaryKey({ name: 'merchant_month_pkey', columns: [t.month, t.merchantKey] })],
);

/** Successes and their sum, events of each product, and successful KYC events of each stage of the funnel. */
const merchantTotalColumns = {
  merchantKey: integer('merchant_key').notNull(),
  successKobo: numeric('success_kobo').notNull(),
  successCount: count('success_count'),
  pos: count('pos'),
  airtime: count('airtime'),
  bills: count('bills'),
  cardPayment: count('card_payment'),
  savings: count('savings'),
  moniebook: count('moniebook'),
  kyc: count('kyc'),
  documentsSubmitted: count('documents_submitted'),
  verificationsCompleted: count('verifications_completed'),
  tierUpgrades: count('tier_upgrades'),
};

export const merchantTotal = pgTable('merchant_total', merchantTotalColumns, (t) => [
  primaryKey({ name: 'merchant_total_pkey', columns: [t.merchantKey] }),
]);

const productStatusColumns = {
  product: text('product').notNull(),
  status: text('status').notNull(),
  eventCount: count('event_count'),
};

export const productStatus = pgTable('product_status', productStatusColumns, (t) => [
  primaryKey({ name: 'product_status_pkey', columns: [t.product, t.status] }),
]);

// What pruned events count in the rollups above, where their answers were to be kept.

export const expiredMerchantMonth = pgTable('expired_merchant_month', merchantMonthColumns, (t) => [
  primaryKey({ name: 'expired_merchant_month_pkey', columns: [t.month, t.merchantKey] }),
]);

export const expiredMerchantTotal = pgTable('expired_merchant_total', merchantTotalColumns, (t) => [
  primaryKey({ name: 'expired_merchant_total_pkey', columns: [t.merchantKey] }),
]);

export const expiredProductStatus = pgTable('expired_product_status', productStatusColumns, (t) => [
  primaryKey({ name: 'expired_product_status_pkey', columns: [t.product, t.status] }),
]);

/** How far events are kept: one row, which is there once events were pruned. What lies before that is not stored again. */
export const retention = pgTable(
  'retention',
  {
    isOnlyRow: boolean('is_only_row').notNull().default(true),
    /** The first day of the first month that is kept. */
    keptFrom: date('kept_from', { mode: 'string' }).notNull(),
  },
  (t) => [
    primaryKey({ name: 'retention_pkey', columns: [t.isOnlyRow] }),
    check('retention_only_row_check', sql`${t.isOnlyRow}`),
  ],
);

/** The published answers: one row, replaced by each commit that changes the data. */
export const snapshot = pgTable(
  'snapshot',
  {
    isOnlyRow: boolean('is_only_row').notNull().default(true),
    /** Tells these data from others that came into their place, whose versions begin with 1 again. */
    dataId: uuid('data_id').notNull().defaultRandom(),
    /** Rises by one with each publication. */
    dataVersion: bigint('data_version', { mode: 'number' }).notNull(),
    publishedAt: moment('published_at').notNull(),
    /** json rather than jsonb: the order of the answers is part of them. */
    answers: json('answers').$type<Answers>().notNull(),
    /** By month, `YYYY-MM`: the data version in which its successes changed last. Who keeps a month need not read it again. */
    monthVersions: jsonb('month_versions').$type<Readonly<Record<string, number>>>().notNull(),
  },
  (t) => [
    primaryKey({ name: 'snapshot_pkey', columns: [t.isOnlyRow] }),
    check('snapshot_only_row_check', sql`${t.isOnlyRow}`),
  ],
);

/** What a serving process imports by itself, for other processes to show. A row counts while its server renews it. */
export const reloadSchedule = pgTable(
  'reload_schedule',
  {
    /** Chosen by the server as it starts. */
    serverId: uuid('server_id').notNull(),
    host: text('host').notNull(),
    pid: integer('pid').notNull(),
    /** For people: the cron expression with its zone, `on change`, or both. */
    schedule: text('schedule').notNull(),
    /** Null where only changes lead to an import. */
    nextRunAt: moment('next_run_at'),
    updatedAt: moment('updated_at').notNull(),
  },
  (t) => [primaryKey({ name: 'reload_schedule_pkey', columns: [t.serverId] })],
);

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
         ${sql.raw(eventTimestamp('event_us'))} AS event_timestamp,
         k.product,
         k.event_type,
         (e.amount_kobo::numeric / 100)::numeric(20, 2) AS amount,
         c.status,
         nullif(c.channel, '') AS channel,
         nullif(c.region, '') AS region,
         nullif(c.merchant_tier, '') AS merchant_tier,
         e.file_id
    FROM event e
    JOIN merchant m USING (merchant_key)
    JOIN kind k USING (kind_key)
    JOIN context c USING (context_key)`);

/**
 * The stored rejects that are open. One is repaired once an event with one of its ids is stored, from whichever file. One that
 * lacks nothing but an id is repaired once another file brought an event that equals it in everything else; one event repairs
 * one of those that say the same, so both are counted, and the rejects without an event are the last of them.
 *
 * What says the same is sorted together rather than joined, because the planner knows nothing of how much there is.
 */
export const openReject = pgView('open_reject', {
  fileId: integer('file_id'),
  line: bigint('line', { mode: 'number' }),
  reason: text('reason').$type<RejectReason>(),
}).as(sql`
  WITH named AS (
    SELECT file_id, line, reason, unnest(event_ids) AS event_id FROM reject WHERE said IS NULL AND NOT is_closed
  ), alike AS (
    SELECT file_id, line, said FROM reject WHERE said IS NOT NULL AND NOT is_closed
     UNION ALL
    SELECT file_id, NULL, said FROM possible_repair
  ), placed AS (
    SELECT *,
           row_number() OVER (PARTITION BY said ORDER BY line IS NULL, file_id, line) AS nth,
           min(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS first_file,
           max(file_id) FILTER (WHERE line IS NOT NULL) OVER same AS last_file
      FROM alike
    WINDOW same AS (PARTITION BY said)
  ), counted AS (
    SELECT *, count(*) FILTER (WHERE line IS NULL AND (file_id <> first_file OR file_id <> last_file)) OVER same AS repairs
      FROM placed
    WINDOW same AS (PARTITION BY said)
  )
  (SELECT file_id, line, reason FROM reject WHERE said IS NULL AND NOT is_closed
   EXCEPT
   SELECT file_id, line, reason FROM named WHERE event_id IN (SELECT event_id FROM possible_repair))
   UNION ALL
  SELECT file_id, line, 'event_id'
    FROM counted
   WHERE line IS NOT NULL AND nth > repairs`);

/** How many rejects of a file are stored; with the ledger's counts it tells how many are not. */
export const storedReject = pgView('stored_reject', {
  fileId: integer('file_id'),
  reason: text('reason').$type<RejectReason>(),
  stored: bigint('stored', { mode: 'number' }),
}).as(sql`SELECT file_id, reason, count(*) AS stored FROM reject GROUP BY file_id, reason`);
