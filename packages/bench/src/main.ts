/**
 * Measures the import against its peers, and against itself on other sizes; see CONTRIBUTING.md. Everything runs in turn on
 * the same data and server, each in a process of its own, in alternating order. The results go into docs/performance.md.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openDatabase, withSession } from '@moniepoint/core/db/database';
import { CONTENDERS, type Contender, type Outcome, runMoniepoint } from './contenders.ts';
import { type BenchData, describe, overlap, prepareData, reshape, SHAPES } from './data.ts';
import { type Measure, machineFacts, medianOf, type Result, writeResults } from './document.ts';

const { values: flags } = parseArgs({
  options: {
    rows: { type: 'string', default: '7200000' },
    files: { type: 'string', default: '288' },
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: join(tmpdir(), 'moniepoint-bench') },
    'database-url': { type: 'string' },
    'skip-peers': { type: 'boolean', default: false },
  },
});
const rows = Number(flags.rows);
const rounds = Number(flags.rounds);
const DATABASE = 'moniepoint_bench';

const say = (text: string) => process.stderr.write(`${text}\n`);

const home = join(flags.folder, 'server');
mkdirSync(flags.folder, { recursive: true, mode: 0o755 });
const server = await openDatabase(flags['database-url'], home, 'bench');
const url = server.url.replace(/(:\/\/[^/]*)\/[^?]*/, `$1/${DATABASE}`);

// A server that nobody ends would go on for good.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void server.close().finally(() => process.exit(130)));

/** An empty database, with nothing left to write from before. */
async function renew(): Promise<void> {
  await withSession(server, 'bench', async (client) => {
    await client.query(`DROP DATABASE IF EXISTS ${DATABASE} WITH (FORCE)`);
    await client.query(`CREATE DATABASE ${DATABASE} TEMPLATE template0`);
    await client.query('CHECKPOINT');
  });
}

async function measureContender(contender: Contender, data: BenchData): Promise<Outcome> {
  const files = data.files.slice(0, Math.max(1, Math.round(data.files.length * contender.share)));
  await renew();
  const outcome = await contender.run({ ...data, files }, url);
  say(`  ${outcome.seconds.toFixed(2)} s  ${outcome.rows} rows  ${contender.name}`);
  return outcome;
}

