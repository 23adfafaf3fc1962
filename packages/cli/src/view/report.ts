import { styleText } from 'node:util';
import { printable } from '@moniepoint/api/bin';
import { MoniepointError } from '@moniepoint/core/errors';
import { csvTable, type Table, withSeparators } from '@moniepoint/core/metrics';
import { barChart, type Screen } from './chart.ts';
import { alignedTable } from './table.ts';

/** What a metric says now. */
export type Answer = {
  readonly name: string;
  readonly title: string;
  /** The bytes of the HTTP body; null where nothing matches. */
  readonly json: string | null;
  /** Its first column names what the others measure. */
  readonly table: Table;
  /** Why there is nothing. */
  readonly noData: string | null;
};

export type ReportFormat = 'table' | 'chart' | 'json' | 'csv';

/**
 * One metric as text: `json` is the body of the HTTP answer, `csv` a header and the rows, `table` and `chart` are for people.
 *
 * @throws MoniepointError `failed` where nothing matches
 */
export function renderOne(answer: Answer, format: ReportFormat, screen: Screen): string {
  if (answer.json === null) throw new MoniepointError('failed', `${answer.name}: ${answer.noData}`);
  if (format === 'json') return answer.json;
  return format === 'csv' ? csvTable(answer.table) : titled(answer, format, screen);
}

/** All metrics: as one object under their names, null where nothing matches; as one table of metric, name and value; for people. */
export function renderAll(answers: readonly Answer[], format: ReportFormat, screen: Screen): string {
  if (format === 'json') return `{${answers.map(({ name, json }) => `"${name}":${json ?? 'null'}`).join(',')}}`;
  if (format !== 'csv') return answers.map((answer) => titled(answer, format, screen)).join('\n');
  return csvTable({
    columns: ['metric', 'name', 'value'],
    rows: answers.flatMap(({ name, table }) => table.rows.map(([rowName = '', value = '']) => [name, rowName, value])),
  });
}

function titled({ title, table, noData }: Answer, format: 'table' | 'chart', screen: Screen): string {
  const head = screen.hasColors ? styleText('bold', title, { validateStream: false }) : title;
  const { columns, rows } = table;
  if (rows.length === 0) return `${head}\n  ${noData}\n`;
  const cells = rows.map((row) => row.map((cell, index) => forPeople(columns[index] as string, cell, screen.isUtf8)));
  if (format === 'table') {
    const isNumber = columns.map((_, index) => index > 0);
    const lines = alignedTable({ columns, rows: cells }, isNumber);
    if (lines.split('\n').every((line) => [...line].length <= screen.columns)) return `${head}\n${lines}`;
    // Too narrow for columns: what a cell names, and below it what it says.
    return `${head}\n${cells.map((row) => row.map((cell, at) => `${'  '.repeat(at + 1)}${printable(cell)}\n`).join('')).join('')}`;
  }
  const values = rows.map((row) => Number(row.at(-1)));
  const bars = cells.map(([label = '', text = ''], index) => ({
    label: printable(label),
    value: values[index] as number,
    text,
  }));
  return `${head}\n${barChart(bars, screen)}`;
}

/** A cell of a metric's table as people write it. */
export function forPeople(column: string, cell: string, isUtf8: boolean): string {
  if (column === 'total_volume') return `${isUtf8 ? '₦' : 'NGN '}${withSeparators(cell)}`;
  if (column === 'failure_rate') return `${cell}%`;
  return column === 'merchants' ? withSeparators(cell) : cell;
}
