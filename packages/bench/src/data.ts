import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { generate } from '@moniepoint/core/generate';

/** Files that every contender can read. */
export type BenchData = { readonly folder: string; readonly files: readonly string[]; readonly bytes: number };

const SEED = 7;
const MERCHANTS = 20_000;
const NO_SIGNAL = new AbortController().signal;

/**
 * Seeded files with faults and duplicates, without the lines at which a bare COPY stops: with quotes, with another number
 * of fields, or with bytes that are no printable ASCII. About one row in 200 is left out for that.
 *
 * @param folder made anew, unless the same data lies there already
 */
export async function prepareData(folder: string, rows: number, days: number, seed = SEED): Promise<BenchData> {
  const name = `rows-${rows}-files-${days}-seed-${seed}`;
  const target = join(folder, name);
  if (!existsSync(target)) {
    const unfinished = `${target}.new`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const options = { days, rows: Math.round(rows / days), merchants: MERCHANTS, dirty: 0.02, duplicates: 0.01, seed };
    for (const path of await generate(unfinished, options, NO_SIGNAL)) {
      const lines = readFileSync(path, 'latin1').split('\n');
      writeFileSync(path, `${lines.filter(isReadableByAll).join('\n')}\n`, 'latin1');
    }
    renameSync(unfinished, target);
  }
  return describe(target);
}

/** Other ways to write the same records, none of which should be slow. */
export const SHAPES: Readonly<Record<string, (fields: readonly string[], isHeader: boolean) => readonly string[]>> = {
  'every field in quotes': (fields) => fields.map((field) => `"${field}"`),
  'times with milliseconds and Z': (fields, isHeader) => (isHeader ? fields : withTime(fields, '.000Z')),
  'times with an offset': (fields, isHeader) => (isHeader ? fields : withTime(fields, '+01:00')),
  'amounts of three decimals': (fields, isHeader) => (isHeader ? fields : fields.with(AMOUNT, `${fields[AMOUNT]}0`)),
  'regions with a comma': (fields, isHeader) => (isHeader ? fields : fields.with(REGION, `"${fields[REGION]}, NG"`)),
  'columns in another order': (fields) => fields.toReversed(),
  'lines that end with CR and LF': (fields) => fields.with(-1, `${fields.at(-1)}\r`),
  'spaces around every field': (fields) => fields.map((field) => ` ${field} `),
};

const TIME = 2;
const AMOUNT = 5;
const REGION = 8;

/** What is no time stays none. */
const withTime = (fields: readonly string[], ending: string) =>
  fields.with(TIME, `${fields[TIME]}${fields[TIME]?.length === '2024-01-31T10:00:00'.length ? ending : ''}`);

/** Writes the same records in another way, unless they lie there already. */
export function reshape(data: BenchData, shape: string): BenchData {
  return rewrite(data, shape, (path) => {
    const lines = readFileSync(path, 'latin1').trimEnd().split('\n');
    return `${lines.map((line, index) => SHAPES[shape]!(line.split(','), index === 0).join(',')).join('\n')}\n`;
  });
}

/** Writes the same records, those of each file once more at the end of the next one, unless they lie there already. */
export function overlap(data: BenchData): BenchData {
  return rewrite(data, 'overlap', (path, before) => {
    const earlier = before === undefined ? '' : readFileSync(before, 'latin1');
    return readFileSync(path, 'latin1') + earlier.slice(earlier.indexOf('\n') + 1);
  });
}

function rewrite(
  { folder, files }: BenchData,
  name: string,
  contentOf: (path: string, before: string | undefined) => string,
): BenchData {
  const target = `${folder}-${files.length}-${name.replaceAll(' ', '-')}`;
  if (!existsSync(target)) {
    const unfinished = `${target}.new`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished);
    for (const [index, path] of files.entries())
      writeFileSync(join(unfinished, basename(path)), contentOf(path, files[index - 1]), 'latin1');
    renameSync(unfinished, target);
  }
  return describe(target);
}

export function describe(folder: string): BenchData {
  const files = readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
  return { folder, files, bytes: files.reduce((sum, path) => sum + statSync(path).size, 0) };
}

function isReadableByAll(line: string): boolean {
  return /^[ !#-~]+$/.test(line) && line.split(',').length === 10;
}
