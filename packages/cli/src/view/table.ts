import { printable } from '@moniepoint/api/bin';
import type { Table } from '@moniepoint/core/metrics';
import { widthOf } from './text.ts';

/** For people: columns as wide as they need, numbers to the right. Control characters are escaped. */
export function alignedTable({ columns, rows }: Table, numeric: readonly boolean[]): string {
  const cells = rows.map((row) => row.map(printable));
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((row) => widthOf(row[index] as string))),
  );
  const padded = (cell: string, index: number) => {
    const padding = ' '.repeat((widths[index] as number) - widthOf(cell));
    return numeric[index] ? padding + cell : cell + padding;
  };
  return [columns, ...cells].map((row) => `  ${row.map(padded).join('  ').trimEnd()}\n`).join('');
}