/** Every contender in turn; the order is turned round from round to round. */
async function measurePeers(data: BenchData): Promise<Result[]> {
  const present = CONTENDERS.filter((contender) => {
    if (!contender.isInstalled()) say(`not installed, left out: ${contender.name}`);
    return contender.isInstalled();
  }).slice(0, flags['skip-peers'] ? 2 : undefined);
  const outcomes = new Map<Contender, Outcome[]>(present.map((contender) => [contender, []]));
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}`);
    for (const contender of round % 2 === 1 ? present : [...present].reverse()) {
      outcomes.get(contender)?.push(await measureContender(contender, data));
    }
  }
  const all = [...outcomes].map(([{ name, share }, runs]): Result => ({ name, share, runs }));
  refuseDifferences(all.flatMap(({ runs }) => runs));
  return all;
}

/** Those that compute accepted rows and the five answers must agree, in every round. */
function refuseDifferences(outcomes: readonly Outcome[]): void {
  const told = new Set(
    outcomes
      .filter(({ answers }) => answers !== undefined)
      .map(({ rows, accepted, answers }) => JSON.stringify([rows, accepted, answers])),
  );
  if (told.size > 1) throw new Error(`rows or answers differ:\n${[...told].join('\n')}`);
}

/** The import into an empty database, and what follows it. */
async function measureOurselves(data: BenchData): Promise<Measure[]> {
  const day = await prepareData(flags.folder, 25_000, 1, 1001);
  const small = { ...data, files: data.files.slice(0, Math.round(data.files.length / 7)) };
  const runs = { small: [], large: [], smallMb: [], largeMb: [], unchanged: [], dayLarge: [], dayEmpty: [] } as Record<
    'small' | 'large' | 'smallMb' | 'largeMb' | 'unchanged' | 'dayLarge' | 'dayEmpty',
    number[]
  >;
  const shapes = [
    ...Object.keys(SHAPES).map((name) => ({ name, data: reshape(small, name), seconds: [] as number[] })),
    { name: 'those of each file once more in the next one', data: overlap(small), seconds: [] as number[] },
  ];
  let smallRows = 0;
  let largeRows = 0;
  for (let round = 1; round <= rounds; round += 1) {
    say(`ourselves, round ${round} of ${rounds}`);
    await renew();
    const first = await runMoniepoint(['import', '--json', ...small.files], url);
    runs.small.push(first.seconds);
    runs.smallMb.push(first.peakMb ?? 0);
    smallRows = JSON.parse(first.stdout).read;
    await renew();
    const all = await runMoniepoint(['import', '--json', data.folder], url);
    runs.large.push(all.seconds);
    runs.largeMb.push(all.peakMb ?? 0);
    largeRows = JSON.parse(all.stdout).read;
    runs.unchanged.push((await runMoniepoint(['import', data.folder], url)).seconds);
    runs.dayLarge.push((await runMoniepoint(['import', day.folder], url)).seconds);
    await runMoniepoint(['verify'], url);
    await renew();
    runs.dayEmpty.push((await runMoniepoint(['import', day.folder], url)).seconds);
    for (const { data: shaped, seconds } of shapes) {
      await renew();
      seconds.push((await runMoniepoint(['import', shaped.folder], url)).seconds);
    }
  }
  const perRow = (seconds: number[], count: number) => (medianOf(seconds) / count) * 1e6;
  const linear = perRow(runs.large, largeRows) / perRow(runs.small, smallRows);
  return [
    { name: `import of ${largeRows.toLocaleString('en')} rows`, unit: 's', values: runs.large },
    { name: `import of ${smallRows.toLocaleString('en')} rows`, unit: 's', values: runs.small },
    ...shapes.map(({ name, seconds }) => ({ name: `the same rows, ${name}`, unit: 's', values: seconds })),
    { name: 'time a row, all ÷ a seventh of the files', unit: '', values: [linear] },
    { name: 'peak memory of the importer, all files', unit: 'MB', values: runs.largeMb },
    { name: 'peak memory of the importer, a seventh of the files', unit: 'MB', values: runs.smallMb },
    { name: `unchanged folder of ${data.files.length} files`, unit: 's', values: runs.unchanged },
    { name: 'one new day of 25,000 rows into all of them', unit: 's', values: runs.dayLarge },
    { name: 'the same day into an empty database', unit: 's', values: runs.dayEmpty },
    { name: 'one new day, full ÷ empty', unit: '', values: [medianOf(runs.dayLarge) / medianOf(runs.dayEmpty)] },
  ];
}

try {
  say(`preparing ${rows} rows in ${flags.files} files`);
  const data = await prepareData(flags.folder, rows, Number(flags.files));
  const results = await measurePeers(data);
  const measures = await measureOurselves(describe(data.folder));
  const { rows: version } = await withSession(server, 'bench', (client) => client.query('SHOW server_version'));
  const isEmbedded = flags['database-url'] === undefined;
  writeResults(isEmbedded ? 'embedded' : 'external', {
    results,
    measures,
    facts: {
      data: `${data.files.length} files, ${Math.round(data.bytes / 1e6)} MB, seeded`,
      server: `${isEmbedded ? 'embedded ' : ''}PostgreSQL ${version[0]?.server_version}`,
      ...machineFacts(
        `pnpm bench --rows ${rows} --files ${flags.files} --rounds ${rounds}${isEmbedded ? '' : ' --database-url …'}`,
      ),
    },
  });
} finally {
  await withSession(server, 'bench', (client) => client.query(`DROP DATABASE IF EXISTS ${DATABASE} WITH (FORCE)`));
  await server.close();
  rmSync(home, { recursive: true, force: true });
}
