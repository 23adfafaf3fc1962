/**
 * Rows in PostgreSQL's binary COPY format. Every row has the same columns and no nulls, so every row has the same length
 * and each value a fixed place in it: a block of rows is laid out once, and only values are written after that.
 *
 * Seven columns, because each one costs the server about 40 ns a row: with product, status, channel and the others as
 * columns of their own, eleven in all, COPY of 7 M rows took the server 4.2 s; with seven it takes 3.1 s.
 *
 * What must change together: LAYOUT, encodeRow, the fast lane, and the tables in schema.ts and settle.ts.
 */

import type { Activity } from '../activity.ts';

/** Columns of a row in their order, and the bytes of each value. */
const LAYOUT = {
  eventId: 16,
  eventUs: 8,
  amountKobo: 8,
  fileId: 4,
  merchantKey: 4,
  kindKey: 4,
  contextKey: 4,
} as const;

/** The same columns in SQL. */
export const EVENT_COLUMNS = [
  'event_id',
  'event_us',
  'amount_kobo',
  'file_id',
  'merchant_key',
  'kind_key',
  'context_key',
] as const;

/** `event_us` as timestamptz in SQL; in whole seconds and the rest, because an interval is multiplied by a double. */
export const eventTimestamp = (us: string) =>
  `(timestamptz 'epoch' + ${us} / 1000000 * interval '1 second' + ${us} % 1000000 * interval '1 microsecond')`;

/** Each value is preceded by its length as int32; the row by the number of columns as int16. */
const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;
const LINE_BYTES = 8;

/** Where each value stands in its row. */
export const OFFSETS = (() => {
  const offsets: Record<string, number> = {};
  let at = COUNT_BYTES;
  for (const [column, bytes] of Object.entries(LAYOUT)) {
    offsets[column] = at + LENGTH_BYTES;
    at += LENGTH_BYTES + bytes;
  }
  return offsets as Record<keyof typeof LAYOUT, number>;
})();

/** Length of a row of `event`. */
export const ROW_BYTES = OFFSETS.contextKey + LAYOUT.contextKey;

/** Signature, flags and header extension. */
export const COPY_HEADER: Buffer = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
export const COPY_TRAILER: Buffer = Buffer.from([0xff, 0xff]);

/** A block of rows of one file, with what the table does not hold beside each. */
export type Rows = {
  /** `count` rows of ROW_BYTES each. Merchant, kind and context are the lane's ids until the row is admitted. */
  readonly bytes: Buffer;
  /** First line of each row's record. */
  readonly lines: Float64Array;
  /** UTC month of each row, counted from the year 0. */
  readonly months: Int32Array;
  count: number;
};

export const ROWS_PER_BLOCK = 4096;

/** A row with everything in its place that is no value: column count and lengths. */
const LAID_OUT_ROW = (() => {
  const row = Buffer.alloc(ROW_BYTES);
  row.writeInt16BE(EVENT_COLUMNS.length);
  for (const [column, size] of Object.entries(LAYOUT) as [keyof typeof LAYOUT, number][])
    row.writeInt32BE(size, OFFSETS[column] - LENGTH_BYTES);
  return row;
})();

export function createRows(): Rows {
  return {
    bytes: Buffer.alloc(ROW_BYTES * ROWS_PER_BLOCK, LAID_OUT_ROW),
    lines: new Float64Array(ROWS_PER_BLOCK),
    months: new Int32Array(ROWS_PER_BLOCK),
    count: 0,
  };
}

/** A row's merchant, kind and context as integers. */
export type RowKeys = { readonly merchantKey: number; readonly kindKey: number; readonly contextKey: number };

/** Writes one row; the file's id is left to whoever admits it. */
export function encodeRow(rows: Rows, activity: Activity, keys: RowKeys, line: number): void {
  const { bytes } = rows;
  const at = rows.count * ROW_BYTES;
  bytes.write(activity.eventId, at + OFFSETS.eventId, 'hex');
  bytes.writeBigInt64BE(activity.eventTimestamp, at + OFFSETS.eventUs);
  bytes.writeBigInt64BE(activity.amountKobo, at + OFFSETS.amountKobo);
  bytes.writeInt32BE(keys.merchantKey, at + OFFSETS.merchantKey);
  bytes.writeInt32BE(keys.kindKey, at + OFFSETS.kindKey);
  bytes.writeInt32BE(keys.contextKey, at + OFFSETS.contextKey);
  rows.lines[rows.count] = line;
  rows.months[rows.count] = monthOf(activity.eventTimestamp);
  rows.count += 1;
}

/** The UTC month, counted from the year 0, of microseconds since 1970. */
export function monthOf(us: bigint): number {
  // Division rounds towards zero, which before 1970 could be the next month's first millisecond.
  const date = new Date(Number((us - (((us % 1000n) + 1000n) % 1000n)) / 1000n));
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** The first day of such a month, for PostgreSQL. */
export function monthText(month: number): string {
  return `${String(Math.floor(month / 12)).padStart(4, '0')}-${String((month % 12) + 1).padStart(2, '0')}-01`;
}

/** Such a month of `2024-01`. */
export function monthOfText(text: string): number {
  const [year, month] = text.split('-').map(Number) as [number, number];
  return year * 12 + month - 1;
}

const CANDIDATE_BYTES = ROW_BYTES + LENGTH_BYTES + LINE_BYTES;

/** Rows one after the other, in a buffer that grows. */
export type CopyRows = { bytes: Buffer; length: number };

export const createCopyRows = (): CopyRows => ({ bytes: Buffer.alloc(0), length: 0 });

const FIRST_CAPACITY = 16 * 1024;

/** Makes room after what is there, and returns where it begins. The rows count as longer by this. */
export function extend(rows: CopyRows, bytes: number): number {
  const at = rows.length;
  rows.length += bytes;
  if (rows.length > rows.bytes.length) {
    const larger = Buffer.alloc(Math.max(2 * rows.length, FIRST_CAPACITY));
    rows.bytes.copy(larger, 0, 0, at);
    rows.bytes = larger;
  }
  return at;
}

/** What is in the buffer; empty it, or give it another one, before rows are added again. */
export const bytesOf = ({ bytes, length }: CopyRows): Buffer => bytes.subarray(0, length);

/** Copies the row at `from`, and its line, for the candidate table. */
export function addCandidate(candidates: CopyRows, rows: Buffer, from: number, line: number): void {
  const to = extend(candidates, CANDIDATE_BYTES);
  const { bytes } = candidates;
  for (let at = COUNT_BYTES; at < ROW_BYTES; at += 1) bytes[to + at] = rows[from + at] as number;
  bytes.writeInt16BE(EVENT_COLUMNS.length + 1, to);
  bytes.writeInt32BE(LINE_BYTES, to + ROW_BYTES);
  bytes.writeBigInt64BE(BigInt(line), to + ROW_BYTES + LENGTH_BYTES);
}
