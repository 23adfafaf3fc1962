import { basename } from 'node:path';
import { desc } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import type pg from 'pg';
import { z } from 'zod';
import { LEDGER_STATUSES, ledger } from './db/schema.ts';
import { withoutContent } from './errors.ts';

const count = z.int();

/** One line of the ledger as the API shows it: counts and reasons, no raw rows. */
export const ImportEntrySchema = z.object({
  file_id: z.int(),
  file: z.string(),
  status: z.enum(LEDGER_STATUSES),
  size_bytes: count,
  read: count,
  accepted: count,
  expired: count,
  duplicate: count,
  conflict: count,
  rejected: count,
  coerced: count,
  rejected_by_reason: z.record(z.string(), count),
  coerced_by_column: z.record(z.string(), count),
  error: z.string().nullable(),
  started_at: z.iso.datetime(),
  finished_at: z.iso.datetime(),
});

export type ImportEntry = z.output<typeof ImportEntrySchema>;

/** The ledger, newest first. */
export async function readImports(client: pg.Client, limit: number): Promise<ImportEntry[]> {
  const rows = await drizzle(client).select().from(ledger).orderBy(desc(ledger.fileId)).limit(limit);
  return rows.map((row) => ({
    file_id: row.fileId,
    file: basename(row.path),
    status: row.status,
    size_bytes: row.sizeBytes,
    read: row.rowsRead,
    accepted: row.accepted,
    expired: row.expired,
    duplicate: row.duplicate,
    conflict: row.conflict,
    rejected: row.rejected,
    coerced: row.coerced,
    rejected_by_reason: row.rejectedByReason,
    coerced_by_column: row.coercedByColumn,
    error: row.error && withoutContent(row.error, row.path),
    started_at: row.startedAt.toISOString(),
    finished_at: row.finishedAt.toISOString(),
  }));
}
