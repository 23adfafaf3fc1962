import { readFileSync, writeFileSync } from 'node:fs';
import type { Outcome } from './contenders.ts';

/** All rounds of one contender. */
export type Result = { readonly name: string; readonly share: number; readonly runs: readonly Outcome[] };

/** All rounds of one figure of ours. */
export type Measure = { readonly name: string; readonly unit: string; readonly values: readonly number[] };

export type Section = {
  readonly results: readonly Result[];
  readonly measures: readonly Measure[];
  readonly facts: Readonly<Record<string, string>>;
};

const DOCUMENT = new URL('../../../docs/performance.md', import.meta.url);

/** Replaces one section of docs/performance.md by what was measured. */
export function writeResults(section: 'embedded' | 'external', results: Section): void {
  const begin = `<!-- ${section}: written by pnpm bench -->`;
  const end = `<!-- end of ${section} -->`;
  const text = readFileSync(DOCUMENT, 'utf8');
  const [before, rest] = text.split(begin) as [string, string];
  const after = rest.slice(rest.indexOf(end));
  writeFileSync(DOCUMENT, `${before}${begin}\n\n${render(results)}\n\n${after}`);
}

function render({ results, measures, facts }: Section): string {
  const bare = results.find(({ name }) => name.includes('bare'));
  const base = bare === undefined ? null : medianOf(bare.runs.map(({ seconds }) => seconds / bare.share));
  return [
    Object.entries(facts)
      .map(([name, value]) => `- ${name}: ${name === 'command' ? `\`${value}\`` : value}`)
      .join('\n'),
    table(
      ['', 'median s', 'all rounds', '÷ bare \\copy', 'peak MB', 'rows'],
      results.map(({ name, share, runs }) => {
        const seconds = runs.map((run) => run.seconds / share);
        const memory = runs.map(({ peakMb }) => peakMb ?? 0);
        return [
          share === 1 ? name : `${name} (scaled up from ${share * 100} % of the files)`,
          medianOf(seconds).toFixed(1),
          seconds.map((value) => value.toFixed(1)).join(', '),
          base === null ? '' : (medianOf(seconds) / base).toFixed(2),
          medianOf(memory) === 0 ? '' : String(medianOf(memory)),
          Math.round(medianOf(runs.map((run) => run.rows))).toLocaleString('en'),
        ];
      }),
    ),
    table(
      ['', 'median', 'all rounds'],
      measures.map(({ name, unit, values }) => [
        name,
        `${format(medianOf(values), unit)} ${unit}`.trim(),
        values.length === 1 ? '' : values.map((value) => format(value, unit)).join(', '),
      ]),
    ),
  ].join('\n\n');
}

const format = (value: number, unit: string) => (unit === 'MB' ? String(Math.round(value)) : value.toFixed(2));

const medianOf = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
