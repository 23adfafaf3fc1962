/**
 * One staged row in PostgreSQL's binary COPY format. Every row has the same columns and no nulls, so every row has the
 * same length and each value a fixed place in it.
 *
 * What must change together: STAGED_COLUMNS, ROW_BYTES, encodeRow, and the staging table in settle.ts.
 */

import type { Activity } from '../activity.ts';

/** Columns in the order in which encodeRow writes them. */
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
const COLUMN_COUNT = EVENT_COLUMNS.length + 1; // and the line

/** Each value is preceded by its length as int32; the row by the number of columns as int16. */
export const ROW_BYTES = 2 + COLUMN_COUNT * 4 + 16 + 3 * 8 + 4 * 4 + 4 * 2;

/** Signature, flags and header extension. */
export const COPY_HEADER: Buffer = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
export const COPY_TRAILER: Buffer = Buffer.from([0xff, 0xff]);

/** PostgreSQL counts microseconds from 2000-01-01. */
const POSTGRES_EPOCH_US = 946_684_800_000_000n;

/** Keys of a row's merchant, event type and region. */
export type RowKeys = { readonly merchantKey: number; readonly eventTypeKey: number; readonly regionKey: number };

/** Writes one row at `offset` of a buffer with at least ROW_BYTES left and returns the offset behind it. */
export function encodeRow(
  buffer: Buffer,
  offset: number,
  activity: Activity,
  keys: RowKeys,
  fileId: number,
  line: number,
): number {
  let at = buffer.writeInt16BE(COLUMN_COUNT, offset);
  const int64 = (value: bigint) => {
    at = buffer.writeBigInt64BE(value, buffer.writeInt32BE(8, at));
  };
  const int32 = (value: number) => {
    at = buffer.writeInt32BE(value, buffer.writeInt32BE(4, at));
  };
  const int16 = (value: number) => {
    at = buffer.writeInt16BE(value, buffer.writeInt32BE(2, at));
  };
  at = buffer.writeInt32BE(16, at);
  at += buffer.write(activity.eventId, at, 'hex');
  int64(activity.eventTimestamp - POSTGRES_EPOCH_US);
  int64(activity.amountKobo);
  int32(fileId);
  int32(keys.merchantKey);
  int32(keys.eventTypeKey);
  int32(keys.regionKey);
  int16(activity.product);
  int16(activity.status);
  int16(activity.channel);
  int16(activity.merchantTier);
  int64(BigInt(line));
  return at;
}
