import type pg from 'pg';
import type { CoercedColumn, RejectReason } from '../activity.ts';
import { isText } from './parse.ts';

/** Rows stored per file and table; the counts go on beyond it (CONTRACT.md section 2). */
export const MAX_STORED_PER_FILE = 10_000;

type Reject = {
  readonly line: number;
  readonly reason: RejectReason;
  readonly text: string | null;
  readonly bytes: Uint8Array | null;
};
type Coercion = { readonly line: number; readonly column: CoercedColumn; readonly original: string };

/** Rejected records and repaired values of a part of a file: counts of all of them, and those to be stored. */
export type Rejects = {
  readonly rejects: Reject[];
  readonly coercions: Coercion[];
  readonly rejectedByReason: Partial<Record<RejectReason, number>>;
  readonly coercedByColumn: Partial<Record<CoercedColumn, number>>;
  /** How many more of the file may be stored. */
  rejectsLeft: number;
  coercionsLeft: number;
  /** Memory that what is to be stored takes. */
  bytes: number;
};

/** What an entry takes beside its text, about. */
const OBJECT_BYTES = 200;

/** @param before the same file's part before this one */
export function createRejects(before?: Rejects): Rejects {
  return {
    rejects: [],
    coercions: [],
    rejectedByReason: {},
    coercedByColumn: {},
    rejectsLeft: before?.rejectsLeft ?? MAX_STORED_PER_FILE,
    coercionsLeft: before?.coercionsLeft ?? MAX_STORED_PER_FILE,
    bytes: 0,
  };
}

/** @param record the raw bytes, which are copied */
export function addReject(part: Rejects, reason: RejectReason, record: Buffer, line: number): void {
  part.rejectedByReason[reason] = (part.rejectedByReason[reason] ?? 0) + 1;
  if (part.rejectsLeft === 0) return;
  part.rejectsLeft -= 1;
  const isReadable = isText(record);
  part.rejects.push({
    line,
    reason,
    text: isReadable ? record.toString() : null,
    bytes: isReadable ? null : Buffer.from(record),
  });
  part.bytes += record.length + OBJECT_BYTES;
}

export function addCoercion(part: Rejects, column: CoercedColumn, original: string, line: number): void {
  part.coercedByColumn[column] = (part.coercedByColumn[column] ?? 0) + 1;
  if (part.coercionsLeft === 0) return;
  part.coercionsLeft -= 1;
  part.coercions.push({ line, column, original });
  part.bytes += original.length + OBJECT_BYTES;
}

/** Inserts what is to be stored of these parts. */
export async function storeRejects(
  client: pg.Client,
  parts: readonly { readonly fileId: number; readonly part: Rejects }[],
): Promise<void> {
  const rejects = parts.flatMap(({ fileId, part }) => part.rejects.map((one) => ({ ...one, fileId })));
  if (rejects.length > 0) {
    await client.query(
      `INSERT INTO reject (file_id, line, reason, raw_text, raw_bytes)
       SELECT * FROM unnest($1::int[], $2::bigint[], $3::text[], $4::text[], $5::bytea[])`,
      [
        rejects.map((r) => r.fileId),
        rejects.map((r) => r.line),
        rejects.map((r) => r.reason),
        rejects.map((r) => r.text),
        rejects.map((r) => r.bytes && Buffer.from(r.bytes)), // from another thread it comes as a plain array
      ],
    );
  }
  const coercions = parts.flatMap(({ fileId, part }) => part.coercions.map((one) => ({ ...one, fileId })));
  if (coercions.length > 0) {
    await client.query(
      `INSERT INTO coercion (file_id, line, column_name, raw_text)
       SELECT * FROM unnest($1::int[], $2::bigint[], $3::text[], $4::text[])`,
      [
        coercions.map((c) => c.fileId),
        coercions.map((c) => c.line),
        coercions.map((c) => c.column),
        coercions.map((c) => c.original),
      ],
    );
  }
}
