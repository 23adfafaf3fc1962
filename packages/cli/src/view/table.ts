import { printable } from '@moniepoint/api/bin';
import type { Table } from '@moniepoint/core/metrics';

/** For people: columns as wide as they need, numbers to the right. Control characters are escaped. */
export function alignedTable({ columns, rows }: Table, numeric: readonly boolean[]): string {
  const cells = rows.map((row) => row.map(printable));
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((row) => [...(row[index] as string)].length)),
  );
  const padded = (cell: string, index: number) => {
    const padding = ' '.repeat((widths[index] as number) - [...cell].length);
    return numeric[index] ? padding + cell : cell + padding;
  };
  return [columns, ...cells].map((row) => `  ${row.map(padded).join('  ').trimEnd()}\n`).join('');
}

/** RFC 4180, with LF line ends. */
export function csvTable({ columns, rows }: Table): string {
  const quoted = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return [columns, ...rows].map((row) => `${row.map((cell) => quoted(guarded(cell))).join(',')}\n`).join('');
}

/** A spreadsheet takes a text that begins like this for a formula, and runs it; behind an apostrophe it stays a text. */
const guarded = (cell: string) => (/^[=+\-@\t\r]/.test(cell) && !/^-\d+(\.\d+)?$/.test(cell) ? `'${cell}` : cell);
