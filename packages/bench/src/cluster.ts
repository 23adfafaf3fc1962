/**
 * Measures the import into a Citus cluster beside the same import into one plain database on its coordinator: whole
 * processes, in turn, the order alternated. The answers of both must be the same, and `verify` must agree with both.
 * Where all nodes run on this machine, also what each of them spends on a row. The results go into docs/performance.md.
 */
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Database, openDatabase, withSession } from '@moniepoint/core/db/database';
import { distribute } from '@moniepoint/core/db/distribute';
import { migrate } from '@moniepoint/core/db/migrate';
import { runMoniepoint } from './contenders.ts';
import { prepareData } from './data.ts';
import { type Measure, machineFacts, medianOf, writeResults } from './document.ts';

const { values: flags } = parseArgs({
  options: {
    'citus-url': { type: 'string' },
    rows: { type: 'string', default: '7200000' },
    files: { type: 'string', default: '288' },
    rounds: { type: 'string', default: '3' },
    shards: { type: 'string', default: '16' },
    /** How many imports share a folder, a list. */
    workers: { type: 'string', default: '1,2,4' },
    /** The section of docs/performance.md: cluster, or large. */
    section: { type: 'string', default: 'cluster' },
    folder: { type: 'string', default: join(tmpdir(), 'moniepoint-bench') },
  },
});
const url = flags['citus-url'];
if (url === undefined) throw new Error('Give --citus-url, the coordinator of a cluster that knows its workers.');
const say = (text: string) => process.stderr.write(`${text}\n`);
const rounds = Number(flags.rounds);

const at = (node: string, database: string) => Object.assign(new URL(node), { pathname: `/${database}` }).href;
const run = (where: string, statement: string) =>
  openDatabase(where, '', 'bench').then((database: Database) =>
    withSession(database, 'bench', (client) => client.query(statement)),
  );

const { rows: found } = await run(url, 'SELECT nodename, nodeport FROM pg_dist_node WHERE isactive ORDER BY groupid');
/** The coordinator first. */
const nodes = found.map(
  ({ nodename, nodeport }) => Object.assign(new URL(url), { hostname: nodename, port: String(nodeport) }).href,
);
const [coordinator = url, ...workers] = nodes;
const PLAIN = 'moniepoint_bench_plain';
const CLUSTER = 'moniepoint_bench_citus';

