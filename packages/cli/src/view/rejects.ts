import { printable } from '@moniepoint/api/bin';
import { withSeparators } from '@moniepoint/core/metrics';
import type { OpenReject, RejectGroup } from '@moniepoint/core/reject-list';
import { alignedTable } from './table.ts';

/** Counts by file and reason, then the first open records. */
export function renderRejects(groups: readonly RejectGroup[], first: readonly OpenReject[]): string {
  if (groups.length === 0) return 'No rejects.\n';
  const total = (of: (group: RejectGroup) => number) => groups.reduce((sum, group) => sum + of(group), 0);
  const open = total((group) => group.open);
  const rows = groups.map(({ path, runId, reason, rejected, stored, open: left }) => [
    path,
    String(runId),
    reason,
    ...[rejected, stored, left].map(withSeparators),
  ]);
  const sums = [total((group) => group.rejected), total((group) => group.stored), open].map(withSeparators);
  const table = alignedTable({ columns: COLUMNS, rows: [...rows, ['total', '', '', ...sums]] }, IS_NUMBER);
  if (open === 0) return `${table}\nNone of them is open any more.\n`;
  if (first.length === 0) return table;
  const lines = first.map(rejectLine);
  return `${table}\nOpen, ${first.length === open ? 'all' : `the first ${first.length}`} of ${withSeparators(open)}:\n${lines.join('')}`;
}

const COLUMNS = ['file', 'run', 'reason', 'rejected', 'stored', 'open'];
const IS_NUMBER = [false, true, false, true, true, true];

/** One line of a list: where, why and what it was. */
export const rejectLine = ({ path, line, reason, record }: OpenReject) =>
  `  ${printable(path)}:${line} ${reason}: ${printable(excerpt(record))}\n`;

const MAX_SHOWN = 160;

/** The beginning of a record, as text. */
export function excerpt(record: Buffer): string {
  const text = record.subarray(0, 4 * MAX_SHOWN).toString();
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

/** For machines: names as in the HTTP answers. */
export function rejectsJson(groups: readonly RejectGroup[], first: readonly OpenReject[]): string {
  return JSON.stringify({
    groups: groups.map(({ runId, ...group }) => ({ ...group, run_id: runId })),
    open: first.map(({ record, ...reject }) => ({ ...reject, record: record.toString() })),
  });
}
