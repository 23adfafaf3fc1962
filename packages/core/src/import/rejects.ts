import type { CoercedColumn, RejectReason } from '../activity.ts';
import { type CopyRows, createCopyRows, extend } from './encode.ts';
import { isText } from './parse.ts';

/** Rows stored per file and table; the counts go on beyond it (CONTRACT.md section 2). */
export const MAX_STORED_PER_FILE = 10_000;

/** COPY target of rejected records. */
export const REJECT_COPY = 'COPY reject (file_id, line, reason, raw_text, raw_bytes) FROM STDIN (FORMAT binary)';
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

/** @param record the raw bytes, which are copied */
export function addReject(part: Rejects, reason: RejectReason, record: Buffer, line: number): void {
  part.rejectedByReason[reason] = (part.rejectedByReason[reason] ?? 0) + 1;
  if (part.rejectsLeft === 0) return;
  part.rejectsLeft -= 1;
  addRow(part.rejects, line, reason, isText(record) ? [record, null] : [null, record]);
}

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
