/**
 * Staged rows in PostgreSQL's binary COPY format. Every row has the same columns and no nulls, so every row has the same
 * length and each value a fixed place in it: a buffer of rows is laid out once, and only values are written after that.
 *
 * What must change together: LAYOUT, encodeRow, the fast lane, and the staging table in settle.ts.
 */

import type { Activity } from '../activity.ts';

/** Columns of a row in their order, and the bytes of each value. */
const LAYOUT = {
  eventId: 16,
  eventTimestamp: 8,
  amountKobo: 8,
  fileId: 4,
  merchantKey: 4,
  eventTypeKey: 4,
  regionKey: 4,
  product: 2,
  status: 2,
  channel: 2,
  merchantTier: 2,
  line: 8,
} as const;

/** The same columns in SQL, without the line, which only staging has. */
export const EVENT_COLUMNS = [
  'event_id',
  'event_timestamp',
  'amount_kobo',
  'file_id',
  'merchant_key',
  'event_type_key',
  'region_key',
  'product',
  'status',
  'channel',
  'merchant_tier',
] as const;

/** Each value is preceded by its length as int32; the row by the number of columns as int16. */
const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;

/** Where each value stands in its row; `end` is the length of a row. */
export const OFFSETS = (() => {
  const offsets: Record<string, number> = {};
  let at = COUNT_BYTES;
  for (const [column, bytes] of Object.entries(LAYOUT)) {
    offsets[column] = at + LENGTH_BYTES;
    at += LENGTH_BYTES + bytes;
  }
  return { ...(offsets as Record<keyof typeof LAYOUT, number>), end: at };
})();

/** Signature, flags and header extension. */
export const COPY_HEADER: Buffer = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
export const COPY_TRAILER: Buffer = Buffer.from([0xff, 0xff]);

/** PostgreSQL counts microseconds from 2000-01-01. */
export const POSTGRES_EPOCH_US = 946_684_800_000_000n;

/** Rows of one file on their way to COPY. */
export type RowBuffer = {
  readonly fileId: number;
  bytes: Buffer;
  /** The same memory. */
  view: DataView;
  /** Bytes of finished rows. */
  length: number;
  /** Buffers that are full, in order. */
  full: Buffer[];
};

const ROWS_PER_BUFFER = 4096;

export function createRowBuffer(fileId: number): RowBuffer {
  return { fileId, ...emptyRows(), length: 0, full: [] };
}

/** Rows with everything in its place that is no value: column count and lengths. */
const LAID_OUT_ROWS = (() => {
  const bytes = Buffer.alloc(OFFSETS.end * ROWS_PER_BUFFER);
  for (let row = 0; row < bytes.length; row += OFFSETS.end) {
    bytes.writeInt16BE(Object.keys(LAYOUT).length, row);
    for (const [column, size] of Object.entries(LAYOUT) as [keyof typeof LAYOUT, number][]) {
      bytes.writeInt32BE(size, row + OFFSETS[column] - LENGTH_BYTES);
    }
  }
  return bytes;
})();

/** A copy: COPY owns what it is given until it is sent. */
function emptyRows(): { bytes: Buffer; view: DataView } {
  const bytes = Buffer.from(LAID_OUT_ROWS);
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

/** Where the next row goes. It counts as written once `length` is moved behind it. */
export function reserveRow(rows: RowBuffer): number {
  if (rows.length === rows.bytes.length) {
    rows.full.push(rows.bytes);
    Object.assign(rows, emptyRows());
    rows.length = 0;
  }
  return rows.length;
}

/** Takes what is finished; the buffers belong to the caller then. */
export function takeRows(rows: RowBuffer, isLast: boolean): Buffer[] {
  const taken = rows.full;
  rows.full = [];
  if (isLast && rows.length > 0) taken.push(rows.bytes.subarray(0, rows.length));
  return taken;
}

/** Keys of a row's merchant, event type and region. */
export type RowKeys = { readonly merchantKey: number; readonly eventTypeKey: number; readonly regionKey: number };

/** Writes one row. */
export function encodeRow(rows: RowBuffer, activity: Activity, keys: RowKeys, line: number): void {
  const at = reserveRow(rows);
  const { bytes, view } = rows;
  bytes.write(activity.eventId, at + OFFSETS.eventId, 'hex');
  view.setBigInt64(at + OFFSETS.eventTimestamp, activity.eventTimestamp - POSTGRES_EPOCH_US);
  view.setBigInt64(at + OFFSETS.amountKobo, activity.amountKobo);
  view.setInt32(at + OFFSETS.fileId, rows.fileId);
  view.setInt32(at + OFFSETS.merchantKey, keys.merchantKey);
  view.setInt32(at + OFFSETS.eventTypeKey, keys.eventTypeKey);
  view.setInt32(at + OFFSETS.regionKey, keys.regionKey);
  view.setInt16(at + OFFSETS.product, activity.product);
  view.setInt16(at + OFFSETS.status, activity.status);
  view.setInt16(at + OFFSETS.channel, activity.channel);
  view.setInt16(at + OFFSETS.merchantTier, activity.merchantTier);
  view.setBigInt64(at + OFFSETS.line, BigInt(line));
  rows.length += OFFSETS.end;
}
