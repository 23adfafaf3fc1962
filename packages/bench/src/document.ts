import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
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

const DOCUMENTS = new URL('../../../docs/', import.meta.url);

/** Where, when and by what a section was measured. */
export const machineFacts = (command: string) => ({
  command,
  machine: `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
  node: process.version,
  commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(),
  date: new Date().toISOString().slice(0, 10),
});

/** Replaces the section of docs/performance.md on one kind of server by what was measured. */
export function writeResults(section: 'embedded' | 'external' | 'cluster' | 'large' | 'prune', results: Section): void {
  replaceSection(section, render(results));
}

/** One server's loads on one route, beside the bare server's of the same round. */
export type HttpResult = {
  readonly name: string;
  readonly perSecond: readonly number[];
  readonly share: number;
  readonly p99Ms: number;
  readonly p99Share: number;
};

/**
 * Replaces the section of docs/performance.md on the API.
 *
 * @param memory of the API in MB before and, where there was one, after the soak
 */
export function writeHttpResults(
  section: 'http' | 'http-cluster',
  facts: Readonly<Record<string, string>>,
  results: readonly HttpResult[],
  memory: readonly number[],
  soak: number,
): void {
  const rows = results.map(({ name, perSecond, share, p99Ms, p99Share }) => [
    name,
    Math.round(medianOf(perSecond)).toLocaleString('en'),
    perSecond.map((value) => Math.round(value).toLocaleString('en')).join(' · '),
    share.toFixed(2),
    p99Ms.toFixed(2),
    p99Share.toFixed(2),
  ]);
  const soaked =
    memory.length > 1
      ? `\n\nMemory of the API: ${memory[0]} MB, and ${memory[1]} MB after ${soak.toLocaleString('en')} more requests.`
      : '';
  const head = ['', 'median requests/s', 'all rounds', '÷ bare', 'p99 ms', 'p99 ÷ bare'];
  replaceSection(section, `${list(facts)}\n\n${table(head, rows)}${soaked}`);
}

/**
 * Replaces the section of docs/performance.md on starting.
 *
 * @param base which of the results the others are compared with
 */
export function writeStartResults(
  facts: Readonly<Record<string, string>>,
  results: readonly { readonly name: string; readonly seconds: readonly number[] }[],
  base: number,
): void {
  const medians = results.map(({ seconds }) => medianOf(seconds));
  const rows = results.map(({ name, seconds }, index) => [
    name,
    ...[medianOf(seconds), Math.min(...seconds), Math.max(...seconds)].map((value) =>
      Math.round(value * 1000).toString(),
    ),
    ((medians[index] as number) / (medians[base] as number)).toFixed(2),
  ]);
  replaceSection('start', `${list(facts)}\n\n${table(['', 'median ms', 'least', 'most', '÷ Commander alone'], rows)}`);
}

/** Replaces what a script wrote before, between its two comments. */
export function replaceSection(section: string, content: string, document = 'performance.md'): void {
  const script = SCRIPTS[section] ?? 'bench';
  const begin = `<!-- ${section}: written by pnpm ${script} -->`;
  const end = `<!-- end of ${section} -->`;
  const path = new URL(document, DOCUMENTS);
  const text = readFileSync(path, 'utf8');
  const [before, rest] = text.split(begin) as [string, string];
  const after = rest.slice(rest.indexOf(end));
  writeFileSync(path, `${before}${begin}\n\n${content}\n\n${after}`);
}

const SCRIPTS: Readonly<Record<string, string>> = {
  http: 'bench:http',
  'http-cluster': 'bench:http',
  start: 'bench:start',
  cluster: 'bench:citus',
  large: 'bench:citus',
  scale: 'bench:scale',
  prune: 'bench:prune',
};

const list = (facts: Readonly<Record<string, string>>) =>
  Object.entries(facts)
    .map(([name, value]) => `- ${name}: ${name === 'command' ? `\`${value}\`` : value}`)
    .join('\n');

function render({ results, measures, facts }: Section): string {
  const bare = results.find(({ name }) => name.includes('bare'));
  const base = bare === undefined ? null : medianOf(bare.runs.map(({ seconds }) => seconds / bare.share));
  const ofContenders = table(
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
  );
  const ofOurselves = table(
    ['', 'median', 'all rounds'],
    measures.map(({ name, unit, values }) => [
      name,
      `${format(medianOf(values), unit)} ${unit}`.trim(),
      values.length === 1 ? '' : values.map((value) => format(value, unit)).join(', '),
    ]),
  );
  return [list(facts), ...(results.length === 0 ? [] : [ofContenders]), ofOurselves].join('\n\n');
}

const format = (value: number, unit: string) =>
  unit === 'MB' || unit === 'bytes' ? String(Math.round(value)) : value.toFixed(2);

export const medianOf = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
