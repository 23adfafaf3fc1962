import type pg from 'pg';
import type { CoercedColumn, RejectReason } from '../activity.ts';
import { isText } from './parse.ts';

/** Rows stored per file and table; the counts go on beyond it (CONTRACT.md section 2). */
export const MAX_STORED_PER_FILE = 10_000;

/** Records on their way into the reject and coercion tables. */
export type RejectBuffer = {
  rejects: { line: number; reason: RejectReason; text: string | null; bytes: Buffer | null }[];
  coercions: { line: number; column: CoercedColumn; original: string }[];
  /** Taken for this file, stored ones included. */
  rejectCount: number;
  coercionCount: number;
  /** Size of what waits: the caller stores it before it grows large. */
  waitingBytes: number;
};

export function createRejectBuffer(): RejectBuffer {
  return { rejects: [], coercions: [], rejectCount: 0, coercionCount: 0, waitingBytes: 0 };
}

/** @param record the raw bytes, which are copied */
export function addReject(buffer: RejectBuffer, reason: RejectReason, record: Buffer, line: number): void {
  if (buffer.rejectCount++ >= MAX_STORED_PER_FILE) return;
  const isReadable = isText(record);
  buffer.rejects.push({
    line,
    reason,
    text: isReadable ? record.toString() : null,
    bytes: isReadable ? null : Buffer.from(record),
  });
  buffer.waitingBytes += record.length;
}

export function addCoercion(buffer: RejectBuffer, column: CoercedColumn, original: string, line: number): void {
  if (buffer.coercionCount++ >= MAX_STORED_PER_FILE) return;
  buffer.coercions.push({ line, column, original });
  buffer.waitingBytes += original.length;
}

/** Inserts what waits and empties the buffer. */
export async function storeRejects(client: pg.Client, fileId: number, buffer: RejectBuffer): Promise<void> {
  const { rejects, coercions } = buffer;
  if (rejects.length > 0) {
    await client.query(
      `INSERT INTO reject (file_id, line, reason, raw_text, raw_bytes)
       SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bytea[])`,
      [
        fileId,
        rejects.map((r) => r.line),
        rejects.map((r) => r.reason),
        rejects.map((r) => r.text),
        rejects.map((r) => r.bytes),
      ],
    );
  }
  if (coercions.length > 0) {
    await client.query(
      `INSERT INTO coercion (file_id, line, column_name, raw_text)
       SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[])`,
      [fileId, coercions.map((c) => c.line), coercions.map((c) => c.column), coercions.map((c) => c.original)],
    );
  }
  buffer.rejects = [];
  buffer.coercions = [];
  buffer.waitingBytes = 0;
}