async function drop(): Promise<void> {
  for (const node of nodes)
    for (const name of [PLAIN, CLUSTER])
      await run(at(node, 'postgres'), `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

/** Empty databases with the schema, one on all nodes and one on the coordinator alone. */
async function renew(): Promise<void> {
  await drop();
  await run(at(coordinator, 'postgres'), `CREATE DATABASE ${PLAIN} TEMPLATE template0`);
  for (const node of [...workers, coordinator]) {
    await run(at(node, 'postgres'), `CREATE DATABASE ${CLUSTER} TEMPLATE template0`);
    await run(at(node, CLUSTER), 'CREATE EXTENSION citus');
  }
  await withSession(await openDatabase(at(coordinator, CLUSTER), '', 'bench'), 'bench', async (client) => {
    const placeOf = (node: string) => [new URL(node).hostname, Number(new URL(node).port || 5432)];
    await client.query('SELECT citus_set_coordinator_host($1, $2)', placeOf(coordinator));
    for (const worker of workers) await client.query('SELECT citus_add_node($1, $2)', placeOf(worker));
    await migrate(client);
    await distribute(client, Number(flags.shards));
  });
  await withSession(await openDatabase(at(coordinator, PLAIN), '', 'bench'), 'bench', migrate);
  for (const node of nodes) await run(at(node, 'postgres'), 'CHECKPOINT');
}

type Spent = { readonly cpuSeconds: number; readonly walBytes: number };
const TICKS_PER_SECOND = 100;

/** What a node has used since its start: its own processes, and those that have ended. */
async function spentBy(node: string): Promise<Spent> {
  const { rows } = await run(
    at(node, 'postgres'),
    `SELECT current_setting('data_directory') AS folder, (pg_current_wal_lsn() - '0/0')::float8 AS wal`,
  );
  const [{ folder, wal }] = rows as [{ folder: string; wal: number }];
  try {
    const pid = readFileSync(join(folder, 'postmaster.pid'), 'utf8').split('\n')[0];
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { cpuSeconds: ticks / TICKS_PER_SECOND, walBytes: wal };
  } catch {
    return { cpuSeconds: Number.NaN, walBytes: wal }; // the node runs elsewhere
  }
}

const values: Record<string, number[]> = {};
const note = (name: string, value: number) => {
  values[name] ??= [];
  values[name].push(value);
};

async function importInto(database: string, folder: string, what: string): Promise<void> {
  const before = await Promise.all(nodes.map(spentBy));
  const { seconds, peakMb, stdout } = await runMoniepoint(['import', '--json', folder], at(coordinator, database));
  const after = await Promise.all(nodes.map(spentBy));
  const rows = JSON.parse(stdout).read;
  say(`  ${seconds.toFixed(2)} s  ${rows} rows  ${what}`);
  note(what, seconds);
  note(`${what} rows`, rows);
  note(`${what} MB`, peakMb ?? Number.NaN);
  const spent = (of: keyof Spent) => nodes.map((_, node) => (after[node]?.[of] ?? 0) - (before[node]?.[of] ?? 0));
  for (const of of ['cpuSeconds', 'walBytes'] as const) {
    const [own = 0, ...others] = spent(of);
    note(`${what} ${of} coordinator`, own / rows);
    note(`${what} ${of} workers`, others.reduce((sum, one) => sum + one, 0) / rows);
  }
}

/** Imports that share the files of a folder, each too small a part of what is stored for the bulk path. */
async function share(database: string, folder: string, workers: number): Promise<void> {
  const argv = ['import', '--json', '--workers', String(workers), folder];
  const begin = process.hrtime.bigint();
  await Promise.all(Array.from({ length: workers }, () => runMoniepoint(argv, at(coordinator, database))));
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const what = `${database} ${workers} importers`;
  say(`  ${seconds.toFixed(2)} s  ${what}`);
  note(what, seconds);
}

const SHARED_BY = flags.workers.split(',').filter(Boolean).map(Number);

const answersOf = async (database: string) =>
  (await runMoniepoint(['report', 'all', '--format', 'json'], at(coordinator, database))).stdout;

try {
  const data = await prepareData(flags.folder, Number(flags.rows), Number(flags.files));
  const day = await prepareData(flags.folder, 25_000, 1, 1001);
  const later = await prepareData(flags.folder, 25_000, 1, 1002);
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}`);
    await renew();
    const order = round % 2 === 1 ? [PLAIN, CLUSTER] : [CLUSTER, PLAIN];
    for (const database of order) await importInto(database, data.folder, `${database} all`);
    // The first file after a large one still pays for pages that were never read: it is not counted.
    for (const database of order) await runMoniepoint(['import', day.folder], at(coordinator, database));
    for (const database of order) await importInto(database, later.folder, `${database} day`);
    for (const workers of round % 2 === 1 ? SHARED_BY : SHARED_BY.toReversed()) {
      const { folder } = await prepareData(flags.folder, 480_000, 24, 2000 + workers);
      for (const database of order) await share(database, folder, workers);
    }
    if ((await answersOf(PLAIN)) !== (await answersOf(CLUSTER))) throw new Error('the answers differ');
  }
  for (const database of [PLAIN, CLUSTER]) {
    say(`verify ${database}`);
    await runMoniepoint(['verify'], at(coordinator, database));
  }
  const median = (name: string) => medianOf(values[name] ?? []);
  const timed = (name: string, key: string): Measure => ({ name, unit: 's', values: values[key] ?? [] });
  const ratio = (what: string) => median(`${CLUSTER} ${what}`) / median(`${PLAIN} ${what}`);
  const perRow = (name: string, key: string, factor: number, unit: string): Measure => ({
    name,
    unit,
    values: (values[key] ?? []).map((value) => value * factor),
  });
  const count = median(`${PLAIN} all rows`).toLocaleString('en');
  writeResults(flags.section === 'large' ? 'large' : 'cluster', {
    results: [],
    measures: [
      timed(`plain: import of ${count} rows`, `${PLAIN} all`),
      timed(`cluster: the same`, `${CLUSTER} all`),
      { name: 'cluster ÷ plain', unit: '', values: [ratio('all')] },
      timed('plain: one day of 25,000 rows into them', `${PLAIN} day`),
      timed('cluster: the same', `${CLUSTER} day`),
      { name: 'cluster ÷ plain', unit: '', values: [ratio('day')] },
      ...[PLAIN, CLUSTER].flatMap((database) =>
        SHARED_BY.map((workers) =>
          timed(
            `${database === PLAIN ? 'plain' : 'cluster'}: 24 files of 20,000 rows by ${workers} ${workers === 1 ? 'import' : 'imports at once'}`,
            `${database} ${workers} importers`,
          ),
        ),
      ),
      { name: 'peak memory of the importer, cluster', unit: 'MB', values: values[`${CLUSTER} all MB`] ?? [] },
      perRow('CPU a row, plain server', `${PLAIN} all cpuSeconds coordinator`, 1e6, 'µs'),
      perRow('CPU a row, coordinator', `${CLUSTER} all cpuSeconds coordinator`, 1e6, 'µs'),
      perRow('CPU a row, all workers', `${CLUSTER} all cpuSeconds workers`, 1e6, 'µs'),
      perRow('WAL a row, plain server', `${PLAIN} all walBytes coordinator`, 1, 'bytes'),
      perRow('WAL a row, coordinator', `${CLUSTER} all walBytes coordinator`, 1, 'bytes'),
      perRow('WAL a row, all workers', `${CLUSTER} all walBytes workers`, 1, 'bytes'),
    ],
    facts: {
      data: `${data.files.length} files, ${Math.round(data.bytes / 1e6)} MB, seeded`,
      server: `${(await run(at(coordinator, CLUSTER), 'SELECT citus_version() AS version')).rows[0].version.split(' on ')[0]}, PostgreSQL ${(await run(coordinator, 'SHOW server_version')).rows[0].server_version}; coordinator and ${workers.length} workers on this machine, ${flags.shards} shards`,
      ...machineFacts(
        `pnpm bench:citus --citus-url … --rows ${flags.rows} --files ${flags.files} --rounds ${rounds} --shards ${flags.shards} --workers ${flags.workers} --section ${flags.section}`,
      ),
    },
  });
} finally {
  await drop();
}
