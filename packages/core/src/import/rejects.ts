import { type CoercedColumn, judgeRow, parseEventId, type RejectReason } from '../activity.ts';
import type { Said } from '../db/schema.ts';
import { type CopyRows, createCopyRows, extend } from './encode.ts';
import { isText } from './parse.ts';

/** Rows stored per file and table; the counts go on beyond it (CONTRACT.md section 2). */
export const MAX_STORED_PER_FILE = 10_000;

/** COPY target of rejected records. */
export const REJECT_COPY =
  'COPY reject (file_id, line, reason, raw_text, raw_bytes, event_ids, said) FROM STDIN (FORMAT binary)';
/** COPY target of repaired values. */
export const COERCION_COPY = 'COPY coercion (file_id, line, column_name, raw_text) FROM STDIN (FORMAT binary)';
const REJECT_COLUMNS = 7;
const COERCION_COLUMNS = 4;

/**
 * Rejected records and repaired values of a part of a file: counts of all of them, and those to be stored as rows of COPY,
 * whose file ids are left to setFileId. They go the way of the events, so that nothing of them becomes an object or a string.
 */
export type Rejects = {
  readonly rejects: CopyRows;
  readonly coercions: CopyRows;
  readonly rejectedByReason: Partial<Record<RejectReason, number>>;
  readonly coercedByColumn: Partial<Record<CoercedColumn, number>>;
  /** How many more of the file may be stored. */
  rejectsLeft: number;
  coercionsLeft: number;
};

/**
 * @param before the same file's part before this one
 * @param spare memory that nobody needs any more, to be filled again
 */
export function createRejects(before: Rejects | null, spare: CopyRows[]): Rejects {
  return {
    rejects: spare.pop() ?? createCopyRows(),
    coercions: spare.pop() ?? createCopyRows(),
    rejectedByReason: {},
    coercedByColumn: {},
    rejectsLeft: before?.rejectsLeft ?? MAX_STORED_PER_FILE,
    coercionsLeft: before?.coercionsLeft ?? MAX_STORED_PER_FILE,
  };
}

/**
 * Counts a rejected record, and stores it with what tells later whether it was repaired.
 *
 * @param record the raw bytes, which are copied
 * @param fields in the order of REQUIRED_COLUMNS, not trimmed; null where the record could not be split
 */
