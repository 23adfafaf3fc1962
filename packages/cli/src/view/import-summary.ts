import { printable } from '@moniepoint/api/bin';
import { type Counts, type FileResult, type ImportResult, listCounts } from '@moniepoint/core/import/progress';
import { type Answers, METRICS, type Metric, NO_ANSWERS, withSeparators } from '@moniepoint/core/metrics';
import type { Snapshot } from '@moniepoint/core/snapshot';
import { forPeople } from './report.ts';
import { countOf, formatSeconds } from './text.ts';

/**
 * What an import did, for people. Each line adds up.
 *
 * @param isUtf8 there is a sign for naira
 */
export function importSummary(result: ImportResult, isUtf8: boolean): string {
  const { counts, files, elapsedMs, before, snapshot } = result;
  const by = (status: FileResult['status']) =>
    `${withSeparators(files.filter((file) => file.status === status).length)} ${status}`;
  const rate = elapsedMs > 0 ? Math.round((counts.read / elapsedMs) * 1000) : 0;
  const lines = [
    `Files: ${by('loaded')}, ${by('superseded')}, ${by('unchanged')}, ${by('skipped')}, ${by('failed')}, ${by('incomplete')}, ${withSeparators(result.ignored.length)} ignored, ${withSeparators(result.pruned.length)} pruned`,
    `Rows:  ${describeCounts(counts)}`,
    `Time:  ${formatSeconds(elapsedMs)}${counts.read > 0 ? `, ${withSeparators(rate)} rows/s` : ''}`,
    `Data:  ${describeVersion(before, snapshot)}`,
    ...describeChanges(before, snapshot, isUtf8),
  ];
  if (result.isDryRun) lines.push('Dry run: nothing was kept.');
  return `${lines.join('\n')}\n`;
}

/** `read = accepted + duplicate + rejected`, with what is worth knowing of each. */
export function describeCounts(counts: Counts): string {
  const expired = counts.expired === 0 ? '' : ` (${withSeparators(counts.expired)} expired, not stored)`;
  const conflicts = counts.conflict === 0 ? '' : ` (${withSeparators(counts.conflict)} with other content)`;
  const reasons = counts.rejected === 0 ? '' : ` (${listCounts(counts.rejectedByReason, withSeparators)})`;
  const coerced =
    counts.coerced === 0
      ? ''
      : `; ${withSeparators(counts.coerced)} coerced (${listCounts(counts.coercedByColumn, withSeparators)})`;
  return (
    `${countOf(counts.read, 'row')} = ${withSeparators(counts.accepted)} accepted${expired}` +
    ` + ${withSeparators(counts.duplicate)} duplicate${conflicts} + ${withSeparators(counts.rejected)} rejected${reasons}${coerced}`
  );
}

function describeVersion(before: Snapshot | null, now: Snapshot | null): string {
  if (now === null) return 'nothing is published yet';
  const isSame = before?.dataVersion === now.dataVersion;
  const from = before === null || isSame ? '' : `${withSeparators(before.dataVersion)} -> `;
  return `version ${from}${withSeparators(now.dataVersion)}${isSame ? ', unchanged' : ''}, as of ${now.asOf}`;
}

/** One line for each answer that is another one than before; none where no data changed. */
function describeChanges(before: Snapshot | null, now: Snapshot | null, isUtf8: boolean): string[] {
  if (now === null || before?.dataVersion === now.dataVersion) return [];
  const changes = METRICS.flatMap((metric) => {
    const change = describeChange(metric, before === null ? null : before.answers, now.answers, isUtf8);
    return change === null ? [] : `${metric.title.replace(/^[A-Z](?=[a-z])/, (c) => c.toLowerCase())} ${change}`;
  });
  if (changes.length === 0) return ['Changed: no answers changed'];
  return changes.map((change, index) => `${index === 0 ? 'Changed: ' : '         '}${change}`);
}

/** More of one metric would not be read. */
const MAX_ENTRIES = 8;

/** @param before null for the first data, of which nobody asks what it was */
function describeChange(metric: Metric, before: Answers | null, now: Answers, isUtf8: boolean): string | null {
  if ((before && metric.toJson(before)) === metric.toJson(now)) return null;
  const was = (text = 'none') => (before === null ? '' : ` (was ${text})`);
  const [earlier, later] = [before ?? NO_ANSWERS, now].map((answers) => cellsOf(metric, answers, isUtf8)) as [
    string[][],
    string[][],
  ];
  const describeWhole = { 'top-merchant': describeLeader, 'kyc-funnel': describeFunnel }[metric.name];
  if (describeWhole !== undefined) return `${describeWhole(later) ?? 'none'}${was(describeWhole(earlier))}`;
  const [values, nowValues] = [earlier, later].map(
    (rows) => new Map(rows.map(([name = '', value = '']) => [name, value])),
  ) as [Map<string, string>, Map<string, string>];
  const changed = [...new Set([...nowValues.keys(), ...values.keys()])]
    .filter((name) => values.get(name) !== nowValues.get(name))
    .map((name) => `${name} ${nowValues.get(name) ?? 'none'}${was(values.get(name))}`);
  if (changed.length === 0) return 'in another order';
  const more = changed.length - MAX_ENTRIES;
  return `${changed.slice(0, MAX_ENTRIES).join(', ')}${more > 0 ? ` and ${withSeparators(more)} more` : ''}`;
}

const describeLeader = (rows: readonly string[][]) => rows[0]?.join(' ');

const describeFunnel = (rows: readonly string[][]) => rows.map(([, merchants]) => merchants).join(' / ');

function cellsOf(metric: Metric, answers: Answers, isUtf8: boolean): string[][] {
  const { columns, rows } = metric.toTable(answers);
  return rows.map((row) => row.map((cell, column) => printable(forPeople(columns[column] as string, cell, isUtf8))));
}
