import { MoniepointError } from '@moniepoint/core/errors';
import { type Answers, csvTable, METRICS, type Metric, type Table, withSeparators } from '@moniepoint/core/metrics';
import { alignedTable } from './table.ts';

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
  return format === 'csv' ? csvTable(metric.toTable(answers)) : titled(metric, answers);
}

function renderAll(format: 'table' | 'json' | 'csv', answers: Answers): string {
  if (format === 'json')
    return `{${METRICS.map((metric) => `"${metric.name}":${metric.toJson(answers) ?? 'null'}`).join(',')}}`;
  if (format === 'table') return METRICS.map((metric) => titled(metric, answers)).join('\n');
  return csvTable({
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

/** Every metric's first column names what the others measure. */
function aligned({ columns, rows }: Table): string {
  const cells = rows.map((row) => row.map((cell, column) => forPeople(columns[column] as string, cell)));
  return alignedTable(
    { columns, rows: cells },
    columns.map((_, index) => index > 0),
  );
}

function forPeople(column: string, cell: string): string {
  if (column === 'total_volume') return `₦${withSeparators(cell)}`;
  if (column === 'failure_rate') return `${cell}%`;
  return column === 'merchants' ? withSeparators(cell) : cell;
}