export function addReject(
  part: Rejects,
  reason: RejectReason,
  record: Buffer,
  line: number,
  fields: readonly string[] | null,
): void {
  part.rejectedByReason[reason] = (part.rejectedByReason[reason] ?? 0) + 1;
  if (part.rejectsLeft === 0) return;
  part.rejectsLeft -= 1;
  const id = fields && parseEventId((fields[0] as string).trim());
  const ids = fields === null ? findIds(record) : id === null ? [] : [id];
  const said = fields !== null && id === null ? saidBut(fields) : null;
  const rows = part.rejects;
  beginRow(rows, REJECT_COLUMNS, line);
  putText(rows, reason);
  if (isText(record)) {
    putBytes(rows, record);
    putNull(rows);
  } else {
    putNull(rows);
    putBytes(rows, record);
  }
  putIds(rows, ids);
  if (said === null) putNull(rows);
  else putJsonb(rows, said);
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;

/** Every UUID in a record of which nobody knows where its id stands, as hex digits. */
function findIds(record: Buffer): string[] {
  const found = record.toString('latin1').match(UUID) ?? [];
  return [...new Set(found.map((id) => id.replaceAll('-', '').toLowerCase()))];
}

const ANY_ID = '00000000-0000-0000-0000-000000000000';

/** What a record says besides its id; null where more than the id is wrong. */
function saidBut(fields: readonly string[]): Said | null {
  const verdict = judgeRow([ANY_ID, ...fields.slice(1)], false);
  if (verdict.reason !== null) return null;
  const { activity } = verdict;
  return {
    merchant_id: activity.merchantId,
    event_us: String(activity.eventTimestamp),
    amount_kobo: String(activity.amountKobo),
    product: activity.product,
    event_type: activity.eventType,
    status: activity.status,
    channel: activity.channel,
    region: activity.region,
    merchant_tier: activity.merchantTier,
  };
}

export function addCoercion(part: Rejects, column: CoercedColumn, original: string, line: number): void {
  part.coercedByColumn[column] = (part.coercedByColumn[column] ?? 0) + 1;
  if (part.coercionsLeft === 0) return;
  part.coercionsLeft -= 1;
  const rows = part.coercions;
  beginRow(rows, COERCION_COLUMNS, line);
  putText(rows, column);
  putText(rows, original);
}

const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;
const FILE_ID_AT = COUNT_BYTES + LENGTH_BYTES;
const LINE_AT = FILE_ID_AT + 4 + LENGTH_BYTES;
const NAME_AT = LINE_AT + 8;
const NULL_LENGTH = -1;

/** The file's id, which is written later, and the line. The other columns are put behind them, one after the other. */
function beginRow(rows: CopyRows, columns: number, line: number): void {
  const at = extend(rows, NAME_AT);
  rows.bytes.writeInt16BE(columns, at);
  rows.bytes.writeInt32BE(4, at + COUNT_BYTES);
  rows.bytes.writeInt32BE(8, at + LINE_AT - LENGTH_BYTES);
  rows.bytes.writeBigInt64BE(BigInt(line), at + LINE_AT);
}

/** @returns where its bytes stand; the buffer may be another one after this */
function putLength(rows: CopyRows, bytes: number): number {
  const at = extend(rows, LENGTH_BYTES + bytes);
  return rows.bytes.writeInt32BE(bytes, at);
}

function putNull(rows: CopyRows): void {
  const at = extend(rows, LENGTH_BYTES);
  rows.bytes.writeInt32BE(NULL_LENGTH, at);
}

function putBytes(rows: CopyRows, value: Buffer): void {
  const at = putLength(rows, value.length);
  value.copy(rows.bytes, at);
}

function putText(rows: CopyRows, value: string): void {
  const at = putLength(rows, Buffer.byteLength(value));
  rows.bytes.write(value, at);
}

const JSONB_VERSION = 1;

function putJsonb(rows: CopyRows, value: object): void {
  const text = JSON.stringify(value);
  const at = putLength(rows, 1 + Buffer.byteLength(text));
  rows.bytes.write(text, rows.bytes.writeUInt8(JSONB_VERSION, at));
}

const UUID_OID = 2950;
const UUID_BYTES = 16;

/** In PostgreSQL's binary form: dimensions, whether there are nulls, type; of the one dimension length and first index. */
function putIds(rows: CopyRows, ids: readonly string[]): void {
  const heads = ids.length === 0 ? [0, 0, UUID_OID] : [1, 0, UUID_OID, ids.length, 1];
  let at = putLength(rows, 4 * heads.length + ids.length * (LENGTH_BYTES + UUID_BYTES));
  for (const head of heads) at = rows.bytes.writeInt32BE(head, at);
  for (const id of ids) {
    at = rows.bytes.writeInt32BE(UUID_BYTES, at);
    at += rows.bytes.write(id, at, 'hex');
  }
}

/** The rows as they were added. */
export function* storedRows({ bytes, length }: CopyRows): Generator<StoredRow> {
  for (let at = 0; at < length; ) {
    const columns = bytes.readInt16BE(at);
    const line = Number(bytes.readBigInt64BE(at + LINE_AT));
    at += NAME_AT;
    const values: Buffer[] = [];
    for (let column = 2; column < columns; column += 1) {
      const size = bytes.readInt32BE(at);
      at += LENGTH_BYTES;
      if (size === NULL_LENGTH) continue;
      values.push(bytes.subarray(at, at + size));
      at += size;
    }
    const [name, value] = values as [Buffer, Buffer];
    yield { line, name: name.toString('latin1'), value };
  }
}

/** A reason and the record, or a column and what stood there. The value's bytes belong to the rows. */
export type StoredRow = { readonly line: number; readonly name: string; readonly value: Buffer };

/** Writes the file's id into each of the rows. */
export function setFileId({ bytes, length }: CopyRows, fileId: number): void {
  for (let at = 0; at < length; ) {
    const columns = bytes.readInt16BE(at);
    bytes.writeInt32BE(fileId, at + FILE_ID_AT);
    at += COUNT_BYTES;
    for (let column = 0; column < columns; column += 1) at += LENGTH_BYTES + Math.max(0, bytes.readInt32BE(at));
  }
}
