import { type Io, printable } from '@moniepoint/api/bin';
import type { FileResult, ImportResult } from '@moniepoint/core/import/progress';
import type { Findings, FoundCoercion, FoundReject } from '@moniepoint/core/import/validate';
import { csvLine, withSeparators } from '@moniepoint/core/metrics';
import { CHECKED, describeFile } from './import.ts';
import { importResultJson } from './import-json.ts';
import { describeCounts } from './import-summary.ts';
import { excerpt, rejectLine } from './rejects.ts';

/** One way of writing what a validation finds. */
export type Review = {
  /** Rejects and coercions, as they are found. */
  readonly take: (findings: Findings) => Promise<void>;
  readonly finish: (result: ImportResult) => Promise<void>;
};

export type ReviewFormat = 'table' | 'json' | 'csv' | 'github';

/**
 * What is written goes to stdout as it is found, so that it need not be in memory; a table alone waits for the end.
 *
 * @param limit how many rejects a table shows
 */
export function createReview(io: Io, format: ReviewFormat, limit: number): Review {
  const write = (text: string) => io.outBytes(Buffer.from(text));
  return { table: tableReview, json: jsonReview, csv: csvReview, github: githubReview }[format](write, limit);
}

type Write = (text: string) => Promise<void>;

/** For people: a line for each file, the first rejects, the sum. */
function tableReview(write: Write, limit: number): Review {
  const first: string[] = [];
  let found = 0;
  return {
    take: async ({ rejects }) => {
      found += rejects.length;
      first.push(...rejects.slice(0, limit - first.length).map(rejectLine));
    },
    finish: async (result) => {
      const files = result.files.map((file) => `${labelOf(file).padEnd(12)} ${describeFile(file)}\n`).join('');
      const title = first.length === found ? 'Rejects' : `The first ${withSeparators(first.length)} rejects`;
      const list = first.length === 0 ? '' : `\n${title}:\n${first.join('')}`;
      await write(`${files}${list}\n${describeSum(result)}\n`);
    },
  };
}

const labelOf = ({ status }: FileResult) => (status === 'loaded' ? CHECKED.loaded : status);

/** Files and rows, on two lines. */
export function describeSum({ files, ignored, counts }: ImportResult): string {
  const by = (status: FileResult['status']) => withSeparators(files.filter((file) => file.status === status).length);
  return [
    `Files: ${by('loaded')} checked, ${by('failed')} failed, ${by('incomplete')} incomplete, ${withSeparators(ignored.length)} ignored`,
    `Rows:  ${describeCounts(counts)}`,
  ].join('\n');
}

/** For machines: what `import --dry-run --json` prints, after the rejects. */
function jsonReview(write: Write): Review {
  let separator = '{"rejects":[';
  return {
    take: async ({ rejects }) => {
      const texts = rejects.map(({ path, line, reason, record }) => {
        const text = `${separator}${JSON.stringify({ path, line, reason, record: record.toString() })}`;
        separator = ',';
        return text;
      });
      await write(texts.join(''));
    },
    finish: async (result) => {
      const begin = separator === ',' ? '' : separator;
      await write(`${begin}],${importResultJson(result).slice(1)}\n`);
    },
  };
}

/** For a spreadsheet: one line a reject. */
function csvReview(write: Write): Review {
  let header = csvLine(['path', 'line', 'reason', 'record']);
  const linesOf = (rejects: readonly FoundReject[]) => {
    const lines = rejects.map(({ path, line, reason, record }) =>
      csvLine([path, String(line), reason, record.toString()]),
    );
    const text = `${header}${lines.join('')}`;
    header = '';
    return text;
  };
  return { take: ({ rejects }) => write(linesOf(rejects)), finish: () => write(linesOf([])) };
}

/** For GitHub Actions: workflow commands, which it shows where the lines are. */
function githubReview(write: Write): Review {
  const reject = ({ path, line, reason, record }: FoundReject) =>
    workflowCommand('error', { file: path, line, title: `rejected: ${reason}` }, excerpt(record));
  const coercion = ({ path, line, column, original }: FoundCoercion) =>
    workflowCommand(
      'warning',
      { file: path, line, title: `coerced: ${column}` },
      `${column} was ${excerpt(Buffer.from(original))}`,
    );
  const end = ({ path, status, error, counts: { duplicate, conflict } }: FileResult) => {
    if (error !== null) return workflowCommand('error', { file: path, title: status }, error);
    if (duplicate === 0) return '';
    const conflicts = conflict === 0 ? '' : `, ${withSeparators(conflict)} of them with other content`;
    const said = `${withSeparators(duplicate)} rows repeat an event that an earlier row holds${conflicts}`;
    return workflowCommand('notice', { file: path, title: 'duplicates' }, said);
  };
  return {
    take: ({ rejects, coercions }) => write([...rejects.map(reject), ...coercions.map(coercion)].join('')),
    finish: (result) => write(`${result.files.map(end).join('')}${describeSum(result).replace('\n', '; ')}\n`),
  };
}

/** `::error file=a,line=1::message`, escaped as GitHub takes it apart; other control characters go as `printable` writes them. */
function workflowCommand(
  name: 'error' | 'warning' | 'notice',
  properties: Readonly<Record<string, string | number>>,
  message: string,
): string {
  const escaped = (text: string) =>
    printable(text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A'));
  const listed = Object.entries(properties).map(
    ([key, value]) => `${key}=${escaped(String(value)).replaceAll(':', '%3A').replaceAll(',', '%2C')}`,
  );
  return `::${name} ${listed.join(',')}::${escaped(message)}\n`;
}
