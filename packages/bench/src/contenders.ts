import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { BenchData } from './data.ts';
import { type Finished, runProcess } from './process.ts';

/** What one run gave. Accepted rows and answers only of those that compute them. */
export type Outcome = {
  readonly seconds: number;
  readonly peakMb: number | null;
  readonly rows: number;
  readonly accepted?: number;
  readonly answers?: unknown;
};

export type Contender = {
  readonly name: string;
  /** Part of the files that it is given, where all of them would take too long: its time is scaled up. */
  readonly share: number;
  readonly isInstalled: () => boolean;
  /** One measured run into an empty database. */
  readonly run: (data: BenchData, url: string) => Promise<Outcome>;
};

const moniepoint = resolve(
  dirname(createRequire(import.meta.url).resolve('moniepoint/package.json')),
  'bin',
  'moniepoint.js',
);

/** Runs the program itself, without a shell or a package manager around it. */
export const runMoniepoint = (argv: readonly string[], url: string): Promise<Finished> =>
  runProcess(process.execPath, [moniepoint, ...argv], { DATABASE_URL: url });

export const CONTENDERS: readonly Contender[] = [
  {
    name: 'moniepoint import',
    share: 1,
    isInstalled: () => true,
    run: async ({ folder }, url) => {
      const { seconds, peakMb, stdout } = await runMoniepoint(['import', '--json', folder], url);
      const { read, accepted } = JSON.parse(stdout);
      const report = await runMoniepoint(['report', 'all', '--format', 'json'], url);
      await runMoniepoint(['verify'], url);
      return { seconds, peakMb, rows: read, accepted, answers: JSON.parse(report.stdout) };
    },
  },
  {
    name: 'psql \\copy, bare: unlogged text table, no index',
    share: 1,
    isInstalled: () => isOnPath('psql'),
    run: ({ files }, url) => {
      const columns = [...'abcdefghij'].map((name) => `${name} text`).join(', ');
      return runPsql(url, `CREATE UNLOGGED TABLE bare (${columns});`, files, 'bare');
    },
  },
  {
    name: 'psql \\copy, typed table with primary key (duplicates and bad rows taken out before)',
    share: 1,
    isInstalled: () => isOnPath('psql'),
    run: (data, url) => runTyped(data, url),
  },
  {
    name: 'DuckDB in memory: load, clean, dedupe, five answers',
    share: 1,
    isInstalled: () => true,
    run: ({ folder }) => runPeer('duckdb', [folder]),
  },
  {
    name: 'csv-parse alone: rows to arrays, nothing stored',
    share: 1,
    isInstalled: () => true,
    run: ({ files }) => runPeer('csv-parse', files),
  },
  {
    name: 'node-postgres, INSERT of 1,000 rows a statement',
    share: 0.05,
    isInstalled: () => true,
    run: ({ files }, url) => runPeer('insert', [url, ...files]),
  },
  {
    name: 'pgloader, bare: unlogged text table, no index',
    share: 0.05,
    isInstalled: () => isOnPath('pgloader'),
    run: runPgloader,
  },
];

async function runPeer(name: string, argv: readonly string[]): Promise<Outcome> {
  const script = new URL(`./peers/${name}.js`, import.meta.url).pathname;
  const { seconds, peakMb, stdout } = await runProcess(process.execPath, [script, ...argv]);
  return { seconds, peakMb, ...JSON.parse(stdout) };
}

function isOnPath(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // that is the answer
  }
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'moniepoint-bench-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One psql process that copies file after file. The client's memory says nothing of the server's, so it is left out. */
async function runPsql(url: string, create: string, files: readonly string[], table: string): Promise<Outcome> {
  return inFolder(async (folder) => {
    const script = join(folder, 'copy.sql');
    const copies = files.map((path) => `\\copy ${table} FROM '${path}' (FORMAT csv, HEADER)`);
    writeFileSync(script, [create, ...copies].join('\n'));
    const { seconds } = await runProcess('psql', ['-qX', '-v', 'ON_ERROR_STOP=1', '-f', script, url]);
    const counted = await runProcess('psql', ['-qXAt', '-c', `SELECT count(*) FROM ${table}`, url]);
    return { seconds, peakMb: null, rows: Number(counted.stdout) };
  });
}

/** A typed table takes no bad row and no duplicate: it is given what our import accepted. */
async function runTyped(data: BenchData, url: string): Promise<Outcome> {
  return inFolder(async (folder) => {
    await runMoniepoint(['import', data.folder], url);
    const accepted = join(folder, 'accepted.csv');
    const columns =
      'event_id, merchant_id, event_timestamp, product, event_type, amount, status, channel, region, merchant_tier';
    await runProcess('psql', [
      '-qX',
      '-c',
      `\\copy (SELECT ${columns} FROM activity) TO '${accepted}' (FORMAT csv, HEADER)`,
      url,
    ]);
    const create = `DROP SCHEMA public CASCADE; CREATE SCHEMA public; CHECKPOINT;
      CREATE TABLE typed (event_id uuid PRIMARY KEY, merchant_id text NOT NULL, event_timestamp timestamptz NOT NULL, product text NOT NULL, event_type text, amount numeric(20, 2) NOT NULL, status text NOT NULL, channel text, region text, merchant_tier text);`;
    await runProcess('psql', ['-qX', '-c', create, url]);
    return runPsql(url, '', [accepted], 'typed');
  });
}

async function runPgloader({ files }: BenchData, url: string): Promise<Outcome> {
  return inFolder(async (folder) => {
    const columns = [...'abcdefghij'];
    const create = `CREATE UNLOGGED TABLE loaded (${columns.map((name) => `${name} text`).join(', ')})`;
    await runProcess('psql', ['-qX', '-c', create, url]);
    // One command for all files: each one takes more than a second to begin.
    const inputs = join(folder, 'files');
    mkdirSync(inputs);
    for (const path of files) symlinkSync(path, join(inputs, basename(path)));
    const script = join(folder, 'all.load');
    writeFileSync(
      script,
      `LOAD CSV FROM ALL FILENAMES MATCHING ~/activities_/ IN DIRECTORY '${inputs}' HAVING FIELDS (${columns.join(', ')})
            INTO ${url} TARGET TABLE loaded TARGET COLUMNS (${columns.join(', ')})
            WITH skip header = 1, fields terminated by ',';`,
    );
    const { seconds, peakMb } = await runProcess('pgloader', ['--quiet', script]);
    const counted = await runProcess('psql', ['-qXAt', '-c', 'SELECT count(*) FROM loaded', url]);
    return { seconds, peakMb, rows: Number(counted.stdout) };
  });
}
