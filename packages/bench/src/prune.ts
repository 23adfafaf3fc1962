/**
 * Measures what it costs to take months of events out, and what a table partitioned by month would cost and save instead. The
 * results go into docs/performance.md; docs/decisions.md draws the conclusion.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Database, withDatabase, withSession } from '@moniepoint/core/db/database';
import { runMoniepoint } from './contenders.ts';
import { prepareData } from './data.ts';
import { type Measure, machineFacts, writeResults } from './document.ts';

const { values: flags } = parseArgs({
  options: {
    rows: { type: 'string', default: '7200000' },
    files: { type: 'string', default: '288' },
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: join(tmpdir(), 'moniepoint-bench') },
  },
});
const rounds = Number(flags.rounds);
const values: Record<string, number[]> = {};
const note = (name: string, value: number) => {
  values[name] ??= [];
  values[name].push(value);
  process.stderr.write(`  ${value.toFixed(2)}  ${name}\n`);
};

/** Runs statements in one session, and returns the first row of the last one. */
const run = <Row>(database: Database, ...statements: string[]): Promise<Row> =>
  withSession(database, 'bench', async (client) => {
    let rows: Row[] = [];
    for (const statement of statements) ({ rows } = (await client.query(statement)) as unknown as { rows: Row[] });
    return rows[0] as Row;
  });

/** Seconds, and megabytes of WAL. */
async function measure(database: Database, name: string, work: () => Promise<unknown>): Promise<void> {
  await run(database, 'CHECKPOINT');
  const { lsn } = await run<{ lsn: string }>(database, 'SELECT pg_current_wal_lsn() AS lsn');
  const begin = process.hrtime.bigint();
  await work();
  note(name, Number(process.hrtime.bigint() - begin) / 1e9);
  const { mb } = await run<{ mb: number }>(database, `SELECT ((pg_current_wal_lsn() - '${lsn}') / 1e6)::float8 AS mb`);
  note(`${name}: WAL`, mb);
}

/** Events of as many random days as rows of one day come again: what settling asks for. */
const LOOK_UP = (table: string) => `
  SELECT count(*) FROM ${table} WHERE event_id IN (SELECT event_id FROM wanted ORDER BY event_id)`;

/** The same events in one table, and in one of each month. */
async function compareLayouts(database: Database): Promise<void> {
  await run(
    database,
    'CREATE TABLE flat (LIKE event)',
    'CREATE TABLE monthly (LIKE event) PARTITION BY RANGE (event_us)',
  );
  const { months } = await run<{ months: string[] }>(
    database,
    `SELECT array_agg(month ORDER BY month) AS months FROM (SELECT DISTINCT to_char(month, 'YYYY-MM-DD') AS month FROM merchant_month) m`,
  );
  const us = (month: string) => Date.parse(month) * 1000;
  const february = months.indexOf('2024-02-01');
  for (const [index, month] of months.entries()) {
    const from = index === 0 ? 'MINVALUE' : us(month);
    const to = months[index + 1] === undefined ? 'MAXVALUE' : us(months[index + 1] as string);
    await run(database, `CREATE TABLE month_${index} PARTITION OF monthly FOR VALUES FROM (${from}) TO (${to})`);
  }
  note('months', months.length);
  for (const table of ['flat', 'monthly'])
    await measure(database, `${table}: filled, then indexed`, async () => {
      await run(database, `INSERT INTO ${table} SELECT * FROM event`);
      await run(database, `CREATE INDEX ON ${table} (event_id)`);
    });
  await run(database, 'VACUUM ANALYZE flat, monthly');
  await run(
    database,
    'CREATE TABLE wanted AS SELECT event_id FROM event TABLESAMPLE SYSTEM (2) REPEATABLE (1) LIMIT 25000',
  );
  await run(database, 'ANALYZE wanted');
  for (const table of ['flat', 'monthly', 'flat', 'monthly'])
    await measure(database, `${table}: 25,000 ids looked up`, () =>
      run(database, 'SET random_page_cost = 1.1', LOOK_UP(table)),
    );
  await measure(database, 'flat: January deleted and vacuumed', async () => {
    await run(database, `DELETE FROM flat WHERE event_us < ${us('2024-02-01')}`);
    await run(database, 'VACUUM flat');
  });
  await measure(database, 'monthly: January dropped', () =>
    run(database, `DROP TABLE ${Array.from({ length: february }, (_, index) => `month_${index}`)}`),
  );
  await run(database, 'DROP TABLE flat, monthly, wanted');
}

const home = mkdtempSync(join(tmpdir(), 'moniepoint-prune-'));
chmodSync(home, 0o755); // the server of a root user runs as another one
try {
  const data = await prepareData(flags.folder, Number(flags.rows), Number(flags.files));
  let server = '';
  for (let round = 1; round <= rounds; round += 1) {
    process.stderr.write(`round ${round} of ${rounds}\n`);
    const folder = join(home, String(round));
    await withDatabase(undefined, folder, 'bench', async (database) => {
      const prune = (before: string, ...flags: string[]) =>
        runMoniepoint(['prune', '--before', before, '--json', ...flags], database.url);
      await runMoniepoint(['import', data.folder], database.url);
      await compareLayouts(database);
      for (const month of ['2024-02', '2024-05']) {
        let stdout = '';
        await measure(database, `before ${month}`, async () => {
          ({ stdout } = await prune(month));
        });
        note(`before ${month}: events`, JSON.parse(stdout).events);
      }
      await measure(database, 'again', () => prune('2024-05'));
      await runMoniepoint(['verify'], database.url);
      server = (await run<{ server_version: string }>(database, 'SHOW server_version')).server_version;
    });
    rmSync(folder, { recursive: true, force: true });
  }
  const timed = (name: string, key: string): Measure[] => [
    { name, unit: 's', values: values[key] ?? [] },
    { name: `${name}: WAL`, unit: 'MB', values: values[`${key}: WAL`] ?? [] },
  ];
  const eventsOf = (month: string) => (values[`before ${month}: events`]?.[0] ?? 0).toLocaleString('en');
  writeResults('prune', {
    results: [],
    measures: [
      ...timed(`prune of one month, ${eventsOf('2024-02')} events`, 'before 2024-02'),
      ...timed(`prune of the next three months, ${eventsOf('2024-05')} events`, 'before 2024-05'),
      ...timed('prune again, with nothing to take out', 'again'),
      ...timed('one table: filled, then indexed', 'flat: filled, then indexed'),
      ...timed(`${values.months?.[0]} tables by month: the same`, 'monthly: filled, then indexed'),
      { name: 'one table: 25,000 ids looked up', unit: 's', values: values['flat: 25,000 ids looked up'] ?? [] },
      { name: 'tables by month: the same', unit: 's', values: values['monthly: 25,000 ids looked up'] ?? [] },
      ...timed('one table: January deleted and vacuumed', 'flat: January deleted and vacuumed'),
      ...timed('tables by month: January dropped', 'monthly: January dropped'),
    ],
    facts: {
      data: `${data.files.length} files, ${Math.round(data.bytes / 1e6)} MB, seeded`,
      server: `embedded PostgreSQL ${server}`,
      ...machineFacts(`pnpm bench:prune --rows ${flags.rows} --files ${flags.files} --rounds ${rounds}`),
    },
  });
} finally {
  rmSync(home, { recursive: true, force: true });
}
