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

/** @param before the same file's part before this one */
export function createRejects(before?: Rejects): Rejects {
  return {
    rejects: createCopyRows(),
    coercions: createCopyRows(),
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
  const raw = isText(record) ? [record, null] : [null, record];
  addRow(part.rejects, line, reason, [...raw, uuidArray(ids), said && jsonb(said)]);
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

const UUID_OID = 2950;
const UUID_BYTES = 16;

/** PostgreSQL's binary form: dimensions, whether there are nulls, type; of the one dimension length and first index. */
function uuidArray(ids: readonly string[]): Buffer {
  const isEmpty = ids.length === 0;
  const bytes = Buffer.alloc(isEmpty ? 12 : 20 + ids.length * (LENGTH_BYTES + UUID_BYTES));
  bytes.writeInt32BE(UUID_OID, 8);
  if (isEmpty) return bytes;
  bytes.writeInt32BE(1, 0);
  bytes.writeInt32BE(ids.length, 12);
  bytes.writeInt32BE(1, 16);
  let at = 20;
  for (const id of ids) {
    at = bytes.writeInt32BE(UUID_BYTES, at);
    at += bytes.write(id, at, 'hex');
  }
  return bytes;
}

const JSONB_VERSION = 1;

const jsonb = (value: object) => Buffer.concat([Buffer.of(JSONB_VERSION), Buffer.from(JSON.stringify(value))]);

export function addCoercion(part: Rejects, column: CoercedColumn, original: string, line: number): void {
  part.coercedByColumn[column] = (part.coercedByColumn[column] ?? 0) + 1;
  if (part.coercionsLeft === 0) return;
  part.coercionsLeft -= 1;
  addRow(part.coercions, line, column, [Buffer.from(original)]);
}

const COUNT_BYTES = 2;
const LENGTH_BYTES = 4;
const FILE_ID_AT = COUNT_BYTES + LENGTH_BYTES;
const LINE_AT = FILE_ID_AT + 4 + LENGTH_BYTES;
const NAME_AT = LINE_AT + 8;
const NULL_LENGTH = -1;

/** The file's id, the line, a name of ASCII, and the last columns. */
function addRow(rows: CopyRows, line: number, name: string, values: readonly (Buffer | null)[]): void {
  const size = values.reduce((sum, value) => sum + LENGTH_BYTES + (value?.length ?? 0), 0);
  let at = extend(rows, NAME_AT + LENGTH_BYTES + name.length + size);
  const { bytes } = rows;
  bytes.writeInt16BE(3 + values.length, at);
  bytes.writeInt32BE(4, at + COUNT_BYTES);
  bytes.writeInt32BE(8, at + LINE_AT - LENGTH_BYTES);
  bytes.writeBigInt64BE(BigInt(line), at + LINE_AT);
  bytes.writeInt32BE(name.length, at + NAME_AT);
  at += NAME_AT + LENGTH_BYTES;
  at += bytes.write(name, at, 'latin1');
  for (const value of values) {
    at = bytes.writeInt32BE(value?.length ?? NULL_LENGTH, at);
    if (value !== null) at += value.copy(bytes, at);
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
