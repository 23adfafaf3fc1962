import type { CoercedColumn, RejectReason } from '../activity.ts';
import type { Snapshot } from '../snapshot.ts';

/** Row counts. Always `read = accepted + duplicate + rejected`; `expired` is part of `accepted`, `conflict` of `duplicate`. */
export type Counts = {
  read: number;
  accepted: number;
  /** Rows before the first month that is kept: they are not stored. */
  expired: number;
  duplicate: number;
  conflict: number;
  rejected: number;
  /** Repaired values in rows that were not rejected. */
  coerced: number;
  readonly rejectedByReason: Partial<Record<RejectReason, number>>;
  readonly coercedByColumn: Partial<Record<CoercedColumn, number>>;
};

export function noCounts(): Counts {
  return {
    read: 0,
    accepted: 0,
    expired: 0,
    duplicate: 0,
    conflict: 0,
    rejected: 0,
    coerced: 0,
    rejectedByReason: {},
    coercedByColumn: {},
  };
}

/** `25 event_timestamp, 12 merchant_id`: most frequent first, then by name. */
export function listCounts(
  counts: Readonly<Record<string, number>>,
  format: (count: number) => string = String,
): string {
  return Object.entries(counts)
    .sort(([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1))
    .map(([name, count]) => `${format(count)} ${name}`)
    .join(', ');
}

/** Adds `other` to `counts`. */
export function addCounts(counts: Counts, other: Counts): void {
  for (const key of ['read', 'accepted', 'expired', 'duplicate', 'conflict', 'rejected', 'coerced'] as const)
    counts[key] += other[key];
  for (const [reason, n] of Object.entries(other.rejectedByReason) as [RejectReason, number][]) {
    counts.rejectedByReason[reason] = (counts.rejectedByReason[reason] ?? 0) + n;
  }
  for (const [column, n] of Object.entries(other.coercedByColumn) as [CoercedColumn, number][]) {
    counts.coercedByColumn[column] = (counts.coercedByColumn[column] ?? 0) + n;
  }
}

/**
 * How one file ended. `superseded` was loaded in place of its earlier version; `unchanged` was loaded before; `skipped`
 * changed since and its earlier version was left; `incomplete` passed a reject threshold and was rolled back; `failed`
 * could not be loaded. Counts of files that were not read to the end are zero.
 */
export type FileResult = {
  readonly path: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly status: 'loaded' | 'superseded' | 'unchanged' | 'skipped' | 'incomplete' | 'failed';
  /** Why it failed, or is incomplete. */
  readonly error: string | null;
  readonly counts: Counts;
};

/** How a run ended. */
export type ImportResult = {
  readonly outcome: 'done' | 'failed' | 'incomplete';
  readonly isDryRun: boolean;
  readonly files: readonly FileResult[];
  readonly ignored: readonly string[];
  /** Paths of loaded files that were gone, and were taken out. */
  readonly pruned: readonly string[];
  /** Sums over the files that were loaded; of a dry run, over those that would be. */
  readonly counts: Counts;
  /** What was published before the run; null when nothing was ever imported. */
  readonly before: Snapshot | null;
  /** What is published now; null when nothing was ever imported. */
  readonly snapshot: Snapshot | null;
  readonly elapsedMs: number;
};

/**
 * What the database does with a batch beside reading its files, in this order. A batch goes through those that it needs; where it
 * needs the indexes to settle, once more through settling after them.
 *
 * - `preparing`: the bulk path takes the table and learns what it holds, before the files are read
 * - `storing`: rejects, and rows that may be stored already, go to their tables
 * - `settling`: earlier versions leave, and later occurrences are told from first ones
 * - `indexing`: the bulk path builds the indexes
 * - `counting`: ledger and rollups
 * - `publishing`: the answers
 * - `committing`
 */
export type Stage = 'preparing' | 'storing' | 'settling' | 'indexing' | 'counting' | 'publishing' | 'committing';

/** What an import tells while it works. It never prints: that is the caller's business. */
export type ImportEvent =
  | { readonly type: 'plan'; readonly files: number; readonly sizeBytes: number; readonly ignored: readonly string[] }
  | { readonly type: 'waiting'; readonly holder: string }
  /** The database went away, or asked to try again: what was not committed is done again. */
  | { readonly type: 'retrying'; readonly waitMs: number; readonly why: string }
  | { readonly type: 'file_started'; readonly name: string; readonly path: string; readonly sizeBytes: number }
  | { readonly type: 'file_progress'; readonly bytesRead: number; readonly rowsRead: number; readonly rejected: number }
  /** No file is read now. `files` are those of the batch, `rowsRead` their rows as far as they were read. */
  | { readonly type: 'stage'; readonly stage: Stage; readonly files: number; readonly rowsRead: number }
  | { readonly type: 'file_finished'; readonly result: FileResult }
  | { readonly type: 'warning'; readonly message: string };

export type Report = (event: ImportEvent) => void;
