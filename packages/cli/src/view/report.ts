import { MoniepointError } from '@moniepoint/core/errors';
import { type Answers, METRICS, type Metric, type Table } from '@moniepoint/core/metrics';
import { withSeparators } from './text.ts';

/**
 * One metric, or `all`, as text.
 *
 * - `json`: the bytes of the HTTP body; for `all` one object under the metric names, null where nothing matches.
 * - `csv`: a header and the rows; for `all` one table of metric, name and value.
 * - `table`: for people.
 *
 * @throws MoniepointError `failed` when nothing matches the one metric asked for
 */
export function renderReport(name: string, format: 'table' | 'json' | 'csv', answers: Answers): string {
  const metric = METRICS.find((candidate) => candidate.name === name);
  if (metric === undefined) return renderAll(format, answers);
  const json = metric.toJson(answers);
  if (json === null) throw new MoniepointError('failed', `${metric.name}: ${metric.noData}`);
  if (format === 'json') return json;
  return format === 'csv' ? csv(metric.toTable(answers)) : titled(metric, answers);
}

function renderAll(format: 'table' | 'json' | 'csv', answers: Answers): string {
  if (format === 'json')
    return `{${METRICS.map((metric) => `"${metric.name}":${metric.toJson(answers) ?? 'null'}`).join(',')}}`;
  if (format === 'table') return METRICS.map((metric) => titled(metric, answers)).join('\n');
  return csv({
    columns: ['metric', 'name', 'value'],
    rows: METRICS.flatMap((metric) =>
      metric.toTable(answers).rows.map(([rowName = '', value = '']) => [metric.name, rowName, value]),
    ),
  });
}

function titled(metric: Metric, answers: Answers): string {
  const table = metric.toTable(answers);
  return `${metric.title}\n${table.rows.length === 0 ? `  ${metric.noData}\n` : aligned(table)}`;
}

/** Columns are as wide as they need; numbers stand to the right. */
function aligned({ columns, rows }: Table): string {
  const cells = rows.map((row) => row.map((cell, column) => forPeople(columns[column] as string, cell)));
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...cells.map((row) => [...(row[index] as string)].length)),
  );
  const render = (row: readonly string[]) =>
    `  ${row.map((cell, index) => (index === 0 ? cell.padEnd(widths[index] as number) : cell.padStart(widths[index] as number))).join('  ')}\n`;
  return [columns, ...cells].map(render).join('');
}

function forPeople(column: string, cell: string): string {
  if (column === 'total_volume') return `₦${withSeparators(cell)}`;
  if (column === 'failure_rate') return `${cell}%`;
  return column === 'merchants' ? withSeparators(cell) : cell;
}

/** RFC 4180, with LF line ends. */
function csv({ columns, rows }: Table): string {
  const quoted = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return [columns, ...rows].map((row) => `${row.map(quoted).join(',')}\n`).join('');
}
